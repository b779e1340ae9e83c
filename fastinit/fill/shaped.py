"""Fill a block by a law that looks at the whole shape: by rows, by lines, by matrices, or by places."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastinit.fill.orthogonal import fill_delta_orthogonal, fill_orthogonal
from fastinit.fill.runs import Target, fill_memory
from fastinit.fill.sparse import fill_sparse
from fastinit.laws import Constant, DeltaOrthogonal, Orthogonal, Padded, Sparse
from fastinit.laws.law import ShapedLaw
from fastinit.laws.patterns import Pattern

Array = np.ndarray[Any, Any]


def fill_shaped(storage: Array, law: ShapedLaw, target: Target) -> None:
    """Fill a block, which has the rank of its tensor and is not empty."""
    law.check(target.place.shape)
    if isinstance(law, Sparse):
        fill_sparse(storage, law, target)
    elif isinstance(law, Orthogonal):
        fill_orthogonal(storage, law, target)
    elif isinstance(law, DeltaOrthogonal):
        fill_delta_orthogonal(storage, law, target)
    elif isinstance(law, Pattern):
        fill_pattern(storage, law, target)
    elif isinstance(law, Padded):
        fill_padded(storage, law, target)
    else:
        raise TypeError(f"law is {law!r}, which fill does not know; pass one of fastinit.laws")


def fill_pattern(storage: Array, law: Pattern, target: Target) -> None:
    """Zeros on all threads, then the few places that differ."""
    where, what = law.places(target.place.shape, target.place.offsets, storage.shape)
    several = np.ndim(what) > 0
    values = target.rounded(what, storage) if several else Constant(what).stored(target.dtype, target.format)
    zeros = target.job(Constant(0))
    fill_memory(storage, zeros, target.first, target.pitches, target.workers, target.progress)
    storage[where] = values


def fill_padded(storage: Array, law: Padded, target: Target) -> None:
    """All rows on all threads, then zeros in the one that pads, if the block has it."""
    job = target.job(law.values)
    fill_memory(storage, job, target.first, target.pitches, target.workers, target.progress)
    row = law.row - target.place.offsets[0]
    if 0 <= row < storage.shape[0]:
        storage[row] = 0  # +0.0 in every format
