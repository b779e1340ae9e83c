"""`fastinit edit`: change some tensors of a checkpoint without loading it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Any

from fastinit.cli.options import (
    DONE,
    add_writing,
    announce,
    command,
    dimensions,
    dtype_called,
    flag,
    part,
    plain,
    quoted,
    seeded,
    setting,
    shape,
)
from fastinit.dtypes import FORMATS
from fastinit.edit import (
    Add,
    Cast,
    Configure,
    Copy,
    Delete,
    Edit,
    Edited,
    Laws,
    Operation,
    Redraw,
    Rename,
    Resize,
    edit,
)
from fastinit.edit.changes import KEPT
from fastinit.plan import Plan, Rule, load_rules
from fastinit.printable import printable
from fastinit.recipes import RECIPES

EXAMPLES = """
  fastinit edit llama --redraw 'lm_head\\..*' --law 'scheme = "normal", std = 0.02' --seed 1
  fastinit edit llama --redraw '.*\\.mlp\\..*' --recipe llama --seed 1 -o fresh-mlp
  fastinit edit llama --resize model.embed_tokens.weight +1000 --multiple-of 64 --seed 1
  fastinit edit llama --copy 'model\\.layers\\.([4-7])\\.(.*)' 'model.layers.{1+4}.{2}' --configure num_hidden_layers=12
  fastinit edit llama --copy '(.*)\\.mlp\\.(.*)' '{1}.experts.{0..3}.{2}' --noise 0.001 --delete '.*\\.mlp\\..*' -o moe
  fastinit edit llama --dtype bfloat16 --dry-run

Operations are applied in their order. A pattern is a regular expression that matches a whole name. In the new name {1}
is its first group, {1+4} that number plus 4, and {0..3} each number from 0 to 3.
"""
# Options that say more of the operation before them, and for which they have a meaning.
FURTHER = {
    "law": (Redraw, Resize, Add),
    "rules": (Redraw, Resize),
    "recipe": (Redraw, Resize),
    "set": (Redraw, Resize),
    "plan": (Redraw, Resize),
    "covariance": (Resize,),
    "multiple_of": (Resize,),
    "only": (Resize,),
    "noise": (Copy,),
}
IN_PLACE = "editing in place: if this is killed, run the same command with the same seed again to finish it"
MOST_SHOWN = 100  # changes of tensors, in the report for people


class _Step(argparse.Action):
    """Append an operation, or what is said of the last one, to one list: their order counts."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        steps = list(getattr(namespace, "steps", None) or ())
        if self.dest not in FURTHER:
            steps.append((self.dest, values, {}))
        else:
            if not steps:
                parser.error(f"{option_string} says more of an operation; give it behind one, such as --redraw PATTERN")
            further = dict(steps[-1][2])
            if self.dest == "set":
                further["set"] = {**further.get("set", {}), values[0]: values[1]}
            elif self.dest in further:
                parser.error(f"{option_string} is said twice of one operation")
            else:
                further[self.dest] = values
            steps[-1] = (*steps[-1][:2], further)
        namespace.steps = steps


