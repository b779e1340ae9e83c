"""Write README's speed section, docs/performance.md and their charts from runs of the benchmarks.

    pytest --benchmark --benchmark-json=speed.json
    python bench/report.py speed.json      # keeps the medians in bench/results/, one file a processor; writes the pages
    python bench/report.py part.json --merge   # a run of a few benchmarks: replaces their rows, keeps the others
    python bench/report.py                 # writes them again from bench/results/
    python bench/report.py --check         # fails if the pages are not what bench/results/ gives

README shows a few rows of the newest run, docs/performance.md all of every processor. The numbers come from here and
are never typed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS, README = ROOT / "bench" / "results", ROOT / "README.md"
PAGE, CHART, SIZES = (ROOT / "docs" / name for name in ("performance.md", "performance.svg", "throughput.svg"))
BEGIN, END = "<!-- speed: begin -->", "<!-- speed: end -->"
COMMAND = "pytest --benchmark --benchmark-json=speed.json && python bench/report.py speed.json"

# Workload -> what the pages call it. Every other workload is in bench/results/ and in the charts only.
FILLS = {
    "constant float32": "constant, float32",
    "uniform float32": "uniform, float32",
    "normal float32": "He normal, float32",
    "truncated float32": "normal cut at 2 std, float32",
    "loosely truncated float32": "normal of std 0.02 cut at ±2, float32",
    "normal float64": "He normal, float64",
    "normal bfloat16": "He normal, bfloat16",
    "normal float16": "He normal, float16",
    "normal float8_e4m3fn": "He normal, float8_e4m3fn",
    "uniform float32, Fortran order": "uniform, float32, Fortran order",
    "normal float32, Fortran order": "He normal, float32, Fortran order",
    "uniform float32, column shard": "uniform, float32, shard of 128 columns",
    "normal float32, column shard": "He normal, float32, shard of 128 columns",
    "sparse 0.9 float32, axis 0": "sparse 0.9, float32, zeros counted down the columns",
    "sparse 0.9 float32, axis 1": "the same along the rows",
    "orthogonal float32, 4096 x 4096": "orthogonal, 4096 x 4096, float32",
    "orthogonal float32, 8192 x 512": "orthogonal, 8192 x 512, float32",
    "identity float32": "identity, float32",
    "Dirac float32": "Dirac, float32",
    "stacked experts bfloat16": "He normal, bfloat16, 8 x 14336 x 4096, the fans of an expert",
    "eight experts of their own laws bfloat16": "the same with a law for each expert",
    "three laws along the first axis float32": "q, k and v of a law each, float32, along the first axis",
    "three laws along the last axis float32": "the same along the last axis",
    "tree, normal float32": "normal, float32, a tree of 10^9 weights for JAX",
    "tree, LeCun normal float32": "LeCun normal, cut at 2 std, float32, the same tree",
    "normal float32, fresh memory": "He normal, float32, fresh `torch.empty` of 2 GiB",
    "normal float32, fresh memory, ordinary pages": "the same, huge pages switched off",
    "torch kaiming_normal_": "`fastinit.torch.kaiming_normal_`",
    "torch trunc_normal_ at 2 sigma": "`fastinit.torch.trunc_normal_` at 2 std",
    "torch trunc_normal_, idle bounds": "`fastinit.torch.trunc_normal_(std=0.02)`, whose bounds cut nothing",
    "torch model of GPT-2 XL's layers": "GPT-2 XL's layers built under `fastinit.torch.accelerate`, 1.5 x 10^9 weights",
}
OTHERS = {
    "normal float32, two threads": "two threads against one, He normal",
    "truncated float32, two threads": "two threads against one, normal cut at 2 std",
    "normal float32, reference engine": "engine without Numba, He normal",
    "64 elements": "call that fills 64 elements, warm",
    "torch uniform_ of 64 elements": "`fastinit.torch.uniform_` of 64 elements",
    "import": "`import fastinit`, after NumPy",
    "first fill, cold cache": "first fill ever, 1 MiB",
    "first fill, cold cache, compiled engine": "the same where the compiled engine is asked for (compiles)",
    "first fill, warm cache": "first fill of a process, 1 MiB",
    "first fill, warm cache, compiled engine": "the same where the compiled engine is asked for",
    "extra memory": "memory beyond a buffer of 1 GiB, at the peak",
    "extra memory, sparse, axis 0": "memory beyond a sparse buffer of 15 x 10^8, at the peak",
    "extra memory, sparse, axis 1": "the same, zeros counted along the rows",
}
# The rows of README.
BRIEF = (
    "uniform float32",
    "normal float32",
    "truncated float32",
    "normal float64",
    "normal bfloat16",
    "sparse 0.9 float32, axis 0",
    "orthogonal float32, 4096 x 4096",
    "torch model of GPT-2 XL's layers",
)
BARS = (
    "constant float32",
    "uniform float32",
    "normal float32",
    "truncated float32",
    "normal float64",
    "normal bfloat16",
)
INTRODUCTION = """# Speed, by processor

