"""The command line: `fastinit fill`, `fastinit selftest`, `fastinit info`. See docs/files.md."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import math
import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from fastinit import architectures, schemes, selftest, structures
from fastinit.about import __version__, info
from fastinit.address import STREAM
from fastinit.dtypes import FORMATS
from fastinit.fans import LAYOUTS, fans
from fastinit.files.npy import Report, fill_file, stored_shape
from fastinit.laws import Law

DONE, FAILED, USAGE = 0, 1, 2

SCHEMES: dict[str, Callable[..., Law]] = {
    "zeros": schemes.zeros,
    "ones": schemes.ones,
    "constant": schemes.constant,
    "uniform": schemes.uniform,
    "normal": schemes.normal,
    "truncated_normal": schemes.truncated_normal,
    "xavier_uniform": schemes.xavier_uniform,
    "xavier_normal": schemes.xavier_normal,
    "glorot_uniform": schemes.xavier_uniform,
    "glorot_normal": schemes.xavier_normal,
    "he_uniform": schemes.he_uniform,
    "he_normal": schemes.he_normal,
    "kaiming_uniform": schemes.he_uniform,
    "kaiming_normal": schemes.he_normal,
    "lecun_uniform": schemes.lecun_uniform,
    "lecun_normal": schemes.lecun_normal,
    "variance_scaling": schemes.variance_scaling,
    "sparse": structures.sparse,
    "orthogonal": structures.orthogonal,
    "identity": structures.identity,
    "dirac": structures.dirac,
    "delta_orthogonal": structures.delta_orthogonal,
    "lstm_bias": architectures.lstm_bias,
    "siren_uniform": architectures.siren_uniform,
    "residual_normal": architectures.residual_normal,
    "small_normal": architectures.small_normal,
    "wang_normal": architectures.wang_normal,
    "mup_normal": architectures.mup_normal,
    "mamba_a_log": architectures.mamba_a_log,
    "mamba_dt_bias": architectures.mamba_dt_bias,
    "mamba2_a_log": architectures.mamba2_a_log,
}

EXAMPLES = """\
examples:
  fastinit fill weights.npy --shape 32768,8192 --scheme he_normal --fan-in 8192 --seed 0
  fastinit fill conv.npy --shape 64,3,7,7 --scheme kaiming_normal --negative-slope 0.01 --seed 0 --name stem
  fastinit fill embed.bin --shape 128256,4096 --dtype bfloat16 --scheme normal --std 0.02 --seed 7 --name embed
  fastinit fill head.npy --shape 1000,2048 --scheme truncated_normal --std 0.02 --bounds -0.04,0.04 --seed 7 --name head
  fastinit fill recurrent.npy --shape 4096,4096 --scheme orthogonal --seed 0 --name recurrent
  fastinit fill weights.npy --existing --scheme zeros

