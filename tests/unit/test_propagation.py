"""A signal through a deep network: what the literature says, and what mean-field theory says, layer by layer."""

from __future__ import annotations

from functools import cache

import mean_field
import numpy as np
import pytest

from fastinit.advice import scheme_for
from fastinit.compare import activations
from fastinit.compare.activations import activation
from fastinit.compare.propagation import propagate
from fastinit.compare.starts import starts_for
from fastinit.fill import new
from fastinit.laws import Normal

DEPTH, WIDTH, BATCH = 50, 512, 128


@cache
def signal(name, start_name, seed=0, width=WIDTH):
    start = next(one for one in starts_for(name) if one.name == start_name)
    return propagate(start, activation(name), depth=DEPTH, width=width, batch=BATCH, seed=seed)


# --- the literature, by the figures of the project's promise ----------------------------------------------------------


def test_xavier_vanishes_under_relu():
    # Half of the second moment a layer: 2^-50 = 9e-16. He et al. 2015, section 2.2 and figure 3.
    assert 0 < signal("relu", "Xavier").activations[-1] < 1e-12
    assert 0 < signal("relu", "Xavier").gradients[0] < 1e-12


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_he_stays_within_a_factor_of_5_under_relu_at_every_layer(seed):
    found = signal("relu", "He", seed)
    assert 1 / 5 < min(found.activations) <= max(found.activations) < 5
    assert 1 / 5 < min(found.gradients) <= max(found.gradients) < 5


@pytest.mark.slow
def test_he_leaves_a_factor_of_5_in_few_seeds_as_its_log_normal_spread_says():
    # The log of the second moment walks: a layer adds a variance of about 5 / width (Hanin and Rolnick 2018,
    # arXiv:1803.01719), 0.7 after 50 layers of 512. The median is exp(-0.25) (1 - 1 / pi) = 0.53.
    last = np.array([signal("relu", "He", seed).activations[-1] for seed in range(40)])
    assert 0.35 < np.median(last) < 0.75
    assert 0.4 < np.log(last).std() < 1.0
    assert np.mean((last > 1 / 5) & (last < 5)) >= 0.85


def test_xavier_falls_only_polynomially_under_tanh():
    found = signal("tanh", "Xavier").activations
    assert 0.005 < found[-1] < 0.02
    # q_l = 1 / (2 l) for large l: twice the depth, half the variance; an exponential would square it.
    assert found[25] / found[50] == pytest.approx(2, rel=0.15)


def test_gain_five_thirds_holds_tanh_near_two_fifths():
    assert signal("tanh", "Xavier, gain 5/3").activations[-1] == pytest.approx(0.4, rel=0.1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_lecun_holds_selu_within_a_tenth(seed):
    assert signal("selu", "LeCun", seed).activations == pytest.approx([1.0] * (DEPTH + 1), rel=0.1)


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid", "selu"])
def test_no_gradient_comes_back_from_zeros(name):
    found = signal(name, "zero", width=128)
    assert found.activations[1:] == (0.0,) * DEPTH
    assert found.gradients[:-1] == (0.0,) * DEPTH
    assert found.dead[-1] == (0.0 if name == "sigmoid" else 1.0)


def test_a_start_ten_times_too_large_explodes_or_saturates():
    assert signal("relu", "large").activations[-1] == pytest.approx(1e100, rel=4)
    assert signal("tanh", "large").saturated[-1] > 0.8
    assert signal("tanh", "large").gradients[0] > 1e30


def test_small_weights_lose_the_signal_in_every_direction():
    for name in ("relu", "tanh", "selu"):
        assert signal(name, "small", width=128).activations[-1] < 1e-40
        assert signal(name, "small", width=128).gradients[0] < 1e-40


def test_an_isometry_carries_a_linear_signal_unchanged():
    found = signal("linear", "orthogonal", width=64)
    assert found.activations == pytest.approx([1.0] * (DEPTH + 1), rel=1e-2)
    assert found.gradients == pytest.approx([1.0] * (DEPTH + 1), rel=1e-2)


# --- theory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "start_name", "s2", "tolerance"),
    [
        ("linear", "Xavier", 1.0, 0.5),
        ("relu", "He", 2.0, 1.0),
        ("leaky_relu", "He", 2.0 / 1.0001, 1.0),
        ("tanh", "Xavier", 1.0, 0.25),
        ("tanh", "Xavier, gain 5/3", 25 / 9, 0.25),
        ("tanh", "He", 2.0, 0.25),
        ("sigmoid", "Xavier", 1.0, 0.25),
        ("selu", "LeCun", 1.0, 0.25),
        ("softsign", "He", 2.0, 0.25),
        ("elu", "Xavier", 1.0, 0.35),
    ],
)
def test_every_layer_follows_mean_field_theory(name, start_name, s2, tolerance):
    # `tolerance` is in natural logarithms. A width of 512 is not infinite: where a variance is no fixed point that
    # attracts, it walks by sqrt(2 / 512) to sqrt(5 / 512) a layer: up to 0.7 over 50 layers.
    activations, gradients = mean_field.variances(name, s2, DEPTH)
    found = signal(name, start_name)
    assert np.log(found.activations) == pytest.approx(np.log(activations), abs=tolerance)
    assert np.log(found.gradients) == pytest.approx(np.log(gradients), abs=tolerance)


