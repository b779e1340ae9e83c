"""`ci/mutation`: plant faults in fastinit, one at a time, and see whether the tests catch them."""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from mutations import report
from mutations.faults import ROOT, Fault, faults
from mutations.guards import GUARDS
from mutations.trials import Trials, collected


def options_of(arguments: list[str]) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="ci/mutation", description=__doc__)
    parser.add_argument("--minutes", type=float, metavar="X", help="no further fault after X minutes; default: all")
    parser.add_argument(
        "--only", action="append", choices=list(GUARDS), metavar="PATH", help="faults in this module, and no other"
    )
    parser.add_argument("--key", metavar="TEXT", help="faults whose description contains this")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the order of faults; default 1")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), metavar="N", help="at once")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="go on where an earlier run with this folder was ended"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the figures between its marks")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Plant and report; 1 if a fault survived that nothing explains."""
    options = options_of(arguments)
    guards = {path: GUARDS[path] for path in options.only or GUARDS}
    planned = [fault for path in guards for fault in faults(path) if (options.key or "") in fault.key]
    random.Random(options.seed).shuffle(planned)
    begin = time.monotonic()

    def in_time() -> Iterator[Fault]:
        start = time.monotonic()
        for fault in planned:
            if options.minutes is not None and time.monotonic() - start > 60 * options.minutes:
                return
            yield fault

    _prepare()
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PYTEST_DEBUG_TEMPROOT"] = folder
        trials = Trials(guards, in_time, options.workers, Path(folder), options.keep or Path(folder))
        said = collected(sorted({name for names in guards.values() for name in names}), trials)
    if said or not trials.done:
        print(said or "no fault was planted", file=sys.stderr)
        return 2
    run = report.Run(
        command=_command(arguments),
        minutes=(time.monotonic() - begin) / 60,
        planned=planned,
        trials=trials.done,
        explained=report.explanations(),
    )
    print(run.summary)
    for trial in run.open:
        print(f"OPEN  {trial.path}:{trial.line} {trial.key}")
    if options.report is not None:
        report.write(options.report, run)
    return 1 if run.open else 0


def _command(arguments: list[str]) -> str:
    """The command as the page names it: without the folder in which a run is kept."""
    kept = arguments.index("--keep") if "--keep" in arguments else len(arguments)
    return " ".join(["ci/mutation", *arguments[:kept], *arguments[kept + 2 :]])


def _prepare() -> None:
    """Load what children would otherwise load one by one: packages, and the machine code of every law."""
    import numpy as np
    import scipy.special
    import scipy.stats  # noqa: F401

    from fastinit import engines, fill, laws

    with engines.use("numba"):
        for law in (laws.Uniform(), laws.Normal(), laws.TruncatedNormal(0.0, 1.0, -2.0, 2.0), laws.Sparse(nonzeros=1)):
            for dtype in (np.float32, np.float64, np.float16):
                fill(np.empty((8, 8), dtype), law, seed=0, threads=1)


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main(sys.argv[1:]))
