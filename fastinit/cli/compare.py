"""`fastinit compare`: which start suits an activation."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Any

from fastinit.cli.options import DONE, command, plain, progress_of
from fastinit.cli.terminal import painter, width
from fastinit.files.small import save

EXAMPLES = """
  fastinit compare --activation relu --depth 50 --width 512 --html relu.html
  fastinit compare --activation tanh --no-training --png tanh.png
"""


def add_to(commands: Any) -> None:
    """Add the command."""
    parser = command(
        commands, "compare", "measure which initialisation suits an activation: signal, gradient, cost curves", EXAMPLES
    )
    parser.add_argument(
        "--activation",
        required=True,
        metavar="NAME",
        help="relu, tanh, selu, gelu, swiglu, ...: a name that fastinit.scheme_for knows",
    )
    parser.add_argument(
        "--negative-slope",
        type=float,
        default=0.01,
        metavar="X",
        help="slope of leaky_relu, prelu, rrelu; default 0.01",
    )
    parser.add_argument(
        "--depth", type=int, default=50, metavar="L", help="number of layers the signal passes; default 50"
    )
    parser.add_argument("--width", type=int, default=512, metavar="N", help="units of a layer; default 512")
    parser.add_argument("--batch", type=int, default=128, metavar="N", help="number of inputs; default 128")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of weights, inputs and the order of training; default 0"
    )

    parser.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="how many seeds to measure, from --seed on; default 3"
    )

    training = parser.add_argument_group("cost curves", "plain SGD on scikit-learn's digits, from each start")
    training.add_argument(
        "--no-training", action="store_true", help="leave the cost curves out; they need scikit-learn"
    )
    training.add_argument("--train-depth", type=int, default=10, metavar="L", help="number of layers; default 10")
    training.add_argument("--train-width", type=int, default=64, metavar="N", help="number of hidden units; default 64")
    training.add_argument("--epochs", type=int, default=10, metavar="N", help="number of epochs; default 10")
    training.add_argument("--rate", type=float, default=0.01, metavar="X", help="learning rate; default 0.01")

    parser.add_argument("--png", metavar="FILE", help="write the curves as a picture (matplotlib)")
    parser.add_argument("--html", metavar="FILE", help="write a page with the curves, the table and the verdict")
    parser.add_argument("--json", action="store_true", help="print all numbers as one JSON object")
    parser.add_argument("--quiet", action="store_true", help="print nothing")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    # Imported here: SciPy's special functions take longer than the other commands.
    from fastinit.compare import Recipe, compare, verdict
    from fastinit.compare.page import html
    from fastinit.compare.picture import require_matplotlib, save_png
    from fastinit.compare.report import report

    if options.png is not None:
        require_matplotlib()  # now, and not when all is computed
    training = Recipe(
        depth=options.train_depth,
        width=options.train_width,
        epochs=options.epochs,
        rate=options.rate,
        seed=options.seed,
    )
    with progress_of(options, unit="starts") as progress:
        comparison = compare(
            options.activation,
            depth=options.depth,
            width=options.width,
            batch=options.batch,
            seed=options.seed,
            seeds=options.seeds,
            negative_slope=options.negative_slope,
            training=None if options.no_training else training,
            progress=progress.show,
        )
    if options.json:
        judged = verdict(comparison)
        print(
            json.dumps(
                plain(comparison.record() | {"verdict": dataclasses.asdict(judged) | {"confirmed": judged.confirmed}})
            )
        )
    elif not options.quiet:
        print(report(comparison, width() or 120, painter()))
    if options.png is not None:
        save_png(comparison, options.png)
    if options.html is not None:
        save(options.html, html(comparison).encode())
    return DONE
