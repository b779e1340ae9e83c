"""Work in pieces: a box of elements cut into blocks, a buffer of each thread's own, progress in bytes."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastinit.progress import Progress


class Staging(threading.local):
    """A buffer of each thread's own, made at its first use; the next piece takes it again.

    Pages that are never touched are never there.
    """

    def __init__(self, elements: int, dtype: np.dtype[Any] | type) -> None:
        self.buffer: Any = np.empty(elements, dtype)


def in_bytes(progress: Progress | None, total: int, count: int) -> Callable[[int], None] | None:
    """What `for_each` calls with the number of finished pieces, of `count` that are `total` bytes."""
    if progress is None:
        return None

    def after(done: int) -> None:
        progress(total * done // count, total)

    return after


@dataclass(frozen=True)
class BoxGrid:
    """A box of elements, cut into blocks of one shape; those at the end of an axis may be smaller."""

    shape: tuple[int, ...]
    block: tuple[int, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Blocks along each axis."""
        return tuple(-(-size // step) for size, step in zip(self.shape, self.block, strict=True))

    @property
    def count(self) -> int:
        """Blocks in all."""
        return math.prod(self.counts)

    def box(self, i: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Corner and sizes of block i, in row-major order."""
        corner = []
        for count, step in zip(reversed(self.counts), reversed(self.block), strict=True):
            i, place = divmod(i, count)
            corner.append(place * step)
        corner.reverse()
        sizes = (min(b, s - c) for b, s, c in zip(self.block, self.shape, corner, strict=True))
        return tuple(corner), tuple(sizes)

    def lines(self, i: int) -> Iterator[tuple[int, int, int]]:
        """The parts of block i that are contiguous in the box: first element in the box, in the block, length."""
        corner, sizes = self.box(i)
        axis, length = len(sizes), 1
        while axis > 0:
            axis -= 1
            length *= sizes[axis]
            if sizes[axis] != self.shape[axis]:
                break
        strides = [math.prod(self.shape[i + 1 :]) for i in range(len(sizes))]
        first = sum(c * s for c, s in zip(corner, strides, strict=True))
        for n, index in enumerate(np.ndindex(*sizes[:axis])):
            yield first + sum(i * s for i, s in zip(index, strides[:axis], strict=True)), n * length, length
