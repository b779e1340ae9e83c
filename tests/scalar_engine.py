"""The third engine: stream "fastinit-1" one element at a time, in plain Python, written from docs/stream.md.

It shares nothing with fastinit: no import, its own constants, its own distribution function. It is slow, and it is
where the golden values of kat/values.json come from.

    word(seed, name, index, domain=0)                             a 32-bit word of the stream
    value(kind, params, dtype, seed, name, index)                 the bits of one element, as an integer
    complex_value(kind, params, dtype, seed, name, index)         the bits of both parts of a complex element
    survivors(need, indices, seed, name)                          which elements of a sparse line survive
    orthonormal(m, n, b, seed, name)                              the rows of an orthogonal matrix

`kind` and `params`: "uniform" (low, high), "normal" (mean, std), "truncated_normal" (parent mean and std, low, high),
"laplace" (mean, std),
"step_bias" (low, high, floor), "log_of_uniform" (low, high); "complex_normal" (parts of the mean, std),
"complex_uniform" (radius), "complex_truncated_normal" (std, radius).
`dtype`: float64, float32, float16, bfloat16, float8_e4m3fn, float8_e5m2; complex64, complex128.

float32 arithmetic is float64 arithmetic rounded once: for + - * / and sqrt that is the correctly rounded float32
result, since 53 bits are more than twice 24 plus two (S. A. Figueroa, "When is double rounding innocuous?", 1995).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from hashlib import blake2b

MASK_32 = 0xFFFFFFFF
MASK_64 = 0xFFFFFFFFFFFFFFFF


def single(bits: int) -> float:
    """The float32 with these bits, as a Python float."""
    return float(struct.unpack("<f", struct.pack("<I", bits))[0])


def double(bits: int) -> float:
    """The float64 with these bits."""
    return float(struct.unpack("<d", struct.pack("<Q", bits))[0])


def singles(bits: str) -> tuple[float, ...]:
    """The coefficients of a float32 polynomial, lowest degree first."""
    return tuple(single(int(word, 16)) for word in bits.split())


def doubles(bits: str) -> tuple[float, ...]:
    """The coefficients of a float64 polynomial, lowest degree first."""
    return tuple(double(int(word, 16)) for word in bits.split())


# --- the numbers of the page -----------------------------------------------------------------------------------------

MULTIPLIER_0, MULTIPLIER_1 = 0xD2511F53, 0xCD9E8D57
WEYL_0, WEYL_1 = 0x9E3779B9, 0xBB67AE85

MINUS_2_LN_2_32 = single(0xBFB17218)
MINUS_2_LN_2_64 = double(0xBFF62E42FEFA39EF)
SMALLEST_32, HALF_32 = single(0x00800000), single(0x3EFFFFFF)
LOG_32 = singles("c0000000 3f7fff60 bf2ad1c2 3ef989f4 bf06fb5a beb91381 c01aa7ad c051cc19 c0350758")
SIN_32 = singles("3f490fdb bda55e12 3b234052 b8198cc7")
COS_32 = singles("3f800000 be9de9ce 3c81d82c b9a73c5f")
LOG_64 = doubles(
    "3fd5555555555555 3fc999999999a238 3fc24924923e408b 3fbc71c7268b5a30 3fb745cf1f3b8b97 "
    "3fb3b18968dbe838 3fb10adef3a77c43 3faeb78b9d2f0684 3fa68e256a8574b7 3fb4aa9d63acd0fa"
)
SIN_64 = doubles(
    "3fe921fb54442d18 bfb4abbce625bdae 3f6466bc6774afce bf032d2ccd46a431 3e9507821d4e2ce7 "
    "be1e2f3f0f5120cc 3d9dfc5b9ae356c5"
)
COS_64 = doubles(
    "3ff0000000000000 bfd3bd3cc9be459d 3f903c1f081b0df1 bf355d3c7dc398e1 3ece1f4fb7f91a4e "
    "be5a6c9c800cb68c 3ddf3dc185c9f376"
)
MAGNITUDE_32 = singles("400b3b50 3eb19ede bbda605e bad06a23 399e9c66 b72a3ba9 b6912dc7 3505fadc 32e45632")
TAIL_32 = singles("3fadc4cf be8f7e39 3de94ef3 3f49564e bf42bff1 412d54b7 42339fdb c2b03811 c432b6a2 449a465a")
CENTRE_NUMERATOR = doubles(
    "400b18d91e9eef75 4060a4888b1a436e 409ece5d2213c0cc 40cad1d8cd4ee71d 40e66c3e869b752a "
    "40f06c1c55b78f20 40e052d26b2e45e4 40a39a296f7d925e"
)
CENTRE_DENOMINATOR = doubles(
    "3ff0000000000000 4045281b386e1ab5 4085797efdc8b3f7 40b512322e75c89f 40d4b772d5d65266 "
    "40e3317caa64f4be 40dc0e457cb1ae76 40b46a7eca984a16"
)
NEAR_NUMERATOR = doubles(
    "3ff6c665fde9526a 4012857748cab19b 401713f71462256a 400d2ecb1a3d02c4 3ff453cc085375b2 "
    "3fcef2abb9b85c37 3f9744eb6c45ec67 3f49615ac0b7ace9"
)
NEAR_DENOMINATOR = doubles(
    "3ff0000000000000 40006cefbb46a449 3ffad278e6526633 3fe61292f23385c9 3fc2f5123394f040 "
    "3f8f207a7eab17bf 3f41f18cbfdf2728 3e120d3f686439e4"
)
FAR_NUMERATOR = doubles(
    "401aa1b1c13ee526 4015daea6e875003 3ffc8ea6461fa445 3fd2fad9315255cf 3f9b2b41193b4ee7 "
    "3f545c1908425345 3efc6ec6cc59e02a 3e8afb74d693bf93"
)
FAR_DENOMINATOR = doubles(
    "3ff0000000000000 3fe331d34fc7d77f 3fc186eb183443fb 3f8e76f93215462a 3f49c8bc979dc5d7 "
    "3ef35c2c496374bf 3e831446f740b9e0 3ce269bff1f8c190"
)

MAGNITUDE_CENTRE = single(0x4029999A)  # 2.65
TAIL_FROM = single(0x40A9999A)  # 5.3

LN_2 = double(0x3FE62E42FEFA39EF)
LN_2_HIGH = double(0x3FE62E42FEE00000)
LN_2_LOW = double(0x3DEA39EF35793C76)
INVERSE_SQRT_2_PI = double(0x3FD9884533D43651)

# Name: exponent bits, mantissa bits, bits of the largest finite value.
FORMATS = {
    "float64": (11, 52, 0x7FEFFFFFFFFFFFFF),
    "float32": (8, 23, 0x7F7FFFFF),
    "float16": (5, 10, 0x7BFF),
    "bfloat16": (8, 7, 0x7F7F),
    "float8_e4m3fn": (4, 3, 0x7E),
    "float8_e5m2": (5, 2, 0x7B),
}


# --- words -----------------------------------------------------------------------------------------------------------


def philox(counter: Sequence[int], key: Sequence[int]) -> tuple[int, int, int, int]:
    """Philox4x32-10."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = MULTIPLIER_0 * c0, MULTIPLIER_1 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & MASK_32, (p0 >> 32) ^ c3 ^ k1, p0 & MASK_32
        k0, k1 = (k0 + WEYL_0) & MASK_32, (k1 + WEYL_1) & MASK_32
    return c0, c1, c2, c3


