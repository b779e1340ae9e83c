"""Which scheme fits an activation, and by which gain Xavier is scaled for one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from fastinit.schemes import fill_he_normal, fill_lecun_normal, fill_xavier_normal

_GAINS = {
    **dict.fromkeys(("linear", "identity", "sigmoid"), 1.0),
    **dict.fromkeys((f"conv{d}d" for d in (1, 2, 3)), 1.0),
    **dict.fromkeys((f"conv_transpose{d}d" for d in (1, 2, 3)), 1.0),
    "tanh": 5.0 / 3.0,
    "relu": math.sqrt(2.0),
    "selu": 3.0 / 4.0,
}


def gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which torch.nn.init scales Xavier for a nonlinearity: torch.nn.init.calculate_gain's table.

    linear, sigmoid, conv: 1; tanh: 5/3; relu: sqrt 2; selu: 3/4; leaky_relu: sqrt(2 / (1 + param^2)), param 0.01 by
    default. Not for the He schemes, which hold the factor of ReLU already.
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise ValueError(f"gain: the negative slope of leaky_relu is {slope!r}; pass a number")
        return math.sqrt(2.0 / (1.0 + slope * slope))
    if nonlinearity not in _GAINS:
        raise ValueError(
            f"gain: nonlinearity {nonlinearity!r} is not in the table; it has leaky_relu, {', '.join(_GAINS)}. "
            "fastinit.scheme_for(activation) says what is customary for others"
        )
    return _GAINS[nonlinearity]


class Advice(NamedTuple):
    """A scheme that fits an activation: the fill function, the keyword arguments to pass, and the reason."""

    fill: Callable[..., None]
    arguments: dict[str, float]
    why: str

    def __repr__(self) -> str:
        return f"Advice(fill=fastinit.{self.fill.__name__}, arguments={self.arguments!r}, why={self.why!r})"


def scheme_for(activation: str, negative_slope: float = 0.01) -> Advice:
    """The scheme that fits an activation, with its arguments and the reason.

    >>> scheme_for("relu").fill.__name__
    'fill_he_normal'

    ReLU and its kin: He, with the slope. Tanh, linear, and by custom sigmoid: Xavier. SELU: LeCun. GELU, SiLU: He, by
    custom. `negative_slope` is that of leaky_relu (PyTorch's default 0.01), prelu (start value) and rrelu.
    """
    key = activation.lower().replace("-", "_")
    if key in ("relu", "relu6"):
        return Advice(fill_he_normal, {}, "ReLU halves the second moment; He's factor 2 restores it (He et al. 2015).")
    if key in ("leaky_relu", "prelu", "rrelu"):
        return Advice(
            fill_he_normal,
            {"negative_slope": float(negative_slope)},
            "A leaky ReLU keeps (1 + slope^2) / 2 of the second moment; He with the slope restores it (He et al.).",
        )
    if key == "sigmoid":
        return Advice(
            fill_xavier_normal,
            {},
            "Xavier is the custom. But the slope of a sigmoid is 1/4 at most: no scale keeps the gradient through many "
            "layers of them. Use it at the output and for gates.",
        )
    if key in ("linear", "identity", "softmax", "softsign"):
        return Advice(
            fill_xavier_normal, {}, "Near zero the unit is linear; Xavier balances forward and backward variance."
        )
    if key == "tanh":
        return Advice(
            fill_xavier_normal,
            {"gain": gain("tanh")},
            "tanh is linear near zero; Xavier fits, and the gain 5/3 makes up for its saturation in deep networks.",
        )
    if key == "selu":
        return Advice(fill_lecun_normal, {}, "Self-normalisation assumes variance 1 / fan_in (Klambauer et al. 2017).")
    if key in ("gelu", "silu", "swish", "mish", "elu", "softplus"):
        return Advice(
            fill_he_normal,
            {},
            f"No exact rule exists for {key}. He is customary, since it behaves like ReLU away from zero; transformers "
            "normalise between layers and mostly use a fixed std of 0.02 instead.",
        )
    raise ValueError(
        f"scheme_for: activation {activation!r} is unknown; it knows relu, relu6, leaky_relu, prelu, rrelu, linear, "
        "identity, sigmoid, softmax, softsign, tanh, selu, gelu, silu, swish, mish, elu, softplus"
    )
