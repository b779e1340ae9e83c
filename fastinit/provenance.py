"""How the tensors of a file were drawn, and what edits have made of them: the metadata that says so.

    fastinit.laws    tensors that are as drawn from the file's own seed under their own names: name -> law
    fastinit.edited  tensors that `edit` changed: name -> {"how": [...], "drawn": [...]}

Where a tensor was overwritten in place, its header could not grow, and a file beside it has the same: w.safetensors has
w.safetensors.edited.json, with the digest of the header that it speaks of. It counts before the header.

`how` lists the operations in their order. `drawn` lists the stretches whose elements can still be drawn again:
elements [at, at + count) of the tensor, row by row, are elements [first, first + count) of a tensor of `shape` that has
this `law`, drawn from `seed` under `name`.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from fastinit.address import LARGEST_TENSOR, STREAM
from fastinit.blocks import unit
from fastinit.files.layout import MOST_DIMENSIONS
from fastinit.files.recorded import entries, recorded
from fastinit.files.safetensors import LARGEST_HEADER, Header, Slot, refuse, unique
from fastinit.laws.law import Law, ShapedLaw
from fastinit.laws.law_json import from_json, to_json
from fastinit.laws.replayed import cost_of
from fastinit.plan import Plan, Tensor

EDITED = "fastinit.edited"
BESIDE = ".edited.json"
SEED = re.compile("[0-9]{1,20}")


@dataclass(frozen=True)
class Span:
    """Elements [at, at + count) of a tensor are elements [first, first + count) of `drawn`, from `seed`."""

    at: int
    first: int
    count: int
    drawn: Tensor
    seed: int

    @classmethod
    def whole(cls, tensor: Tensor, seed: int) -> Span:
        """All elements of a tensor that is as drawn."""
        return cls(0, 0, tensor.elements, tensor, seed)

    @property
    def can_be_drawn(self) -> bool:
        """Whether it can be drawn alone: whole rows of what is cut into rows, and all of what cannot be cut."""
        step = unit(self.drawn)
        if step is None:
            return self.at == self.first == 0 and self.count == self.drawn.elements
        return self.first % step == 0 and self.count % step == 0

    def within(self, first: int, count: int) -> Span | None:
        """Its share of elements [first, first + count), counted from `first`; None where there is none."""
        begin, end = max(self.at, first), min(self.at + self.count, first + count)
        if begin >= end and not (self.count == 0 and self.drawn.elements == 0):
            return None
        return Span(begin - first, self.first + begin - self.at, end - begin, self.drawn, self.seed)

    def to_json(self) -> dict[str, Any]:
        """As the metadata has it; a seed has more digits than some readers of JSON keep."""
        return {
            "at": self.at,
            "first": self.first,
            "count": self.count,
            "seed": str(self.seed),
            "name": self.drawn.name,
            "shape": list(self.drawn.shape),
            "law": to_json(self.drawn.law),
        }


@dataclass(frozen=True)
class Edited:
    """What edits did to a tensor, in their order, and what of it can still be drawn again."""

    how: tuple[Mapping[str, Any], ...]
    spans: tuple[Span, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As the metadata has it."""
        return {"how": [dict(one) for one in self.how], "drawn": [span.to_json() for span in self.spans]}


@dataclass(frozen=True)
class File:
    """A file, its header, and what its metadata says: seed, the tensors whose law it knows, and those edited.

    `beside` are those of the edited ones that a file beside it speaks of.
    """

    path: Path
    header: Header
    seed: int | None
    known: Mapping[str, Tensor]
    edited: Mapping[str, Edited] = field(default_factory=dict)
    beside: Mapping[str, Edited] = field(default_factory=dict)

    @property
    def elements(self) -> int:
        """Elements of all tensors."""
        return sum(slot.elements for slot in self.header.slots.values())

    @property
    def bytes(self) -> int:
        """What they take."""
        return self.header.size - len(self.header.text)

    def spans_of(self, name: str) -> tuple[Span, ...]:
        """What of a tensor can be drawn again."""
        if name in self.edited:
            return self.edited[name].spans
        if name in self.known and self.seed is not None:
            return (Span.whole(self.known[name], self.seed),)
        return ()


