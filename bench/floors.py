"""How fast is fast enough: the floor of every workload, in the quantities that its benchmark measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

TIMES = "times "  # "times torch": the rate of fastinit over that of torch, in the same run


@dataclass(frozen=True)
class Floor:
    """A bound on one measured quantity; `instead` is another that may be reached in its place."""

    quantity: str
    bound: float
    at_most: bool = False
    instead: Floor | None = None

    def reached(self, measured: Mapping[str, float]) -> bool | None:
        """Whether it is; None where nothing was measured that could tell (a peer that is not installed)."""
        if self.instead is not None and self.instead.reached(measured):
            return True
        if self.quantity not in measured:
            return None if self.instead is None else self.instead.reached(measured)
        value = measured[self.quantity]
        return value <= self.bound if self.at_most else value >= self.bound

    def text(self, measured: Mapping[str, float]) -> str:
        """Quantity, value and bound, for people."""
        value = f"{measured[self.quantity]:.3g}" if self.quantity in measured else "not measured"
        own = f"{self.quantity} {value} ({'at most' if self.at_most else 'at least'} {self.bound:g})"
        return own if self.instead is None else f"{own} or {self.instead.text(measured)}"


def at_least(bound: float, rival: str, instead: Floor | None = None) -> Floor:
    """As many times as fast as a rival."""
    return Floor(TIMES + rival, bound, instead=instead)


def at_most(bound: float, quantity: str) -> Floor:
    """No more seconds, microseconds or MiB than this."""
    return Floor(quantity, bound, at_most=True)


FLOORS: dict[str, tuple[Floor, ...]] = {
    "uniform float32": (
        at_least(0.5, "ceiling"),
        at_least(7, "numpy"),
        at_least(10, "torch"),
        at_least(0.9, "mkl ARS5"),
    ),
    "normal float32": (
        at_least(0.35, "ceiling", instead=at_least(0.5, "own uniform")),
        at_least(25, "numpy"),
        at_least(8, "torch"),
        at_least(1.7, "mkl ARS5"),
    ),
    "normal bfloat16": (at_least(0.85, "own float32"),),
    "normal float16": (at_least(0.85, "own float32"),),
    "normal float64": (at_least(15, "torch"),),
    "truncated float32": (at_least(60, "torch"),),
    "loosely truncated float32": (at_least(5, "torch"),),
    "constant float32": (at_least(0.85, "ceiling"),),
    "uniform float32, Fortran order": (at_least(0.5, "own contiguous"),),
    "normal float32, Fortran order": (at_least(0.5, "own contiguous"),),
    "uniform float32, column shard": (at_least(0.5, "own contiguous"),),
    "normal float32, column shard": (at_least(0.5, "own contiguous"),),
    "normal float32, fresh memory": (at_least(8, "torch"),),
    "normal float32, two threads": (at_least(1.8, "own single thread"),),
    "truncated float32, two threads": (at_least(1.8, "own single thread"),),
    "normal float32, reference engine": (at_least(0.3, "numpy"),),
    "sparse 0.9 float32, axis 0": (at_least(0.35, "own normal"), at_least(12, "torch")),
    "sparse 0.9 float32, axis 1": (at_least(0.35, "own normal"), at_least(12, "torch")),
    "orthogonal float32, 4096 x 4096": (at_least(1.5, "torch"),),
    "orthogonal float32, 8192 x 512": (at_least(1.0, "torch"),),
    "identity float32": (at_least(0.8, "ceiling"),),
    "Dirac float32": (at_least(0.8, "ceiling"),),
    "stacked experts bfloat16": (at_least(0.95, "own matrix"),),
    "eight experts of their own laws bfloat16": (at_least(0.95, "own one law"),),
    "three laws along the first axis float32": (at_least(0.95, "own one law"),),
    "three laws along the last axis float32": (at_least(0.8, "own one law"),),
    "tree, normal float32": (at_least(8, "jax"),),
    "tree, LeCun normal float32": (at_least(8, "jax"),),
    "extra memory, sparse, axis 0": (at_most(16.0, "MiB"),),
    "extra memory, sparse, axis 1": (at_most(16.0, "MiB"),),
    "64 elements": (at_most(10.0, "microseconds"),),
    "import": (at_most(0.15, "seconds"),),
    "first fill, cold cache": (at_most(2.0, "seconds"),),
    "first fill, warm cache": (at_most(0.2, "seconds beyond import numba"),),
    "extra memory": (at_most(16.0, "MiB"),),
    "torch kaiming_normal_": (at_least(8, "torch"),),
    "torch trunc_normal_ at 2 sigma": (at_least(60, "torch"),),
    "torch trunc_normal_, idle bounds": (at_least(5, "torch"),),
    "torch uniform_ of 64 elements": (at_most(3.0, "times the time of torch"),),
    "torch model of GPT-2 XL's layers": (at_least(5, "torch"),),
}

# Cores that work on 256 bits at a time, though Zen 4 takes 512-bit instructions: these rows in place of those above.
NARROW: dict[str, tuple[Floor, ...]] = {
    "uniform float32": (at_least(0.8, "ceiling"), at_least(7, "numpy"), at_least(10, "torch")),
    "normal float32": (at_least(0.5, "ceiling"), at_least(27, "numpy"), at_least(10, "torch")),
    "truncated float32": (at_least(0.4, "ceiling"), at_least(100, "torch")),
    "normal float64": (at_least(0.4, "ceiling"), at_least(18, "torch")),
    "normal float32, fresh memory": (at_least(8, "torch"),),
}
SHARE_OF_ZEN_3 = 0.6  # of NARROW: fewer loads, stores and registers a cycle
PEERS = ("numpy", "torch", "jax")


def floors_of(workload: str, measured: Mapping[str, float], processor: str) -> tuple[Floor, ...]:
    """The floors of a workload on a processor, by LLVM's name of it; no peer that was measured may be faster."""
    floors = FLOORS.get(workload, ())
    if processor in ("znver3", "znver4") and workload in NARROW:
        share = SHARE_OF_ZEN_3 if processor == "znver3" else 1.0
        floors = tuple(Floor(floor.quantity, floor.bound * share) for floor in NARROW[workload])
    judged = {floor.quantity for floor in floors}
    unnamed = [name for name in PEERS if TIMES + name in measured and TIMES + name not in judged]
    return floors + tuple(at_least(1.0, name) for name in unnamed)
