"""Rounding float32 to narrow storage, to nearest even."""

from __future__ import annotations

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

from fastinit.engines.compiled.compiling import f32, inline, routine, u8, u16, u32
from fastinit.engines.compiled.intrinsics import ahead, bits, from_bits
from fastinit.engines.compiled.operands import VectorOperand
from fastinit.engines.compiled.vectors import Body, Order, Vectors, word_32
from fastinit.engines.compiled.vectors import bits as bits_of
from fastinit.engines.interface import BFLOAT16, FLOAT8_E4M3FN, FLOAT16
from fastinit.engines.processor import FEATURES, REGISTER


@intrinsic
def hardware_float16(typing_context, x):
    """float32 to the bits of a float16 by the processor's own instruction (vcvtps2ph)."""

    def codegen(context, builder, signature, arguments):
        return builder.bitcast(builder.fptrunc(arguments[0], ir.HalfType()), ir.IntType(16))

    return types.uint16(x), codegen


@intrinsic
def two_registers_to_bfloat16(typing_context, out, values, i):
    """As to_bfloat16, for so many values from values[i] on as two registers hold.

    Left to LLVM each register is packed for itself, in one more operation than both together.
    """

    def codegen(context, builder, signature, arguments):
        out, values, i = arguments
        lanes = REGISTER // 32
        body = Body(builder, builder.block, 2, lanes, order=Order.FREE)
        x = bits_of(VectorOperand(body, values, i, pairs=False)[0])
        low, high = (x + 0x7FFF + ((x >> 16) & 1)).values
        body = Body(builder, builder.block, 1, lanes, order=Order.FREE)
        both = ((Vectors(body, [low]) >> 16) | (Vectors(body, [high]) & 0xFFFF0000)).values[0]
        both = builder.bitcast(both, ir.VectorType(ir.IntType(16), 2 * lanes))
        order = [*range(0, 2 * lanes, 2), *range(1, 2 * lanes, 2)]
        both = builder.shuffle_vector(both, both, ir.Constant(ir.VectorType(word_32, 2 * lanes), order))
        builder.store(both, builder.bitcast(builder.gep(out, [i]), both.type.as_pointer())).align = 2
        return context.get_dummy_value()

    return types.void(out, values, types.int64), codegen


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
        return lambda out, x, code: to_float16(x) if code == FLOAT16 else to_bfloat16(x)
    if out.dtype == types.uint8:
        return lambda out, x, code: to_float8_e4m3fn(x) if code == FLOAT8_E4M3FN else to_float8_e5m2(x)
    return lambda out, x, code: x


def copy_rounded(out, values, count, code):
    """Round so many values into neighbouring elements."""
    raise TypeError("compiled code only")


@routine
def copy_one_by_one(out, values, begin, count, code):
    """The same for all from `begin` on, as LLVM makes it of one."""
    for i in range(begin, count):
        out[i] = rounded(out, values[i], code)


@overload(copy_rounded, jit_options={"forceinline": True})
def _copy_rounded(out, values, count, code):
    if out.dtype != types.uint16:
        return lambda out, values, count, code: copy_one_by_one(out, values, 0, count, code)
    two = REGISTER // 16

    def copy_16(out, values, count, code):
        begin = 0
        if code == BFLOAT16:
            begin = count // two * two
            for i in range(0, begin, two):
                two_registers_to_bfloat16(out, values, i)
        copy_one_by_one(out, values, begin, count, code)

    return copy_16


def destination(out, values, at):
    """Where a law may write: `out` itself where it has the precision of the law, else the scratch."""
    raise TypeError("compiled code only")


@overload(destination, jit_options={"forceinline": True})
def _destination(out, values, at):
    if out.dtype == values.dtype:
        return lambda out, values, at: ahead(out, at)
    return lambda out, values, at: values


def round_into(out, values, count, code):
    """Round what a law wrote into the scratch; nothing to do where it wrote into `out`."""
    raise TypeError("compiled code only")


@overload(round_into, jit_options={"forceinline": True})
def _round_into(out, values, count, code):
    if out.dtype == values.dtype:
        return lambda out, values, count, code: None
    return lambda out, values, count, code: copy_rounded(out, values, count, code)
