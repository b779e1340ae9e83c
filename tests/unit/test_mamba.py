"""Mamba's two laws: their arithmetic against 40 digits, what they say of themselves, and what is drawn."""

from __future__ import annotations

import dataclasses
import math

import mpmath
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

import fastinit
from fastinit import Shard, laws
from fastinit.dtypes import FORMATS
from fastinit.engines import reference
from fastinit.engines.reference.exponential import exp_parts, inverse_softplus
from fastinit.engines.reference.logarithm import log_64
from fastinit.laws import LogOfUniform, StepBias

STEPS = [
    StepBias(),
    StepBias(0.001, 0.1, 0.02),  # the floor takes two thirds of the draws
    StepBias(0.3, 200.0, 1e-4),
    StepBias(1e-12, 1e-3, 1e-20),
    StepBias(0.1, 0.1 + 1e-9, 1e-4),
    StepBias(1e-150, 1e3, 1e-160),
]
LOGS = [LogOfUniform(), LogOfUniform(0.5, 2.0), LogOfUniform(1e-30, 1.0), LogOfUniform(1.0, 1.0 + 1e-9)]
LOGS += [LogOfUniform(1e-300, 1e300)]
DRAWN = [*STEPS[:3], *LOGS[:2]]  # wide enough to be drawn in every dtype


def draws(law, count, dtype="float64", seed=0, **options):
    return fastinit.new(count, law, seed=seed, dtype=dtype, **options).astype(np.float64)


def softplus(x):
    return np.logaddexp(0.0, x)


def worst(got, exact, unit):
    """The largest error, in units of 2^-53 of what `unit` says."""
    return (
        max(abs(float(mpmath.mpf(float(g)) - e)) / float(unit(abs(e))) for g, e in zip(got, exact, strict=True)) * 2**53
    )


# --- arithmetic -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spread", [1e-9, 0.3, 20.0, 600.0])
def test_the_logarithm_is_right_to_two_last_places_also_near_one(spread):
    y = np.exp(np.random.default_rng(0).uniform(-spread, spread, 3000))
    with mpmath.workdps(40):
        exact = [mpmath.log(mpmath.mpf(float(one))) for one in y]
        assert worst(log_64(y.copy()), exact, lambda e: e) < 4


def test_the_logarithm_of_one_is_zero_and_that_of_two_is_its_constant():
    assert log_64(np.array([1.0, 2.0, 0.5])).tolist() == [0.0, math.log(2), -math.log(2)]


@pytest.mark.parametrize("spread", [1e-9, 0.3, 60.0, 690.0])
def test_both_parts_of_the_exponential_are_right(spread):
    y = np.random.default_rng(0).uniform(-spread, spread, 3000)
    exponent, m = exp_parts(y)
    with mpmath.workdps(40):
        exact = [mpmath.exp(mpmath.mpf(float(one))) for one in y]
        assert worst(np.ldexp(1.0 + m, exponent), exact, lambda e: e) < 3
        beyond = [mpmath.mpf(float(one)) for one in y[exponent == 0]]
        assert worst(m[exponent == 0], [mpmath.expm1(one) for one in beyond], lambda e: e) < 4


def test_the_inverse_of_softplus_is_right_from_tiny_to_huge_steps():
    dt = np.exp(np.random.default_rng(0).uniform(-600, 10, 3000))
    with mpmath.workdps(300):
        exact = [mpmath.log(mpmath.expm1(mpmath.mpf(float(one)))) for one in dt]
        assert worst(inverse_softplus(dt), exact, lambda e: max(e, 1)) < 5
    assert inverse_softplus(np.array([1e3, 1e12, 2.0**1000])).tolist() == [1e3, 1e12, 2.0**1000]


# --- what a law says of itself ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", [STEPS[1], LOGS[1]])
def test_a_law_is_a_frozen_value_of_floats(law):
    assert law == dataclasses.replace(law)
    assert hash(law) == hash(dataclasses.replace(law))
    assert eval(repr(law), vars(laws)) == law
    with pytest.raises(dataclasses.FrozenInstanceError):
        law.low = 1.0
    assert {type(value) for value in vars(type(law)(np.float32(0.5), 2)).values()} == {float}
    assert law.marginal((3, 4)) is law


@pytest.mark.parametrize("law", STEPS)
def test_the_moments_of_a_step_bias_are_the_integrals(law):
    span = math.log(law.high / law.low)

    def bias(u):
        dt = max(law.low * math.exp(u * span), law.floor)
        return dt + math.log(-math.expm1(-dt))

    kink = min(max(math.log(law.floor / law.low) / span, 0.0), 1.0)

    def integral(function):
        return sum(scipy.integrate.quad(function, *ends, epsabs=1e-13)[0] for ends in ((0.0, kink), (kink, 1.0)))

    mean = integral(bias)
    assert law.mean == pytest.approx(mean, rel=1e-12, abs=1e-12)
    assert law.std == pytest.approx(math.sqrt(integral(lambda u: (bias(u) - mean) ** 2)), rel=1e-6)