This page has the measured speed of every law, dtype and kind of buffer, beside NumPy, PyTorch, JAX and MKL, for each
processor that was measured. Look up the processor that is most like yours; the newest run comes first. To measure your
own machine, run `python -m pytest --benchmark`. The page is written by bench/report.py from bench/results/.

* **GB/s** are 10^9 bytes of the buffer a second. The machines are shared with other guests, so compare ratios within a
  run rather than GB/s between runs.
* **of `ndarray.fill`** compares this with the speed at which NumPy's `ndarray.fill`, on as many threads, writes a
  constant.
* **x NumPy** and the like say how many times as fast as that library fastinit is. Each library runs on all cores and at
  its best. A dash means that it was not measured.
* **target met** says whether the row reaches its speed targets, and which it misses. In these, *ceiling* is the speed
  of `ndarray.fill`. The targets were set on a Zen 5 (znver5); bench/floors.py lists them. A dash means that the row has
  no target.
"""
PEERS = {"numpy": "NumPy", "torch": "PyTorch", "jax": "JAX", "mkl": "MKL"}
COLOURS = ("#4c72b0", "#dd8452", "#937860", "#8c8c8c")
SERIES = {"fastinit": ("fastinit", "#0b6e4f")} | {
    key: (label, colour) for (key, label), colour in zip(PEERS.items(), COLOURS, strict=True)
}


def digest(raw: dict[str, Any], *, part: bool = False) -> dict[str, Any]:
    """The results worth keeping, of pytest-benchmark's JSON: medians, ratios, floors; machine and versions.

    A `part` may lack workloads.
    """
    machine, rows = raw["machine_info"], {}
    for benchmark in raw["benchmarks"]:
        info = benchmark["extra_info"]
        if not info["timed"]:
            sys.exit(f"{benchmark['name']} was not timed at full size; run pytest --benchmark")
        rows[info["workload"]] = {"median_seconds": benchmark["stats"]["median"]} | {
            key: value for key, value in info.items() if key not in ("workload", "timed")
        }
    missing = [workload for workload in (*FILLS, *OTHERS) if workload not in rows]
    if missing and not part:
        sys.exit(f"the results lack {', '.join(missing)}; run all of bench/")
    about = machine["fastinit"]
    packages = ("fastinit", "python", "numpy", "numba", "torch", "jax")
    kept = {
        "date": raw["datetime"][:10],
        "command": COMMAND,
        "machine": {
            "cpu": machine["cpu_model"],
            "target": about.get("cpu"),
            "features": about.get("cpu_features", []),
            "cpus": about["cpus"],
            "system": f"{machine['system']} {machine['release']}",
        },
        "threads": about["threads"],
        "engine": about["engine"],
        "versions": {name: about[name] for name in packages if about.get(name)},
        "workloads": {name: rows[name] for name in sorted(rows)},
    }
    result: dict[str, Any] = rounded(kept)
    return result


def merged(whole: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """A run with the rows of a later run of a part; where versions differ, both are named."""
    versions = dict(whole["versions"])
    for name, version in part["versions"].items():
        if version not in versions.setdefault(name, version).split(" and "):
            versions[name] += f" and {version}"
    rows = dict(sorted((whole["workloads"] | part["workloads"]).items()))
    return whole | {"date": part["date"], "versions": versions, "workloads": rows}


def rounded(value: Any) -> Any:
    """All floats to four significant digits."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


