"""Which elements of a sparse tensor survive, along its lines or across them."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastinit.engines import blocking
from fastinit.engines import stream as k
from fastinit.engines.compiled.compiling import i64, kernel, routine, u32, u64
from fastinit.engines.compiled.intrinsics import ahead, ones, opaque, pointer
from fastinit.engines.compiled.philox import draw_words
from fastinit.engines.compiled.scratch import words_at
from fastinit.engines.compiled.streaming import NOTHING_PENDING
from fastinit.engines.compiled.vectors import spread, word_32, word_64


def choosing(count: int) -> Any:
    """An intrinsic (w, remaining, remaining nonzeros): which of so many neighbours on a line survive; is that in doubt.

    Both are bits. Element i survives if (w[i] (remaining - i)) >> 32 is below the remaining nonzeros less the survivors
    before it. Compared with all of these too many may be found, n: they are right if none of them is closer to the
    limit than n, for then none before them decides.
    """

    @intrinsic
    def choose(typing_context, w, remaining, remaining_nonzeros):
        signature = types.UniTuple(types.int64, 2)(w, remaining, remaining_nonzeros)

        def codegen(context, builder, signature, arguments):
            w, remaining, remaining_nonzeros = arguments
            short, long = (ir.VectorType(word, count) for word in (word_32, word_64))
            words = builder.load(builder.bitcast(w, short.as_pointer()))
            words.align = 4
            factors = builder.sub(spread(builder, remaining, count), ir.Constant(short, list(range(count))))
            scaled = builder.mul(builder.zext(words, long), builder.zext(factors, long))
            scaled = builder.trunc(builder.lshr(scaled, ir.Constant(long, [32] * count)), short)
            limit = spread(builder, remaining_nonzeros, count)
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


@routine
def choose_across(w, count, remaining, remaining_nonzeros):
    """Turn words into 1 for a survivor, 0 else: neighbours on lines of their own, each with `remaining` elements left.

    With n nonzeros still to place on r places an element survives iff (w r) >> 32 < n (Knuth's algorithm S).
    """
    for i in range(count):
        alive = u32(u32((u64(w[i]) * u64(remaining)) >> u64(32)) < remaining_nonzeros[i])
        remaining_nonzeros[i] = u32(remaining_nonzeros[i] - alive)
        w[i] = alive


@routine
def choose_along(w, count, remaining, remaining_nonzeros):
    """The same for neighbours on one line; returns what is still to place.

    Two loops, for only the second waits for the element before: 0.7 against 5 ns an element. There LLVM would take one
    number for what survives and for what is subtracted; kept apart, an element waits two steps (cmp, sbb), not three.
    """
    for i in range(count):
        w[i] = u32((u64(w[i]) * u64(u32(remaining - u32(i)))) >> u64(32))
    for i in range(count):
        rest = opaque(u32(remaining_nonzeros - u32(w[i] < remaining_nonzeros)))
        w[i] = u32(remaining_nonzeros - rest)
        remaining_nonzeros = rest
    return remaining_nonzeros


@routine
def choose_in_turn(w, count, remaining, remaining_nonzeros):
    """As choose_sixteen, for so many, of which each waits for the one before."""
    alive = 0
    for i in range(count):
        survives = u32((u64(w[i]) * u64(u32(remaining - u32(i)))) >> u64(32)) < remaining_nonzeros
        remaining_nonzeros = u32(remaining_nonzeros - u32(survives))
        alive |= i64(survives) << i
    return alive


AT_ONCE = 32
choose_at_once, keep_at_once, choose_sixteen = choosing(AT_ONCE), keeping(AT_ONCE), choosing(16)


@routine
def choose_by_parts(w, count, remaining, remaining_nonzeros):
    """As choose_at_once, for so many at most: sixteen at once where they do not wait for each other, else in turn."""
    alive = 0
    for i in range(0, count, 16):
        part, rest, found, doubt = ahead(w, i), u32(remaining - u32(i)), 0, 1
        if count - i >= 16:
            found, doubt = choose_sixteen(part, rest, remaining_nonzeros)
        if doubt != 0:
            found = choose_in_turn(part, min(16, count - i), rest, remaining_nonzeros)
        remaining_nonzeros = u32(remaining_nonzeros - u32(ones(found)))
        alive |= found << i
    return alive


LONG_LINE = 1024


@routine
def thin_along(out, zero, step, advance_only, w, count, remaining, remaining_nonzeros):
    """Choose along a long line, and store +0.0 where an element does not survive; returns what is still to place.

    So many at once, but where those before one of them may decide: once in 80 with one in ten to survive and 8192 left
    on the line. Thinning took 0.93 ns an element with sixteen at once and a coarser doubt, so 0.59.
    """
    for begin in range(0, count, AT_ONCE):
        width, part, rest = min(AT_ONCE, count - begin), ahead(w, begin), u32(remaining - u32(begin))
        alive, doubt = 0, 1
        if width == AT_ONCE:
            alive, doubt = choose_at_once(part, rest, remaining_nonzeros)
        if doubt != 0:
            alive = choose_by_parts(part, width, rest, remaining_nonzeros)
        remaining_nonzeros = u32(remaining_nonzeros - u32(ones(alive)))
        if advance_only:
            continue
        if step == 1 and width == AT_ONCE:
            keep_at_once(ahead(out, begin), alive)
        else:
            for i in range(width):
                if not (alive >> i) & 1:
                    out[(begin + i) * step] = zero
    return remaining_nonzeros


@routine
def clear(out, zero, step, alive, count):
    """Store +0.0 where an element does not survive."""
    if step == 1:
        for i in range(count):
            out[i] = out[i] if alive[i] else zero
    else:
        for i in range(count):
            if not alive[i]:
                out[i * step] = zero


@kernel
def thin_lines(out, region, stream, remaining_nonzeros, remaining, down, advance_only, scratch):
    """Store +0.0 where an element does not survive, and count the survivors off `remaining_nonzeros`, one entry a line.

    The lines run down the rows of the region, or along them; `remaining` is how many elements each line has from the
    first row or column on. With `advance_only` nothing is stored: the part of the lines before a shard.
    """
    offset, rows, row_step, cols, col_step, first, pitch = region
    zero = out.dtype.type(0)
    out, stream, remaining_nonzeros = pointer(out), pointer(stream), pointer(remaining_nonzeros)
    words = words_at(scratch)
    # Rows that lie close are drawn together, or most words of a group would be thrown away.
    together = max(1, (blocking.BLOCK - 64) // pitch) if 0 < pitch <= 4 * cols else 1
    for top in range(0, rows, together):
        height = min(together, rows - top)
        done = 0
        while done < cols:
            index = first + top * pitch + done
            skip = index % 64
            width = min(cols - done, blocking.BLOCK - skip) if height == 1 else cols
            groups = (skip + (height - 1) * pitch + width + 63) // 64
            draw_words(words, (index, 0, 1, groups, k.DOMAIN_SPARSE, stream, NOTHING_PENDING))
            for r in range(top, top + height):
                w = ahead(words, skip + (r - top) * pitch)
                row = ahead(out, offset + r * row_step + done * col_step)
                if not down and remaining - done >= LONG_LINE:
                    remaining_nonzeros[r] = thin_along(
                        row, zero, col_step, advance_only, w, width, u32(remaining - done), remaining_nonzeros[r]
                    )
                    continue
                if down:
                    choose_across(w, width, u32(remaining - u32(r)), ahead(remaining_nonzeros, done))
                else:
                    remaining_nonzeros[r] = choose_along(w, width, u32(remaining - done), remaining_nonzeros[r])
                if not advance_only:
                    clear(row, zero, col_step, w, width)
            done += width
