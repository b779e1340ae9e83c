"""Mean, standard deviation and range of what was written, from the staging buffers while they are in the cache."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastinit.dtypes import decoded
from fastinit.products import dot

PIECE = 1 << 13  # elements; 64 KiB as float64 stay in the cache: 0.25 ms a MiB, twice that with larger pieces


@dataclass(frozen=True)
class Measured:
    """What `elements` values of a file came to, complex ones by their magnitudes. NaN where there were none."""

    elements: int
    mean: float
    std: float
    minimum: float
    maximum: float


def tally(values: np.ndarray[Any, Any], about: float) -> tuple[float, float, float, float, float]:
    """Count, sum and sum of squares of the distance from `about`, minimum, maximum; in float64."""
    total = squares = 0.0
    scratch = np.empty(PIECE)
    for begin in range(0, values.size, PIECE):
        part = values[begin : begin + PIECE]
        distance = scratch[: part.size]
        np.copyto(distance, part)
        distance -= about
        total += float(distance.sum())
        squares += dot(distance, distance)
    return values.size, total, squares, float(values.min()), float(values.max())


def combine(tallies: np.ndarray[Any, Any], about: float) -> Measured:
    """The result of all tallies, one a row, added exactly, so that neither threads nor their order show."""
    elements = int(tallies[:, 0].sum())
    if elements == 0:
        return Measured(0, math.nan, math.nan, math.nan, math.nan)
    minimum, maximum = float(tallies[:, 3].min()), float(tallies[:, 4].max())
    if minimum == maximum:  # a constant, perhaps infinite
        return Measured(elements, minimum, 0.0, minimum, maximum)
    shift = math.fsum(tallies[:, 1]) / elements
    variance = math.fsum(tallies[:, 2]) / elements - shift * shift
    return Measured(elements, about + shift, math.sqrt(max(variance, 0.0)), minimum, maximum)


def numbers(storage: np.ndarray[Any, Any], dtype: str) -> np.ndarray[Any, Any]:
    """The numbers that raw storage stands for; of complex ones their magnitudes."""
    return np.asarray(np.abs(storage)) if storage.dtype.kind == "c" else decoded(storage, dtype)
