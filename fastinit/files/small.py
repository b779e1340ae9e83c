"""Small files that are made in memory (plans, pages, pictures), saved whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from fastinit.files.place import held_to_write
from fastinit.files.publish import publishing, write_at
from fastinit.files.system import BYTES, NO_TERMINAL


def save(path: str | os.PathLike[str], data: bytes) -> None:
    """Put `data` under this name in one step; a file that is there stays complete until then.

    A device or a pipe (/dev/stdout, a FIFO) has no step to take, and is written as it is.
    """
    target = Path(path)
    if target.exists() and not target.is_file() and not target.is_dir():
        with held_to_write(target, len(data)):  # refuses the links that publishing refuses
            pass
        with open(os.open(target, os.O_WRONLY | NO_TERMINAL | BYTES), "wb") as stream:  # noqa: PTH123
            stream.write(data)
        return
    with publishing(target, len(data), overwrite=True) as fd:
        write_at(fd, data, 0)
