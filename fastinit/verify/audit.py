"""Compare files with what their tensors were initialised to, piece by piece: draw again, read, hold bits against bits.

What is drawn and what is read meet in buffers that stay in the cache; nothing is written.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fastinit.address import STREAM, Shard
from fastinit.blocks import ITEM, LONGEST_ROW, Piece, Source, Stretch, items_of, unit
from fastinit.dtypes import FORMATS, decoded, storage_dtype
from fastinit.engines import reference
from fastinit.files.safetensors import SafetensorsError, Slot, read_at, read_block, refuse
from fastinit.laws import DeltaOrthogonal, Orthogonal, Sparse
from fastinit.laws.blocks import Leaf, leaves
from fastinit.pipeline import BoxGrid, Staging
from fastinit.plan import Tensor
from fastinit.printable import printable
from fastinit.provenance import File, Span
from fastinit.threads import for_each

Array = np.ndarray[Any, Any]

# Orthogonal laws: two runs agree within so many units of 2^-23 (float64: 2^-52) of the gain (docs/guarantees.md).
TOLERANCE = 32
# Bytes drawn at a time of a tensor that cannot be cut into pieces of its file: whole lines, matrices.
BLOCK = 32 << 20
# Items handed out at a time. They are 4 GiB of the file; a list of all items would grow with it.
BATCH = 4096


HAAR = Orthogonal | DeltaOrthogonal


def has_tolerance(tensor: Tensor) -> bool:
    """Whether the last bits of a tensor, or of a part of it, are those of a linear algebra library."""
    if tensor.elements == 0:
        return isinstance(tensor.law, HAAR)
    return any(isinstance(leaf.law, HAAR) for leaf in leaves(tensor.law, tensor.shape))


@dataclass
class Tally:
    """What has been seen of a tensor; `first` is the index of the first element that differs, in row-major order."""

    compared: int = 0
    differing: int = 0
    first: int | None = None
    found: Any = None
    expected: Any = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, compared: int, differing: int = 0, first: int = 0, found: Any = None, expected: Any = None) -> None:
        """Count elements, of which some may differ, the first of them at `first`."""
        with self.lock:
            self.compared += compared
            self.differing += differing
            if differing and (self.first is None or first < self.first):
                self.first, self.found, self.expected = first, found, expected


def audit(
    file: File, engine: str, share: float, workers: int, report: Callable[[int], None] | None
) -> dict[str, Tally]:
    """Compare a file: first all that can be cut into items, then what must be drawn whole. By the tensors' names.

    `report` is told how many bytes are done.
    """
    tallies = {name: Tally() for name in file.header.slots}
    sources: dict[int, Source] = {}
    parts = []
    for name, tally in tallies.items():
        for span in file.spans_of(name):
            source = sources.setdefault(span.seed, Source(span.seed, STREAM, engine))
            parts.append(_Part(span, file.header.slots[name], source, tally))
    with file.path.open("rb") as opened:
        if os.fstat(opened.fileno()).st_size != file.header.size:
            refuse(file.path, "has changed its size since its header was read")
        done = _compare_items(opened.fileno(), file.path, parts, share, workers, report)
        for part in parts:
            tensor = part.span.drawn
            if unit(tensor) is None and tensor.elements:
                with _naming(file.path, tensor):
                    _compare_whole(opened.fileno(), file.path, part, share, workers)
                done += tensor.bytes
                if report is not None:
                    report(done)
    return tallies


@dataclass(frozen=True)
class _Part:
    """A span of a tensor of the file: where the tensor lies, what draws the span, and what is seen of it."""

    span: Span
    slot: Slot
    source: Source
    tally: Tally

    @property
    def begin(self) -> int:
        """Its first byte in the file."""
        return self.slot.begin + self.span.at * storage_dtype(self.slot.dtype).itemsize

    @property
    def shift(self) -> int:
        """Added to the index of an element in the tensor that is drawn, it gives that in the file's tensor."""
        return self.span.at - self.span.first


@contextlib.contextmanager
def _naming(path: Path, tensor: Tensor) -> Iterator[None]:
    """Turn what a law, or a lack of memory, raises at the draw into an error that names file and tensor."""
    try:
        yield
    except SafetensorsError as error:
        raise SafetensorsError(f"{error} (tensor {tensor.name!r:.100})") from error
    except (TypeError, ValueError, ArithmeticError, MemoryError) as error:
        what = f"tensor {tensor.name!r:.100} cannot be drawn again: {error!s:.500}"
        raise SafetensorsError(f"{printable(str(path))}: {what}") from error


