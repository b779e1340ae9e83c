"""Cut a block of memory into runs, and have an engine fill them on several threads."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import byte_bounds

from fastinit import engines
from fastinit import threads as pool
from fastinit.address import Axis, Shard, collapse, index_strides
from fastinit.dtypes import PARTS, Format
from fastinit.engines import reference
from fastinit.engines.blocking import TILE_ROWS
from fastinit.engines.interface import Region, StorePolicy, one_row
from fastinit.fill import buffers, memory, policies
from fastinit.fill.constants import store_constant
from fastinit.laws import Constant, KernelArguments, Law
from fastinit.laws.blocks import Leaf
from fastinit.laws.law import IndependentLaw
from fastinit.pipeline import in_bytes
from fastinit.progress import Progress

Array = np.ndarray[Any, Any]

# A chunk is what one thread takes at a time: long beside the hand-over (20 to 60 us), short beside a Ctrl-C. Fresh
# memory, 2 GiB: 0.297 s by 2 MiB, 0.292 by 4, 0.289 by 8, 0.287 by 16.
SMALLEST_CHUNK, LARGEST_CHUNK = 256 << 10, 16 << 20  # bytes
# The pages of a memory map are made a chunk at a time: a new file of 1 GiB takes 0.24 s by 1 or 4 MiB, 0.31 by 16.
LARGEST_MAPPED_CHUNK = 4 << 20
CHUNKS_PER_THREAD = 8
# Between two chunks a thread holds Python's lock, 3 to 7 us. Beyond a few threads that decides: chunks are longer, and
# fewer threads take part in a small fill (bench/pool.py simulates 192 of them).
FEW_THREADS, MANY_THREADS, CHUNK_OF_MANY, SHARE_OF_MANY = 4, 16, 2 << 20, 1 << 20
# Unaligned memory is filled through an aligned copy of this many elements.
STAGED = 1 << 17


class BoundLaw(NamedTuple):
    """What to draw, whatever the memory: stream words, what a kernel receives or a stored constant, the format.

    Where a kernel draws and there is no format, it draws the parts of complex numbers.
    """

    words: Array
    arguments: KernelArguments | None
    stored: Array | None
    format: Format | None

    @classmethod
    def of(cls, law: Law, words: Array, dtype: np.dtype[Any], format: Format | None) -> BoundLaw:
        """What an independent law draws into elements of this dtype, checked against it; constants need no format."""
        if isinstance(law, Constant):
            return cls(words, None, law.stored(dtype, format), format)
        assert isinstance(law, IndependentLaw)
        if format is None:  # buffers.check, or the plan, has refused what is neither float nor complex
            return cls(words, law.complex_arguments(PARTS[dtype.name]), None, None)
        return cls(words, law.kept_arguments(format), None, format)

    def engine(self, elements: int) -> engines.Engine | None:
        """The engine for so many elements; constants need none, and load none."""
        return engines.chosen(elements) if self.arguments is not None else None

    def case(self, itemsize: int, layout: str, memory: str, workers: int) -> policies.Case:
        """What decides how such elements are stored."""
        kernel = "constant" if self.arguments is None else self.arguments.kernel
        code = self.format.code if self.format is not None else 0
        return policies.Case(kernel, layout, itemsize, code, memory, workers > 1)

    def run(
        self, engine: engines.Engine | None, line: Array, region: Region, policy: StorePolicy = StorePolicy.REGULAR
    ) -> None:
        """Fill a region of a line of memory on the calling thread."""
        if engine is not None and self.arguments is not None and self.format is not None:
            arguments = self.arguments
            engine.fill(
                arguments.kernel,
                line,
                region,
                self.words,
                arguments.domain,
                arguments.reals,
                arguments.integers,
                self.format.code,
                policy,
            )
            return
        if engine is not None and self.arguments is not None:
            self.run_complex(engine, line, region, policy)
            return
        assert self.stored is not None
        store_constant(line, region, self.stored, policy)

    def run_complex(
        self, engine: engines.Engine, line: Array, region: Region, policy: StorePolicy = StorePolicy.REGULAR
    ) -> None:
        """The same for complex numbers: as the floats that their memory is, where rows are neighbours, else copied."""
        parts = PARTS[line.dtype.name]
        on_floats = self._replace(format=parts)
        offset, rows, row_step, cols, col_step, first, pitch = region
        if col_step == 1:
            floats = Region(2 * offset, rows, 2 * row_step, 2 * cols, 1, 2 * first, 2 * pitch)
            on_floats.run(engine, line.view(parts.storage), floats, policy)
            return
        height = max(1, STAGED // cols)
        for r in range(0, rows, height):
            some = min(height, rows - r)
            copy = np.empty((some, cols), line.dtype)
            floats = Region(0, some, 2 * cols, 2 * cols, 1, 2 * (first + r * pitch), 2 * pitch)
            on_floats.run(engine, copy.reshape(-1).view(parts.storage), floats)
            buffers.place_of(line, Region(offset + r * row_step, some, row_step, cols, col_step, 0, 0))[...] = copy


@dataclass(frozen=True)
class FillRequest:
    """What a fill is told besides law and memory: the place in the whole tensor, the stream, the dtype, the threads.

    place   of the block in what the law is of: the tensor, or a slice of it
    whole   of the block in the tensor
    before  elements of the tensor whose reflectors come before those of the law
    """

    place: Shard
    whole: Shard
    words: Array
    dtype: np.dtype[Any]
    format: Format | None
    workers: int
    progress: Progress | None
    before: int = 0

    @property
    def pitches(self) -> tuple[int, ...]:
        """Row-major strides of the whole tensor, in elements."""
        return index_strides(self.whole.shape)

    @property
    def first(self) -> int:
        """The index of the block's first element in the whole tensor."""
        return sum(offset * pitch for offset, pitch in zip(self.whole.offsets, self.pitches, strict=True))

    def beyond(self, steps: tuple[int, ...]) -> FillRequest:
        """The same request for a smaller block, which begins so many steps further along each axis."""
        place, whole = (
            Shard(at.shape, tuple(o + s for o, s in zip(at.offsets, steps, strict=True)))
            for at in (self.place, self.whole)
        )
        return replace(self, place=place, whole=whole)

    @property
    def floats(self) -> Format:
        """The format of the numbers, or of the parts of complex numbers, for a law that needs floats."""
        return self.format or PARTS[self.dtype.name]  # buffers.check has refused every other dtype

    @property
    def working(self) -> np.dtype[Any]:
        """The dtype in which what is no single draw is computed."""
        return np.dtype(self.format.working) if self.format is not None else self.dtype

    def bound(self, law: Law) -> BoundLaw:
        """What an independent law draws."""
        return BoundLaw.of(law, self.words, self.dtype, self.format)

    def rounded(self, values: Array, storage: Array) -> Array:
        """Values of this block as elements of its storage."""
        if self.format is None:
            return values
        with np.errstate(all="ignore"):  # a caller may have NumPy raise where a value becomes subnormal or zero
            working = values.astype(self.format.working, copy=False)
            return np.asarray(reference.rounded(working, storage.dtype, self.format.code))


