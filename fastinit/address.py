"""The address of an element: seed and name give the stream, the row-major index in the whole tensor gives the place."""

from __future__ import annotations

import logging
import math
import operator
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np

STREAM = "fastinit-1"
LOG = logging.getLogger("fastinit")
LARGEST_TENSOR = 1 << 58  # elements: the counter has 56 bits for 4 elements each


def new_seed() -> int:
    """A seed of 64 fresh random bits, to keep and pass to every call of one model."""
    return secrets.randbits(64)


def drawn_seed(call: str, name: object = None) -> int:
    """A fresh seed for a call that was given none; the logger "fastinit" says which at level INFO."""
    seed = new_seed()
    tensor = "" if name is None else f" for the tensor {name!r}"
    LOG.info("%s drew seed %d%s; pass seed=%d to get the same values again", call, seed, tensor, seed)
    return seed


def integer(value: object, what: str) -> int:
    """An exact integer; bool is refused, since `seed=True` is a slip."""
    if type(value) is int:
        return value
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{what} is {value!r}; pass an integer")
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{what} is {value!r} of type {type(value).__name__}; pass an integer") from None


def axes(value: object, what: str) -> tuple[int, ...]:
    """An axis or several, as exact integers; negative ones count from the last."""
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return tuple(integer(one, f"an entry of {what}") for one in value)
    try:
        return (integer(value, what),)
    except TypeError:
        raise TypeError(f"{what} is {value!r}; pass an axis, such as 0, or several, such as (0, 1)") from None


def places_of(value: tuple[int, ...], shape: tuple[int, ...], what: str) -> tuple[int, ...]:
    """The same axes counted from the first; ValueError where the shape has no such axis, or one is named twice."""
    for axis in value:
        if not -len(shape) <= axis < len(shape):
            raise ValueError(f"{what} {axis} is not an axis of shape {shape}")
    places = tuple(axis % len(shape) for axis in value)
    for i, axis in enumerate(value):
        if places[i] in places[:i]:
            raise ValueError(f"{what} names axis {axis} of shape {shape} twice")
    return places


