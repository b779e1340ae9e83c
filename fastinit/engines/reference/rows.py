"""Which groups hold the elements of rows, and the rows out of what was drawn for them."""

from __future__ import annotations

import numpy as np

from fastinit.engines import stream as k
from fastinit.engines.reference.arrays import Array


def groups_of_rows(starts: Array, width: int) -> Array:
    """The groups that hold `width` elements from each start, as many for every row."""
    per_row = (int((starts % k.GROUP).max()) + width + k.GROUP - 1) // k.GROUP
    groups: Array = starts[:, None] // k.GROUP + np.arange(per_row)
    return groups


def rows_of_groups(drawn: Array, starts: Array, width: int) -> Array:
    """The `width` elements from each start, a row each, out of what was drawn for groups_of_rows."""
    skips = starts % k.GROUP
    drawn = drawn.reshape(len(starts), -1)
    if (skips == skips[0]).all():
        return np.ascontiguousarray(drawn[:, skips[0] : skips[0] + width])
    return np.take_along_axis(drawn, skips[:, None] + np.arange(width), axis=1)
