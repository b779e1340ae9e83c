"""Which elements are looked at: the addresses that a model has, fresh ones every round.

A sample is drawn by `fastinit.fill` itself, as blocks of tensors; several blocks are read crosswise: the first element
of each block, then the second of each, and so on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

import fastinit
from battery.checks import Array
from fastinit import laws, raw_words
from fastinit.address import LARGEST_TENSOR, stream_words
from fastinit.engines.stream import DOMAIN_LOW

GROUP = 64
LONG, SHORT = 1 << 24, 1 << 18  # elements of a sample, from one tensor and from many
WORDS = 1 << 20  # of the long sample


@dataclass(frozen=True)
class Block:
    """A block of `shape` at `offsets` of a tensor, and the seed and name of that tensor."""

    seed: int
    name: str
    tensor: tuple[int, ...]
    offsets: tuple[int, ...]
    shape: tuple[int, ...]

    def beginning(self, rows: int) -> Block:
        """The first rows of the block."""
        return replace(self, shape=(min(rows, self.shape[0]), *self.shape[1:]))


@dataclass(frozen=True)
class Addresses:
    """A kind of address: from the battery's seed and the round to the blocks that are read crosswise."""

    name: str
    about: str
    blocks: Callable[[int, int], list[Block]]

    def values(self, law: laws.Law, dtype: str, seed: int, number: int) -> Array:
        """The values of a law at the addresses of a round."""
        return drawn(self.blocks(seed, number), law, dtype).T.reshape(-1)

    def words(self, seed: int, number: int) -> Array:
        """The words at those addresses, or the first 2^20 of them.

        A float64 uniform on [0, 1) holds the word of its element whole, in the upper 32 of its 53 bits.
        """
        blocks = [block.beginning(WORDS) for block in self.blocks(seed, number)]
        uniforms = drawn(blocks, laws.Uniform(0.0, 1.0), "float64").T.reshape(-1)
        return (uniforms * 2.0**32).astype(np.uint32)


def drawn(blocks: list[Block], law: laws.Law, dtype: str) -> Array:
    """The values of a law, a row a block."""
    rows = np.empty((len(blocks), int(np.prod(blocks[0].shape))), dtype)
    for row, block in zip(rows, blocks, strict=True):
        where = fastinit.Shard(block.tensor, block.offsets)
        fastinit.fill(row.reshape(block.shape), law, seed=block.seed, name=block.name, shard=where)
    return rows


def low_words(seed: int, number: int) -> Array:
    """The words that float64 adds below the others: domain 1 of the stream, consecutive elements."""
    return raw_words.consecutive(stream_words(seed, "consecutive"), number * LONG, WORDS, DOMAIN_LOW)


def _consecutive(seed: int, number: int) -> list[Block]:
    return [Block(seed, "consecutive", (LARGEST_TENSOR,), (number * LONG,), (LONG,))]


def _strided(seed: int, number: int) -> list[Block]:
    place = number % GROUP
    return [Block(seed, "strided", (LARGEST_TENSOR // GROUP, GROUP), (number * SHORT, place), (SHORT, 1))]


def _names(seed: int, number: int) -> list[Block]:
    names = SHORT // GROUP
    return [Block(seed, f"layers.{number * names + i}", (GROUP,), (0,), (GROUP,)) for i in range(names)]


def _seeds(seed: int, number: int) -> list[Block]:
    seeds = SHORT // GROUP
    return [Block(seed + number * seeds + i, "seeds", (GROUP,), (0,), (GROUP,)) for i in range(seeds)]


SHARDS, COLUMNS = 8, 128  # 128 columns: the narrowest shard that docs/guarantees.md calls fast


def _shards(seed: int, number: int) -> list[Block]:
    rows = SHORT // (SHARDS * COLUMNS)
    tensor = (LARGEST_TENSOR // (SHARDS * COLUMNS), SHARDS * COLUMNS)
    return [Block(seed, "shards", tensor, (number * rows, COLUMNS * i), (rows, COLUMNS)) for i in range(SHARDS)]


CONSECUTIVE = Addresses("consecutive", "elements 0, 1, 2, ... of one tensor", _consecutive)
ADDRESSES = (
    CONSECUTIVE,
    Addresses("every 64th", "one place of each group of 64, of one tensor", _strided),
    Addresses("across names", "element 0 of layers.0, layers.1, ..., layers.4095, then element 1 of each, ...", _names),
    Addresses("across seeds", "the same across 4096 seeds that follow each other", _seeds),
    Addresses("shards", "8 column shards of a tensor 1024 wide, an element of each in turn", _shards),
)
LOW_WORDS = "consecutive, low words"

TENSORS, LENGTH = 256, 4096


def _tensors_by_name(seed: int, number: int) -> list[Block]:
    names = (f"layers.{number * TENSORS + i}.weight" for i in range(TENSORS))
    return [Block(seed, name, (LENGTH,), (0,), (LENGTH,)) for name in names]


def _tensors_by_seed(seed: int, number: int) -> list[Block]:
    return [Block(seed + number * TENSORS + i, "w", (LENGTH,), (0,), (LENGTH,)) for i in range(TENSORS)]


# Tensors to be compared with each other: a row each, not read crosswise.
MANY_TENSORS = (
    Addresses("names", "256 tensors of 4096 elements that differ in their names", _tensors_by_name),
    Addresses("seeds", "256 tensors of 4096 elements that differ in their seeds", _tensors_by_seed),
)
