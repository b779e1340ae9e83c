"""From words to numbers: what NumPy's `astype` does not say."""

from __future__ import annotations

import numpy as np

from fastinit.engines.reference.arrays import Array, where


def whole_64(high: Array, low: Array) -> Array:
    """2^32 high + low, an int32 and a uint32 as one float64, rounded once."""
    return ((high.astype(np.int64) << np.int64(32)) | low).astype(np.float64)


def negative_unless(size: Array, w: Array) -> Array:
    """The numbers, with a minus where the highest bit of a word is not set."""
    return where(w.view(np.int32) < 0, size, -size)
