"""What the operating system offers for files, and what stands in for it elsewhere: the differences are all here.

On POSIX a folder is held open and spoken of by its descriptor, a writer locks its file (flock), and a file that is open
can be renamed and removed. On Windows a folder is spoken of by its path, positioned reads and writes are a seek and a
plain one under a lock, and a file that is open can be neither renamed nor removed. That alone tells there whether the
writer of a file lives, and needs no lock. Calls are looked for, not the name of the system, wherever that is enough.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import sys
import threading
import time
from collections.abc import Iterator
from importlib import import_module
from typing import Any

Handle = int | str  # of a folder: a descriptor on POSIX, else its path


def _module(name: str) -> Any:
    """A module of Python that only some systems have."""
    try:
        return import_module(name)
    except ImportError:
        return None


_fcntl, _msvcrt = _module("fcntl"), _module("msvcrt")

# Whether folders can be held open, and open files renamed and removed.
POSIX = _fcntl is not None and hasattr(os, "O_DIRECTORY") and os.open in os.supports_dir_fd

# Flags of open, nothing where the system has no such thing; BYTES belongs to every file.
BYTES = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
NO_TERMINAL = getattr(os, "O_NOCTTY", 0)
NO_WAIT = getattr(os, "O_NONBLOCK", 0)
TO_SYNC = os.O_RDONLY if POSIX else os.O_RDWR  # Windows syncs nothing that is open for reading only

# What a file system answers when it has no fallocate, hard links, locks, owners, or folders that can be synced. The
# first two are one number on Linux and two on macOS.
ANSWERS = ("ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EINVAL", "EPERM", "ENOLCK")
NOT_SUPPORTED = frozenset(getattr(errno, name) for name in ANSWERS if hasattr(errno, name))

MOST = 1 << 30  # bytes of a call: macOS refuses 2 GiB and more, where Linux writes less
LOCK_FILE = ".fastinit-lock"
PAUSE, TRIES = 0.05, 20  # seconds between looks at a lock file; looks at one that cannot be opened


def at(name: str, folder: Handle) -> tuple[str, int | None]:
    """What the calls of `os` want for a name in a folder: a path, and dir_fd=."""
    return (name, folder) if isinstance(folder, int) else (os.path.join(folder, name), None)  # noqa: PTH118


def open_in(folder: Handle, name: str, flags: int, mode: int = 0o777) -> int:
    """Open a name in a folder, for bytes, and not for programs that are started."""
    path, fd = at(name, folder)
    return os.open(path, flags | BYTES, mode, dir_fd=fd)


def remove(folder: Handle, name: str) -> None:
    """Remove a name from a folder."""
    path, fd = at(name, folder)
    os.unlink(path, dir_fd=fd)


def replace(folder: Handle, old: str, new: str) -> None:
    """Rename within a folder, in one step; what has the new name goes."""
    (before, fd), (after, _) = at(old, folder), at(new, folder)
    os.replace(before, after, src_dir_fd=fd, dst_dir_fd=fd)


def rename(folder: Handle, old: str, new: str) -> None:
    """Rename within a folder, in one step; on Windows FileExistsError if the new name is taken."""
    (before, fd), (after, _) = at(old, folder), at(new, folder)
    os.rename(before, after, src_dir_fd=fd, dst_dir_fd=fd)


def names_in(folder: Handle) -> list[str]:
    """The names in a folder, whose descriptor need not be open for reading."""
    if isinstance(folder, str):
        return os.listdir(folder)  # noqa: PTH208
    fd = open_in(folder, ".", FOLDER)
    try:
        return os.listdir(fd)  # noqa: PTH208
    finally:
        with contextlib.suppress(OSError):
            os.close(fd)


# --- reading and writing at a place -----------------------------------------------------------------------------------

_place = threading.Lock()  # of all files: what a descriptor is at belongs to all threads


def write_some(fd: int, data: memoryview, offset: int) -> int:
    """Write what goes at once of `data` at `offset`; how many bytes that was."""
    if hasattr(os, "pwrite"):
        return os.pwrite(fd, data[:MOST], offset)
    with _place:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.write(fd, data[:MOST])


def read_some(fd: int, buffer: memoryview, offset: int) -> int:
    """Read what comes at once from `offset` into `buffer`; how many bytes that was, 0 at the end of the file."""
    if hasattr(os, "preadv"):
        return os.preadv(fd, [buffer[:MOST]], offset)
    with _place:
        os.lseek(fd, offset, os.SEEK_SET)
        data = os.read(fd, min(len(buffer), 1 << 24))
    buffer[: len(data)] = data
    return len(data)


# --- to the disk ------------------------------------------------------------------------------------------------------


def allocate(fd: int, size: int) -> bool:
    """Give a file its size and its blocks; False where the system has no such call."""
    if not hasattr(os, "posix_fallocate"):  # macOS, Windows
        return False
    os.posix_fallocate(fd, 0, size)
    return True


def free_bytes(fd: int) -> int | None:
    """The free bytes of the file system of an open file; None where the system does not say."""
    if not hasattr(os, "fstatvfs"):  # Windows, which gives a file its blocks when it gets its size
        return None
    disk = os.fstatvfs(fd)
    return disk.f_bavail * disk.f_frsize


def sync(fd: int) -> None:
    """Wait until a file, or a folder, is on the disk, on macOS also past the disk's own cache, where fsync ends."""
    full = getattr(_fcntl, "F_FULLFSYNC", None)
    if full is not None:
        try:
            _fcntl.fcntl(fd, full)
            return
        except OSError as error:  # a file system that knows only fsync
            if error.errno not in NOT_SUPPORTED | {errno.ENOTTY}:
                raise
    os.fsync(fd)


def flush_map(file: mmap.mmap) -> None:
    """Bring what was written to a map to where a sync of its file finds it; on Linux it finds the pages themselves."""
    if not sys.platform.startswith("linux"):
        file.flush()


# --- locks ------------------------------------------------------------------------------------------------------------


def lock(fd: int, *, wait: bool = False) -> None:
    """Lock a file or a folder for this process (POSIX); BlockingIOError if somebody else holds it."""
    _fcntl.flock(fd, _fcntl.LOCK_EX | (0 if wait else _fcntl.LOCK_NB))


def unlock(fd: int) -> None:
    """Let go of a lock, also where a child has the descriptor too."""
    _fcntl.flock(fd, _fcntl.LOCK_UN)


@contextlib.contextmanager
def lock_file(folder: str) -> Iterator[None]:
    """Wait until nobody else is in this block for a folder: by a lock on a file in it, which is removed afterwards.

    Who waits has the file open, so that it cannot be removed. In a folder that may not be written there is no lock.
    """
    if _msvcrt is None:
        yield
        return
    path, fd = os.path.join(folder, LOCK_FILE), None  # noqa: PTH118
    for _ in range(TRIES):  # it may be about to be removed
        with contextlib.suppress(PermissionError):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | BYTES, 0o666)
            break
        time.sleep(PAUSE)
    if fd is None:
        yield
        return
    try:
        while True:
            try:
                _msvcrt.locking(fd, _msvcrt.LK_NBLCK, 1)
                break
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                    raise
            time.sleep(PAUSE)
        try:
            yield
        finally:
            os.lseek(fd, 0, os.SEEK_SET)
            _msvcrt.locking(fd, _msvcrt.LK_UNLCK, 1)
    finally:
        os.close(fd)
        with contextlib.suppress(OSError):  # who waits removes it
            os.unlink(path)  # noqa: PTH108
