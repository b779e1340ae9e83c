"""Time contenders in turn, A B C A B C ..., so that a noisy machine disturbs all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

# A contender whose run takes this many seconds takes part in every third round only.
SLOW = 0.5
SLOW_TURN = 3


@dataclass(frozen=True)
class Contender:
    """One way to do the work of a race.

    name    "fastinit", "numpy", "ceiling", ...
    run     does the work once. Where it returns a float, it has timed itself: those seconds count (a child process).
    amount  how much work one run does, in the unit that the contenders of one race share: the bytes that the same
            elements take in the buffer of the race, or calls.
    call    what is run, for the reader of the results.
    """

    name: str
    run: Callable[[], object]
    amount: float
    call: str = ""

    def seconds(self) -> float:
        """Run once; how long it took."""
        begin = time.perf_counter()
        own = self.run()
        seconds = time.perf_counter() - begin
        return own if isinstance(own, float) else seconds


@dataclass
class Race:
    """Ours against rivals. Call rivals_once and ours_once by turns, then ask for rates."""

    ours: Contender
    rivals: Sequence[Contender]
    rounds_begun: int = 0
    times: dict[str, list[float]] = field(default_factory=dict)

    def warm_up(self) -> None:
        """Run ours once, uncounted: compilation. A rival's first turn may be slow; its median does not see it."""
        self.ours.run()

    def rivals_once(self) -> None:
        """One turn of every rival, the slowest first, so that the ceilings are measured right beside ours."""
        turn, self.rounds_begun = self.rounds_begun, self.rounds_begun + 1
        for rival in sorted(self.rivals, key=lambda rival: -self.typical(rival.name)):
            if turn % SLOW_TURN == 0 or self.typical(rival.name) < SLOW:
                self._turn(rival)

    def ours_once(self) -> None:
        """One turn of ours."""
        self._turn(self.ours)

    def _turn(self, contender: Contender) -> None:
        self.times.setdefault(contender.name, []).append(contender.seconds())

    def typical(self, name: str) -> float:
        """Median seconds of one run so far; 0 before the first."""
        return median(self.times.get(name, [0.0]))

    def rate(self, contender: Contender) -> float:
        """Work a second: the amount of a run over its median time."""
        return contender.amount / self.typical(contender.name)

    def ratio(self, rival: Contender) -> float:
        """How many times as fast as this rival ours is."""
        return self.rate(self.ours) / self.rate(rival)
