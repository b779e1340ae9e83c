"""Failing system calls, in SQLite's manner: call k of each kind fails, for every k until nothing fails any more.

After each: every file is whole or absent, a rerun gives every byte and leaves nothing else, no descriptor is lost.
"""

from __future__ import annotations

import errno
import fcntl
import inspect
import itertools
import math
import mmap
import os
import random
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast
from unittest import mock

from fsspec.implementations.local import LocalFileSystem

from attacks.jobs import JOBS, Job, Trial, contents, whole_or_absent
from attacks.outcome import Outcome, in_child, on_all_processors, within
from fastinit.files import publish

# What can fail: where it stands and its name.
CALLS: tuple[tuple[Any, str], ...] = (
    *((os, name) for name in ("open", "close", "dup", "pwrite", "preadv", "fsync", "posix_fallocate", "ftruncate")),
    *((os, name) for name in ("link", "rename", "replace", "unlink", "mkdir", "rmdir", "fchmod", "fchown")),
    *((os, name) for name in ("stat", "fstat", "fstatvfs", "listdir", "scandir", "readlink")),
    (fcntl, "flock"),
    (mmap, "mmap"),
    (publish, "rename_exclusive"),
    *(
        (LocalFileSystem, name)
        for name in ("put_file", "pipe_file", "mv", "rm_file", "ls", "info", "makedirs", "_open")
    ),
)
ERRORS: tuple[BaseException, ...] = (
    OSError(errno.EIO, os.strerror(errno.EIO)),
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    MemoryError(),
    KeyboardInterrupt(),
)
EACH = (ERRORS[0], ERRORS[2], ERRORS[3])  # a full disk is an error like another, but for its words
# File systems that lack something: what is refused, and how.
UNSUPPORTED = OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
LACKING: dict[str, tuple[tuple[Any, str], ...]] = {
    "": (),
    "without renames that refuse": ((publish, "rename_exclusive"),),
    "without links": ((publish, "rename_exclusive"), (os, "link")),
    "without locks": ((fcntl, "flock"),),
    "without fallocate": ((os, "posix_fallocate"),),
    "without any of them": ((publish, "rename_exclusive"), (os, "link"), (fcntl, "flock"), (os, "posix_fallocate")),
}
Failure = tuple[tuple[Any, str], int, BaseException]  # a kind of call, which of them fails, and with what
CLOSE, MAP = os.close, mmap.mmap
BATCH = 20  # runs with several failures in a child
MOST_CALLS = 2000  # of one kind in one job
# What tidies up: where one of these fails, a temporary file may stay until the next run.
TIDYING = {"unlink", "stat", "fstat", "listdir", "scandir", "flock", "rmdir", "rm_file", "ls", "close", "open", "info"}


class Failing:
    """A function of the system of which call number k fails, in whatever thread it comes."""

    def __init__(self, real: Callable[..., object], k: int, error: BaseException) -> None:
        self.real, self.left, self.error, self.failed = real, k, error, False
        self._lock = threading.Lock()

    def __call__(self, *arguments: object, **options: object) -> object:
        """Fail, if it is time; else do what the function does."""
        with self._lock:
            self.left -= 1
            now = self.left == 0
            self.failed |= now
        if now:
            if self.real is CLOSE:  # whatever it says, the descriptor is gone
                CLOSE(*arguments)  # type: ignore[arg-type]
            raise self.error
        return self.real(*arguments, **options)

    def in_place_of(self, where: object, name: str) -> AbstractContextManager[object]:
        """A block in which it stands in place of the function."""
        if where is not mmap:
            return mock.patch.object(where, name, self)
        call = self

        class Map(MAP):  # a class still, since others ask whether something is an instance of it
            def __new__(cls, *arguments: Any, **options: Any) -> Map:
                call.real = partial(MAP.__new__, cls)
                return cast(Map, call(*arguments, **options))

        return mock.patch.object(where, name, Map)

    def __get__(self, owner: object, kind: type | None = None) -> object:
        """Bind as a function does, where it stands in place of a method."""
        return self if owner is None else lambda *arguments, **options: self(owner, *arguments, **options)


@contextmanager
def failing(failures: Iterable[Failure]) -> Iterator[list[Failing]]:
    """A block in which call number k of each kind fails."""
    with ExitStack() as stack:
        calls = []
        for (where, name), k, error in failures:
            one = Failing(inspect.getattr_static(where, name), k, error)
            stack.enter_context(one.in_place_of(where, name))
            calls.append(one)
        yield calls


def descriptors() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


@contextmanager
def lacking(what: str) -> Iterator[None]:
    """A file system that lacks something, for everything in this process."""
    with ExitStack() as stack:
        for where, name in LACKING[what]:
            stack.enter_context(mock.patch.object(where, name, mock.Mock(side_effect=UNSUPPORTED)))
        yield


