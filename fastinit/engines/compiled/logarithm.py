"""The logarithm of a number or of a word, for the laws that need one."""

from __future__ import annotations

from fastinit.engines import stream as k
from fastinit.engines.compiled.conversions import split_bits_32
from fastinit.engines.compiled.vectors import Vectors, bits, exponent, from_bits, fused, horner, mantissa, real, signed
from fastinit.engines.processor import ONE_STEP


def split_32(y: Vectors, factor: float) -> tuple[Vectors, Vectors]:
    """`factor` times e, and m, of positive numbers y = m 2^e with m in [1/2, 1)."""
    if ONE_STEP:
        return fused(exponent(y), factor, factor), mantissa(y)
    place, m = split_bits_32(y, 0x3F000000)
    return real(signed(place)) * (factor * 2.0**-23), m


def minus_2_log_32(term: Vectors, f: Vectors, half: float = 1.0) -> Vectors:
    """-2 ln((1 + f) 2^e), or half of it, with its term in e. A factor of 1/2 changes no bit but the exponent's."""
    return f * horner(f, [half * coefficient for coefficient in k.LOG_32]) + term


def minus_2_log_64(e: Vectors, f: Vectors) -> Vectors:
    """-2 ln((1 + f) 2^e) through atanh: ln(1 + f) = 2 atanh(f / (2 + f))."""
    s = f / (2.0 + f)
    z = s * s
    return -4.0 * (s + s * (z * horner(z, k.LOG_64))) + e * k.MINUS_2_LN_2


def split_64(y: Vectors, bias: float) -> tuple[Vectors, Vectors]:
    """A number as an exponent above this bias and a mantissa in [1/2, 1)."""
    if ONE_STEP:
        return exponent(y) + (1023.0 - bias), mantissa(y)
    fraction = from_bits((bits(y) & 0x000FFFFFFFFFFFFF) | 0x3FE0000000000000)
    # The exponent becomes the last places of 2^52.
    return from_bits((bits(y) >> 52) | 0x4330000000000000) - (2.0**52 + bias), fraction
