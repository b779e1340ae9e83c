"""The laws of Mamba's state space: the bias whose softplus is a log-uniform step, and the log of a uniform rate.

Both need exp and log, which no two libraries round alike: the kernels have their own, in float64 from one 32-bit word
for every dtype, rounded at the end. docs/stream.md, section 11, prints them.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastinit.dtypes import Format
from fastinit.engines.reference.exponential import inverse_softplus
from fastinit.engines.reference.logarithm import log_64
from fastinit.laws.law import IndependentLaw, KernelArguments, real, refuse_overflow
from fastinit.products import legendre

# The kernels split numbers into exponent and mantissa, and so want them, and what becomes of them, normal.
SMALLEST, LARGEST = 2.0**-1000, 2.0**1000


def _positive(value: object, what: str) -> float:
    """A number from 2^-1000 to 2^1000."""
    number = real(value, what)
    if not SMALLEST <= number <= LARGEST:
        raise ValueError(f"{what} is {number}; it must be positive and finite (from 2^-1000 to 2^1000)")
    return number


def _log(x: float) -> float:
    """The ln x of the kernels."""
    return float(log_64(np.array([x]))[0])


def _inverse_softplus(x: float) -> float:
    """The ln(e^x - 1) of the kernels."""
    return float(inverse_softplus(np.array([x]))[0])


def _prepared(kernel: str, law: IndependentLaw, format: Format, *reals: float) -> KernelArguments:
    """Check the support against the format; the reals stay float64, the smallest and largest value behind them."""
    low, high = law.support
    refuse_overflow(law, max(abs(low), abs(high)), format)
    lowest, highest = format.at_least(low), format.at_most(high)
    if lowest > highest:
        raise ValueError(f"{law} holds no {format.name} value; use a wider range or a wider dtype")
    return KernelArguments(kernel, np.array([*reals, lowest, highest]), np.zeros(1, np.uint32))


def _quadrature(low: float, high: float) -> tuple[Any, Any]:
    """Points of [low, high] with weights of sum 1: Gauss and Legendre's 40 in every piece of at most 4.

    The integrands are e^y and ln(e^(e^y) - 1), smooth within pi/2 of the line: the error is below 1e-16 of the largest.
    """
    pieces = math.ceil((high - low) / 4.0)
    half = (high - low) / (2.0 * pieces)
    points, weights = legendre(40)
    middles = low + half * np.arange(1.0, 2.0 * pieces, 2.0)
    return np.add.outer(middles, half * points).reshape(-1), np.tile(weights / (2.0 * pieces), pieces)


def _mean_and_std(values: Any, weights: Any) -> tuple[float, float]:
    mean = float(np.average(values, weights=weights))
    return mean, math.sqrt(np.average((values - mean) ** 2, weights=weights))


class _ByQuadrature(IndependentLaw):
    """A law whose moments are integrals."""

    @abstractmethod
    def _moments(self) -> tuple[float, float]:
        """Mean and standard deviation."""

    @property
    def mean(self) -> float:  # type: ignore[override]
        """The mean, by quadrature."""
        return self._moments()[0]

    @property
    def std(self) -> float:  # type: ignore[override]
        """The standard deviation, by quadrature."""
        return self._moments()[1]


@dataclass(frozen=True)
class StepBias(_ByQuadrature):
    """The bias whose softplus is a step dt, log-uniform on (low, high) and raised to `floor`: dt + ln(1 - e^-dt).

    dt = max(exp(ln low + u (ln high - ln low)), floor), u uniform on (0, 1): where floor is above low, the chance
    ln(floor / low) / ln(high / low) gathers at dt = floor. Raises ValueError unless low < high, floor < high, all
    positive.
    """

    low: float = 1e-3
    high: float = 0.1
    floor: float = 1e-4

    def __post_init__(self) -> None:
        for field in ("low", "high", "floor"):
            object.__setattr__(self, field, _positive(getattr(self, field), f"StepBias: {field}"))
        if not _log(self.low) < _log(self.high):
            raise ValueError(f"StepBias: low {self.low} is not below high {self.high}; swap them, or use Constant")
        if not self.floor < self.high:
            raise ValueError(
                f"StepBias: floor {self.floor} is not below high {self.high}, so every step would be the floor; "
                "lower the floor (Mamba's is 1e-4), or use Constant"
            )

    def _moments(self) -> tuple[float, float]:
        begin, end = math.log(max(self.low, self.floor)), math.log(self.high)
        raised = (begin - math.log(self.low)) / (end - math.log(self.low))
        points, weights = _quadrature(begin, end)
        dt = np.exp(np.append(points, begin))
        return _mean_and_std(dt + np.log(-np.expm1(-dt)), np.append((1.0 - raised) * weights, raised))

    @property
    def support(self) -> tuple[float, float]:
        """The biases of the shortest step, max(low, floor), and of the longest, high."""
        return _inverse_softplus(max(self.low, self.floor)), _inverse_softplus(self.high)

    def cdf(self, x: Any) -> Any:
        """ln(softplus(x) / low) / ln(high / low), cut to [0, 1]; 0 below the support."""
        x = np.asarray(x, np.float64)
        low, high = math.log(self.low), math.log(self.high)
        with np.errstate(divide="ignore"):  # the softplus of a very negative x is 0, and 0 is what comes of it
            share = (np.log(np.logaddexp(0.0, x)) - low) / (high - low)
        return np.where(x < self.support[0], 0.0, np.clip(share, 0.0, 1.0))[()]

    def kernel_arguments(self, format: Format) -> KernelArguments:
        """Reals, float64 for every format: ln low, ln high - ln low, smallest (the floor's) and largest value."""
        log_low = _log(self.low)
        return _prepared("step_bias", self, format, log_low, _log(self.high) - log_low)


@dataclass(frozen=True)
class LogOfUniform(_ByQuadrature):
    """The natural logarithm of a uniform number on (low, high): the density is e^x / (high - low).

    Its mean is (high ln high - low ln low) / (high - low) - 1, and its variance 1 - low high (ln(high / low) /
    (high - low))^2; where a narrow range would cancel them the quadrature does not. Not the log-uniform law, whose
    logarithm is uniform. Raises ValueError unless 0 < low < high, both finite.
    """

    low: float = 1.0
    high: float = 16.0

    def __post_init__(self) -> None:
        for field in ("low", "high"):
            object.__setattr__(self, field, _positive(getattr(self, field), f"LogOfUniform: {field}"))
        if not _log(self.low) < _log(self.high):
            raise ValueError(f"LogOfUniform: low {self.low} is not below high {self.high}; swap them, or use Constant")

    def _moments(self) -> tuple[float, float]:
        points, weights = _quadrature(math.log(self.low), math.log(self.high))
        return _mean_and_std(points, weights * np.exp(points - points[-1]))

    @property
    def support(self) -> tuple[float, float]:
        """Ln low and ln high."""
        return _log(self.low), _log(self.high)

    def cdf(self, x: Any) -> Any:
        """(e^x - low) / (high - low), cut to [0, 1]."""
        with np.errstate(over="ignore"):
            share = (np.exp(np.asarray(x, np.float64)) - self.low) / (self.high - self.low)
        return np.clip(share, 0.0, 1.0)[()]

    def kernel_arguments(self, format: Format) -> KernelArguments:
        """Reals, float64 for every format: low, high - low, smallest and largest value."""
        return _prepared("log_of_uniform", self, format, self.low, self.high - self.low)
