"""The laws of the compiled engine, from words to float32 or float64: + - * / and square roots, in a fixed order.

The same functions stand in reference.py, in NumPy, with the same bits; docs/stream.md is the specification of both.
They are straight-line code on vectors (vectors.py): no function here is called while a buffer is filled.
"""

from __future__ import annotations

from fastinit.engines import constants as k
from fastinit.engines.vectors import (
    FEATURES,
    Line,
    Numbers,
    Vectors,
    and_not,
    bits,
    choose_bits,
    clamp,
    double,
    from_bits,
    hidden,
    horner,
    lacks,
    maximum,
    minimum,
    product,
    real,
    signed,
    square_root,
    where,
    wide,
)

# Whether bits are chosen by a mask in one instruction; else in three, or two where a difference is shared.
ONE_STEP = "avx512f" in FEATURES

# --- words ------------------------------------------------------------------------------------------------------------

Counter = tuple[Vectors, Vectors, Vectors, Vectors]


def philox(counter: Counter, key: tuple[Vectors, Vectors]) -> Counter:
    """Philox4x32-10 (Salmon et al. 2011) on 64-bit lanes: random words in the low halves, the high halves dirty.

    A round is two widening products, their halves crossed and keyed. A product reads low halves only (vpmuludq), so
    that nothing is masked: eight instructions for a vector of counters.
    """
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for round in range(10):
        if round > 0:
            k0, k1 = k0 + k.WEYL_0, k1 + k.WEYL_1
        p0, p1 = product(c0, k.MULTIPLIER_0), product(c2, k.MULTIPLIER_1)
        c0, c1, c2, c3 = (p1 >> 32) ^ (c1 ^ k0), p1, (p0 >> 32) ^ (c3 ^ k1), p0
        if round < 3 and "avx512dq" in FEATURES:  # where c1 and c3 are still numbers, and 64-bit products exist
            c0, c2 = hidden(c0), hidden(c2)
    return c0, c1, c2, c3


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


def minus_2_log_32(place: Vectors, f: Vectors, half: float = 1.0) -> Vectors:
    """-2 ln((1 + f) 2^e), or half of it; `place` is 2^23 e. A factor of 1/2 changes no bit but the exponent's."""
    terms = [half * term for term in k.LOG_32]
    return f * horner(f, terms) + real(signed(place)) * (half * k.MINUS_2_LN_2 * 2.0**-23)


def exponent_32(pattern: Vectors, half: int) -> Vectors:
    """The exponent of a float above that of 1/2, left at its place: 2^23 e. `half` is 1/2 in bits, with the sign."""
    return (pattern - half) & 0xFF800000


def minus_2_log_64(exponent: Vectors, f: Vectors) -> Vectors:
    """-2 ln((1 + f) 2^exponent) through atanh: ln(1 + f) = 2 atanh(f / (2 + f))."""
    s = f / (2.0 + f)
    z = s * s
    return -4.0 * (s + s * (z * horner(z, k.LOG_64))) + exponent * k.MINUS_2_LN_2


def split_64(y: Vectors, bias: float) -> tuple[Vectors, Vectors]:
    """A number as an exponent above this bias and a mantissa in [1/2, 1)."""
    mantissa = from_bits((bits(y) & 0x000FFFFFFFFFFFFF) | 0x3FE0000000000000)
    # The exponent becomes the last places of 2^52.
    return from_bits((bits(y) >> 52) | 0x4330000000000000) - (2.0**52 + bias), mantissa


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
    above = (real(signed(a) ^ upper) + 0.5) * -(2.0**-32)
    place = exponent_32(bits(above), 0xBF000000)
    below = -1.0 - from_bits(bits(above) - place)  # mantissa - 1
    if ONE_STEP:
        f = from_bits(choose_bits(upper, bits(above), bits(below)))
    else:
        f = where(signed(a) < 0, above, below)
    return square_root(minus_2_log_32(and_not(place, upper), f))


def angle_32(b: Vectors) -> tuple[Vectors, Vectors]:
    """Cosine and sine of an eighth of a turn, the cosine with a random sign."""
    t = (real(signed(b) >> 3) + 0.5) * 2.0**-28
    z = t * t
    return from_bits(bits(horner(z, k.COS_32)) ^ (b << 31)), t * horner(z, k.SIN_32)


def radius_64(a: Vectors, a_low: Vectors) -> Vectors:
    """sqrt(-2 ln v), v = (a 2^32 + a_low + 1/2) 2^-64: in [2.3e-10, 9.50]."""
    upper = signed(a) >> 31
    y = whole_64(signed(a ^ upper), a_low ^ upper) + 0.5  # times 2^-64
    exponent, mantissa = split_64(y, 1022.0 + 64.0)
    side = wide(signed(a))
    f = where(side < 0, y * -(2.0**-64), mantissa - 1.0)
    return square_root(minus_2_log_64(where(side < 0, 0.0, exponent), f))


def angle_64(b: Vectors, b_low: Vectors) -> tuple[Vectors, Vectors]:
    """As angle_32."""
    t = (whole_64(signed(b) >> 3, b_low) + 0.5) * 2.0**-60
    z = t * t
    return from_bits(bits(horner(z, k.COS_64)) ^ (wide(b) << 63)), t * horner(z, k.SIN_64)


