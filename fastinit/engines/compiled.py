"""The compiled engine: every line of Numba code that fastinit has.

Read it from the top: how LLVM is told what to do, words (Philox), the pieces of the laws as scalar functions, the laws
as loops over words, rounding to narrow types, and the walk over a buffer. The same functions stand in reference.py, in
NumPy, with the same bits; docs/stream.md is the specification of both.

It is one file because Numba's disk cache does not notice edits in another. Constants are wrapped (`u32(...)`) because
Numba computes `uint32 + int` in int64, and each step is cast back to 32 bits because 64-bit lanes halve the speed.
fastmath stays off: a fused or reordered operation would change bits.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, overload

from fastinit.engines import constants as k
from fastinit.engines.loading import fork_lock

# SHA-256 of constants.py: its numbers are compiled in, and editing this line is what makes Numba's cache see the edit.
CONSTANTS_DIGEST = "5f026e0fa40d63f460155217b3824ecab0a5a2794e75c0e2d373bd487572aa6e"

u8, u16, u32, u64 = np.uint8, np.uint16, np.uint32, np.uint64
i32, i64, f32, f64 = np.int32, np.int64, np.float32, np.float64

F = TypeVar("F", bound=Callable[..., Any])

# The processor that LLVM compiles for; NUMBA_CPU_NAME and NUMBA_CPU_FEATURES choose another.
_, CPU, _features = numba.core.registry.cpu_target.target_context.codegen().magic_tuple()
FEATURES = {feature[1:] for feature in _features.split(",") if feature.startswith("+")}


def lacks(feature: str) -> bool:
    """Whether this is an x86 processor without a feature."""
    return "sse2" in FEATURES and feature not in FEATURES


# --- how LLVM is told what to do --------------------------------------------------------------------------------------

# A piece that only kernels call needs no wrappers for callers from Python and C: a sixth of the time to compile.
INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": False}


def kernel(function: F) -> F:
    """Compile on first use; release the GIL; keep the machine code on disk where a folder can be written."""
    try:
        return cast(F, numba.njit(cache=True, **OPTIONS)(function))
    except RuntimeError:  # no folder for the cache (a read-only container): compile in each process
        return cast(F, numba.njit(**OPTIONS)(function))


def inline(function: F) -> F:
    """A piece of a kernel, forced in: left to itself LLVM calls Philox, and then vectorises nothing (1 GB/s)."""
    return cast(F, numba.njit(forceinline=True, **INNER, **OPTIONS)(function))


routine = numba.njit(**INNER, **OPTIONS)  # called from a kernel, and kept in its machine code


@intrinsic
def bits(typing_context, x):
    """The bits of a float as an unsigned integer of its size."""
    integer = {types.float32: types.uint32, types.float64: types.uint64}[x]

    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(integer))

    return integer(x), codegen


@intrinsic
def from_bits(typing_context, x):
    """The float whose bits are this unsigned integer."""
    real = {types.uint32: types.float32, types.uint64: types.float64}[x]

    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(real))

    return real(x), codegen


def hidden(builder, value):  # type: ignore[no-untyped-def]
    """The value, through an empty piece of assembly: LLVM cannot know that it comes out as it went in."""
    integer = ir.IntType({"float": 32, "double": 64}.get(str(value.type)) or value.type.width)
    barrier = ir.InlineAsm(ir.FunctionType(integer, [integer]), "", "=r,0")
    through = builder.call(barrier, [builder.bitcast(value, integer)], attrs=("readnone", "nounwind"))
    return builder.bitcast(through, value.type)


@intrinsic
def held(typing_context, x):
    """A constant that stays at hand during a loop.

    Numba compiles for addresses of 64 bits, where a constant that LLVM sees costs two instructions in each turn of a
    loop (movabs, broadcast): a third of the truncated law. This one is loaded once, and then is a register, or an
    operand on the stack. Not in a branch of an `if`: from there LLVM cannot move it, and does not vectorise the loop.
    """
    return x(x), lambda context, builder, signature, arguments: hidden(builder, arguments[0])


@intrinsic
def opaque(typing_context, x):
    """A value that LLVM takes as it is."""
    return x(x), lambda context, builder, signature, arguments: hidden(builder, arguments[0])


@intrinsic(prefer_literal=True)
def interleaved(typing_context, ways, count, element, arguments):
    """Do `element(i, arguments)` for each i in range(count), so many vectors at once.

    A law is a chain of some 40 dependent operations. A core looks ahead too little to begin the next vector meanwhile,
    so LLVM is told to weave several together (llvm.loop.interleave.count); left to itself it takes one at a time, and
    the truncated law 1.6 times as long.
    """
    inner = element.get_call_type(typing_context, (types.int64, arguments), {})

    def codegen(context, builder, signature, values):
        _, end, _, needed = values
        word, module = ir.IntType(64), builder.module
        before, body, after = builder.block, *map(builder.append_basic_block, ("element", "done"))
        builder.cbranch(builder.icmp_signed("<", word(0), end), body, after)
        builder.position_at_end(body)
        i = builder.phi(word)
        context.get_function(element, inner)(builder, [i, needed])
        following = builder.add(i, word(1), flags=("nsw",))
        i.add_incoming(word(0), before)
        i.add_incoming(following, builder.block)
        turn = builder.cbranch(builder.icmp_signed("<", following, end), body, after)
        name = ir.MetaDataString(module, "llvm.loop.interleave.count")
        hint = module.add_metadata([name, ir.IntType(32)(ways.literal_value)])
        # A loop's metadata begins with itself, which makes it this loop's own.
        loop = module.add_metadata([ir.MetaDataString(module, f"loop {len(module.metadata)}"), hint])
        loop.operands = (loop, hint)
        turn.set_metadata("llvm.loop", loop)
        builder.position_at_end(after)
        return context.get_dummy_value()

    return types.void(ways, types.int64, element, arguments), codegen


# --- words ---------------------------------------------------------------------------------------------------------


@inline
def philox_round(c, k0, k1):
    """One round: two widening products, their halves crossed and keyed.

    The words travel in the low halves of 64-bit lanes and the high halves are left dirty: the product masks them for
    nothing (vpmuludq reads low halves only). Six instructions for eight counters; 32-bit words cost more than twice
    that.
    """
    p0 = u64(c[0] & u64(0xFFFFFFFF)) * u64(held(u32(k.MULTIPLIER_0)))
    p1 = u64(c[2] & u64(0xFFFFFFFF)) * u64(held(u32(k.MULTIPLIER_1)))
    return (p1 >> u64(32)) ^ c[1] ^ k0, p1, (p0 >> u64(32)) ^ c[3] ^ k1, p0


@inline
def next_key(k0, k1):
    """The key of the next round, in the low halves."""
    return u64(u32(k0 + u64(k.WEYL_0))), u64(u32(k1 + u64(k.WEYL_1)))


@inline
def philox(c0, c1, c2, c3, k0, k1):
    """Philox4x32-10 on 64-bit lanes: random words in the low halves, the high halves dirty.

    Ten rounds in ten lines: LLVM vectorises the loop over lanes only if none is left inside it.
    """
    c = philox_round((c0, c1, c2, c3), k0, k1)
    k0, k1 = next_key(k0, k1)
    c = philox_round(c, k0, k1)
    k0, k1 = next_key(k0, k1)
    c = philox_round(c, k0, k1)
    k0, k1 = next_key(k0, k1)
    c = philox_round(c, k0, k1)
    k0, k1 = next_key(k0, k1)
    c = philox_round(c, k0, k1)
    k0, k1 = next_key(k0, k1)
    c = philox_round(c, k0, k1)
    k0, k1 = next_key(k0, k1)
    c = philox_round(c, k0, k1)
    k0, k1 = next_key(k0, k1)
    c = philox_round(c, k0, k1)
    k0, k1 = next_key(k0, k1)
    c = philox_round(c, k0, k1)
    k0, k1 = next_key(k0, k1)
    return philox_round(c, k0, k1)


# With AVX-512 two vectors are a whole group. With AVX2 two ways are 4 % faster on one thread, but on two threads the
# uniform law takes 1.4 times as long as with one way (Zen 3, two cores; the code is twice as long).
WAYS_OF_WORDS = 1 if lacks("avx512f") else 2


@inline
def words_of_lane(lane, arguments):
    """The four words of a counter."""
    here, odd, second, counter, key = arguments
    c = philox(counter[0] + u64(lane), counter[1], counter[2], counter[3], key[0], key[1])
    here[lane] = u32(c[0])
    here[lane + odd] = u32(c[1])
    here[lane + second] = u32(c[2])
    here[lane + odd + second] = u32(c[3])


@inline
def draw_words(out, begin, group, groups, domain, stream, paired):
    """Write the words of whole groups in the order of the elements that take them, from `begin` on.

    `paired` is for laws that make two elements of two words: the words 0 and 2 of each group go to the first half of
    `out`, from begin / 2 on, and the words 1 and 3 of the same groups to the same places of the second half.
    """
    key_0, key_1, sid_0, sid_1 = u64(stream[0]), u64(stream[1]), u64(stream[2]), u64(stream[3])
    purpose = u64(domain) << u64(24)
    place, stride, odd, second = (begin // 2, 32, k.BLOCK // 2, 16) if paired else (begin, 64, 16, 32)
    for g in range(groups):
        here = out[place + stride * g :]
        q = u64(group + g) << u64(4)
        c1 = purpose | (q >> u64(32))
        counter, key = (q, c1, sid_0, sid_1), (key_0, key_1)
        interleaved(WAYS_OF_WORDS, 16, words_of_lane, (here, odd, second, counter, key))


@kernel  # from Python: the raw words, for the self-test and the statistics
def words(out, group, groups, domain, stream):
    """Write the words of whole groups, in the order of the elements that take them."""
    draw_words(out, 0, group, groups, domain, stream, False)


# --- pieces of the laws, scalar -------------------------------------------------------------------------------------


@intrinsic(prefer_literal=False)
def horner(typing_context, x, coefficients):
    """The polynomial with these coefficients, lowest first: multiply, then add, from the highest down.

    The coefficients are held: not in a branch of an `if`.
    """

    def codegen(context, builder, signature, arguments):
        terms = [hidden(builder, term) for term in cgutils.unpack_tuple(builder, arguments[1])]
        total = terms[-1]
        for term in terms[-2::-1]:
            total = builder.fadd(builder.fmul(total, arguments[0]), term)
        return total

    return x(x, coefficients), codegen


@inline
def minus_2_log_32(exponent, f):
    """-2 ln((1 + f) 2^exponent)."""
    return f * horner(f, k.LOG_32) + exponent * held(f32(k.MINUS_2_LN_2))


@inline
def split_32(y, bias):
    """Y as an exponent above this bias and a mantissa in [1/2, 1)."""
    pattern = bits(y)
    mantissa = from_bits(u32(u32(pattern & held(u32(0x007FFFFF))) | held(u32(0x3F000000))))
    return i32(i32(pattern >> u32(23)) - held(i32(bias))), mantissa


@inline
def radius_32(a):
    """sqrt(-2 ln v), v = (a + 1/2) 2^-32: in [1.5e-5, 6.77], with full relative accuracy at both ends."""
    upper = i32(i32(a) >> i32(31))
    y = f32(i32(i32(a) ^ upper)) + held(f32(0.5))  # times 2^-32, which the bias of the exponent takes in
    exponent, mantissa = split_32(y, 126 + 32)
    # The upper half is ln(1 - y): the same polynomial at f = -y, exponent 0.
    below, above = mantissa - held(f32(1.0)), y * held(f32(-(2.0**-32)))
    f = above if i32(a) < i32(0) else below
    return math.sqrt(minus_2_log_32(f32(i32(exponent & i32(~upper))), f))


@inline
def angle_32(b):
    """Cosine and sine of an eighth of a turn, the cosine with a random sign."""
    t = (f32(i32(i32(b) >> i32(3))) + held(f32(0.5))) * held(f32(2.0**-28))
    z = t * t
    sine = t * horner(z, k.SIN_32)
    cosine = horner(z, k.COS_32)
    return from_bits(u32(bits(cosine) ^ u32(b << u32(31)))), sine


@inline
def normal_pair_32(radius, b):
    """Two independent standard normals (Box and Muller 1958) from a radius and an angle word.

    The swap is an exclusive or: as a select on a mask register it took the loop from 13.5 to 5.2 GB/s.
    """
    cosine, sine = angle_32(b)
    swap = u32(i32(u32(b << u32(30))) >> i32(31))
    difference = u32(u32(bits(cosine) ^ bits(sine)) & swap)
    even = from_bits(u32(bits(sine) ^ difference))
    odd = from_bits(u32(bits(cosine) ^ difference))
    return radius * even, radius * odd


@inline
def minus_2_log_64(exponent, f):
    """-2 ln((1 + f) 2^exponent) through atanh: ln(1 + f) = 2 atanh(f / (2 + f))."""
    s = f / (held(2.0) + f)
    z = s * s
    return held(-4.0) * (s + s * (z * horner(z, k.LOG_64))) + exponent * held(k.MINUS_2_LN_2)


@inline
def whole_by_halves(high, low):
    """2^32 high + low, an int32 and a uint32 as one float64, rounded once: both halves are exact.

    The low half becomes the last places of 2^52; AVX2 has no conversion of 64-bit integers.
    """
    small = from_bits(u64(low) | held(u64(0x4330000000000000))) - held(2.0**52)
    return f64(high) * held(2.0**32) + small


@inline
def whole_by_conversion(high, low):
    """The same by one instruction, where the processor has it."""
    return f64(i64((i64(high) << i64(32)) | i64(low)))


whole_64 = whole_by_halves if lacks("avx512dq") else whole_by_conversion


@inline
def split_64(y, bias):
    """Y as an exponent above this bias and a mantissa in [1/2, 1)."""
    pattern = bits(y)
    mantissa = from_bits((pattern & held(u64(0x000FFFFFFFFFFFFF))) | held(u64(0x3FE0000000000000)))
    # The exponent becomes the last places of 2^52.
    return from_bits((pattern >> u64(52)) | held(u64(0x4330000000000000))) - held(2.0**52 + bias), mantissa


@inline
def radius_64(a, a_low):
    """sqrt(-2 ln v), v = (a 2^32 + a_low + 1/2) 2^-64: in [2.3e-10, 9.50]."""
    upper = i32(i32(a) >> i32(31))
    y = whole_64(i32(i32(a) ^ upper), u32(a_low ^ u32(upper))) + held(0.5)  # times 2^-64
    exponent, mantissa = split_64(y, 1022.0 + 64.0)
    below, above = mantissa - held(1.0), y * held(-(2.0**-64))
    f = above if i32(a) < i32(0) else below
    return math.sqrt(minus_2_log_64(0.0 if i32(a) < i32(0) else exponent, f))


@inline
def angle_64(b, b_low):
    """Cosine and sine of an eighth of a turn, the cosine with a random sign."""
    t = (whole_64(i32(i32(b) >> i32(3)), b_low) + held(0.5)) * held(2.0**-60)
    z = t * t
    sine = t * horner(z, k.SIN_64)
    cosine = horner(z, k.COS_64)
    return from_bits(bits(cosine) ^ (u64(b) << u64(63))), sine


@inline
def normal_pair_64(radius, b, b_low):
    """As normal_pair_32, with the low word below the high one."""
    cosine, sine = angle_64(b, b_low)
    swap = u64(i64(u64(b) << u64(62)) >> i64(63))
    difference = (bits(cosine) ^ bits(sine)) & swap
    even = from_bits(bits(sine) ^ difference)
    odd = from_bits(bits(cosine) ^ difference)
    return radius * even, radius * odd


@inline
def unit_32(w):
    """The uniform float32 in [0, 1) of a word: 24 bits."""
    return f32(i32(w >> u32(8))) * held(f32(2.0**-24))


@inline
def unit_64(w, w_low):
    """The uniform float64 in [0, 1) of a word and its low word: 53 bits, as the last places of 2^20 and 1/2."""
    high = from_bits(u64(w) | held(u64(0x4130000000000000))) - held(2.0**20)
    low = from_bits((u64(w_low) >> u64(11)) | held(u64(0x3FE0000000000000))) - held(0.5)
    return high + low


@inline
def clamp(x, lowest, highest):
    """x, moved into [lowest, highest]."""
    x = lowest if x < lowest else x
    return highest if x > highest else x


@inline
def log_odds_32(p):
    """The variable of the polynomials, w = -ln(4 p (1 - p)), and q = 1 - 2 p."""
    one = held(f32(1.0))
    exponent, mantissa = split_32((held(f32(4.0)) * p) * (one - p), 126)
    return held(f32(0.5)) * minus_2_log_32(f32(exponent), mantissa - one), one - (p + p)


@inline
def near_magnitude_32(p):
    """The x >= 0 with tail probability p in (0, 1/2), for w < 5.3: within 3.02 standard deviations; error below 1e-6.

    The polynomial runs in w, in which the inverse is smooth at p = 1/2 too (Giles 2010).
    """
    w, q = log_odds_32(p)
    return q * horner(w - held(f32(2.65)), k.MAGNITUDE_32)


@inline
def magnitude_32(p):
    """The x >= 0 with tail probability p in (0, 1/2): relative error below 1e-6 down to the smallest normal p."""
    w, q = log_odds_32(p)
    near = q * horner(w - held(f32(2.65)), k.MAGNITUDE_32)
    s = math.sqrt(w)
    far = q * (s * horner(held(f32(1.0)) / s - held(f32(0.25)), k.TAIL_32))
    return near if w < held(f32(5.3)) else far


@inline
def ratio_64(p):
    """Numerator and denominator of the x with tail probability p in (0, 1/2], and r = sqrt(-ln p); right for r <= 5.

    AS 241, PPND16 (Wichura 1988). x is negative for p just above 1/2.
    """
    q = held(0.5) - p
    centre = held(0.180625) - q * q
    exponent, mantissa = split_64(p, 1022.0)
    r = math.sqrt(held(0.5) * minus_2_log_64(exponent, mantissa - held(1.0)))
    near = r - held(1.6)
    up_0, up_1 = q * horner(centre, k.CENTRE_NUMERATOR), horner(near, k.NEAR_NUMERATOR)
    down_0, down_1 = horner(centre, k.CENTRE_DENOMINATOR), horner(near, k.NEAR_DENOMINATOR)
    inside = abs(q) <= held(0.425)
    return (up_0 if inside else up_1), (down_0 if inside else down_1), r


@inline
def near_magnitude_64(p):
    """The x with tail probability p >= e^-25: within 6.6 standard deviations."""
    up, down, _ = ratio_64(p)
    return up / down


@inline
def magnitude_64(p):
    """The x with tail probability p in (0, 1/2]."""
    up, down, r = ratio_64(p)
    far = r - held(5.0)
    far_up, far_down = horner(far, k.FAR_NUMERATOR), horner(far, k.FAR_DENOMINATOR)
    is_far = r > held(5.0)
    return (far_up if is_far else up) / (far_down if is_far else down)


# --- the laws: words in element order become float32 or float64 ------------------------------------------------------
#
# Every law has the signature (words, low words, out, reals, integers, spare), so that one walk serves all; `out` holds
# whole groups, `spare` has room for as many values, and the float32 forms do not look at the low words. The words are
# in the order of the elements, or paired, as draw_words says. The loop over the elements is `interleaved`, its body a
# function of the place and of what it needs.


@inline
def uniform_32_element(i, arguments):
    words, out, low, span, lowest, highest = arguments
    out[i] = clamp(low + span * unit_32(words[i]), lowest, highest)


@routine
def uniform_32(words, low_words, out, reals, integers, spare):
    interleaved(4, len(out), uniform_32_element, (words, out, reals[0], reals[1], reals[2], reals[3]))


@inline
def uniform_64_element(i, arguments):
    words, low_words, out, low, span, lowest, highest = arguments
    out[i] = clamp(low + span * unit_64(words[i], low_words[i]), lowest, highest)


@routine
def uniform_64(words, low_words, out, reals, integers, spare):
    interleaved(4, len(out), uniform_64_element, (words, low_words, out, reals[0], reals[1], reals[2], reals[3]))


@inline
def radius_32_element(i, arguments):
    words, radii = arguments
    radii[i] = radius_32(words[i])


@routine
def normal_32(words, low_words, out, reals, integers, spare):
    mean, std = reals[0], reals[1]
    interleaved(8, len(out) // 2, radius_32_element, (words, spare))
    for j in range(0, len(out) // 2, 16):  # sixteen pairs: elements 16 apart
        angles, radii, x = words[k.BLOCK // 2 + j :][:16], spare[j : j + 16], out[2 * j : 2 * j + 32]
        for lane in range(16):
            even, odd = normal_pair_32(radii[lane], angles[lane])
            x[lane] = mean + std * even
            x[lane + 16] = mean + std * odd


@inline
def radius_64_element(i, arguments):
    words, low_words, radii = arguments
    radii[i] = radius_64(words[i], low_words[i])


@routine
def normal_64(words, low_words, out, reals, integers, spare):
    mean, std = reals[0], reals[1]
    interleaved(4, len(out) // 2, radius_64_element, (words, low_words, spare))
    for j in range(0, len(out) // 2, 16):
        angles, low_angles = words[k.BLOCK // 2 + j :][:16], low_words[k.BLOCK // 2 + j :][:16]
        radii, x = spare[j : j + 16], out[2 * j : 2 * j + 32]
        for lane in range(16):
            even, odd = normal_pair_64(radii[lane], angles[lane], low_angles[lane])
            x[lane] = mean + std * even
            x[lane + 16] = mean + std * odd


@inline
def unsigned_by_halves(w):
    """A uint32 as a float32, rounded once: both halves are exact, as the last places of 2^39 and 2^23."""
    high = from_bits(u32(u32(w >> u32(16)) | held(u32(0x53000000)))) - held(f32(2.0**39 + 2.0**23))
    return high + from_bits(u32(u32(w & held(u32(0xFFFF))) | held(u32(0x4B000000))))


@inline
def unsigned_by_conversion(w):
    """The same by one instruction, where the processor has it."""
    return f32(w)


unsigned_32 = unsigned_by_halves if lacks("avx512f") else unsigned_by_conversion


@inline
def tail_probability_32(word, reals, integers):
    """The tail probability of a word on its side, and the flip that says which side; see docs/stream.md."""
    side_a = word <= integers[0]
    flip = integers[1] if side_a else integers[2]
    base = reals[0] if side_a else reals[1]
    s = (unsigned_32(u32(word ^ flip)) + held(f32(0.5))) * held(f32(2.0**-32))
    p, half = base + s * reals[2], held(k.HALF_32)
    return (p if p < half else half), flip


@inline
def truncated_value_32(magnitude, flip, reals):
    """One truncated normal from the magnitude on its side."""
    signed = from_bits(u32(bits(magnitude) ^ u32(u32(~flip) & held(u32(0x80000000)))))
    return clamp(reals[3] + reals[4] * signed, reals[5], reals[6])


@inline
def truncated_32_element(i, arguments):
    words, out, tails, reals, integers = arguments
    tails[i], flip = tail_probability_32(words[i], reals, integers)
    out[i] = truncated_value_32(near_magnitude_32(tails[i]), flip, reals)


@routine
def truncated_32(words, low_words, out, reals, integers, spare):
    """For laws that stop within 3.02 standard deviations."""
    r = (reals[0], reals[1], reals[2], reals[3], reals[4], reals[5], reals[6])
    n = (integers[0], integers[1], integers[2])
    interleaved(8, len(out), truncated_32_element, (words, out, spare, r, n))


@routine
def truncated_deep_32(words, low_words, out, reals, integers, spare):
    """As truncated_32; where one of sixteen words lies in the far tail, the sixteen are drawn again with it.

    For a law that reaches everywhere that is one time in 25. Both forms give the same bits nearer than the far tail.
    """
    r = (reals[0], reals[1], reals[2], reals[3], reals[4], reals[5], reals[6])
    n = (integers[0], integers[1], integers[2])
    interleaved(8, len(out), truncated_32_element, (words, out, spare, r, n))
    for begin in range(0, len(out), 16):
        w, tails, x = words[begin : begin + 16], spare[begin : begin + 16], out[begin : begin + 16]
        far = u32(0)
        for lane in range(16):
            far = u32(far | u32(tails[lane] < k.DEEP_TAIL_32))
        if far != u32(0):
            for lane in range(16):
                flip = n[1] if w[lane] <= n[0] else n[2]
                p = tails[lane] if tails[lane] > k.SMALLEST_32 else k.SMALLEST_32
                x[lane] = truncated_value_32(magnitude_32(p), flip, r)


@inline
def truncated_value_64(magnitude, flip, reals):
    """As truncated_value_32."""
    signed = from_bits(bits(magnitude) ^ (u64(u32(~flip)) << u64(63)))
    return clamp(reals[3] + reals[4] * signed, reals[5], reals[6])


@inline
def truncated_64_element(i, arguments):
    words, low_words, out, tails, reals, integers = arguments
    side_a = words[i] <= integers[0]
    flip = integers[1] if side_a else integers[2]
    whole = (u64(words[i] ^ flip) << u64(32)) | u64(u32(low_words[i] ^ flip))
    tails[i] = (reals[0] if side_a else reals[1]) + ((f64(whole) + held(0.5)) * held(2.0**-64)) * reals[2]
    out[i] = truncated_value_64(near_magnitude_64(tails[i]), flip, reals)


@routine
def truncated_64(words, low_words, out, reals, integers, spare):
    """As truncated_deep_32: where one of sixteen words lies beyond 6.6 standard deviations they are drawn again."""
    r = (reals[0], reals[1], reals[2], reals[3], reals[4], reals[5], reals[6])
    n = (integers[0], integers[1], integers[2])
    interleaved(2, len(out), truncated_64_element, (words, low_words, out, spare, r, n))
    for begin in range(0, len(out), 16):
        w, tails, x = words[begin : begin + 16], spare[begin : begin + 16], out[begin : begin + 16]
        far = u32(0)
        for lane in range(16):
            far = u32(far | u32(tails[lane] < k.DEEP_TAIL_64))
        if far != u32(0):
            for lane in range(16):
                flip = n[1] if w[lane] <= n[0] else n[2]
                x[lane] = truncated_value_64(magnitude_64(tails[lane]), flip, r)


# --- rounding float32 to narrow storage, to nearest even --------------------------------------------------------------


@intrinsic
def hardware_float16(typing_context, x):
    """float32 to the bits of a float16 by the processor's own instruction (vcvtps2ph)."""

    def codegen(context, builder, signature, arguments):
        return builder.bitcast(builder.fptrunc(arguments[0], ir.HalfType()), ir.IntType(16))

    return types.uint16(x), codegen


