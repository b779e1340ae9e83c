"""The site's own parts: docstrings as reStructuredText, pages that leave nothing out, links of pages outside of it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "_extensions"))
from plain_docstrings import restructured  # noqa: E402


def test_a_column_of_names_becomes_fields():
    lines = restructured(
        ["Fill `buf`.", "", "    buf, x  an array", "            of any shape", "    *rest   others", ""]
    )
    assert lines == ["Fill `buf`.", "", ":buf, x: an array", "   of any shape", ":\\*rest: others", ""]


def test_what_would_be_markup_is_text_outside_of_backticks():
    assert restructured(["`kaiming_normal_` or kaiming_normal_, 2 * x, `Rule`s, a|b"])[0] == (
        "`kaiming_normal_` or kaiming_normal\\_, 2 \\* x, `Rule`\\ s, a\\|b"
    )


def test_sections_are_paragraphs_and_indented_lines_are_code():
    lines = restructured(["First.", "Raises ValueError.", "Source: a paper.", "", "    x = 2 * y", "After."])
    assert lines == [
        *("First.", "", "Raises ValueError.", "", "Source: a paper.", ""),
        *("::", "", "       x = 2 * y", "", "After.", ""),
    ]


def test_every_command_is_in_the_reference():
    page = (ROOT / "docs/reference/commands.md").read_text(encoding="utf-8")
    shown = subprocess.run(
        [sys.executable, "-m", "fastinit", "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    commands = re.findall(r"^    (\w+) ", shown.split("command\n", 1)[1].split("options:")[0], flags=re.MULTILINE)
    assert len(commands) > 5
    assert re.findall(r"^## fastinit (\w+)$", page, flags=re.MULTILINE) == commands
    assert re.findall(r"python -m fastinit (\w+) --help", page) == commands


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub and MyST make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"])
def test_links_between_pages_lead_somewhere(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        page = ROOT / path if path else ROOT / name
        assert page.exists(), target
        assert not anchor or anchor in headings(page), target
