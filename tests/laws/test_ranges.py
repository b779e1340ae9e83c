"""Promise 4, what holds for every single value: bounds after rounding, no NaN, no infinity, no atom at zero."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from drawing import LAWS, STORAGE, draw
from hypothesis import assume, example, given
from hypothesis import strategies as st

import fastinit
from fastinit import laws
from fastinit.dtypes import array_dtype

SMALL = st.floats(-200.0, 200.0, allow_subnormal=False)


def filled(law, dtype, count=4096, **options):
    x = np.empty(count, array_dtype(dtype))
    fastinit.fill(x, law, **{"seed": 0, **options})
    return x.astype(np.float64)


@pytest.mark.parametrize("dtype", STORAGE)
@pytest.mark.parametrize("case", LAWS)
def test_every_value_is_finite_and_within_the_support(case, dtype):
    x = filled(LAWS[case], dtype, 3_000_000, seed=6)
    low, high = LAWS[case].support
    assert np.isfinite(x).all()
    assert x.min() >= low
    assert x.max() < high if isinstance(LAWS[case], laws.Uniform) else x.max() <= high


# A float8 may hold too few values for so narrow a range: that it says so is right, and another test's business.
@pytest.mark.filterwarnings("ignore:std .* is under 4 times:UserWarning")
@example(a=0.0, b=0.0078125, dtype="float8_e4m3fn", seed=0)
@given(a=SMALL, b=SMALL, dtype=st.sampled_from(sorted(STORAGE)), seed=st.integers(0, 99))
def test_uniform_bounds_hold_after_rounding(a, b, dtype, seed):
    low, high = min(a, b), max(a, b)
    assume(high - low > 1e-3)
    assume(low < 0 < high or high - low > abs(low))  # some value of a float8 lies within
    x = filled(laws.Uniform(low, high), dtype, seed=seed)
    assert ((low <= x) & (x < high)).all()


# Few numbers of float32 lie within, so that the largest draws round to the upper bound, which is no value of the law.
@pytest.mark.parametrize("low", [1.0, -1.0, 0.1, 1000.0, 2.0**-100])
@pytest.mark.parametrize("width", [2.0**-20, 2.0**-22, 3e-7])
def test_a_narrow_uniform_law_never_reaches_its_upper_bound(low, width):
    law = laws.Uniform(low, low + width * abs(low))
    x = filled(law, "float32", 1 << 20)
    assert law.low <= x.min() < x.max() < law.high


@given(
    mean=st.floats(-2.0, 2.0),
    std=st.floats(0.1, 3.0),
    alpha=st.floats(-12.0, 12.0),
    width=st.one_of(st.floats(0.5, 20.0), st.just(math.inf)),
    mirrored=st.booleans(),
    dtype=st.sampled_from(sorted(STORAGE)),
)
def test_truncation_bounds_hold_after_rounding(mean, std, alpha, width, mirrored, dtype):
    beta = alpha + width
    if mirrored:
        alpha, beta = -beta, -alpha
    low, high = mean + alpha * std, mean + beta * std
    law = laws.TruncatedNormal(mean, std, low, high)
    held = np.arange(256 if np.dtype(array_dtype(dtype)).itemsize == 1 else 1, dtype=np.uint8)
    if len(held) > 1:
        values = held.view(array_dtype(dtype)).astype(np.float64)
        assume(((values >= low) & (values <= high)).any())
    x = filled(law, dtype)
    assert np.isfinite(x).all()
    assert ((low <= x) & (x <= high)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "law",
    [
        laws.Normal(0.0, 1.0),
        laws.Normal(0.0, 1e-30),
        laws.TruncatedNormal(0.0, 1.0, -2.0, 2.0),
        laws.TruncatedNormal(0.0, 1.0, 0.0, math.inf),
        laws.TruncatedNormal(0.0, 1.0, -1e-6, 1.0),
    ],
)
def test_no_normal_value_is_exactly_zero(law, dtype):
    x = np.empty(20_000_000, dtype)
    fastinit.fill(x, law, seed=7)
    assert np.count_nonzero(x) == x.size


def test_a_uniform_is_zero_as_often_as_its_resolution_says():
    x = draw(LAWS["uniform"], 1 << 27, "float32", seed=8)
    zeros = x.size - np.count_nonzero(x)
    assert 1 <= zeros <= 30  # 8 expected: one word in 2^24


def test_normals_reach_the_largest_value_the_check_lets_through():
    # 6.77 std below the largest float16 is accepted, and no value of the stream may then be infinite.
    std = 65504.0 / 6.77
    x = np.empty(50_000_000, np.float16)
    fastinit.fill_normal(x, 0.0, std, seed=9)
    assert np.isfinite(x).all()
    with pytest.raises(ValueError, match="beyond the largest float16"):
        fastinit.fill_normal(x, 0.0, std * 1.001, seed=9)


def test_float8_never_becomes_a_nan():
    # float8_e4m3fn has no infinity: what overflows would be a NaN.
    std = 448.0 / 6.77
    x = np.empty(20_000_000, ml_dtypes.float8_e4m3fn)
    fastinit.fill_normal(x, 0.0, std, seed=9)
    assert not np.isnan(x.astype(np.float32)).any()
