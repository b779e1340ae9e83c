"""The laws of all tensors of a model, of one recording: under their names, copies under the name of what they copy."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from fastinit import laws
from fastinit.laws import Law
from fastinit.torch.record.answer import Answer, NoLawError
from fastinit.torch.record.boxes import Box, box_of
from fastinit.torch.record.contents import Draw, Lawful, Region
from fastinit.torch.record.recording import Recording
from fastinit.torch.record.replay import replay_of

OWN = "#"  # between the name of a tensor and the number of a draw of which it is computed


@dataclass
class Found:
    """Name -> law, and name -> why there is none."""

    laws: dict[str, Law] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Use:
    """A draw, or a part of one, in a tensor."""

    name: str
    shape: tuple[int, ...]
    content: Lawful
    box: Box

    @property
    def whole(self) -> bool:
        """Whether the tensor is nothing else."""
        return self.box == tuple((0, n) for n in self.shape)


def laws_of(
    recording: Recording, tensors: Iterable[tuple[str, Tensor]], known: Mapping[str, Law] | None = None
) -> Found:
    """The law of every tensor; names in the order in which they may be copied from.

    Where a law is a `known` one of the name but for the rounding of its numbers, it is the known one: a model has the
    same numbers whether it was recorded or not.
    """
    known = known or {}
    tensors = list(tensors)
    found = Found()
    uses: dict[int, list[_Use]] = {}
    answers: dict[str, Answer] = {}
    for name, tensor in tensors:
        try:
            answers[name] = recording.answer(tensor)
        except (TypeError, ValueError) as error:
            found.problems[name] = str(error)
    addresses = _Addresses(answers)
    for name, tensor in tensors:
        if name not in answers:
            continue
        try:
            answer = answers[name]
            law = answer.law or addresses.law(name, tuple(tensor.shape), answer)
            if name in known and nearly(law, known[name]):
                law = known[name]
            law = _copy_of(name, tuple(tensor.shape), answer, law, uses) or law
        except (TypeError, ValueError) as error:
            found.problems[name] = str(error)
        else:
            found.laws[name] = law
    return found


def _copy_of(name: str, shape: tuple[int, ...], answer: Answer, law: Law, uses: dict[int, list[_Use]]) -> Law | None:
    """The law as a copy of an earlier tensor's; None where nothing is shared. What else is shared is refused."""
    copied = None
    for content, box in answer.draws:
        assert content.draw is not None
        use = _Use(name, shape, content, box)
        others = uses.setdefault(id(content.draw.root), [])
        for other in others:
            if _apart(use, other):
                continue
            if not (use.whole and other.whole and _same_elements(use, other)):
                raise NoLawError(f"it shares a part of its draw with {other.name!r} ({content.where})")
            copied = copied or laws.Copy(law, other.name)
        others.append(use)
    return copied


class _Addresses:
    """The address of a draw of which something is computed: the tensor that it is, else that of the first computed."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.owners: dict[int, str] = {}  # the draw is the tensor, whole and as it was drawn
        self.roots: dict[int, str] = {}  # of all draws that a tensor holds
        self.own: dict[int, tuple[Draw, str]] = {}
        self.counts: Counter[str] = Counter()
        for name, answer in answers.items():
            for content, _ in answer.draws:
                draw = content.draw
                assert draw is not None
                self.roots.setdefault(id(draw.root), name)
                if answer.law == draw.law and not content.parts and (content.scale, content.shift) == (1.0, 0.0):
                    self.owners.setdefault(id(draw), name)

    def law(self, name: str, shape: tuple[int, ...], answer: Answer) -> Law:
        """The law of a tensor that is computed."""
        assert answer.replay is not None
        return replay_of(answer.replay, shape, lambda draw: self.of(draw, name))

    def of(self, draw: Draw, name: str) -> str:
        """The address of a draw, for what is computed of it under this name."""
        if id(draw) in self.owners:
            return self.owners[id(draw)]
        if id(draw.root) in self.roots:
            raise NoLawError(f"it shares a draw with {self.roots[id(draw.root)]!r} ({draw.where})")
        for other, _ in self.own.values():
            if other.root is draw.root and other is not draw:
                raise NoLawError(f"a draw of which something else is computed too ({draw.where})")
        if id(draw) not in self.own:
            self.own[id(draw)] = draw, f"{name}{OWN}{self.counts[name]}"
            self.counts[name] += 1
        return self.own[id(draw)][1]


def renamed(law: Law, rename: Callable[[str], str]) -> Law:
    """A law that refers to other tensors, by their other names."""
    if isinstance(law, laws.Copy):
        return laws.Copy(law.values, rename(law.name))
    if isinstance(law, laws.Replayed):
        return law.renamed(lambda name: rename(name) if OWN not in name else _own_renamed(name, rename))
    return law


def _own_renamed(name: str, rename: Callable[[str], str]) -> str:
    place, _, number = name.rpartition(OWN)
    return f"{rename(place)}{OWN}{number}" if place else name


def nearly(law: Law, other: Law) -> bool:
    """Whether two laws are one but for the last bits of their numbers."""
    if type(law) is not type(other):
        return False
    for part in dataclasses.fields(law):  # type: ignore[arg-type]
        one, two = getattr(law, part.name), getattr(other, part.name)
        if isinstance(one, Law):
            if not nearly(one, two):
                return False
        elif isinstance(one, float) and isinstance(two, float):
            if not math.isclose(one, two, rel_tol=1e-12, abs_tol=0.0):
                return False
        elif one != two:
            return False
    return True


def _same_elements(use: _Use, other: _Use) -> bool:
    """Whether each element of the one is that of the other, up to a scale and a shift that our laws have too."""
    if use.content.draw is not other.content.draw or use.shape != other.shape:
        return False
    if use.content.parts != other.content.parts:
        return False
    if use.content.law == other.content.law and use.content.scale == other.content.scale:
        return True
    affine = isinstance(use.content.law, laws.Normal | laws.Uniform | laws.TruncatedNormal)
    return affine and use.content.scale * other.content.scale > 0


def _apart(use: _Use, other: _Use) -> bool:
    """Whether two parts of one draw have no element in common, as far as that is plain to see."""
    one, two = use.content.parts, other.content.parts
    if len(one) < 2 or len(two) < 2 or one[0] != two[0] or use.content.draw is not other.content.draw:
        return False
    return not _meet(one[0], one[1], two[1])


def _meet(whole: Region, one: Region, two: Region) -> bool:
    """Whether two regions of a draw may share an element."""
    boxes = box_of(whole, one), box_of(whole, two)
    if boxes[0] is None or boxes[1] is None:
        return one.meets(two)
    return all(a < d and c < b for (a, b), (c, d) in zip(boxes[0], boxes[1], strict=True))
