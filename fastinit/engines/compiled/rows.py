"""Rows of neighbouring elements: whole groups go straight to where they belong."""

from __future__ import annotations

from fastinit.engines import constants as k
from fastinit.engines.compiled.compiling import inline
from fastinit.engines.compiled.intrinsics import address, ahead, pointer
from fastinit.engines.compiled.philox import draw_own_words, other_half
from fastinit.engines.compiled.rounding import copy_rounded, destination, settle
from fastinit.engines.compiled.scratch import parts_of
from fastinit.engines.compiled.streaming import EDGE, NO_FREIGHT, ask, deliver, end_run, fence, finished, pack


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
