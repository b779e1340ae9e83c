"""The pool under stress: many threads, forks at bad moments, Ctrl-C."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable

import numpy as np
import pytest
from processes import needs, run_python

import fastinit
from bench import pool as simulation
from fastinit import engines
from fastinit import threads as pool
from fastinit.fill import runs
from fastinit.laws import Normal

SHAPE = 3_000_000


def drawn(threads: int | None = None) -> np.ndarray:
    return fastinit.new(SHAPE, Normal(), seed=1, name="w", threads=threads)


@pytest.mark.parametrize("threads", [1, 2, 3, 7, 64])
def test_every_item_is_worked_on_exactly_once(threads: int) -> None:
    counts = [0] * 1000
    reported: list[int] = []

    def work(i: int) -> None:
        counts[i] += 1

    pool.for_each(work, len(counts), threads, reported.append)
    assert counts == [1] * 1000
    assert reported[-1] == 1000
    assert reported == sorted(reported)


def test_a_thread_that_is_slow_to_let_go_holds_nothing_of_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    # A memory map behind a fill could not be closed: "cannot close exported pointers exist", once in some thousand.
    held: list[Callable[[], None]] = []
    submit = pool._submit

    def hold(work: Callable[[], None], helpers: int) -> object:
        held.append(work)
        return submit(work, helpers)

    monkeypatch.setattr(pool, "_submit", hold)
    buf = np.empty(SHAPE, np.float32)
    watched = weakref.ref(buf)
    fastinit.fill_normal(buf, seed=1, threads=2)
    del buf
    assert held
    assert watched() is None


@pytest.mark.parametrize("threads", [1, 4])
def test_an_exception_of_one_item_is_raised_and_stops_the_rest(threads: int) -> None:
    seen = []

    def work(i: int) -> None:
        seen.append(i)
        time.sleep(0.001)
        if i == 5:
            raise RuntimeError("item 5")

    with pytest.raises(RuntimeError, match="item 5"):
        pool.for_each(work, 10_000, threads)
    assert len(seen) < 100


def test_an_exception_in_progress_stops_the_fill() -> None:
    def progress(done: int, total: int) -> None:
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        fastinit.fill_normal(np.empty(SHAPE, "f4"), seed=1, progress=progress, threads=2)


def test_two_and_seven_threads_give_the_bits_of_one() -> None:
    one = drawn(1)
    for threads in (2, 7):
        assert drawn(threads).tobytes() == one.tobytes()


def test_eight_python_threads_fill_at_once() -> None:
    expected = drawn(1).tobytes()
    results: list[bytes] = []

    def work() -> None:
        results.extend(drawn(3).tobytes() for _ in range(3))

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 24
    assert set(results) == {expected}


def test_the_default_number_of_threads_follows_argument_setting_and_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FASTINIT_NUM_THREADS", "5")
    assert pool.resolve() == 5
    try:
        fastinit.set_num_threads(3)
        assert pool.resolve() == 3
        assert pool.resolve(2) == 2
    finally:
        fastinit.set_num_threads(None)
    monkeypatch.delenv("FASTINIT_NUM_THREADS")
    assert pool.resolve() == pool.available_cpus() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, np.True_, np.float64(2), "two", 5000])
def test_a_bad_number_of_threads_is_refused(threads: object) -> None:
    with pytest.raises(ValueError, match="from 1 to 1024"):
        fastinit.fill_normal(np.empty(4, "f4"), seed=1, threads=threads)  # type: ignore[arg-type]


def test_any_integer_is_a_number_of_threads() -> None:
    assert pool.resolve(np.int64(2)) == pool.resolve(np.uint8(2)) == 2  # type: ignore[arg-type]
    assert type(pool.resolve(np.int64(2))) is int  # type: ignore[arg-type]


def test_a_bad_number_of_threads_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTINIT_NUM_THREADS", "many")
    with pytest.raises(ValueError, match="FASTINIT_NUM_THREADS is 'many'"):
        fastinit.fill_normal(np.empty(1 << 20, "f4"), seed=1)


@pytest.mark.parametrize("before", ["", "fastinit.fill_normal(buf, seed=0, threads=2)"])
@pytest.mark.parametrize("engine", ["numpy", pytest.param("numba", marks=needs("numba"))])
def test_a_fill_while_the_interpreter_ends_is_done_by_the_calling_thread(engine: str, before: str) -> None:
    ended = run_python(
        f"""
        import atexit, hashlib
        import numpy as np
        import fastinit

        buf = np.empty(1_000_000, np.float32)

        @atexit.register
        def last():
            fastinit.fill_normal(buf, seed=1, name="w", threads=4)
            print(hashlib.sha256(buf).hexdigest())

        {before}
        """,
        FASTINIT_ENGINE=engine,
    )
    expected = fastinit.new(1_000_000, Normal(), seed=1, name="w")
    assert ended.stdout.strip() == hashlib.sha256(expected).hexdigest(), ended.stderr


def in_child(work: Callable[[], bool], seconds: float = 60) -> bool:
    """Run `work` in a forked child; False where it fails or hangs."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def test_a_forked_child_fills_after_its_parent_has_filled() -> None:
    expected = drawn(2).tobytes()
    assert in_child(lambda: drawn(2).tobytes() == expected)
    assert drawn(2).tobytes() == expected


