"""Finished values go past the cache while the next are drawn; or the lines where they will go are asked for."""

from __future__ import annotations

import llvmlite.binding  # noqa: F401
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, overload

from fastinit.engines.compiled.compiling import inline, kernel, routine
from fastinit.engines.compiled.intrinsics import address, ahead, as_elements_of, copy_bytes, pointer, size_of
from fastinit.engines.compiled.rounding import copy_rounded
from fastinit.engines.compiled.vectors import word_32, word_64
from fastinit.engines.processor import REGISTER


def store_past_cache(builder: ir.IRBuilder, value: ir.Value, place: ir.Value) -> None:
    """Store a whole register to a place that is aligned to it, without reading the line into the cache first."""
    store = builder.store(value, place)
    store.align = REGISTER // 8
    store.set_metadata("nontemporal", builder.module.add_metadata([word_32(1)]))


class Freight:
    """Finished values on their way past the cache: (source, target, lines), two addresses and a count of cache lines.

    A store reads its line into the cache first; one that fills lines and goes past it does not, and memory has half the
    work. Such stores must come slowly, between other work, or the core waits for memory all the same.

    With a source of 0 nothing is carried: the lines at the target, where a law will store, are asked for meanwhile.
    """

    def __init__(self, builder: ir.IRBuilder, freight: ir.Value) -> None:
        self.builder = builder
        self.source, self.target, self.lines = cgutils.unpack_tuple(builder, freight, 3)  # type: ignore[no-untyped-call]
        self.gone = cgutils.alloca_once_value(builder, word_64(0))  # type: ignore[no-untyped-call]

    def _store(self, gone: ir.Value, lines: int) -> None:
        builder = self.builder
        kind = ir.VectorType(word_32, REGISTER // 32).as_pointer()
        begin = builder.mul(gone, word_64(64))
        for offset in range(0, 64 * lines, REGISTER // 8):
            place = builder.add(begin, word_64(offset))
            load = builder.load(builder.inttoptr(builder.add(self.source, place), kind))
            load.align = 1
            store_past_cache(builder, load, builder.inttoptr(builder.add(self.target, place), kind))
        builder.store(builder.add(gone, word_64(lines)), self.gone)

    def _ask(self, gone: ir.Value, lines: int) -> None:
        builder, kind = self.builder, ir.IntType(8).as_pointer()
        signature = ir.FunctionType(ir.VoidType(), [kind, word_32, word_32, word_32])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [kind], signature)
        begin = builder.add(self.target, builder.mul(gone, word_64(64)))
        # Into the second level (prefetcht2): the first has room for two blocks and the words, and no more.
        to_read, second_level, data = word_32(0), word_32(1), word_32(1)
        for offset in range(0, 64 * lines, 64):
            place = builder.inttoptr(builder.add(begin, word_64(offset)), kind)
            builder.call(prefetch, [place, to_read, second_level, data])
        builder.store(builder.add(gone, word_64(lines)), self.gone)

    def carry(self, lines: int) -> None:
        """Carry so many lines, or ask for them, if there are as many."""
        builder = self.builder
        gone = builder.load(self.gone)
        with builder.if_then(builder.icmp_signed("<=", builder.add(gone, word_64(lines)), self.lines)):
            with builder.if_else(builder.icmp_signed("!=", self.source, word_64(0))) as (carried, asked):
                with carried:
                    self._store(gone, lines)
                with asked:
                    self._ask(gone, lines)

    def carry_rest(self) -> None:
        """Carry what is left; nobody asks for the rest."""
        builder = self.builder
        here, inside, after = (builder.append_basic_block(name) for name in ("left", "line", "carried"))
        builder.branch(here)
        builder.position_at_end(here)
        gone = builder.load(self.gone)
        left = builder.icmp_signed("<", gone, self.lines)
        builder.cbranch(builder.and_(left, builder.icmp_signed("!=", self.source, word_64(0))), inside, after)
        builder.position_at_end(inside)
        self._store(gone, 1)
        builder.branch(here)
        builder.position_at_end(after)


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


NO_FREIGHT = (0, 0, 0)
EDGE = 16  # values before a block, where the end of the last one finds place: a cache line


# Past the cache: the values of a block stay in the scratch, and go to memory while the next block is drawn, as whole
# cache lines that are not read first. A large fill takes 1.6 times as long where each line is read, and 1.25 times if
# the lines of a block were asked for while the block before it was drawn.


def finished(out, values, narrow, count, code):
    """Where a block's values are as elements of `out`."""
    raise TypeError("compiled code only")


@overload(finished, jit_options={"forceinline": True})
def _finished(out, values, narrow, count, code):
    if out.dtype == values.dtype:
        return lambda out, values, narrow, count, code: values

    def round_all(out, values, narrow, count, code):
        place = as_elements_of(narrow, out)
        copy_rounded(place, values, count, code)
        return place

    return round_all


@routine
def pack(out, values, count, edge, held):
    """Make freight of a block's values, (source, target, lines), and say how many bytes wait for the next block.

    Only whole lines travel: one stored in two parts is read from memory first, and all later stores wait for that. What
    is over waits at `edge`, and goes with the next block, before which there is room for it.
    """
    target, start, size = address(out), address(values), count * size_of(out)
    if held < 0:  # a new run: up to the first whole line
        held = -(-target % 64)
        copy_bytes(target, start, -held)
    else:
        copy_bytes(start - 64, edge, 64)
    lines = (size + held) // 64
    copy_bytes(edge, start + size - 64, 64)
    return (start - held, target - held, lines), size + held - 64 * lines


@routine
def end_run(freight, edge, held):
    """Store the bytes that wait at the end of a run; its last lines travel while the next run is drawn."""
    _, target, lines = freight
    copy_bytes(target + 64 * lines, edge + 64 - held, held)


@inline
def ask(out, count):
    """The freight that asks for the lines of so many elements."""
    return 0, address(out), count * size_of(out) // 64


@kernel
def carry_rows(out, offset, rows, row_step, cols, values):
    """Store rows of finished values past the cache; the ends of a row, which share a line with others, not."""
    size = cols * size_of(pointer(out))
    for r in range(rows):
        target, source = address(ahead(pointer(out), offset + r * row_step)), address(pointer(values)) + r * size
        head = min(-target % 64, size)
        lines = (size - head) // 64
        end = head + 64 * lines
        copy_bytes(target, source, head)
        deliver((source + head, target + head, lines))
        copy_bytes(target + end, source + end, size - end)
    fence()