def stream_id(name: str | int) -> int:
    """The 64-bit number of a tensor's name."""
    if isinstance(name, int):
        return name
    return int.from_bytes(blake2b(name.encode("utf-8"), digest_size=8).digest(), "little")


def words_of_counter(seed: int, name: str | int, q: int, domain: int) -> tuple[int, int, int, int]:
    """The four words of counter q of a tensor."""
    sid = stream_id(name)
    counter = (q & MASK_32, (domain << 24) | (q >> 32), sid & MASK_32, sid >> 32)
    return philox(counter, (seed & MASK_32, seed >> 32))


def place(index: int) -> tuple[int, int]:
    """The counter and the word in it that belong to an element."""
    group, inside = divmod(index, 64)
    return 16 * group + inside % 16, inside // 16


def word(seed: int, name: str | int, index: int, domain: int = 0) -> int:
    """The word of one element in one domain."""
    q, which = place(index)
    return words_of_counter(seed, name, q, domain)[which]


# --- arithmetic ------------------------------------------------------------------------------------------------------


def f32(x: float) -> float:
    """Round to float32, to nearest even."""
    return float(struct.unpack("<f", struct.pack("<f", x))[0])


def horner_32(x: float, coefficients: Sequence[float]) -> float:
    """The polynomial in float32, from the highest coefficient down."""
    total = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        total = f32(f32(total * x) + coefficient)
    return total


