"""Give an embedding more rows, or fewer, and with it the output head, its bias, and vocab_size in config.json."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fastinit.blocks import unit
from fastinit.dtypes import FORMATS
from fastinit.edit.contents import Beginning, Content, Drawn, Estimated, Joined
from fastinit.edit.operations import UNSAID, Laws, Operation
from fastinit.edit.state import Entry, State
from fastinit.laws import Law
from fastinit.laws.law import finite
from fastinit.laws.law_json import to_json
from fastinit.plan import Tensor, some_of

# The factor of transformers' mean_resizing (modeling_utils.py, _init_added_embeddings_weights_with_mean): new rows stay
# close to the mean, and differ enough to be told apart.
COVARIANCE = 1e-9
# How embeddings, output heads and their biases are called in transformers.
VOCABULARY = re.compile(
    r"(.*\.)?(embed_tokens|tok_embeddings|word_embeddings|wte|shared|embed_in|embed|embedding|embeddings|token_embd"
    r"|lm_head|embed_out|output|output_layer|head|predictions\.decoder|decoder)\.(weight|bias)"
    r"|(.*\.)?(predictions|lm_head|generator_lm_head)\.bias"
)


@dataclass(frozen=True)
class Resize(Operation):
    """Give a tensor this many rows: an embedding, and with it every tensor of the same vocabulary.

    name       of the tensor
    rows       how many it gets: a number, or "+1000" for so many more
    laws       of the new rows, by the shape that the tensor gets; none: a normal with the mean of the old rows and
               `covariance` times their covariance, as transformers' mean_resizing has it
    covariance the factor; 0 gives the mean, 1 rows as different from each other as the old ones
    multiple   rows are rounded up to a multiple of it
    only       leave all other tensors and config.json as they are
    """

    op = "resize"
    name: str
    rows: int | str
    laws: Laws = UNSAID
    covariance: float = COVARIANCE
    multiple: int = 1
    only: bool = False

    def __post_init__(self) -> None:
        rows = self.rows
        if isinstance(rows, str) and re.fullmatch(r"[0-9]{1,18}", rows):
            rows = int(rows)
            object.__setattr__(self, "rows", rows)
        if isinstance(rows, bool) or not (
            (isinstance(rows, int) and rows > 0) or (isinstance(rows, str) and re.fullmatch(r"\+[0-9]{1,18}", rows))
        ):
            raise ValueError(f"resize {self.name!r}: rows is {rows!r}; give a number, such as 33000, or '+1000'")
        if isinstance(self.multiple, bool) or not isinstance(self.multiple, int) or self.multiple < 1:
            raise ValueError(f"resize {self.name!r}: multiple is {self.multiple!r}; give a number such as 64")
        covariance = finite(self.covariance, "resize: covariance")
        if covariance < 0:
            raise ValueError(f"resize: covariance is {covariance}; it must be zero or positive")
        object.__setattr__(self, "covariance", covariance)

    @property
    def draws(self) -> bool:
        """Whether chance has a part in it."""
        return True

    def on(self, state: State, seed: int) -> None:
        """The tensor, those of the same vocabulary, and vocab_size."""
        what = f"resize {self.name!r}"
        entry = state.get(self.name, what)
        shape = entry.content.shape
        if not shape:
            raise ValueError(f"{what}: it is a scalar, and has no rows")
        old, new = shape[0], self._target(shape[0])
        if new == old:
            state.notes.append(f"{self.name} has {old:,} rows already")
            return
        others = [] if self.only else list(self._others(state, old, what))
        state.entries[self.name], added = self._resized(state, self.name, new, seed, what)
        for name in others:
            changed, _ = self._resized(state, name, new, seed, what)
            head = state.entries[name].content
            if added is not None and _is_tied(state) and (head.shape, head.dtype) == (shape, entry.content.dtype):
                changed = replace(changed, content=Joined((new, *shape[1:]), head.dtype, (head, added)))
            state.entries[name] = changed
        if not self.only:
            _set_vocabulary(state, old, new)

    def _target(self, old: int) -> int:
        rows = old + int(self.rows) if isinstance(self.rows, str) else self.rows
        return -(-rows // self.multiple) * self.multiple

    def _others(self, state: State, old: int, what: str) -> Iterator[str]:
        """The tensors of the same vocabulary; ValueError where a tensor has as many rows, and nobody knows why."""
        unknown = []
        for name, entry in state.entries.items():
            shape = entry.content.shape
            if name == self.name or old not in shape:
                continue
            if shape[0] == old and VOCABULARY.fullmatch(name):
                yield name
            elif old in vocabularies(state.config).values():
                unknown.append(f"{name!r} {list(shape)}")
        if unknown:
            raise ValueError(
                f"{what}: {some_of(unknown)} has a side of {old:,} too, which is the size of the vocabulary in "
                "config.json, and may belong to it; resize each tensor alone (only=True, --only), and set config.json "
                "(--configure vocab_size=...)"
            )

    def _resized(self, state: State, name: str, new: int, seed: int, what: str) -> tuple[Entry, Content | None]:
        """A tensor with as many rows, and the rows that were added."""
        entry = state.entries[name]
        content = entry.content
        old, *rest = content.shape
        shape = (new, *rest)
        how: dict[str, Any] = {"rows": [old, new]}
        if new < old:
            return entry.but(Beginning(shape, content.dtype, content), op=self.op, **how), None
        if content.dtype not in FORMATS:
            raise ValueError(f"{what}: {name!r} holds {content.dtype}; rows can be added to floats")
        added: Content
        if self.laws == UNSAID:
            address = f"{name} (new rows)"
            added = Estimated((new - old, *rest), content.dtype, content, self.covariance, seed, address)
            how |= {"law": f"mean of the old rows, covariance x {self.covariance:g}", "seed": str(seed)}
        else:
            law, dtype = self.laws.for_tensors(state, [name], what, {name: shape})[name]
            if dtype != content.dtype:
                raise ValueError(f"{what}: the law of {name!r} has dtype {dtype}; cast it in an operation of its own")
            added = _rows_of(name, shape, content, law, seed, what)
            how |= {"law": to_json(law), "seed": str(seed)}
        return entry.but(Joined(shape, content.dtype, (content, added)), op=self.op, **how), added


def _rows_of(name: str, shape: tuple[int, ...], content: Content, law: Law, seed: int, what: str) -> Drawn:
    """The last rows of a tensor of this shape and law."""
    tensor = Tensor(name, shape, content.dtype, law)
    if unit(tensor) is None:
        raise ValueError(f"{what}: {law} is drawn whole, and rows cannot be added to it; take another law")
    return Drawn((shape[0] - content.shape[0], *shape[1:]), content.dtype, tensor, seed, content.elements)


def vocabularies(config: Mapping[str, Any] | None) -> dict[str, int]:
    """The sizes of vocabularies that config.json speaks of, by their keys."""
    found: dict[str, int] = {}
    for key, value in (config or {}).items():
        if key == "vocab_size" and type(value) is int:
            found[key] = value
        elif isinstance(value, Mapping) and type(value.get("vocab_size")) is int:
            found[f"{key}.vocab_size"] = value["vocab_size"]
    return found


def _is_tied(state: State) -> bool:
    """Whether config.json says that embedding and head are one tensor; a file may hold both all the same."""
    return state.config is not None and state.config.get("tie_word_embeddings") is True


def _set_vocabulary(state: State, old: int, new: int) -> None:
    """Set vocab_size where it was the number of rows; say so where it was not."""
    if state.config is None:
        if state.checkpoint.named:
            state.notes.append("config.json beside the file stays as it is; name the folder to have vocab_size set")
        return
    sizes = vocabularies(state.config)
    fitting = [key for key, size in sizes.items() if size == old]
    for key in fitting:
        state.settings[key] = new
    if not fitting:
        said = ", ".join(f"{key} is {size}" for key, size in sizes.items()) or "no vocab_size"
        state.notes.append(f"config.json stays as it is: {said}, and the tensor had {old} rows")
