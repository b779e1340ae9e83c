"""Short rows and any column step: tiles of several rows are drawn at once and then placed."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

from fastinit.engines import blocking
from fastinit.engines.compiled.compiling import inline, routine
from fastinit.engines.compiled.intrinsics import address, ahead, pointer, size_of
from fastinit.engines.compiled.philox import draw_words_of
from fastinit.engines.compiled.rounding import copy_rounded, rounded
from fastinit.engines.compiled.scratch import ROW_STARTS_OF_TILE, unpack
from fastinit.engines.compiled.streaming import NOTHING_PENDING, fence, store_past_cache
from fastinit.engines.compiled.vectors import word_32, word_64
from fastinit.engines.interface import StorePolicy
from fastinit.engines.processor import REGISTER

NON_TEMPORAL = int(StorePolicy.NON_TEMPORAL)


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


transpose, transpose_past_cache = transposing(False), transposing(True)


def takes_lines(out, values):
    """Whether a square of registers is as high as a cache line, and its values need no rounding."""
    raise TypeError("compiled code only")


@overload(takes_lines, jit_options={"forceinline": True})
def _takes_lines(out, values):
    takes = out.dtype == values.dtype and REGISTER == 512
    return lambda out, values: takes


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
def place_rest(out, lead, end, rows, across, cols, col_step, tile, begins):
    """Store what a tile has above, below and beside its squares."""
    for c in range(cols):
        for r in range(lead if c < across else rows):
            out[c * col_step + r] = tile[begins[r] + c]
        for r in range(end if c < across else rows, rows):
            out[c * col_step + r] = tile[begins[r] + c]


@routine
def place_rows(out, at, row_step, rows, col_step, cols, values, begins, strip, code):
    """Copy rows of a tile, which begin in the scratch at `begins`, to their places, the shorter step innermost."""
    if col_step == 1:
        for r in range(rows):
            copy_rounded(ahead(out, at + r * row_step), ahead(values, begins[r]), cols, code)
    elif row_step == 1:
        # Turned in registers, a square at a time, into a strip of 16 columns, of which one after the other is copied:
        # neighbours of a column are stored together, and columns a power of two apart share few places of a cache.
        side = REGISTER // 8 // size_of(values)
        down, across = rows // side * side, cols // 16 * 16
        for c in range(0, cols, 16):
            turned = down if c < across else 0  # the rest of a tile is no block of whole registers
            for r in range(0, turned, side):
                for i in range(0, 16, side):
                    transpose(values, begins, r, c + i, ahead(strip, i * blocking.STRIP_STEP + r), blocking.STRIP_STEP)
            for i in range(min(16, cols - c)):
                for r in range(turned, rows):
                    strip[i * blocking.STRIP_STEP + r] = values[begins[r] + c + i]
                copy_rounded(ahead(out, at + (c + i) * col_step), ahead(strip, i * blocking.STRIP_STEP), rows, code)
    elif abs(col_step) <= abs(row_step):
        for r in range(rows):
            for c in range(cols):
                out[at + r * row_step + c * col_step] = rounded(out, values[begins[r] + c], code)
    else:
        for c in range(cols):
            for r in range(rows):
                out[at + r * row_step + c * col_step] = rounded(out, values[begins[r] + c], code)


@inline
def fill_tiles(law, out, region, stream, domain, reals, integers, code, policy, scratch):
    """As fill_rows, for short rows and for any column step: tiles of several rows are drawn at once and then placed.

    Past the cache a tile is placed while the next is drawn; `squares` of the last one wait.
    """
    offset, rows, row_step, cols, col_step, first, pitch = region
    out, stream, reals, integers = pointer(out), pointer(stream), pointer(reals), pointer(integers)
    words, low_words, values, tail_probability, strip, begins = unpack(scratch, reals)
    transposed = abs(row_step) < abs(col_step)
    # Of rows that begin anywhere in a group, a tile of twice the width draws less that it does not need.
    times = 2 if pitch % 64 != 0 else 1
    tile_cols = min(cols, times * blocking.TILE_COLS if transposed else blocking.SHORTEST_RUN)
    widest = (tile_cols + (63 if pitch % 64 != 0 else first % 64) + 63) // 64 * 64
    tile_rows = blocking.TILE_ROWS // times if transposed else max(1, blocking.BLOCK // widest)
    # Where all columns come to a cache line in the same row, the first tile reaches so many rows further.
    lines = policy == NON_TEMPORAL and row_step == 1 and takes_lines(out, values) and col_step * size_of(out) % 64 == 0
    lead = -address(ahead(out, offset)) % 64 // size_of(out) if lines else 0
    side, tile = REGISTER // 8 // size_of(values), values
    last_tile, last_begins = ahead(values, blocking.TILE), ahead(begins, ROW_STARTS_OF_TILE)
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
            batch = max(1, (blocking.BLOCK // 4 if lines else blocking.BLOCK) // length)
            for top in range(0, height, batch):
                below = min(height, top + batch)
                counters = (corner + top * pitch, pitch, below - top, groups, domain, stream, NOTHING_PENDING)
                draw_words_of(law, words, low_words, reals, counters)
                target = ahead(tile, length * top)
                law(counters[2] * length, words, low_words, target, reals, integers, tail_probability, counters)
                if lines:  # store as much of the last tile
                    begin, end = squares * top // height, squares * below // height
                    put_squares(last_out, last_lead, last_down, col_step, last_tile, last_begins, begin, end)
            at = offset + r * row_step + done * col_step
            if lines:
                last_out, last_lead = ahead(out, at), min(lead, height)
                last_down, across = (height - last_lead) // side, width // side
                bottom = last_lead + last_down * side
                place_rest(last_out, last_lead, bottom, height, across * side, width, col_step, tile, begins)
                squares = last_down * across
                tile, last_tile, begins, last_begins = last_tile, tile, last_begins, begins
            else:
                place_rows(out, at, row_step, height, col_step, width, tile, begins, strip, code)
            done += width
        r, lead = r + height, 0
    if lines:
        put_squares(last_out, last_lead, last_down, col_step, last_tile, last_begins, 0, squares)
        fence()
