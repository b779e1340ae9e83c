"""Laws after arithmetic: scale x + shift, by moments, bounds, and the draws themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fastinit
from fastinit import laws
from fastinit.laws.arithmetic import affine, within

ARITHMETIC = [(1.0, 0.0), (2.0, 0.5), (-3.0, 0.25), (0.125, -4.0)]


@pytest.mark.parametrize(("scale", "shift"), ARITHMETIC)
@pytest.mark.parametrize(
    "law", [laws.Normal(0.5, 2.0), laws.Uniform(-1.0, 3.0), laws.TruncatedNormal(0.25, 1.5, -1.0, 2.0)]
)
def test_mean_std_and_support_are_those_of_the_number_after_the_arithmetic(law, scale, shift):
    found = affine(law, scale, shift)
    assert type(found) is type(law)
    assert found.mean == pytest.approx(law.mean * scale + shift, rel=1e-12)
    assert found.std == pytest.approx(law.std * abs(scale), rel=1e-12)
    assert found.support == pytest.approx(tuple(sorted(end * scale + shift for end in law.support)), rel=1e-12)
    x = np.linspace(-3.0, 3.0, 7)
    below = law.cdf(x) if scale > 0 else 1.0 - law.cdf(x)
    assert found.cdf(x * scale + shift) == pytest.approx(below, abs=1e-12)


def test_the_parent_of_a_truncated_normal_is_scaled_and_moved_with_its_bounds():
    found = affine(laws.TruncatedNormal(0.25, 1.5, -1.0, 2.0), -2.0, 0.5)
    assert found == laws.TruncatedNormal(0.0, 3.0, -3.5, 2.5)


@pytest.mark.parametrize("scale", [2.0, -0.25])
def test_a_complex_law_is_scaled_with_its_modulus_and_moved_if_it_is_a_normal(scale):
    normal = affine(laws.ComplexNormal(0.5 - 2.0j, 0.3), scale, 0.25)
    assert normal == laws.ComplexNormal((0.5 - 2.0j) * scale + 0.25, 0.3 * abs(scale))
    assert affine(laws.ComplexUniform(0.5), scale, 0.0) == laws.ComplexUniform(0.5 * abs(scale))
    cut = affine(laws.ComplexTruncatedNormal(1.0, 2.0), scale, 0.0)
    assert cut == laws.ComplexTruncatedNormal(abs(scale), 2.0 * abs(scale))
    assert affine(laws.ComplexUniform(0.5), scale, 0.25) is None
    assert affine(laws.ComplexTruncatedNormal(1.0, 2.0), scale, 0.25) is None


def test_a_uniform_law_that_shrinks_to_a_point_is_none():
    assert affine(laws.Uniform(1.0, 1.0 + 2.0**-52), 1.0, 1e6) is None


@pytest.mark.parametrize("scale", [0.5, -0.5])
def test_an_orthogonal_law_takes_the_size_of_a_factor_and_an_identity_its_sign_too(scale):
    assert affine(laws.Orthogonal(2.0, batch=1), scale, 0.0) == laws.Orthogonal(1.0, batch=1)
    assert affine(laws.Identity(2.0), scale, 0.0) == laws.Identity(2.0 * scale)


def test_a_sparse_law_takes_a_factor_in_its_values():
    found = affine(laws.Sparse(laws.Normal(0.0, 0.5), nonzeros=3, axis=1), 4.0, 0.0)
    assert found == laws.Sparse(laws.Normal(0.0, 2.0), nonzeros=3, axis=1)


@pytest.mark.parametrize("law", [laws.Orthogonal(), laws.Identity(), laws.Sparse(nonzeros=1)])
def test_what_has_zeros_or_is_a_rotation_is_no_law_of_ours_once_it_is_moved(law):
    assert affine(law, 1.0, 0.5) is None


@pytest.mark.parametrize("law", [laws.Laplace(0.0, 1.0), laws.StepBias(), laws.Sparse(laws.StepBias(), nonzeros=1)])
def test_other_laws_are_none_after_arithmetic(law):
    assert affine(law, 2.0, 0.0) is None


def test_a_normal_that_is_doubled_draws_twice_the_values():
    once, twice = np.empty(1000, np.float32), np.empty(1000, np.float32)
    fastinit.fill_normal(once, 0.0, 0.5, seed=3, name="w")
    fastinit.fill(twice, affine(laws.Normal(0.0, 0.5), 2.0, 0.0), seed=3, name="w")
    assert (twice == 2 * once).all()


def test_a_law_is_within_bounds_that_it_reaches_and_no_narrower_ones():
    law = laws.Uniform(-1.0, 2.0)
    assert within(law, -1.0, 2.0, 0.0)
    assert not within(law, -0.99, 2.0, 0.0)
    assert not within(law, -1.0, 1.99, 0.0)
    assert within(law, -0.995, 1.99, 0.01)
    assert not within(law, -0.98, 2.0, 0.01)
    assert not within(law, -1.0, 1.96, 0.01)


def test_only_laws_with_bounds_are_within_any():
    assert within(laws.Constant(0.5), 0.0, 1.0, 0.0)
    assert within(laws.TruncatedNormal(0.0, 1.0, -1.0, 1.0), -1.0, 1.0, 0.0)
    assert not within(laws.Normal(0.0, 1e-9), -1.0, 1.0, 0.0)
    assert not within(laws.Laplace(0.0, 1e-9), -math.inf, math.inf, 0.0)