def verdict(row: dict[str, Any]) -> str:
    """Whether the floors of a workload were reached."""
    if not row["reached"]:
        return "-"
    if False in row["reached"]:
        return "**no**: " + "; ".join(
            text for text, reached in zip(row["floor"], row["reached"], strict=True) if reached is False
        )
    return "not measured" if None in row["reached"] else "yes"


def rivals(row: dict[str, Any], peer: str) -> list[str]:
    """The names under which a peer ran: its own, or one a generator ("mkl ARS5")."""
    return [name for name in row.get("rivals", {}) if name.split()[0] == peer]


def cell(row: dict[str, Any], peer: str) -> str:
    """How many times as fast as a peer at its fastest, or a dash."""
    ratio = min((row["measured"][f"times {name}"] for name in rivals(row, peer)), default=None)
    if ratio is None:
        return "-"
    return f"{ratio:.2f}" if ratio < 1 else f"{ratio:.1f}" if ratio < 10 else f"{ratio:.0f}"


def figure(name: str, value: float) -> str:
    """One measured quantity of the second table."""
    if name.startswith("times "):
        return f"{value:.2g} x {name.removeprefix('times ')}"
    if value < 0:
        return f"{-value:.2g} {name.replace(' beyond ', ' less than ')}"
    return f"{value:.2g} {name}"


def brief(results: dict[str, Any]) -> str:
    """README's table: a few rows, without the floors, and one sentence on these."""
    machine, rows = results["machine"], results["workloads"]
    lines = [
        f"| fill | GB/s | of `ndarray.fill`, {results['threads']} threads | "
        + " | ".join(f"x {name}" for name in PEERS.values())
        + " |",
        "| --- | ---: | ---: |" + " ---: |" * len(PEERS),
    ]
    for workload in BRIEF:
        row = rows[workload]
        share = row["measured"].get("times ceiling")
        lines.append(
            f"| {FILLS[workload]} | {row['gb_per_second']:.1f} | {'-' if share is None else f'{share:.0%}'} | "
            + " | ".join(cell(row, key) for key in PEERS)
            + " |"
        )
    judged = [reached for row in rows.values() for reached in row["reached"] if reached is not None]
    table = "\n".join(lines)
    where = f"{machine['cpu']} ({machine['target']}), {machine['cpus']} shared CPUs, {results['date']}"
    return (
        f"{table}\n\nColumns with x say how many times as fast as that library fastinit is. {where}; every peer on all "
        f"cores and at its best. {sum(judged)} of {len(judged)} speed targets are met on this machine; "
        "[docs/performance.md](docs/performance.md) names the others, and has every law, size and processor."
    )


