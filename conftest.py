"""Options and fixtures that every test and benchmark shares."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("default", max_examples=60, deadline=None, derandomize=True)
settings.register_profile("soak", max_examples=2000, deadline=None)
settings.load_profile("default")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --benchmark: time the benchmarks, and run nothing else."""
    parser.getgroup("benchmark").addoption(
        "--benchmark", action="store_true", help="time the benchmarks, and run nothing else"
    )


@pytest.hookimpl(tryfirst=True)  # pytest-benchmark reads its options in a trylast hook
def pytest_configure(config: pytest.Config) -> None:
    """Translate --benchmark for pytest-benchmark, leave slow tests to those who ask for them, let Ctrl-C be tested."""
    if config.getoption("--benchmark") and config.pluginmanager.hasplugin("benchmark"):
        config.option.benchmark_enable = True
        config.option.benchmark_disable = False
        config.option.benchmark_only = True
    if not config.option.markexpr:
        config.option.markexpr = "not slow"
    # Under `nohup` or `&` a shell hands SIGINT down as ignored, and no child of a test could be interrupted.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=["numba", "numpy"])
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run a test once on each engine."""
    from fastinit import engines

    with engines.use(request.param):
        yield request.param
