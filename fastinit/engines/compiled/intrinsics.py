"""What Numba has no word for: bits and pointers, each as the instructions it becomes."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastinit.engines.compiled.vectors import spread, word_64
from fastinit.engines.stream import GROUP

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
def ones(typing_context, x):
    """How many bits are set."""
    return types.int64(types.int64), lambda context, builder, signature, arguments: builder.ctpop(arguments[0])
