"""Which way to store is measured by the fills themselves: the fastest is found on a noisy machine, and kept."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from drawing import LAWS, same_bits

import fastinit
from fastinit import engines, laws
from fastinit.engines import cache, compiled
from fastinit.engines.interface import StorePolicy
from fastinit.fill import kept_policies, policies

CASE = policies.Case("normal_32", "rows", 4, 0, "resident", several=False)
CACHE = 32 << 20  # bytes of a last-level cache
GIB = 1 << 30


@pytest.fixture
def nothing_chosen(monkeypatch, tmp_path):
    """No choice of this process or of an earlier one."""
    monkeypatch.delenv("FASTINIT_PAST_CACHE", raising=False)
    monkeypatch.setattr(policies, "_contests", {})
    monkeypatch.setattr(policies, "_kept", None)
    file = tmp_path / kept_policies.FILE
    monkeypatch.setattr(kept_policies, "_place", lambda: (file, "these kernels"))
    return file


def simulated(costs, first, seed, noise):
    """A contest on a noisy machine whose cache flatters what does not pass it: what it chose, and what that took.

    Every twentieth chunk takes three times as long; a way through the cache takes a fifth less until the cache is full.
    """
    draw = random.Random(seed)
    contest = policies.Contest(first, [way for way in policies.PREFERRED if way is not first])
    spent, last, alike = 0.0, None, 0
    for _ in range(GIB // policies.TRIAL_CHUNK):
        way = contest.incumbent if contest.chosen else contest.turn
        alike = alike + 1 if way is last else 1
        last = way
        spent += costs[way]
        seen = costs[way] * draw.lognormvariate(0, noise) * (3 if draw.random() < 0.05 else 1)
        flattered = way is not StorePolicy.NON_TEMPORAL and alike * policies.TRIAL_CHUNK <= CACHE
        contest.note(way, policies.TRIAL_CHUNK, (0.8 if flattered else 1) * seen * policies.TRIAL_CHUNK)
    assert contest.chosen
    return contest.incumbent, spent / (GIB // policies.TRIAL_CHUNK)


@pytest.mark.parametrize("noise", [0.03, 0.05])
@pytest.mark.parametrize("spread", [(1, 0.98, 0.96), (1, 0.9, 0.8), (1, 0.7, 0.6), (1, 1.3, 1.6), (1, 1.05, 0.95)])
def test_the_fastest_way_is_found_within_3_percent_19_times_of_20(monkeypatch, spread, noise):
    monkeypatch.setattr(policies, "skipped", lambda: CACHE)
    for order in itertools.permutations(spread):
        costs = dict(zip(StorePolicy, order, strict=True))
        for first in StorePolicy:
            found = [simulated(costs, first, seed, noise)[0] for seed in range(40)]
            assert sum(costs[way] <= 1.03 * min(spread) for way in found) >= 38, (costs, first)


def test_the_trial_costs_little_where_the_first_guess_is_right(monkeypatch):
    monkeypatch.setattr(policies, "skipped", lambda: CACHE)
    for others in ((1.05, 1.1), (1.1, 1.3), (1.3, 1.6), (1.02, 2.0)):
        for first in StorePolicy:
            rest = [way for way in StorePolicy if way is not first]
            for costs in ({first: 1.0, rest[0]: a, rest[1]: b} for a, b in itertools.permutations(others)):
                spent = sorted(simulated(costs, first, seed, 0.03)[1] for seed in range(40))
                assert spent[20] < 1.03, (costs, first)


@pytest.mark.parametrize("size", [16 << 20, 33 << 20, 47 << 20])
def test_fills_shorter_than_a_turn_decide_too(monkeypatch, size):
    monkeypatch.setattr(policies, "skipped", lambda: CACHE)
    contest = policies.Contest(StorePolicy.REGULAR, [StorePolicy.NON_TEMPORAL, StorePolicy.PREFETCH])
    for _ in range(40):
        contest.begin()
        for _ in range(0, size, policies.TRIAL_CHUNK):
            cost = 1.0 if contest.turn is StorePolicy.PREFETCH else 1.09
            contest.note(contest.turn, policies.TRIAL_CHUNK, cost * policies.TRIAL_CHUNK)
        contest.end()
    assert contest.chosen
    assert contest.incumbent is StorePolicy.PREFETCH


def test_a_slow_way_that_is_planted_is_not_chosen(monkeypatch, nothing_chosen):
    monkeypatch.setattr(policies, "SMALLEST_PAST_CACHE", 1 << 20)
    monkeypatch.setattr(policies, "TRIAL_CHUNK", 1 << 19)
    monkeypatch.setattr(policies, "COUNTED", 2 << 20)
    monkeypatch.setattr(policies, "skipped", lambda: 1 << 20)
    buf = np.ones(32 << 18, np.float32)
    fill, told = compiled.fill, []
    for good in StorePolicy:
        policies._contests.clear()

        def planted(*arguments, good=good):
            told.append(arguments[-1])
            begin = policies.clock()
            fill(*arguments)
            if arguments[-1] is not good:  # busy: a sleep would take no processor time
                end = 2 * policies.clock() - begin
                while policies.clock() < end:
                    pass

        monkeypatch.setattr(compiled, "fill", planted)
        with engines.use("numba"):
            for threads in (1, 2):
                fastinit.fill(buf, LAWS["normal"], seed=1, threads=threads)
                fastinit.fill(buf, LAWS["normal"], seed=1, threads=threads)
                assert told[-1] is good
        assert {one.incumbent for one in policies._contests.values()} == {good}
        assert set(told[:40]) == set(StorePolicy)
    assert set(policies.chosen().values()) == {"non_temporal"}


def test_bits_do_not_depend_on_what_is_tried(monkeypatch, nothing_chosen):
    monkeypatch.setattr(policies, "SMALLEST_PAST_CACHE", 1 << 20)
    monkeypatch.setattr(policies, "TRIAL_CHUNK", 1 << 19)
    monkeypatch.setattr(policies, "COUNTED", 1 << 20)
    monkeypatch.setattr(policies, "skipped", lambda: 1 << 19)
    expected, got = (np.ones((3 << 20) + 17, np.float32) for _ in range(2))
    with engines.use("numpy"):
        fastinit.fill(expected, LAWS["normal"], seed=3)
    for _ in range(4):
        got[:] = 1
        with engines.use("numba"):
            fastinit.fill(got, LAWS["normal"], seed=3, threads=2)
        same_bits(got, expected)


def test_what_was_chosen_is_kept_for_the_next_process(monkeypatch, nothing_chosen):
    kept_policies.keep({str(CASE): StorePolicy.PREFETCH})
    assert policies.contest(CASE).chosen
    assert policies.contest(CASE).incumbent is StorePolicy.PREFETCH
    assert policies.chosen() == {str(CASE): "prefetch"}
    other = CASE._replace(memory="fresh")
    kept_policies.keep({str(other): StorePolicy.REGULAR})
    assert kept_policies.read() == {str(CASE): StorePolicy.PREFETCH, str(other): StorePolicy.REGULAR}
    monkeypatch.setattr(kept_policies, "processor", lambda: "another")
    assert kept_policies.read() == {}


def test_info_shows_what_earlier_processes_chose_where_an_engine_is_named_too(tmp_path):
    def child(code):
        program = f"import fastinit\nfrom fastinit import engines\n{code}"
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "FASTINIT_ENGINE": "numba"}
        environment.pop("FASTINIT_PAST_CACHE", None)
        return subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        ).stdout

    child(
        "from fastinit.fill import kept_policies\nfrom fastinit.engines.interface import StorePolicy\n"
        "engines.named('numba')\nkept_policies.keep({'a case': StorePolicy.PREFETCH})"
    )
    assert child("print(fastinit.info()['store_policies'])").strip() == "{'a case': 'prefetch'}"


def test_short_rows_are_decided_apart_from_rows_that_touch():
    wide = np.empty((64, 1 << 17), np.float32)
    assert policies.layout_of(wide.reshape(-1)) == policies.layout_of(wide) == "rows"
    assert policies.layout_of(wide[:, : 1 << 16]) == "rows"  # 256 KiB
    assert policies.layout_of(wide[:, : (1 << 16) - 1]) == policies.layout_of(wide[:, :128]) == "short rows"
    assert policies.layout_of(wide[:, ::-1][:, :128]) == "short rows"
    assert policies.layout_of(wide.T) == policies.layout_of(wide[:, ::2]) == "transposed"


def test_a_block_of_short_rows_holds_a_contest_of_its_own(monkeypatch, nothing_chosen):
    monkeypatch.setattr(policies, "SMALLEST_PAST_CACHE", 1 << 16)
    block = np.ones((1 << 14, 64), np.float32)
    with engines.use("numba"):
        fastinit.fill(block[: 1 << 13], LAWS["uniform"], seed=1)
        fastinit.fill(block[::2], LAWS["uniform"], seed=1)
    assert [case.layout for case in policies._contests if case.memory == "resident"] == ["rows", "short rows"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "[" * 100_000,
        '{"PROCESSOR": 1}',
        '{"PROCESSOR": {"kernels": "others", "chosen": {"CASE": "PREFETCH"}}}',
        '{"PROCESSOR": {"kernels": "these kernels", "chosen": ["CASE"]}}',
        '{"PROCESSOR": {"kernels": "these kernels", "chosen": {"CASE": "FASTEST"}}}',
        '{"PROCESSOR": {"kernels": "these kernels", "chosen": {"CASE": ["PREFETCH"]}}}',
    ],
)
def test_a_file_of_choices_that_is_damaged_is_passed_over(nothing_chosen, content):
    processor = json.dumps(kept_policies.processor())[1:-1]
    nothing_chosen.write_text(content.replace("PROCESSOR", processor).replace("CASE", str(CASE)))
    assert not policies.contest(CASE).chosen
    kept_policies.keep({str(CASE): StorePolicy.PREFETCH})
    assert kept_policies.read() == {str(CASE): StorePolicy.PREFETCH}


def test_a_folder_that_cannot_be_written_is_no_error(monkeypatch, nothing_chosen):
    nothing_chosen.parent.joinpath("file").write_text("")
    monkeypatch.setattr(kept_policies, "_place", lambda: (nothing_chosen.parent / "file" / "x.json", "these kernels"))
    kept_policies.keep({str(CASE): StorePolicy.PREFETCH})
    assert kept_policies.read() == {}


def test_a_choice_is_written_once(monkeypatch, nothing_chosen):
    written = []
    monkeypatch.setattr(kept_policies, "keep", written.append)
    storing = policies.Storing(CASE)
    contest = storing.contest("resident")
    storing.end()
    contest.chosen = True
    storing.end()
    storing.end()
    assert written == [{str(CASE): contest.incumbent}]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int8", "bool", "complex64", "complex128"])
@pytest.mark.parametrize("engine", ["numba", "numpy"])
def test_constants_fill_what_they_should_and_nothing_else(monkeypatch, engine, dtype):
    with engines.use("numba"):
        fastinit.new(100_000, laws.Normal(), seed=0)  # loads the compiled engine
    for past_cache, value in itertools.product("01", (0, 1)):
        monkeypatch.setenv("FASTINIT_PAST_CACHE", past_cache)
        monkeypatch.setattr(policies, "SMALLEST_PAST_CACHE", 0)
        for lead, size in itertools.product((0, 1, 3, 8), (1, 63, 5000, 70_001)):
            raw = np.full(size + 16, 7, dtype)
            with engines.use(engine):
                fastinit.fill(raw[lead : lead + size], laws.Constant(value))
            assert (raw[lead : lead + size] == value).all()
            assert (raw[:lead] == np.full((), 7, dtype)).all()
            assert (raw[lead + size :] == np.full((), 7, dtype)).all()
        for order, (rows, cols) in itertools.product("CF", ((3, 9000), (700, 40))):
            raw = np.full((rows + 2, cols + 5), 7, dtype, order=order)
            with engines.use(engine):
                fastinit.fill(raw[1:-1, 2:-3], laws.Constant(value))
            assert (raw[1:-1, 2:-3] == value).all()
            raw[1:-1, 2:-3] = np.full((), 7, dtype)
            assert (raw == np.full((), 7, dtype)).all()


def test_constants_of_unaligned_elements_are_whole():
    with engines.use("numba"):
        fastinit.new(100_000, laws.Normal(), seed=0)
        raw = np.zeros(16 * 5000 + 64, np.uint8)
        begin = -raw.ctypes.data % 16 + 8  # complex128 at 8 bytes beyond what it is as long as
        buf = raw[begin : begin + 16 * 4000].view(np.complex128)
        fastinit.fill(buf, laws.Constant(1 + 2j))
    assert (buf == 1 + 2j).all()
    assert not raw[:begin].any()
    assert not raw[begin + 16 * 4000 :].any()


def test_the_clock_counts_what_this_thread_works():
    begin = policies.clock()
    time.sleep(0.05)
    slept = policies.clock() - begin
    assert slept < 0.02 or policies.clock is time.perf_counter


def test_the_processor_is_named_as_linux_names_it():
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        pytest.skip("no /proc/cpuinfo")
    told = dict(re.findall(r"^(vendor_id|cpu family|model|stepping|model name)\s*:[ ]?(.*)$", first, re.MULTILINE))
    if not told:
        pytest.skip("Linux does not name this processor")
    keys = ("vendor_id", "cpu family", "model", "stepping", "model name")
    assert kept_policies.processor() == " ".join(told[key].strip() for key in keys if key in told)


def test_choices_lie_beside_the_compiled_code_with_the_stamp_of_its_sources():
    with engines.use("numba"):
        engines.named("numba")
        place = kept_policies._place()
    folder = compiled.target()["cache_folder"]
    assert place == (None if folder is None else (Path(folder) / kept_policies.FILE, cache.stamp().hex()))
    with engines.use("numpy"):
        assert kept_policies._place() is None


def test_the_folder_of_choices_is_made(monkeypatch, nothing_chosen):
    file = nothing_chosen.parent / "a" / "b" / kept_policies.FILE
    monkeypatch.setattr(kept_policies, "_place", lambda: (file, "these kernels"))
    kept_policies.keep({str(CASE): StorePolicy.PREFETCH})
    assert kept_policies.read() == {str(CASE): StorePolicy.PREFETCH}
    assert [one.name for one in file.parent.iterdir()] == [kept_policies.FILE]
