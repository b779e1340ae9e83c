"""The memory of a thread, between words and values."""

from __future__ import annotations

import threading

import numpy as np
from numba.core import types

from fastinit.engines import constants as k
from fastinit.engines.compiled.compiling import inline, u8
from fastinit.engines.compiled.intrinsics import ahead, as_elements_of, pointers_to

# The scratch memory of a thread, in bytes: words and low words of a block; where the rows of two tiles begin; the
# values of two tiles, a block to spare, a strip of a turned tile. A number costs nothing to pass; an array, 0.1 us.
FIRST_TILE = k.TILE_ROWS + 16
PLACES = 2 * k.BLOCK * 4
VALUES = PLACES + 2 * FIRST_TILE * 8
ROOM = VALUES + (2 * k.TILE + k.BLOCK + 16 * k.STRIP_STEP) * 8
words_at, places_at = pointers_to(types.uint32), pointers_to(types.int64)


@inline
def parts_of(room, reals):
    """Words, low words, tile, spare block, strip, places of rows."""
    own_words, tile = words_at(room), as_elements_of(words_at(room + VALUES), reals)
    spare = ahead(tile, 2 * k.TILE)
    return own_words, ahead(own_words, k.BLOCK), tile, spare, ahead(spare, k.BLOCK), places_at(room + PLACES)


class Scratch(threading.local):
    """Memory of each thread's own; `room` is the address of its first cache line."""

    def __init__(self) -> None:
        self.memory = np.empty(ROOM + 64, u8)  # 2.2 MiB, of which float32 uses half
        self.room = self.memory.ctypes.data + -self.memory.ctypes.data % 64


_scratch = Scratch()
