"""Moments, support and distribution function of every law, against SciPy and 60-digit arithmetic, and of its draws."""

from __future__ import annotations

import dataclasses
import math
import sys

import mpmath
import numpy as np
import pytest
import scipy.stats

import fastinit
from fastinit import laws
from fastinit.dtypes import FORMATS
from fastinit.laws import Constant, Normal, TruncatedNormal, Uniform

INF = math.inf
TRUNCATED = [
    (0.0, 1.0, -2.0, 2.0),
    (0.0, 0.02, -2.0, 2.0),  # absolute bounds that cut nothing
    (1.0, 2.0, -1.0, 5.0),
    (5.0, 0.1, 4.9, INF),
    (0.0, 1.0, -0.3, 4.0),
    (0.0, 1.0, -INF, 0.5),
    (0.0, 1.0, -INF, INF),
    (0.0, 1.0, 3.0, INF),
    (0.0, 1.0, 8.0, 9.0),
    (0.0, 1.0, -INF, -11.0),
    (100.0, 1.0, 99.0, 100.5),
    (0.0, 1e-30, -1e-30, 2e-30),
]
# Intervals so narrow that the mass is a difference of nearly equal numbers.
NARROW = [(0.0, 1.0, -1e-3, 1e-3), (0.0, 1.0, -1e-5, 1e-5), (0.0, 1.0, 0.5, 0.5 + 1e-6), (0.0, 1.0, 3.0, 3.001)]


def upper_tail(x):
    return mpmath.erfc(x / mpmath.sqrt(2)) / 2


def exact_moments(mean, std, low, high):
    """Mean and standard deviation of a truncated normal by the textbook formula, in 60 digits, from the nearer tail."""
    if low + high < 2 * mean:
        reflected, spread = exact_moments(-mean, std, -high, -low)
        return -reflected, spread
    with mpmath.workdps(60):
        alpha, beta = ((mpmath.mpf(x) - mpmath.mpf(mean)) / mpmath.mpf(std) for x in (low, high))
        mass = upper_tail(alpha) - upper_tail(beta)

        def density(x, factor):
            return mpmath.mpf(0) if mpmath.isinf(x) else factor * mpmath.npdf(x)

        shift = (density(alpha, 1) - density(beta, 1)) / mass
        variance = 1 + (density(alpha, alpha) - density(beta, beta)) / mass - shift**2
        return mean + std * shift, std * mpmath.sqrt(variance)


# --- what a law says of itself ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", [Constant(1.5), Uniform(), Normal(), TruncatedNormal(0.0, 1.0, -2.0, 2.0)])
def test_a_law_is_a_frozen_value(law):
    assert law == dataclasses.replace(law)
    assert hash(law) == hash(dataclasses.replace(law))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(law, dataclasses.fields(law)[0].name, 0.0)
    assert eval(repr(law), vars(laws)) == law


def test_defaults_are_the_unit_interval_and_the_standard_normal():
    assert Uniform() == Uniform(0.0, 1.0)
    assert Normal() == Normal(0.0, 1.0)


@pytest.mark.parametrize("number", [np.float32(0.25), np.float64(0.25), np.array(0.25), 0.25])
def test_numbers_are_kept_as_python_floats(number):
    for law in (Uniform(number, 1), Normal(number, number), TruncatedNormal(number, number, -number, 3)):
        assert {type(getattr(law, field.name)) for field in dataclasses.fields(law)} == {float}


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.0, 2.0), (1e-30, 2e-30), (-1e38, 1e38)])
def test_uniform_has_the_moments_support_and_cdf_of_scipy(low, high):
    law, oracle = Uniform(low, high), scipy.stats.uniform(low, high - low)
    assert law.mean == pytest.approx(oracle.mean(), rel=1e-14, abs=1e-14 * (high - low))
    assert law.std == pytest.approx(oracle.std(), rel=1e-14)
    assert law.support == oracle.support()
    x = np.linspace(low - (high - low), high + (high - low), 101)
    assert law.cdf(x) == pytest.approx(oracle.cdf(x), rel=1e-12)
    assert (law.cdf(low), law.cdf(high)) == (0.0, 1.0)


def test_uniform_has_finite_moments_on_the_widest_interval():
    largest = float(np.finfo(np.float64).max)
    law = Uniform(-largest, largest)
    assert law.mean == 0.0
    assert law.std == pytest.approx(largest / math.sqrt(3))
    assert Uniform(largest / 2, largest).mean == pytest.approx(0.75 * largest)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (-3.0, 0.02), (1e6, 1e-3)])
def test_normal_has_the_moments_support_and_cdf_of_scipy(mean, std):
    law, oracle = Normal(mean, std), scipy.stats.norm(mean, std)
    assert (law.mean, law.std, law.support) == (mean, std, (-INF, INF))
    x = mean + std * np.linspace(-9, 9, 101)
    assert law.cdf(x) == pytest.approx(oracle.cdf(x), rel=1e-12)
    assert (law.cdf(-INF), law.cdf(INF)) == (0.0, 1.0)


