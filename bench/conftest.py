"""What the benchmarks share: the buffer, the race against peers, the floors and what pytest says of them at the end."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastinit
from bench.floors import TIMES, floors_of
from bench.pairing import Contender, Race
from fastinit.dtypes import array_dtype

MIB, GIB = 1 << 20, 1 << 30
LEDGER = pytest.StashKey[list[tuple[str, bool | None, str]]]()


@dataclass(frozen=True)
class Sizes:
    """Bytes, elements and rounds: small and one where nothing is timed.

    whole   the warm buffer
    part    elements: what slow peers and the reference engine get of it
    fresh   memory that is allocated anew for each fill
    """

    timed: bool
    whole: int
    part: int
    fresh: int
    rounds: int


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --benchmark-floors: a benchmark that misses its floor fails."""
    parser.getgroup("benchmark").addoption(
        "--benchmark-floors", action="store_true", help="with --benchmark: a missed speed floor fails its benchmark"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Begin an empty ledger."""
    if config.getoption("--benchmark-floors") and not config.getoption("--benchmark"):
        raise pytest.UsageError("--benchmark-floors needs --benchmark: without timing there is nothing to judge")
    config.stash[LEDGER] = []


@pytest.fixture(scope="session")
def sizes(request: pytest.FixtureRequest) -> Sizes:
    """How large and how often."""
    if request.config.getoption("--benchmark"):
        return Sizes(True, 1 * GIB, 16 << 20, 2 * GIB, 9)
    return Sizes(False, 1 * MIB, 256 << 10, 1 * MIB, 1)


@pytest.fixture(scope="session")
def arena(sizes: Sizes) -> np.ndarray[Any, Any]:
    """One warm (touched) piece of memory, of which every benchmark and every peer uses views."""
    memory = np.empty(sizes.whole, np.uint8)
    memory.fill(1)
    return memory


@pytest.fixture
def record(benchmark: Any, request: pytest.FixtureRequest, sizes: Sizes) -> Callable[..., None]:
    """How to record what a workload measured, and its floors, in extra_info and the ledger: (workload, measured)."""

    def write(workload: str, measured: Mapping[str, float], **more: Any) -> None:
        here = fastinit.info()
        benchmark.extra_info.update(
            {"workload": workload, "engine": here["engine"], "threads": here["threads"], "timed": sizes.timed, **more}
        )
        benchmark.extra_info["measured"] = dict(measured)
        floors = floors_of(workload, measured, here.get("cpu", ""))
        judged = [(floor.reached(measured) if sizes.timed else None, floor.text(measured)) for floor in floors]
        benchmark.extra_info["floor"] = [text for _, text in judged]
        benchmark.extra_info["reached"] = [reached for reached, _ in judged]
        if sizes.timed:
            request.config.stash[LEDGER].extend((workload, reached, text) for reached, text in judged)
            missed = [text for reached, text in judged if reached is False]
            if missed and request.config.getoption("--benchmark-floors"):
                pytest.fail(f"{workload}: {'; '.join(missed)}", pytrace=False)

    return write


@pytest.fixture
def compete(benchmark: Any, sizes: Sizes) -> Callable[..., Race]:
    """How to time ours beside rivals: (ours, rivals).

    pytest-benchmark times ours; before each of its rounds the rivals have their turn, which only the race times.
    """

    def run(ours: Contender, rivals: Sequence[Contender] = (), rounds: int | None = None) -> Race:
        contest = Race(ours, rivals)
        if sizes.timed:
            contest.warm_up()
        rounds = (rounds or sizes.rounds) if sizes.timed else 1
        benchmark.pedantic(contest.ours_once, setup=contest.rivals_once, rounds=rounds)
        return contest

    return run


@pytest.fixture
def race(compete: Callable[..., Race], record: Callable[..., None]) -> Callable[..., Race]:
    """How to compete and record rates and ratios: (workload, ours, rivals, dtype). Amounts are bytes."""

    def run(
        workload: str,
        ours: Contender,
        rivals: Sequence[Contender],
        dtype: str,
        rounds: int | None = None,
        **more: Any,
    ) -> Race:
        contest = compete(ours, rivals, rounds)
        record(
            workload,
            {TIMES + rival.name: contest.ratio(rival) for rival in rivals},
            call=ours.call,
            dtype=dtype,
            bytes=int(ours.amount),
            gb_per_second=contest.rate(ours) / 1e9,
            elements_per_second=contest.rate(ours) / array_dtype(dtype).itemsize,
            rivals={
                rival.name: {
                    "call": rival.call,
                    "bytes": int(rival.amount),
                    "gb_per_second": contest.rate(rival) / 1e9,
                    "rounds": len(contest.times[rival.name]),
                }
                for rival in rivals
            },
            **more,
        )
        return contest

    return run


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say which floors were missed, in red, and which could not be judged."""
    ledger = config.stash.get(LEDGER, [])
    if not ledger:
        return
    terminalreporter.section("speed floors")
    for workload, reached, text in ledger:
        word = {True: "reached", False: "MISSED", None: "not judged"}[reached]
        markup = {True: {"green": True}, False: {"red": True, "bold": True}, None: {"yellow": True}}[reached]
        terminalreporter.write_line(f"{word:<10}  {workload}: {text}", **markup)
    counts = {word: sum(reached is word for _, reached, _ in ledger) for word in (True, False, None)}
    terminalreporter.write_line(
        f"{counts[True]} floors reached, {counts[False]} MISSED, {counts[None]} not judged",
        bold=True,
        red=counts[False] > 0,
    )


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Add what README says of the machine."""
    machine_info["fastinit"] = fastinit.info()
    machine_info["cpu_model"] = _cpu_model()


def _cpu_model() -> str:
    """The name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
