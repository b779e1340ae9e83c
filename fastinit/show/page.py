"""The report of `show` as one page of HTML: no network, no library, readable without JavaScript and on paper."""

from __future__ import annotations

from pathlib import Path

from fastinit import notebook
from fastinit.formatting import law, number, shape, size
from fastinit.laws import Constant
from fastinit.pages import page, safe
from fastinit.show.shown import Histogram, Shown, TensorShown

HEIGHT = 40  # of a histogram, in the units of its drawing; a bin is one wide
# A bin this much higher than the second is cut off, and marked so: the zeros of a sparse tensor would flatten the rest.
TOWERING = 4.0
# What a column is called, the class of its cells (one that a narrow page hides has "wide"), and how it sorts.
COLUMNS = (
    ("Tensor", "name", "text"),
    ("Check", "check", "number"),
    ("Shape", "shape", "number"),
    ("Dtype", "dtype wide", "text"),
    ("Law", "law", "text"),
    ("Mean", "figure", "number"),
    ("Std", "figure", "number"),
    ("Min", "figure wide", "number"),
    ("Max", "figure wide", "number"),
    ("Zeros", "figure wide", "number"),
)


def html(shown: Shown, title: str) -> str:
    """One page: a row a tensor or part, marked ones first, its histogram over that of its law; about 2 kB each.

    Deterministic. In a browser with scripts, constants that are as they should be are folded.
    """
    marked = sum(bool(one.remarks) for one in shown.tensors)
    known = sum(one.law is not None for one in shown.tensors)
    facts = {
        "tensors": f"{len(shown.tensors):,}",
        "elements": f"{shown.elements:,}",
        f"in {len(shown.files):,} file{'s' * (len(shown.files) != 1)}": size(shown.bytes),
        "with a law": f"{known:,}",
        "marked": f"{marked:,}",
        **({"shown of complex numbers": "magnitudes"} if shown.complex else {}),
    }
    several = len(shown.files) > 1
    return page(
        Path(__file__).with_suffix(".html"),
        title=safe(title),
        path=safe(shown.path),
        facts="".join(
            f"<div{' class=alert' if name == 'marked' and marked else ''}><dt>{name}</dt><dd>{value}</dd></div>"
            for name, value in facts.items()
        ),
        heads="".join(map(_head, COLUMNS)),
        rows="\n".join(_row(tensor, several) for tensor in shown.marked_first),
    )


def fragment(shown: Shown) -> str:
    """The first rows, marked ones before the others, for a notebook."""
    heads = ("tensor", "check", "shape", "dtype", "law", "histogram", "mean", "std")
    rows, alert = [], []
    for i, one in enumerate(shown.marked_first[: notebook.MOST_ROWS]):
        alert += [i] if one.remarks else []
        rows.append(
            (
                *(_breakable(one.name), _check(one), shape(one.shape), one.dtype),
                *(safe(law(one.law)) if one.decoded else "not decoded", _small_drawing(one)),
                _beside_law(one.mean, one.expected.mean if one.expected else None),
                _beside_law(one.std, one.expected.std if one.expected else None),
            )
        )
    left_out = [()] * (len(shown.rows) - len(rows))
    said = f"<b>{safe(shown.path)}</b>: {safe(shown.summary)}"
    return notebook.sheet(said, heads, [*rows, *left_out], rest="shown.html() is a page of them all", alert=alert)


def _beside_law(value: float | int | None, expected: float | None) -> str:
    below = "" if expected is None else f'<br><small style="{notebook.SOFT}">law {number(expected)}</small>'
    return number(value) + below


def _check(tensor: TensorShown) -> str:
    """What there is to remark, or that there is nothing."""
    if tensor.remarks:
        return "<br>".join(map(safe, tensor.remarks))
    return "fits" if tensor.expected is not None else "no law" if tensor.law is None else "empty"


def _breakable(name: str) -> str:
    """A name that a narrow column may break behind its dots and underscores."""
    return safe(name).replace(".", ".<wbr>").replace("_", "_<wbr>")


def _head(column: tuple[str, str, str]) -> str:
    name, kind, order = column
    cell = f'<th scope="col" class="{kind}" data-order="{order}" aria-sort="none"><button type="button">{name}</button>'
    return cell + "</th>" + ('<th scope="col" class="drawing">Histogram</th>' if name == "Law" else "")


