"""The normal law: Box and Muller's pairs."""

from __future__ import annotations

import numpy as np

from fastinit.engines import stream as k
from fastinit.engines.reference.arrays import Array, horner, where
from fastinit.engines.reference.conversions import whole_64
from fastinit.engines.reference.logarithm import minus_2_log_32, minus_2_log_64, split_32, split_64


def radius_32(a: Array) -> Array:
    """sqrt(-2 ln v), v = (a + 1/2) 2^-32: in [1.5e-5, 6.77], with full relative accuracy at both ends."""
    upper = a.view(np.int32) >> np.int32(31)
    # The upper half is ln(1 - y): the same polynomial at f = -y, exponent 0.
    y = ((a.view(np.int32) ^ upper).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-32)
    term, m = split_32(y, k.MINUS_2_LN_2)
    lower = upper == 0
    return np.sqrt(minus_2_log_32(where(lower, term, np.float32(0.0)), where(lower, m - np.float32(1.0), -y)))


def angle_32(b: Array) -> tuple[Array, Array]:
    """Cosine and sine of an eighth of a turn, the cosine with a random sign."""
    t = ((b.view(np.int32) >> np.int32(3)).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-28)
    z = t * t
    cosine = horner(z, k.COS_32)
    return where((b & np.uint32(1)) != 0, -cosine, cosine), t * horner(z, k.SIN_32)


def radius_64(a: Array, a_low: Array) -> Array:
    """sqrt(-2 ln v), v = (a 2^32 + a_low + 1/2) 2^-64: in [2.3e-10, 9.50]."""
    upper = a.view(np.int32) >> np.int32(31)
    y = (whole_64(a.view(np.int32) ^ upper, a_low ^ upper.view(np.uint32)) + 0.5) * 2.0**-64
    e, m = split_64(y, 1022.0)
    lower = upper == 0
    return np.sqrt(minus_2_log_64(where(lower, e, np.float64(0.0)), where(lower, m - 1.0, -y)))


def angle_64(b: Array, b_low: Array) -> tuple[Array, Array]:
    """As angle_32."""
    t = (whole_64(b.view(np.int32) >> np.int32(3), b_low) + 0.5) * 2.0**-60
    z = t * t
    cosine = horner(z, k.COS_64)
    return where((b & np.uint32(1)) != 0, -cosine, cosine), t * horner(z, k.SIN_64)


def store_pairs(out: Array, sine: Array, cosine: Array, b: Array) -> None:
    """Store what was made of a sine and a cosine, the other way round where bit 1 of the word is set."""
    swap = (b & np.uint32(2)) != 0
    out[0] = where(swap, cosine, sine)
    out[1] = where(swap, sine, cosine)


def pairs_32(a: Array, b: Array) -> tuple[Array, Array]:
    """Pairs of independent standard normals (Box and Muller 1958), from a sine and a cosine of the angle."""
    radius = radius_32(a)
    cosine, sine = angle_32(b)
    return radius * sine, radius * cosine


def pairs_of(words: Array) -> tuple[Array, Array]:
    """Words 0 and 1, then 2 and 3, of sixteen counters each: of shape (halves of groups, 16)."""
    a, b = words.reshape(-1, 2, k.LANES).swapaxes(0, 1)
    return np.ascontiguousarray(a), np.ascontiguousarray(b)


def normal_32(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    """The normal law of pairs of words. Reals: mean, std."""
    a, b = pairs_of(words)
    sine, cosine = pairs_32(a, b)
    out = np.empty((len(b), 2, k.LANES), np.float32)
    store_pairs(out.swapaxes(0, 1), reals[0] + reals[1] * sine, reals[0] + reals[1] * cosine, b)
    return out.reshape(-1)


def normal_64(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    """As normal_32, with the low words below the high ones."""
    (a, b), (a_low, b_low) = pairs_of(words), pairs_of(low_words)
    radius = radius_64(a, a_low)
    cosine, sine = angle_64(b, b_low)
    out = np.empty((len(b), 2, k.LANES), np.float64)
    sine, cosine = reals[0] + reals[1] * (radius * sine), reals[0] + reals[1] * (radius * cosine)
    store_pairs(out.swapaxes(0, 1), sine, cosine, b)
    return out.reshape(-1)


LAWS = {"normal_32": normal_32, "centred_normal_32": normal_32, "normal_64": normal_64}
