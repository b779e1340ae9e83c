"""A tensor made of parts: slices along one axis, each with a law of its own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from fastinit.address import integer
from fastinit.dtypes import PARTS, Format
from fastinit.laws.copied import Copy
from fastinit.laws.given import Given
from fastinit.laws.independent import Constant
from fastinit.laws.law import Element, Law, ShapedLaw
from fastinit.laws.marginals import mixture
from fastinit.laws.structured import Padded


@dataclass(frozen=True)
class Blocks(ShapedLaw):
    """Slices along `axis`, each with a law of its own: queries, keys and values; gates; a vocabulary and its padding.

    parts  (size, law) in order, as torch.split takes sizes: integers, zero or positive, which add up to the length of
           the axis; any law, Blocks too
    axis   along which the parts follow each other; negative counts from the last

    An element of an independent law has the value that this law gives to its address in the whole tensor, so that
    Blocks of one law is that law. A law of lines, matrices or places takes its part for the tensor: its axes, lines and
    shape are those of the slice. Two parts never share a word (docs/stream.md, section 10.2). Raises TypeError or
    ValueError for what is no list of sizes and laws, and, at the fill, for an axis that does not exist, for sizes that
    do not add up, and for a slice that its law cannot have.
    """

    parts: tuple[tuple[int, Law], ...]
    axis: int = 0

    def __init__(self, parts: Iterable[tuple[int, Law]], axis: int = 0) -> None:
        if isinstance(parts, str) or not isinstance(parts, Iterable):
            raise TypeError(f"Blocks: parts is {parts!r}; pass pairs of a size and a law")
        pairs = []
        for i, part in enumerate(parts):
            if not isinstance(part, (tuple, list)) or len(part) != 2 or not isinstance(part[1], Law):
                raise TypeError(f"Blocks: part {i} is {part!r}; pass a size and a law: (4096, laws.Normal(0.0, 0.02))")
            if isinstance(part[1], Copy):
                raise TypeError(f"Blocks: part {i} is {part[1]!r}; a Copy is of a whole tensor, pass its law")
            size = integer(part[0], f"Blocks: the size of part {i}")
            if size < 0:
                raise ValueError(f"Blocks: the size of part {i} is {size}; it must be zero or positive")
            pairs.append((size, part[1]))
        if not pairs:
            raise ValueError("Blocks: there are no parts; pass a size and a law for each")
        object.__setattr__(self, "parts", tuple(pairs))
        object.__setattr__(self, "axis", integer(axis, "Blocks: axis"))

    @property
    def draws(self) -> bool:  # type: ignore[override]
        """Whether chance has a part in any of them."""
        return any(law.draws for _, law in self.parts)

    @property
    def floats_only(self) -> bool:  # type: ignore[override]
        """Whether any of them needs floats."""
        return any(law.floats_only for _, law in self.parts)

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse a tensor without that axis or of another length along it, and what the laws of the parts refuse."""
        if not -len(shape) <= self.axis < len(shape):
            raise ValueError(f"Blocks: axis {self.axis} does not exist in a tensor of shape {shape}")
        length, total = shape[self.axis], sum(size for size, _ in self.parts)
        if total != length:
            raise ValueError(
                f"Blocks: the sizes add up to {total}, and axis {self.axis} of shape {shape} has {length}: "
                f"{abs(length - total)} too {'few' if total < length else 'many'}; pass sizes that add up to {length}"
            )
        start = 0
        for size, law in self.parts:
            part = list(shape)
            part[self.axis] = size
            if isinstance(law, ShapedLaw) and 0 not in part:
                try:
                    law.check(tuple(part))
                except ValueError as error:
                    raise ValueError(f"part [{start}, {start + size}) of axis {self.axis}: {error}") from error
            start += size

    def marginal(self, shape: tuple[int, ...]) -> Element:
        """One of the laws of the parts, each with its share of the elements."""
        self.check(shape)
        count = math.prod(shape)
        elements = [(math.prod(leaf.shape) / count, leaf.law.marginal(leaf.shape)) for leaf in leaves(self, shape)]
        groups = ((element, list(pairs)) for element, pairs in groupby(elements, key=lambda pair: pair[1]))
        found = mixture((sum(share for share, _ in pairs), element) for element, pairs in groups)
        return found if found.components else Constant(0.0)

    def kernel_arguments(self, format: Format) -> None:
        """Check every part's law against the format."""
        for _, law in self.parts:
            law.kernel_arguments(format)

    @property
    def is_complex(self) -> bool:
        """Whether all of them are."""
        return all(law.is_complex for _, law in self.parts)

    def complex_form(self) -> Blocks:
        """Those of the parts."""
        return Blocks([(size, law.complex_form()) for size, law in self.parts], self.axis)

    def complex_arguments(self, format: Format) -> None:
        """Check every part's law against the format of the parts of a complex number."""
        for _, law in self.parts:
            law.complex_arguments(format)


