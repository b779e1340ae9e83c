"""The starts that are compared: zero, too small, too large, the named schemes, and which of them `scheme_for` names."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import NamedTuple

from fastinit.advice import scheme_for
from fastinit.laws import Law
from fastinit.scheme_names import law_of
from fastinit.structures import orthogonal

SMALL_STD = 0.01
TIMES_TOO_LARGE = 10.0


@dataclass(frozen=True)
class Start:
    """One way to draw the weights of a network.

    formula   the standard deviation of a weight, in fan_in and fan_out
    law       (fan_in, fan_out) -> the law of a weight of shape (fan_out, fan_in)
    fitting   whether it is what `scheme_for` names for the activation
    extreme   whether it is there to show what goes wrong: nobody recommends it
    twin      whether it is the fitting scheme's variance in another form: no rival of the schemes, but a companion
    """

    name: str
    formula: str
    law: Callable[[int, int], Law]
    fitting: bool = False
    extreme: bool = False
    twin: bool = False


def starts_for(activation: str, negative_slope: float = 0.01) -> tuple[Start, ...]:
    """The starts to compare for an activation that `scheme_for` knows; exactly one of them is fitting."""
    schemes, fitting = _schemes(activation, negative_slope)
    gain = TIMES_TOO_LARGE * fitting.numbers.get("gain", 1.0)
    return (
        Start("zero", "0", _Scheme("zeros", {}).law, extreme=True),
        Start("small", f"{SMALL_STD:g}", _Scheme("normal", {"std": SMALL_STD}).law, extreme=True),
        Start(
            "large",
            f"{TIMES_TOO_LARGE:g} times {fitting.name}'s",
            _Scheme(fitting.scheme, fitting.numbers | {"gain": gain}).law,
            extreme=True,
        ),
        *(Start(one.name, one.formula, one.law) for one in schemes if one is not fitting),
        Start(fitting.name, fitting.formula, fitting.law, fitting=True),
        Start(
            "orthogonal", f"as {fitting.name}'s, rows or columns orthonormal", partial(_isometry, fitting), twin=True
        ),
    )


class _Scheme(NamedTuple):
    scheme: str
    numbers: dict[str, float]
    name: str = ""
    formula: str = ""

    def law(self, fan_in: int, fan_out: int) -> Law:
        return law_of(self.scheme, self.numbers, (fan_out, fan_in))


def _schemes(activation: str, negative_slope: float) -> tuple[list[_Scheme], _Scheme]:
    """Xavier, He and LeCun for an activation, and the one that `scheme_for` names; with a gain it stands beside."""
    advice = scheme_for(activation, negative_slope)
    advised, numbers = advice.fill.__name__.removeprefix("fill_"), advice.arguments
    he = _Scheme("he_normal", {}, "He", "sqrt(2 / fan_in)")
    if "negative_slope" in numbers:
        he = he._replace(numbers=numbers, formula=f"sqrt(2 / ((1 + {numbers['negative_slope']:g}²) fan_in))")
    schemes = [
        _Scheme("xavier_normal", {}, "Xavier", "sqrt(2 / (fan_in + fan_out))"),
        he,
        _Scheme("lecun_normal", {}, "LeCun", "sqrt(1 / fan_in)"),
    ]
    for one in schemes:
        if (one.scheme, one.numbers) == (advised, numbers):
            return schemes, one
    plain = next(one for one in schemes if one.scheme == advised)
    gain = Fraction(numbers["gain"]).limit_denominator(9)  # 5/3, of tanh
    fitting = _Scheme(advised, numbers, f"{plain.name}, gain {gain}", f"{gain} {plain.formula}")
    return [*schemes, fitting], fitting


def _isometry(like: _Scheme, fan_in: int, fan_out: int) -> Law:
    """Orthogonal, its elements of the same variance: with a gain of 1 that is 1 / max(fan_in, fan_out)."""
    std = like.law(fan_in, fan_out).marginal((fan_out, fan_in)).std
    return orthogonal(std * math.sqrt(max(fan_in, fan_out)))
