"""`fastinit fill`: one weight file."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Any, get_args

from fastinit.address import STREAM
from fastinit.choices import Flatten, Mode
from fastinit.cli.options import (
    DONE,
    add_seed,
    axes,
    command,
    dtype,
    flag,
    number,
    pair,
    part,
    plain,
    seeded,
    shape,
)
from fastinit.dtypes import FORMATS, PARTS
from fastinit.fans import LAYOUTS
from fastinit.files.npy import Report, fill_file, stored_shape
from fastinit.laws import Law
from fastinit.printable import printable
from fastinit.scheme_names import SCHEMES, law_of

EXAMPLES = """
  fastinit fill weights.npy --shape 32768,8192 --scheme he_normal --fan-in 8192 --seed 0
  fastinit fill conv.npy --shape 64,3,7,7 --scheme kaiming_normal --negative-slope 0.01 --seed 0 --name stem
  fastinit fill embed.bin --shape 128256,4096 --dtype bfloat16 --scheme normal --std 0.02 --seed 7 --name embed
  fastinit fill head.npy --shape 1000,2048 --scheme truncated_normal --std 0.02 --bounds -0.04,0.04 --seed 7 --name head
  fastinit fill recurrent.npy --shape 4096,4096 --scheme orthogonal --seed 0 --name recurrent
  fastinit fill weights.npy --existing --scheme zeros
  fastinit fill experts.npy --shape 8,4096,1024 --scheme he_normal --layout experts_out_in --seed 0 --name experts
  fastinit fill qkv.npy --shape 6144,4096 --scheme blocks --seed 0 --name qkv \\
      --part 'size = 4096, scheme = "xavier_normal"' --part 'scheme = "xavier_normal"' --part 'scheme = "normal"'
