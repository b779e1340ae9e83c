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

from attacks import code, disk, forks, memory, readers, signals
from attacks.outcome import Outcome
from attacks.report import write_report

Part = Callable[[int, float, Path], Outcome]
# What is attacked, its share of the time, and by what.
PARTS: dict[str, tuple[float, Part]] = {
    "readers": (0.22, lambda seed, seconds, folder: readers.attack(seed, seconds)),
    "disk": (0.22, disk.attack),
    "signals": (0.34, lambda seed, seconds, folder: signals.attack(seed, seconds, folder)),
    "memory": (0.06, lambda seed, seconds, folder: memory.attack(seed, seconds, folder)),
    "forks": (0.08, lambda seed, seconds, folder: forks.attack(seed, seconds, folder)),
    "code": (0.08, lambda seed, seconds, folder: code.attack(seed, seconds, folder)),
}


def options_of(arguments: list[str]) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="ci/attack", description=__doc__)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=5.0, metavar="X", help="how long in all; default 5")
    length.add_argument("--hours", type=float, metavar="X", help="how long in all, instead")
    length.add_argument("--inputs", type=int, metavar="N", help="so many mutated files for the readers, and no more")
    length.add_argument("--signals", type=int, metavar="N", help="so many signals to the command line, and no more")
    length.add_argument("--forks", type=int, metavar="N", help="so many forks, and no more")
    parser.add_argument("--only", action="append", choices=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--seed", type=int, metavar="N", help="of what is tried; default: a fresh one, printed")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the figures between its marks")
    return parser.parse_args(arguments)


def counted(options: argparse.Namespace, seed: int, folder: Path) -> dict[str, Outcome] | None:
    """One part, so many times; None where a time is given instead."""
    if options.inputs is not None:
        return {"readers": readers.attack(seed, 0.0, options.inputs)}
    if options.signals is not None:
        return {"signals": signals.attack(seed, 0.0, folder, options.signals)}
    if options.forks is not None:
        return {"forks": forks.attack(seed, 0.0, folder, options.forks)}
    return None


def timed(options: argparse.Namespace, seed: int, root: Path) -> dict[str, Outcome]:
    """Every part that is asked for, one after the other, each for its share of the time."""
    seconds = 60 * options.minutes if options.hours is None else 3600 * options.hours
    chosen = {name: PARTS[name] for name in options.only or PARTS}
    whole = sum(share for share, _ in chosen.values())
    outcomes = {}
    for name, (share, attack) in chosen.items():
        folder = root / name
        folder.mkdir()
        outcomes[name] = attack(seed, seconds * share / whole, folder)
        told(name, outcomes[name])
    return outcomes


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
    with tempfile.TemporaryDirectory() as folder:
        outcomes = counted(options, seed, Path(folder))
        if outcomes is None:
            outcomes = timed(options, seed, Path(folder))
        else:
            for name, outcome in outcomes.items():
                told(name, outcome)
    minutes = (time.monotonic() - begin) / 60
    findings = sum(len(outcome.found) for outcome in outcomes.values())
    print(f"{findings:,} findings in {minutes:.0f} minutes")
    if options.report is not None:
        command = " ".join(["ci/attack", *arguments])
        write_report(options.report, outcomes, seed=seed, command=command, minutes=minutes)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