def _row(tensor: TensorShown, several: bool) -> str:
    """A row; `data-value` is what a cell sorts by, where that is not its text."""
    expected = tensor.expected
    name = safe(tensor.name)
    where = f"<small>{safe(tensor.file)}</small>" if several else ""
    remarks = "".join(f"<b>{safe(one)}</b>" for one in tensor.remarks)
    good = expected is not None and not remarks
    nothing = "no law" if tensor.law is None else "empty"
    check = remarks or ('<i class="good">fits</i>' if good else f'<i class="none">{nothing}</i>')
    drawn_from = safe(law(tensor.law)) if tensor.decoded else "not decoded"
    rank = 2 if remarks else 0 if good else 1
    mean = _figure("Mean", "figure", tensor.mean, expected.mean if expected else None)
    std = _figure("Std", "figure", tensor.std, expected.std if expected else None)
    return (
        f"<tr{' class=marked' if remarks else ' class=constant' if good and _is_constant(tensor) else ''}>"
        f'<th scope="row" class="name" data-value="{name}">{_breakable(tensor.name)}{where}'
        f'<small class="aside">{drawn_from}</small></th>'
        f'<td class="check" data-value="{rank}">{check}</td>'
        f'<td class="shape" data-label="Shape" data-value="{tensor.elements}">{shape(tensor.shape)}</td>'
        f'<td class="dtype wide">{tensor.dtype}</td><td class="law">{drawn_from}</td>'
        f'<td class="drawing">{_drawing(tensor)}</td>{mean}{std}'
        f"{_figure('Min', 'figure wide', tensor.minimum)}{_figure('Max', 'figure wide', tensor.maximum)}"
        f'<td class="figure wide" data-label="Zeros" data-value="{tensor.zeros}">{tensor.zeros:,}</td></tr>'
    )


def _is_constant(tensor: TensorShown) -> bool:
    """Whether it is one value, as its law says."""
    return isinstance(tensor.law, Constant) and tensor.minimum == tensor.maximum


def _figure(label: str, kind: str, value: float | int | None, expected: float | None = None) -> str:
    below = "" if expected is None else f"<small>law {number(expected)}</small>"
    sorted_by = "" if value is None else value
    return f'<td class="{kind}" data-label="{label}" data-value="{sorted_by}">{number(value)}{below}</td>'


def _drawing(tensor: TensorShown) -> str:
    """The histogram as one path, what the law expects as another, and the ends of the range below."""
    histogram, inside = tensor.histogram, sum(tensor.histogram.counts)
    paths = _paths(tensor)
    if not paths["bars"]:
        return '<span class="none">nothing to draw</span>'
    outside = "".join(
        f"<span>{count:,} {where}</span>"
        for count, where in ((histogram.below, "below"), (histogram.above, "above"))
        if count
    )
    low, high = (_end(edge, histogram) for edge in (histogram.low, histogram.high))
    words = f"{safe(tensor.name)}: {inside:,} values from {low} to {high}"
    return (
        f'<button type="button" class="open" aria-label="Enlarge the histogram of {safe(tensor.name)}">'
        f'<svg viewBox="0 0 {len(histogram.counts)} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{words}">'
        + "".join(f'<path class="{kind}" d="{path}"/>' for kind, path in paths.items() if path)
        + f"</svg></button><small><span>{low}</span>{outside}<span>{high}</span></small>"
    )


def _paths(tensor: TensorShown) -> dict[str, str]:
    """The bars, the line of the law, and the gaps of bars that are cut off; each empty where there is none."""
    counts, expected = tensor.histogram.counts, tensor.expected
    wanted = [share * tensor.elements for share in expected.shares] if expected else []
    if not sum(counts) and not sum(wanted):
        return {"bars": "", "line": "", "cut": ""}
    heights = sorted(map(max, counts, wanted) if wanted else counts)
    top = heights[-1]
    if len(heights) > 1 and heights[-2] > 0 and heights[-1] > TOWERING * heights[-2]:
        top = heights[-2] * 1.25
    bars = "".join(f"V{_level(count, top)}h1" for count in counts)
    line = "".join(f"V{_level(count, top)}h1" for count in wanted)
    return {
        "bars": f"M0 {HEIGHT}{bars}V{HEIGHT}z",
        "line": f"M0 {HEIGHT}{line}V{HEIGHT}" if wanted else "",
        "cut": "".join(f"M{i} 2.5l1-1.5" for i, count in enumerate(counts) if count > top),
    }


def _small_drawing(tensor: TensorShown) -> str:
    """The histogram for a notebook, whose paper is light or dark: in the colour of its text."""
    paths, bins = _paths(tensor), len(tensor.histogram.counts)
    if not paths["bars"]:
        return ""
    line = 'fill="none" stroke="currentColor" vector-effect="non-scaling-stroke"'
    return (
        f'<svg width="130" height="30" viewBox="0 0 {bins} {HEIGHT}" preserveAspectRatio="none">'
        f'<path d="{paths["bars"]}" fill="currentColor" opacity=".3"/><path d="{paths["line"]}" {line}/></svg>'
    )


def _end(edge: float, histogram: Histogram) -> str:
    """An end of the range; zero where it is that but for rounding."""
    return number(0 if abs(edge) < 1e-6 * (histogram.high - histogram.low) else edge)


def _level(count: float, top: float) -> str:
    """How far down from the upper end of the drawing: a tenth of a unit is finer than a pixel."""
    return f"{HEIGHT - (HEIGHT - 1) * min(count / top, 1.0):.1f}".removesuffix(".0")