@pytest.mark.parametrize("law", LOGS)
def test_the_moments_of_a_log_of_uniform_are_the_closed_forms(law):
    with mpmath.workdps(60):
        low, high = mpmath.mpf(law.low), mpmath.mpf(law.high)
        mean = (high * mpmath.log(high) - low * mpmath.log(low)) / (high - low) - 1
        std = mpmath.sqrt(1 - low * high * (mpmath.log(high / low) / (high - low)) ** 2)
    assert law.mean == pytest.approx(float(mean), rel=1e-7)
    assert law.std == pytest.approx(float(std), rel=1e-6)


@pytest.mark.parametrize("law", STEPS)
def test_the_support_of_a_step_bias_is_that_of_its_steps(law):
    assert softplus(np.array(law.support)) == pytest.approx([max(law.low, law.floor), law.high], rel=1e-14)


def test_the_support_of_a_log_of_uniform_begins_at_zero_where_the_uniform_begins_at_one():
    assert LogOfUniform(1, 16).support == (0.0, math.log(16))


@pytest.mark.parametrize("law", [*STEPS[:3], *LOGS[:3]])
def test_the_distribution_function_runs_from_zero_to_one_over_the_support(law):
    low, high = law.support
    assert law.cdf(np.array([-np.inf, low - 1e-9, high + 1e-9, np.inf])).tolist() == [0, 0, 1, 1]
    assert law.cdf(high) == pytest.approx(1.0)
    assert np.ndim(law.cdf(0.5)) == 0
    assert law.cdf(np.zeros((2, 3))).shape == (2, 3)


def test_the_distribution_function_of_a_step_bias_jumps_at_the_floor():
    law = StepBias(0.001, 0.1, 0.01)
    at = law.support[0]
    assert (law.cdf(at - 1e-12), law.cdf(at)) == (0.0, pytest.approx(0.5))
    assert law.cdf(math.log(math.expm1(0.01 * math.sqrt(10)))) == pytest.approx(0.75)


def test_the_distribution_function_of_a_log_of_uniform_is_the_uniforms():
    assert LogOfUniform(1, 16).cdf(np.log([4.75, 8.5])) == pytest.approx([0.25, 0.5])


# --- what is drawn ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("law", [law for law in DRAWN if law is not STEPS[1]], ids=str)
def test_draws_follow_the_distribution_function(engine, law, dtype):
    assert scipy.stats.kstest(draws(law, 1 << 17, dtype, seed=2), law.cdf).pvalue > 1e-3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_draws_with_a_floor_gather_there_and_follow_the_law_above(engine, dtype):
    law = STEPS[1]
    drawn = draws(law, 1 << 17, dtype, seed=2)
    at_floor = drawn == drawn.min()
    assert scipy.stats.binomtest(int(at_floor.sum()), len(drawn), law.cdf(law.support[0])).pvalue > 1e-3
    raised = float(law.cdf(law.support[0]))
    assert scipy.stats.kstest(drawn[~at_floor], lambda x: (law.cdf(x) - raised) / (1 - raised)).pvalue > 1e-3


@pytest.mark.parametrize("law", DRAWN, ids=str)
def test_draws_have_the_mean_and_std_the_law_states(engine, law):
    n = 1 << 17
    centred = (draws(law, n, seed=5) - law.mean) / law.std
    assert abs(centred.mean()) < 5 / math.sqrt(n)
    assert abs((centred**2).mean() - 1) < 5 * math.sqrt(((centred**4).mean() - 1) / n)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("law", DRAWN, ids=str)
def test_draws_stay_inside_both_bounds_after_rounding(engine, law, dtype):
    drawn = draws(law, 50_000, dtype, seed=3)
    low, high = law.support
    assert low <= drawn.min()
    assert drawn.max() <= high
    if isinstance(law, StepBias):
        steps = softplus(drawn)  # two roundings of its own
        assert max(law.low, law.floor) * (1 - 1e-14) <= steps.min()
        assert steps.max() <= law.high * (1 + 1e-14)


def test_bounds_hold_at_the_first_and_at_the_last_word():
    """All words there are lie between these two: no enumeration can find a value outside."""
    ends = np.array([0, 0xFFFFFFFF], np.uint32)
    for law, dtype in (*((law, "float64") for law in (*STEPS, *LOGS)), *((law, "float32") for law in DRAWN)):
        draw = law.kernel_arguments(FORMATS[dtype])
        assert draw.reals.dtype == np.float64
        low, high = reference.LAWS[draw.kernel](ends, ends[:0], draw.reals, draw.integers)
        assert law.support[0] <= low <= high <= law.support[1]


