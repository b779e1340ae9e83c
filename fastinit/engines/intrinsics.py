"""What Numba has no word for: bits, pointers, and steps on whole registers, each as the instructions it becomes."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastinit.engines.constants import GROUP
from fastinit.engines.loops import Freight, store_past_cache
from fastinit.engines.vectors import REGISTER, Line, Turn, Vectors, spread, word_32, word_64
from fastinit.engines.vectors import bits as bits_of

# --- bits -------------------------------------------------------------------------------------------------------------


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


@intrinsic
def opaque(typing_context, x):
    """A value that LLVM takes as it is: through an empty piece of assembly, it cannot know that nothing happens."""

    def codegen(context, builder, signature, arguments):
        kind = arguments[0].type
        barrier = ir.InlineAsm(ir.FunctionType(kind, [kind]), "", "=r,0")
        return builder.call(barrier, arguments, attrs=("readnone", "nounwind"))

    return x(x), codegen


# --- memory -----------------------------------------------------------------------------------------------------------
#
# Inside a kernel memory is pointers. Numba counts who refers to an array, also to a slice that lives for one block, by
# instructions that wait until all stores before them are done: 0.3 us a block where stores go past the cache.


@intrinsic
def pointer(typing_context, array):
    """A pointer to the first element of an array."""

    def codegen(context, builder, signature, arguments):
        return cgutils.create_struct_proxy(signature.args[0])(context, builder, arguments[0]).data

    return types.CPointer(array.dtype)(array), codegen


def pointers_to(dtype: types.Type) -> Any:
    """An intrinsic (address): a pointer to elements of this dtype."""

    @intrinsic
    def point(typing_context, address):
        def codegen(context, builder, signature, arguments):
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(dtype)(types.int64), codegen

    return point


@intrinsic
def ahead(typing_context, x, count):
    """The pointer so many elements further."""

    def codegen(context, builder, signature, arguments):
        return builder.gep(arguments[0], [arguments[1]])

    return x(x, types.int64), codegen


@intrinsic
def address(typing_context, x):
    """The number of the byte that a pointer points to."""

    def codegen(context, builder, signature, arguments):
        return builder.ptrtoint(arguments[0], word_64)

    return types.int64(x), codegen


@intrinsic
def as_elements_of(typing_context, x, out):
    """The pointer x, as one to elements as those of `out`."""

    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], arguments[1].type)

    return out(x, out), codegen


@intrinsic
def size_of(typing_context, x):
    """How many bytes an element has."""
    size = x.dtype.bitwidth // 8
    return types.int64(x), lambda context, builder, signature, arguments: word_64(size)


@intrinsic
def copy_bytes(typing_context, target, source, count):
    """Copy so many bytes from one address to another."""

    def codegen(context, builder, signature, arguments):
        kind = ir.IntType(8).as_pointer()
        target, source = (builder.inttoptr(where, kind) for where in arguments[:2])
        cgutils.raw_memcpy(builder, target, source, arguments[2], word_64(1))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


# --- whole registers --------------------------------------------------------------------------------------------------


@intrinsic
def below(typing_context, x, begin, limit):
    """Which of the 64 values from x[begin] on are below a limit, as bits."""

    def codegen(context, builder, signature, arguments):
        x, begin, limit = arguments
        group = ir.VectorType(limit.type, GROUP)
        values = builder.load(builder.bitcast(builder.gep(x, [begin]), group.as_pointer()))
        values.align = signature.args[2].bitwidth // 8
        are_below = builder.fcmp_ordered("<", values, spread(builder, limit, GROUP))
        return builder.bitcast(are_below, word_64)

    return types.uint64(x, begin, x.dtype), codegen


@intrinsic
def trailing_zeros(typing_context, x):
    """The place of the lowest bit that is set."""
    return types.uint64(types.uint64), lambda context, builder, signature, arguments: builder.cttz(
        arguments[0], ir.IntType(1)(1)
    )


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
        turn = Turn(builder, builder.block, 2, lanes, ordered=False)
        x = bits_of(Line(turn, values, i, pairs=False)[0])
        low, high = (x + 0x7FFF + ((x >> 16) & 1)).values
        turn = Turn(builder, builder.block, 1, lanes, ordered=False)
        both = ((Vectors(turn, [low]) >> 16) | (Vectors(turn, [high]) & 0xFFFF0000)).values[0]
        both = builder.bitcast(both, ir.VectorType(ir.IntType(16), 2 * lanes))
        order = [*range(0, 2 * lanes, 2), *range(1, 2 * lanes, 2)]
        both = builder.shuffle_vector(both, both, ir.Constant(ir.VectorType(word_32, 2 * lanes), order))
        builder.store(both, builder.bitcast(builder.gep(out, [i]), both.type.as_pointer())).align = 2
        return context.get_dummy_value()

    return types.void(out, values, types.int64), codegen


@intrinsic
def deliver(typing_context, freight):
    """Carry all of it now."""

    def codegen(context, builder, signature, arguments):
        Freight(builder, arguments[0]).carry_rest()
        return context.get_dummy_value()

    return types.void(freight), codegen


@intrinsic
def fence(typing_context):
    """Have what went past the cache in memory before anything that this thread stores next."""

    def codegen(context, builder, signature, arguments):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def ones(typing_context, x):
    """How many bits are set."""
    return types.int64(types.int64), lambda context, builder, signature, arguments: builder.ctpop(arguments[0])


def choosing(count: int) -> Any:
    """An intrinsic (w, left, need): which of so many neighbours on a line survive, as bits; whether that is in doubt.

    Element i survives if (w[i] (left - i)) >> 32 is below `need` less the survivors before it. Compared with `need` too
    many may be found, n: they are right if none of them is closer to it than n, for then none before them decides.
    """

    @intrinsic
    def choose(typing_context, w, left, need):
        signature = types.UniTuple(types.int64, 2)(w, left, need)

        def codegen(context, builder, signature, arguments):
            w, left, need = arguments
            short, long = (ir.VectorType(word, count) for word in (word_32, word_64))
            words = builder.load(builder.bitcast(w, short.as_pointer()))
            words.align = 4
            factors = builder.sub(spread(builder, left, count), ir.Constant(short, list(range(count))))
            scaled = builder.mul(builder.zext(words, long), builder.zext(factors, long))
            scaled = builder.trunc(builder.lshr(scaled, ir.Constant(long, [32] * count)), short)
            limit = spread(builder, need, count)
            found = builder.icmp_unsigned("<", scaled, limit)
            alive = builder.bitcast(found, ir.IntType(count))
            n = builder.trunc(builder.ctpop(builder.zext(alive, word_64)), word_32)
            close = builder.icmp_unsigned("<", builder.sub(limit, scaled), spread(builder, n, count))
            doubt = builder.icmp_unsigned("!=", builder.bitcast(builder.and_(found, close), alive.type), alive.type(0))
            return context.make_tuple(
                builder, signature.return_type, [builder.zext(one, word_64) for one in (alive, doubt)]
            )

        return signature, codegen

    return choose


def keeping(count: int) -> Any:
    """An intrinsic (x, alive): store +0.0 over those of so many neighbours whose bit is not set."""

    @intrinsic
    def keep(typing_context, x, alive):
        def codegen(context, builder, signature, arguments):
            x, alive = arguments
            kind = ir.VectorType(x.type.pointee, count)
            place = builder.bitcast(x, kind.as_pointer())
            values = builder.load(place)
            values.align = signature.args[0].dtype.bitwidth // 8
            flags = builder.bitcast(builder.trunc(alive, ir.IntType(count)), ir.VectorType(ir.IntType(1), count))
            kept = builder.select(flags, values, ir.Constant(kind, None))
            builder.store(kept, place).align = values.align
            return context.get_dummy_value()

        return types.void(x, alive), codegen

    return keep


def transposing(past_cache: bool) -> Any:
    """An intrinsic (source, begins, r, c, target, step): a square of as many rows and columns as a register has lanes.

    target[j * step + i] = source[begins[r + i] + c + j]. Rounds of shuffles: no conversion and no arithmetic, so it
    cannot change a bit; one element at a time takes two loads and a store each. A row is one register, so that a square
    finds place in them. Past the cache, where a column of the square is a whole and aligned register.
    """

    @intrinsic
    def transpose(typing_context, source, begins, r, c, target, step):
        signature = types.void(source, begins, r, c, target, step)

        def codegen(context, builder, signature, arguments):
            source, begins, r, c, target, step = arguments
            size = signature.args[0].dtype.bitwidth // 8
            side = REGISTER // 8 // size
            vector = ir.VectorType(source.type.pointee, side)

            def place(begin, index):
                return builder.bitcast(builder.gep(begin, [index]), vector.as_pointer())

            rows = []
            for row in range(side):
                begin = builder.load(builder.gep(begins, [builder.add(r, word_64(row))]))
                rows.append(load := builder.load(place(source, builder.add(begin, c))))
                load.align = size
            # Round h swaps the h-bit of row and column: afterwards bit h of the row number is that of the old column.
            for h in (1 << bit for bit in range(side.bit_length() - 1)):
                mixed = [None] * side
                for row in range(side):
                    if row & h:
                        continue
                    one, two = rows[row], rows[row | h]
                    low = [lane if not lane & h else side + (lane ^ h) for lane in range(side)]
                    high = [lane ^ h if not lane & h else side + lane for lane in range(side)]
                    mixed[row] = builder.shuffle_vector(one, two, ir.Constant(ir.VectorType(word_32, side), low))
                    mixed[row | h] = builder.shuffle_vector(one, two, ir.Constant(ir.VectorType(word_32, side), high))
                rows = mixed
            for row in range(side):
                where = place(target, builder.mul(step, word_64(row)))
                if past_cache:
                    store_past_cache(builder, rows[row], where)
                else:
                    builder.store(rows[row], where).align = size
            return context.get_dummy_value()

        return signature, codegen

    return transpose
