"""The exponential function of float64, and what inverts the softplus."""

from __future__ import annotations

import numpy as np

from fastinit.engines.gaussian import EXP_DEGREE, LN_2, LN_2_HIGH, LN_2_LOW
from fastinit.engines.reference.arrays import Array
from fastinit.engines.reference.logarithm import log_64


def exp_parts(y: Array) -> tuple[Array, Array]:
    """The k and m of e^y = 2^k (1 + m), |m| < 0.42 with full relative accuracy: as gaussian.exp_negative."""
    exponent = np.floor(y / LN_2 + 0.5)
    f = (y - exponent * LN_2_HIGH) - exponent * LN_2_LOW
    total = np.ones_like(f)
    for n in range(EXP_DEGREE, 1, -1):
        total = 1.0 + (f / n) * total
    return exponent.astype(np.int32), f * total


def inverse_softplus(dt: Array) -> Array:
    """ln(e^dt - 1) = dt + ln(1 - e^-dt) of dt > 0."""
    exponent, m = exp_parts(-np.minimum(dt, 64.0))  # e^-64 is nothing beside 1, and 2^-92 still a normal number
    power = np.ldexp(1.0, exponent)
    return dt + log_64((1.0 - power) - power * m)
