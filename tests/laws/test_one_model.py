"""Promise 3: one model in every dtype. Narrow types are the float32 values rounded; float64 refines them."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from drawing import LAWS, draw

import fastinit
from fastinit import laws
from fastinit.engines.reference import normal

NARROW = {
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8_e5m2": ml_dtypes.float8_e5m2,
}
COUNT = 1 << 20


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("case", LAWS)
def test_a_narrow_value_is_the_float32_value_rounded_to_nearest_even(engine, case, dtype):
    law, count = LAWS[case], COUNT if engine == "numba" else 1 << 17
    wanted = draw(law, count, "float32", name=case).astype(NARROW[dtype])
    if not isinstance(law, laws.Normal):  # bounded laws are cut to the values of the dtype that the bounds allow
        values = np.unique(wanted.astype(np.float64))
        low, high = law.support
        inside = values[(values >= low) & (values < high if isinstance(law, laws.Uniform) else values <= high)]
        wanted = np.clip(wanted.astype(np.float64), inside[0], inside[-1]).astype(NARROW[dtype])
    got = np.empty(count, NARROW[dtype])
    fastinit.fill(got, law, seed=0, name=case)
    np.testing.assert_array_equal(got.astype(np.float64), wanted.astype(np.float64))


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("std", [2.0**-130, 2.0**-20, 0.02, 1.0, 60.0])
def test_rounding_reaches_subnormals_and_large_values(engine, dtype, std):
    if std < 4 * float(ml_dtypes.finfo(NARROW[dtype]).smallest_subnormal):
        with pytest.warns(UserWarning, match="many values will be zero"):
            fastinit.fill_normal(np.empty(2, NARROW[dtype]), 0.0, std, seed=0)
        return
    got, single = np.empty(1 << 17, NARROW[dtype]), np.empty(1 << 17, np.float32)
    fastinit.fill_normal(got, 0.0, std, seed=2)
    fastinit.fill_normal(single, 0.0, std, seed=2)
    same = got.astype(np.float32) == single.astype(NARROW[dtype]).astype(np.float32)
    assert same.all()


def test_raw_storage_and_named_dtypes_hold_the_same_bits(engine):
    for dtype, named in NARROW.items():
        x = np.empty(1000, named)
        fastinit.fill_normal(x, seed=3)
        raw = np.empty(1000, np.uint16 if x.itemsize == 2 else np.uint8)
        fastinit.fill_normal(raw, seed=3, dtype=dtype)
        np.testing.assert_array_equal(x.view(raw.dtype), raw)


@pytest.mark.parametrize("case", [case for case in LAWS if not isinstance(LAWS[case], laws.Uniform)])
def test_float64_refines_float32(case):
    law, count = LAWS[case], 5_000_000
    cut = isinstance(law, laws.TruncatedNormal)
    parent, centre = (law.parent_std, law.parent_mean) if cut else (law.std, law.mean)
    x32, x64 = (draw(law, count, dtype, seed=4, name=case) for dtype in ("float32", "float64"))
    # The float32 inverse is good to 1e-6 of the magnitude, so beyond 2 sigma the allowance grows with it; and float32
    # values far from zero have their own last place.
    allowed = np.maximum(np.maximum(2e-6 * parent, 1e-6 * abs(x64 - centre)), np.spacing(abs(x32).max()))
    if isinstance(law, laws.Laplace):  # the logarithm of 31 bits, whose step decides the tail
        allowed = 1e-5 * law.std
    beyond = np.count_nonzero(abs(x64 - x32) > allowed)
    assert beyond <= 2e-5 * count, f"{beyond} of {count}, the largest difference {abs(x64 - x32).max():.3g}"
    assert ((x64 > centre) == (x32 > centre)).mean() > 1 - 1e-6


@pytest.mark.parametrize("case", ["uniform", "uniform around zero"])
def test_a_float64_uniform_lies_in_the_cell_of_its_float32_value(case):
    law = LAWS[case]
    x32, x64 = (draw(law, 5_000_000, dtype, seed=4, name=case) for dtype in ("float32", "float64"))
    cell = (law.high - law.low) * 2.0**-24
    rounding = 2 * np.spacing(np.float32(max(abs(law.low), abs(law.high))))  # of low, the product and the sum
    assert (x64 - x32 >= -rounding).all()
    assert (x64 - x32 <= cell + rounding).all()


def test_the_tail_of_the_normal_reaches_6_76_and_in_float64_9_41():
    zero, ones = np.zeros(1, np.uint32), np.full(1, 0xFFFFFFFF, np.uint32)
    assert normal.radius_32(zero)[0] == pytest.approx(np.sqrt(2 * 33 * np.log(2)), rel=1e-6)
    assert normal.radius_64(zero, zero)[0] == pytest.approx(np.sqrt(2 * 65 * np.log(2)), rel=1e-15)
    # and the other end is as exact: sqrt(-2 ln(1 - 2^-33)) = 2^-16 to nine digits, not zero
    assert normal.radius_32(ones)[0] == pytest.approx(2.0**-16, rel=1e-6)
    assert normal.radius_64(ones, ones)[0] == pytest.approx(2.0**-32, rel=1e-15)
