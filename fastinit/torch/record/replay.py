"""A recorded expression of draws as a law that a plan can say: PyTorch's operations by the few that are replayed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from fastinit import laws
from fastinit.laws.law_json import to_json
from fastinit.laws.replayed import Replayed, text_of
from fastinit.torch.record.answer import NoLawError
from fastinit.torch.record.contents import (
    Assembled,
    Computed,
    Content,
    Draw,
    Input,
    Lawful,
    Region,
    Values,
    number_of,
    why_unknown,
)
from fastinit.torch.record.evaluate import NotComputableError, evaluate

Node = dict[str, Any]
NameOf = Callable[[Draw], str]

LARGEST_TABLE = 1 << 16  # values that stand in an expression


def replay_of(content: Content, shape: tuple[int, ...], name_of: NameOf) -> Replayed:
    """The law of a content that is computed of draws; `name_of` gives a draw its address.

    Raises NoLawError, which names the operation and its line, for one that is not replayed.
    """
    unknown = why_unknown(content)
    if unknown is not None:
        raise NoLawError(f"{unknown[0]} ({unknown[1]})")
    try:
        return Replayed(shape, text_of(_Writer(name_of).node(content, shape)))
    except (ValueError, RecursionError) as error:
        if isinstance(error, NoLawError):
            raise
        raise NoLawError(f"{getattr(content, 'name', 'pieces')} of draws: {error} ({content.where})") from None


class _Writer:
    def __init__(self, name_of: NameOf) -> None:
        self.name_of = name_of
        self.roots: dict[int, Draw] = {}

    def node(self, content: Content, shape: tuple[int, ...]) -> Node:
        """What a content is."""
        number = number_of(content)
        if number is not None:
            return {"value": number}
        if isinstance(content, Lawful) and content.draw is not None:
            return self._draw(content)
        if not content.chance:
            return self._table(content, shape)
        if isinstance(content, Assembled):
            pieces = [(region, self.node(one, region.shape)) for region, one in content.pieces if _shows(one)]
            return {
                "op": "assemble",
                "of": [node for _, node in pieces],
                "size": content.size,
                "regions": [_list(region) for region, _ in pieces],
                "view": _list(content.view),
            }
        assert isinstance(content, Computed)
        return self._operation(content, shape)

    def _draw(self, content: Lawful) -> Node:
        draw = content.draw
        assert draw is not None
        if self.roots.setdefault(id(draw.root), draw) is not draw:
            raise NoLawError(f"two functions of one draw in one expression ({content.where})")
        if isinstance(draw.law, laws.Orthogonal | laws.DeltaOrthogonal):
            raise NoLawError(
                f"a part, or a function, of an orthogonal matrix, whose last bits a library decides ({content.where})"
            )
        shape = draw.shape
        node: Node = {"draw": to_json(draw.law), "name": self.name_of(draw), "shape": list(shape)}
        if content.scale != 1.0:
            node = _op("mul", node, {"value": content.scale})
        if content.shift != 0.0:
            node = _op("add", node, {"value": content.shift})
        for region, view in zip(content.parts[::2], content.parts[1::2], strict=False):
            if view.strides and min(view.strides) < 0:  # a copy in order, in another shape
                node = _op("reshape", node, shape=list(view.shape))
                continue
            size = region.end
            node = _op("assemble", node, size=size, regions=[_list(region)], view=_list(view))
        return node

    def _table(self, content: Content, shape: tuple[int, ...]) -> Node:
        """Values without chance, as the draw of a law that has none."""
        import torch

        try:
            values = content.values if isinstance(content, Values) else evaluate(content, shape, torch.float64)
        except NotComputableError as error:
            raise NoLawError(f"{error} ({content.where})") from None
        if values.numel() > LARGEST_TABLE:
            raise NoLawError(f"a table of {values.numel():,} values inside an expression ({content.where})")
        given = laws.Given.of(values.double().numpy())
        return {"draw": to_json(given), "name": "", "shape": list(values.shape)}

    def _operation(self, content: Computed, shape: tuple[int, ...]) -> Node:
        arguments = list(content.args)
        make = _MAKERS.get(content.name)
        if make is None or content.pick is not None:
            raise NoLawError(f"{content.name} of draws, which is not replayed ({content.where})")
        operands: list[Any] = [
            self.node(one.content, one.shape) if isinstance(one, Input) else one for one in arguments
        ]
        shapes = [one.shape for one in arguments if isinstance(one, Input)]
        named = {
            name: self.node(value.content, value.shape) if isinstance(value, Input) else value
            for name, value in content.kwargs.items()
        }
        try:
            return make(operands, named, shapes, shape)
        except (TypeError, IndexError, KeyError, ValueError) as error:
            raise NoLawError(
                f"{content.name} of draws, in a form that is not replayed: {error} ({content.where})"
            ) from None


def _shows(content: Content) -> bool:
    return why_unknown(content) is None


def _list(region: Region) -> list[Any]:
    return [region.offset, list(region.shape), list(region.strides)]


def _op(name: str, *operands: Node, **parameters: Any) -> Node:
    return {"op": name, "of": list(operands), **parameters}


def _number(value: Any) -> Node:
    """An operand: a node, or a number."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"an operand is {value!r:.50}")
    return {"value": float(value)}


