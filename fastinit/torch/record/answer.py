"""The law of a tensor, of what was written to its memory; or why there is none."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from torch import Tensor

from fastinit import laws
from fastinit.laws.law import IndependentLaw, Law
from fastinit.torch.record.boxes import Box, are_disjoint, box_of, common, covers, meet
from fastinit.torch.record.contents import (
    Assembled,
    Before,
    Content,
    Lawful,
    Region,
    Unknown,
    Unwritten,
    Values,
    here,
    why_unknown,
)
from fastinit.torch.record.evaluate import NotComputableError, evaluate
from fastinit.torch.record.memory import Storages, region_of, seen

MOST_COVERED = 1 << 28  # elements of which it is counted whether each was written
MOST_CELLS = 1 << 20  # of the grid that the pieces of one tensor span
LARGEST_TABLE = 1 << 24  # elements


class NoLawError(ValueError):
    """What a tensor holds follows no law that can be said."""


@dataclass(frozen=True)
class Answer:
    """What a tensor follows.

    law      its law; None where `replay` is to be computed from draws
    replay   the expression
    draws    the contents whose draws it is made of, each with the box that it fills
    """

    law: Law | None
    replay: Content | None = None
    draws: tuple[tuple[Lawful, Box], ...] = field(default=())


def answer(storages: Storages, tensor: Tensor) -> Answer:
    """The law of a tensor; raises NoLawError, which says why there is none."""
    tensor = storages.whole(tensor)
    shape = tuple(tensor.shape)
    memory = storages.find(tensor)
    if memory is None or not memory.writes:
        if not tensor.numel():
            return Answer(laws.Constant(0.0))
        if memory is not None and memory.real:
            return Answer(given(tensor))
        raise NoLawError("nothing was written to it while recording")
    region = region_of(tensor)
    pieces = [(at, content) for at, content in memory.writes.items() if at.meets(region)]
    whole = tuple((0, n) for n in shape)
    boxed: list[tuple[Box, Content]] = []
    for at, content in pieces:
        box = whole if memory.whole(at) or at == region else box_of(region, at)
        found: Content | None = content
        if at != region and memory.whole(at):
            found = seen(content, at, region, memory.size)
        elif at != region and box is not None:
            found = _in_box(content, at, region, box)
        if box is None or found is None:
            return _of_content(storages.content(tensor), tensor)
        if box == whole:
            boxed.clear()
        boxed.append((box, found))
    if len(boxed) == 1 and boxed[0][0] == whole:
        return _of_content(boxed[0][1], tensor)
    return _of_pieces(boxed, tensor)


def given(values: Tensor) -> Law:
    """The law of values computed without chance: one number, or a table of them."""
    values = values.detach()
    if values.dtype.is_complex:
        raise NoLawError(f"values of {values.dtype}")
    first = values.reshape(-1)[0]
    signs = values.signbit() if values.is_floating_point() else values < 0
    if bool((values == first).all()) and bool((signs == signs.reshape(-1)[0]).all()):
        value = first.item()
        if values.dtype == torch.float32 and math.isfinite(value):
            value = float(str(np.float32(value)))  # 1e-06, as the code says it, and not 9.999999974752427e-07
        return laws.Constant(value)
    if values.numel() > LARGEST_TABLE:
        raise NoLawError(f"a table of {values.numel():,} values, and at most {LARGEST_TABLE:,} are kept")
    wide = values.float() if values.is_floating_point() and values.dtype.itemsize < 4 else values
    return laws.Given.of(wide.numpy())


def _of_content(content: Content, tensor: Tensor) -> Answer:
    """The answer where one content fills the tensor."""
    shape = tuple(tensor.shape)
    if isinstance(content, Lawful):
        if tensor.is_complex() and not content.law.is_complex:
            raise NoLawError(f"{content.law} of real numbers, made {tensor.dtype} ({content.where})")
        draws = ((content, tuple((0, n) for n in shape)),) if content.draw is not None else ()
        return Answer(_checked(content.law, shape), draws=draws)
    if isinstance(content, Assembled):
        content = _covered(content)
    _refuse(content)
    if not content.chance:
        try:
            values = evaluate(content, shape, tensor.dtype)
        except NotComputableError as error:
            raise NoLawError(f"{error} ({content.where})") from None
        return Answer(given(values))
    return Answer(None, replay=content)


def _covered(content: Assembled) -> Assembled:
    """The same without memory that was never written, where all of the view was: in every second column, twice."""
    never = (Unwritten, Before)
    if content.size > MOST_COVERED or not any(isinstance(one, never) for _, one in content.pieces):
        return content
    written = np.zeros(content.size, bool)

    def view(region: Region) -> np.ndarray[Any, Any]:
        return as_strided(written[region.offset :], region.shape, region.strides)

    for region, one in content.pieces:
        view(region)[...] = not isinstance(one, never)
    if not view(content.view).all():
        return content
    return replace(content, pieces=tuple(piece for piece in content.pieces if not isinstance(piece[1], never)))


def _refuse(content: Content) -> None:
    """Raise for what cannot be said."""
    if isinstance(content, Unwritten):
        raise NoLawError(f"memory of {content.where} to which nothing was written")
    if isinstance(content, Before):
        raise NoLawError("a part of it was not written to while recording")
    if isinstance(content, Unknown):
        raise NoLawError(f"{content.why} ({content.where})")
    found = why_unknown(content)
    if found is not None:
        raise NoLawError(f"{found[0]} ({found[1]})")


def _checked(law: Law, shape: tuple[int, ...]) -> Law:
    if isinstance(law, laws.law.ShapedLaw):
        law.check(shape)
    return law


def _in_box(content: Content, at: Region, whole: Region, box: Box) -> Content | None:
    """What was written through a view, as the content of its box; None where the view orders the elements otherwise.

    Draws that are independent have no order. A matrix that was written to w[i] fills a box with an axis of length 1
    more: that axis counts matrices.
    """
    if isinstance(content, (Unwritten, Before, Unknown)):
        return content
    if isinstance(content, Lawful) and isinstance(content.law, IndependentLaw):
        return content
    shape = tuple(end - begin for begin, end in box)
    ours = [(n, step) for n, step in zip(shape, whole.strides, strict=True) if n != 1]
    if ours != [(n, step) for n, step in zip(at.shape, at.strides, strict=True) if n != 1]:
        return None
    if not isinstance(content, Lawful) or shape == at.shape:
        return content
    law = _among(content.law, shape, at.shape)
    return None if law is None else replace(content, law=law)


def _among(law: Law, shape: tuple[int, ...], own: tuple[int, ...]) -> Law | None:
    """A law of a tensor of shape `own` for one that has axes of length 1 more; None where it has no such form."""
    batch, rest = [], list(own)
    for axis, n in enumerate(shape):
        if rest and rest[0] == n and len(shape) - axis >= len(rest):
            rest.pop(0)
        elif n == 1:
            batch.append(axis)
        else:
            return None
    if rest or not hasattr(law, "batch_axis") or law.batch_axis or getattr(law, "batch", 0):
        return None
    return replace(law, batch_axis=tuple(batch))  # type: ignore[type-var]


# --- pieces -----------------------------------------------------------------------------------------------------------


def _of_pieces(boxed: Sequence[tuple[Box, Content]], tensor: Tensor) -> Answer:
    """The answer where pieces of a tensor have contents of their own; later ones lie over earlier."""
    shape = tuple(tensor.shape)
    boxed = _visible(boxed)
    for _, content in boxed:
        if not isinstance(content, (Lawful, Values)):
            if isinstance(content, Before | Unwritten):
                continue  # only if it shows
            return _replay_or_refuse(boxed, tensor)
    law = _Pieces(boxed, tensor).law(tuple((0, n) for n in shape))
    draws = tuple((content, box) for box, content in boxed if isinstance(content, Lawful) and content.draw is not None)
    return Answer(_padded(law), draws=draws)


def _visible(boxed: Sequence[tuple[Box, Content]]) -> list[tuple[Box, Content]]:
    """Those that no single later one covers."""
    if len(boxed) > 512:  # the experts of a mixture, which do not cover each other
        return list(boxed)
    return [one for i, one in enumerate(boxed) if not any(covers(later[0], one[0]) for later in boxed[i + 1 :])]


def _replay_or_refuse(boxed: Sequence[tuple[Box, Content]], tensor: Tensor) -> Answer:
    for _, content in boxed:
        if not isinstance(content, (Before, Unwritten)):
            _refuse(content)
    strides, step = [], 1
    for n in reversed(tensor.shape):
        strides.append(step)
        step *= n
    strides.reverse()
    pieces = tuple(
        (
            Region(
                sum(begin * by for (begin, _), by in zip(box, strides, strict=True)),
                tuple(end - begin for begin, end in box),
                tuple(strides),
            ),
            content,
        )
        for box, content in boxed
        if not isinstance(content, (Before, Unwritten))
    )
    view = Region(0, tuple(tensor.shape), tuple(strides))
    return _of_content(Assembled(pieces, view, math.prod(tensor.shape), here()), tensor)


@dataclass
class _Pieces:
    boxed: Sequence[tuple[Box, Content]]
    tensor: Tensor

    def law(self, box: Box) -> Law:
        """The law of a box: of one piece, or Blocks along the first axis that cuts no law of a shape."""
        inside = [(common(one, box), content, one) for one, content in self.boxed if meet(one, box)]
        last = max((i for i, (cut, _, _) in enumerate(inside) if cut == box), default=None)
        if last is None:
            merged = self._alike(box, inside)
            if merged is not None:
                return merged
        else:
            inside = inside[last:]
            if len(inside) == 1:
                return self._one(inside[0][1], inside[0][2], box)
        for axis in range(len(box)):
            cuts = sorted({edge for cut, _, _ in inside for edge in cut[axis]} | set(box[axis]))
            if len(cuts) > 2 and not any(self._splits(one, content, axis, cuts) for _, content, one in inside):
                break
        else:
            raise NoLawError(self._torn(inside))
        if len(cuts) > MOST_CELLS:
            raise NoLawError(f"{len(cuts):,} pieces along one axis")
        parts: list[tuple[int, Law]] = []
        for begin, end in itertools.pairwise(cuts):
            law = self.law((*box[:axis], (begin, end), *box[axis + 1 :]))
            if parts and parts[-1][1] == law and _merges(law):
                parts[-1] = (parts[-1][0] + end - begin, law)
            else:
                parts.append((end - begin, law))
        return parts[0][1] if len(parts) == 1 else laws.Blocks(parts, axis)

    def _alike(self, box: Box, inside: list[tuple[Box, Content, Box]]) -> Law | None:
        """The law that disjoint pieces share which fill the box: experts, drawn one by one."""
        first = inside[0][1] if inside else None
        if not isinstance(first, Lawful) or not _merges(first.law):
            if not inside:
                raise NoLawError("a part of it was not written to while recording")
            return None
        if any(not isinstance(one, Lawful) or one.law != first.law for _, one, _ in inside):
            return None
        volume = sum(math.prod(end - begin for begin, end in cut) for cut, _, _ in inside)
        return (
            first.law
            if volume == math.prod(end - begin for begin, end in box) and are_disjoint([one for one, _, _ in inside])
            else None
        )

    def _one(self, content: Content, own: Box, box: Box) -> Law:
        """The law of a box in one piece."""
        _refuse(content)
        shape = tuple(end - begin for begin, end in box)
        if isinstance(content, Values):
            inner = tuple(slice(a - c, b - c) for (a, b), (c, _) in zip(box, own, strict=True))
            held = content.values.reshape(tuple(end - begin for begin, end in own))
            return given(held[inner])
        assert isinstance(content, Lawful)
        if own != box and not _merges(content.law):
            raise NoLawError(f"a part of a {type(content.law).__name__}, whose rest was written over ({content.where})")
        return _checked(content.law, shape)

    def _torn(self, inside: list[tuple[Box, Content, Box]]) -> str:
        """What is said of pieces that no cuts along one axis separate."""
        for _, content, _ in inside:
            if isinstance(content, Lawful) and not _merges(content.law):
                return f"a part of a {type(content.law).__name__}, whose rest was written over ({content.where})"
        return f"pieces that lie over each other ({inside[-1][1].where})"

    def _splits(self, one: Box, content: Content, axis: int, cuts: list[int]) -> bool:
        """Whether cuts along an axis would tear a law that is of a whole shape."""
        whole_only = isinstance(content, Lawful) and not _merges(content.law)
        return whole_only and any(one[axis][0] < cut < one[axis][1] for cut in cuts)


def _merges(law: Law) -> bool:
    """Whether the elements of two neighbouring pieces of a law are those of one."""
    return isinstance(law, IndependentLaw) or (
        isinstance(law, laws.Blocks) and all(_merges(part) for _, part in law.parts)
    )


def _padded(law: Law) -> Law:
    """A table with one row of zeros, where blocks are that."""
    if not isinstance(law, laws.Blocks) or law.axis != 0 or not 2 <= len(law.parts) <= 3:
        return law
    zeros = [i for i, (size, part) in enumerate(law.parts) if size == 1 and _is_zero(part)]
    rest = [part for i, (_, part) in enumerate(law.parts) if i not in zeros]
    if len(zeros) != 1 or not isinstance(rest[0], IndependentLaw) or isinstance(rest[0], laws.Constant):
        return law
    if any(part != rest[0] for part in rest):
        return law
    return laws.Padded(rest[0], sum(size for size, _ in law.parts[: zeros[0]]))


def _is_zero(law: Law) -> bool:
    return isinstance(law, laws.Constant) and law.value == 0 and math.copysign(1.0, law.value) > 0
