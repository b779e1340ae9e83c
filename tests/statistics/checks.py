"""The statistical checks, each from a sample to a p-value: the stream must pass them, planted faults must not.

z-scores take the exact moments of the law, so nothing is estimated but the statistic itself, and samples are large
enough (10^5 and more) for the normal limit at the levels of budget.py.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats
from scipy.special import ndtr

import fastinit
from fastinit import laws

INFINITY = math.inf

# Every kind of law: symmetric, one-sided, infinite, far tails.
LAWS = {
    "uniform": laws.Uniform(0.0, 1.0),
    "uniform around zero": laws.Uniform(-0.05, 0.03),
    "normal": laws.Normal(0.0, 1.0),
    "normal away from zero": laws.Normal(0.5, 0.02),
    "laplace": laws.Laplace(0.0, 1.0),
    "truncated at two sigma": laws.TruncatedNormal(0.0, 1.0, -2.0, 2.0),
    "truncated unevenly": laws.TruncatedNormal(0.1, 0.3, -0.2, 1.3),
    "truncated below": laws.TruncatedNormal(0.0, 1.0, -0.5, INFINITY),
    "upper half-line": laws.TruncatedNormal(0.0, 1.0, 1.0, INFINITY),
    "lower half-line": laws.TruncatedNormal(0.0, 1.0, -INFINITY, -0.5),
    "far upper tail": laws.TruncatedNormal(0.0, 1.0, 8.0, 10.0),
    "far lower tail": laws.TruncatedNormal(1.0, 2.0, -INFINITY, -11.0),
}


def draw(law, count, dtype="float32", *, seed=0, name=""):
    """`count` values of a law, in float32 or float64."""
    x = np.empty(count, dtype)
    fastinit.fill(x, law, seed=seed, name=name)
    return x


def cdf(law):
    """The distribution function of a law, from SciPy's ndtr and, beyond the middle, from the nearer tail."""
    if isinstance(law, laws.Laplace):
        return stats.laplace(law.mean, law.std / math.sqrt(2.0)).cdf
    if not isinstance(law, laws.TruncatedNormal):
        return law.cdf
    alpha, beta = ((bound - law.parent_mean) / law.parent_std for bound in (law.low, law.high))
    if alpha >= 0.0:  # 1 - (Q(z) - Q(beta)) / (Q(alpha) - Q(beta))
        mass = ndtr(-alpha) - ndtr(-beta)
        return lambda x: 1.0 - (ndtr((law.parent_mean - x.astype(np.float64)) / law.parent_std) - ndtr(-beta)) / mass
    mass = ndtr(beta) - ndtr(alpha)
    return lambda x: (ndtr((x.astype(np.float64) - law.parent_mean) / law.parent_std) - ndtr(alpha)) / mass


# --- one variable ----------------------------------------------------------------------------------------------------


def goodness(x, law):
    """Kolmogorov and Smirnov: the largest distance between the distribution function of the sample and the law's."""
    return stats.kstest(x, cdf(law), method="asymp").pvalue


def chi_square(x, law, bins=1000):
    """Pearson: how often the sample falls into each of `bins` intervals of equal probability."""
    places = np.minimum((cdf(law)(x) * bins).astype(np.int64), bins - 1)
    return stats.chisquare(np.bincount(places, minlength=bins)).pvalue


def chi_square_of_counts(counts, probabilities, least=10.0):
    """Pearson over bins of unequal probability; neighbours are merged until each expects `least`."""
    expected = probabilities * counts.sum()
    ends = []
    gathered = 0.0
    for i, one in enumerate(expected):
        gathered += one
        if gathered >= least:
            ends.append(i + 1)
            gathered = 0.0
    ends[-1] = len(expected)
    starts = [0, *ends[:-1]]
    merged, wanted = np.add.reduceat(counts, starts), np.add.reduceat(expected, starts)
    return stats.chisquare(merged, wanted * (merged.sum() / wanted.sum())).pvalue


