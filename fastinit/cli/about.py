"""`fastinit selftest` and `fastinit info`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from fastinit.about import info
from fastinit.checking import RIGHT, SelfTest, checks
from fastinit.cli.options import DONE, FAILED, command

SELFTEST = """
  fastinit selftest
"""
INFO = """
  fastinit info --json
"""


def add_to(commands: Any) -> None:
    """Add both commands."""
    test = command(commands, "selftest", "check on this machine that every law gives its known values", SELFTEST)
    test.description = (
        "Draw every law on this processor, with both engines if Numba is installed, and compare with known answers; "
        "look at the floating-point mode and at who may write to the folder of compiled code. A line each: right, "
        "WRONG, not run, or a note. The exit code is 1 where an answer is wrong. The first run compiles every kernel "
        "and takes a minute or two."
    )
    test.add_argument("--quiet", action="store_true", help="print only what is not right")
    test.set_defaults(run=_run_selftest)

    about = command(
        commands, "info", "say what this installation is: engine, processor, threads, cache folder, versions", INFO
    )
    about.add_argument("--json", action="store_true", help="as one JSON object")
    about.set_defaults(run=_run_info)


def _run_selftest(options: argparse.Namespace) -> int:
    done = []
    for check in checks():
        done.append(check)
        if check.outcome != RIGHT or not options.quiet:
            print(check, flush=True)
    result = SelfTest(done)
    if result.wrong:
        print(f"fastinit: {result.verdict}", file=sys.stderr)
        return FAILED
    if not options.quiet:
        print(result.verdict)
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
