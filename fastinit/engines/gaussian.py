"""The normal distribution on the host: density, both tails, and the standard deviation after truncation.

Everything here is + - * / sqrt, ldexp and floor in float64, in a fixed order, because what these functions return
decides bits of the stream: the last bits of libm's exp and of SciPy's ndtr differ between builds. docs/stream.md
prints the same expressions.

Sources: G. Marsaglia, "Evaluating the normal distribution", J. Stat. Software 11(4), 2004 (the series);
M. Abramowitz and I. A. Stegun, Handbook of Mathematical Functions, 26.2.14 (the continued fraction).
"""

from __future__ import annotations

import math
from functools import lru_cache

from fastinit.floating_point import in_default_mode

LN_2 = 0.6931471805599453
# ln 2 in two pieces; the first has 33 bits, so that its product with an exponent is exact.
LN_2_HIGH = float.fromhex("0x1.62e42fee00000p-1")
LN_2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
INVERSE_SQRT_2_PI = 0.3989422804014327

EXP_DEGREE = 14  # 0.347^15 / 15! = 1e-19
LARGEST_DIVISOR = 99  # of the series; its first neglected term is below 1e-29 at x = 3
FRACTION_TERMS = 400  # of the continued fraction; its error is about exp(-2 x sqrt(terms)), and x > 1
SERIES_UP_TO = 1.0  # beyond, 1/2 - (1/2 - Q) would cancel; before, the fraction is slow


def exp_negative(y: float) -> float:
    """e^y for y <= 0, to one unit in the last place; 0 below -745.2.

    y = k ln 2 + f with k whole and |f| <= 0.347; the Taylor sum of f by Horner's rule, then times 2^k.
    """
    if y < -745.2:
        return 0.0
    k = math.floor(y / LN_2 + 0.5)
    f = (y - k * LN_2_HIGH) - k * LN_2_LOW
    total = 1.0
    for n in range(EXP_DEGREE, 0, -1):
        total = 1.0 + (f / n) * total
    return math.ldexp(total, k)


@lru_cache(maxsize=1024)
@in_default_mode
def density(x: float) -> float:
    """phi(x) = exp(-x^2 / 2) / sqrt(2 pi), to about 1e-15 of itself while it is a normal float64 (|x| < 37.5).

    |x| = h + l with h a multiple of 1/16: then h^2 / 2 is exact, and x^2 / 2 = h^2 / 2 + l (h + l / 2).
    """
    x = abs(x)
    if x >= 39.0:
        return 0.0
    h = math.floor(16.0 * x) / 16.0
    rest = x - h
    return INVERSE_SQRT_2_PI * (exp_negative(-0.5 * (h * h)) * exp_negative(-(rest * (h + 0.5 * rest))))


@lru_cache(maxsize=1024)
@in_default_mode
def upper_tail(x: float) -> float:
    """Q(x), the probability that a standard normal exceeds x, to about 1e-15 of itself (x < 37.5); x may be infinite.

    |x| <= 1: Q = 1/2 - phi(x) (x + x^3/3 + x^5/(3 5) + x^7/(3 5 7) + ...)          (Marsaglia 2004)
    x > 1:    Q = phi(x) / (x + 1/(x + 2/(x + 3/(x + ...))))                          (Abramowitz and Stegun 26.2.14)
    x < -1:   Q = 1 - Q(-x)
    """
    if abs(x) <= SERIES_UP_TO:
        return 0.5 - density(x) * (x + x * (x * x * _tail_of_series(x)))
    if x < 0.0:
        return 1.0 - upper_tail(-x)
    if x >= 39.0:
        return 0.0
    fraction = x
    for n in range(FRACTION_TERMS, 0, -1):
        fraction = x + n / fraction
    return density(x) / fraction


@lru_cache(maxsize=1024)
@in_default_mode
def lower_tail(x: float) -> float:
    """Phi(x) = Q(-x), the probability that a standard normal is below x, to about 1e-15 of itself (x > -37.5)."""
    return upper_tail(-x)


@lru_cache(maxsize=1024)
@in_default_mode
def truncated_std(k: float) -> float:
    """The standard deviation of a standard normal cut to [-k, k], k > 0, to about 1e-15 of itself; 1 for an infinite k.

    With S = k + k^3/3 + k^5/(3 5) + ... and 1/2 - Q(k) = phi(k) S, the variance is

        1 - 2 k phi(k) / (1 - 2 Q(k)) = (S - k) / S = k^2 T / (1 + k^2 T),    T = 1/3 + k^2/(3 5) + ...

    Up to k = 3 the last form is used: nothing cancels, and for small k it tends to k / sqrt(3) as it should.
    ValueError if k is not positive.
    """
    if not k > 0.0:
        raise ValueError(f"truncated_std: k must be positive, got {k}")
    if k > 3.0:
        return math.sqrt(1.0 - 2.0 * min(k, 39.0) * density(k) / (1.0 - 2.0 * upper_tail(k)))
    above = _tail_of_series(k)
    return k * math.sqrt(above / (1.0 + k * k * above))


def _tail_of_series(x: float) -> float:
    """T = 1/3 + x^2/(3 5) + x^4/(3 5 7) + ..., so that S = x + x^3 T; |x| <= 3."""
    total = 1.0
    for divisor in range(LARGEST_DIVISOR, 3, -2):
        total = 1.0 + (x * x / divisor) * total
    return total / 3.0
