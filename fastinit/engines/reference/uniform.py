"""The uniform law."""

from __future__ import annotations

import numpy as np

from fastinit.engines.reference.arrays import Array, clamp


def unit_32(w: Array) -> Array:
    """The uniform float32 in [0, 1) of a word: 24 bits."""
    return (w >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def unit_64(w: Array, w_low: Array) -> Array:
    """The uniform float64 in [0, 1) of a word and its low word: 53 bits."""
    return (((w.astype(np.uint64) << np.uint64(32)) | w_low) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def uniform_32(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    """The uniform law of a word. Reals: low, span, smallest, largest."""
    low, span, lowest, highest = reals
    return clamp(low + span * unit_32(words), lowest, highest)


def uniform_64(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    """As uniform_32, of a word and its low word."""
    low, span, lowest, highest = reals
    return clamp(low + span * unit_64(words, low_words), lowest, highest)


LAWS = {"uniform_32": uniform_32, "uniform_steps_32": uniform_32, "uniform_64": uniform_64}
