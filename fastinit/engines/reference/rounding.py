"""Rounding float32 to narrow storage, to nearest even."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastinit.engines.interface import BFLOAT16, FLOAT8_E4M3FN, FLOAT8_E5M2, FLOAT16
from fastinit.engines.reference.arrays import Array


def narrow(x: Array, mantissa_bits: int, bias: int) -> Array:
    """The bits of x in a format with so many mantissa bits and this bias, sign in bit 31. No overflow handling."""
    pattern = x.view(np.uint32)
    size, drop = pattern & np.uint32(0x7FFFFFFF), np.uint32(23 - mantissa_bits)
    odd, half = (size >> drop) & np.uint32(1), np.uint32((1 << (22 - mantissa_bits)) - 1)
    normal = (size + odd + half - np.uint32((127 - bias) << 23)) >> drop
    # Adding the power of two whose last place is the format's smallest subnormal rounds a subnormal.
    magic = np.float32(2.0 ** (24 - bias - mantissa_bits))
    subnormal = (size.view(np.float32) + magic).view(np.uint32) - magic.view(np.uint32)
    bits = np.where(size < np.uint32((128 - bias) << 23), subnormal, normal)
    return bits | (pattern & np.uint32(0x80000000))


def rounded(x: Array, dtype: Any, code: int) -> Array:
    """float32 (or float64) values as storage elements of this dtype; `code` tells apart formats of one size."""
    if code == FLOAT16:
        return x.astype(np.float16).view(np.uint16)
    if code == BFLOAT16:
        pattern = x.view(np.uint32)
        return ((pattern + np.uint32(0x7FFF) + ((pattern >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(
            dtype
        )
    if code in (FLOAT8_E4M3FN, FLOAT8_E5M2):
        bits = narrow(x, 3, 7) if code == FLOAT8_E4M3FN else narrow(x, 2, 15)
        return (bits | (bits >> np.uint32(24))).astype(dtype)
    return x
