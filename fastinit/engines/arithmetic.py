"""The laws of the compiled engine, from words to float32 or float64: + - * / and square roots, in a fixed order.

The same functions stand in reference.py, in NumPy, with the same bits; docs/stream.md is the specification of both.
They are straight-line code on vectors (vectors.py): no function here is called while a buffer is filled.
"""

from __future__ import annotations

from fastinit.engines import constants as k
from fastinit.engines.vectors import (
    FEATURES,
    MASKED_STORES,
    Line,
    Numbers,
    Vectors,
    and_not,
    bits,
    clamp,
    double,
    exponent,
    from_bits,
    fused,
    high_half,
    horner,
    is_set,
    is_zero,
    lacks,
    mantissa,
    maximum,
    minimum,
    pause,
    product,
    real,
    signed,
    square_root,
    together,
    where,
    wide,
)

# Whether the processor has AVX-512: bits are chosen in one instruction, not in three (two where a difference is
# shared), and an exponent or a mantissa is one, not two or three.
ONE_STEP = "avx512f" in FEATURES

# --- words ------------------------------------------------------------------------------------------------------------


def philox(p0: Vectors, c1: Vectors, c2: Vectors, c3: Vectors, k0: Vectors, k1: Vectors) -> tuple[Vectors, ...]:
    """Philox4x32-10 (Salmon et al. 2011) on 64-bit lanes: random words in the low halves, the high halves dirty.

    Of the first word of the counters comes the product with its multiplier. A round is two widening products, their
    halves crossed and keyed. A product reads low halves only (vpmuludq), so that nothing is masked: six instructions
    for a vector of counters, or eight.
    """
    p1 = product(c2, k.MULTIPLIER_1)
    for round in range(1, k.ROUNDS):
        c0, c1, c2, c3 = (p1 >> 32) ^ (c1 ^ k0), p1, high_half(p0) ^ (c3 ^ k1), p0
        # All but one word of a counter are those of its neighbours, and for two rounds half of what is made of them.
        if round == 1:
            c2, c3 = pause((c2, c3))
        elif round == 2:
            c0, c1, c2 = pause((c0, c1, c2))
        else:
            c0, c1, c2, c3 = pause((c0, c1, c2, c3))
        p0, p1 = product(c0, k.MULTIPLIER_0), product(c2, k.MULTIPLIER_1)
        k0, k1 = k0 + k.WEYL_0, k1 + k.WEYL_1
    return (p1 >> 32) ^ (c1 ^ k0), p1, (p0 >> 32) ^ (c3 ^ k1), p0


# --- uniform ----------------------------------------------------------------------------------------------------------


def unit_32(w: Vectors) -> Vectors:
    """The uniform float32 in [0, 1) of a word: 24 bits."""
    return real(signed(w >> 8)) * 2.0**-24


def unit_64(w: Vectors, w_low: Vectors) -> Vectors:
    """The uniform float64 in [0, 1) of a word and its low word: 53 bits, as the last places of 2^20 and 1/2."""
    high = from_bits(wide(w) | 0x4130000000000000) - 2.0**20
    low = from_bits((wide(w_low) >> 11) | 0x3FE0000000000000) - 0.5
    return high + low


def uniform_32(w: Vectors, reals: Numbers) -> Vectors:
    """The uniform law of a word. Reals: low, span, smallest, largest."""
    return clamp(reals[0] + reals[1] * unit_32(w), reals[2], reals[3])


def uniform_steps_32(w: Vectors, reals: Numbers) -> Vectors:
    """The same values by two operations less, where none is above the largest and span 2^-24, a step, is exact."""
    return maximum(reals[0] + (reals[1] * 2.0**-24) * real(signed(w >> 8)), reals[2])


def uniform_64(words: Line, low_words: Line, out: Line, reals: Numbers, integers: Numbers, spare: Line) -> None:
    """As uniform_32, of a word and its low word."""
    out[0] = clamp(reals[0] + reals[1] * unit_64(words[0], low_words[0]), reals[2], reals[3])


# --- logarithms -------------------------------------------------------------------------------------------------------


def split_bits_32(y: Vectors, half: int) -> tuple[Vectors, Vectors]:
    """2^23 e, and m, of numbers y = m 2^e with |m| in [1/2, 1); `half` is 1/2 in bits, with the sign of y."""
    place = (bits(y) - half) & 0xFF800000
    return place, from_bits(bits(y) - place)


