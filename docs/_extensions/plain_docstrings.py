"""Docstrings in plain text, as fastinit writes them, into the reStructuredText that autodoc reads.

    fan_in   inputs feeding one output unit; positive.       ->   :fan_in: inputs feeding one output unit; positive.

A docstring is written to be read in a terminal: a column of names, two blanks or more, and what each means. Sphinx
would join these lines into one paragraph. `Raises`, `Guarantee` and `Source` begin paragraphs of their own.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

COLUMN = re.compile(r"(?P<name>[\w.*]+(?:, [\w.*]+)*)(?P<gap> {2,})(?P<text>\S.*)")
SECTION = re.compile(r"(?:Raises|Guarantee|Sources?|Returns)\b")
CODE = re.compile(r"(`+[^`]*`+)")
MARKUP = re.compile(r"(\\|\*|\||(?<=\w)_(?!\w))")


def escaped(line: str) -> str:
    """The same line, with what reStructuredText would take for markup, outside of backticks, taken as text."""
    parts = CODE.split(line)
    parts[::2] = [MARKUP.sub(r"\\\1", part) for part in parts[::2]]
    for i in range(2, len(parts), 2):
        if re.match(r"\w", parts[i]):  # `Rule`s
            parts[i] = f"\\ {parts[i]}"
    return "".join(parts)


def restructured(lines: list[str]) -> list[str]:
    """The lines of a docstring as reStructuredText."""
    result: list[str] = []
    column = 0  # where the text of the field starts that is open; 0: none
    code = False
    for line in inspect.cleandoc("\n".join(lines)).split("\n"):
        indent = len(line) - len(line.lstrip())
        field = COLUMN.fullmatch(line) if indent == 0 else None
        if field:
            if result and result[-1] and not column:
                result.append("")
            column, code = field.start("text"), False
            result.append(f":{field['name'].replace('*', chr(92) + '*')}: {escaped(field['text'])}")
        elif not line:
            result.append("")
        elif column and indent >= column:
            result.append(f"   {escaped(line.lstrip())}")
        elif indent >= 2:
            if not code:
                result += [*([""] if result and result[-1] else []), "::", ""]
            column, code = 0, True
            result.append(f"   {line}")
        else:
            if (column or code or SECTION.match(line)) and result and result[-1]:
                result.append("")
            column, code = 0, False
            result.append(escaped(line))
    return [*result, ""]


def _replace(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = restructured(lines)


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", _replace)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
