"""What a notebook shows of a plan or a report: a line that says all, and a table of the first rows below it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fastinit.pages import safe as safe

MOST_ROWS = 12
ALERT = "color:#c0583f;font-weight:600"  # legible on light and on dark paper
LEFT = "text-align:left;vertical-align:middle"
SOFT = "opacity:.65"


def sheet(
    said: str, heads: Sequence[str], rows: Sequence[Sequence[str]], *, rest: str = "", alert: Iterable[int] = ()
) -> str:
    """A fragment of HTML, all styles in place: notebooks on the web keep no others. Cells are HTML already.

    Rows beyond `MOST_ROWS` are counted and left out; `rest` says where they are. `alert` are the numbers of rows that
    want a look.
    """
    marked = set(alert)
    head = "".join(f'<th scope="col" style="{LEFT}">{safe(one)}</th>' for one in heads)
    body = "".join(
        f'<tr style="{ALERT if i in marked else ""}">'
        + "".join(f'<td style="{LEFT}">{cell}</td>' for cell in row)
        + "</tr>"
        for i, row in enumerate(rows[:MOST_ROWS])
    )
    more = len(rows) - MOST_ROWS
    below = f'<p style="{SOFT}">and {more:,} more{f": {rest}" if rest else ""}</p>' if more > 0 else ""
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if rows else ""
    return f"<div><p>{said}</p>{table}{below}</div>"
