"""Operations that move elements and change none: transposes, slices, stacks, assignments of a part."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from fastinit import laws
from fastinit.jax.record.contents import (
    DETERMINED,
    Bits,
    Content,
    Factor,
    Haar,
    Lawful,
    Number,
    Pieces,
    Shaped,
    Signs,
    Unknown,
    Unsigned,
    Values,
    moved,
)
from fastinit.jax.record.program import IDENTITIES, array_of, handles, unknown


@handles(*IDENTITIES, "copy")
def _same(equation: Any, operands: list[Content]) -> list[Content]:
    return operands


@handles("transpose")
def _transpose(equation: Any, operands: list[Content]) -> list[Content] | None:
    order = tuple(map(int, equation.params["permutation"]))
    return _renumbered(operands[0], {old: new for new, old in enumerate(order)}, ("transpose", order))


@handles("reshape", "squeeze", "expand_dims")
def _reshape(equation: Any, operands: list[Content]) -> list[Content] | None:
    before, after = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    content = operands[0]
    if isinstance(content, Factor | Signs):
        return [content]
    if isinstance(content, Bits | Lawful) and not content.repeats:
        return [content if before == after else moved(content, ("reshape", after))]
    places = _places(before, after)
    return None if places is None else _renumbered(content, places, ("reshape", after))


@handles("broadcast_in_dim")
def _broadcast(equation: Any, operands: list[Content]) -> list[Content] | None:
    before, after = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    dimensions = tuple(map(int, equation.params["broadcast_dimensions"]))
    content = operands[0]
    if isinstance(content, Factor | Signs):
        return [content]
    found = _renumbered(content, dict(enumerate(dimensions)), ("broadcast", after, dimensions))
    if found is None:
        return None
    held = dict(zip(dimensions, before, strict=True))
    fresh = frozenset(axis for axis, length in enumerate(after) if length > 1 and held.get(axis, 1) == 1)
    if isinstance(found[0], Bits | Lawful):
        return [replace(found[0], repeats=found[0].repeats | fresh)]
    if isinstance(found[0], Haar) and not fresh:
        named = found[0].rows | found[0].columns | found[0].batch
        return [replace(found[0], batch=found[0].batch | (frozenset(range(len(after))) - named))]
    return None


@handles("rev")
def _rev(equation: Any, operands: list[Content]) -> list[Content] | None:
    content = operands[0]
    if isinstance(content, Bits | Lawful | Haar):  # a matrix that is Haar-distributed stays it in another order
        return [moved(content, ("rev", tuple(equation.params["dimensions"])))]
    return None


# --- parts ------------------------------------------------------------------------------------------------------------

Box = tuple[tuple[int, int], ...]


@handles("slice")
def _slice(equation: Any, operands: list[Content]) -> list[Content] | None:
    params, shape = equation.params, equation.invars[0].aval.shape
    if params["strides"] is not None and any(step != 1 for step in params["strides"]):
        if isinstance(operands[0], Bits | Lawful):
            key = ("strided", params["start_indices"], params["limit_indices"], params["strides"])
            return [moved(operands[0], key)]
        return None
    box = tuple(zip(map(int, params["start_indices"]), map(int, params["limit_indices"]), strict=True))
    found = part(operands[0], box, shape)
    return None if found is None else [found]


@handles("split")
def _split(equation: Any, operands: list[Content]) -> list[Content] | None:
    shape, axis = equation.invars[0].aval.shape, equation.params["axis"]
    found, start = [], 0
    for size in equation.params["sizes"]:
        box = tuple((start, start + size) if i == axis else (0, n) for i, n in enumerate(shape))
        found.append(part(operands[0], box, shape) or unknown(equation, operands))
        start += size
    return found


@handles("dynamic_slice")
def _dynamic_slice(equation: Any, operands: list[Content]) -> list[Content] | None:
    shape, sizes = equation.invars[0].aval.shape, equation.params["slice_sizes"]
    starts = _starts(equation, operands[1:], 1)
    if starts is None:
        return None
    starts = [max(0, min(at, n - size)) for at, n, size in zip(starts, shape, sizes, strict=True)]
    found = part(operands[0], tuple((at, at + size) for at, size in zip(starts, sizes, strict=True)), shape)
    return None if found is None else [found]


def _starts(equation: Any, operands: list[Content], first: int) -> list[int] | None:
    if not all(isinstance(one, DETERMINED) for one in operands):
        return None
    return [int(array_of(one, atom.aval)) for one, atom in zip(operands, equation.invars[first:], strict=True)]


def part(content: Content, box: Box, shape: tuple[int, ...]) -> Content | None:
    """A box of an array; None where it is no law."""
    if all(edges == (0, n) for edges, n in zip(box, shape, strict=True)):
        return content
    if isinstance(content, Number):
        return content
    if isinstance(content, Values):
        return Values(content.array[tuple(slice(*edges) for edges in box)])
    if isinstance(content, Bits | Lawful):
        return moved(content, ("box", box))
    if isinstance(content, Haar):  # whole matrices of several
        cut = {axis for axis, edges in enumerate(box) if edges != (0, shape[axis])}
        return moved(content, ("box", box)) if cut <= content.batch else None
    if isinstance(content, Pieces):
        return _part_of_pieces(content, box, shape)
    return None


def _part_of_pieces(content: Pieces, box: Box, shape: tuple[int, ...]) -> Content | None:
    found, start, axis = [], 0, content.axis
    for size, whole in content.parts:
        begin, end = max(box[axis][0] - start, 0), min(box[axis][1] - start, size)
        if begin < end:
            inner = (*box[:axis], (begin, end), *box[axis + 1 :])
            one = part(whole, inner, (*shape[:axis], size, *shape[axis + 1 :]))
            if one is None:
                return None
            found.append((end - begin, one))
        start += size
    return found[0][1] if len(found) == 1 else Pieces(axis, tuple(found))


@handles("concatenate")
def _concatenate(equation: Any, operands: list[Content]) -> list[Content] | None:
    axis = equation.params["dimension"]
    sizes = [atom.aval.shape[axis] for atom in equation.invars]
    if any(isinstance(one, Unknown) for one in operands):
        return None
    return [Pieces(axis, tuple((n, one) for n, one in zip(sizes, operands, strict=True) if n))]


@handles("dynamic_update_slice")
def _update(equation: Any, operands: list[Content]) -> list[Content] | None:
    shape, sizes = equation.invars[0].aval.shape, equation.invars[1].aval.shape
    starts = _starts(equation, operands[2:], 2)
    if starts is None:
        return None
    starts = [max(0, min(at, n - size)) for at, n, size in zip(starts, shape, sizes, strict=True)]
    found = _written(operands[0], operands[1], tuple((a, a + n) for a, n in zip(starts, sizes, strict=True)), shape)
    return None if found is None else [found]


@handles("scatter")
def _scatter(equation: Any, operands: list[Content]) -> list[Content] | None:
    """x.at[i, ...].set(y): y stands in one place of the first axes."""
    under, indices, over = operands
    numbers, shape = equation.params["dimension_numbers"], equation.invars[0].aval.shape
    axes = tuple(map(int, numbers.scatter_dims_to_operand_dims))
    if not isinstance(indices, DETERMINED) or tuple(map(int, numbers.inserted_window_dims)) != axes:
        return None
    at = np.asarray(array_of(indices, equation.invars[1].aval)).reshape(-1)
    if axes != tuple(range(len(axes))) or len(at) != len(axes) or numbers.operand_batching_dims:
        return None
    box = tuple((int(at[i]), int(at[i]) + 1) if i < len(axes) else (0, n) for i, n in enumerate(shape))
    if any(not 0 <= begin < n for (begin, _), n in zip(box, shape, strict=True)):
        return None
    if len(axes) == len(shape) - 2 and _is_zero(under) and isinstance(over, Haar):
        centre = all(begin == (n - 1) // 2 for (begin, _), n in zip(box[:-2], shape[:-2], strict=True))
        return [Shaped(laws.DeltaOrthogonal(over.gain, layout="keras"), over.draw)] if centre else None
    found = _written(under, over, box, shape) if isinstance(over, Number | Lawful) else None
    return None if found is None else [found]


def _is_zero(content: Content) -> bool:
    return isinstance(content, Number) and content.value == 0


def _written(under: Content, over: Content, box: Box, shape: tuple[int, ...]) -> Content | None:
    """An array in which a box was written over, which is whole along all axes but one."""
    cut = [axis for axis, edges in enumerate(box) if edges != (0, shape[axis])]
    if not cut:
        return over
    if len(cut) > 1 or isinstance(under, Unknown) or isinstance(over, Unknown):
        return None
    axis, (begin, end) = cut[0], box[cut[0]]
    parts = []
    for edges, given in (((0, begin), None), ((begin, end), over), ((end, shape[axis]), None)):
        if edges[0] < edges[1]:
            one = given or part(under, (*box[:axis], edges, *box[axis + 1 :]), shape)
            if one is None:
                return None
            parts.append((edges[1] - edges[0], one))
    return Pieces(axis, tuple(parts))


# --- axes -------------------------------------------------------------------------------------------------------------


def _places(before: tuple[int, ...], after: tuple[int, ...]) -> dict[int, Any] | None:
    """Axis of one shape -> the axis or axes of the other that it becomes; None where axes are mixed.

    Axes that become one are given the same one. An axis of length 1 that goes is given none.
    """
    places: dict[int, Any] = {}
    i = j = 0
    while i < len(before) or j < len(after):
        old, new = [i] if i < len(before) else [], [j] if j < len(after) else []
        a, b = math.prod(before[k] for k in old), math.prod(after[k] for k in new)
        i, j = i + len(old), j + len(new)
        while a != b:
            if (a < b and i < len(before)) or j >= len(after):
                if i >= len(before):
                    return None
                old.append(i)
                a, i = a * before[i], i + 1
            else:
                new.append(j)
                b, j = b * after[j], j + 1
        for axis in old:
            places[axis] = tuple(new)
    return places


def _renumbered(content: Any, places: dict[int, Any], move: Any) -> list[Content] | None:
    """A content whose axes have other numbers."""

    def of(axes: frozenset[int]) -> frozenset[int]:
        found: set[int] = set()
        for axis in axes:
            place = places.get(axis, ())
            found |= set(place) if isinstance(place, tuple) else {place}
        return frozenset(found)

    if isinstance(content, Factor | Signs | Number):
        return [content]
    if isinstance(content, Bits | Lawful):
        return [moved(replace(content, repeats=of(content.repeats)), move)]
    if isinstance(content, Haar):
        sides = [of(one) for one in (content.rows, content.columns, content.batch)]
        if sides[0] & sides[1] or sides[2] & (sides[0] | sides[1]):
            return None
        return [moved(replace(content, rows=sides[0], columns=sides[1], batch=sides[2]), move)]
    if isinstance(content, Unsigned) and move[0] == "transpose" and move[1] == tuple(range(content.rank)):
        return [content]
    if isinstance(content, Pieces):
        axis = places.get(content.axis)
        if isinstance(axis, tuple):
            axis = axis[0] if len(axis) == 1 else None
        if axis is None or move[0] != "transpose":
            return None
        parts = [(size, _renumbered(part, places, move) or []) for size, part in content.parts]
        return (
            [Pieces(axis, tuple((size, part[0]) for size, part in parts))] if all(part for _, part in parts) else None
        )
    return None
