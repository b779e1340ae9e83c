"""What both engines take: rows of elements in memory, formats of storage, ways to store."""

from __future__ import annotations

import sys
from enum import IntEnum
from functools import lru_cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import numpy as np

Array = np.ndarray[Any, Any]

# Which narrow format a 16-bit or 8-bit storage element holds.
FLOAT16, BFLOAT16, FLOAT8_E4M3FN, FLOAT8_E5M2 = 1, 2, 3, 4


class StorePolicy(IntEnum):
    """How a fill stores: plainly, with a prefetch of the lines a block ahead, or past the cache."""

    REGULAR = 0
    PREFETCH = 1
    NON_TEMPORAL = 2


class Region(NamedTuple):
    """Rows x columns elements of a buffer, whose memory is one line of storage elements.

    Row r, column c lies at offset + r row_step + c col_step, in storage elements, and has the index
    first + r pitch + c in the whole tensor. A kernel receives it as a plain tuple: Numba unpacks a NamedTuple field by
    field, 3.1 us a call in place of 0.67.
    """

    offset: int
    rows: int
    row_step: int
    cols: int
    col_step: int
    first: int
    pitch: int


def law_rooms(engine: str) -> list[ModuleType]:
    """The modules of an engine's package that hold laws, by name: those with LAWS, of which its kernels are made.

    A law for float32 (and what is rounded from it) and for float64 are two. `entries`, which asks, is left out.
    """
    names = sorted(room.name for room in iter_modules(sys.modules[engine].__path__) if room.name != "entries")
    rooms = [import_module(f"{engine}.{name}") for name in names]
    return [room for room in rooms if hasattr(room, "LAWS")]


@lru_cache(maxsize=1024)
def one_row(count: int, first: int = 0) -> Region:
    """A line of neighbours, from index `first` on; kept, since to make a NamedTuple takes a tenth of a small fill."""
    return Region(0, 1, 0, count, 1, first, 0)


class Engine(Protocol):
    """What both engines offer, each on the calling thread."""

    def fill(
        self,
        kernel: str,
        out: Array,
        region: Region,
        stream: Array,
        domain: int,
        reals: Array,
        integers: Array,
        code: int,
        policy: int = StorePolicy.REGULAR,
    ) -> None:
        """Fill the elements of a region by a law; `policy` is how to store, if the engine can."""

    def thin(
        self,
        out: Array,
        region: Region,
        stream: Array,
        remaining_nonzeros: Array,
        remaining: int,
        down: bool,
        advance_only: bool,
    ) -> None:
        """Zero what does not survive on the lines of a sparse tensor."""

    def store(self, out: Array, region: Region, values: Array) -> None:
        """Store rows of neighbours, leaving the cache as it is if the engine can."""

    def tally(
        self, values: Array, centre: float, inverse: float, counts: Array
    ) -> tuple[int, int, int, float, float, float, float]:
        """Count values into bins; what else they come to."""
