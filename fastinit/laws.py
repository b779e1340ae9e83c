"""The laws: small frozen values that say what to draw, with their moments, support and distribution function.

A law knows nothing of fans or buffers. `prepare` checks its numbers against the format of a buffer and turns them into
what a kernel receives, in float64 by the expressions that docs/stream.md prints, rounded once to the working
precision.
"""

from __future__ import annotations

import math
import sys
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastinit.dtypes import Format
from fastinit.engines.constants import DEEP_TAIL_32
from fastinit.gaussian import lower_tail, upper_tail

# Tail probabilities below 2^-126 are raised to it; under this mass more than 2^-16 of the draws would meet there.
SMALLEST_MASS = 2.0**-110
# A float32 tail probability has 24 bits: an interval with less than 2^-16 of the tail it lies in has under 256 values.
NARROWEST = 2.0**-16


@dataclass(frozen=True)
class Draw:
    """What a kernel receives: its name, reals in the working precision, and integers."""

    kernel: str
    reals: np.ndarray[Any, Any]
    integers: np.ndarray[Any, Any]


def _draw(kernel: str, format: Format, reals: tuple[float, ...], integers: tuple[int, ...] = (0,)) -> Draw:
    bits = 64 if format.working == "float64" else 32
    return Draw(f"{kernel}_{bits}", np.array(reals, format.working), np.array(integers, np.uint32))


def real(value: object, what: str) -> float:
    """A real number as float64; complex, text and bool are refused."""
    if type(value) is float:
        return value
    try:
        if not isinstance(value, (bool, np.bool_, str, bytes, bytearray)):
            return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        pass
    except OverflowError:
        raise ValueError(f"{what} is an integer beyond float64; it must be finite") from None
    raise TypeError(f"{what} is {value!r} of type {type(value).__name__}; pass a real number")


def finite(value: object, what: str) -> float:
    """A real number that is neither infinite nor NaN."""
    number = real(value, what)
    if not math.isfinite(number):
        raise ValueError(f"{what} is {number}; it must be finite")
    return number


def _std(value: object, what: str = "std") -> float:
    number = finite(value, what)
    if number < 0:
        raise ValueError(f"{what} is {number}; it must be zero or positive")
    return number


def _warn_if_lost(mean: float, std: float, format: Format) -> None:
    """Warn where rounding to the format makes most draws zero."""
    if 0 < std < 4 * format.smallest_subnormal and abs(mean) < 4 * format.smallest_subnormal:
        warnings.warn(
            f"std {std:.3g} is under 4 times the smallest positive {format.name} ({format.smallest_subnormal:.3g}): "
            "many values will be zero. Use a wider dtype, or a larger std with a multiplier in the model.",
            UserWarning,
            stacklevel=_caller(),
        )


def _caller() -> int:
    """The stack level, for a warning, of the first frame outside this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("fastinit."):
        frame, level = frame.f_back, level + 1
    return level


def _refuse_overflow(law: Law, largest: float, format: Format) -> None:
    if format.overflows(largest):
        raise ValueError(
            f"{law} reaches {largest:.4g}, beyond the largest {format.name} ({format.largest:.4g}); "
            "use a smaller scale or a wider dtype"
        )


class Law(ABC):
    """What to draw: mean, std, support and cdf are those of the values drawn, before rounding to the buffer's dtype."""

    mean: float
    std: float

    @property
    @abstractmethod
    def support(self) -> tuple[float, float]:
        """The smallest and the largest value."""

    @abstractmethod
    def cdf(self, x: Any) -> Any:
        """P(value <= x), for a number or an array."""

    @abstractmethod
    def prepare(self, format: Format) -> Draw | None:
        """Check the law against a format and return what its kernel receives; None for a constant.

        Raises ValueError where values would overflow the format, or where no value of the format is in the support.
        """


@dataclass(frozen=True)
class Constant(Law):
    """Every element is `value`: a real or complex number, a bool, an integer; infinite is legal (masks)."""

    value: Any

    def __post_init__(self) -> None:
        if isinstance(self.value, int):  # of any size: NumPy makes an object of 2^64
            return
        if np.ndim(self.value) != 0 or isinstance(self.value, (np.void, bytes)):
            raise TypeError(f"Constant: value is {self.value!r}; pass one number")
        if np.asarray(self.value).dtype.kind not in "biufcV":
            raise TypeError(f"Constant: value is {self.value!r}; pass one number")

    @property
    def mean(self) -> Any:  # type: ignore[override]
        """The value itself."""
        return self.value

    @property
    def std(self) -> float:  # type: ignore[override]
        """Zero."""
        return 0.0

    @property
    def support(self) -> tuple[float, float]:
        """The value, twice."""
        return (self.value, self.value)

    def cdf(self, x: Any) -> Any:
        """0 below the value, 1 from it on."""
        return np.where(np.asarray(x) >= self.value, 1.0, 0.0)[()]

    def prepare(self, format: Format) -> None:
        """Check that the value is within the range of the format."""
        try:
            value = float(self.value)
        except OverflowError:
            value = math.inf if self.value > 0 else -math.inf
            _refuse_overflow(self, value, format)
        if math.isinf(value) and format.name == "float8_e4m3fn":
            raise ValueError("float8_e4m3fn has no infinity; its largest value is 448")
        if math.isfinite(value):
            _refuse_overflow(self, value, format)


