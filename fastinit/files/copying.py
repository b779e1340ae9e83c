"""Bytes of one file into another, not through this process: shared where the file system can, else copied."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable

from fastinit.files.publish import write_at
from fastinit.files.system import NOT_SUPPORTED, read_some

FICLONE = 0x40049409  # linux/fs.h: share all blocks of another file
AT_ONCE = 1 << 26  # bytes of a call: progress is seen, and Ctrl-C heard
# Where the kernel cannot copy: another file system, one of FUSE, an old kernel.
CANNOT = NOT_SUPPORTED | {errno.EXDEV, errno.EBADF, errno.ETXTBSY}


def share(source: int, target: int) -> bool:
    """Let an empty file have the blocks of another (btrfs, XFS, bcachefs); False where the file system cannot.

    Each keeps its own content when the other is written to, unlike a hard link.
    """
    if not sys.platform.startswith("linux"):
        return False
    import fcntl

    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError as error:
        if error.errno not in CANNOT | {errno.ENOTTY}:
            raise
        return False
    return True


def copy(source: int, begin: int, target: int, at: int, nbytes: int, ended: Callable[[], object]) -> None:
    """Copy `nbytes` from byte `begin` of one file to byte `at` of another; `ended` raises where the first is shorter.

    By the kernel (copy_file_range); through memory, 16 MiB at a time, where it cannot.
    """
    done, by_kernel = 0, hasattr(os, "copy_file_range")
    buffer = bytearray()
    while done < nbytes:
        count = min(nbytes - done, AT_ONCE)
        if by_kernel:
            try:
                copied = os.copy_file_range(source, target, count, begin + done, at + done)
            except OSError as error:
                if error.errno not in CANNOT:
                    raise
                by_kernel = False
                continue
        else:
            buffer = buffer or bytearray(min(nbytes, 1 << 24))
            copied = read_some(source, memoryview(buffer)[: min(count, len(buffer))], begin + done)
            write_at(target, memoryview(buffer)[:copied], at + done)
        if copied == 0:
            ended()
            raise OSError(errno.EIO, "the file that is copied has become shorter")
        done += copied
