"""`fastinit plan`, `fastinit write`, `fastinit recipes`: what a checkpoint holds, and the checkpoint."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Any

from fastinit.address import STREAM
from fastinit.cli.options import DONE, add_writing, announce, command, dimensions, dtype, quoted, seeded, setting
from fastinit.dtypes import FORMATS
from fastinit.formatting import columns_of, size
from fastinit.plan import Plan, load_rules, shapes_of
from fastinit.printable import printable
from fastinit.recipes import RECIPES, rules_for, tied_for
from fastinit.write import Written, write
from fastinit.write.checkpoint import split

EXAMPLES = """
  fastinit plan --shapes model.safetensors --rules rules.toml -o plan.json
  fastinit write --shapes shapes.json --rules rules.toml -o out --seed 0 --shard-size 100MB
  fastinit write --recipe gpt2 --shapes model.safetensors -o out --seed 0 --shard-size 100MB
  fastinit write --plan plan.json -o s3://bucket/fresh --seed 0
  fastinit write --config config.json -o out --seed 0        # then from_pretrained("out"); needs transformers
  fastinit plan --model package.module:callable              # imports and runs that code
"""


def add_to(commands: Any) -> None:
    """Add the commands."""
    plan = command(commands, "plan", "show which law each tensor of a checkpoint gets", EXAMPLES)
    plan.set_defaults(run=_run_plan)
    add_source(plan)
    plan.add_argument("-o", "--output", metavar="FILE", help="write the plan as JSON, for fastinit write --plan")
    plan.add_argument("--json", action="store_true", help="print the plan as JSON")

    written = command(commands, "write", "write a checkpoint of freshly initialised weights", EXAMPLES)
    written.set_defaults(run=_run_write)
    add_source(written)
    written.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FOLDER",
        help="where to write: a folder, or an address such as s3://bucket/folder",
    )
    written.add_argument("--overwrite", action="store_true", help="replace what is in the folder, complete files too")
    add_writing(written, "a file")

    known = command(commands, "recipes", "list the architectures that have ready-made rules", EXAMPLES)
    known.add_argument("--json", action="store_true", help="as one JSON object")
    known.set_defaults(run=_run_recipes)


def add_source(parser: argparse.ArgumentParser) -> None:
    """Where the plan comes from: a plan, shapes and rules, or a model's own code."""
    source = parser.add_argument_group("the plan")
    source.add_argument("--plan", metavar="FILE", help="a plan, as `fastinit plan -o` writes it")
    source.add_argument(
        "--shapes",
        metavar="PATH",
        help="names and shapes: a .safetensors file, a folder of them (only headers are read), or .json",
    )
    source.add_argument(
        "--rules",
        metavar="FILE",
        help="a TOML file of [[rule]] tables with match, scheme and the numbers of the scheme",
    )
    source.add_argument(
        "--recipe", choices=RECIPES, metavar="NAME", help=f"rules that are ready made: {', '.join(RECIPES)}"
    )
    source.add_argument(
        "--set",
        type=setting,
        action="append",
        default=[],
        metavar="NUMBER=X",
        help="a number of the recipe: layers=12, std=0.01",
    )
    source.add_argument(
        "--tie", action=argparse.BooleanOptionalAction, help="for a recipe: whether the output matrix is the embedding"
    )
    source.add_argument(
        "--config",
        metavar="PATH",
        help="a config.json of transformers, or a folder with one: the model initialises as its own code does",
    )
    source.add_argument(
        "--architecture", metavar="NAME", help="for --config: the model class, if the config does not name it"
    )
    source.add_argument(
        "--model", metavar="NAME", help="package.module:callable that builds a torch.nn.Module; this runs its code"
    )
    source.add_argument(
        "--dtype", type=dtype, choices=FORMATS, metavar="NAME", help="type of all tensors of floats: bf16, fp32, ..."
    )


def says_a_plan(options: argparse.Namespace) -> bool:
    """Whether an option of those that `add_source` adds was given."""
    names = ("plan", "shapes", "rules", "recipe", "tie", "config", "architecture", "model", "dtype")
    return bool(options.set) or any(getattr(options, name) is not None for name in names)


