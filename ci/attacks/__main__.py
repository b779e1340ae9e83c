"""`ci/attack`: attack fastinit for as long as it is told, and print what was tried and found.

The exit code is 1 if something was found.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from attacks import code, disk, edits, forks, memory, readers, signals
from attacks.outcome import Outcome
from attacks.report import write_report

# What is attacked: its share of the time, and by what, (seed, seconds, folder, how often or None) -> outcome.
PARTS: dict[str, tuple[float, Callable[[int, float, Path, int | None], Outcome]]] = {
    "readers": (0.20, readers.attack),
    "disk": (0.20, disk.attack),
    "edits": (0.06, edits.attack),
    "signals": (0.32, signals.attack),
    "memory": (0.06, memory.attack),
    "forks": (0.08, forks.attack),
    "code": (0.08, code.attack),
}
COUNTED = {
    "inputs": "readers",
    "edits": "edits",
    "signals": "signals",
    "forks": "forks",
}  # option -> the part that it counts


def options_of(arguments: list[str]) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="ci/attack", description=__doc__)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=5.0, metavar="X", help="how long in all; default 5")
    length.add_argument("--hours", type=float, metavar="X", help="how long in all, instead")
    length.add_argument("--inputs", type=int, metavar="N", help="so many mutated files for the readers, and no more")
    length.add_argument("--edits", type=int, metavar="N", help="so many edits that are killed or fail, and no more")
    length.add_argument("--signals", type=int, metavar="N", help="so many signals to the command line, and no more")
    length.add_argument("--forks", type=int, metavar="N", help="so many forks, and no more")
    parser.add_argument("--only", action="append", choices=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--seed", type=int, metavar="N", help="of what is tried; default: a fresh one, printed")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the figures between its marks")
    return parser.parse_args(arguments)


def lengths(options: argparse.Namespace) -> dict[str, tuple[float, int | None]]:
    """The parts that are asked for, each with its seconds, or with how often."""
    for option, part in COUNTED.items():
        if (count := getattr(options, option)) is not None:
            return {part: (0.0, count)}
    seconds = 60 * options.minutes if options.hours is None else 3600 * options.hours
    shares = {name: PARTS[name][0] for name in options.only or PARTS}
    return {name: (seconds * share / sum(shares.values()), None) for name, share in shares.items()}


def told(name: str, outcome: Outcome) -> None:
    """Print what a part tried and found."""
    for what, count in sorted(outcome.tried.items()):
        print(f"{name}: {count:,} {what}", flush=True)
    for found in outcome.found:
        print(f"FOUND  {found}", flush=True)


def main(arguments: list[str]) -> int:
    """Attack; 1 if anything was found."""
    options = options_of(arguments)
    seed = secrets.randbits(32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    begin = time.monotonic()
    outcomes = {}
    with tempfile.TemporaryDirectory() as root:
        for name, (seconds, count) in lengths(options).items():
            folder = Path(root, name)
            folder.mkdir()
            outcomes[name] = PARTS[name][1](seed, seconds, folder, count)
            told(name, outcomes[name])
    minutes = (time.monotonic() - begin) / 60
    findings = sum(len(outcome.found) for outcome in outcomes.values())
    print(f"{findings:,} findings in {minutes:.0f} minutes")
    if options.report is not None:
        command = " ".join(["ci/attack", *arguments])
        write_report(options.report, outcomes, seed=seed, command=command, minutes=minutes)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
