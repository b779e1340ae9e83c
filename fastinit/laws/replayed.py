"""What a model's code computes of draws, and no other law describes: its expression, over draws that have addresses.

The gain of weight_norm is the norm of the direction that is drawn; a clipped normal has atoms at its bounds; a scale
may be divided by the deviation of what was drawn. The expression is kept as JSON text, so that a plan and a file can
say it; fastinit/fill/replay.py computes it, with operations that round alike on every machine.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from fastinit.dtypes import Format
from fastinit.laws.blocks import Blocks
from fastinit.laws.copied import Copy
from fastinit.laws.law import Element, Law, ShapedLaw

MOST_DRAWN = 1 << 26  # elements of all draws of an expression
DEEPEST = 64  # operations inside each other

# name -> how many operands it takes
OPERATIONS = {
    **dict.fromkeys(("neg", "abs", "sqrt", "exp", "expm1", "log", "cos", "sin", "square"), 1),
    **dict.fromkeys(("add", "sub", "mul", "div"), 2),
    **dict.fromkeys(("clamp", "sum", "reshape", "permute", "expand", "repeat"), 1),
}
# name -> its parameters: integers, or bounds
PARAMETERS = {"sum": "axes", "reshape": "shape", "permute": "axes", "expand": "shape", "repeat": "times"}


@dataclass(frozen=True)
class Replayed(ShapedLaw):
    """The value of an expression over draws.

    shape       of the tensor
    expression  JSON text of a node. {"draw": a law, "shape": [...], "name": the address} is a draw of its own name;
                {"value": number} a number; {"op": name, "of": [nodes]} an operation: neg, abs, sqrt, exp, expm1, log,
                cos and sin (up to 2^18), square, add, sub, mul, div (which broadcast), clamp with "low" and "high",
                sum with "axes" (which stay, of length 1), reshape and expand with "shape", permute with "axes",
                repeat with "times" an axis; {"op": "assemble", "of": [nodes], "size", "regions", "view"} writes its
                operands into memory of so many elements, each through a view [offset, shape, strides], and reads it
                through another

    Computed in float64 of draws in the working precision of the tensor's dtype, and rounded once; by operations, and
    sums in an order, that give the same bits on every machine. It is formed whole, also for a shard. `on(shape)` is the
    law of one element as a run with seed 0 shows it. Raises TypeError or ValueError for what is no such expression, and
    for one of more than 2^26 drawn elements.
    """

    shape: tuple[int, ...]
    expression: str = field(repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.shape, str) or not isinstance(self.shape, (tuple, list)):
            raise TypeError(f"Replayed: shape is {self.shape!r}; pass a tuple of integers")
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        if not isinstance(self.expression, str):
            raise TypeError(f"Replayed: expression is {self.expression!r:.100}; pass JSON text")
        drawn = self._size[1]
        if drawn > MOST_DRAWN:
            raise ValueError(f"Replayed: its draws have {drawn:,} elements; at most {MOST_DRAWN:,} are replayed")

    @cached_property
    def _size(self) -> tuple[int, int]:
        """Nodes of the expression, and elements of its draws."""
        nodes = drawn = 0
        for node in _nodes(self.tree, 0):
            nodes += 1
            if "draw" in node:
                drawn += math.prod(_integers(node.get("shape"), "the shape of a draw"))
        return nodes, drawn

    @property
    def cost(self) -> int:
        """Elements that are computed at most: each node has as many as all draws or the tensor; 2^16 are always fine.

        A text of a few characters could otherwise ask for hours: each of its sums may make a table of two lines.
        """
        nodes, drawn = self._size
        return max(nodes * max(drawn, math.prod(self.shape)), 1 << 16)

    @cached_property
    def tree(self) -> Mapping[str, Any]:
        """The expression as objects; treat as read-only."""
        try:
            tree = json.loads(self.expression)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"Replayed: expression is no JSON: {error}") from None
        if not isinstance(tree, Mapping):
            raise ValueError(f"Replayed: expression is {tree!r:.100}; it must be an object")
        return tree

    def renamed(self, rename: Callable[[str], str]) -> Replayed:
        """The same over draws of other names."""

        def visit(node: Any) -> Any:
            if "draw" in node:
                return {**node, "name": rename(node["name"])}
            return {**node, "of": [visit(one) for one in node["of"]]} if "of" in node else node

        return Replayed(self.shape, text_of(visit(self.tree)))

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse a tensor of another shape."""
        if tuple(shape) != self.shape:
            raise ValueError(f"Replayed: the expression has shape {self.shape}, and the tensor {tuple(shape)}")

    def marginal(self, shape: tuple[int, ...]) -> Element:
        """One of the values that a run with seed 0 gives: what is known of the law of an element."""
        from fastinit.fill.replay import replayed
        from fastinit.laws.given import Given

        self.check(shape)
        values = Given.of(replayed(self, 0, "float32"))
        return values.marginal(shape)

    def kernel_arguments(self, format: Format) -> None:
        """What is computed is checked when it is."""


def cost_of(law: Law) -> int:
    """What the expressions in a law compute at most, in elements; 0 where there is none."""
    if isinstance(law, Replayed):
        return law.cost
    if isinstance(law, Blocks):
        return sum(cost_of(part) for _, part in law.parts)
    return cost_of(law.values) if isinstance(law, Copy) else 0


def text_of(tree: Mapping[str, Any]) -> str:
    """The text of an expression: equal expressions have one."""
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _nodes(node: Any, depth: int) -> Iterator[Mapping[str, Any]]:
    """All nodes of an expression, checked."""
    if not isinstance(node, Mapping):
        raise ValueError(f"Replayed: a node is {node!r:.100}; it must be an object")
    if depth > DEEPEST:
        raise ValueError(f"Replayed: more than {DEEPEST} operations are inside each other")
    yield node
    if "draw" in node:
        if not isinstance(node.get("name"), str) or set(node) != {"draw", "name", "shape"}:
            raise ValueError("Replayed: a draw has a law, a shape, a name, and nothing else")
    elif "value" in node:
        if isinstance(node["value"], bool) or not isinstance(node["value"], (int, float)):
            raise ValueError(f"Replayed: a value is {node['value']!r:.100}; it must be a number")
    else:
        name, operands = node.get("op"), node.get("of")
        if not isinstance(operands, list) or (name != "assemble" and OPERATIONS.get(str(name)) != len(operands)):
            known = ", ".join([*OPERATIONS, "assemble"])
            raise ValueError(f"Replayed: no operation {name!r:.100} with such operands; there are {known}")
        if name in PARAMETERS:
            _integers(node.get(PARAMETERS[str(name)]), f"{PARAMETERS[str(name)]} of {name}")
        for one in operands:
            yield from _nodes(one, depth + 1)


def _integers(value: Any, what: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(isinstance(n, int) and not isinstance(n, bool) for n in value):
        raise ValueError(f"Replayed: {what} is {value!r:.100}; it must be a list of integers")
    return tuple(value)
