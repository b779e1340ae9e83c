"""One value over a stretch of memory: whole cache lines of it, stored from registers."""

from __future__ import annotations

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastinit.engines.compiled.compiling import kernel
from fastinit.engines.compiled.intrinsics import address, copy_bytes, pointer
from fastinit.engines.compiled.streaming import fence, store_past_cache
from fastinit.engines.compiled.vectors import word_32, word_64
from fastinit.engines.processor import REGISTER

LINE = 64  # bytes


def _repeat(past_cache: bool):
    """An intrinsic (target, source, lines): the 64 bytes at `source` over so many whole cache lines."""

    @intrinsic
    def repeat_lines(typing_context, target, source, lines):
        def codegen(context, builder, signature, arguments):
            target, source, lines = arguments
            kind = ir.VectorType(word_32, REGISTER // 32).as_pointer()
            places = [word_64(offset) for offset in range(0, LINE, REGISTER // 8)]
            registers = [builder.load(builder.inttoptr(builder.add(source, place), kind)) for place in places]
            for register in registers:
                register.align = 1
            before = builder.block
            line, after = (builder.append_basic_block(name) for name in ("line", "stored"))
            builder.cbranch(builder.icmp_signed(">", lines, word_64(0)), line, after)
            builder.position_at_end(line)
            done = builder.phi(word_64)
            done.add_incoming(word_64(0), before)
            begin = builder.add(target, builder.mul(done, word_64(LINE)))
            for place, register in zip(places, registers, strict=True):
                where = builder.inttoptr(builder.add(begin, place), kind)
                if past_cache:
                    store_past_cache(builder, register, where)
                else:
                    builder.store(register, where).align = REGISTER // 8
            more = builder.add(done, word_64(1))
            done.add_incoming(more, line)
            builder.cbranch(builder.icmp_signed("<", more, lines), line, after)
            builder.position_at_end(after)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64), codegen

    return repeat_lines


store_lines, stream_lines = _repeat(past_cache=False), _repeat(past_cache=True)


@kernel
def repeat(target, size, pattern, past_cache):
    """Fill so many bytes from an address on with a value that `pattern`, of three cache lines, holds over and over.

    The ends, which share a cache line with others, are copied. The middle begins within an element if the memory is
    aligned to less than its size: so it takes the bytes of the pattern from there on.
    """
    source = address(pointer(pattern))
    head = min(-target % LINE, size)
    lines = (size - head) // LINE
    copy_bytes(target, source, head)
    if past_cache:
        stream_lines(target + head, source + head, lines)
        fence()
    else:
        store_lines(target + head, source + head, lines)
    copy_bytes(target + head + LINE * lines, source + head, size - head - LINE * lines)
