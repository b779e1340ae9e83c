"""The reference engine: the same laws as compiled/, in NumPy, with the same bits; and the laws it has alone.

It is the fallback where Numba is missing, the oracle of the tests, and the readable form of docs/stream.md. Every
step is one correctly rounded operation on whole arrays, so vector width and platform cannot change a bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from fastinit.engines import stream as k
from fastinit.engines.interface import Region, StorePolicy
from fastinit.engines.pieces import (
    angle_32,
    angle_64,
    clamp,
    exp_parts,
    inverse_softplus,
    log_64,
    magnitude_32,
    magnitude_64,
    minus_2_log_32,
    minus_2_log_64,
    normal_pairs,
    open_unit,
    radius_32,
    radius_64,
    split_32,
    split_64,
    unit_32,
    unit_64,
)
from fastinit.engines.planar import complex_truncated_32, complex_truncated_64, complex_uniform_32, complex_uniform_64
from fastinit.engines.rounding import rounded as rounded
from fastinit.products import dot

Array = Any  # an ndarray; NumPy types the results of mixed scalars and arrays as Any
LOW_HALF = np.uint64(0xFFFFFFFF)


# --- words ---------------------------------------------------------------------------------------------------------


def philox(c0: Array, c1: Array, c2: Array, c3: Array, k0: Array | int, k1: Array | int) -> tuple[Array, ...]:
    """Philox4x32-10 on uint64 arrays that hold 32-bit words; the key may be one of them."""
    shift = np.uint64(32)
    for _ in range(k.ROUNDS):
        p0, p1 = c0 * np.uint64(k.MULTIPLIER_0), c2 * np.uint64(k.MULTIPLIER_1)
        c0, c2 = (p1 >> shift) ^ c1, (p0 >> shift) ^ c3
        c0 ^= np.uint64(k0)  # in place where the array is ours: a new one costs as much as the operation
        c2 ^= np.uint64(k1)
        p0 &= LOW_HALF
        p1 &= LOW_HALF
        c1, c3 = p1, p0
        k0, k1 = (k0 + k.WEYL_0) & 0xFFFFFFFF, (k1 + k.WEYL_1) & 0xFFFFFFFF
    return c0, c1, c2, c3


def words(groups: Array, domain: int, stream: Array) -> Array:
    """The words of whole groups (uint64 numbers of any shape), in the order of the elements that take them."""
    lanes = np.arange(k.LANES, dtype=np.uint64)
    q = (groups.reshape(-1, 1).astype(np.uint64) << np.uint64(4)) + lanes
    c1 = np.uint64(domain << 24) | (q >> np.uint64(32))
    c2, c3 = np.uint64(stream[2]), np.uint64(stream[3])
    four = philox(q & LOW_HALF, c1, c2, c3, int(stream[0]), int(stream[1]))
    return np.stack(four, axis=1).astype(np.uint32).reshape(-1)


# --- the laws: words in element order become float32 or float64 ------------------------------------------------------


def uniform_32(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    low, span, lowest, highest = reals
    return clamp(low + span * unit_32(words), lowest, highest)


def uniform_64(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    low, span, lowest, highest = reals
    return clamp(low + span * unit_64(words, low_words), lowest, highest)


def normal_32(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    a, b = words.reshape(-1, 2, k.LANES).swapaxes(0, 1)  # words 0 and 1, then 2 and 3, of the sixteen counters
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    return affine(normal_pairs(radius_32(a), *angle_32(b), b), reals)


def normal_64(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    a, b = (np.ascontiguousarray(x) for x in words.reshape(-1, 2, k.LANES).swapaxes(0, 1))
    a_low, b_low = low_words.reshape(-1, 2, k.LANES).swapaxes(0, 1)
    return affine(normal_pairs(radius_64(a, a_low), *angle_64(b, b_low), b), reals)


def affine(z: Array, reals: Array) -> Array:
    """Mean + std z."""
    mean, std = reals
    z *= std
    z += mean
    return z.reshape(-1)


def truncated_32(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    base_a, base_b, mass, mean, std, lowest, highest = reals
    side_a = words <= integers[0]
    flip = np.where(side_a, integers[1], integers[2])
    s = ((words ^ flip).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-32)
    p = np.where(side_a, base_a, base_b) + s * mass
    x = magnitude_32(clamp(p, k.SMALLEST_32, k.HALF_32))
    return clamp(mean + std * np.where(flip == 0, -x, x), lowest, highest)


def truncated_64(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    base_a, base_b, mass, mean, std, lowest, highest = reals
    side_a = words <= integers[0]
    flip = np.where(side_a, integers[1], integers[2])
    whole = ((words ^ flip).astype(np.uint64) << np.uint64(32)) | (low_words ^ flip)
    p = np.where(side_a, base_a, base_b) + ((whole.astype(np.float64) + 0.5) * 2.0**-64) * mass
    x = magnitude_64(p)
    return clamp(mean + std * np.where(flip == 0, -x, x), lowest, highest)


def laplace_32(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    upper = (words >> np.uint32(31)) != 0
    y = (np.where(upper, ~words, words).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-31)
    x = np.float32(0.5) * minus_2_log_32(*split_32(np.minimum(y, k.BELOW_ONE_32)))
    return affine(np.where(upper, x, -x), reals)


def laplace_64(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    whole, upper = (words.astype(np.uint64) << np.uint64(32)) | low_words, (words >> np.uint32(31)) != 0
    y = (np.where(upper, ~whole, whole).astype(np.float64) + 0.5) * 2.0**-63
    x = 0.5 * minus_2_log_64(*split_64(np.minimum(y, k.BELOW_ONE_64)))
    return affine(np.where(upper, x, -x), reals)


def complex_normal_32(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    return about(normal_32(words, low_words, standard(reals), integers), reals)


def complex_normal_64(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    return about(normal_64(words, low_words, standard(reals), integers), reals)


def standard(reals: Array) -> Array:
    """Mean 0 and the std of a part."""
    return np.array([0, reals[2]], reals.dtype)


def about(z: Array, reals: Array) -> Array:
    """Parts side by side, each about its part of the mean."""
    return (reals[:2] + z.reshape(-1, 2)).reshape(-1)


def step_bias(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    log_low, span, lowest, highest = reals
    exponent, m = exp_parts(log_low + span * open_unit(words))
    return clamp(inverse_softplus(np.ldexp(1.0 + m, exponent)), lowest, highest)


def log_of_uniform(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    low, span, lowest, highest = reals
    return clamp(log_64(low + span * open_unit(words)), lowest, highest)


# A name says the working precision. One without a number is float64 from one word for every dtype, rounded at the end;
# the compiled engine has none of these: their tensors have a few thousand elements, and compiling takes two seconds.
LAWS = {
    "uniform_32": uniform_32,
    "uniform_steps_32": uniform_32,  # two operations less, in the compiled engine
    "uniform_64": uniform_64,
    "normal_32": normal_32,
    "centred_normal_32": normal_32,  # the same, and two operations less
    "normal_64": normal_64,
    "truncated_32": truncated_32,
    "truncated_deep_32": truncated_32,  # the compiled engine leaves the far tail out where a law cannot reach it
    "truncated_64": truncated_64,
    "laplace_32": laplace_32,
    "laplace_64": laplace_64,
    "complex_normal_32": complex_normal_32,
    "complex_normal_64": complex_normal_64,
    "complex_uniform_32": complex_uniform_32,
    "complex_uniform_64": complex_uniform_64,
    "complex_truncated_32": complex_truncated_32,
    "complex_truncated_64": complex_truncated_64,
    "step_bias": step_bias,
    "log_of_uniform": log_of_uniform,
}


# --- which elements go where -----------------------------------------------------------------------------------------

# Elements drawn at once. Twice as fast on two threads as 2^14, in spite of the cache: the threads hand the GIL over at
# every operation, and each should be worth that.
BLOCK = 1 << 16


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


# --- sparse: which elements survive -----------------------------------------------------------------------------------


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


# --- looking at values ------------------------------------------------------------------------------------------------


def tally(
    values: Array, centre: float, inverse: float, counts: Array
) -> tuple[int, int, int, float, float, float, float]:
    """Count values (float32 or float64) into bins of width 1 / inverse, whose middle is `centre`.

    `counts` has a bin for what is below, and one for what is above, at its ends; both engines count the same. Returns
    how many are finite, zero, NaN, the sum and the sum of squares of t = (x - centre) inverse, in float64, which the
    engines add in different orders, and the smallest and largest finite value: (inf, -inf) where there is none.
    """
    kept = values[np.isfinite(values)]
    nans = int(np.count_nonzero(np.isnan(values)))
    if not kept.size:
        return 0, 0, nans, 0.0, 0.0, np.inf, -np.inf
    with np.errstate(over="ignore"):
        t = (kept.astype(np.float64) - centre) * inverse
        total, squares = float(t.sum()), dot(t, t)
    # 1 is the first edge, so that truncation is floor for all that is in range.
    place = np.clip(t + (len(counts) / 2), 0.0, len(counts) - 1.0).astype(np.intp)
    counts += np.bincount(place, minlength=len(counts))
    zeros = int(np.count_nonzero(kept == 0))
    return kept.size, zeros, nans, total, squares, float(kept.min()), float(kept.max())
