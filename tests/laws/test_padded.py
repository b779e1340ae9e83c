"""A table with a padding row: the law of the other rows is untouched, whole, sharded, cut into pieces."""

from __future__ import annotations

import numpy as np
import pytest
from drawing import STORAGE, draw, empty, same_bits

import fastinit
from fastinit import Shard
from fastinit.laws import Normal, Padded, Uniform
from fastinit.scheme_names import law_of

SHAPE, ROW = (37, 50), 11
LAW = Padded(Normal(1.0, 0.5), ROW)


@pytest.mark.parametrize("dtype", STORAGE)
def test_one_row_is_zero_and_the_others_are_those_of_the_values(dtype):
    whole, plain = draw(LAW, SHAPE, dtype, name="w"), draw(LAW.values, SHAPE, dtype, name="w")
    plain[ROW] = 0
    same_bits(whole, plain)


@pytest.mark.parametrize("offsets", [(0, 0), (0, 20), (11, 0), (5, 10), (12, 0), (36, 49)])
def test_a_shard_is_the_slice_of_the_whole(offsets):
    whole = draw(LAW, SHAPE, "bfloat16", name="w")
    block = whole[offsets[0] :, offsets[1] :]
    part = empty(block.shape, "bfloat16")
    fastinit.fill(part, LAW, dtype="bfloat16", seed=0, name="w", shard=Shard(SHAPE, offsets))
    same_bits(part, np.ascontiguousarray(block))


def test_the_row_of_a_buffer_in_fortran_order_is_zero_too():
    x = np.full(SHAPE, np.nan, np.float32, order="F")
    fastinit.fill(x, LAW, seed=0, name="w")
    same_bits(np.ascontiguousarray(x), draw(LAW, SHAPE, "float32", name="w"))


def test_moments_are_those_of_what_is_drawn():
    element = LAW.marginal(SHAPE)
    x = np.concatenate([draw(LAW, SHAPE, "float64", name=f"w{i}").ravel() for i in range(100)])
    assert element.mean == pytest.approx(36 / 37)
    assert abs(x.mean() - element.mean) < 5 * element.std / x.size**0.5
    assert abs(x.std() - element.std) < 5 * element.std / x.size**0.5
    assert element.support[0] <= 0.0 <= element.support[1]


def test_a_rule_names_the_row():
    assert law_of("normal", {"std": 0.02, "padding_idx": 3}, (10, 4)) == Padded(Normal(0.0, 0.02), 3)
    assert law_of("xavier_uniform", {"padding_idx": 0}, (10, 2)) == Padded(Uniform(-(0.5**0.5), 0.5**0.5), 0)
    with pytest.raises(ValueError, match=r"orthogonal has no use for .padding_idx.; it does not draw element by"):
        law_of("orthogonal", {"padding_idx": 0}, (10, 4))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Padded(Normal(), -1), ValueError, "row is -1; it counts from 0"),
        (lambda: Padded(Normal(), 0.5), TypeError, "row"),
        (lambda: Padded(LAW, 0), TypeError, "pass an independent law"),
        (lambda: fastinit.fill(np.ones((10, 2)), Padded(Normal(), 10)), ValueError, "row 10 does not exist .* .10, 2."),
        (lambda: fastinit.fill(np.ones(()), Padded(Normal(), 0)), ValueError, "row 0 does not exist .* shape .."),
    ],
)
def test_a_row_that_cannot_be_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
