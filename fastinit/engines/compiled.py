"""The compiled engine: the kernels that Numba compiles.

Read it from the top: how Numba compiles it, words, the laws over a block of words, rounding to narrow types, and the
walk over a buffer. What a law computes stands in arithmetic.py; vectors.py makes machine code of that. The same
functions stand in reference.py, in NumPy, with the same bits; docs/stream.md is the specification of both.

Constants are wrapped (`u32(...)`) because Numba computes `uint32 + int` in int64, and each step is cast back to 32 bits
because 64-bit lanes halve the speed. fastmath stays off: a fused or reordered operation would change bits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba.core import types
from numba.extending import overload

from fastinit.engines import arithmetic, cache
from fastinit.engines import constants as k
from fastinit.engines.intrinsics import (
    address,
    ahead,
    as_elements_of,
    below,
    bits,
    choosing,
    copy_bytes,
    deliver,
    fence,
    from_bits,
    hardware_float16,
    keeping,
    ones,
    opaque,
    pointer,
    pointers_to,
    size_of,
    trailing_zeros,
    transposing,
    two_registers_to_bfloat16,
)
from fastinit.engines.loading import undisturbed
from fastinit.engines.loops import loop, loop_over_counters
from fastinit.engines.vectors import CPU, FEATURES, REGISTER

if numba.config.DISABLE_JIT:
    raise ImportError(
        "NUMBA_DISABLE_JIT is set, and the kernels have no form in Python: their intrinsics are machine code"
    )

u8, u16, u32, u64 = np.uint8, np.uint16, np.uint32, np.uint64
i32, i64, f32, f64 = np.int32, np.int64, np.float32, np.float64

F = TypeVar("F", bound=Callable[..., Any])

# --- how Numba compiles -----------------------------------------------------------------------------------------------

# A piece that only kernels call needs no wrappers for callers from Python and C: a sixth of the time to compile.
INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": False}


def kernel(function: F) -> F:
    """Compile on first use; release the GIL; keep the machine code on disk where a folder can be written."""
    compiled = numba.njit(**OPTIONS)(function)
    cache.keep_on_disk(compiled, function)
    return cast(F, compiled)


def inline(function: F) -> F:
    """A piece of a kernel, forced in: a loop that is left with a call in it is not vectorised."""
    return cast(F, numba.njit(forceinline=True, **INNER, **OPTIONS)(function))


# Called from a kernel, and kept in its machine code; an inline caller would pass its own inlining on.
routine = numba.njit(forceinline=False, **INNER, **OPTIONS)


# --- words ------------------------------------------------------------------------------------------------------------


NO_FREIGHT = (0, 0, 0)
EDGE = 16  # values before a block, where the end of the last one finds place: a cache line
turns_of_words = loop_over_counters(arithmetic.philox)


@routine
def draw_words(out, counters):
    """Write the words of whole groups in the order of the elements that take them, one row behind the other.

    counters = (first, pitch, rows, groups, domain, stream, freight); row r begins with the group of element
    first + r * pitch.
    """
    first, pitch, rows, groups, domain, stream, freight = counters
    turns_of_words(out, first, pitch, rows, groups, domain, stream, freight, stream)  # words need no numbers


@kernel  # from Python: the raw words, for the self-test and the statistics
def words(out, group, groups, domain, stream):
    """Write the words of whole groups, in the order of the elements that take them."""
    draw_words(pointer(out), (group * 64, 0, 1, groups, domain, pointer(stream), NO_FREIGHT))


# --- the laws: words in element order become float32 or float64 ------------------------------------------------------
#
# Every law has the arguments (count, words, low words, out, reals, integers, spare, counters), so that one walk serves
# all; `count` elements are whole groups, `spare` has room for as many values, and float32 has no low words: a far tail
# keeps places there. The laws in ONE_LOOP look at no words: they draw from the counters.


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

    def fill_block(count, words, low_words, out, reals, integers, spare, counters):
        turns(count, words, low_words, out, reals, integers, spare)

    return named_routine(name, fill_block)


def one_loop(name, law):  # type: ignore[no-untyped-def]
    """A law in one loop with the generator, if it is short enough for the registers that are left.

    No words come and go, and the stores are spread over the loop: uniform float32 is drawn 1.2 times as fast.
    """
    turns = loop_over_counters(arithmetic.philox, law)

    def draw_and_fill(count, words, low_words, out, reals, integers, spare, counters):
        first, pitch, rows, groups, domain, stream, freight = counters
        turns(out, first, pitch, rows, groups, domain, stream, freight, reals)

    ONE_LOOP.add(function := named_routine(name, draw_and_fill))
    return function


ONE_LOOP: set[Any] = set()
uniform_32 = one_loop("uniform_32", arithmetic.uniform_32)
uniform_steps_32 = one_loop("uniform_steps_32", arithmetic.uniform_steps_32)

# In how many parts the eight vectors of a turn follow each other, and how many steps apart. Of 512 bits, ns an element
# with all in step, in two parts, in four and one by one: normal float32 0.321, 0.297, 0.269, 0.265; float64 1.32, 1.08,
# 0.97, 0.94. The law cut at two sides of 0 has as good a time in step.
NORMAL, NEAR, FLOAT64 = ((8, 3), (8, 2), (8, 5)) if REGISTER == 512 else ((2, 11), (1, 0), (2, 8))

uniform_64 = block("uniform_64", arithmetic.uniform_64)
normal_32 = block("normal_32", arithmetic.normal_32, pairs=True, apart=NORMAL)
centred_normal_32 = block("centred_normal_32", arithmetic.centred_normal_32, pairs=True, apart=NORMAL)
normal_64 = block("normal_64", arithmetic.normal_64, pairs=True, apart=FLOAT64)
near_32 = block("near_32", arithmetic.truncated_32, apart=NEAR)
near_deep_32 = block("near_deep_32", partial(arithmetic.truncated_32, deep=True), apart=NEAR)
centred_32 = block("centred_32", arithmetic.centred_32)
centred_deep_32 = block("centred_deep_32", partial(arithmetic.centred_32, deep=True))
near_64 = block("near_64", arithmetic.truncated_64, apart=FLOAT64)
far_32 = block("far_32", arithmetic.far_32, ways=k.LANES * 32 // REGISTER)
far_64 = block("far_64", arithmetic.far_64, ways=k.LANES * 64 // REGISTER)


@routine
def truncated_32(count, words, low_words, out, reals, integers, spare, counters):
    """For laws that stop within 3.02 standard deviations."""
    if integers[3] != u32(0):
        centred_32(count, words, low_words, out, reals, integers, spare, counters)
    else:
        near_32(count, words, low_words, out, reals, integers, spare, counters)


@inline
def draw_far(far, deep, count, words, low_words, out, reals, integers, spare, counters):
    """Draw the elements whose tail probability, in `spare`, is below `deep`: one in 400 of a law that reaches all.

    Their words and probabilities are moved to the front, and their places into the low words, whose work is done.
    """
    found = 0
    for begin in range(0, count, k.GROUP):
        left = below(spare, begin, deep)
        while left != u64(0):
            i = begin + i64(trailing_zeros(left))
            words[found], spare[found], low_words[found] = words[i], spare[i], u32(i)
            left = u64(left & u64(left - u64(1)))
            found += 1
    if found > 0:
        whole = (found + k.LANES - 1) // k.LANES * k.LANES
        far(whole, words, low_words, spare, reals, integers, spare, counters)
        for j in range(found):
            out[i64(low_words[j])] = spare[j]


@routine
def truncated_deep_32(count, words, low_words, out, reals, integers, spare, counters):
    """For all others: the far elements are drawn again; both forms give the same bits nearer than those."""
    if integers[3] != u32(0):
        centred_deep_32(count, words, low_words, out, reals, integers, spare, counters)
    else:
        near_deep_32(count, words, low_words, out, reals, integers, spare, counters)
    draw_far(far_32, k.DEEP_TAIL_32 + k.DEEP_TAIL_32, count, words, low_words, out, reals, integers, spare, counters)


@routine
def truncated_64(count, words, low_words, out, reals, integers, spare, counters):
    """The elements beyond 6.6 standard deviations are drawn again."""
    near_64(count, words, low_words, out, reals, integers, spare, counters)
    draw_far(far_64, k.DEEP_TAIL_64, count, words, low_words, out, reals, integers, spare, counters)


# --- rounding float32 to narrow storage, to nearest even --------------------------------------------------------------


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

# The scratch memory of a thread, in bytes: words and low words of a block; where the rows of two tiles begin; the
# values of two tiles, a block to spare, a strip of a turned tile. A number costs nothing to pass; an array, 0.1 us.
FIRST_TILE = k.TILE_ROWS + 16
PLACES = 2 * k.BLOCK * 4
VALUES = PLACES + 2 * FIRST_TILE * 8
ROOM = VALUES + (2 * k.TILE + k.BLOCK + 16 * k.STRIP_STEP) * 8
words_at, places_at = pointers_to(types.uint32), pointers_to(types.int64)


@inline
def parts_of(room, reals):
    """Words, low words, tile, spare block, strip, places of rows."""
    own_words, tile = words_at(room), as_elements_of(words_at(room + VALUES), reals)
    spare = ahead(tile, 2 * k.TILE)
    return own_words, ahead(own_words, k.BLOCK), tile, spare, ahead(spare, k.BLOCK), places_at(room + PLACES)


def destination(out, scratch, at):
    """Where a law may write: `out` itself where it has the precision of the law, else the scratch."""
    raise TypeError("compiled code only")


@overload(destination, jit_options={"forceinline": True})
def _destination(out, scratch, at):
    if out.dtype == scratch.dtype:
        return lambda out, scratch, at: ahead(out, at)
    return lambda out, scratch, at: scratch


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
        if code == k.BFLOAT16:
            begin = count // two * two
            for i in range(0, begin, two):
                two_registers_to_bfloat16(out, values, i)
        copy_one_by_one(out, values, begin, count, code)

    return copy_16


def settle(out, values, count, code):
    """Round what a law wrote into the scratch; nothing to do where it wrote into `out`."""
    raise TypeError("compiled code only")


@overload(settle, jit_options={"forceinline": True})
def _settle(out, values, count, code):
    if out.dtype == values.dtype:
        return lambda out, values, count, code: None
    return lambda out, values, count, code: copy_rounded(out, values, count, code)


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
        first, pitch, rows, groups, domain, stream, (source, target, lines) = counters
        half = lines // 2
        draw_words(own_words, (first, pitch, rows, groups, domain, stream, (source, target, half)))
        rest = (source + 64 * half if source != 0 else 0, target + 64 * half, lines - half)
        draw_words(low_words, (first, pitch, rows, groups, k.DOMAIN_LOW, stream, rest))

    return both


# Past the cache: the values of a block stay in the scratch, and go to memory while the next block is drawn, as whole
# cache lines that are not read first. A large fill takes 1.6 times as long where each line is read, and 1.25 times if
# the lines of a block were asked for while the block before it was drawn.


def other_half(law, half):
    """Where in the scratch the next block goes: a law that carries the last block while it writes has two places."""
    raise TypeError("compiled code only")


@overload(other_half, jit_options={"forceinline": True})
def _other_half(law, half):
    if law.dispatcher in ONE_LOOP:
        return lambda law, half: k.BLOCK + 3 * EDGE - half
    return lambda law, half: half


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


def are_joined(rows, row_step, cols, first, pitch):
    """Whether the rows are whole groups and follow each other in memory, though not in the tensor."""
    return rows > 1 and row_step == cols and first % 64 == 0 and cols % 64 == 0 and pitch % 64 == 0


rows_are_joined = inline(are_joined)


@inline
def fill_run(law, out, plan, stream, domain, reals, integers, code, stores, room):
    """Fill rows of neighbouring elements; row r begins at offset + r * row step and at index first + r * pitch.

    plan = (offset, rows, row step, cols, column step, first, pitch), steps in storage elements of `out`, which is the
    memory of the buffer as one line. Whole groups go straight from the law into `out`, or past the cache; the ends of a
    row are copied. Rows that are joined are drawn several at once.
    """
    past = stores == k.PAST_CACHE
    offset, rows, row_step, cols, first, pitch = plan[0], plan[1], plan[2], plan[3], plan[5], plan[6]
    out, stream, reals, integers = pointer(out), pointer(stream), pointer(reals), pointer(integers)
    own_words, low_words, scratch, spare, strip, _ = parts_of(room, reals)
    narrow, edge = ahead(strip, 2 * EDGE), address(strip)
    half, freight, held = EDGE, NO_FREIGHT, -1
    joined = rows_are_joined(rows, row_step, cols, first, pitch)
    batch = k.BLOCK // cols if joined and cols <= k.BLOCK else 1
    for r in range(0, rows, batch):
        height = min(batch, rows - r)
        done = 0
        while done < cols:
            index, at = first + r * pitch + done, offset + r * row_step + done
            skip = index % 64
            whole = skip == 0 and cols - done >= 64
            width = min(k.BLOCK, (cols - done) // 64 * 64) if whole else min(64 - skip, cols - done)
            groups = width // 64 if whole else 1
            count = height * width
            here, target = ahead(out, at), ahead(scratch, half)
            if whole and not past:
                target = destination(out, target, at)
                if stores == k.ASKED:
                    freight = ask(ahead(here, width), min(k.BLOCK, cols - done - width))
            counters = (index, pitch, height, groups, domain, stream, freight)
            draw_own_words(law, own_words, low_words, reals, counters)
            # One call, for each is another copy of the law to compile.
            law(64 * groups * height, own_words, low_words, target, reals, integers, spare, counters)
            freight = NO_FREIGHT
            done += width
            if not whole:
                copy_rounded(here, ahead(target, skip), count, code)
            elif past:
                freight, held = pack(here, finished(here, target, narrow, count, code), count, edge, held)
                if cols - done < 64 and not (joined and r + height < rows):
                    end_run(freight, edge, held)
                    held = -1
            else:
                settle(here, target, count, code)
            half = other_half(law, half)
    if past:
        deliver(freight)
        fence()


transpose, transpose_past_cache = transposing(False), transposing(True)


def takes_lines(out, scratch):
    """Whether a square of registers is as high as a cache line, and its values need no rounding."""
    raise TypeError("compiled code only")


@overload(takes_lines, jit_options={"forceinline": True})
def _takes_lines(out, scratch):
    takes = out.dtype == scratch.dtype and REGISTER == 512
    return lambda out, scratch: takes


def put_squares(out, lead, down, col_step, tile, begins, begin, end):
    """Turn squares of a tile in registers, `down` of them below `lead` rows, and store their columns past the cache."""
    raise TypeError("compiled code only")


@routine
def turn_squares(out, lead, down, col_step, tile, begins, begin, end):
    """Do it, one column of squares after the other."""
    side = REGISTER // 8 // size_of(tile)
    for square in range(begin, end):
        r, c = lead + square % down * side, square // down * side
        transpose_past_cache(tile, begins, r, c, ahead(out, c * col_step + r), col_step)


@overload(put_squares, jit_options={"forceinline": True})
def _put_squares(out, lead, down, col_step, tile, begins, begin, end):
    if out.dtype == tile.dtype:
        return lambda out, lead, down, col_step, tile, begins, begin, end: turn_squares(
            out, lead, down, col_step, tile, begins, begin, end
        )
    return lambda out, lead, down, col_step, tile, begins, begin, end: None  # takes_lines has said no


@routine
def put_around(out, lead, end, rows, across, cols, col_step, tile, begins):
    """Store what a tile has above, below and beside its squares."""
    for c in range(cols):
        for r in range(lead if c < across else rows):
            out[c * col_step + r] = tile[begins[r] + c]
        for r in range(end if c < across else rows, rows):
            out[c * col_step + r] = tile[begins[r] + c]


@routine
def put(out, at, row_step, rows, col_step, cols, scratch, begins, strip, code):
    """Copy rows of a tile, which begin in the scratch at `begins`, to their places, the shorter step innermost."""
    if col_step == 1:
        for r in range(rows):
            copy_rounded(ahead(out, at + r * row_step), ahead(scratch, begins[r]), cols, code)
    elif row_step == 1:
        # Turned in registers, a square at a time, into a strip of 16 columns, of which one after the other is copied:
        # neighbours of a column are stored together, and columns a power of two apart share few places of a cache.
        side = REGISTER // 8 // size_of(scratch)
        down, across = rows // side * side, cols // 16 * 16
        for c in range(0, cols, 16):
            turned = down if c < across else 0  # the rest of a tile is no block of whole registers
            for r in range(0, turned, side):
                for i in range(0, 16, side):
                    transpose(scratch, begins, r, c + i, ahead(strip, i * k.STRIP_STEP + r), k.STRIP_STEP)
            for i in range(min(16, cols - c)):
                for r in range(turned, rows):
                    strip[i * k.STRIP_STEP + r] = scratch[begins[r] + c + i]
                copy_rounded(ahead(out, at + (c + i) * col_step), ahead(strip, i * k.STRIP_STEP), rows, code)
    elif abs(col_step) <= abs(row_step):
        for r in range(rows):
            for c in range(cols):
                out[at + r * row_step + c * col_step] = rounded(out, scratch[begins[r] + c], code)
    else:
        for c in range(cols):
            for r in range(rows):
                out[at + r * row_step + c * col_step] = rounded(out, scratch[begins[r] + c], code)


@inline
def fill_tiles(law, out, plan, stream, domain, reals, integers, code, stores, room):
    """As fill_run, for short rows and for any column step: tiles of several rows are drawn at once and then placed.

    Past the cache a tile is placed while the next is drawn; `squares` of the last one wait.
    """
    offset, rows, row_step, cols = plan[0], plan[1], plan[2], plan[3]
    col_step, first, pitch = plan[4], plan[5], plan[6]
    out, stream, reals, integers = pointer(out), pointer(stream), pointer(reals), pointer(integers)
    own_words, low_words, scratch, spare, strip, begins = parts_of(room, reals)
    transposed = abs(row_step) < abs(col_step)
    # Of rows that begin anywhere in a group, a tile of twice the width draws less that it does not need.
    times = 2 if pitch % 64 != 0 else 1
    tile_cols = min(cols, times * k.TILE_COLS if transposed else k.SHORTEST_RUN)
    widest = (tile_cols + (63 if pitch % 64 != 0 else first % 64) + 63) // 64 * 64
    tile_rows = k.TILE_ROWS // times if transposed else max(1, k.BLOCK // widest)
    # Where all columns come to a cache line in the same row, the first tile reaches so many rows further.
    lines = stores == k.PAST_CACHE and row_step == 1 and takes_lines(out, scratch) and col_step * size_of(out) % 64 == 0
    lead = -address(ahead(out, offset)) % 64 // size_of(out) if lines else 0
    side, tile = REGISTER // 8 // size_of(scratch), scratch
    last_tile, last_begins = ahead(scratch, k.TILE), ahead(begins, FIRST_TILE)
    last_out, last_lead, last_down, squares = out, 0, 1, 0  # none yet
    r = 0
    while r < rows:
        height = min(tile_rows + lead, rows - r)
        done = 0
        while done < cols:
            corner = first + r * pitch + done
            width = min(cols - done, tile_cols)
            if width < cols - done:  # end where a group does, so that the next tile of an aligned row begins with one
                width -= (corner + width) % 64
            groups = (width + (63 if pitch % 64 != 0 else corner % 64) + 63) // 64
            for i in range(height):
                begins[i] = 64 * groups * i + ((corner + i * pitch) & 63)
            # Rows whose words stay in the first-level cache until they are values. Fewer where the last tile is stored
            # meanwhile: a core keeps some hundred stores in flight, and sixteen rows are 64.
            length = 64 * groups
            batch = max(1, (k.BLOCK // 4 if lines else k.BLOCK) // length)
            for top in range(0, height, batch):
                below = min(height, top + batch)
                counters = (corner + top * pitch, pitch, below - top, groups, domain, stream, NO_FREIGHT)
                draw_own_words(law, own_words, low_words, reals, counters)
                target = ahead(tile, length * top)
                law(counters[2] * length, own_words, low_words, target, reals, integers, spare, counters)
                if lines:  # store as much of the last tile
                    begin, end = squares * top // height, squares * below // height
                    put_squares(last_out, last_lead, last_down, col_step, last_tile, last_begins, begin, end)
            at = offset + r * row_step + done * col_step
            if lines:
                last_out, last_lead = ahead(out, at), min(lead, height)
                last_down, across = (height - last_lead) // side, width // side
                bottom = last_lead + last_down * side
                put_around(last_out, last_lead, bottom, height, across * side, width, col_step, tile, begins)
                squares = last_down * across
                tile, last_tile, begins, last_begins = last_tile, tile, last_begins, begins
            else:
                put(out, at, row_step, height, col_step, width, tile, begins, strip, code)
            done += width
        r, lead = r + height, 0
    if lines:
        put_squares(last_out, last_lead, last_down, col_step, last_tile, last_begins, 0, squares)
        fence()


# --- sparse: which elements survive -----------------------------------------------------------------------------------


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


# --- one entry a law and walk: what the cache on disk holds -----------------------------------------------------------


@kernel
def uniform_32_run(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_run(uniform_32, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def uniform_32_tiles(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_tiles(uniform_32, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def uniform_steps_32_run(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_run(uniform_steps_32, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def uniform_steps_32_tiles(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_tiles(uniform_steps_32, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def uniform_64_run(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_run(uniform_64, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def uniform_64_tiles(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_tiles(uniform_64, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def normal_32_run(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_run(normal_32, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def normal_32_tiles(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_tiles(normal_32, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def centred_normal_32_run(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_run(centred_normal_32, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def centred_normal_32_tiles(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_tiles(centred_normal_32, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def normal_64_run(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_run(normal_64, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def normal_64_tiles(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_tiles(normal_64, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def truncated_32_run(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_run(truncated_32, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def truncated_32_tiles(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_tiles(truncated_32, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def truncated_deep_32_run(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_run(truncated_deep_32, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def truncated_deep_32_tiles(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_tiles(truncated_deep_32, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def truncated_64_run(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_run(truncated_64, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def truncated_64_tiles(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_tiles(truncated_64, out, plan, stream, domain, reals, integers, code, stores, room)


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


def fill(kernel, out, plan, stream, domain, reals, integers, code, stores=k.ORDINARY):  # type: ignore[no-untyped-def]
    """Run a kernel on one thread: `out` as one line of storage elements, `plan` as fill_run says."""
    is_run = plan[4] == 1 and (plan[1] == 1 or plan[3] >= k.SHORTEST_RUN or are_joined(*plan[1:4], *plan[5:]))
    entry = ENTRIES[kernel, is_run]
    arguments = (stream, domain, reals, integers, code, stores, _scratch.room)
    if (entry, out.dtype) not in _ready:
        _compile(entry, out, (0,) * 7, *arguments)
    entry(out, plan, *arguments)


def thin(out, plan, stream, need, left, down, keep):  # type: ignore[no-untyped-def]
    """Run thin_lines on one thread; the element's place on its line is told by `left`, how many are left there."""
    arguments = (stream, need, u32(left), down, keep, _scratch.room)
    if (thin_lines, out.dtype) not in _ready:
        _compile(thin_lines, out, (0,) * 7, *arguments)
    thin_lines(out, plan, *arguments)


