"""`fastinit selftest` and `fastinit info`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from fastinit import selftest
from fastinit.about import info
from fastinit.address import STREAM
from fastinit.cli.options import DONE, FAILED


def add_to(commands: Any) -> None:
    """Add both commands."""
    test = commands.add_parser("selftest", help="check the published values of the stream on this machine")
    test.description = (
        "Compute published values of the stream on this processor, with both engines if Numba is installed, and "
        "compare. The first run compiles every kernel and takes a minute."
    )
    test.add_argument("--quiet", action="store_true", help="print only what differs")
    test.set_defaults(run=_run_selftest)

    about = commands.add_parser("info", help="engine, processor, threads, cache folder, stream, versions")
    about.add_argument("--json", action="store_true", help="as one JSON object")
    about.set_defaults(run=_run_info)


def _run_selftest(options: argparse.Namespace) -> int:
    checked = faults = 0
    for what, fault in selftest.check():
        checked += 1
        if fault is not None:
            faults += 1
            print(f"WRONG  {what}: {fault}")
        elif not options.quiet:
            print(f"right  {what}", flush=True)
    if faults:
        print(
            f"fastinit: {faults} of {checked} known answers are wrong on this machine. Do not use its weights; "
            "report this with the output of `fastinit info`.",
            file=sys.stderr,
        )
        return FAILED
    if not options.quiet:
        print(f"all {checked} known answers of stream {STREAM} are right on this machine")
    return DONE


def _run_info(options: argparse.Namespace) -> int:
    report = info()
    if options.json:
        print(json.dumps(report))
        return DONE
    for name, value in report.items():
        shown = ", ".join(value) if isinstance(value, list) else "not installed" if value is None else value
        print(f"{name:14} {shown}")
    return DONE
