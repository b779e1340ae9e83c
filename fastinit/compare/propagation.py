"""A signal through a deep fully connected network and back: how its variance changes from layer to layer.

Layer l computes h_l = f(W_l h_(l-1)), without biases; the gradient goes back as g_(l-1) = W_l^T (f'(W_l h_(l-1)) g_l).
A gated layer computes f(W h) (V h), with a second matrix V of the same law ("layers.0.value" and so on).
Input and gradient at the top are standard normal. All weights have fastinit's values for the seed and the names
"layers.0.weight" and so on, so two starts of one law family differ by a factor only: their curves are paired.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastinit.compare.activations import Activation, Array
from fastinit.compare.starts import Start
from fastinit.fill import new
from fastinit.laws import Normal
from fastinit.products import matmul

# How near to a limit of its activation a unit is saturated, as a share of the largest limit.
SATURATED_WITHIN = 0.05


@dataclass(frozen=True)
class Signal:
    """What became of the signal, at the input (index 0) and behind each layer.

    activations  their variance over units and batch, relative to the input's
    gradients    variance of the gradient by these activations, relative to that at the top
    dead         share of the units that are 0 for the whole batch
    saturated    share of the activations within 5 % of a limit; None if the activation has no limit but 0

    In float64: what exceeds 1e308 is inf, and then gradients are nan.
    """

    activations: tuple[float, ...]
    gradients: tuple[float, ...]
    dead: tuple[float, ...]
    saturated: tuple[float, ...] | None


def propagate(start: Start, f: Activation, *, depth: int, width: int, batch: int, seed: int) -> Signal:
    """Send `batch` inputs through `depth` layers of `width` units, and a gradient back."""
    law = start.law(width, width)

    # float32 weights, as networks have them; float64 signals, since a start that is wrong leaves the range of float32.
    def matrices(of: str) -> list[np.ndarray[Any, Any]]:
        return [new((width, width), law, seed=seed, name=f"layers.{layer}.{of}") for layer in range(depth)]

    weights, values = matrices("weight"), matrices("value") if f.gated else []
    h = new((batch, width), Normal(), dtype="float64", seed=seed, name="input")
    g = new((batch, width), Normal(), dtype="float64", seed=seed, name="gradient")
    scale, top = _variance(h), _variance(g)
    activations, dead, saturated = [1.0], [_dead(h)], [_saturated(h, f)]
    slopes: list[Array] = []
    gates: list[tuple[Array, Array]] = []
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for layer, weight in enumerate(weights):
            z = matmul(h, weight.T.astype(np.float64))
            through = f.value(z)
            slopes.append(f.slope(z))
            if f.gated:
                beside = matmul(h, values[layer].T.astype(np.float64))
                gates.append((through, beside))
                through = through * beside
            h = through
            activations.append(_variance(h) / scale)
            dead.append(_dead(h))
            saturated.append(_saturated(h, f))
        gradients = [1.0]
        for layer in reversed(range(depth)):
            weight, slope = weights[layer].astype(np.float64), slopes[layer]
            if f.gated:
                gate, beside = gates[layer]
                g = matmul(g * beside * slope, weight) + matmul(g * gate, values[layer].astype(np.float64))
            else:
                g = matmul(g * slope, weight)
            gradients.append(_variance(g) / top)
    return Signal(tuple(activations), tuple(reversed(gradients)), tuple(dead), tuple(saturated) if f.limits else None)


def _variance(x: Array) -> float:
    variance = float(x.var())
    return variance if variance == variance else float("inf")


def _dead(h: Array) -> float:
    return float((h == 0).all(axis=0).mean())


def _saturated(h: Array, f: Activation) -> float:
    within = SATURATED_WITHIN * max(map(abs, f.limits), default=0.0)
    near = np.zeros(h.shape, bool)
    for limit in f.limits:
        near |= np.abs(h - limit) <= within
    return float(near.mean())
