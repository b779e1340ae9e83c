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


def ask(test: int, source: str, seed: int) -> list[Outcome]:
    """The answer of one test to the words of `fastinit bits`: a line, or one for each of its parameters."""
    bits = [sys.executable, "-m", "fastinit", "bits", "--seed", str(seed), *source.split()]
    with subprocess.Popen(bits, stdout=subprocess.PIPE) as words:
        command = ["dieharder", "-g", "200", "-d", str(test)]
        answer = subprocess.run(command, stdin=words.stdout, capture_output=True, text=True, check=True).stdout
    lines = [[column.strip() for column in line.split("|")] for line in answer.splitlines()]
    outcomes = [
        Outcome(source, *(line[i] for i in (0, 1, 4, 5))) for line in lines if len(line) == 6 and line[1].isdigit()
    ]
    if not outcomes:  # it reports the early end of its input, and exits with 0
        raise RuntimeError(f"dieharder -d {test} says nothing about `fastinit bits {source}`: {answer}")
    return outcomes


def run(seed: int) -> Iterator[Outcome]:
    """Run the tests on words of consecutive elements, across names and across seeds."""
    for source in SOURCES:
        for test in TESTS:
            yield from ask(test, source, seed)