def split_32(y: Vectors, factor: float) -> tuple[Vectors, Vectors]:
    """`factor` times e, and m, of positive numbers y = m 2^e with m in [1/2, 1)."""
    if ONE_STEP:
        return fused(exponent(y), factor, factor), mantissa(y)
    place, m = split_bits_32(y, 0x3F000000)
    return real(signed(place)) * (factor * 2.0**-23), m


def minus_2_log_32(term: Vectors, f: Vectors, half: float = 1.0) -> Vectors:
    """-2 ln((1 + f) 2^e), or half of it, with its term in e. A factor of 1/2 changes no bit but the exponent's."""
    return f * horner(f, [half * coefficient for coefficient in k.LOG_32]) + term


def minus_2_log_64(e: Vectors, f: Vectors) -> Vectors:
    """-2 ln((1 + f) 2^e) through atanh: ln(1 + f) = 2 atanh(f / (2 + f))."""
    s = f / (2.0 + f)
    z = s * s
    return -4.0 * (s + s * (z * horner(z, k.LOG_64))) + e * k.MINUS_2_LN_2


def split_64(y: Vectors, bias: float) -> tuple[Vectors, Vectors]:
    """A number as an exponent above this bias and a mantissa in [1/2, 1)."""
    if ONE_STEP:
        return exponent(y) + (1023.0 - bias), mantissa(y)
    fraction = from_bits((bits(y) & 0x000FFFFFFFFFFFFF) | 0x3FE0000000000000)
    # The exponent becomes the last places of 2^52.
    return from_bits((bits(y) >> 52) | 0x4330000000000000) - (2.0**52 + bias), fraction


def whole_by_halves(high: Vectors, low: Vectors) -> Vectors:
    """2^32 high + low, an int32 and a uint32 as one float64, rounded once: both halves are exact.

    The low half becomes the last places of 2^52; AVX2 has no conversion of 64-bit integers.
    """
    small = from_bits(wide(low) | 0x4330000000000000) - 2.0**52
    return real(signed(high), double) * 2.0**32 + small


def whole_by_conversion(high: Vectors, low: Vectors) -> Vectors:
    """The same by one instruction, where the processor has it."""
    return real(signed((wide(high) << 32) | wide(low)))


whole_64 = whole_by_halves if lacks("avx512dq") else whole_by_conversion


# --- normal -----------------------------------------------------------------------------------------------------------


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


def store_pairs(out: Line, sine: Vectors, cosine: Vectors, b: Vectors) -> None:
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


def normal_32(words: Line, low_words: Line, out: Line, reals: Numbers, integers: Numbers, spare: Line) -> None:
    """The normal law of pairs of words. Reals: mean, std."""
    b = words[1]
    sine, cosine = pairs_32(words[0], b)
    store_pairs(out, reals[0] + reals[1] * sine, reals[0] + reals[1] * cosine, b)


def centred_normal_32(words: Line, low_words: Line, out: Line, reals: Numbers, integers: Numbers, spare: Line) -> None:
    """The same values for a mean of 0, where no value is so small that it is rounded to -0.0."""
    b = words[1]
    sine, cosine = pairs_32(words[0], b)
    store_pairs(out, reals[1] * sine, reals[1] * cosine, b)


def normal_64(words: Line, low_words: Line, out: Line, reals: Numbers, integers: Numbers, spare: Line) -> None:
    """As normal_32, with the low words below the high ones."""
    radius, b = radius_64(words[0], low_words[0]), words[1]
    cosine, sine = angle_64(b, low_words[1])
    sine, cosine = reals[0] + reals[1] * (radius * sine), reals[0] + reals[1] * (radius * cosine)
    store_pairs(out, sine, cosine, b if ONE_STEP else wide(b))


# --- the inverse of the normal distribution ---------------------------------------------------------------------------
#
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


def near_magnitude_64(p: Vectors) -> Vectors:
    """The x with tail probability p >= e^-25: within 6.6 standard deviations."""
    up, down, _ = ratio_64(p)
    return up / down


def magnitude_64(p: Vectors) -> Vectors:
    """The x with tail probability p in (0, 1/2]."""
    up, down, r = ratio_64(p)
    far, is_far = r - 5.0, r > 5.0
    return where(is_far, horner(far, k.FAR_NUMERATOR), up) / where(is_far, horner(far, k.FAR_DENOMINATOR), down)


# --- truncated normal -------------------------------------------------------------------------------------------------
#
# Reals: base of side A, base of side B, mass, mean, std, smallest, largest. Integers: the last word of side A, the flip
# of A and of B, whether the law is centred.


