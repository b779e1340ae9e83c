"""Structured laws: sparse beside own normal and PyTorch, orthogonal beside PyTorch, patterns beside the ceiling."""

from __future__ import annotations

import math

import pytest

import fastinit
from bench import children
from bench.ceilings import ceilings
from bench.ours import ours
from bench.pairing import Contender
from bench.peers import has


def square(arena, most):
    """The largest square matrix of a power of two in the arena, at most so many rows."""
    line = arena.view("float32")
    side = min(most, 1 << (math.isqrt(line.size).bit_length() - 1))
    return line[: side * side].reshape(side, side)


@pytest.mark.parametrize("axis", [0, 1])
def test_sparse(axis, arena, sizes, race):
    matrix = square(arena, 8192)
    rivals = [*ceilings(matrix), ours("normal", matrix, "own normal")]
    if has("torch"):
        import torch

        part = torch.from_numpy(matrix[: sizes.part // len(matrix)] if len(matrix) > 2048 else matrix)
        call = "torch.nn.init.sparse_"
        rivals.append(Contender("torch", lambda: torch.nn.init.sparse_(part, 0.9), part.numel() * 4, call))
    ourselves = Contender(
        "fastinit",
        lambda: fastinit.fill_sparse(matrix, 0.9, axis=axis, seed=1, name="w"),
        matrix.nbytes,
        f"fill_sparse(buf, 0.9, axis={axis})",
    )
    race(f"sparse 0.9 float32, axis {axis}", ourselves, rivals, "float32", shape=matrix.shape)


@pytest.mark.parametrize("shape", [(4096, 4096), (8192, 512)], ids=["square", "tall"])
def test_orthogonal(shape, sizes, race):
    """Each in its own process, where no pin of NumPy's BLAS is inherited; they time themselves."""
    small = shape if sizes.timed else tuple(n // 32 for n in shape)
    amount = 4 * math.prod(small)

    def contender(name, code, call):
        return Contender(name, children.child(code.format(shape=small), children.PINS), amount, call)

    rivals = [contender("torch", children.ORTHOGONAL_OF_TORCH, "torch.nn.init.orthogonal_")] if has("torch") else []
    ourselves = contender("fastinit", children.ORTHOGONAL, "fill_orthogonal(buf)")
    race(f"orthogonal float32, {shape[0]} x {shape[1]}", ourselves, rivals, "float32", rounds=5, shape=small)


@pytest.mark.parametrize(
    ("name", "kernel", "call", "fill"),
    [
        ("identity", (), "fill_identity(buf)", fastinit.fill_identity),
        ("Dirac", (4, 4), "fill_dirac(buf)", fastinit.fill_dirac),
    ],
)
def test_patterns(name, kernel, call, fill, arena, race):
    matrix = square(arena, 16384)
    channels = len(matrix) // math.isqrt(math.prod(kernel))
    buf = matrix.reshape(channels, channels, *kernel)
    race(f"{name} float32", Contender("fastinit", lambda: fill(buf), buf.nbytes, call), ceilings(matrix), "float32")


@pytest.mark.parametrize("axis", [0, 1])
def test_extra_memory_of_sparse(axis, benchmark, record, sizes):
    columns = 10**8 if sizes.timed else 10**6
    measure = children.child(
        children.EXTRA_MEMORY_OF_SPARSE.format(axis=axis, columns=columns), FASTINIT_ENGINE="numba"
    )
    mib = benchmark.pedantic(measure, rounds=1)
    record(f"extra memory, sparse, axis {axis}", {"MiB": mib}, call="fill_sparse", bytes=60 * columns)
