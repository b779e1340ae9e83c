"""Count the values of a tensor, a buffer at a time: moments, extremes, zeros, what is not finite, and a histogram.

The range of a histogram is chosen before the first value is counted. A law gives it: its support, cut at 5 standard
deviations from the mean. Where there is no law, values do: all of them, or a sample of the tensor that is read first.
What lies outside is counted as `below` or `above`. NaN and infinities are counted apart, and the moments leave them
out.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastinit.dtypes import FORMATS, Format, decoded
from fastinit.engines import Engine
from fastinit.laws import LogOfUniform, StepBias, TruncatedNormal, Uniform
from fastinit.laws.law import Element
from fastinit.laws.marginals import ZeroInflated

Array = np.ndarray[Any, Any]

BINS = 65  # odd: the zero of a symmetric law, and a constant, fall into the middle of a bin, not on an edge
FEWEST_WHOLE = 9  # bins of an integer tensor, so that a constant is a spike and not a block
PIECE = 1 << 13  # elements; 64 KiB as float64 stay in the cache, and np.dot of as many starts no threads
REACH = 5.0  # standard deviations either side of the mean
SMALLEST_WIDTH, LARGEST_WIDTH = 2.0**-1000, 2.0**1000  # of a bin: its inverse, and 65 of it, are finite
TINY = 1e-9  # of the range, by which it is widened: its ends lie inside the outer bins, however they round


@dataclass(frozen=True)
class Grid:
    """Bins of equal width, whose middle is `centre`; the edge between two belongs to the upper one."""

    centre: float
    width: float
    bins: int

    @property
    def edges(self) -> Array:
        """All bins + 1 edges."""
        edges: Array = self.centre + (np.arange(self.bins + 1) - self.bins / 2) * self.width
        return edges


@dataclass(frozen=True)
class Part:
    """What some values came to. Sums are of distances from the grid's centre, in bins; `counts` has the outer two."""

    finite: int
    total: float
    squares: float
    zeros: int
    nans: int
    infinities: int
    minimum: float | int | None
    maximum: float | int | None
    counts: Array

    def mean_and_std(self, grid: Grid) -> tuple[float, float]:
        """Mean and standard deviation of the values; there is at least one."""
        return moments(self.finite, self.total, self.squares, grid)


def moments(finite: int, total: float, squares: float, grid: Grid) -> tuple[float, float]:
    """Mean and standard deviation from sums of distances in bins."""
    shift = total / finite
    return grid.centre + shift * grid.width, math.sqrt(max(squares / finite - shift * shift, 0.0)) * grid.width


def numbers(raw: Array, dtype: str) -> Array:
    """The numbers that raw storage stands for, in float32 or float64; of a complex number its magnitude."""
    if dtype == "complex64":
        return np.abs(raw.astype(np.complex128))
    format = FORMATS.get(dtype)
    if format is None:
        return raw.astype(np.float64)
    wide = decoded(raw, dtype)
    if wide.dtype == np.float16 or not wide.flags.aligned:  # Numba does not look
        wide = wide.astype(np.float64 if format.name == "float64" else np.float32)
    return wide


def count(raw: Array, dtype: str, grid: Grid, engine: Engine) -> Part:
    """Count the values of a buffer, in pieces that stay in the cache, on the calling thread."""
    finite = zeros = nans = 0
    total = squares = 0.0
    extremes: list[Any] = []
    counts = np.zeros(grid.bins + 2, np.int64)
    for begin in range(0, raw.size, PIECE):
        part = raw[begin : begin + PIECE]
        with np.errstate(all="ignore"):  # signalling NaNs
            values = numbers(part, dtype)
            found = engine.tally(values, grid.centre, 1.0 / grid.width, counts)
        finite += found[0]
        zeros += found[1]
        nans += found[2]
        total += found[3]
        squares += found[4]
        if raw.dtype.kind in "biu" and dtype not in FORMATS:
            extremes += [part.min().item(), part.max().item()]  # float64 has not all digits of a large integer
        elif found[0]:
            extremes += found[5:]
    low, high = (min(extremes), max(extremes)) if extremes else (None, None)
    return Part(finite, total, squares, zeros, nans, raw.size - finite - nans, low, high, counts)


# --- the range --------------------------------------------------------------------------------------------------------


