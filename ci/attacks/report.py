"""The figures of an attack, written into a page between two marks."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Mapping
from pathlib import Path

from attacks.outcome import Outcome
from fastinit.about import __version__

BEGIN, END = "<!-- ci/attack: begin -->", "<!-- ci/attack: end -->"


def write_report(page: Path, outcomes: Mapping[str, Outcome], *, seed: int, command: str, minutes: float) -> None:
    """Replace what stands between the marks of a page."""
    text = page.read_text()
    head, mark, rest = text.partition(BEGIN)
    _, other, tail = rest.partition(END)
    if not (mark and other):
        raise ValueError(f"{page} has no marks {BEGIN} and {END}")
    page.write_text(head + BEGIN + "\n" + figures(outcomes, seed=seed, command=command, minutes=minutes) + END + tail)


def figures(outcomes: Mapping[str, Outcome], *, seed: int, command: str, minutes: float) -> str:
    """A table of what was tried and found, and how to run it again."""
    rows = [
        f"| {what} | {count:,} | {len(outcome.found) if i == 0 else ''} |"
        for outcome in outcomes.values()
        for i, (what, count) in enumerate(sorted(outcome.tried.items()))
    ]
    day = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    where = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, fastinit {__version__}"
    return (
        f"`{command}` with seed {seed}, on {day}, took {minutes:.0f} minutes ({where}):\n\n"
        "| what was tried | how often | wrong results |\n| --- | --- | --- |\n" + "\n".join(rows) + "\n"
    )
