"""Fill a block by a law that looks at the whole shape: by lines, by matrices, by places, or part by part.

Everything is checked and prepared before the first store, so that what cannot be drawn leaves the buffer as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from fastinit.fill.orthogonal import fill_delta_orthogonal, fill_orthogonal
from fastinit.fill.replay import replayed
from fastinit.fill.runs import BoundLaw, FillRequest, fill_memory, share_of
from fastinit.fill.sparse import fill_sparse
from fastinit.laws import Blocks, Constant, DeltaOrthogonal, Given, Law, Orthogonal, Padded, Replayed, Sparse
from fastinit.laws.blocks import leaves
from fastinit.laws.law import IndependentLaw, ShapedLaw
from fastinit.laws.patterns import Pattern
from fastinit.progress import Progress

Array = np.ndarray[Any, Any]
Store = Callable[[], None]


def fill_shaped(storage: Array, law: ShapedLaw, request: FillRequest) -> None:
    """Fill a block, which has the rank of its tensor and is not empty."""
    law.check(request.place.shape)
    prepared(storage, law, request)()


def prepared(storage: Array, law: Law, request: FillRequest) -> Store:
    """What stores the elements of a block, after everything that can fail without a store."""
    if isinstance(law, IndependentLaw):
        return partial(fill_independent, storage, request.bound(law), request)
    if isinstance(law, Blocks | Padded):
        return fill_parts(storage, law, request)
    if isinstance(law, Sparse):
        return partial(fill_sparse, storage, law, request.bound(law.values), request)
    if isinstance(law, Orthogonal | DeltaOrthogonal):
        law.kernel_arguments(request.floats)
        if isinstance(law, Orthogonal):
            return partial(fill_orthogonal, storage, law, request)
        return partial(fill_delta_orthogonal, storage, law, request)
    if isinstance(law, Pattern):
        return fill_pattern(storage, law, request)
    if isinstance(law, Replayed):
        return fill_replayed(storage, law, request)
    raise TypeError(f"law is {law!r}, which fill does not know; pass one of fastinit.laws")


def fill_independent(storage: Array, bound: BoundLaw, request: FillRequest) -> None:
    """Every element by its own address."""
    fill_memory(storage, bound, request.first, request.pitches, request.workers, request.progress)


def fill_pattern(storage: Array, law: Pattern, request: FillRequest) -> Store:
    """Zeros on all threads, then the few places that differ, in every copy alike."""
    shape = request.place.shape
    batch, own = law.batch_axes(shape), law.own_axes(shape)
    of_copy = (tuple(lengths[axis] for axis in own) for lengths in (shape, request.place.offsets, storage.shape))
    where, what = law.places(*of_copy)
    if request.format is not None:
        law.kernel_arguments(request.format)
    elif isinstance(law, Given):
        law.stored(request.dtype)
    several = np.ndim(what) > 0
    values = request.rounded(what, storage) if several else Constant(what).stored(request.dtype, request.format)
    zeros = request.bound(Constant(0))

    def store() -> None:
        fill_independent(storage, zeros, request)
        storage.transpose(batch + own)[(slice(None),) * len(batch) + where] = values

    return store


def fill_replayed(storage: Array, law: Replayed, request: FillRequest) -> Store:
    """The block of what an expression gives, which is computed whole."""
    key = int(request.words[0]) | int(request.words[1]) << 32
    values = replayed(law, key, request.floats.working)
    offsets = request.place.offsets
    block = values[tuple(slice(at, at + n) for at, n in zip(offsets, storage.shape, strict=True))]
    drawn = request.rounded(block, storage)

    def store() -> None:
        storage[...] = drawn

    return store


def fill_parts(storage: Array, law: Blocks | Padded, request: FillRequest) -> Store:
    """The block's share of each part, one part after the other."""
    stores: list[Store] = []
    done = 0
    for leaf in leaves(law, request.place.shape):
        found = share_of(leaf, storage, request)
        if found is not None:
            here, inside = found
            progress = request.progress and partial(report, request.progress, done, storage.nbytes)
            stores.append(prepared(here, leaf.law, replace(inside, progress=progress)))
            done += here.nbytes

    def store() -> None:
        for one in stores:
            one()

    return store


def report(progress: Progress, before: int, total: int, done: int, _: int) -> None:
    """Tell a caller what is done of all parts."""
    progress(before + done, total)