@inline
def narrow(x, mantissa_bits, bias, magic):
    """The bits of x in a format with so many mantissa bits and this bias, kept in 32 bits. No overflow handling.

    `magic` is the power of two whose last place is the format's smallest subnormal: adding it rounds a subnormal.
    """
    pattern = bits(x)
    size = u32(pattern & u32(0x7FFFFFFF))
    drop = u32(u32(23) - mantissa_bits)
    odd = u32(u32(size >> drop) & u32(1))
    half = u32(u32(u32(1) << u32(drop - u32(1))) - u32(1))
    normal = u32(u32(u32(size + odd) + half) - u32(u32(u32(127) - bias) << u32(23))) >> drop
    subnormal = u32(bits(from_bits(size) + magic) - bits(magic))
    is_subnormal = size < u32(u32(u32(128) - bias) << u32(23))
    return u32(subnormal if is_subnormal else u32(normal)), u32(pattern >> u32(31))


@inline
def software_float16(x):
    """float32 to the bits of a float16 in integer arithmetic."""
    size, sign = narrow(x, u32(10), u32(15), f32(2.0**-1))
    return u16(u32(size | u32(sign << u32(15))))


# Without F16C (SSE2, or a pinned CPU) LLVM would call a library routine that a JIT cannot find.
to_float16 = hardware_float16 if "f16c" in FEATURES else software_float16


