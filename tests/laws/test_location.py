"""Promise 1: the value of an element depends on its address, and on no circumstance of the fill."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from drawing import LAWS, STORAGE, digest, draw, empty, same_bits
from hypothesis import given
from hypothesis import strategies as st

import fastinit
from fastinit import Shard, engines

CASES = st.sampled_from(sorted(LAWS))
DTYPES = st.sampled_from(sorted(STORAGE))


@pytest.mark.parametrize("dtype", STORAGE)
@pytest.mark.parametrize("case", ["uniform", "normal", "truncated at two sigma", "far upper tail"])
def test_one_two_and_seven_threads_give_the_same_bits(case, dtype):
    shape = (1537, 1111)  # many chunks, none of which ends where a row or a group does
    one = draw(LAWS[case], shape, dtype, threads=1)
    for threads in (2, 7):
        same_bits(draw(LAWS[case], shape, dtype, threads=threads), one)


@pytest.mark.parametrize("order", ["C", "F"])
def test_threads_do_not_matter_to_shards_of_any_order(engine, order):
    tensor, offsets, block = (300, 7, 260), (13, 2, 5), (270, 4, 201)
    results = []
    for threads in (1, 2, 7):
        x = empty(block, "float32", order)
        fastinit.fill_normal(x, seed=3, shard=Shard(tensor, offsets), threads=threads)
        results.append(x)
    same_bits(results[1], results[0])
    same_bits(results[2], results[0])


@given(case=CASES, dtype=DTYPES, cuts=st.lists(st.integers(0, 3000), max_size=6), threads=st.sampled_from([1, 2, 7]))
def test_filling_in_pieces_equals_filling_at_once(case, dtype, cuts, threads):
    whole = draw(LAWS[case], 3000, dtype)
    pieces = empty(3000, dtype)
    for start, end in itertools.pairwise([0, *sorted(cuts), 3000]):
        shard = Shard((3000,), (start,))
        fastinit.fill(pieces[start:end], LAWS[case], seed=0, dtype=dtype, shard=shard, threads=threads)
    same_bits(pieces, whole)


@pytest.mark.parametrize("dtype", STORAGE)
@pytest.mark.parametrize("grid", [(1, 4), (4, 1), (3, 5)])
def test_the_blocks_of_a_matrix_tile_it(engine, dtype, grid):
    shape = (101, 203)
    whole, tiled = draw(LAWS["normal"], shape, dtype, name="w"), empty(shape, dtype)
    rows, cols = (np.linspace(0, size, parts + 1).astype(int) for size, parts in zip(shape, grid, strict=True))
    for (top, bottom), (left, right) in itertools.product(itertools.pairwise(rows), itertools.pairwise(cols)):
        shard = Shard(shape, (int(top), int(left)))
        fastinit.fill(tiled[top:bottom, left:right], LAWS["normal"], seed=0, name="w", dtype=dtype, shard=shard)
    same_bits(tiled, whole)


@pytest.mark.parametrize("dtype", STORAGE)
def test_the_blocks_of_a_convolution_tile_it(engine, dtype):
    shape = (34, 9, 29)
    whole, tiled = draw(LAWS["truncated at two sigma"], shape, dtype), empty(shape, dtype)
    for i, j, k in itertools.product((0, 17), (0, 3, 6), (0, 11, 22)):
        block = tiled[i : i + 17, j : j + 3, k : k + 11]
        fastinit.fill(block, LAWS["truncated at two sigma"], seed=0, dtype=dtype, shard=Shard(shape, (i, j, k)))
    same_bits(tiled, whole)


@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_flat_shards_equal_slices_of_the_matrix(engine, ranks):
    whole = draw(LAWS["normal"], (123, 77), "bfloat16")
    length = -(-whole.size // ranks)
    for rank in range(ranks):
        mine = empty(min(length, whole.size - rank * length), "bfloat16")
        shard = Shard((whole.size,), (rank * length,))
        fastinit.fill_normal(mine, seed=0, dtype="bfloat16", shard=shard)
        same_bits(mine, whole.ravel()[rank * length : (rank + 1) * length])


@st.composite
def blocks(draw_from):
    """A tensor's shape, a block of it, and the memory of the block: order of dimensions, steps and directions."""
    rank = draw_from(st.integers(1, 4))
    longest = {1: 5000, 2: 300, 3: 40, 4: 12}[rank]
    shape = tuple(draw_from(st.integers(1, longest)) for _ in range(rank))
    offsets = tuple(draw_from(st.integers(0, size - 1)) for size in shape)
    block = tuple(draw_from(st.integers(1, size - start)) for size, start in zip(shape, offsets, strict=True))
    axes = draw_from(st.permutations(range(rank)))
    steps = tuple(draw_from(st.sampled_from([1, 1, 1, 2, 3, -1, -2])) for _ in range(rank))
    return shape, offsets, block, axes, steps


