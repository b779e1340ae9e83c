"""Pieces of work: blocks of a box, a buffer of each thread's own, progress in bytes."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastinit.pipeline import BoxGrid, Staging, in_bytes


@given(sides=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=4))
def test_the_blocks_of_a_box_cover_it_once(sides):
    grid = BoxGrid(tuple(size for size, _ in sides), tuple(min(one) for one in sides))
    seen = np.zeros(grid.shape, int)
    for i in range(grid.count):
        corner, sizes = grid.box(i)
        assert all(size <= most for size, most in zip(sizes, grid.block, strict=True))
        seen[tuple(slice(c, c + n) for c, n in zip(corner, sizes, strict=True))] += 1
    assert (seen == 1).all()


def test_a_thread_has_one_buffer_and_no_other_thread_has_it():
    staging, found = Staging(100, np.uint16), []
    assert staging.buffer is staging.buffer
    assert (staging.buffer.size, staging.buffer.dtype) == (100, np.uint16)
    other = threading.Thread(target=lambda: found.append(staging.buffer))
    other.start()
    other.join()
    assert not np.shares_memory(found[0], staging.buffer)


def test_progress_in_pieces_is_told_in_bytes():
    told = []
    after = in_bytes(lambda done, total: told.append((done, total)), 1000, 3)
    assert after is not None
    for done in range(4):
        after(done)
    assert told == [(0, 1000), (333, 1000), (666, 1000), (1000, 1000)]
    assert in_bytes(None, 1000, 3) is None


@pytest.mark.parametrize(("shape", "block"), [((4, 5), (2, 5)), ((4, 5), (2, 3)), ((7,), (3,))])
def test_the_lines_of_a_block_lie_together_in_the_box(shape, block):
    grid, numbers = BoxGrid(shape, block), np.arange(np.prod(shape))
    for i in range(grid.count):
        corner, sizes = grid.box(i)
        part = numbers.reshape(shape)[tuple(slice(c, c + n) for c, n in zip(corner, sizes, strict=True))].reshape(-1)
        lines = list(grid.lines(i))
        assert sum(length for _, _, length in lines) == part.size
        for place, begin, length in lines:
            assert (numbers[place : place + length] == part[begin : begin + length]).all()
