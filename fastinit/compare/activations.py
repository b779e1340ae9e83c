"""Activations and their slopes, elementwise, under the names that `scheme_for` knows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import erf, expit

from fastinit.advice import GATED
from fastinit.choices import unknown

Array = np.ndarray[Any, np.dtype[np.float64]]
Map = Callable[[Array], Array]

# Klambauer et al. 2017, eq. 14: with these, mean 0 and variance 1 are a fixed point.
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


@dataclass(frozen=True)
class Activation:
    """A function of a unit's input, its derivative, and the finite values other than 0 at which it levels off.

    gated  whether a unit is this function of one linear map times a second one, as in SwiGLU
    """

    name: str
    value: Map
    slope: Map
    limits: tuple[float, ...] = ()
    gated: bool = False


def activation(name: str, negative_slope: float = 0.01) -> Activation:
    """The activation of this name; `negative_slope` is that of leaky_relu, prelu and rrelu.

    Raises ValueError for a name that is unknown, and for softmax, which is no function of one unit.
    """
    key = name.lower().replace("-", "_")
    if key in ("leaky_relu", "prelu", "rrelu"):
        return Activation(
            key,
            lambda z: np.where(z > 0, z, negative_slope * z),
            lambda z: np.where(z > 0, 1.0, negative_slope),
        )
    if key == "softmax":
        raise ValueError("compare: softmax acts on the last layer as a whole; name the activation of hidden layers")
    if key in GATED:
        value, slope, _ = _ACTIVATIONS[GATED[key]]
        return Activation(key, value, slope, gated=True)
    if key not in _ACTIVATIONS:
        raise ValueError(unknown("compare: activation", name, NAMES))
    return Activation(key, *_ACTIVATIONS[key])


def _gelu_slope(z: Array) -> Array:
    return 0.5 * (1.0 + erf(z / math.sqrt(2.0))) + z * np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)


def _mish_slope(z: Array) -> Array:
    t = np.tanh(np.logaddexp(0.0, z))
    return t + z * (1.0 - t * t) * expit(z)


def _elu(alpha: float, scale: float) -> tuple[Map, Map, tuple[float, ...]]:
    return (
        lambda z: scale * np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0.0))),
        lambda z: scale * np.where(z > 0, 1.0, alpha * np.exp(np.minimum(z, 0.0))),
        (-alpha * scale,),
    )


_LINEAR = (lambda z: z, np.ones_like, ())
_SILU = (lambda z: z * expit(z), lambda z: expit(z) * (1.0 + z * expit(-z)), ())
_ACTIVATIONS: dict[str, tuple[Map, Map, tuple[float, ...]]] = {
    "relu": (lambda z: np.maximum(z, 0.0), lambda z: (z > 0).astype(np.float64), ()),
    "relu6": (lambda z: np.clip(z, 0.0, 6.0), lambda z: ((z > 0) & (z < 6)).astype(np.float64), (6.0,)),
    "linear": _LINEAR,
    "identity": _LINEAR,
    "sigmoid": (expit, lambda z: expit(z) * expit(-z), (0.0, 1.0)),
    "softsign": (lambda z: z / (1.0 + np.abs(z)), lambda z: (1.0 + np.abs(z)) ** -2, (-1.0, 1.0)),
    "tanh": (np.tanh, lambda z: 1.0 - np.tanh(z) ** 2, (-1.0, 1.0)),
    "selu": _elu(SELU_ALPHA, SELU_SCALE),
    "elu": _elu(1.0, 1.0),
    "celu": _elu(1.0, 1.0),  # of alpha 1
    "hardtanh": (lambda z: np.clip(z, -1.0, 1.0), lambda z: (np.abs(z) < 1).astype(np.float64), (-1.0, 1.0)),
    "hardswish": (
        lambda z: z * (np.clip(z + 3.0, 0.0, 6.0) / 6.0),
        lambda z: np.where(z > 3.0, 1.0, np.where(z > -3.0, (2.0 * np.clip(z, -3.0, 3.0) + 3.0) / 6.0, 0.0)),
        (),
    ),
    "gelu": (lambda z: 0.5 * z * (1.0 + erf(z / math.sqrt(2.0))), _gelu_slope, ()),
    "silu": _SILU,
    "swish": _SILU,
    "mish": (lambda z: z * np.tanh(np.logaddexp(0.0, z)), _mish_slope, ()),
    "softplus": (lambda z: np.logaddexp(0.0, z), expit, ()),
}
NAMES = (*_ACTIVATIONS, "leaky_relu", "prelu", "rrelu", *GATED)
