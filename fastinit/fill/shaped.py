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
from fastinit.fill.runs import Job, Target, fill_memory, share_of
from fastinit.fill.sparse import fill_sparse
from fastinit.laws import Blocks, Constant, DeltaOrthogonal, Given, Law, Orthogonal, Padded, Replayed, Sparse
from fastinit.laws.blocks import leaves
from fastinit.laws.law import IndependentLaw, ShapedLaw
from fastinit.laws.patterns import Pattern
from fastinit.threads import Progress

Array = np.ndarray[Any, Any]
Store = Callable[[], None]


def fill_shaped(storage: Array, law: ShapedLaw, target: Target) -> None:
    """Fill a block, which has the rank of its tensor and is not empty."""
    law.check(target.place.shape)
    prepared(storage, law, target)()


def prepared(storage: Array, law: Law, target: Target) -> Store:
    """What stores the elements of a block, after everything that can fail without a store."""
    if isinstance(law, IndependentLaw):
        return partial(fill_independent, storage, target.job(law), target)
    if isinstance(law, Blocks | Padded):
        return fill_parts(storage, law, target)
    if isinstance(law, Sparse):
        return partial(fill_sparse, storage, law, target.job(law.values), target)
    if isinstance(law, Orthogonal | DeltaOrthogonal):
        law.prepare(target.floats)
        if isinstance(law, Orthogonal):
            return partial(fill_orthogonal, storage, law, target)
        return partial(fill_delta_orthogonal, storage, law, target)
    if isinstance(law, Pattern):
        return fill_pattern(storage, law, target)
    if isinstance(law, Replayed):
        return fill_replayed(storage, law, target)
    raise TypeError(f"law is {law!r}, which fill does not know; pass one of fastinit.laws")


def fill_independent(storage: Array, job: Job, target: Target) -> None:
    """Every element by its own address."""
    fill_memory(storage, job, target.first, target.pitches, target.workers, target.progress)


def fill_pattern(storage: Array, law: Pattern, target: Target) -> Store:
    """Zeros on all threads, then the few places that differ, in every copy alike."""
    shape = target.place.shape
    batch, own = law.batch_axes(shape), law.own_axes(shape)
    of_copy = (tuple(lengths[axis] for axis in own) for lengths in (shape, target.place.offsets, storage.shape))
    where, what = law.places(*of_copy)
    if target.format is not None:
        law.prepare(target.format)
    elif isinstance(law, Given):
        law.stored(target.dtype)
    several = np.ndim(what) > 0
    values = target.rounded(what, storage) if several else Constant(what).stored(target.dtype, target.format)
    zeros = target.job(Constant(0))

    def store() -> None:
        fill_independent(storage, zeros, target)
        storage.transpose(batch + own)[(slice(None),) * len(batch) + where] = values

    return store


def fill_replayed(storage: Array, law: Replayed, target: Target) -> Store:
    """The block of what an expression gives, which is computed whole."""
    key = int(target.words[0]) | int(target.words[1]) << 32
    values = replayed(law, key, target.floats.working)
    offsets = target.place.offsets
    block = values[tuple(slice(at, at + n) for at, n in zip(offsets, storage.shape, strict=True))]
    drawn = target.rounded(block, storage)

    def store() -> None:
        storage[...] = drawn

    return store


def fill_parts(storage: Array, law: Blocks | Padded, target: Target) -> Store:
    """The block's share of each part, one part after the other."""
    stores: list[Store] = []
    done = 0
    for leaf in leaves(law, target.place.shape):
        found = share_of(leaf, storage, target)
        if found is not None:
            here, inside = found
            progress = target.progress and partial(report, target.progress, done, storage.nbytes)
            stores.append(prepared(here, leaf.law, replace(inside, progress=progress)))
            done += here.nbytes

    def store() -> None:
        for one in stores:
            one()

    return store


def report(progress: Progress, before: int, total: int, done: int, _: int) -> None:
    """Tell a caller what is done of all parts."""
    progress(before + done, total)
