"""The comparison as a terminal shows it: a line a start, then the verdict."""

from __future__ import annotations

import math
import textwrap

from fastinit.compare.comparison import Comparison, End, Outcome
from fastinit.compare.verdict import remark, spread, verdict
from fastinit.formatting import NONE, Paint, columns_of, plainly

LEFT = {"start", "std of a weight", "what happens"}
# Columns that go first where the terminal is narrow.
DISPENSABLE = ("std of a weight", "cost at first", "saturated", "dead")


def report(comparison: Comparison, width: int = 100, paint: Paint = plainly) -> str:
    """A table no wider than `width` where that can be had, and the verdict below it."""
    rows = [cells(one) for one in comparison.outcomes]
    columns = [name for name in rows[0] if any(row[name] != NONE for row in rows)]
    wide = {name: max(columns_of(name), *(columns_of(row[name]) for row in rows)) for name in columns}
    for name in DISPENSABLE:
        if name in columns and sum(wide[one] + 2 for one in columns) - 2 > width:
            columns.remove(name)
    lines = [title(comparison), "", paint(_line({name: name for name in columns}, wide), "strong")]
    lines.append(paint("  ".join("─" * wide[name] for name in columns), "soft"))
    for one, row in zip(comparison.outcomes, rows, strict=True):
        line = _line({name: row[name] for name in columns}, wide)
        lines.append(paint(line, "strong") if one.start.fitting else line)
    lines += ["* what scheme_for names"]
    judged = verdict(comparison)
    *findings, conclusion = judged.lines
    for paragraph in findings:
        lines += ["", *textwrap.wrap(paragraph, width, break_long_words=False)]
    style = "good" if judged.confirmed and not judged.lost else "alert"
    lines += ["", *(paint(line, style) for line in textwrap.wrap(conclusion, width, break_long_words=False))]
    return "\n".join(lines)


def title(comparison: Comparison) -> str:
    """What was measured, in a line."""
    training = comparison.training
    trained = f"; trained: {training.depth} layers of {training.width}" if training else ""
    last = comparison.seed + comparison.seeds - 1
    seeds = f"seeds {comparison.seed} to {last}, medians" if comparison.seeds > 1 else f"seed {comparison.seed}"
    return (
        f"{comparison.activation}: variances after {comparison.depth} layers of {comparison.width} units, of "
        f"activations (input = 1) and of gradients (top = 1){trained}; {seeds}"
    )


def cells(outcome: Outcome) -> dict[str, str]:
    """What a table says of a start, by column."""
    start, signal, curve = outcome.start, outcome.signal, outcome.curve
    return {
        "start": start.name + (" *" if start.fitting else ""),
        "std of a weight": start.formula,
        "activations": spread([end.activations for end in outcome.ends], "{:.2g}".format),
        "gradients": spread([end.gradients for end in outcome.ends], "{:.2g}".format),
        "dead": f"{signal.dead[-1]:.0%}",
        "saturated": NONE if signal.saturated is None else f"{signal.saturated[-1]:.0%}",
        "cost at first": NONE if curve is None else f"{curve.costs[0]:.3g}",
        "cost at last": NONE if curve is None else spread([_cost(end) for end in outcome.ends], "{:.3g}".format),
        "what happens": remark(outcome),
    }


def _cost(end: End) -> float:
    return math.inf if end.cost is None else end.cost


def _line(row: dict[str, str], wide: dict[str, int]) -> str:
    placed = []
    for name, text in row.items():
        space = " " * (wide[name] - columns_of(text))
        placed.append(text + space if name in LEFT else space + text)
    return "  ".join(placed).rstrip()
