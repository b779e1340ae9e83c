"""The table `show` prints in a terminal, as wide as the terminal is."""

from __future__ import annotations

import sys

from fastinit.formatting import (
    Paint,
    columns_of,
    law,
    narrowest,
    number,
    plainly,
    printable,
    shape,
    shortened,
    shortened_names,
)
from fastinit.show.shown import Histogram, Shown, TensorShown

LEVELS = " ▁▂▃▄▅▆▇█"
SPARKS = 13  # characters of the histogram; 65 bins are five each
NARROWEST_NAME = 16
# Columns that go first where the terminal is narrow; the name, the mean and the std stay.
DISPENSABLE = ("max", "min", "zeros", "dtype", "shape", "law's std", "law's mean", "histogram", "law")
LEFT = {"tensor", "dtype", "law", "histogram", "remarks"}


def table(shown: Shown, width: int | None = 100, paint: Paint = plainly) -> str:
    """All tensors and parts, a line each, those that are marked first, and the summary; deterministic.

    No line is wider than `width` while names can be told apart; None cuts nothing. `paint` colours marked rows.
    """
    tensors = shown.marked_first
    rows = [_cells(tensor) for tensor in tensors]
    if not rows:
        return shown.summary
    columns = [name for name in rows[0] if name != "remarks" or any(row["remarks"] for row in rows)]
    wide = {name: max(columns_of(name), *(columns_of(row[name]) for row in rows)) for name in columns}
    least = narrowest([row["tensor"] for row in rows], NARROWEST_NAME)

    def room() -> int:
        """What is left for the name; two spaces part columns."""
        return (sys.maxsize if width is None else width) - sum(wide[name] + 2 for name in columns if name != "tensor")

    for name in DISPENSABLE:
        if room() < (wide["tensor"] if name in ("max", "min", "zeros") else least):
            columns.remove(name)
    wide["tensor"] = min(wide["tensor"], max(room(), least))
    for row, name in zip(rows, shortened_names([row["tensor"] for row in rows], wide["tensor"]), strict=True):
        row["tensor"] = name
    lines = [paint("  ".join(_set(name, name, wide[name]) for name in columns).rstrip(), "strong")]
    lines.append(paint("  ".join("─" * wide[name] for name in columns), "soft"))
    for tensor, row in zip(tensors, rows, strict=True):
        line = "  ".join(_set(name, row[name], wide[name]) for name in columns).rstrip()
        lines.append(paint(line, "alert") if tensor.remarks else line)
    return "\n".join([*lines, "", paint(shown.summary, "alert" if shown.marked else "good")])


def _cells(tensor: TensorShown) -> dict[str, str]:
    expected = tensor.expected
    return {
        "tensor": printable(tensor.name),
        "shape": shape(tensor.shape),
        "dtype": tensor.dtype,
        "law": law(tensor.law) if tensor.decoded else "not decoded",
        "histogram": spark(tensor.histogram),
        "mean": number(tensor.mean),
        "law's mean": number(expected.mean if expected else None),
        "std": number(tensor.std),
        "law's std": number(expected.std if expected else None),
        "min": number(tensor.minimum),
        "max": number(tensor.maximum),
        "zeros": f"{tensor.zeros:,}",
        "remarks": ", ".join(tensor.remarks),
    }


def _set(column: str, text: str, width: int) -> str:
    text = shortened(text, width)
    space = " " * (width - columns_of(text))
    return text + space if column in LEFT else space + text


def spark(histogram: Histogram) -> str:
    """The histogram in a few characters; a bin that is not empty shows."""
    counts = histogram.counts
    per = -(-len(counts) // SPARKS)
    sums = [sum(counts[i : i + per]) for i in range(0, len(counts), per)]
    largest = max(sums)
    return "".join(LEVELS[-(-8 * one // largest)] if largest else " " for one in sums).ljust(SPARKS)
