"""Which way to store is fastest here: large fills try the ways on their own first chunks, and go on with the fastest.

It depends on the processor, on the law and its dtype, and on where the memory comes from, and never decides a bit.
FASTINIT_PAST_CACHE=1 or 0 decides in its place. What was chosen is kept beside the compiled code, by processor.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from fastinit.engines.interface import StorePolicy
from fastinit.fill import kept_policies, memory

# From here on stores that pass the cache are faster for whoever reads the buffer next, too; at 16 MiB they are not.
SMALLEST_PAST_CACHE = 32 << 20
LONG_ROW = 256 << 10  # bytes of a row that stores like one line: what prefetch misses at its end no longer counts
TRIAL_CHUNK = 2 << 20  # bytes that a thread takes at a time while ways are compared
COUNTED = 16 << 20  # bytes of a turn that are timed, after as many as the last-level cache holds
MOST_SKIPPED = 64 << 20  # bytes of a turn that are not timed, at most
# How many times as slow a rival must be than the incumbent to be dropped within its turn (the other way round, to take
# its place), where what the cache holds speaks for the slower one, and where it does not; chunks that must say so.
CLEAR, HOPELESS, CHUNKS = 1.12, 1.25, 6
# How far from 1 the median ratio of a rival's turns to the incumbent's must be after one pair of turns, two, and three.
MARGINS = (0.08, 0.045, 0.005)


class Case(NamedTuple):
    """What decides how to store: what is drawn, how an element is stored, where the memory is, how many threads."""

    kernel: str  # the law's, or "constant"
    layout: str  # of `layout_of`
    itemsize: int
    code: int  # of the format
    memory: str  # "resident", "fresh" or "mapped"
    several: bool  # threads

    def __str__(self) -> str:
        threads = "several threads" if self.several else "one thread"
        return f"{self.kernel} {self.layout}, {8 * self.itemsize} bits, format {self.code}, {self.memory}, {threads}"


def layout_of(storage: np.ndarray[Any, Any]) -> str:
    """How the elements of a block lie, as far as it decides how to store: "rows", "short rows" or "transposed".

    Rows that do not touch end a prefetch: on a Zen 4 the normal law takes 1.2 times as long by it where rows have
    16 KiB, and as long as past the cache where they touch.
    """
    if abs(storage.strides[-1]) != storage.itemsize:
        return "transposed"
    touching = storage.flags.c_contiguous or storage.shape[-1] * storage.itemsize >= LONG_ROW
    return "rows" if touching else "short rows"


def _clock() -> Callable[[], float]:
    """The processor time of the thread, in which a neighbour's turn does not count; else the time that passes."""
    if time.get_clock_info("thread_time").resolution < 1e-5:
        return time.thread_time
    return time.perf_counter


clock = _clock()


