"""The curves of a comparison: what a picture shows, and its drawing as SVG, alone or inside a page."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fastinit.compare.comparison import Comparison

# Colour on light and on dark paper, and dashes: Xavier and LeCun coincide in square layers, so one must show through.
LINES = {
    "zero": ("#8a8f96", "#8d949d", ""),
    "small": ("#1f8f8a", "#45bdb6", ""),
    "large": ("#c0392b", "#f0806e", ""),
    "Xavier": ("#2f6db5", "#6fa8e6", ""),
    "LeCun": ("#8a4fb0", "#c193e0", "5 4"),
    "He": ("#2e7d4f", "#74c493", ""),
    "orthogonal": ("#c77f0a", "#e8b04e", "2 3"),
}
OTHER = ("#17365e", "#c5dcf7", "")  # a scheme with a gain of its own
# Decades that are shown; a curve that goes on leaves the frame.
LOWEST, HIGHEST = -20, 8

WIDTH, HEIGHT = 380, 260
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 30, 40
INNER, DEEP = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM


@dataclass(frozen=True)
class Panel:
    """One chart: a curve a start over layers or epochs, on a logarithmic axis from 10^low to 10^high."""

    title: str
    across: str
    curves: Mapping[str, Sequence[float]]
    low: int
    high: int

    @property
    def last(self) -> int:
        """The end of the horizontal axis."""
        return max(len(curve) for curve in self.curves.values()) - 1


def panels(comparison: Comparison) -> list[Panel]:
    """Activations, gradients, and the cost if there was training."""
    outcomes = comparison.outcomes
    shown = [
        _panel(
            comparison, "Variance of activations", "layer", {one.start.name: one.signal.activations for one in outcomes}
        ),
        _panel(
            comparison, "Variance of gradients", "layer", {one.start.name: one.signal.gradients for one in outcomes}
        ),
    ]
    curves = {one.start.name: one.curve.costs for one in outcomes if one.curve}
    return [*shown, _panel(comparison, "Cost in training", "epoch", curves)] if curves else shown


def _panel(comparison: Comparison, title: str, across: str, curves: Mapping[str, Sequence[float]]) -> Panel:
    """The frame holds the schemes, not the extremes: their 10^100 would flatten the rest."""
    schemes = [curves[one.start.name] for one in comparison.outcomes if not one.start.extreme]
    logs = [math.log10(y) for curve in schemes for y in curve if 0 < y < math.inf]
    low, high = math.floor(min(logs, default=0)) - 1, math.ceil(max(logs, default=0)) + 1
    return Panel(title, across, curves, max(low, LOWEST), min(high, HIGHEST))


def ticks(last: float, first: float = 0, most: int = 6) -> list[int]:
    """Round numbers from first to last, at most so many steps."""
    step = next(s * 10**e for e in range(9) for s in (1, 2, 5) if (last - first) / (s * 10**e) <= most)
    return list(range(math.ceil(first / step) * step, math.floor(last) + 1, step))


def line(name: str) -> tuple[str, str, str]:
    """Colours and dashes of a start's curve."""
    return LINES.get(name, OTHER)


