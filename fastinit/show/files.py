"""Look at weights: what each tensor of safetensors files holds, beside the law its file says it was drawn from.

Every byte is read once, into a buffer of a MiB a thread. A tensor without a law that does not fit one buffer gives its
sample first: 16 windows from its beginning to its end, a MiB together, are read, choose the range of the histogram and
are counted; then the gaps between them are. What is kept beside the buffers is 24 bytes for each MiB of the file, and
half a KiB a tensor; the same again for each part of a tensor made of parts, over the MiB that it lies in.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from fastinit import engines
from fastinit.address import boxes, index_strides
from fastinit.dtypes import storage_dtype
from fastinit.files.place import let_go
from fastinit.files.recorded import recorded
from fastinit.files.safetensors import DTYPES, SafetensorsError, Slot, read_at, read_header
from fastinit.files.system import BYTES
from fastinit.floating_point import in_default_mode
from fastinit.laws import Blocks, Constant, Law
from fastinit.laws.blocks import Leaf, slices
from fastinit.laws.law import Element
from fastinit.laws.marginals import ZeroInflated, mixture
from fastinit.laws.replayed import cost_of
from fastinit.pipeline import Staging
from fastinit.printable import printable
from fastinit.progress import AnyProgress, Progress, following
from fastinit.provenance import edits_of, replaying_allowed
from fastinit.show.histogram import Grid, count, grid_between, grid_of_law, grid_of_values, moments
from fastinit.show.shown import Expected, Histogram, Shown, TensorShown, expect
from fastinit.threads import for_each, resolve

Bytes = np.ndarray[Any, Any]

ITEM = 1 << 20  # bytes of a read: of a larger one the second-level cache would not hold the pieces
WINDOWS = 16  # of a sample; 64 KiB each


@in_default_mode
def show(path: str | os.PathLike[str], *, threads: int | None = None, progress: AnyProgress = None) -> Shown:
    """Read a safetensors file, or all of a folder, and tell what its tensors hold.

    path      a file, written by anyone, or a folder with *.safetensors. What fastinit cannot decode (float8_e8m0fnu and
              others, files.safetensors.UNDECODED) is listed by name, shape, dtype and size.
    threads   as in fill
    progress  True for a bar (tqdm), or a function: called with (bytes done, bytes in all)

    Raises FileNotFoundError where there is no such file, SafetensorsError where one is damaged; metadata that cannot be
    read is no error, but "law unknown". The result depends on the bytes of the files only, not on threads.
    """
    path = Path(path)
    paths = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if not paths:
        raise FileNotFoundError(f"{printable(str(path))} holds no .safetensors file; name a file or a folder of them")
    workers, follow = resolve(threads), following(progress)
    begin = time.perf_counter()
    files = [_File(one) for one in paths]
    engine = engines.chosen(sum(one.slot.elements for file in files for one in file.tensors))
    total, done = sum(file.bytes for file in files), 0
    tensors: list[TensorShown] = []
    for file in files:
        file.read(engine, workers, follow and partial(_report, follow, done, total))
        tensors += [one.result(file.path.name) for one in file.tensors]
        done += file.bytes
    return Shown(str(path), tuple(one.name for one in paths), tuple(tensors), time.perf_counter() - begin)


def _report(progress: Progress, before: int, total: int, now: int) -> None:
    progress(before + now, total)


# --- reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Run:
    """Neighbours in a file, bytes [begin, end): a part of one tensor, from `row` on, or small tensors together."""

    begin: int
    end: int
    members: tuple[_Tensor, ...]
    row: int = 0

    @property
    def items(self) -> int:
        """How many reads it takes."""
        return -(-(self.end - self.begin) // ITEM)


class _File:
    """One file: its tensors, and the runs in which they are read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        header = read_header(path)
        elements = sum(slot.elements for slot in header.slots.values())
        laws = _laws(header.metadata, replaying_allowed(elements))
        with contextlib.suppress(SafetensorsError):  # damaged, as in `_laws`
            laws |= {
                name: spans[0].drawn.law
                for name, edited in edits_of(path, header).items()
                if len(spans := edited.spans) == 1 and spans[0].drawn.shape == header.slots[name].shape
            }
        self.tensors = [_Tensor(name, slot, laws.get(name)) for name, slot in header.slots.items()]
        self.bytes = sum(one.slot.end - one.slot.begin for one in self.tensors)

    def read(self, engine: engines.Engine, threads: int, progress: Callable[[int], object] | None) -> None:
        """Read all tensors: first the samples, then the rest."""
        fd = os.open(self.path, os.O_RDONLY | BYTES)
        try:
            sampled = [one for one in self.tensors if one.sampled]
            for_each(lambda i: self._sample(fd, sampled[i], engine), len(sampled), threads)
            runs = list(_runs([one for one in self.tensors if one.decoded]))
            starts = np.cumsum([0, *(run.items for run in runs)]).tolist()
            staging = Staging(ITEM, np.uint8)

            def work(i: int) -> None:
                at = bisect_right(starts, i) - 1
                self._item(fd, runs[at], i - starts[at], staging.buffer, engine)

            def after(done: int) -> None:
                if progress is not None:
                    progress(self.bytes * done // starts[-1])

            for_each(work, starts[-1], threads, progress and after)
            if progress is not None:
                progress(self.bytes)
        finally:
            let_go(fd)

    def _item(self, fd: int, run: _Run, number: int, staging: Bytes, engine: engines.Engine) -> None:
        begin = run.begin + number * ITEM
        end = min(begin + ITEM, run.end)
        read_at(fd, staging[: end - begin], begin, self.path)
        for one in run.members:
            first, last = max(one.slot.begin, begin), min(one.slot.end, end)
            one.add(staging[first - begin : last - begin], run.row + number, engine, first - one.slot.begin)

    def _sample(self, fd: int, one: _Tensor, engine: engines.Engine) -> None:
        windows = one.windows()
        staging = np.empty(sum(end - begin for begin, end in windows), np.uint8)
        at = 0
        for begin, end in windows:
            read_at(fd, staging[at : at + end - begin], begin, self.path)
            at += end - begin
        one.add(staging, 0, engine)


def _runs(tensors: list[_Tensor]) -> Iterator[_Run]:
    """What is left to read after the samples: small neighbours up to a MiB together, the others alone."""
    group: list[_Tensor] = []
    for one in tensors:
        slot = one.slot
        if group and slot.end - group[0].slot.begin > ITEM:  # always so before a large tensor
            yield _Run(group[0].slot.begin, group[-1].slot.end, tuple(group))
            group = []
        if one.sampled:
            row, ends = 1, one.windows()
            for (_, begin), (end, _) in pairwise(ends):
                run = _Run(begin, end, (one,), row)
                row += run.items
                yield run
        elif slot.end - slot.begin > ITEM:
            yield _Run(slot.begin, slot.end, (one,))
        elif slot.end > slot.begin:
            group.append(one)
    if group:
        yield _Run(group[0].slot.begin, group[-1].slot.end, tuple(group))


class _Count:
    """What is counted of a tensor, or of a part of one, of a law or none. Counts are added under a lock.

    Moments have a row for each read, added exactly; `first` is the number of the first.
    """

    def __init__(self, slot: Slot, part: Leaf | None, first: int, rows: int) -> None:
        self.slot, self.part, self.first = slot, part, first
        self.grid: Grid | None = None
        self.expected: Expected | None = None
        if part is not None:
            element = _real(part.law.marginal(part.shape))
            self.grid = grid_of_law(element, slot.dtype)
            self.expected = expect(element, self.grid, slot.dtype, math.prod(part.shape))
        self.lock = threading.Lock()
        self.extremes: list[float | int] = []
        self.zeros = self.nans = self.infinities = 0
        self.counts: Any = 0
        self.rows = np.zeros((rows, 3))

    def add(self, values: Bytes, row: int, engine: engines.Engine) -> None:
        """Count elements; the first, where there is no law, choose the range."""
        if self.grid is None:
            self.grid = grid_of_values(values, self.slot.dtype, engine)
        part = count(values, self.slot.dtype, self.grid, engine)
        self.rows[row - self.first] += part.finite, part.total, part.squares
        with self.lock:
            if part.minimum is not None and part.maximum is not None:
                both = [*self.extremes, part.minimum, part.maximum]
                self.extremes = [min(both), max(both)]
            self.zeros += part.zeros
            self.nans += part.nans
            self.infinities += part.infinities
            self.counts = self.counts + part.counts

    def result(
        self, name: str, file: str, shape: tuple[int, ...], law: Law | None, parts: tuple[TensorShown, ...] = ()
    ) -> TensorShown:
        """All that was counted."""
        grid = self.grid or grid_between(0.0, 0.0, self.slot.dtype if self.slot.dtype in DTYPES else "float32")
        counts = [0] * (grid.bins + 2) if isinstance(self.counts, int) else self.counts.tolist()
        finite = int(self.rows[:, 0].sum())
        sums = math.fsum(self.rows[:, 1]), math.fsum(self.rows[:, 2])
        mean, std = moments(finite, *sums, grid) if finite else (None, None)
        minimum, maximum = self.extremes or (None, None)
        if minimum == maximum and minimum is not None:  # a constant, to its last bit
            mean, std = float(minimum), 0.0
        edges = grid.edges
        return TensorShown(
            name,
            file,
            self.slot.dtype,
            shape,
            law,
            self.expected,
            mean,
            std,
            minimum,
            maximum,
            self.zeros,
            self.nans,
            self.infinities,
            Histogram(float(edges[0]), float(edges[-1]), tuple(counts[1:-1]), counts[0], counts[-1]),
            parts,
        )


class _Tensor:
    """A tensor while it is counted: as a whole, and part by part where it is made of parts."""

    def __init__(self, name: str, slot: Slot, law: Law | None) -> None:
        self.name, self.slot, self.law = name, slot, law
        self.bytes = slot.end - slot.begin
        self.decoded = slot.dtype in DTYPES
        rows = -(-self.bytes // ITEM) + WINDOWS if self.bytes > ITEM else 1
        self.parts: list[_Count] = []
        try:
            if law is None or not slot.elements or not self.decoded:
                self.whole = _Count(slot, None, 0, rows)
            else:
                self.whole = _Count(slot, Leaf((), slot.shape, law, 0), 0, rows)
                if isinstance(law, Blocks):
                    self.parts = [_Count(slot, part, *self._reads(part)) for part in slices(law, slot.shape)]
        except Exception:  # whatever a law raises on a shape it was not made for: the metadata is wrong
            self.law = None
            self.whole, self.parts = _Count(slot, None, 0, rows), []
        # Whether a sample must choose the range of the histogram, before the rest is read.
        self.sampled = self.decoded and self.whole.grid is None and self.bytes > ITEM

    def _reads(self, part: Leaf) -> tuple[int, int]:
        """The number of the first read that has elements of a part, and of how many others up to the last."""
        if self.bytes <= ITEM:
            return 0, 1
        itemsize, pitches = DTYPES[self.slot.dtype][1], index_strides(self.slot.shape)
        ends = [at + size - 1 for at, size in zip(part.offsets, part.shape, strict=True)]
        first, last = (
            sum(i * pitch for i, pitch in zip(corner, pitches, strict=True)) * itemsize // ITEM
            for corner in (part.offsets, ends)
        )
        return first, last - first + 1

    def windows(self) -> list[tuple[int, int]]:
        """Where the sample lies: the first window at the beginning, the last at the end, as sorted values want it."""
        itemsize = DTYPES[self.slot.dtype][1]
        length = ITEM // WINDOWS
        room = (self.bytes - length) // itemsize
        begins = [self.slot.begin + room * i // (WINDOWS - 1) * itemsize for i in range(WINDOWS)]
        return [(begin, begin + length) for begin in begins]

    def add(self, data: Bytes, row: int, engine: engines.Engine, begin: int = 0) -> None:
        """Count elements, of which the first stands at a byte of the tensor."""
        values = np.frombuffer(data, storage_dtype(self.slot.dtype))
        self.whole.add(values, row, engine)
        if not self.parts:
            return
        for offsets, block in boxes(self.slot.shape, begin // values.itemsize, values.size):
            here, values = np.split(values, [math.prod(block)])
            for one in self.parts:
                if one.part is not None and (mine := _within(one.part, offsets, here.reshape(block))) is not None:
                    one.add(np.ascontiguousarray(mine).reshape(-1), row, engine)

    def result(self, file: str) -> TensorShown:
        """All that was counted."""
        parts = tuple(
            one.result(f"{self.name}{one.part.where(self.slot.shape)}", file, one.part.shape, one.part.law)
            for one in self.parts
            if one.part is not None
        )
        return self.whole.result(self.name, file, self.slot.shape, self.law, parts)


def _within(part: Leaf, offsets: tuple[int, ...], block: Bytes) -> Bytes | None:
    """What a block has of a part, if anything."""
    cut = []
    for at, size, offset, length in zip(part.offsets, part.shape, offsets, block.shape, strict=True):
        begin, end = max(at - offset, 0), min(at + size - offset, length)
        if begin >= end:
            return None
        cut.append(slice(begin, end))
    return block[tuple(cut)]


# --- the law ----------------------------------------------------------------------------------------------------------


def _laws(metadata: Mapping[str, str], replayed: int) -> dict[str, Law]:
    """The laws by tensor that the metadata of our files tells; what cannot be read is left out.

    So is what would compute more elements, of all expressions so far, than may be `replayed`.
    """
    found: dict[str, Law] = {}
    try:
        for name, law in recorded(metadata.get("fastinit.laws", "{}")):
            if isinstance(law, Law):
                cost = cost_of(law)
                replayed -= cost
                if replayed >= 0 or not cost:
                    found[name] = law
    except (TypeError, ValueError):  # damaged: as if the file said nothing
        return {}
    return found


def _real(element: Element) -> Element:
    """The element of what is shown: of complex constants the magnitude."""
    if isinstance(element, ZeroInflated):
        return mixture((share, _real(law)) for share, law in element.components)
    if isinstance(element, Constant) and isinstance(element.value, complex):
        return Constant(abs(element.value))
    return element
