"""Compare what an engine draws here with the known answers."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import numpy as np

from fastinit import raw_words
from fastinit.address import Shard
from fastinit.checking.known import MATRIX, MATRIX_NAME, MATRIX_SEED, PHILOX, Case
from fastinit.dtypes import storage_dtype
from fastinit.fill import fill, new
from fastinit.laws import DeltaOrthogonal, Law, Orthogonal
from fastinit.products import matmul

Array = np.ndarray[Any, Any]
Words = Callable[[int, int, Array], Array]


def words_of(engine: str) -> Words:
    """The function of an engine that gives the 64 words of a group."""
    return lambda group, domain, stream: raw_words.groups(engine, group, 1, domain, stream)


def philox_fault(words: Words) -> str | None:
    """Compare the words of a group with the published vectors: the counter's place in its group is its lane."""
    for counter, key, expected in PHILOX:
        domain, q = counter[1] >> 24, (counter[1] & 0xFFFFFF) << 32 | counter[0]
        group, lane = divmod(q, 16)
        got = tuple(int(word) for word in words(group, domain, np.array([*key, *counter[2:]], np.uint32))[lane::16])
        if got != expected:
            return f"counter {hexadecimal(counter)}: expected {hexadecimal(expected)}, got {hexadecimal(got)}"
    return None


def law_fault(case: Case, dtype: str, expected: str) -> str | None:
    """Draw, and compare with the digest: once in C order, once in Fortran order, which other kernels fill."""
    for order, place in (("C", ""), ("F", " in Fortran order")):
        digest = blake2b(digest_size=8)
        for offsets, shape in case.blocks:
            block = np.empty(shape, storage_dtype(dtype), order=order)  # type: ignore[call-overload]
            shard = Shard(case.shape, offsets)
            fill(block, case.law, seed=case.seed, name=case.name, dtype=dtype, shard=shard, threads=1)
            digest.update(block.astype(block.dtype.newbyteorder("<")).tobytes())
        if digest.hexdigest() != expected:
            return f"expected digest {expected}, got {digest.hexdigest()}{place}"
    return None


def orthogonal_fault(dtype: str) -> str | None:
    """A small matrix against its elements, a larger one against its own transpose: BLAS decides the last bits."""
    epsilon = float(np.finfo(dtype).eps)
    centre = np.zeros((*np.shape(MATRIX), 3))
    centre[..., 1] = MATRIX
    laws: list[tuple[Law, Array]] = [(Orthogonal(), np.array(MATRIX)), (DeltaOrthogonal(), centre)]
    for law, expected in laws:
        got = new(expected.shape, law, seed=MATRIX_SEED, name=MATRIX_NAME, dtype=dtype, threads=1)
        if (error := float(abs(got - expected).max())) > 32 * epsilon:
            return f"{type(law).__name__}: an element is {error:.3g} off"
    large = new((300, 200), Orthogonal(), seed=MATRIX_SEED, name=MATRIX_NAME, dtype=dtype).astype(np.float64)
    if (error := float(abs(matmul(large.T, large) - np.eye(200)).max())) > 32 * epsilon:
        return f"the columns of a matrix of 300 x 200 are not orthonormal, by {error:.3g}"
    return None


def hexadecimal(words: tuple[int, ...]) -> str:
    """Words as the vectors print them."""
    return " ".join(f"{word:08x}" for word in words)
