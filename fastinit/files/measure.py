"""Mean, standard deviation and range of what was written, from the staging buffers while they are in the cache."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from fastinit.dtypes import Format
from fastinit.products import dot

PIECE = 1 << 13  # elements; 64 KiB as float64 stay in the cache: 0.25 ms a MiB, twice that with larger pieces


@dataclass(frozen=True)
class Measured:
    """What `elements` values of a file came to, complex ones by their moduli. NaN where there were none."""

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


def widened(storage: np.ndarray[Any, Any], format: Format | None) -> np.ndarray[Any, Any]:
    """The numbers that raw storage stands for: of complex ones their moduli; an array of real ones as it is."""
    if storage.dtype.kind == "c":
        return np.asarray(np.abs(storage))
    if format is None or storage.dtype.kind == "f":
        return storage
    if format.name == "bfloat16":
        return (storage.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return np.take(byte_values(format), storage)


@cache
def byte_values(format: Format) -> np.ndarray[Any, Any]:
    """The numbers that the 256 codes of an 8-bit format stand for. What is beyond the largest is infinite here."""
    values = np.empty(256, np.float32)
    for code in range(128):
        exponent, fraction = divmod(code, 1 << format.mantissa_bits)
        digits = fraction + (1 << format.mantissa_bits if exponent else 0)
        value = math.ldexp(digits, max(exponent, 1) - 1 + format.smallest_exponent - format.mantissa_bits)
        values[code] = value if value <= format.largest else math.inf
    values[128:] = -values[:128]
    return values
