"""The reference engine: the same laws as compiled/, in NumPy, with the same bits; and the laws it has alone.

It is the fallback where Numba is missing, the oracle of the tests, and the readable form of docs/stream.md. Every
step is one correctly rounded operation on whole arrays, so vector width and platform cannot change a bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from fastinit.engines import stream as k
from fastinit.engines.gaussian import EXP_DEGREE, LN_2, LN_2_HIGH, LN_2_LOW
from fastinit.engines.interface import Region, StorePolicy
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


# --- pieces of the laws ---------------------------------------------------------------------------------------------


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
