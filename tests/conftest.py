"""What begins before the first test, and ends after the last."""

from __future__ import annotations

import early
import pytest


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start what compiles for a minute, so that tests do not wait for it."""
    timing = getattr(session.config.option, "benchmark_only", False)
    if not timing and not session.config.option.collectonly:
        early.start({name for item in session.items for name in getattr(item, "fixturenames", ())})


def pytest_sessionfinish() -> None:
    """End what nobody waited for."""
    early.stop()
