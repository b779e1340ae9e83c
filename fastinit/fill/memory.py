"""Ask the kernel for memory the way a fill wants it: huge pages on fresh memory, file pages before they are written.

Linux only; elsewhere, and where the kernel refuses, both do nothing.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fastinit.engines.interface import StorePolicy

MADV_HUGEPAGE, MADV_POPULATE_WRITE = 14, 23
HUGE_PAGE = 2 << 20
# From here on stores that pass the cache are faster for whoever reads the buffer next, too; at 16 MiB they are not.
SMALLEST_PAST_CACHE = 32 << 20
# Below this a fill gains less than the two system calls and the zeroing of a whole huge page cost.
SMALLEST_HUGE_BUFFER = 4 << 20


@cache
def _call(name: str, last: Any) -> Any:
    """The C library's function of an address, a size and one argument more, or None off Linux."""
    if not sys.platform.startswith("linux"):
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
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


@cache
def _is_intel() -> bool:
    try:
        with Path("/proc/cpuinfo").open(encoding="ascii", errors="replace") as file:
            return "GenuineIntel" in file.read(4096)
    except OSError:
        return False


def use_streaming_stores() -> bool:
    """Whether fills do something about the time that a store waits for its line to be read.

    On Intel's processors, where a core reads what it overwrites as slowly as it writes. FASTINIT_PAST_CACHE=1 or 0
    switches it on or off everywhere.
    """
    chosen = os.environ.get("FASTINIT_PAST_CACHE")
    return chosen == "1" if chosen in ("0", "1") else _is_intel()


def goes_past_cache(size: int) -> bool:
    """Whether a fill of so many bytes stores past the cache, which need not read a line to overwrite all of it."""
    return size >= SMALLEST_PAST_CACHE and use_streaming_stores()


def choose_store_policy(size: int) -> Callable[[int], StorePolicy]:
    """How a fill of so many bytes stores at an address.

    Past the cache where it is large (1.6 times as fast as by ordinary stores); else lines are asked for a block ahead
    (1.1 times at 16 MiB). So they are on fresh memory too, which the kernel clears and leaves in the cache.
    """
    if goes_past_cache(size):
        return lambda address: StorePolicy.NON_TEMPORAL if is_resident(address) else StorePolicy.PREFETCH
    policy = StorePolicy.PREFETCH if use_streaming_stores() else StorePolicy.REGULAR
    return lambda address: policy


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
