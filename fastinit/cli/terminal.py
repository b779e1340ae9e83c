"""What a terminal shows: its width, and colours where they are wanted (https://no-color.org, https://force-color.org)."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Literal

from fastinit.formatting import Paint, plainly

STYLES = {"alert": "31", "good": "32", "strong": "1", "soft": "2"}


def painter(stream: Literal["stdout", "stderr"] = "stdout") -> Paint:
    """A function of (text, style) for a stream: it colours what a person looks at, and nothing else."""
    return _painted if _wanted(getattr(sys, stream)) else plainly


def width() -> int | None:
    """Columns of the terminal; None where the output goes into a pipe or a file, and nothing is to be cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _wanted(stream: object) -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return os.environ.get("TERM") != "dumb" and bool(getattr(stream, "isatty", bool)())


def _painted(text: str, style: str) -> str:
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if text else text
