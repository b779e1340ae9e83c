"""Non-temporal stores of finished values while the next are drawn, or prefetches of where those will go."""

from __future__ import annotations

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


class StreamingCopy:
    """A pending streaming copy: (source, target, lines), two addresses and a count of cache lines.

    Finished values go to memory by non-temporal stores while the next block is drawn.

    A store reads its line into the cache first; one that fills lines and goes past it does not, and memory has half the
    work. Such stores must come slowly, between other work, or the core waits for memory all the same.

    With a source of 0 nothing is copied: the lines at the target, where a law will store, are prefetched meanwhile.
    """

    def __init__(self, builder: ir.IRBuilder, pending: ir.Value) -> None:
        self.builder = builder
        self.source, self.target, self.lines = cgutils.unpack_tuple(builder, pending, 3)  # type: ignore[no-untyped-call]
        self.done = cgutils.alloca_once_value(builder, word_64(0))  # type: ignore[no-untyped-call]

    def _copy(self, done: ir.Value, lines: int) -> None:
        builder = self.builder
        kind = ir.VectorType(word_32, REGISTER // 32).as_pointer()
        begin = builder.mul(done, word_64(64))
        for offset in range(0, 64 * lines, REGISTER // 8):
            place = builder.add(begin, word_64(offset))
            load = builder.load(builder.inttoptr(builder.add(self.source, place), kind))
            load.align = 1
            store_past_cache(builder, load, builder.inttoptr(builder.add(self.target, place), kind))
        builder.store(builder.add(done, word_64(lines)), self.done)

    def _prefetch(self, done: ir.Value, lines: int) -> None:
        builder, kind = self.builder, ir.IntType(8).as_pointer()
        signature = ir.FunctionType(ir.VoidType(), [kind, word_32, word_32, word_32])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [kind], signature)
        begin = builder.add(self.target, builder.mul(done, word_64(64)))
        # Into the second level (prefetcht2): the first has room for two blocks and the words, and no more.
        to_read, second_level, data = word_32(0), word_32(1), word_32(1)
        for offset in range(0, 64 * lines, 64):
            place = builder.inttoptr(builder.add(begin, word_64(offset)), kind)
            builder.call(prefetch, [place, to_read, second_level, data])
        builder.store(builder.add(done, word_64(lines)), self.done)

    def advance(self, lines: int) -> None:
        """Copy so many lines, or prefetch them, if there are as many."""
        builder = self.builder
        done = builder.load(self.done)
        with builder.if_then(builder.icmp_signed("<=", builder.add(done, word_64(lines)), self.lines)):
            with builder.if_else(builder.icmp_signed("!=", self.source, word_64(0))) as (copying, prefetching):
                with copying:
                    self._copy(done, lines)
                with prefetching:
                    self._prefetch(done, lines)

    def finish(self) -> None:
        """Copy what is left; nobody prefetches the rest."""
        builder = self.builder
        next_line, inside, after = (builder.append_basic_block(name) for name in ("remaining", "line", "copied"))
        builder.branch(next_line)
        builder.position_at_end(next_line)
        done = builder.load(self.done)
        are_more = builder.icmp_signed("<", done, self.lines)
        builder.cbranch(builder.and_(are_more, builder.icmp_signed("!=", self.source, word_64(0))), inside, after)
        builder.position_at_end(inside)
        self._copy(done, 1)
        builder.branch(next_line)
        builder.position_at_end(after)


@intrinsic
def flush(typing_context, pending):
    """Copy all that is pending now."""

    def codegen(context, builder, signature, arguments):
        StreamingCopy(builder, arguments[0]).finish()
        return context.get_dummy_value()

    return types.void(pending), codegen


@intrinsic
def fence(typing_context):
    """Have what went past the cache in memory before anything that this thread stores next."""

    def codegen(context, builder, signature, arguments):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


NOTHING_PENDING = (0, 0, 0)


# Past the cache: the values of a block stay in the scratch, and go to memory while the next block is drawn, as whole
# cache lines that are not read first. A large fill takes 1.6 times as long where each line is read, and 1.25 times if
# the lines of a block are prefetched while the block before it is drawn.


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
def pack(out, values, count, partial_line, carry_bytes):
    """Make a pending copy of a block's values, and say how many bytes are carried to the next block.

    Only whole lines travel: one stored in two parts is read from memory first, and all later stores wait for that. What
    is over waits in `partial_line`, and goes with the next block, before which there is room for it.
    """
    target, start, size = address(out), address(values), count * size_of(out)
    if carry_bytes < 0:  # a new run: up to the first whole line
        carry_bytes = -(-target % 64)
        copy_bytes(target, start, -carry_bytes)
    else:
        copy_bytes(start - 64, partial_line, 64)
    lines = (size + carry_bytes) // 64
    copy_bytes(partial_line, start + size - 64, 64)
    return (start - carry_bytes, target - carry_bytes, lines), size + carry_bytes - 64 * lines


@routine
def end_run(pending, partial_line, carry_bytes):
    """Store the bytes that wait at the end of a run; its last lines travel while the next run is drawn."""
    _, target, lines = pending
    copy_bytes(target + 64 * lines, partial_line + 64 - carry_bytes, carry_bytes)


@inline
def prefetch_next(out, count):
    """The pending copy that prefetches the lines of so many elements."""
    return 0, address(out), count * size_of(out) // 64


@kernel
def store_rows(out, offset, rows, row_step, cols, values):
    """Store rows of finished values past the cache; the ends of a row, which share a line with others, not."""
    size = cols * size_of(pointer(out))
    for r in range(rows):
        target, source = address(ahead(pointer(out), offset + r * row_step)), address(pointer(values)) + r * size
        head = min(-target % 64, size)
        lines = (size - head) // 64
        end = head + 64 * lines
        copy_bytes(target, source, head)
        flush((source + head, target + head, lines))
        copy_bytes(target + end, source + end, size - end)
    fence()
