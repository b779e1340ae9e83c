"""Tensors made of parts: each part has the law it was given, and any shard equals the slice of the whole."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import scalar_engine
from drawing import STORAGE, draw, empty, same_bits
from hypothesis import given
from hypothesis import strategies as st

import fastinit
from fastinit import Shard, engines
from fastinit.laws import (
    Blocks,
    Constant,
    Dirac,
    Identity,
    Normal,
    Orthogonal,
    Padded,
    Sparse,
    TruncatedNormal,
    Uniform,
)
from fastinit.laws.law_json import from_json, to_json

QKV = Blocks(((96, Normal(0.0, 0.02)), (32, Uniform(-0.1, 0.1)), (32, TruncatedNormal(0.0, 1.0, -2.0, 2.0))))
GATES = Blocks(((20, Orthogonal()),) * 4)
VOCABULARY = Blocks(((101, Padded(Normal(0.0, 0.5), 3)), (27, Constant(0.0))))
GATE_BIAS = Blocks(((16, Constant(0)), (16, Constant(1)), (32, Constant(0))))
CLOSE = {"float64": 1e-13, "float32": 1e-5}  # of orthogonal laws, whose sums are those of BLAS


def near(a, b, dtype):
    """Assert that two draws are equal up to the sums of BLAS."""
    np.testing.assert_allclose(a, b, rtol=0, atol=CLOSE[dtype])


# --- the address ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", STORAGE)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_blocks_of_one_independent_law_are_that_law_on_the_whole(engine, axis, dtype):
    law, shape = TruncatedNormal(0.1, 0.3, -0.2, 1.3), (90, 90, 3) if axis == 1 else (90, 90)
    made = Blocks(((20, law), (0, law), (1, law), (69, law)), axis)
    same_bits(draw(made, shape, dtype, name="w"), draw(law, shape, dtype, name="w"))


@pytest.mark.parametrize("dtype", STORAGE)
@pytest.mark.parametrize("axis", [0, 1])
def test_every_part_has_the_values_of_its_law_at_their_address_in_the_whole(engine, axis, dtype):
    law = Blocks(QKV.parts, axis)
    shape = (160, 70) if axis == 0 else (70, 160)
    whole, start = draw(law, shape, dtype, name="qkv"), 0
    for size, inner in law.parts:
        part = (slice(None),) * axis + (slice(start, start + size),)
        same_bits(whole[part], draw(inner, shape, dtype, name="qkv")[part])
        start += size


@pytest.mark.parametrize("axis", [0, 1])
def test_the_scalar_engine_draws_the_same_parts(engine, axis):
    """Independent laws at their own address, a sparse law with lines of its slice, zeros."""
    shape = (9, 12) if axis == 0 else (12, 9)
    parts = ((4, Normal(0.5, 2.0)), (1, Constant(-0.0)), (4, Sparse(Uniform(0.0, 1.0), 0.5, axis=0)))
    x = draw(Blocks(parts, axis), shape, "float32", seed=5, name="w")
    bits, index = x.view(np.uint32), np.arange(x.size).reshape(shape)
    if axis:
        bits, index = bits.T, index.T
    for found, i in zip(bits[:4].ravel(), index[:4].ravel(), strict=True):
        assert found == scalar_engine.value("normal", (0.5, 2.0), "float32", 5, "w", int(i))
    assert (bits[4] == 0x80000000).all()
    slice_of_whole, numbers = (a[5:].T if axis else a[5:] for a in (bits, index))
    for line, where in zip(slice_of_whole.T, numbers.T, strict=True):
        need = len(line) - math.ceil(0.5 * len(line))
        alive = scalar_engine.survivors(need, [int(i) for i in where], 5, "w")
        for found, i, lives in zip(line, where, alive, strict=True):
            value = scalar_engine.value("uniform", (0.0, 1.0), "float32", 5, "w", int(i)) if lives else 0
            assert found == value


@pytest.mark.parametrize("axis", [0, 1])
def test_the_reflectors_of_a_part_begin_behind_those_of_the_parts_before_it(engine, axis):
    """As the scalar engine forms them: part after part, matrix after matrix, an element a reflector's."""
    inner = Blocks(((2, Normal()), (5, Orthogonal())), 1 - axis)
    law = Blocks(((4, Orthogonal(2.0)), (3, Normal()), (6, inner)), axis)
    shape = (13, 7) if axis == 0 else (7, 13)
    x = draw(law, shape, "float64", seed=5, name="w")
    first, last = (x[:4], x[7:, 2:]) if axis == 0 else (x[:, :4], x[2:, 7:])
    for found, gain, before in ((first, 2.0, 0), (last, 1.0, 7 * 7 + 2 * 6)):
        m, n = max(found.shape), min(found.shape)
        q = gain * np.array(scalar_engine.orthonormal(m, n, 0, 5, "w", before))
        near(found if found.shape == q.shape else found.T, q, "float64")