def section(results: dict[str, Any]) -> str:
    """The tables of one processor, with every floor."""
    machine, rows = results["machine"], results["workloads"]
    peers = {key: PEERS[key] for key in PEERS if any(rivals(row, key) for row in rows.values())}
    lines = [
        f"| fill | GB/s | of `ndarray.fill`, {results['threads']} threads | "
        + " | ".join(f"x {name}" for name in peers.values())
        + " | target met |",
        "| --- | ---: | ---: |" + " ---: |" * len(peers) + " --- |",
    ]
    for workload, title in FILLS.items():
        if workload not in rows:  # measured before the law was written
            continue
        row = rows[workload]
        share = row["measured"].get("times ceiling")
        lines.append(
            f"| {title} | {row['gb_per_second']:.1f} | {'-' if share is None else f'{share:.0%}'} | "
            + " | ".join(cell(row, key) for key in peers)
            + f" | {verdict(row)} |"
        )
    lines += ["", "| other measurements | measured | target met |", "| --- | --- | --- |"]
    for workload, title in OTHERS.items():
        if workload not in rows:
            continue
        row = rows[workload]
        floors = row["floor"] or row["measured"]
        shown = [item for item in row["measured"].items() if any(item[0] in text for text in floors)]
        lines.append(f"| {title} | {', '.join(figure(*item) for item in shown)} | {verdict(row)} |")
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    features = ", ".join(machine["features"])
    slow = sorted(
        {
            f"{PEERS[key]} {row['rivals'][name]['call']}"
            for row in rows.values()
            for key in PEERS
            for name in rivals(row, key)
            if row["rivals"][name].get("bytes", 0) < row.get("bytes", 0)
        }
    )
    lines += [
        "",
        f"{machine['cpu']} ({machine['target']}; {features}), {machine['cpus']} CPUs, {machine['system']}, "
        f"{results['threads']} threads, engine {results['engine']}; {versions}; {results['date']}. "
        "The figures are medians. Buffers are 1 GiB of memory that was in use before, unless the row says otherwise. "
        "Every round times fastinit, its peers and `ndarray.fill` in turn. Peers that need more than 1.5 s for 1 GiB "
        f"draw 2^24 elements instead, and rates are compared ({len(slow)} calls; bench/results/ names them).",
        "",
        f"Measured by `{results['command']}`.",
    ]
    return "\n".join(lines)


def readme_section(runs: list[dict[str, Any]]) -> str:
    """README's text between the markers: the chart and a few rows of the newest run."""
    return f"![GB/s of fastinit and its peers](docs/performance.svg)\n\n{brief(runs[0])}"


def page(runs: list[dict[str, Any]]) -> str:
    """docs/performance.md: every processor that was measured, the newest run first."""
    title = INTRODUCTION
    sizes = next((run for run in runs if by_size(run)), None)
    if sizes is not None:
        title += (
            "\nThe chart shows the speed of He's normal law by the size of the buffer.\n\n"
            f"![GB/s by the size of the buffer, {sizes['machine']['target']}]({SIZES.name})\n"
        )
    return title + "".join(f"\n## {run['machine']['target']}, {run['date']}\n\n{section(run)}\n" for run in runs)