def add_to(commands: Any) -> None:
    """Add the command."""
    parser = command(commands, "edit", "change some tensors of a checkpoint without loading it", EXAMPLES)
    parser.set_defaults(run=_run_edit, steps=[])
    parser.add_argument("path", help="a .safetensors file or a folder of them, whoever wrote them")
    what = parser.add_argument_group("operations, applied in their order")

    def step(name: str, **options: Any) -> None:
        what.add_argument(flag(name), action=_Step, dest=name, default=argparse.SUPPRESS, **options)

    step(
        "redraw",
        metavar="PATTERN",
        help="draw tensors again, by the law that follows or else by the one their file records",
    )
    step(
        "resize",
        nargs=2,
        metavar=("NAME", "ROWS"),
        help="give an embedding and its output matrix another number of rows: 33000, or +1000",
    )
    step("copy", nargs=2, metavar=("PATTERN", "NEW"), help="copy tensors to new names")
    step("rename", nargs=2, metavar=("PATTERN", "NEW"), help="rename tensors")
    step("delete", metavar="PATTERN", help="remove tensors")
    step("dtype", metavar="[PATTERN=]DTYPE", help=f"convert tensors of floats to {', '.join(FORMATS)}")
    step("add", nargs=2, metavar=("NAME", "SHAPE"), help="add a tensor, whose --law follows: gate.{0..7}.weight 4,64")
    step("configure", metavar="KEY=VALUE", help="set an entry of config.json; VALUE is JSON or a word")
    step("edit", metavar="FILE", help="apply the operations of a file that --save wrote")
    more = parser.add_argument_group("details of the operation before")
    for name, options in (
        (
            "law",
            {"type": part, "metavar": "TABLE", "help": "a scheme and its numbers: 'scheme = \"normal\", std = 0.02'"},
        ),
        ("rules", {"metavar": "FILE", "help": "a TOML file; the first [[rule]] that matches a tensor counts"}),
        ("recipe", {"choices": RECIPES, "metavar": "NAME", "help": f"rules that are ready made: {', '.join(RECIPES)}"}),
        ("set", {"type": setting, "metavar": "NUMBER=X", "help": "a number of the recipe: layers=12, std=0.01"}),
        ("plan", {"metavar": "FILE", "help": "take the laws of a plan, tensor by tensor"}),
        (
            "covariance",
            {
                "type": float,
                "metavar": "X",
                "help": "covariance of new rows, as a multiple of that of the old ones; default 1e-9",
            },
        ),
        ("multiple_of", {"type": int, "metavar": "N", "help": "round the number of rows up to a multiple of N"}),
        ("only", {"nargs": 0, "help": "resize this tensor alone, not the output matrix and config.json"}),
        (
            "noise",
            {"type": float, "metavar": "STD", "help": "standard deviation of normal noise that is added to copies"},
        ),
    ):
        more.add_argument(flag(name), action=_Step, dest=name, default=argparse.SUPPRESS, **options)
    where = parser.add_argument_group("where it goes, and how")
    where.add_argument(
        "-o", "--output", metavar="FOLDER", help="write a new checkpoint there; default: change this one"
    )
    where.add_argument(
        "--in-place",
        action="store_true",
        help="overwrite what --redraw draws again, without new files; after a kill, run the same command again",
    )
    where.add_argument(
        "--dry-run", action="store_true", help="show what would change, tensor by tensor, and change nothing"
    )
    where.add_argument("--save", metavar="FILE", help="write the operations as JSON, for --edit")
    add_writing(where, "a new file")


def _operations(steps: Sequence[tuple[str, Any, dict[str, Any]]]) -> list[Operation]:
    """The operations of the command line, in their order."""
    found: list[Operation] = []
    for name, values, further in steps:
        if name == "edit":
            found += Edit.load(values)
        else:
            found.append(_operation(name, values, further))
        for more in further:
            if name == "edit" or not isinstance(found[-1], FURTHER[more]):
                kinds = " and ".join(f"--{kind.op}" for kind in FURTHER[more])
                raise ValueError(f"{flag(more)} behind --{name} has no meaning; it belongs to {kinds}")
    return found


def _operation(name: str, values: Any, further: dict[str, Any]) -> Operation:
    match name:
        case "redraw":
            return Redraw(values, _laws(further))
        case "resize":
            numbers = {"covariance": further["covariance"]} if "covariance" in further else {}
            multiple, only = further.get("multiple_of", 1), "only" in further
            return Resize(values[0], values[1], _laws(further), multiple=multiple, only=only, **numbers)
        case "copy":
            return Copy(values[0], values[1], further.get("noise", 0.0))
        case "rename":
            return Rename(values[0], values[1])
        case "delete":
            return Delete(values)
        case "dtype":
            pattern, _, target = values.rpartition("=")
            return Cast(dtype_called(target), pattern or ".*")
        case "add":
            if "law" not in further:
                raise ValueError(f"add {values[0]!r}: its law is missing: --law 'scheme = \"zeros\"'")
            try:
                return Add(values[0], shape(values[1]), further["law"])
            except argparse.ArgumentTypeError as error:
                raise ValueError(f"add {values[0]!r}: {error}") from None
    key, sign, value = values.partition("=")
    if not sign:
        raise ValueError(f"configure {values!r}; give a key and a value, such as num_hidden_layers=12")
    try:
        return Configure(key, json.loads(value))
    except (ValueError, RecursionError):
        return Configure(key, value)


