"""A plan: which tensors a checkpoint has, and the law of each. From rules and shapes, from JSON, from Python."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from fastinit.address import LARGEST_TENSOR, Shard, stream_id
from fastinit.choices import RuleScheme, unknown
from fastinit.dtypes import FORMATS, storage_dtype
from fastinit.files.safetensors import DTYPES, LARGEST_HEADER, read_header, unique
from fastinit.files.small import save
from fastinit.formatting import printable, size
from fastinit.formatting import some_of as some_of
from fastinit.laws import Copy, Law
from fastinit.laws.blocks import check_tensor
from fastinit.laws.law_json import from_json, to_json
from fastinit.scheme_names import SCHEMES, law_of

VERSION = "fastinit-plan-1"
SKIP: Final = "skip"
DEFAULT: Final = "default"  # of fastinit.torch
LARGEST_PLAN = 2**63 - 9 - LARGEST_HEADER  # bytes: all may go into one file, whose offsets are signed
Shapes = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Tensor:
    """A tensor of a plan: its name, shape, dtype (by name) and law, which are checked against each other.

    address  the name under which it is drawn: its own, or that of the tensor of which its law is a `Copy`
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    law: Law
    address: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.law, Copy):
            object.__setattr__(self, "address", self.law.name)
            object.__setattr__(self, "law", self.law.values)
        elif not self.address:
            object.__setattr__(self, "address", self.name)
        if not isinstance(self.name, str):
            raise TypeError(f"a tensor is called {self.name!r}; a name is a string")
        stream_id(self.name)  # refuse what UTF-8 cannot encode
        if self.name == "__metadata__":
            raise ValueError("a tensor cannot be called '__metadata__'; safetensors keeps that name. Rename the tensor")
        object.__setattr__(self, "shape", _exact(f"tensor {self.name!r}", self.shape))
        if not isinstance(self.dtype, str) or self.dtype not in DTYPES:
            raise ValueError(f"tensor {self.name!r}: dtype {self.dtype!r} is unknown; use one of {', '.join(DTYPES)}")
        if not isinstance(self.law, Law):
            raise TypeError(f"tensor {self.name!r}: law is {self.law!r}; pass one of fastinit.laws")
        try:
            self._check()
        except (TypeError, ValueError) as error:
            raise type(error)(f"tensor {self.name!r} of shape {self.shape}: {error}") from error

    def _check(self) -> None:
        format = FORMATS.get(self.dtype)
        if format is None and self.law.floats_only:
            raise TypeError(f"{type(self.law).__name__} draws floats, and dtype is {self.dtype}; use a constant")
        if math.prod(self.shape) == 0:
            return
        check_tensor(self.law, self.shape, storage_dtype(self.dtype), format)

    @property
    def said(self) -> Law:
        """The law as a plan and a file say it: with the other address, if it is a copy."""
        return self.law if self.address == self.name else Copy(self.law, self.address)

    @cached_property
    def elements(self) -> int:
        """How many elements the tensor has."""
        return math.prod(self.shape)

    @cached_property
    def bytes(self) -> int:
        """What they take in a file."""
        return self.elements * DTYPES[self.dtype][1]


