"""Numbers into the elements of a dtype: rounded to nearest even, and refused where they would overflow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastinit.dtypes import FORMATS, Format, decoded, storage_dtype
from fastinit.engines import reference

Array = np.ndarray[Any, Any]


def working(dtype: str) -> np.dtype[Any]:
    """The NumPy dtype in which sums of elements of this dtype are computed."""
    return np.dtype(FORMATS[dtype].working)


def numbers(storage: Array, dtype: str, kind: np.dtype[Any]) -> Array:
    """The numbers that elements are, in a working dtype, in an array of their own."""
    return decoded(storage, dtype).astype(kind)


def encoded(values: Array, dtype: str, what: str) -> Array:
    """float32 or float64 numbers as elements of a dtype; float64 goes by way of float32 to what is narrower.

    NaN stays NaN (its quiet form), an infinity stays one. Raises ValueError, which names `what`, for a finite number
    that would become infinite or NaN, and for an infinity in a format that has none (float8_e4m3fn).
    """
    format = FORMATS[dtype]
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.ascontiguousarray(values, format.working)
        finite = np.isfinite(values)
    every = bool(finite.all())
    largest = float(
        np.abs(values).max(initial=0.0)
        if every
        else np.abs(values, where=finite, out=np.zeros_like(values)).max(initial=0.0)
    )
    if format.overflows(largest):
        raise ValueError(
            f"{what}: it reaches {largest:.4g}, beyond the largest {dtype} ({format.largest:.4g}); use a wider dtype"
        )
    if format.code == 0:
        return values
    if every:
        return _narrow(values, format)
    special = ~finite
    stored = _narrow(np.where(finite, values, np.float32(0)), format)
    stored[special] = _special(values[special], format, what)
    return stored


def check_finite(before: Array, after: Array, dtype: str, what: str) -> None:
    """Raise ValueError where a finite float64 became an infinite float32."""
    with np.errstate(invalid="ignore"):
        lost = np.isfinite(before) & ~np.isfinite(after)
    if lost.any():
        raise ValueError(f"{what}: it reaches {float(before[lost][0]):.4g}, beyond {dtype}; use a wider dtype")


def _narrow(values: Array, format: Format) -> Array:
    return np.asarray(reference.rounded(values, np.dtype(format.storage), format.code)).view(storage_dtype(format.name))


def _special(values: Array, format: Format, what: str) -> Array:
    """The elements that NaN and infinities are."""
    infinite = np.isinf(values)
    if format.name == "float16":
        return values.astype(np.float16)
    if format.name == "float8_e4m3fn" and infinite.any():
        raise ValueError(f"{what}: it has an infinity, and float8_e4m3fn has none; use a wider dtype")
    bits = 8 * np.dtype(format.storage).itemsize
    exponent = (1 << (bits - 1)) - (1 << format.mantissa_bits)
    quiet = 0x7F if format.name == "float8_e4m3fn" else exponent | (1 << (format.mantissa_bits - 1))
    codes = np.where(infinite, exponent, quiet) | np.where(np.signbit(values), 1 << (bits - 1), 0)
    return np.asarray(codes.astype(format.storage))


def has_no_number(values: Array) -> bool:
    """Whether some of them are NaN or infinite."""
    return not math.isfinite(float(values.sum(dtype=np.float64)))