@pytest.mark.parametrize("parameters", TRUNCATED)
def test_truncated_normal_has_exact_mean_std_and_support(parameters):
    law = TruncatedNormal(*parameters)
    mean, std = exact_moments(*parameters)
    assert (
        abs(law.mean - mean) < 4e-16 * abs(mean) + 1e-14 * std
    )  # so that systems agree in every digit that is printed
    assert law.std == pytest.approx(float(std), rel=1e-14)
    assert law.support == parameters[2:]


@pytest.mark.parametrize("scale", [1e-200, 1e-310, 1e200, 1e300])
@pytest.mark.parametrize("bounds", [(-2.0, 2.0), (0.5, 3.0), (-INF, 1.0), (-1e8, 1e8), (-0.1, 0.1)])
def test_truncated_normal_has_moments_and_cdf_where_the_square_of_its_std_is_none(scale, bounds):
    law, unit = (TruncatedNormal(0.0, std, *(one * std for one in bounds)) for std in (scale, 1.0))
    assert law.mean == pytest.approx(unit.mean * scale, rel=1e-9, abs=1e-9 * scale)
    assert law.std == pytest.approx(unit.std * scale, rel=1e-9)
    assert law.cdf(0.4 * scale) == pytest.approx(unit.cdf(0.4), rel=1e-9)


@pytest.mark.parametrize("std", [1e-200, 5e-324])
def test_a_truncated_normal_whose_bounds_cut_nothing_has_the_std_of_its_parent(std):
    assert TruncatedNormal(0.0, std, -1.0, 1.0).std == std


@pytest.mark.parametrize("parameters", NARROW)
def test_a_narrow_truncated_normal_has_the_moments_of_a_nearly_uniform_law(parameters):
    law = TruncatedNormal(*parameters)
    mean, std = exact_moments(*parameters)
    assert abs(law.mean - mean) < 4e-16 * abs(mean) + 1e-12 * std
    assert law.std == pytest.approx(float(std), rel=1e-12)


@pytest.mark.parametrize("parameters", TRUNCATED)
def test_truncated_normal_has_the_exact_cdf(parameters):
    law, (mean, std, low, high) = TruncatedNormal(*parameters), parameters
    low, high = max(low, mean - 13 * std), min(high, mean + 13 * std)
    x = np.linspace(low, high, 41)[1:-1]
    with mpmath.workdps(60):
        z = [(mpmath.mpf(float(one)) - mean) / std for one in x]
        alpha, beta = ((mpmath.mpf(one) - mean) / mpmath.mpf(std) for one in parameters[2:])
        exact = [float((upper_tail(alpha) - upper_tail(one)) / (upper_tail(alpha) - upper_tail(beta))) for one in z]
    assert law.cdf(x) == pytest.approx(exact, rel=1e-9, abs=1e-12)
    assert law.cdf(np.array([low - 14 * std, high + 14 * std])) == pytest.approx([0.0, 1.0])


@pytest.mark.parametrize("law", [Constant(3.0), Normal(3.0, 0.0), TruncatedNormal(3.0, 0.0, 3.0, 3.0)])
def test_a_law_without_spread_is_a_step(law):
    assert (law.mean, law.std, law.support) == (3.0, 0.0, (3.0, 3.0))
    assert law.cdf(np.array([2.999, 3.0, 3.001])).tolist() == [0.0, 1.0, 1.0]
    assert law.cdf(2.0) == 0.0


@pytest.mark.parametrize("law", [Constant(1.0), Uniform(), Normal(), TruncatedNormal(0.0, 1.0, -2.0, 2.0)])
def test_cdf_keeps_the_shape_of_its_argument(law):
    assert np.ndim(law.cdf(0.5)) == 0
    assert law.cdf(np.zeros((2, 3))).shape == (2, 3)


# --- what is drawn ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("parameters", [p for p in TRUNCATED if p[1] > 1e-3])
def test_truncated_draws_stay_inside_both_bounds_after_rounding(engine, dtype, parameters):
    if parameters[0] == 100.0 and FORMATS[dtype].mantissa_bits < 4:
        parameters = (96.0, 1.0, 80.0, 104.0)  # neighbours of 96 are 8 apart
    if parameters[0] == 5.0:
        parameters = (5.0, 0.5, 4.0, INF)
    drawn = fastinit.new(20_000, TruncatedNormal(*parameters), seed=1, dtype=dtype).astype(np.float64)
    assert np.isfinite(drawn).all()
    assert drawn.min() >= parameters[2]
    assert drawn.max() <= parameters[3]


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (0.1, 0.9), (-0.3, -0.1), (1.0, 1.5)])
def test_uniform_draws_include_low_and_never_high_after_rounding(engine, dtype, low, high):
    drawn = fastinit.new(20_000, Uniform(low, high), seed=1, dtype=dtype).astype(np.float64)
    assert drawn.min() >= low
    assert drawn.max() < high
    if FORMATS[dtype].mantissa_bits < 8:
        assert drawn.max() == FORMATS[dtype].below(high)
        if low:  # the values around zero are too fine for 20,000 draws to meet zero itself
            assert drawn.min() == FORMATS[dtype].at_least(low)