@dataclass
class Contest:
    """The ways to store, in turn on stretches longer than the last-level cache, until one of them is chosen.

    In a cache that is not yet full of what was written, regular stores look best: so the first bytes of a turn, as many
    as that cache holds, are not timed. A rival is compared with the incumbent's turns before and after its own.
    """

    incumbent: StorePolicy
    rivals: list[StorePolicy]
    chosen: bool = False
    kept: bool = False  # on disk
    turn: StorePolicy = StorePolicy.REGULAR
    done: int = 0  # bytes of this turn
    costs: list[float] = field(default_factory=list)  # seconds a byte, of the chunks of this turn
    last: float | None = None  # the incumbent's cost in its last turn
    pending: tuple[float, float] | None = None  # the incumbent's cost before a rival's turn, and the rival's
    ratios: list[float] = field(default_factory=list)  # of the rival at hand to the incumbent
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        self.turn = self.incumbent

    def begin(self) -> None:
        """A fill begins: nobody knows what the cache holds, so the turn begins anew."""
        with self._lock:
            self.done, self.costs = 0, []

    def end(self) -> None:
        """A fill ends: one that was shorter than a turn ends the turn, of which the later half is timed."""
        with self._lock:
            if not self.chosen and self.done >= SMALLEST_PAST_CACHE // 2 and len(self.costs) >= CHUNKS:
                self._end_turn(median(self.costs[len(self.costs) // 2 :]))

    def note(self, policy: StorePolicy, size: int, seconds: float) -> None:
        """A chunk was stored in this way."""
        with self._lock:
            if self.chosen or policy is not self.turn or size < TRIAL_CHUNK // 2:
                return
            self.done += size
            self.costs.append(seconds / size)
            if self.turn is not self.incumbent and len(self.costs) == CHUNKS:
                self._judge_early()
            if self.done >= skipped() + COUNTED:
                self._end_turn(median(self.costs[-(COUNTED // TRIAL_CHUNK) :]))

    def _judge_early(self) -> None:
        """End a rival's turn that needs no more chunks: by this alone a slow way to store costs little."""
        assert self.last is not None
        # Until the cache is full of what it wrote, a way through the cache looks better than it is, and one past the
        # cache, which then waits for others' lines to be written, worse.
        passes = self.turn is StorePolicy.NON_TEMPORAL
        ratio = median(self.costs) / self.last
        if min(self.costs) > HOPELESS * self.last or (ratio > CLEAR and not passes):
            self._drop()
        elif passes and ratio < 1 / CLEAR:
            self.incumbent, self.last = self.turn, self.last * ratio
            self._drop()

    def _end_turn(self, cost: float) -> None:
        self.done, self.costs = 0, []
        if self.turn is not self.incumbent:
            assert self.last is not None
            self.pending, self.turn = (self.last, cost), self.incumbent
            return
        if self.pending is not None:
            before, rival = self.pending
            self.ratios.append(2 * rival / (before + cost))
            self.pending = None
        self.last = cost
        if self.ratios and abs(median(self.ratios) - 1) > MARGINS[len(self.ratios) - 1]:
            if median(self.ratios) < 1:
                self.incumbent, self.last = self.rivals[0], cost * median(self.ratios)
            self._drop()
        elif len(self.ratios) == len(MARGINS):
            self._drop()
        else:
            self._next()

    def _drop(self) -> None:
        """The rival at hand is out, or has won: the next one's turn."""
        self.rivals.pop(0)
        self.pending, self.ratios, self.done, self.costs = None, [], 0, []
        self._next()

    def _next(self) -> None:
        self.turn = self.rivals[0] if self.rivals and self.last is not None else self.incumbent
        self.chosen = not self.rivals


# The order in which rivals have their turns: first the one that most often wins.
PREFERRED = (StorePolicy.NON_TEMPORAL, StorePolicy.PREFETCH, StorePolicy.REGULAR)


@cache
def _is_intel() -> bool:
    try:
        with Path("/proc/cpuinfo").open(encoding="ascii", errors="replace") as file:
            return "GenuineIntel" in file.read(4096)
    except OSError:
        return False


def forced() -> bool | None:
    """What FASTINIT_PAST_CACHE says: True for 1, False for 0, else None."""
    return {"1": True, "0": False}.get(os.environ.get("FASTINIT_PAST_CACHE", ""))


def guess(kind: str) -> StorePolicy:
    """The incumbent before anything was measured, for a kind of memory.

    Fresh pages the kernel clears, and leaves in the cache; on Intel's processors a core reads what it overwrites as
    slowly as it writes.
    """
    if not _is_intel():
        return StorePolicy.REGULAR
    return StorePolicy.PREFETCH if kind == "fresh" else StorePolicy.NON_TEMPORAL


@cache
def skipped() -> int:
    """The bytes of the last-level cache, as Linux tells them, within bounds; 32 MiB where nobody does."""
    try:
        text = Path("/sys/devices/system/cpu/cpu0/cache/index3/size").read_text()
        return max(TRIAL_CHUNK, min(int(text.strip().rstrip("K")) << 10, MOST_SKIPPED))
    except (OSError, ValueError):
        return 32 << 20


_contests: dict[Case, Contest] = {}
_kept: dict[str, StorePolicy] | None = None
_lock = threading.Lock()


def contest(case: Case) -> Contest:
    """The contest of a case: of this process, decided already if an earlier process has decided it."""
    global _kept
    with _lock:
        found = _contests.get(case)
        if found is None:
            if _kept is None:
                _kept = kept_policies.read()
            before = _kept.get(str(case))
            first = guess(case.memory) if before is None else before
            rivals = [policy for policy in PREFERRED if policy is not first] if before is None else []
            found = _contests[case] = Contest(first, rivals, chosen=before is not None, kept=before is not None)
        return found


def chosen() -> dict[str, str]:
    """What was chosen by this process and by those before it, and what this one compares still, for people."""
    with _lock:
        found = {**(kept_policies.read() if _kept is None else _kept)}
        said = {case: policy.name.lower() for case, policy in found.items()}
        for case, one in _contests.items():
            said[str(case)] = one.incumbent.name.lower() + ("" if one.chosen else " (still compared)")
        return said


class Storing:
    """How one fill stores its chunks, and what its chunks tell of the ways."""

    def __init__(self, case: Case) -> None:
        self.case = case  # "resident" in it may be "fresh", chunk by chunk
        self.known: dict[str, Contest] = {}

    def contest(self, kind: str) -> Contest:
        """The contest for a kind of memory, which learns that a fill begins."""
        if kind not in self.known:
            self.known[kind] = contest(self.case._replace(memory=kind))
            self.known[kind].begin()
        return self.known[kind]

    @property
    def largest_chunk(self) -> int | None:
        """How many bytes a thread may take at a time, while ways are compared; else None."""
        return None if self.contest(self.case.memory).chosen else TRIAL_CHUNK

    def chunk(self, address: int, size: int, store: Callable[[StorePolicy], None]) -> None:
        """Have a chunk stored in the way that is best, or whose turn it is."""
        kind = self.case.memory
        if kind == "resident" and not memory.is_resident(address):
            kind = "fresh"
        one = self.contest(kind)
        if one.chosen:
            store(one.incumbent)
            return
        policy, begin = one.turn, clock()
        store(policy)
        one.note(policy, size, clock() - begin)

    def end(self) -> None:
        """Keep what this fill has decided for later processes."""
        for one in self.known.values():
            one.end()
        decided = {
            str(self.case._replace(memory=kind)): one.incumbent
            for kind, one in self.known.items()
            if one.chosen and not one.kept
        }
        if decided:
            for one in self.known.values():
                one.kept = one.chosen
            kept_policies.keep(decided)


class Told:
    """How one fill stores its chunks where that is told, or where it is too small to ask."""

    largest_chunk = None

    def __init__(self, resident: StorePolicy, fresh: StorePolicy) -> None:
        self.resident, self.fresh = resident, fresh

    def chunk(self, address: int, size: int, store: Callable[[StorePolicy], None]) -> None:
        """Have a chunk stored."""
        same = self.resident is self.fresh
        store(self.resident if same or memory.is_resident(address) else self.fresh)

    def end(self) -> None:
        """Nothing was learnt."""


REGULAR = Told(StorePolicy.REGULAR, StorePolicy.REGULAR)
PREFETCH = Told(StorePolicy.PREFETCH, StorePolicy.PREFETCH)
PAST_CACHE = Told(StorePolicy.NON_TEMPORAL, StorePolicy.PREFETCH)


def told(size: int) -> Told | None:
    """How a fill of so many bytes stores, where FASTINIT_PAST_CACHE or its size says; None where it is to be measured.

    A small buffer may be in the cache, where lines need not be read; so nothing goes past it.
    """
    says = forced()
    if says is not None:
        return (PAST_CACHE if size >= SMALLEST_PAST_CACHE else PREFETCH) if says else REGULAR
    if size < SMALLEST_PAST_CACHE:
        return PREFETCH if _is_intel() else REGULAR
    return None


def goes_past_cache(size: int, case: Case) -> bool:
    """Whether a fill of so many bytes that cannot try the ways itself stores past the cache: as others have found."""
    if size < SMALLEST_PAST_CACHE:
        return False
    says = forced()
    return contest(case).incumbent is StorePolicy.NON_TEMPORAL if says is None else says