def by_size(results: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of the normal law at every size, the smallest first."""
    rows = [row for name, row in results["workloads"].items() if re.fullmatch(r"normal float32, 2\^\d+ elements", name)]
    return sorted(rows, key=lambda row: row["elements"])


def measured_runs() -> list[dict[str, Any]]:
    """What bench/results/ holds, the newest first."""
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    if not runs:
        sys.exit("bench/results/ is empty; run pytest --benchmark --benchmark-json=speed.json, and pass speed.json")
    return sorted(runs, key=lambda run: run["date"], reverse=True)


def cut(readme: str) -> tuple[str, str, str]:
    """README before, between and after the markers."""
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.index(BEGIN) > readme.index(END):
        sys.exit(f"README.md needs the lines {BEGIN} and {END}, once each, in this order")
    before, rest = readme.split(BEGIN)
    between, after = rest.split(END)
    return before, between.strip(), after


def rates(row: dict[str, Any]) -> dict[str, float]:
    """GB/s of fastinit, and of every peer at its fastest."""
    return {"fastinit": row["gb_per_second"]} | {
        key: max(row["rivals"][name]["gb_per_second"] for name in rivals(row, key)) for key in PEERS if rivals(row, key)
    }


def pyplot() -> Any:
    """Matplotlib, set to write the same file from the same numbers."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "fastinit"
    import matplotlib.pyplot as plt

    return plt


# A reader's dark theme turns light and dark around and keeps the hues.
DARK = "<style>@media (prefers-color-scheme: dark) { svg { filter: invert(0.93) hue-rotate(180deg); } }</style>"


def save(plot: Any, axes: Any, path: Path) -> None:
    """Write a chart without a frame and without a date, which follows the reader's theme."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    plot.tight_layout()
    plot.savefig(path, metadata={"Date": None})
    pyplot().close(plot)
    path.write_text(path.read_text(encoding="utf-8").replace("<metadata>", f"{DARK}\n <metadata>", 1), encoding="utf-8")


def draw_sizes(results: dict[str, Any]) -> None:
    """GB/s of the normal law from a bias to 2 GiB, each peer at its fastest, and the ceiling."""
    rows = by_size(results)
    plot, axes = pyplot().subplots(figsize=(8, 4.2))
    for key, (label, colour) in SERIES.items():
        points = [(4 * row["elements"], rates(row)[key]) for row in rows if key in rates(row)]
        if points:
            axes.plot(*zip(*points, strict=True), color=colour, label=label, marker="o", markersize=3)
    ceiling = [row["rivals"]["ceiling"]["gb_per_second"] for row in rows]
    axes.plot([4 * row["elements"] for row in rows], ceiling, color="black", linewidth=1, linestyle=":", label="fill")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("bytes of the buffer")
    axes.set_ylabel(f"GB/s, He normal float32, {results['threads']} threads")
    axes.legend(fontsize=8, frameon=False)
    save(plot, axes, SIZES)


def draw(results: dict[str, Any]) -> None:
    """The bar chart: GB/s by workload, with the ceiling, and how many times as fast as each peer fastinit is."""
    plt = pyplot()
    from matplotlib.patches import Patch

    rows = results["workloads"]
    plot, axes = plt.subplots(figsize=(8, 5.2))
    for place, workload in enumerate(reversed(BARS)):
        row = rows[workload]
        for i, (key, rate) in enumerate(rates(row).items()):
            y = place + 0.32 - 0.16 * i
            axes.barh(y, rate, 0.15, color=SERIES[key][1])
            times = row["gb_per_second"] / rate
            ratio = (
                ""
                if key == "fastinit"
                else f" (fastinit: {times:.0f} x)"
                if times >= 10
                else f" (fastinit: {times:.2g} x)"
            )
            label = axes.annotate(
                f"{rate:.2g}{ratio}", (rate, y), (3, 0), textcoords="offset points", va="center", fontsize=7
            )
            # Legible where a ceiling crosses it.
            label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.6})
        ceiling = row["rivals"]["ceiling"]["gb_per_second"]
        axes.plot([ceiling, ceiling], [place - 0.42, place + 0.42], color="black", linewidth=1.2)
    axes.set_title(f"Filling 1 GiB in memory, {results['machine']['target']}", loc="left", pad=28)
    axes.set_yticks(range(len(BARS)), [FILLS[workload] for workload in reversed(BARS)], fontsize=9)
    axes.set_xlabel(f"GB/s written, {results['threads']} threads (line: ndarray.fill on as many)")
    handles = [Patch(color=colour, label=label) for label, colour in SERIES.values()]
    axes.legend(handles=handles, fontsize=8, ncols=5, loc="lower center", bbox_to_anchor=(0.4, 1.0), frameon=False)
    save(plot, axes, CHART)


def main() -> None:
    """Read the arguments and do what they say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("json", nargs="?", type=Path, help="what pytest --benchmark-json wrote")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if README is not what it should be")
    parser.add_argument("--merge", action="store_true", help="the run is a part: keep the other rows of its processor")
    options = parser.parse_args()
    if options.check and options.json:
        parser.error("--check compares the pages with bench/results/; it reads no other file")
    before, between, after = cut(README.read_text(encoding="utf-8"))
    if options.json:
        results = digest(json.loads(options.json.read_text(encoding="utf-8")), part=options.merge)
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{results['machine']['target'] or 'unknown'}.json"
        if options.merge:
            whole = json.loads(path.read_text(encoding="utf-8"))
            results = merged(whole, results)
        path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    runs = measured_runs()
    text, all_runs = readme_section(runs), page(runs)
    if options.check:
        if between != text or not PAGE.exists() or PAGE.read_text(encoding="utf-8") != all_runs:
            sys.exit("README.md or docs/performance.md is not what bench/results/ gives; run python bench/report.py")
        return
    README.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
    PAGE.write_text(all_runs, encoding="utf-8")
    draw(runs[0])
    if sizes := next((run for run in runs if by_size(run)), None):
        draw_sizes(sizes)


if __name__ == "__main__":
    main()
