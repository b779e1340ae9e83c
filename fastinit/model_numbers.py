"""What the names and shapes of a model say of it: its blocks, its width; and the pieces that recipes are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from fastinit.choices import RuleScheme
from fastinit.plan import Rule, Shapes


def numbered_blocks(shapes: Shapes, pattern: str) -> list[int]:
    """The numbers of the blocks, which `pattern` captures at the beginning of a name."""
    return sorted({int(found[1]) for name in shapes if (found := re.match(pattern, name))})


def number_of_layers(shapes: Shapes, pattern: str, end: str, given: float | None) -> float:
    """How many blocks the whole model has; `end` matches what stands behind the last of them."""
    blocks = numbered_blocks(shapes, pattern)
    if given is not None:
        if blocks and blocks[-1] >= given:
            raise ValueError(f"layers is {given}, but the names have a block {blocks[-1]} (they count from 0)")
        return given
    if not blocks:
        raise ValueError(f"layers cannot be read: no name begins with {pattern!r}; pass layers, those of the model")
    # Of a pipeline stage the count would give a wrong scale, silently.
    if blocks != list(range(len(blocks))) or not any(re.fullmatch(end, name) for name in shapes):
        raise ValueError(
            f"layers cannot be read: the {len(blocks)} blocks from {blocks[0]} to {blocks[-1]} are a part of a model, "
            f"which begins with block 0 and ends with {end!r}; pass layers, those of the whole model"
        )
    return len(blocks)


def length_of(shapes: Shapes, pattern: str, what: str, given: float | None) -> float:
    """The last dimension of the tensors whose whole name matches; `what` is the number it is."""
    found = (
        {given}
        if given is not None
        else {entry["shape"][-1] for name, entry in shapes.items() if re.fullmatch(pattern, name) and entry["shape"]}
    )
    if len(found) != 1:
        read = f"tensors that match {pattern!r} end in {sorted(found)}" if found else f"no name matches {pattern!r}"
        raise ValueError(f"{what} cannot be read: {read}; pass {what}")
    number = float(found.pop())
    if number <= 0:
        raise ValueError(f"{what} is {number:g}; it must be positive")
    return number


def rule(match: str, scheme: RuleScheme, **numbers: Any) -> Rule:
    """The rule of this scheme and its numbers."""
    return Rule(match, scheme, numbers)


def embedding_rule(match: str, std: float, padding: float | None) -> Rule:
    """An embedding of normals; `padding` is the row of the padding token, which is zero."""
    if padding is None:
        return rule(match, "normal", std=std)
    if padding != int(padding):
        raise ValueError(f"padding is {padding}; it is the number of a row, as the configuration's pad_token_id")
    return rule(match, "normal", std=std, padding_idx=int(padding))


def exactly(names: Iterable[str]) -> str:
    """A pattern of these names and no others; of none, it matches nothing."""
    return "|".join(map(re.escape, names)) or r"(?!)"
