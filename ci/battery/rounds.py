"""A round: every check once, at every kind of address, over elements that no other round looks at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from battery import values, words
from battery.addresses import (
    ADDRESSES,
    CONSECUTIVE,
    LENGTH,
    LONG,
    LOW_WORDS,
    MANY_TENSORS,
    SHORT,
    TENSORS,
    WORDS,
    drawn,
    low_words,
)
from battery.checks import Array
from battery.expected import LAWS


@dataclass(frozen=True)
class Cell:
    """What has a p-value a round: a check of words or of values of a law, at addresses of one kind."""

    check: str
    addresses: str
    what: str


def of_words(sample: Array, addresses: str) -> Iterator[tuple[Cell, float]]:
    """The checks of words."""
    for check in words.CHECKS:
        yield Cell(check.name, addresses, "words"), check.p_value(sample[: check.most])


def round_of(seed: int, number: int) -> Iterator[tuple[Cell, float]]:
    """Yield every cell with its p-value.

    float64 is looked at in consecutive elements only: its words are those of float32, which the other addresses look
    at, and the low words, which have their own checks.
    """
    for where in ADDRESSES:
        yield from of_words(where.words(seed, number), where.name)
    yield from of_words(low_words(seed, number), LOW_WORDS)

    for name, law in LAWS.items():
        for where in ADDRESSES:
            for dtype in ("float32", "float64") if where is CONSECUTIVE else ("float32",):
                x = where.values(law.law, dtype, seed, number)
                for check in (*values.SEQUENCES, *(values.GROUPS if where is CONSECUTIVE else ())):
                    yield Cell(check.name, where.name, f"{name}, {dtype}"), check.p_value(x[: check.most], law)
        for where in MANY_TENSORS:
            rows = drawn(where.blocks(seed, number), law.law, "float32")
            yield Cell(values.TENSORS.name, where.name, f"{name}, float32"), values.TENSORS.p_value(rows, law)


def cells() -> int:
    """How many cells a round has."""
    sequences = len(ADDRESSES) + 1  # and float64
    of_values = sequences * len(values.SEQUENCES) + 2 * len(values.GROUPS) + len(MANY_TENSORS)
    return (len(ADDRESSES) + 1) * len(words.CHECKS) + len(LAWS) * of_values


def words_a_round() -> int:
    """How many words the checks of a round look at."""
    return 2 * WORDS + (len(ADDRESSES) - 1) * SHORT


def values_a_round() -> int:
    """How many values a round draws for its checks of values."""
    return len(LAWS) * (2 * LONG + (len(ADDRESSES) - 1) * SHORT + len(MANY_TENSORS) * TENSORS * LENGTH)
