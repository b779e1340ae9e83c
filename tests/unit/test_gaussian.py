"""The normal distribution on the host, against mpmath and SciPy."""

from __future__ import annotations

import ast
import inspect
import math
import random

import mpmath
import pytest
import scipy.stats

from fastinit.engines import gaussian


@pytest.fixture(autouse=True)
def fifty_digits():
    with mpmath.workdps(50):
        yield


def exact_density(x):
    return mpmath.exp(-(mpmath.mpf(x) ** 2) / 2) / mpmath.sqrt(2 * mpmath.pi)


def exact_upper_tail(x):
    return mpmath.erfc(mpmath.mpf(x) / mpmath.sqrt(2)) / 2


def exact_truncated_std(k):
    with mpmath.workdps(120):  # the textbook form loses twice the digits of k
        return mpmath.sqrt(1 - 2 * mpmath.mpf(k) * exact_density(k) / (1 - 2 * exact_upper_tail(k)))


def relative_error(got, exact):
    return float(abs(mpmath.mpf(got) / exact - 1))


def points(low, high, count=400):
    """Both ends, both neighbours of each multiple of 1/16 near them, and random points between."""
    draw = random.Random(f"{low} {high}")
    borders = [x for end in (low, high) for x in (end, math.nextafter(end, low), math.nextafter(end, high))]
    return borders + [draw.uniform(low, high) for _ in range(count)]


def test_exp_is_good_to_two_tenths_of_10_to_minus_15():
    for y in points(-708.0, 0.0) + points(-1.0, 0.0):
        assert relative_error(gaussian.exp_negative(y), mpmath.exp(mpmath.mpf(y))) < 2.3e-16


def test_exp_underflows_like_a_float():
    assert gaussian.exp_negative(0.0) == 1.0
    assert gaussian.exp_negative(-745.0) == 5e-324
    assert gaussian.exp_negative(-746.0) == 0.0
    assert gaussian.exp_negative(-math.inf) == 0.0


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (1.0, 2.0), (2.0, 10.0), (10.0, 37.5)])
def test_density_and_both_tails_are_good_to_1e_15(low, high):
    for x in points(low, high):
        assert relative_error(gaussian.density(x), exact_density(x)) < 1e-15
        assert relative_error(gaussian.upper_tail(x), exact_upper_tail(x)) < 1e-15
        assert relative_error(gaussian.lower_tail(x), exact_upper_tail(-x)) < 1e-15


def test_the_tail_fades_through_the_subnormal_numbers():
    for x in points(37.5, 38.4, 100):  # three units of the smallest subnormal: e^y is rounded to it before the division
        assert abs(gaussian.upper_tail(x) - exact_upper_tail(x)) < 3 * 5e-324
    assert gaussian.upper_tail(39.0) == 0.0


def test_lower_tail_is_the_mirror_image():
    for x in points(-37.0, 37.0):
        assert gaussian.lower_tail(x) == gaussian.upper_tail(-x)
        assert gaussian.density(x) == gaussian.density(-x)
    assert gaussian.upper_tail(0.0) == gaussian.lower_tail(0.0) == 0.5


def test_infinite_arguments():
    assert gaussian.upper_tail(math.inf) == gaussian.lower_tail(-math.inf) == gaussian.density(math.inf) == 0.0
    assert gaussian.upper_tail(-math.inf) == gaussian.lower_tail(math.inf) == 1.0
    assert gaussian.density(-math.inf) == 0.0


def test_upper_tail_does_not_rise_where_the_formula_changes():
    for border in (-1.0, 1.0):
        xs = [border + step * 1e-6 for step in range(-50, 51)]
        tails = [gaussian.upper_tail(x) for x in xs]
        assert tails == sorted(tails, reverse=True)


@pytest.mark.parametrize("x", [-9.0, -1.0, -0.3, 0.0, 0.5, 1.0, 2.0, 6.5, 20.0])
def test_scipy_agrees(x):
    assert gaussian.density(x) == pytest.approx(scipy.stats.norm.pdf(x), rel=1e-14)
    assert gaussian.upper_tail(x) == pytest.approx(scipy.stats.norm.sf(x), rel=1e-13)
    assert gaussian.lower_tail(x) == pytest.approx(scipy.stats.norm.cdf(x), rel=1e-13)


def test_std_cut_at_2():
    assert gaussian.truncated_std(2.0) == pytest.approx(0.87962566103423978, rel=1e-15)
    assert gaussian.truncated_std(2.0) == pytest.approx(scipy.stats.truncnorm(-2, 2).std(), rel=1e-12)


@pytest.mark.parametrize(("low", "high"), [(1e-12, 1e-6), (1e-6, 0.1), (0.1, 3.0), (3.0, 8.0), (8.0, 38.0)])
def test_truncated_std_is_good_to_1e_15(low, high):
    for k in points(low, high, 200):
        assert relative_error(gaussian.truncated_std(k), exact_truncated_std(k)) < 1e-15


def test_truncated_std_at_the_ends():
    assert gaussian.truncated_std(math.inf) == 1.0
    assert gaussian.truncated_std(1e-200) == pytest.approx(1e-200 / math.sqrt(3), rel=1e-15)


@pytest.mark.parametrize("k", [0.0, -1.0, math.nan])
def test_truncated_std_refuses_what_is_not_positive(k):
    with pytest.raises(ValueError, match="k must be positive"):
        gaussian.truncated_std(k)


def test_nothing_but_exact_library_functions_is_called():
    """Of math the source calls sqrt, ldexp and floor, which are exact to the last bit everywhere, and nothing else."""
    tree = ast.parse(inspect.getsource(gaussian))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "math"
    }
    assert used == {"sqrt", "ldexp", "floor"}
    assert not any(isinstance(node, ast.Pow) for node in ast.walk(tree))