def test_the_theory_knows_its_closed_forms():
    activations, gradients = mean_field.variances("relu", 2.0, 10)
    assert activations[1:] == pytest.approx([1 - 1 / np.pi] * 10, rel=1e-5)
    assert gradients == pytest.approx([1.0] * 11, rel=1e-3)
    activations, _ = mean_field.variances("selu", 1.0, 10)
    assert activations == pytest.approx([1.0] * 11, rel=1e-5)  # Klambauer et al. 2017: the fixed point


# --- mechanics --------------------------------------------------------------------------------------------------------


def test_every_activation_of_scheme_for_has_a_function_but_softmax():
    with pytest.raises(ValueError, match="it knows") as refused:
        scheme_for("nothing of the kind")
    known = str(refused.value).split("it knows ")[1].split(", ")
    assert set(activations.NAMES) == set(known) - {"softmax"}


@pytest.mark.parametrize("name", activations.NAMES)
def test_a_slope_is_the_derivative_of_its_function(name):
    f = activation(name, 0.2)
    z = np.linspace(-9.03, 9.03, 600)
    assert f.slope(z) == pytest.approx(mean_field.slope(f.value, z), abs=1e-8)


@pytest.mark.parametrize("name", sorted(mean_field.FUNCTIONS))
def test_a_function_is_that_of_its_paper(name):
    z = np.linspace(-30, 30, 601)
    assert activation(name).value(z) == pytest.approx(mean_field.FUNCTIONS[name](z), abs=1e-12)


@pytest.mark.parametrize("name", activations.NAMES)
def test_no_activation_stumbles_over_huge_inputs(name):
    f = activation(name)
    z = np.array([-1e200, -800.0, -0.0, 0.0, 800.0, 1e200])
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.isfinite(f.value(z)).all()
    for limit in f.limits:
        assert np.abs(f.value(z) - limit).min() < 1e-12


def test_an_unknown_activation_is_named_in_the_error():
    with pytest.raises(ValueError, match="'rule' is unknown; there are relu"):
        activation("rule")
    with pytest.raises(ValueError, match="softmax acts on the last layer"):
        activation("softmax")


@pytest.mark.parametrize("name", ["gelu", "swiglu", "hardswish", "celu"])
def test_the_gradient_is_that_of_the_signal(name):
    # d(g . h_L) / d h_0, by central differences on a small network.
    start = next(one for one in starts_for(name) if one.fitting)
    f, size = activation(name), {"depth": 3, "width": 6, "batch": 4, "seed": 5}
    weights, values = (
        [new((6, 6), start.law(6, 6), seed=5, name=f"layers.{i}.{kind}").astype(float) for i in range(3)]
        for kind in ("weight", "value")
    )
    h = new((4, 6), Normal(), dtype="float64", seed=5, name="input")
    top = new((4, 6), Normal(), dtype="float64", seed=5, name="gradient")

    def objective(x):
        for weight, value in zip(weights, values, strict=True):
            x = f.value(x @ weight.T) * (x @ value.T if name == "swiglu" else 1.0)
        return float((top * x).sum())

    numeric = np.empty_like(h)
    for index in np.ndindex(h.shape):
        nudge = np.zeros_like(h)
        nudge[index] = 1e-6
        numeric[index] = (objective(h + nudge) - objective(h - nudge)) / 2e-6
    assert propagate(start, f, **size).gradients[0] == pytest.approx(numeric.var() / top.var(), rel=1e-6)


def test_dead_and_saturated_units_are_counted():
    found = signal("relu", "He")
    assert found.saturated is None
    assert found.dead[0] == found.dead[1] == 0.0
    assert 0.2 < found.dead[-1] < 0.5  # inputs have grown alike, and units are off for all of them
    assert signal("tanh", "Xavier, gain 5/3").saturated[-1] == pytest.approx(0.09, abs=0.03)


def test_overflow_is_infinite_and_no_number_comes_back():
    start = next(one for one in starts_for("relu") if one.name == "large")
    found = propagate(start, activation("relu"), depth=330, width=16, batch=8, seed=0)
    assert found.activations[-1] == np.inf


# --- starts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", activations.NAMES)
def test_exactly_one_start_is_what_scheme_for_names(name):
    starts = starts_for(name, 0.25)
    (fitting,) = [one for one in starts if one.fitting]
    advice = scheme_for(name, 0.25)
    theirs = np.empty((40, 30), np.float32)
    fans = (30, 40) if "xavier" in advice.fill.__name__ else (30,)
    advice.fill(theirs, *fans, seed=3, name="w", **advice.arguments)
    assert (new((40, 30), fitting.law(30, 40), seed=3, name="w") == theirs).all()


@pytest.mark.parametrize("name", ["relu", "tanh", "selu", "leaky_relu"])
def test_orthogonal_has_the_variance_of_the_fitting_scheme(name):
    starts = starts_for(name)
    (fitting,) = [one for one in starts if one.fitting]
    (twin,) = [one for one in starts if one.twin]
    for fans in ((64, 64), (30, 80), (80, 30)):
        shape = fans[::-1]
        assert twin.law(*fans).marginal(shape).std == pytest.approx(fitting.law(*fans).marginal(shape).std, rel=1e-12)


def test_large_is_ten_times_the_fitting_scheme():
    for name in ("relu", "tanh", "selu", "leaky_relu"):
        by_name = {one.name: one for one in starts_for(name)}
        fitting = next(one for one in by_name.values() if one.fitting)
        assert by_name["large"].law(50, 70).std == pytest.approx(10 * fitting.law(50, 70).std)
