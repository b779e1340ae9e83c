"""All 2^32 words through every float32 function of a word: worst errors, zeros, exact moments, largest values.

What a sample can only estimate is exact here. The functions are those of the compiled engine; what they are compared
with is float64 arithmetic of the C library: log, log1p, sin, cos, erf, erfc. Run by ci/enumerate, some minutes; the
table it prints is the last thing of the run.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import mpmath
import numba
import numpy as np
import pytest
from traced import scalar

from fastinit import laws
from fastinit.dtypes import FORMATS
from fastinit.engines.compiled import normal, truncated, uniform
from fastinit.engines.compiled.intrinsics import bits, from_bits, pointer
from fastinit.threads import available_cpus

pytestmark = pytest.mark.slow

EVERY = 1 << 32
SLICES = 64
u32, f32 = np.uint32, np.float32

BLOCK = 1 << 12

single = numba.types.float32
radius_32, unit_32 = scalar(normal.radius_32, single), scalar(uniform.unit_32, single)
angle_32 = scalar(normal.angle_32, numba.types.UniTuple(single, 2))
# Of twice the tail probability, as the engine calls them.
magnitude_32, near_magnitude_32 = scalar(truncated.magnitude_32, single), scalar(truncated.near_magnitude_32, single)

jit = numba.njit(nogil=True, error_model="numpy")
# For sums and extremes of values that are already drawn: the order of additions does not matter to a sum of 2^26.
unordered = numba.njit(nogil=True, error_model="numpy", fastmath=True)


def over_all(function, total, *arguments):
    """function(begin, end, *arguments) on SLICES equal parts of range(total), as an array of one row a part."""
    edges = np.linspace(0, total, SLICES + 1).astype(np.int64)
    with ThreadPoolExecutor(available_cpus()) as pool:
        parts = pool.map(lambda i: function(edges[i], edges[i + 1], *arguments), range(SLICES))
        return np.array(list(parts))


def report(title, **numbers):
    """Print a row of the table."""
    print(f"\n{title}: " + ", ".join(f"{name.replace('_', ' ')} {value:.8g}" for name, value in numbers.items()))


@unordered
def count(block, before):
    """(zeros, infinite or NaN, falls, largest fall, largest rise, smallest, largest) of a block after `before`."""
    zeros, wild, falls = 0, 0, 0
    step = np.float64(block[0]) - before
    falls += step < 0.0
    fall, rise = max(-step, 0.0), max(step, 0.0)
    smallest, largest = np.float64(block[0]), np.float64(block[0])
    for i in range(len(block)):
        size = bits(block[i]) & u32(0x7FFFFFFF)
        zeros += size == u32(0)
        wild += size >= u32(0x7F800000)
        smallest, largest = min(smallest, np.float64(block[i])), max(largest, np.float64(block[i]))
    for i in range(1, len(block)):
        step = np.float64(block[i]) - np.float64(block[i - 1])
        falls += step < 0.0
        fall, rise = max(fall, -step), max(rise, step)
    return zeros, wild, falls, fall, rise, smallest, largest


@unordered
def powers(block, centre):
    """The sums of the first four powers of the values about a centre."""
    first, second, third, fourth = 0.0, 0.0, 0.0, 0.0
    for i in range(len(block)):
        d = np.float64(block[i]) - centre
        first += d
        second += d * d
        third += d * d * d
        fourth += d * d * (d * d)
    return first, second, third, fourth


COLUMNS = ("zeros", "wild", "falls", "fall", "rise", "smallest", "largest", "first", "second", "third", "fourth")


@jit
def gather(row, block, before, centre):
    """Add a block to a row of COLUMNS."""
    zeros, wild, falls, fall, rise, smallest, largest = count(block, before)
    row[0] += zeros
    row[1] += wild
    row[2] += falls
    row[3], row[4] = max(row[3], fall), max(row[4], rise)
    row[5], row[6] = min(row[5], smallest), max(row[6], largest)
    first, second, third, fourth = powers(block, centre)
    row[7] += first
    row[8] += second
    row[9] += third
    row[10] += fourth


@jit
def empty_row(more):
    """A row of COLUMNS before the first block, and `more` columns."""
    row = np.zeros(11 + more)
    row[5], row[6] = np.inf, -np.inf
    return row


def summary(parts):
    """The rows of all slices as one, by name; sums of powers divided by the number of words."""
    whole = dict.fromkeys(COLUMNS, 0.0)
    for i, name in enumerate(COLUMNS):
        column = parts[:, i]
        if name in ("fall", "rise", "largest"):
            whole[name] = column.max()
        elif name == "smallest":
            whole[name] = column.min()
        else:
            whole[name] = math.fsum(column)
    for name in COLUMNS[7:]:
        whole[name] /= EVERY
    return whole


# --- radius ----------------------------------------------------------------------------------------------------------


@jit
def scan_radius(begin, end):
    row, block, before = empty_row(2), np.empty(BLOCK, f32), np.inf
    worst, where = 0.0, 0
    for start in range(begin, end, BLOCK):
        for i in range(BLOCK):
            block[i] = radius_32(u32(start + i))
        gather(row, block, before, 0.0)
        before = np.float64(block[-1])
        for i in range(BLOCK):
            w = start + i
            if w < 1 << 31:
                exact = math.sqrt(-2.0 * math.log((w + 0.5) * 2.0**-32))
            else:
                exact = math.sqrt(-2.0 * math.log1p(-((4294967295 - w) + 0.5) * 2.0**-32))
            error = abs(np.float64(block[i]) - exact) / exact
            if error > worst:
                worst, where = error, w
    row[11], row[12] = worst, where
    return row


def test_the_radius_of_every_word():
    parts = over_all(scan_radius, EVERY)
    row, whole = parts[:, 11].argmax(), summary(parts)
    report(
        "radius",
        worst_relative_error=parts[row, 11],
        at_word=parts[row, 12],
        zeros=whole["zeros"],
        smallest=whole["smallest"],
        largest=whole["largest"],
        largest_rise=whole["rise"],
        mean_square_minus_2=whole["second"] - 2,
        mean_fourth_power_minus_8=whole["fourth"] - 8,
    )
    assert whole["wild"] == 0
    assert parts[row, 11] < 3e-7
    assert whole["zeros"] == 0
    assert whole["rise"] < 1e-6
    assert whole["largest"] == pytest.approx(math.sqrt(66 * math.log(2)), rel=1e-6)
    assert whole["smallest"] == pytest.approx(2.0**-16, rel=1e-6)
    # E r^2 = 2 and E r^4 = 8 for the continuous law; the grid of midpoints itself is off by less than 1e-8.
    assert whole["second"] == pytest.approx(2.0, rel=1e-7)
    assert whole["fourth"] == pytest.approx(8.0, rel=2e-7)


# --- angle -----------------------------------------------------------------------------------------------------------


@jit
def scan_angle(begin, end):
    worst_sine, worst_cosine, zeros, wrong, worst_circle = 0.0, 0.0, 0.0, 0.0, 0.0
    sines, sine_2, cosine_2, sine_4, cosine_4 = 0.0, 0.0, 0.0, 0.0, 0.0
    for high in range(begin, end):  # the upper 29 bits, signed, are the angle; the words beside differ in a sign
        signed = high if high < 1 << 28 else high - (1 << 29)
        first_cosine, first_sine = angle_32(u32(high << 3))
        for low in range(1, 8):
            cosine_32, sine_32 = angle_32(u32(u32(high << 3) | u32(low)))
            wrong += bits(sine_32) != bits(first_sine)
            wrong += bits(cosine_32) != bits(-first_cosine if low & 1 else first_cosine)
        sine, cosine = np.float64(first_sine), np.float64(first_cosine)
        wrong += not cosine > 0.0
        wrong += (sine < 0.0) != (signed < 0)
        zeros += (sine == 0.0) + (cosine == 0.0)
        turn = math.pi / 4.0 * ((signed + 0.5) * 2.0**-28)
        exact_sine, exact_cosine = math.sin(turn), math.cos(turn)
        worst_sine = max(worst_sine, abs(sine - exact_sine) / abs(exact_sine))
        worst_cosine = max(worst_cosine, abs(cosine - exact_cosine) / exact_cosine)
        sine_sine, cosine_cosine = sine * sine, cosine * cosine
        worst_circle = max(worst_circle, abs(sine_sine + cosine_cosine - 1.0))
        sines += sine
        sine_2 += sine_sine
        cosine_2 += cosine_cosine
        sine_4 += sine_sine * sine_sine
        cosine_4 += cosine_cosine * cosine_cosine
    return worst_sine, worst_cosine, zeros, wrong, worst_circle, sines, sine_2, cosine_2, sine_4, cosine_4


def test_the_angle_of_every_word():
    parts = over_all(scan_angle, EVERY >> 3)
    worst_sine, worst_cosine, _, _, worst_circle = parts[:, :5].max(axis=0)
    zeros, wrong = parts[:, 2].sum(), parts[:, 3].sum()
    sine, sine_2, cosine_2, sine_4, cosine_4 = (math.fsum(parts[:, i]) / (EVERY >> 3) for i in range(5, 10))
    report(
        "angle",
        worst_relative_error_of_the_sine=worst_sine,
        of_the_cosine=worst_cosine,
        of_the_circle=worst_circle,
        zeros=zeros,
        mean_sine=sine,
        mean_squares_minus_1=sine_2 + cosine_2 - 1,
        mean_fourth_powers_minus_three_quarters=sine_4 + cosine_4 - 0.75,
    )
    assert max(worst_sine, worst_cosine) < 3e-7
    assert worst_circle < 5e-7
    assert zeros == 0
    assert wrong == 0  # so every cosine has its opposite: mean and mean product with the sine are exactly 0
    assert abs(sine) < 1e-8
    # Over the eight octants S and C share the places: E S^2 + E C^2 = 1, E S^4 + E C^4 = 3/4.
    assert sine_2 + cosine_2 == pytest.approx(1.0, abs=1e-7)
    assert sine_4 + cosine_4 == pytest.approx(0.75, abs=1e-7)


# --- uniform ---------------------------------------------------------------------------------------------------------


@jit
def scan_unit(begin, end):
    row, block, before = empty_row(1), np.empty(BLOCK, f32), -1.0
    for start in range(begin, end, BLOCK):
        for i in range(BLOCK):
            block[i] = unit_32(u32(start + i))
        gather(row, block, before, 0.5)
        before = np.float64(block[-1])
        for i in range(BLOCK):
            row[11] += np.float64(block[i]) != np.float64((start + i) >> 8) * 2.0**-24
    return row


def test_the_uniform_of_every_word():
    parts = over_all(scan_unit, EVERY)
    whole, wrong = summary(parts), parts[:, 11].sum()
    variance = whole["second"] - whole["first"] ** 2
    report(
        "uniform on [0, 1)",
        words_not_exact=wrong,
        zeros=whole["zeros"],
        largest=whole["largest"],
        mean_minus_one_half=whole["first"],
        variance_times_12_minus_1=12 * variance - 1,
        fourth_moment_about_the_middle_times_80_minus_1=80 * whole["fourth"] - 1,
    )
    assert wrong == 0
    assert whole["wild"] == 0
    assert whole["zeros"] == 256  # by construction: 2^24 values of 256 words each, and zero is one of them
    assert whole["falls"] == 0
    assert whole["largest"] == 1 - 2.0**-24
    assert 0.5 + whole["first"] == 0.5 - 2.0**-25  # low is included and high is not
    assert variance == pytest.approx((1 - 2.0**-48) / 12, rel=1e-12)
    assert whole["fourth"] == pytest.approx(1 / 80, rel=1e-12)


# --- inverse of the normal --------------------------------------------------------------------------------------------


@jit
def inverse(p, near):
    """The x with tail probability p, from a `near` one with an error below 1e-4: one step of Halley, in float64.

    The residue comes from erf where p is near 1/2, since 1/2 - p is exact there, and from erfc elsewhere.
    """
    density = math.exp(-0.5 * near * near) * 0.3989422804014327
    if near < 0.5:
        residue = 0.5 * math.erf(near * 0.7071067811865476) - (0.5 - p)
    else:
        residue = p - 0.5 * math.erfc(near * 0.7071067811865476)
    step = residue / density
    return near - step / (1.0 - 0.5 * near * step)


@jit
def scan_inverse(begin, end):
    worst, where, zeros, rising, rises = 0.0, 0.0, 0.0, 0.0, 0.0
    largest, before, shallow = 0.0, np.inf, 0.0
    for pattern in range(begin, end):
        p = from_bits(u32(pattern))
        x = np.float64(magnitude_32(p + p))
        exact = inverse(np.float64(p), x)
        error = abs(x - exact) / exact
        if not error <= worst:
            worst, where = error, np.float64(pattern)
        zeros += x <= 0.0
        rises += x > before
        rising = max(rising, (x - before) / x)
        before = x
        largest = max(largest, x)
        if p > 0.00126:
            shallow += bits(near_magnitude_32(p + p)) != bits(f32(x))
    return worst, where, zeros, rising, rises, largest, shallow


def test_the_inverse_normal_of_every_tail_probability():
    lowest, highest = 1 << 23, int(np.float32(0.5 - 2.0**-25).view(np.uint32))
    parts = over_all(lambda begin, end: scan_inverse(begin + lowest, end + lowest), highest + 1 - lowest)
    row = parts[:, 0].argmax()
    worst, where = parts[row, 0], np.uint32(parts[row, 1]).view(np.float32)
    zeros, rises, shallow = parts[:, 2].sum(), parts[:, 4].sum(), parts[:, 6].sum()
    report(
        "inverse normal, all tail probabilities from 2^-126 to 1/2",
        probabilities=highest + 1 - lowest,
        worst_relative_error=worst,
        at_probability=float(where),
        zeros=zeros,
        largest=parts[:, 5].max(),
        steps_that_rise=rises,
        largest_relative_rise=parts[:, 3].max(),
    )
    assert worst < 1e-6
    assert zeros == 0
    assert parts[:, 3].max() < 5e-7  # as the probability grows the magnitude falls, but for the last places
    assert shallow == 0  # the form without the far tail is the same where a law may use it
    # The worst case once more, in forty digits.
    with mpmath.workdps(40):
        exact = mpmath.sqrt(2) * mpmath.erfinv(1 - 2 * mpmath.mpf(float(where)))
        x = float(np.float32(one_magnitude(where)))
        assert float(abs(x - exact) / exact) == pytest.approx(worst, rel=1e-3)


@jit
def one_magnitude(p):
    return magnitude_32(p + p)


@jit
def scan_truncated(begin, end, reals, integers, deep):
    row, block, before = empty_row(0), np.empty(BLOCK, f32), -np.inf
    words, low_words, spare = np.empty(BLOCK, u32), np.empty(BLOCK, u32), np.empty(BLOCK, f32)
    for start in range(begin, end, BLOCK):
        for i in range(BLOCK):
            words[i] = u32(start + i)
        # In the loop, for Numba frees an array after its last use.
        memory = (
            pointer(words),
            pointer(low_words),
            pointer(block),
            pointer(reals),
            pointer(integers),
            pointer(spare),
        )
        if deep:
            truncated.truncated_deep_32(BLOCK, *memory, None)
        else:
            truncated.truncated_32(BLOCK, *memory, None)
        gather(row, block, before, 0.0)
        before = np.float64(block[-1])
    return row


def exact_moments(low, high):
    """E x, E x^2, E x^3, E x^4 of a standard normal on [low, high], in forty digits."""
    with mpmath.workdps(40):
        low, high = mpmath.mpf(low), mpmath.mpf(high)
        mass = mpmath.ncdf(-low) - mpmath.ncdf(-high)
        at_low, at_high = (0 if mpmath.isinf(x) else mpmath.npdf(x) / mass for x in (low, high))
        moments = [mpmath.mpf(1), at_low - at_high]
        for k in (2, 3, 4):  # integration by parts
            ends = (low ** (k - 1) * at_low if at_low else 0) - (high ** (k - 1) * at_high if at_high else 0)
            moments.append((k - 1) * moments[k - 2] + ends)
        return [float(m) for m in moments[1:]]


@pytest.mark.parametrize(
    ("low", "high"),
    [(-2.0, 2.0), (-2.0, 1.5), (-math.inf, math.inf), (5.0, math.inf)],
    ids=["two sigma", "two and one and a half sigma", "the whole line", "beyond five sigma"],
)
def test_the_truncated_normal_of_every_word(low, high):
    law = laws.TruncatedNormal(0.0, 1.0, low, high)
    draw = law.kernel_arguments(FORMATS["float32"])
    parts = over_all(scan_truncated, EVERY, draw.reals, draw.integers, "deep" in draw.kernel)
    whole, exact = summary(parts), exact_moments(low, high)
    mean, second, third, fourth = (whole[name] for name in COLUMNS[7:])
    variance, exact_variance = second - mean**2, exact[1] - exact[0] ** 2
    report(
        f"truncated normal on [{low}, {high}]",
        zeros=whole["zeros"],
        smallest=whole["smallest"],
        largest=whole["largest"],
        words_that_fall=whole["falls"],
        largest_fall=whole["fall"],
        mean=mean,
        error_of_the_mean=mean - exact[0],
        variance=variance,
        relative_error_of_the_variance=variance / exact_variance - 1,
        error_of_the_third_moment=third - exact[2],
        relative_error_of_the_fourth=fourth / exact[3] - 1,
    )
    assert whole["zeros"] == 0
    assert whole["wild"] == 0
    assert low <= whole["smallest"]
    assert whole["largest"] <= high
    scale = max(1.0, abs(mean))
    assert whole["fall"] < 1e-6 * scale  # larger words, larger values, but for the last places
    assert abs(mean - exact[0]) < 1e-6 * scale
    assert variance == pytest.approx(exact_variance, rel=1e-5)
    assert abs(third - exact[2]) < 1e-6 * scale**3
    assert fourth == pytest.approx(exact[3], rel=2e-6)
