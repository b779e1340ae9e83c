"""Laws of complex numbers: normal, uniform on a disc, and normal cut by the modulus, as those of jax.nn.initializers.

The standard deviation of a complex law is the root of E|z - mean|^2: both parts count. Complex numbers have no order:
a law here has no cdf and no support of its own; `law.modulus` is the law of |z|, which has both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastinit.dtypes import Format
from fastinit.engines.reference.exponential import exp_parts
from fastinit.laws.functions import function
from fastinit.laws.law import (
    Element,
    IndependentLaw,
    KernelArguments,
    arguments,
    finite,
    real,
    refuse_overflow,
    standard_deviation,
    warn_if_lost,
)

NARROWEST_CUT = 2.0**-20  # of the radius in standard deviations: below, the density is constant to 2^-40


def mass_within(cut: float) -> tuple[float, float]:
    """1 - e^-cut^2, the mass within `cut` standard deviations of a complex normal, and e^-cut^2."""
    square = cut * cut
    if square > 700.0:
        return 1.0, 0.0
    exponent, m = exp_parts(np.array([-square]))
    power = math.ldexp(1.0, int(exponent[0]))
    return (1.0 - power) - power * float(m[0]), power + power * float(m[0])


def complex_truncated_std(cut: float) -> float:
    """The std of a complex normal of std 1 whose modulus is cut at `cut`: sqrt(1 - cut^2 e^-cut^2 / (1 - e^-cut^2))."""
    if cut * cut > 700.0:
        return 1.0
    mass, rest = mass_within(cut)
    return math.sqrt(1.0 - (cut * cut) * rest / mass)


class ComplexLaw(IndependentLaw):
    """Every element is a complex number of its own; fills complex64 and complex128."""

    is_complex = True

    @property
    def modulus(self) -> Element:
        """The law of |z|."""
        raise NotImplementedError

    def complex_form(self) -> ComplexLaw:
        """The law itself."""
        return self

    def kernel_arguments(self, format: Format) -> KernelArguments:
        """Refuse a buffer of real numbers."""
        raise TypeError(
            f"{self} draws complex numbers, and {format.name} has none; use complex64 or complex128, or a real law"
        )

    @property
    def support(self) -> tuple[float, float]:
        """Refused: complex numbers have no order."""
        raise TypeError(f"{type(self).__name__}.support: complex numbers have no order; ask law.modulus.support")

    def cdf(self, x: Any) -> Any:
        """Refused: complex numbers have no order."""
        raise TypeError(f"{type(self).__name__}.cdf: complex numbers have no order; ask law.modulus.cdf")


@dataclass(frozen=True)
class ComplexNormal(ComplexLaw):
    """Complex normal: the parts are independent normals about those of `mean`, each of std / sqrt(2).

    The tails reach 4.78 std (6.71 for complex128) in each part. Raises TypeError or ValueError unless both are finite
    and std >= 0. With mean 0 the bits are those of a float buffer of twice the length filled with Normal(0, std /
    sqrt(2)). Source: jax.random.normal and torch.randn of a complex dtype.
    """

    mean: Any
    std: float

    def __init__(self, mean: complex = 0.0, std: float = 1.0) -> None:
        number = mean if isinstance(mean, (complex, np.complexfloating)) else real(mean, "ComplexNormal: mean")
        if not np.isfinite(number):
            raise ValueError(f"ComplexNormal: mean is {number}; it must be finite")
        object.__setattr__(self, "mean", complex(number) if number.imag else float(number.real))
        object.__setattr__(self, "std", standard_deviation(std, "ComplexNormal: std"))

    @property
    def modulus(self) -> Element:
        """Rayleigh's law, or Rice's about another mean."""
        return _Rice(abs(self.mean), self.std)

    def complex_arguments(self, format: Format) -> KernelArguments:
        """Reals: the parts of the mean, std / sqrt(2); with mean 0 those of a normal law of floats."""
        scale = self.std / math.sqrt(2.0)
        largest = max(abs(self.mean.real), abs(self.mean.imag))
        refuse_overflow(self, largest + (9.5 if format.name == "float64" else 6.77) * scale, format)
        warn_if_lost(largest, scale, format)
        if self.mean == 0.0:  # the sum with 0 can be left out as Normal leaves it out
            centred = scale >= 2.0**-80 and format.working == "float32"
            return arguments("centred_normal" if centred else "normal", format, (0.0, scale))
        return arguments("complex_normal", format, (self.mean.real + 0.0, self.mean.imag + 0.0, scale))


@dataclass(frozen=True)
class ComplexUniform(ComplexLaw):
    """Uniform on the disc |z| <= radius: mean 0, standard deviation radius / sqrt(2).

    The modulus is radius sqrt(u) with u uniform of 32 bits (64 for complex128), up to 2^-22 (2^-51) of it. Raises
    ValueError unless the radius is finite and positive. Source: jax.nn.initializers.variance_scaling with "uniform".
    """

    radius: float

    def __init__(self, radius: float = 1.0) -> None:
        object.__setattr__(self, "radius", finite(radius, "ComplexUniform: radius"))
        if not self.radius > 0.0:
            raise ValueError(f"ComplexUniform: radius is {self.radius}; it must be positive")

    @property
    def mean(self) -> float:  # type: ignore[override]
        """Zero."""
        return 0.0

    @property
    def std(self) -> float:  # type: ignore[override]
        """Radius / sqrt(2)."""
        return self.radius / math.sqrt(2.0)

    @property
    def modulus(self) -> Element:
        """P(|z| <= r) = (r / radius)^2."""
        return _DiscModulus(self.radius)

    def complex_arguments(self, format: Format) -> KernelArguments:
        """Reals: radius."""
        refuse_overflow(self, self.radius, format)
        warn_if_lost(0.0, self.std, format)
        return arguments("complex_uniform", format, (self.radius,))


@dataclass(frozen=True)
class ComplexTruncatedNormal(ComplexLaw):
    """A complex normal of mean 0 and `parent_std`, on the condition that its modulus is at most `radius`.

    Rayleigh's modulus by inversion and a uniform phase; no rejection. `std` is that of what is drawn. The modulus of an
    element passes the radius by at most 2^-22 of it (2^-51 for complex128). Raises ValueError unless parent_std is
    finite and positive and the radius, which may be infinite, at least 2^-20 of it. Source: _complex_truncated_normal
    of jax.nn.initializers.
    """

    parent_std: float
    radius: float

    def __init__(self, parent_std: float, radius: float) -> None:
        object.__setattr__(self, "parent_std", finite(parent_std, "ComplexTruncatedNormal: parent_std"))
        object.__setattr__(self, "radius", real(radius, "ComplexTruncatedNormal: radius"))
        if not self.parent_std > 0.0:
            raise ValueError(f"ComplexTruncatedNormal: parent_std is {self.parent_std}; it must be positive")
        if not self._cut >= NARROWEST_CUT:
            raise ValueError(
                f"ComplexTruncatedNormal: radius is {self.radius}, under 2^-20 of parent_std {self.parent_std}; use a "
                "larger one, or ComplexUniform, which such a disc is"
            )

    @property
    def _cut(self) -> float:
        return self.radius / self.parent_std

    @property
    def mean(self) -> float:  # type: ignore[override]
        """Zero."""
        return 0.0

    @property
    def std(self) -> float:  # type: ignore[override]
        """parent_std sqrt(1 - c^2 e^-c^2 / (1 - e^-c^2)), c = radius / parent_std."""
        return self.parent_std * complex_truncated_std(self._cut)

    @property
    def modulus(self) -> Element:
        """P(|z| <= r) = (1 - e^-(r / parent_std)^2) / (1 - e^-c^2), up to the radius."""
        return _CutRayleigh(self.parent_std, self.radius)

    def complex_arguments(self, format: Format) -> KernelArguments:
        """Reals: parent_std / sqrt(2), mass, the rest of the mass, the largest modulus."""
        refuse_overflow(self, min(self.radius, 7.0 * self.parent_std), format)
        warn_if_lost(0.0, self.std, format)
        mass, rest = mass_within(self._cut)
        highest = min(format.at_most(self.radius), format.largest)
        return arguments("complex_truncated", format, (self.parent_std / math.sqrt(2.0), mass, rest, highest))


# --- the law of the modulus -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rice(Element):
    """|z| of a complex normal whose mean has this modulus."""

    centre: float
    spread: float

    def _law(self) -> Any:
        scale = self.spread / math.sqrt(2.0)
        return function("stats", "rice")(self.centre / scale, scale=scale)

    @property
    def mean(self) -> float:  # type: ignore[override]
        """Of Rice's law."""
        return float(self._law().mean()) if self.spread else self.centre

    @property
    def std(self) -> float:  # type: ignore[override]
        """Of Rice's law."""
        return float(self._law().std()) if self.spread else 0.0

    @property
    def support(self) -> tuple[float, float]:
        """The half-line."""
        return (0.0, math.inf) if self.spread else (self.centre, self.centre)

    def cdf(self, x: Any) -> Any:
        """Rice's."""
        if not self.spread:
            return np.where(np.asarray(x) >= self.centre, 1.0, 0.0)[()]
        return self._law().cdf(np.asarray(x, np.float64))


