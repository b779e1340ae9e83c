"""What an attack tried and what it found, and a child process in which it may do harm."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from fastinit.threads import available_cpus

T = TypeVar("T")
MOST_FOUND = 20  # of one attack: the rest is likely the same


@dataclass
class Outcome:
    """How often what was tried, and every finding in a line that says how to see it again."""

    tried: Counter[str] = field(default_factory=Counter)
    found: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def note(self, what: str, count: int, found: str = "") -> None:
        """So much of this was tried, and, if not empty, found; from any thread."""
        with self._lock:
            self.tried[what] += count
            self.found += [found] if found else []

    @property
    def ended(self) -> bool:
        """Whether so much was found that more would not help."""
        return len(self.found) >= MOST_FOUND


def within(outcome: Outcome, seconds: float, count: int | None) -> Iterator[int]:
    """The numbers of trials: so many, or as many as the time allows; no more once enough was found."""
    begin = time.monotonic()
    for number in itertools.count() if count is None else range(count):
        if outcome.ended or (count is None and time.monotonic() - begin > seconds):
            return
        yield number


def on_all_processors(items: Iterator[T], work: Callable[[T], object]) -> None:
    """Work on the items, in their order, on as many threads as there are processors; an error of one is raised."""
    lock, end = threading.Lock(), object()

    def take() -> None:
        while True:
            with lock:
                item = next(items, end)
            if item is end:
                return
            work(item)  # type: ignore[arg-type]

    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(take) for _ in range(available_cpus())]:
            done.result()


def in_child(work: Callable[[], object], seconds: float = 60.0) -> str:
    """Run `work` in a forked child: "" where it ended well, else what became of it."""
    sys.stdout.flush()
    sys.stderr.flush()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            work()
            os._exit(0)
        except BaseException:
            os.write(write, traceback.format_exc().encode(errors="backslashreplace")[-4000:])
            os._exit(1)
    os.close(write)
    deadline = time.monotonic() + seconds
    status = None
    while status is None and time.monotonic() < deadline:
        done, code = os.waitpid(child, os.WNOHANG)
        status = code if done else None
        if status is None:
            time.sleep(0.0005)
    if status is None:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    if status is None:
        return f"it did not end within {seconds:g} s"
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"it died of {signal.Signals(-code).name}"
    return said or (f"it exited with {code}" if code else "")
