"""Checks of values against a law: each takes values and the law expected, and returns a p-value.

How large a sample each takes is chosen so that float32 does not show: values lie 2^-24 apart (uniform) or 2^-24 of
themselves (normal), and what remains of that after the corrections in expected.py is below 1e-3 of a standard error.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from battery import anderson_darling
from battery.checks import Array, Check, chi_square, distance_from_uniform, pearson, two_sided
from battery.expected import Expected

# --- one variable ----------------------------------------------------------------------------------------------------


def kolmogorov_smirnov(x: Array, law: Expected) -> float:
    """The largest distance between the two distribution functions, with its law for this sample size."""
    distance = distance_from_uniform(law.tails(x)[0])
    return two_sided(stats.kstwo.cdf(distance, len(x)), stats.kstwo.sf(distance, len(x)))


def a_squared(x: Array, law: Expected) -> float:
    """Anderson and Darling's A^2, which looks at the ends; its limit law is right to 1 / n."""
    below, above = (np.log(np.sort(u)) for u in law.tails(x))
    n = len(x)
    weights = (2 * np.arange(n) + 1) / n
    statistic = -n - float(weights @ (below + above))
    return two_sided(anderson_darling.below(statistic), anderson_darling.above(statistic))


BINS = 1024


def equiprobable_bins(x: Array, law: Expected) -> float:
    """How often values fall into each of 1024 bins of equal probability; a uniform's bins end on its lattice."""
    places = np.minimum((law.tails(x)[0] * BINS).astype(np.intp), BINS - 1)
    return chi_square(pearson(np.bincount(places, minlength=BINS), 1 / BINS), BINS - 1)


FIRST_TAIL = 5


def tail_bins(x: Array, law: Expected) -> float:
    """How often values fall into the last 2^-5 on either side, in bins that halve outwards, down to 16 expected."""
    last = int(math.log2(len(x))) - 4
    edge = law.quantile(2.0**-FIRST_TAIL)
    sides = law.tails(x[x < edge])[0], law.tails(x[x > 2 * law.mean - edge])[1]
    counts = []
    for outer in sides:
        octave = np.clip(-np.frexp(outer)[1], FIRST_TAIL, last)  # k, where 2^-(k+1) <= outer < 2^-k
        counts.append(np.bincount(octave, minlength=last + 1)[FIRST_TAIL:])
    probabilities = 2.0 ** -np.minimum(np.arange(FIRST_TAIL, last + 1) + 1, last)
    counts.append(np.array([len(x) - sum(side.sum() for side in counts)]))
    likely = np.concatenate([probabilities, probabilities, [1 - 2 * probabilities.sum()]])
    return chi_square(pearson(np.concatenate(counts), likely), len(likely) - 1)


def covariance(law: Expected) -> Array:
    """The exact covariances of z, z^2, z^3 and z^4."""
    exact, powers = np.array(law.moments), np.arange(1, 5)
    return np.asarray(exact[powers[:, None] + powers] - np.outer(exact[powers], exact[powers]))


PIECE = 1 << 17  # 1 MiB of float64 stays in the second-level cache


def moments(x: Array, law: Expected) -> float:
    """The first four moments together: Hotelling's quadratic form, with their exact covariances."""
    sums = np.zeros(4)
    for start in range(0, len(x), PIECE):
        z = law.standardised(x[start : start + PIECE])
        square = z * z
        sums += z.sum(), square.sum(), (z * square).sum(), (square * square).sum()
    off = sums / len(x) - np.array(law.moments[1:5])
    return chi_square(len(x) * float(off @ np.linalg.solve(covariance(law), off)), 4)


# --- several variables -----------------------------------------------------------------------------------------------

LAGS = np.array([*range(1, 129), *(1 << k for k in range(8, 19))])


def lags(x: Array, law: Expected) -> float:
    """Autocorrelations of values and of their squares at lags 1 ... 128 and powers of two up to 2^18, around the end.

    Every correlation here is taken with the sample's own mean and variance: with those of the law, correlations that
    share a variable would share its sample variance, and their squares would correlate.
    """
    z = law.standardised(x)
    n = len(x)
    at = LAGS[LAGS < n // 2]
    statistic = 0.0
    for signal in (z, z * z):
        power = np.abs(np.fft.rfft(signal - signal.mean())) ** 2
        correlation = np.fft.irfft(power, n)
        statistic += float(((n * correlation[at] / correlation[0] + 1) ** 2).sum()) / n
    return chi_square(statistic, 2 * len(at))


def normalised(rows: Array) -> Array:
    """Rows of mean 0 and length 1."""
    rows = rows - rows.mean(axis=1, keepdims=True)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def correlated_rows(z: Array) -> float:
    """Whether any two rows, or their squares, correlate: (n - 1) r^2 has mean 1 by permutation; chi-square sums."""
    n = z.shape[1]
    pairs = np.triu_indices(len(z), 1)
    statistic = 0.0
    for rows in map(normalised, (z, z * z)):
        statistic += (n - 1) * float(((rows @ rows.T)[pairs] ** 2).sum())
    return chi_square(statistic, 2 * len(pairs[0]))


GROUP = 64


def places(x: Array, law: Expected) -> float:
    """Whether any two of the 64 places of a group (16 lanes by 4 words) correlate."""
    return correlated_rows(np.ascontiguousarray(law.standardised(x).reshape(-1, GROUP).T))


def neighbouring_groups(x: Array, law: Expected) -> float:
    """Whether any place of a group correlates with any place of the next group."""
    z = np.ascontiguousarray(law.standardised(x).reshape(-1, GROUP).T)
    statistic = 0.0
    for rows in (z, z * z):
        here, there = normalised(rows[:, :-1]), normalised(rows[:, 1:])
        statistic += (here.shape[1] - 1) * float(((here @ there.T) ** 2).sum())
    return chi_square(statistic, 2 * GROUP**2)


def tensors(rows: Array, law: Expected) -> float:
    """Whether any two tensors (rows) correlate, element by element."""
    return correlated_rows(law.standardised(rows))


SEQUENCES = (
    Check("Kolmogorov-Smirnov", kolmogorov_smirnov, 1 << 18, "its law for the sample size (Simard and L'Ecuyer 2011)"),
    Check("Anderson-Darling", a_squared, 1 << 18, "the limit law (Marsaglia and Marsaglia 2004)"),
    Check("equiprobable bins", equiprobable_bins, 1 << 20, "1024 bins, chi-square"),
    Check("tail bins", tail_bins, 1 << 24, "both tails in bins that halve, to 16 expected: chi-square"),
    Check("moments", moments, 1 << 24, "the first four, by their exact covariances: chi-square, 4 degrees of freedom"),
    Check("lags", lags, 1 << 20, "autocorrelation of values and squares, lags 1 to 128 and powers of two to 2^18"),
)
GROUPS = (
    Check("places of a group", places, 1 << 20, "correlation of values and of squares, 64 x 63 / 2 pairs"),
    Check(
        "neighbouring groups", neighbouring_groups, 1 << 20, "the same, 64 x 64 pairs of a place and one of the next"
    ),
)
TENSORS = Check("tensors", tensors, 1 << 20, "correlation of values and of squares of any two of 256 tensors")
