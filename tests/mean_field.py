"""The variances of an infinitely wide network, layer by layer: an oracle for `fastinit compare` that shares no code.

With weights of variance s2 / fan_in and inputs of variance 1, the inputs of the units of layer l are normal with
variance q_l = s2 E[f(z)^2], z ~ N(0, q_(l-1)); and the gradient's variance is multiplied by s2 E[f'(z)^2] on the way
back. Poole et al. 2016 (arXiv:1606.05340), eqs. 3 and 4; Schoenholz et al. 2017 (arXiv:1611.01232), eq. 9.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

# The functions as their papers print them; slopes by central differences.
FUNCTIONS = {
    "linear": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "relu6": lambda z: np.clip(z, 0, 6),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "tanh": np.tanh,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "softsign": lambda z: z / (1 + np.abs(z)),
    "softplus": lambda z: np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0),
    "elu": lambda z: np.where(z > 0, z, np.exp(np.minimum(z, 0)) - 1),
    "selu": lambda z: 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * (np.exp(np.minimum(z, 0)) - 1)),
    "gelu": lambda z: z * special.ndtr(z),
    "silu": lambda z: z / (1 + np.exp(-z)),
    "mish": lambda z: z * np.tanh(np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0)),
}
# The trapezoid rule on a normal density is exact to rounding; kinks cost 1e-6.
NODES = np.linspace(-10, 10, 8000)  # even: no node on the kink at 0
DENSITY = np.exp(-NODES * NODES / 2)
DENSITY /= DENSITY.sum()


def expectation(values: np.ndarray) -> float:
    """E[g(z)] of a standard normal z, from g at NODES."""
    return float(DENSITY @ values)


def slope(f, z: np.ndarray, step: float = 1e-6) -> np.ndarray:
    return (f(z + step) - f(z - step)) / (2 * step)


def variances(activation: str, s2: float, depth: int) -> tuple[list[float], list[float]]:
    """Variance of the activations at layers 0 to depth, and of the gradient there, relative to the top's."""
    f = FUNCTIONS[activation]
    square, activations, factors = 1.0, [1.0], []
    for _ in range(depth):
        z = math.sqrt(s2 * square) * NODES
        square, mean = expectation(f(z) ** 2), expectation(f(z))
        activations.append(square - mean * mean)
        factors.append(s2 * expectation(slope(f, z) ** 2))
    gradients = [math.prod(factors[layer:]) for layer in range(depth + 1)]
    return activations, gradients