Maker = Callable[[list[Any], dict[str, Any], list[tuple[int, ...]], tuple[int, ...]], Node]


def _only(named: Mapping[str, Any], *known: str) -> None:
    """Refuse an argument that a maker does not look at."""
    for name, value in named.items():
        if name not in known and value is not None:
            raise TypeError(f"the argument {name}")


def _unary(name: str) -> Maker:
    def make(of: list[Any], named: dict[str, Any], shapes: list[tuple[int, ...]], shape: tuple[int, ...]) -> Node:
        _only(named)
        return _op(name, _number(of[0]))

    return make


def _binary(name: str) -> Maker:
    def make(of: list[Any], named: dict[str, Any], shapes: list[tuple[int, ...]], shape: tuple[int, ...]) -> Node:
        _only(named, "alpha", "other")
        right = _number(of[1] if len(of) > 1 else named["other"])
        if named.get("alpha", 1) != 1:
            right = _op("mul", right, _number(named["alpha"]))
        return _op(name, _number(of[0]), right)

    return make


def _power(of: list[Any], named: dict[str, Any], shapes: list[tuple[int, ...]], shape: tuple[int, ...]) -> Node:
    exponent = of[1]
    found = {2: "square", 0.5: "sqrt", 1: None}
    if exponent == -1:
        return _op("div", {"value": 1.0}, of[0])
    if isinstance(exponent, Mapping) or exponent not in found:
        raise TypeError(f"the power {exponent!r:.30}")
    name = found[exponent]
    return _op(name, of[0]) if name else dict(of[0])


def _clamp(of: list[Any], named: dict[str, Any], shapes: list[tuple[int, ...]], shape: tuple[int, ...]) -> Node:
    _only(named, "min", "max")
    low = of[1] if len(of) > 1 else named.get("min")
    high = of[2] if len(of) > 2 else named.get("max")
    bounds = {name: _plain(value) for name, value in (("low", low), ("high", high)) if value is not None}
    return _op("clamp", of[0], **bounds)


def _plain(value: Any) -> float:
    if isinstance(value, Mapping):
        return float(value["value"])
    return float(value)


def _axes(dim: Any, rank: int) -> list[int]:
    if dim is None:
        return list(range(rank))
    several = dim if isinstance(dim, (tuple, list)) else (dim,)
    return sorted({int(one) % rank for one in several}) if rank else []


def _reduced(node: Node, shape: tuple[int, ...]) -> Node:
    """Axes of length 1 stay in a sum; the shape of the result says whether they do."""
    return _op("reshape", node, shape=list(shape))


def _sum(of: list[Any], named: dict[str, Any], shapes: list[tuple[int, ...]], shape: tuple[int, ...]) -> Node:
    _only(named, "dim", "axis", "keepdim", "keepdims")
    dim = of[1] if len(of) > 1 else named.get("dim", named.get("axis"))
    return _reduced(_op("sum", of[0], axes=_axes(dim, len(shapes[0]))), shape)


def _count(shape: tuple[int, ...], axes: list[int]) -> int:
    return math.prod(shape[i] for i in axes)


def _mean(of: list[Any], named: dict[str, Any], shapes: list[tuple[int, ...]], shape: tuple[int, ...]) -> Node:
    dim = of[1] if len(of) > 1 else named.get("dim")
    count = _count(shapes[0], _axes(dim, len(shapes[0])))
    return _op("div", _sum(of, named, shapes, shape), {"value": float(count)})


def _variance(of: list[Any], named: dict[str, Any], shapes: list[tuple[int, ...]], shape: tuple[int, ...]) -> Node:
    """Of torch.var(x, dim, correction=1)."""
    _only(named, "dim", "correction", "unbiased", "keepdim")
    dim = of[1] if len(of) > 1 else named.get("dim")
    if isinstance(dim, bool):
        raise TypeError("unbiased")
    axes = _axes(dim, len(shapes[0]))
    count = _count(shapes[0], axes)
    correction = named.get("correction")
    if correction is None:
        correction = 0 if named.get("unbiased") is False else 1
    mean = _op("div", _op("sum", of[0], axes=axes), {"value": float(count)})
    squares = _op("sum", _op("square", _op("sub", of[0], mean)), axes=axes)
    return _reduced(_op("div", squares, {"value": float(count - correction)}), shape)


