"""Compute an expression over draws: float64, and the same bits on every machine.

A sum adds halves to halves until one is left, so that no library chooses its order; exp and log are the kernels' own,
cos and sin polynomials.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from fastinit.engines.reference.exponential import exp_parts
from fastinit.engines.reference.logarithm import log_64
from fastinit.laws.replayed import MOST_DRAWN, Replayed, text_of

Array = np.ndarray[Any, Any]

BINARY = ("add", "sub", "mul", "div")


def replayed(law: Replayed, seed: int, working: str) -> Array:
    """The values of an expression, float64, of draws in this dtype; raises ValueError where shapes do not fit."""
    try:
        with np.errstate(all="ignore"):
            values = _Run(seed, working, law.cost).value(law.tree)
    except (TypeError, IndexError, KeyError) as error:
        raise ValueError(f"Replayed: the expression cannot be computed: {error}") from error
    if values.size not in (1, math.prod(law.shape)):
        raise ValueError(f"Replayed: the expression has shape {values.shape}, and its tensor {law.shape}")
    return values.reshape(law.shape) if values.size > 1 else np.full(law.shape, values.item())


class _Run:
    def __init__(self, seed: int, working: str, left: int) -> None:
        self.seed, self.working, self.left = seed, working, left
        self.drawn: dict[str, Array] = {}

    def value(self, node: Mapping[str, Any]) -> Array:
        """The values of a node."""
        if "value" in node:
            return np.asarray(float(node["value"]))
        if "draw" in node:
            return self._draw(node)
        operands = [self.value(one) for one in node["of"]]
        size = math.prod(np.broadcast_shapes(*(one.shape for one in operands))) if node["op"] in BINARY else 0
        size = max(size, math.prod(node.get("shape", ())), int(node.get("size", 0)), *(one.size for one in operands))
        if node["op"] == "repeat":
            size = operands[0].size * math.prod(node["times"])
        if size > MOST_DRAWN:
            raise ValueError(f"Replayed: a result has {size:,} elements; at most {MOST_DRAWN:,} are computed")
        self.left -= size
        if self.left < 0:
            raise ValueError("Replayed: its results have more elements than its draws and its tensor account for")
        result: Array = _OPERATIONS[node["op"]](node, *operands)
        return result

    def _draw(self, node: Mapping[str, Any]) -> Array:
        from fastinit.fill.call import new
        from fastinit.laws.law_json import from_json

        key = text_of(node)
        if key not in self.drawn:
            law = from_json(node["draw"])
            if isinstance(law, Replayed):
                raise ValueError("Replayed: a draw is an expression itself; its operations belong into this one")
            values = new(tuple(node["shape"]), law, dtype=self.working, seed=self.seed, name=node["name"], threads=1)
            self.drawn[key] = values.astype(np.float64)
        return self.drawn[key]


def total(values: Array, axes: Sequence[int]) -> Array:
    """The sum along axes, which stay with length 1: halves are added until one is left."""
    kept = tuple(1 if i in axes else n for i, n in enumerate(values.shape))
    rest = [i for i in range(values.ndim) if i not in axes]
    counts = (math.prod(values.shape[i] for i in some) for some in (axes, rest))
    line = values.transpose([*axes, *rest]).reshape(tuple(counts))
    while len(line) > 1:
        half = len(line) // 2
        head = line[:half] + line[half : 2 * half]
        line = np.concatenate((head, line[2 * half :])) if len(line) % 2 else head
    return np.asarray(line[0] if len(line) else np.zeros(line.shape[1])).reshape(kept)


def exponential(x: Array) -> Array:
    """e^x of the kernels."""
    exponent, m = exp_parts(np.clip(x, -700.0, 700.0))
    return np.asarray(np.ldexp(1.0 + m, exponent))


def exponential_less_one(x: Array) -> Array:
    """e^x - 1 of the kernels, with full relative accuracy near 0."""
    exponent, m = exp_parts(np.clip(x, -700.0, 700.0))
    power = np.ldexp(1.0, exponent)
    return np.asarray((power - 1.0) + power * m)


def logarithm(x: Array) -> Array:
    """Ln x of the kernels; of zero minus infinity, of a negative number NaN."""
    found = log_64(np.where(x > 0, x, 1.0).reshape(-1)).reshape(x.shape)
    return np.where(x > 0, found, np.where(x == 0, -np.inf, np.nan))


# pi / 2 in three parts, the first two of 33 bits; and polynomials in z = x^2 for (sin x - x) / x^3 and for
# (cos x - 1 + z / 2) / z^2 on [-pi/4, pi/4] (fdlibm, Sun 1993).
_HALF_PI = (float.fromhex("0x1.921fb544p+0"), float.fromhex("0x1.0b4611a6p-34"), float.fromhex("0x1.3198a2e037073p-69"))
_SINE = tuple(
    map(
        float.fromhex,
        (
            *("-0x1.5555555555549p-3", "0x1.111111110f8a6p-7", "-0x1.a01a019c161d5p-13"),
            *("0x1.71de357b1fe7dp-19", "-0x1.ae5e68a2b9cebp-26", "0x1.5d93a5acfd57cp-33"),
        ),
    )
)
_COSINE = tuple(
    map(
        float.fromhex,
        (
            *("0x1.555555555554cp-5", "-0x1.6c16c16c15177p-10", "0x1.a01a019cb1590p-16"),
            *("-0x1.27e4f809c52adp-22", "0x1.1ee9ebdb4b1c4p-29", "-0x1.8fae9be8838d4p-37"),
        ),
    )
)
LARGEST_ANGLE = float(1 << 18)


def cosine(x: Array, quarters: int = 0) -> Array:
    """cos(x + quarters pi / 2), to 2^-52; raises ValueError beyond 2^18."""
    if not (np.abs(x) <= LARGEST_ANGLE).all():
        raise ValueError("Replayed: the cosine or sine of a number beyond 2^18")
    turns = np.rint(x * float.fromhex("0x1.45f306dc9c883p-1"))
    rest = ((x - turns * _HALF_PI[0]) - turns * _HALF_PI[1]) - turns * _HALF_PI[2]
    square = rest * rest
    even = (1.0 - 0.5 * square) + square * square * _horner(square, _COSINE)
    odd = rest + rest * square * _horner(square, _SINE)
    which = (turns + quarters) % 4.0
    return np.asarray(np.select([which == 0.0, which == 1.0, which == 2.0], [even, -odd, -even], odd))


def _horner(x: Array, coefficients: Sequence[float]) -> Array:
    """The polynomial of these coefficients, the constant first."""
    total = np.full_like(x, coefficients[-1])
    for one in reversed(coefficients[:-1]):
        total = total * x + one
    return total


def _clamp(node: Mapping[str, Any], x: Array) -> Array:
    low, high = (float(node.get(name, none)) for name, none in (("low", -math.inf), ("high", math.inf)))
    return np.minimum(np.maximum(x, low), high)


def _assemble(node: Mapping[str, Any], *operands: Array) -> Array:
    memory = np.zeros(int(node["size"]))

    def view(region: Sequence[Any]) -> Array:
        offset, shape, strides = int(region[0]), tuple(region[1]), tuple(region[2])
        if offset < 0 or min(strides, default=0) < 0 or min(shape, default=1) < 1:
            raise ValueError("Replayed: a region is outside of its memory")
        if offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) >= max(memory.size, 1):
            raise ValueError("Replayed: a region is outside of its memory")
        return as_strided(memory[offset:], shape, [step * memory.itemsize for step in strides])

    for region, operand in zip(node["regions"], operands, strict=True):
        place = view(region)
        place[...] = operand.reshape(place.shape) if operand.size == place.size else operand
    return view(node["view"]).copy()


_OPERATIONS: dict[str, Any] = {
    "neg": lambda node, x: -x,
    "abs": lambda node, x: np.abs(x),
    "sqrt": lambda node, x: np.sqrt(x),
    "square": lambda node, x: x * x,
    "exp": lambda node, x: exponential(x),
    "expm1": lambda node, x: exponential_less_one(x),
    "log": lambda node, x: logarithm(x),
    "cos": lambda node, x: cosine(x),
    "sin": lambda node, x: cosine(x, 3),
    "add": lambda node, x, y: x + y,
    "sub": lambda node, x, y: x - y,
    "mul": lambda node, x, y: x * y,
    "div": lambda node, x, y: x / y,
    "clamp": _clamp,
    "sum": lambda node, x: total(x, node["axes"]),
    "reshape": lambda node, x: x.reshape(node["shape"]),
    "permute": lambda node, x: x.transpose(node["axes"]),
    "expand": lambda node, x: np.broadcast_to(x, node["shape"]),
    "repeat": lambda node, x: np.tile(x, node["times"]),
    "assemble": _assemble,
}
