"""The compiled engine: every line of Numba code that fastinit has.

Read it from the top: how Numba compiles it, words, the laws over a block of words, rounding to narrow types, and the
walk over a buffer. What a law computes stands in arithmetic.py; vectors.py makes machine code of that. The same
functions stand in reference.py, in NumPy, with the same bits; docs/stream.md is the specification of both.

It is one file because Numba's disk cache does not notice edits in another. Constants are wrapped (`u32(...)`) because
Numba computes `uint32 + int` in int64, and each step is cast back to 32 bits because 64-bit lanes halve the speed.
fastmath stays off: a fused or reordered operation would change bits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

from fastinit.engines import arithmetic
from fastinit.engines import constants as k
from fastinit.engines.loading import fork_lock
from fastinit.engines.vectors import CPU, FEATURES, REGISTER, beginning, loop, loop_over_counters, spread

# SHA-256 of these files one after the other: what they say is compiled in, and editing this line is what makes Numba's
# cache see that they were edited.
SOURCES = ("arithmetic.py", "constants.py", "vectors.py")
DIGEST = "4d10a48b6f461310aec4e666f38ae49578626cce1bc66dfcb55604a37e1722d9"

u8, u16, u32, u64 = np.uint8, np.uint16, np.uint32, np.uint64
i32, i64, f32, f64 = np.int32, np.int64, np.float32, np.float64

F = TypeVar("F", bound=Callable[..., Any])

# --- how Numba compiles -----------------------------------------------------------------------------------------------

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
    """A piece of a kernel, forced in: a loop that is left with a call in it is not vectorised."""
    return cast(F, numba.njit(forceinline=True, **INNER, **OPTIONS)(function))


# Called from a kernel, and kept in its machine code; an inline caller would pass its own inlining on.
routine = numba.njit(forceinline=False, **INNER, **OPTIONS)


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


# --- words ---------------------------------------------------------------------------------------------------------


turns_of_words = loop_over_counters(arithmetic.philox)


@routine
def draw_words(out, counters):
    """Write the words of whole groups in the order of the elements that take them, one row behind the other.

    counters = (first, pitch, rows, groups, domain, stream); row r begins with the group of element first + r * pitch.
    """
    first, pitch, rows, groups, domain, stream = counters
    turns_of_words(out, first, pitch, rows, groups, domain, stream, stream)  # words need no numbers


@kernel  # from Python: the raw words, for the self-test and the statistics
def words(out, group, groups, domain, stream):
    """Write the words of whole groups, in the order of the elements that take them."""
    draw_words(out, (group * 64, 0, 1, groups, domain, stream))


# --- the laws: words in element order become float32 or float64 ------------------------------------------------------
#
# Every law has the arguments (words, low words, out, reals, integers, spare, counters), so that one walk serves all;
# `out` holds whole groups, `spare` has room for as many values, and float32 has no low words: a far tail keeps places
# there. The laws in ONE_LOOP look at no words: they draw from the counters.


def named_routine(name, function):  # type: ignore[no-untyped-def]
    """A routine under a name of its own.

    Machine code that another process kept is linked by names. Functions of one name Numba tells apart by a number that
    each process counts anew, and one law would be called for another.
    """
    function.__name__ = function.__qualname__ = name
    return routine(function)


def block(name, law, **options):  # type: ignore[no-untyped-def]
    """A law of arithmetic.py over a block of words; options as `loop` has them."""
    turns = loop(law, **options)

    def fill_block(words, low_words, out, reals, integers, spare, counters):
        turns(len(out), words, low_words, out, reals, integers, spare)

    return named_routine(name, fill_block)


def one_loop(name, law):  # type: ignore[no-untyped-def]
    """A law in one loop with the generator, if it is short enough for the registers that are left.

    No words come and go, and the stores are spread over the loop: uniform float32 is drawn 1.2 times as fast.
    """
    turns = loop_over_counters(arithmetic.philox, law)

    def draw_and_fill(words, low_words, out, reals, integers, spare, counters):
        first, pitch, rows, groups, domain, stream = counters
        turns(out, first, pitch, rows, groups, domain, stream, reals)

    ONE_LOOP.add(function := named_routine(name, draw_and_fill))
    return function


ONE_LOOP: set[Any] = set()
uniform_32 = one_loop("uniform_32", arithmetic.uniform_32)
uniform_steps_32 = one_loop("uniform_steps_32", arithmetic.uniform_steps_32)

uniform_64 = block("uniform_64", arithmetic.uniform_64)
normal_32 = block("normal_32", arithmetic.normal_32, pairs=True, lag=11)
normal_64 = block("normal_64", arithmetic.normal_64, pairs=True, lag=8)
near_32 = block("near_32", arithmetic.truncated_32)
near_deep_32 = block("near_deep_32", partial(arithmetic.truncated_32, deep=True))
centred_32 = block("centred_32", arithmetic.centred_32)
centred_deep_32 = block("centred_deep_32", partial(arithmetic.centred_32, deep=True))
near_64 = block("near_64", arithmetic.truncated_64, lag=8)
far_32 = block("far_32", arithmetic.far_32, ways=k.LANES * 32 // REGISTER)
far_64 = block("far_64", arithmetic.far_64, ways=k.LANES * 64 // REGISTER)


@routine
def truncated_32(words, low_words, out, reals, integers, spare, counters):
    """For laws that stop within 3.02 standard deviations."""
    if integers[3] != u32(0):
        centred_32(words, low_words, out, reals, integers, spare, counters)
    else:
        near_32(words, low_words, out, reals, integers, spare, counters)


@intrinsic
def below(typing_context, x, begin, limit):
    """Which of the 64 values from x[begin] on are below a limit, as bits."""

    def codegen(context, builder, signature, arguments):
        line = signature.args[0]
        data = beginning(context, builder, line, arguments[0])
        group = ir.VectorType(context.get_value_type(line.dtype), k.GROUP)
        values = builder.load(builder.bitcast(builder.gep(data, [arguments[1]]), group.as_pointer()))
        values.align = line.dtype.bitwidth // 8
        are_below = builder.fcmp_ordered("<", values, spread(builder, arguments[2], k.GROUP))
        return builder.bitcast(are_below, ir.IntType(64))

    return types.uint64(x, begin, x.dtype), codegen


@intrinsic
def trailing_zeros(typing_context, x):
    """The place of the lowest bit that is set."""
    return types.uint64(types.uint64), lambda context, builder, signature, arguments: builder.cttz(
        arguments[0], ir.IntType(1)(1)
    )


@inline
def draw_far(far, deep, words, low_words, out, reals, integers, spare, counters):
    """Draw the elements whose tail probability, in `spare`, is below `deep`: one in 400 of a law that reaches all.

    Their words and probabilities are moved to the front, and their places into the low words, whose work is done.
    """
    count = 0
    for begin in range(0, len(out), k.GROUP):
        left = below(spare, begin, deep)
        while left != u64(0):
            i = begin + i64(trailing_zeros(left))
            words[count], spare[count], low_words[count] = words[i], spare[i], u32(i)
            left = u64(left & u64(left - u64(1)))
            count += 1
    if count > 0:
        whole = (count + k.LANES - 1) // k.LANES * k.LANES
        far(words, low_words, spare[:whole], reals, integers, spare, counters)
        for j in range(count):
            out[low_words[j]] = spare[j]


@routine
def truncated_deep_32(words, low_words, out, reals, integers, spare, counters):
    """For all others: the far elements are drawn again; both forms give the same bits nearer than those."""
    if integers[3] != u32(0):
        centred_deep_32(words, low_words, out, reals, integers, spare, counters)
    else:
        near_deep_32(words, low_words, out, reals, integers, spare, counters)
    draw_far(far_32, k.DEEP_TAIL_32 + k.DEEP_TAIL_32, words, low_words, out, reals, integers, spare, counters)


@routine
def truncated_64(words, low_words, out, reals, integers, spare, counters):
    """The elements beyond 6.6 standard deviations are drawn again."""
    near_64(words, low_words, out, reals, integers, spare, counters)
    draw_far(far_64, k.DEEP_TAIL_64, words, low_words, out, reals, integers, spare, counters)


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


def draw_own_words(law, own_words, low_words, reals, counters):
    """The words that a law takes, and the low words that float64 adds; nothing for a law that draws its own."""
    raise TypeError("compiled code only")


@overload(draw_own_words, jit_options={"forceinline": True})
def _draw_own_words(law, own_words, low_words, reals, counters):
    if law.dispatcher in ONE_LOOP:
        return lambda law, own_words, low_words, reals, counters: None
    if reals.dtype == types.float32:
        return lambda law, own_words, low_words, reals, counters: draw_words(own_words, counters)

    def both(law, own_words, low_words, reals, counters):
        first, pitch, rows, groups, _, stream = counters
        draw_words(own_words, counters)
        draw_words(low_words, (first, pitch, rows, groups, k.DOMAIN_LOW, stream))

    return both


@inline
def fill_run(law, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
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
            target = destination(out, scratch, at, count) if whole else scratch[:64]
            counters = (index, 0, 1, groups, domain, stream)
            draw_own_words(law, own_words, low_words, reals, counters)
            # One call, for each is another copy of the law to compile.
            law(own_words, low_words, target, reals, integers, spare, counters)
            if whole:
                settle(out, at, scratch, count, code)
            else:
                copy_rounded(out, at, scratch, skip, count, code)
            done += count


@intrinsic
def transpose(typing_context, source, begins, r, c, target, at, step):
    """Do target[at + j * step + i] = source[begins[r + i] + c + j] for i, j < the lanes of a register.

    Rounds of shuffles: no conversion and no arithmetic, so it cannot change a bit; one element at a time takes two
    loads and a store each. A row is one register, so that a square finds place in them.
    """
    signature = types.void(source, begins, r, c, target, at, step)

    def codegen(context, builder, signature, arguments):
        source_type, begins_type, target_type = signature.args[0], signature.args[1], signature.args[4]
        element = context.get_value_type(source_type.dtype)
        side = REGISTER // source_type.dtype.bitwidth
        vector = ir.VectorType(element, side)
        lanes = ir.VectorType(ir.IntType(32), side)
        word = ir.IntType(64)

        def place(array_type, array, index):
            data = beginning(context, builder, array_type, array)
            return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())

        source, begins, r, c, target, at, step = arguments
        first = builder.gep(beginning(context, builder, begins_type, begins), [r])
        rows = []
        for row in range(side):
            begin = builder.load(builder.gep(first, [ir.Constant(word, row)]))
            load = builder.load(place(source_type, source, builder.add(begin, c)))
            load.align = source_type.dtype.bitwidth // 8
            rows.append(load)
        # Round h swaps the h-bit of row and column: afterwards bit h of the row number is that of the old column.
        for h in (1 << bit for bit in range(side.bit_length() - 1)):
            mixed = [None] * side
            for row in range(side):
                if row & h:
                    continue
                one, two = rows[row], rows[row | h]
                low = [lane if not lane & h else side + (lane ^ h) for lane in range(side)]
                high = [lane ^ h if not lane & h else side + lane for lane in range(side)]
                mixed[row] = builder.shuffle_vector(one, two, ir.Constant(lanes, low))
                mixed[row | h] = builder.shuffle_vector(one, two, ir.Constant(lanes, high))
            rows = mixed
        for row in range(side):
            index = builder.add(at, builder.mul(step, ir.Constant(word, row)))
            store = builder.store(rows[row], place(target_type, target, index))
            store.align = target_type.dtype.bitwidth // 8
        return context.get_dummy_value()

    return signature, codegen


@routine
def put(out, at, row_step, rows, col_step, cols, scratch, begins, strip, code):
    """Copy rows of a tile, which begin in the scratch at `begins`, to their places, the shorter step innermost."""
    if col_step == 1:
        for r in range(rows):
            copy_rounded(out, at + r * row_step, scratch, begins[r], cols, code)
    elif row_step == 1:
        # Turned in registers, a square at a time, into a strip of 16 columns, of which one after the other is copied:
        # neighbours of a column are stored together, and columns a power of two apart share few places of a cache.
        side = REGISTER // 8 // scratch.itemsize
        down, across = rows // side * side, cols // 16 * 16
        for c in range(0, cols, 16):
            turned = down if c < across else 0  # the rest of a tile is no block of whole registers
            for r in range(0, turned, side):
                for i in range(0, 16, side):
                    transpose(scratch, begins, r, c + i, strip, i * k.STRIP_STEP + r, k.STRIP_STEP)
            for i in range(min(16, cols - c)):
                for r in range(turned, rows):
                    strip[i * k.STRIP_STEP + r] = scratch[u64(begins[r]) + u64(c + i)]
                copy_rounded(out, at + (c + i) * col_step, strip, i * k.STRIP_STEP, rows, code)
    elif abs(col_step) <= abs(row_step):
        for r in range(rows):
            for c in range(cols):
                out[at + r * row_step + c * col_step] = rounded(out, scratch[begins[r] + c], code)
    else:
        for c in range(cols):
            for r in range(rows):
                out[at + r * row_step + c * col_step] = rounded(out, scratch[begins[r] + c], code)


@inline
def fill_tiles(law, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    """As fill_run, for short rows and for any column step: tiles of several rows are drawn at once and then placed."""
    offset, rows, row_step, cols = plan[0], plan[1], plan[2], plan[3]
    col_step, first, pitch = plan[4], plan[5], plan[6]
    low_words, spare, strip = own_words[k.BLOCK :], scratch[k.TILE :], scratch[k.TILE + k.BLOCK :]
    transposed = abs(row_step) < abs(col_step)
    # Of rows that begin anywhere in a group, a tile of twice the width draws less that it does not need.
    times = 2 if pitch % 64 != 0 else 1
    tile_cols = min(cols, times * k.TILE_COLS if transposed else k.SHORTEST_RUN)
    widest = (tile_cols + (63 if pitch % 64 != 0 else first % 64) + 63) // 64 * 64
    tile_rows = k.TILE_ROWS // times if transposed else max(1, k.BLOCK // widest)
    for r in range(0, rows, tile_rows):
        height = min(tile_rows, rows - r)
        done = 0
        while done < cols:
            corner = first + r * pitch + done
            width = min(cols - done, tile_cols)
            if width < cols - done:  # end where a group does, so that the next tile of an aligned row begins with one
                width -= (corner + width) % 64
            groups = (width + (63 if pitch % 64 != 0 else corner % 64) + 63) // 64
            for i in range(height):
                begins[i] = 64 * groups * i + (corner + i * pitch) % 64
            # Rows whose words stay in the first-level cache until they are values.
            length, batch = 64 * groups, max(1, k.BLOCK // (64 * groups))
            for top in range(0, height, batch):
                below = min(height, top + batch)
                counters = (corner + top * pitch, pitch, below - top, groups, domain, stream)
                draw_own_words(law, own_words, low_words, reals, counters)
                law(own_words, low_words, scratch[length * top : length * below], reals, integers, spare, counters)
            at = offset + r * row_step + done * col_step
            put(out, at, row_step, height, col_step, width, scratch, begins, strip, code)
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
            draw_words(own_words, (index, 0, 1, groups, k.DOMAIN_SPARSE, stream))
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
    fill_run(uniform_32, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins)


@kernel
def uniform_32_tiles(out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    fill_tiles(uniform_32, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins)


@kernel
def uniform_steps_32_run(out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    fill_run(uniform_steps_32, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins)


@kernel
def uniform_steps_32_tiles(out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    fill_tiles(uniform_steps_32, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins)


@kernel
def uniform_64_run(out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    fill_run(uniform_64, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins)


@kernel
def uniform_64_tiles(out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    fill_tiles(uniform_64, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins)


@kernel
def normal_32_run(out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    fill_run(normal_32, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins)


@kernel
def normal_32_tiles(out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    fill_tiles(normal_32, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins)


@kernel
def normal_64_run(out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    fill_run(normal_64, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins)


@kernel
def normal_64_tiles(out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    fill_tiles(normal_64, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins)


@kernel
def truncated_32_run(out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    fill_run(truncated_32, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins)


@kernel
def truncated_32_tiles(out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    fill_tiles(truncated_32, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins)


@kernel
def truncated_deep_32_run(out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    fill_run(truncated_deep_32, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins)


@kernel
def truncated_deep_32_tiles(out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    fill_tiles(truncated_deep_32, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins)


@kernel
def truncated_64_run(out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    fill_run(truncated_64, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins)


@kernel
def truncated_64_tiles(out, plan, stream, domain, reals, integers, code, own_words, scratch, begins):
    fill_tiles(truncated_64, out, plan, stream, domain, reals, integers, code, own_words, scratch, begins)


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
    entry = ENTRIES[kernel, plan[4] == 1 and (plan[1] == 1 or plan[3] >= k.SHORTEST_RUN)]
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
    """Scratch memory of the calling thread, up to 1.2 MiB, in few arrays: Numba takes 0.1 us to pass one.

    The words and the low words of a block; the values of a tile, a block to spare and a strip of a turned tile; where
    the rows of a tile begin.
    """
    mine = _thread.__dict__
    if dtype.char not in mine:
        mine[dtype.char] = (
            _lines(2 * k.BLOCK, u32),
            _lines(k.TILE + k.BLOCK + 16 * k.STRIP_STEP, dtype),
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
