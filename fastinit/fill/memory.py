"""Ask the kernel for memory the way a fill wants it: huge pages on fresh memory, file pages before they are written.

Linux only; elsewhere, and where the kernel refuses, both do nothing.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import sys
from functools import cache
from typing import Any

import numpy as np

MADV_HUGEPAGE, MADV_POPULATE_WRITE = 14, 23
HUGE_PAGE = 2 << 20
# Below this a fill gains less than the two system calls and the zeroing of a whole huge page cost.
SMALLEST_HUGE_BUFFER = 4 << 20


@cache
def _call(name: str, last: Any) -> Any:
    """The C library's function of an address, a size and one argument more, or None off Linux.

    mincore keeps Python's lock: it takes less time than to give the lock away and to get it back.
    """
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.PyDLL(None) if name == "mincore" else ctypes.CDLL(None, use_errno=True)
    function = getattr(library, name)
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, last)
    return function


def _madvise() -> Any:
    return _call("madvise", ctypes.c_int)


class Foreign:
    """Memory of another library, behind which a file may be without NumPy's knowing; NumPy makes an array of it.

    Asking for its pages beforehand costs little where it is no file's.
    """

    __slots__ = ("__array_interface__", "owner")

    def __init__(self, interface: dict[str, Any], owner: object) -> None:
        self.__array_interface__, self.owner = interface, owner


def file_behind(array: np.ndarray[Any, Any]) -> mmap.mmap | Foreign | None:
    """The memory map an array is a view of, or the foreign memory, if it is one."""
    base: Any = array.base
    while base is not None and not isinstance(base, (mmap.mmap, Foreign)):
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    return base


def advise_huge_pages(address: int, size: int) -> None:
    """Let the whole huge pages inside [address, address + size) be huge when they are first touched.

    FASTINIT_HUGE_PAGES=0 switches it off. First touch of 4 KiB pages runs at 2.3 GB/s a thread, of huge pages at 17
    or more.
    """
    if size < SMALLEST_HUGE_BUFFER or os.environ.get("FASTINIT_HUGE_PAGES") == "0" or _madvise() is None:
        return
    begin = -(-address // HUGE_PAGE) * HUGE_PAGE
    end = (address + size) // HUGE_PAGE * HUGE_PAGE
    if begin < end:
        _madvise()(begin, end - begin, MADV_HUGEPAGE)  # only advice: a kernel without huge pages refuses it


def is_resident(address: int) -> bool:
    """Whether the page of this address has memory; a fresh one gets it when it is written, cleared and in the cache."""
    mincore = _call("mincore", ctypes.c_char_p)
    if mincore is None:
        return True
    answer = ctypes.create_string_buffer(1)
    page = address // mmap.PAGESIZE * mmap.PAGESIZE
    return mincore(page, 1, answer) != 0 or answer.raw[0] & 1 == 1


def populate(address: int, size: int) -> None:
    """Bring the file pages of [address, address + size) into memory for writing.

    A store into a mapped page that the disk has no room for kills Python with SIGBUS; asked for beforehand, the same
    is an OSError. Kernels before 5.14 do not know the request; there the hazard stays.
    """
    if _madvise() is None:
        return
    page = mmap.PAGESIZE
    begin = address // page * page
    if _madvise()(begin, address + size - begin, MADV_POPULATE_WRITE) != 0:
        number = ctypes.get_errno()
        if number in (errno.EFAULT, errno.ENOMEM, errno.ENOSPC):
            raise OSError(
                errno.ENOSPC,
                f"the file behind the memory map cannot take {size} more bytes (disk full, quota, or the file was "
                "truncated); free space and fill again: the same bytes will be written",
            )
