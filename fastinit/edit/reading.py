"""Compute pieces of contents: read, draw, round, add noise; on any thread, a MiB at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fastinit.address import STREAM, Shard
from fastinit.blocks import Piece, Source, unit
from fastinit.dtypes import storage_dtype
from fastinit.edit.contents import Beginning, Content, Converted, Drawn, Estimated, Joined, Noisy, Stored
from fastinit.edit.rounding import check_finite, encoded, numbers, working
from fastinit.edit.rows import ROWS, Moments, Normals
from fastinit.files.safetensors import read_at
from fastinit.files.system import BYTES
from fastinit.laws import Normal
from fastinit.plan import Tensor

Array = np.ndarray[Any, Any]


@dataclass
class Reader:
    """Reads contents. Files are opened once, draws and means are prepared once."""

    engine: str
    threads: int
    files: dict[str, int] = field(default_factory=dict)
    sources: dict[int, Source] = field(default_factory=dict)
    moments: dict[int, tuple[Content, Moments]] = field(default_factory=dict)
    blocks: dict[tuple[int, int], Array] = field(default_factory=dict)
    noises: dict[int, tuple[Noisy, Tensor]] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def source(self, seed: int) -> Source:
        """What draws from a seed."""
        return self.sources.setdefault(seed, Source(seed, STREAM, self.engine))

    def read(self, content: Content, first: int, count: int, what: str) -> Array:
        """Elements [first, first + count) of a content, row by row, in the storage of its dtype.

        `what` names the tensor, for errors: a number that its dtype cannot hold is a ValueError.
        """
        match content:
            case Stored():
                found = np.empty(count, storage_dtype(content.dtype))
                begin = content.begin + first * found.itemsize
                read_at(self.files[content.path], found.view(np.uint8), begin, Path(content.path))
                return found
            case Drawn():
                return self._draw(content.tensor, content.seed, content.first + first, count)
            case Beginning():
                return self.read(content.of, first, count, what)
            case Joined():
                return np.concatenate([*self._joined(content, first, count, what)])
            case Converted():
                return self._converted(content, first, count, what)
            case Noisy():
                kind = working(content.dtype)
                total = numbers(self.read(content.of, first, count, what), content.of.dtype, kind)
                total += self._draw(self._noise(content, kind), content.seed, first, count)
                return encoded(total, content.dtype, what)
            case Estimated():
                return self._estimated(content, first, count, what)
        raise TypeError(f"{what}: {type(content).__name__} cannot be read")

    def _draw(self, tensor: Tensor, seed: int, first: int, count: int) -> Array:
        found = np.empty(count, storage_dtype(tensor.dtype))
        if count:
            self.source(seed).draw(Piece(tensor, first, count, 0), found.view(np.uint8))
        return found

    def _noise(self, content: Noisy, kind: np.dtype[Any]) -> Tensor:
        """The noise of a content as a tensor; one object, as what draws it is kept by its identity."""
        with self.lock:
            kept = self.noises.get(id(content))
            if kept is None or kept[0] is not content:
                kept = (content, Tensor(content.name, content.shape, kind.name, Normal(0.0, content.std)))
                self.noises[id(content)] = kept
            return kept[1]

    def _converted(self, content: Converted, first: int, count: int, what: str) -> Array:
        values = numbers(self.read(content.of, first, count, what), content.of.dtype, working(content.of.dtype))
        if values.dtype == np.float64 and content.dtype != "float64":
            with np.errstate(over="ignore"):
                single = values.astype(np.float32)
            check_finite(values, single, content.dtype, what)
            values = single
        return encoded(values, content.dtype, what)

    def _joined(self, content: Joined, first: int, count: int, what: str) -> Iterator[Array]:
        at = 0
        for part in content.parts:
            begin, end = max(first, at), min(first + count, at + part.elements)
            if begin < end:
                yield self.read(part, begin - at, end - begin, what)
            at += part.elements

    def _estimated(self, content: Estimated, first: int, count: int, what: str) -> Array:
        """Rows in blocks of `ROWS`, of which the last is kept: pieces come in their order, more or less."""
        columns = content.elements // content.shape[0] if content.shape[0] else 1
        found = np.empty(count, storage_dtype(content.dtype))
        done = 0
        while done < count:
            block, within = divmod(first + done, ROWS * columns)
            values = self._block(content, block, columns, what)
            part = values[within : within + count - done]
            found[done : done + part.size] = part
            done += part.size
        return found

    def _block(self, content: Estimated, block: int, columns: int, what: str) -> Array:
        with self.lock:
            key = (id(content), block)
            if key not in self.blocks:
                moments = self._moments(content.of, columns, what)
                begin = block * ROWS
                count = min(ROWS, content.shape[0] - begin)
                rows = moments.rows(begin, count, content.factor, self._normals(content))
                if len(self.blocks) > 1:
                    self.blocks.pop(next(iter(self.blocks)))
                self.blocks[key] = encoded(rows.reshape(-1), content.dtype, what)
            return self.blocks[key]

    def _normals(self, content: Estimated) -> Normals:
        """What draws the normals of new rows: row j takes elements [j n, (j + 1) n) of the tensor of that name."""

        def draw(g: Array, shard: Shard) -> None:
            tensor = Tensor(content.name, shard.shape, g.dtype.name, Normal())
            self.source(content.seed).fill(g, tensor, shard, self.threads)

        return draw

    def _moments(self, content: Content, columns: int, what: str) -> Moments:
        kept = self.moments.get(id(content))
        if kept is not None and kept[0] is content:
            return kept[1]
        kind = working(content.dtype)

        def read(first: int, count: int) -> Array:
            stored = self.read(content, first * columns, count * columns, what)
            return numbers(stored, content.dtype, kind).reshape(count, columns)

        moments = Moments.of(read, content.elements // columns, columns, what)
        self.moments[id(content)] = (content, moments)
        return moments


def stored_in(content: Content) -> Iterator[Stored]:
    """The stored contents that a content is made of."""
    match content:
        case Stored():
            yield content
        case Joined():
            for part in content.parts:
                yield from stored_in(part)
        case Converted() | Beginning() | Noisy() | Estimated():
            yield from stored_in(content.of)


def is_drawn_whole(content: Content) -> bool:
    """Whether a content is a draw that cannot be cut into pieces."""
    return isinstance(content, Drawn) and content.elements > 0 and unit(content.tensor) is None


@contextmanager
def reader(engine: str, threads: int, paths: set[str]) -> Iterator[Reader]:
    """A reader of these files, which are open for the block: one that is removed meanwhile stays readable."""
    with ExitStack() as stack:
        files = {}
        for path in sorted(paths):
            files[path] = os.open(path, os.O_RDONLY | BYTES)
            stack.callback(os.close, files[path])
        yield Reader(engine, threads, files)
