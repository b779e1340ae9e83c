"""Progress of a command: a bar, or a line a second; nothing where nobody looks."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO


class Progress:
    """A bar by tqdm where that is installed, else one line a second; nothing where nobody looks.

    It counts bytes, or what `unit` says. `note` is printed once the work is under way, hidden or not: a seed that was
    drawn, which somebody who interrupts the work needs for its rest. `to` is the stream for it, stderr by default.
    """

    def __init__(self, *, hidden: bool, unit: str = "B", note: str = "", to: TextIO | None = None) -> None:
        self.hidden, self.unit = hidden, unit
        self.note, self.to = note, to
        self.bar: Any = None
        self.began = self.printed = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self.bar:
            self.bar.close()
        if kind is None:  # work without bytes reports no progress
            self._say_note()

    def _say_note(self) -> None:
        if self.note:
            print(self.note, file=self.to or sys.stderr, flush=True)
            self.note = ""

    def show(self, done: int, total: int) -> None:
        """Report that `done` of `total` are done."""
        self._say_note()
        if self.hidden:
            return
        if self.bar is None:
            self.bar = _bar(total, self.unit)
        if self.bar is not False:
            self.bar.update(done - self.bar.n)
            return
        now = time.monotonic()
        if now - self.printed >= 1.0:
            self.printed = now
            speed = done / (now - self.began) / 1e9
            size = f"{total / 1e9:.2f} GB, {speed:.2f} GB/s" if self.unit == "B" else f"{total} {self.unit}"
            print(f"fastinit: {done / total:4.0%} of {size}", file=sys.stderr)


def _bar(total: int, unit: str) -> Any:
    """A tqdm bar, or False."""
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        return False
    return tqdm(total=total, unit=unit if unit == "B" else f" {unit}", unit_scale=unit == "B")