@inline
def to_bfloat16(x):
    """float32 to the bits of a bfloat16."""
    pattern = bits(x)
    return u16(u32(u32(pattern + u32(0x7FFF)) + u32(u32(pattern >> u32(16)) & u32(1))) >> u32(16))


@inline
def to_float8_e4m3fn(x):
    """float32 to the bits of a float8_e4m3fn."""
    size, sign = narrow(x, u32(3), u32(7), f32(2.0**14))
    return u8(u32(size | u32(sign << u32(7))))


@inline
def to_float8_e5m2(x):
    """float32 to the bits of a float8_e5m2."""
    size, sign = narrow(x, u32(2), u32(15), f32(2.0**7))
    return u8(u32(size | u32(sign << u32(7))))


def rounded(out, x, code):
    """X as an element of `out`; `code` tells apart the formats that share a storage size."""
    raise TypeError("compiled code only")


@overload(rounded, jit_options={"forceinline": True})
def _rounded(out, x, code):
    if out.dtype == types.uint16:
        return lambda out, x, code: to_float16(x) if code == k.FLOAT16 else to_bfloat16(x)
    if out.dtype == types.uint8:
        return lambda out, x, code: to_float8_e4m3fn(x) if code == k.FLOAT8_E4M3FN else to_float8_e5m2(x)
    return lambda out, x, code: x


