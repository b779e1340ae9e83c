"""The limit law of the Anderson-Darling statistic A^2, for all parameters known (Anderson and Darling 1954)."""

from __future__ import annotations

import math

import numpy as np

# Beyond this the series below, whose terms alternate, has lost half of its digits, and the first term of the tail is
# right to 2 %; p is 1e-7 there.
FAR = 14.0


def below(z: float) -> float:
    """P(A^2 < z).

    The series of Anderson and Darling, as in Marsaglia and Marsaglia (J. Stat. Software 9(2), 2004):
    sqrt(2 pi) / z  sum_j  binomial(-1/2, j) (4j + 1) exp(-t)  integral_0^inf exp(z / (8 (w^2 + 1)) - t w^2) dw,
    t = (4j + 1)^2 pi^2 / (8 z). The integrand is smooth and even, so the trapezoidal rule converges geometrically.
    """
    if z >= FAR:
        return 1.0 - above(z)
    if z <= 0.01:  # below 1e-50
        return 0.0
    total, coefficient = 0.0, 1.0
    for j in range(200):
        t = (4 * j + 1) ** 2 * math.pi**2 / (8 * z)
        if t > 700:
            break
        step = min(1 / 16, 0.25 / math.sqrt(t))
        w = step * np.arange(1 + int(math.sqrt(40 / t) / step))
        heights = np.exp(z / (8 * (w * w + 1)) - t * w * w - t)
        total += coefficient * (4 * j + 1) * step * float(heights.sum() - heights[0] / 2)
        coefficient *= -(j + 0.5) / (j + 1)
    return min(1.0, max(0.0, math.sqrt(2 * math.pi) / z * total))


def above(z: float) -> float:
    """P(A^2 > z).

    A^2 is the sum of Z_k^2 / (k (k + 1)). Far out the first term decides, and the others add the factor
    prod_{k > 1} (1 - 2 / (k (k + 1)))^-1/2 = sqrt(3): P = sqrt(3) P(Z^2 > 2 z) = sqrt(3) erfc(sqrt(z)).
    """
    return math.sqrt(3) * math.erfc(math.sqrt(z)) if z >= FAR else 1.0 - below(z)
