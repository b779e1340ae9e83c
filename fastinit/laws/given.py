"""A table of values that are given: sinusoids, positions, masks, which a model computes without chance."""

from __future__ import annotations

import binascii
import math
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from fastinit.address import integer
from fastinit.dtypes import FORMATS, Format
from fastinit.laws.law import Element, refuse_overflow
from fastinit.laws.patterns import Index, Pattern

Array = np.ndarray[Any, Any]

KINDS = ("bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64")


@dataclass(frozen=True)
class Given(Pattern):
    """The values of an array, whatever the seed.

    shape   of the array, which is that of the tensor
    kind    dtype of the values: bool, an integer, float32 or float64
    data    the values, row by row, little-endian, in base64

    `Given.of(array)` makes one. Floats are rounded to the dtype of the tensor; integers and bools must fit it. Raises
    TypeError or ValueError for another kind, and for data that is no base64 or has another length than the shape says;
    at the fill, for a tensor of another shape.
    """

    shape: tuple[int, ...]
    kind: str
    data: str = field(repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.shape, str) or not isinstance(self.shape, (tuple, list)):
            raise TypeError(f"Given: shape is {self.shape!r}; pass a tuple of integers")
        shape = tuple(integer(n, "Given: an entry of shape") for n in self.shape)
        if any(n < 0 for n in shape):
            raise ValueError(f"Given: shape {shape} has a negative entry")
        if self.kind not in KINDS:
            raise ValueError(f"Given: kind is {self.kind!r:.100}; it can be {', '.join(KINDS)}")
        if not isinstance(self.data, str):
            raise TypeError(f"Given: data is {self.data!r:.100}; pass base64 text, or use Given.of(array)")
        object.__setattr__(self, "shape", shape)
        wanted = math.prod(shape) * np.dtype(self.kind).itemsize
        if len(self.data) != (wanted + 2) // 3 * 4:
            raise ValueError(
                f"Given: data has {len(self.data):,} characters, and {wanted:,} bytes of {self.kind} of shape {shape} "
                f"have {(wanted + 2) // 3 * 4:,} in base64"
            )
        try:
            held = b64decode(self.data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"Given: data is no base64: {error}") from None
        if len(held) != wanted:
            raise ValueError(f"Given: data holds {len(held):,} bytes, and shape and kind say {wanted:,}")
        if self.kind == "bool" and not set(held) <= {0, 1}:
            raise ValueError("Given: data of kind bool holds bytes that are neither 0 nor 1")

    @classmethod
    def of(cls, values: Any) -> Given:
        """The law of an array; bfloat16 and half floats are kept as float32, which holds them."""
        array = np.asarray(values)
        if array.dtype.name not in KINDS:
            array = array.astype(np.float32)
        ordered = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        return cls(array.shape, array.dtype.name, b64encode(ordered.tobytes()).decode())

    @cached_property
    def values(self) -> Array:
        """The values, read-only."""
        kind = np.dtype(self.kind).newbyteorder("<")
        return np.frombuffer(b64decode(self.data), kind).astype(self.kind, copy=False).reshape(self.shape)

    @property
    def floats_only(self) -> bool:  # type: ignore[override]
        """Whether the values are no integers, which every dtype of numbers may hold."""
        return self.kind.startswith("float")

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse a tensor of another shape."""
        if tuple(shape) != self.shape:
            raise ValueError(f"Given: the values have shape {self.shape}, and the tensor {tuple(shape)}")

    def places(self, shape: tuple[int, ...], offsets: tuple[int, ...], block: tuple[int, ...]) -> tuple[Index, Any]:
        """Everywhere."""
        part = self.values[tuple(slice(at, at + n) for at, n in zip(offsets, block, strict=True))]
        return (Ellipsis,), part  # type: ignore[return-value]

    def marginal(self, shape: tuple[int, ...]) -> Element:
        """One of the values."""
        self.check(shape)
        return OneOf(self)

    def kernel_arguments(self, format: Format) -> None:
        """Check that the values fit the format."""
        largest, infinite = self._extent
        refuse_overflow(self, largest, format)
        if format.name == "float8_e4m3fn" and infinite:
            raise ValueError("Given: float8_e4m3fn has no infinity; its largest value is 448")

    @cached_property
    def _extent(self) -> tuple[float, bool]:
        """The largest finite magnitude, and whether there is an infinity."""
        numbers = self.values.astype(np.float64)
        finite = np.abs(numbers[np.isfinite(numbers)])
        return float(finite.max()) if finite.size else 0.0, bool(np.isinf(numbers).any())

    def stored(self, dtype: np.dtype[Any]) -> None:
        """Refuse a dtype, not of floats, that cannot hold the values."""
        if dtype.name not in FORMATS and not (self.values.astype(dtype) == self.values).all():
            raise ValueError(f"{self} does not fit dtype {dtype}; pass values it can hold")


@dataclass(frozen=True)
class OneOf(Element):
    """One of the values of a table, each element as likely."""

    table: Given

    @cached_property
    def _sorted(self) -> Array:
        return np.sort(self.table.values.astype(np.float64), axis=None)

    @property
    def mean(self) -> float:  # type: ignore[override]
        """Of the values."""
        return float(self._sorted.mean()) if self._sorted.size else 0.0

    @property
    def std(self) -> float:  # type: ignore[override]
        """Of the values; infinite where one is."""
        if not np.isfinite(self._sorted).all():
            return 0.0 if (self._sorted == self._sorted[0]).all() else math.inf
        return float(self._sorted.std()) if self._sorted.size else 0.0

    @property
    def support(self) -> tuple[float, float]:
        """The least and the largest."""
        return (float(self._sorted[0]), float(self._sorted[-1])) if self._sorted.size else (0.0, 0.0)

    def cdf(self, x: Any) -> Any:
        """The share of the values up to x."""
        return np.searchsorted(self._sorted, np.asarray(x, np.float64), side="right") / max(self._sorted.size, 1)
