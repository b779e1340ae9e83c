"""The curves of a comparison as a PNG, by matplotlib."""

from __future__ import annotations

import io
import math
from pathlib import Path

from fastinit.compare.chart import line, panels
from fastinit.compare.comparison import Comparison
from fastinit.compare.report import title
from fastinit.files.small import save


def require_matplotlib() -> None:
    """Raise ModuleNotFoundError where a PNG could not be drawn."""
    try:
        import matplotlib.figure  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("a PNG needs matplotlib: pip install matplotlib; --html does without") from error


def save_png(comparison: Comparison, path: str | Path) -> None:
    """Draw activations, gradients and cost side by side. ModuleNotFoundError without matplotlib."""
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown, fitting = panels(comparison), comparison.fitting.start.name
    figure = Figure(figsize=(4.6 * len(shown), 4.6), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    figure.suptitle(title(comparison), fontsize=10)
    for place, panel in enumerate(shown, 1):
        axes = figure.add_subplot(1, len(shown), place)
        for name, curve in panel.curves.items():
            colour, _, dashes = line(name)
            # What is zero or infinite leaves the frame: as the decade beyond it.
            clipped = [min(max(y, 10.0 ** (panel.low - 1)), 10.0 ** (panel.high + 1)) for y in curve]
            kept = next((i for i, y in enumerate(curve) if math.isinf(y)), len(curve)) + 1
            axes.semilogy(
                clipped[:kept],
                color=colour,
                label=name,
                linewidth=2.8 if name == fitting else 1.5,
                zorder=2 if name == fitting else 3,
                linestyle=(0, tuple(map(float, dashes.split()))) if dashes else "-",
            )
        axes.set(title=panel.title, xlabel=panel.across, xlim=(0, panel.last), ylim=(10.0**panel.low, 10.0**panel.high))
        axes.grid(axis="y", color="#eceae6")
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(comparison.outcomes), frameon=False
    )
    data = io.BytesIO()
    figure.savefig(data, format="png", metadata={"Software": None})
    save(path, data.getvalue())