# --- the walk: which elements go where --------------------------------------------------------------------------------


def destination(out, scratch, at, count):
    """Where a law may write: `out` itself where it has the precision of the law, else the scratch."""
    raise TypeError("compiled code only")


@overload(destination, jit_options={"forceinline": True})
def _destination(out, scratch, at, count):
    if out.dtype == scratch.dtype:
        return lambda out, scratch, at, count: out[at : at + count]
    return lambda out, scratch, at, count: scratch[:count]


@routine
def copy_rounded(out, at, scratch, begin, count, code):
    """Round `count` values of the scratch into neighbouring elements."""
    target, source = out[at : at + count], scratch[begin : begin + count]
    for i in range(count):
        target[i] = rounded(out, source[i], code)


def settle(out, at, scratch, count, code):
    """Round what a law wrote into the scratch; nothing to do where it wrote into `out`."""
    raise TypeError("compiled code only")


@overload(settle, jit_options={"forceinline": True})
def _settle(out, at, scratch, count, code):
    if out.dtype == scratch.dtype:
        return lambda out, at, scratch, count, code: None
    return lambda out, at, scratch, count, code: copy_rounded(out, at, scratch, 0, count, code)


def draw_low_words(low_words, begin, group, groups, stream, paired, reals):
    """The low words that float64 adds; nothing for float32."""
    raise TypeError("compiled code only")


