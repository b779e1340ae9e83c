"""Sparse laws: exact counts, the values of the inner law, the same bits for every shard, engine and memory."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scalar_engine
from drawing import STORAGE, draw, empty, same_bits
from hypothesis import given
from hypothesis import strategies as st

import fastinit
from fastinit import Shard, engines
from fastinit.laws import Constant, Normal, Sparse, TruncatedNormal, Uniform

VALUES = {
    "normal": Normal(0.0, 1.0),
    "uniform": Uniform(0.5, 1.0),
    "truncated": TruncatedNormal(1.0, 1.0, 0.1, 3.0),
    "constant": Constant(0.25),
}
INNER = Normal(0.0, 1.0)


def alive(x):
    """Which elements are not +0.0, by their bits: -0.0 would count as alive."""
    return np.ascontiguousarray(x).view(f"u{x.itemsize}") != 0


def blocks_of(shape, parts):
    """The blocks of a grid: (slices, offsets)."""
    edges = [np.unique(np.linspace(0, size, parts + 1).astype(int)) for size in shape]
    for corner in itertools.product(*(itertools.pairwise(edge) for edge in edges)):
        yield tuple(slice(int(a), int(b)) for a, b in corner), tuple(int(a) for a, _ in corner)


@pytest.mark.parametrize("sparsity", [0, 0.5, 0.9, 1])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (8192, 8192), (100003, 3)])
def test_every_line_has_exactly_so_many_zeros(shape, axis, sparsity):
    x = np.full(shape, np.nan, np.float32)
    with engines.use("numba"):
        fastinit.fill_sparse(x, sparsity, axis=axis, seed=1, name="w")
    zeros = shape[axis] - np.count_nonzero(alive(x), axis=axis)
    assert (zeros == math.ceil(sparsity * shape[axis])).all()
    assert np.isfinite(x).all()


@pytest.mark.parametrize(("shape", "axis"), [((300, 70), 1), ((70, 300), 0), ((20, 15, 9), 1)])
def test_martens_form_leaves_fifteen_nonzeros_a_line(engine, shape, axis):
    x = np.empty(shape, np.float32)
    fastinit.fill_sparse(x, nonzeros=15, axis=axis, seed=1)
    assert (np.count_nonzero(alive(x), axis=axis) == 15).all()


@pytest.mark.parametrize("dtype", STORAGE)
@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("axis", [0, 1])
def test_a_survivor_has_the_value_of_its_law_and_the_others_are_zero(engine, axis, values, dtype):
    law = VALUES[values]
    dense, sparse = (draw(one, (130, 90), dtype, name="w") for one in (law, Sparse(law, 0.75, axis=axis)))
    # Some survivors may round to zero in float8; so the places are those of a constant.
    mask = alive(draw(Sparse(Constant(1.0), 0.75, axis=axis), (130, 90), "float32", name="w"))
    same_bits(sparse, np.where(mask, dense, np.zeros_like(dense)))
    assert (np.count_nonzero(mask, axis=axis) == mask.shape[axis] - math.ceil(0.75 * mask.shape[axis])).all()


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float8_e5m2"])
@pytest.mark.parametrize(("shape", "axis"), [((97, 211), 0), ((97, 211), 1), ((1003, 3), 0), ((11, 30, 70), 1)])
def test_shards_of_three_by_three_blocks_equal_the_slices(engine, shape, axis, dtype):
    law = Sparse(INNER, 0.8, axis=axis)
    whole, tiled = draw(law, shape, dtype, name="w"), empty(shape, dtype)
    for block, offsets in blocks_of(shape, 3):
        fastinit.fill(tiled[block], law, seed=0, name="w", dtype=dtype, shard=Shard(shape, offsets))
    same_bits(tiled, whole)


@st.composite
def lines(draw_from):
    """A shape, an axis, a block of it, the order of its dimensions in memory and their steps."""
    rank = draw_from(st.integers(1, 4))
    longest = {1: 3000, 2: 150, 3: 30, 4: 10}[rank]
    shape = tuple(draw_from(st.integers(1, longest)) for _ in range(rank))
    offsets = tuple(draw_from(st.integers(0, size - 1)) for size in shape)
    block = tuple(draw_from(st.integers(1, size - start)) for size, start in zip(shape, offsets, strict=True))
    axes = draw_from(st.permutations(range(rank)))
    steps = tuple(draw_from(st.sampled_from([1, 1, 2, -1])) for _ in range(rank))
    return shape, draw_from(st.integers(-rank, rank - 1)), offsets, block, axes, steps


@given(
    geometry=lines(), sparsity=st.floats(0, 1), dtype=st.sampled_from(sorted(STORAGE)), threads=st.sampled_from([1, 3])
)
def test_any_block_in_any_memory_on_either_engine_equals_the_slice(geometry, sparsity, dtype, threads):
    shape, axis, offsets, block, axes, steps = geometry
    law = Sparse(INNER, sparsity, axis=axis)
    whole = draw(law, shape, dtype, name=7)
    mask = alive(whole)
    if dtype in ("float64", "float32"):
        assert (np.count_nonzero(mask, axis=axis) == law.survivors(shape[axis])).all()
    wanted = whole[tuple(slice(start, start + size) for start, size in zip(offsets, block, strict=True))]
    for name in ("numba", "numpy"):
        memory = empty(tuple(block[i] * abs(steps[i]) for i in axes), dtype)
        view = memory.transpose(np.argsort(axes))[tuple(slice(None, None, step) for step in steps)]
        with engines.use(name):
            fastinit.fill(view, law, seed=0, name=7, dtype=dtype, shard=Shard(shape, offsets), threads=threads)
        same_bits(view, wanted)


@pytest.mark.parametrize("axis", [0, 1])
def test_one_two_and_seven_threads_give_the_same_bits(axis):
    one = draw(Sparse(INNER, 0.9, axis=axis), (1537, 1111), "float32", threads=1)
    for threads in (2, 7):
        same_bits(draw(Sparse(INNER, 0.9, axis=axis), (1537, 1111), "float32", threads=threads), one)


@pytest.mark.parametrize("axis", [0, 1])
def test_unaligned_memory_gives_the_same_bits(engine, axis):
    law = Sparse(INNER, 0.9, axis=axis)
    whole = draw(law, (700, 500), "float32")
    raw = np.zeros(whole.nbytes + 1, np.uint8)
    x = raw[1:].view(np.float32).reshape(whole.shape)
    fastinit.fill(x, law, seed=0)
    same_bits(x, whole)


@pytest.mark.parametrize(("shape", "axis"), [((9, 70), 0), ((9, 70), 1), ((3, 20, 5), 1), ((200,), 0)])
def test_the_scalar_engine_leaves_the_same_survivors(engine, shape, axis):
    x = draw(Sparse(Constant(1.0), 0.6, axis=axis), shape, "float32", seed=5, name="w")
    indices = np.moveaxis(np.arange(math.prod(shape)).reshape(shape), axis, -1).reshape(-1, shape[axis])
    survive = np.moveaxis(alive(x), axis, -1).reshape(-1, shape[axis])
    need = shape[axis] - math.ceil(0.6 * shape[axis])
    for line, mask in zip(indices, survive, strict=True):
        assert scalar_engine.survivors(need, [int(i) for i in line], 5, "w") == mask.tolist()


def test_a_far_shard_agrees_with_the_scalar_engine(engine):
    """Columns of a tensor of 2^56 elements: the words of its last rows have numbers of 56 bits."""
    shape, column = (16, 2**52), 2**52 - 3
    x = np.empty((16, 3), np.float32)
    fastinit.fill(x, Sparse(INNER, 0.5, axis=0), seed=5, name="w", shard=Shard(shape, (0, column)))
    for j in range(3):
        indices = [t * 2**52 + column + j for t in range(16)]
        assert scalar_engine.survivors(8, indices, 5, "w") == alive(x)[:, j].tolist()


def test_lines_are_independent_of_how_many_there_are(engine):
    wide, narrow = (draw(Sparse(INNER, 0.7, axis=1), (rows, 333), "float32") for rows in (40, 7))
    same_bits(wide[:7], narrow)


def test_other_survivors_do_not_move_a_value(engine):
    half, tenth = (draw(Sparse(INNER, s), (100, 50), "float64") for s in (0.5, 0.9))
    both = alive(half) & alive(tenth)
    assert both.any()
    same_bits(half[both], tenth[both])


def test_progress_ends_with_everything():
    seen = []
    x = np.empty((3000, 1000), np.float32)
    fastinit.fill_sparse(x, 0.9, seed=1, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (x.nbytes, x.nbytes)
    assert seen == sorted(seen)


def test_a_memory_map_is_filled_and_the_disk_asked_first(tmp_path):
    x = np.lib.format.open_memmap(tmp_path / "w.npy", mode="w+", dtype=np.float32, shape=(500, 400))
    fastinit.fill_sparse(x, 0.9, seed=0)
    same_bits(np.asarray(x), draw(Sparse(Normal(0.0, 0.01), 0.9), (500, 400), "float32"))


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("dtype", ["float64", "float32", "float8_e5m2"])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.9, 0.9999, 1.0])
def test_engines_agree_along_long_lines(sparsity, dtype, order):
    # From 1024 elements on the compiled engine decides about 32 at once, where none of them waits for another.
    for shape, offsets, block in [
        ((7, 1024), (0, 0), (7, 1024)),
        ((5, 2048), (0, 0), (5, 2048)),
        ((3, 20_011), (0, 0), (3, 20_011)),
        ((4, 9000), (1, 3001), (3, 5999)),
    ]:
        results = []
        for name in ("numba", "numpy"):
            x = empty(block, dtype, order)
            with engines.use(name):
                law = Sparse(INNER, sparsity, axis=1)
                fastinit.fill(x, law, seed=31, dtype=dtype, shard=Shard(shape, offsets))
            results.append(x)
        same_bits(*results)