@dataclass(frozen=True)
class Uniform(Law):
    """Uniform on [low, high): the density is 1 / (high - low).

    Drawn as low + (high - low) u with u a multiple of 2^-24 (2^-53 for float64), and kept in [low, high) after
    rounding to any dtype. Raises ValueError unless both are finite and low < high.
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", finite(self.low, "Uniform: low"))
        object.__setattr__(self, "high", finite(self.high, "Uniform: high"))
        if not self.low < self.high:
            raise ValueError(f"Uniform: low {self.low} is not below high {self.high}; swap them, or use Constant")

    @property
    def mean(self) -> float:  # type: ignore[override]
        """(low + high) / 2."""
        return self.low / 2 + self.high / 2

    @property
    def std(self) -> float:  # type: ignore[override]
        """(high - low) / sqrt(12)."""
        return (self.high / 2 - self.low / 2) / math.sqrt(3)

    @property
    def support(self) -> tuple[float, float]:
        """Low and high; high itself is never drawn."""
        return (self.low, self.high)

    def cdf(self, x: Any) -> Any:
        """(x - low) / (high - low), cut to [0, 1]."""
        return np.clip((np.asarray(x, np.float64) - self.low) / (self.high - self.low), 0.0, 1.0)[()]

    def prepare(self, format: Format) -> Draw:
        """Reals: low, span, and the smallest and largest value allowed."""
        _refuse_overflow(self, max(abs(self.low), abs(self.high)), format)
        span = self.high - self.low
        if span > float(np.finfo(format.working).max):
            raise ValueError(f"{self} spans {span:.4g}, which overflows {format.working}; use a smaller range")
        lowest, highest = format.at_least(self.low), format.below(self.high)
        if lowest > highest:
            raise ValueError(f"{self} holds no {format.name} value; use a wider range or a wider dtype")
        _warn_if_lost(self.mean, self.std, format)
        return _draw("uniform", format, (self.low, span, lowest, highest))


@dataclass(frozen=True)
class Normal(Law):
    """Normal with this mean and standard deviation: Box-Muller, reaching 6.76 std (9.49 for float64) from the mean.

    Raises ValueError unless both are finite and std >= 0; std 0 gives the mean everywhere.
    """

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", finite(self.mean, "Normal: mean"))
        object.__setattr__(self, "std", _std(self.std, "Normal: std"))

    @property
    def support(self) -> tuple[float, float]:
        """The whole line."""
        return (-math.inf, math.inf) if self.std else (self.mean, self.mean)

    def cdf(self, x: Any) -> Any:
        """Phi((x - mean) / std)."""
        if not self.std:
            return Constant(self.mean).cdf(x)
        from scipy.special import ndtr

        return ndtr((np.asarray(x, np.float64) - self.mean) / self.std)

    def prepare(self, format: Format) -> Draw:
        """Reals: mean, std."""
        _refuse_overflow(self, abs(self.mean) + (9.5 if format.name == "float64" else 6.77) * self.std, format)
        _warn_if_lost(self.mean, self.std, format)
        return _draw("normal", format, (self.mean + 0.0, self.std))


@dataclass(frozen=True)
class TruncatedNormal(Law):
    """A normal of `parent_mean` and `parent_std`, conditioned to [low, high] (absolute bounds, either may be infinite).

    One word an element through the inverse of the distribution function, from the nearer tail: no rejection, any
    bounds. `mean` and `std` are those of the truncated law. Raises ValueError unless low < high (or parent_std is 0
    and low <= parent_mean <= high), and where the interval holds less than 2^-110 of the parent's mass (about 12 std
    away).
    """

    parent_mean: float
    parent_std: float
    low: float
    high: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "parent_mean", finite(self.parent_mean, "TruncatedNormal: parent_mean"))
        object.__setattr__(self, "parent_std", _std(self.parent_std, "TruncatedNormal: parent_std"))
        object.__setattr__(self, "low", real(self.low, "TruncatedNormal: low"))
        object.__setattr__(self, "high", real(self.high, "TruncatedNormal: high"))
        if not self.parent_std and self.low <= self.parent_mean <= self.high:
            return
        if not self.low < self.high:
            raise ValueError(f"TruncatedNormal: low {self.low} is not below high {self.high}")
        if not self.parent_std or not self._mass() >= SMALLEST_MASS:
            raise ValueError(
                f"TruncatedNormal: [{self.low}, {self.high}] holds no mass of a normal of mean {self.parent_mean} "
                f"and std {self.parent_std} (under 2^-110, about 12 std away); move the bounds towards the mean"
            )

    def _bounds(self) -> tuple[float, float]:
        """The bounds in standard deviations."""
        return (self.low - self.parent_mean) / self.parent_std, (self.high - self.parent_mean) / self.parent_std

    def _mass(self) -> float:
        """The probability of the interval under the parent."""
        alpha, beta = self._bounds()
        if alpha >= 0.0:
            return upper_tail(alpha) - upper_tail(beta)
        if beta <= 0.0:
            return lower_tail(beta) - lower_tail(alpha)
        return (1.0 - lower_tail(alpha)) - upper_tail(beta)

    def _scipy(self) -> Any:
        from scipy.stats import truncnorm

        return truncnorm(*self._bounds(), loc=self.parent_mean, scale=self.parent_std)

    def _moments(self) -> tuple[float, float]:
        """Mean and std in standard deviations of the parent."""
        alpha, beta = self._bounds()
        middle, half = alpha / 2 + beta / 2, beta / 2 - alpha / 2
        if half * max(1.0, abs(middle)) > 2.0:
            law = self._scipy()
            return (law.mean() - self.parent_mean) / self.parent_std, law.std() / self.parent_std
        # The closed form cancels in a narrow interval (3 % at a width of 1e-5); 40 Gauss points are exact to 1e-15.
        points, weights = np.polynomial.legendre.leggauss(40)
        distance = half * points
        weights = weights * np.exp(-distance * (middle + distance / 2))
        shift = float(np.average(distance, weights=weights))
        return middle + shift, math.sqrt(np.average((distance - shift) ** 2, weights=weights))

    @property
    def mean(self) -> float:  # type: ignore[override]
        """The mean of the truncated law."""
        return float(self.parent_mean + self.parent_std * self._moments()[0]) if self.parent_std else self.parent_mean

    @property
    def std(self) -> float:  # type: ignore[override]
        """The standard deviation of the truncated law."""
        return float(self.parent_std * self._moments()[1]) if self.parent_std else 0.0

    @property
    def support(self) -> tuple[float, float]:
        """Low and high, both included."""
        return (self.low, self.high) if self.parent_std else (self.parent_mean, self.parent_mean)

    def cdf(self, x: Any) -> Any:
        """The parent's distribution function, rescaled to the interval."""
        return self._scipy().cdf(x) if self.parent_std else Constant(self.parent_mean).cdf(x)

    def prepare(self, format: Format) -> Draw:
        """Reals: base of side A, base of side B, mass, mean, std, smallest, largest; integers: last of A, flips."""
        farthest = min(max(abs(self.low), abs(self.high)), abs(self.parent_mean) + 17.0 * self.parent_std)
        _refuse_overflow(self, farthest, format)
        if not self.parent_std:
            return _draw("normal", format, (self.parent_mean + 0.0, 0.0))
        lowest, highest = format.at_least(self.low), format.at_most(self.high)
        if lowest > highest:
            raise ValueError(f"{self} holds no {format.name} value; use wider bounds or a wider dtype")
        lowest, highest = max(lowest, -format.largest), min(highest, format.largest)
        _warn_if_lost(self.parent_mean, min(self.parent_std, self.high / 2 - self.low / 2), format)
        alpha, beta = self._bounds()
        mass = self._mass()
        below, above, all_words = lower_tail(alpha), upper_tail(beta), 0xFFFFFFFF
        if alpha >= 0.0:
            base_a, base_b, last, flip_a, tail = above, above, all_words, all_words, upper_tail(alpha)
            smallest = above
        elif beta <= 0.0:
            base_a, base_b, last, flip_a, tail = below, below, all_words, 0, lower_tail(beta)
            smallest = below
        else:
            base_a, base_b, flip_a, tail = below, above, 0, 0.5
            threshold = math.ceil((0.5 - below) / mass * 2.0**32 - 0.5)
            last = min(max(threshold, 1), all_words) - 1
            smallest = min(below, above)
        if format.working == "float32" and mass < NARROWEST * tail:
            raise ValueError(
                f"{self} is too narrow for the 24 bits of a float32 probability: its draws would be a handful of "
                "values. Use a wider interval, float64, or Uniform, which such an interval almost is"
            )
        kernel = "truncated_deep" if smallest < DEEP_TAIL_32 and format.working == "float32" else "truncated"
        reals = (base_a, base_b, mass, self.parent_mean, self.parent_std, lowest, highest)
        return _draw(kernel, format, reals, (last, flip_a, all_words))
