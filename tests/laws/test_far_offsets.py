"""Elements beyond 2^32, 2^40 and 2^57: the address does not wrap, and both engines know it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from drawing import LAWS, STORAGE, empty, same_bits

import fastinit
from fastinit import Shard, engines

LONGEST = 1 << 58
# 32-bit and 64-bit element numbers, 2^34 where the counter's low word overflows, the last elements there are.
PLACES = [(1 << 32) - 700, (1 << 34) - 700, (1 << 36) - 700, (1 << 40) - 700, (1 << 57) - 700, LONGEST - 1400]


def block(law, dtype, start, count=1400, tensor=LONGEST):
    x = empty(count, dtype)
    fastinit.fill(x, law, seed=19, name="far", dtype=dtype, shard=Shard((tensor,), (start,)))
    return x


@pytest.mark.parametrize("dtype", STORAGE)
@pytest.mark.parametrize("case", LAWS)
@pytest.mark.parametrize("start", PLACES)
def test_engines_agree_far_out(case, dtype, start):
    with engines.use("numpy"):
        expected = block(LAWS[case], dtype, start)
    with engines.use("numba"):
        same_bits(block(LAWS[case], dtype, start), expected)


@pytest.mark.parametrize("start", PLACES)
def test_cuts_do_not_matter_far_out(engine, start):
    whole = block(LAWS["normal"], "float32", start)
    for begin, end in itertools.pairwise([0, 1, 63, 64, 700, 701, 1333, 1400]):
        same_bits(block(LAWS["normal"], "float32", start + begin, end - begin), whole[begin:end])


def test_no_two_places_are_the_same_because_an_index_wrapped(engine):
    starts = [0, 1 << 31, 1 << 32, 1 << 33, 1 << 34, 1 << 36, 1 << 38, 1 << 40, 1 << 56, 1 << 57]
    blocks = [block(LAWS["uniform"], "float64", start, 64).tobytes() for start in starts]
    assert len(set(blocks)) == len(starts)


@pytest.mark.parametrize("dtype", STORAGE)
def test_a_block_of_an_enormous_matrix_is_its_rows(engine, dtype):
    shape, offsets = (1 << 28, 1 << 30), ((1 << 28) - 5, (1 << 29) - 33)
    corner = empty((5, 100), dtype, "F")
    fastinit.fill(corner, LAWS["normal"], seed=19, name="far", dtype=dtype, shard=Shard(shape, offsets))
    for row in range(5):
        start = (offsets[0] + row) * shape[1] + offsets[1]
        same_bits(np.ascontiguousarray(corner[row]), block(LAWS["normal"], dtype, start, 100))


def test_the_tensor_may_have_two_to_the_58_elements_and_not_one_more():
    block(LAWS["normal"], "float32", LONGEST - 1, 1)
    with pytest.raises(ValueError, match=r"2\*\*58"):
        block(LAWS["normal"], "float32", LONGEST - 1, 1, LONGEST + 1)
