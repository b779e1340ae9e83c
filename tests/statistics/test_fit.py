"""Every law is the one on its label: distribution function, moments, tails, bits."""

from __future__ import annotations

import numpy as np
import pytest
from budget import accept
from checks import LAWS, cdf, chi_square, draw, goodness, mean_and_std, moments, tail
from scipy import stats

import fastinit
from fastinit import laws

DTYPES = ["float32", "float64"]
COUNT = 1 << 20


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", LAWS)
def test_values_follow_the_distribution_function(case, dtype):
    x = draw(LAWS[case], COUNT, dtype, seed=1, name=case)
    accept("fit", f"KS of {case}, {dtype}", goodness(x, LAWS[case]))
    accept("fit", f"chi-square of {case}, {dtype}", chi_square(x, LAWS[case]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", ["uniform", "normal", "truncated at two sigma"])
def test_four_million_values_follow_the_distribution_function(case, dtype):
    x = draw(LAWS[case], 4_000_000, dtype, seed=2, name=case)
    accept("fit", f"KS of 4e6 {case}, {dtype}", goodness(x, LAWS[case]))
    accept("fit", f"chi-square of 4e6 {case}, {dtype}", chi_square(x, LAWS[case], 50_000))


@pytest.mark.parametrize("case", LAWS)
def test_a_law_knows_its_distribution_function_and_moments(case):
    law = LAWS[case]
    x = np.unique(draw(law, 1000, "float64", seed=1, name=case))
    np.testing.assert_allclose(law.cdf(x), cdf(law)(x), rtol=1e-9, atol=1e-12)
    mean, std = mean_and_std(law)
    assert law.mean == pytest.approx(mean, rel=1e-12, abs=1e-15)
    assert law.std == pytest.approx(std, rel=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", LAWS)
def test_four_moments_are_those_of_the_law(case, dtype):
    x = draw(LAWS[case], 1 << 21, dtype, seed=3, name=case)
    for order, p in enumerate(moments(x, LAWS[case]), 1):
        accept("moments", f"moment {order} of {case}, {dtype}", p)


@pytest.mark.parametrize(("dtype", "count"), [("float32", 100_000_000), ("float64", 30_000_000)])
def test_the_normal_has_the_tails_of_a_normal(dtype, count):
    normal = LAWS["normal"]
    x = draw(normal, count, dtype, seed=4)
    for sigmas in (-5, -4, -3, 3, 4, 5):
        accept("tails", f"beyond {sigmas} sigma, {dtype}", tail(x, normal, sigmas))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_truncated_normal_keeps_the_tail_it_does_not_cut(dtype):
    x = draw(laws.TruncatedNormal(0.0, 1.0, 0.0, np.inf), 30_000_000, dtype, seed=5)
    for sigmas in (3, 4, 5):
        beyond = int(np.count_nonzero(x > sigmas))
        p = stats.binomtest(beyond, len(x), 2.0 * float(stats.norm.sf(sigmas))).pvalue
        accept("tails", f"half-normal beyond {sigmas} sigma, {dtype}", p)


def test_each_byte_of_a_uniform_is_uniform():
    units = (draw(LAWS["uniform"], COUNT, seed=6) * np.float32(2.0**24)).astype(np.uint32)
    for byte in range(3):
        counts = np.bincount(units >> (8 * byte) & 0xFF, minlength=256)
        accept("bits", f"byte {byte} of float32", stats.chisquare(counts).pvalue)
    units = (draw(LAWS["uniform"], COUNT, "float64", seed=6) * 2.0**53).astype(np.uint64)
    for shift in (0, 8, 13, 21, 29, 37, 45):
        counts = np.bincount((units >> np.uint64(shift) & np.uint64(0xFF)).astype(np.int64), minlength=256)
        accept("bits", f"bits from {shift} on of float64", stats.chisquare(counts).pvalue)


def test_the_low_words_of_float64_are_independent_of_the_high_words():
    u = draw(LAWS["uniform"], COUNT, "float64", seed=7)
    high, low = np.divmod(u * 2.0**32, 1.0)  # exact: u has 53 bits
    high = np.floor(high * 2.0**-27).astype(np.int64)  # the leading five bits
    low = np.floor(low * 2.0**5).astype(np.int64)
    table = np.bincount(32 * high + low, minlength=1024)
    accept("bits", "leading bits of high by low words", stats.chisquare(table).pvalue)


@pytest.mark.parametrize("case", ["uniform", "normal"])
def test_the_p_values_of_a_thousand_seeds_are_uniform(case):
    law = LAWS[case]
    p = [stats.kstest(draw(law, 10_000, seed=seed, name="p"), law.cdf).pvalue for seed in range(1000)]
    accept("p-values", f"KS of 1,000 p-values of {case}", stats.kstest(p, "uniform").pvalue)


def test_the_stream_named_here_is_the_one_released():
    assert fastinit.STREAM == "fastinit-1"  # a new stream must be looked at with fresh seeds before it is trusted
