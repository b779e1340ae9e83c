"""What a tensor of the edited checkpoint holds: an expression over stored bytes, draws and rows, not yet computed.

Each content knows its shape and dtype, and `spans_of` says which of its elements are still as drawn. All are small,
and can be sent to a worker.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from fastinit.dtypes import FORMATS
from fastinit.files.safetensors import bits_of
from fastinit.laws import Constant, Normal
from fastinit.laws.blocks import leaves
from fastinit.plan import Tensor
from fastinit.provenance import Span


@dataclass(frozen=True)
class Content:
    """A tensor to be: shape and dtype by name."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def elements(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """What they take in a file."""
        return self.elements * bits_of(self.dtype) // 8


@dataclass(frozen=True)
class Stored(Content):
    """The bytes from `begin` on of a file, as they are; `spans` say which of them are as drawn."""

    path: str
    begin: int
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True)
class Drawn(Content):
    """Elements [first, first + elements) of a tensor that is drawn from a seed."""

    tensor: Tensor
    seed: int
    first: int = 0


@dataclass(frozen=True)
class Converted(Content):
    """Another content, rounded to nearest even in its own dtype; by way of float32, as PyTorch rounds."""

    of: Content


@dataclass(frozen=True)
class Beginning(Content):
    """The first rows of another content."""

    of: Content


@dataclass(frozen=True)
class Joined(Content):
    """Rows below rows."""

    parts: tuple[Content, ...]


@dataclass(frozen=True)
class Noisy(Content):
    """Another content plus normal noise of this std, drawn from the seed under the name; rounded once."""

    of: Content
    std: float
    seed: int
    name: str


@dataclass(frozen=True)
class Estimated(Content):
    """Rows of a normal law with the mean of the rows of `of`, and `factor` times their covariance."""

    of: Content
    factor: float
    seed: int
    name: str


def spans_of(content: Content) -> Iterator[Span]:
    """The elements that can be drawn again, and what draws them."""
    for span in _spans(content):
        if span.can_be_drawn:
            yield span


def _spans(content: Content) -> Iterator[Span]:
    match content:
        case Stored():
            yield from content.spans
        case Drawn():
            yield Span(0, content.first, content.elements, content.tensor, content.seed)
        case Converted():
            yield from (replace(span, drawn=tensor) for span in _spans(content.of) if (tensor := _cast(span, content)))
        case Beginning():
            yield from (kept for span in _spans(content.of) if (kept := span.within(0, content.elements)) is not None)
        case Joined():
            at = 0
            for part in content.parts:
                yield from (replace(span, at=span.at + at) for span in _spans(part))
                at += part.elements


def _cast(span: Span, content: Converted) -> Tensor | None:
    """What a span is drawn as after a cast; None where a draw in the new dtype has other bits, or may have.

    A normal, and a constant, of a narrow dtype are those of float32, rounded; laws with bounds are cut after rounding.
    """
    tensor = span.drawn
    if tensor.dtype != "float32" or content.dtype not in FORMATS or FORMATS[content.dtype].working != "float32":
        return None
    if not all(isinstance(leaf.law, Normal | Constant) for leaf in leaves(tensor.law, tensor.shape)):
        return None
    try:
        return Tensor(tensor.name, tensor.shape, content.dtype, tensor.law)
    except (TypeError, ValueError):
        return None


def cast(content: Content, dtype: str) -> Content:
    """A content in another dtype; what is drawn anyway is drawn in it."""
    if content.dtype == dtype:
        return content
    match content:
        case Drawn():
            tensor = content.tensor
            return replace(content, dtype=dtype, tensor=Tensor(tensor.name, tensor.shape, dtype, tensor.law))
        case Joined():
            return replace(content, dtype=dtype, parts=tuple(cast(part, dtype) for part in content.parts))
        case Noisy() | Estimated():
            return replace(content, dtype=dtype)
    return Converted(content.shape, dtype, content)