def fail_once(trial: Trial, failures: list[Failure], lack: str = "") -> bool:
    """Run a job in which these calls fail; whether any did. AssertionError says what is not as it must be."""
    with lacking(lack), trial.fresh() as folder:
        before, open_before = contents(folder), descriptors()
        with failing(failures) as calls:
            try:
                trial.job.run(folder)
                raised: BaseException | None = None
            except (OSError, MemoryError, KeyboardInterrupt) as error:
                raised = error
        failed = any(one.failed for one in calls)
        assert raised is None or failed, f"{raised!r} though nothing failed"
        whole_or_absent(folder, before, trial.expected)
        there = contents(folder)
        if raised is None:
            missing = [name for name, content in trial.expected.items() if there.get(name) != content]
            assert not missing, f"it said that it was done, without {missing}"
        elif lack == "" and not any(name in TIDYING for (_, name), _, _ in failures):
            extra = [name for name in there if name.endswith(".partial") and name not in before]
            assert not extra, f"it left {extra}"
        del raised
        lost = descriptors() - open_before
        assert not lost, f"{lost} descriptors are lost"
        if lack not in ("without locks", "without any of them"):
            trial.rerun(folder)
        else:  # leftovers of dead writers stay, since nobody can tell whether they live
            trial.job.run(folder)
            there = contents(folder)
            assert {name: there.get(name) for name in trial.expected} == trial.expected, "a rerun gave other bytes"
        return failed


def exhaust(trial: Trial, call: tuple[Any, str], error: BaseException, lack: str = "") -> int:
    """Let call 1, 2, 3 ... of a kind fail until none does; how many did."""
    for k in range(1, MOST_CALLS):
        try:
            if not fail_once(trial, [(call, k, error)], lack):
                return k - 1
        except Exception as wrong:
            raise AssertionError(f"call {k} of {call[1]} failed with {error!r} {lack}: {wrong}") from wrong
    raise AssertionError(f"{call[1]} is called {MOST_CALLS} times")


def called(trial: Trial) -> list[tuple[Any, str]]:
    """The kinds of calls that a job makes at all."""
    never = 1 << 60
    with trial.fresh() as folder, ExitStack() as stack:
        counting = {}
        for where, name in CALLS:
            one = counting[where, name] = Failing(inspect.getattr_static(where, name), never, ERRORS[0])
            stack.enter_context(one.in_place_of(where, name))
        trial.job.run(folder)
    return [call for call, one in counting.items() if one.left < never]


def at_random(trial: Trial, rng: random.Random, count: int) -> int:
    """Two or three calls fail in one run, on file systems that lack one thing or another."""
    for _ in range(count):
        failures = [
            (rng.choice(CALLS), int(2 ** rng.uniform(0, 6)), rng.choice(ERRORS)) for _ in range(rng.choice((2, 2, 3)))
        ]
        lack = rng.choice(list(LACKING))
        gone = {name for _, name in LACKING[lack]}
        one_each = {call: (call, k, error) for call, k, error in failures if call[1] not in gone}
        try:
            fail_once(trial, list(one_each.values()), lack)
        except Exception as wrong:
            said = ", ".join(f"{k} of {call[1]} with {error!r}" for call, k, error in one_each.values())
            raise AssertionError(f"calls {said} failed {lack}: {wrong}") from wrong
    return count


def counted_in_child(work: Callable[[], int], root: Path) -> tuple[int, str]:
    """Work in a child; how many calls failed there, and what went wrong."""
    with tempfile.NamedTemporaryFile(dir=root) as note:
        fault = in_child(lambda: Path(note.name).write_text(str(work())), 600)
        return int(Path(note.name).read_text() or 0), fault


def _works(seed: int, folder: Path, passes: int | None) -> Iterator[tuple[str, str, Job, Callable[[Trial], int]]]:
    """What is to be tried: what it is, how it is found again, the job, and what to do with it."""
    calls = {job.name: called(Trial(job, folder)) for job in JOBS}
    for error, job in itertools.product(EACH, JOBS):
        for call in calls[job.name]:
            yield "failing system calls", job.name, job, partial(exhaust, call=call, error=error)
    for number in itertools.count() if passes is None else range(passes):
        rng = random.Random(f"{seed} disk {number}")
        job, where = rng.choice(JOBS), f"--seed {seed}, batch {number}"
        yield "runs with two or three failing calls", where, job, partial(at_random, rng=rng, count=BATCH)


def attack(seed: int, seconds: float, folder: Path, passes: int | None = None) -> Outcome:
    """Every call of every job in turn, and then calls at random until the time is over, or so many times."""
    outcome = Outcome()

    def try_one(item: tuple[int, tuple[str, str, Job, Callable[[Trial], int]]]) -> None:
        _, (what, where, job, work) = item
        count, fault = counted_in_child(lambda: work(Trial(job, folder)), folder)
        outcome.note(what, count, fault and f"disk: {where}, {job.name}: {fault}")

    allowed = within(outcome, seconds if passes is None else math.inf, None)
    on_all_processors(zip(allowed, _works(seed, folder, passes), strict=False), try_one)
    return outcome