def test_equal_orthogonal_parts_are_the_matrices_of_a_batch():
    whole = draw(Orthogonal(batch=1), (4, 12, 9), "float64", name="heads")
    near(draw(Blocks(((1, Orthogonal(batch=1)),) * 4), (4, 12, 9), "float64", name="heads"), whole, "float64")


def test_every_gate_has_an_orthogonal_matrix_of_its_own():
    x = draw(GATES, (80, 20), "float64", name="lstm").reshape(4, 20, 20)
    for gate in x:
        near(gate @ gate.T, np.eye(20), "float64")
    assert all(abs(np.vdot(x[i], x[j])) < 19 for i in range(4) for j in range(i))


def test_every_expert_has_the_std_of_its_own_law(engine):
    stds = [0.01 * (i + 1) for i in range(8)]
    x = draw(Blocks(tuple((1, Normal(0.0, std)) for std in stds)), (8, 200, 300), "float32", name="experts")
    for expert, std in zip(x.astype("f8"), stds, strict=True):
        assert abs(expert.std() - std) < 5 * std / math.sqrt(2 * expert.size)


def test_a_padded_vocabulary_is_zero_beyond_it_and_in_the_row_of_its_padding_token(engine):
    x = draw(VOCABULARY, (128, 33), "bfloat16", name="embed")
    assert not x[101:].any()
    assert not x[3].any()
    assert x[[0, 1, 2, *range(4, 101)]].any(axis=1).all()
    same_bits(x[4:101], draw(Normal(0.0, 0.5), (128, 33), "bfloat16", name="embed")[4:101])


@pytest.mark.parametrize("dtype", ["int32", "bool", "complex64", "float32"])
def test_a_bias_with_a_gate_of_its_own_fits_every_dtype_that_its_laws_fit(dtype):
    x = np.full(64, 7, dtype)
    fastinit.fill(x, GATE_BIAS)
    assert x.tolist() == np.repeat([0, 1, 0, 0], 16).astype(dtype).tolist()
    pattern = Blocks(((5, Identity(1)), (2, Constant(1))))
    y = np.zeros((7, 5), dtype)
    fastinit.fill(y, pattern)
    assert (y == np.concatenate([np.eye(5), np.ones((2, 5))]).astype(dtype)).all()


# --- shards, engines, memory ------------------------------------------------------------------------------------------

SIMPLE = st.sampled_from(
    [Normal(0.0, 1.0), Normal(0.5, 0.1), Uniform(-1.0, 1.0), TruncatedNormal(0.0, 1.0, -2.0, 2.0), Constant(0.5)]
)


@st.composite
def made_of_parts(draw_from, shape, depth=2):
    """A law for a tensor of this shape: independent, padded, sparse, an identity, or parts of such."""
    kinds = ["simple", "parts", "parts"] if depth else ["simple"]
    kinds += ["padded"] if shape[0] else []
    kinds += ["sparse"]
    kinds += ["identity"] if len(shape) == 2 else []
    kinds += ["dirac"] if len(shape) == 3 else []
    kind = draw_from(st.sampled_from(kinds))
    if kind == "simple":
        return draw_from(SIMPLE)
    if kind == "padded":
        return Padded(draw_from(SIMPLE), draw_from(st.integers(0, shape[0] - 1)))
    if kind == "sparse":
        return Sparse(draw_from(SIMPLE), draw_from(st.floats(0, 1)), axis=draw_from(st.integers(0, len(shape) - 1)))
    if kind in ("identity", "dirac"):
        return Identity(2.0) if kind == "identity" else Dirac()
    axis = draw_from(st.integers(-len(shape), len(shape) - 1))
    cuts = sorted(draw_from(st.lists(st.integers(0, shape[axis]), max_size=3)))
    sizes = np.diff([0, *cuts, shape[axis]]).tolist()
    part = list(shape)
    found = []
    for size in sizes:
        part[axis] = size
        found.append((size, draw_from(made_of_parts(tuple(part), depth - 1))))
    return Blocks(tuple(found), axis)


