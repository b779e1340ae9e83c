"""Names from patterns: which tensors an expression matches, and what a template makes of each match.

A template is a name in which {1} is the first group of the match and {0} all of it; {1+4} and {1-4} are the group, a
number, plus or minus one; {name} is a named group; {0..3} is each number from 0 to 3, so that one match gives several
names. {{ and }} are braces.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator

from fastinit.plan import some_of

FIELD = re.compile(
    r"\{\{|\}\}|\{(?P<first>\d{1,18})\.\.(?P<last>\d{1,18})\}|\{(?P<group>\w+)(?P<shift>[+-]\d{1,18})?\}|[{}]"
)
MOST_NAMES = 1 << 18  # of one template: what a file holds


def expression(match: str) -> re.Pattern[str]:
    """A compiled pattern; ValueError where it is none."""
    if not isinstance(match, str):
        raise TypeError(f"a pattern is {match!r}; pass a regular expression as a string")
    try:
        return re.compile(match)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{match!r} is no regular expression: {error}") from None


def matching(match: str, names: Iterable[str], what: str, others: Iterable[str] = ()) -> list[re.Match[str]]:
    """The matches of the names that an expression matches as a whole; ValueError where there is none.

    `others` are names that are none of the tensors' own, such as tied ones, for the message.
    """
    pattern = expression(match)
    found = [one for one in map(pattern.fullmatch, names) if one is not None]
    if not found:
        tied = [repr(name) for name in others if pattern.fullmatch(name)]
        why = f"; {some_of(tied)} is another name of a tensor that is kept once" if tied else ""
        raise ValueError(f"{what}: no tensor's whole name matches {match!r}{why}; `fastinit show` lists the names")
    return found


def names_of(template: str, found: re.Match[str] | None, what: str) -> Iterator[str]:
    """The names that a template makes of a match; ValueError where it asks for what the match does not have."""
    choices: list[list[str]] = []
    at = 0
    for field in FIELD.finditer(template):
        choices.append([template[at : field.start()]])
        at = field.end()
        text = field[0]
        if text in ("{{", "}}"):
            choices.append([text[0]])
        elif text in ("{", "}"):
            raise ValueError(f"{what}: {template!r} has a {text} that is no field; fields are {{1}}, {{1+4}}, {{0..3}}")
        elif field["first"] is not None:
            first, last = int(field["first"]), int(field["last"])
            if not 0 <= last - first < MOST_NAMES:
                raise ValueError(f"{what}: {text} counts from {first} to {last}; it must count up, to {MOST_NAMES:,}")
            choices.append([str(i) for i in range(first, last + 1)])
        else:
            choices.append([_group(field, found, what, template)])
    choices.append([template[at:]])
    for parts in itertools.product(*choices):
        yield "".join(parts)


def _group(field: re.Match[str], found: re.Match[str] | None, what: str, template: str) -> str:
    """The text of a group, or the number it is, shifted."""
    key: str | int = int(field["group"]) if field["group"].isdigit() else field["group"]
    if found is None:
        raise ValueError(f"{what}: {template!r} speaks of the group {key}, and there is no pattern")
    try:
        text = found[key]
    except IndexError:
        raise ValueError(
            f"{what}: {template!r} speaks of the group {key}, which {found.re.pattern!r} has not"
        ) from None
    if text is None:
        raise ValueError(f"{what}: the group {key} has no part in {found[0]!r}")
    if field["shift"] is None:
        return str(text)
    if not re.fullmatch("[0-9]{1,18}", text) or int(text) + int(field["shift"]) < 0:
        raise ValueError(f"{what}: the group {key} is {text!r} in {found[0]!r}; {field[0]} needs a number, not below 0")
    return str(int(text) + int(field["shift"]))
