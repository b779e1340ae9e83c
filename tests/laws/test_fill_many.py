"""fill_many gives each buffer what fill gives it, and refuses what is wrong before the first store."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from drawing import STORAGE, same_bits

import fastinit
from fastinit import engines, laws
from fastinit.fill import many

NORMAL, UNIFORM = laws.Normal(0.0, 0.02), laws.Uniform(-0.1, 0.1)
CUT, MIXED = laws.TruncatedNormal(0.0, 1.0, -2.0, 2.0), laws.Blocks(((2, NORMAL), (4, UNIFORM)))


def buffers():
    """(buffer, law, name) of every kind: small and large, in one piece and not, of every dtype."""
    sizes = (0, 1, 63, 64, 65, 4096, 5000, 70_000)
    for number, size in enumerate(sizes):
        for law in (NORMAL, UNIFORM, CUT, laws.Laplace()):
            yield np.ones(size, np.float32), law, f"{type(law).__name__}.{number}"
    for dtype in ("float64", "float16", "float32"):
        yield np.ones((7, 9), dtype), NORMAL, f"{dtype}.rows"
        yield np.ones((9, 7), dtype).T, NORMAL, f"{dtype}.transposed"
        yield np.ones((9, 7), dtype)[::2], UNIFORM, f"{dtype}.strided"
    yield np.ones((6, 8), np.float32), laws.Orthogonal(), "orthogonal"
    yield np.ones((6, 8), np.float32), laws.Sparse(NORMAL, 0.5), "sparse"
    yield np.ones((6, 8), np.float32), MIXED, "parts"
    yield np.ones(300_000, np.float32), NORMAL, "large"
    yield np.ones(64, np.float32), laws.Copy(NORMAL, "Normal.3"), "a copy"
    yield np.ones(64, np.int32), laws.Constant(3), "whole numbers"
    yield np.ones(64, np.float32), NORMAL, 5
    yield memoryview(bytearray(64)).cast("f"), NORMAL, "a buffer"


@pytest.mark.parametrize("engine", ["numba", "numpy"])
@pytest.mark.parametrize("threads", [1, 3])
def test_the_bits_are_those_of_fill(monkeypatch, engine, threads):
    monkeypatch.setattr(many, "PER_CALL", 1 << 14)  # so that a batch is cut
    together, alone = list(buffers()), list(buffers())
    with engines.use(engine):
        fastinit.fill_many(together, seed=7, threads=threads)
        for buf, law, name in alone:
            fastinit.fill(buf, law, seed=7, name=name)
    for (got, *_), (expected, _, name) in zip(together, alone, strict=True):
        same_bits(np.asarray(got), np.asarray(expected)), name


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn"])
def test_formats_of_ml_dtypes_are_known(dtype):
    pytest.importorskip("ml_dtypes")
    got, expected = (fastinit.new((3, 70), laws.Constant(1), dtype=dtype) for _ in range(2))
    with engines.use("numba"):
        fastinit.fill_many([(got, NORMAL, "w")], seed=1)
        fastinit.fill(expected, NORMAL, seed=1, name="w")
    same_bits(got.view(STORAGE[dtype]), expected.view(STORAGE[dtype]))


def test_ten_thousand_biases_are_ten_thousand_streams():
    whole = np.zeros((10_000, 64), np.float32)
    with engines.use("numba"):
        fastinit.fill_many(((row, NORMAL, i) for i, row in enumerate(whole)), seed=0)
    assert len(np.unique(whole[:, 0])) > 9_990
    assert whole.std() == pytest.approx(0.02, rel=0.01)
    expected = fastinit.new(64, NORMAL, seed=0, name=9_999)
    same_bits(whole[-1], expected)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ((np.ones(3, np.float32), "he_normal", "b"), "tensor 'b': law is 'he_normal'"),
        ((np.ones(3, np.int32), NORMAL, "b"), "tensor 'b': buf has dtype int32"),
        ((np.ones(3, ">f4"), NORMAL, "b"), "tensor 'b': buf has the byte order"),
        ((np.broadcast_to(np.float32(1), 3), NORMAL, "b"), "tensor 'b': buf is read-only"),
        (([1.0], NORMAL, "b"), "tensor 'b': buf is a list"),
        ((np.ones(3, np.float16), laws.Normal(0, 1e5), "b"), "tensor 'b': .*beyond the largest float16"),
        ((np.ones((3, 3), np.float32), laws.Dirac(), "b"), "tensor 'b': "),
        ((np.ones(3, np.float32), NORMAL, "\ud800"), "lone surrogate"),
        ((np.ones(3, np.float32), NORMAL, -1), "it must be in"),
        ((np.ones(3, np.float32), NORMAL, 1.5), "pass a string or an integer"),
        ((np.ones(3, np.float32), NORMAL, "a"), "two tensors are named 'a'"),
        ((np.ones(3, np.float32), NORMAL), "triples"),
    ],
)
def test_what_is_wrong_is_named_before_the_first_store(wrong, message):
    first = np.ones(5, np.float32)
    with pytest.raises((TypeError, ValueError), match=message):
        fastinit.fill_many([(first, NORMAL, "a"), wrong], seed=0)
    assert (first == 1).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"seed": 0, "stream": "fastinit-2"}, "unknown here"),
        ({"seed": 0, "threads": 0}, "threads is 0"),
        ({"seed": 0, "progress": 3}, "progress is 3"),
    ],
)
def test_options_are_checked_first(options, message):
    first = np.ones(5, np.float32)
    with pytest.raises((TypeError, ValueError), match=message):
        fastinit.fill_many([(first, NORMAL, "a")], **options)
    assert (first == 1).all()


def test_progress_ends_at_the_total_and_a_fresh_seed_is_logged(caplog):
    said = []
    with caplog.at_level(logging.INFO, "fastinit"):
        fastinit.fill_many(list(buffers()), progress=lambda done, total: said.append((done, total)))
    assert "fill_many drew seed" in caplog.text
    assert said[-1][0] == said[-1][1] == sum(np.asarray(buf).nbytes for buf, *_ in buffers())
    assert [done for done, _ in said] == sorted(done for done, _ in said)


def test_nothing_is_filled_by_nothing():
    fastinit.fill_many([], seed=0)
    with pytest.raises(ValueError, match="seed is -1"):
        fastinit.fill_many([], seed=-1)


def test_of_several_names_the_one_that_comes_twice_is_named():
    tensors = [(np.ones(3, np.float32), NORMAL, name) for name in ("a", "b", "c", "b")]
    with pytest.raises(ValueError, match="two tensors are named 'b'"):
        fastinit.fill_many(tensors, seed=0)
    assert all((buf == 1).all() for buf, *_ in tensors)


def test_memory_of_a_file_is_filled_alone_after_its_pages_are_asked_for(tmp_path):
    mapped = np.asarray(np.memmap(tmp_path / "w.bin", np.float32, "w+", shape=(64,)))
    assert type(mapped) is np.ndarray
    assert not many.Batch.of(mapped, NORMAL).add(mapped, "a")
    fastinit.fill_many([(mapped, NORMAL, "a")], seed=0)
    same_bits(mapped, fastinit.new(64, NORMAL, seed=0, name="a"))
