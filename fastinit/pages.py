"""What the pages of HTML share: how one is made of a template and the common style, and text that is safe in it."""

from __future__ import annotations

import html
from pathlib import Path
from string import Template

from fastinit.formatting import printable


def page(template: Path, **parts: object) -> str:
    """The template with its parts, and pages.css for $style."""
    style = Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
    return Template(template.read_text(encoding="utf-8")).substitute(style=style, **parts)


def safe(words: str) -> str:
    """Text that is safe between tags and in quoted attributes."""
    return html.escape(printable(words), quote=True)
