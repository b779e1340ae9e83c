"""compare(): every start that fits a question, measured on one activation; the result as values."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from statistics import median_low
from typing import Any

from fastinit.address import integer
from fastinit.compare.activations import activation as activation_of
from fastinit.compare.propagation import Signal, propagate
from fastinit.compare.starts import Start, starts_for
from fastinit.compare.training import Curve, Recipe, digits, train
from fastinit.laws.law import finite
from fastinit.progress import AnyProgress, following


@dataclass(frozen=True)
class End:
    """Where one seed ends: variances of signal and gradient, the saturated share, the cost (None: not trained)."""

    activations: float
    gradients: float
    saturated: float | None
    cost: float | None


@dataclass(frozen=True)
class Outcome:
    """One start, what it did to a signal, how it learns (None: not trained); `others` are the ends of more seeds."""

    start: Start
    signal: Signal
    curve: Curve | None
    others: tuple[End, ...] = ()

    @property
    def ends(self) -> tuple[End, ...]:
        """The end of each seed, that of the curves first."""
        return (_end(self.signal, self.curve), *self.others)

    @property
    def median(self) -> End:
        """The median of each number over the seeds; of an even number of them, the lower."""
        ends = self.ends
        saturated = [end.saturated for end in ends if end.saturated is not None]
        costs = [end.cost for end in ends if end.cost is not None]
        return End(
            median_low(end.activations for end in ends),
            median_low(end.gradients for end in ends),
            median_low(saturated) if saturated else None,
            median_low(costs) if costs else None,
        )


def _end(signal: Signal, curve: Curve | None) -> End:
    saturated = None if signal.saturated is None else signal.saturated[-1]
    return End(signal.activations[-1], signal.gradients[0], saturated, curve.costs[-1] if curve else None)


@dataclass(frozen=True, repr=False)
class Comparison:
    """All starts on one activation. `training` is None where nothing was trained."""

    activation: str
    negative_slope: float
    depth: int
    width: int
    batch: int
    seed: int
    training: Recipe | None
    outcomes: tuple[Outcome, ...]
    seeds: int = 1

    @property
    def fitting(self) -> Outcome:
        """The start that `scheme_for` names."""
        return next(one for one in self.outcomes if one.start.fitting)

    def __getitem__(self, name: str) -> Outcome:
        """The outcome of the start of this name."""
        return next(one for one in self.outcomes if one.start.name == name)

    def __repr__(self) -> str:
        return f"<Comparison of {len(self.outcomes)} starts for {self.activation}: {self.depth} layers of {self.width}>"

    def _repr_html_(self) -> str:
        from fastinit.compare.page import fragment

        return fragment(self)

    def html(self) -> str:
        """One page: the verdict, the curves, the table."""
        from fastinit.compare.page import html

        return html(self)

    def report(self, width: int = 100) -> str:
        """The table and the verdict, as a terminal of so many columns shows them."""
        from fastinit.compare.report import report

        return report(self, width)

    def record(self) -> dict[str, Any]:
        """All numbers, as JSON has them; the laws are left out, their formulas stay."""
        whole = dataclasses.asdict(dataclasses.replace(self, outcomes=()))
        whole["outcomes"] = [
            {
                **{name: getattr(one.start, name) for name in ("name", "formula", "fitting", "twin")},
                **dataclasses.asdict(one.signal),
                **(dataclasses.asdict(one.curve) if one.curve else {}),
                **({"others": [dataclasses.asdict(end) for end in one.others]} if one.others else {}),
            }
            for one in self.outcomes
        ]
        return whole


def compare(
    activation: str,
    *,
    depth: int = 50,
    width: int = 512,
    batch: int = 128,
    seed: int = 0,
    seeds: int = 1,
    negative_slope: float = 0.01,
    training: Recipe | None = None,
    progress: AnyProgress = None,
) -> Comparison:
    """Send a signal through a deep network and back, for every start, and train a smaller one if `training` says how.

    activation      a name that `scheme_for` knows, but softmax; of swiglu and the like every layer has two matrices
    depth, width    layers and units of the network the signal goes through
    batch           inputs; a unit is dead that is 0 for all of them
    seeds           how many to measure, from `seed` on: curves are those of the first, ends are shown with their spread
    negative_slope  of leaky_relu, prelu and rrelu
    progress        True for a bar (tqdm), or a function: called as progress(starts done, starts in all)

    A function of its arguments, up to the rounding of BLAS. Memory: 4 depth width^2 bytes for the weights and
    8 depth width batch for the way back. Raises ValueError for an unknown activation and a size below 1;
    ModuleNotFoundError where `training` is asked for without scikit-learn.
    Sources: Glorot and Bengio 2010 (https://proceedings.mlr.press/v9/glorot10a.html); He et al. 2015
    (https://arxiv.org/abs/1502.01852); Poole et al. 2016 (https://arxiv.org/abs/1606.05340).
    """
    slope = finite(negative_slope, "compare: negative_slope")
    f = activation_of(activation, slope)
    sizes = {"depth": depth, "width": width, "batch": batch, "seeds": seeds}
    if training is not None:
        names = {"depth": "train-depth", "width": "train-width", "batch": "train-batch", "epochs": "epochs"}
        sizes |= {text: getattr(training, name) for name, text in names.items()}
    for name, size in sizes.items():
        if integer(size, f"compare: {name}") < 1:
            raise ValueError(f"compare: {name} is {size}; it must be at least 1")
    if training is not None and not (finite(training.rate, "compare: rate") > 0):
        raise ValueError(f"compare: rate is {training.rate}; it must be positive")
    starts, follow = starts_for(activation, slope), following(progress, "starts")
    data = digits() if training is not None else None
    outcomes = []
    for i, start in enumerate(starts):
        measured = []
        for more in range(seeds):
            signal = propagate(start, f, depth=depth, width=width, batch=batch, seed=seed + more)
            curve = None
            if training is not None and data is not None:
                curve = train(start, f, dataclasses.replace(training, seed=training.seed + more), *data)
            measured.append((signal, curve))
        outcomes.append(Outcome(start, *measured[0], tuple(_end(*one) for one in measured[1:])))
        if follow is not None:
            follow(i + 1, len(starts))
    return Comparison(f.name, slope, depth, width, batch, seed, training, tuple(outcomes), seeds)
