"""The law of an array that a program returns, of what it holds; or why there is none."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fastinit import laws
from fastinit.files.safetensors import DTYPES
from fastinit.jax.record.contents import (
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
    draws_of,
)
from fastinit.laws import Law
from fastinit.laws.given import KINDS
from fastinit.laws.law import IndependentLaw, ShapedLaw
from fastinit.laws.law_json import to_json
from fastinit.laws.replayed import Replayed, text_of


class NoLawError(ValueError):
    """What an array holds follows no law that can be said."""


@dataclass
class Found:
    """Name -> law; name -> values that are no tensor of a file, such as a key; name -> why there is neither."""

    laws: dict[str, Law] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def laws_of(leaves: Iterable[tuple[str, Any, Content]]) -> Found:
    """The law of every array, of (name, type, content); a copy of an earlier one is one of that name."""
    found, seen = Found(), _Seen()
    for name, aval, content in leaves:
        shape = tuple(aval.shape)
        try:
            kept = _kept(content, aval)
            if kept is not None:
                found.kept[name] = kept
            else:
                law = law_of(content, shape, name)
                if jnp.issubdtype(aval.dtype, jnp.complexfloating) and not law.is_complex:
                    raise NoLawError(f"{law} of real numbers, made {aval.dtype}")
                found.laws[name] = seen.copy_of(name, shape, content, law) or law
        except (TypeError, ValueError) as error:
            found.problems[name] = str(error)
    return found


def _kept(content: Content, aval: Any) -> Any:
    """The values themselves, where no file has their dtype, or no law says them."""
    if jnp.issubdtype(aval.dtype, jax.dtypes.extended):
        if isinstance(content, Values):
            return content.array
        raise NoLawError("a key that depends on an argument; pass a key with values")
    if isinstance(content, Values) and np.asarray(content.array).size:
        array = np.asarray(content.array)
        same = (array == array.reshape(-1)[0]).all()
        if aval.dtype.name not in DTYPES or not (same or _wide(array).dtype.name in KINDS):
            return content.array
    return None


def law_of(content: Content, shape: tuple[int, ...], name: str) -> Law:
    """The law of a tensor of this shape; raises NoLawError, which says why there is none."""
    if isinstance(content, Unknown):
        raise NoLawError(f"{content.why} ({content.where})")
    if isinstance(content, Number):
        return laws.Constant(content.value)
    if isinstance(content, Values):
        return _given(np.asarray(content.array))
    if isinstance(content, Lawful):
        repeats = [axis for axis in content.repeats if shape[axis] > 1]
        return _repeated(content.law, repeats, shape, name) if repeats else content.law
    if isinstance(content, Haar):
        return _checked(_orthogonal(content, len(shape)), shape)
    if isinstance(content, Shaped):
        return _checked(content.law, shape)
    if isinstance(content, Pieces):
        return _checked(_blocks(content, shape, name), shape)
    raise NoLawError(f"{type(content).__name__} of a draw, which is none of our laws")


def _checked(law: Law, shape: tuple[int, ...]) -> Law:
    if isinstance(law, ShapedLaw):
        law.check(shape)
    return law


def _wide(array: Any) -> Any:
    """Values in a dtype that a table can have."""
    narrow = jnp.issubdtype(array.dtype, jnp.floating) and array.dtype.itemsize < 4
    return array.astype(np.float32) if narrow else array


def _given(array: Any) -> Law:
    """The law of values computed without chance: one number, or a table of them."""
    if not array.size:
        return laws.Constant(0.0)
    first = array.reshape(-1)[0]
    floats = jnp.issubdtype(array.dtype, jnp.floating)
    if (array == first).all() and not (floats and np.ptp(np.signbit(_wide(array)).view(np.uint8))):
        value = first.item()
        return laws.Constant(
            float(str(np.float32(value))) if array.dtype == np.float32 and math.isfinite(value) else value
        )
    return laws.Given.of(_wide(array))


def _repeated(law: Law, axes: list[int], shape: tuple[int, ...], name: str) -> Law:
    """One draw, which is the same along some axes: layers that are made with one key."""
    one = [1 if axis in axes else length for axis, length in enumerate(shape)]
    draw = {"draw": to_json(law), "name": f"{name}#0", "shape": one}
    return Replayed(shape, text_of({"op": "expand", "of": [draw], "shape": list(shape)}))


def _orthogonal(content: Haar, rank: int) -> Law:
    own = [axis for axis in range(rank) if axis not in content.batch]
    batch = tuple(sorted(content.batch))
    if (own and content.columns == {own[-1]}) or content.rows == {own[-1]}:
        return laws.Orthogonal(content.gain, flatten="jax", batch_axis=batch)
    if (own and content.rows == {own[0]}) or content.columns == {own[0]}:
        return laws.Orthogonal(content.gain, flatten="torch", batch_axis=batch)
    raise NoLawError(
        f"an orthogonal matrix whose rows are the axes {sorted(content.rows)} and whose columns are "
        f"{sorted(content.columns)}; ours has the last axis for its columns, or the first for its rows"
    )


def _blocks(content: Pieces, shape: tuple[int, ...], name: str) -> Law:
    parts: list[tuple[int, Law]] = []
    for size, part in content.parts:
        inner = (*shape[: content.axis], size, *shape[content.axis + 1 :])
        law = law_of(part, inner, name)
        if isinstance(law, Replayed):
            raise NoLawError("a part of it repeats one draw")
        if parts and parts[-1][1] == law and isinstance(law, IndependentLaw):
            parts[-1] = (parts[-1][0] + size, law)
        else:
            parts.append((size, law))
    return parts[0][1] if len(parts) == 1 else _padded(laws.Blocks(parts, content.axis))


def _padded(law: laws.Blocks) -> Law:
    """A table with one row of zeros, where blocks are that."""
    zeros = [i for i, (size, part) in enumerate(law.parts) if size == 1 and part == laws.Constant(0.0)]
    rest = [part for i, (_, part) in enumerate(law.parts) if i not in zeros]
    if law.axis != 0 or len(zeros) != 1 or not rest or any(part != rest[0] for part in rest):
        return law
    if not isinstance(rest[0], IndependentLaw) or isinstance(rest[0], laws.Constant):
        return law
    return laws.Padded(rest[0], sum(size for size, _ in law.parts[: zeros[0]]))


# --- what shares a draw -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Use:
    name: str
    shape: tuple[int, ...]
    content: Any
    whole: bool

    @property
    def moves(self) -> tuple[Hashable, ...]:
        moves: tuple[Hashable, ...] = getattr(self.content, "moves", ())
        return moves


class _Seen:
    """The draws of the tensors so far."""

    def __init__(self) -> None:
        self.uses: dict[Draw, list[_Use]] = {}

    def copy_of(self, name: str, shape: tuple[int, ...], content: Content, law: Law) -> Law | None:
        """The law as a copy of an earlier tensor's; None where nothing is shared. What else is shared is refused."""
        copied = None
        for one in draws_of(content):
            use = _Use(name, shape, one, one is content)
            others = self.uses.setdefault(one.draw, [])  # type: ignore[attr-defined]
            for other in others:
                if other.name == name or apart(use.moves, other.moves):
                    continue
                if not (use.whole and other.whole and _same(use, other)):
                    raise NoLawError(
                        f"it is made of the draw of {other.name!r} too, by the same key, and is no copy of it; give it "
                        "a key of its own, or a rule"
                    )
                copied = copied or laws.Copy(law, other.name)
            others.append(use)
        return copied


def _same(use: _Use, other: _Use) -> bool:
    """Whether each element of the one is that of the other, up to a scale that our laws have too."""
    one, two = use.content, other.content
    if use.shape != other.shape or use.moves != other.moves or type(one) is not type(two):
        return False
    if isinstance(one, Lawful):
        return one.law == two.law or (type(one.law) is type(two.law) and one.scale * two.scale > 0)
    return bool(one == two)
