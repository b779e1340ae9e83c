"""Between integers and floats, exactly, by what instructions a processor has: the NumPy engine says `astype`."""

from __future__ import annotations

from fastinit.engines.compiled.vectors import Vectors, and_not, bits, double, from_bits, real, signed, together, wide
from fastinit.engines.processor import lacks


def split_bits_32(y: Vectors, half: int) -> tuple[Vectors, Vectors]:
    """2^23 e, and m, of numbers y = m 2^e with |m| in [1/2, 1); `half` is 1/2 in bits, with the sign of y."""
    place = (bits(y) - half) & 0xFF800000
    return place, from_bits(bits(y) - place)


def unsigned_by_halves(w: Vectors) -> Vectors:
    """A uint32 as a float32, rounded once: both halves are exact, as the last places of 2^39 and 2^23."""
    high = from_bits((w >> 16) | 0x53000000) - (2.0**39 + 2.0**23)
    return high + from_bits((w & 0xFFFF) | 0x4B000000)


def unsigned_by_conversion(w: Vectors) -> Vectors:
    """The same by one instruction, where the processor has it."""
    return real(w)


unsigned_32 = unsigned_by_halves if lacks("avx512f") else unsigned_by_conversion


def whole_by_halves(high: Vectors, low: Vectors) -> Vectors:
    """2^32 high + low, an int32 and a uint32 as one float64, rounded once: both halves are exact.

    The low half becomes the last places of 2^52; AVX2 has no conversion of 64-bit integers.
    """
    small = from_bits(wide(low) | 0x4330000000000000) - 2.0**52
    return real(signed(high), double) * 2.0**32 + small


def whole_by_conversion(high: Vectors, low: Vectors) -> Vectors:
    """The same by one instruction, where the processor has it."""
    return real(signed((wide(high) << 32) | wide(low)))


whole_64 = whole_by_halves if lacks("avx512dq") else whole_by_conversion


def negative_unless(size: Vectors, w: Vectors) -> Vectors:
    """The numbers, with a minus where the highest bit of an integer of their size is not set (vpternlogd)."""
    sign = 1 << (w.element.width - 1)
    return together(lambda size, w: from_bits(bits(size) ^ and_not(sign, w)), size, w)
