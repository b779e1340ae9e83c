"""`fastinit fill`: one weight file."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Any

from fastinit.address import STREAM
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
from fastinit.dtypes import FORMATS
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
    fill.description = "Create a .npy or .bin file and fill it. It appears under its name when it is whole."
    fill.set_defaults(run=_run_fill)
    fill.add_argument("path", help="ends in .npy, or in .bin for the bare elements in row-major order")

    what = fill.add_argument_group("what to draw")
    what.add_argument("--shape", type=shape, metavar="N,M", help="of the tensor, in elements: 4096,1024 or 4096x1024")
    what.add_argument("--scheme", required=True, choices=SCHEMES, metavar="NAME", help=", ".join(SCHEMES))
    what.add_argument(
        "--dtype", type=dtype, metavar="NAME", help=f"default float32 (--existing .npy: its own); {', '.join(FORMATS)}"
    )
    add_seed(what)
    what.add_argument("--name", default="", help="of the tensor; same seed and same name give the same values")

    numbers = fill.add_argument_group("numbers of the scheme (a scheme refuses those it has no use for)")
    numbers.add_argument("--fan-in", type=float, metavar="N", help="inputs of a unit; default: from shape and layout")
    numbers.add_argument("--fan-out", type=float, metavar="N", help="outputs of a unit; default: from shape and layout")
    numbers.add_argument(
        "--layout",
        choices=LAYOUTS,
        metavar="NAME",
        help=f"which dimensions are inputs and outputs; default torch, of three dimensions none: {', '.join(LAYOUTS)}",
    )
    numbers.add_argument("--in-axis", type=axes, metavar="N,...", help="axes of the inputs, in place of a layout")
    numbers.add_argument("--out-axis", type=axes, metavar="N,...", help="axes of the outputs, in place of a layout")
    numbers.add_argument("--batch-axis", type=axes, metavar="N,...", help="axes that count copies: experts, heads")
    numbers.add_argument("--gain", type=float, metavar="X", help="multiplies the standard deviation; default 1")
    numbers.add_argument("--negative-slope", type=float, metavar="X", help="of a leaky ReLU; default 0")
    numbers.add_argument("--truncated", action="store_true", default=None, help="cut the normal at 2 sigma, same std")
    numbers.add_argument("--mean", type=float, metavar="X")
    numbers.add_argument("--std", type=float, metavar="X")
    numbers.add_argument("--low", type=float, metavar="X")
    numbers.add_argument("--high", type=float, metavar="X")
    numbers.add_argument("--value", type=number, metavar="X")
    numbers.add_argument("--sigmas", type=pair, metavar="A,B", help="where to cut, in std from the mean; default -2,2")
    numbers.add_argument("--bounds", type=pair, metavar="A,B", help="where to cut, absolute")
    numbers.add_argument("--corrected", action="store_true", default=None, help="widen the parent: std after the cut")
    numbers.add_argument("--scale", type=float, metavar="X", help="of variance_scaling: variance = scale / fan")
    numbers.add_argument(
        "--mode",
        choices=("fan_in", "fan_out", "fan_avg", "fan_geo_avg"),
        help="which fan the scheme takes; default fan_in",
    )
    numbers.add_argument("--sparsity", type=float, metavar="X", help="of sparse: share of zeros on a line")
    numbers.add_argument("--nonzeros", type=int, metavar="N", help="of sparse: survivors on a line, instead")
    numbers.add_argument("--axis", type=int, metavar="N", help="of the lines of sparse, the parts of blocks; default 0")
    numbers.add_argument("--flatten", choices=("torch", "jax"), help="of orthogonal: rows first, or columns last")
    numbers.add_argument("--batch", type=int, metavar="N", help="of orthogonal: leading dimensions that count matrices")
    numbers.add_argument("--layers", type=float, metavar="N", help="transformer blocks of the whole model")
    numbers.add_argument("--width", type=float, metavar="N", help="of the residual stream")
    numbers.add_argument("--base-fan-in", type=float, metavar="N", help="of mup_normal: fan_in of the base model")
    numbers.add_argument("--first", action="store_true", default=None, help="of siren_uniform: the first layer")
    numbers.add_argument("--omega", type=float, metavar="X", help="of siren_uniform; default 30")
    numbers.add_argument("--forget", type=float, metavar="X", help="of lstm_bias: the forget gate's bias; default 1")
    numbers.add_argument("--floor", type=float, metavar="X", help="of mamba_dt_bias: the shortest step; default 1e-4")
    numbers.add_argument("--groups", type=int, metavar="N", help="of a convolution; projections fused in one")
    numbers.add_argument(
        "--part",
        type=part,
        action="append",
        dest="parts",
        metavar="TABLE",
        help="of blocks, one for each part, in order: 'size = 4096, scheme = \"normal\", std = 0.02'; parts without a "
        "size share what the others leave",
    )
    numbers.add_argument("--distribution", help="of variance_scaling: truncated_normal, normal or uniform")

    # Each of these options is the number of its name, which a scheme takes or refuses.
    fill.set_defaults(numbers=[option.dest for option in numbers._group_actions])

    how = fill.add_argument_group("how")
    how.add_argument("--threads", type=int, metavar="N", help="default: the CPUs this process may use")
    how.add_argument("--overwrite", action="store_true", help="replace an existing file, once the new one is whole")
    how.add_argument("--existing", action="store_true", help="fill an existing file in place")
    how.add_argument("--no-fsync", action="store_true", help="do not wait for the disk; a power cut may lose the file")
    how.add_argument("--json", action="store_true", help="print the report as one JSON object")
    how.add_argument("--quiet", action="store_true", help="no progress and no report; only a seed that was drawn")


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


def _summary(report: Report, *, durable: bool) -> str:
    """What a person wants to know of a file that was filled."""
    seen = (
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
            f"on {report.threads} threads{synced}",
            f"mean  {report.mean:.6g} measured, {report.expected_mean:.6g} expected",
            f"std   {report.std:.6g} measured, {report.expected_std:.6g} expected ({seen})",
            f"range {report.minimum:.6g} to {report.maximum:.6g}",
        )
    )
