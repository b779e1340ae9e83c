"""Exit codes, and how words of the command line become numbers."""

from __future__ import annotations

import argparse
import math
import re
import shlex
import sys
import tomllib
from collections.abc import Sequence
from typing import Any, TextIO

import numpy as np

from fastinit.address import new_seed
from fastinit.choices import unknown
from fastinit.cli.parser import USAGE as USAGE
from fastinit.cli.progress import Progress
from fastinit.printable import printable
from fastinit.write import SHARD_SIZE

DONE, FAILED = 0, 1
EXIT_CODES = """
exit codes: 0 done; 1 failed (disk, memory, permissions, interrupted, a file that is missing, damaged or not as
initialised); 2 the command line, or a plan, rules or shapes that it names, makes no sense
"""


def joined(argv: Sequence[str]) -> list[str]:
    """Join "--low", "-1e-3" to "--low=-1e-3": argparse takes some negative numbers, and all pairs, for options."""
    joined: list[str] = []
    for word in argv:
        negative = re.match(r"-(\d|\.|inf)", word)
        if negative and joined and joined[-1].startswith("--") and "=" not in joined[-1]:
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def shape(text: str) -> tuple[int, ...]:
    """32768,8192, or 32768x8192, or (32768, 8192)."""
    bare = text.strip().removeprefix("(").removesuffix(")").removeprefix("[").removesuffix("]").strip(" ,")
    try:
        lengths = tuple(int(length) for length in re.split(r"\s*[,x\u00d7]\s*|\s+", bare)) if bare else ()
        if any(length < 0 for length in lengths):
            raise ValueError
        return lengths
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r}; give integers, none negative, such as 32768,8192 or 32768x8192"
        ) from None


def pair(text: str) -> tuple[float, float]:
    """-2,2."""
    try:
        low, high = (float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}; give two numbers with a comma, such as -2,2") from None
    return low, high


def axes(text: str) -> tuple[int, ...]:
    """0, or 0,1."""
    try:
        return tuple(int(axis) for axis in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}; give an axis, such as 0, or several, such as 0,1") from None


def part(text: str) -> dict[str, Any]:
    """The inside of a table of TOML: size = 4096, scheme = "normal", std = 0.02."""
    try:
        table: dict[str, Any] = tomllib.loads(f"part = {{{text}}}")["part"]
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no table ({error}); give one such as 'size = 4096, scheme = \"normal\", std = 0.02'"
        ) from None
    return {name: tuple(value) if isinstance(value, list) else value for name, value in table.items()}


# As checkpoints, configs and papers write them.
_CALLED = {
    "float64": ("fp64", "f64", "double"),
    "float32": ("fp32", "f32", "float", "single"),
    "float16": ("fp16", "f16", "half"),
    "bfloat16": ("bf16", "bfloat"),
    "float8_e4m3fn": ("fp8", "f8", "float8", "fp8_e4m3", "fp8_e4m3fn", "f8_e4m3", "e4m3", "e4m3fn", "float8_e4m3"),
    "float8_e5m2": ("fp8_e5m2", "f8_e5m2", "e5m2"),
}
_DTYPES = {other: name for name, others in _CALLED.items() for other in (name, *others)}


def dtype_called(text: str) -> str:
    """bfloat16, however it is written: bf16, BF16, torch.bfloat16. Another word stays as it is."""
    return _DTYPES.get(text.lower().rpartition(".")[2].replace("-", "_"), text)


def dtype(text: str) -> str:
    """The same, for an option."""
    name = dtype_called(text)
    try:
        np.dtype(name if name not in _CALLED else "float32")
    except TypeError:
        raise argparse.ArgumentTypeError(unknown("dtype", text, _CALLED)) from None
    return name


def setting(text: str) -> tuple[str, float]:
    """layers=12."""
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}; give a name and a number, such as layers=12") from None


def number(text: str) -> float | int:
    """An integer stays one, so that it keeps all its digits for an integer dtype."""
    try:
        return int(text)
    except ValueError:
        return float(text)


def size(text: str) -> int:
    """100MB, 5GB, 1.5GiB, or bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?)(i?)B?", text.strip(), flags=re.IGNORECASE)
    if not match or (match[3] and not match[2]):
        raise argparse.ArgumentTypeError(f"{text!r}; give a size such as 100MB, 5GB or 1GiB")
    power = " kmgt".index(match[2].lower() or " ")
    nbytes = float(match[1]) * (1024 if match[3] else 1000) ** power
    if nbytes >= 2**63:
        raise argparse.ArgumentTypeError(f"{text!r}; no file has 2^63 bytes; give a size such as 100MB, 5GB or 1GiB")
    return int(nbytes)


def command(commands: Any, name: str, text: str, examples: str) -> argparse.ArgumentParser:
    """A command with its help; `examples` begin with a new line each."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"examples:{examples}{EXIT_CODES}",
    )
    parser.set_defaults(parser=parser)
    return parser


def add_seed(parser: Any) -> None:
    """Add --seed to a command that draws."""
    parser.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="seed, from 0 to 2^64 - 1; default: a fresh one, which is printed",
    )


def add_writing(parser: Any, what: str) -> None:
    """Add what every command that writes a checkpoint takes; `what` is limited by --shard-size."""
    add_seed(parser)
    parser.add_argument(
        "--shard-size",
        type=size,
        default=SHARD_SIZE,
        metavar="SIZE",
        help=f"largest size of {what}: 100MB; default 5GB",
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="number of threads; default: the CPUs that this process may use"
    )
    parser.add_argument("--no-fsync", action="store_true", help="do not wait for the disk; a power cut may lose files")
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")
    parser.add_argument("--quiet", action="store_true", help="print nothing but a seed that was drawn")


def flag(name: str) -> str:
    """The option that sets a number of this name."""
    return f"--{name.replace('_', '-')}"


def dimensions(shape: Sequence[int]) -> str:
    """A shape as a table shows it: 32768x8192."""
    return "x".join(map(str, shape)) or "scalar"


def plain(value: Any) -> Any:
    """As JSON can hold it: what is not finite is null, NumPy's numbers are Python's."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, complex):
        return [plain(value.real), plain(value.imag)]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def seeded(options: argparse.Namespace, draws: bool = True) -> tuple[int, Progress]:
    """The seed of a command, and its progress, which says a seed that was drawn as soon as there are bytes of it.

    It goes to stderr; with --quiet, where nothing else is printed, to stdout, for scripts. Where nothing is drawn, the
    seed has no part, and is 0.
    """
    fresh = options.seed is None and draws
    seed = new_seed() if fresh else int(options.seed or 0)
    note = f"seed {seed}" if fresh else ""
    return seed, progress_of(options, note=note, to=sys.stdout if options.quiet else None)


def announce(options: argparse.Namespace, what: str) -> None:
    """Say on a terminal what is about to be done."""
    if not (options.quiet or options.json) and sys.stderr.isatty():
        print(f"fastinit: will {what}", file=sys.stderr, flush=True)


def quoted(path: str) -> str:
    """A path as a shell takes it."""
    return shlex.quote(printable(path))


def progress_of(options: argparse.Namespace, *, unit: str = "B", note: str = "", to: TextIO | None = None) -> Progress:
    """The progress of a command with --quiet and --json: hidden with either, and where stderr is no terminal."""
    hidden = options.quiet or options.json or not sys.stderr.isatty()
    return Progress(hidden=hidden, unit=unit, note=note, to=to)
