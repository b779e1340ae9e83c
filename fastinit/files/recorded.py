"""The laws that the metadata of a file records, read one by one: the text may be as long as a header, and hostile."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from fastinit.files.safetensors import unique
from fastinit.laws import Law
from fastinit.laws.law_json import from_json

SPACE = re.compile(r"[ \t\n\r]*")  # of JSON
MOST_KEPT = 1024  # laws by their text: most tensors of a model share a few


def recorded(text: str) -> Iterator[tuple[str, Law | Exception]]:
    """The names and laws of an object of laws, in its order; where an entry is no law, what is wrong with it.

    Raises TypeError where the text is no object, and ValueError, at the entry, where it is no JSON or names a tensor
    twice. The names that were seen are kept, and the laws that come often; nothing else of the text is.
    """
    laws: dict[str, Law | Exception] = {}
    for name, entry, written in entries(text):
        law = laws.get(written)
        if law is None:
            law = _law(entry)
            if len(laws) < MOST_KEPT:
                laws[written] = law
        yield name, law


def entries(text: str) -> Iterator[tuple[str, Any, str]]:
    """The names and values of an object, in its order, each with its text; the errors are those of `recorded`."""
    decoder = json.JSONDecoder(object_pairs_hook=unique)
    seen: set[str] = set()
    at = _skip(text, 0)
    if not text.startswith("{", at):
        _decoded(decoder, text, at)
        raise TypeError("it is no object")
    at += 1
    while not text.startswith("}", at := _skip(text, at)):
        if seen:
            at = _skip(text, _expect(text, at, ","))
        name, at = _decoded(decoder, text, at)
        if not isinstance(name, str):
            raise ValueError(f"a name is {name!r:.100}, no string")
        if name in seen:
            raise ValueError(f"a key comes twice: {name!r:.100}")
        seen.add(name)
        begin = _skip(text, _expect(text, _skip(text, at), ":"))
        entry, at = _decoded(decoder, text, begin)
        yield name, entry, text[begin:at]
    if _skip(text, at + 1) != len(text):
        raise ValueError(f"something follows the last brace, at character {at + 1:,}")


def _law(entry: Any) -> Law | Exception:
    try:
        return from_json(entry)
    except Exception as error:  # whatever wrong parameters provoke in the constructor of a law
        return error


def _decoded(decoder: json.JSONDecoder, text: str, at: int) -> tuple[Any, int]:
    try:
        return decoder.raw_decode(text, at)
    except RecursionError:
        raise ValueError(f"the brackets at character {at:,} are too deep") from None


def _skip(text: str, at: int) -> int:
    space = SPACE.match(text, at)
    assert space is not None  # it matches nothing, too
    return space.end()


def _expect(text: str, at: int, sign: str) -> int:
    if not text.startswith(sign, at):
        raise ValueError(f"a {sign!r} is missing at character {at:,}")
    return at + 1
