"""The laws of complex numbers whose modulus and phase are drawn: docs/stream.md, section 15.

The words of a number are neighbours, and so are its parts. A vector of words becomes one of the moduli and one of the
phases, in each of which a number has both of its lanes; one of them takes the sine and the other the cosine.
"""

from __future__ import annotations

from llvmlite import ir

from fastinit.engines import stream as k
from fastinit.engines.compiled.conversions import unsigned_32
from fastinit.engines.compiled.law import FLOAT64, NEAR, law
from fastinit.engines.compiled.logarithm import minus_2_log_32, minus_2_log_64, split_32, split_64
from fastinit.engines.compiled.normal import angle_32, angle_64
from fastinit.engines.compiled.operands import Operands
from fastinit.engines.compiled.vectors import (
    Vectors,
    fused,
    is_set,
    minimum,
    real,
    square_root,
    where,
    wide,
    word_32,
)
from fastinit.engines.processor import ONE_STEP


def lanes_of(x: Vectors, side: int) -> Vectors:
    """Of every two neighbours the first (0) or the second (1), twice."""
    count = x.body.lanes
    places = ir.Constant(ir.VectorType(word_32, count), [lane & ~1 | side for lane in range(count)])
    return x.step(lambda v: x.body.builder.shuffle_vector(v, v, places))


def odd_lanes(x: Vectors, bit: int) -> Vectors:
    """The integers with this bit turned over in the second of every two neighbours."""
    kind = x.values[0].type
    turned = ir.Constant(kind, [bit * (lane & 1) for lane in range(kind.count)])
    return x.step(lambda v: x.body.builder.xor(v, turned))


def part(modulus: Vectors, cosine: Vectors, sine: Vectors, b: Vectors) -> Vectors:
    """The real part in the first lane, the imaginary one in the second; bit 1 of the word says which is the cosine."""
    swap = odd_lanes(b, 2)
    if modulus.element != ir.FloatType() and not ONE_STEP:
        swap = wide(swap)
    return modulus * where(is_set(swap, 2), cosine, sine)


def open_32(a: Vectors) -> Vectors:
    """The uniform float32 in (0, 1] of a word."""
    return fused(unsigned_32(a), 2.0**-32, 2.0**-33)


def open_64(a: Vectors, a_low: Vectors) -> Vectors:
    """The uniform float64 in (0, 1] of a word and its low word."""
    return fused(real((wide(a) << 32) | wide(a_low)), 2.0**-64, 2.0**-65)


@law(stagger=NEAR)
def complex_uniform_32(x: Operands) -> None:
    """Uniform on a disc. Reals: radius."""
    w = x.words[0]
    b = lanes_of(w, 1)
    x.out[0] = part(x.reals[0] * square_root(open_32(lanes_of(w, 0))), *angle_32(b), b)


@law(stagger=FLOAT64)
def complex_uniform_64(x: Operands) -> None:
    """As complex_uniform_32, with the low words below the high ones."""
    w, w_low = x.words[0], x.low_words[0]
    b = lanes_of(w, 1)
    modulus = x.reals[0] * square_root(open_64(lanes_of(w, 0), lanes_of(w_low, 0)))
    x.out[0] = part(modulus, *angle_64(b, lanes_of(w_low, 1)), b)


@law(stagger=NEAR)
def complex_truncated_32(x: Operands) -> None:
    """Complex normal cut by the modulus. Reals: scale, mass, rest of the mass, largest modulus."""
    w = x.words[0]
    a, b = lanes_of(w, 0), lanes_of(w, 1)
    below = x.reals[1] * open_32(a)
    term, m = split_32(x.reals[2] + x.reals[1] * open_32(a ^ 0xFFFFFFFF), k.MINUS_2_LN_2)
    far = below > 0.5
    size = square_root(minus_2_log_32(where(far, term, 0.0), where(far, m - 1.0, below * -1.0)))
    x.out[0] = part(minimum(x.reals[0] * size, x.reals[3]), *angle_32(b), b)


@law(stagger=FLOAT64)
def complex_truncated_64(x: Operands) -> None:
    """As complex_truncated_32, with the low words below the high ones."""
    w, w_low = x.words[0], x.low_words[0]
    a, b, a_low = lanes_of(w, 0), lanes_of(w, 1), lanes_of(w_low, 0)
    below = x.reals[1] * open_64(a, a_low)
    e, m = split_64(x.reals[2] + x.reals[1] * open_64(a ^ 0xFFFFFFFF, a_low ^ 0xFFFFFFFF), 1022.0)
    far = below > 0.5
    size = square_root(minus_2_log_64(where(far, e, 0.0), where(far, m - 1.0, below * -1.0)))
    x.out[0] = part(minimum(x.reals[0] * size, x.reals[3]), *angle_64(b, lanes_of(w_low, 1)), b)


LAWS = (complex_uniform_32, complex_uniform_64, complex_truncated_32, complex_truncated_64)