@pytest.mark.parametrize(
    ("low", "high", "kernel"),
    [
        (0.0, 1.0, "uniform_steps_32"),
        (-0.1, 0.1, "uniform_steps_32"),
        (-1.0, 0.5, "uniform_steps_32"),
        (0.0, 2.0**-101, "uniform_steps_32"),  # the smallest step that is exact
        (2.0, 3.0, "uniform_32"),  # the last values round up to high
        (0.0, 2.0**-102 * (1 - 2.0**-24), "uniform_32"),
    ],
)
def test_a_uniform_that_goes_by_steps_has_all_its_values_within_the_interval(low, high, kernel):
    f32 = np.float32
    prepared = Uniform(low, high).kernel_arguments(FORMATS["float32"])
    assert prepared.kernel == kernel
    start, span, lowest, highest = prepared.reals
    u = np.arange(1 << 24, dtype=f32)  # all that a word can be
    exact = start + span * (u * f32(2.0**-24))
    by_steps = start + (span * f32(2.0**-24)) * u
    same = (by_steps == exact).all() and exact.max() <= highest
    assert same == (kernel == "uniform_steps_32")
    assert (np.maximum(by_steps, lowest) == np.clip(exact, lowest, highest)).all() == same


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "law",
    [Uniform(-3.0, 2.0), Normal(-1.0, 0.02), *(TruncatedNormal(*p) for p in TRUNCATED)],
    ids=str,
)
def test_draws_have_the_mean_and_std_the_law_states(engine, law, dtype):
    n = 1 << 17
    drawn = fastinit.new(n, law, seed=5, dtype=dtype).astype(np.float64)
    centred = (drawn - law.mean) / law.std
    assert abs(centred.mean()) < 5 / math.sqrt(n)
    kurtosis = (centred**4).mean()
    assert abs((centred**2).mean() - 1) < 5 * math.sqrt((kurtosis - 1) / n)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_half_a_normal_is_the_normal_without_its_sign_in_law(engine, dtype):
    """A one-sided cut at the mean is the half-normal law: Kolmogorov's distance to SciPy's is what chance allows."""
    n = 1 << 16
    drawn = fastinit.new(n, TruncatedNormal(0.0, 1.0, 0.0, INF), seed=2, dtype=dtype)
    assert scipy.stats.kstest(drawn.astype(np.float64), scipy.stats.halfnorm.cdf).pvalue > 1e-3


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("value", [0.0, -1.5, 448.0])
def test_a_law_of_std_zero_gives_the_mean_everywhere(engine, dtype, value):
    for law in (Normal(value, 0.0), TruncatedNormal(value, 0.0, -INF, INF), TruncatedNormal(value, 0.0, value, value)):
        assert (fastinit.new(1000, law, seed=0, dtype=dtype).astype(np.float64) == value).all()


@pytest.mark.parametrize(
    ("half_width", "dtype"),
    [(1e-2, "float32"), (1e-4, "float32"), (1e-5, "float32"), (1e-6, "float64"), (1e-9, "float64")],
)
def test_a_narrow_interval_is_still_drawn_with_the_std_it_states(engine, half_width, dtype):
    law = TruncatedNormal(0.0, 1.0, -half_width, half_width)
    drawn = fastinit.new(1 << 16, law, seed=1, dtype=dtype).astype(np.float64)
    assert drawn.std() == pytest.approx(half_width / math.sqrt(3), rel=0.01)


@pytest.mark.parametrize(("low", "high"), [(-1e-6, 1e-6), (1.0, 1.0 + 1e-6), (-3.0 - 1e-6, -3.0)])
def test_an_interval_too_narrow_for_float32_probabilities_is_refused_and_float64_takes_it(low, high):
    law = TruncatedNormal(0.0, 1.0, low, high)
    with pytest.raises(ValueError, match="too narrow"):
        fastinit.new(100, law, seed=1)
    drawn = fastinit.new(100, law, seed=1, dtype="float64")
    assert ((low <= drawn) & (drawn <= high)).all()
    assert len(np.unique(drawn)) > 90


@pytest.mark.parametrize("law", [Normal(), TruncatedNormal(0.0, 1.0, -2.0, 2.0), laws.Orthogonal().marginal((8, 4))])
def test_without_scipy_a_distribution_function_says_what_to_install(law, monkeypatch):
    for name in ("scipy", "scipy.special", "scipy.stats"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=r"need SciPy: pip install scipy$"):
        law.cdf(0.5)


@pytest.mark.parametrize("law", [Normal(), laws.Orthogonal(2.0), laws.Sparse(Normal(), 0.5), laws.Dirac()])
def test_the_former_name_of_marginal_is_kept(law):
    shape = (4, 4, 3) if isinstance(law, laws.Dirac) else (4, 4)
    assert law.on(shape) == law.marginal(shape)