def check_tensor(law: Law, shape: tuple[int, ...], dtype: np.dtype[Any], format: Format | None) -> None:
    """Refuse a tensor of this shape and dtype that the law, or that of a part, cannot fill."""
    if isinstance(law, ShapedLaw):
        law.check(shape)
    for leaf in leaves(law, shape):
        if isinstance(leaf.law, Constant):
            leaf.law.stored(dtype, format)
        elif format is not None:
            leaf.law.kernel_arguments(format)
        elif isinstance(leaf.law, Given):
            leaf.law.stored(dtype)
        elif dtype.name in PARTS:
            leaf.law.complex_arguments(PARTS[dtype.name])


class Leaf(NamedTuple):
    """A slice of a tensor with one law that is not made of others.

    offsets  where it begins in the tensor
    before   elements of the tensor that belong to parts before it: the first reflector of an orthogonal law
    """

    offsets: tuple[int, ...]
    shape: tuple[int, ...]
    law: Law
    before: int

    def where(self, shape: tuple[int, ...]) -> str:
        """Which slice of the tensor it is, as NumPy writes it: [4096:5120], or [:, 0:64]; empty for all of it."""
        ends = [
            f"{at}:{at + size}" if size < length else ":"
            for at, size, length in zip(self.offsets, self.shape, shape, strict=True)
        ]
        while ends and ends[-1] == ":":
            ends.pop()
        return f"[{', '.join(ends)}]" if ends else ""


def leaves(law: Law, shape: tuple[int, ...]) -> Iterator[Leaf]:
    """The slices of a tensor of this shape, which the law has been checked against; none is empty."""
    yield from _leaves(law, (0,) * len(shape), shape, 0, (Blocks, Padded))


def slices(law: Law, shape: tuple[int, ...]) -> Iterator[Leaf]:
    """The same as they were named: a table with a padding row is one."""
    yield from _leaves(law, (0,) * len(shape), shape, 0, (Blocks,))


def _leaves(
    law: Law, offsets: tuple[int, ...], shape: tuple[int, ...], before: int, made_of_parts: tuple[type[Law], ...]
) -> Iterator[Leaf]:
    if not isinstance(law, made_of_parts):
        if math.prod(shape):
            yield Leaf(offsets, shape, law, before)
        return
    assert isinstance(law, (Blocks, Padded))
    axis, parts = (law.axis % len(shape), law.parts) if isinstance(law, Blocks) else (0, law.parts(shape[0]))
    behind = math.prod(shape[:axis]) * math.prod(shape[axis + 1 :])
    start = 0
    for size, inner in parts:
        corner = (*offsets[:axis], offsets[axis] + start, *offsets[axis + 1 :])
        part = (*shape[:axis], size, *shape[axis + 1 :])
        yield from _leaves(inner, corner, part, before + start * behind, made_of_parts)
        start += size
