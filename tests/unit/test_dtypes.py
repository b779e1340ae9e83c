"""The table of formats and both engines' roundings, against ml_dtypes and NumPy, value by value."""

from __future__ import annotations

import math
import re

import ml_dtypes
import numba
import numpy as np
import pytest

import fastinit
from fastinit import laws
from fastinit.dtypes import FORMATS, array_dtype, format_of
from fastinit.engines import reference
from fastinit.engines.compiled import rounding

NARROW = ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"]


def finfo(name):
    return ml_dtypes.finfo(array_dtype(name))


def values_of(name):
    """Every finite value of a narrow format, ascending, zero once."""
    storage = FORMATS[name].storage
    every = np.arange(2 ** (8 * np.dtype(storage).itemsize)).astype(storage).view(array_dtype(name))
    with np.errstate(invalid="ignore"):  # signalling NaNs
        every = every.astype(np.float64)
    return np.unique(every[np.isfinite(every)])


def boundaries(name):
    """float32: every value of the format and every midpoint, each with both neighbours; as far as nothing overflows."""
    values = values_of(name)
    middles = (values[1:] + values[:-1]) / 2
    exact = np.concatenate([values, middles, [-0.0]]).astype(np.float32)
    last_step = values[-1] - values[-2]
    beyond = np.float32(values[-1] + last_step / 2)
    points = [exact, np.nextafter(exact, np.float32(np.inf)), np.nextafter(exact, np.float32(-np.inf))]
    points.append(np.nextafter(np.float32([beyond, -beyond]), np.float32(0)))
    return np.concatenate(points)


def bits(array):
    return array.view(f"u{array.itemsize}")


@numba.njit
def compiled_rounding(out, x, code):
    for i in range(x.size):
        out[i] = rounding.rounded(out, x[i], code)


@numba.njit
def software_float16(out, x):
    for i in range(x.size):
        out[i] = rounding.software_float16(x[i])


# --- the table --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_limits_are_those_of_ml_dtypes_and_numpy(name):
    form, info = FORMATS[name], finfo(name)
    assert form.largest == float(info.max)
    assert form.smallest_subnormal == float(info.smallest_subnormal)
    assert form.mantissa_bits == info.nmant
    assert math.ldexp(1.0, form.smallest_exponent) == float(info.smallest_normal)
    assert np.dtype(form.storage).itemsize == array_dtype(name).itemsize
    assert form.working == ("float64" if name == "float64" else "float32")


def test_formats_of_one_storage_size_have_different_codes():
    assert len({(form.storage, form.code) for form in FORMATS.values()}) == len(FORMATS)


@pytest.mark.parametrize("name", NARROW)
def test_at_least_at_most_and_below_agree_with_the_sorted_list_of_all_values(name):
    form, values = FORMATS[name], values_of(name)
    points = np.concatenate(
        [
            values,
            np.nextafter(values, math.inf),
            np.nextafter(values, -math.inf),
            (values[1:] + values[:-1]) / 2,
            [1.001 * values[-1], 3e300, 1.001 * values[0], -3e300, 5e-324, -5e-324, -0.0],
        ]
    )
    above = np.append(values, math.inf)[np.searchsorted(values, points, "left")]
    at_most = np.insert(values, 0, -math.inf)[np.searchsorted(values, points, "right")]
    below = np.insert(values, 0, -math.inf)[np.searchsorted(values, points, "left")]
    listed = points.tolist()
    assert [form.at_least(x) for x in listed] == above.tolist()
    assert [form.at_most(x) for x in listed] == at_most.tolist()
    assert [form.below(x) for x in listed] == below.tolist()


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_at_least_at_most_and_below_agree_with_nextafter(name):
    form, dtype = FORMATS[name], np.dtype(name).type
    draw = np.random.default_rng(1)
    values = np.concatenate([draw.normal(size=2000), draw.normal(size=500) * 1e-40, 2.0 ** np.arange(-149, 127)])
    values = np.concatenate([values, -values, [0.0, form.largest, 1.5 * form.smallest_subnormal]]).astype(dtype)
    for value in values:
        x = float(value)
        with np.errstate(over="ignore"):
            down, up = (float(np.nextafter(value, dtype(end))) for end in (-np.inf, np.inf))
        assert (form.at_least(x), form.at_most(x), form.below(x)) == (x, x, down)
        if name == "float32":
            beside = math.nextafter(x, math.inf)
            assert (form.at_least(beside), form.at_most(beside), form.below(beside)) == (up, x, x)


