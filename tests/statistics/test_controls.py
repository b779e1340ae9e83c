"""Negative controls: each fault planted here is caught by the very checks that the stream passes."""

from __future__ import annotations

import numpy as np
from budget import reject
from checks import (
    LAWS,
    chi_square,
    correlation,
    draw,
    goodness,
    independence,
    moments,
    standardised,
    tail,
)

from fastinit import laws

NORMAL, UNIFORM = LAWS["normal"], LAWS["uniform"]


def test_a_scale_one_percent_too_large_is_caught_by_the_variance_of_a_million():
    x = draw(laws.Normal(0.0, 1.01), 1_000_000, seed=12)
    reject("variance", moments(x, NORMAL)[1])


def test_a_scale_one_percent_too_large_is_caught_by_kolmogorov_and_smirnov_at_four_million():
    x = draw(laws.Normal(0.0, 1.01), 4_000_000, seed=12)
    reject("KS", goodness(x, NORMAL))
    reject("chi-square", chi_square(x, NORMAL))


def test_a_mean_off_by_a_hundredth_of_a_standard_deviation_is_caught():
    reject("mean", moments(draw(laws.Normal(0.01, 1.0), 1_000_000, seed=12), NORMAL)[0])


def test_a_skewed_law_and_a_flat_one_are_caught_by_the_third_and_fourth_moment():
    x = draw(NORMAL, 1_000_000, seed=13).astype(np.float64)
    reject("skewness", moments(x + 0.01 * (x * x - 1.0), NORMAL)[2])
    reject("kurtosis", moments(x * (1.0 - 0.01 * (x * x - 3.0)), NORMAL)[3])


def test_a_repeated_chunk_is_caught_by_the_lags():
    z = standardised(draw(NORMAL, 1 << 20, seed=14), NORMAL)
    z[3 << 16 : 4 << 16] = z[2 << 16 : 3 << 16]
    reject("repeated chunk", correlation(z[: -(1 << 16)], z[1 << 16 :]))


def test_a_repeated_group_is_caught_by_the_neighbouring_groups():
    groups = standardised(draw(NORMAL, 1 << 20, seed=14), NORMAL).reshape(-1, 64)
    groups[1::10] = groups[0:-1:10][: len(groups[1::10])]
    places = np.ascontiguousarray(groups.T)
    reject("repeated groups", independence(places[:, :-1], places[:, 1:]))


def test_a_tail_cut_off_is_caught_by_the_tail_counts():
    x = draw(NORMAL, 70_000_000, seed=4)
    for sigmas in (-5, 5):
        reject(f"cut at {sigmas}", tail(np.clip(x, -5, 5), NORMAL, sigmas))


def test_a_tail_twice_too_heavy_is_caught_by_the_tail_counts():
    x = draw(NORMAL, 10_000_000, seed=4)
    far = np.flatnonzero(abs(x) > 4)
    x[(far + 1) % len(x)] = x[far]
    reject("heavy tail", min(tail(x, NORMAL, -4), tail(x, NORMAL, 4)))


def test_a_correlated_pair_is_caught():
    z = standardised(draw(NORMAL, 1 << 20, seed=15), NORMAL).reshape(-1, 64)
    z[:, 21] = 0.95 * z[:, 21] + np.sqrt(1 - 0.95**2) * z[:, 5]
    reject("pair in a group", independence(np.ascontiguousarray(z.T)))
    z = standardised(draw(NORMAL, 1 << 20, seed=15), NORMAL).reshape(-1, 2, 16)
    z[:, 1] = 0.99995 * z[:, 1] + 0.01 * z[:, 0]
    even, odd = z.transpose(1, 0, 2).reshape(2, -1)
    reject("every pair, a hundredth", correlation(even, odd))


def test_a_pair_that_shares_its_radius_only_is_caught_by_its_squares():
    x = draw(NORMAL, 1 << 20, seed=15).reshape(-1, 2, 16)
    x[:, 1] = abs(x[:, 0]) * np.sign(x[:, 1])  # no correlation of the values
    even, odd = standardised(x, NORMAL, squares=True).transpose(1, 0, 2).reshape(2, -1)
    reject("squares of a pair", correlation(even, odd))


def test_two_tensors_of_the_same_name_are_caught():
    rows = [standardised(draw(UNIFORM, 1 << 15, seed=0, name=f"layers.{i}.weight"), UNIFORM) for i in range(200)]
    rows[150] = standardised(draw(UNIFORM, 1 << 15, seed=0, name="layers.3.weight"), UNIFORM)
    reject("same name", independence(np.array(rows)))


def test_a_uniform_with_a_stuck_bit_is_caught():
    units = (draw(UNIFORM, 1 << 20, seed=16) * np.float32(2.0**24)).astype(np.uint32)
    x = (units & ~np.uint32(1 << 12)).astype(np.float32) * np.float32(2.0**-24)
    reject("stuck bit", chi_square(x, UNIFORM, 1 << 12))
