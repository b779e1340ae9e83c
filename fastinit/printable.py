"""Text of strangers (names, paths, metadata) made safe to print: it could move the cursor, or forge a line."""

from __future__ import annotations

import unicodedata

ESCAPED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # control and format characters, half surrogates, ends of lines


def printable(text: str) -> str:
    r"""A text with its control characters, direction marks and lone surrogates written out, as \x00 and \u202e.

    In a terminal they would move the cursor, in a page be illegal. The joiner of emoji stays.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(one if one == "\u200d" or unicodedata.category(one) not in ESCAPED else _escape(one) for one in text)


def _escape(one: str) -> str:
    return one.encode("unicode_escape").decode()
