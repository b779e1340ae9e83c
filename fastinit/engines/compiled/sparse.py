"""Which elements of a sparse tensor survive, along its lines or across them."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastinit.engines import constants as k
from fastinit.engines.compiled.compiling import i64, kernel, routine, u32, u64
from fastinit.engines.compiled.intrinsics import ahead, ones, opaque, pointer
from fastinit.engines.compiled.philox import draw_words
from fastinit.engines.compiled.scratch import words_at
from fastinit.engines.compiled.streaming import NO_FREIGHT
from fastinit.engines.compiled.vectors import spread, word_32, word_64


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


@routine
def choose_across(w, count, left, need):
    """Turn words into 1 for a survivor, 0 else: neighbours on lines of their own, each with `left` elements left.

    One of `need` elements still to place on `left` places survives iff (w left) >> 32 < need (Knuth's algorithm S).
    """
    for i in range(count):
        alive = u32(u32((u64(w[i]) * u64(left)) >> u64(32)) < need[i])
        need[i] = u32(need[i] - alive)
        w[i] = alive


@routine
def choose_along(w, count, left, need):
    """The same for neighbours on one line; returns what is still to place.

    Two loops, for only the second waits for the element before: 0.7 against 5 ns an element. There LLVM would take one
    number for what survives and for what is subtracted; kept apart, an element waits two steps (cmp, sbb), not three.
    """
    for i in range(count):
        w[i] = u32((u64(w[i]) * u64(u32(left - u32(i)))) >> u64(32))
    for i in range(count):
        rest = opaque(u32(need - u32(w[i] < need)))
        w[i] = u32(need - rest)
        need = rest
    return need


@routine
def choose_in_turn(w, count, left, need):
    """As choose_sixteen, for so many, of which each waits for the one before."""
    alive = 0
    for i in range(count):
        survives = u32((u64(w[i]) * u64(u32(left - u32(i)))) >> u64(32)) < need
        need = u32(need - u32(survives))
        alive |= i64(survives) << i
    return alive


AT_ONCE = 32
choose_at_once, keep_at_once, choose_sixteen = choosing(AT_ONCE), keeping(AT_ONCE), choosing(16)


@routine
def choose_by_parts(w, count, left, need):
    """As choose_at_once, for so many at most: sixteen at once where they do not wait for each other, else in turn."""
    alive = 0
    for i in range(0, count, 16):
        place, rest, here, doubt = ahead(w, i), u32(left - u32(i)), 0, 1
        if count - i >= 16:
            here, doubt = choose_sixteen(place, rest, need)
        if doubt != 0:
            here = choose_in_turn(place, min(16, count - i), rest, need)
        need = u32(need - u32(ones(here)))
        alive |= here << i
    return alive


LONG_LINE = 1024


@routine
def thin_along(out, zero, step, keep, w, count, left, need):
    """Choose along a long line, and store +0.0 where an element does not survive; returns what is still to place.

    So many at once, but where those before one of them may decide: once in 80 with one in ten to survive and 8192 left
    on the line. Thinning took 0.93 ns an element with sixteen at once and a coarser doubt, so 0.59.
    """
    for begin in range(0, count, AT_ONCE):
        here, place, rest = min(AT_ONCE, count - begin), ahead(w, begin), u32(left - u32(begin))
        alive, doubt = 0, 1
        if here == AT_ONCE:
            alive, doubt = choose_at_once(place, rest, need)
        if doubt != 0:
            alive = choose_by_parts(place, here, rest, need)
        need = u32(need - u32(ones(alive)))
        if keep:
            continue
        if step == 1 and here == AT_ONCE:
            keep_at_once(ahead(out, begin), alive)
        else:
            for i in range(here):
                if not (alive >> i) & 1:
                    out[(begin + i) * step] = zero
    return need


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
def thin_lines(out, plan, stream, need, left, down, keep, room):
    """Store +0.0 where an element does not survive, and count the survivors off `need`, which has one entry a line.

    The lines run down the rows of the plan, or along them; `left` is how many elements each line has left at the first
    row or column. With `keep` nothing is stored: the part of the lines before a shard.
    """
    offset, rows, row_step, cols = plan[0], plan[1], plan[2], plan[3]
    col_step, first, pitch = plan[4], plan[5], plan[6]
    zero = out.dtype.type(0)
    out, stream, need, own_words = pointer(out), pointer(stream), pointer(need), words_at(room)
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
            draw_words(own_words, (index, 0, 1, groups, k.DOMAIN_SPARSE, stream, NO_FREIGHT))
            for r in range(top, top + height):
                w = ahead(own_words, skip + (r - top) * pitch)
                here = ahead(out, offset + r * row_step + done * col_step)
                if not down and left - done >= LONG_LINE:
                    need[r] = thin_along(here, zero, col_step, keep, w, width, u32(left - done), need[r])
                    continue
                if down:
                    choose_across(w, width, u32(left - u32(r)), ahead(need, done))
                else:
                    need[r] = choose_along(w, width, u32(left - done), need[r])
                if not keep:
                    clear(here, zero, col_step, w, width)
            done += width
