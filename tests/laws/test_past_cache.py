"""Large fills store past the cache on some processors: the same bits, wherever a buffer begins and ends in a line."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from drawing import LAWS, STORAGE, empty, same_bits
from hypothesis import given, settings
from hypothesis import strategies as st

import fastinit
from fastinit import Shard, engines
from fastinit.engines.interface import StorePolicy
from fastinit.fill import memory, policies, runs, sparse
from fastinit.laws import Blocks, Sparse

CASES = ["uniform around zero", "normal", "truncated at two sigma", "upper half-line"]
# Elements in front of the buffer, which begins at a multiple of 64 bytes with none.
LEADS = [0, 1, 3, 17]
# (shape of the block, order, shard of a tensor that it is)
LAYOUTS = [
    ((2000, 300), "F", None),
    ((2048, 320), "F", None),
    ((1000, 77), "F", None),
    ((40, 4096), "F", None),
    ((3000, 130), "F", Shard((3001, 200), (1, 1))),
    ((3000, 130), "F", Shard((3001, 256), (1, 64))),
    ((5000, 128), "C", Shard((5000, 1024), (0, 384))),
    ((5000, 128), "C", Shard((5000, 1024), (0, 390))),
    ((100, 4160), "C", Shard((100, 8192), (0, 64))),
    ((700, 192), "C", Shard((800, 1000), (50, 64))),
    ((700, 192), "C", Shard((800, 1024), (50, 64))),
]


@pytest.fixture
def always(monkeypatch):
    """Every fill goes past the cache, however small it is."""
    monkeypatch.setenv("FASTINIT_PAST_CACHE", "1")
    monkeypatch.setattr(policies, "SMALLEST_PAST_CACHE", 0)
    monkeypatch.setattr(runs, "SMALLEST_CHUNK", 1 << 16)  # so that small buffers have several chunks


def framed(shape, dtype, lead, order="C"):
    """A block that begins so many elements behind a cache line, and all the memory that holds it."""
    count = int(np.prod(shape))
    itemsize = np.dtype(STORAGE[dtype]).itemsize
    raw = empty((count + lead + 64) * itemsize + 64, "float8_e5m2")
    begin = -raw.ctypes.data % 64
    whole = raw[begin : begin + (count + lead + 64) * itemsize].view(STORAGE[dtype])
    return whole, whole[lead : lead + count].reshape(shape, order=order)


def fill_both(law, shape, dtype, lead, order="C", shard=None, **options):
    """Fill with both engines, and by regular stores; the same bits, in the block and around it."""
    results = []
    for engine, past_cache in (("numba", "1"), ("numpy", "1"), ("numba", "0")):
        whole, block = framed(shape, dtype, lead, order)
        with engines.use(engine), pytest.MonkeyPatch.context() as patch:
            patch.setenv("FASTINIT_PAST_CACHE", past_cache)
            fastinit.fill(block, law, seed=23, dtype=dtype, shard=shard, **options)
        results.append(whole)
    same_bits(*results[:2])
    same_bits(*results[1:])


@pytest.mark.parametrize("dtype", STORAGE)
@pytest.mark.parametrize("case", CASES)
def test_runs_have_the_same_bits(always, case, dtype):
    for lead in LEADS:
        for count in (1, 63, 64, 65, 200, 5000, 70_001):
            fill_both(LAWS[case], count, dtype, lead, name=case)
        fill_both(LAWS[case], 70_001, dtype, lead, shard=Shard((80_000,), (37,)), name=case)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_layouts_have_the_same_bits(always, layout, dtype):
    shape, order, shard = layout
    for case in CASES[:2]:
        for lead in LEADS[:3]:
            fill_both(LAWS[case], shape, dtype, lead, order, shard, name=case)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("axis", [0, 1])
def test_sparse_laws_have_the_same_bits(always, monkeypatch, axis, dtype):
    # Thinned in memory of the thread's own, by blocks that leave a rest, and carried from there.
    monkeypatch.setattr(sparse, "STAGED", 1 << 15)
    law = Sparse(LAWS["normal"], 0.8, axis=axis)
    for shape, order, shard in [
        ((30, 4000), "C", None),
        ((900, 300), "C", None),
        ((900, 300), "F", None),
        ((130, 700), "C", Shard((200, 1024), (7, 64))),
        ((130, 700), "C", Shard((200, 1000), (7, 5))),
    ]:
        for lead in (0, 3):
            fill_both(law, shape, dtype, lead, order, shard)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_block_has_the_same_bits(data):
    rows, cols = data.draw(st.integers(1, 300), "rows"), data.draw(st.integers(1, 700), "cols")
    offsets = tuple(data.draw(st.integers(0, 130), "offset") for _ in range(2))
    beyond = tuple(
        data.draw(st.sampled_from([0, 1, 64 - (n + o) % 64]), "beyond")
        for n, o in zip((rows, cols), offsets, strict=True)
    )
    shard = Shard((rows + offsets[0] + beyond[0], cols + offsets[1] + beyond[1]), offsets)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTINIT_PAST_CACHE", "1")
        patch.setattr(policies, "SMALLEST_PAST_CACHE", 0)
        fill_both(
            LAWS[data.draw(st.sampled_from(CASES), "law")],
            (rows, cols),
            data.draw(st.sampled_from(sorted(STORAGE)), "dtype"),
            data.draw(st.integers(0, 20), "lead"),
            data.draw(st.sampled_from("CF"), "order"),
            shard,
        )


def test_a_large_buffer_on_several_threads(always):
    # Chunks that begin and end anywhere in a huge page and a cache line, all of them at work at once.
    results = []
    for threads in (1, 3):
        whole, block = framed((9 << 20) + 77, "float32", 5)
        with engines.use("numba"):
            fastinit.fill(block, LAWS["normal"], seed=29, threads=threads)
        results.append(whole)
    same_bits(*results)
    with engines.use("numpy"):
        last = np.empty(1000, np.float32)
        fastinit.fill(last, LAWS["normal"], seed=29, shard=Shard(((9 << 20) + 77,), ((9 << 20) + 77 - 1000,)))
    same_bits(results[0][5:-64][-1000:], last)


def test_which_fills_go_past_the_cache(monkeypatch):
    size = policies.SMALLEST_PAST_CACHE
    for value, large, small in (
        ("1", StorePolicy.NON_TEMPORAL, StorePolicy.PREFETCH),
        ("0", StorePolicy.REGULAR, StorePolicy.REGULAR),
    ):
        monkeypatch.setenv("FASTINIT_PAST_CACHE", value)
        assert policies.told(size).resident is large
        assert policies.told(size - 1).resident is small
        with engines.use("numba"):
            assert fastinit.info()["store_policies"] == value
    monkeypatch.delenv("FASTINIT_PAST_CACHE")
    assert policies.told(size) is None  # tried out
    if sys.platform.startswith("linux"):
        intel = "GenuineIntel" in Path("/proc/cpuinfo").read_text(errors="replace")
        assert policies.told(size - 1).resident is (StorePolicy.PREFETCH if intel else StorePolicy.REGULAR)


@pytest.mark.parametrize("dtype", STORAGE)
@pytest.mark.parametrize("case", CASES)
def test_lines_that_are_asked_for_are_not_written(monkeypatch, case, dtype):
    monkeypatch.setenv("FASTINIT_PAST_CACHE", "1")
    monkeypatch.setattr(policies, "SMALLEST_PAST_CACHE", 1 << 40)
    for lead in LEADS:
        for count in (5000, 12_288, 300_001):
            fill_both(LAWS[case], count, dtype, lead, name=case)


@pytest.mark.parametrize(
    ("chosen", "nbytes", "expected"),
    [
        ("1", 32 << 20, StorePolicy.NON_TEMPORAL),
        ("1", (32 << 20) - 4, StorePolicy.PREFETCH),
        ("0", 32 << 20, StorePolicy.REGULAR),
    ],
)
def test_an_engine_is_told(monkeypatch, chosen, nbytes, expected):
    told = set()

    class Told:
        def fill(self, *arguments):
            told.add(arguments[-1])

    monkeypatch.setenv("FASTINIT_PAST_CACHE", chosen)
    monkeypatch.setattr(engines, "chosen", lambda elements: Told())
    buf = np.ones(nbytes // 4, np.float32)
    fastinit.fill(buf, LAWS["normal"], seed=0)
    assert told == {expected}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks the Linux kernel")
def test_fresh_memory_is_not_resident(monkeypatch):
    # The kernel clears it when it is touched, and leaves it in the cache: there an ordinary store is faster.
    monkeypatch.setenv("FASTINIT_PAST_CACHE", "1")
    buf = np.empty(64 << 20, np.uint8)
    middle, storing, ways = buf.ctypes.data + (32 << 20), policies.told(64 << 20), []
    assert not memory.is_resident(middle)
    storing.chunk(middle, 1 << 20, ways.append)
    buf[32 << 20] = 1
    assert memory.is_resident(middle)
    storing.chunk(middle, 1 << 20, ways.append)
    assert ways == [StorePolicy.PREFETCH, StorePolicy.NON_TEMPORAL]


def test_chunks_of_a_large_buffer_are_whole_huge_pages():
    # Of a page that two threads touch first, each clears a copy: every page twice, a third more time.
    buf = np.empty((64 << 20) + 12_345, np.float32)
    cut = runs.chunk_grid(buf, 0, (1,), 2)
    begins = [buf.ctypes.data + 4 * cut.region(chunk, 0, 0)[0] for chunk in range(cut.chunks)]
    assert all(begin % memory.HUGE_PAGE == 0 for begin in begins[1:])
    assert sum(cut.region(chunk, 0, 0)[3] for chunk in range(cut.chunks)) == buf.size


def test_chunks_of_a_transposed_buffer_begin_with_cache_lines():
    # A line that two chunks share is read from memory by both, in every column.
    memory_of = np.empty(2048 * 2064 + 64, np.float32)
    for lead in (0, 5):
        buf = memory_of[lead : lead + 2048 * 2064].reshape(2064, 2048, order="F")
        cut = runs.chunk_grid(buf, 0, (2048, 1), 2)
        plans = [cut.region(chunk, 0, 0) for chunk in range(cut.chunks)]
        assert sum(plan[1] * plan[3] for plan in plans) == buf.size
        begins = {plan[0] % 2064 for plan in plans}
        assert len(begins) > 1
        assert all((buf.ctypes.data + 4 * begin) % 64 == 0 for begin in begins - {0})


def test_groups_at_once_do_not_share_a_high_word():
    # At element 2^34 the low word of the counter begins anew; a turn of several groups would take the wrong high word.
    for groups in (1, 2, 3, 4, 5):
        first = (1 << 34) - 64 * groups
        fill_both(LAWS["normal"], 640, "float32", 0, shard=Shard((1 << 35,), (first,)))


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float8_e5m2"])
@pytest.mark.parametrize("sizes", [(4096, 4096, 4096), (128, 64, 4160), (300, 5000, 77), (1, 63, 4096)])
def test_rows_with_gaps_between_them_travel_while_the_next_is_drawn(always, sizes, dtype, lead):
    """The parts of an inner axis: the last lines of a row are still on their way when the next one begins."""
    laws = (LAWS["normal"], LAWS["uniform around zero"], LAWS["truncated at two sigma"])
    law = Blocks(tuple(zip(sizes, laws, strict=True)), 1)
    fill_both(law, (37, sum(sizes)), dtype, lead)
    fill_both(law, (37, 4000), dtype, lead, shard=Shard((40, sum(sizes)), (2, 100)))