def view_with(block, axes, steps, dtype):
    """An array of shape `block` whose dimensions lie in memory in the order `axes`, every step-th element of it."""
    sizes = [block[axis] * abs(steps[axis]) for axis in axes]
    memory = empty(tuple(sizes), dtype)
    view = memory.transpose(np.argsort(axes))
    return memory, view[tuple(slice(None, None, step) for step in steps)]


@given(case=CASES, dtype=DTYPES, geometry=blocks(), seed=st.integers(0, 2**64 - 1), threads=st.sampled_from([1, 3]))
def test_any_block_in_any_memory_on_either_engine_equals_the_slice(case, dtype, geometry, seed, threads):
    shape, offsets, block, axes, steps = geometry
    whole = draw(LAWS[case], shape, dtype, seed=seed, name=7)
    wanted = whole[tuple(slice(start, start + size) for start, size in zip(offsets, block, strict=True))]
    for name in ("numba", "numpy"):
        memory, view = view_with(block, axes, steps, dtype)
        untouched = memory.copy()
        with engines.use(name):
            shard = Shard(shape, offsets)
            fastinit.fill(view, LAWS[case], seed=seed, name=7, dtype=dtype, shard=shard, threads=threads)
        same_bits(view, wanted)
        view[...] = untouched.reshape(-1)[0]  # what is left is what lies between the elements of the view
        same_bits(memory, untouched)


@pytest.mark.parametrize("dtype", STORAGE)
def test_unaligned_memory_gives_the_same_bits(engine, dtype):
    whole = draw(LAWS["normal"], (40, 51), dtype)
    raw = np.zeros(whole.nbytes + 1, np.uint8)
    x = raw[1:].view(STORAGE[dtype]).reshape(40, 51)
    fastinit.fill_normal(x, seed=0, dtype=dtype)
    same_bits(x, whole)


@pytest.mark.parametrize("engine_name", ["numba", "numpy"])
def test_another_process_gives_the_same_bits(engine_name):
    program = (
        "import sys, numpy as np, fastinit; x = np.empty((70, 90), 'f4');"
        "fastinit.fill_he_normal(x, 90, seed=5, name='w'); sys.stdout.buffer.write(x.tobytes())"
    )
    environment = {**os.environ, "FASTINIT_ENGINE": engine_name, "PYTHONHASHSEED": "random"}
    output = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True).stdout
    here = np.empty((70, 90), "f4")
    fastinit.fill_he_normal(here, 90, seed=5, name="w")
    assert here.tobytes() == output


def test_other_tensors_and_other_fills_do_not_matter(engine):
    before = draw(LAWS["normal"], 5000, "float32", name="a")
    for name in ("b", "c", 7):
        draw(LAWS["uniform"], 333, "float64", name=name)
    same_bits(draw(LAWS["normal"], 5000, "float32", name="a"), before)


def test_seed_name_and_law_do_matter():
    base = {"seed": 1, "name": "w"}
    one = digest(draw(LAWS["normal"], 100, "float32", **base))
    others = [{**base, "seed": 2}, {**base, "seed": 1 + (1 << 32)}, {**base, "name": "v"}, {**base, "name": 0}]
    assert len({one, *(digest(draw(LAWS["normal"], 100, "float32", **other)) for other in others)}) == 5
    number, text = (draw(LAWS["normal"], 100, "float32", seed=1, name=name) for name in (5, "5"))
    assert digest(number) != digest(text)


@pytest.mark.parametrize("shape", [(6400,), (64, 100), (100, 64), (4, 16, 100), (6400, 1), (1, 6400)])
def test_only_the_row_major_index_counts_not_the_shape(engine, shape):
    flat = draw(LAWS["normal"], math.prod(shape), "float32")
    same_bits(draw(LAWS["normal"], shape, "float32").ravel(), flat)
