"""What begins before the first test, and ends after the last."""

from __future__ import annotations

import platform

import early
import pytest

X86 = platform.machine().lower() in ("x86_64", "amd64")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, on other processors, what looks for the instructions of x86 in machine code."""
    if X86:
        return
    reason = f"looks for instructions of x86, and this is {platform.machine()}; tests/laws compare its bits"
    for item in items:
        if "assembly" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start what compiles for a minute, so that tests do not wait for it."""
    timing = getattr(session.config.option, "benchmark_only", False)
    if not timing and not session.config.option.collectonly:
        items = [item for item in session.items if item.get_closest_marker("skip") is None]
        early.start({name for item in items for name in getattr(item, "fixturenames", ())})


def pytest_sessionfinish() -> None:
    """End what nobody waited for."""
    early.stop()
