"""Laws after arithmetic: a normal times a number is a normal."""

from __future__ import annotations

from dataclasses import replace

from fastinit.laws.independent import Constant, Normal, TruncatedNormal, Uniform
from fastinit.laws.law import IndependentLaw, Law
from fastinit.laws.patterns import Identity
from fastinit.laws.planar import ComplexNormal, ComplexTruncatedNormal, ComplexUniform
from fastinit.laws.structured import Orthogonal, Sparse


def affine(law: Law, scale: float, shift: float) -> Law | None:
    """The law of scale x + shift, of finite numbers and a scale that is not zero; None where it is none of ours."""
    if isinstance(law, Normal):
        return Normal(law.mean * scale + shift, abs(scale) * law.std)
    if isinstance(law, Uniform):
        low, high = sorted((law.low * scale + shift, law.high * scale + shift))
        return Uniform(low, high) if low < high else None
    if isinstance(law, TruncatedNormal):
        low, high = sorted((law.low * scale + shift, law.high * scale + shift))
        return TruncatedNormal(law.parent_mean * scale + shift, abs(scale) * law.parent_std, low, high)
    if isinstance(law, ComplexNormal):
        return ComplexNormal(law.mean * scale + shift, abs(scale) * law.std)
    if shift == 0.0 and isinstance(law, ComplexUniform):
        return ComplexUniform(abs(scale) * law.radius)
    if shift == 0.0 and isinstance(law, ComplexTruncatedNormal):
        return ComplexTruncatedNormal(abs(scale) * law.parent_std, abs(scale) * law.radius)
    if shift == 0.0 and isinstance(law, Orthogonal):
        return replace(law, gain=law.gain * abs(scale))  # minus a Haar matrix is a Haar matrix
    if shift == 0.0 and isinstance(law, Identity):
        return replace(law, gain=law.gain * scale)
    if shift == 0.0 and isinstance(law, Sparse):
        values = affine(law.values, scale, 0.0)
        return replace(law, values=values) if isinstance(values, IndependentLaw) else None
    return None


def within(law: Law, low: float, high: float, slack: float) -> bool:
    """Whether every value of a law with bounds lies in [low, high], up to this share of them."""
    if not isinstance(law, (Uniform, TruncatedNormal, Constant)):
        return False
    least, most = law.support
    return least >= low - slack * abs(low) and most <= high + slack * abs(high)
