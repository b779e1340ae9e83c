"""The laws that values should follow, from closed forms and SciPy's normal distribution: nothing here is fastinit's.

All three are symmetric about their mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from battery.checks import Array
from fastinit import laws


@dataclass(frozen=True)
class Expected:
    """A law: how fastinit calls it, the probabilities below and above values, its lower quantiles, its moments.

    moments   E z^k, k = 0 ... 8, of the standardised variable
    """

    law: laws.Law
    tails: Callable[[Array], tuple[Array, Array]]
    quantile: Callable[[float], float]
    mean: float
    std: float
    moments: tuple[float, ...]

    def standardised(self, x: Array) -> Array:
        """The values in float64 with mean 0 and variance 1."""
        return (x.astype(np.float64) - self.mean) / self.std


def uniform_tails(x: Array) -> tuple[Array, Array]:
    """The value stands for its cell, which begins with it; its middle is half a cell on.

    Without that the distribution function of a float32 uniform would be off by 2^-25, at the second level visible after
    some 2^30 values.
    """
    half = 2.0**-25 if x.dtype == np.float32 else 2.0**-54
    x = x.astype(np.float64)
    return x + half, (1.0 - x) - half


def normal_tails(x: Array) -> tuple[Array, Array]:
    """Rounded to nearest, a value stands for its neighbourhood: no correction. The cells are 1e-7 of the value."""
    x = x.astype(np.float64)
    return ndtr(x), ndtr(-x)


CUT = 2.0
OUTSIDE = ndtr(-CUT)
MASS = 1.0 - 2.0 * OUTSIDE
# The smallest float32 value has half a cell, and one in 3e8 draws falls into it: its middle.
END = 2.0**-29


def truncated_tails(x: Array) -> tuple[Array, Array]:
    """As for the normal; the values at the ends have half a cell."""
    below, above = normal_tails(x)
    return np.maximum((below - OUTSIDE) / MASS, END), np.maximum((above - OUTSIDE) / MASS, END)


def truncated_moments() -> tuple[float, tuple[float, ...]]:
    """Standard deviation and standardised moments of a unit normal cut to [-2, 2], by integration by parts."""
    density = math.exp(-CUT * CUT / 2) / math.sqrt(2 * math.pi) / MASS
    raw = [1.0, 0.0]
    for k in range(2, 9):
        raw.append((k - 1) * raw[k - 2] - (2 * CUT ** (k - 1) * density if k % 2 == 0 else 0.0))
    std = math.sqrt(raw[2])
    return std, tuple(moment / std**k for k, moment in enumerate(raw))


TRUNCATED_STD, TRUNCATED_MOMENTS = truncated_moments()
LAWS = {
    "uniform": Expected(
        law=laws.Uniform(0.0, 1.0),
        tails=uniform_tails,
        quantile=lambda p: p,
        mean=0.5,
        std=math.sqrt(1 / 12),
        moments=tuple(0.0 if k % 2 else 3.0 ** (k / 2) / (k + 1) for k in range(9)),
    ),
    "normal": Expected(
        law=laws.Normal(0.0, 1.0),
        tails=normal_tails,
        quantile=lambda p: float(ndtri(p)),
        mean=0.0,
        std=1.0,
        moments=(1.0, 0.0, 1.0, 0.0, 3.0, 0.0, 15.0, 0.0, 105.0),
    ),
    "truncated normal": Expected(
        law=laws.TruncatedNormal(0.0, 1.0, -CUT, CUT),
        tails=truncated_tails,
        quantile=lambda p: float(ndtri(OUTSIDE + p * MASS)),
        mean=0.0,
        std=TRUNCATED_STD,
        moments=TRUNCATED_MOMENTS,
    ),
}
