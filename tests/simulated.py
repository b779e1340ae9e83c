"""Windows and macOS, simulated in this process: calls that they lack are taken away, and what they refuse is refused.

    import simulated; simulated.windows(); import fastinit

Third-party libraries are imported first, since these were built for Linux. It shows that fastinit gets by with what is
left, and never relies on what is refused. It is no proof that the real system does what is assumed here.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import errno
import importlib
import io
import mmap
import os
import shutil
import stat
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from typing import Any

# They look for what the system has when they are imported, as all of the standard library here does.
FIRST = (
    *("asyncio", "concurrent.futures.process", "concurrent.futures.thread", "ctypes.util", "getpass", "logging"),
    *("multiprocessing.pool", "multiprocessing.spawn", "pathlib", "platform", "random", "selectors", "socket"),
    *("subprocess", "tempfile", "urllib.request", "uuid", "webbrowser", "zipfile"),
    *("numpy", "numpy.testing", "scipy.special", "scipy.stats", "numba", "numba.extending", "llvmlite.binding"),
    *("ml_dtypes", "matplotlib.figure", "sklearn.datasets", "fsspec", "fsspec.implementations.local", "tqdm"),
    *("torch", "torch.distributed", "torch.utils.data", "transformers", "accelerate", "jax", "jax.numpy", "keras"),
)

REAL = types.SimpleNamespace(
    **{
        name: getattr(os, name) for name in ("open", "fsync", "unlink", "rename", "replace", "listdir", "stat", "fstat")
    },
    readlink=os.readlink,
    statvfs=os.statvfs,
    file=builtins.open,
    library=ctypes.CDLL,
)

NOT_ON_WINDOWS = (
    *(
        "pread",
        "preadv",
        "pwrite",
        "pwritev",
        "readv",
        "writev",
        "posix_fallocate",
        "posix_fadvise",
        "fdatasync",
        "sync",
    ),
    *("copy_file_range", "sendfile", "splice", "statvfs", "fstatvfs", "fchmod", "fchown", "fchdir", "chown", "lchown"),
    *("chroot", "mkfifo", "mknod", "getxattr", "setxattr", "listxattr", "removexattr", "sched_getaffinity"),
    *("sched_setaffinity", "register_at_fork", "fork", "forkpty", "nice", "uname", "sysconf", "pathconf", "fpathconf"),
    *("getuid", "geteuid", "getgid", "getegid", "getgroups", "getresuid", "getresgid", "getpgid", "getpgrp", "getsid"),
    *("setuid", "setsid", "killpg", "wait", "wait3", "wait4", "memfd_create", "eventfd", "openpty", "lockf", "pipe2"),
    *("O_DIRECTORY", "O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY", "O_PATH", "O_SYNC", "O_DSYNC"),
)
NOT_ON_MACOS = (
    *(
        "posix_fallocate",
        "posix_fadvise",
        "fdatasync",
        "copy_file_range",
        "splice",
        "getxattr",
        "setxattr",
        "listxattr",
    ),
    *("removexattr", "sched_getaffinity", "sched_setaffinity", "memfd_create", "eventfd", "getresuid", "getresgid"),
    "O_PATH",
)
O_BINARY = 0x8000  # on Linux O_LARGEFILE, which every file is
IN_USE = "The process cannot access the file because it is being used by another process"


def windows() -> None:
    """From here on this process is on Windows, as far as Python shows it."""
    _first()
    real_fcntl = importlib.import_module("fcntl")
    for name in ("fcntl", "resource", "termios", "tty", "pwd", "grp", "syslog"):
        sys.modules[name] = None  # type: ignore[assignment]
    sys.modules["msvcrt"] = _msvcrt(real_fcntl)
    _without_folders()
    for name in NOT_ON_WINDOWS:
        _take_away(os, name)
    for name in [name for name in vars(mmap) if name.startswith(("MAP_", "PROT_", "MADV_"))]:
        _take_away(mmap, name)
    mmap.ALLOCATIONGRANULARITY = 1 << 16
    os.O_BINARY = O_BINARY
    os.open = _open
    os.fsync = lambda fd: _fsync(fd, real_fcntl)
    os.unlink = os.remove = _removing
    os.rename = _renaming
    os.replace = _replacing
    os.listdir = _listing
    shutil.disk_usage = _disk_usage
    shutil._use_fd_functions = False
    tempfile.TemporaryFile = tempfile.NamedTemporaryFile  # as its source has it there
    ctypes.CDLL = _Library
    _no_files_of_the_kernel()
    sys.platform = "win32"


def macos() -> list[int]:
    """From here on this process is on macOS, as far as Python shows it; the descriptors that were fully synced."""
    _first()
    fcntl = importlib.import_module("fcntl")
    synced: list[int] = []
    real, full = fcntl.fcntl, 51

    def control(fd: int, command: int, argument: Any = 0) -> Any:
        if command != full:
            return real(fd, command, argument)
        synced.append(fd)
        return os.fsync(fd)

    fcntl.fcntl, fcntl.F_FULLFSYNC = control, full
    for name in NOT_ON_MACOS:
        _take_away(os, name)
    errno.ENOTSUP = 45
    ctypes.CDLL = _LibraryOfMacOS
    _no_files_of_the_kernel()
    sys.platform = "darwin"
    return synced


def _first() -> None:
    assert "fastinit" not in sys.modules, "the system must change before fastinit is imported"
    for name in FIRST:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def _take_away(module: Any, name: str) -> None:
    if hasattr(module, name):
        delattr(module, name)


def _no_files_of_the_kernel() -> None:
    """Neither /proc nor /sys."""

    def opened(path: Any, *rest: Any, **named: Any) -> Any:
        if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(("/proc/", "/sys/")):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
        return REAL.file(path, *rest, **named)

    builtins.open = io.open = opened


# --- Windows ----------------------------------------------------------------------------------------------------------


def _msvcrt(fcntl: Any) -> types.ModuleType:
    """Locks on bytes of files that are open; flock stands in, which is let go of when the file is closed, too."""
    module = types.ModuleType("msvcrt")
    module.LK_UNLCK, module.LK_LOCK, module.LK_NBLCK = 0, 1, 2

    def locking(fd: int, mode: int, nbytes: int) -> None:
        if mode == module.LK_UNLCK:
            fcntl.flock(fd, fcntl.LOCK_UN)
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(errno.EACCES, "Permission denied") from None

    module.locking = locking
    return module


def _without_folders() -> None:
    """No call takes dir_fd."""
    for name in [one.__name__ for one in os.supports_dir_fd]:
        setattr(os, name, _refusing_dir_fd(getattr(os, name)))
    os.supports_dir_fd.clear()
    os.supports_fd.clear()
    os.supports_follow_symlinks.clear()


def _refusing_dir_fd(call: Callable[..., Any]) -> Callable[..., Any]:
    def refusing(*arguments: Any, **named: Any) -> Any:
        _refuse_dir_fd(named)
        return call(*arguments, **{name: value for name, value in named.items() if not name.endswith("dir_fd")})

    return refusing


def _refuse_dir_fd(named: dict[str, Any]) -> None:
    for name, value in named.items():
        if name.endswith("dir_fd") and value is not None:
            raise NotImplementedError(f"{name} unavailable on this platform")


def _open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
    _refuse_dir_fd({"dir_fd": dir_fd})
    caller = sys._getframe(1).f_globals.get("__name__", "")
    if caller.startswith("fastinit") and not flags & O_BINARY and os.fspath(path) != os.devnull:
        raise AssertionError(f"{path} is opened as text: line ends would be changed")
    if os.path.isdir(path):  # noqa: PTH112
        raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
    return REAL.open(path, flags & ~O_BINARY, mode)


def _fsync(fd: int, fcntl: Any) -> None:
    if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    REAL.fsync(fd)


def _listing(path: Any = ".") -> list[str]:
    if isinstance(path, int):
        raise TypeError("listdir: path should be string, bytes, os.PathLike or None, not int")
    return REAL.listdir(path)


def _removing(path: Any, *, dir_fd: int | None = None) -> None:
    _refuse_dir_fd({"dir_fd": dir_fd})
    _refuse_in_use(path)
    REAL.unlink(path)


def _renaming(old: Any, new: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
    _refuse_dir_fd({"src_dir_fd": src_dir_fd, "dst_dir_fd": dst_dir_fd})
    _refuse_in_use(old)
    if os.path.lexists(new):
        raise FileExistsError(errno.EEXIST, "Cannot create a file when that file already exists", old, None, new)
    REAL.rename(old, new)


def _replacing(old: Any, new: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
    _refuse_dir_fd({"src_dir_fd": src_dir_fd, "dst_dir_fd": dst_dir_fd})
    _refuse_in_use(old)
    if os.path.lexists(new):
        _refuse_in_use(new)
    REAL.replace(old, new)


def _refuse_in_use(path: Any) -> None:
    """Raise PermissionError for a file that any process has open or mapped."""
    found = REAL.stat(path, follow_symlinks=False)
    if not stat.S_ISREG(found.st_mode):
        return
    used: set[tuple[int, int]] = set()
    for process in REAL.listdir("/proc"):
        if process.isdigit():
            with contextlib.suppress(OSError):  # it has ended
                used.update(_used_by(process))
    if (found.st_dev, found.st_ino) in used:
        raise PermissionError(errno.EACCES, IN_USE, os.fspath(path))


def _used_by(process: str) -> Iterator[tuple[int, int]]:
    for fd in REAL.listdir(f"/proc/{process}/fd"):
        with contextlib.suppress(OSError):
            found = REAL.stat(f"/proc/{process}/fd/{fd}")
            yield found.st_dev, found.st_ino
    with REAL.file(f"/proc/{process}/maps", "rb") as maps:
        for line in maps:
            words = line.split()
            if len(words) > 5 and int(words[4]):
                major, minor = (int(word, 16) for word in words[3].split(b":"))
                yield os.makedev(major, minor), int(words[4])


def _disk_usage(path: Any) -> tuple[int, int, int]:
    disk = REAL.statvfs(path)
    free = disk.f_bavail * disk.f_frsize
    return shutil._ntuple_diskusage(disk.f_blocks * disk.f_frsize, 0, free)


class _Library(ctypes.CDLL):
    """A library by its name: Windows has none for None."""

    def __init__(self, name: Any, *rest: Any, **named: Any) -> None:
        if name is None:
            raise TypeError("argument of type 'NoneType' is not iterable")
        super().__init__(name, *rest, **named)


class _LibraryOfMacOS(ctypes.CDLL):
    """The C library without the calls of Linux."""

    def __getattr__(self, name: str) -> Any:
        if name in ("renameat2", "mincore", "madvise"):
            raise AttributeError(name)
        return super().__getattr__(name)
