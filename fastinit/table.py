"""The table `show` prints in a terminal, as wide as the terminal is, and the wording of names and numbers."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastinit.laws import Law
    from fastinit.shown import Histogram, Shown, TensorShown

LEVELS = " ▁▂▃▄▅▆▇█"
NONE = "\u2013"
SPARKS = 13  # characters of the histogram; 65 bins are five each
NARROWEST_NAME = 16
# Columns that go first where the terminal is narrow; the name, the mean and the std stay.
DISPENSABLE = ("max", "min", "zeros", "dtype", "shape", "law's std", "law's mean", "histogram", "law")
LEFT = {"tensor", "dtype", "law", "histogram", "remarks"}


def table(shown: Shown, width: int) -> str:
    """All tensors, a line each, and the summary; no line is wider than `width` while names have 16 columns."""
    rows = [_cells(tensor) for tensor in shown.tensors]
    if not rows:
        return shown.summary
    columns = [name for name in rows[0] if name != "remarks" or any(row["remarks"] for row in rows)]
    wide = {name: max(columns_of(name), *(columns_of(row[name]) for row in rows)) for name in columns}
    least = min(wide["tensor"], NARROWEST_NAME)

    def room() -> int:
        """What is left for the name; two spaces part columns."""
        return width - sum(wide[name] + 2 for name in columns if name != "tensor")

    for name in DISPENSABLE:
        if room() < (wide["tensor"] if name in ("max", "min", "zeros") else least):
            columns.remove(name)
    wide["tensor"] = min(wide["tensor"], max(room(), least))
    lines = ["  ".join(_set(name, name, wide[name]) for name in columns).rstrip()]
    lines.append("  ".join("─" * wide[name] for name in columns))
    lines += ["  ".join(_set(name, row[name], wide[name]) for name in columns).rstrip() for row in rows]
    return "\n".join([*lines, "", shown.summary])


def _cells(tensor: TensorShown) -> dict[str, str]:
    expected = tensor.expected
    return {
        "tensor": printable(tensor.name),
        "shape": shape(tensor.shape),
        "dtype": tensor.dtype,
        "law": law(tensor.law),
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


# --- words ------------------------------------------------------------------------------------------------------------


def number(value: Any) -> str:
    """Four significant digits; whole numbers of up to six digits in full; a dash for none."""
    if value is None:
        return NONE
    if isinstance(value, complex):
        return f"{value:.4g}"
    return str(int(value)) if isinstance(value, int) and abs(value) < 10**6 else f"{float(value):.4g}"


def size(nbytes: int) -> str:
    """Bytes in the unit that suits them."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if nbytes >= factor:
            return f"{nbytes / factor:.4g} {unit}"
    return f"{nbytes} B"


def shape(lengths: Sequence[int]) -> str:
    """Lengths with a cross between them; a scalar is "scalar"."""
    return "\u00d7".join(map(str, lengths)) or "scalar"


def law(value: Law | None) -> str:
    """A law and its parameters, to four digits; left out is what nobody set, such as axis=0."""
    if value is None:
        return NONE
    words = []
    for field in dataclasses.fields(value):  # type: ignore[arg-type]
        content = getattr(value, field.name)
        if dataclasses.is_dataclass(content):
            words.append(law(content))  # type: ignore[arg-type]
        elif isinstance(content, (bool, str)):
            if content != field.default:
                words.append(
                    printable(str(content)) if field.name == "value" else f"{field.name}={printable(str(content))}"
                )
        elif content is not None and (isinstance(content, float) or content != field.default):
            words.append(number(content))
    return f"{type(value).__name__}({', '.join(words)})"


def printable(name: str) -> str:
    r"""A name with its control characters, direction marks and lone surrogates written out, as \x00 and \u202e.

    In a terminal they would move the cursor, in a page be illegal. The joiner of emoji stays.
    """
    return "".join(
        one if unicodedata.category(one) not in ("Cc", "Cf", "Cs", "Zl", "Zp") or one == "\u200d" else _escape(one)
        for one in name
    )


def _escape(one: str) -> str:
    return one.encode("unicode_escape").decode()


def columns_of(text: str) -> int:
    """How many columns of a terminal a text takes: two for wide characters, none for marks that combine."""
    return sum(map(_columns, text))


def _columns(one: str) -> int:
    if unicodedata.combining(one) or one in "\u200d\ufe0f":
        return 0
    return 2 if unicodedata.east_asian_width(one) in "WF" else 1


def shortened(text: str, width: int) -> str:
    """A text with its middle replaced by an ellipsis where it is wider: both ends of a tensor's name tell it apart."""
    if columns_of(text) <= width:
        return text
    head, tail = list(text[: len(text) // 2]), list(text[len(text) // 2 :])
    while columns_of("".join(head + tail)) > width - 1:
        head.pop() if len(head) >= len(tail) else tail.pop(0)
    return "".join(head) + "…" + "".join(tail)
