"""The page of a run: docs/statistics.md. Every figure on it comes from the run."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from battery import controls, dieharder, values, words
from battery.addresses import ADDRESSES, LOW_WORDS, MANY_TENSORS
from battery.controls import Caught
from battery.rounds import Cell, values_a_round, words_a_round
from battery.verdict import LEVEL, Verdict, verdicts
from fastinit.about import info


@dataclass(frozen=True)
class Run:
    """What a run of the battery found."""

    command: str
    seed: int
    rounds: int
    minutes: float
    p_values: Mapping[Cell, Sequence[float]]
    caught: Sequence[Caught]
    outside: Sequence[dieharder.Outcome] | None

    @property
    def verdicts(self) -> dict[Cell, Verdict]:
        """The verdict on every cell."""
        return verdicts(self.p_values)

    @property
    def failed(self) -> list[str]:
        """What went wrong, in words: cells that failed, and controls that were not caught."""
        wrong = [
            f"{cell.check}, {cell.addresses}, {cell.what}: adjusted p {verdict.adjusted:.3g}"
            for cell, verdict in self.verdicts.items()
            if verdict.adjusted < LEVEL
        ]
        wrong += [
            f"control not caught by {one.check}: {one.control} (adjusted p {one.adjusted:.3g})"
            for one in self.caught
            if not one.adjusted < LEVEL
        ]
        return wrong

    @property
    def summary(self) -> str:
        """The run in a sentence."""
        smallest = min(verdict.adjusted for verdict in self.verdicts.values())
        total = sum(map(len, self.p_values.values()))
        missed = sum(not one.adjusted < LEVEL for one in self.caught)
        return (
            f"{self.rounds} rounds in {self.minutes:.1f} minutes: {total:,} p-values in {len(self.p_values)} cells. "
            f"The smallest adjusted p-value is {smallest:.2g}, and a cell fails below {LEVEL:g}. "
            f"{len(self.caught) - missed} of {len(self.caught)} demands on the checks by planted defects were met."
        )


def number(p: float) -> str:
    """A p-value in three digits."""
    return "0" if p == 0 else f"{p:.3g}"


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; the columns whose heading ends in a space are numbers."""
    lines = [columns, ["---:" if column.endswith(" ") else "---" for column in columns], *rows]
    return "\n".join("| " + " | ".join(str(entry).strip() for entry in line) + " |" for line in lines)


def page(run: Run) -> str:
    """The page as Markdown."""
    outcome = "FAILED: " + "; ".join(run.failed) if run.failed else "Nothing failed"
    words_seen, values_seen = run.rounds * words_a_round(), run.rounds * values_a_round()
    addresses = [*([where.name, where.about] for where in (*ADDRESSES, *MANY_TENSORS)), [LOW_WORDS, LOW]]
    of_words = [[check.name, check.about] for check in words.CHECKS]
    of_values = [[check.name, check.about, f"{check.most:,}"] for check in VALUES]
    planted = [[one.control, one.check, number(one.adjusted)] for one in run.caught]
    return f"""\
# Statistics

Written by `{run.command}` on {datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d}; do not edit.
{machine()}.

**{outcome}.** {run.summary}

A round runs every check once at every kind of address, over elements that no other round looks at: {words_a_round():,}
words and {values_a_round():,} values; {words_seen:,} words and {values_seen:,} values in all. Longer, or elsewhere
in the stream: `ci/statistics --hours 8 --seed 1`.

What else is known: `ci/enumerate` puts all 2^32 words through every transformation of one word, so that nothing about
these is left to samples ([decisions.md](decisions.md#what-enumeration-of-all-232-words-showed)). `tests/statistics/`
holds fixed seeds against a budget of false alarms at every change, sparse subsets and orthogonal matrices among them.
`fastinit bits --seed 0 --name w | RNG_test stdin32` gives the words to PractRand, and so to TestU01 or dieharder.

## How to read it

* A **cell** is a check at addresses of one kind, of words or of the values of one law. It has one p-value a round,
  two-sided: a sample that fits too well is suspicious too. Under the null it is uniform on [0, 1].
* **Smallest** is the smallest p-value of the cell. **Uniformity** is the p-value of an exact Kolmogorov-Smirnov test
  of all the cell's p-values against the uniform law. The one sees a disaster, the other a small fault in every round.
* **Adjusted** is Holm's p-value of the cell among the {2 * len(run.p_values)} answers of all cells (the smallest,
  corrected for the number of rounds, and uniformity). A cell fails below {LEVEL:g}: so a run on a right stream fails
  once in {1 / LEVEL:,.0f} runs, however long it is; what is wrong with a stream shows more clearly in a longer one.

{table(["addresses", "what they are"], addresses)}

{table(["check of words", "statistic, source"], of_words)}

{table(["check of values", "statistic", "values a round, at most "], of_values)}

float32 has 24 bits: a uniform lies on a lattice of 2^-24, a normal is rounded to 2^-24 of itself. Distribution
functions take a uniform at the middle of its lattice cell, and bins end on the lattice. Where that is not done the
sample is too small to see it: the mean of 2^24 uniforms is off by 4e-4 of its standard error.

## All p-values

How the p-values of all cells fall into tenths (under the null a tenth each):

{deciles(run)}

{table(CELL_COLUMNS, cells(run))}

## Negative controls

Each defect is planted in {controls.ROUNDS} rounds of samples as large as those above, and every check named must
catch it by the same rule, against the threshold of all cells together; else the battery fails. There is one for every
check. A p-value of 0 is one that underflows.

{table(["defect", "check that must catch it", "adjusted p "], planted)}
{outside(run)}"""


def machine() -> str:
    """What it ran on."""
    about = info() | {"scipy": scipy.__version__}
    versions = ", ".join(
        f"{name} {about[name]}" for name in ("fastinit", "stream", "engine", "python", "numpy", "scipy")
    )
    return f"{versions}; {about['platform']}"


LOW = "the words that float64 adds below those of float32, consecutive elements"
VALUES = (*values.SEQUENCES, *values.GROUPS, values.TENSORS)
CELL_COLUMNS = ("check", "addresses", "of", "rounds ", "smallest ", "uniformity ", "adjusted ")


def cells(run: Run) -> list[list[object]]:
    """A row a cell."""
    return [
        [cell.check, cell.addresses, cell.what, v.rounds, number(v.smallest), number(v.uniformity), number(v.adjusted)]
        for cell, v in run.verdicts.items()
    ]


def deciles(run: Run) -> str:
    """How many p-values fall into each tenth."""
    everything = np.concatenate([np.asarray(p) for p in run.p_values.values()])
    counts = np.histogram(everything, bins=10, range=(0, 1))[0]
    return table([f"{i / 10:.1f} to {(i + 1) / 10:.1f} " for i in range(10)], [[f"{count:,}" for count in counts]])


def outside(run: Run) -> str:
    """The section on dieharder, if it was run."""
    if run.outside is None:
        return ""
    rows = [[f"`{one.source}`", one.test, one.parameter, one.p_value, one.assessment] for one in run.outside]
    return f"""
## An outside opinion: dieharder

`fastinit bits --seed {run.seed} ... | dieharder -g 200 -d N`, a few of the tests that it calls good. No part of the
verdict: of such p-values one in a hundred is WEAK (below 0.005 or above 0.995) on a perfect stream.

{table(["words", "test", "parameter ", "p-value ", "assessment"], rows)}
"""