def test_a_child_forked_while_another_thread_fills_can_fill() -> None:
    expected = drawn(2).tobytes()
    stop = threading.Event()

    def keep_filling() -> None:
        while not stop.is_set():
            drawn(2)

    worker = threading.Thread(target=keep_filling)
    worker.start()
    try:
        assert all(in_child(lambda: drawn(2).tobytes() == expected) for _ in range(10))
    finally:
        stop.set()
        worker.join()


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.3, 1.0])
def test_a_child_forked_while_another_thread_compiles_can_fill(delay: float, tmp_path: object) -> None:
    result = run_python(
        f"""
        import os, threading, time, numpy as np, fastinit

        buf = np.empty(100, "f4")
        worker = threading.Thread(target=lambda: fastinit.fill_normal(buf, seed=1))
        worker.start()
        time.sleep({delay})
        child = os.fork()
        mine = np.empty(100, "f4")
        fastinit.fill_normal(mine, seed=1)
        if child == 0:
            os._exit(0 if np.isfinite(mine).all() else 1)
        worker.join()
        assert buf.tobytes() == mine.tobytes()
        raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """,
        NUMBA_CACHE_DIR=str(tmp_path),
        FASTINIT_ENGINE="numba",
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_in_the_middle_of_a_fill_returns_promptly_and_leaves_no_thread(threads: int) -> None:
    result = run_python(
        f"""
        import os, signal, threading, time, numpy as np, fastinit

        buf = np.zeros(1 << 28, "f4")
        fastinit.fill_normal(buf[:1000], seed=1)  # loads the engine: Ctrl-C would wait for that
        sent = []

        def interrupt():
            time.sleep(0.05)
            sent.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)

        killer = threading.Thread(target=interrupt)
        killer.start()
        try:
            for _ in range(100):
                fastinit.fill_normal(buf, seed=1, threads={threads})
            raise SystemExit("was not interrupted")
        except KeyboardInterrupt:
            late = time.perf_counter() - sent[0]
        killer.join()
        assert late < 0.5, late
        assert threading.active_count() == 1, threading.enumerate()
        before = buf.copy()
        time.sleep(0.05)
        assert (buf == before).all()
        fastinit.fill_normal(buf, seed=1, threads=2)
        assert np.isfinite(buf).all() and buf.std() > 0.9
        """,
        FASTINIT_ENGINE=engines.engine_name(),
    )
    assert result.returncode == 0, result.stdout + result.stderr


# A child whose first fill is interrupted by what `when` does: it calls interrupt().
INTERRUPTED = """
import os, signal, sys, threading, time, warnings, numpy as np, fastinit

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

{when}
first, again = np.empty(10_000_000, "f4"), np.empty(10_000_000, "f4")
try:
    fastinit.fill_normal(first, seed=1, threads={threads})
    sys.exit("was not interrupted")
except KeyboardInterrupt:
    pass
for other in set(threading.enumerate()) - {{threading.main_thread()}}:  # one that ends just now
    other.join(0.1)
    assert not other.is_alive(), other
with warnings.catch_warnings():
    warnings.simplefilter("error")
    fastinit.fill_normal(again, seed=1, threads={threads})
assert fastinit.info()["engine"] == "numba"
with fastinit.engines.use("numpy"):
    fastinit.fill_normal(first, seed=1)
assert first.tobytes() == again.tobytes()
"""

WHILE_NUMBA_IS_IMPORTED = """
def wait_and_interrupt():
    while "numba" not in sys.modules:
        time.sleep(0.001)
    time.sleep({delay})
    interrupt()

threading.Thread(target=wait_and_interrupt, daemon=True).start()
"""

# Where Numba has one module more and does not know it yet: it would add that again.
WHILE_A_KERNEL_IS_COMPILED = """
from llvmlite.binding import ExecutionEngine

add = ExecutionEngine.add_module

def add_and_interrupt(self, module):
    add(self, module)
    if module.name == "{module}":
        interrupt()
        time.sleep(0.1)

ExecutionEngine.add_module = add_and_interrupt
"""


@pytest.mark.parametrize("delay", [0.02, 0.1])
def test_ctrl_c_while_numba_is_imported_does_not_break_it(delay: float) -> None:
    when = WHILE_NUMBA_IS_IMPORTED.format(delay=delay)
    result = run_python(INTERRUPTED.format(when=when, threads=2), FASTINIT_ENGINE="")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(("module", "threads"), [("nrt", 1), ("draw_words", 1), ("centred_normal_32_rows", 2)])
def test_ctrl_c_while_a_kernel_is_compiled_does_not_break_it(module: str, threads: int, tmp_path: object) -> None:
    when = WHILE_A_KERNEL_IS_COMPILED.format(module=module)
    code = INTERRUPTED.format(when=when, threads=threads)
    result = run_python(code, NUMBA_CACHE_DIR=str(tmp_path), FASTINIT_ENGINE="numba")
    assert result.returncode == 0, result.stderr


MIB = 1 << 20


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 8, 16, 17, 64, 192, 1024])
@pytest.mark.parametrize("total", [1, MIB // 4, MIB, 7 * MIB, 64 * MIB, 256 * MIB, 1 << 34])
def test_a_thread_takes_chunks_worth_its_while(total, workers):
    some = runs.useful_workers(total, workers)
    assert 1 <= some <= workers
    chunk = runs.chunk_bytes(total, some)
    assert runs.SMALLEST_CHUNK <= chunk <= runs.LARGEST_CHUNK
    if some > runs.FEW_THREADS:
        assert chunk >= MIB  # 0.2 ms of a core, 30 times as long as Python's lock is held for it
        assert some * chunk <= total  # each has one


@pytest.mark.parametrize("lock", [2.6e-6, 7e-6])
def test_more_threads_do_no_harm_on_machines_that_are_simulated(lock):
    costs = simulation.Costs(start=6e-6, chunk=lock)
    for total in (MIB, 16 * MIB, 64 * MIB, 256 * MIB, 1 << 32):
        times = [simulation.simulated(total, workers, costs, 5e9, 300e9) for workers in simulation.THREADS]
        for i, seconds in enumerate(times):
            assert seconds < 2.2 * min(times[: i + 1]), (total, simulation.THREADS[i])
    assert simulation.simulated(256 * MIB, 1, costs, 5e9, 300e9) > 18 * simulation.simulated(
        256 * MIB, 64, costs, 5e9, 300e9
    )
