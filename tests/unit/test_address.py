"""Seeds, names and shards become stream words and runs of indices."""

from __future__ import annotations

import copy
import hashlib
import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastinit
from fastinit import Shard, laws
from fastinit.address import LARGEST_TENSOR, collapse, index_strides, new_seed, stream_words


def words(seed, name=""):
    return [int(word) for word in stream_words(seed, name)]


# --- seed and name ----------------------------------------------------------------------------------------------------


def test_seed_is_split_into_low_and_high_word():
    assert words(0x0123456789ABCDEF, 0)[:2] == [0x89ABCDEF, 0x01234567]


def test_an_integer_name_is_the_stream_id():
    assert words(0, 0xFEDCBA9876543210)[2:] == [0x76543210, 0xFEDCBA98]


@pytest.mark.parametrize("name", ["", "5", "layers.0.weight", "größe", "é", "\U0001d538", "a\x00b", "x" * 1000])
def test_a_text_name_is_its_blake2b_digest(name):
    digest = hashlib.blake2b(name.encode("utf-8"), digest_size=8).digest()
    assert words(0, name)[2:] == np.frombuffer(digest, "<u4").tolist()


def test_5_and_its_text_are_different_names():
    assert words(0, 5) != words(0, "5")


def test_names_that_unicode_normalises_to_one_stay_two():
    assert words(0, "\u00e9") != words(0, "e\u0301")


@pytest.mark.parametrize("kind", [int, np.int64, np.uint64, np.int8, np.uint32])
def test_numpy_integers_are_seeds_and_names(kind):
    assert words(kind(77), kind(78)) == words(77, 78)


def test_the_largest_seed_and_name_are_accepted():
    assert words(2**64 - 1, np.uint64(2**64 - 1)) == [0xFFFFFFFF] * 4


def test_new_seed_is_a_legal_seed_and_differs_every_time():
    seeds = {new_seed() for _ in range(100)}
    assert len(seeds) == 100
    assert all(0 <= seed < 2**64 for seed in seeds)
    assert max(seeds) >= 2**60


def test_the_stream_has_the_name_it_was_released_under():
    assert fastinit.STREAM == "fastinit-1"
    assert stream_words(1, "a", "fastinit-1").tolist() == stream_words(1, "a").tolist()


# --- shards -----------------------------------------------------------------------------------------------------------


def test_a_shard_holds_tuples_of_python_integers():
    shard = Shard(np.array([4, 6]), [np.int32(1), 2])
    assert (shard.shape, shard.offsets) == ((4, 6), (1, 2))
    assert {type(number) for number in shard.shape + shard.offsets} == {int}


def test_a_shard_is_a_value():
    shard = Shard((4, 6), (1, 2))
    assert shard == Shard([4, 6], [1, 2]) != Shard((4, 6), (2, 1))
    assert hash(shard) == hash(Shard([4, 6], [1, 2]))
    assert pickle.loads(pickle.dumps(shard)) == copy.deepcopy(shard) == shard
    with pytest.raises(AttributeError):
        shard.shape = (1,)


@pytest.mark.parametrize(
    ("block", "shape", "offsets"),
    [
        ((4,), (4,), (0,)),
        ((0,), (4,), (4,)),
        ((0, 6), (4, 6), (4, 0)),
        ((), (), ()),
        ((1, 1), (4, 6), (3, 5)),
        ((0, 0), (0, 0), (0, 0)),
    ],
)
def test_a_block_that_just_fits_is_accepted(block, shape, offsets):
    Shard(shape, offsets).check(block)


@pytest.mark.parametrize(
    ("block", "shape", "offsets", "message"),
    [
        ((5,), (4,), (0,), r"dimension 0 the block \[0, 5\) sticks out of the tensor, which has 4"),
        ((4,), (4,), (1,), r"dimension 0 the block \[1, 5\)"),
        ((0,), (4,), (5,), r"dimension 0 the block \[5, 5\)"),
        ((2, 3), (4, 6), (0, 4), r"dimension 1 the block \[4, 7\) sticks out of the tensor, which has 6"),
        ((4,), (2, 2), (0, 0), r"the buffer has 1 dimensions \(4,\), the tensor 2 \(2, 2\)"),
        ((2, 2), (4,), (0,), "or pass a flat buffer with Shard"),
    ],
)
def test_a_block_that_sticks_out_is_refused(block, shape, offsets, message):
    with pytest.raises(ValueError, match=message):
        Shard(shape, offsets).check(block)


# --- indices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (2, 3, 4), (7, 1, 2), (2, 0, 3)])
def test_index_strides_are_numpys_row_major_strides(shape):
    assert index_strides(shape) == tuple(np.prod(shape[axis + 1 :], dtype=int) for axis in range(len(shape)))
    if 0 not in shape:
        assert index_strides(shape) == np.empty(shape, np.uint8).strides


def test_a_tensor_of_2_to_58_elements_is_the_largest():
    assert LARGEST_TENSOR == 2**58
    assert index_strides((2**29, 2**29)) == (2**29, 1)
    with pytest.raises(ValueError, match=r"has 288230376151711745 elements; the stream addresses at most 2\*\*58"):
        index_strides((2**58 + 1,))


def test_the_last_element_of_the_largest_tensor_is_the_same_however_the_tensor_is_folded(engine):
    flat, square = np.full(1, np.nan, np.float32), np.full((1, 1), np.nan, np.float32)
    fastinit.fill(flat, laws.Uniform(), seed=0, shard=Shard((2**58,), (2**58 - 1,)))
    fastinit.fill(square, laws.Uniform(), seed=0, shard=Shard((2**29, 2**29), (2**29 - 1, 2**29 - 1)))
    assert 0 <= flat[0] == square[0, 0] < 1


@given(
    shape=st.lists(st.integers(1, 4), max_size=4),
    whole=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    order=st.permutations(range(4)),
    signs=st.lists(st.sampled_from([1, -1, 2]), min_size=4, max_size=4),
)
def test_collapsing_keeps_every_pair_of_place_and_index(shape, whole, order, signs):
    """Axes of any memory order, some reversed or spread, some cut from a larger tensor: the same walk after merging."""
    pitches = index_strides(tuple(size + extra for size, extra in zip(shape, whole, strict=False)))
    steps, reach = [0] * len(shape), 1
    for axis in (axis for axis in order if axis < len(shape)):
        steps[axis] = reach * signs[axis]
        reach *= shape[axis] * abs(signs[axis])

    def walk(axes):
        return sorted(
            (
                sum(i * step for i, (_, step, _) in zip(place, axes, strict=True)),
                sum(i * pitch for i, (_, _, pitch) in zip(place, axes, strict=True)),
            )
            for place in itertools.product(*(range(size) for size, _, _ in axes))
        )

    outer, cols = collapse(shape, steps, pitches)
    merged = [(axis.size, axis.step, axis.pitch) for axis in [*outer, cols]]
    assert walk(merged) == walk(list(zip(shape, steps, pitches, strict=True)))
    assert cols.pitch == 1


def test_a_contiguous_tensor_collapses_to_one_line():
    outer, cols = collapse((2, 3, 4), (12, 4, 1), (12, 4, 1))
    assert (outer, cols.size) == ([], 24)
