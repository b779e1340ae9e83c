"""The normal law: Box and Muller's pairs."""

from __future__ import annotations

from fastinit.engines import stream as k
from fastinit.engines.compiled.conversions import split_bits_32, whole_64
from fastinit.engines.compiled.law import FLOAT64, NORMAL, law
from fastinit.engines.compiled.logarithm import minus_2_log_32, minus_2_log_64, split_64
from fastinit.engines.compiled.operands import Operands, VectorOperand
from fastinit.engines.compiled.vectors import (
    Vectors,
    and_not,
    bits,
    exponent,
    from_bits,
    fused,
    horner,
    is_set,
    is_zero,
    mantissa,
    real,
    signed,
    square_root,
    together,
    where,
    wide,
)
from fastinit.engines.processor import MASKED_STORES, ONE_STEP


def radius_32(a: Vectors) -> Vectors:
    """sqrt(-2 ln v), v = (a + 1/2) 2^-32: in [1.5e-5, 6.77], with full relative accuracy at both ends."""
    upper = signed(a) >> 31
    # The upper half is ln(1 - y): the same polynomial at f = -y, exponent 0.
    y = fused(real(signed(a) ^ upper), -(2.0**-32), -(2.0**-33))
    if ONE_STEP:
        lower, factor = is_zero(upper), k.MINUS_2_LN_2
        e, m = exponent(y), mantissa(y)
        term = together(lambda e: where(lower, fused(e, factor, factor), 0.0), e)
        f = together(lambda m, y: where(lower, -1.0 - m, y), m, y)
    else:
        place, m = split_bits_32(y, 0xBF000000)
        term = real(signed(and_not(place, upper))) * (k.MINUS_2_LN_2 * 2.0**-23)
        f = where(signed(a) < 0, y, -1.0 - m)
    return square_root(minus_2_log_32(term, f))


def angle_32(b: Vectors) -> tuple[Vectors, Vectors]:
    """Cosine and sine of an eighth of a turn, the cosine with a random sign."""
    t = fused(real(signed(b & 0xFFFFFFF8)), 2.0**-31, 2.0**-29)  # half a step is 4: the last three bits are for others
    z = t * t
    return from_bits(bits(horner(z, k.COS_32)) ^ (b << 31)), t * horner(z, k.SIN_32)


def radius_64(a: Vectors, a_low: Vectors) -> Vectors:
    """sqrt(-2 ln v), v = (a 2^32 + a_low + 1/2) 2^-64: in [2.3e-10, 9.50]."""
    upper, bias = signed(a) >> 31, 1022.0 + 64.0
    y = whole_64(signed(a ^ upper), a_low ^ upper) + 0.5  # times 2^-64
    if ONE_STEP:
        lower, e, m = is_zero(upper), exponent(y), mantissa(y)
        e = together(lambda e: where(lower, e + (1023.0 - bias), 0.0), e)
        f = together(lambda m, f: where(lower, m - 1.0, f), m, y * -(2.0**-64))
    else:
        side = wide(signed(a))
        e, m = split_64(y, bias)
        f = where(side < 0, y * -(2.0**-64), m - 1.0)
        e = where(side < 0, 0.0, e)
    return square_root(minus_2_log_64(e, f))


def angle_64(b: Vectors, b_low: Vectors) -> tuple[Vectors, Vectors]:
    """As angle_32."""
    t = fused(whole_64(signed(b) >> 3, b_low), 2.0**-60, 2.0**-61)
    z = t * t
    return from_bits(bits(horner(z, k.COS_64)) ^ (wide(b) << 63)), t * horner(z, k.SIN_64)


def store_pairs(out: VectorOperand, sine: Vectors, cosine: Vectors, b: Vectors) -> None:
    """Store what was made of a sine and a cosine, the other way round where bit 1 of the word is set.

    Without masked stores by selects, and without AVX-512 by an exclusive or: as a select the loop went from 13.5 to
    5.2 GB/s.
    """
    if MASKED_STORES:
        swap = is_set(b, 2)
        out[0] = sine
        out.replace(0, swap, cosine)
        out[1] = cosine
        out.replace(1, swap, sine)
    elif ONE_STEP:
        swap = is_set(b, 2)
        out[0] = where(swap, cosine, sine)
        out[1] = where(swap, sine, cosine)
    else:
        sign = b.element.width - 1
        difference = (bits(cosine) ^ bits(sine)) & (signed(b << (sign - 1)) >> sign)
        out[0] = from_bits(bits(sine) ^ difference)
        out[1] = from_bits(bits(cosine) ^ difference)


def pairs_32(a: Vectors, b: Vectors) -> tuple[Vectors, Vectors]:
    """Pairs of independent standard normals (Box and Muller 1958), from a sine and a cosine of the angle."""
    radius = radius_32(a)
    cosine, sine = angle_32(b)
    return radius * sine, radius * cosine


@law(pairs=True, stagger=NORMAL)
def normal_32(x: Operands) -> None:
    """The normal law of pairs of words. Reals: mean, std."""
    b = x.words[1]
    sine, cosine = pairs_32(x.words[0], b)
    store_pairs(x.out, x.reals[0] + x.reals[1] * sine, x.reals[0] + x.reals[1] * cosine, b)


@law(pairs=True, stagger=NORMAL)
def centred_normal_32(x: Operands) -> None:
    """The same values for a mean of 0, where no value is so small that it is rounded to -0.0."""
    b = x.words[1]
    sine, cosine = pairs_32(x.words[0], b)
    store_pairs(x.out, x.reals[1] * sine, x.reals[1] * cosine, b)


@law(pairs=True, stagger=FLOAT64)
def normal_64(x: Operands) -> None:
    """As normal_32, with the low words below the high ones."""
    radius, b = radius_64(x.words[0], x.low_words[0]), x.words[1]
    cosine, sine = angle_64(b, x.low_words[1])
    sine, cosine = x.reals[0] + x.reals[1] * (radius * sine), x.reals[0] + x.reals[1] * (radius * cosine)
    store_pairs(x.out, sine, cosine, b if ONE_STEP else wide(b))


LAWS = (normal_32, centred_normal_32, normal_64)