def _deviation(of: list[Any], named: dict[str, Any], shapes: list[tuple[int, ...]], shape: tuple[int, ...]) -> Node:
    return _op("sqrt", _variance(of, named, shapes, shape))


def _norm(of: list[Any], named: dict[str, Any], shapes: list[tuple[int, ...]], shape: tuple[int, ...]) -> Node:
    """Of torch.norm(x, p=2, dim, keepdim) and torch.linalg.vector_norm(x, ord=2, dim, keepdim)."""
    _only(named, "p", "ord", "dim", "keepdim")
    power = of[1] if len(of) > 1 else named.get("p", named.get("ord", 2))
    if power not in (2, "fro", None):
        raise TypeError(f"the norm {power!r:.30}")
    dim = of[2] if len(of) > 2 else named.get("dim")
    return _reduced(_op("sqrt", _op("sum", _op("square", of[0]), axes=_axes(dim, len(shapes[0])))), shape)


def _norm_except(of: list[Any], named: dict[str, Any], shapes: list[tuple[int, ...]], shape: tuple[int, ...]) -> Node:
    """torch.norm_except_dim(v, pow, dim), of which weight_norm makes its gain."""
    _only(named, "pow", "dim")
    power = of[1] if len(of) > 1 else named.get("pow", 2)
    dim = of[2] if len(of) > 2 else named.get("dim", 0)
    if power != 2:
        raise TypeError(f"the norm {power!r:.30}")
    rank = len(shapes[0])
    axes = [i for i in range(rank) if dim == -1 or i != dim % rank]
    return _reduced(_op("sqrt", _op("sum", _op("square", of[0]), axes=axes)), shape)


def _reshape(of: list[Any], named: dict[str, Any], shapes: list[tuple[int, ...]], shape: tuple[int, ...]) -> Node:
    return _op("reshape", of[0], shape=list(shape))


def _expand(of: list[Any], named: dict[str, Any], shapes: list[tuple[int, ...]], shape: tuple[int, ...]) -> Node:
    return _op("expand", of[0], shape=list(shape))


def _repeat(of: list[Any], named: dict[str, Any], shapes: list[tuple[int, ...]], shape: tuple[int, ...]) -> Node:
    before = (1,) * (len(shape) - len(shapes[0])) + shapes[0]
    times = [n // m for n, m in zip(shape, before, strict=True)]
    return _op("repeat", _op("reshape", of[0], shape=list(before)), times=times)


def _interleaved(of: list[Any], named: dict[str, Any], shapes: list[tuple[int, ...]], shape: tuple[int, ...]) -> Node:
    """x.repeat_interleave(times, dim): every element along an axis so often."""
    _only(named, "dim", "output_size", "repeats")
    times = of[1] if len(of) > 1 else named["repeats"]
    dim = of[2] if len(of) > 2 else named.get("dim")
    if not isinstance(times, int) or dim is None:
        raise TypeError("repeats that differ, or no dim")
    axis = dim % len(shape)
    inner = shapes[0]
    apart = _op("reshape", of[0], shape=[*inner[: axis + 1], 1, *inner[axis + 1 :]])
    spread = _op("expand", apart, shape=[*inner[: axis + 1], times, *inner[axis + 1 :]])
    return _op("reshape", spread, shape=list(shape))


def _inverted(of: list[Any], named: dict[str, Any], shapes: list[tuple[int, ...]], shape: tuple[int, ...]) -> Node:
    return _op("div", {"value": 1.0}, of[0])


def _inverse_root(of: list[Any], named: dict[str, Any], shapes: list[tuple[int, ...]], shape: tuple[int, ...]) -> Node:
    return _op("div", {"value": 1.0}, _op("sqrt", of[0]))


def _sigmoid(of: list[Any], named: dict[str, Any], shapes: list[tuple[int, ...]], shape: tuple[int, ...]) -> Node:
    return _op("div", {"value": 1.0}, _op("add", {"value": 1.0}, _op("exp", _op("neg", of[0]))))


_MAKERS: dict[str, Maker] = {
    **{name: _unary(name) for name in ("neg", "abs", "sqrt", "exp", "expm1", "log", "cos", "sin", "square")},
    **{name: _binary(name) for name in ("add", "sub", "mul", "div")},
    "pow": _power,
    "__pow__": _power,
    "clamp": _clamp,
    "reciprocal": _inverted,
    "rsqrt": _inverse_root,
    "sum": _sum,
    "mean": _mean,
    "std": _deviation,
    "var": _variance,
    "norm": _norm,
    "sigmoid": _sigmoid,
    "vector_norm": _norm,
    "linalg_vector_norm": _norm,
    "norm_except_dim": _norm_except,
    "reshape": _reshape,
    "flatten": _reshape,
    "expand": _expand,
    "repeat": _repeat,
    "tile": _repeat,
    "repeat_interleave": _interleaved,
}
