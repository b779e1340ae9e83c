"""The law of one element of a structured tensor: one of several laws, a point on a sphere, a modulus."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastinit.laws.functions import function
from fastinit.laws.independent import Constant
from fastinit.laws.law import Element, IndependentLaw
from fastinit.laws.planar import ComplexLaw


@dataclass(frozen=True)
class ZeroInflated(Element):
    """One of several laws: `components` are (share of the elements, law), the shares adding up to 1."""

    components: tuple[tuple[float, Element], ...]

    @property
    def mean(self) -> Any:  # type: ignore[override]
        """The means, weighted by the shares."""
        return sum(share * law.mean for share, law in self.components)

    @property
    def std(self) -> float:  # type: ignore[override]
        """The root of the weighted mean of std^2 + (mean - the mean of all)^2; infinite where values are."""
        mean = self.mean
        if not np.isfinite(mean):
            return 0.0 if len(self.components) == 1 else math.inf
        return math.sqrt(sum(share * (law.std**2 + abs(law.mean - mean) ** 2) for share, law in self.components))

    @property
    def support(self) -> tuple[float, float]:
        """From the least to the largest of all."""
        ends = [end for _, law in self.components for end in law.support]
        return min(ends), max(ends)

    def cdf(self, x: Any) -> Any:
        """The distribution functions, weighted by the shares."""
        return sum(share * law.cdf(x) for share, law in self.components)


def mixture(components: Iterable[tuple[float, Element]]) -> ZeroInflated:
    """A mixture of those with a share; components that are mixtures themselves are taken apart."""
    flat: list[tuple[float, Element]] = []
    for share, law in components:
        if share > 0 and isinstance(law, ZeroInflated):
            flat += [(share * part, inner) for part, inner in law.components]
        elif share > 0:
            flat.append((share, law))
    return ZeroInflated(tuple(flat))


def thinned(share: float, values: Element) -> ZeroInflated:
    """A value of `values` with probability `share`, else zero."""
    return mixture(((share, values), (1.0 - share, Constant(0.0))))


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
        inside = np.minimum((x / self.radius) ** 2, 1.0)
        return (0.5 + 0.5 * np.sign(x) * function("special", "betainc")(0.5, (self.dimension - 1) / 2, inside))[()]


@dataclass(frozen=True)
class SphereModulus(Element):
    """The modulus of a coordinate of a uniform point on the sphere of `radius` in `dimension` complex dimensions.

    Its square, over radius^2, follows Beta(1, dimension - 1). In one dimension it is the radius.
    """

    dimension: int
    radius: float

    @property
    def mean(self) -> float:  # type: ignore[override]
        """Radius G(3/2) G(dimension) / G(dimension + 1/2), with the gamma function G."""
        ratio = math.lgamma(1.5) + math.lgamma(self.dimension) - math.lgamma(self.dimension + 0.5)
        return self.radius * math.exp(ratio)

    @property
    def std(self) -> float:  # type: ignore[override]
        """sqrt(radius^2 / dimension - mean^2)."""
        return math.sqrt(max(self.radius**2 / self.dimension - self.mean**2, 0.0)) if self.dimension > 1 else 0.0

    @property
    def support(self) -> tuple[float, float]:
        """Zero and the radius."""
        return (0.0, self.radius) if self.dimension > 1 else (self.radius, self.radius)

    def cdf(self, x: Any) -> Any:
        """1 - (1 - x^2 / radius^2)^(dimension - 1)."""
        x = np.asarray(x, np.float64)
        if not self.radius or self.dimension == 1:
            return np.where(x >= self.radius, 1.0, 0.0)[()]
        inside = np.clip(x / self.radius, 0.0, 1.0)
        return (1.0 - (1.0 - inside**2) ** (self.dimension - 1))[()]


def modulus_of(element: Element) -> Element:
    """The law of |z| where an element of this law is a complex number; what has no other is its own."""
    if isinstance(element, ZeroInflated):
        return mixture((share, modulus_of(law)) for share, law in element.components)
    if isinstance(element, Constant):
        return Constant(abs(element.value))
    if isinstance(element, SphereCoordinate):
        return SphereModulus(element.dimension, element.radius)
    form = element.complex_form() if isinstance(element, IndependentLaw) else None
    return form.modulus if isinstance(form, ComplexLaw) else element