@overload(draw_low_words, jit_options={"forceinline": True})
def _draw_low_words(low_words, begin, group, groups, stream, paired, reals):
    if reals.dtype == types.float32:
        return lambda low_words, begin, group, groups, stream, paired, reals: None
    return lambda low_words, begin, group, groups, stream, paired, reals: draw_words(
        low_words, begin, group, groups, k.DOMAIN_LOW, stream, paired
    )


@inline
def fill_run(law, paired, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    """Fill rows of neighbouring elements; row r begins at offset + r * row step and at index first + r * pitch.

    plan = (offset, rows, row step, cols, column step, first, pitch), steps in storage elements of `out`, which is the
    memory of the buffer as one line. Whole groups go straight from the law into `out`; only the ends of a row are
    copied.
    """
    offset, rows, row_step, cols, first, pitch = plan[0], plan[1], plan[2], plan[3], plan[5], plan[6]
    low_words, spare = own_words[k.BLOCK :], scratch[k.TILE :]
    for r in range(rows):
        done = 0
        while done < cols:
            index, at = first + r * pitch + done, offset + r * row_step + done
            skip = index % 64
            whole = skip == 0 and cols - done >= 64
            most, left = (k.BLOCK, (cols - done) // 64 * 64) if whole else (64 - skip, cols - done)
            count = left if left < most else most  # `min` would be one more function to compile on first use
            groups = count // 64 if whole else 1
            draw_words(own_words, 0, index // 64, groups, domain, stream, paired)
            draw_low_words(low_words, 0, index // 64, groups, stream, paired, reals)
            target = destination(out, scratch, at, count) if whole else scratch[:64]
            # One call, for each is another copy of the law to compile.
            law(own_words, low_words, target, reals, integers, spare)
            if whole:
                settle(out, at, scratch, count, code)
            else:
                copy_rounded(out, at, scratch, skip, count, code)
            done += count


@intrinsic
def transpose_16(typing_context, source, begin, stride, target, at, step):
    """Do target[at + c * step + r] = source[begin + r * stride + c] for r, c < 16: four rounds of shuffles.

    No conversion and no arithmetic, so it cannot change a bit; one element at a time takes two loads and a store each.
    """
    signature = types.void(source, begin, stride, target, at, step)

    def codegen(context, builder, signature, arguments):
        source_type, target_type = signature.args[0], signature.args[3]
        element = context.get_value_type(source_type.dtype)
        vector = ir.VectorType(element, 16)
        size = source_type.dtype.bitwidth // 8
        lanes = ir.VectorType(ir.IntType(32), 16)
        word = ir.IntType(64)

        def place(array_type, array, begin, stride, row):
            data = cgutils.create_struct_proxy(array_type)(context, builder, array).data
            index = builder.add(begin, builder.mul(stride, ir.Constant(word, row)))
            return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())

        source_at, target_at = arguments[1], arguments[4]
        rows = []
        for row in range(16):
            load = builder.load(place(source_type, arguments[0], source_at, arguments[2], row))
            load.align = size
            rows.append(load)
        # Round h swaps the h-bit of row and column: afterwards bit h of the row number is that of the old column.
        for h in (1, 2, 4, 8):
            mixed = [None] * 16
            for row in range(16):
                if row & h:
                    continue
                one, two = rows[row], rows[row | h]
                low = [lane if not lane & h else 16 + (lane ^ h) for lane in range(16)]
                high = [lane ^ h if not lane & h else 16 + lane for lane in range(16)]
                mixed[row] = builder.shuffle_vector(one, two, ir.Constant(lanes, low))
                mixed[row | h] = builder.shuffle_vector(one, two, ir.Constant(lanes, high))
            rows = mixed
        for row in range(16):
            store = builder.store(rows[row], place(target_type, arguments[3], target_at, arguments[5], row))
            store.align = size
        return context.get_dummy_value()

    return signature, codegen


def column_place(out, at, col_step, turned):
    """Where the columns of a tile are turned to, (array, begin, step): `out` where it has the law's precision."""
    raise TypeError("compiled code only")


@overload(column_place, jit_options={"forceinline": True})
def _column_place(out, at, col_step, turned):
    if out.dtype == turned.dtype:
        return lambda out, at, col_step, turned: (out, at, col_step)
    return lambda out, at, col_step, turned: (turned, i64(0), i64(k.TILE_ROWS))


def settle_columns(out, at, col_step, turned, rows, cols, code):
    """Round the columns that were turned into the scratch; nothing to do where they went to `out`."""
    raise TypeError("compiled code only")


@overload(settle_columns, jit_options={"forceinline": True})
def _settle_columns(out, at, col_step, turned, rows, cols, code):
    if out.dtype == turned.dtype:
        return lambda out, at, col_step, turned, rows, cols, code: None

    def loop(out, at, col_step, turned, rows, cols, code):
        for c in range(cols):
            copy_rounded(out, at + c * col_step, turned, c * k.TILE_ROWS, rows, code)

    return loop


@routine
def put(out, at, row_step, rows, col_step, cols, scratch, begins, turned, code):
    """Copy rows of a tile, which begin in the scratch at `begins`, to their places, the shorter step innermost."""
    if col_step == 1:
        for r in range(rows):
            copy_rounded(out, at + r * row_step, scratch, begins[r], cols, code)
    elif row_step == 1:
        # Turned in registers, 16 x 16 at a time, and stored by whole cache lines: element by element, the few stores
        # that a core keeps in flight would all wait for the same line (0.28 against 0.88 elements a nanosecond).
        stride, even = begins[1] - begins[0], rows >= 16
        for r in range(2, rows):
            even = even and begins[r] - begins[r - 1] == stride
        down, across = (rows // 16 * 16, cols // 16 * 16) if even else (0, 0)
        target, corner, step = column_place(out, at, col_step, turned)
        for c in range(0, across, 16):
            for r in range(0, down, 16):
                transpose_16(scratch, begins[r] + c, stride, target, corner + c * step + r, step)
        for c in range(cols):  # what no block of 16 x 16 covers
            for r in range(down if c < across else 0, rows):
                target[corner + c * step + r] = scratch[u64(begins[r]) + u64(c)]
        settle_columns(out, at, col_step, turned, rows, cols, code)
    elif abs(col_step) <= abs(row_step):
        for r in range(rows):
            for c in range(cols):
                out[at + r * row_step + c * col_step] = rounded(out, scratch[begins[r] + c], code)
    else:
        for c in range(cols):
            for r in range(rows):
                out[at + r * row_step + c * col_step] = rounded(out, scratch[begins[r] + c], code)


@inline
def fill_tiles(law, paired, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    """As fill_run, for short rows and for any column step: tiles of several rows are drawn at once and then placed."""
    offset, rows, row_step, cols = plan[0], plan[1], plan[2], plan[3]
    col_step, first, pitch = plan[4], plan[5], plan[6]
    low_words, spare, turned = own_words[k.BLOCK :], scratch[k.TILE :], scratch[k.TILE + k.BLOCK :]
    tile_cols = min(cols, k.TILE_COLS)
    widest = (tile_cols + (63 if pitch % 64 != 0 else first % 64) + 63) // 64 * 64
    transposed = abs(row_step) < abs(col_step)
    tile_rows = k.TILE_ROWS if transposed else max(1, k.BLOCK // widest)
    for r in range(0, rows, tile_rows):
        height = min(tile_rows, rows - r)
        done = 0
        while done < cols:
            corner = first + r * pitch + done
            width = min(cols - done, tile_cols)
            if width < cols - done:  # end where a group does, so that the next tile of an aligned row begins with one
                width -= (corner + width) % 64
            groups = (width + (63 if pitch % 64 != 0 else corner % 64) + 63) // 64
            # Rows whose words stay in the first-level cache until they are values.
            batch = max(1, k.BLOCK // (64 * groups))
            for top in range(0, height, batch):
                below = min(height, top + batch)
                for i in range(top, below):
                    start, place = corner + i * pitch, 64 * groups * (i - top)
                    begins[i] = 64 * groups * i + start % 64
                    draw_words(own_words, place, start // 64, groups, domain, stream, paired)
                    draw_low_words(low_words, place, start // 64, groups, stream, paired, reals)
                law(own_words, low_words, scratch[64 * groups * top : 64 * groups * below], reals, integers, spare)
            at = offset + r * row_step + done * col_step
            put(out, at, row_step, height, col_step, width, scratch, begins, turned, code)
            done += width


# --- sparse: which elements survive -----------------------------------------------------------------------------------


@routine
def choose_across(w, left, need):
    """Turn words into 1 for a survivor, 0 else: neighbours on lines of their own, each with `left` elements left.

    One of `need` elements still to place on `left` places survives iff (w left) >> 32 < need (Knuth's algorithm S).
    """
    for i in range(len(w)):
        alive = u32(u32((u64(w[i]) * u64(left)) >> u64(32)) < need[i])
        need[i] = u32(need[i] - alive)
        w[i] = alive


@routine
def choose_along(w, left, need):
    """The same for neighbours on one line; returns what is still to place.

    Two loops, for only the second waits for the element before: 0.7 against 5 ns an element. There LLVM would take one
    number for what survives and for what is subtracted; kept apart, an element waits two steps (cmp, sbb), not three.
    """
    for i in range(len(w)):
        w[i] = u32((u64(w[i]) * u64(u32(left - u32(i)))) >> u64(32))
    for i in range(len(w)):
        rest = opaque(u32(need - u32(w[i] < need)))
        w[i] = u32(need - rest)
        need = rest
    return need


@routine
def clear(out, at, step, alive):
    """Store +0.0 where an element does not survive."""
    zero = out.dtype.type(0)
    if step == 1:
        x = out[at : at + len(alive)]
        for i in range(len(alive)):
            x[i] = x[i] if alive[i] else zero
    else:
        for i in range(len(alive)):
            if not alive[i]:
                out[at + i * step] = zero


@kernel
def thin_lines(out, plan, stream, need, left, down, keep, own_words):
    """Store +0.0 where an element does not survive, and count the survivors off `need`, which has one entry a line.

    The lines run down the rows of the plan, or along them; `left` is how many elements each line has left at the first
    row or column. With `keep` nothing is stored: the part of the lines before a shard.
    """
    offset, rows, row_step, cols = plan[0], plan[1], plan[2], plan[3]
    col_step, first, pitch = plan[4], plan[5], plan[6]
    # Rows that lie close are drawn together, or most words of a group would be thrown away.
    together = max(1, (k.BLOCK - 64) // pitch) if 0 < pitch <= 4 * cols else 1
    for top in range(0, rows, together):
        height = min(together, rows - top)
        done = 0
        while done < cols:
            index = first + top * pitch + done
            skip = index % 64
            width = min(cols - done, k.BLOCK - skip) if height == 1 else cols
            groups = (skip + (height - 1) * pitch + width + 63) // 64
            draw_words(own_words, 0, index // 64, groups, k.DOMAIN_SPARSE, stream, False)
            for r in range(top, top + height):
                w = own_words[skip + (r - top) * pitch :][:width]
                if down:
                    choose_across(w, u32(left - u32(r)), need[done : done + width])
                else:
                    need[r] = choose_along(w, u32(left - u32(done)), need[r])
                if not keep:
                    clear(out, offset + r * row_step + done * col_step, col_step, w)
            done += width


# --- one entry a law and walk: what the cache on disk holds
# ------------------------------------------------------------


@kernel
def uniform_32_run(out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    fill_run(uniform_32, False, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins)


@kernel
def uniform_32_tiles(out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    fill_tiles(uniform_32, False, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins)


@kernel
def uniform_64_run(out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    fill_run(uniform_64, False, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins)


@kernel
def uniform_64_tiles(out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    fill_tiles(uniform_64, False, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins)


@kernel
def normal_32_run(out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    fill_run(normal_32, True, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins)


@kernel
def normal_32_tiles(out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    fill_tiles(normal_32, True, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins)


@kernel
def normal_64_run(out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    fill_run(normal_64, True, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins)


@kernel
def normal_64_tiles(out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    fill_tiles(normal_64, True, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins)


@kernel
def truncated_32_run(out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    fill_run(truncated_32, False, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins)


@kernel
def truncated_32_tiles(out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    fill_tiles(truncated_32, False, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins)


@kernel
def truncated_deep_32_run(out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    fill_run(truncated_deep_32, False, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins)


@kernel
def truncated_deep_32_tiles(out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    fill_tiles(truncated_deep_32, False, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins)


@kernel
def truncated_64_run(out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    fill_run(truncated_64, False, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins)


@kernel
def truncated_64_tiles(out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    fill_tiles(truncated_64, False, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins)


@inline
def place_of(t, half, last):
    """The bin of a distance: 1 is the first edge, so that truncation is floor for all that is in range."""
    t += half
    t = t if t > 0.0 else 0.0
    return u32(i32(t if t < last else last))


@kernel
def tally_values(values, centre, inverse, counts):
    """Sixteen elements at a time, while all are finite: sums and extremes in lanes, then the bins.

    The bins are kept four times, since an addition to one waits for the last addition to it. 2 ns an element, of which
    the bins take half.
    """
    half, last, n = len(counts) / 2, f64(len(counts) - 1), len(values)
    bins, places = np.zeros((4, len(counts)), i64), np.zeros(16, u32)
    total, squares, zero = np.zeros(16), np.zeros(16), np.zeros(16)
    low, high = np.full(16, np.inf), np.full(16, -np.inf)
    finite = 0
    for i in range(n):
        finite += np.isfinite(values[i])
    nans, whole = 0, (n // 16 * 16 if finite == n else 0)
    for start in range(0, whole, 16):
        for j in range(16):
            x = f64(values[start + j])
            t = (x - centre) * inverse
            total[j] += t
            squares[j] += t * t
            low[j] = x if x < low[j] else low[j]
            high[j] = x if x > high[j] else high[j]
            zero[j] += 1.0 if x == 0.0 else 0.0
            places[j] = place_of(t, half, last)
        for j in range(16):
            bins[u32(j & 3), places[j]] += 1
    for i in range(whole, n):
        x = f64(values[i])
        if x - x == 0.0:
            t = (x - centre) * inverse
            total[0] += t
            squares[0] += t * t
            low[0], high[0] = min(low[0], x), max(high[0], x)
            zero[0] += x == 0.0
            bins[0, place_of(t, half, last)] += 1
        nans += x != x
    for way in range(4):
        for i in range(len(counts)):
            counts[i] += bins[way, i]
    return finite, i64(zero.sum()), nans, total.sum(), squares.sum(), low.min(), high.max()


def fill(kernel, out, plan, stream, domain, reals, integers, code):  # type: ignore[no-untyped-def]
    """Run a kernel on one thread: `out` as one line of storage elements, `plan` as fill_run says."""
    entry = ENTRIES[kernel, plan[4] == 1 and (plan[1] == 1 or plan[3] >= k.BLOCK)]
    arguments = (stream, domain, reals, integers, code, *_workspace(reals.dtype))
    if (entry, out.dtype) not in _ready:
        _compile(entry, out, arguments)
    entry(out, plan, *arguments)


def thin(out, plan, stream, need, left, down, keep):  # type: ignore[no-untyped-def]
    """Run thin_lines on one thread; the element's place on its line is told by `left`, how many are left there."""
    arguments = (stream, need, u32(left), down, keep, _workspace(np.dtype(np.float32))[0])
    if (thin_lines, out.dtype) not in _ready:
        _compile(thin_lines, out, arguments)
    thin_lines(out, plan, *arguments)


def tally(values, centre, inverse, counts):  # type: ignore[no-untyped-def]
    """Run tally_values on one thread."""
    if (tally_values, values.dtype) not in _ready:
        with fork_lock:
            tally_values(values[:0], f64(centre), f64(inverse), counts)
            _ready.add((tally_values, values.dtype))
    return tally_values(values, f64(centre), f64(inverse), counts)


def _compile(entry, out, arguments):  # type: ignore[no-untyped-def]
    """A first call, which compiles, with a plan of no rows."""
    with fork_lock:
        entry(out, (0,) * 7, *arguments)
        _ready.add((entry, out.dtype))


ENTRIES = {
    (name.removesuffix("_run").removesuffix("_tiles"), name.endswith("_run")): entry
    for name, entry in list(globals().items())
    if name.endswith(("_run", "_tiles")) and not name.startswith("fill_")
}
_ready: set[Any] = set()  # what is compiled: a first call must not be interrupted by a fork
_thread = threading.local()


def _workspace(dtype):  # type: ignore[no-untyped-def]
    """Scratch memory of the calling thread, up to 400 KiB, in few arrays: Numba takes 0.1 us to pass one.

    The words and the low words of a block; the values of a tile, a block to spare and a turned tile; where the rows of
    a tile begin.
    """
    mine = _thread.__dict__
    if dtype.char not in mine:
        turned = 0 if dtype == f64 else k.TILE_ROWS * k.TILE_COLS  # float64 is never turned here: nothing rounds it
        mine[dtype.char] = (
            _lines(2 * k.BLOCK, u32),
            _lines(k.TILE + k.BLOCK + turned, dtype),
            _lines(k.TILE_ROWS, i64),
        )
    return mine[dtype.char]


def _lines(count, dtype):  # type: ignore[no-untyped-def]
    """An array that begins with a cache line: no vector lies across two of them."""
    size = np.dtype(dtype).itemsize * count
    memory = np.empty(size + 64, u8)
    begin = -memory.ctypes.data % 64
    return memory[begin : begin + size].view(dtype)


def target() -> dict[str, Any]:
    """The processor LLVM compiles for, and where compiled code is kept."""
    wide = [name for name in ("sse2", "avx2", "f16c", "avx512f", "avx512dq") if name in FEATURES]
    return {"cpu": CPU, "cpu_features": wide, "cache_folder": normal_32_run._cache.cache_path}