def digest_of(name: str) -> int:
    """The id of a name that is a str; UnicodeEncodeError where UTF-8 has none of it."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")


_sid = lru_cache(maxsize=4096)(digest_of)  # a name's digest costs more than drawing a small bias


def stream_id(name: object) -> int:
    """The id of a name.

    `name` is a str, of which the id is the 8-byte BLAKE2b digest of its UTF-8 bytes, or an integer in [0, 2^64), which
    is the id itself: 5 and "5" differ.
    """
    if isinstance(name, str):
        try:
            return _sid(name)
        except UnicodeEncodeError:
            raise ValueError(
                f"name {name!r} has a lone surrogate, which UTF-8 cannot encode; rename the tensor"
            ) from None
    try:
        sid = integer(name, "name")
    except TypeError:
        raise TypeError(f"name is {name!r} of type {type(name).__name__}; pass a string or an integer") from None
    if not 0 <= sid < 1 << 64:
        raise ValueError(f"name is the integer {sid}; it must be in [0, 2**64), or a string")
    return sid


_UINT32 = np.dtype(np.uint32)  # a class is looked up, in a fifth of the call


def stream_words(seed: object, name: object, stream: str = STREAM) -> np.ndarray[Any, Any]:
    """Key and stream id as four uint32: seed low, seed high, id low, id high; `seed` is an integer in [0, 2^64)."""
    if stream != STREAM:
        raise ValueError(f"stream={stream!r} is unknown here; this version of fastinit computes {STREAM!r}")
    key = integer(seed, "seed")
    if not 0 <= key < 1 << 64:
        raise ValueError(f"seed is {key}; it must be in [0, 2**64)")
    sid = stream_id(name)
    low = 0xFFFFFFFF
    return np.array((key & low, key >> 32, sid & low, sid >> 32), _UINT32)


@dataclass(frozen=True)
class Shard:
    """Says that a buffer is the block at `offsets` of a tensor of `shape`.

    `Shard((8192, 8192), (4096, 0))` with a buffer of (4096, 8192) is the lower half. `Shard((numel,), (start,))` is a
    flat shard, as FSDP1 and ZeRO cut. Both are tuples of integers, in elements; an empty block at the tensor's end is
    legal.
    """

    shape: tuple[int, ...]
    offsets: tuple[int, ...]

    def __init__(self, shape: Sequence[int], offsets: Sequence[int]) -> None:
        for what, values in (("shape", shape), ("offsets", offsets)):
            try:
                exact = tuple(integer(value, f"Shard: an entry of {what}") for value in values)
            except TypeError:
                if isinstance(values, Sequence):
                    raise
                raise TypeError(f"Shard: {what} is {values!r}; pass a tuple of integers") from None
            if any(value < 0 for value in exact):
                raise ValueError(f"Shard: {what} {exact} has a negative entry")
            object.__setattr__(self, what, exact)
        if len(self.shape) != len(self.offsets):
            raise ValueError(
                f"Shard: shape {self.shape} and offsets {self.offsets} differ in length; give one a dimension"
            )

    def check(self, block: tuple[int, ...]) -> None:
        """Refuse a block that sticks out of the tensor."""
        if len(block) != len(self.shape):
            raise ValueError(
                f"shard: the buffer has {len(block)} dimensions {block}, the tensor {len(self.shape)} {self.shape}; "
                "they must be the same, or pass a flat buffer with Shard((numel,), (start,))"
            )
        for axis, (size, start, length) in enumerate(zip(self.shape, self.offsets, block, strict=True)):
            if start + length > size:
                raise ValueError(
                    f"shard: along dimension {axis} the block [{start}, {start + length}) sticks out of the tensor, "
                    f"which has {size}; the buffer is {block} at {self.offsets} of {self.shape}"
                )


def index_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Row-major strides of a tensor, in elements."""
    if math.prod(shape) > LARGEST_TENSOR:
        raise ValueError(
            f"a tensor of shape {shape} has {math.prod(shape)} elements; the stream addresses at most 2**58"
        )
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


Place = tuple[int, ...]


def boxes(shape: Place, first: int, count: int) -> Iterator[tuple[Place, Place]]:
    """The elements [first, first + count) of a tensor, row by row, as blocks: offsets and shape of each, in order.

    At most two a dimension, and each is contiguous.
    """
    if len(shape) < 2:
        if count:
            yield (first,)[: len(shape)], (count,)[: len(shape)]
        return
    inner = math.prod(shape[1:])
    row, begin = divmod(first, inner)
    if begin:
        head = min(count, inner - begin)
        yield from (((row, *offsets), (1, *block)) for offsets, block in boxes(shape[1:], begin, head))
        row, count = row + 1, count - head
    rows, tail = divmod(count, inner)
    if rows:
        yield (row, *(0 for _ in shape[1:])), (rows, *shape[1:])
    yield from (((row + rows, *offsets), (1, *block)) for offsets, block in boxes(shape[1:], 0, tail))


@dataclass(frozen=True)
class Axis:
    """One dimension of a walk: how many, the step in memory (storage elements), the step in tensor indices."""

    size: int
    step: int
    pitch: int


def collapse(shape: Sequence[int], steps: Sequence[int], pitches: Sequence[int]) -> tuple[list[Axis], Axis]:
    """The dimensions of a block, merged where memory and index both continue: (outer ones, columns).

    The columns are the last dimension, along which the index grows by 1; they may be one element wide.
    """
    axes: list[Axis] = []
    for size, step, pitch in zip(shape, steps, pitches, strict=True):
        if size == 1:
            continue
        last = axes[-1] if axes else None
        if last and last.step == step * size and last.pitch == pitch * size:
            axes[-1] = Axis(last.size * size, step, pitch)
        else:
            axes.append(Axis(size, step, pitch))
    if axes and axes[-1].pitch == 1:
        return axes[:-1], axes[-1]
    return axes, Axis(1, 1, 1)
