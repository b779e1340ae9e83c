"""A comparison as one page of HTML: no network, no library, readable without JavaScript and on paper."""

from __future__ import annotations

import json
from pathlib import Path

from fastinit import notebook
from fastinit.compare.chart import colours, drawing, line, panels
from fastinit.compare.comparison import Comparison
from fastinit.compare.report import LEFT, cells, title
from fastinit.compare.verdict import verdict
from fastinit.formatting import NONE
from fastinit.pages import page, safe


def html(comparison: Comparison) -> str:
    """One page: the verdict, the charts, the table. Deterministic; about 60 kB at 50 layers."""
    names = [one.start.name for one in comparison.outcomes]
    fitting = comparison.fitting.start.name
    shown = panels(comparison)
    judged = verdict(comparison)
    training = comparison.training
    facts = {
        "layers": comparison.depth,
        "units a layer": comparison.width,
        "inputs": comparison.batch,
        **({"layers trained": training.depth, "epochs": training.epochs} if training else {}),
        "seed" if comparison.seeds == 1 else f"to {comparison.seed + comparison.seeds - 1}, seeds": comparison.seed,
    }
    rows = [cells(one) for one in comparison.outcomes]
    columns = [name for name in rows[0] if any(row[name] != NONE for row in rows)]
    # For the reader's pointer: what each curve is at each layer, as words.
    values = [[[f"{y:.2g}" for y in panel.curves[name]] for name in names] for panel in shown]
    return page(
        Path(__file__).with_suffix(".html"),
        activation=safe(comparison.activation),
        facts="".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts.items()),
        verdict="good" if judged.confirmed and not judged.lost else "alert",
        conclusion=safe(judged.words),
        findings="".join(
            f'<li class="{"good" if one.confirms else "alert"}">{safe(one.words)}</li>' for one in judged.findings
        ),
        light=colours(names, dark=False),
        dark=colours(names, dark=True),
        key="".join(
            f'<button type="button" data-start="{i}" aria-pressed="false"><svg width="26" height="10"><path '
            f'class="curve c{i}{" fitting" if name == fitting else ""}" d="M1 5h24"/></svg>{safe(name)}</button>'
            for i, name in enumerate(names)
        ),
        charts="".join(f"<figure>{drawing(panel, fitting)}<figcaption></figcaption></figure>" for panel in shown),
        heads="".join(f'<th scope="col"{"" if name in LEFT else " class=figure"}>{name}</th>' for name in columns),
        rows="\n".join(
            f"<tr{' class=fitting' if row['start'].endswith('*') else ''}>"
            + "".join(
                f"<td{'' if name in LEFT else ' class=figure'} data-label='{name}'>{safe(row[name])}</td>"
                for name in columns
            )
            + "</tr>"
            for row in rows
        ),
        data=json.dumps({"names": names, "values": values}).replace("<", "\\u003c"),
    )


def fragment(comparison: Comparison) -> str:
    """The verdict, the charts and the table, for a notebook: without script, all styles in place."""
    names, judged = [one.start.name for one in comparison.outcomes], verdict(comparison)
    fitting = comparison.fitting.start.name
    charts = "".join(
        _in_place(drawing(panel, fitting), names).replace("<svg ", '<svg width="330" fill="currentColor" ', 1)
        for panel in panels(comparison)
    )
    key = " &#160; ".join(
        _in_place(f'<svg width="26" height="10"><path class="curve c{i}" d="M1 5h24"/></svg> {safe(name)}', names)
        for i, name in enumerate(names)
    )
    rows = [cells(one) for one in comparison.outcomes]
    columns = [name for name in rows[0] if any(row[name] != NONE for row in rows)]
    words = "".join(f"<li>{safe(one.words)}</li>" for one in judged.findings)
    table = notebook.sheet("* what scheme_for names", columns, [[safe(row[name]) for name in columns] for row in rows])
    return (
        f"<div><p>{safe(title(comparison))}</p><p><b>{safe(judged.words)}</b></p><ul>{words}</ul>{charts}<p>{key}</p>"
        f"{table}</div>"
    )


def _in_place(drawn: str, names: list[str]) -> str:
    """A drawing whose classes are attributes, in colours that both light and dark paper can show."""
    for i, name in enumerate(names):
        light, _, dashes = line(name)
        stroke = f'fill="none" stroke="{light}" stroke-dasharray="{dashes or "none"}" stroke-width='
        drawn = drawn.replace(f'class="curve c{i}"', f'{stroke}"1.6"').replace(
            f'class="curve c{i} fitting"', f'{stroke}"3"'
        )
    for kind, opacity in (("grid", 0.15), ("frame", 0.4)):
        drawn = drawn.replace(f'class="{kind}"', f'fill="none" stroke="currentColor" opacity="{opacity}"')
    return drawn.replace('class="title"', 'font-size="13" font-weight="600"').replace('class="tick"', 'font-size="12"')
