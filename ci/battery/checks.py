"""What a check is, and how a statistic becomes a p-value.

Every p-value is two-sided: a sample that fits its law too well is as suspicious as one that fits badly (Knuth, TAOCP 2,
3.3.1). Under the null it is uniform on [0, 1], which the second level of verdict.py relies on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import chdtr, chdtrc

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Check:
    """A test: its name, the function from a sample to a p-value, how much of a sample it takes, and its source."""

    name: str
    p_value: Callable[..., float]
    most: int
    about: str


def two_sided(below: float, above: float) -> float:
    """The p-value of a statistic that is this likely to be smaller, and this likely to be larger."""
    return float(min(1.0, 2.0 * min(below, above)))


def chi_square(statistic: float, freedom: int) -> float:
    """The p-value of a chi-square statistic."""
    return two_sided(float(chdtr(freedom, statistic)), float(chdtrc(freedom, statistic)))


def pearson(counts: Array, probabilities: Array | float) -> float:
    """Pearson's statistic of counts, of which the total is given: chi-square with one freedom less than bins."""
    expected = counts.sum() * np.broadcast_to(probabilities, counts.shape)
    return float(((counts - expected) ** 2 / expected).sum())


def poisson(count: int, mean: float) -> float:
    """The p-value of a Poisson count. Half of the count's own probability goes to either side (mid-p).

    So the p-value is uniform up to steps of 0.4 / sqrt(mean), 0.025 at the smallest mean here (256), half of which the
    second level of verdict.py would call a fault after some 50,000 rounds: four days.
    """
    law = stats.poisson(mean)
    half = law.pmf(count) / 2
    return two_sided(law.cdf(count - 1) + half, law.sf(count) + half)


def tabulated(count: int, probabilities: Array) -> float:
    """The p-value of a count of which the whole law is known; mid-p as above."""
    if count >= len(probabilities):
        return 0.0
    half = probabilities[count] / 2
    return two_sided(probabilities[:count].sum() + half, probabilities[count + 1 :].sum() + half)


def distance_from_uniform(u: Array) -> float:
    """Kolmogorov and Smirnov's statistic: how far the distribution function of a sample is from the uniform one."""
    u, n = np.sort(u), len(u)
    steps = np.arange(n) / n
    return max(float((u - steps).max()), float((steps + 1 / n - u).max()))
