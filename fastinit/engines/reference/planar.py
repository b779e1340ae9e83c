"""The laws of complex numbers: docs/stream.md, section 15.

The words of a number are neighbours, and so are its parts. An array of words becomes one of the moduli and one of the
phases, in each of which a number has both of its places; one of them takes the sine and the other the cosine.
"""

from __future__ import annotations

import numpy as np

from fastinit.engines import stream as k
from fastinit.engines.reference.arrays import Array, where
from fastinit.engines.reference.logarithm import minus_2_log_32, minus_2_log_64, split_32, split_64
from fastinit.engines.reference.normal import angle_32, angle_64, normal_32, normal_64


def lanes_of(x: Array, side: int) -> Array:
    """Of every two neighbours the first (0) or the second (1), twice."""
    return np.repeat(x[side::2], 2)


def odd_lanes(x: Array, bit: int) -> Array:
    """The integers with this bit turned over in the second of every two neighbours."""
    turned = x.copy()
    turned[1::2] ^= x.dtype.type(bit)
    return turned


def part(modulus: Array, cosine: Array, sine: Array, b: Array) -> Array:
    """The real part in the first lane, the imaginary one in the second; bit 1 of the word says which is the cosine."""
    swap = odd_lanes(b, 2)
    return modulus * where((swap & np.uint32(2)) != 0, cosine, sine)


def open_32(a: Array) -> Array:
    """The uniform float32 in (0, 1] of a word."""
    return (a.astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-32)


def open_64(a: Array, a_low: Array) -> Array:
    """The uniform float64 in (0, 1] of a word and its low word."""
    whole = (a.astype(np.uint64) << np.uint64(32)) | a_low
    return (whole.astype(np.float64) + 0.5) * 2.0**-64


def complex_uniform_32(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    """Uniform on a disc. Reals: radius."""
    b = lanes_of(words, 1)
    return part(reals[0] * np.sqrt(open_32(lanes_of(words, 0))), *angle_32(b), b)


def complex_uniform_64(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    """As complex_uniform_32, with the low words below the high ones."""
    b = lanes_of(words, 1)
    modulus = reals[0] * np.sqrt(open_64(lanes_of(words, 0), lanes_of(low_words, 0)))
    return part(modulus, *angle_64(b, lanes_of(low_words, 1)), b)


def complex_truncated_32(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    """Complex normal cut by the modulus. Reals: scale, mass, rest of the mass, largest modulus."""
    a, b = lanes_of(words, 0), lanes_of(words, 1)
    below = reals[1] * open_32(a)
    term, m = split_32(reals[2] + reals[1] * open_32(~a), k.MINUS_2_LN_2)
    far, zero = below > np.float32(0.5), np.float32(0.0)
    size = np.sqrt(minus_2_log_32(where(far, term, zero), where(far, m - np.float32(1.0), -below)))
    return part(np.minimum(reals[0] * size, reals[3]), *angle_32(b), b)


def complex_truncated_64(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    """As complex_truncated_32, with the low words below the high ones."""
    a, b, a_low = lanes_of(words, 0), lanes_of(words, 1), lanes_of(low_words, 0)
    below = reals[1] * open_64(a, a_low)
    e, m = split_64(reals[2] + reals[1] * open_64(~a, ~a_low), 1022.0)
    far, zero = below > 0.5, np.float64(0.0)
    size = np.sqrt(minus_2_log_64(where(far, e, zero), where(far, m - 1.0, -below)))
    return part(np.minimum(reals[0] * size, reals[3]), *angle_64(b, lanes_of(low_words, 1)), b)


def complex_normal_32(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    """Normal parts about those of a mean. Reals: the parts of the mean, the std of a part."""
    standard = np.array([0, reals[2]], np.float32)
    return (reals[:2] + normal_32(words, low_words, standard, integers).reshape(-1, 2)).reshape(-1)


def complex_normal_64(words: Array, low_words: Array, reals: Array, integers: Array) -> Array:
    """As complex_normal_32."""
    standard = np.array([0, reals[2]], np.float64)
    return (reals[:2] + normal_64(words, low_words, standard, integers).reshape(-1, 2)).reshape(-1)


LAWS = {
    law.__name__: law
    for law in (
        *(complex_normal_32, complex_normal_64),
        *(complex_uniform_32, complex_uniform_64),
        *(complex_truncated_32, complex_truncated_64),
    )
}
