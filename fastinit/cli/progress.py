"""Progress of a command: a bar, or a line a second; nothing where nobody looks."""

from __future__ import annotations

import sys
import time
from typing import Any


class Progress:
    """A bar by tqdm where that is installed, else one line a second; nothing where nobody looks."""

    def __init__(self, *, hidden: bool) -> None:
        self.hidden = hidden
        self.bar: Any = None
        self.began = self.printed = time.monotonic()

    def __enter__(self) -> Progress:
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