@dataclass(frozen=True)
class Rule:
    """Tensors whose whole name matches a regular expression take this scheme, with these numbers, layout and dtype.

    The scheme "skip" leaves them out of the plan; "default", for `fastinit.torch` alone, is the law of their layer.
    `dtype` None keeps that of the shapes. Raises ValueError for another name of a scheme, and names the nearest.
    """

    match: str
    scheme: RuleScheme
    numbers: Mapping[str, Any] = field(default_factory=dict)
    dtype: str | None = None

    def __post_init__(self) -> None:
        for what, value in (("match", self.match), ("scheme", self.scheme), ("dtype", self.dtype)):
            if not isinstance(value, str) and not (what == "dtype" and value is None):
                raise TypeError(f"rule {self.match!r}: {what} is {value!r}; pass a string")
        if self.scheme not in (*SCHEMES, SKIP, DEFAULT):
            raise ValueError(unknown(f"rule {self.match!r}: scheme", self.scheme, (*SCHEMES, SKIP, DEFAULT)))
        try:
            re.compile(self.match)
        except (re.error, OverflowError, RecursionError) as error:  # two that the parser of expressions lets through
            raise ValueError(f"rule {self.match!r} is no regular expression: {error}") from None

    def law(self, name: str, shape: tuple[int, ...]) -> Law:
        """The law of a tensor; errors name rule and tensor. Fans are those of `shape`, which is the whole tensor's."""
        try:
            return law_of(self.scheme, self.numbers, shape)
        except (TypeError, ValueError) as error:
            raise type(error)(f"rule {self.match!r}, tensor {name!r} of shape {shape}: {error}") from error


@dataclass(frozen=True, repr=False)
class Plan:
    """Tensors in their order, and `tied`: other names of some of them, which are written once.

    origin  where the laws come from, as an object of JSON that files and plans keep: "laws", how many of each source,
            and "libraries", their versions. It is no part of the digest, nor of what makes two plans equal
    """

    tensors: tuple[Tensor, ...]
    tied: Mapping[str, str] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict, compare=False, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", tuple(self.tensors))
        names = [tensor.name for tensor in self.tensors]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"the plan has two tensors called {twice!r}; names are addresses, so they must differ")
        if self.bytes > LARGEST_PLAN:
            raise ValueError(f"the plan has {self.bytes:,} bytes, and no file has 2**63; leave tensors out")
        for alias, name in self.tied.items():
            stream_id(alias)  # refuse what UTF-8 cannot encode
            if alias in set(names) or name not in set(names):
                raise ValueError(
                    f"tied: {alias!r} is said to be {name!r}; the first must be no tensor of the plan, the second one"
                )

    @cached_property
    def bytes(self) -> int:
        """Bytes of all elements."""
        return sum(tensor.bytes for tensor in self.tensors)

    def __repr__(self) -> str:
        return f"<{self._said}: {some_of([printable(tensor.name) for tensor in self.tensors], 3)}>"

    def _repr_html_(self) -> str:
        from fastinit import formatting, notebook

        rows = [
            (notebook.safe(one.name), formatting.shape(one.shape), one.dtype, notebook.safe(formatting.law(one.law)))
            for one in self.tensors
        ]
        return notebook.sheet(self._said, ("tensor", "shape", "dtype", "law"), rows, rest="plan.tensors has them")

    @property
    def _said(self) -> str:
        """How much the plan holds."""
        count, elements = len(self.tensors), sum(tensor.elements for tensor in self.tensors)
        return f"Plan of {count:,} tensor{'s' * (count != 1)}, {elements:,} elements, {size(self.bytes)}"

    def to_json(self) -> dict[str, Any]:
        """The plan as an object that `json` can write."""
        tensors = [
            {"name": one.name, "shape": list(one.shape), "dtype": one.dtype, "law": to_json(one.said)}
            for one in self.tensors
        ]
        said = {"origin": dict(self.origin)} if self.origin else {}
        return {"plan": VERSION, "tensors": tensors, "tied": dict(sorted(self.tied.items())), **said}

    @classmethod
    def from_json(cls, content: Any) -> Plan:
        """The plan of such an object; ValueError or TypeError where it is none."""
        if not isinstance(content, Mapping) or content.get("plan") != VERSION:
            raise ValueError(f'this is no plan; one is a JSON object with "plan": "{VERSION}", "tensors" and "tied"')
        tensors, tied = content.get("tensors"), content.get("tied", {})
        if not isinstance(tensors, list):
            raise ValueError(f'"tensors" of the plan is {tensors!r}; it must be a list of objects')
        if not isinstance(tied, Mapping) or not all(isinstance(name, str) for name in tied.values()):
            raise ValueError(f'"tied" of the plan is {tied!r}; it must be an object of names')
        origin = content.get("origin", {})
        if not isinstance(origin, Mapping):
            raise ValueError(f'"origin" of the plan is {origin!r:.100}; it must be an object')
        return cls(tuple(_tensor_of(entry) for entry in tensors), dict(tied), origin=dict(origin))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan as JSON; the file is whole, or the one that was there."""
        save(path, (json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n").encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Plan:
        """Read a plan that `save` wrote; ValueError or TypeError, which names the file, where it is none."""
        content = _json_in(path)
        try:
            return cls.from_json(content)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{path}: {error}") from error

    @classmethod
    def from_rules(
        cls,
        shapes: Shapes,
        rules: str | Iterable[Rule],
        *,
        dtype: str | None = None,
        tied: Mapping[str, str] | None = None,
    ) -> Plan:
        """The plan that the first matching rule of each tensor gives.

        shapes  name -> {"shape": [...], "dtype": "float32"}; the dtype may be left out and is then float32
        rules   in order; the first whose `match` matches the whole name counts. Or the name of a recipe, such as
                "llama", whose ties count too unless `tied` says others
        dtype   of every tensor of floats, whatever the shapes say; a rule's own dtype goes before it
        tied    other name -> name: tensors that share memory, written once

        Raises ValueError for a tensor that no rule matches (a rule with scheme "skip" leaves it out), and what law and
        dtype refuse.
        """
        if tied is None and isinstance(rules, str):
            from fastinit.recipes import tied_for

            tied = tied_for(rules, shapes)
        rules, tied = rules_in(rules, shapes), dict(tied or {})
        tensors, unmatched = [], []
        for name, entry in shapes.items():
            if name in tied:
                continue
            shape, own = entry_of(name, entry)
            rule = first_match(rules, name)
            if rule is None:
                unmatched.append(f"{name!r} {list(shape)}")
            elif rule.scheme != SKIP:
                chosen = rule.dtype or (dtype if dtype is not None and own in FORMATS else own)
                tensors.append(Tensor(name, shape, chosen, rule.law(name, shape)))
        if unmatched:
            raise ValueError(
                f"no rule matches {some_of(unmatched)}; add one, with scheme = {SKIP!r} to leave tensors out"
            )
        return cls(tuple(tensors), tied)

    @cached_property
    def digest(self) -> str:
        """16 bytes of BLAKE2b over the JSON, in hex: equal plans and no others have it."""
        said = {name: value for name, value in self.to_json().items() if name != "origin"}
        text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return blake2b(text.encode(), digest_size=16).hexdigest()


# --- from JSON --------------------------------------------------------------------------------------------------------


def _json_in(path: str | os.PathLike[str]) -> Any:
    """What a file of JSON holds, every key once."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:  # of the encoding, of the parser, of `unique`
        raise ValueError(f"{path} is no JSON that can be read: {error}") from None