@dataclass(frozen=True)
class _DiscModulus(Element):
    """|z| of a uniform point on a disc."""

    radius: float

    @property
    def mean(self) -> float:  # type: ignore[override]
        """Two thirds of the radius."""
        return self.radius * 2.0 / 3.0

    @property
    def std(self) -> float:  # type: ignore[override]
        """Radius / sqrt(18)."""
        return self.radius / math.sqrt(18.0)

    @property
    def support(self) -> tuple[float, float]:
        """Zero and the radius."""
        return (0.0, self.radius)

    def cdf(self, x: Any) -> Any:
        """(x / radius)^2, cut to [0, 1]."""
        return (np.clip(np.asarray(x, np.float64) / self.radius, 0.0, 1.0) ** 2)[()]


@dataclass(frozen=True)
class _CutRayleigh(Element):
    """|z| of a complex normal cut at a radius."""

    parent_std: float
    radius: float

    @property
    def mean(self) -> float:  # type: ignore[override]
        """parent_std (sqrt(pi) / 2 erf(c) - c e^-c^2) / (1 - e^-c^2)."""
        cut = min(self.radius / self.parent_std, 27.0)
        mass, rest = mass_within(cut)
        if cut < 0.01:  # where the closed form cancels: the disc
            return self.radius * 2.0 / 3.0
        return self.parent_std * (0.5 * math.sqrt(math.pi) * math.erf(cut) - cut * rest) / mass

    @property
    def std(self) -> float:  # type: ignore[override]
        """sqrt(E|z|^2 - mean^2)."""
        square = (self.parent_std * complex_truncated_std(self.radius / self.parent_std)) ** 2
        return math.sqrt(square - self.mean**2)

    @property
    def support(self) -> tuple[float, float]:
        """Zero and the radius."""
        return (0.0, self.radius)

    def cdf(self, x: Any) -> Any:
        """(1 - e^-(x / parent_std)^2) / (1 - e^-c^2), cut to [0, 1]."""
        inside = np.clip(np.asarray(x, np.float64), 0.0, self.radius) / self.parent_std
        return (np.expm1(-(inside**2)) / -mass_within(self.radius / self.parent_std)[0])[()]
