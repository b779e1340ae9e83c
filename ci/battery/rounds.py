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


SAMPLES = 1 + 2 * len(LAWS)  # of one kind of address in a round: words; each law in float32 and in float64


def round_of(seed: int, number: int) -> Iterator[tuple[Cell, float]]:
    """Yield every cell with its p-value.

    Every sample has elements of its own: uniform and truncated normal are monotone in the word, and over the same words
    they would have the same p-values. float64 is looked at in consecutive elements only: its words are those of
    float32, which the other addresses look at, and the low words, which have their own checks.
    """
    first = number * SAMPLES
    for where in ADDRESSES:
        yield from of_words(where.words(seed, first), where.name)
    yield from of_words(low_words(seed, first), LOW_WORDS)

    for own, (name, law) in enumerate(LAWS.items(), first + 1):
        for where in ADDRESSES:
            for dtype, sample in (("float32", own), ("float64", own + len(LAWS))):
                if dtype == "float64" and where is not CONSECUTIVE:
                    continue
                x = where.values(law.law, dtype, seed, sample)
                for check in (*values.SEQUENCES, *(values.GROUPS if where is CONSECUTIVE else ())):
                    yield Cell(check.name, where.name, f"{name}, {dtype}"), check.p_value(x[: check.most], law)
        for where in MANY_TENSORS:
            rows = drawn(where.blocks(seed, own), law.law, "float32")
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
