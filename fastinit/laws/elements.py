"""The law of one element of a structured tensor: zero or a value, and a coordinate of a point on a sphere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastinit.laws.law import Element


@dataclass(frozen=True)
class Mixture(Element):
    """A value of `values` with probability `share`, else zero."""

    share: float
    values: Element

    @property
    def mean(self) -> float:  # type: ignore[override]
        """Share times the mean of the values."""
        return self.share * self.values.mean

    @property
    def std(self) -> float:  # type: ignore[override]
        """sqrt(share (std^2 + mean^2) - (share mean)^2) of the values."""
        mean, std = self.values.mean, self.values.std
        return math.sqrt(max(0.0, self.share * (std * std + (1.0 - self.share) * mean * mean)))

    @property
    def support(self) -> tuple[float, float]:
        """That of the values and zero."""
        ends = [*(self.values.support if self.share > 0 else ()), *((0.0,) if self.share < 1 else ())]
        return min(ends), max(ends)

    def cdf(self, x: Any) -> Any:
        """Share times that of the values, and the step at zero."""
        step = np.where(np.asarray(x) >= 0, 1.0 - self.share, 0.0)[()]
        return step + self.share * self.values.cdf(x) if self.share else step


@dataclass(frozen=True)
class SphereCoordinate(Element):
    """A coordinate of a uniform point on the sphere of `radius` in `dimension` dimensions.

    Its square, over radius^2, follows Beta(1/2, (dimension - 1) / 2). In one dimension it is plus or minus the radius.
    """

    dimension: int
    radius: float

    @property
    def mean(self) -> float:  # type: ignore[override]
        """Zero."""
        return 0.0

    @property
    def std(self) -> float:  # type: ignore[override]
        """Radius / sqrt(dimension)."""
        return self.radius / math.sqrt(self.dimension)

    @property
    def support(self) -> tuple[float, float]:
        """Radius either way."""
        return (-self.radius, self.radius)

    def cdf(self, x: Any) -> Any:
        """1/2 + sign(x) I(x^2 / radius^2; 1/2, (dimension - 1) / 2) / 2, with I the incomplete beta function."""
        x = np.asarray(x, np.float64)
        if not self.radius:
            return np.where(x >= 0, 1.0, 0.0)[()]
        if self.dimension == 1:
            return (0.5 * (x >= -self.radius) + 0.5 * (x >= self.radius))[()]
        from scipy.special import betainc

        inside = np.minimum((x / self.radius) ** 2, 1.0)
        return (0.5 + 0.5 * np.sign(x) * betainc(0.5, (self.dimension - 1) / 2, inside))[()]
