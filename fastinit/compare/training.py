"""Cost curves: the same network, trained by plain SGD on scikit-learn's digits, from each start.

1,797 images of 8 x 8, ten classes; softmax cross-entropy; biases start at zero; no momentum, decay or normalisation,
which would hide what a start does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastinit.compare.activations import Activation, Array
from fastinit.compare.starts import Start
from fastinit.fill import new
from fastinit.products import matmul

CLASSES = 10
CHANCE = math.log(CLASSES)  # the cost of a network that knows nothing
# Units of a layer whose weights differ by less than this, relative to the largest, have learnt the same: BLAS may sum
# the columns of one product in different orders.
SAME = 1e-9


@dataclass(frozen=True)
class Recipe:
    """How the network is trained: `depth` matrices, `width` hidden units, `rate` the learning rate."""

    depth: int = 10
    width: int = 64
    epochs: int = 10
    rate: float = 0.01
    batch: int = 32
    seed: int = 0


@dataclass(frozen=True)
class Curve:
    """How one start learns.

    costs        mean cross-entropy over all images, before the first epoch and after each; inf once it has overflowed
    equal_units  whether, at the end, all units of every hidden layer have the same weights
    """

    costs: tuple[float, ...]
    equal_units: bool


def digits() -> tuple[Array, np.ndarray[Any, Any]]:
    """Images (1797, 64) of mean 0 and variance 1, and their labels. ModuleNotFoundError without scikit-learn."""
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the cost curves need scikit-learn's digits: pip install scikit-learn, or pass --no-training"
        ) from error
    images, labels = load_digits(return_X_y=True)
    return (images - images.mean()) / images.std(), labels


def train(start: Start, f: Activation, recipe: Recipe, images: Array, labels: np.ndarray[Any, Any]) -> Curve:
    """Train one network and watch its cost."""
    network = _Network(start, f, recipe, images.shape[1])
    order = np.random.default_rng(recipe.seed)
    costs = [network.cost(images, labels)]
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(recipe.epochs):
            if math.isfinite(costs[-1]):
                for chosen in _batches(order.permutation(len(labels)), recipe.batch):
                    network.step(images[chosen], labels[chosen], recipe.rate)
            costs.append(network.cost(images, labels))
    return Curve(tuple(costs), network.has_equal_units())


def _batches(order: np.ndarray[Any, Any], size: int) -> Iterator[np.ndarray[Any, Any]]:
    return (order[i : i + size] for i in range(0, len(order), size))


class _Network:
    """A fully connected network in float64, with plain gradient descent."""

    def __init__(self, start: Start, f: Activation, recipe: Recipe, inputs: int) -> None:
        self.f = f
        widths = [inputs, *[recipe.width] * (recipe.depth - 1), CLASSES]
        shapes = [(widths[layer + 1], widths[layer]) for layer in range(recipe.depth)]
        self.weights: list[Array] = [
            new(shape, start.law(shape[1], shape[0]), dtype="float64", seed=recipe.seed, name=f"layers.{layer}.weight")
            for layer, shape in enumerate(shapes)
        ]
        self.biases: list[Array] = [np.zeros(shape[0]) for shape in shapes]
        # The second matrices of gated layers; the last layer is linear.
        self.values: list[Array] = [
            new(shape, start.law(shape[1], shape[0]), dtype="float64", seed=recipe.seed, name=f"layers.{layer}.value")
            for layer, shape in enumerate(shapes[:-1] if f.gated else ())
        ]

    def forward(self, x: Array) -> tuple[list[Array], list[Array]]:
        """What enters each layer, and what leaves it before its activation."""
        entering, leaving = [x], []
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            leaving.append(matmul(entering[-1], weight.T) + bias)
            through = self.f.value(leaving[-1])
            entering.append(through * self._beside(entering[-1], layer) if self.values[layer:] else through)
        return entering[:-1], leaving

    def _beside(self, x: Array, layer: int) -> Array:
        """What a gate is multiplied with."""
        return matmul(x, self.values[layer].T)

    def cost(self, x: Array, labels: np.ndarray[Any, Any]) -> float:
        """Mean cross-entropy; inf where it is no number."""
        with np.errstate(over="ignore", invalid="ignore"):
            logits = self.forward(x)[1][-1]
            logits -= logits.max(axis=1, keepdims=True)
            costs = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
            mean = float(costs.mean())
        return mean if math.isfinite(mean) else math.inf

    def step(self, x: Array, labels: np.ndarray[Any, Any], rate: float) -> None:
        """One step of gradient descent on a batch."""
        entering, leaving = self.forward(x)
        logits = leaving.pop()
        g = np.exp(logits - logits.max(axis=1, keepdims=True))
        g /= g.sum(axis=1, keepdims=True)
        g[np.arange(len(labels)), labels] -= 1.0
        g /= len(labels)
        gate = g  # the gradient of the second matrix's product; none in the last layer
        for layer in reversed(range(len(self.weights))):
            weight_gradient, bias_gradient = matmul(g.T, entering[layer]), g.sum(axis=0)
            value_gradient = matmul(gate.T, entering[layer]) if self.values[layer:] else None
            if layer:
                g = matmul(g, self.weights[layer])
                if value_gradient is not None:
                    g += matmul(gate, self.values[layer])
                slope = self.f.slope(leaving[layer - 1])
                if self.values:
                    gate = g * self.f.value(leaving[layer - 1])
                    slope = slope * self._beside(entering[layer - 1], layer - 1)
                g = g * slope
            if value_gradient is not None:
                self.values[layer] -= rate * value_gradient
            self.weights[layer] -= rate * weight_gradient
            self.biases[layer] -= rate * bias_gradient

    def has_equal_units(self) -> bool:
        """Whether every hidden layer is one unit, many times."""
        return all(
            float(np.ptp(weight, axis=0).max()) <= SAME * float(np.abs(weight).max()) for weight in self.weights[:-1]
        )
