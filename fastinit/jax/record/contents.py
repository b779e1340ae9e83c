"""What an array of a traced program holds: numbers, values computed without chance, or a law and the draw it is of."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from fastinit.laws import Law


@dataclass(frozen=True)
class Draw:
    """One call that draws random bits: equal draws have equal values.

    key    the words of its key, or of a batch of keys; an object where they are not known; several draws, if stacked
    shape  of the bits
    """

    key: Hashable
    shape: tuple[int, ...]


class Content:
    """What an array holds; its shape and dtype are those of the program's variable."""


@dataclass(frozen=True)
class Number(Content):
    """One number everywhere, as the code says it: 0.02, where the program holds the float32 next to it."""

    value: Any


@dataclass(frozen=True, eq=False)
class Values(Content):
    """Values computed without chance."""

    array: Any


@dataclass(frozen=True)
class Bits(Content):
    """Random words: `kept` of their upper bits are left, and what stands above them is `exponent`."""

    draw: Draw
    width: int
    kept: int | None = None
    exponent: int | None = None
    moves: tuple[Hashable, ...] = ()
    repeats: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Lawful(Content):
    """Elements of an independent law, in any order.

    draw     of which they are, each a function of one of its elements; scale and shift are of that function
    moves    what the elements went through since they were drawn: equal draws and moves have equal values
    repeats  axes along which they are the same
    """

    law: Law
    draw: Draw
    scale: float = 1.0
    shift: float = 0.0
    moves: tuple[Hashable, ...] = ()
    repeats: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Factor(Content):
    """What is computed of R alone, of the factors Q and R of a matrix of normals."""

    draw: Draw


@dataclass(frozen=True)
class Signs(Content):
    """Signs of the diagonal of R, which make Q a Haar-distributed matrix."""

    draw: Draw


@dataclass(frozen=True)
class Unsigned(Content):
    """Q, whose columns are still to be multiplied by the signs."""

    draw: Draw
    rank: int


@dataclass(frozen=True)
class Haar(Content):
    """Matrices whose rows or columns, whichever are fewer, are orthonormal times gain.

    A Haar-distributed matrix is one when its rows change places, and when it is turned: which axes are rows, columns
    and copies is all that matters.
    """

    gain: float
    draw: Draw
    rows: frozenset[int]
    columns: frozenset[int]
    batch: frozenset[int] = frozenset()
    moves: tuple[Hashable, ...] = ()


@dataclass(frozen=True)
class Shaped(Content):
    """A law of the whole tensor, which one of our own initialisers, or an assignment into zeros, gave it."""

    law: Law
    draw: Draw
    scale: float = 1.0


@dataclass(frozen=True)
class Pieces(Content):
    """Slices along an axis, each with a content of its own."""

    axis: int
    parts: tuple[tuple[int, Content], ...]


@dataclass(frozen=True)
class Unknown(Content):
    """What cannot be said, and why; the line of code."""

    why: str
    where: str


DETERMINED = (Number, Values)


def draws_of(content: Content) -> list[Content]:
    """The contents in it that chance has a part in."""
    if isinstance(content, Pieces):
        return [one for _, part in content.parts for one in draws_of(part)]
    return [] if isinstance(content, DETERMINED) else [content]


Elements = TypeVar("Elements", bound=Bits | Lawful | Haar)


def moved(content: Elements, move: Hashable) -> Elements:
    """The same after a move of its elements."""
    return replace(content, moves=(*content.moves, move))


def apart(one: tuple[Hashable, ...], two: tuple[Hashable, ...]) -> bool:
    """Whether parts of one draw, after these moves, have no element in common, as far as that is plain to see."""
    for a, b in zip(one, two, strict=False):
        if a != b:
            boxes = isinstance(a, tuple) and isinstance(b, tuple) and a[0] == b[0] == "box"
            return boxes and any(c[1] <= d[0] or d[1] <= c[0] for c, d in zip(a[1], b[1], strict=True))  # type: ignore[index]
    return False
