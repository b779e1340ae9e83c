"""Weight files: `.npy`, and `.bin` that holds nothing but the elements, filled with random weights by all cores.

The elements are drawn into staging buffers that stay in the cache and go to the file by pwrite: 2.4 to 4.8 GB/s,
against 0.4 to 1.8 through a memory map of the same file. A new file appears under its name whole or not at all
(publish.py).
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fastinit import engines
from fastinit.address import Shard, drawn_seed, stream_words
from fastinit.dtypes import PARTS
from fastinit.engines.interface import one_row
from fastinit.files import measure, system
from fastinit.files.failures import cannot_write, saying
from fastinit.files.layout import Layout, ending, exact_shape, existing_layout, new_layout
from fastinit.files.place import held_to_write
from fastinit.files.publish import publishing, write_at
from fastinit.fill import fill
from fastinit.fill.buffers import check
from fastinit.fill.runs import BoundLaw
from fastinit.floating_point import in_default_mode
from fastinit.laws import Law
from fastinit.laws.blocks import check_tensor
from fastinit.laws.law import Element, ShapedLaw
from fastinit.laws.marginals import modulus_of
from fastinit.pipeline import BoxGrid, Staging, in_bytes
from fastinit.progress import AnyProgress, Progress, following
from fastinit.threads import for_each, resolve

STAGING = 1 << 20  # bytes of one staging buffer, one a thread
# In a Fortran file a row of the tensor lies across the columns; this many at once make use of whole groups of words.
WIDE = 128
# Measuring every element would cost a third of the speed; beyond this many blocks (64 MiB) every 16th is measured.
MEASURE_ALL = 64
MEASURE_EVERY = 16


@dataclass(frozen=True)
class Report:
    """What `fill_file` did.

    seconds            from the first block to a file that has its name; write_seconds leaves out the sync to disk
    draw_seconds       what of write_seconds each thread drew in memory, on average; None where memory is the file's own
    bytes              size of the data, without the header
    mean, std, minimum, maximum
                       measured in `measured_elements` of the elements: all, or those of every 16th MiB in a large file
    expected_mean, expected_std
                       those of the law, before rounding to the file's dtype

    Of complex numbers all of these are of their magnitudes.
    """

    path: str
    law: str
    shape: tuple[int, ...]
    dtype: str
    seed: int
    name: str | int
    threads: int
    seconds: float
    write_seconds: float
    draw_seconds: float | None
    bytes: int
    measured_elements: int
    mean: float
    std: float
    minimum: float
    maximum: float
    expected_mean: float
    expected_std: float

    @property
    def elements(self) -> int:
        """How many elements the file holds."""
        return math.prod(self.shape)

    @property
    def gigabytes_per_second(self) -> float:
        """Speed of drawing and writing, in 10^9 bytes of data a second, the sync to disk left out."""
        return self.bytes / self.write_seconds / 1e9 if self.write_seconds else 0.0


@in_default_mode
def fill_file(
    path: str | os.PathLike[str],
    shape: Sequence[int] | None,
    law: Law,
    *,
    dtype: object = None,
    seed: int | None = None,
    name: str | int = "",
    shard: Shard | None = None,
    threads: int | None = None,
    progress: AnyProgress = None,
    overwrite: bool = False,
    existing: bool = False,
    durable: bool = True,
) -> Report:
    """Write a file of `shape` whose elements follow `law`: those that `fill` puts into an array, bit for bit.

    path       ends in .npy, or in .bin for the bare elements, row by row, little-endian
    shape      of the file; None with existing=True and .npy takes the file's own
    dtype      float32 if not given; with existing=True and .npy the file's own. bfloat16 and float8 only as .bin
    seed, name the address of the tensor, as in `fill`; seed=None draws one; the log and the report say which
    shard      says that the file is a block of a larger tensor; then a seed must be given
    progress   True for a bar (tqdm), or a function: called with (bytes done, bytes in all)
    overwrite  replace an existing file, in one step, when the new one is whole
    existing   fill an existing file in place, header untouched; interrupted, it is left partly filled. Run again
    durable    sync to disk before the file takes its name (in place: at the end); False leaves that to the system

    Raises before anything is created or changed: TypeError or ValueError for a law, dtype, shape, seed or file that do
    not fit; FileExistsError, IsADirectoryError, FileNotFoundError, PermissionError, and OSError if the disk is too
    full. After any later error, Ctrl-C included, a new file does not exist under its name or any other.
    Guarantee: the bytes depend on law, dtype, seed, name, shape and shard only, not on threads. See docs/files.md.
    """
    target = Path(path)
    if ending(target) not in (".npy", ".bin"):
        raise ValueError(f"{target}: the name must end in .npy, or in .bin for the bare elements")
    if seed is None and shard is not None:
        raise ValueError("a file that is a shard needs seed=; drawn afresh, each shard would have its own")
    if existing and overwrite:
        raise ValueError("existing=True fills a file in place and overwrite=True replaces it; choose one")
    if existing:
        layout = existing_layout(target, shape, dtype)
    elif shape is None:
        raise ValueError(f"{target}: a new file needs a shape")
    else:
        layout = new_layout(target, exact_shape(shape), "float32" if dtype is None else dtype)
    if not isinstance(law, Law):
        raise TypeError(f"law is {law!r}; pass fastinit.laws.Normal(0.0, 0.02) or another law")
    if seed is None:
        seed = drawn_seed("fill_file", name) if law.draws else 0
    job = _Job(target, layout, law, seed, name, shard, resolve(threads), following(progress))
    with engines.use(engines.engine_for(layout.elements)):
        job.rehearse()
        expected_mean, expected_std = float(job.element.mean), float(job.element.std)
        begin = time.perf_counter()
        if existing:
            measured, written = job.fill_in_place(durable=durable)
        else:
            with publishing(target, layout.size, overwrite=overwrite, durable=durable) as fd:
                measured = job.write(fd)
                written = time.perf_counter()
        end = time.perf_counter()
    return Report(
        path=str(target),
        law=repr(law),
        shape=layout.shape,
        dtype=layout.dtype,
        seed=seed,
        name=name,
        threads=job.threads,
        seconds=end - begin,
        write_seconds=written - begin,
        draw_seconds=sum(job.drawing) / job.threads if job.drawing else None,
        bytes=layout.elements * layout.storage.itemsize,
        measured_elements=measured.elements,
        mean=measured.mean,
        std=measured.std,
        minimum=measured.minimum,
        maximum=measured.maximum,
        expected_mean=expected_mean,
        expected_std=expected_std,
    )


def stored_shape(path: str | os.PathLike[str]) -> tuple[int, ...]:
    """The shape that an existing .npy file says it has."""
    return existing_layout(Path(path), None, None).shape


# --- cutting it into blocks -------------------------------------------------------------------------------------------


def _block_shape(shape: tuple[int, ...], elements: int, first: int) -> tuple[int, ...]:
    """A block of about `elements`, as long as can be in the last dimensions, and at least `first` in the first."""
    block = [1] * len(shape)
    block[0] = min(shape[0], first)
    for axis in reversed(range(len(shape))):
        block[axis] = min(shape[axis], block[axis] * max(1, elements // math.prod(block)))
    return tuple(block)


# --- filling ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    """One file to fill."""

    target: Path
    layout: Layout
    law: Law
    seed: int
    name: str | int
    shard: Shard | None
    threads: int
    progress: Progress | None
    drawing: list[float] = field(default_factory=list)  # seconds of each block

    @cached_property
    def element(self) -> Element:
        """The law of an element, or of its modulus where it is complex."""
        element = self.law.marginal(self.shard.shape if self.shard is not None else self.layout.shape)
        return modulus_of(element) if self.layout.dtype in PARTS else element

    @cached_property
    def about(self) -> float:
        """A value near the mean, from which deviations are measured."""
        mean = float(self.element.mean)
        return mean if math.isfinite(mean) else 0.0

    def rehearse(self) -> None:
        """Let `fill` refuse what it must, and load its kernel, before any file is touched."""
        if self.shard is not None:
            self.shard.check(self.layout.shape)
        if isinstance(self.law, ShapedLaw):
            stream_words(self.seed, self.name)
            name = type(self.law).__name__
            check(np.empty(0, self.layout.storage), self.layout.format, name, floats_only=self.law.floats_only)
            shape = self.shard.shape if self.shard else self.layout.shape
            check_tensor(self.law, shape, self.layout.storage, self.layout.format)
            return
        length = math.prod(self.shard.shape) if self.shard else self.layout.elements
        self.draw(np.empty(min(length, 4096), self.layout.storage), Shard((length,), (0,)))

    def draw(self, block: np.ndarray[Any, Any], shard: Shard) -> None:
        """Fill a staging buffer as a block of the whole tensor."""
        fill(block, self.law, seed=self.seed, name=self.name, shard=shard, dtype=self.layout.raw, threads=1)

    def write(self, fd: int) -> measure.Measured:
        """Write the header and all elements; what the elements came to."""
        layout = self.layout
        itemsize = layout.storage.itemsize
        self.store(fd, layout.header, 0)
        if layout.elements == 0:
            return measure.combine(np.empty((0, 5)), 0.0)
        if isinstance(self.law, ShapedLaw):
            return self.write_mapped(fd)
        grid, draw = self.cut()
        count = grid.count
        every = 1 if count <= MEASURE_ALL else MEASURE_EVERY
        tallies = np.zeros((-(-count // every), 5))
        staging = Staging(math.prod(grid.block), layout.storage)

        def work(i: int) -> None:
            corner, sizes = grid.box(i)
            line = staging.buffer[: math.prod(sizes)]
            begin = time.perf_counter()
            draw(line.reshape(sizes), corner)
            self.drawing.append(time.perf_counter() - begin)
            data = memoryview(line.view(np.uint8))
            for place, begin, length in grid.lines(i):
                part = data[begin * itemsize : (begin + length) * itemsize]
                self.store(fd, part, layout.begin + place * itemsize)
            if i % every == 0:
                tallies[i // every] = measure.tally(measure.numbers(line, layout.dtype), self.about)

        for_each(work, count, self.threads, in_bytes(self.progress, layout.elements * itemsize, count))
        return measure.combine(tallies, self.about)

    def write_mapped(self, fd: int) -> measure.Measured:
        """Fill all elements through a memory map: a shaped law needs whole lines or matrices, not blocks of a MiB."""
        layout = self.layout
        os.ftruncate(fd, max(layout.size, os.fstat(fd).st_size))
        # Not closed by name: the frames of an error hold views, and then a map refuses, with an error of its own in the
        # place of Ctrl-C or the full disk. It goes with the last of them; fsync of the file covers its pages.
        file = mmap.mmap(fd, layout.size)
        line = np.frombuffer(file, layout.storage, layout.elements, layout.begin)
        array = line.reshape(layout.shape, order="F" if layout.fortran else "C")
        try:
            fill(
                array,
                self.law,
                seed=self.seed,
                name=self.name,
                shard=self.shard,
                dtype=layout.raw,
                threads=self.threads,
                progress=self.progress,
            )
            room = STAGING // layout.storage.itemsize
            count = -(-layout.elements // room)
            every = 1 if count <= MEASURE_ALL else MEASURE_EVERY
            parts = (line[i * room : (i + 1) * room] for i in range(0, count, every))
            tallies = [measure.tally(measure.numbers(part, layout.dtype), self.about) for part in parts]
            system.flush_map(file)
        except OSError as error:
            raise cannot_write(error, self.target, layout.size) from error
        return measure.combine(np.array(tallies), self.about)

    def cut(self) -> tuple[BoxGrid, Callable[[np.ndarray[Any, Any], tuple[int, ...]], None]]:
        """How to cut the file into staging buffers, and how to draw the one at a corner (both in the file's order)."""
        layout = self.layout
        room = STAGING // layout.storage.itemsize
        if not layout.shape or (self.shard is None and not layout.fortran):
            return BoxGrid((layout.elements,), (room,)), self.draw_line()
        shard = self.shard or Shard(layout.shape, (0,) * len(layout.shape))
        shape = layout.shape[::-1] if layout.fortran else layout.shape
        grid = BoxGrid(shape, _block_shape(shape, room, WIDE if layout.fortran else 1))
        engine = engines.engine_name()

        def draw(block: np.ndarray[Any, Any], corner: tuple[int, ...]) -> None:
            if layout.fortran:
                block, corner = block.T, corner[::-1]
            offsets = tuple(o + c for o, c in zip(shard.offsets, corner, strict=True))
            with engines.use(engine):  # the choice of the caller's context, which a pool thread does not see
                self.draw(block, Shard(shard.shape, offsets))

        return grid, draw

    def draw_line(self) -> Callable[[np.ndarray[Any, Any], tuple[int, ...]], None]:
        """Draw part of a tensor that lies in the file as one line.

        The checks of `fill` and its cutting into chunks take 50 us, a third of what drawing 1 MiB takes, so the engine
        is called directly: 4.4 against 3.2 GB/s into a file.
        """
        layout = self.layout
        format = layout.format
        prepared = self.law.kernel_arguments(format) if format is not None else None
        if format is None or prepared is None:  # a constant
            return lambda block, corner: self.draw(block, Shard((layout.elements,), corner))
        bound = BoundLaw(stream_words(self.seed, self.name), prepared, None, format)
        engine, storage = engines.chosen(layout.elements), format.storage

        def draw(block: np.ndarray[Any, Any], corner: tuple[int, ...]) -> None:
            bound.run(engine, block.view(storage), one_row(block.size, corner[0]))

        return draw

    def store(self, fd: int, data: memoryview | bytes, offset: int) -> None:
        """Write, with an error that names the file."""
        try:
            write_at(fd, data, offset)
        except OSError as error:
            raise cannot_write(error, self.target, self.layout.size) from error

    def fill_in_place(self, *, durable: bool) -> tuple[measure.Measured, float]:
        """Fill the existing file; what the elements came to, and when they were written."""
        with contextlib.ExitStack() as opened:
            with held_to_write(self.target, self.layout.size) as place:
                try:
                    fd = place.open(os.O_RDWR)
                except OSError as error:
                    raise cannot_write(error, self.target, self.layout.size) from error
                opened.callback(os.close, fd)
            measured = self.write(fd)
            written = time.perf_counter()
            if durable:
                with saying(self.target, self.layout.size):
                    system.sync(fd)
        return measured, written
