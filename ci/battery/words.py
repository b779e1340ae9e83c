"""Checks of 32-bit words: each takes an array of uint32 and returns a p-value.

Where a check looks at single bits it looks at the highest and at the lowest ones: the weak bits of a generator are at
one end or the other.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from battery.checks import Array, Check, chi_square, pearson, poisson, tabulated, two_sided

WORD = 2.0**-32
BITS_OF_BYTES = (np.arange(256)[:, None] >> np.arange(8)) & 1


def byte_counts(words: Array) -> Array:
    """How often each of the four bytes of the words takes each value."""
    octets = np.ascontiguousarray(words, "<u4").view(np.uint8).reshape(-1, 4)
    return np.array([np.bincount(octets[:, i], minlength=256) for i in range(4)])


def frequency(words: Array) -> float:
    """How often each of the 32 bits is set: 32 independent binomials."""
    z = (byte_counts(words) @ BITS_OF_BYTES - len(words) / 2) / np.sqrt(len(words) / 4)
    return chi_square(float((z**2).sum()), 32)


def byte_frequency(words: Array) -> float:
    """How often each of the four bytes takes each of its 256 values."""
    return chi_square(sum(pearson(counts, 1 / 256) for counts in byte_counts(words)), 4 * 255)


def serial(words: Array) -> float:
    """Overlapping triples of four bits.

    Overlapping counts are dependent, and Pearson's sum over them is not chi-square; the difference of the sums over
    triples and over pairs is, with as many degrees of freedom as they differ in cells (Good 1953).
    """
    statistic = 0.0
    for symbols in (words >> np.uint32(28), words & np.uint32(15)):
        first = symbols.astype(np.intp)
        second, third = np.roll(first, -1), np.roll(first, -2)  # the end continues at the beginning
        triples = np.bincount(256 * first + 16 * second + third, minlength=4096)
        statistic += pearson(triples, 1 / 4096) - pearson(triples.reshape(256, 16).sum(axis=1), 1 / 256)
    return chi_square(statistic, 2 * (4096 - 256))


LONGEST_GAP = 48


def gap(words: Array) -> float:
    """How many words lie between two whose four bits are zero: geometric with p = 1/16.

    The gap that the end of the sample cuts off is dropped, which favours short gaps by 48 words in the sample: a
    noncentrality of 1e-4 at 2^18 words.
    """
    probabilities = np.append((1 / 16) * (15 / 16) ** np.arange(LONGEST_GAP), (15 / 16) ** LONGEST_GAP)
    statistic = 0.0
    for zero in (words >> np.uint32(28) == 0, words & np.uint32(15) == 0):
        gaps = np.diff(np.flatnonzero(zero), prepend=-1) - 1
        counts = np.bincount(np.minimum(gaps, LONGEST_GAP), minlength=LONGEST_GAP + 1)
        statistic += pearson(counts, probabilities) if len(gaps) else np.inf
    return chi_square(statistic, 2 * LONGEST_GAP)


BIRTHDAYS = 4096


def repetitions(birthdays: int, days: float) -> float:
    """How many spacings between birthdays, around the year, are expected to repeat another.

    Two given spacings of m birthdays in n days are equal with probability (m - 1) / 2n, so m (m - 1)^2 / 4n pairs are.
    Three equal ones, m^5 / 18 n^2 times, are three pairs but two repetitions: 1e-3 of the mean here, which would show
    after a thousand rounds.
    """
    return birthdays * (birthdays - 1) ** 2 / (4 * days) - birthdays**5 / (18 * days**2)


def repeated_spacings(birthdays: Array) -> int:
    """How many spacings repeat another one of their row; uint32, so that the year has 2^32 days."""
    years = np.sort(birthdays, axis=1)
    spacings = np.sort(np.roll(years, -1, axis=1) - years, axis=1)
    return int(np.count_nonzero(spacings[:, 1:] == spacings[:, :-1]))


def birthday_spacings(words: Array) -> float:
    """Repeated spacings between 4096 birthdays in a year of 2^32 days: Poisson (Marsaglia 1985)."""
    years = words[: len(words) // BIRTHDAYS * BIRTHDAYS].reshape(-1, BIRTHDAYS)
    return poisson(repeated_spacings(years), len(years) * repetitions(BIRTHDAYS, 2.0**32))


BALLS, URNS = 1 << 14, 1 << 20


@cache
def collision_law(throws: int) -> Array:
    """The exact law of how often, in so many throws of BALLS into URNS, a ball meets another (Knuth, 3.3.2 I)."""
    probabilities = np.zeros(400)  # 128 on average, with a standard deviation of 11: the rest is below 1e-60
    probabilities[0] = 1.0
    collided = np.arange(len(probabilities))
    for ball in range(BALLS):
        meets = probabilities * np.maximum(ball - collided, 0) / URNS
        probabilities -= meets
        probabilities[1:] += meets[:-1]
    total = np.ones(1)
    for _ in range(throws):
        total = np.convolve(total, probabilities)
    return total


def collision(words: Array) -> float:
    """How often a ball falls into an urn that has one: its number is ten bits of a word and ten of the next."""
    throws = words[: len(words) // (2 * BALLS) * 2 * BALLS].reshape(-1, BALLS, 2)
    halves = len(throws) // 2  # the first half takes the highest bits, the second the lowest
    ten = np.concatenate([throws[:halves] >> np.uint32(22), throws[halves:] & np.uint32(1023)])
    urns = np.sort(ten[..., 0] * np.uint32(1024) + ten[..., 1], axis=1)
    return tabulated(int(np.count_nonzero(urns[:, 1:] == urns[:, :-1])), collision_law(len(urns)))


def rank_probabilities(n: int) -> Array:
    """How likely a random n x n matrix of bits has rank n, n - 1, n - 2, or less."""
    likely = []
    for rank in (n, n - 1, n - 2):
        i = np.arange(rank)
        product = np.prod((1 - 2.0 ** (i - n)) ** 2 / (1 - 2.0 ** (i - rank)))
        likely.append(2.0 ** (rank * (2 * n - rank) - n * n) * product)
    return np.array([*likely, 1 - sum(likely)])


def ranks(matrices: Array) -> Array:
    """The ranks over GF(2) of matrices whose rows are words: Gauss, all matrices at once, shape (32, matrices)."""
    rows = matrices.copy()
    found = np.zeros(rows.shape[1], np.intp)
    for i in range(len(rows)):
        pivot = rows[i] & (~rows[i] + np.uint32(1))  # the lowest bit that is set; none, if the row depends on others
        found += pivot != 0
        below = rows[i + 1 :]
        below ^= np.where(below & pivot, rows[i], np.uint32(0))
    return found


def matrix_rank(words: Array) -> float:
    """The rank of 32 x 32 matrices of bits, a word a row (Marsaglia 1985)."""
    rank = ranks(np.ascontiguousarray(words[: len(words) // 32 * 32].reshape(-1, 32).T))
    counts = np.bincount(np.minimum(32 - rank, 3), minlength=4)
    return chi_square(pearson(counts, rank_probabilities(32)), 3)


def periodograms(words: Array) -> list[Array]:
    """The periodogram of the words and of their lowest bit, without frequencies 0 and 1/2: under the null Exp(1)."""
    signals = ((words + 0.5) * WORD - 0.5) * np.sqrt(12.0), 2.0 * (words & np.uint32(1)) - 1.0
    return [np.abs(np.fft.rfft(signal)[1 : len(signal) // 2]) ** 2 / len(signal) for signal in signals]


INTENSITIES = 64


def spectrum(words: Array) -> float:
    """The intensities of the periodogram in 64 bins of equal probability.

    They are not independent: any two correlate by (excess kurtosis) / n, as their sum, by Parseval that of the squares
    of the sample, scatters too little: not at all for bits. To the first order that is all in one direction, the score
    of a scale (the first Laguerre polynomial 1 - I), which is projected out: one degree of freedom less, for bits as
    for words. The same reckoning gives the count below the 95 % threshold T of NIST SP 800-22 (2.6) the variance
    n/2 (p q - (T e^-T)^2) = n p q / 3.79, where NIST had n p q / 2, then n p q / 4, and n p q / 3.8 was fitted by
    Pareschi, Rovatti and Setti (2012).
    """
    edges = np.linspace(0, 1, INTENSITIES + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.diff(np.where(edges > 0, edges * np.log(edges), 0.0))  # E[(1 - I); e^-I in the bin]
    statistic = 0.0
    for intensity in periodograms(words):
        places = np.minimum((np.exp(-intensity) * INTENSITIES).astype(np.intp), INTENSITIES - 1)
        excess = np.bincount(places, minlength=INTENSITIES) - len(intensity) / INTENSITIES
        along = (excess @ score) ** 2 / (score @ score)
        statistic += (excess @ excess - along) * INTENSITIES / len(intensity)
    return chi_square(statistic, 2 * (INTENSITIES - 2))


def line(words: Array) -> float:
    """The largest intensity of the periodogram: a period, however faint (Fisher 1929, with the variance known)."""
    intensities = periodograms(words)
    lines = sum(map(len, intensities))
    beyond = np.exp(-max(intensity.max() for intensity in intensities))
    return two_sided(np.exp(lines * np.log1p(-beyond)), -np.expm1(lines * np.log1p(-beyond)))


MOST = 1 << 20
CHECKS = (
    Check("frequency", frequency, MOST, "ones of each of the 32 bits (NIST SP 800-22, 2.1)"),
    Check("bytes", byte_frequency, MOST, "values of each of the four bytes (Knuth, TAOCP 2, 3.3.2 A)"),
    Check("serial", serial, MOST, "overlapping triples of four bits, top and bottom (I. J. Good 1953; Knuth 3.3.2 B)"),
    Check("gap", gap, MOST, "words between two whose top (bottom) four bits are zero (Knuth 3.3.2 D)"),
    Check("birthday spacings", birthday_spacings, MOST, "4096 birthdays in 2^32 days (Marsaglia 1985; Knuth 3.3.2 J)"),
    Check("collision", collision, MOST, "2^14 balls in 2^20 urns, exact law (Christiansen 1975; Knuth 3.3.2 I)"),
    Check("matrix rank", matrix_rank, MOST, "32 x 32 matrices of bits (Marsaglia 1985; NIST SP 800-22, 2.5)"),
    Check(
        "spectrum", spectrum, MOST, "intensities of the periodogram against Exp(1), 64 bins (cf. NIST SP 800-22, 2.6)"
    ),
    Check("line", line, MOST, "the largest of them (Fisher 1929)"),
)
