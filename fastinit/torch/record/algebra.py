"""Laws after arithmetic: a normal times a number is a normal; what is none of our laws stays an expression.

Each function takes what the operand holds, and returns what the result holds, or None where it is no law.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from fastinit import laws
from fastinit.laws.arithmetic import affine as affine_law
from fastinit.laws.arithmetic import within
from fastinit.laws.mamba import SMALLEST
from fastinit.torch.record.contents import Computed, Content, Draw, Input, Lawful, Place, constant, number_of

# A bound that a clamp repeats, after a scale in floats: a part in a million of it is no other bound.
SLACK = 1e-6


def affine(content: Content, scale: float, shift: float, where: Place | str) -> Content | None:
    """What scale x + shift holds."""
    number = number_of(content)
    if number is not None:
        return constant(number * scale + shift, where)
    if not isinstance(content, Lawful) or not (math.isfinite(scale) and math.isfinite(shift)):
        return None
    if scale == 0.0:
        return constant(shift, where)
    law = affine_law(content.law, scale, shift)
    if law is None:
        return None
    return replace(content, law=law, scale=content.scale * scale, shift=content.shift * scale + shift)


def clamped(content: Content, low: float, high: float, where: Place | str) -> Content | None:
    """What min(max(x, low), high) holds."""
    number = number_of(content)
    if number is not None:
        return constant(min(max(number, low), high), where)
    if not isinstance(content, Lawful):
        return None
    return content if within(content.law, low, high, SLACK) else None


def erfinv(content: Content, where: Place | str) -> Content | None:
    """The inverse error function of a uniform: a normal of variance 1/2, cut where the uniform ends."""
    if isinstance(content, Lawful) and isinstance(content.law, laws.Uniform):
        low, high = content.law.low, content.law.high
        if -1.0 <= low < high <= 1.0:
            cut = laws.TruncatedNormal(0.0, math.sqrt(0.5), _erfinv(low), _erfinv(high))
            return _function_of(content, cut, where)
    return None


def _erfinv(x: float) -> float:
    return float(torch.erfinv(torch.tensor(x, dtype=torch.float64)))


def log(content: Content, where: Place | str) -> Content | None:
    """The logarithm of a positive uniform."""
    if isinstance(content, Lawful) and isinstance(content.law, laws.Uniform) and content.law.low >= 0.0:
        low = max(content.law.low, SMALLEST)  # of a uniform from zero on: our words never make a zero
        return _function_of(content, laws.LogOfUniform(low, content.law.high), where)
    return None


def inverse_softplus(content: Content, where: Place | str) -> Content | None:
    """X + ln(1 - e^-x) of a log-uniform step: Mamba's bias."""
    floor, inner = 0.0, content
    if isinstance(inner, Computed) and inner.name == "clamp":
        low, high = clamp_bounds(inner.args[1:], inner.kwargs)
        if low is None or high != math.inf:
            return None
        floor, inner = low, inner.inputs[0]
    if not (isinstance(inner, Computed) and inner.name == "exp" and len(inner.inputs) == 1):
        return None
    uniform = inner.inputs[0]
    if not (isinstance(uniform, Lawful) and isinstance(uniform.law, laws.Uniform)):
        return None
    low, high = math.exp(uniform.law.low), math.exp(uniform.law.high)
    law = laws.StepBias(low, high, floor if floor > 0.0 else min(low, laws.StepBias.floor))
    return _function_of(uniform, law, where)


def is_inverse_softplus(left: Content, right: Content) -> bool:
    """Whether right is ln(-expm1(-left)), which added to left gives the inverse of softplus."""
    chain = right
    for name in ("log", "neg", "expm1", "neg"):
        if not (isinstance(chain, Computed) and chain.name == name and len(chain.inputs) == 1):
            return False
        chain = chain.inputs[0]
    return chain is left


def is_log_of_expm1(content: Content) -> Content | None:
    """The x of expm1(x), of which the logarithm is the inverse of softplus."""
    if isinstance(content, Computed) and content.name == "expm1" and len(content.inputs) == 1:
        return content.inputs[0]
    return None


def clamp_bounds(args: tuple[object, ...], kwargs: dict[str, object]) -> tuple[float | None, float | None]:
    """The bounds of clamp(min, max), infinite where not given; None where one is no number."""
    found = dict(zip(("min", "max"), args, strict=False)) | kwargs
    bounds = []
    for name, none in (("min", -math.inf), ("max", math.inf)):
        value = found.get(name)
        if isinstance(value, Input):
            value = number_of(value.content)
            bounds.append(value)
        else:
            bounds.append(none if value is None else float(value) if isinstance(value, (int, float)) else None)
    return bounds[0], bounds[1]


def _function_of(content: Lawful, law: laws.Law, where: Place | str) -> Lawful:
    """Another law, of a draw of its own that is a function of the first."""
    assert content.draw is not None
    return Lawful(law, Draw(law, content.draw.shape, where, content.draw), where, parts=content.parts)
