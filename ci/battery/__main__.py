"""Run the battery: `ci/statistics`."""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from battery import controls, dieharder
from battery.report import Run, page
from battery.rounds import Cell, round_of
from battery.verdict import LEVEL

PASSED, FAILED, USAGE = 0, 1, 2


def options_of(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="ci/statistics",
        description="A statistical battery on the words and values of the stream: rounds of every check over fresh "
        "addresses until the time is over, planted defects first. Ctrl-C ends the rounds early.",
        epilog=f"exit codes: 0 nothing failed; 1 a cell has an adjusted p-value below {LEVEL:g}, or a planted defect "
        "was not caught; 2 the command line makes no sense",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--minutes", type=float, default=10.0, metavar="X", help="how long, controls included; default 10"
    )
    parser.add_argument("--hours", type=float, metavar="X", help="the same in hours")
    parser.add_argument("--rounds", type=int, metavar="N", help="so many rounds, whatever the time")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the stream; another sees other words; default 0"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the page docs/statistics.md")
    parser.add_argument("--dieharder", action="store_true", help="also run a few tests of dieharder, beyond the time")
    options = parser.parse_args(argv)
    if options.dieharder and not dieharder.installed():
        parser.error("there is no dieharder; install it (apt-get install dieharder)")
    if options.hours is not None:
        options.minutes = 60 * options.hours
    return options


def tell(text: str) -> None:
    """Progress, on standard error: one line that changes on a terminal, a line each elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    whole = max(0, round(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def all_rounds(options: argparse.Namespace, began: float) -> tuple[int, dict[Cell, list[float]]]:
    """Rounds until the time is over: how many, and the p-values of every cell. The first is run in any case."""
    p_values: dict[Cell, list[float]] = defaultdict(list)
    number, longest = 0, 0.0
    limit = began + 60 * options.minutes
    try:
        while number == 0 or (number < options.rounds if options.rounds else time.monotonic() + longest < limit):
            start = time.monotonic()
            for cell, p in round_of(options.seed, number):
                p_values[cell].append(p)
            number += 1
            longest = max(longest, time.monotonic() - start)
            left = (options.rounds - number) * longest if options.rounds else limit - time.monotonic()
            smallest, count = min(map(min, p_values.values())), sum(map(len, p_values.values()))
            tell(f"round {number}, {clock(left)} left, the smallest of {count:,} p-values is {smallest:.2g}")
    except KeyboardInterrupt:
        if number == 0:
            raise
    return number, dict(p_values)


def main(argv: Sequence[str]) -> int:
    """Run dieharder if asked to, the controls and the rounds; judge; write the page."""
    options = options_of(argv)
    outside = None
    if options.dieharder:
        outside = []
        for outcome in dieharder.run(options.seed):
            outside.append(outcome)
            tell(f"dieharder: {outcome.source}, {outcome.test}: {outcome.p_value} {outcome.assessment}")
    began = time.monotonic()
    caught = []
    for one in controls.run(options.seed):
        caught.append(one)
        tell(f"control: {one.control}, {one.check}: adjusted p-value {one.adjusted:.2g}")
    rounds, p_values = all_rounds(options, began)
    minutes = (time.monotonic() - began) / 60
    tell("")
    run = Run(" ".join(["ci/statistics", *argv]), options.seed, rounds, minutes, p_values, caught, outside)
    if options.report is not None:
        options.report.write_text(page(run), encoding="utf-8")
    print(run.summary)
    for fault in run.failed:
        print(f"FAILED  {fault}")
    return FAILED if run.failed else PASSED


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(FAILED)
