"""Print what `ci/coverage` measured, and write it into a page: the total, and the modules below 90 %.

What Numba compiles runs as machine code, which no tracer sees: `fastinit/engines/compiled` is left out, and
tests/laws/test_engines_agree.py holds every bit of it against the NumPy engine, which is measured. The adapters to
frameworks count only where their tests ran.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marked import write_between_marks

ENOUGH = 90.0  # percent
UNSEEN = ("fastinit/engines/compiled/",)
OF_FRAMEWORKS = ("fastinit/torch/", "fastinit/jax/", "fastinit/keras.py")


@dataclass(frozen=True)
class Counted:
    """Statements and branches of some modules, and how many of them ran."""

    statements: int = 0
    statements_run: int = 0
    branches: int = 0
    branches_taken: int = 0

    @classmethod
    def of(cls, summary: dict[str, Any]) -> Counted:
        """From a summary of coverage.py's JSON."""
        keys = ("num_statements", "covered_lines", "num_branches", "covered_branches")
        return cls(*(summary[key] for key in keys))

    def __add__(self, other: Counted) -> Counted:
        """Both together."""
        return Counted(*(a + b for a, b in zip(self.counts, other.counts, strict=True)))

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """In the order of the fields."""
        return self.statements, self.statements_run, self.branches, self.branches_taken

    @property
    def percent(self) -> float:
        """Statements and branches that ran, of all."""
        return _percent(self.statements_run + self.branches_taken, self.statements + self.branches)

    def __str__(self) -> str:
        """Both shares, in words."""
        return (
            f"{_percent(self.statements_run, self.statements):.1f} % of {self.statements:,} statements and "
            f"{_percent(self.branches_taken, self.branches):.1f} % of {self.branches:,} branches"
        )


def _percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else 100.0


def modules(report: dict[str, Any], scope: str) -> dict[str, Counted]:
    """What is counted of each module: all that a tracer sees, the adapters to frameworks in the scope "all" only.

    Not the copies of the package that some tests make elsewhere.
    """
    left_out = UNSEEN if scope == "all" else UNSEEN + OF_FRAMEWORKS
    return {
        name: Counted.of(file["summary"])
        for name, file in report["files"].items()
        if name.startswith("fastinit/") and not name.startswith(left_out)
    }


def figures(counted: dict[str, Counted], scope: str, command: str) -> str:
    """The total in a sentence, and a row for each module below 90 %."""
    total = sum(counted.values(), Counted())
    low = {name: one for name, one in sorted(counted.items()) if one.percent < ENOUGH}
    without = (
        "" if scope == "all" else ", nor `fastinit/torch`, `fastinit/jax` and `fastinit/keras.py`, whose tests need"
    )
    without += "" if scope == "all" else " the frameworks (`ci/coverage --frameworks`)"
    day = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    rows = [f"| `{name}` | {one.percent:.0f} |" for name, one in low.items()]
    table = ["", "| module below 90 % | % of statements and branches |", "| --- | ---: |", *rows] if rows else []
    return "\n".join(
        [
            f"The tests run {total} (`{command}`, {day}, Python {platform.python_version()}). Not counted are",
            f"the bodies that Numba compiles (`fastinit/engines/compiled`), which no tracer sees{without}.",
            *(table or [f"No module of the {len(counted)} is below {ENOUGH:.0f} %."]),
        ]
    )


def main() -> None:
    """Print the figures, and write them where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("measured", type=Path, help="the JSON report of coverage.py")
    parser.add_argument("--scope", choices=("core", "all"), default="core")
    parser.add_argument("--command", default="ci/coverage", help="how this was measured, for the page")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the figures between its marks")
    options = parser.parse_args()
    counted = modules(json.loads(options.measured.read_text()), options.scope)
    text = figures(counted, options.scope, options.command.strip())
    print(text)
    if options.report is not None:
        write_between_marks(options.report, "ci/coverage", text)


if __name__ == "__main__":
    main()
