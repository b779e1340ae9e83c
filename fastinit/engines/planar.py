"""The laws of complex numbers whose modulus and phase are drawn, in NumPy: docs/stream.md, section 15.

Words come in the order of the float elements that the memory of a complex tensor is, so that two neighbours belong to
one number: the first word gives its modulus, the second its phase.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastinit.engines.pieces import angle_32, angle_64, minus_2_log_32, minus_2_log_64, split_32, split_64

Array = Any  # as in pieces.py


def planar(modulus: Array, cosine: Array, sine: Array, b: Array) -> Array:
    """Complex numbers of this modulus, their parts side by side; bit 1 of the angle word swaps sine and cosine."""
    swap = (b & np.uint32(2)) != 0
    parts = (modulus * np.where(swap, cosine, sine), modulus * np.where(swap, sine, cosine))
    return np.stack(parts, axis=1).reshape(-1)


def modulus_and_phase(words: Array) -> tuple[Array, Array]:
    """The word of each complex number's modulus and that of its phase: they belong to its real and imaginary part."""
    a, b = words.reshape(-1, 2).T
    return np.ascontiguousarray(a), np.ascontiguousarray(b)


def whole(high: Array, low: Array) -> Array:
    """64 bits of two words."""
    return (high.astype(np.uint64) << np.uint64(32)) | low


def open_32(a: Array) -> Array:
    """The uniform float32 in (0, 1] of a word: 32 bits."""
    return (a.astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-32)


def open_64(whole: Array) -> Array:
    """The uniform float64 in (0, 1] of 64 bits."""
    return (whole.astype(np.float64) + 0.5) * 2.0**-64


def complex_uniform_32(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    a, b = modulus_and_phase(words)
    return planar(reals[0] * np.sqrt(open_32(a)), *angle_32(b), b)


def complex_uniform_64(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    (a, b), (a_low, b_low) = modulus_and_phase(words), modulus_and_phase(low_words)
    return planar(reals[0] * np.sqrt(open_64(whole(a, a_low))), *angle_64(b, b_low), b)


def complex_truncated_32(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    scale, mass, rest, highest = reals
    a, b = modulus_and_phase(words)
    below = mass * open_32(a)
    exponent, f = folded(below, *split_32(rest + mass * open_32(~a)))
    return planar(np.minimum(scale * np.sqrt(minus_2_log_32(exponent, f)), highest), *angle_32(b), b)


def complex_truncated_64(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    scale, mass, rest, highest = reals
    (a, b), (a_low, b_low) = modulus_and_phase(words), modulus_and_phase(low_words)
    a_whole = whole(a, a_low)
    below = mass * open_64(a_whole)
    exponent, f = folded(below, *split_64(rest + mass * open_64(~a_whole)))
    return planar(np.minimum(scale * np.sqrt(minus_2_log_64(exponent, f)), highest), *angle_64(b, b_low), b)


def folded(below: Array, exponent: Array, f: Array) -> tuple[Array, Array]:
    """Of 1 - below: what was split from its own small end, but up to 1/2 the f that is -below."""
    near = ~(below > 0.5)
    exponent[near] = 0.0
    f[near] = -below[near]
    return exponent, f