def grid_of_law(element: Element, dtype: str) -> Grid:
    """Bins for a law: its support, cut at 5 standard deviations from the mean."""
    low, high = _reach(element)
    format = FORMATS.get(dtype)
    if format is not None and math.isfinite(low) and math.isfinite(high):  # where an end rounds to must be inside
        low, high = max(format.at_most(low), -format.largest), min(format.at_least(high), format.largest)
    return grid_between(low, high, dtype)


def _reach(element: Element) -> tuple[float, float]:
    """From where to where; each law of a mixture counts, however rare its values are."""
    if isinstance(element, ZeroInflated):
        reaches = [_reach(law) for _, law in element.components]
        return min(low for low, _ in reaches), max(high for _, high in reaches)
    low, high = (float(end) for end in element.support)
    mean, far = float(element.mean), REACH * element.std
    return max(low, mean - far), min(high, mean + far)


def grid_of_values(raw: Array, dtype: str, engine: Engine) -> Grid:
    """Bins for values, or for the tensor they are a sample of: from the least to the largest, cut at 5 deviations."""
    part = count(raw, dtype, Grid(0.0, 1.0, 1), engine)
    if part.minimum is None or part.maximum is None:
        return grid_between(0.0, 0.0, dtype)
    low, high = float(part.minimum), float(part.maximum)
    mean, std = part.mean_and_std(Grid(0.0, 1.0, 1))
    if math.isfinite(std):
        low, high = max(low, mean - REACH * std), min(high, mean + REACH * std)
    if dtype not in FORMATS or not high > low:
        return grid_between(low, high, dtype)
    margin = (high - low) / (BINS - 1) / 2.0  # the least and the largest in the middle of the outer bins
    return grid_between(low - margin, high + margin, dtype)


def grid_between(low: float, high: float, dtype: str) -> Grid:
    """Bins from low to high, both included; around a single value; of whole numbers for integers."""
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        low = high = 0.0  # an infinite constant
    if dtype == "bool":
        return Grid(0.5, 1.0, 2)
    if dtype not in FORMATS and dtype != "complex64":
        first = math.floor(low)
        span = math.ceil(high) - first + 1
        step = -(-max(span, FEWEST_WHOLE) // BINS)
        bins = -(-max(span, FEWEST_WHOLE) // step)
        begin = first - (bins * step - span) // 2 - 0.5
        return Grid(begin + bins * step / 2, float(step), bins)
    if low == high:
        half = min(abs(low) / 2.0 or 0.5, sys.float_info.max - abs(low))
        low, high = low - half, high + half
    width = (high / BINS - low / BINS) * (1.0 + TINY)
    return Grid(low / 2.0 + high / 2.0, min(max(width, SMALLEST_WIDTH), LARGEST_WIDTH), BINS)


def probabilities(element: Element, grid: Grid, dtype: str) -> Array:
    """The probability of each bin, the outer two included, after rounding to the dtype.

    Values of the dtype at an edge or above belong to the upper bin, so the law is cut half-way between the last value
    below the edge and the first that is not: in 8 bits a bin may hold two values or none.
    """
    with np.errstate(all="ignore"):
        return np.diff(_chance_below(element, grid.edges, FORMATS.get(dtype)), prepend=0.0, append=1.0)


def _chance_below(element: Element, edges: Array, format: Format | None) -> Array:
    """The probability of a value below each edge."""
    if isinstance(element, ZeroInflated):
        below = [share * _chance_below(law, edges, format) for share, law in element.components]
        return np.asarray(sum(below), np.float64)
    chance = np.asarray(element.cdf(np.array([_cut(float(edge), format) for edge in edges])), np.float64)
    if format is None or not isinstance(element, (Uniform, TruncatedNormal, StepBias, LogOfUniform)):
        return chance
    # These are kept within their bounds after rounding: the last value inside takes what would round out of them.
    low, high = element.support
    lowest = format.at_least(low)
    highest = format.below(high) if isinstance(element, Uniform) else format.at_most(high)
    return np.where(edges > highest, 1.0, np.where(edges <= lowest, 0.0, chance))


def _cut(edge: float, format: Format | None) -> float:
    if format is None or format.name == "float64":
        return math.nextafter(edge, -math.inf)
    return format.below(edge) / 2.0 + format.at_least(edge) / 2.0
