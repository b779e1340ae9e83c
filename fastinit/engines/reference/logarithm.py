"""The logarithm of a number or of a word, for the laws that need one."""

from __future__ import annotations

import numpy as np

from fastinit.engines import stream as k
from fastinit.engines.reference.arrays import Array, horner


def split_32(y: Array, factor: float) -> tuple[Array, Array]:
    """`factor` times e, and m, of positive numbers y = m 2^e with m in [1/2, 1)."""
    pattern = y.view(np.uint32)
    e = ((pattern >> np.uint32(23)).astype(np.int32) - np.int32(126)).astype(np.float32)
    e *= np.float32(factor)
    return e, ((pattern & np.uint32(0x007FFFFF)) | np.uint32(0x3F000000)).view(np.float32)


def split_64(y: Array, bias: float) -> tuple[Array, Array]:
    """A number as an exponent above this bias and a mantissa in [1/2, 1)."""
    pattern = y.view(np.uint64)
    e = (pattern >> np.uint64(52)).astype(np.float64)
    e -= bias
    return e, ((pattern & np.uint64(0x000FFFFFFFFFFFFF)) | np.uint64(0x3FE0000000000000)).view(np.float64)


def minus_2_log_32(term: Array, f: Array, half: float = 1.0) -> Array:
    """-2 ln((1 + f) 2^e), or half of it, with its term in e. A factor of 1/2 changes no bit but the exponent's."""
    total = horner(f, [half * coefficient for coefficient in k.LOG_32])
    total *= f
    total += term
    return total


def minus_2_log_64(e: Array, f: Array) -> Array:
    """-2 ln((1 + f) 2^e) through atanh: ln(1 + f) = 2 atanh(f / (2 + f))."""
    s = f / (2.0 + f)
    z = s * s
    total = horner(z, k.LOG_64)
    total *= z
    total *= s
    total += s
    total *= -4.0
    total += e * k.MINUS_2_LN_2
    return total


def log_64(y: Array) -> Array:
    """Ln y of a normal y > 0, to two units in the last place also near 1: (1 + f) 2^exponent with f in [-1/4, 1/2)."""
    exponent, m = split_64(y, 1022.0)
    f = m - 1.0
    lower = f < -0.25
    exponent[lower] -= 1.0
    f[lower] = (f[lower] + f[lower]) + 1.0
    return -0.5 * minus_2_log_64(exponent, f)