def store(out, plan, values):  # type: ignore[no-untyped-def]
    """Run carry_rows on one thread: rows of neighbours, whose values lie one row behind the other."""
    offset, rows, row_step, cols = plan[:4]
    if (carry_rows, out.dtype) not in _ready:
        _compile(carry_rows, out, 0, 0, 0, 0, values)
    carry_rows(out, offset, rows, row_step, cols, values)


def tally(values, centre, inverse, counts):  # type: ignore[no-untyped-def]
    """Run tally_values on one thread."""
    if (tally_values, values.dtype) not in _ready:
        _compile(tally_values, values[:0], f64(centre), f64(inverse), counts)
    return tally_values(values, f64(centre), f64(inverse), counts)


def _compile(entry, memory, *rest):  # type: ignore[no-untyped-def]
    """A first call, which compiles, with nothing to do."""

    def first() -> None:
        entry(memory, *rest)
        _ready.add((entry, memory.dtype))

    undisturbed(first)
    cache.report()


ENTRIES = {
    (name.removesuffix("_run").removesuffix("_tiles"), name.endswith("_run")): entry
    for name, entry in list(globals().items())
    if name.endswith(("_run", "_tiles")) and not name.startswith("fill_")
}
_ready: set[Any] = set()  # what is compiled: no fork and no Ctrl-C may come into a first call


class Scratch(threading.local):
    """Memory of each thread's own; `room` is the address of its first cache line."""

    def __init__(self) -> None:
        self.memory = np.empty(ROOM + 64, u8)  # 2.2 MiB, of which float32 uses half
        self.room = self.memory.ctypes.data + -self.memory.ctypes.data % 64


_scratch = Scratch()


def target() -> dict[str, Any]:
    """The processor LLVM compiles for, and where compiled code is kept."""
    wide = [name for name in ("sse2", "avx2", "f16c", "avx512f", "avx512dq") if name in FEATURES]
    return {"cpu": CPU, "cpu_features": wide, "cache_folder": cache.folder_of(normal_32_run)}
