"""Draw pieces of one tensor again and again: its parts are found, and prepared, once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastinit.address import Axis, Shard, collapse
from fastinit.dtypes import Format
from fastinit.engines.interface import Region
from fastinit.fill.buffers import line_of
from fastinit.fill.runs import BoundLaw, FillRequest, share_of
from fastinit.fill.shaped import fill_independent, prepared
from fastinit.laws import Law
from fastinit.laws.blocks import Leaf, leaves
from fastinit.laws.law import IndependentLaw

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Parts:
    """The parts of a tensor, in order: where they begin and end, and the bound laws of the independent ones."""

    leaves: tuple[Leaf, ...]
    begins: Array
    ends: Array
    bound: tuple[BoundLaw | None, ...]
    words: Array
    dtype: np.dtype[Any]
    format: Format | None

    @classmethod
    def of(cls, law: Law, shape: tuple[int, ...], words: Array, dtype: np.dtype[Any], format: Format | None) -> Parts:
        """The parts of a law, which has been checked against the tensor."""
        found = tuple(leaves(law, shape))
        begins = np.array([leaf.offsets for leaf in found])
        bound = tuple(
            BoundLaw.of(leaf.law, words, dtype, format) if isinstance(leaf.law, IndependentLaw) else None
            for leaf in found
        )
        return cls(found, begins, begins + [leaf.shape for leaf in found], bound, words, dtype, format)

    @property
    def storage(self) -> np.dtype[Any]:
        """The dtype of a buffer for `fill`: raw integers for narrow formats, float16 too."""
        return np.dtype(self.format.storage) if self.format is not None else self.dtype

    def fill(self, storage: Array, place: Shard) -> None:
        """Fill a block, on the calling thread."""
        request = FillRequest(place, place, self.words, self.dtype, self.format, 1, None)
        end = np.add(place.offsets, storage.shape)
        touched = np.all((self.begins < end) & (self.ends > place.offsets), axis=1)
        for i in np.flatnonzero(touched).tolist():
            found = share_of(self.leaves[i], storage, request)
            if found is not None:
                here, inside = found
                bound = self.bound[i]
                if bound is not None:
                    draw(here, bound, inside)
                else:
                    prepared(here, self.leaves[i].law, inside)()


def draw(storage: Array, bound: BoundLaw, request: FillRequest) -> None:
    """Draw a block of an independent law, at once where it is rows of a matrix: to cut it took a quarter longer."""
    steps = [step // storage.itemsize for step in storage.strides]
    outer, cols = collapse(storage.shape, steps, request.pitches)
    if len(outer) > 1:
        fill_independent(storage, bound, request)
        return
    rows = outer[0] if outer else Axis(1, 0, 0)
    line, offset = line_of(storage)
    region = Region(offset, rows.size, rows.step, cols.size, cols.step, request.first, rows.pitch)
    bound.run(bound.engine(storage.size), line, region)
