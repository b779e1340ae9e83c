"""Axes that count copies: one matrix an expert, a head or a gate, wherever the axis stands."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from drawing import draw, empty, same_bits

import fastinit
from fastinit import Shard
from fastinit.laws import Blocks, Constant, DeltaOrthogonal, Dirac, Identity, Normal, Orthogonal, Sparse

PLACES = [((0,), (5, 12, 9)), ((1,), (12, 5, 9)), ((-1,), (12, 9, 5)), ((2, 0), (3, 12, 2, 9))]


def copies(x, axes):
    """The copies, in row-major order of their axes."""
    axes = sorted(axis % x.ndim for axis in axes)
    moved = np.moveaxis(x, axes, range(len(axes)))
    return moved.reshape(-1, *moved.shape[len(axes) :])


@pytest.mark.parametrize(("axes", "shape"), PLACES)
@pytest.mark.parametrize("flatten", ["torch", "jax"])
def test_every_copy_is_an_orthogonal_matrix_of_its_own(axes, shape, flatten):
    law = Orthogonal(2.0, flatten, batch_axis=axes)
    found = copies(draw(law, shape, "float64", name="w"), axes)
    leading = draw(Orthogonal(2.0, flatten, batch=1), found.shape, "float64", name="w")
    np.testing.assert_allclose(found, leading, rtol=0, atol=1e-13)
    for one in found:
        np.testing.assert_allclose(one.T @ one, 4 * np.eye(9), rtol=0, atol=1e-12)
    assert law.marginal(shape).std == pytest.approx(2 / 12**0.5)


@pytest.mark.parametrize(("axes", "shape"), PLACES)
@pytest.mark.parametrize("line", [0, 1, -1])
def test_the_lines_of_a_sparse_law_run_within_a_copy(engine, axes, shape, line):
    x = draw(Sparse(Normal(), nonzeros=4, axis=line, batch_axis=axes), shape, "float32", name="w")
    for one in copies(x, axes):
        assert (np.count_nonzero(one, axis=line) == 4).all()


def test_a_batch_axis_of_a_sparse_law_only_renames_its_axis(engine):
    for axes, line, same in [((0,), 0, 1), ((0,), 1, 2), ((1,), 0, 0), ((1,), -1, 2), ((2,), 1, 1)]:
        one, other = Sparse(Normal(), 0.5, axis=line, batch_axis=axes), Sparse(Normal(), 0.5, axis=same)
        same_bits(draw(one, (7, 20, 30), "float32"), draw(other, (7, 20, 30), "float32"))


@pytest.mark.parametrize(("axes", "shape"), PLACES)
def test_every_copy_is_an_identity(axes, shape):
    law = Identity(3.0, batch_axis=axes)
    for one in copies(draw(law, shape, "float32"), axes):
        assert (one == 3 * np.eye(12, 9)).all()
    assert law.marginal(shape).mean == pytest.approx(3 * 9 / 108)


@pytest.mark.parametrize(("axis", "shape"), [(0, (4, 6, 3, 5)), (1, (6, 4, 3, 5)), (3, (6, 3, 5, 4))])
def test_every_copy_is_a_kernel_that_passes_its_inputs_on(axis, shape):
    own = tuple(size for i, size in enumerate(shape) if i != axis)
    one = draw(Dirac(2), own, "float32")
    for found in copies(draw(Dirac(2, batch_axis=axis), shape, "float32"), (axis,)):
        same_bits(np.ascontiguousarray(found), one)
    assert Dirac(2, batch_axis=axis).marginal(shape) == Dirac(2).marginal(own)


@pytest.mark.parametrize("layout", ["torch", "keras"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_every_copy_is_an_isometry_of_its_channels(axis, layout):
    own = (7, 4, 3, 2) if layout == "torch" else (3, 2, 4, 7)
    shape = list(own)
    shape.insert(axis % 5, 3)
    law = DeltaOrthogonal(2.0, layout, batch_axis=axis)
    found = copies(draw(law, tuple(shape), "float64"), (axis,))
    for i, j in itertools.combinations(range(3), 2):
        assert not np.allclose(found[i], found[j])
    for one in found:
        matrix = one[:, :, 1, 0] if layout == "torch" else one[1, 0].T
        np.testing.assert_allclose(matrix.T @ matrix, 4 * np.eye(4), rtol=0, atol=1e-12)
        assert np.count_nonzero(one) == 28
    assert law.marginal(tuple(shape)) == DeltaOrthogonal(2.0, layout).marginal(own)


@pytest.mark.parametrize(
    "law",
    [
        Orthogonal(batch_axis=1),
        Sparse(Normal(), 0.5, axis=1, batch_axis=1),
        Identity(batch_axis=1),
        Dirac(batch_axis=1),
        DeltaOrthogonal(batch_axis=1),
        Blocks(((4, Orthogonal(batch_axis=2)), (6, Identity(batch_axis=-1))), 1),
    ],
)
def test_a_shard_is_the_slice_of_the_whole(engine, law):
    shape = (12, 10, 9, 3) if "D" in type(law).__name__ else (12, 10, 9)
    whole = draw(law, shape, "float32", name="w")
    for offsets in itertools.product((0, 5), (0, 3, 7), (0, 4)):
        offsets += (0,) * (len(shape) - 3)
        block = whole[tuple(slice(at, at + 5) for at in offsets)]
        part = empty(block.shape, "float32", "F")
        fastinit.fill(part, law, seed=0, name="w", shard=Shard(shape, offsets))
        np.testing.assert_allclose(part, block, rtol=0, atol=1e-6)
        assert ((part == 0) == (block == 0)).all()


def test_leading_batch_axes_are_a_batch():
    assert Orthogonal(batch_axis=0) == Orthogonal(batch=1)
    assert Orthogonal(batch_axis=(0, 1)) == Orthogonal(batch=2)
    assert Orthogonal(batch_axis=[1]).batch_axis == (1,)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Orthogonal(batch=1, batch_axis=1), ValueError, r"batch is 1 and batch_axis \(1,\); pass one of them"),
        (lambda: Orthogonal(batch_axis=0.0), TypeError, "batch_axis is 0.0; pass an axis, such as 0, or several"),
        (lambda: Sparse(sparsity=0.5, batch_axis="0"), TypeError, "batch_axis is '0'; pass an axis"),
        (lambda: Identity(batch_axis=True), TypeError, "batch_axis is True; pass an axis"),
        (lambda: Dirac(batch_axis=(0, 1.5)), TypeError, "an entry of Dirac: batch_axis is 1.5"),
        (lambda: draw(Identity(batch_axis=3), (2, 3, 3), "float32"), ValueError, "batch_axis 3 is not an axis of"),
        (lambda: draw(Identity(batch_axis=(0, -3)), (2, 3, 3), "float32"), ValueError, "names axis -3 .* twice"),
        (lambda: draw(Identity(), (2, 3, 3), "float32"), ValueError, "for matrices along an axis batch_axis"),
        (lambda: draw(Orthogonal(batch_axis=1), (3, 3), "float32"), ValueError, "two dimensions or more beside the 1"),
        (lambda: draw(Sparse(Constant(1), 0.5, axis=2, batch_axis=0), (2, 3, 3), "float32"), ValueError, "axis 2 does"),
    ],
)
def test_an_axis_that_cannot_be_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