def share_of(leaf: Leaf, storage: Array, request: FillRequest) -> tuple[Array, FillRequest] | None:
    """What a block has of a part, and the place of that; None where it has nothing."""
    begins, ends = [], []
    for at, size, offset, length in zip(leaf.offsets, leaf.shape, request.place.offsets, storage.shape, strict=True):
        begins.append(max(at - offset, 0))
        ends.append(min(at + size - offset, length))
        if begins[-1] >= ends[-1]:
            return None
    inside = request.beyond(tuple(begins))
    offsets = tuple(offset - at for offset, at in zip(inside.place.offsets, leaf.offsets, strict=True))
    here = storage[tuple(map(slice, begins, ends))]
    return here, replace(inside, place=Shard(leaf.shape, offsets), before=request.before + leaf.before)


@dataclass(frozen=True)
class ChunkGrid:
    """How a block is cut into chunks: planes of rows x columns, each plane into a grid of chunks."""

    outer: tuple[Axis, ...]
    rows: Axis
    cols: Axis
    rows_per: int
    cols_per: int
    lead: int  # columns more in front, which are not there: later chunks begin with a group, or with a page
    above: int = 0  # rows more in front, which are not there: later chunks begin with a cache line

    @property
    def grid(self) -> tuple[int, int]:
        """Chunks down and across a plane."""
        return -(-(self.rows.size + self.above) // self.rows_per), -(-(self.cols.size + self.lead) // self.cols_per)

    @property
    def chunks(self) -> int:
        """Chunks in all."""
        return math.prod(axis.size for axis in self.outer) * math.prod(self.grid)

    def region(self, chunk: int, offset: int, first: int) -> Region:
        """Where chunk number `chunk` lies."""
        down, across = self.grid
        chunk, column = divmod(chunk, across)
        chunk, row = divmod(chunk, down)
        for axis in reversed(self.outer):
            chunk, i = divmod(chunk, axis.size)
            offset, first = offset + i * axis.step, first + i * axis.pitch
        r, c = max(0, row * self.rows_per - self.above), max(0, column * self.cols_per - self.lead)
        return Region(
            offset + r * self.rows.step + c * self.cols.step,
            min(self.rows.size, (row + 1) * self.rows_per - self.above) - r,
            self.rows.step,
            min(self.cols.size, (column + 1) * self.cols_per - self.lead) - c,
            self.cols.step,
            first + r * self.rows.pitch + c * self.cols.pitch,
            self.rows.pitch,
        )


def chunk_bytes(total: int, workers: int, largest: int = LARGEST_CHUNK) -> int:
    """How many of so many bytes one of so many threads takes at a time."""
    smallest, per_thread = SMALLEST_CHUNK, CHUNKS_PER_THREAD
    if workers > FEW_THREADS:
        smallest = max(smallest, min(CHUNK_OF_MANY, total // workers))
    if workers > MANY_THREADS:
        per_thread //= 2
    return min(max(total // (per_thread * workers), smallest), largest)


def useful_workers(total: int, workers: int) -> int:
    """How many of so many threads a fill of so many bytes is worth."""
    few = min(workers, FEW_THREADS, max(1, total // SMALLEST_CHUNK))
    return max(few, min(workers, total // SHARE_OF_MANY))


def chunk_grid(
    storage: Array, first: int, pitches: tuple[int, ...], workers: int, largest: int = LARGEST_CHUNK
) -> ChunkGrid:
    """Cut a block for so many threads, into chunks of so many bytes at most."""
    address = storage.ctypes.data
    steps = [step // storage.itemsize for step in storage.strides]
    outer, cols = collapse(storage.shape, steps, pitches)
    # Rows: the longest remaining dimension, but a contiguous one first, for a transposed buffer is written along it.
    rows = max(outer, key=lambda axis: (abs(axis.step) == 1, axis.size), default=Axis(1, 0, 0))
    outer = [axis for axis in outer if axis is not rows]
    chunk = chunk_bytes(storage.nbytes, workers, largest)
    elements = chunk // storage.itemsize
    tile_rows = TILE_ROWS if abs(rows.step) < abs(cols.step) else 64
    cols_per = min(cols.size + 63, max(elements // min(rows.size, tile_rows), 1024)) // 64 * 64
    rows_per = max(1, elements // max(cols_per, 1))
    if abs(rows.step) < abs(cols.step):
        rows_per = -(-rows_per // tile_rows) * tile_rows
    cols_per = max(cols_per, 64)
    lead = first % 64 if cols_per < cols.size else 0
    page = memory.HUGE_PAGE // storage.itemsize
    if rows.size == 1 and cols.step == 1 and page <= cols_per < cols.size:
        # Chunks are whole huge pages: of one that two threads touch first, each clears a copy.
        cols_per -= cols_per % page
        lead = address % memory.HUGE_PAGE // storage.itemsize
    if cols_per >= cols.size:
        cols_per = cols.size
    # A line that two chunks share is read from memory by both.
    above = address % 64 // storage.itemsize if rows.step == 1 and rows_per < rows.size else 0
    return ChunkGrid(tuple(outer), rows, cols, min(rows_per, rows.size), cols_per, lead, above)


def fill_direct(
    storage: Array, bound: BoundLaw, first: int, pitches: tuple[int, ...], workers: int, progress: Progress | None
) -> None:
    """Fill aligned memory, on several threads where that pays."""
    engine = bound.engine(storage.size)
    total = storage.nbytes
    mapped = memory.file_behind(storage) is not None
    line, offset = buffers.line_of(storage)
    itemsize, address = storage.itemsize, line.ctypes.data
    storing = storing_of(storage, bound, engine, mapped, workers)
    largest = storing.largest_chunk or (LARGEST_MAPPED_CHUNK if mapped else LARGEST_CHUNK)
    workers = useful_workers(total, workers)
    cut = chunk_grid(storage, first, pitches, workers, largest)
    if not mapped:
        memory.advise_huge_pages(address, line.nbytes)

    def work(chunk: int) -> None:
        region = cut.region(chunk, offset, first)
        if mapped:
            populate(region, address, itemsize)
        size = region.rows * region.cols * itemsize
        storing.chunk(address + region.offset * itemsize, size, lambda policy: bound.run(engine, line, region, policy))

    count = cut.chunks
    pool.for_each(work, count, workers, in_bytes(progress, total, count))
    storing.end()


def storing_of(
    storage: Array, bound: BoundLaw, engine: engines.Engine | None, mapped: bool, workers: int
) -> policies.Storing | policies.Told:
    """How the chunks of a fill are stored: as told, or by trial where the compiled engine makes it."""
    told = policies.told(storage.nbytes)
    compiled = engines.loaded_compiled()
    if told is not None or compiled is None or (bound.arguments is not None and engine is not compiled):
        return told or policies.REGULAR
    kind = "mapped" if mapped else "resident"
    return policies.Storing(bound.case(storage.itemsize, policies.layout_of(storage), kind, workers))


def populate(region: Region, address: int, itemsize: int) -> None:
    """Ask for the file pages of a chunk, row by row unless the rows touch."""
    offset, rows, row_step, cols, col_step = region[:5]
    spans = [((cols - 1) * col_step, rows, row_step), ((rows - 1) * row_step, cols, col_step)]
    reach, repeats, step = min(spans, key=lambda span: abs(span[0]))
    if abs(step) * itemsize <= 1 << 16:  # neighbours within 64 KiB: one request covers them
        spread = (repeats - 1) * step
        low, high = offset + min(reach, 0) + min(spread, 0), offset + max(reach, 0) + max(spread, 0)
        memory.populate(address + low * itemsize, (high - low + 1) * itemsize)
        return
    for i in range(repeats):
        low = offset + i * step + min(reach, 0)
        memory.populate(address + low * itemsize, (abs(reach) + 1) * itemsize)


def is_small(storage: Array) -> bool:
    """Whether one call of a kernel fills this memory, a bias: cutting it, and threads, would be most of the call.

    Not what may be of a file, whose pages are asked for first.
    """
    return storage.nbytes <= SMALLEST_CHUNK and storage.flags.carray and memory.file_behind(storage) is None


def fill_memory(
    storage: Array, bound: BoundLaw, first: int, pitches: tuple[int, ...], workers: int, progress: Progress | None
) -> None:
    """Fill any memory with an independent law or a constant."""
    total = storage.nbytes
    if storage.ndim == 1 and is_small(storage):
        size = storage.size
        bound.run(bound.engine(size), storage, one_row(size, first))
        if progress is not None:
            progress(total, total)
    elif buffers.needs_staging(storage):
        fill_staged(storage, lambda copy, at: fill_direct(copy, bound, at, pitches, 1, None), first, pitches, progress)
    else:
        fill_direct(storage, bound, first, pitches, workers, progress)


def fill_staged(
    storage: Array,
    fill_copy: Callable[[Array, int], None],
    first: int,
    pitches: tuple[int, ...],
    progress: Progress | None,
    uncut: int | None = None,
) -> None:
    """Fill unaligned memory through aligned copies of at most STAGED elements, on the calling thread.

    `fill_copy` gets a copy and the index of its first element; `uncut` is a dimension to cut only where no other is
    left.
    """
    total, done = storage.nbytes, 0
    pieces = [(storage, first)]
    while pieces:
        block, start = pieces.pop()
        if block.size > STAGED:
            sizes = [1 if axis == uncut else size for axis, size in enumerate(block.shape)]
            axis = int(np.argmax(sizes if max(sizes) > 1 else block.shape))
            half = block.shape[axis] // 2
            left, right = np.split(block, [half], axis)
            pieces += [(right, start + half * pitches[axis]), (left, start)]
            continue
        copy = np.empty(block.shape, block.dtype)
        fill_copy(copy, start)
        if memory.file_behind(storage) is not None:
            low, high = byte_bounds(block)
            memory.populate(low, high - low)
        block[...] = copy
        done += block.nbytes
        if progress is not None:
            progress(done, total)