def quadrature(law):
    """Points of a truncated normal and their probabilities (Gauss and Legendre, 400 points)."""
    alpha, beta = ((bound - law.parent_mean) / law.parent_std for bound in (law.low, law.high))
    peak = min(max(0.0, alpha), beta)
    low, high = max(alpha, peak - 13.0), min(beta, peak + 13.0)  # where the density has fallen by e^-80
    nodes, weights = np.polynomial.legendre.leggauss(400)
    x = low + (high - low) * (nodes + 1.0) / 2.0
    density = weights * np.exp(-(x - peak) * (x + peak) / 2.0)  # 1 at the peak: nothing underflows
    return law.parent_mean + law.parent_std * x, density / density.sum()


def mean_and_std(law):
    """The exact mean and standard deviation of a law."""
    if isinstance(law, laws.Normal | laws.Laplace):
        return law.mean, law.std
    if isinstance(law, laws.Uniform):
        return (law.low + law.high) / 2.0, (law.high - law.low) / math.sqrt(12.0)
    x, probability = quadrature(law)
    mean = (probability * x).sum()
    return mean, math.sqrt((probability * (x - mean) ** 2).sum())


def standard_moments(law):
    """E z^k for k = 0 ... 8, z = (x - mean) / std."""
    if isinstance(law, laws.Normal):
        return np.array([1.0, 0.0, 1.0, 0.0, 3.0, 0.0, 15.0, 0.0, 105.0])
    if isinstance(law, laws.Laplace):
        return np.array([0.0 if k % 2 else math.factorial(k) / 2.0 ** (k / 2) for k in range(9)])
    if isinstance(law, laws.Uniform):
        return np.array([0.0 if k % 2 else 3.0 ** (k / 2) / (k + 1) for k in range(9)])
    x, probability = quadrature(law)
    mean, std = mean_and_std(law)
    return np.array([(probability * ((x - mean) / std) ** k).sum() for k in range(9)])


def moments(x, law):
    """The first four moments of the sample against those of the law: four p-values, from exact standard errors."""
    exact = standard_moments(law)
    mean, std = mean_and_std(law)
    z = (x.astype(np.float64) - mean) / std
    power = np.ones_like(z)
    p = []
    for k in range(1, 5):
        power *= z
        error = math.sqrt((exact[2 * k] - exact[k] ** 2) / len(z))
        p.append(two_sided((power.mean() - exact[k]) / error))
    return p


def tail(x, law, sigmas):
    """How many values lie beyond mean + sigmas std (below, if negative): the exact binomial."""
    limit = law.mean + sigmas * law.std
    count = np.count_nonzero(x > limit) if sigmas > 0 else np.count_nonzero(x < limit)
    return stats.binomtest(int(count), len(x), float(stats.norm.sf(abs(sigmas)))).pvalue


def two_sided(z):
    """The probability of a standard normal at least as far from zero."""
    return 2.0 * stats.norm.sf(abs(z))


# --- several variables ------------------------------------------------------------------------------------------------


def standardised(x, law, *, squares=False):
    """The sample with mean 0 and variance 1 by the law's exact moments; or the squares of that, standardised again."""
    mean, std = mean_and_std(law)
    z = (x.astype(np.float64) - mean) / std
    if not squares:
        return z
    exact = standard_moments(law)
    return (z * z - 1.0) / math.sqrt(exact[4] - 1.0)


def correlation(x, y):
    """Whether two standardised samples are uncorrelated."""
    return two_sided(np.dot(x, y) / math.sqrt(len(x)))


def independence(rows, others=None):
    """Whether any two variables (rows, standardised) correlate; with `others`, any of the one with any of the other.

    Two statistics: the sum of the squared z-scores of all pairs, and the largest of them. A p-value for both together.
    """
    z = rows @ (rows if others is None else others).T / math.sqrt(rows.shape[1])
    pairs = z[np.triu_indices(len(z), 1)] if others is None else z.ravel()
    together = stats.chi2.sf((pairs**2).sum(), len(pairs))
    largest = len(pairs) * two_sided(abs(pairs).max())
    return min(1.0, 2.0 * min(together, largest))
