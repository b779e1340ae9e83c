"""Cost curves: what a start does to plain gradient descent."""

from __future__ import annotations

import builtins
import math
from functools import cache

import numpy as np
import pytest

from fastinit.compare.activations import activation
from fastinit.compare.starts import starts_for
from fastinit.compare.training import CHANCE, Recipe, _Network, digits, train

pytest.importorskip("sklearn")


@cache
def curve(name, start_name, **recipe):
    start = next(one for one in starts_for(name) if one.name == start_name)
    return train(start, activation(name), Recipe(**recipe), *digits())


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid", "softplus"])
def test_zeros_learn_nothing_since_all_units_stay_equal(name):
    # Under sigmoid and softplus the output weights do move, and so do the hidden ones: but all in the same way.
    found = curve(name, "zero", depth=3, width=16, epochs=3, rate=0.1)
    assert found.equal_units
    assert found.costs[-1] > 0.9 * CHANCE


@pytest.mark.parametrize("name", ["sigmoid", "softplus"])
def test_equal_units_are_not_units_that_never_move(name):
    network = _network(name, "zero")
    images, labels = digits()
    for _ in range(3):
        network.step(images[:200], labels[:200], 0.5)
    assert np.abs(network.weights[1]).max() > 0
    assert network.has_equal_units()


def test_units_of_any_other_start_differ():
    for start in ("small", "He", "orthogonal"):
        assert not curve("relu", start, depth=3, width=16, epochs=1).equal_units


def test_ten_times_too_large_starts_at_a_far_higher_cost_and_diverges_under_relu():
    large, he = curve("relu", "large", epochs=2), curve("relu", "He", epochs=6)
    assert large.costs[0] > 1e6 * he.costs[0]
    assert math.isinf(large.costs[-1])


def test_ten_times_too_large_starts_at_a_higher_cost_and_converges_slowly_under_tanh():
    large, xavier = curve("tanh", "large", epochs=5), curve("tanh", "Xavier, gain 5/3", epochs=5)
    assert large.costs[0] > 4 * xavier.costs[0]
    assert large.costs[-1] > 10 * xavier.costs[-1]


def test_he_learns_under_relu_while_xavier_lags():
    he, xavier = curve("relu", "He", epochs=6), curve("relu", "Xavier", epochs=6)
    assert he.costs[-1] < 0.3
    assert xavier.costs[-1] > 3 * he.costs[-1]


def test_small_weights_learn_nothing():
    assert curve("relu", "small", epochs=2).costs[-1] == pytest.approx(CHANCE, rel=0.01)


def test_a_network_that_knows_nothing_costs_chance():
    assert curve("relu", "zero", depth=3, width=16, epochs=3, rate=0.1).costs[0] == pytest.approx(CHANCE, rel=1e-12)


def _network(name, start_name):
    start = next(one for one in starts_for(name) if one.name == start_name)
    return _Network(start, activation(name), Recipe(depth=3, width=7, seed=2), 64)


@pytest.mark.parametrize("name", ["relu", "tanh", "gelu", "selu", "swiglu", "hardswish"])
def test_a_step_goes_down_the_numeric_gradient(name):
    images, labels = digits()
    images, labels, rate, nudge = images[:20], labels[:20], 1e-3, 1e-6
    before, after = _network(name, "He"), _network(name, "He")
    after.step(images, labels, rate)
    moving = zip([*before.weights, *before.values], [*after.weights, *after.values], strict=True)
    for weight, moved_weight in moving:
        for index in [(0, 0), (3, 5), (6, 6)]:
            kept = weight[index]
            weight[index] = kept + nudge
            above = before.cost(images, labels)
            weight[index] = kept - nudge
            below = before.cost(images, labels)
            weight[index] = kept
            moved = moved_weight[index] - kept
            assert moved == pytest.approx(-rate * (above - below) / (2 * nudge), rel=1e-4, abs=1e-12)


def test_training_is_a_function_of_its_seed():
    small = {"depth": 3, "width": 16, "epochs": 1}
    start = next(one for one in starts_for("relu") if one.fitting)
    again = train(start, activation("relu"), Recipe(seed=4, **small), *digits())
    assert again.costs == pytest.approx(curve("relu", "He", seed=4, **small).costs, rel=1e-6)
    other = curve("relu", "He", seed=5, **small).costs
    assert again.costs[0] != other[0]  # other weights
    assert again.costs[1] != other[1]


def test_without_scikit_learn_the_error_says_what_to_do(monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest):
        if name.startswith("sklearn"):
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ModuleNotFoundError, match="pip install scikit-learn, or pass --no-training"):
        digits()
