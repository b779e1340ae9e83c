"""Figures that a script writes into a page, between two marks that carry the script's name."""

from __future__ import annotations

from pathlib import Path


def write_between_marks(page: Path, script: str, text: str) -> None:
    """Replace what stands between `<!-- script: begin -->` and `<!-- script: end -->`; ValueError without the marks."""
    begin, end = f"<!-- {script}: begin -->", f"<!-- {script}: end -->"
    old = page.read_text()
    head, mark, rest = old.partition(begin)
    _, other, tail = rest.partition(end)
    if not (mark and other):
        raise ValueError(f"{page} has no marks {begin} and {end}")
    page.write_text(f"{head}{begin}\n{text.strip()}\n{end}{tail}")
