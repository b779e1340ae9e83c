"""What a piece of memory holds while a model is recorded: a law, values, nothing yet, or the result of an operation."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch

from fastinit.laws import Constant, Law

# Frames in these folders are the machinery through which a model's code asks for a draw, not the code itself.
_MACHINERY = tuple(str(folder) + "/" for folder in (Path(torch.__file__).parent, Path(__file__).parent))


@dataclass(frozen=True, eq=False)
class Place:
    """A line of the model's own code."""

    code: Any
    line: int

    def __str__(self) -> str:
        return f"{self.code.co_filename}:{self.line} in {self.code.co_name}"


NOWHERE = "an unknown line"


def here() -> Place | str:
    """The innermost line that is neither PyTorch's nor ours."""
    frame = sys._getframe(1)
    while frame is not None:
        if not frame.f_code.co_filename.startswith(_MACHINERY):
            return Place(frame.f_code, frame.f_lineno)
        frame = frame.f_back  # type: ignore[assignment]
    return NOWHERE


@dataclass(frozen=True)
class Region:
    """Elements of a storage: where the first lies, and shape and strides, in elements of their own size."""

    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def end(self) -> int:
        """One past the last element."""
        if 0 in self.shape:
            return self.offset
        return self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True)) + 1

    @property
    def repeats(self) -> bool:
        """Whether one element is read several times, as expand() has it."""
        return any(n > 1 and step == 0 for n, step in zip(self.shape, self.strides, strict=True))

    def meets(self, other: Region) -> bool:
        """Whether they may share an element; two columns of a matrix count as if they did."""
        return self.offset < other.end and other.offset < self.end


@dataclass(frozen=True, eq=False)
class Draw:
    """One call that draws: copies of what it made have the same values.

    root is the draw of which this one is a function (erfinv of a uniform), else itself
    """

    law: Law
    shape: tuple[int, ...]
    where: Place | str
    parent: Draw | None = None

    @property
    def root(self) -> Draw:
        """The draw from which this one is computed."""
        return self if self.parent is None else self.parent.root


class Content:
    """What a piece of memory holds."""

    where: Place | str
    chance: ClassVar[bool]


@dataclass(frozen=True, eq=False)
class Lawful(Content):
    """Elements of a law: scale x + shift of those of a draw, of which they may be a part.

    draw   None for a constant
    parts  the views through which the elements were taken from the draw, from the draw on; empty where they are all
    """

    law: Law
    draw: Draw | None
    where: Place | str
    scale: float = 1.0
    shift: float = 0.0
    parts: tuple[Region, ...] = ()

    @property
    def chance(self) -> bool:  # type: ignore[override]
        """Whether chance has a part in it."""
        return self.draw is not None


@dataclass(frozen=True, eq=False)
class Values(Content):
    """Values computed without chance, on the CPU."""

    values: torch.Tensor
    where: Place | str
    chance: ClassVar[bool] = False


@dataclass(frozen=True, eq=False)
class Unwritten(Content):
    """Memory of torch.empty and its kin, into which nothing was written."""

    where: Place | str
    chance: ClassVar[bool] = False


@dataclass(frozen=True, eq=False)
class Before(Content):
    """What a tensor held that existed before the recording began."""

    where: Place | str = "before the recording"
    chance: ClassVar[bool] = False


@dataclass(frozen=True, eq=False)
class Computed(Content):
    """The result of an operation on other contents.

    function   is called as function(*args, **kwargs) in which each `Input` stands for a tensor
    """

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    where: Place | str
    pick: int | None = None  # which of several results

    @property
    def inputs(self) -> list[Content]:
        """The contents among the arguments."""
        return list(_contents((self.args, self.kwargs)))

    @property
    def chance(self) -> bool:  # type: ignore[override]
        """Whether chance has a part in it."""
        return any(content.chance for content in self.inputs)


@dataclass(frozen=True, eq=False)
class Assembled(Content):
    """Pieces that were written one after the other, read through one view."""

    pieces: tuple[tuple[Region, Content], ...]
    view: Region
    size: int  # elements of the storage
    where: Place | str

    @property
    def chance(self) -> bool:  # type: ignore[override]
        """Whether chance has a part in it."""
        return any(content.chance for _, content in self.pieces)


@dataclass(frozen=True, eq=False)
class Unknown(Content):
    """What cannot be said, and why."""

    why: str
    where: Place | str
    chance: ClassVar[bool] = True


@dataclass(frozen=True, eq=False)
class Input:
    """Stands for a tensor among the arguments of a `Computed`."""

    content: Content
    shape: tuple[int, ...] = field(default=())
    dtype: torch.dtype = torch.float32


def constant(value: Any, where: Place | str) -> Lawful:
    """The same number everywhere."""
    return Lawful(Constant(value), None, where)


def number_of(content: Content) -> float | None:
    """The number that all elements are; None where they differ, or may."""
    if isinstance(content, Lawful) and isinstance(content.law, Constant):
        return float(content.law.value)
    if isinstance(content, Values) and content.values.numel():
        first = content.values.reshape(-1)[0]
        if not first.is_complex() and bool((content.values == first).all()):
            return float(first)
    return None


def why_unknown(content: Content) -> tuple[str, Place | str] | None:
    """Why a content cannot be computed, and the line; None where it can."""
    if isinstance(content, Unknown):
        return content.why, content.where
    if isinstance(content, Unwritten):
        return "memory that was never written", content.where
    inner: list[Content] = []
    if isinstance(content, Computed):
        inner = content.inputs
    elif isinstance(content, Assembled):
        inner = [piece for _, piece in content.pieces]
    return next((found for one in inner if (found := why_unknown(one)) is not None), None)


def _contents(value: Any) -> Iterator[Content]:
    if isinstance(value, Input):
        yield value.content
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _contents(one)
    elif isinstance(value, dict):
        yield from _contents(list(value.values()))