@pytest.mark.parametrize("name", FORMATS)
def test_zero_bounds_carry_no_sign(name):
    """A clamp to -0.0 would put the sign of the bound, not of the value, into the buffer."""
    form, tiny = FORMATS[name], FORMATS[name].smallest_subnormal
    for zero in (form.at_least(-0.0), form.at_most(-0.0), form.below(tiny), form.at_least(-tiny / 2)):
        assert (zero, math.copysign(1.0, zero)) == (0.0, 1.0) or name == "float64"


@pytest.mark.parametrize("name", FORMATS)
def test_a_bound_beyond_the_largest_value_is_the_largest_value(name):
    form = FORMATS[name]
    assert form.at_least(-math.inf) == -form.largest
    assert form.at_most(math.inf) == form.below(math.inf) == form.largest
    assert form.at_least(math.inf) == math.inf
    assert form.at_most(-math.inf) == form.below(-math.inf) == form.below(-form.largest) == -math.inf


@pytest.mark.parametrize("name", [*NARROW, "float32"])
def test_overflows_says_what_the_conversion_from_float64_through_float32_does(name):
    form = FORMATS[name]
    step = form.largest - form.below(form.largest)
    edge = form.largest + step / 2
    around = [form.largest, form.largest + 0.499 * step, edge, form.largest + 0.501 * step, 2 * form.largest]
    around += [math.nextafter(edge, 0.0), math.nextafter(edge, math.inf), edge * (1 - 2.0**-30), edge * (1 - 2.0**-20)]
    for x in around:
        with np.errstate(over="ignore"):
            stored = np.float32(x).astype(array_dtype(name))
        assert form.overflows(x) == form.overflows(-x) == (not np.isfinite(stored.astype(np.float64))), x


def test_float64_overflows_only_at_infinity():
    assert not FORMATS["float64"].overflows(1.7976931348623157e308)
    assert FORMATS["float64"].overflows(math.inf)


# --- which format a buffer has ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_a_buffer_of_its_own_dtype_and_raw_storage_with_dtype_have_the_same_format(name):
    form = FORMATS[name]
    assert format_of(array_dtype(name)) is form
    assert format_of(array_dtype(name), name) is form
    assert format_of(array_dtype(name), array_dtype(name)) is form
    assert format_of(np.dtype(form.storage), name) is form


@pytest.mark.parametrize("name", ["uint16", "uint8", "int32", "bool", "complex64", "object", "datetime64[s]", "U3"])
def test_a_dtype_that_is_no_float_of_ours_has_no_format(name):
    assert format_of(np.dtype(name)) is None


@pytest.mark.parametrize("name", ["uint16", "int32", "bool", "complex64", "complex128"])
def test_the_dtype_of_the_buffer_may_be_said_again(name):
    assert format_of(np.dtype(name), name) is None
    assert format_of(np.dtype(name), np.dtype(name)) is None
    assert format_of(np.dtype(name), np.dtype(name).str) is None
    x, y = np.empty(5, name), np.empty(5, name)
    law = laws.Normal() if name.startswith("complex") else laws.Constant(1)
    fastinit.fill(x, law, seed=0, dtype=name)
    fastinit.fill(y, law, seed=0)
    assert np.array_equal(x, y)


@pytest.mark.parametrize(
    ("own", "asked"),
    [("float32", "bfloat16"), ("float16", "bfloat16"), ("uint8", "bfloat16"), ("uint16", "float8_e5m2")]
    + [("float32", "float64"), ("uint32", "float32"), ("int16", "float16"), ("bfloat16", "float16")],
)
def test_a_dtype_that_the_storage_cannot_hold_is_refused(own, asked):
    own = array_dtype(own) if own in FORMATS else np.dtype(own)
    with pytest.raises(TypeError, match=f"dtype='{asked}' does not fit a buffer of {own.name}: pass {asked} elements"):
        format_of(own, asked)