@pytest.mark.parametrize("dtype", [name for name in FORMATS if name != "float64"])
@pytest.mark.parametrize("law", DRAWN, ids=str)
def test_every_dtype_holds_the_float64_value_rounded(engine, law, dtype):
    """To float32 once, from there to the narrow type; the bounds are moved to values of the dtype."""
    form, ml_dtypes = FORMATS[dtype], pytest.importorskip("ml_dtypes")
    single = draws(law, 20_000, seed=9).astype(np.float32)
    narrow = single if dtype == "float32" else single.astype(getattr(ml_dtypes, dtype, dtype))
    expected = np.clip(narrow.astype(np.float64), form.at_least(law.support[0]), form.at_most(law.support[1]))
    np.testing.assert_array_equal(draws(law, 20_000, dtype, seed=9), expected)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("law", [STEPS[1], LOGS[0]], ids=str)
def test_a_shard_equals_the_slice_in_any_order(engine, law, dtype):
    whole = draws(law, (37, 150), dtype, seed=1, name="w")
    for top, left, height, width, order in ((0, 0, 37, 150, "F"), (5, 64, 30, 80, "C"), (36, 149, 1, 1, "C")):
        storage = np.full((height, width), 0x5A, FORMATS[dtype].storage, order=order)
        fastinit.fill(storage, law, seed=1, name="w", dtype=dtype, shard=Shard((37, 150), (top, left)))
        block = fastinit.new((37, 150), law, seed=1, name="w", dtype=dtype)[top : top + height, left : left + width]
        np.testing.assert_array_equal(storage, block.view(storage.dtype))
        assert whole[top : top + height, left : left + width].tolist() == block.astype(np.float64).tolist()


def test_many_threads_and_chunks_give_what_one_gives():
    one, many = (draws(LOGS[0], 1 << 18, seed=1, threads=threads) for threads in (1, 4))
    assert one.tobytes() == many.tobytes()


def test_a_file_holds_what_an_array_holds(engine, tmp_path):
    from fastinit.files.npy import fill_file

    for law in (STEPS[0], LOGS[0]):
        fill_file(tmp_path / "w.npy", (1000, 100), law, dtype="float32", seed=3, overwrite=True)
        assert np.load(tmp_path / "w.npy").tobytes() == fastinit.new((1000, 100), law, seed=3).tobytes()


@pytest.mark.parametrize("law", [STEPS[0], LogOfUniform(2.0, 16.0)], ids=str)
def test_the_survivors_of_a_sparse_tensor_have_their_values(engine, law):
    sparse, dense = (draws(each, (64, 70), seed=1) for each in (laws.Sparse(law, 0.5), law))
    assert ((sparse != 0).sum(0) == 32).all()
    assert (sparse[sparse != 0] == dense[sparse != 0]).all()


def test_the_compiled_engine_has_every_law_but_these():
    from fastinit.engines import compiled

    missing = reference.LAWS.keys() - {kernel for kernel, _ in compiled.KERNELS}
    assert missing == {"step_bias", "log_of_uniform", "complex_normal_32", "complex_normal_64"}


@pytest.mark.parametrize(
    ("law", "dtype", "message"),
    [
        (StepBias(1.0, 1e6), "float16", r"reaches 1e\+06, beyond the largest float16 \(6.55e\+04\)"),
        (LogOfUniform(1.05, 1.055), "float8_e5m2", "holds no float8_e5m2 value; use a wider range or a wider dtype"),
    ],
)
def test_a_law_that_does_not_fit_the_dtype_is_refused(law, dtype, message):
    buf = np.full(100, 0x5A, FORMATS[dtype].storage)
    with pytest.raises(ValueError, match=message):
        fastinit.fill(buf, law, seed=0, dtype=dtype)
    assert (buf == 0x5A).all()


def test_defaults_are_those_of_mamba():
    # https://github.com/state-spaces/mamba: dt_min, dt_max, dt_init_floor; A from 1 to 16 in Mamba-2
    assert dataclasses.astuple(StepBias())[:3] == (1e-3, 0.1, 1e-4)
    assert dataclasses.astuple(LogOfUniform())[:2] == (1.0, 16.0)


@pytest.mark.parametrize(
    "law",
    [
        lambda: StepBias(0.1, 0.1),
        lambda: StepBias(0.2, 0.1),
        lambda: StepBias(0.01, 0.1, 0.1),
        lambda: StepBias(0.01, 0.1, 0.2),
        lambda: LogOfUniform(2.0, 2.0),
        lambda: LogOfUniform(3.0, 2.0),
        lambda: LogOfUniform(2.0**-1001, 1.0),
        lambda: LogOfUniform(1.0, 2.0**1001),
        lambda: LogOfUniform(1.0, math.nextafter(2.0**1000, math.inf)),
    ],
)
def test_numbers_that_leave_nothing_to_draw_are_refused(law):
    with pytest.raises(ValueError, match=r"StepBias|LogOfUniform"):
        law()


def test_the_widest_range_is_accepted():
    assert dataclasses.astuple(LogOfUniform(2.0**-1000, 2.0**1000))[:2] == (2.0**-1000, 2.0**1000)
