"""The rounds of a scan: what each takes of an array, and what they pile up."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import jax.numpy as jnp

from fastinit import laws
from fastinit.jax.record.contents import (
    DETERMINED,
    Bits,
    Content,
    Draw,
    Haar,
    Lawful,
    Number,
    Pieces,
    Shaped,
    Unknown,
    Values,
    apart,
    moved,
)
from fastinit.jax.record.moves import part
from fastinit.jax.record.program import LARGEST, array_of

MOST_PIECES = 1 << 16


def element(content: Any, i: int, aval: Any) -> Content:
    """The i-th element along the first axis of an array of this type."""
    if isinstance(content, Values):
        return Values(content.array[i])
    if isinstance(content, DETERMINED):
        return content
    box = ((i, i + 1), *((0, n) for n in aval.shape[1:]))
    found = part(content, box, aval.shape) if not isinstance(content, Unknown) else content
    if isinstance(found, Bits | Lawful):
        return moved(replace(found, repeats=frozenset(axis - 1 for axis in found.repeats if axis)), ("first",))
    if isinstance(found, Haar) and 0 in found.batch:
        less = [frozenset(axis - 1 for axis in side if axis) for side in (found.rows, found.columns, found.batch)]
        return moved(replace(found, rows=less[0], columns=less[1], batch=less[2]), ("first",))
    if isinstance(found, Unknown):
        return found
    return Unknown(f"an element of a {type(content).__name__}", "a scan")


def stacked(pile: list[Content], aval: Any, where: str) -> Content:
    """What the rounds of a scan piled up along a new first axis; `aval` is the type of one."""
    first = pile[0] if pile else Number(0)
    if all(isinstance(one, Number) and _equal(one, first) for one in pile):
        return first
    if all(isinstance(one, DETERMINED) for one in pile):
        if len(pile) * math.prod(aval.shape) > LARGEST:
            return Unknown(f"a table of {len(pile)} x {aval.shape} values; at most {LARGEST:,} are computed", where)
        return Values(jnp.stack([jnp.asarray(array_of(one, aval)) for one in pile]))
    for one in pile:
        if isinstance(one, Unknown):
            return one
    return _alike(pile) or _in_pieces(pile, where)


def _equal(one: Number, other: Content) -> bool:
    same = isinstance(other, Number) and type(one.value) is type(other.value)
    return same and (one == other or one.value != one.value)


def _alike(pile: list[Any]) -> Content | None:
    """One content, where that of each round is the same but for the draw."""
    first = pile[0]
    if not all(type(one) is type(first) for one in pile):
        return None
    if isinstance(first, Pieces):
        return _alike_pieces(pile)
    if not isinstance(first, Bits | Lawful | Haar | Shaped):
        return None
    joined = Draw(tuple(one.draw for one in pile), first.draw.shape)
    if any(_with(one, joined) != _with(first, joined) for one in pile):
        return None
    histories = [(one.draw, getattr(one, "moves", ())) for one in pile]
    same = len(set(histories)) == 1 < len(pile)
    if not same and not _all_apart(histories):
        return None
    if isinstance(first, Haar | Shaped) and same:
        return None
    if isinstance(first, Haar):
        sides = [frozenset(axis + 1 for axis in side) for side in (first.rows, first.columns, first.batch)]
        return replace(first, draw=joined, rows=sides[0], columns=sides[1], batch=sides[2] | {0}, moves=())
    if isinstance(first, Shaped):
        law = _one_more(first.law)
        return None if law is None else replace(first, law=law, draw=joined)
    repeats = frozenset(axis + 1 for axis in first.repeats)
    if same:
        return moved(replace(first, repeats=repeats | {0}), ("stack", len(pile)))
    return replace(first, draw=joined, repeats=repeats, moves=("stack", *(moves for _, moves in histories)))


def _with(content: Any, draw: Draw) -> Any:
    """The same of another draw, whatever it went through."""
    return replace(content, draw=draw, **({"moves": ()} if hasattr(content, "moves") else {}))


def _all_apart(histories: list[tuple[Draw, tuple[Any, ...]]]) -> bool:
    """Whether no two rounds have an element of one draw."""
    of: dict[Draw, list[tuple[Any, ...]]] = {}
    for draw, moves in histories:
        if any(not apart(moves, other) for other in of.get(draw, ())):
            return False
        of.setdefault(draw, []).append(moves)
    return True


def _alike_pieces(pile: list[Pieces]) -> Content | None:
    """The same pieces, each a stack."""
    cuts = [(one.axis, tuple(size for size, _ in one.parts)) for one in pile]
    if any(cut != cuts[0] for cut in cuts):
        return None
    columns = [[one.parts[i][1] for one in pile] for i in range(len(pile[0].parts))]
    found = [_same_number(column) or _alike(column) for column in columns]
    if not all(found):
        return None
    return Pieces(pile[0].axis + 1, tuple((n, one) for n, one in zip(cuts[0][1], found, strict=True) if one))


def _same_number(column: list[Content]) -> Content | None:
    first = column[0]
    return first if all(isinstance(one, Number) and _equal(one, first) for one in column) else None


def _one_more(law: laws.Law) -> laws.Law | None:
    """A law of one tensor, for a stack of them along a new first axis."""
    if not isinstance(law, laws.DeltaOrthogonal | laws.Sparse):
        return None
    batch = tuple(axis + 1 if axis >= 0 else axis for axis in law.batch_axis)
    if isinstance(law, laws.Sparse):
        return replace(law, axis=law.axis + 1 if law.axis >= 0 else law.axis, batch_axis=(0, *batch))
    return replace(law, batch_axis=(0, *batch))


def _in_pieces(pile: list[Content], where: str) -> Content:
    """A piece for each round, where their laws differ; of independent laws, for a slice has the rank of the whole."""
    if len(pile) > MOST_PIECES or not all(isinstance(one, Number | Lawful) for one in pile):
        return Unknown("rounds of a scan whose laws differ", where)
    parts: list[tuple[int, Content]] = []
    for one in pile:
        if isinstance(one, Lawful):
            up = frozenset(axis + 1 for axis in one.repeats)
            one = moved(replace(one, repeats=up), ("expand",))
        parts.append((1, one))
    if not _all_apart([(one.draw, one.moves) for one in pile if isinstance(one, Lawful)]):
        return Unknown("rounds of a scan that share a draw", where)
    return Pieces(0, tuple(parts))