def file_of(path: Path, header: Header, *, foreign: bool = False) -> File:
    """What the metadata of a file says, each law checked against its tensor.

    foreign  also a file that fastinit did not write, of which nothing is known

    Raises SafetensorsError where the metadata is damaged, or of a stream that this version does not compute.
    """
    said = header.metadata
    ours = "fastinit.seed" in said or "fastinit.laws" in said
    overwritten = _beside(path, header)
    if not ours and EDITED not in said and (foreign or overwritten):
        return File(path, header, None, {}, overwritten, overwritten)
    needed = ("fastinit.stream", "fastinit.seed", "fastinit.laws") if ours or EDITED not in said else ()
    for key in (*needed, "fastinit.stream"):
        if key not in said:
            refuse(
                path,
                f"has no {key} in its metadata, so nobody can tell what it began as: fastinit did not write it, or a "
                "program that saved it since dropped the metadata (save_file(tensors, path, metadata) keeps it). "
                "Where you know it, say it: verify(path, plan=..., seed=...), `fastinit verify --plan FILE --seed N`",
            )
    if said["fastinit.stream"] != STREAM:
        refuse(path, f"was drawn from the stream {said['fastinit.stream']!r:.100}; this version computes {STREAM!r}")
    seed = None
    if needed:
        text = said["fastinit.seed"]
        seed = _seed(text)
        if seed is None:
            refuse(path, f"has damaged metadata: fastinit.seed is {text!r:.100}, no integer in [0, 2^64)")
    known = _laws(path, header, said["fastinit.laws"]) if needed else {}
    edited = _edits(path, header, said.get(EDITED, "{}"))
    for name in edited:
        if name in known:
            refuse(path, f"has the tensor {name!r:.100} among its laws and among what was edited; it is one of them")
    return File(path, header, seed, known, edited | overwritten, overwritten)


def file_as_planned(path: Path, header: Header, plan: Plan, seed: int) -> File:
    """A file whose tensors are those of a plan, whatever its metadata says, or does not.

    Raises SafetensorsError where a tensor has another shape or dtype than the plan gives it.
    """
    known = {tensor.name: tensor for tensor in plan.tensors if tensor.name in header.slots}
    for name, tensor in known.items():
        slot = header.slots[name]
        said = f"has the tensor {name!r:.100} with"
        if slot.shape != tensor.shape:
            refuse(path, f"{said} shape {slot.shape}; the plan has shape {tensor.shape}")
        if slot.dtype != tensor.dtype:
            refuse(
                path,
                f"{said} dtype {slot.dtype}; the plan has dtype {tensor.dtype}; a plan of the file's dtype is needed "
                f"(`fastinit verify` and `fastinit plan` take --dtype {slot.dtype})",
            )
    return File(path, header, seed, known)


def _laws(path: Path, header: Header, text: str) -> dict[str, Tensor]:
    """The tensors that fastinit.laws speaks of."""
    known: dict[str, Tensor] = {}
    wrong = ""
    try:
        for name, law in recorded(text):
            slot = header.slots.get(name)
            if slot is None:
                wrong = wrong or f"does not hold the tensor {name!r:.100}, whose law its metadata has"
                break
            try:
                known[name] = _known(name, slot, law)
            except (TypeError, ValueError, ArithmeticError, RecursionError) as error:
                what = f"does not fit the tensor {name!r:.100}: {error!s:.500}"
                wrong = wrong or f"has a law in its metadata that {what}"
    except TypeError:
        wrong = "has damaged metadata: fastinit.laws is no object of names and laws"
    except ValueError as error:
        wrong = f"is damaged: fastinit.laws is no JSON ({error!s:.200})"
    if wrong:
        refuse(path, wrong)
    return known


def _known(name: str, slot: Slot, law: Law | Exception) -> Tensor:
    """A tensor of the file and its law, checked against each other."""
    if isinstance(law, Exception):
        raise law
    tensor = Tensor(name, slot.shape, slot.dtype, law)
    if isinstance(law, ShapedLaw) and len(slot.shape) > MOST_DIMENSIONS:
        raise ValueError(f"it has {len(slot.shape)} dimensions; NumPy has at most {MOST_DIMENSIONS}")
    return tensor


def replaying_allowed(elements: int) -> int:
    """How many elements the expressions of a file or a checkpoint with so many of its own may compute.

    Of a stranger's file a few characters could ask for an hour. The model's own expressions draw again what stands
    beside them in the checkpoint, in some ten steps.
    """
    return max(64 * elements, 1 << 22)


def refuse_costly(files: Sequence[File]) -> None:
    """Refuse a checkpoint whose laws compute far more than it holds."""
    left = allowed = replaying_allowed(sum(file.elements for file in files))
    for file in files:
        for name in file.header.slots:
            left -= sum(cost_of(span.drawn.law) for span in file.spans_of(name))
            if left < 0:
                refuse(
                    file.path,
                    f"has laws that compute more than {allowed:,} elements up to the tensor {name!r:.100}, 64 for each "
                    "that the checkpoint holds: no model's code does",
                )


def beside(path: Path) -> Path:
    """The file that says what was overwritten in another."""
    return path.with_name(path.name + BESIDE)


def beside_text(header: Header, edited: Mapping[str, Edited]) -> bytes:
    """Its content."""
    said = {name: one.to_json() for name, one in edited.items()}
    content = {"of": _digest(header), "edited": json.dumps(said, ensure_ascii=False, sort_keys=True)}
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def _digest(header: Header) -> str:
    return blake2b(header.text, digest_size=32).hexdigest()


