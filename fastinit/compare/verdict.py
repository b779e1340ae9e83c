"""What the numbers say, in words; and whether they say what `scheme_for` says.

Three measurements each choose a start: activations (which keeps their variance nearest to the input's), gradients (the
same, on the way back), training (which reaches the lowest cost); of several seeds each by its median. Orthogonal
matrices are left out of the choice, since they have the variance of the fitting scheme, in another form; where they do
better, that is said.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import median_low

from fastinit.advice import scheme_for
from fastinit.compare.comparison import Comparison, End, Outcome
from fastinit.compare.training import CHANCE

# Decades: starts so near to the best are as good. Seeds differ by more (He under ReLU, 50 layers of 512: 0.3).
NOISE = 0.05
# Decades: a signal that has changed less holds, one that has changed more has vanished or exploded. The square root of
# 10^4 is 100: weights of the first and the last layer whose gradients differ so much have no learning rate in common.
HOLDS, LOST = 1.0, 4.0
MOSTLY = 0.5  # a layer of which so many activations are saturated has its variance from its limits, not from its input
LEARNT = 0.9  # a cost below so many times chance


@dataclass(frozen=True)
class Finding:
    """One measurement: the starts it chooses, the best first, and whether `scheme_for`'s is among them."""

    measure: str
    chosen: tuple[str, ...]
    confirms: bool
    words: str


@dataclass(frozen=True)
class Verdict:
    """The findings, and what they come to."""

    scheme: str
    findings: tuple[Finding, ...]
    words: str
    lost: tuple[str, ...] = ()  # what vanishes or explodes even under the scheme, with its figure

    @property
    def confirmed(self) -> bool:
        """Whether at least half of the measurements choose what `scheme_for` names."""
        return 2 * sum(one.confirms for one in self.findings) >= len(self.findings)

    @property
    def lines(self) -> tuple[str, ...]:
        """The findings and what they come to, a paragraph each."""
        return (*(one.words for one in self.findings), f"Verdict: {self.words}")


def verdict(comparison: Comparison) -> Verdict:
    """Judge a comparison."""
    depth, training = comparison.depth, comparison.training
    findings = [
        _find(
            comparison,
            "activations",
            f"at layer {depth}, {{}} keeps their variance nearest to the input's",
            _forward_drift,
            lambda end: end.activations,
            ratio,
        ),
        _find(
            comparison,
            "gradients",
            "at the input, {} keeps their variance nearest to that at the top",
            lambda end: decades(end.gradients),
            lambda end: end.gradients,
            ratio,
        ),
    ]
    if training is not None:
        findings.append(
            _find(
                comparison,
                "training",
                f"after {training.epochs} epochs of {training.depth} layers, {{}} has the lowest cost",
                _log_cost,
                lambda end: math.inf if end.cost is None else end.cost,
                lambda cost: f"{cost:.3g}",
            )
        )
    lost = _lost(comparison)
    return Verdict(
        call(comparison.activation, comparison.negative_slope),
        tuple(findings),
        _conclusion(comparison, findings, lost),
        tuple(lost),
    )


def call(activation: str, negative_slope: float) -> str:
    """The call that `scheme_for` names, as one would write it: fill_he_normal(buf, fan_in)."""
    advice = scheme_for(activation, negative_slope)
    fans = [name for name in inspect.signature(advice.fill).parameters if name.startswith("fan_")]
    numbers = [f"{name}={_digits(value)}" for name, value in advice.arguments.items()]
    return f"{advice.fill.__name__}({', '.join(['buf', *fans, *numbers])})"


def decades(value: float) -> float:
    """How far a ratio is from 1, in powers of ten; inf for none at all."""
    return abs(math.log10(value)) if value > 0 and math.isfinite(value) else math.inf


def ratio(value: float) -> str:
    """A ratio for people."""
    return "nothing" if value == 0 else "beyond 1e308" if not math.isfinite(value) else f"{value:.2g}"


def remark(outcome: Outcome) -> str:
    """What happens to one start, in a few words."""
    signal, curve = outcome.signal, outcome.curve
    forward, back = _fate(signal.activations[-1]), _fate(signal.gradients[0])
    words = [f"signal {forward}" if forward == back else f"activations {_many(forward)}, gradients {_many(back)}"]
    if signal.saturated is not None and signal.saturated[-1] > MOSTLY:
        words.append("units saturate")
    if curve is not None:
        if curve.equal_units:
            words.append("units stay equal")
        elif math.isinf(curve.costs[-1]):
            words.append("cost diverges")
        elif curve.costs[-1] > LEARNT * CHANCE:
            words.append("learns nothing")
    return "; ".join(words)


