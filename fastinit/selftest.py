"""Known answers, checked where fastinit runs: this processor, with this NumPy and Numba, computes the stream.

The answers are those of the scalar engine of the tests, plain Python that was written from docs/stream.md;
tests/unit/test_selftest.py computes them again.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any

import numpy as np

from fastinit import bits, engines
from fastinit.address import Shard
from fastinit.dtypes import FORMATS
from fastinit.fill import fill
from fastinit.laws import Law, Normal, TruncatedNormal, Uniform

# (counter, key, output) of Philox4x32-10: the file kat_vectors of Random123 1.14.0.
PHILOX = (
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
)

# Elements [first, first + count) of a tensor of 2^58: the beginning, and where the element's number has 41 bits.
RANGES = ((0, 1000), (2**40 - 96, 192))
COLUMNS = 8  # of the Fortran-order copy; divides them all

# What is drawn: law, seed, name. The half-line takes the kernel whose inverse reaches the far tail.
CASES: dict[str, tuple[Law, int, str | int]] = {
    "uniform": (Uniform(-0.05, 0.03), 1, "layers.0.weight"),
    "normal": (Normal(0.5, 0.02), 2**64 - 1, "größe"),
    "truncated normal": (TruncatedNormal(0.1, 0.3, -0.2, 0.7), 20260101, 5),
    "half-line": (TruncatedNormal(0.0, 1.0, 1.0, math.inf), 0, ""),
}

# The 8-byte BLAKE2b digest of the bits of those elements, little-endian.
ANSWERS = {
    ("uniform", "float64"): "b8b267f4c7ae377b",
    ("uniform", "float32"): "1bbc75490aa6522e",
    ("uniform", "float16"): "372fe4ada46040e4",
    ("uniform", "bfloat16"): "e3acfaf28d0ed344",
    ("uniform", "float8_e4m3fn"): "303b0295373f638f",
    ("uniform", "float8_e5m2"): "5e5c61695d0c2ef8",
    ("normal", "float64"): "a973dfe05aa779d3",
    ("normal", "float32"): "38e1b6b4551cb635",
    ("normal", "float16"): "d11c3c89ad88104d",
    ("normal", "bfloat16"): "529e358f61d54b92",
    ("normal", "float8_e4m3fn"): "b0cf5e532bae540c",
    ("normal", "float8_e5m2"): "97d0bccfc64c5986",
    ("truncated normal", "float64"): "0d44ba5ca6394c6f",
    ("truncated normal", "float32"): "61335cd7cd4e3488",
    ("truncated normal", "float16"): "51f087414424882f",
    ("truncated normal", "bfloat16"): "a35105466b314621",
    ("truncated normal", "float8_e4m3fn"): "cb339808b04df4fe",
    ("truncated normal", "float8_e5m2"): "185b5a604157c8ff",
    ("half-line", "float64"): "0098a0cddc3fb6ba",
    ("half-line", "float32"): "b55211f70a5cec62",
    ("half-line", "float16"): "70fb009be6936cc6",
    ("half-line", "bfloat16"): "c315b102db0d5cd6",
    ("half-line", "float8_e4m3fn"): "b188132483d20596",
    ("half-line", "float8_e5m2"): "b928aa52b8a0a34c",
}


def check() -> Iterator[tuple[str, str | None]]:
    """Yield, for every check, what was checked and what is wrong with it, or None; both engines if Numba is there."""
    for engine in ("numba", "numpy"):
        if engine == "numba" and importlib.util.find_spec("numba") is None:
            continue
        try:
            fault = philox_fault(words_of(engine))
        except Exception as error:  # a Numba that is installed and does not load may raise anything
            yield f"{engine}: Philox4x32-10", f"the engine does not run ({error})"
            continue
        yield f"{engine}: Philox4x32-10", fault
        for case, (law, seed, name) in CASES.items():
            for dtype in FORMATS:
                with engines.use(engine):
                    fault = law_fault(law, seed, name, dtype, ANSWERS[case, dtype])
                yield f"{engine}: {case} {dtype}", fault


def philox_fault(words: Callable[[int, int, np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> str | None:
    """Compare the words of a group with the published vectors: the counter's place in its group is its lane."""
    for counter, key, expected in PHILOX:
        domain, q = counter[1] >> 24, (counter[1] & 0xFFFFFF) << 32 | counter[0]
        group, lane = divmod(q, 16)
        got = tuple(int(word) for word in words(group, domain, np.array([*key, *counter[2:]], np.uint32))[lane::16])
        if got != expected:
            return f"counter {hexadecimal(counter)}: expected {hexadecimal(expected)}, got {hexadecimal(got)}"
    return None


def words_of(engine: str) -> Callable[[int, int, np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    """The function of an engine that gives the 64 words of a group."""
    return lambda group, domain, stream: bits.groups(engine, group, 1, domain, stream)


def law_fault(law: Law, seed: int, name: str | int, dtype: str, expected: str) -> str | None:
    """Draw, and compare with the answer: once as a line, once in Fortran order, which other kernels fill."""
    line, turned = blake2b(digest_size=8), blake2b(digest_size=8)
    for first, count in RANGES:
        block = np.empty(count, FORMATS[dtype].storage)
        fill(block, law, seed=seed, name=name, dtype=dtype, shard=Shard((2**58,), (first,)), threads=1)
        line.update(block.astype(block.dtype.newbyteorder("<")).tobytes())
        columns = np.empty((count // COLUMNS, COLUMNS), block.dtype, order="F")
        whole = Shard((2**58 // COLUMNS, COLUMNS), (first // COLUMNS, 0))
        fill(columns, law, seed=seed, name=name, dtype=dtype, shard=whole, threads=1)
        turned.update(columns.astype(block.dtype.newbyteorder("<")).tobytes())
    for order, digest in (("", line), (" in Fortran order", turned)):
        if digest.hexdigest() != expected:
            return f"expected digest {expected}, got {digest.hexdigest()}{order}"
    return None


def hexadecimal(words: tuple[int, ...]) -> str:
    """Words as the vectors print them."""
    return " ".join(f"{word:08x}" for word in words)