def unsigned_by_halves(w: Vectors) -> Vectors:
    """A uint32 as a float32, rounded once: both halves are exact, as the last places of 2^39 and 2^23."""
    high = from_bits((w >> 16) | 0x53000000) - (2.0**39 + 2.0**23)
    return high + from_bits((w & 0xFFFF) | 0x4B000000)


def unsigned_by_conversion(w: Vectors) -> Vectors:
    """The same by one instruction, where the processor has it."""
    return real(w)


unsigned_32 = unsigned_by_halves if lacks("avx512f") else unsigned_by_conversion


def flip_of(w: Vectors, integers: Numbers) -> Vectors:
    """What turns a word into its distance from the end of its side, and says which side: 0 is the lower one."""
    return where(w <= integers[0], integers[1], integers[2])


def tail_32(w: Vectors, reals: Numbers, integers: Numbers) -> Vectors:
    """Twice the tail probability of each word on its side."""
    base = where(w <= integers[0], reals[0], reals[1])
    s = fused(unsigned_32(w ^ flip_of(w, integers)), 2.0**-32, 2.0**-33)
    p = minimum(base + s * reals[2], k.HALF_32)
    return p + p


def negative_unless(size: Vectors, w: Vectors) -> Vectors:
    """The numbers, with a minus where the highest bit of an integer of their size is not set (vpternlogd)."""
    sign = 1 << (w.element.width - 1)
    return together(lambda size, w: from_bits(bits(size) ^ and_not(sign, w)), size, w)


def value_32(magnitude: Vectors, words: Line, reals: Numbers, integers: Numbers) -> Vectors:
    """The truncated normals from the magnitudes on their sides."""
    size = negative_unless(magnitude, flip_of(words[0], integers))
    return clamp(reals[3] + reals[4] * size, reals[5], reals[6])


def truncated_32(
    words: Line, low_words: Line, out: Line, reals: Numbers, integers: Numbers, spare: Line, deep: bool = False
) -> None:
    """For laws that stop within 3.02 standard deviations; if it is deep, the rest follows."""
    p2 = tail_32(words[0], reals, integers)
    if deep:
        spare[0] = p2
    out[0] = value_32(near_magnitude_32(p2), words, reals, integers)


def centred_32(
    words: Line, low_words: Line, out: Line, reals: Numbers, integers: Numbers, spare: Line, deep: bool = False
) -> None:
    """The same values for an interval that is symmetric about a mean of 0, where the sign bit says which side."""
    w = signed(words[0])
    distance = real(w ^ (w >> 31)) + 0.5
    p2 = minimum((reals[0] + reals[0]) + distance * (reals[2] * 2.0**-31), k.HALF_32 + k.HALF_32)
    if deep:
        spare[0] = p2
    size = minimum(reals[4] * near_magnitude_32(p2), reals[6])
    out[0] = negative_unless(size, words[0])


def far_32(words: Line, low_words: Line, out: Line, reals: Numbers, integers: Numbers, spare: Line) -> None:
    """The values of the words whose tail probabilities, doubled, are in `spare`, wherever they lie."""
    p2 = maximum(spare[0], k.SMALLEST_32 + k.SMALLEST_32)
    out[0] = value_32(magnitude_32(p2), words, reals, integers)


def value_64(magnitude: Vectors, words: Line, reals: Numbers, integers: Numbers) -> Vectors:
    """As value_32."""
    size = negative_unless(magnitude, wide(signed(flip_of(words[0], integers))))
    return clamp(reals[3] + reals[4] * size, reals[5], reals[6])


def truncated_64(words: Line, low_words: Line, out: Line, reals: Numbers, integers: Numbers, spare: Line) -> None:
    """For tail probabilities of e^-25 or more, within 6.6 standard deviations; the others follow."""
    w = words[0]
    flip = flip_of(w, integers)
    whole = (wide(w ^ flip) << 32) | wide(low_words[0] ^ flip)
    p = where(w <= integers[0], reals[0], reals[1]) + fused(real(whole), 2.0**-64, 2.0**-65) * reals[2]
    spare[0] = p
    out[0] = value_64(near_magnitude_64(p), words, reals, integers)


def far_64(words: Line, low_words: Line, out: Line, reals: Numbers, integers: Numbers, spare: Line) -> None:
    """As far_32; the probabilities are not doubled."""
    out[0] = value_64(magnitude_64(spare[0]), words, reals, integers)
