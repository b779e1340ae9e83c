"""The pool: lazy, safe from many threads, safe after a fork, and it stops when asked.

Kernels release the GIL, so plain Python threads run them in parallel. No `prange`: with its OpenMP layer a forked child
that fills dies, and with its `workqueue` layer a second thread that fills aborts the process.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from itertools import count as counting
from pathlib import Path

from fastinit.address import integer
from fastinit.floating_point import in_default_mode

MOST_THREADS = 1024

_chosen: int | None = None
_pool: ThreadPoolExecutor | None = None
_lock = threading.Lock()


def _forget() -> None:
    """In a forked child the pool's threads do not exist; the next fill starts its own."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _checked(threads: object, what: str) -> int:
    try:
        count = integer(threads, what)
    except TypeError:
        count = 0
    if not 1 <= count <= MOST_THREADS:
        raise ValueError(f"{what} is {threads!r}; it must be an integer from 1 to {MOST_THREADS}")
    return count


def set_num_threads(threads: int | None) -> None:
    """Use this many threads where a call does not say; None goes back to FASTINIT_NUM_THREADS or the CPUs allowed."""
    global _chosen
    _chosen = None if threads is None else _checked(threads, "set_num_threads: threads")


def resolve(threads: int | None = None) -> int:
    """How many threads: the argument, else set_num_threads, else FASTINIT_NUM_THREADS, else available_cpus."""
    if threads is not None:
        return _checked(threads, "threads")
    if _chosen is not None:
        return _chosen
    text = os.environ.get("FASTINIT_NUM_THREADS")
    if text:
        return _checked(int(text) if text.isdigit() else text, "FASTINIT_NUM_THREADS")
    return available_cpus()


def available_cpus() -> int:
    """The CPUs this process may use: its affinity, cut to the CPU quota of its control group."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cpus, _quota() or cpus))


@cache
def _quota() -> int | None:
    """Whole CPUs allowed by a control group, version 2 or 1, rounded up; None where there is no limit. Read once."""
    for limit, period in (
        ("/sys/fs/cgroup/cpu.max", None),
        ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
    ):
        try:
            words = Path(limit).read_text().split() + (Path(period).read_text().split() if period else [])
            quota, every = int(words[0]), int(words[1])
        except (OSError, ValueError, IndexError):  # no such file, or "max"
            continue
        if quota > 0 and every > 0:
            return -(-quota // every)
    return None


def _submit(work: Callable[[], None], helpers: int) -> list[Future[None]]:
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="fastinit")
        try:
            return [_pool.submit(work) for _ in range(helpers)]
        except RuntimeError as error:
            if "cannot schedule" not in str(error):
                raise
            return []  # the interpreter ends, in an atexit handler: no thread starts any more


def _close() -> None:
    """End the pool's threads; one that another fill uses finishes that fill's items first."""
    global _pool
    with _lock:
        pool, _pool = _pool, None
    if pool is not None:
        pool.shutdown()


def _nothing(item: int) -> None:
    """What is left to do when all is done."""


def for_each(
    work: Callable[[int], None], count: int, threads: int, after: Callable[[int], object] | None = None
) -> None:
    """Call work(i) for each i in range(count), on the calling thread and up to threads - 1 others.

    `after(done)` is called on the calling thread with the number of finished items. The first exception, Ctrl-C
    included, stops the handing out of items; it is raised after every thread has finished the item in hand, so that
    nothing is still writing. After an interrupt the pool's threads end too.
    """
    items = counting()
    finished = [0] * threads  # a slot a thread: no lock
    errors: list[BaseException] = []

    @in_default_mode  # a thread of the pool has the mode of the one that started it
    def take(slot: int, own: bool) -> None:
        while not errors:
            i = next(items)
            if i >= count:
                return
            work(i)
            finished[slot] += 1
            if own and after is not None:
                after(sum(finished))

    slots = counting(1)

    def help_along() -> None:
        try:
            take(next(slots), False)
        except BaseException as error:
            errors.append(error)

    helpers = _submit(help_along, min(threads, count) - 1) if min(threads, count) > 1 else []
    try:
        take(0, True)
    except BaseException as error:
        errors.insert(0, error)
    for helper in helpers:
        while not helper.cancel() and not helper.done():
            try:
                helper.exception()
            except BaseException as error:  # Ctrl-C while waiting: remember it, and go on waiting for the item in hand
                errors.insert(0, error)
    # A thread of the pool lets go of help_along a little after it is done, and must not hold what `work` does until
    # then: a memory map that is filled could not be closed.
    work = _nothing
    if errors:
        if not isinstance(errors[0], Exception):
            _close()
        raise errors[0]
    if after is not None and count:
        after(count)
