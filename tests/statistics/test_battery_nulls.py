"""The checks of ci/battery on a generator that is not ours: under the null their p-values are uniform.

The generator is NumPy's PCG64 with fixed seeds, so whether there is a false alarm was decided when they were chosen.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from battery import anderson_darling, checks, expected, values, words
from scipy import stats

FALSE_ALARM = 1e-4
LAWS = expected.LAWS


def random_words(rng, count):
    return rng.integers(0, 1 << 32, count, dtype=np.uint32)


def random_values(rng, law, shape):
    """Values of a law in float32, as fastinit stores them: uniform on multiples of 2^-24, the others rounded."""
    count = math.prod(shape)
    if law == "uniform":
        x = rng.integers(0, 1 << 24, count) * 2.0**-24
    else:
        x = rng.standard_normal(2 * count)
        x = (x if law == "normal" else x[abs(x) <= expected.CUT])[:count]
    return x.astype(np.float32).reshape(shape)


@pytest.fixture
def unfolded(monkeypatch):
    """Checks return the probability below the statistic, which shows a shift four times sooner than a two-sided p."""
    for module in (checks, values, words):
        monkeypatch.setattr(module, "two_sided", lambda below, above: below)


@pytest.mark.parametrize("check", words.CHECKS, ids=lambda check: check.name)
def test_statistics_of_right_words_follow_their_laws(unfolded, check):
    rng = np.random.default_rng(1)
    u = [check.p_value(random_words(rng, 1 << 15)) for _ in range(100)]
    assert stats.kstest(u, "uniform").pvalue > FALSE_ALARM


@pytest.mark.parametrize("check", words.CHECKS, ids=lambda check: check.name)
def test_a_large_sample_of_right_words_passes(check):
    assert check.p_value(random_words(np.random.default_rng(4), 1 << 21)) > FALSE_ALARM


@pytest.mark.parametrize("check", values.SEQUENCES, ids=lambda check: check.name)
@pytest.mark.parametrize("law", LAWS)
def test_statistics_of_right_values_follow_their_laws(unfolded, check, law):
    rng = np.random.default_rng(2)
    u = [check.p_value(random_values(rng, law, (1 << 14,)), LAWS[law]) for _ in range(60)]
    assert stats.kstest(u, "uniform").pvalue > FALSE_ALARM


@pytest.mark.parametrize("check", [*values.GROUPS, values.TENSORS], ids=lambda check: check.name)
def test_correlations_of_right_values_follow_their_laws(unfolded, check):
    rng = np.random.default_rng(3)
    # Matrices so small that BLAS uses no threads, which wait for each other on a busy machine.
    shape = (16, 1 << 10) if check is values.TENSORS else (1 << 12,)
    u = [check.p_value(random_values(rng, "normal", shape), LAWS["normal"]) for _ in range(100)]
    assert stats.kstest(u, "uniform").pvalue > FALSE_ALARM


def test_four_bins_of_a_periodogram_follow_their_law(unfolded, monkeypatch):
    monkeypatch.setattr(words, "INTENSITIES", 4)  # of 3 degrees of freedom the projection takes one: that shows
    rng = np.random.default_rng(6)
    u = [words.spectrum(random_words(rng, 1 << 11)) for _ in range(1000)]
    assert stats.kstest(u, "uniform").pvalue > FALSE_ALARM


@pytest.mark.parametrize("law", LAWS)
def test_each_moment_has_its_exact_standard_error(law):
    rng = np.random.default_rng(7)
    x = random_values(rng, law, (2000, 1 << 9))
    powers = LAWS[law].standardised(x)[..., None] ** np.arange(1, 5)
    off = powers.mean(axis=1) - np.array(LAWS[law].moments[1:5])
    statistic = 512 * np.einsum("ni,ij,nj->n", off, np.linalg.inv(values.covariance(LAWS[law])), off)
    assert statistic.mean() == pytest.approx(4, abs=5 * math.sqrt(8 / 2000))


# --- the laws of the statistics, against independent sources ----------------------------------------------------------


@pytest.mark.parametrize(("z", "p"), [(1.9329578, 0.10), (2.492367, 0.05), (3.878125, 0.01)])
def test_the_law_of_anderson_and_darling_has_the_published_quantiles(z, p):
    assert anderson_darling.above(z) == pytest.approx(p, rel=1e-6)  # Marsaglia and Marsaglia 2004


def test_the_law_of_anderson_and_darling_is_that_of_its_sum_of_squares():
    rng = np.random.default_rng(3)
    k = np.arange(1, 200)
    # What the sum leaves out has the mean sum_{k >= 200} 1 / (k (k + 1)) = 1 / 200.
    sums = (rng.chisquare(1, (2_000, len(k))) / (k * (k + 1))).sum(axis=1) + 1 / 200
    assert stats.kstest(sums, np.vectorize(anderson_darling.below)).pvalue > FALSE_ALARM


def test_the_far_tail_of_anderson_and_darling_continues_the_near_one():
    near, far = anderson_darling.above(math.nextafter(anderson_darling.FAR, 0)), anderson_darling.above(14.0)
    assert far == pytest.approx(near, rel=0.03)


def test_the_repetitions_of_spacings_are_as_many_as_expected():
    # 2^26 days, counted in steps of 2^6: with 14 triples in 256 pairs the second term is nine standard errors.
    birthdays = random_words(np.random.default_rng(5), 100 * words.BIRTHDAYS) & np.uint32(0xFFFFFFC0)
    seen = words.repeated_spacings(birthdays.reshape(100, -1))
    mean = 100 * words.repetitions(words.BIRTHDAYS, 2.0**26)
    assert abs(seen - mean) < 4 * math.sqrt(mean)


def test_the_ranks_of_random_matrices_have_the_published_probabilities():
    published = [0.2887880952, 0.5775761902, 0.1283502645, 0.0052854502]  # Marsaglia and Tsay 1985
    np.testing.assert_allclose(words.rank_probabilities(32), published, rtol=1e-7)


def test_ranks_are_those_of_elimination_by_hand():
    identity = np.uint32(1) << np.arange(32, dtype=np.uint32)
    twice = identity.copy()
    twice[7] = identity[3] ^ identity[30]
    matrices = np.stack([identity, identity[::-1], twice, np.zeros(32, np.uint32), np.full(32, 5, np.uint32)], axis=1)
    assert words.ranks(matrices).tolist() == [32, 32, 31, 0, 1]


def test_the_law_of_collisions_has_the_exact_mean_and_variance():
    law = words.collision_law(1)
    n, m = words.BALLS, words.URNS
    count = np.arange(len(law))
    empty = m * (1 - 1 / m) ** n
    variance = m * (m - 1) * (1 - 2 / m) ** n + empty - empty**2
    mean = n - m + empty
    assert law.sum() == pytest.approx(1, abs=1e-12)
    assert count @ law == pytest.approx(mean, rel=1e-6)
    assert (count - mean) ** 2 @ law == pytest.approx(variance, rel=1e-3)  # a difference of numbers of 12 digits
    twice = words.collision_law(2)
    assert np.arange(len(twice)) @ twice == pytest.approx(2 * mean, rel=1e-6)


def test_the_spectral_correction_gives_the_variance_that_was_fitted_to_the_test_of_nist():
    threshold = -math.log(0.05)
    variance = (0.95 * 0.05 - (threshold * 0.05) ** 2) / 2
    assert 0.95 * 0.05 / variance == pytest.approx(3.8, rel=0.01)  # Pareschi, Rovatti and Setti 2012


@pytest.mark.parametrize("law", LAWS)
def test_moments_and_quantiles_are_those_of_scipy(law):
    cut = expected.CUT
    scipy = {"uniform": stats.uniform(), "normal": stats.norm(), "truncated normal": stats.truncnorm(-cut, cut)}[law]
    ours = LAWS[law]
    assert (ours.mean, ours.std) == pytest.approx((scipy.mean(), scipy.std()))
    standard = [scipy.expect(lambda x, k=k: ((x - ours.mean) / ours.std) ** k) for k in range(9)]
    np.testing.assert_allclose(ours.moments, standard, rtol=1e-6, atol=1e-9)
    x = scipy.ppf([1e-6, 0.1, 0.5, 0.9, 1 - 1e-6])
    below, above = ours.tails(x)
    np.testing.assert_allclose(below, scipy.cdf(x), rtol=1e-6)
    np.testing.assert_allclose(above, scipy.sf(x), rtol=1e-6)
    assert ours.quantile(2.0**-5) == pytest.approx(scipy.ppf(2.0**-5))


def test_a_p_value_is_two_sided():
    assert checks.chi_square(1000, 1000) > 0.9
    assert checks.chi_square(1300, 1000) < 1e-8
    assert checks.chi_square(700, 1000) < 1e-8
    assert checks.poisson(100, 100) > 0.9
    assert max(checks.poisson(50, 100), checks.poisson(160, 100)) < 1e-5
    assert checks.tabulated(9, np.array([0.5, 0.5])) == 0.0
    assert checks.tabulated(0, np.array([0.5, 0.5])) == 0.5