def drawing(panel: Panel, fitting: str) -> str:
    """One chart as an SVG element, without colours: the classes are `curve c0`, `curve c1`, ... and `fitting`."""
    parts = [f'<text class="title" x="{LEFT}" y="17">{html.escape(panel.title)}</text>']
    for decade in ticks(panel.high, panel.low, 7):
        y = TOP + _down(10.0**decade, panel)
        power = str(decade).replace("-", "\u2212")
        label = f'10<tspan class="power" dy="-4">{power}</tspan>' if decade else "1"
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}h{INNER}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    for x in ticks(panel.last):
        parts.append(
            f'<text class="tick" x="{LEFT + INNER * x / panel.last:.1f}" y="{TOP + DEEP + 16}" '
            f'text-anchor="middle">{x}</text>'
        )
    parts.append(
        f'<text class="axis" x="{LEFT + INNER / 2}" y="{HEIGHT - 6}" text-anchor="middle">{panel.across}</text>'
    )
    # The inner svg cuts off what leaves the frame. The fitting curve, a thick one, comes first: others show on top.
    parts.append(f'<svg x="{LEFT}" y="{TOP}" width="{INNER}" height="{DEEP}">')
    order = sorted(enumerate(panel.curves), key=lambda item: item[1] != fitting)
    parts += [
        f'<path class="curve c{i}{" fitting" if name == fitting else ""}" data-start="{i}" '
        f'd="{"".join(_path(panel, panel.curves[name]))}"/>'
        for i, name in order
    ]
    parts.append(f'</svg><path class="frame" d="M{LEFT} {TOP}v{DEEP}h{INNER}"/>')
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(panel.title)}">'
        + "".join(parts)
        + "</svg>"
    )


def _path(panel: Panel, curve: Sequence[float]) -> Iterator[str]:
    """Up to the first value that is no number; one that has left the range of numbers is drawn as leaving the frame."""
    for i, y in enumerate(curve):
        if math.isnan(y):
            return
        yield f"{'L' if i else 'M'}{INNER * i / panel.last:.1f} {_down(y, panel):.1f}"
        if math.isinf(y):
            return


def _down(y: float, panel: Panel) -> float:
    """How far below the upper edge; a decade outside at most, so that zero and infinity have a place."""
    log = math.log10(y) if 0 < y < math.inf else math.copysign(math.inf, y - 1)
    return DEEP * (panel.high - min(max(log, panel.low - 1), panel.high + 1)) / (panel.high - panel.low)


def colours(names: Sequence[str], dark: bool) -> str:
    """The rules that colour the curves."""
    return "".join(
        f".c{i}{{stroke:{line(name)[dark]};stroke-dasharray:{line(name)[2] or 'none'}}}" for i, name in enumerate(names)
    )


def figure(comparison: Comparison) -> str:
    """All charts side by side with their key: an SVG file that follows the reader's light or dark theme."""
    shown, names = panels(comparison), [one.start.name for one in comparison.outcomes]
    fitting = comparison.fitting.start.name
    wide, pitch = WIDTH * len(shown), WIDTH * len(shown) / len(names)
    charts = "".join(
        drawing(panel, fitting).replace("<svg ", f'<svg x="{WIDTH * i}" width="{WIDTH}" height="{HEIGHT}" ', 1)
        for i, panel in enumerate(shown)
    )
    key = "".join(
        f'<path class="curve c{i}{" fitting" if name == fitting else ""}" d="M{pitch * i + 10:.0f} {HEIGHT + 16}h22"/>'
        f'<text class="key" x="{pitch * i + 38:.0f}" y="{HEIGHT + 20}">{html.escape(name)}</text>'
        for i, name in enumerate(names)
    )
    style = (
        "svg{font:12px system-ui,sans-serif}.title{font-size:13px;font-weight:600}.power{font-size:9px}"
        ".curve{fill:none;stroke-width:1.6;stroke-linejoin:round}.curve.fitting{stroke-width:3}.grid,.frame{fill:none}"
        ".paper{fill:#fff}text{fill:#22262b}.tick,.axis{fill:#6d747d}.grid{stroke:#eceae6}.frame{stroke:#b9b5ae}"
        + colours(names, dark=False)
        + "@media(prefers-color-scheme:dark){.paper{fill:#15181c}text{fill:#dfe3e8}.tick,.axis{fill:#949ca6}"
        + ".grid{stroke:#2c3138}.frame{stroke:#525a64}"
        + colours(names, dark=True)
        + "}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {HEIGHT + 34}" width="{wide}">'
        f"<style>{style}</style>"
        f'<rect class="paper" width="{wide}" height="{HEIGHT + 34}"/>{charts}{key}</svg>\n'
    )
