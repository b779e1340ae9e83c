"""Which scheme fits an activation, and by which gain Xavier is scaled for one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from fastinit.choices import nearest, unknown
from fastinit.schemes import fill_he_normal, fill_lecun_normal, fill_xavier_normal

_GAINS = {
    **dict.fromkeys(("linear", "identity", "sigmoid"), 1.0),
    **dict.fromkeys((f"conv{d}d" for d in (1, 2, 3)), 1.0),
    **dict.fromkeys((f"conv_transpose{d}d" for d in (1, 2, 3)), 1.0),
    "tanh": 5.0 / 3.0,
    "relu": math.sqrt(2.0),
    "selu": 3.0 / 4.0,
}
# 1 / sqrt(E f(z)^2), z standard normal, by numerical integration: torch.nn.init has none for them.
_KEEPING = {
    "relu6": 1.4142135650950736,
    **dict.fromkeys(("elu", "celu"), 1.2451983007007064),
    **dict.fromkeys(("gelu", "geglu"), 1.5335304411955353),
    **dict.fromkeys(("silu", "swish", "swiglu"), 1.6765324703310913),
    "mish": 1.486847581273208,
    "softplus": 1.0418668355353016,
    "softsign": 2.3375333631085398,
    "hardtanh": 1.3920361404483097,
    "hardswish": 1.7366572127665416,
    "reglu": math.sqrt(2.0),
    "glu": 1.8462285453386054,
}
_SLOPES = {"leaky_relu": 0.01, "prelu": 0.25, "rrelu": (1 / 8 + 1 / 3) / 2}  # as torch.nn begins with
ACTIVATIONS = (
    *("relu", "relu6", "leaky_relu", "prelu", "rrelu", "linear", "identity", "sigmoid", "softmax", "softsign", "tanh"),
    *("hardtanh", "selu", "gelu", "silu", "swish", "mish", "elu", "celu", "softplus", "hardswish"),
    *("glu", "reglu", "geglu", "swiglu"),
)
GATED = {"glu": "sigmoid", "reglu": "relu", "geglu": "gelu", "swiglu": "silu"}


def gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which Xavier or LeCun is scaled for a nonlinearity f.

    Those of torch.nn.init.calculate_gain have its values: linear, sigmoid, conv: 1; tanh: 5/3; relu: sqrt 2; selu: 3/4;
    leaky_relu, and here prelu and rrelu: sqrt(2 / (1 + param^2)), param 0.01, 0.25 and 11/48 by default. The others
    have 1 / sqrt(E f(z)^2) for a standard normal z, which makes up for what f takes from the second moment: relu6, elu,
    celu (alpha 1), gelu, silu (swish), mish, softplus, softsign, hardtanh, hardswish; and glu, reglu, geglu, swiglu,
    where f is the gate's function and the gain that of the matrix beside the gate. Not for the He schemes, which hold
    the factor of ReLU already.

    Raises ValueError for another nonlinearity.
    """
    if nonlinearity in _SLOPES:
        slope = _SLOPES[nonlinearity] if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise ValueError(f"gain: the negative slope of {nonlinearity} is {slope!r}; pass a number")
        return math.sqrt(2.0 / (1.0 + slope * slope))
    gains = _GAINS | _KEEPING
    if nonlinearity not in gains:
        raise ValueError(unknown("gain: nonlinearity", nonlinearity, (*_SLOPES, *gains)))
    return gains[nonlinearity]


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

    ReLU and its kin: He, with the slope. Tanh, linear, and by custom sigmoid: Xavier. SELU, and products with a gate
    (SwiGLU, GEGLU): LeCun. GELU, SiLU, Mish and the like: He, by custom. `negative_slope` is that of leaky_relu
    (PyTorch's default 0.01), prelu (start value) and rrelu.
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
    if key in ("linear", "identity", "softmax", "softsign", "hardtanh"):
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
    if key in GATED:
        return Advice(
            fill_lecun_normal,
            {},
            f"{key} multiplies two linear maps, one of them through {GATED[key]}: twice the scale gives four times the "
            "signal, so that no scale keeps it through many layers. LeCun keeps each map; transformers normalise "
            "before every product, and mostly use a fixed std of 0.02.",
        )
    if key in ("gelu", "silu", "swish", "mish", "elu", "celu", "softplus", "hardswish"):
        return Advice(
            fill_he_normal,
            {},
            f"No exact rule exists for {key}. He is customary, since it behaves like ReLU away from zero; transformers "
            "normalise between layers and mostly use a fixed std of 0.02 instead.",
        )
    close = nearest(key, ACTIVATIONS)
    rest = f"did you mean {close!r}?" if close else f"it knows {', '.join(ACTIVATIONS)}"
    raise ValueError(f"scheme_for: activation {activation!r} is unknown; {rest}")
