"""What the tests of the promises draw: every law, every dtype, as raw bits that can be compared."""

from __future__ import annotations

import hashlib
import math

import numpy as np

import fastinit
from fastinit import laws

# dtype -> what stores it; narrow formats are raw storage, so that the tests need no ml_dtypes to compare bits.
STORAGE = {
    "float64": np.float64,
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": np.uint16,
    "float8_e4m3fn": np.uint8,
    "float8_e5m2": np.uint8,
}

LAWS = {
    "uniform": laws.Uniform(0.0, 1.0),
    "uniform around zero": laws.Uniform(-0.05, 0.03),
    "normal": laws.Normal(0.0, 1.0),
    "normal away from zero": laws.Normal(0.5, 0.02),
    "laplace": laws.Laplace(0.0, 1.0),
    "truncated at two sigma": laws.TruncatedNormal(0.0, 1.0, -2.0, 2.0),
    "truncated unevenly": laws.TruncatedNormal(0.1, 0.3, -0.2, 1.3),
    "upper half-line": laws.TruncatedNormal(0.0, 1.0, 1.0, math.inf),
    "lower half-line": laws.TruncatedNormal(0.0, 1.0, -math.inf, -0.5),
    "far upper tail": laws.TruncatedNormal(0.0, 1.0, 8.0, 10.0),
    "far lower tail": laws.TruncatedNormal(1.0, 2.0, -math.inf, -19.0),
}


def empty(shape, dtype, order="C"):
    """A buffer whose every byte is 0xA5, so that an element left out shows."""
    count = math.prod(shape) if isinstance(shape, tuple) else shape
    storage = np.dtype(STORAGE.get(dtype, dtype))
    return np.full(count * storage.itemsize, 0xA5, np.uint8).view(storage).reshape(shape, order=order)


def draw(law, shape, dtype, **options):
    """A fresh C-contiguous array of a law, as storage."""
    x = empty(shape, dtype)
    fastinit.fill(x, law, dtype=dtype, **{"seed": 0, **options})
    return x


def same_bits(a, b):
    """Assert that two arrays are equal, bit for bit."""
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    words = np.dtype(f"u{a.itemsize}")
    different = np.ascontiguousarray(a).view(words) != np.ascontiguousarray(b).view(words)
    count = int(np.count_nonzero(different))
    if count:
        where = tuple(int(i) for i in np.argwhere(different)[0])
        raise AssertionError(f"{count} of {a.size} differ, the first at {where}: {a[where]!r} and {b[where]!r}")


def digest(x):
    """A short digest of the bits of an array."""
    return hashlib.blake2b(np.ascontiguousarray(x).tobytes(), digest_size=8).hexdigest()
