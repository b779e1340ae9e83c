"""Orthogonal laws: orthonormal to a few last places, the matrix of the scalar engine, one for every dtype."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np
import pytest
import scalar_engine
from drawing import STORAGE, draw, empty

import fastinit
from fastinit import Shard
from fastinit.laws import DeltaOrthogonal, Orthogonal

SHAPES = [(1, 1), (2, 2), (1, 7), (7, 1), (5, 3), (3, 5), (64, 64), (257, 256), (300, 700), (700, 300), (600, 600)]
EPSILON = {"float32": 2.0**-23, "float64": 2.0**-52}


def values(raw, dtype):
    """Storage as float64."""
    own = raw if raw.dtype.name == dtype else raw.view(getattr(ml_dtypes, dtype))
    return own.astype(np.float64)


def gram_error(matrix, gain=1.0):
    """The largest deviation of the smaller Gram matrix from gain^2 I."""
    small = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    return abs(small @ small.T - gain**2 * np.eye(len(small))).max()


@pytest.mark.parametrize("dtype", EPSILON)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_smaller_side_is_orthonormal(engine, shape, dtype):
    x = draw(Orthogonal(), shape, dtype, name="w").astype(np.float64)
    assert gram_error(x) <= 16 * EPSILON[dtype]


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (6, 6), (9, 4), (4, 9), (12, 1)])
def test_it_is_the_matrix_of_the_scalar_engine(engine, shape):
    m, n = max(shape), min(shape)
    expected = np.array(scalar_engine.orthonormal(m, n, 0, 5, "w"))
    expected = expected if shape[0] >= shape[1] else expected.T
    for dtype in EPSILON:
        x = draw(Orthogonal(3.0), shape, dtype, seed=5, name="w")
        assert abs(x - 3 * expected).max() <= 32 * EPSILON[dtype]


def test_blocks_of_reflectors_give_what_one_reflector_at_a_time_gives(monkeypatch):
    from fastinit.fill import orthogonal

    whole = draw(Orthogonal(), (90, 70), "float64")
    monkeypatch.setattr(orthogonal, "BLOCK", 1)
    monkeypatch.setattr(orthogonal, "PANEL", 7)
    assert abs(draw(Orthogonal(), (90, 70), "float64") - whole).max() < 1e-14


@pytest.mark.parametrize("gain", [0.0, 0.1, 1.0, 2.5])
def test_every_singular_value_is_the_gain(gain):
    x = draw(Orthogonal(gain), (40, 60), "float64")
    assert np.linalg.svd(x, compute_uv=False) == pytest.approx(np.full(40, gain), abs=1e-14)


@pytest.mark.parametrize("dtype", STORAGE)
def test_every_dtype_holds_the_same_matrix(engine, dtype):
    exact = draw(Orthogonal(), (80, 50), "float64")
    x = values(draw(Orthogonal(), (80, 50), dtype), dtype)
    place = {"float64": 0, "float32": 4e-6, "float16": 2.0**-11, "bfloat16": 2.0**-8}.get(dtype, 2.0**-3)
    assert abs(x - exact).max() <= place


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_narrow_types_hold_the_rounded_float32_matrix(dtype):
    single = draw(Orthogonal(), (80, 50), "float32")
    own = np.float16 if dtype == "float16" else getattr(ml_dtypes, dtype)
    assert (single.astype(own).view(np.uint8) == draw(Orthogonal(), (80, 50), dtype).view(np.uint8)).all()


@pytest.mark.parametrize("shape", [(8, 3, 2, 2), (3, 8, 5), (20, 2, 3)])
def test_flatten_says_which_dimensions_are_rows(shape):
    rows, columns = shape[0], shape[-1]
    torch, jax = draw(Orthogonal(), shape, "float64"), draw(Orthogonal(flatten="jax"), shape, "float64")
    assert gram_error(torch.reshape(rows, -1)) < 1e-14
    assert gram_error(jax.reshape(-1, columns)) < 1e-14


def test_a_batch_is_one_matrix_each_and_all_differ(engine):
    x = draw(Orthogonal(batch=2), (2, 3, 5, 4), "float64")
    for matrix in x.reshape(6, 5, 4):
        assert gram_error(matrix) < 1e-14
    pairs = itertools.combinations(x.reshape(6, -1), 2)
    assert all(abs(a - b).max() > 0.1 for a, b in pairs)
    first = np.array(scalar_engine.orthonormal(5, 4, 4, 0, ""))
    assert abs(x[1, 1] - first).max() < 1e-14


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize(
    ("law", "shape"),
    [(Orthogonal(), (30, 40)), (Orthogonal(flatten="jax"), (5, 6, 20)), (Orthogonal(batch=1), (4, 12, 9))],
)
def test_a_shard_is_the_slice_of_the_whole(engine, law, shape, dtype):
    whole, tiled = draw(law, shape, dtype, name="w"), empty(shape, dtype)
    edges = [np.unique([0, size // 3, size]) for size in shape]
    for corner in itertools.product(*(itertools.pairwise(edge) for edge in edges)):
        block, offsets = tuple(slice(a, b) for a, b in corner), [a for a, _ in corner]
        fastinit.fill(tiled[block], law, seed=0, name="w", dtype=dtype, shard=Shard(shape, offsets))
    assert abs(values(tiled, dtype) - values(whole, dtype)).max() <= {"bfloat16": 2.0**-8}.get(dtype, 1e-6)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(300, 270), (270, 300)])
def test_order_strides_and_alignment_do_not_matter(shape, order):
    expected = draw(Orthogonal(), shape, "float64")
    x = empty(shape, "float64", order)
    strided = np.zeros((shape[0], 3 * shape[1]))[:, ::3]
    unaligned = np.zeros(expected.nbytes + 1, np.uint8)[1:].view(np.float64).reshape(shape)
    for target in (x, strided, unaligned):
        fastinit.fill(target, Orthogonal(), seed=0)
        assert abs(target - expected).max() < 1e-14


def test_threads_and_repetition_give_the_same_matrix():
    one = draw(Orthogonal(), (600, 500), "float64", threads=1)
    for threads in (1, 2, 7):
        assert abs(draw(Orthogonal(), (600, 500), "float64", threads=threads) - one).max() < 1e-14


def test_progress_rises_to_the_whole():
    seen = []
    x = np.empty((2, 600, 600), np.float32)
    fastinit.fill_orthogonal(x, batch=1, seed=1, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert len(seen) >= 6
    assert seen[-1] == (x.nbytes, x.nbytes)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("kernel", [(3,), (4,), (1,), (3, 4), (2, 3, 5)])
def test_delta_orthogonal_is_an_isometry_at_the_centre(engine, kernel, dtype):
    torch = draw(DeltaOrthogonal(2.0), (9, 6, *kernel), dtype).astype(np.float64)
    keras = draw(DeltaOrthogonal(2.0, "keras"), (*kernel, 6, 9), dtype).astype(np.float64)
    centre = tuple((k - 1) // 2 for k in kernel)
    matrix = torch[(slice(None), slice(None), *centre)].copy()
    assert abs(matrix.T @ matrix - 4 * np.eye(6)).max() < {"float16": 1e-2}.get(dtype, 1e-5)
    assert abs(keras[centre].T - matrix).max() <= 1e-6
    torch[(slice(None), slice(None), *centre)] = 0
    keras[centre] = 0
    assert not torch.any() and not keras.any()


@pytest.mark.parametrize("law", [DeltaOrthogonal(), DeltaOrthogonal(layout="keras")])
def test_shards_of_delta_orthogonal_equal_the_slices(engine, law):
    shape = (8, 5, 3, 4) if law.layout == "torch" else (3, 4, 5, 8)
    whole, tiled = draw(law, shape, "float64"), empty(shape, "float64")
    edges = [np.unique([0, size // 2, size]) for size in shape]
    for corner in itertools.product(*(itertools.pairwise(edge) for edge in edges)):
        block, offsets = tuple(slice(a, b) for a, b in corner), [a for a, _ in corner]
        fastinit.fill(tiled[block], law, seed=0, shard=Shard(shape, offsets))
    assert abs(tiled - whole).max() < 1e-14
