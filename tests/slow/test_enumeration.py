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

from fastinit import laws
from fastinit.dtypes import FORMATS
from fastinit.engines import compiled
from fastinit.engines.compiled import bits, from_bits, magnitude_32, radius_32, truncated_value_32, unit_32
from fastinit.threads import available_cpus

pytestmark = pytest.mark.slow

EVERY = 1 << 32
SLICES = 64
u32, f32 = np.uint32, np.float32

jit = numba.njit(nogil=True, error_model="numpy")


def over_all(function, total, *arguments):
    """function(begin, end, *arguments) on SLICES equal parts of range(total), as an array of one row a part."""
    edges = np.linspace(0, total, SLICES + 1).astype(np.int64)
    with ThreadPoolExecutor(available_cpus()) as pool:
        parts = pool.map(lambda i: function(edges[i], edges[i + 1], *arguments), range(SLICES))
        return np.array(list(parts))


def report(title, **numbers):
    """Print a row of the table."""
    print(f"\n{title}: " + ", ".join(f"{name.replace('_', ' ')} {value:.8g}" for name, value in numbers.items()))


# --- radius ----------------------------------------------------------------------------------------------------------


@jit
def scan_radius(begin, end):
    worst, where, zeros, rising, largest, smallest = 0.0, 0.0, 0.0, 0.0, 0.0, 1e9
    second, fourth = 0.0, 0.0
    before = np.inf
    for w in range(begin, end):
        r = np.float64(radius_32(u32(w)))
        if w < 1 << 31:
            exact = math.sqrt(-2.0 * math.log((w + 0.5) * 2.0**-32))
        else:
            exact = math.sqrt(-2.0 * math.log1p(-((4294967295 - w) + 0.5) * 2.0**-32))
        error = abs(r - exact) / exact
        if not error <= worst:  # a NaN counts as worst
            worst, where = error, np.float64(w)
        zeros += r == 0.0
        rising = max(rising, (r - before) / exact)
        before = r
        largest, smallest = max(largest, r), min(smallest, r)
        second += r * r
        fourth += r * r * r * r
    return worst, where, zeros, rising, largest, smallest, second, fourth


def test_the_radius_of_every_word():
    parts = over_all(scan_radius, EVERY)
    worst = parts[parts[:, 0].argmax(), 0]
    zeros, rising, largest, smallest = parts[:, 2].sum(), parts[:, 3].max(), parts[:, 4].max(), parts[:, 5].min()
    second, fourth = math.fsum(parts[:, 6]) / EVERY, math.fsum(parts[:, 7]) / EVERY
    report(
        "radius",
        worst_relative_error=worst,
        at_word=parts[parts[:, 0].argmax(), 1],
        zeros=zeros,
        smallest=smallest,
        largest=largest,
        largest_relative_rise=rising,
        mean_square=second,
        mean_fourth_power=fourth,
    )
    assert worst < 3e-7
    assert zeros == 0
    assert rising < 3e-7
    assert largest == pytest.approx(math.sqrt(66 * math.log(2)), rel=1e-6)
    assert smallest == pytest.approx(2.0**-16, rel=1e-6)
    # E r^2 = 2 and E r^4 = 8 for the continuous law; the grid of midpoints itself is off by less than 1e-8.
    assert second == pytest.approx(2.0, rel=1e-7)
    assert fourth == pytest.approx(8.0, rel=2e-7)


# --- angle -----------------------------------------------------------------------------------------------------------


@jit
def scan_angle(begin, end):
    worst_sine, worst_cosine, zeros, wrong_signs, worst_circle = 0.0, 0.0, 0.0, 0.0, 0.0
    sines, cosines, sine_2, cosine_2, sine_4, cosine_4, product = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for high in range(begin, end):  # the upper 29 bits, signed, are the angle
        signed = high if high < 1 << 28 else high - (1 << 29)
        turn = math.pi / 4.0 * ((signed + 0.5) * 2.0**-28)
        exact_sine, exact_cosine = math.sin(turn), math.cos(turn)
        for low in range(8):
            cosine_32, sine_32 = compiled.angle_32(u32((high << 3) | low))
            cosine, sine = np.float64(cosine_32), np.float64(sine_32)
            wrong_signs += (cosine < 0.0) != (low & 1 == 1)
            wrong_signs += (sine < 0.0) != (signed < 0)
            error = abs(sine - exact_sine) / abs(exact_sine)
            worst_sine = error if not error <= worst_sine else worst_sine
            error = abs(abs(cosine) - exact_cosine) / exact_cosine
            worst_cosine = error if not error <= worst_cosine else worst_cosine
            worst_circle = max(worst_circle, abs(sine * sine + cosine * cosine - 1.0))
            zeros += (sine == 0.0) + (cosine == 0.0)
            sines += sine
            cosines += cosine
            sine_2 += sine * sine
            cosine_2 += cosine * cosine
            sine_4 += sine * sine * sine * sine
            cosine_4 += cosine * cosine * cosine * cosine
            product += sine * cosine
    return (
        (worst_sine, worst_cosine, zeros, wrong_signs, worst_circle)
        + (sines, cosines, sine_2, cosine_2, sine_4, cosine_4, product)
    )  # fmt: skip