def swapped(cosine: Vectors, sine: Vectors, swap: Vectors) -> tuple[Vectors, Vectors]:
    """The sine and the cosine, the other way round where all bits of `swap` are set.

    An exclusive or: as a select on a mask register it took the loop from 13.5 to 5.2 GB/s.
    """
    if ONE_STEP:
        odd = choose_bits(swap, bits(sine), bits(cosine))
        return from_bits(choose_bits(swap, bits(cosine), bits(sine))), from_bits(odd)
    difference = (bits(cosine) ^ bits(sine)) & swap
    return from_bits(bits(sine) ^ difference), from_bits(bits(cosine) ^ difference)


def normal_32(words: Line, low_words: Line, out: Line, reals: Numbers, integers: Numbers, spare: Line) -> None:
    """Pairs of independent normals (Box and Muller 1958) from a radius and an angle. Reals: mean, std."""
    radius = radius_32(words[0])
    cosine, sine = angle_32(words[1])
    even, odd = swapped(cosine, sine, signed(words[1] << 30) >> 31)
    out[0] = reals[0] + reals[1] * (radius * even)
    out[1] = reals[0] + reals[1] * (radius * odd)


def normal_64(words: Line, low_words: Line, out: Line, reals: Numbers, integers: Numbers, spare: Line) -> None:
    """As normal_32, with the low words below the high ones."""
    radius = radius_64(words[0], low_words[0])
    cosine, sine = angle_64(words[1], low_words[1])
    even, odd = swapped(cosine, sine, signed(wide(words[1]) << 62) >> 63)
    out[0] = reals[0] + reals[1] * (radius * even)
    out[1] = reals[0] + reals[1] * (radius * odd)


# --- the inverse of the normal distribution ---------------------------------------------------------------------------
#
# float32 takes twice the tail probability, p2 = 2 p, which is exact and saves two operations.


def log_odds_32(p2: Vectors) -> tuple[Vectors, Vectors]:
    """The variable of the polynomials, w = -ln(4 p (1 - p)), and q = 1 - 2 p."""
    pattern = bits(p2 * (2.0 - p2))
    place = exponent_32(pattern, 0x3F000000)
    return minus_2_log_32(place, from_bits(pattern - place) - 1.0, half=0.5), 1.0 - p2


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
    exponent, mantissa = split_64(p, 1022.0)
    r = square_root(0.5 * minus_2_log_64(exponent, mantissa - 1.0))
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


def flip_of(words: Line, integers: Numbers) -> Vectors:
    """What turns a word into its distance from the end of its side, and says which side: 0 is the lower one."""
    return where(words[0] <= integers[0], integers[1], integers[2])


def tail_32(words: Line, reals: Numbers, integers: Numbers) -> Vectors:
    """Twice the tail probability of each word on its side."""
    base = where(words[0] <= integers[0], reals[0], reals[1])
    s = (unsigned_32(words[0] ^ flip_of(words, integers)) + 0.5) * 2.0**-32
    p = minimum(base + s * reals[2], k.HALF_32)
    return p + p


def value_32(magnitude: Vectors, words: Line, reals: Numbers, integers: Numbers) -> Vectors:
    """The truncated normals from the magnitudes on their sides."""
    sign = and_not(0x80000000, flip_of(words, integers))
    return clamp(reals[3] + reals[4] * from_bits(bits(magnitude) ^ sign), reals[5], reals[6])


def truncated_32(
    words: Line, low_words: Line, out: Line, reals: Numbers, integers: Numbers, spare: Line, deep: bool = False
) -> None:
    """For laws that stop within 3.02 standard deviations; if it is deep, the rest follows."""
    p2 = tail_32(words, reals, integers)
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
    out[0] = from_bits(bits(size) ^ and_not(0x80000000, words[0]))


def far_32(words: Line, low_words: Line, out: Line, reals: Numbers, integers: Numbers, spare: Line) -> None:
    """The values of the words whose tail probabilities, doubled, are in `spare`, wherever they lie."""
    p2 = maximum(spare[0], k.SMALLEST_32 + k.SMALLEST_32)
    out[0] = value_32(magnitude_32(p2), words, reals, integers)


def value_64(magnitude: Vectors, words: Line, reals: Numbers, integers: Numbers) -> Vectors:
    """As value_32."""
    sign = wide(flip_of(words, integers) ^ 0xFFFFFFFF) << 63
    return clamp(reals[3] + reals[4] * from_bits(bits(magnitude) ^ sign), reals[5], reals[6])


def truncated_64(words: Line, low_words: Line, out: Line, reals: Numbers, integers: Numbers, spare: Line) -> None:
    """For tail probabilities of e^-25 or more, within 6.6 standard deviations; the others follow."""
    flip = flip_of(words, integers)
    whole = (wide(words[0] ^ flip) << 32) | wide(low_words[0] ^ flip)
    p = where(words[0] <= integers[0], reals[0], reals[1]) + ((real(whole) + 0.5) * 2.0**-64) * reals[2]
    spare[0] = p
    out[0] = value_64(near_magnitude_64(p), words, reals, integers)


def far_64(words: Line, low_words: Line, out: Line, reals: Numbers, integers: Numbers, spare: Line) -> None:
    """As far_32; the probabilities are not doubled."""
    out[0] = value_64(magnitude_64(spare[0]), words, reals, integers)