exit codes: 0 done; 1 failed (disk, permissions, interrupted); 2 the command line makes no sense
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 is fine, 1 a failure, 2 a command line that makes no sense."""
    try:
        options = _parser().parse_args(_joined(sys.argv[1:] if argv is None else argv))
        return int(options.run(options))
    except SystemExit as stop:  # argparse has printed help, version, or what is wrong
        return stop.code if isinstance(stop.code, int) else USAGE
    except (TypeError, ValueError) as error:
        return _complain(str(error), USAGE)
    except OSError as error:
        return _complain(error.strerror or str(error), FAILED)
    except KeyboardInterrupt:
        return _complain("interrupted", FAILED)


def _complain(message: str, code: int) -> int:
    print(f"fastinit: error: {message}", file=sys.stderr)
    return code


# --- the options ------------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastinit",
        description="Fill weight files at memory speed, with the same bits for every number of threads.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"fastinit {__version__}, stream {STREAM}")
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_fill(commands)

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
    return parser


def _add_fill(commands: Any) -> None:
    fill = commands.add_parser(
        "fill",
        help="create a weight file, or fill one in place",
        description="Create a .npy or .bin file and fill it. It appears under its name when it is whole.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    fill.set_defaults(run=_run_fill)
    fill.add_argument("path", help="ends in .npy, or in .bin for the bare elements in row-major order")

    what = fill.add_argument_group("what to draw")
    what.add_argument("--shape", type=_shape, metavar="N,M,...", help="of the tensor, in elements")
    what.add_argument("--scheme", required=True, choices=SCHEMES, metavar="NAME", help=", ".join(SCHEMES))
    what.add_argument("--dtype", help=f"default float32 (--existing .npy: its own); {', '.join(FORMATS)}")
    what.add_argument("--seed", type=int, metavar="N", help="0 to 2^64 - 1; default: a fresh one, which is printed")
    what.add_argument("--name", default="", help="of the tensor; same seed and same name give the same values")

    numbers = fill.add_argument_group("numbers of the scheme (a scheme refuses those it has no use for)")
    numbers.add_argument("--fan-in", type=float, metavar="N", help="inputs of a unit; default: from shape and layout")
    numbers.add_argument("--fan-out", type=float, metavar="N", help="outputs of a unit; default: from shape and layout")
    numbers.add_argument("--layout", choices=LAYOUTS, help="which dimensions are inputs and outputs; default torch")
    numbers.add_argument("--gain", type=float, metavar="X", help="multiplies the standard deviation; default 1")
    numbers.add_argument("--negative-slope", type=float, metavar="X", help="of a leaky ReLU; default 0")
    numbers.add_argument("--truncated", action="store_true", default=None, help="cut the normal at 2 sigma, same std")
    numbers.add_argument("--mean", type=float, metavar="X")
    numbers.add_argument("--std", type=float, metavar="X")
    numbers.add_argument("--low", type=float, metavar="X")
    numbers.add_argument("--high", type=float, metavar="X")
    numbers.add_argument("--value", type=_number, metavar="X")
    numbers.add_argument("--sigmas", type=_pair, metavar="A,B", help="where to cut, in std from the mean; default -2,2")
    numbers.add_argument("--bounds", type=_pair, metavar="A,B", help="where to cut, absolute")
    numbers.add_argument("--corrected", action="store_true", default=None, help="widen the parent: std after the cut")
    numbers.add_argument("--scale", type=float, metavar="X", help="of variance_scaling: variance = scale / fan")
    numbers.add_argument("--mode", choices=("fan_in", "fan_out", "fan_avg"), help="of variance_scaling; default fan_in")
    numbers.add_argument("--sparsity", type=float, metavar="X", help="of sparse: share of zeros on a line")
    numbers.add_argument("--nonzeros", type=int, metavar="N", help="of sparse: survivors on a line, instead")
    numbers.add_argument("--axis", type=int, metavar="N", help="of sparse: along which a line runs; default 0")
    numbers.add_argument("--flatten", choices=("torch", "jax"), help="of orthogonal: rows first, or columns last")
    numbers.add_argument("--batch", type=int, metavar="N", help="of orthogonal: leading dimensions that count matrices")
    numbers.add_argument("--layers", type=float, metavar="N", help="transformer blocks of the whole model")
    numbers.add_argument("--width", type=float, metavar="N", help="of the residual stream")
    numbers.add_argument("--base-fan-in", type=float, metavar="N", help="of mup_normal: fan_in of the base model")
    numbers.add_argument("--first", action="store_true", default=None, help="of siren_uniform: the first layer")
    numbers.add_argument("--omega", type=float, metavar="X", help="of siren_uniform; default 30")
    numbers.add_argument("--forget", type=float, metavar="X", help="of lstm_bias: the forget gate's bias; default 1")
    numbers.add_argument("--floor", type=float, metavar="X", help="of mamba_dt_bias: the shortest step; default 1e-4")
    numbers.add_argument("--groups", type=int, metavar="N", help="of dirac: groups of the convolution; default 1")
    numbers.add_argument("--distribution", help="of variance_scaling: truncated_normal, normal or uniform")

    how = fill.add_argument_group("how")
    how.add_argument("--threads", type=int, metavar="N", help="default: the CPUs this process may use")
    how.add_argument("--overwrite", action="store_true", help="replace an existing file, once the new one is whole")
    how.add_argument("--existing", action="store_true", help="fill an existing file in place")
    how.add_argument("--no-fsync", action="store_true", help="do not wait for the disk; a power cut may lose the file")
    how.add_argument("--json", action="store_true", help="print the report as one JSON object")
    how.add_argument("--quiet", action="store_true", help="no progress and no report; only a seed that was drawn")


def _joined(argv: Sequence[str]) -> list[str]:
    """Join "--low", "-1e-3" to "--low=-1e-3": argparse takes some negative numbers, and all pairs, for options."""
    joined: list[str] = []
    for word in argv:
        negative = re.match(r"-(\d|\.|inf)", word)
        if negative and joined and joined[-1].startswith("--") and "=" not in joined[-1]:
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _shape(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(length) for length in text.split(",")) if text else ()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}; give integers with commas, such as 32768,8192") from None


def _pair(text: str) -> tuple[float, float]:
    try:
        low, high = (float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}; give two numbers with a comma, such as -2,2") from None
    return low, high


def _number(text: str) -> float | int:
    """An integer stays one, so that it keeps all its digits for an integer dtype."""
    try:
        return int(text)
    except ValueError:
        return float(text)


# --- fill -------------------------------------------------------------------------------------------------------------


def _run_fill(options: argparse.Namespace) -> int:
    if options.shape is None and options.existing and options.path.endswith(".npy"):
        options.shape = stored_shape(options.path)
    law = _law(options)
    with _Progress(hidden=options.quiet or options.json or not sys.stderr.isatty()) as progress:
        report = fill_file(
            options.path,
            options.shape,
            law,
            dtype=options.dtype,
            seed=options.seed,
            name=options.name,
            threads=options.threads,
            progress=progress.show,
            overwrite=options.overwrite,
            existing=options.existing,
            durable=not options.no_fsync,
        )
    if options.json:
        print(json.dumps(_plain(report)))
    elif not options.quiet:
        print(_summary(report, durable=not options.no_fsync))
    elif options.seed is None:
        print(f"seed {report.seed}")
    return DONE


NUMBERS = (
    *("fan_in", "fan_out", "layout", "gain", "negative_slope", "truncated", "mean", "std", "low", "high", "value"),
    *("sigmas", "bounds", "corrected", "scale", "mode", "distribution"),
    *("sparsity", "nonzeros", "axis", "flatten", "batch", "groups"),
    *("layers", "width", "base_fan_in", "first", "omega", "forget", "floor"),
)


def _law(options: argparse.Namespace) -> Law:
    """The law of the scheme, from the options it takes; an option it has no use for is an error, not a silence."""
    scheme = SCHEMES[options.scheme]
    takes = inspect.signature(scheme).parameters
    useful = set(takes)
    if "fan" in takes:
        useful |= {"fan_in", "fan_out", "mode"}
    if useful & {"fan_in", "fan_out"}:
        useful.add("layout")
    given = {name: getattr(options, name) for name in NUMBERS if getattr(options, name) is not None}
    for name in given:
        if name not in useful:
            _refuse(f"{options.scheme} has no use for {_flag(name)}")
    if "fan" in takes:
        given["fan"] = _fan(options)
    for side in ("fan_in", "fan_out"):
        if side in takes and side not in given:
            given[side] = _derived_fan(options, side)
    arguments = {name: value for name, value in given.items() if name in takes}
    for name, parameter in takes.items():
        if parameter.default is inspect.Parameter.empty and name not in arguments:
            _refuse(f"{options.scheme} needs {_flag(name)}")
    return scheme(**arguments)


def _fan(options: argparse.Namespace) -> float:
    """What variance_scaling divides by."""

    def side(name: str) -> float:
        value = getattr(options, name)
        return _derived_fan(options, name) if value is None else float(value)

    mode = options.mode or "fan_in"
    return (side("fan_in") + side("fan_out")) / 2 if mode == "fan_avg" else side(mode)


def _derived_fan(options: argparse.Namespace, side: str) -> float:
    """A fan that was not given, from the shape."""
    if options.shape is None:
        _refuse(f"{options.scheme} needs {_flag(side)}, or --shape to derive it from")
    return float(getattr(fans(options.shape, options.layout or "torch"), side))


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _refuse(message: str) -> NoReturn:
    raise ValueError(message)


def _plain(report: Report) -> dict[str, Any]:
    """The report as JSON can hold it: what is not finite (the mean of an empty file) is null."""
    values = dataclasses.asdict(report) | {"gigabytes_per_second": report.gigabytes_per_second}
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }


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
            f"{report.path}: {report.dtype} {report.shape}, {report.bytes:,} bytes",
            f"law   {report.law}, seed {report.seed}{named}, stream {STREAM}",
            f"time  {report.write_seconds:.2f} s, {report.gigabytes_per_second:.2f} GB/s "
            f"on {report.threads} threads{synced}",
            f"mean  {report.mean:.6g} measured, {report.expected_mean:.6g} expected",
            f"std   {report.std:.6g} measured, {report.expected_std:.6g} expected ({seen})",
            f"range {report.minimum:.6g} to {report.maximum:.6g}",
        )
    )


class _Progress:
    """A bar by tqdm where that is installed, else one line a second; nothing where nobody looks."""

    def __init__(self, *, hidden: bool) -> None:
        self.hidden = hidden
        self.bar: Any = None
        self.began = self.printed = time.monotonic()

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bar:
            self.bar.close()

    def show(self, done: int, total: int) -> None:
        """Report that `done` of `total` bytes are written."""
        if self.hidden:
            return
        if self.bar is None:
            self.bar = _bar(total)
        if self.bar is not False:
            self.bar.update(done - self.bar.n)
            return
        now = time.monotonic()
        if now - self.printed >= 1.0:
            self.printed = now
            speed = done / (now - self.began) / 1e9
            print(f"fastinit: {done / total:4.0%} of {total / 1e9:.2f} GB, {speed:.2f} GB/s", file=sys.stderr)


def _bar(total: int) -> Any:
    """A tqdm bar, or False."""
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        return False
    return tqdm(total=total, unit="B", unit_scale=True)


# --- selftest and info ------------------------------------------------------------------------------------------------


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
