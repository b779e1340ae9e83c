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


def ask(test: int, source: str, seed: int) -> str:
    """The answer of one test to the words of `fastinit bits`."""
    bits = [sys.executable, "-m", "fastinit", "bits", "--seed", str(seed), *source.split()]
    with subprocess.Popen(bits, stdout=subprocess.PIPE) as words:
        command = ["dieharder", "-g", "200", "-d", str(test)]
        return subprocess.run(command, stdin=words.stdout, capture_output=True, text=True, check=True).stdout


def run(seed: int) -> Iterator[Outcome]:
    """Run the tests on words of consecutive elements, across names and across seeds."""
    for source in SOURCES:
        for test in TESTS:
            for line in ask(test, source, seed).splitlines():
                columns = [column.strip() for column in line.split("|")]
                if len(columns) == 6 and columns[1].isdigit():
                    yield Outcome(source, columns[0], columns[1], columns[4], columns[5])
