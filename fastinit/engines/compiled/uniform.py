"""The uniform law."""

from __future__ import annotations

from fastinit.engines.compiled.law import law
from fastinit.engines.compiled.operands import Operands, ScalarOperand
from fastinit.engines.compiled.philox import one_loop
from fastinit.engines.compiled.vectors import (
    Vectors,
    clamp,
    from_bits,
    maximum,
    real,
    signed,
    wide,
)


def unit_32(w: Vectors) -> Vectors:
    """The uniform float32 in [0, 1) of a word: 24 bits."""
    return real(signed(w >> 8)) * 2.0**-24


def unit_64(w: Vectors, w_low: Vectors) -> Vectors:
    """The uniform float64 in [0, 1) of a word and its low word: 53 bits, as the last places of 2^20 and 1/2."""
    high = from_bits(wide(w) | 0x4130000000000000) - 2.0**20
    low = from_bits((wide(w_low) >> 11) | 0x3FE0000000000000) - 0.5
    return high + low


@one_loop
def uniform_32(w: Vectors, reals: ScalarOperand) -> Vectors:
    """The uniform law of a word. Reals: low, span, smallest, largest."""
    return clamp(reals[0] + reals[1] * unit_32(w), reals[2], reals[3])


@one_loop
def uniform_steps_32(w: Vectors, reals: ScalarOperand) -> Vectors:
    """The same values by two operations less, where none is above the largest and span 2^-24, a step, is exact."""
    return maximum(reals[0] + (reals[1] * 2.0**-24) * real(signed(w >> 8)), reals[2])


@law()
def uniform_64(x: Operands) -> None:
    """As uniform_32, of a word and its low word."""
    x.out[0] = clamp(x.reals[0] + x.reals[1] * unit_64(x.words[0], x.low_words[0]), x.reals[2], x.reals[3])


LAWS = (uniform_32, uniform_steps_32, uniform_64)