def _beside(path: Path, header: Header) -> dict[str, Edited]:
    """What the file beside says; nothing where there is none, or it speaks of a file that was there before."""
    place = beside(path)
    if not place.is_file():
        return {}
    if place.stat().st_size > LARGEST_HEADER:
        refuse(place, f"has more than {LARGEST_HEADER:,} bytes; it is no record of what was overwritten")
    try:
        content = json.loads(place.read_bytes().decode(), object_pairs_hook=unique)
        of, text = content["of"], content["edited"]
    except (ValueError, RecursionError, LookupError, TypeError) as error:
        refuse(place, f"is damaged: it does not say what was overwritten in {path.name} ({error!s:.200})")
    if not isinstance(text, str):
        refuse(place, f"is damaged: it does not say what was overwritten in {path.name}")
    return _edits(place, header, text) if of == _digest(header) else {}


def edits_of(path: Path, header: Header) -> dict[str, Edited]:
    """The tensors that fastinit.edited speaks of, and the file beside; SafetensorsError where one is damaged."""
    return _edits(path, header, header.metadata.get(EDITED, "{}")) | _beside(path, header)


def is_edited(path: Path, header: Header) -> bool:
    """Whether an edit left its record in the file or beside it."""
    return EDITED in header.metadata or beside(path).is_file()


def _edits(path: Path, header: Header, text: str) -> dict[str, Edited]:
    """The edited tensors of an object of JSON."""
    edited: dict[str, Edited] = {}
    wrong = ""
    try:
        for name, entry, _ in entries(text):
            slot = header.slots.get(name)
            if slot is None:
                wrong = f"does not hold the tensor {name!r:.100}, of which its metadata says that it was edited"
                break
            try:
                edited[name] = _edited(slot, entry)
            except (TypeError, ValueError, ArithmeticError, RecursionError, LookupError) as error:
                wrong = f"has damaged metadata: what was edited of the tensor {name!r:.100}: {error!s:.500}"
                break
    except TypeError:
        wrong = f"has damaged metadata: {EDITED} is no object of names and edits"
    except ValueError as error:
        wrong = f"is damaged: {EDITED} is no JSON ({error!s:.200})"
    if wrong:
        refuse(path, wrong)
    return edited


def _edited(slot: Slot, entry: Any) -> Edited:
    """One entry, its stretches within the tensor, in order, and each within what it was drawn as."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("how"), list):
        raise ValueError('it is no object of "how" and "drawn"')
    if not all(isinstance(one, Mapping) and isinstance(one.get("op"), str) for one in entry["how"]):
        raise ValueError('"how" is no list of operations')
    spans: list[Span] = []
    end = 0
    drawn = entry.get("drawn", [])
    if not isinstance(drawn, list):
        raise ValueError('"drawn" is no list')
    for one in drawn:
        seed = _seed(one["seed"])
        numbers = at, first, count = one["at"], one["first"], one["count"]
        if seed is None or any(type(number) is not int or not 0 <= number <= LARGEST_TENSOR for number in numbers):
            raise ValueError(f"a stretch of it is {one!r:.200}")
        tensor = Tensor(one["name"], tuple(one["shape"]), slot.dtype, from_json(one["law"]))
        if isinstance(tensor.law, ShapedLaw) and len(tensor.shape) > MOST_DIMENSIONS:
            raise ValueError(f"it has {len(tensor.shape)} dimensions; NumPy has at most {MOST_DIMENSIONS}")
        if at < end or at + count > slot.elements or first + count > tensor.elements:
            raise ValueError(f"a stretch of it, {at} to {at + count}, is not within it, or overlaps the one before")
        span, end = Span(at, first, count, tensor, seed), at + count
        if not span.can_be_drawn:
            raise ValueError(f"a stretch of it, {at} to {at + count}, cannot be drawn alone by its law")
        spans.append(span)
    return Edited(tuple(entry["how"]), tuple(spans))


def _seed(text: Any) -> int | None:
    """A seed as the metadata has it; None where it is none."""
    if not isinstance(text, str) or not SEED.fullmatch(text) or int(text) >= 1 << 64:
        return None
    return int(text)


def to_metadata(laws: Mapping[str, Law], edited: Mapping[str, Edited]) -> Iterator[tuple[str, str]]:
    """The two entries of a file's metadata."""
    compact: Any = {"separators": (",", ":"), "ensure_ascii": False, "sort_keys": True}
    yield "fastinit.laws", json.dumps({name: to_json(law) for name, law in laws.items()}, **compact)
    if edited:
        yield EDITED, json.dumps({name: one.to_json() for name, one in edited.items()}, **compact)


def in_words(how: Iterable[Mapping[str, Any]]) -> str:
    """What edits did, for a report: "resize (rows 32000 33024, seed 7), cast (to bfloat16)"."""
    said = []
    for one in how:
        numbers = []
        for key, value in one.items():
            if key == "op":
                continue
            with contextlib.suppress(ValueError, TypeError):
                value = repr(from_json(value)) if isinstance(value, Mapping) else value
            shown = " to ".join(map(str, value)) if isinstance(value, list) else str(value)
            numbers.append(f"{key} {shown}")
        said.append(f"{one['op']} ({', '.join(numbers)})" if numbers else str(one["op"]))
    return ", ".join(said)
