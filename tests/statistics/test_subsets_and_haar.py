"""Sparse subsets are uniform and independent; orthogonal matrices are Haar. Each with a fault that must be caught."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from budget import accept, reject
from checks import independence, two_sided
from scipy import stats

import fastinit
from fastinit.laws import Constant, Orthogonal, Sparse

COLUMNS, MATRICES, SIDE = 100_000, 5_000, 8


def survivors(shape, *, sparsity=0.5, axis=0, seed=0, name="w"):
    """Which elements of a sparse tensor survive."""
    x = np.empty(shape, np.float32)
    fastinit.fill(x, Sparse(Constant(1.0), sparsity, axis=axis), seed=seed, name=name)
    return x != 0


# --- subsets ----------------------------------------------------------------------------------------------------------


def subsets(mask):
    """Pearson: how often each of the 70 subsets of 4 of 8 rows survives in a column; all others count against it."""
    codes = (mask * (1 << np.arange(8))[:, None]).sum(axis=0)
    legal = [sum(1 << i for i in chosen) for chosen in itertools.combinations(range(8), 4)]
    counts = np.bincount(codes, minlength=256)
    if counts[legal].sum() != len(codes):
        return 0.0
    return stats.chisquare(counts[legal]).pvalue


def inclusion(mask):
    """Whether each place of a line (axis 0) survives equally often; the counts of a line add up to a constant."""
    n, lines = mask.shape
    share = mask.mean()
    z = (mask.sum(axis=1) - lines * share) / math.sqrt(lines * share * (1 - share))
    return stats.chi2.sf((z**2).sum() * (n - 1) / n, n - 1)


def between_lines(mask):
    """Whether the survivors of any two lines (rows) are independent."""
    share = mask.mean()
    return independence((mask - share) / math.sqrt(share * (1 - share)))


@pytest.mark.parametrize("axis", [0, 1])
def test_every_subset_of_four_of_eight_is_equally_likely(axis):
    shape = (8, COLUMNS) if axis == 0 else (COLUMNS, 8)
    mask = survivors(shape, axis=axis)
    accept("subsets", f"subsets, axis {axis}", subsets(mask if axis == 0 else mask.T))


@pytest.mark.parametrize("sparsity", [0.1, 0.9])
@pytest.mark.parametrize("axis", [0, 1])
def test_every_place_of_a_line_survives_equally_often(axis, sparsity):
    mask = survivors((100, 50_000) if axis == 0 else (50_000, 100), sparsity=sparsity, axis=axis)
    accept("subsets", f"inclusion, axis {axis}, {sparsity}", inclusion(mask if axis == 0 else mask.T))


@pytest.mark.parametrize("axis", [0, 1])
def test_lines_are_independent_of_each_other(axis):
    mask = survivors((4096, 200) if axis == 0 else (200, 4096), sparsity=0.9, axis=axis)
    accept("subsets", f"between lines, axis {axis}", between_lines(mask.T if axis == 0 else mask))


def test_tensors_of_other_names_and_seeds_have_other_survivors():
    rows = [survivors((1 << 14,), sparsity=0.9, name=f"layers.{i}.weight") for i in range(100)]
    rows += [survivors((1 << 14,), sparsity=0.9, seed=i) for i in range(1, 101)]
    accept("subsets", "names and seeds", between_lines(np.array(rows)))


def test_survivors_do_not_depend_on_the_values():
    """The words of the choices are not those of the values: a survivor is as large as any other element."""
    x = np.empty((1 << 10, 1 << 10), np.float32)
    fastinit.fill_sparse(x, 0.9, std=1.0, seed=2)
    accept("subsets", "values of survivors", stats.kstest(x[x != 0], "norm", method="asymp").pvalue)


def test_planted_faults_of_the_selection_are_caught():
    coins = np.random.default_rng(0).random((8, COLUMNS)) < 0.5  # as many survivors on the average only
    reject("coins", subsets(coins))
    mask = survivors((8, COLUMNS))
    stuck = mask.copy()
    stuck[:, ::20] = mask[:, :1]
    reject("one column in twenty stuck", subsets(stuck))
    # The place before the last survives a little too often.
    late = survivors((100, 50_000), sparsity=0.9)
    moved = np.flatnonzero(late[0])[:700]
    late[0, moved], late[98, moved] = late[98, moved], True
    reject("late places favoured", inclusion(late))
    lines = survivors((200, 4096), sparsity=0.9, axis=1)
    lines[17] = lines[3]
    reject("two equal lines", between_lines(lines))


# --- Haar -------------------------------------------------------------------------------------------------------------


def haar_checks(q):
    """P-values of what is known exactly of Haar matrices n x n, n >= 4: {what: p}."""
    count, n, _ = q.shape
    i = np.arange(count)
    entry = q[i, i % n, (i // n) % n]  # one entry a matrix: entries of one matrix depend on each other
    diagonal = q[i, i % n, i % n]
    trace, trace_of_square = np.trace(q, axis1=1, axis2=2), np.einsum("kij,kji->k", q, q)
    positive = np.count_nonzero(np.linalg.det(q) > 0)
    root = math.sqrt(count)
    return {
        "square of an entry": stats.kstest(entry**2, stats.beta(0.5, (n - 1) / 2).cdf).pvalue,
        "sign of an entry": stats.binomtest(int((entry > 0).sum()), count).pvalue,
        "sign on the diagonal": stats.binomtest(int((diagonal > 0).sum()), count).pvalue,
        # E tr Q = 0 and E (tr Q)^2 = 1; E (tr Q)^2 = E tr Q^2 = 1 with variance 2 (Diaconis and Shahshahani 1994).
        "trace": two_sided(trace.mean() * root),
        "squared trace": two_sided((np.mean(trace**2) - 1) * root / math.sqrt(2)),
        "trace of the square": two_sided((trace_of_square.mean() - 1) * root / math.sqrt(2)),
        "determinant": stats.binomtest(positive, count).pvalue,
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_orthogonal_matrices_are_haar(dtype):
    q = np.empty((MATRICES, SIDE, SIDE), dtype)
    fastinit.fill(q, Orthogonal(batch=1), seed=1, name="heads")
    for what, p in haar_checks(q.astype(np.float64)).items():
        accept("haar", f"{what}, {dtype}", p)


@pytest.mark.parametrize("shape", [(12, 5), (5, 12)])
def test_an_entry_of_a_rectangular_matrix_is_a_coordinate_on_the_sphere_of_the_longer_side(shape):
    law = Orthogonal(2.0, batch=1)
    q = np.empty((MATRICES, *shape))
    fastinit.fill(q, law, seed=2, name="heads")
    i = np.arange(MATRICES)
    entry = q[i, i % shape[0], i % shape[1]]
    accept("haar", f"entry of {shape}", stats.kstest(entry, law.marginal(q.shape).cdf).pvalue)


def test_matrices_of_other_names_are_independent():
    q = np.array([fastinit.new((16, 16), Orthogonal(), seed=3, name=f"layers.{i}").ravel() for i in range(100)])
    accept("haar", "names", independence(4.0 * q))


def test_the_sign_biased_version_is_caught():
    """QR of a Gaussian without the correction of signs, as in old versions of several libraries."""
    biased, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((MATRICES, SIDE, SIDE)))
    p = haar_checks(biased)
    reject("trace without the signs", p["trace"])
    reject("diagonal without the signs", p["sign on the diagonal"])


def test_rotations_alone_are_caught():
    q = np.empty((MATRICES, SIDE, SIDE))
    fastinit.fill(q, Orthogonal(batch=1), seed=1, name="heads")
    q[:, 0] *= np.sign(np.linalg.det(q))[:, None]
    reject("determinants all positive", haar_checks(q)["determinant"])