@st.composite
def tensors(draw_from):
    """A law, the shape of its tensor, a block of it, the order of its dimensions in memory and their steps."""
    rank = draw_from(st.integers(1, 3))
    longest = {1: 500, 2: 60, 3: 15}[rank]
    shape = tuple(draw_from(st.integers(1, longest)) for _ in range(rank))
    law = draw_from(made_of_parts(shape))
    offsets = tuple(draw_from(st.integers(0, size - 1)) for size in shape)
    block = tuple(draw_from(st.integers(1, size - start)) for size, start in zip(shape, offsets, strict=True))
    axes = draw_from(st.permutations(range(rank)))
    steps = tuple(draw_from(st.sampled_from([1, 1, 2, -1])) for _ in range(rank))
    return law, shape, offsets, block, axes, steps


@given(tensor=tensors(), dtype=st.sampled_from(sorted(STORAGE)), threads=st.sampled_from([1, 3]))
def test_any_block_in_any_memory_on_either_engine_equals_the_slice(tensor, dtype, threads):
    law, shape, offsets, block, axes, steps = tensor
    whole = draw(law, shape, dtype, name=7)
    wanted = whole[tuple(slice(start, start + size) for start, size in zip(offsets, block, strict=True))]
    for name in ("numba", "numpy"):
        memory = empty(tuple(block[i] * abs(steps[i]) for i in axes), dtype)
        view = memory.transpose(np.argsort(axes))[tuple(slice(None, None, step) for step in steps)]
        with engines.use(name):
            fastinit.fill(view, law, seed=0, name=7, dtype=dtype, shard=Shard(shape, offsets), threads=threads)
        same_bits(view, wanted)


@given(tensor=tensors())
def test_json_gives_the_same_law_back(tensor):
    assert from_json(json.loads(json.dumps(to_json(tensor[0])))) == tensor[0]


@given(tensor=tensors())
def test_the_moments_of_a_law_are_those_of_its_parts(tensor):
    """Mean and second moment, cut out part by part."""
    law, shape = tensor[:2]
    element = law.marginal(shape)

    def pieces(law, shape):
        if not isinstance(law, Blocks):
            return [(math.prod(shape), law.marginal(shape))] if math.prod(shape) else []
        axis = law.axis % len(shape)
        return [
            piece for size, inner in law.parts for piece in pieces(inner, (*shape[:axis], size, *shape[axis + 1 :]))
        ]

    count = math.prod(shape)
    mean = sum(n * one.mean for n, one in pieces(law, shape)) / count
    square = sum(n * (one.std**2 + one.mean**2) for n, one in pieces(law, shape)) / count
    assert element.mean == pytest.approx(mean, abs=1e-12)
    assert element.std**2 + element.mean**2 == pytest.approx(square, abs=1e-12)
    for x in (-0.3, 0.0, 0.5):
        assert element.cdf(x) == pytest.approx(sum(n * one.cdf(x) for n, one in pieces(law, shape)) / count)
    assert element.support == (
        min(one.support[0] for _, one in pieces(law, shape)),
        max(one.support[1] for _, one in pieces(law, shape)),
    )


