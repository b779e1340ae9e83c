"""The steps that laws are made of, in NumPy: logarithms, angles, uniforms, inverses, on whole arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastinit.engines import stream as k
from fastinit.engines.gaussian import EXP_DEGREE, LN_2, LN_2_HIGH, LN_2_LOW

Array = Any  # an ndarray; NumPy types the results of mixed scalars and arrays as Any


def horner(x: Array, coefficients: tuple[Any, ...]) -> Array:
    """The polynomial with these coefficients, lowest first: multiply, then add, from the highest down."""
    total = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total *= x
        total += coefficient
    return total


def split_32(y: Array) -> tuple[Array, Array]:
    """Y = (1 + f) 2^exponent with 1 + f in [1/2, 1)."""
    pattern = y.view(np.uint32)
    mantissa = ((pattern & np.uint32(0x007FFFFF)) | np.uint32(0x3F000000)).view(np.float32)
    exponent = ((pattern >> np.uint32(23)).astype(np.int32) - np.int32(126)).astype(np.float32)
    return exponent, mantissa - np.float32(1.0)


def split_64(y: Array) -> tuple[Array, Array]:
    """Y = (1 + f) 2^exponent with 1 + f in [1/2, 1)."""
    pattern = y.view(np.uint64)
    mantissa = ((pattern & np.uint64(0x000FFFFFFFFFFFFF)) | np.uint64(0x3FE0000000000000)).view(np.float64)
    exponent = ((pattern >> np.uint64(52)).astype(np.int64) - 1022).astype(np.float64)
    return exponent, mantissa - 1.0


def minus_2_log_32(exponent: Array, f: Array) -> Array:
    """-2 ln((1 + f) 2^exponent)."""
    return f * horner(f, k.LOG_32) + exponent * np.float32(k.MINUS_2_LN_2)


def minus_2_log_64(exponent: Array, f: Array) -> Array:
    """-2 ln((1 + f) 2^exponent) through atanh: ln(1 + f) = 2 atanh(f / (2 + f))."""
    s = f / (2.0 + f)
    z = s * s
    return -4.0 * (s + s * (z * horner(z, k.LOG_64))) + exponent * k.MINUS_2_LN_2


def radius_32(a: Array) -> Array:
    """sqrt(-2 ln v), v = (a + 1/2) 2^-32: in [1.5e-5, 6.77], with full relative accuracy at both ends."""
    sign = a.view(np.int32) >> np.int32(31)
    y = ((a.view(np.int32) ^ sign).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-32)
    exponent, f = split_32(y)
    upper = sign != 0
    np.copyto(exponent, np.float32(0.0), where=upper)
    np.negative(y, out=f, where=upper)
    return np.sqrt(minus_2_log_32(exponent, f))


def radius_64(a: Array, a_low: Array) -> Array:
    """sqrt(-2 ln v), v = (a 2^32 + a_low + 1/2) 2^-64: in [2.3e-10, 9.50]."""
    whole = (a.astype(np.uint64) << np.uint64(32)) | a_low
    upper = (a >> np.uint32(31)) != 0
    y = (np.where(upper, ~whole, whole).astype(np.float64) + 0.5) * 2.0**-64
    exponent, f = split_64(y)
    exponent[upper] = 0.0
    return np.sqrt(minus_2_log_64(exponent, np.where(upper, -y, f)))


def angle_32(b: Array) -> tuple[Array, Array]:
    """Cosine and sine of an eighth of a turn, the cosine with a random sign."""
    t = ((b.view(np.int32) >> np.int32(3)).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-28)
    z = t * t
    cosine = horner(z, k.COS_32)
    return np.where(b & np.uint32(1), -cosine, cosine), t * horner(z, k.SIN_32)


def angle_64(b: Array, b_low: Array) -> tuple[Array, Array]:
    """Cosine and sine of an eighth of a turn, the cosine with a random sign."""
    high = (b.view(np.int32) >> np.int32(3)).astype(np.int64) << np.int64(32)
    t = ((high | b_low.astype(np.int64)).astype(np.float64) + 0.5) * 2.0**-60
    z = t * t
    cosine = horner(z, k.COS_64)
    return np.where(b & np.uint32(1), -cosine, cosine), t * horner(z, k.SIN_64)


def normal_pairs(radius: Array, cosine: Array, sine: Array, b: Array) -> Array:
    """Two independent standard normals (Box and Muller 1958) a pair of words, swapped by a bit of the angle word.

    Shape (halves of groups, 16) becomes (halves of groups, 2, 16): the order of the elements.
    """
    swap = (b & np.uint32(2)) != 0
    z = np.empty((len(b), 2, k.LANES), radius.dtype)
    np.multiply(radius, np.where(swap, cosine, sine), out=z[:, 0])
    np.multiply(radius, np.where(swap, sine, cosine), out=z[:, 1])
    return z


def unit_32(w: Array) -> Array:
    """The uniform float32 in [0, 1) of a word: 24 bits."""
    return (w >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def unit_64(w: Array, w_low: Array) -> Array:
    """The uniform float64 in [0, 1) of a word and its low word: 53 bits."""
    return (((w.astype(np.uint64) << np.uint64(32)) | w_low) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def clamp(x: Array, lowest: Any, highest: Any) -> Array:
    """x, moved into [lowest, highest]."""
    x[x < lowest] = lowest
    x[x > highest] = highest
    return x


def magnitude_32(p: Array) -> Array:
    """The x >= 0 with tail probability p in (0, 1/2): relative error below 1e-6 down to the smallest normal p."""
    one = np.float32(1.0)
    q = one - (p + p)
    exponent, f = split_32((np.float32(4.0) * p) * (one - p))
    w = np.float32(0.5) * minus_2_log_32(exponent, f)
    x = q * horner(w - np.float32(2.65), k.MAGNITUDE_32)
    far = ~(w < np.float32(5.3))
    if far.any():
        s = np.sqrt(w[far])
        x[far] = q[far] * (s * horner(one / s - np.float32(0.25), k.TAIL_32))
    return x


def magnitude_64(p: Array) -> Array:
    """The x with tail probability p in (0, 1/2]: AS 241, PPND16 (Wichura 1988). Negative for p just above 1/2."""
    q = 0.5 - p
    r = 0.180625 - q * q
    x = q * horner(r, k.CENTRE_NUMERATOR) / horner(r, k.CENTRE_DENOMINATOR)
    r = np.sqrt(0.5 * minus_2_log_64(*split_64(p)))
    outer = ~(np.abs(q) <= 0.425)
    for part, shift, numerator, denominator in (
        (outer & (r <= 5.0), 1.6, k.NEAR_NUMERATOR, k.NEAR_DENOMINATOR),
        (outer & (r > 5.0), 5.0, k.FAR_NUMERATOR, k.FAR_DENOMINATOR),
    ):
        if part.any():
            t = r[part] - shift
            x[part] = horner(t, numerator) / horner(t, denominator)
    return x


def log_64(y: Array) -> Array:
    """Ln y of a normal y > 0, to two units in the last place also near 1: (1 + f) 2^exponent with f in [-1/4, 1/2)."""
    exponent, f = split_64(y)
    lower = f < -0.25
    exponent[lower] -= 1.0
    f[lower] = (f[lower] + f[lower]) + 1.0
    return -0.5 * minus_2_log_64(exponent, f)


def exp_parts(y: Array) -> tuple[Array, Array]:
    """The k and m of e^y = 2^k (1 + m), |m| < 0.42 with full relative accuracy: as gaussian.exp_negative."""
    exponent = np.floor(y / LN_2 + 0.5)
    f = (y - exponent * LN_2_HIGH) - exponent * LN_2_LOW
    total = np.ones_like(f)
    for n in range(EXP_DEGREE, 1, -1):
        total = 1.0 + (f / n) * total
    return exponent.astype(np.int32), f * total


def inverse_softplus(dt: Array) -> Array:
    """ln(e^dt - 1) = dt + ln(1 - e^-dt) of dt > 0."""
    exponent, m = exp_parts(-np.minimum(dt, 64.0))  # e^-64 is nothing beside 1, and 2^-92 still a normal number
    power = np.ldexp(1.0, exponent)
    return dt + log_64((1.0 - power) - power * m)


def open_unit(w: Array) -> Array:
    """The uniform float64 in (0, 1) of one word: exact, never 0."""
    return (w.astype(np.float64) + 0.5) * 2.0**-32
