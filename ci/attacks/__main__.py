"""`ci/attack`: mutate files for as long as it is told, print what was tried and found; exit code 1 if something was."""

from __future__ import annotations

import argparse
import secrets
import sys

from attacks import readers


def main() -> int:
    """Run the attack on the readers."""
    parser = argparse.ArgumentParser(prog="ci/attack", description=__doc__)
    time = parser.add_mutually_exclusive_group()
    time.add_argument("--minutes", type=float, default=5.0, metavar="X", help="how long; default 5")
    time.add_argument("--hours", type=float, metavar="X", help="how long, instead")
    time.add_argument("--inputs", type=int, metavar="N", help="how many mutated files, instead")
    parser.add_argument("--seed", type=int, metavar="N", help="of the mutations; default: a fresh one, printed")
    options = parser.parse_args()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    minutes = options.minutes if options.hours is None else 60 * options.hours
    outcome = readers.attack(seed, 60 * minutes, options.inputs)
    for what, count in sorted(outcome.tried.items()):
        print(f"{count:,} {what} tried")
    for found in outcome.found:
        print(f"FOUND  {found}")
    print(f"{len(outcome.found):,} findings")
    return 1 if outcome.found else 0


if __name__ == "__main__":
    sys.exit(main())
