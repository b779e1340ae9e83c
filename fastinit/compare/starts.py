"""The starts that are compared: zero, too small, too large, the named schemes, and which of them `scheme_for` names."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

from fastinit.laws import Law
from fastinit.named import law_of
from fastinit.schemes import scheme_for
from fastinit.structures import orthogonal

SMALL_STD = 0.01
TIMES_TOO_LARGE = 10.0
SLOPED = ("leaky_relu", "prelu", "rrelu")


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
    advice = scheme_for(activation, negative_slope)
    best = advice.fill.__name__.removeprefix("fill_"), advice.arguments
    sloped = activation.lower().replace("-", "_") in SLOPED
    schemes = {
        "Xavier": ("xavier_normal", {}, "sqrt(2 / (fan_in + fan_out))"),
        "He": (
            "he_normal",
            {"negative_slope": float(negative_slope)} if sloped else {},
            f"sqrt(2 / ((1 + {negative_slope:g}²) fan_in))" if sloped else "sqrt(2 / fan_in)",
        ),
        "LeCun": ("lecun_normal", {}, "sqrt(1 / fan_in)"),
    }
    if "gain" in best[1]:  # Xavier for tanh: stands beside the plain one
        gain = best[1]["gain"]
        plain, formula = next((name, text) for name, (scheme, _, text) in schemes.items() if scheme == best[0])
        factor = Fraction(gain).limit_denominator(99)
        schemes[f"{plain}, gain {factor}"] = (*best, f"{factor} {formula}")
    fitting, formula = next((name, text) for name, (*scheme, text) in schemes.items() if tuple(scheme) == best)
    fitting_law = partial(_law, *best)
    large = best[0], {**best[1], "gain": TIMES_TOO_LARGE * best[1].get("gain", 1.0)}
    return (
        Start("zero", "0", partial(_law, "zeros", {}), extreme=True),
        Start("small", f"{SMALL_STD:g}", partial(_law, "normal", {"std": SMALL_STD}), extreme=True),
        Start("large", f"{TIMES_TOO_LARGE:g} times {fitting}'s", partial(_law, *large), extreme=True),
        *(
            Start(name, text, partial(_law, scheme, numbers), fitting=name == fitting)
            for name, (scheme, numbers, text) in sorted(schemes.items(), key=lambda item: item[0] == fitting)
        ),
        Start("orthogonal", f"as {fitting}'s, rows or columns orthonormal", partial(_isometry, fitting_law), twin=True),
    )


def _law(scheme: str, numbers: dict[str, float], fan_in: int, fan_out: int) -> Law:
    return law_of(scheme, numbers, (fan_out, fan_in))


def _isometry(like: Callable[[int, int], Law], fan_in: int, fan_out: int) -> Law:
    """Orthogonal, its elements of the same variance: with a gain of 1 that is 1 / max(fan_in, fan_out)."""
    std = like(fan_in, fan_out).on((fan_out, fan_in)).std
    return orthogonal(std * math.sqrt(max(fan_in, fan_out)))
