"""The independent laws: every element is its own draw. Constant, uniform, normal, truncated normal, Laplace."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastinit.dtypes import Format
from fastinit.engines import reference
from fastinit.engines.gaussian import lower_tail, truncated_std, upper_tail
from fastinit.engines.stream import DEEP_TAIL_32
from fastinit.laws.functions import function
from fastinit.laws.law import (
    IndependentLaw,
    KernelArguments,
    arguments,
    finite,
    real,
    refuse_overflow,
    standard_deviation,
    warn_if_lost,
)
from fastinit.laws.planar import (
    ComplexLaw,
    ComplexNormal,
    ComplexTruncatedNormal,
    ComplexUniform,
    complex_truncated_std,
)
from fastinit.products import legendre

# Tail probabilities below 2^-126 are raised to it; under this mass more than 2^-16 of the draws would meet there.
SMALLEST_MASS = 2.0**-110
NARROWEST = 2.0**-16  # of the tail it lies in: a float32 tail probability has 24 bits, such an interval 256 values
PIECES = 16  # of an interval whose moments are integrated: each is at most 1.25 standard deviations wide
FAR = 1e6  # standard deviations: nothing is beyond, and squares are no trouble
LARGEST_UNIT = np.float32(1 - 2.0**-24)  # of the uniform float32 in [0, 1)


@dataclass(frozen=True)
class Constant(IndependentLaw):
    """Every element is `value`: a real or complex number, a bool, an integer; infinite is legal (masks)."""

    draws = floats_only = False
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

    def kernel_arguments(self, format: Format) -> None:
        """Check that the value is within the range of the format."""
        try:
            value = float(self.value)
        except OverflowError:
            value = math.inf if self.value > 0 else -math.inf
            refuse_overflow(self, value, format)
        if math.isinf(value) and format.name == "float8_e4m3fn":
            raise ValueError("float8_e4m3fn has no infinity; its largest value is 448")
        if math.isfinite(value):
            refuse_overflow(self, value, format)

    def stored(self, dtype: np.dtype[Any], format: Format | None) -> np.ndarray[Any, Any]:
        """The value as one storage element, kept for the next buffer; ValueError where the dtype cannot hold it."""
        kept: dict[Any, np.ndarray[Any, Any]] = self.__dict__.setdefault("_stored", {})
        if (dtype, format) not in kept:
            kept[dtype, format] = self._as_element(dtype, format)
        return kept[dtype, format]

    @np.errstate(all="ignore")
    def _as_element(self, dtype: np.dtype[Any], format: Format | None) -> np.ndarray[Any, Any]:
        value = np.asarray(self.value)
        if value.dtype.kind == "c" and dtype.kind != "c":
            raise ValueError(f"{self} does not fit dtype {dtype}, which is real; pass its real part")
        if format is not None:
            self.kernel_arguments(format)
            number = float(self.value)
            if format.code == 0:
                return np.asarray(number, format.working)
            if math.isfinite(number) or format.name in ("float16", "bfloat16"):
                single = np.full(1, number, np.float64).astype(np.float32)
                return np.asarray(reference.rounded(single, np.dtype(format.storage), format.code)[0])
            exponent = 0x7C if math.isinf(number) else 0x7F
            return np.asarray(exponent | (0x80 if number < 0 else 0), np.uint8)
        try:
            stored = value.astype(dtype)
        except OverflowError:
            message = f"{self} is too large for dtype {dtype}; pass a value it can hold, or use a wider dtype"
            raise ValueError(message) from None
        if dtype.kind in "biu" and not (stored == value).all():
            raise ValueError(f"{self} does not fit dtype {dtype}; pass a value it can hold")
        whole = value.dtype.kind == "O"  # an integer beyond 64 bits, of which NumPy cannot say that it is finite
        if (whole or np.isfinite(value).all()) and not np.isfinite(stored).all():
            raise ValueError(f"{self} overflows dtype {dtype}; use a wider dtype")
        return stored


@dataclass(frozen=True)
class Uniform(IndependentLaw):
    """Uniform on [low, high): the density is 1 / (high - low).

    Drawn as low + (high - low) u with u a multiple of 2^-24 (2^-53 for float64), and kept in [low, high) after
    rounding to any dtype. Raises ValueError unless both are finite and low < high.
    """

    low: float
    high: float

    def __init__(self, low: float = 0.0, high: float = 1.0) -> None:
        object.__setattr__(self, "low", finite(low, "Uniform: low"))
        object.__setattr__(self, "high", finite(high, "Uniform: high"))
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

    def complex_form(self) -> ComplexUniform:
        """The disc of radius a sqrt(2 / 3) in place of [-a, a); another interval is refused."""
        if self.low != -self.high:
            raise ValueError(
                f"{self} is not symmetric about 0, and has no form for complex numbers; use Uniform(-a, a), which is a "
                "disc there, or laws.ComplexUniform"
            )
        return ComplexUniform(self.high * math.sqrt(2.0 / 3.0))

    def kernel_arguments(self, format: Format) -> KernelArguments:
        """Reals: low, span, and the smallest and largest value allowed."""
        refuse_overflow(self, max(abs(self.low), abs(self.high)), format)
        span = self.high - self.low
        if span > float(np.finfo(format.working).max):
            raise ValueError(f"{self} spans {span:.4g}, which overflows {format.working}; use a smaller range")
        lowest, highest = format.at_least(self.low), format.below(self.high)
        if lowest > highest:
            raise ValueError(f"{self} holds no {format.name} value; use a wider range or a wider dtype")
        warn_if_lost(self.mean, self.std, format)
        kernel = "uniform_steps" if format.name == "float32" and self._goes_by_steps(span, highest) else "uniform"
        return arguments(kernel, format, (self.low, span, lowest, highest))

    def _goes_by_steps(self, span: float, highest: float) -> bool:
        """Whether span 2^-24 is an exact float32, and no value is above the highest: so it is for most laws."""
        return span >= 2.0**-102 and bool(np.float32(self.low) + np.float32(span) * LARGEST_UNIT <= highest)


@dataclass(frozen=True)
class Normal(IndependentLaw):
    """Normal with this mean and standard deviation: Box-Muller, reaching 6.76 std (9.49 for float64) from the mean.

    Raises ValueError unless both are finite and std >= 0; std 0 gives the mean everywhere.
    """

    mean: float
    std: float

    def __init__(self, mean: float = 0.0, std: float = 1.0) -> None:
        object.__setattr__(self, "mean", finite(mean, "Normal: mean"))
        object.__setattr__(self, "std", standard_deviation(std, "Normal: std"))

    @property
    def support(self) -> tuple[float, float]:
        """The whole line."""
        return (-math.inf, math.inf) if self.std else (self.mean, self.mean)

    def cdf(self, x: Any) -> Any:
        """Phi((x - mean) / std)."""
        if not self.std:
            return Constant(self.mean).cdf(x)
        return function("special", "ndtr")((np.asarray(x, np.float64) - self.mean) / self.std)

    def complex_form(self) -> ComplexNormal:
        """The complex normal of this mean and standard deviation."""
        return ComplexNormal(self.mean, self.std)

    def kernel_arguments(self, format: Format) -> KernelArguments:
        """Reals: mean, std."""
        refuse_overflow(self, abs(self.mean) + (9.5 if format.name == "float64" else 6.77) * self.std, format)
        warn_if_lost(self.mean, self.std, format)
        # No |z| is below 2^-46, so that above this std none becomes -0.0, which a mean of 0 would make 0.0.
        centred = self.mean == 0.0 and self.std >= 2.0**-80 and format.working == "float32"
        return arguments("centred_normal" if centred else "normal", format, (self.mean + 0.0, self.std))


@dataclass(frozen=True)
class Laplace(IndependentLaw):
    """Laplace (double exponential) with this mean and standard deviation.

    The density is e^(-|x - mean| / scale) / (2 scale), scale = std / sqrt(2). One word an element; the tail reaches
    22.2 scales (44.4 for float64). A float32 value is within 1e-5 std of the float64 one in all but 2 of 10^5 elements.
    Raises ValueError unless both are finite and std >= 0; std 0 gives the mean everywhere. Source: the noise of
    differential privacy, Dwork, McSherry, Nissim and Smith 2006, "Calibrating noise to sensitivity".
    """

    mean: float
    std: float

    def __init__(self, mean: float = 0.0, std: float = 1.0) -> None:
        object.__setattr__(self, "mean", finite(mean, "Laplace: mean"))
        object.__setattr__(self, "std", standard_deviation(std, "Laplace: std"))

    @property
    def support(self) -> tuple[float, float]:
        """The whole line."""
        return (-math.inf, math.inf) if self.std else (self.mean, self.mean)

    def cdf(self, x: Any) -> Any:
        """e^-|z| / 2 below the mean and 1 - e^-|z| / 2 above, z = (x - mean) / scale."""
        if not self.std:
            return Constant(self.mean).cdf(x)
        z = (np.asarray(x, np.float64) - self.mean) / (self.std / math.sqrt(2.0))
        tail = 0.5 * np.exp(-np.abs(z))
        return np.where(z < 0.0, tail, 1.0 - tail)[()]

    def kernel_arguments(self, format: Format) -> KernelArguments:
        """Reals: mean, scale."""
        scale = self.std / math.sqrt(2.0)
        refuse_overflow(self, abs(self.mean) + (44.4 if format.name == "float64" else 22.2) * scale, format)
        warn_if_lost(self.mean, self.std, format)
        return arguments("laplace", format, (self.mean + 0.0, scale))


@dataclass(frozen=True)
class TruncatedNormal(IndependentLaw):
    """A normal of `parent_mean` and `parent_std`, conditioned to [low, high] (absolute bounds, either may be infinite).

    One word an element through the inverse of the distribution function, from the nearer tail: no rejection, any
    bounds. `mean` and `std` are those of the truncated law, to about 1e-15 of it. Raises ValueError unless low < high
    (or parent_std is 0 and low <= parent_mean <= high), and where the interval holds less than 2^-110 of the parent's
    mass (about 12 std away).
    """

    parent_mean: float
    parent_std: float
    low: float
    high: float

    def __init__(self, parent_mean: float, parent_std: float, low: float, high: float) -> None:
        object.__setattr__(self, "parent_mean", finite(parent_mean, "TruncatedNormal: parent_mean"))
        object.__setattr__(self, "parent_std", standard_deviation(parent_std, "TruncatedNormal: parent_std"))
        object.__setattr__(self, "low", real(low, "TruncatedNormal: low"))
        object.__setattr__(self, "high", real(high, "TruncatedNormal: high"))
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

    def _standard(self) -> Any:
        """SciPy's law in standard deviations of the parent, whose own square may be beyond float64."""
        alpha, beta = self._bounds()
        return function("stats", "truncnorm")(max(alpha, -FAR), min(beta, FAR))

    def _moments(self) -> tuple[float, float]:
        """Mean and std in standard deviations of the parent."""
        alpha, beta = self._bounds()
        nearest = min(max(0.0, alpha), beta)  # where the density is largest
        reach = 100.0 / (math.hypot(nearest, 10.0) + abs(nearest))  # beyond, it is e^-50 of that
        low, high = max(alpha - nearest, -reach), min(beta - nearest, reach)
        if low == -reach and high == reach:
            return 0.0, 1.0
        # A closed form cancels in narrow intervals and in tails; of Gauss's points each piece is exact to 1e-15.
        points, weights = legendre(40)
        half = (high - low) / (2 * PIECES)
        distance = low + half * (np.arange(1, 2 * PIECES, 2)[:, None] + points)
        weights = weights * np.exp(-distance * (nearest + distance / 2))
        shift = float(np.average(distance, weights=weights))
        return nearest + shift, math.sqrt(np.average((distance - shift) ** 2, weights=weights))

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
        if not self.parent_std:
            return Constant(self.parent_mean).cdf(x)
        return self._standard().cdf((np.asarray(x, np.float64) - self.parent_mean) / self.parent_std)

    def complex_form(self) -> ComplexLaw:
        """Cut by the modulus at as many standard deviations of its parent, about 0; other intervals are refused."""
        if not self.parent_std:
            return ComplexNormal(self.parent_mean, 0.0)
        if self.parent_mean or self.low != -self.high:
            raise ValueError(
                f"{self} is not symmetric about 0, and has no form for complex numbers; use bounds -b and b about a "
                "mean of 0, or laws.ComplexTruncatedNormal"
            )
        cut = self.high / self.parent_std
        parent_std = self.parent_std * truncated_std(cut) / complex_truncated_std(cut)
        return ComplexTruncatedNormal(parent_std, cut * parent_std)

    def kernel_arguments(self, format: Format) -> KernelArguments:
        """What a kernel receives.

        Reals: base of side A, base of side B, mass, mean, std, smallest, largest. Integers: last word of A, flips of A
        and B, whether the law is symmetric about 0, for which the compiled engine has a shorter form.
        """
        farthest = min(max(abs(self.low), abs(self.high)), abs(self.parent_mean) + 17.0 * self.parent_std)
        refuse_overflow(self, farthest, format)
        if not self.parent_std:
            return arguments("normal", format, (self.parent_mean + 0.0, 0.0))
        lowest, highest = format.at_least(self.low), format.at_most(self.high)
        if lowest > highest:
            raise ValueError(f"{self} holds no {format.name} value; use wider bounds or a wider dtype")
        lowest, highest = max(lowest, -format.largest), min(highest, format.largest)
        warn_if_lost(self.parent_mean, min(self.parent_std, self.high / 2 - self.low / 2), format)
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
        # Of a std near the smallest float32 values may round to zero, and the shorter form would give zero a sign.
        symmetric = base_a == base_b and last == 0x7FFFFFFF and lowest == -highest
        centred = symmetric and self.parent_mean == 0.0 and self.parent_std > 1e-30
        return arguments(kernel, format, reals, (last, flip_a, all_words, int(centred)))
