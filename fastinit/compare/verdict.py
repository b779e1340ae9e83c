"""What the numbers say, in words; and whether they say what `scheme_for` says.

Three measurements each choose a start: activations (which keeps their variance nearest to the input's), gradients (the
same, on the way back), training (which reaches the lowest cost). Orthogonal matrices are left out of the choice: they
have the variance of the fitting scheme, in another form.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from fastinit.advice import scheme_for
from fastinit.compare.comparison import Comparison, Outcome
from fastinit.compare.training import CHANCE
from fastinit.formatting import NONE

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
            lambda one: ratio(one.signal.activations[-1]),
        ),
        _find(
            comparison,
            "gradients",
            "at the input, {} keeps their variance nearest to that at the top",
            lambda one: decades(one.signal.gradients[0]),
            lambda one: ratio(one.signal.gradients[0]),
        ),
    ]
    if training is not None:
        findings.append(
            _find(
                comparison,
                "training",
                f"after {training.epochs} epochs of {training.depth} layers, {{}} has the lowest cost",
                _log_cost,
                lambda one: f"{one.curve.costs[-1]:.3g}" if one.curve else NONE,
            )
        )
    return Verdict(
        call(comparison.activation, comparison.negative_slope), tuple(findings), _conclusion(comparison, findings)
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


def _forward_drift(one: Outcome) -> float:
    saturated = one.signal.saturated
    return math.inf if saturated and saturated[-1] > MOSTLY else decades(one.signal.activations[-1])


def _log_cost(one: Outcome) -> float:
    cost = one.curve.costs[-1] if one.curve else math.inf
    return math.log10(cost) if 0 < cost <= LEARNT * CHANCE else math.inf


def _find(
    comparison: Comparison, measure: str, does: str, score: Callable[[Outcome], float], figure: Callable[[Outcome], str]
) -> Finding:
    rivals = sorted((one for one in comparison.outcomes if not one.start.twin), key=score)
    fitting, best = comparison.fitting, rivals[0]
    if math.isinf(score(best)):
        return Finding(measure, (), False, f"{measure.capitalize()}: every start fails.")
    chosen = [one for one in rivals if score(one) <= score(best) + NOISE]
    confirms = fitting in chosen
    named = fitting if confirms else best
    others = [one for one in chosen if one is not named] + ([] if confirms else [fitting])
    beside = "".join(f"; {one.start.name}: {figure(one)}" for one in others)
    words = f"{measure.capitalize()}: {does.format(named.start.name)} ({figure(named)}{beside})."
    return Finding(measure, tuple(one.start.name for one in chosen), confirms, words)


# --- words ------------------------------------------------------------------------------------------------------------


def _digits(value: float) -> str:
    """Four digits; a fraction where they are not enough: a gain of 5/3."""
    text, fraction = f"{value:.4g}", Fraction(value).limit_denominator(9)
    return str(fraction) if float(text) != value == float(fraction) else text


def _conclusion(comparison: Comparison, findings: list[Finding]) -> str:
    advice = scheme_for(comparison.activation, comparison.negative_slope)
    named = (
        f'scheme_for("{comparison.activation}"), which names {call(comparison.activation, comparison.negative_slope)}'
    )
    yes, of = sum(one.confirms for one in findings), len(findings)
    if yes == of:
        words = f"{'Both' if of == 2 else f'All {of}'} measurements confirm {named}. {advice.why}"
    elif 2 * yes >= of:
        against = ", ".join(one.measure for one in findings if not one.confirms)
        confirm = "confirm" if yes > 1 else "confirms"
        words = f"{yes} of {of} measurements {confirm} {named}; {against} would choose another. {advice.why}"
    else:
        words = (
            f"The measurements do NOT confirm {named}: {yes} of {of} choose it at this depth. The rule's "
            f"reason: {advice.why}"
        )
    signal = comparison.fitting.signal
    lost = [
        f"{what} {_many(_fate(value))} ({ratio(value)})"
        for what, value in (("activations", signal.activations[-1]), ("gradients", signal.gradients[0]))
        if decades(value) > LOST
    ]
    if lost:
        words += (
            f" Even with it, {' and '.join(lost)} over {comparison.depth} layers: a network as deep needs "
            "normalisation or shortcuts between its layers."
        )
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
