"""One table of what a buffer can hold: NumPy dtype, storage, precision of the arithmetic, limits."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from fastinit.engines import interface


@dataclass(frozen=True, eq=False)  # compared and hashed by identity: there is one of each
class Format:
    """A floating-point format: how it is stored, how it rounds, how far it reaches.

    storage          the NumPy dtype whose elements hold it
    working          the NumPy dtype the laws are computed in: float64 for float64, float32 for all others
    code             what tells the engines apart formats of one storage size (0: storage is the working precision)
    mantissa_bits    bits behind the leading one
    smallest_exponent  exponent of the smallest normal number
    largest          the largest finite value
    """

    name: str
    storage: str
    code: int
    mantissa_bits: int
    smallest_exponent: int
    largest: float

    @cached_property
    def working(self) -> str:
        """The NumPy dtype the laws are computed in."""
        return "float64" if self.name == "float64" else "float32"

    @cached_property
    def smallest_subnormal(self) -> float:
        """The smallest positive value."""
        return math.ldexp(1.0, self.smallest_exponent - self.mantissa_bits)

    def _place(self, x: float) -> float:
        """The distance between neighbouring values at x."""
        exponent = math.frexp(x)[1] - 1 if x else self.smallest_exponent
        return math.ldexp(1.0, max(exponent, self.smallest_exponent) - self.mantissa_bits)

    def at_least(self, x: float) -> float:
        """The smallest value >= x; may be infinite."""
        if x < -self.largest:
            return -self.largest
        if self.name == "float64" or math.isinf(x):
            return x + 0.0
        value = math.ceil(x / self._place(x)) * self._place(x) + 0.0
        return value if value <= self.largest else math.inf

    def at_most(self, x: float) -> float:
        """The largest value <= x; may be infinite."""
        return -self.at_least(-x) + 0.0

    def below(self, x: float) -> float:
        """The largest value < x; may be infinite."""
        value = self.at_most(x)
        if value != x or math.isinf(x):
            return value
        if self.name == "float64":
            return math.nextafter(x, -math.inf) + 0.0
        # A quarter of a step is less than the finer step below a power of two, and at_most rounds down from there.
        return self.at_most(x - self._place(x) / 4)

    def overflows(self, x: float) -> bool:
        """Whether |x|, rounded to the working precision and then to this format, is above the largest finite value."""
        if abs(x) <= self.largest:
            return False
        with np.errstate(over="ignore"):
            worked = float(np.dtype(self.working).type(abs(x)))
        place = self._place(self.largest)
        # Half a place above the largest is a tie, and goes to the even neighbour: down only in float8_e4m3fn.
        edge = self.largest + place / 2
        return worked > edge or (worked == edge and self.largest / place % 2 == 1)


FORMATS = {
    one.name: one
    for one in (
        Format("float64", "float64", 0, 52, -1022, float(np.finfo(np.float64).max)),
        Format("float32", "float32", 0, 23, -126, float(np.finfo(np.float32).max)),
        Format("float16", "uint16", interface.FLOAT16, 10, -14, 65504.0),
        Format("bfloat16", "uint16", interface.BFLOAT16, 7, -126, (2 - 2.0**-7) * 2.0**127),
        Format("float8_e4m3fn", "uint8", interface.FLOAT8_E4M3FN, 3, -6, 448.0),
        Format("float8_e5m2", "uint8", interface.FLOAT8_E5M2, 2, -14, 57344.0),
    )
}
NAMES = ", ".join(FORMATS)
# The format of each of the two parts of a complex number.
PARTS = {"complex64": FORMATS["float32"], "complex128": FORMATS["float64"]}


def format_of(array_dtype: np.dtype[Any], dtype: object = None) -> Format | None:
    """The format of a buffer: `dtype` where given, else what its own dtype says; None where that is no float of ours.

    A buffer's own dtype may be given whatever it is and however NumPy spells it: complex numbers, integers, "f4".

    Raises TypeError where `dtype` cannot be what the elements of the buffer hold.
    """
    own = _own_format(array_dtype)
    if dtype is None:
        return own
    name = dtype if isinstance(dtype, str) else ""
    # NumPy has no such dtype, as bfloat16 without ml_dtypes, or cannot parse it.
    with contextlib.suppress(TypeError, ValueError, SyntaxError):
        given: np.dtype[Any] = np.dtype(dtype)  # type: ignore[call-overload]
        if given == array_dtype:
            return own
        name = name or given.name
    asked = FORMATS.get(name)
    if asked is None:
        raise TypeError(f"dtype={dtype!r} is not a format fastinit fills; it fills {NAMES}")
    if own is not asked and array_dtype.newbyteorder("=") != asked.storage:
        raise TypeError(
            f"dtype={name!r} does not fit a buffer of {array_dtype.name}: "
            f"pass {name} elements, or raw {asked.storage} storage with dtype={name!r}"
        )
    return asked


@lru_cache
def _own_format(array_dtype: np.dtype[Any]) -> Format | None:
    return FORMATS.get(array_dtype.name)


def array_dtype(name: str) -> np.dtype[Any]:
    """The NumPy dtype of a format: NumPy's own, ml_dtypes' where that is installed, else the raw storage."""
    if name in ("float64", "float32", "float16"):
        return np.dtype(name)
    try:
        import ml_dtypes
    except ModuleNotFoundError:
        return np.dtype(FORMATS[name].storage)
    dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
    return dtype


@lru_cache
def storage_dtype(name: str) -> np.dtype[Any]:
    """The NumPy dtype that holds elements of this name: raw integers for bfloat16 and float8, else NumPy's own."""
    return np.dtype(FORMATS[name].storage if name in FORMATS and name != "float16" else name)


def decoded(storage: np.ndarray[Any, Any], dtype: str) -> np.ndarray[Any, Any]:
    """The numbers that elements of this name are: float32 where NumPy has no such dtype, else the storage itself."""
    if dtype == "bfloat16":
        return (storage.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if storage.dtype == np.uint8 and dtype in FORMATS:
        return np.take(byte_values(FORMATS[dtype]), storage)
    return storage


@lru_cache
def byte_values(format: Format) -> np.ndarray[Any, Any]:
    """The numbers of the 256 codes of an 8-bit format, float32; NaN for codes of none, all of them in e4m3fn."""
    values = np.empty(256, np.float32)
    for code in range(128):
        exponent, fraction = divmod(code, 1 << format.mantissa_bits)
        digits = fraction + (1 << format.mantissa_bits if exponent else 0)
        value = math.ldexp(digits, max(exponent, 1) - 1 + format.smallest_exponent - format.mantissa_bits)
        if value > format.largest:
            value = math.inf if fraction == 0 and format.name == "float8_e5m2" else math.nan
        values[code] = value
    values[128:] = -values[:128]
    return values
