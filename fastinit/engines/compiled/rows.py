"""Rows of neighbouring elements: whole groups go straight to where they belong."""

from __future__ import annotations

from fastinit.engines import blocking
from fastinit.engines.compiled.compiling import inline
from fastinit.engines.compiled.intrinsics import address, ahead, pointer
from fastinit.engines.compiled.philox import draw_words_of, next_buffer
from fastinit.engines.compiled.rounding import copy_rounded, destination, round_into
from fastinit.engines.compiled.scratch import unpack
from fastinit.engines.compiled.streaming import NOTHING_PENDING, end_run, fence, finished, flush, pack, prefetch_next
from fastinit.engines.interface import StorePolicy

NON_TEMPORAL, PREFETCH = int(StorePolicy.NON_TEMPORAL), int(StorePolicy.PREFETCH)


def are_joined(offset, rows, row_step, cols, col_step, first, pitch):
    """Whether the rows are whole groups and follow each other in memory, though not in the tensor."""
    return rows > 1 and row_step == cols and first % 64 == 0 and cols % 64 == 0 and pitch % 64 == 0


rows_are_joined = inline(are_joined)


@inline
def fill_rows(law, out, region, stream, domain, reals, integers, code, policy, scratch):
    """Fill rows of neighbouring elements; row r begins at offset + r * row step and at index first + r * pitch.

    `region` is a Region (interface.py) as a tuple. Whole groups go straight from the law into `out`, or past the cache;
    the ends of a row are copied. Rows that are joined are drawn several at once.
    """
    past = policy == NON_TEMPORAL
    offset, rows, row_step, cols, _, first, pitch = region
    out, stream, reals, integers = pointer(out), pointer(stream), pointer(reals), pointer(integers)
    words, low_words, values, tail_probability, strip, _ = unpack(scratch, reals)
    narrow, partial_line = ahead(strip, 2 * blocking.MARGIN), address(strip)
    buffer, pending, carry_bytes = blocking.MARGIN, NOTHING_PENDING, -1
    joined = rows_are_joined(*region)
    batch = blocking.BLOCK // cols if joined and cols <= blocking.BLOCK else 1
    for r in range(0, rows, batch):
        height = min(batch, rows - r)
        done = 0
        while done < cols:
            index, at = first + r * pitch + done, offset + r * row_step + done
            skip = index % 64
            whole = skip == 0 and cols - done >= 64
            width = min(blocking.BLOCK, (cols - done) // 64 * 64) if whole else min(64 - skip, cols - done)
            groups = width // 64 if whole else 1
            count = height * width
            place, target = ahead(out, at), ahead(values, buffer)
            if whole and not past:
                target = destination(out, target, at)
                if policy == PREFETCH:
                    pending = prefetch_next(ahead(place, width), min(blocking.BLOCK, cols - done - width))
            counters = (index, pitch, height, groups, domain, stream, pending)
            draw_words_of(law, words, low_words, reals, counters)
            # One call, for each is another copy of the law to compile.
            law(64 * groups * height, words, low_words, target, reals, integers, tail_probability, counters)
            pending = NOTHING_PENDING
            done += width
            if not whole:
                copy_rounded(place, ahead(target, skip), count, code)
            elif past:
                pending, carry_bytes = pack(
                    place, finished(place, target, narrow, count, code), count, partial_line, carry_bytes
                )
                if cols - done < 64 and not (joined and r + height < rows):
                    end_run(pending, partial_line, carry_bytes)
                    carry_bytes = -1
            else:
                round_into(place, target, count, code)
            buffer = next_buffer(law, buffer)
    if past:
        flush(pending)
        fence()


@inline
def fill_many(law, out, regions, streams, domain, reals, integers, code, policy, scratch):
    """Fill stretches of memory, each with words of its own: (place from `out` on, length) of each, in elements."""
    for i in range(regions.shape[0]):
        region = (regions[i, 0], 1, 0, regions[i, 1], 1, 0, 0)
        fill_rows(law, out, region, streams[i], domain, reals, integers, code, policy, scratch)
