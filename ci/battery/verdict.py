"""Many p-values of many checks become one yes or no.

The p-values of a cell, one a round, are independent. Two questions are asked of them: is the smallest too small, and
are they uniform (Kolmogorov and Smirnov, exact)? The first sees one disaster, the second a small fault of every round.
Then Holm's method over both answers of all cells.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy import stats

from battery.checks import distance_from_uniform

# The chance that a run on a right stream fails, whatever its length. A stream that is wrong does not stop at 1e-4: its
# p-values go to zero as rounds are added, so who doubts a failure runs the battery again, longer, with another seed.
LEVEL = 1e-4

Key = TypeVar("Key")


@dataclass(frozen=True)
class Verdict:
    """What a cell's p-values come to. `adjusted` is Holm's p-value: below LEVEL the cell has failed."""

    rounds: int
    smallest: float
    uniformity: float
    adjusted: float = math.nan


def of_smallest(p: Sequence[float]) -> float:
    """The probability that the smallest of so many p-values is as small as this."""
    smallest = min(p)
    return -math.expm1(len(p) * math.log1p(-smallest)) if smallest < 1.0 else 1.0


def of_uniformity(p: Sequence[float]) -> float:
    """The p-value of Kolmogorov and Smirnov against the uniform law."""
    return float(stats.kstwo.sf(distance_from_uniform(np.asarray(p)), len(p)))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: the k-th smallest of n times n - k + 1, never falling (Holm 1979)."""
    order = np.argsort(p, kind="stable")
    factors = len(p) - np.arange(len(p))
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, np.asarray(p)[order] * factors))
    return [float(one) for one in adjusted]


def verdicts(p_values: Mapping[Key, Sequence[float]]) -> dict[Key, Verdict]:
    """The verdict on every cell."""
    smallest = [of_smallest(p) for p in p_values.values()]
    uniformity = [of_uniformity(p) for p in p_values.values()]
    adjusted = holm(smallest + uniformity)
    pairs = zip(adjusted[: len(smallest)], adjusted[len(smallest) :], strict=True)
    return {
        key: Verdict(len(p), min(p), uniform, min(pair))
        for (key, p), uniform, pair in zip(p_values.items(), uniformity, pairs, strict=True)
    }


def caught(p: Sequence[float], hypotheses: int) -> float:
    """The adjusted p-value of one cell as a full battery would give it at worst: Bonferroni over all its hypotheses."""
    return min(1.0, hypotheses * min(of_smallest(p), of_uniformity(p)))
