"""float16, bfloat16 and float8 hold the law of the rounded variable: every value has its probability."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from budget import accept, reject
from checks import chi_square_of_counts

import fastinit
from fastinit import laws

COUNT = 1 << 21
DTYPES = {
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8_e5m2": ml_dtypes.float8_e5m2,
}
LAWS = {
    "uniform": laws.Uniform(0.0, 1.0),
    "uniform around zero": laws.Uniform(-0.3, 0.7),
    "normal": laws.Normal(0.0, 1.0),
    "small normal": laws.Normal(0.0, 0.02),  # in float8 mostly subnormals
    "truncated at two sigma": laws.TruncatedNormal(0.0, 0.5, -1.0, 1.0),
    "bounds that no dtype holds": laws.TruncatedNormal(0.1, 0.3, -0.21, 1.03),
    "upper half-line": laws.TruncatedNormal(0.0, 1.0, 1.0, math.inf),
    "far tail": laws.TruncatedNormal(0.0, 1.0, 5.0, 9.0),
}


def probabilities(law, dtype):
    """All finite values of a dtype in order, and the probability that a value of the law rounds to each.

    A value takes what lies between the midpoints to its neighbours. The law is clamped, before it rounds, to the
    values of the dtype within its bounds, so the outermost of them take what lies beyond.
    """
    size = np.dtype(dtype).itemsize
    every = np.arange(1 << (8 * size), dtype=np.uint16 if size == 2 else np.uint8).view(dtype)
    with np.errstate(invalid="ignore"):  # bfloat16 has signalling NaNs
        every = every.astype(np.float64)
    values = np.unique(every[np.isfinite(every)] + 0.0)
    low, high = law.support
    inside = (values >= low) & (values < high if isinstance(law, laws.Uniform) else values <= high)
    values = values[inside]
    borders = law.cdf(np.concatenate([[-np.inf], (values[:-1] + values[1:]) / 2.0, [np.inf]]))
    return values, np.diff(borders)


def counts(x, values):
    """How often each value occurs; every element of x must be one of them."""
    found, times = np.unique(x.astype(np.float64) + 0.0, return_counts=True)
    places = np.searchsorted(values, found)
    assert (values[np.minimum(places, len(values) - 1)] == found).all()
    result = np.zeros(len(values))
    result[places] = times
    return result


def p_value(x, law, dtype):
    values, expected = probabilities(law, dtype)
    return chi_square_of_counts(counts(x, values), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", LAWS)
def test_every_rounded_value_has_its_probability(case, dtype):
    x = np.empty(COUNT, DTYPES[dtype])
    fastinit.fill(x, LAWS[case], seed=11, name=case)
    accept("rounded", f"{case}, {dtype}", p_value(x, LAWS[case], DTYPES[dtype]))


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "bfloat16"])
def test_rounding_towards_zero_would_be_caught(dtype):
    x = np.empty(COUNT, np.float32)
    fastinit.fill(x, LAWS["normal"], seed=11)
    rounded = x.astype(DTYPES[dtype])
    over = abs(rounded.astype(np.float32)) > abs(x)
    raw = rounded.view(np.uint16 if rounded.itemsize == 2 else np.uint8)
    raw[over] -= 1  # the neighbour towards zero
    reject(f"truncating {dtype}", p_value(rounded, LAWS["normal"], DTYPES[dtype]))


def test_losing_subnormals_would_be_caught():
    x = np.empty(COUNT, ml_dtypes.float8_e4m3fn)
    fastinit.fill(x, LAWS["small normal"], seed=11)
    x[abs(x.astype(np.float32)) < 2.0**-6] = 0
    reject("flushed subnormals", p_value(x, LAWS["small normal"], ml_dtypes.float8_e4m3fn))