def planned(options: argparse.Namespace) -> tuple[Plan, dict[str, bytes]]:
    """The plan, and the small files that belong beside it."""
    if options.architecture and not options.config:
        raise ValueError("--architecture belongs to a --config")
    if options.config is None and options.model is None:
        return _plan(options), {}
    if (options.config and options.model) or options.plan or options.shapes or options.rules or options.recipe:
        raise ValueError(
            "--config and --model say shapes and laws; pass one of them, without --plan, --shapes, --rules, --recipe"
        )
    try:
        from fastinit.torch import configs
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "--config and --model need PyTorch and transformers: pip install 'fastinit-kernels[transformers]', or, "
            "from a clone, '.[transformers]'"
        ) from error

    if options.model is not None:
        return configs.from_name(options.model, dtype=options.dtype), {}
    found = configs.from_config(options.config, dtype=options.dtype, architecture=options.architecture)
    return found.plan, dict(found.files)


def _plan(options: argparse.Namespace) -> Plan:
    if (options.set or options.tie is not None) and not options.recipe:
        raise ValueError("--set and --tie belong to a --recipe; rules have their numbers in the file")
    if options.plan is not None:
        if options.shapes or options.rules or options.recipe or options.dtype:
            raise ValueError("--plan holds shapes, dtypes and laws; leave out --shapes, --rules, --recipe and --dtype")
        return Plan.load(options.plan)
    if options.shapes is None or (options.rules is None) == (options.recipe is None):
        raise ValueError("pass --plan, or --shapes with either --rules or --recipe; or --config, or --model")
    shapes = shapes_of(options.shapes)
    if options.recipe is None:
        return Plan.from_rules(shapes, load_rules(options.rules), dtype=options.dtype)
    rules = rules_for(options.recipe, shapes, **dict(options.set))
    return Plan.from_rules(shapes, rules, dtype=options.dtype, tied=tied_for(options.recipe, shapes, tie=options.tie))


def _run_recipes(options: argparse.Namespace) -> int:
    if options.json:
        rows = {name: {"what": one.what, "source": one.source, "numbers": one.numbers} for name, one in RECIPES.items()}
        print(json.dumps(rows))
        return DONE
    for name, one in RECIPES.items():
        takes = f"  (--set {', '.join(one.numbers)})" if one.numbers else ""
        print(f"{name:12} {one.what}{takes}\n{'':12} {one.source}")
    return DONE


def _run_plan(options: argparse.Namespace) -> int:
    plan, _ = planned(options)
    if options.output is not None:
        plan.save(options.output)
    if options.json:
        print(json.dumps(plan.to_json()))
        return DONE
    rows = [(printable(one.name), dimensions(one.shape), one.dtype, repr(one.law)) for one in plan.tensors]
    widths = [max((columns_of(row[i]) for row in rows), default=0) for i in range(3)]
    for name, shape, kind, law in rows:
        print(f"{name}{' ' * (widths[0] - columns_of(name))}  {shape:>{widths[1]}}  {kind:{widths[2]}}  {law}")
    print(f"{len(rows)} tensors, {plan.bytes:,} bytes, plan {plan.digest}")
    return DONE


def _run_write(options: argparse.Namespace) -> int:
    plan, beside = planned(options)
    seed, progress = seeded(options)
    count = len(split(plan, options.shard_size))
    announce(
        options,
        f"write {len(plan.tensors):,} tensors, {size(plan.bytes)}, to {printable(options.output)} in {files(count)}, "
        f"seed {seed}",
    )
    with progress:
        report = write(
            plan,
            options.output,
            seed=seed,
            shard_size=options.shard_size,
            threads=options.threads,
            progress=progress.show,
            durable=not options.no_fsync,
            overwrite=options.overwrite,
            beside=beside,
        )
    if options.json:
        values = dataclasses.asdict(report) | {"gigabytes_per_second": report.gigabytes_per_second, "plan": plan.digest}
        print(json.dumps(values))
    elif not options.quiet:
        print(_summary(report, plan))
    return DONE


def _summary(report: Written, plan: Plan) -> str:
    """What a person wants to know of a checkpoint that was written."""
    kept = f", {len(report.skipped)} of them whole already" if report.skipped else ""
    return "\n".join(
        (
            f"{printable(report.folder)}: {report.tensors:,} tensors, {report.bytes:,} bytes in "
            f"{files(len(report.files))}{kept}",
            f"seed  {report.seed}, stream {STREAM}, plan {plan.digest}",
            f"time  {report.seconds:.2f} s, {report.gigabytes_per_second:.2f} GB/s",
            f"next  fastinit verify {quoted(report.folder)}",
        )
    )


def files(count: int) -> str:
    """How many, in words."""
    return "1 file" if count == 1 else f"{count:,} files"
