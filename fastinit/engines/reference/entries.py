"""The table of laws, and how a region of memory is filled by one of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from fastinit.engines import stream as k
from fastinit.engines.interface import Region, StorePolicy, law_rooms
from fastinit.engines.reference.arrays import Array
from fastinit.engines.reference.philox import words
from fastinit.engines.reference.rounding import rounded
from fastinit.engines.reference.rows import groups_of_rows, rows_of_groups

# Law by the name of its kernel, which says the working precision. One without a number is float64 from one word for
# every dtype, rounded at the end; the compiled engine has none of these, since their tensors have a few thousand
# elements and compiling takes two seconds.
LAWS: dict[str, Any] = {}
for _room in law_rooms(f"{__package__}"):
    LAWS |= _room.LAWS

# Elements drawn at once. Twice as fast on two threads as 2^14, in spite of the cache: the threads hand the GIL over at
# every operation, and each should be worth that.
BLOCK = 1 << 16


@np.errstate(all="ignore")  # a caller's np.seterr must not turn the underflow of a rounding into an exception
def fill(
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
    """Fill a region of `out`, the memory of a buffer as one line of storage elements, by the law of a kernel's name."""
    offset, rows, row_step, cols, col_step, first, pitch = region
    law = LAWS[kernel]
    two_words = kernel.endswith("_64")
    working = np.float64 if out.dtype == np.float64 else np.float32
    width = min(cols, BLOCK)
    height = max(1, BLOCK // (width + k.GROUP))
    for r in range(0, rows, height):
        for c in range(0, cols, width):
            h, w = min(height, rows - r), min(width, cols - c)
            starts = first + c + pitch * np.arange(r, r + h, dtype=np.int64)
            groups = groups_of_rows(starts, w)
            low_words = words(groups, k.DOMAIN_LOW, stream) if two_words else np.empty(0, np.uint32)
            drawn = law(words(groups, domain, stream), low_words, reals, integers)
            values = rows_of_groups(drawn.astype(working, copy=False), starts, w)
            at = offset + r * row_step + c * col_step
            steps = (row_step * out.itemsize, col_step * out.itemsize)
            as_strided(out[at:], (h, w), steps)[...] = rounded(values, out.dtype, code)


def store(out: Array, region: Region, values: Array) -> None:
    """Store rows of neighbours, whose values lie one row behind the other."""
    offset, rows, row_step, cols = region[:4]
    steps = (row_step * out.itemsize, out.itemsize)
    as_strided(out[offset:], (rows, cols), steps)[...] = values[: rows * cols].reshape(rows, cols)