def _tensor_of(entry: Any) -> Tensor:
    """A tensor of a plan in JSON."""
    if not isinstance(entry, Mapping):
        raise ValueError(f"a tensor of the plan is {entry!r}; it must be an object of name, shape, dtype and law")
    for what in ("name", "shape", "dtype", "law"):
        if what not in entry:
            raise ValueError(f"a tensor of the plan has no {what!r}; it needs name, shape, dtype and law")
    try:
        law = from_json(entry["law"])
    except (TypeError, ValueError) as error:
        raise type(error)(f"tensor {entry['name']!r}: {error}") from error
    return Tensor(entry["name"], entry["shape"], entry["dtype"], law)


def _exact(what: str, shape: Any) -> tuple[int, ...]:
    """A shape whose entries are exact integers, none negative, and not too many elements; `what` has it, for the error.

    A zero does not make the others small: readers multiply from the left, and refuse what is beyond 64 bits on the way.
    """
    if isinstance(shape, str) or not isinstance(shape, Iterable):
        raise TypeError(f"{what}: shape is {shape!r}; pass a list of integers, such as [8192, 8192]")
    shape = tuple(shape)
    try:
        exact = Shard(shape, [0] * len(shape)).shape
        if math.prod(size for size in exact if size) > LARGEST_TENSOR:
            raise ValueError("the sizes multiply to more than 2**58, and the stream addresses no more elements")
        return exact
    except (TypeError, ValueError) as error:
        raise type(error)(f"{what} of shape {shape}: {error}") from None


