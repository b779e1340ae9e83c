"""The raw 32-bit words of the stream: of consecutive elements, or of the same elements of many streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastinit import engines
from fastinit.address import stream_id
from fastinit.engines import reference
from fastinit.engines.reference.philox import LOW_HALF, philox
from fastinit.engines.stream import DOMAIN_ELEMENT, GROUP, LANES

Array = np.ndarray[Any, Any]


def groups(engine: str, first: int, count: int, domain: int, stream: Array) -> Array:
    """The words of `count` whole groups from the group `first` on, in the order of the elements that take them."""
    if engine == "numpy":
        return np.asarray(reference.words(np.arange(first, first + count, dtype=np.uint64), domain, stream))
    from fastinit.engines import compiled

    out = np.empty(GROUP * count, np.uint32)
    compiled.words(out, first, count, domain, stream)  # type: ignore[no-untyped-call]
    return out


def consecutive(stream: Array, first: int, count: int, domain: int = DOMAIN_ELEMENT) -> Array:
    """The words of the elements [first, first + count) of one stream, as `stream_words` gives it."""
    group, skip = divmod(first, GROUP)
    whole = groups(engines.engine_name(), group, -(-(skip + count) // GROUP), domain, stream)
    return whole[skip : skip + count]


def across(streams: Array, first: int, each: int, domain: int = DOMAIN_ELEMENT) -> Array:
    """The words of the elements [first, first + each) of every stream: a row a stream.

    NumPy draws only the counters that hold them, for all streams at once: a call of the compiled engine for one word
    of a stream would draw its group of 64.
    """
    index = np.arange(each, dtype=np.uint64) + np.uint64(first)
    group, place = index // np.uint64(GROUP), index % np.uint64(GROUP)
    q, column = np.unique(group * np.uint64(LANES) + place % np.uint64(LANES), return_inverse=True)
    c1 = np.uint64(domain << 24) | (q >> np.uint64(32))
    k0, k1, c2, c3 = streams.T.astype(np.uint64)[:, :, None]
    four = np.stack(philox(q & LOW_HALF, c1, c2, c3, k0, k1))
    return four[place // np.uint64(LANES), :, column].T.astype(np.uint32, order="C")


def streams(seeds: Sequence[int], names: Sequence[str | int]) -> Array:
    """The streams of seeds and names, one of each, as `across` takes them: a row like that of `stream_words` each."""
    words = np.empty((len(names), 4), np.uint32)
    ids = np.fromiter((stream_id(name) for name in names), np.uint64, len(names))
    for column, numbers in ((0, np.array(seeds, np.uint64)), (2, ids)):
        words[:, column] = numbers & LOW_HALF
        words[:, column + 1] = numbers >> np.uint64(32)
    return words
