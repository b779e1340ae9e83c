"""How tables and pages word names, numbers, sizes and laws, and how wide a text is."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from fastinit.laws import Blocks, Law
from fastinit.printable import printable as printable

NONE = "\u2013"
MOST_PARTS = 4  # of a tensor made of parts, whose laws are written out
Paint = Callable[[str, str], str]  # (text, style) -> the text as a terminal shows it in that style


def plainly(text: str, style: str) -> str:
    """The text, whatever the style: for what is no terminal."""
    return text


def number(value: Any) -> str:
    """Four significant digits; whole numbers of up to six digits in full; a dash for none."""
    if value is None:
        return NONE
    if isinstance(value, complex):
        return f"{value:.4g}"
    return str(int(value)) if isinstance(value, int) and abs(value) < 10**6 else f"{float(value):.4g}"


def some_of(texts: Sequence[str], most: int = 5) -> str:
    """The first of them, for a message, and how many more there are."""
    more = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {more:,} more" if more > 0 else "")


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
        if isinstance(value, Blocks) and field.name == "parts":
            words += [f"{size}: {law(one)}" for size, one in content[:MOST_PARTS]]
            words += [f"{len(content) - MOST_PARTS} more"] if len(content) > MOST_PARTS else []
        elif isinstance(content, tuple) or isinstance(value, Blocks):  # axes
            words += [f"{field.name}={content}"] if content != field.default else []
        elif dataclasses.is_dataclass(content):
            words.append(law(content))  # type: ignore[arg-type]
        elif isinstance(content, (bool, str)):
            if content != field.default:
                words.append(
                    printable(str(content)) if field.name == "value" else f"{field.name}={printable(str(content))}"
                )
        elif content is not None and (isinstance(content, float) or content != field.default):
            words.append(number(content))
    return f"{type(value).__name__}({', '.join(words)})"


def columns_of(text: str) -> int:
    """How many columns of a terminal a text takes: two for wide characters, none for marks that combine."""
    return sum(map(_columns, text))


def _columns(one: str) -> int:
    if unicodedata.combining(one) or one in "\u200d\ufe0f":
        return 0
    return 2 if unicodedata.east_asian_width(one) in "WF" else 1


def shortened(text: str, width: int) -> str:
    """A text with its middle replaced by an ellipsis where it is wider: both ends of a tensor's name tell it apart."""
    columns = columns_of(text)
    if columns <= width:
        return text
    head = tail = len(text) // 2  # what is kept: up to head, and from tail on
    while columns > width - 1:
        if head >= len(text) - tail:
            head -= 1
            columns -= _columns(text[head])
        else:
            columns -= _columns(text[tail])
            tail += 1
    return text[:head] + "\u2026" + text[tail:]


def shortened_names(names: Sequence[str], width: int) -> list[str]:
    """Names of a column, the wide ones cut in what all of them have in common, and only then elsewhere.

    Names that differ stay different: where the cut would make two equal, they are left as they are.
    """
    if len(set(names)) < 2:
        return [shortened(name, width) for name in names]
    beginning, end = _common(names), _common([name[::-1] for name in names])
    cut = []
    for name in names:
        short = _less(name, columns_of(name) - width, 0, beginning)
        short = _less(short, columns_of(short) - width, len(short) - end, len(short))
        cut.append(shortened(short, width))
    seen = Counter(cut[i] for i in {name: i for i, name in enumerate(names)}.values())
    return [short if seen[short] == 1 else name for short, name in zip(cut, names, strict=True)]


def narrowest(names: Sequence[str], least: int) -> int:
    """A width, `least` or more, in which no two of the names are cut to the same; not always the smallest."""
    widest = max(map(columns_of, names), default=least)
    for width in (least + step for step in (0, 4, 8, 12, 16, 24, 32, 48, 64)):
        if width >= widest or max(map(columns_of, shortened_names(names, width))) <= width:
            return min(width, widest)
    return widest


def _common(names: Sequence[str]) -> int:
    """How many letters all of them begin with."""
    letters = enumerate(zip(*names, strict=False))
    return next((i for i, column in letters if len(set(column)) > 1), min(map(len, names)))


def _less(name: str, over: int, begin: int, end: int) -> str:
    """A name with so many columns less, taken from the middle of a part of it, as far as that has them."""
    if over <= 0 or end - begin < 2:
        return name
    kept = max(end - begin - over - 1, 0)
    return f"{name[: begin + kept - kept // 2]}\u2026{name[end - kept // 2 :]}"