def _laws(further: dict[str, Any]) -> Laws:
    """Where the laws of a --redraw come from."""
    given = [name for name in ("law", "rules", "recipe", "plan") if name in further]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(map(flag, given))} are said of one operation; give one of them")
    if "set" in further and "recipe" not in further:
        raise ValueError("--set belongs to a --recipe; rules and laws have their numbers")
    if "plan" in further:
        return Laws.of_plan(Plan.load(further["plan"]))
    if "rules" in further:
        return Laws(rules=tuple(load_rules(further["rules"])))
    if "law" in further:
        table = dict(further["law"])
        scheme, dtype = table.pop("scheme", None), table.pop("dtype", None)
        return Laws(rules=(Rule("(?s:.*)", scheme, table, dtype),))
    return Laws(recipe=further.get("recipe"), numbers=further.get("set", {}))


def _run_edit(options: argparse.Namespace) -> int:
    operations = _operations(options.steps)
    if options.save is not None:
        Edit(*operations).save(options.save)
    seed, progress = seeded(options, any(one.draws for one in operations))
    if options.in_place and not options.dry_run and not options.quiet:
        print(f"fastinit: {IN_PLACE}; its seed is {seed}", file=sys.stderr, flush=True)
    what = ", ".join(f"--{name}" for name, _, _ in options.steps)
    where = printable(options.output or options.path)
    if not options.dry_run:
        announce(options, f"apply {what or 'nothing'} to {printable(options.path)}, into {where}, seed {seed}")
    with progress:
        report = edit(
            options.path,
            operations,
            output=options.output,
            in_place=options.in_place,
            dry_run=options.dry_run,
            seed=seed,
            shard_size=options.shard_size,
            threads=options.threads,
            progress=progress.show,
            durable=not options.no_fsync,
        )
    if options.json:
        print(json.dumps(plain(dataclasses.asdict(report) | {"bytes_written": report.changes.bytes_written})))
    elif not options.quiet:
        print(_report(report))
    return DONE


def _report(report: Edited) -> str:
    """What a person wants to know: the tensors that change, the files, and the bytes."""
    changes, lines = report.changes, []
    if report.recovered:
        lines.append("removed what an edit that did not end had left")
    for one in changes.tensors[: None if report.dry_run else MOST_SHOWN]:
        lines.append(
            f"{printable(one.name)}  {dimensions(one.shape)} {one.dtype}, {one.bytes:,} bytes: {printable(one.how)}"
        )
    if not report.dry_run and len(changes.tensors) > MOST_SHOWN:
        lines.append(f"... and {len(changes.tensors) - MOST_SHOWN:,} more tensors")
    lines += [f"config.json: {printable(key)} = {printable(json.dumps(value))}" for key, value in changes.settings]
    lines += [f"{printable(one.name)}  {one.what}, {one.bytes:,} bytes" for one in changes.files if one.what != KEPT]
    lines += map(printable, changes.notes)
    kept = sum(one.what == KEPT for one in changes.files)
    where = printable(report.output or report.path)
    did = "would be written" if report.dry_run else "written"
    lines.append(
        f"{where}: {len(changes.tensors):,} tensors changed, {changes.bytes_written:,} bytes {did}"
        f"{f', {kept} files kept' if kept else ''}"
    )
    lines.append(f"seed  {report.seed}")
    if report.dry_run:
        lines.append(f"next  the same without --dry-run, with --seed {report.seed}: nothing is changed yet")
    else:
        lines.append(f"time  {report.seconds:.2f} s")
        lines.append(f"next  fastinit verify {quoted(report.output or report.path)}")
    return "\n".join(lines)
