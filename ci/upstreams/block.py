"""A plugin of pytest: every test runs inside a block of fastinit.torch.accelerate, or in none; outcomes go to a file.

FASTINIT_BLOCK     "plain", "unseeded" or "seeded"
FASTINIT_OUTCOMES  where the outcomes are written, as JSON: {"outcomes": {test: outcome}, "drawn": so many draws}
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fastinit.torch

BLOCKS = {
    "plain": contextlib.nullcontext,
    "unseeded": fastinit.torch.accelerate,
    "seeded": lambda: fastinit.torch.accelerate(seed=0),
}
_outcomes: dict[str, str] = {}
_drawn = 0


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: Any) -> Iterator[None]:
    """Around the test itself; of a unittest.TestCase around setUp too."""
    global _drawn
    block: Any = BLOCKS[os.environ["FASTINIT_BLOCK"]]
    with block() as report:
        yield
    if report is not None:
        _drawn += report.accelerated.total()


def pytest_runtest_logreport(report: Any) -> None:
    """Note what became of a test."""
    if report.when == "call" or report.outcome != "passed":
        _outcomes[report.nodeid] = report.outcome


def pytest_sessionfinish() -> None:
    """Write what became of all."""
    Path(os.environ["FASTINIT_OUTCOMES"]).write_text(json.dumps({"outcomes": _outcomes, "drawn": _drawn}))