def horner_64(x: float, coefficients: Sequence[float]) -> float:
    """The polynomial in float64, from the highest coefficient down."""
    total = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        total = total * x + coefficient
    return total


def split_32(y: float) -> tuple[float, int]:
    """The m in [1/2, 1) and e of y = m 2^e, from the bits of a normal float32."""
    pattern = int(struct.unpack("<I", struct.pack("<f", y))[0])
    return single((pattern & 0x007FFFFF) | 0x3F000000), (pattern >> 23) - 126


def split_64(y: float) -> tuple[float, int]:
    """The same of a float64."""
    pattern = int(struct.unpack("<Q", struct.pack("<d", y))[0])
    return double((pattern & 0x000FFFFFFFFFFFFF) | 0x3FE0000000000000), (pattern >> 52) - 1022


def minus_2_log_32(e: int, f: float) -> float:
    """-2 ln((1 + f) 2^e) in float32."""
    return f32(f32(f * horner_32(f, LOG_32)) + f32(e * MINUS_2_LN_2_32))


def minus_2_log_64(e: int, f: float) -> float:
    """-2 ln((1 + f) 2^e) in float64."""
    s = f / (2.0 + f)
    z = s * s
    t = z * horner_64(z, LOG_64)
    t = s * t
    t = s + t
    t = -4.0 * t
    return t + e * MINUS_2_LN_2_64


# --- normal ----------------------------------------------------------------------------------------------------------


def radius_32(a: int) -> float:
    """The radius of a pair, from its first word."""
    upper = a >> 31
    n = a ^ MASK_32 if upper else a
    y = f32(f32(f32(n) + 0.5) * 2.0**-32)
    m, e = split_32(y)
    return f32(math.sqrt(minus_2_log_32(0, -y) if upper else minus_2_log_32(e, m - 1.0)))


def radius_64(a: int, a_low: int) -> float:
    """The radius of a pair, from its first word and the low word."""
    whole = (a << 32) | a_low
    upper = whole >> 63
    n = whole ^ MASK_64 if upper else whole
    y = (float(n) + 0.5) * 2.0**-64
    m, e = split_64(y)
    return math.sqrt(minus_2_log_64(0, -y) if upper else minus_2_log_64(e, m - 1.0))


def signed_32(b: int) -> int:
    """The word as a two's complement integer."""
    return b - (1 << 32) if b >> 31 else b


def sine_cosine_32(b: int) -> tuple[float, float]:
    """S and C of an angle word, C with its sign."""
    t = f32(f32(f32(signed_32(b) >> 3) + 0.5) * 2.0**-28)
    z = f32(t * t)
    sine, cosine = f32(t * horner_32(z, SIN_32)), horner_32(z, COS_32)
    return sine, -cosine if b & 1 else cosine


def sine_cosine_64(b: int, b_low: int) -> tuple[float, float]:
    """S and C of an angle word and the low word, C with its sign."""
    t = (float(((signed_32(b) >> 3) << 32) | b_low) + 0.5) * 2.0**-60
    z = t * t
    sine, cosine = t * horner_64(z, SIN_64), horner_64(z, COS_64)
    return sine, -cosine if b & 1 else cosine


def standard_normal(wide: bool, seed: int, name: str | int, index: int, domain: int = 0) -> float:
    """The z of an element: float64 if `wide`, else float32."""
    q, which = place(index)
    first = which & 2  # words 0 and 1 are a pair, and words 2 and 3
    high = words_of_counter(seed, name, q, domain)
    a, b = high[first], high[first + 1]
    if wide:
        low = words_of_counter(seed, name, q, 1)
        radius = radius_64(a, low[first])
        sine, cosine = sine_cosine_64(b, low[first + 1])
    else:
        radius = radius_32(a)
        sine, cosine = sine_cosine_32(b)
    even, odd = (cosine, sine) if b & 2 else (sine, cosine)
    z = radius * (odd if which & 1 else even)
    return z if wide else f32(z)