# --- from rules -------------------------------------------------------------------------------------------------------


def rules_in(rules: str | Iterable[Rule], shapes: Shapes) -> list[Rule]:
    """The rules that are given, or those of the recipe that is named, for a model with these names and shapes."""
    if not isinstance(rules, str):
        return list(rules)
    from fastinit.recipes import rules_for

    return rules_for(rules, shapes)


def first_match(rules: Iterable[Rule], name: str) -> Rule | None:
    """The first rule that matches the whole name."""
    return next((rule for rule in rules if re.fullmatch(rule.match, name)), None)


def entry_of(name: str, entry: Any) -> tuple[tuple[int, ...], str]:
    """Shape and dtype of an entry of shapes."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("shape"), Sequence):
        raise ValueError(
            f'shapes: {name!r} is {entry!r}; it must look like {{"shape": [8192, 8192], "dtype": "float32"}}'
        )
    return _exact(f"shapes: {name!r}", entry["shape"]), str(entry.get("dtype", "float32"))


def rules_of(content: Mapping[str, Any]) -> list[Rule]:
    """The rules of parsed TOML: [[rule]] tables with `match`, `scheme`, its numbers or parts, `layout`, `dtype`."""
    tables = content.get("rule")
    if not isinstance(tables, list) or set(content) - {"rule"} or not all(isinstance(one, Mapping) for one in tables):
        raise ValueError("rules are [[rule]] tables with match, scheme and its numbers, and nothing else")
    rules = []
    for table in tables:
        rest = dict(table)
        try:
            match, scheme = rest.pop("match"), rest.pop("scheme")
        except KeyError as error:
            raise ValueError(f"rule {table}: {error} is missing; a rule needs match and scheme") from None
        rules.append(
            Rule(match, scheme, {name: _pair(v) for name, v in rest.items() if name != "dtype"}, rest.get("dtype"))
        )
    return rules


def _pair(value: Any) -> Any:
    """TOML's lists are tuples here: pairs (sigmas, bounds), axes, and tables of parts."""
    if isinstance(value, dict):
        return {name: _pair(one) for name, one in value.items()}
    return tuple(map(_pair, value)) if isinstance(value, list) else value


def load_rules(path: str | os.PathLike[str]) -> list[Rule]:
    """Read rules from a TOML file."""
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # of the encoding, of the parser
        raise ValueError(f"{path} is no TOML that can be read: {error}") from None
    try:
        return rules_of(content)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{path}: {error}") from error


def shapes_of(path: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """Names, shapes and dtypes from a safetensors file, from a folder of them (headers only), or from JSON."""
    path = Path(path)
    if path.suffix == ".json":
        content = _json_in(path)
        if not isinstance(content, dict):
            raise ValueError(
                f'{path} must hold an object: {{"name": {{"shape": [8192, 8192], "dtype": "float32"}}, ...}}'
            )
        return content
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if not files:
        raise FileNotFoundError(errno.ENOENT, f"{path} holds no .safetensors file; name a file or a folder of them")
    found: dict[str, dict[str, Any]] = {}
    for file in files:
        for name, slot in read_header(file).slots.items():
            if name in found:
                raise ValueError(f"{file} has a tensor {name!r} that another file of the folder has too")
            found[name] = {"shape": list(slot.shape), "dtype": slot.dtype}
    return found
