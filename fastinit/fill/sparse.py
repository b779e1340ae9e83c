"""Fill a block with a sparse law: draw the values, and thin them line by line while they are in the cache."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from fastinit import engines
from fastinit import threads as pool
from fastinit.address import Axis, collapse
from fastinit.engines import reference
from fastinit.engines.interface import Region
from fastinit.fill import buffers, memory, policies
from fastinit.fill.runs import BoundLaw, FillRequest, fill_staged, populate, useful_workers
from fastinit.laws import Sparse
from fastinit.pipeline import Staging, in_bytes

Array = np.ndarray[Any, Any]

# Elements drawn and thinned before the next: 256 KiB of float32 stay in the second-level cache, and take ten times as
# long as the calls.
BLOCK = 1 << 16
STAGED = 1 << 20  # bytes, in memory of the thread's own, where values go past the cache: 1.3 times as fast as 2^18
# Lines side by side, of which a thread takes a bundle: whole rows of words (1024), and a few bundles a thread.
MOST_LINES, BUNDLES_PER_THREAD = 1 << 14, 4


def fill_sparse(storage: Array, law: Sparse, bound: BoundLaw, request: FillRequest) -> None:
    """Fill a block with values of `bound`. What its lines have before it is drawn too: their words of domain 2."""
    axis = law.line(request.place.shape)
    survivors = law.survivors(request.place.shape[axis])
    if not buffers.needs_staging(storage):
        thin_lines(storage, survivors, axis, bound, request)
        return

    def fill_copy(copy: Array, first: int) -> None:
        corner = np.unravel_index(first, request.whole.shape)
        steps = tuple(int(i) - offset for i, offset in zip(corner, request.whole.offsets, strict=True))
        thin_lines(copy, survivors, axis, bound, replace(request.beyond(steps), workers=1, progress=None))

    fill_staged(storage, fill_copy, request.first, request.pitches, request.progress, uncut=axis)


def thin_lines(storage: Array, survivors: int, axis: int, bound: BoundLaw, request: FillRequest) -> None:
    """Fill aligned memory, on several threads; a thread takes a bundle of lines from end to end.

    A region is rows by columns, the columns being neighbours in the tensor. The lines run down its rows, many side by
    side; or, where `axis` is the last dimension, along its rows.
    """
    engine = engines.chosen(storage.size)
    line, offset = buffers.line_of(storage)
    # To thin is to store zeros, which a kernel does to 8 bytes as to another number of 8; of 16 it knows none.
    thinning = reference if storage.dtype == np.complex128 else engine
    steps = [step // storage.itemsize for step in storage.strides]
    start, length = request.place.offsets[axis], storage.shape[axis]
    own = Axis(length, steps[axis], request.pitches[axis])
    first = request.first - start * own.pitch
    others = [i for i in range(storage.ndim) if i != axis]
    outer, bundle = collapse(*([values[i] for i in others] for values in (storage.shape, steps, request.pitches)))
    down = own.pitch > 1 or bundle.size > 1
    if not down and outer:
        bundle = max(outer, key=lambda candidate: candidate.size)
        outer = [candidate for candidate in outer if candidate is not bundle]
    case = bound.case(storage.itemsize, "rows", "resident", request.workers)
    is_complex = storage.dtype.kind == "c"
    passes = not is_complex and policies.goes_past_cache(storage.nbytes, case) and (bundle if down else own).step == 1
    block = STAGED // storage.itemsize if passes else BLOCK
    if down:
        lines = min(max(bundle.size // (BUNDLES_PER_THREAD * request.workers) // 64, 1) * 64, MOST_LINES)
    else:
        lines = max(1, block // length)
    lines = min(lines, bundle.size)
    bundles, places = -(-bundle.size // lines), max(1, block // lines)
    mapped = memory.file_behind(storage) is not None
    address, total = line.ctypes.data, storage.nbytes
    if not mapped:
        memory.advise_huge_pages(address, line.nbytes)

    own_memory = Staging(places * lines, line.dtype) if passes else None

    def work(item: int) -> None:
        item, number = divmod(item, bundles)
        at = offset + number * lines * bundle.step
        index = first + number * lines * bundle.pitch
        for other in reversed(outer):
            item, i = divmod(item, other.size)
            at, index = at + i * other.step, index + i * other.pitch
        side = Axis(min(lines, bundle.size - number * lines), bundle.step, bundle.pitch)
        remaining_nonzeros = np.full(side.size, survivors, np.uint32)
        length_of_line = request.place.shape[axis]

        def region(place: int, stop: int) -> Region:
            along = Axis(min(places, stop - place), own.step, own.pitch)
            rows, cols = (along, side) if down else (side, along)
            where, number = at + (place - start) * own.step, index + place * own.pitch
            return Region(where, rows.size, rows.step, cols.size, cols.step, number, rows.pitch)

        for place in range(0, start, places):
            before = region(place, start)
            thinning.thin(stored(line), before, request.words, remaining_nonzeros, length_of_line - place, down, True)
        past_cache = own_memory is not None and memory.is_resident(address + at * storage.itemsize)
        staging = own_memory.buffer if own_memory is not None and past_cache else None
        for place in range(start, start + length, places):
            here = region(place, start + length)
            if mapped:
                populate(here, address, storage.itemsize)
            # Thinned where it was drawn, in the cache; past it, on the way to where it belongs.
            memory_of, where = (line, here) if staging is None else (staging, beside(here))
            bound.run(engine, memory_of, flat(where))
            thinning.thin(
                stored(memory_of), where, request.words, remaining_nonzeros, length_of_line - place, down, False
            )
            if staging is not None:
                engine.store(line, flat(here), staging)

    count = bundles * math.prod(other.size for other in outer)
    workers = useful_workers(total, request.workers)
    pool.for_each(work, count, workers, in_bytes(request.progress, total, count))


def stored(line: Array) -> Array:
    """Memory as `thin` takes it: complex64 as numbers of its size."""
    return line.view(np.float64) if line.dtype == np.complex64 else line


def beside(region: Region) -> Region:
    """The region of the same elements in memory of their own, row behind row."""
    return region._replace(offset=0, row_step=region.cols, col_step=1)


def flat(region: Region) -> Region:
    """The region as one row, where its rows follow each other in memory and tensor: short rows waste words."""
    if region.pitch == region.cols and region.row_step == region.cols * region.col_step:
        return region._replace(rows=1, row_step=0, cols=region.rows * region.cols, pitch=0)
    return region
