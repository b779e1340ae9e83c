"""Which elements of a sparse tensor survive, along its lines or across them."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided

from fastinit.engines import stream as k
from fastinit.engines.interface import Region
from fastinit.engines.reference.arrays import Array
from fastinit.engines.reference.philox import words
from fastinit.engines.reference.rows import groups_of_rows, rows_of_groups


def thin(
    out: Array, region: Region, stream: Array, remaining_nonzeros: Array, remaining: int, down: bool, advance_only: bool
) -> None:
    """Store +0.0 where an element does not survive, and count the survivors off `remaining_nonzeros`, one entry a line.

    The lines run down the rows of the region, or along them; `remaining` is how many elements each line has from the
    first row or column on. With `advance_only` nothing is stored: the part of the lines before a shard.
    """
    offset, rows, row_step, cols, col_step, first, pitch = region
    starts = first + pitch * np.arange(rows, dtype=np.int64)
    w = rows_of_groups(words(groups_of_rows(starts, cols), k.DOMAIN_SPARSE, stream), starts, cols)
    steps = (row_step * out.itemsize, col_step * out.itemsize)
    x = as_strided(out[offset:], (rows, cols), steps) if not advance_only else None
    if not down:
        w, x = w.T, None if x is None else x.T
    for t in range(len(w)):  # place by place along the lines, all lines at once
        survives = (w[t].astype(np.uint64) * np.uint64(remaining - t)) >> np.uint64(32) < remaining_nonzeros
        remaining_nonzeros -= survives
        if x is not None:
            x[t][~survives] = 0
