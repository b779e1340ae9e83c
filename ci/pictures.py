"""Measure what docs/choosing.md shows, and write its figures and pictures.

    python ci/pictures.py            # compares every start on ten activations: some minutes; keeps docs/compare/*.json
    python ci/pictures.py --kept     # writes page and pictures again from docs/compare/*.json
    python ci/pictures.py --check    # fails if page or pictures are not what docs/compare/*.json gives

What stands between the markers of the page comes from here and is never typed.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

from fastinit import schemes
from fastinit.cli.options import plain
from fastinit.compare import Comparison, Curve, Outcome, Recipe, Signal, compare, verdict
from fastinit.compare.chart import figure
from fastinit.compare.report import cells
from fastinit.compare.starts import starts_for
from fastinit.compare.verdict import call
from fastinit.formatting import NONE

ROOT = Path(__file__).resolve().parent.parent
PAGE, KEPT = ROOT / "docs" / "choosing.md", ROOT / "docs" / "compare"
ACTIVATIONS = ("relu", "leaky_relu", "gelu", "silu", "elu", "selu", "tanh", "sigmoid", "softplus", "linear")
PICTURED = ("relu", "tanh", "selu", "gelu", "sigmoid")
FAN = 512  # of the example of a wrong formula


def measure(activation: str) -> None:
    """Compare and keep, to four digits."""
    record = plain(compare(activation, training=Recipe()).record())
    KEPT.mkdir(exist_ok=True)
    text = json.dumps(_rounded(record), separators=(",", ":")).replace('{"name"', '\n{"name"')
    (KEPT / f"{activation}.json").write_text(text + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list) else value


def kept(activation: str) -> Comparison:
    """What `measure` kept."""
    record = json.loads((KEPT / f"{activation}.json").read_text(encoding="utf-8"))
    starts = {one.name: one for one in starts_for(activation, record["negative_slope"])}

    def numbers(one: dict[str, Any], name: str) -> tuple[float, ...]:
        return tuple(math.inf if number is None else number for number in one[name])  # null: beyond float64

    outcomes = [
        Outcome(
            starts[one["name"]],
            Signal(
                numbers(one, "activations"),
                numbers(one, "gradients"),
                numbers(one, "dead"),
                numbers(one, "saturated") if one["saturated"] is not None else None,
            ),
            Curve(numbers(one, "costs"), one["equal_units"]),
        )
        for one in record["outcomes"]
    ]
    training = Recipe(**record["training"])
    return Comparison(**record | {"training": training, "outcomes": tuple(outcomes)})


# --- the page ---------------------------------------------------------------------------------------------------------


def which(comparisons: dict[str, Comparison]) -> str:
    """The table that answers the question of the page's title."""
    lines = ["| activation | call | standard deviation | `fastinit compare` |", "| --- | --- | --- | --- |"]
    for name, comparison in comparisons.items():
        judged = verdict(comparison)
        findings, lost = judged.findings, "; signal is lost" if judged.lost else ""
        yes = sum(one.confirms for one in findings)
        lines.append(
            f"| {name} | `{call(name, comparison.negative_slope)}` | {comparison.fitting.start.formula} | "
            f"{yes} of {len(findings)}{lost} |"
        )
    return "\n".join(lines)


def picture(comparison: Comparison) -> str:
    """The picture of an activation, its table and what follows from it."""
    rows = [cells(one) for one in comparison.outcomes]
    columns = [name for name in rows[0] if any(row[name] != NONE for row in rows)]
    lines = [
        f"![{comparison.activation}: variance of activations and gradients by layer, and cost by epoch]"
        f"(compare/{comparison.activation}.svg)",
        "",
        f"| {' | '.join(columns)} |",
        f"|{' --- |' * len(columns)}",
        *(f"| {' | '.join(row[name].replace('*', '★') for name in columns)} |" for row in rows),
        "",
        *(f"* {one}" for one in verdict(comparison).lines),
    ]
    return "\n".join(lines)


def wrong(comparisons: dict[str, Comparison]) -> str:
    """What the formula that is copied costs."""
    depth = comparisons["relu"].depth
    right, copied = schemes.he_uniform(FAN).support[1], math.sqrt(6) / (2 * math.sqrt(FAN + FAN))
    share = (copied / right) ** 2
    return (
        f"At fan_in = fan_out = {FAN} He's bound is {right:.4f}; the copied formula gives {copied:.4f}, "
        f"1/{1 / share:.3g} of the variance. Under ReLU the signal falls by that factor in every layer: to "
        f"{share**depth:.0e} after {depth}."
    )


def written(page: str, comparisons: dict[str, Comparison]) -> str:
    """The page with everything between its markers."""
    parts = {"which": which(comparisons), "wrong": wrong(comparisons)}
    parts |= {name: picture(comparisons[name]) for name in PICTURED}
    for name, text in parts.items():
        begin, end = f"<!-- pictures: {name} -->", f"<!-- pictures: end of {name} -->"
        if page.count(begin) != 1 or page.count(end) != 1:
            sys.exit(f"docs/choosing.md needs the lines {begin} and {end}, once each")
        before, rest = page.split(begin)
        page = f"{before}{begin}\n\n{text}\n\n{end}{rest.split(end)[1]}"
    return page


def main() -> None:
    """Read the arguments and do what they say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kept", action="store_true", help="measure nothing; write from docs/compare/*.json")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; fail if the page is not what it should be"
    )
    options = parser.parse_args()
    if not (options.kept or options.check):
        for name in ACTIVATIONS:
            print(name, flush=True)
            measure(name)
    comparisons = {name: kept(name) for name in ACTIVATIONS}
    page = PAGE.read_text(encoding="utf-8")
    files = {PAGE: written(page, comparisons)}
    files |= {KEPT / f"{name}.svg": figure(comparisons[name]) for name in PICTURED}
    for path, text in files.items():
        if not options.check:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.exit(
                f"{path.relative_to(ROOT)} is not what docs/compare/*.json gives; run python ci/pictures.py --kept"
            )


if __name__ == "__main__":
    main()
