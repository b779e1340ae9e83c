"""What an attack tried and what it found, and a child process in which it may do harm."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

MOST_FOUND = 20  # of one attack: the rest is likely the same


@dataclass
class Outcome:
    """How often what was tried, and every finding in a line that says how to see it again."""

    tried: Counter[str] = field(default_factory=Counter)
    found: list[str] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Take what another part of the attack tried and found."""
        self.tried += other.tried
        self.found += other.found

    @property
    def ended(self) -> bool:
        """Whether so much was found that more would not help."""
        return len(self.found) >= MOST_FOUND


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
