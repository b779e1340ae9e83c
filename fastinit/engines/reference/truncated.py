"""The truncated normal law: the inverse of the normal distribution on a tail probability."""

from __future__ import annotations

import numpy as np

from fastinit.engines import stream as k
from fastinit.engines.reference.arrays import Array, clamp, horner, where
from fastinit.engines.reference.conversions import negative_unless
from fastinit.engines.reference.logarithm import minus_2_log_32, minus_2_log_64, split_32, split_64

# float32 takes twice the tail probability, p2 = 2 p, which is exact, as in the compiled engine.
#
# Reals: base of side A, base of side B, mass, mean, std, smallest, largest. Integers: the last word of side A, the flip
# of A and of B, whether the law is centred.


def log_odds_32(p2: Array) -> tuple[Array, Array]:
    """The variable of the polynomials, w = -ln(4 p (1 - p)), and q = 1 - 2 p, of twice a probability, p2 = 2 p."""
    term, m = split_32(p2 * (np.float32(2.0) - p2), 0.5 * k.MINUS_2_LN_2)
    return minus_2_log_32(term, m - np.float32(1.0), half=0.5), np.float32(1.0) - p2


def near_magnitude_32(p2: Array) -> Array:
    """The x >= 0 with tail probability p in (0, 1/2), for w < 5.3: within 3.02 standard deviations; error below 1e-6.

    The polynomial runs in w, in which the inverse is smooth at p = 1/2 too (Giles 2010).
    """
    w, q = log_odds_32(p2)
    return q * horner(w - np.float32(2.65), k.MAGNITUDE_32)


def magnitude_32(p2: Array) -> Array:
    """The x >= 0 with tail probability p in (0, 1/2): relative error below 1e-6 down to the smallest normal p."""
    w, q = log_odds_32(p2)
    x = q * horner(w - np.float32(2.65), k.MAGNITUDE_32)
    far = ~(w < np.float32(5.3))
    if far.any():
        s = np.sqrt(w[far])
        x[far] = q[far] * (s * horner(np.float32(1.0) / s - np.float32(0.25), k.TAIL_32))
    return x


def ratio_64(p: Array) -> tuple[Array, Array, Array]:
    """Numerator and denominator of the x with tail probability p in (0, 1/2], and r = sqrt(-ln p); right for r <= 5.

    AS 241, PPND16 (Wichura 1988). x is negative for p just above 1/2.
    """
    q = 0.5 - p
    centre = 0.180625 - q * q
    e, m = split_64(p, 1022.0)
    r = np.sqrt(0.5 * minus_2_log_64(e, m - 1.0))
    up, down = horner(centre, k.CENTRE_NUMERATOR), horner(centre, k.CENTRE_DENOMINATOR)
    up *= q
    outside = ~(np.abs(q) <= 0.425) & (r <= 5.0)
    if outside.any():
        near = r[outside] - 1.6
        up[outside], down[outside] = horner(near, k.NEAR_NUMERATOR), horner(near, k.NEAR_DENOMINATOR)
    return up, down, r


def magnitude_64(p: Array) -> Array:
    """The x with tail probability p in (0, 1/2]."""
    up, down, r = ratio_64(p)
    is_far = r > 5.0
    if is_far.any():
        far = r[is_far] - 5.0
        up[is_far], down[is_far] = horner(far, k.FAR_NUMERATOR), horner(far, k.FAR_DENOMINATOR)
    up /= down
    return up


def flip_of(w: Array, integers: Array) -> Array:
    """What turns a word into its distance from the end of its side, and says which side: 0 is the lower one."""
    return where(w <= integers[0], integers[1], integers[2])


def tail_32(w: Array, reals: Array, integers: Array) -> Array:
    """Twice the tail probability of each word on its side."""
    base = where(w <= integers[0], reals[0], reals[1])
    s = ((w ^ flip_of(w, integers)).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-32)
    p = np.minimum(base + s * reals[2], k.HALF_32)
    return p + p


def value_32(magnitude: Array, words: Array, reals: Array, integers: Array) -> Array:
    """The truncated normals from the magnitudes on their sides."""
    x = negative_unless(magnitude, flip_of(words, integers))
    x *= reals[4]
    x += reals[3]
    return clamp(x, reals[5], reals[6])


value_64 = value_32  # NumPy's arrays know their precision


def truncated_32(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    """For laws that stop within 3.02 standard deviations."""
    return value_32(near_magnitude_32(tail_32(words, reals, integers)), words, reals, integers)


def truncated_deep_32(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    """For all others."""
    p2 = np.maximum(tail_32(words, reals, integers), k.SMALLEST_32 + k.SMALLEST_32)
    return value_32(magnitude_32(p2), words, reals, integers)


def truncated_64(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    """As truncated_deep_32, with the low words below the high ones."""
    flip = flip_of(words, integers)
    whole = ((words ^ flip).astype(np.uint64) << np.uint64(32)) | (low_words ^ flip)
    p = where(words <= integers[0], reals[0], reals[1]) + ((whole.astype(np.float64) + 0.5) * 2.0**-64) * reals[2]
    return value_64(magnitude_64(p), words, reals, integers)


LAWS = {"truncated_32": truncated_32, "truncated_deep_32": truncated_deep_32, "truncated_64": truncated_64}
