"""The truncated normal law: the inverse of the normal distribution on a tail probability."""

from __future__ import annotations

from fastinit.engines import stream as k
from fastinit.engines.compiled.compiling import i64, inline, routine, u32, u64
from fastinit.engines.compiled.conversions import negative_unless, unsigned_32
from fastinit.engines.compiled.intrinsics import below, trailing_zeros
from fastinit.engines.compiled.law import FLOAT64, NEAR, law
from fastinit.engines.compiled.logarithm import minus_2_log_32, minus_2_log_64, split_32, split_64
from fastinit.engines.compiled.operands import Operands, ScalarOperand, VectorOperand
from fastinit.engines.compiled.vectors import (
    Vectors,
    bits,
    clamp,
    from_bits,
    fused,
    horner,
    maximum,
    minimum,
    real,
    signed,
    square_root,
    where,
    wide,
)
from fastinit.engines.processor import REGISTER
from fastinit.engines.stream import LANES

# float32 takes twice the tail probability, p2 = 2 p, which is exact and saves two operations.


def log_odds_32(p2: Vectors) -> tuple[Vectors, Vectors]:
    """The variable of the polynomials, w = -ln(4 p (1 - p)), and q = 1 - 2 p."""
    term, m = split_32(p2 * (2.0 - p2), 0.5 * k.MINUS_2_LN_2)
    return minus_2_log_32(term, m - 1.0, half=0.5), 1.0 - p2


def near_magnitude_32(p2: Vectors) -> Vectors:
    """The x >= 0 with tail probability p in (0, 1/2), for w < 5.3: within 3.02 standard deviations; error below 1e-6.

    The polynomial runs in w, in which the inverse is smooth at p = 1/2 too (Giles 2010).
    """
    w, q = log_odds_32(p2)
    return q * horner(w - 2.65, k.MAGNITUDE_32)


def magnitude_32(p2: Vectors) -> Vectors:
    """The x >= 0 with tail probability p in (0, 1/2): relative error below 1e-6 down to the smallest normal p."""
    w, q = log_odds_32(p2)
    near = q * horner(w - 2.65, k.MAGNITUDE_32)
    s = square_root(w)
    far = q * (s * horner(1.0 / s - 0.25, k.TAIL_32))
    return where(w < 5.3, near, far)


def ratio_64(p: Vectors) -> tuple[Vectors, Vectors, Vectors]:
    """Numerator and denominator of the x with tail probability p in (0, 1/2], and r = sqrt(-ln p); right for r <= 5.

    AS 241, PPND16 (Wichura 1988). x is negative for p just above 1/2.
    """
    q = 0.5 - p
    centre = 0.180625 - q * q
    e, m = split_64(p, 1022.0)
    r = square_root(0.5 * minus_2_log_64(e, m - 1.0))
    near = r - 1.6
    inside = from_bits(bits(q) & 0x7FFFFFFFFFFFFFFF) <= 0.425
    up = where(inside, q * horner(centre, k.CENTRE_NUMERATOR), horner(near, k.NEAR_NUMERATOR))
    down = where(inside, horner(centre, k.CENTRE_DENOMINATOR), horner(near, k.NEAR_DENOMINATOR))
    return up, down, r


def magnitude_64(p: Vectors) -> Vectors:
    """The x with tail probability p in (0, 1/2]."""
    up, down, r = ratio_64(p)
    far, is_far = r - 5.0, r > 5.0
    return where(is_far, horner(far, k.FAR_NUMERATOR), up) / where(is_far, horner(far, k.FAR_DENOMINATOR), down)


# --- truncated normal -------------------------------------------------------------------------------------------------
#
# Reals: base of side A, base of side B, mass, mean, std, smallest, largest. Integers: the last word of side A, the flip
# of A and of B, whether the law is centred.


def flip_of(w: Vectors, integers: ScalarOperand) -> Vectors:
    """What turns a word into its distance from the end of its side, and says which side: 0 is the lower one."""
    return where(w <= integers[0], integers[1], integers[2])


def tail_32(w: Vectors, reals: ScalarOperand, integers: ScalarOperand) -> Vectors:
    """Twice the tail probability of each word on its side."""
    base = where(w <= integers[0], reals[0], reals[1])
    s = fused(unsigned_32(w ^ flip_of(w, integers)), 2.0**-32, 2.0**-33)
    p = minimum(base + s * reals[2], k.HALF_32)
    return p + p


def value_32(magnitude: Vectors, words: VectorOperand, reals: ScalarOperand, integers: ScalarOperand) -> Vectors:
    """The truncated normals from the magnitudes on their sides."""
    size = negative_unless(magnitude, flip_of(words[0], integers))
    return clamp(reals[3] + reals[4] * size, reals[5], reals[6])


def near(x: Operands, deep: bool) -> None:
    """For laws that stop within 3.02 standard deviations; if it is deep, the rest follows."""
    p2 = tail_32(x.words[0], x.reals, x.integers)
    if deep:
        x.tail_probability[0] = p2
    x.out[0] = value_32(near_magnitude_32(p2), x.words, x.reals, x.integers)


