"""Layouts that cut a buffer into short rows, against the contiguous buffer of the same bytes."""

from __future__ import annotations

import math

import pytest

from bench.ceilings import ceilings
from bench.ours import ours
from fastinit import Shard

COLUMNS = 128


@pytest.mark.parametrize("law", ["uniform", "normal"])
def test_fortran_order(law, arena, race):
    line = arena.view("float32")
    side = math.isqrt(line.size)
    turned = line.reshape(side, side).T
    assert turned.flags.f_contiguous and turned.size == line.size
    rivals = [*ceilings(line), ours(law, line, "own contiguous")]
    race(f"{law} float32, Fortran order", ours(law, turned), rivals, "float32", shape=turned.shape)


@pytest.mark.parametrize("law", ["uniform", "normal"])
def test_column_shard(law, arena, race):
    """The middle 128 of 1024 columns: a tensor-parallel rank's block, contiguous in its own memory."""
    line = arena.view("float32")
    block = line.reshape(-1, COLUMNS)
    shard = Shard((len(block), 8 * COLUMNS), (0, 3 * COLUMNS))
    rivals = [*ceilings(line), ours(law, line, "own contiguous")]
    race(f"{law} float32, column shard", ours(law, block, shard=shard), rivals, "float32", shape=block.shape)