def test_the_angle_of_every_word():
    parts = over_all(scan_angle, EVERY >> 3)
    worst_sine, worst_cosine, _, _, worst_circle = parts[:, :5].max(axis=0)
    zeros, wrong_signs = parts[:, 2].sum(), parts[:, 3].sum()
    sine, cosine, sine_2, cosine_2, sine_4, cosine_4, product = (
        math.fsum(parts[:, i]) / EVERY for i in range(5, 12)
    )
    report(
        "angle",
        worst_relative_error_of_the_sine=worst_sine,
        of_the_cosine=worst_cosine,
        of_the_circle=worst_circle,
        zeros=zeros,
        mean_sine=sine,
        mean_cosine=cosine,
        mean_squares_sum=sine_2 + cosine_2,
        mean_fourth_powers_sum=sine_4 + cosine_4,
        mean_product=product,
    )
    assert max(worst_sine, worst_cosine) < 3e-7
    assert worst_circle < 5e-7
    assert zeros == 0
    assert wrong_signs == 0
    assert cosine == 0.0
    assert product == 0.0
    assert abs(sine) < 1e-8
    # Over the eight octants S and C share the places: E S^2 + E C^2 = 1, E S^4 + E C^4 = 3/4.
    assert sine_2 + cosine_2 == pytest.approx(1.0, abs=1e-7)
    assert sine_4 + cosine_4 == pytest.approx(0.75, abs=1e-7)


# --- uniform ---------------------------------------------------------------------------------------------------------


@jit
def scan_unit(begin, end):
    wrong, zeros, falling, largest = 0.0, 0.0, 0.0, 0.0
    first, second, fourth, before = 0.0, 0.0, 0.0, -1.0
    for w in range(begin, end):
        u = np.float64(unit_32(u32(w)))
        wrong += u != np.float64(w >> 8) * 2.0**-24
        zeros += u == 0.0
        falling += u < before
        before = u
        largest = max(largest, u)
        d = u - 0.5
        first += d
        second += d * d
        fourth += d * d * d * d
    return wrong, zeros, falling, largest, first, second, fourth


def test_the_uniform_of_every_word():
    parts = over_all(scan_unit, EVERY)
    wrong, zeros, falling = parts[:, :3].sum(axis=0)
    mean, second, fourth = (math.fsum(parts[:, i]) / EVERY for i in (4, 5, 6))
    variance = second - mean * mean
    report(
        "uniform on [0, 1)",
        words_not_exact=wrong,
        zeros=zeros,
        largest=parts[:, 3].max(),
        mean=0.5 + mean,
        variance_times_12=12 * variance,
        fourth_moment_about_the_middle_times_80=80 * fourth,
    )
    assert wrong == 0
    assert zeros == 256  # by construction: 2^24 values of 256 words each, and zero is one of them
    assert falling == 0
    assert parts[:, 3].max() == 1 - 2.0**-24
    assert 0.5 + mean == 0.5 - 2.0**-25  # low is included and high is not
    assert variance == pytest.approx((1 - 2.0**-48) / 12, rel=1e-12)
    assert fourth == pytest.approx(1 / 80, rel=1e-12)


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
        x = np.float64(magnitude_32(p, True))
        exact = inverse(np.float64(p), x)
        error = abs(x - exact) / exact
        if not error <= worst:
            worst, where = error, np.float64(pattern)
        zeros += x <= 0.0
        rises += x > before
        rising = max(rising, (x - before) / exact)
        before = x
        largest = max(largest, x)
        if p > 0.00126:
            shallow += bits(magnitude_32(p, False)) != bits(f32(x))
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
    return magnitude_32(p, True)


@jit
def scan_truncated(begin, end, reals, integers, deep):
    r = (reals[0], reals[1], reals[2], reals[3], reals[4], reals[5], reals[6])
    n = (integers[0], integers[1], integers[2])
    zeros, falling, falls, smallest, largest = 0.0, 0.0, 0.0, np.inf, -np.inf
    first, second, third, fourth, before = 0.0, 0.0, 0.0, 0.0, -np.inf
    for w in range(begin, end):
        x = np.float64(truncated_value_32(u32(w), r, n, deep))
        zeros += x == 0.0
        falls += x < before
        falling = max(falling, before - x)
        before = x
        smallest, largest = min(smallest, x), max(largest, x)
        first += x
        second += x * x
        third += x * x * x
        fourth += x * x * x * x
    return zeros, falling, falls, smallest, largest, first, second, third, fourth


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
    [(-2.0, 2.0), (-math.inf, math.inf), (5.0, math.inf)],
    ids=["two sigma", "the whole line", "beyond five sigma"],
)
def test_the_truncated_normal_of_every_word(low, high):
    law = laws.TruncatedNormal(0.0, 1.0, low, high)
    draw = law.prepare(FORMATS["float32"])
    parts = over_all(scan_truncated, EVERY, draw.reals, draw.integers, "deep" in draw.kernel)
    zeros, falls = parts[:, 0].sum(), parts[:, 2].sum()
    smallest, largest = parts[:, 3].min(), parts[:, 4].max()
    first, second, third, fourth = (math.fsum(parts[:, i]) / EVERY for i in range(5, 9))
    exact = exact_moments(low, high)
    variance, exact_variance = second - first**2, exact[1] - exact[0] ** 2
    report(
        f"truncated normal on [{low}, {high}]",
        zeros=zeros,
        smallest=smallest,
        largest=largest,
        words_that_fall=falls,
        largest_fall=parts[:, 1].max(),
        mean=first,
        exactly=exact[0],
        variance=variance,
        exactly_=exact_variance,
        third_moment=third,
        exactly__=exact[2],
        fourth_moment=fourth,
        exactly___=exact[3],
    )
    assert zeros == 0
    assert low <= smallest
    assert largest <= high
    scale = max(1.0, abs(first))
    assert parts[:, 1].max() < 1e-6 * max(2.0, min(abs(low), abs(high)))  # larger words, larger values
    assert abs(first - exact[0]) < 1e-6 * scale
    assert variance == pytest.approx(exact_variance, rel=1e-5)
    assert abs(third - exact[2]) < 1e-6 * scale**3
    assert fourth == pytest.approx(exact[3], rel=2e-6)
