"""Both engines against the known answers, and the known answers against the scalar engine they come from."""

from __future__ import annotations

import random

import numpy as np
import pytest
from known_answers import CASES, GOLDEN, INDICES, PHILOX, STANDARD_OUTPUT, STANDARD_SEED
from scalar_engine import FORMATS, philox, value

import fastinit
from fastinit import engines, laws
from fastinit.engines import compiled, reference

LAWS = {kind: getattr(laws, kind.title().replace("_", "")) for kind, *_ in CASES.values()}
STORAGE = {"float64": np.uint64, "float32": np.uint32, "float16": np.uint16, "bfloat16": np.uint16}
LONGEST = 2**58


@pytest.fixture(params=["numba", "numpy"])
def engine(request):
    with engines.use(request.param):
        yield request.param


def words_of_group(engine, group, domain, stream):
    """The 64 words of a group: row is the word of the counter, column the lane."""
    if engine == "numpy":
        words = reference.words(np.array([group], np.uint64), domain, stream)
    else:
        words = np.empty(64, np.uint32)
        compiled.words(words, group, 1, np.uint32(domain), stream)
    return words.reshape(4, 16)


def block(kind, params, dtype, seed, name, start, count):
    """The bits of `count` elements from `start` on of the longest tensor, by fill."""
    storage = np.dtype(STORAGE.get(dtype, np.uint8))
    raw = np.zeros(count, storage)
    buf = raw.view(dtype) if dtype in ("float64", "float32", "float16") else raw
    shard = fastinit.Shard((LONGEST,), (start,))
    fastinit.fill(buf, LAWS[kind](*params), seed=seed, name=name, shard=shard, dtype=dtype)
    return [int(bits) for bits in raw]


@pytest.mark.parametrize(("counter", "key", "output"), PHILOX)
def test_philox_gives_the_published_words(engine, counter, key, output):
    c0, c1, c2, c3 = counter
    q, domain = (c1 & 0xFFFFFF) << 32 | c0, c1 >> 24
    words = words_of_group(engine, q // 16, domain, np.array([*key, c2, c3], np.uint32))
    assert tuple(int(word) for word in words[:, q % 16]) == output


@pytest.mark.parametrize(("counter", "key", "output"), PHILOX)
def test_the_scalar_philox_gives_the_published_words(counter, key, output):
    assert philox(counter, key) == output


def test_philox_is_the_generator_of_the_cpp_standard(engine):
    words = words_of_group(engine, 2499 // 16, 0, np.array([STANDARD_SEED, 0, 0, 0], np.uint32))
    assert words[3, 2499 % 16] == STANDARD_OUTPUT
    assert philox((2499, 0, 0, 0), (STANDARD_SEED, 0))[3] == STANDARD_OUTPUT


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", FORMATS)
def test_fill_gives_the_golden_bits(engine, case, dtype):
    kind, params, seed, name = CASES[case]
    got = [block(kind, params, dtype, seed, name, index, 1)[0] for index in INDICES]
    assert dict(zip(INDICES, got, strict=True)) == dict(zip(INDICES, GOLDEN[case, dtype], strict=True))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", FORMATS)
def test_the_golden_bits_are_those_of_the_scalar_engine(case, dtype):
    kind, params, seed, name = CASES[case]
    expected = tuple(value(kind, params, dtype, seed, name, index) for index in INDICES)
    assert GOLDEN[case, dtype] == expected


# Both sides of 0, of which the kernel takes one tail or both; the last has one word on the far side of its middle.
@pytest.mark.parametrize(
    ("alpha", "beta"), [(0.0, 1.0), (0.5, 2.0), (0.999, 3.0), (-1.0, 0.0), (-2.0, -0.5), (-1e-9, 3.0), (-1.0, 0.5)]
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_cut_beside_the_middle_agrees_with_the_scalar_engine(engine, alpha, beta, dtype):
    params = (0.0, 1.0, alpha, beta)
    expected = [value("truncated_normal", params, dtype, 7, "cut", 1000 + i) for i in range(70)]
    assert block("truncated_normal", params, dtype, 7, "cut", 1000, 70) == expected


def test_there_is_a_golden_row_for_every_law_and_dtype():
    assert set(GOLDEN) == {(case, dtype) for case in CASES for dtype in FORMATS}
    assert {kind for kind, *_ in CASES.values()} == set(LAWS)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", FORMATS)
def test_fill_agrees_with_the_scalar_engine_wherever_it_starts(engine, case, dtype):
    kind, params, seed, name = CASES[case]
    draw = random.Random(f"{case} {dtype}")
    for magnitude in (2**6, 2**20, 2**33, 2**41, 2**58 - 100):
        start = draw.randrange(magnitude)
        expected = [value(kind, params, dtype, seed, name, start + offset) for offset in range(70)]
        assert block(kind, params, dtype, seed, name, start, 70) == expected