# --- host parameters: the normal distribution -------------------------------------------------------------------------


def exp_negative(y: float) -> float:
    """e^y for y <= 0."""
    if y < -745.2:
        return 0.0
    k = math.floor(y / LN_2 + 0.5)
    f = (y - k * LN_2_HIGH) - k * LN_2_LOW
    total = 1.0
    for n in range(14, 0, -1):
        total = 1.0 + (f / n) * total
    return math.ldexp(total, k)


def density(x: float) -> float:
    """phi(x)."""
    x = abs(x)
    if x >= 39.0:
        return 0.0
    h = math.floor(16.0 * x) / 16.0
    rest = x - h
    return INVERSE_SQRT_2_PI * (exp_negative(-0.5 * (h * h)) * exp_negative(-(rest * (h + 0.5 * rest))))


def upper_tail(x: float) -> float:
    """Q(x)."""
    if abs(x) <= 1.0:
        total = 1.0
        for divisor in range(99, 3, -2):
            total = 1.0 + (x * x / divisor) * total
        return 0.5 - density(x) * (x + x * (x * x * (total / 3.0)))
    if x < 0.0:
        return 1.0 - upper_tail(-x)
    if x >= 39.0:
        return 0.0
    fraction = x
    for n in range(400, 0, -1):
        fraction = x + n / fraction
    return density(x) / fraction


def lower_tail(x: float) -> float:
    """Phi(x)."""
    return upper_tail(-x)


# --- truncated normal ------------------------------------------------------------------------------------------------


def magnitude_32(p: float) -> float:
    """The x with tail probability p in (0, 1/2), float32."""
    q = f32(1.0 - f32(p + p))
    y = f32(f32(4.0 * p) * f32(1.0 - p))
    m, e = split_32(y)
    w = f32(0.5 * minus_2_log_32(e, m - 1.0))
    if w < TAIL_FROM:
        return f32(q * horner_32(f32(w - MAGNITUDE_CENTRE), MAGNITUDE_32))
    s = f32(math.sqrt(w))
    return f32(q * f32(s * horner_32(f32(f32(1.0 / s) - 0.25), TAIL_32)))


def magnitude_64(p: float) -> float:
    """The x with tail probability p, float64."""
    q = 0.5 - p
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        return q * horner_64(r, CENTRE_NUMERATOR) / horner_64(r, CENTRE_DENOMINATOR)
    m, e = split_64(p)
    r = math.sqrt(0.5 * minus_2_log_64(e, m - 1.0))
    if r <= 5.0:
        return horner_64(r - 1.6, NEAR_NUMERATOR) / horner_64(r - 1.6, NEAR_DENOMINATOR)
    return horner_64(r - 5.0, FAR_NUMERATOR) / horner_64(r - 5.0, FAR_DENOMINATOR)


def sides(alpha: float, beta: float) -> tuple[float, int, float, int, int, float]:
    """(base_a, flip_a, base_b, flip_b, last, Z) of the interval [alpha, beta]: words up to `last` take side A."""
    if beta <= 0.0:
        base = lower_tail(alpha)
        return base, 0, base, 0, MASK_32, lower_tail(beta) - base
    if alpha >= 0.0:
        base = upper_tail(beta)
        return base, MASK_32, base, MASK_32, MASK_32, upper_tail(alpha) - base
    lower, upper = lower_tail(alpha), upper_tail(beta)
    mass = (1.0 - lower) - upper
    threshold = math.ceil((0.5 - lower) / mass * 2.0**32 - 0.5)
    return lower, 0, upper, MASK_32, min(max(threshold, 1), MASK_32) - 1, mass


