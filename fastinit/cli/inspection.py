"""`fastinit verify` and `fastinit show`: what is in a checkpoint."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Any

from fastinit.cli.checkpoint import add_source, planned, says_a_plan
from fastinit.cli.options import DONE, FAILED, command, plain, progress_of
from fastinit.cli.terminal import painter, width
from fastinit.files.small import save
from fastinit.formatting import Paint
from fastinit.printable import printable
from fastinit.show import html, show, table
from fastinit.show.shown import TensorShown
from fastinit.verify import EDITED_SINCE, Verdict, Verified, verify

EXAMPLES = """
  fastinit verify out                      # exit code 0 only if every tensor is as initialised
  fastinit verify trained --sample 0.01    # which weights never moved
  fastinit verify trained --plan plan.json --seed 0    # of files that another program saved
  fastinit show out --html weights.html
"""
MOST_SHOWN = 20  # tensors that differ, in the report for people


def add_to(commands: Any) -> None:
    """Add the commands."""
    check = command(commands, "verify", "compare a checkpoint, bit by bit, with what it was initialised to", EXAMPLES)
    check.add_argument("path", help="a .safetensors file, or a folder of them; without a plan, one that fastinit wrote")
    check.add_argument(
        "--sample",
        type=float,
        default=1.0,
        metavar="X",
        help="share of the elements to compare; default 1, which is all",
    )
    check.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="the seed that it was written with; for files whose metadata does not say it, with a plan, or what "
        "`fastinit write` was given in place of one",
    )
    add_source(check)
    check.set_defaults(run=_run_verify)

    look = command(commands, "show", "show what the tensors of safetensors files hold, beside their laws", EXAMPLES)
    look.add_argument("path", help="a .safetensors file or a folder of them, whoever wrote them")
    look.add_argument("--html", metavar="FILE", help="write a page with a histogram of each tensor")
    look.set_defaults(run=_run_show)

    for parser in (check, look):
        parser.add_argument(
            "--threads", type=int, metavar="N", help="number of threads; default: the CPUs that this process may use"
        )
        parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
        parser.add_argument("--quiet", action="store_true", help="print nothing; the exit code says the result")


def _run_verify(options: argparse.Namespace) -> int:
    planning = says_a_plan(options)
    if planning != (options.seed is not None):  # before a model is recorded for its plan
        raise ValueError(
            "a plan (--plan FILE, or what `fastinit write` was given in its place) and --seed go together; pass both, "
            "or neither where the files' metadata says them"
        )
    plan = planned(options)[0] if planning else None
    with progress_of(options) as progress:
        report = verify(
            options.path,
            plan=plan,
            seed=options.seed,
            sample=options.sample,
            threads=options.threads,
            progress=progress.show,
        )
    if options.json:
        print(json.dumps(plain(dataclasses.asdict(report) | {"ok": report.ok})))
    elif not options.quiet:
        print(_verdict(report, painter()))
    return DONE if report.ok else FAILED


def _verdict(report: Verified, paint: Paint) -> str:
    """What a person wants to know: the tensors that are not as initialised, and the sum."""
    lines = []
    others = report.others
    for one in others[:MOST_SHOWN]:
        where = ""
        if one.index is not None:
            part = f" in part {one.part}" if one.part else ""
            first = f"first at {list(one.index)}{part}: {one.found!s} instead of {one.expected!s}"
            where = f": {_how_many(one)}, {first}"
        elif one.status == EDITED_SINCE:
            where = f": {printable(str(one.how))}; {one.compared:,} of {one.elements:,} elements are as drawn"
        lines.append(f"{printable(one.name)}  {paint(one.status, 'alert')}{where}")
    if len(others) > MOST_SHOWN:
        lines.append(f"... and {len(others) - MOST_SHOWN} more")
    same = f"{len(report.tensors) - len(others):,} of {len(report.tensors):,} tensors are as initialised"
    lines.append(
        f"{printable(report.path)}: {paint(same, 'good' if report.ok else 'alert')}; "
        f"{report.compared:,} of {report.elements:,} elements compared "
        f"in {report.seconds:.2f} s, {report.gigabytes_per_second:.2f} GB/s"
    )
    return "\n".join(lines)


def _how_many(one: Verdict) -> str:
    """How many elements of a tensor differ, and in per cent of those that were compared."""
    percent = f"{100 * one.differing / one.compared:.3g} %"
    seen = "elements" if one.compared == one.elements else "compared elements"
    if one.differing == one.compared:
        return f"all {one.compared:,} {seen} differ ({percent})"
    return f"{one.differing:,} of {one.compared:,} {seen} differ ({percent})"


def _run_show(options: argparse.Namespace) -> int:
    with progress_of(options) as progress:
        shown = show(options.path, threads=options.threads, progress=progress.show)
    if options.html is not None:
        save(options.html, html(shown, title=str(options.path)).encode())
    if options.json:
        print(json.dumps(plain({"path": str(options.path), "tensors": [_as_dict(one) for one in shown.tensors]})))
    elif not options.quiet:
        print(table(shown, width(), painter()))
    return DONE


def _as_dict(tensor: TensorShown) -> dict[str, Any]:
    """A tensor for JSON, its laws in words."""
    return {
        **dataclasses.asdict(tensor),
        "law": None if tensor.law is None else repr(tensor.law),
        "parts": [_as_dict(part) for part in tensor.parts],
    }