@pytest.mark.parametrize("asked", ["int32", "float8", "bf16", "complex64", "", "f4,)", "9999999999999999999f4"])
def test_a_dtype_that_is_unknown_is_refused_with_the_list(asked):
    with pytest.raises(
        TypeError, match=rf"dtype='{re.escape(asked)}' is not a format fastinit fills; it fills float64, float32"
    ):
        format_of(np.dtype(np.float32), asked)


def test_array_dtypes_are_those_of_numpy_and_ml_dtypes():
    assert [array_dtype(name) for name in FORMATS] == [
        np.float64,
        np.float32,
        np.float16,
        ml_dtypes.bfloat16,
        ml_dtypes.float8_e4m3fn,
        ml_dtypes.float8_e5m2,
    ]


# --- rounding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NARROW)
def test_both_engines_round_every_boundary_as_ml_dtypes_does(name):
    form, points = FORMATS[name], boundaries(name)
    expected = bits(points.astype(array_dtype(name)))
    assert np.array_equal(reference.rounded(points, np.dtype(form.storage), form.code), expected)
    stored = np.full(points.size, 0x5A, form.storage)
    compiled_rounding(stored, points, form.code)
    assert np.array_equal(stored, expected)


@pytest.mark.parametrize("name", NARROW)
def test_a_tie_goes_to_the_even_pattern(name):
    """The same from first principles: a midpoint is exact in float32, and the neighbour with last bit 0 takes it."""
    form, values = FORMATS[name], values_of(name)
    values = values[values >= 0]  # bit patterns ascend with the positive values
    middles = ((values[1:] + values[:-1]) / 2).astype(np.float32)
    pattern = np.arange(middles.size)
    even = (pattern + pattern % 2).astype(form.storage)
    assert np.array_equal(reference.rounded(middles, np.dtype(form.storage), form.code), even)


def test_float16_without_the_processors_instruction_rounds_as_numpy_does():
    draw = np.random.default_rng(2)
    random = draw.integers(0, 2**32, 1 << 20, dtype=np.uint32).view(np.float32)
    random = random[np.abs(random) < 65520]
    subnormal = np.arange(-5000, 5000, dtype=np.float32) * np.float32(2.0**-26)  # quarters of the smallest subnormal
    points = np.concatenate([boundaries("float16"), random, subnormal])
    stored = np.full(points.size, 0x5A5A, np.uint16)
    software_float16(stored, points)
    assert np.array_equal(stored, bits(points.astype(np.float16)))


@pytest.mark.parametrize("name", NARROW)
@pytest.mark.filterwarnings("ignore:std .* is under 4 times")
def test_a_fill_of_one_known_value_rounds_it_to_nearest_even(engine, name):
    points = boundaries(name)
    points = points[:: max(1, points.size // 1500)]
    got = np.full(points.size, 0x5A, FORMATS[name].storage).view(array_dtype(name))
    for i, x in enumerate(points):
        fastinit.fill(got[i : i + 1], laws.Normal(float(x), 0.0), seed=0)
    expected = points.astype(array_dtype(name))
    zero = points == 0  # -0.0 + 0.0 is +0.0
    assert np.array_equal(bits(got)[~zero], bits(expected)[~zero])
    assert (got.astype(np.float32)[zero] == 0).all()


@pytest.mark.parametrize("name", NARROW)
@pytest.mark.parametrize("law", [laws.Normal(0.1, 0.7), laws.Uniform(-3.0, 2.0), laws.TruncatedNormal(0.0, 1.0, -1, 3)])
def test_a_narrow_fill_is_the_float32_fill_rounded(engine, name, law):
    wide = fastinit.new(20_000, law, seed=3)
    narrow = fastinit.new(20_000, law, seed=3, dtype=name)
    form = FORMATS[name]
    lowest, highest = (-math.inf, math.inf)
    if not isinstance(law, laws.Normal):
        lowest = form.at_least(law.low)
        highest = form.below(law.high) if isinstance(law, laws.Uniform) else form.at_most(law.high)
    expected = np.clip(wide.astype(array_dtype(name)).astype(np.float64), lowest, highest).astype(array_dtype(name))
    assert np.array_equal(bits(narrow), bits(expected))
