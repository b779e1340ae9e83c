"""The memory of a thread, between words and values.

A kernel receives its address: a number costs nothing to pass, an array 0.1 us. What it holds, in this order:

    words, low words    of a block, uint32
    row starts          of two tiles, int64: where each row begins in the values of a tile
    values              of two tiles, or two blocks with a margin; then tail probabilities of a block, and a strip
                        of a transposed tile: of the working precision, so that float32 uses half
"""

from __future__ import annotations

import threading

import numpy as np
from numba.core import types

from fastinit.engines import blocking
from fastinit.engines.compiled.compiling import inline, u8
from fastinit.engines.compiled.intrinsics import ahead, as_elements_of, pointers_to

LINE = 64  # bytes of a cache line
WORD, INDEX, WIDEST_VALUE = 4, 8, 8  # bytes

ROW_STARTS_OF_TILE = blocking.TILE_ROWS + 16  # the first tile reaches up to a cache line further
ROW_STARTS = 2 * blocking.BLOCK * WORD  # bytes
VALUES = ROW_STARTS + 2 * ROW_STARTS_OF_TILE * INDEX  # bytes
TAIL_PROBABILITIES = 2 * blocking.TILE  # values from the first one on
STRIP = TAIL_PROBABILITIES + blocking.BLOCK
END = STRIP + 16 * blocking.STRIP_STEP
SCRATCH_BYTES = VALUES + END * WIDEST_VALUE

# What a run keeps in the place of the tiles and of the strip (rows.py) must fit there.
if (
    2 * (blocking.MARGIN + blocking.BLOCK) + 2 * blocking.MARGIN > TAIL_PROBABILITIES
    or 2 * blocking.MARGIN + blocking.BLOCK > END - STRIP
):
    raise AssertionError("the blocks of a run do not fit into the scratch memory; enlarge the tiles in blocking.py")

words_at, row_starts_at = pointers_to(types.uint32), pointers_to(types.int64)


@inline
def unpack(scratch, reals):
    """Words, low words, values of tiles, tail probabilities, strip, row starts."""
    words, values = words_at(scratch), as_elements_of(words_at(scratch + VALUES), reals)
    tail_probability = ahead(values, TAIL_PROBABILITIES)
    low_words, strip = ahead(words, blocking.BLOCK), ahead(tail_probability, STRIP - TAIL_PROBABILITIES)
    return words, low_words, values, tail_probability, strip, row_starts_at(scratch + ROW_STARTS)


class Scratch(threading.local):
    """Memory of each thread's own, 2.2 MiB, of which float32 uses half; `address` is that of its first cache line."""

    def __init__(self) -> None:
        self.memory = np.empty(SCRATCH_BYTES + LINE, u8)
        self.address = self.memory.ctypes.data + -self.memory.ctypes.data % LINE


of_thread = Scratch()