def _compare_items(
    fd: int,
    path: Path,
    parts: list[_Part],
    share: float,
    workers: int,
    report: Callable[[int], None] | None,
) -> int:
    """Compare the tensors that can be cut; the bytes passed, compared or not."""
    # Eight bytes a number, for all dtypes to be aligned.
    of_ours, of_theirs = (Staging((ITEM + LONGEST_ROW) // 8, np.uint64) for _ in range(2))
    of_mask = Staging(ITEM + LONGEST_ROW, np.bool_)
    walked = 0
    owners = {id(part.span.drawn): part for part in parts}  # each span has a tensor of its own
    stretches = [Stretch(part.span.drawn, part.span.first, part.span.count, part.begin) for part in parts]
    chosen = _sampled(items_of(stretches), {id(one.tensor): one.first + one.count for one in stretches}, share)
    while batch := list(itertools.islice(chosen, BATCH)):
        ends = [end for _, end in batch]

        def work(i: int, batch: list[tuple[list[Piece], int]] = batch) -> None:
            item = batch[i][0]
            begin, nbytes = item[0].begin, sum(piece.bytes for piece in item)
            ours, theirs = (staging.buffer.view(np.uint8)[:nbytes] for staging in (of_ours, of_theirs))
            mask = of_mask.buffer
            for piece in item:
                at = piece.begin - begin
                with _naming(path, piece.tensor):
                    owners[id(piece.tensor)].source.draw(piece, ours[at : at + piece.bytes])
            read_at(fd, theirs, begin, path)
            same = _equal(ours, theirs, mask)
            for piece in item:
                owner = owners[id(piece.tensor)]
                if same:
                    owner.tally.add(piece.count)
                else:
                    at = piece.begin - begin
                    stretch = slice(at, at + piece.bytes)
                    _compare_piece(piece, ours[stretch], theirs[stretch], mask, owner)

        def after(done: int, ends: list[int] = ends) -> None:
            if report is not None and done:
                report(ends[done - 1])

        for_each(work, len(batch), workers, report and after)
        walked = ends[-1]
    return walked


def _sampled(
    all_items: Iterable[list[Piece]], ends: Mapping[int, int], share: float
) -> Iterator[tuple[list[Piece], int]]:
    """An evenly spread share of the items, and those that end a tensor none of whose items was among them.

    `ends` has the element behind the last that is compared, by the identity of the tensor. Each item comes with the
    bytes walked to its end.
    """
    walked, seen = 0, None
    for i, item in enumerate(all_items):
        walked += sum(piece.bytes for piece in item)
        unseen = any(piece.first + piece.count == ends[id(piece.tensor)] and piece.tensor is not seen for piece in item)
        if _among(i, share) or unseen:
            seen = item[-1].tensor
            yield item, walked


def _among(i: int, share: float) -> bool:
    """Whether number i is in an evenly spread share of all numbers."""
    return math.floor((i + 1) * share) > math.floor(i * share)


def _equal(ours: Array, theirs: Array, mask: Array) -> bool:
    """Whether two buffers have the same bytes: 23 GB/s, for np.array_equal 19 and for memoryviews 0.4."""
    words = len(ours) // 8
    here = mask[:words]
    np.not_equal(ours[: words * 8].view(np.uint64), theirs[: words * 8].view(np.uint64), out=here)
    return not here.any() and bytes(ours[words * 8 :]) == bytes(theirs[words * 8 :])


def _compare_piece(piece: Piece, ours: Array, theirs: Array, mask: Array, owner: _Part) -> None:
    """Find the elements of a piece whose bits differ."""
    storage = storage_dtype(piece.tensor.dtype)
    here = mask[: piece.count]
    bits = f"u{storage.itemsize}"
    np.not_equal(ours.view(bits), theirs.view(bits), out=here)
    differing = int(np.count_nonzero(here))
    if differing == 0:
        owner.tally.add(piece.count)
        return
    i = int(here.argmax())
    found, expected = (_value(line.view(storage)[i : i + 1], piece.tensor.dtype) for line in (theirs, ours))
    owner.tally.add(piece.count, differing, piece.first + i + owner.shift, found, expected)


def _value(element: Array, dtype: str) -> Any:
    """One element as a Python number; a bool that is neither 0 nor 1 as the integer it is."""
    if dtype == "bool":
        byte = int(element.view(np.uint8)[0])
        return bool(byte) if byte < 2 else byte
    return decoded(element, dtype)[0].item()


# --- tensors that must be drawn whole ---------------------------------------------------------------------------------


def _compare_whole(fd: int, path: Path, part: _Part, share: float, workers: int) -> None:
    """Compare a tensor that is drawn whole: in blocks of whole lines, or matrix by matrix."""
    tensor, source, tally = part.span.drawn, part.source, part.tally
    begin, storage = part.begin, storage_dtype(tensor.dtype)

    def read(offsets: tuple[int, ...], block: tuple[int, ...]) -> Array:
        found = np.empty(block, storage)
        read_block(fd, found, begin, tensor.shape, offsets, path)
        return found

    for leaf in leaves(tensor.law, tensor.shape):
        grid = _grid(leaf.shape, _order(leaf), 1 if isinstance(leaf.law, HAAR) else BLOCK // storage.itemsize)
        seen = False
        for i in range(grid.count):
            if not _among(i, share) and (seen or i < grid.count - 1):
                continue
            seen = True
            corner, block = grid.box(i)
            offsets = tuple(at + c for at, c in zip(leaf.offsets, corner, strict=True))
            if isinstance(leaf.law, HAAR):
                _compare_orthogonal(read, block, tensor, leaf, offsets, source, tally, workers)
            else:
                ours = np.empty(block, storage)
                source.fill(ours, tensor, Shard(tensor.shape, offsets), threads=workers)
                _compare_block(read(offsets, block), ours, tensor, offsets, tally)


def _order(leaf: Leaf) -> list[int]:
    """The axes along which a part may be cut into blocks, the first of them first."""
    order = list(range(len(leaf.shape)))
    if isinstance(leaf.law, HAAR):
        return list(leaf.law.batch_axes(leaf.shape))  # a matrix is formed whole
    if isinstance(leaf.law, Sparse):  # a cut across the line costs its beginning again
        order.append(order.pop(leaf.law.line(leaf.shape)))
    return order


def _grid(shape: tuple[int, ...], order: list[int], most: int) -> BoxGrid:
    """Blocks of `most` elements where cuts along the axes of `order` allow; the first of them is cut first."""
    size = list(shape)
    for axis in order:
        rest = math.prod(size) // size[axis]
        if rest * size[axis] <= most:
            break
        size[axis] = max(1, most // rest)
    return BoxGrid(shape, tuple(size))


def _slices(offsets: tuple[int, ...], block: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(at, at + n) for at, n in zip(offsets, block, strict=True))


def _compare_block(theirs: Array, ours: Array, tensor: Tensor, offsets: tuple[int, ...], tally: Tally) -> None:
    """Find the elements of a block whose bits differ."""
    bits = f"u{ours.itemsize}"
    _count(theirs.view(bits) != ours.view(bits), theirs, ours, tensor, offsets, tally)


def _compare_orthogonal(
    read: Callable[[tuple[int, ...], tuple[int, ...]], Array],
    shape: tuple[int, ...],
    tensor: Tensor,
    leaf: Leaf,
    offsets: tuple[int, ...],
    source: Source,
    tally: Tally,
    workers: int,
) -> None:
    """Find the elements of a matrix that are further from ours than two runs are from each other.

    `read` gives what the file has in a block of the tensor, by its offsets and shape.
    A narrow dtype is held between our value less and our value plus the tolerance, both rounded.
    """
    format = FORMATS[tensor.dtype]
    law = leaf.law
    assert isinstance(law, HAAR)
    working = np.dtype(format.working)
    ours = np.empty(shape, working)
    source.fill(ours, replace(tensor, dtype=format.working), Shard(tensor.shape, offsets), threads=workers)
    near = working.type(TOLERANCE * float(np.finfo(working).eps) * law.gain)
    grid = _grid(shape, list(range(len(shape))), ITEM // working.itemsize)
    for corner, block in map(grid.box, range(grid.count)):
        at = tuple(o + c for o, c in zip(offsets, corner, strict=True))
        mine, found = ours[_slices(corner, block)], read(at, block)
        slack: Any = near
        if isinstance(law, DeltaOrthogonal):  # the zeros around the matrix are exact
            slack = np.zeros(block, working)
            centre = {axis: at - corner[axis] for axis, at in law.centre(leaf.shape).items()}
            if all(0 <= at < block[axis] for axis, at in centre.items()):
                slack[tuple(centre.get(axis, slice(None)) for axis in range(len(block)))] = near
        storage = storage_dtype(tensor.dtype)
        low, high = (
            decoded(
                reference.rounded(np.ascontiguousarray(edge), format.storage, format.code).view(storage), tensor.dtype
            )
            for edge in (mine - slack, mine + slack)
        )
        value = decoded(found, tensor.dtype)
        away = ~((low <= value) & (value <= high))  # NaN is away
        _count(away, found, mine, tensor, at, tally)


def _count(away: Array, theirs: Array, ours: Array, tensor: Tensor, offsets: tuple[int, ...], tally: Tally) -> None:
    """Add a block to a tally, given which of its elements differ."""
    differing = int(np.count_nonzero(away))
    if differing == 0:
        tally.add(away.size)
        return
    place = tuple(int(i) for i in np.unravel_index(int(away.argmax()), away.shape))
    index = 0
    for size, at, i in zip(tensor.shape, offsets, place, strict=True):
        index = index * size + at + i
    found = _value(np.array([theirs[place]]), tensor.dtype)
    expected = ours[place].item() if ours.dtype != theirs.dtype else _value(np.array([ours[place]]), tensor.dtype)
    tally.add(away.size, differing, index, found, expected)
