"""New rows that follow the rows there are: a normal law with their mean, and a factor times their covariance.

A row is mean + sqrt(factor / n) sum_i g_i (x_i - mean), with x_i the n old rows and g_i independent standard normals.
That has this mean and this covariance exactly, whatever their rank: nothing is factored, and a covariance matrix never
exists. Old rows are read in blocks, twice for up to `ROWS` new rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastinit.address import Shard
from fastinit.products import matmul

Array = np.ndarray[Any, Any]
Normals = Callable[[Array, Shard], object]
Read = Callable[[int, int], Array]  # first row, how many -> rows as float32 or float64

BLOCK = 1 << 24  # bytes of old rows at a time, as float32
ROWS = 1024  # new rows at a time: of 16,384 columns they take 64 MiB


@dataclass
class Moments:
    """The old rows, how to read them, and their mean in float64."""

    read: Read
    count: int
    columns: int
    mean: Array

    @classmethod
    def of(cls, read: Read, count: int, columns: int, what: str) -> Moments:
        """Read all rows once. Raises ValueError, which names `what`, where there is none, or one holds NaN or inf."""
        if count == 0:
            raise ValueError(f"{what} has no rows to take mean and covariance of; give the law of the new rows")
        total = np.zeros(columns)
        step = rows_at_once(columns)
        for first in range(0, count, step):
            total += read(first, min(step, count - first)).sum(axis=0, dtype=np.float64)
        if not np.isfinite(total).all():
            raise ValueError(f"{what} holds NaN or infinities, and so would its mean; give the law of the new rows")
        return cls(read, count, columns, total / count)

    def rows(self, first: int, count: int, factor: float, normals: Normals) -> Array:
        """New rows [first, first + count), in the working dtype.

        `normals` fills an array with rows and columns of the matrix of all g, of which it is a shard.
        """
        kind = self.read(0, 0).dtype
        found = np.zeros((count, self.columns), kind)
        if factor > 0:
            step = min(rows_at_once(self.columns), max(1, BLOCK // (4 * count)))
            centre = self.mean.astype(kind)
            part = np.empty((count, self.columns), kind)
            for begin in range(0, self.count, step):
                old = self.read(begin, min(step, self.count - begin))
                old -= centre
                g = np.empty((count, len(old)), kind)
                normals(g, Shard((first + count, self.count), (first, begin)))
                found += matmul(g, old, out=part)
            found *= math.sqrt(factor / self.count)
        found += self.mean.astype(kind)
        return found


def rows_at_once(columns: int) -> int:
    """How many rows are read at a time."""
    return max(1, BLOCK // (4 * max(1, columns)))
