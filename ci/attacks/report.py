"""The figures of an attack, written into a page between two marks."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Mapping
from pathlib import Path

from marked import write_between_marks

from attacks.outcome import Outcome
from fastinit.about import __version__


def write_report(page: Path, outcomes: Mapping[str, Outcome], *, seed: int, command: str, minutes: float) -> None:
    """Replace what stands between the marks of a page."""
    write_between_marks(page, "ci/attack", figures(outcomes, seed=seed, command=command, minutes=minutes))


def figures(outcomes: Mapping[str, Outcome], *, seed: int, command: str, minutes: float) -> str:
    """A table of what was tried and found, and how to run it again."""
    rows = [
        f"| {what} | {count:,} | {len(outcome.found) if i == 0 else ''} |"
        for outcome in outcomes.values()
        for i, (what, count) in enumerate(sorted(outcome.tried.items()))
    ]
    day = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    where = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, fastinit {__version__}"
    return (
        f"`{command}` with seed {seed}, on {day}, took {minutes:.0f} minutes ({where}):\n\n"
        "| what was tried | how often | wrong results |\n| --- | --- | --- |\n" + "\n".join(rows) + "\n"
    )
