"""The Laplace law: the logarithm of a word's distance from the nearer end, with the sign of its side."""

from __future__ import annotations

import numpy as np

from fastinit.engines import stream as k
from fastinit.engines.reference.arrays import Array
from fastinit.engines.reference.conversions import negative_unless, whole_64
from fastinit.engines.reference.logarithm import minus_2_log_32, minus_2_log_64, split_32, split_64


def laplace_32(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    """Mean + scale (-ln y), negative in the lower half. Reals: mean, scale."""
    w = words.view(np.int32)
    y = ((w ^ (w >> np.int32(31))).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-31)
    term, m = split_32(np.minimum(y, k.BELOW_ONE_32), 0.5 * k.MINUS_2_LN_2)
    return reals[0] + reals[1] * negative_unless(minus_2_log_32(term, m - np.float32(1.0), half=0.5), words)


def laplace_64(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    """As laplace_32, with the low words below the high ones."""
    upper = words.view(np.int32) >> np.int32(31)
    y = (whole_64(words.view(np.int32) ^ upper, low_words ^ upper.view(np.uint32)) + 0.5) * 2.0**-63
    e, m = split_64(np.minimum(y, k.BELOW_ONE_64), 1022.0)
    return reals[0] + reals[1] * negative_unless(0.5 * minus_2_log_64(e, m - 1.0), words)


LAWS = {"laplace_32": laplace_32, "laplace_64": laplace_64}
