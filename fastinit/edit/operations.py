"""The operations of an edit: draw again, copy, rename, delete, cast, add, set. Each is a value that changes a state."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from fastinit.dtypes import FORMATS
from fastinit.edit.contents import Drawn, Noisy, cast
from fastinit.edit.naming import expression, matching, names_of
from fastinit.edit.state import CONFIG, Entry, State
from fastinit.laws import Law
from fastinit.laws.law import standard_deviation
from fastinit.laws.law_json import from_json, to_json
from fastinit.plan import SKIP, Plan, Rule, Tensor, first_match
from fastinit.recipes import rules_for


@dataclass(frozen=True)
class Laws:
    """Where the laws of tensors that are drawn come from: rules, a recipe, or laws by name (a plan's). One of them.

    None of them: the laws that the checkpoint's own metadata has.
    """

    rules: tuple[Rule, ...] = ()
    recipe: str | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    by_name: Mapping[str, Law] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "rules", tuple(self.rules))
        if (bool(self.rules)) + (self.recipe is not None) + (self.by_name is not None) > 1:
            raise ValueError("laws come from rules, from a recipe or from a plan; give one of them")
        if self.numbers and self.recipe is None:
            raise ValueError("numbers belong to a recipe; rules have theirs")

    @classmethod
    def of_plan(cls, plan: Plan) -> Laws:
        """The laws of a plan, by the names of its tensors."""
        laws = {tensor.name: tensor.law for tensor in plan.tensors}
        return cls(by_name=laws | {alias: laws[name] for alias, name in plan.tied.items()})

    def for_tensors(
        self, state: State, names: Sequence[str], what: str, shapes: Mapping[str, tuple[int, ...]] | None = None
    ) -> dict[str, tuple[Law, str]]:
        """The law and dtype of each tensor, in the shape it gets; ValueError for one of which no law is known."""
        rules = list(self.rules)
        if self.recipe is not None:
            rules = rules_for(self.recipe, state.shapes, **dict(self.numbers))
        found = {}
        for name in names:
            content = state.entries[name].content
            law, dtype = None, content.dtype
            if self.by_name is not None:
                law, where = self.by_name.get(name), "the plan has no such tensor"
            elif rules:
                rule, where = first_match(rules, name), "no rule matches it"
                if rule is not None and rule.scheme != SKIP:
                    law, dtype = rule.law(name, (shapes or {}).get(name, content.shape)), rule.dtype or dtype
            else:
                spans, where = state.entries[name].spans, "the checkpoint does not say what it was drawn from"
                if len(spans) == 1 and spans[0].drawn.shape == content.shape:
                    law = spans[0].drawn.law
            if law is None:
                raise ValueError(
                    f"{what}: the law of {name!r} is not known: {where}; give one (--law, --rules, --plan)"
                )
            found[name] = (law, dtype)
        return found

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        said: dict[str, Any] = {}
        if self.rules:
            said["rules"] = [
                {k: v for k, v in dataclasses.asdict(rule).items() if v is not None} for rule in self.rules
            ]
        if self.recipe is not None:
            said |= {"recipe": self.recipe, "numbers": dict(self.numbers)}
        if self.by_name is not None:
            said["laws"] = {name: to_json(law) for name, law in self.by_name.items()}
        return said

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Laws:
        """What `to_json` gave."""
        rules = tuple(
            Rule(one["match"], one["scheme"], _tuples(one.get("numbers", {})), one.get("dtype"))
            for one in entry.get("rules", ())
        )
        laws = None if "laws" not in entry else {name: from_json(law) for name, law in entry["laws"].items()}
        return cls(rules, entry.get("recipe"), dict(entry.get("numbers", {})), laws)


UNSAID = Laws()


def _tuples(value: Any) -> Any:
    """Lists of JSON as the tuples that laws take."""
    if isinstance(value, Mapping):
        return {name: _tuples(one) for name, one in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


@dataclass(frozen=True)
class Operation:
    """One step of an edit. `draws` says whether chance has a part in it: then the seed matters."""

    op: ClassVar[str]

    @property
    def draws(self) -> bool:
        """Whether chance has a part in it."""
        return False

    def on(self, state: State, seed: int) -> None:
        """Change the state; ValueError or TypeError, which name the operation, where that is not possible."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        said: dict[str, Any] = {"op": self.op}
        for one in dataclasses.fields(self):
            value = getattr(self, one.name)
            if value != one.default:
                said |= value.to_json() if isinstance(value, Laws) else {one.name: _plain(value)}
        return said

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Operation:
        """What `to_json` gave; ValueError or TypeError, which name the operation, for anything else."""
        given = {name: value for name, value in entry.items() if name != "op"}
        fields = {one.name for one in dataclasses.fields(cls)}
        try:
            if "laws" in fields:
                keys = ("rules", "recipe", "numbers", "laws")
                laws: dict[str, Any] = {name: given.pop(name) for name in keys if name in given}
                given["laws"] = Laws.from_json(laws)
            if set(given) - fields:
                raise ValueError(f"it has no {min(set(given) - fields)!r}; it has {', '.join(sorted(fields))}")
            return cls(**given)
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise ValueError(f"operation {cls.op}: {error}") from error


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value


@dataclass(frozen=True)
class Redraw(Operation):
    """Draw the tensors whose whole name matches again, from the edit's seed under their own names."""

    op = "redraw"
    match: str
    laws: Laws = UNSAID

    def __post_init__(self) -> None:
        expression(self.match)

    @property
    def draws(self) -> bool:
        """Whether chance has a part in it."""
        return True

    def on(self, state: State, seed: int) -> None:
        """Every matching tensor is a draw."""
        what = f"redraw {self.match!r}"
        names = [found[0] for found in matching(self.match, state.entries, what, state.tied)]
        for name, (law, dtype) in self.laws.for_tensors(state, names, what).items():
            entry = state.entries[name]
            tensor = Tensor(name, entry.content.shape, dtype, law)
            content = Drawn(tensor.shape, tensor.dtype, tensor, seed)
            how = {"op": self.op, "seed": str(seed), "law": to_json(law)}
            state.entries[name] = Entry(content, entry.home, (how,))


@dataclass(frozen=True)
class Copy(Operation):
    """Copy every matching tensor to the names that the template makes; with noise of a std, if one is given."""

    op = "copy"
    match: str
    to: str
    noise: float = 0.0

    def __post_init__(self) -> None:
        expression(self.match)
        object.__setattr__(self, "noise", standard_deviation(self.noise, "copy: noise"))

    @property
    def draws(self) -> bool:
        """Whether chance has a part in it."""
        return self.noise > 0

    def on(self, state: State, seed: int) -> None:
        """Sources are the tensors before the operation."""
        what = f"copy {self.match!r}"
        for found in matching(self.match, list(state.entries), what, state.tied):
            source = state.entries[found[0]]
            for name in names_of(self.to, found, what):
                how: dict[str, Any] = {"op": self.op, "of": found[0]}
                content = source.content
                if self.noise:
                    content = _noisy(content, self.noise, seed, name, what)
                    how |= {"noise": self.noise, "seed": str(seed)}
                entry = Entry(content, state.home_of_copies(source.home), (*source.how, how))
                state.put(name, entry, what)


def _noisy(content: Any, std: float, seed: int, name: str, what: str) -> Noisy:
    """A content with noise; refused where it holds no floats, or must be drawn whole first."""
    from fastinit.edit.reading import is_drawn_whole

    if content.dtype not in FORMATS:
        raise ValueError(f"{what}: {name!r} holds {content.dtype}, and noise is added to floats; copy it without")
    if is_drawn_whole(content):
        raise ValueError(f"{what}: {name!r} is drawn by a law that is drawn whole; add noise in a second edit")
    return Noisy(content.shape, content.dtype, content, std, seed, name)


@dataclass(frozen=True)
class Rename(Operation):
    """Give every matching tensor the name that the template makes. The new names may be old names of each other."""

    op = "rename"
    match: str
    to: str

    def __post_init__(self) -> None:
        expression(self.match)

    def on(self, state: State, seed: int) -> None:
        """All at once, so that names can be exchanged; ties follow."""
        what = f"rename {self.match!r}"
        new = {}
        for found in matching(self.match, state.entries, what, state.tied):
            names = list(names_of(self.to, found, what))
            if len(names) != 1:
                raise ValueError(f"{what}: {found[0]!r} would have {len(names)} names; copy it, and delete it")
            new[found[0]] = names[0]
        moved = {old: state.entries.pop(old) for old in new}
        for old, name in new.items():
            how = () if name == old else ({"op": self.op, "from": old},)
            state.put(name, replace(moved[old], how=(*moved[old].how, *how)), what)
        state.tied = {alias: new.get(name, name) for alias, name in state.tied.items()}


@dataclass(frozen=True)
class Delete(Operation):
    """Leave out every matching tensor, and the names tied to it."""

    op = "delete"
    match: str

    def __post_init__(self) -> None:
        expression(self.match)

    def on(self, state: State, seed: int) -> None:
        """A checkpoint keeps at least one tensor."""
        what = f"delete {self.match!r}"
        for found in matching(self.match, state.entries, what, state.tied):
            del state.entries[found[0]]
        if not state.entries:
            raise ValueError(f"{what}: no tensor would be left; remove the files instead")
        state.tied = {alias: name for alias, name in state.tied.items() if name in state.entries}


@dataclass(frozen=True)
class Cast(Operation):
    """Round the matching tensors of floats to a dtype; all of them, if no pattern is given."""

    op = "cast"
    dtype: str
    match: str = ".*"

    def __post_init__(self) -> None:
        expression(self.match)
        if self.dtype not in FORMATS:
            raise ValueError(f"cast: dtype {self.dtype!r} is unknown; use one of {', '.join(FORMATS)}")

    def on(self, state: State, seed: int) -> None:
        """Integers and what fastinit cannot decode stay as they are."""
        what = f"dtype {self.dtype}"
        for found in matching(self.match, list(state.entries), what, state.tied):
            entry = state.entries[found[0]]
            if entry.content.dtype in FORMATS and entry.content.dtype != self.dtype:
                how = (
                    {}
                    if isinstance(entry.content, Drawn)
                    else {"op": self.op, "dtype": [entry.content.dtype, self.dtype]}
                )
                content = cast(entry.content, self.dtype)
                state.entries[found[0]] = entry.but(content, **how) if how else replace(entry, content=content)
        if state.config is not None and self.match == ".*" and "torch_dtype" in state.config:
            state.settings["torch_dtype"] = self.dtype
        if state.config is not None and self.match == ".*" and "dtype" in state.config:
            state.settings["dtype"] = self.dtype


@dataclass(frozen=True)
class Add(Operation):
    """Add a tensor, or several of one shape and law: `names` is a template without groups ("layers.{0..7}.gate")."""

    op = "add"
    names: str
    shape: tuple[int, ...]
    rule: Mapping[str, Any]
    dtype: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        object.__setattr__(self, "rule", _tuples(dict(self.rule)))

    @property
    def draws(self) -> bool:
        """Whether chance has a part in it."""
        return True

    def on(self, state: State, seed: int) -> None:
        """In the dtype that is said, or that most tensors of floats have."""
        what = f"add {self.names!r}"
        numbers = {name: value for name, value in self.rule.items() if name not in ("scheme", "dtype")}
        dtype = self.dtype or self.rule.get("dtype") or state.common_dtype()
        if dtype is None:
            raise ValueError(f"{what}: the tensors have several dtypes; say which this has (dtype = ... in its law)")
        home = state.home_of_copies(next(iter(state.checkpoint.headers)))
        for name in names_of(self.names, None, what):
            law = Rule(".*", self.rule.get("scheme", ""), numbers).law(name, self.shape)
            tensor = Tensor(name, self.shape, dtype, law)
            how = {"op": self.op, "seed": str(seed), "law": to_json(law)}
            state.put(name, Entry(Drawn(tensor.shape, dtype, tensor, seed), home, (how,)), what)


@dataclass(frozen=True)
class Configure(Operation):
    """Set an entry of config.json; "text_config.vocab_size" is one of an inner object."""

    op = "configure"
    key: str
    value: Any

    def on(self, state: State, seed: int) -> None:
        """Refused where there is no config.json, or no such inner object."""
        if state.config is None:
            where = state.checkpoint.folder / CONFIG
            raise ValueError(f"configure {self.key}: there is no {where}, an object of JSON, to set it in")
        *outer, _ = self.key.split(".")
        inner: Any = state.config
        for key in outer:
            inner = inner.get(key) if isinstance(inner, Mapping) else None
        if not isinstance(inner, Mapping):
            raise ValueError(f"configure {self.key}: config.json has no object {'.'.join(outer)!r}")
        if isinstance(self.value, float) and not math.isfinite(self.value):
            raise ValueError(f"configure {self.key}: {self.value} is no number of JSON")
        state.settings[self.key] = self.value
