"""A few tests of dieharder (R. G. Brown) on the pipe of `fastinit bits`: an outside opinion, if it is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

# Of the tests that dieharder calls good: birthdays, ones in bytes, runs, craps, monobit, runs again, bytes, DCT.
TESTS = (0, 8, 15, 16, 100, 101, 205, 206)
SOURCES = ("--name w", "--across names --each 64", "--across seeds --each 64")


@dataclass(frozen=True)
class Outcome:
    """A line of dieharder's answer: test, its parameter, p-value, and what it makes of it."""

    source: str
    test: str
    parameter: str
    p_value: str
    assessment: str


def installed() -> bool:
    """Whether there is a dieharder to run."""
    return shutil.which("dieharder") is not None


def run(seed: int) -> Iterator[Outcome]:
    """Run the tests on words of consecutive elements, across names and across seeds."""
    for source in SOURCES:
        for number in TESTS:
            words = subprocess.Popen(
                [sys.executable, "-m", "fastinit", "bits", "--seed", str(seed), *source.split()],
                stdout=subprocess.PIPE,
            )
            answer = subprocess.run(
                ["dieharder", "-g", "200", "-d", str(number)],
                stdin=words.stdout,
                capture_output=True,
                text=True,
                check=True,
            )
            assert words.stdout is not None
            words.stdout.close()
            words.wait()
            for line in answer.stdout.splitlines():
                columns = [column.strip() for column in line.split("|")]
                if len(columns) == 6 and columns[1].isdigit():
                    yield Outcome(source, columns[0], columns[1], columns[4], columns[5])
