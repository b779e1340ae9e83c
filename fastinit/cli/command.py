"""The command line: which command, and what an error becomes."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fastinit.about import __version__
from fastinit.address import STREAM
from fastinit.cli import about, bits, checkpoint, compare, completion, edit, fill, inspection
from fastinit.cli.options import EXIT_CODES, FAILED, USAGE, joined
from fastinit.cli.parser import Parser
from fastinit.cli.terminal import painter
from fastinit.files.safetensors import SafetensorsError
from fastinit.printable import printable


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 is fine, 1 a failure, 2 a command line that makes no sense."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started us (>&-); print would pass over it, the rest would not
            setattr(sys, name, Path(os.devnull).open("w"))
    if isinstance(sys.stdout, io.TextIOWrapper):  # what a terminal cannot show is a "?", and no reason to fail
        sys.stdout.reconfigure(errors="replace")
    try:
        code = _run(joined(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()  # here, where it may fail; not when Python ends
        return code
    except SafetensorsError as error:  # the command line made sense, the file did not
        return _complain(str(error), FAILED)
    except (TypeError, ValueError, ArithmeticError, RecursionError) as error:  # numbers too large, brackets too deep
        return _complain(str(error), USAGE)
    except MemoryError as error:  # NumPy says how much it asked for, Python nothing
        return _complain(str(error) or "out of memory", FAILED)
    except ImportError as error:  # an extra that is not installed, an engine that was asked for and does not load
        return _complain(str(error), FAILED)
    except BrokenPipeError:  # who read the output has seen enough: `fastinit recipes | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        text = error.strerror or str(error)
        named = error.filename is None or str(error.filename) in text  # ours name the file, the system's do not
        return _complain(_with_notes(text if named else f"{error.filename}: {text}", error), FAILED)
    except KeyboardInterrupt as error:
        return _complain(_with_notes("interrupted", error), FAILED)


def _run(words: Sequence[str]) -> int:
    try:
        options = _parser().parse(words)
        return int(options.run(options))
    except SystemExit as stop:  # argparse has printed help, version, or what is wrong
        return stop.code if isinstance(stop.code, int) else USAGE


def _with_notes(message: str, error: BaseException) -> str:
    """What an error says, and what was added on its way: that something could not be removed."""
    return ". ".join((message, *getattr(error, "__notes__", ())))


def _complain(message: str, code: int) -> int:
    print(f"fastinit: {painter('stderr')('error:', 'alert')} {printable(message)}", file=sys.stderr)
    return code


def _parser() -> Parser:
    parser = Parser(
        prog="fastinit",
        description="Fill weight files and checkpoints at memory speed; the same bits for every number of threads.",
        epilog="examples:"
        + fill.EXAMPLES
        + checkpoint.EXAMPLES
        + edit.EXAMPLES
        + inspection.EXAMPLES
        + compare.EXAMPLES
        + EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"fastinit {__version__}, stream {STREAM}")
    commands = parser.add_subparsers(required=True, metavar="command")
    fill.add_to(commands)
    checkpoint.add_to(commands)
    edit.add_to(commands)
    inspection.add_to(commands)
    compare.add_to(commands)
    bits.add_to(commands)
    about.add_to(commands)
    completion.add_to(commands, parser)
    return parser
