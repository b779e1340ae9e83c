"""Scratch folders, in which files are made before they are put elsewhere; those of dead writers are removed."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fastinit.files import system
from fastinit.files.folder import is_of_checkpoint
from fastinit.files.place import let_go, look
from fastinit.files.temporary import ATTEMPTS, lock, target_of

SCRATCH = re.compile(r"fastinit-scratch-[0-9a-f]{16}")
ALIVE = ".alive"  # a file that the writer keeps open, on Windows, where that forbids its removal


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder of our own where the system keeps temporary files (TMPDIR); its lock says that we are alive.

    Those of dead writers are removed first: each may hold a file of a checkpoint.
    """
    remove_dead_scratch()
    path, fd = _create(Path(tempfile.gettempdir()))
    try:
        yield path
    finally:
        _end(path, fd)


def remove_dead_scratch() -> None:
    """Remove the scratch folders that this user's dead writers left, and in them nothing but files of checkpoints.

    Where folders cannot be locked they stay: nobody can tell whether their writer lives.
    """
    parent = Path(tempfile.gettempdir())
    with contextlib.suppress(OSError):
        for name in os.listdir(parent):  # noqa: PTH208
            if SCRATCH.fullmatch(name):
                with contextlib.suppress(OSError):
                    _remove_if_dead(parent / name)


def _create(parent: Path) -> tuple[Path, int]:
    """Make a folder that only this user may enter, and lock it."""
    for _ in range(ATTEMPTS):
        path = parent / f"fastinit-scratch-{secrets.token_hex(8)}"
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            continue
        try:
            fd = _open(path, new=True)
        except FileNotFoundError:  # another writer took it for a dead one's, before it was locked
            continue
        except BaseException:
            with contextlib.suppress(OSError):
                path.rmdir()
            raise
        try:
            if not system.POSIX or (lock(fd) and os.fstat(fd).st_nlink > 0):
                return path, fd
        except BaseException:
            _end(path, fd)
            raise
        let_go(fd)
    raise OSError(errno.EBUSY, f"no scratch folder of {ATTEMPTS} could be made and locked in {parent}")


def _open(path: Path, *, new: bool = False) -> int:
    """A descriptor of a folder, to lock; on Windows of a file in it, to keep open."""
    if not system.POSIX:
        return os.open(path / ALIVE, os.O_RDWR | (os.O_CREAT | os.O_EXCL if new else 0) | system.BYTES)
    return os.open(path, system.FOLDER | system.NO_FOLLOW | system.BYTES)


def _remove_if_dead(path: Path) -> None:
    if not system.POSIX:
        with contextlib.suppress(FileNotFoundError):
            (path / ALIVE).unlink()  # refused while the writer lives
        _remove(path, str(path))
        return
    fd = _open(path)
    try:
        if os.fstat(fd).st_uid == os.geteuid():
            system.lock(fd)
            _remove(path, fd)
    finally:
        let_go(fd)


def _end(path: Path, fd: int) -> None:
    """Remove a folder of our own, and let go of it."""
    if not system.POSIX:
        let_go(fd)
        _remove_if_dead(path)
        return
    try:
        _remove(path, fd)
    finally:
        let_go(fd)


def _remove(path: Path, folder: system.Handle) -> None:
    """Remove the files of checkpoints in a scratch folder, and then the folder, which fails if it holds others."""
    with contextlib.suppress(OSError):  # what cannot be removed, the next writer tries again
        for name in os.listdir(folder):  # noqa: PTH208
            found = look(name, folder)
            ours = is_of_checkpoint(name) or is_of_checkpoint(target_of(name) or "")
            if ours and found is not None and stat.S_ISREG(found.st_mode):
                system.remove(folder, name)
        path.rmdir()
