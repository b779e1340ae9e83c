"""Draw the tensors of a checkpoint piece by piece, into buffers that stay in the cache: to write them, or to compare.

A piece is a stretch of one tensor that is contiguous in its file. Pieces that follow each other make an item, which a
thread draws and writes at once: a thousand small tensors are a few items, not a thousand barriers.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from fastinit import engines
from fastinit.address import Shard, boxes, stream_words
from fastinit.dtypes import FORMATS, Format, storage_dtype
from fastinit.engines.interface import one_row
from fastinit.files.safetensors import Slot
from fastinit.files.system import flush_map
from fastinit.fill import fill
from fastinit.fill.parts import Parts
from fastinit.fill.runs import BoundLaw
from fastinit.laws import Sparse
from fastinit.laws.blocks import leaves
from fastinit.laws.law import IndependentLaw, ShapedLaw
from fastinit.laws.patterns import Pattern
from fastinit.plan import Tensor

Array = np.ndarray[Any, Any]
T = TypeVar("T")

ITEM = 1 << 20  # bytes of an item, drawn and written by one thread: in the second-level cache
MOST_KEPT = 1024  # prepared laws that are kept
LONGEST_ROW = 16 << 20  # bytes: a shaped law whose rows are longer is drawn whole


@dataclass(frozen=True)
class Piece:
    """Elements [first, first + count) of a tensor, row by row, which lie at byte `begin` of the file."""

    tensor: Tensor
    first: int
    count: int
    begin: int

    @property
    def bytes(self) -> int:
        """What they take."""
        return self.count * storage_dtype(self.tensor.dtype).itemsize


def unit(tensor: Tensor) -> int | None:
    """How many elements a piece is a multiple of: 1, or a row; None where the tensor must be drawn whole.

    A pattern can be drawn row by row, and so can a sparse law whose lines lie within rows; the lines of another sparse
    law, and the matrices of an orthogonal one, run through all rows. Of parts the most demanding decides.
    """
    if tensor.elements == 0 or not isinstance(tensor.law, ShapedLaw):
        return 1
    parts = list(leaves(tensor.law, tensor.shape))
    if all(isinstance(part.law, IndependentLaw) for part in parts):
        return 1
    by_rows = all(
        isinstance(part.law, IndependentLaw | Pattern)
        or (isinstance(part.law, Sparse) and part.law.line(part.shape) > 0)
        for part in parts
    )
    row = math.prod(tensor.shape[1:])
    if by_rows and row * storage_dtype(tensor.dtype).itemsize <= LONGEST_ROW:
        return row
    return None


@dataclass(frozen=True)
class Stretch:
    """Elements [first, first + count) of a tensor, which lie together at byte `begin` of a file."""

    tensor: Tensor
    first: int
    count: int
    begin: int


def items(tensors: Iterable[Tensor], slots: Mapping[str, Slot]) -> Iterator[list[Piece]]:
    """The items of the tensors that can be cut, in the order of the file."""
    return items_of(Stretch(tensor, 0, tensor.elements, slots[tensor.name].begin) for tensor in tensors)


def items_of(stretches: Iterable[Stretch]) -> Iterator[list[Piece]]:
    """The items of stretches whose tensors can be cut, in the order of the file.

    A stretch of a tensor that is cut into rows is whole rows.
    """
    item: list[Piece] = []
    room = ITEM
    for stretch in sorted(stretches, key=lambda stretch: stretch.begin):
        tensor, begin = stretch.tensor, stretch.begin
        step = unit(tensor)
        if step is None or stretch.count == 0:
            continue
        itemsize = storage_dtype(tensor.dtype).itemsize
        # An item is one stretch of the file, and each of its pieces is aligned in a buffer that begins with it. In a
        # file that another program wrote, tensors of ours may lie apart, and at odd bytes.
        if item and (begin != item[-1].begin + item[-1].bytes or (begin - item[0].begin) % itemsize):
            yield item
            item, room = [], ITEM
        done = 0
        while done < stretch.count:
            most = max(room // itemsize // step, 0 if item else 1) * step
            count = min(most, stretch.count - done)
            if count == 0:  # the rest of the room is less than an element, or a row
                yield item
                item, room = [], ITEM
                continue
            piece = Piece(tensor, stretch.first + done, count, begin + done * itemsize)
            item.append(piece)
            done, room = done + count, room - piece.bytes
            if room <= 0:
                yield item
                item, room = [], ITEM
    if item:
        yield item


@dataclass(frozen=True)
class Source:
    """What a seed and a stream make of tensors.

    `bound` and `parts` keep what was prepared for a tensor, by its identity: a hash of the law would cost more than a
    small piece, and Constant(0.0) and Constant(-0.0) are equal where their bits are not.
    """

    seed: int
    stream: str
    engine: str
    bound: dict[int, tuple[Tensor, BoundLaw]] = field(default_factory=dict, compare=False, repr=False)
    parts: dict[int, tuple[Tensor, Parts]] = field(default_factory=dict, compare=False, repr=False)

    def draw(self, piece: Piece, buffer: Array) -> None:
        """Draw a piece into a buffer of bytes, which is aligned for its dtype, on the calling thread."""
        tensor = piece.tensor
        if isinstance(tensor.law, ShapedLaw):
            parts = self._parts(tensor)
            line = buffer.view(parts.storage)
            with engines.use(self.engine):
                for offsets, block in boxes(tensor.shape, piece.first, piece.count):
                    count = math.prod(block)
                    parts.fill(line[:count].reshape(block), Shard(tensor.shape, offsets))
                    line = line[count:]
        else:
            bound = self._bound(tensor)
            # float16 too is raw integers to the engines
            storage = buffer.view(bound.format.storage if bound.format is not None else storage_dtype(tensor.dtype))
            bound.run(engines.named(self.engine), storage, one_row(piece.count, piece.first))

    def fill(self, storage: Array, tensor: Tensor, shard: Shard | None = None, threads: int | None = None) -> None:
        """Fill storage as a tensor, or as a shard of it."""
        dtype = tensor.dtype if storage.dtype.name != tensor.dtype else None
        with engines.use(self.engine):
            fill(
                storage,
                tensor.law,
                seed=self.seed,
                name=tensor.address,
                shard=shard,
                dtype=dtype,
                threads=threads,
                stream=self.stream,
            )

    def _bound(self, tensor: Tensor) -> BoundLaw:
        """What an independent law draws, prepared once for all pieces of a tensor."""
        return _kept(self.bound, tensor, lambda: BoundLaw.of(tensor.law, *self._where(tensor)))

    def fill_file(self, fd: int, begin: int, tensor: Tensor, threads: int) -> None:
        """Fill a tensor that must be whole through a map of its part of a file, which has the space already."""
        page = begin // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        # Not closed by name: a pool thread that has just finished, or the frames of an error, may hold views, and then
        # a map refuses. It goes with the last of them; fsync of the file covers its pages.
        file = mmap.mmap(fd, begin - page + tensor.bytes, offset=page)
        line = np.frombuffer(file, storage_dtype(tensor.dtype), tensor.elements, begin - page)
        self.fill(line.reshape(tensor.shape), tensor, threads=threads)
        flush_map(file)

    def _parts(self, tensor: Tensor) -> Parts:
        """The same for the parts of a shaped law, which may be one."""
        return _kept(self.parts, tensor, lambda: Parts.of(tensor.law, tensor.shape, *self._where(tensor)))

    def _where(self, tensor: Tensor) -> tuple[Array, np.dtype[Any], Format | None]:
        words = stream_words(self.seed, tensor.address, self.stream)
        return words, storage_dtype(tensor.dtype), FORMATS.get(tensor.dtype)


def _kept(kept: dict[int, tuple[Tensor, T]], tensor: Tensor, prepare: Callable[[], T]) -> T:
    """What was prepared for a tensor, or is now."""
    found = kept.get(id(tensor))
    if found is not None and found[0] is tensor:
        return found[1]
    prepared = prepare()
    if len(kept) >= MOST_KEPT:
        kept.clear()
    kept[id(tensor)] = (tensor, prepared)
    return prepared