def standard_truncated(wide: bool, alpha: float, beta: float, seed: int, name: str | int, index: int) -> float:
    """The signed z of an element: float64 if `wide`, else float32."""
    base_a, flip_a, base_b, flip_b, last, mass = sides(alpha, beta)
    w = word(seed, name, index)
    base, flip = (base_a, flip_a) if w <= last else (base_b, flip_b)
    if wide:
        n = ((w << 32) | word(seed, name, index, 1)) ^ (flip << 32 | flip)
        x = magnitude_64(base + (float(n) + 0.5) * 2.0**-64 * mass)
    else:
        s = f32(f32(f32(w ^ flip) + 0.5) * 2.0**-32)
        x = magnitude_32(clamp(f32(f32(base) + f32(s * f32(mass))), SMALLEST_32, HALF_32))
    return x if flip else -x


# --- Laplace ---------------------------------------------------------------------------------------------------------


def standard_laplace(wide: bool, seed: int, name: str | int, index: int) -> float:
    """The signed z of an element: float64 if `wide`, else float32."""
    w = word(seed, name, index)
    upper = w >> 31
    if wide:
        whole = (w << 32) | word(seed, name, index, 1)
        y = min((float(whole ^ MASK_64 if upper else whole) + 0.5) * 2.0**-63, double(0x3FEFFFFFFFFFFFFF))
        m, e = split_64(y)
        x = 0.5 * minus_2_log_64(e, m - 1.0)
    else:
        y = min(f32(f32(f32(w ^ MASK_32 if upper else w) + 0.5) * 2.0**-31), single(0x3F7FFFFF))
        m, e = split_32(y)
        x = f32(0.5 * minus_2_log_32(e, m - 1.0))
    return x if upper else -x


# --- Mamba -----------------------------------------------------------------------------------------------------------


def log(y: float) -> float:
    """Ln y, y a normal float64 above 0."""
    m, e = split_64(y)
    f = m - 1.0
    if f < -0.25:
        f, e = f + f + 1.0, e - 1
    return -0.5 * minus_2_log_64(e, f)


def split_exp(y: float) -> tuple[int, float]:
    """The k and m of e^y = 2^k (1 + m)."""
    k = math.floor(y / LN_2 + 0.5)
    f = (y - k * LN_2_HIGH) - k * LN_2_LOW
    total = 1.0
    for n in range(14, 1, -1):
        total = 1.0 + (f / n) * total
    return k, f * total


def inverse_softplus(dt: float) -> float:
    """The bias of a step."""
    k, m = split_exp(-min(dt, 64.0))
    power = math.ldexp(1.0, k)
    return dt + log((1.0 - power) - power * m)


def step_bias(low: float, high: float, w: int) -> float:
    """The bias that a word stands for, before the floor."""
    u = (float(w) + 0.5) * 2.0**-32
    k, m = split_exp(log(low) + (log(high) - log(low)) * u)
    return inverse_softplus(math.ldexp(1.0 + m, k))


# --- number formats ---------------------------------------------------------------------------------------------------


def decode(code: int, dtype: str) -> float:
    """The value of a code: the bits of a value that is not negative, or minus the bits of its opposite."""
    exponent_bits, mantissa_bits, _ = FORMATS[dtype]
    smallest = 2 - (1 << (exponent_bits - 1)) - mantissa_bits  # exponent of the smallest subnormal
    exponent, mantissa = divmod(abs(code), 1 << mantissa_bits)
    if exponent:
        mantissa += 1 << mantissa_bits
    return math.copysign(math.ldexp(mantissa, smallest + max(exponent, 1) - 1), code)


def code_below(x: float, dtype: str) -> int:
    """The code of the largest finite value <= x."""
    largest = FORMATS[dtype][2]
    low, high = -largest, largest  # decode is monotone in the code: bisect
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if decode(middle, dtype) <= x else (low, middle - 1)
    return low


def clamp_bounds(dtype: str, low: float, high: float, open_above: bool) -> tuple[float, float]:
    """The smallest finite value of the dtype >= low, and the largest <= high (< high if `open_above`)."""
    lowest, highest = -code_below(-low, dtype), code_below(high, dtype)
    if open_above and decode(highest, dtype) == high:
        highest -= 1
    return decode(lowest, dtype), decode(highest, dtype)


