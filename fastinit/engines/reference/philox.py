"""The generator: counters to words, of whole groups at once."""

from __future__ import annotations

import numpy as np

from fastinit.engines import stream as k
from fastinit.engines.reference.arrays import Array

LOW_HALF = np.uint64(0xFFFFFFFF)


def philox(c0: Array, c1: Array, c2: Array, c3: Array, k0: Array | int, k1: Array | int) -> tuple[Array, ...]:
    """Philox4x32-10 on uint64 arrays that hold 32-bit words; the key may be one of them."""
    shift = np.uint64(32)
    for _ in range(k.ROUNDS):
        p0, p1 = c0 * np.uint64(k.MULTIPLIER_0), c2 * np.uint64(k.MULTIPLIER_1)
        c0, c2 = (p1 >> shift) ^ c1, (p0 >> shift) ^ c3
        c0 ^= np.uint64(k0)  # in place where the array is ours: a new one costs as much as the operation
        c2 ^= np.uint64(k1)
        p0 &= LOW_HALF
        p1 &= LOW_HALF
        c1, c3 = p1, p0
        k0, k1 = (k0 + k.WEYL_0) & 0xFFFFFFFF, (k1 + k.WEYL_1) & 0xFFFFFFFF
    return c0, c1, c2, c3


def words(groups: Array, domain: int, stream: Array) -> Array:
    """The words of whole groups (uint64 numbers of any shape), in the order of the elements that take them."""
    lanes = np.arange(k.LANES, dtype=np.uint64)
    q = (groups.reshape(-1, 1).astype(np.uint64) << np.uint64(4)) + lanes
    c1 = np.uint64(domain << 24) | (q >> np.uint64(32))
    c2, c3 = np.uint64(stream[2]), np.uint64(stream[3])
    four = philox(q & LOW_HALF, c1, c2, c3, int(stream[0]), int(stream[1]))
    return np.stack(four, axis=1).astype(np.uint32).reshape(-1)