def centred(x: Operands, deep: bool) -> None:
    """The same values for an interval that is symmetric about a mean of 0, where the sign bit says which side."""
    w = signed(x.words[0])
    distance = real(w ^ (w >> 31)) + 0.5
    p2 = minimum((x.reals[0] + x.reals[0]) + distance * (x.reals[2] * 2.0**-31), k.HALF_32 + k.HALF_32)
    if deep:
        x.tail_probability[0] = p2
    size = minimum(x.reals[4] * near_magnitude_32(p2), x.reals[6])
    x.out[0] = negative_unless(size, x.words[0])


@law(stagger=NEAR)
def near_32(x: Operands) -> None:
    """`near`, for laws that have no deep tail."""
    near(x, deep=False)


@law(stagger=NEAR)
def near_deep_32(x: Operands) -> None:
    """`near`, for laws whose deep tail is drawn again."""
    near(x, deep=True)


@law()
def centred_32(x: Operands) -> None:
    """`centred`, for laws that have no deep tail."""
    centred(x, deep=False)


@law()
def centred_deep_32(x: Operands) -> None:
    """`centred`, for laws whose deep tail is drawn again."""
    centred(x, deep=True)


@law(unroll=LANES * 32 // REGISTER)
def far_32(x: Operands) -> None:
    """The values of the words whose tail probabilities, doubled, are in `tail_probability`, wherever they lie."""
    p2 = maximum(x.tail_probability[0], k.SMALLEST_32 + k.SMALLEST_32)
    x.out[0] = value_32(magnitude_32(p2), x.words, x.reals, x.integers)


def value_64(magnitude: Vectors, words: VectorOperand, reals: ScalarOperand, integers: ScalarOperand) -> Vectors:
    """As value_32."""
    size = negative_unless(magnitude, wide(signed(flip_of(words[0], integers))))
    return clamp(reals[3] + reals[4] * size, reals[5], reals[6])


@law(stagger=FLOAT64)
def near_64(x: Operands) -> None:
    """For tail probabilities of e^-25 or more, within 6.6 standard deviations; the others follow."""
    w = x.words[0]
    flip = flip_of(w, x.integers)
    whole = (wide(w ^ flip) << 32) | wide(x.low_words[0] ^ flip)
    p = where(w <= x.integers[0], x.reals[0], x.reals[1]) + fused(real(whole), 2.0**-64, 2.0**-65) * x.reals[2]
    x.tail_probability[0] = p
    up, down, _ = ratio_64(p)
    x.out[0] = value_64(up / down, x.words, x.reals, x.integers)


@law(unroll=LANES * 64 // REGISTER)
def far_64(x: Operands) -> None:
    """As far_32; the probabilities are not doubled."""
    x.out[0] = value_64(magnitude_64(x.tail_probability[0]), x.words, x.reals, x.integers)


# --- the routines -----------------------------------------------------------------------------------------------------


@inline
def draw_far(far, deep, count, words, low_words, out, reals, integers, tail_probability, counters):
    """Draw the elements whose tail probability is below `deep`: one in 400 of a law that reaches everywhere.

    Their words and probabilities are moved to the front, and their places into the low words, whose work is done.
    """
    found = 0
    for begin in range(0, count, k.GROUP):
        remaining = below(tail_probability, begin, deep)
        while remaining != u64(0):
            i = begin + i64(trailing_zeros(remaining))
            words[found], tail_probability[found], low_words[found] = words[i], tail_probability[i], u32(i)
            remaining = u64(remaining & u64(remaining - u64(1)))
            found += 1
    if found > 0:
        whole = (found + k.LANES - 1) // k.LANES * k.LANES
        far(whole, words, low_words, tail_probability, reals, integers, tail_probability, counters)
        for j in range(found):
            out[i64(low_words[j])] = tail_probability[j]


@routine
def truncated_32(count, words, low_words, out, reals, integers, tail_probability, counters):
    """For laws that stop within 3.02 standard deviations."""
    if integers[3] != u32(0):
        centred_32(count, words, low_words, out, reals, integers, tail_probability, counters)
    else:
        near_32(count, words, low_words, out, reals, integers, tail_probability, counters)


@routine
def truncated_deep_32(count, words, low_words, out, reals, integers, tail_probability, counters):
    """For all others: the far elements are drawn again; both forms give the same bits nearer than those."""
    if integers[3] != u32(0):
        centred_deep_32(count, words, low_words, out, reals, integers, tail_probability, counters)
    else:
        near_deep_32(count, words, low_words, out, reals, integers, tail_probability, counters)
    draw_far(
        far_32,
        k.DEEP_TAIL_32 + k.DEEP_TAIL_32,
        count,
        words,
        low_words,
        out,
        reals,
        integers,
        tail_probability,
        counters,
    )


@routine
def truncated_64(count, words, low_words, out, reals, integers, tail_probability, counters):
    """The elements beyond 6.6 standard deviations are drawn again."""
    near_64(count, words, low_words, out, reals, integers, tail_probability, counters)
    draw_far(far_64, k.DEEP_TAIL_64, count, words, low_words, out, reals, integers, tail_probability, counters)


LAWS = (truncated_32, truncated_deep_32, truncated_64)