def narrow_bits(x: float, dtype: str) -> int:
    """The bits of the value of the dtype nearest to x, ties to even; x does not overflow."""
    exponent_bits, mantissa_bits, _ = FORMATS[dtype]
    smallest = 2 - (1 << (exponent_bits - 1)) - mantissa_bits
    sign = 1 << (exponent_bits + mantissa_bits) if math.copysign(1.0, x) < 0.0 else 0
    _, exponent = math.frexp(abs(x))
    quantum = max(exponent - mantissa_bits - 1, smallest)
    units = round(math.ldexp(abs(x), -quantum))  # to nearest even
    # A normal number's units begin with the implicit bit, which adds one to the exponent field, as does a carry.
    return sign + ((quantum - smallest) << mantissa_bits) + units


# --- values -----------------------------------------------------------------------------------------------------------


def clamp(x: float, lowest: float, highest: float) -> float:
    """x, moved into [lowest, highest]."""
    return min(max(x, lowest), highest)


def value(kind: str, params: Sequence[float], dtype: str, seed: int, name: str | int, index: int) -> int:
    """The bits of element `index`."""
    wide = dtype == "float64"

    def to(x: float) -> float:
        """Round to the precision of the law."""
        return x if wide else f32(x)

    if kind == "uniform":
        low, high = params
        w = word(seed, name, index)
        if wide:
            u = float(((w << 32) | word(seed, name, index, 1)) >> 11) * 2.0**-53
        else:
            u = float(w >> 8) * 2.0**-24
        x = to(to(low) + to(to(high - low) * u))
        x = clamp(x, *clamp_bounds(dtype, low, high, open_above=True))
    elif kind == "normal":
        mean, std = params
        x = to(to(mean) + to(to(std) * standard_normal(wide, seed, name, index)))
    elif kind == "laplace":
        mean, std = params
        x = to(to(mean) + to(to(std / math.sqrt(2.0)) * standard_laplace(wide, seed, name, index)))
    elif kind == "truncated_normal":
        mean, std, low, high = params
        z = standard_truncated(wide, (low - mean) / std, (high - mean) / std, seed, name, index)
        x = to(to(mean) + to(to(std) * z))
        x = clamp(x, *clamp_bounds(dtype, low, high, open_above=False))
    elif kind == "step_bias":
        low, high, floor = params
        shortest, longest = inverse_softplus(max(low, floor)), inverse_softplus(high)
        x = step_bias(low, high, word(seed, name, index))
        x = to(clamp(x, *clamp_bounds(dtype, shortest, longest, open_above=False)))
    elif kind == "log_of_uniform":
        low, high = params
        x = log(low + (high - low) * ((float(word(seed, name, index)) + 0.5) * 2.0**-32))
        x = to(clamp(x, *clamp_bounds(dtype, log(low), log(high), open_above=False)))
    else:
        raise ValueError(f"value: {kind!r} is not a kind of law")
    return narrow_bits(x, dtype)


# --- complex numbers --------------------------------------------------------------------------------------------------


def mass_within(cut: float) -> tuple[float, float]:
    """Z and rest of a complex normal whose modulus is cut at so many standard deviations."""
    square = cut * cut
    if square > 700.0:
        return 1.0, 0.0
    k, m = split_exp(-square)
    power = math.ldexp(1.0, k)
    return (1.0 - power) - power * m, power + power * m


def cut_modulus(wide: bool, std: float, radius: float, a: int, a_low: int) -> float:
    """The modulus of a complex truncated normal, from its word and the low word."""
    mass, rest = mass_within(radius / std)
    scale = std / math.sqrt(2.0)
    highest = code_below(radius, "float64" if wide else "float32")
    if wide:
        whole = (a << 32) | a_low
        below = mass * ((float(whole) + 0.5) * 2.0**-64)
        if below > 0.5:
            m, e = split_64(rest + mass * ((float(whole ^ MASK_64) + 0.5) * 2.0**-64))
            size = math.sqrt(minus_2_log_64(e, m - 1.0))
        else:
            size = math.sqrt(minus_2_log_64(0, -below))
        return min(scale * size, decode(highest, "float64"))
    below = f32(f32(mass) * f32(f32(f32(a) + 0.5) * 2.0**-32))
    if below > 0.5:
        upper = f32(f32(f32(a ^ MASK_32) + 0.5) * 2.0**-32)
        m, e = split_32(f32(f32(rest) + f32(f32(mass) * upper)))
        size = f32(math.sqrt(minus_2_log_32(e, m - 1.0)))
    else:
        size = f32(math.sqrt(minus_2_log_32(0, -below)))
    return min(f32(f32(scale) * size), decode(highest, "float32"))