@pytest.mark.parametrize("offsets", [(0, 0), (11, 3), (20, 0), (39, 19), (60, 10)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_shard_of_gates_is_the_slice_of_the_whole(engine, offsets, dtype):
    whole = draw(GATES, (80, 20), dtype, name="lstm")
    block = whole[offsets[0] : offsets[0] + 30, offsets[1] :]
    part = empty(block.shape, dtype)
    fastinit.fill(part, GATES, seed=0, name="lstm", shard=Shard((80, 20), offsets))
    near(part, block, dtype)


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("axis", [0, 1])
def test_one_two_and_seven_threads_give_the_same_bits_in_either_order(axis, order):
    law = Blocks(((400, Normal()), (500, Sparse(Normal(), 0.9, axis=0)), (211, Uniform())), axis)
    shape = (1111, 737) if axis == 0 else (737, 1111)
    one = draw(law, shape, "float32", threads=1)
    for threads in (2, 7):
        x = empty(shape, "float32", order)
        fastinit.fill(x, law, seed=0, threads=threads)
        same_bits(x, one)


def test_unaligned_memory_and_a_memory_map_give_the_same_bits(engine, tmp_path):
    law = Blocks(((100, Normal()), (300, Sparse(Normal(), 0.9, axis=1)), (300, Uniform())))
    whole = draw(law, (700, 500), "float32")
    raw = np.zeros(whole.nbytes + 1, np.uint8)
    x = raw[1:].view(np.float32).reshape(whole.shape)
    fastinit.fill(x, law, seed=0)
    same_bits(x, whole)
    mapped = np.lib.format.open_memmap(tmp_path / "w.npy", mode="w+", dtype=np.float32, shape=whole.shape)
    fastinit.fill(mapped, law, seed=0)
    same_bits(np.asarray(mapped), whole)


def test_progress_counts_all_parts_and_ends_with_everything():
    seen = []
    x = np.empty((3000, 1000), np.float32)
    law = Blocks(((1000, Normal()), (500, Sparse(Normal(), 0.9)), (500, Orthogonal()), (1000, Constant(0.0))))
    fastinit.fill(x, law, seed=1, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (x.nbytes, x.nbytes)
    assert seen == sorted(seen)
    assert {total for _, total in seen} == {x.nbytes}


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Blocks(()), ValueError, "there are no parts"),
        (lambda: Blocks("qkv"), TypeError, "parts is 'qkv'; pass pairs of a size and a law"),
        (lambda: Blocks(3), TypeError, "parts is 3; pass pairs"),
        (lambda: Blocks(((3, Normal()), Normal())), TypeError, r"part 1 is Normal\(.*pass a size and a law"),
        (lambda: Blocks(((3, 0.02),)), TypeError, "part 0 is .3, 0.02.; pass a size and a law"),
        (lambda: Blocks(((-1, Normal()),)), ValueError, "the size of part 0 is -1; it must be zero or positive"),
        (lambda: Blocks(((1.0, Normal()),)), TypeError, "the size of part 0 is 1.0 of type float; pass an integer"),
        (lambda: Blocks(((True, Normal()),)), TypeError, "the size of part 0 is True"),
        (lambda: Blocks(((1, Normal()),), 0.0), TypeError, "axis is 0.0 of type float"),
    ],
)
def test_what_is_no_list_of_sizes_and_laws_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("law", "error", "message"),
    [
        (Blocks(((7, Normal()),)), ValueError, r"add up to 7, and axis 0 of shape \(8, 6\) has 8: 1 too few"),
        (Blocks(((9, Normal()), (2, Normal()))), ValueError, "add up to 11, and axis 0 .* has 8: 3 too many"),
        (Blocks(((6, Normal()),), 2), ValueError, r"axis 2 does not exist in a tensor of shape \(8, 6\)"),
        (Blocks(((6, Normal()),), -3), ValueError, "axis -3 does not exist"),
        (Blocks(((3, Normal()), (5, Padded(Normal(), 5)))), ValueError, r"part \[3, 8\) of axis 0: Padded: row 5"),
        (Blocks(((3, Normal()), (5, Blocks(((4, Normal()),))))), ValueError, r"part \[3, 8\) .* 1 too few"),
        (Blocks(((3, Normal()), (5, Normal(0.0, 1e38)))), ValueError, "beyond the largest float32"),
        (Blocks(((3, Normal()), (5, Orthogonal(1e39)))), ValueError, "beyond the largest float32"),
        (Blocks(((3, Normal()), (5, Identity(1e39)))), ValueError, "beyond the largest float32"),
        (Blocks(((3, Normal()), (5, Constant(1j)))), ValueError, "float32"),
    ],
)
def test_a_tensor_that_the_parts_do_not_fit_is_refused_and_left_as_it_was(law, error, message):
    x = np.ones((8, 6), np.float32)
    with pytest.raises(error, match=message):
        fastinit.fill(x, law, seed=0)
    assert (x == 1).all()


def test_integers_are_refused_where_a_part_draws():
    with pytest.raises(TypeError, match="Blocks cannot fill"):
        fastinit.fill(np.zeros((8, 6), np.int32), Blocks(((3, Constant(0)), (5, Normal()))))


def test_a_tensor_without_elements_is_left_alone():
    fastinit.fill(np.empty((0, 6), np.float32), Blocks(((0, Normal()),)))
    assert Blocks(((0, Normal()),)).marginal((0, 6)).mean == 0.0