# --- the three measurements -------------------------------------------------------------------------------------------


def _forward_drift(end: End) -> float:
    return math.inf if end.saturated is not None and end.saturated > MOSTLY else decades(end.activations)


def _log_cost(end: End) -> float:
    cost = math.inf if end.cost is None else end.cost
    return math.log10(cost) if 0 < cost <= LEARNT * CHANCE else math.inf


def spread(values: Sequence[float], spell: Callable[[float], str]) -> str:
    """The median of the seeds, and how far they lie apart: 0.98 [0.5 to 1.6]."""
    low, high = spell(min(values)), spell(max(values))
    return spell(median_low(values)) + (f" [{low} to {high}]" if low != high else "")


def _find(
    comparison: Comparison,
    measure: str,
    does: str,
    of_end: Callable[[End], float],
    value: Callable[[End], float],
    spell: Callable[[float], str],
) -> Finding:
    def score(one: Outcome) -> float:
        return of_end(one.median)

    def figure(one: Outcome) -> str:
        return spread([value(end) for end in one.ends], spell)

    rivals = sorted((one for one in comparison.outcomes if not one.start.twin), key=score)
    fitting, best = comparison.fitting, rivals[0]
    if math.isinf(score(best)):
        return Finding(measure, (), False, f"{measure.capitalize()}: every start fails.")
    chosen = [one for one in rivals if score(one) <= score(best) + NOISE]
    confirms = fitting in chosen
    named = fitting if confirms else best
    others = [one for one in chosen if one is not named] + ([] if confirms else [fitting])
    beside = "".join(f"; {one.start.name}: {figure(one)}" for one in others)
    better = [one for one in comparison.outcomes if one.start.twin and score(one) < score(named) - NOISE]
    outside = "".join(f"; {one.start.name}, which takes no part, does better: {figure(one)}" for one in better)
    words = f"{measure.capitalize()}: {does.format(named.start.name)} ({figure(named)}{beside}{outside})."
    return Finding(measure, tuple(one.start.name for one in chosen), confirms, words)


# --- words ------------------------------------------------------------------------------------------------------------


def _digits(value: float) -> str:
    """Four digits; a fraction where they are not enough: a gain of 5/3."""
    text, fraction = f"{value:.4g}", Fraction(value).limit_denominator(9)
    return str(fraction) if float(text) != value == float(fraction) else text


def _lost(comparison: Comparison) -> list[str]:
    """What vanishes or explodes under the scheme itself, with the figure."""
    ends = comparison.fitting.ends
    both = {"activations": [end.activations for end in ends], "gradients": [end.gradients for end in ends]}
    return [
        f"{what} {_many(_fate(median_low(values)))} ({spread(values, ratio)})"
        for what, values in both.items()
        if decades(median_low(values)) > LOST
    ]


def _conclusion(comparison: Comparison, findings: list[Finding], lost: list[str]) -> str:
    advice = scheme_for(comparison.activation, comparison.negative_slope)
    named = (
        f'scheme_for("{comparison.activation}"), which names {call(comparison.activation, comparison.negative_slope)}'
    )
    yes, of = sum(one.confirms for one in findings), len(findings)
    lost_words = f"{' and '.join(lost)} over {comparison.depth} layers"
    if yes == of:
        best = f", as the best of these starts; even with it {lost_words}" if lost else ""
        words = f"{'Both' if of == 2 else f'All {of}'} measurements confirm {named}{best}. {advice.why}"
    elif 2 * yes >= of:
        against = ", ".join(one.measure for one in findings if not one.confirms)
        confirm = "confirm" if yes > 1 else "confirms"
        words = f"{yes} of {of} measurements {confirm} {named}; {against} would choose another. {advice.why}"
    else:
        words = (
            f"The measurements do NOT confirm {named}: {yes} of {of} choose it at this depth. The rule's "
            f"reason: {advice.why}"
        )
    if lost:
        said = "A network as deep" if yes == of else f"Even with it, {lost_words}: a network as deep"
        words += f" {said} needs normalisation or shortcuts between its layers."
    return words


def _fate(value: float) -> str:
    if value == 0:
        return "is lost"
    far, up = decades(value), not value < 1
    if far <= HOLDS:
        return "holds"
    if far <= LOST:
        return "grows" if up else "fades"
    return "explodes" if up else "vanishes"


def _many(verb: str) -> str:
    return (
        "are lost" if verb == "is lost" else verb.removesuffix("es") if verb == "vanishes" else verb.removesuffix("s")
    )