"""


def add_to(commands: Any) -> None:
    """Add the command."""
    fill = command(commands, "fill", "create a weight file, or fill one in place", EXAMPLES)
    fill.description = "Create a .npy or .bin file and fill it. It gets its name when it is complete."
    fill.set_defaults(run=_run_fill)
    fill.add_argument("path", help="file to write: .npy, or .bin for the bare elements in row-major order")

    what = fill.add_argument_group("what to draw")
    what.add_argument("--shape", type=shape, metavar="N,M", help="shape of the tensor: 4096,1024 or 4096x1024")
    what.add_argument(
        "--scheme", required=True, choices=SCHEMES, metavar="NAME", help=f"initialisation scheme: {', '.join(SCHEMES)}"
    )
    what.add_argument(
        "--dtype",
        type=dtype,
        metavar="NAME",
        help=f"type of the elements, float32 if not given (with --existing the type of the file): {', '.join(FORMATS)}",
    )
    add_seed(what)
    what.add_argument("--name", default="", help="name of the tensor; the same seed and name give the same values")

    numbers = fill.add_argument_group("numbers of the scheme (one that the scheme does not use is an error)")
    numbers.add_argument(
        "--fan-in", type=float, metavar="N", help="number of inputs of one unit; default: from shape and layout"
    )
    numbers.add_argument(
        "--fan-out", type=float, metavar="N", help="number of outputs of one unit; default: from shape and layout"
    )
    numbers.add_argument(
        "--layout",
        choices=LAYOUTS,
        metavar="NAME",
        help=f"which axes are inputs and outputs; default torch, required for three dimensions: {', '.join(LAYOUTS)}",
    )
    numbers.add_argument("--in-axis", type=axes, metavar="N,...", help="axes of the inputs, instead of a layout")
    numbers.add_argument("--out-axis", type=axes, metavar="N,...", help="axes of the outputs, instead of a layout")
    numbers.add_argument(
        "--batch-axis", type=axes, metavar="N,...", help="axes that count independent copies, such as experts or heads"
    )
    numbers.add_argument("--gain", type=float, metavar="X", help="factor on the standard deviation; default 1")
    numbers.add_argument(
        "--negative-slope", type=float, metavar="X", help="slope of a leaky ReLU behind the layer; default 0"
    )
    numbers.add_argument(
        "--truncated",
        action="store_true",
        default=None,
        help="cut the normal at 2 standard deviations and keep its std",
    )
    numbers.add_argument("--mean", type=float, metavar="X", help="mean of the law; default 0")
    numbers.add_argument("--std", type=float, metavar="X", help="standard deviation of the law")
    numbers.add_argument("--low", type=float, metavar="X", help="lower end of the range, included")
    numbers.add_argument("--high", type=float, metavar="X", help="upper end of the range, excluded")
    numbers.add_argument("--value", type=number, metavar="X", help="the value of constant")
    numbers.add_argument(
        "--sigmas", type=pair, metavar="A,B", help="where to cut, in standard deviations from the mean; default -2,2"
    )
    numbers.add_argument("--bounds", type=pair, metavar="A,B", help="where to cut, as absolute values")
    numbers.add_argument(
        "--corrected", action="store_true", default=None, help="make --std the standard deviation after the cut"
    )
    numbers.add_argument("--scale", type=float, metavar="X", help="for variance_scaling: the variance is scale / fan")
    numbers.add_argument(
        "--mode",
        choices=get_args(Mode),
        help="which fan the scheme uses; default fan_in",
    )
    numbers.add_argument("--sparsity", type=float, metavar="X", help="for sparse: share of zeros on a line")
    numbers.add_argument(
        "--nonzeros",
        type=int,
        metavar="N",
        help="for sparse: how many elements of a line are not zero, instead of --sparsity",
    )
    numbers.add_argument(
        "--axis", type=int, metavar="N", help="for sparse: axis of the lines; for blocks: axis of the parts; default 0"
    )
    numbers.add_argument(
        "--flatten",
        choices=get_args(Flatten),
        help="for orthogonal: rows are the first dimension (torch), or columns the last (jax)",
    )
    numbers.add_argument(
        "--batch", type=int, metavar="N", help="for orthogonal: how many leading dimensions count matrices"
    )
    numbers.add_argument("--layers", type=float, metavar="N", help="number of transformer blocks of the whole model")
    numbers.add_argument("--width", type=float, metavar="N", help="width of the residual stream")
    numbers.add_argument("--base-fan-in", type=float, metavar="N", help="for mup_normal: fan_in in the base model")
    numbers.add_argument(
        "--first", action="store_true", default=None, help="for siren_uniform: this is the first layer"
    )
    numbers.add_argument(
        "--omega", type=float, metavar="X", help="for siren_uniform: the factor inside the sine; default 30"
    )
    numbers.add_argument("--forget", type=float, metavar="X", help="for lstm_bias: bias of the forget gate; default 1")
    numbers.add_argument("--floor", type=float, metavar="X", help="for mamba_dt_bias: the shortest step; default 1e-4")
    numbers.add_argument(
        "--groups",
        type=int,
        metavar="N",
        help="number of groups of a convolution, or of projections fused in one matrix",
    )
    numbers.add_argument(
        "--part",
        type=part,
        action="append",
        dest="parts",
        metavar="TABLE",
        help="for blocks, one for each part in order: 'size = 4096, scheme = \"normal\", std = 0.02'; parts without a "
        "size share what the others leave",
    )
    numbers.add_argument(
        "--distribution", metavar="NAME", help="for variance_scaling: truncated_normal, normal or uniform"
    )

    # Each of these options is the number of its name, which a scheme takes or refuses.
    fill.set_defaults(numbers=[option.dest for option in numbers._group_actions])

    how = fill.add_argument_group("how")
    how.add_argument(
        "--threads", type=int, metavar="N", help="number of threads; default: the CPUs that this process may use"
    )
    how.add_argument("--overwrite", action="store_true", help="replace an existing file once the new one is complete")
    how.add_argument("--existing", action="store_true", help="fill an existing file in place")
    how.add_argument("--no-fsync", action="store_true", help="do not wait for the disk; a power cut may lose the file")
    how.add_argument("--json", action="store_true", help="print the report as one JSON object")
    how.add_argument("--quiet", action="store_true", help="print nothing but a seed that was drawn")


def _run_fill(options: argparse.Namespace) -> int:
    if options.shape is None and options.existing and options.path.endswith(".npy"):
        options.shape = stored_shape(options.path)
    law = _law(options)
    seed, progress = seeded(options, law.draws)
    with progress:
        report = fill_file(
            options.path,
            options.shape,
            law,
            dtype=options.dtype,
            seed=seed,
            name=options.name,
            threads=options.threads,
            progress=progress.show,
            overwrite=options.overwrite,
            existing=options.existing,
            durable=not options.no_fsync,
        )
    if options.json:
        values = dataclasses.asdict(report) | {"gigabytes_per_second": report.gigabytes_per_second}
        print(json.dumps(plain(values)))
    elif not options.quiet:
        print(_summary(report, durable=not options.no_fsync))
    return DONE


def _law(options: argparse.Namespace) -> Law:
    """The law of the scheme, from the options it takes; an option it has no use for is an error, not a silence."""
    given = {name: getattr(options, name) for name in options.numbers if getattr(options, name) is not None}
    return law_of(options.scheme, given, options.shape, lambda name: flag("part" if name == "parts" else name))


def _apart(report: Report) -> str:
    """What the memory took and what the disk, where blocks are drawn in memory and then written."""
    if not report.draw_seconds:
        return ""
    speed = report.bytes / report.draw_seconds / 1e9
    return f"\n      drawn in memory in {report.draw_seconds:.2f} s of it, {speed:.2f} GB/s; the rest is the disk's"


def _summary(report: Report, *, durable: bool) -> str:
    """What a person wants to know of a file that was filled."""
    seen = "of the magnitudes " if report.dtype in PARTS else ""
    seen += (
        "of all elements"
        if report.measured_elements == report.elements
        else f"of {report.measured_elements:,} of {report.elements:,} elements, every 16th MiB"
    )
    named = f", name {report.name!r}" if report.name != "" else ""
    synced = f"; {report.seconds:.2f} s with the sync to disk" if durable else ", not synced to disk"
    return "\n".join(
        (
            f"{printable(report.path)}: {report.dtype} {report.shape}, {report.bytes:,} bytes",
            f"law   {report.law}, seed {report.seed}{named}, stream {STREAM}",
            f"time  {report.write_seconds:.2f} s, {report.gigabytes_per_second:.2f} GB/s "
            f"on {report.threads} threads{synced}{_apart(report)}",
            f"mean  {report.mean:.6g} measured, {report.expected_mean:.6g} expected",
            f"std   {report.std:.6g} measured, {report.expected_std:.6g} expected ({seen})",
            f"range {report.minimum:.6g} to {report.maximum:.6g}",
        )
    )
