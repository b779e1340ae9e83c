"""The short ways to a kernel, for biases: the same values as any other way."""

from __future__ import annotations

import numpy as np
import pytest
from drawing import LAWS, STORAGE, same_bits

import fastinit
from fastinit import engines
from fastinit.address import stream_words
from fastinit.dtypes import FORMATS
from fastinit.engines import compiled
from fastinit.engines.compiled import entries
from fastinit.laws.law import IndependentLaw

SIZES = (1, 64, 5000)
LAWS = {**LAWS, "of the reference engine alone": fastinit.laws.LogOfUniform(1.0, 16.0)}
DRAWN = [name for name, law in LAWS.items() if isinstance(law, IndependentLaw)]


def expected(law, size, dtype):
    """What the reference engine draws, as raw storage."""
    buf = np.zeros(size, FORMATS[dtype].storage)
    with engines.use("numpy"):
        fastinit.fill(buf, law, seed=5, name="bias", dtype=dtype)
    return buf


@pytest.mark.parametrize("dtype", STORAGE)
@pytest.mark.parametrize("case", DRAWN)
def test_a_line_and_an_address_get_the_values_of_any_other_fill(case, dtype):
    law, format = LAWS[case], FORMATS[dtype]
    arguments, words = law.kernel_arguments(format), stream_words(5, "bias")
    for size in SIZES:
        room = np.zeros(size + 2, format.storage)
        compiled.fill_line(arguments, room[1:-1], words, format.code)
        same_bits(room[1:-1], expected(law, size, dtype))
        room[:] = 0
        place = room[1:].ctypes.data
        if compiled.fill_address(arguments, place, size, room.dtype, words, format.code):
            same_bits(room[1:-1], expected(law, size, dtype))
        else:
            assert (arguments.kernel, "rows") not in compiled.KERNELS.made  # the reference engine draws this law
            assert not room.any()
        assert not room[0] and not room[-1]


def test_an_address_is_refused_off_its_boundary_and_before_the_kernel_is_compiled(monkeypatch):
    law, format, words = fastinit.laws.Uniform(1.0, 2.0), FORMATS["float32"], stream_words(5, "bias")
    arguments, memory = law.kernel_arguments(format), np.zeros(68, np.float32)
    compiled.fill_line(arguments, memory[:64], words, 0)
    memory[:] = 0
    for beside in (1, 2, 3):
        address = memory.ctypes.data + beside
        assert compiled.fill_address(arguments, address, 64, memory.dtype, words, 0) is False
    monkeypatch.setattr(entries, "_lines", {})
    assert compiled.fill_address(arguments, memory.ctypes.data, 64, memory.dtype, words, 0) is False
    assert not memory.any()


def test_a_small_fill_takes_the_short_way(monkeypatch):
    engines.named("numba")  # load it
    seen = []
    monkeypatch.setattr(compiled, "fill_line", lambda arguments, line, words, code: seen.append(line.shape))
    square = np.zeros((8, 8), np.float32)
    fastinit.fill(square, fastinit.laws.Normal(), seed=1)
    assert seen == [(64,)]
    fastinit.fill(square[:, :4], fastinit.laws.Normal(), seed=1)  # not contiguous
    with engines.use("numpy"):
        fastinit.fill(square[4:], fastinit.laws.Normal(), seed=1)
    assert seen == [(64,)]
    assert np.count_nonzero(square) == 48


def test_memory_off_its_boundary_or_of_a_file_does_not_take_the_short_way(monkeypatch, tmp_path):
    engines.named("numba")
    seen = []
    monkeypatch.setattr(compiled, "fill_line", lambda arguments, line, words, code: seen.append(line.shape))
    beside = np.zeros(65 * 4, np.uint8)[1:257].view(np.float32)
    assert not beside.flags.aligned
    fastinit.fill(beside, fastinit.laws.Normal(), seed=1)
    of_file = np.memmap(tmp_path / "w.bin", np.float32, "w+", shape=(64,))
    fastinit.fill(of_file, fastinit.laws.Normal(), seed=1)
    assert not seen
    expected = np.zeros(64, np.float32)
    with engines.use("numpy"):
        fastinit.fill(expected, fastinit.laws.Normal(), seed=1)
    same_bits(beside.copy(), expected)
    same_bits(np.array(of_file), expected)