def complex_value(
    kind: str, params: Sequence[float], dtype: str, seed: int, name: str | int, index: int
) -> tuple[int, int]:
    """The bits of the real and the imaginary part of element `index`."""
    wide = dtype == "complex128"
    of_parts = "float64" if wide else "float32"
    if kind == "complex_normal":
        std = params[2] / math.sqrt(2.0)
        re, im = (
            value("normal", (mean, std), of_parts, seed, name, 2 * index + i) for i, mean in enumerate(params[:2])
        )
        return re, im
    a, b = (word(seed, name, 2 * index + i) for i in range(2))
    a_low, b_low = (word(seed, name, 2 * index + i, 1) for i in range(2))
    if kind == "complex_truncated_normal":
        modulus = cut_modulus(wide, *params, a, a_low)  # type: ignore[misc]
    elif kind == "complex_uniform":
        if wide:
            modulus = params[0] * math.sqrt((float((a << 32) | a_low) + 0.5) * 2.0**-64)
        else:
            modulus = f32(f32(params[0]) * f32(math.sqrt(f32(f32(f32(a) + 0.5) * 2.0**-32))))
    else:
        raise ValueError(f"complex_value: {kind!r} is not a kind of law")
    sine, cosine = sine_cosine_64(b, b_low) if wide else sine_cosine_32(b)
    parts = (modulus * cosine, modulus * sine) if b & 2 else (modulus * sine, modulus * cosine)
    re, im = (narrow_bits(part if wide else f32(part), of_parts) for part in parts)
    return re, im


# --- sparse and orthogonal --------------------------------------------------------------------------------------------


def survivors(need: int, indices: Sequence[int], seed: int, name: str | int) -> list[bool]:
    """Which elements of a line survive; `indices` are the row-major indices of the whole line, in order."""
    alive = []
    for t, index in enumerate(indices):
        alive.append((word(seed, name, index, 2) * (len(indices) - t)) >> 32 < need)
        need -= alive[-1]
    return alive


def orthonormal(m: int, n: int, b: int, seed: int, name: str | int, before: int = 0) -> list[list[float]]:
    """The rows of Q of matrix b, m x n, m >= n, of a part with `before` elements before it: a reflector at a time."""
    q = [[float(i == j) for j in range(n)] for i in range(m)]
    signs = []
    for j in reversed(range(n)):
        x = [standard_normal(False, seed, name, before + (b * n + j) * m + i, 3) for i in range(j, m)]
        sign = math.copysign(1.0, x[0])
        signs.append(-sign)
        v = [x[0] + sign * math.sqrt(math.fsum(value * value for value in x)), *x[1:]]
        scale = 2.0 / math.fsum(value * value for value in v)
        for column in range(n):
            along = scale * math.fsum(v[i - j] * q[i][column] for i in range(j, m))
            for i in range(j, m):
                q[i][column] -= along * v[i - j]
    return [[value * sign for value, sign in zip(row, reversed(signs), strict=True)] for row in q]


def unitary(m: int, n: int, b: int, seed: int, name: str | int, before: int = 0) -> list[list[complex]]:
    """The same of complex numbers."""
    q = [[complex(i == j) for j in range(n)] for i in range(m)]
    phases = []
    for j in reversed(range(n)):
        places = [2 * (before + (b * n + j) * m + i) for i in range(j, m)]
        x = [complex(*(standard_normal(False, seed, name, at + part, 3) for part in range(2))) for at in places]
        phase = x[0] / abs(x[0])
        phases.append(-phase)
        v = [x[0] + phase * math.sqrt(math.fsum(abs(value) ** 2 for value in x)), *x[1:]]
        scale = 2.0 / math.fsum(abs(value) ** 2 for value in v)
        for column in range(n):
            along = scale * sum(v[i - j].conjugate() * q[i][column] for i in range(j, m))
            for i in range(j, m):
                q[i][column] -= along * v[i - j]
    return [[value * phase for value, phase in zip(row, reversed(phases), strict=True)] for row in q]
