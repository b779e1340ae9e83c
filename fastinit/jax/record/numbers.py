"""The number that code says, of the rounded one that a traced program holds; arithmetic on such numbers.

A program that is traced for float32 holds 0.02 as 0.019999999552965164, and 1 / 6 as 0.1666666716337204. A law takes
the number that was meant: a fraction of small integers, a few decimals, or the root of such a fraction.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from fastinit.engines.gaussian import truncated_std

MOST_ABOVE = 16  # of a fraction scale / fan; its denominator may be anything
MOST_DIGITS = 6  # of a decimal that somebody wrote
KNOWN = (math.sqrt(2.0), math.sqrt(3.0), math.pi, math.e, truncated_std(2.0))


def said(value: float, dtype: Any) -> float:
    """The number that code said, which rounds to `value` in a dtype of floats; `value` itself if none is plain."""
    dtype = np.dtype(dtype)
    size = abs(float(value))
    if dtype.itemsize > 4 or not math.isfinite(size) or size == int(size):
        return float(value)
    narrow = dtype.type(size)
    below, above = (float(np.nextafter(narrow, dtype.type(end))) for end in (0.0, math.inf))
    if not (0.0 < below and math.isfinite(above)):
        return float(value)
    low, high = (below + size) / 2, (size + above) / 2
    decimal = float(str(narrow))
    squared = _simplest(Fraction(low) ** 2, Fraction(high) ** 2)
    candidates = (
        *KNOWN,
        float(_short(_simplest(Fraction(low), Fraction(high)))),
        decimal if len(f"{decimal:e}".partition("e")[0].replace(".", "").rstrip("0")) <= MOST_DIGITS else math.nan,
        math.sqrt(_short(squared)),
        decimal,
    )
    found = next((number for number in candidates if float(dtype.type(number)) == size), size)
    return math.copysign(found, value)


def _short(fraction: Fraction) -> Fraction:
    """The fraction if it is plain, else 0."""
    above, below = fraction.numerator, fraction.denominator
    return fraction if above <= MOST_ABOVE or above * below <= 1 << 12 else Fraction(0)


def _simplest(low: Fraction, high: Fraction) -> Fraction:
    """The fraction with the least denominator between two positive numbers, by their continued fractions."""
    whole = math.floor(low)
    if whole == low:
        return Fraction(whole)
    if whole + 1 <= high:
        return Fraction(whole + 1)
    return whole + 1 / _simplest(1 / (high - whole), 1 / (low - whole))


def _erf_inv(x: float) -> float:
    from scipy.special import erfinv

    return float(erfinv(x))


# name of a primitive -> the same on numbers as they are said; what is not here is computed by JAX
EXACT: dict[str, Callable[..., float]] = {
    "add": lambda x, y: x + y,
    "add_any": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "neg": lambda x: -x,
    "abs": abs,
    "max": max,
    "min": min,
    "pow": lambda x, y: float(x**y),
    "integer_pow": lambda x, *, y: float(x**y),
    "square": lambda x: x * x,
    "sqrt": math.sqrt,
    "rsqrt": lambda x: 1.0 / math.sqrt(x),
    "exp": math.exp,
    "expm1": math.expm1,
    "log": math.log,
    "log1p": math.log1p,
    "erf": math.erf,
    "erf_inv": _erf_inv,
    "nextafter": lambda x, towards: x,  # a bound that is left out, or in: our laws know which of theirs are
}
