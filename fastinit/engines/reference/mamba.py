"""The laws of a step's bias and of the logarithm of a uniform number: float64 from one word for every dtype."""

from __future__ import annotations

import numpy as np

from fastinit.engines.reference.arrays import Array, clamp
from fastinit.engines.reference.exponential import exp_parts, inverse_softplus
from fastinit.engines.reference.logarithm import log_64


def open_unit(w: Array) -> Array:
    """The uniform float64 in (0, 1) of one word: exact, never 0."""
    return (w.astype(np.float64) + 0.5) * 2.0**-32


def step_bias(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    """The inverse softplus of a step, whose logarithm is uniform. Reals: ln of the least, span, smallest, largest."""
    log_low, span, lowest, highest = reals
    exponent, m = exp_parts(log_low + span * open_unit(words))
    return clamp(inverse_softplus(np.ldexp(1.0 + m, exponent)), lowest, highest)


def log_of_uniform(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    """Ln of a uniform number. Reals: low, span, smallest, largest."""
    low, span, lowest, highest = reals
    return clamp(log_64(low + span * open_unit(words)), lowest, highest)


LAWS = {"step_bias": step_bias, "log_of_uniform": log_of_uniform}
