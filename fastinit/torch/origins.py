"""Where the laws of a built model come from: its own initialisers, recorded, or its layers of torch.nn."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from fastinit.laws import Law
from fastinit.torch.constructors import draws_itself
from fastinit.torch.layers import default_laws
from fastinit.torch.record.contents import Draw, Lawful
from fastinit.torch.record.models import laws_of
from fastinit.torch.record.recording import Recording, record

AUTO, LAYERS = "auto", "layers"
Init = str | Callable[..., Any]
Named = list[tuple[str, torch.Tensor]]

LAYER = "torch.nn"  # the source of a law that its layer of torch.nn has
# What modules call their own initialisers, in the order in which they are run.
INITIALISERS = ("reset_parameters", "_reset_parameters", "init_weights", "initialize_weights")


@dataclass
class Origins:
    """Name, as the module has it, -> law; why there is none; where the law comes from."""

    laws: dict[str, Law] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Initialiser:
    """A method with which a module initialises itself, and the arguments it cannot do without."""

    place: str
    module: nn.Module
    name: str
    missing: tuple[str, ...]

    @property
    def shown(self) -> str:
        """As an error names it."""
        return f"{type(self.module).__qualname__}.{self.name}"


def origins_of(module: nn.Module, init: Init, tensors: Iterable[tuple[str, torch.Tensor]]) -> Origins:
    """The laws of these tensors of a built model.

    init  "auto" runs what the modules have to initialise themselves, recorded: children first, parents last, over the
          laws of the layers of torch.nn. "layers" takes those alone. A callable is run, recorded; it may take the model

    Raises ValueError for another `init`.
    """
    if init == LAYERS:
        return _of_layers(module)
    if callable(init):
        named = list(tensors)
        with _restored(module), record() as recorded:
            init(*(module,) * _takes_one(init))
            now = _standing_for(module, named)
        source = getattr(init, "__qualname__", type(init).__qualname__)
        return _answers(recorded, now, default_laws(module), lambda name: source)
    if init != AUTO:
        raise ValueError(
            f"init is {init!r}; it can be {AUTO!r} (the model's own initialiser), {LAYERS!r} (what each layer of "
            "torch.nn draws), or a callable such as model.init_weights"
        )
    own = list(own_initialisers(module))
    origins = _of_layers(module) if not own else _recorded(module, own, list(tensors))
    for name, source in origins.sources.items():
        shown = draws_itself_above(module, name) if source == LAYER else None
        if shown is not None:
            origins.problems.setdefault(name, f"{shown}, which a built model no longer shows")
    return origins


def _of_layers(module: nn.Module) -> Origins:
    laws = default_laws(module)
    return Origins(laws, {}, dict.fromkeys(laws, LAYER))


def _recorded(module: nn.Module, own: list[Initialiser], tensors: Named) -> Origins:
    """The laws after the modules' own initialisers have run over those of the layers."""
    defaults = default_laws(module)
    seeds: dict[str, Lawful] = {}
    needing: dict[str, str] = {}
    with _restored(module), record() as recorded:
        for name, tensor in tensors:
            law = defaults.get(name)
            if law is not None and tensor.numel():
                draw = Draw(law, tuple(tensor.shape), LAYER) if law.draws else None
                seeds[name] = Lawful(law, draw, LAYER)
                recorded.write(tensor, seeds[name])
        for one in own:
            if one.missing:
                why = f"{one.shown} needs {', '.join(one.missing)}"
                names = (name for name, _ in one.module.named_parameters())
                needing |= {f"{one.place}.{name}" if one.place else name: why for name in names}
                continue
            with _flags_cleared(one.module), _untied(one.module):
                getattr(one.module, one.name)()
        tensors = _standing_for(module, tensors)

    def source(name: str) -> str:
        return LAYER if name in untouched else "its own initialiser"

    untouched = {name for name, tensor in tensors if name in seeds and recorded.holds(tensor, seeds[name])}
    found = _answers(recorded, tensors, defaults, source)
    never = {name for name, tensor in tensors if not recorded.has_written(tensor)}
    for name in never:
        found.problems.pop(name, None)
    for name, why in needing.items():
        if name in untouched or name in never:
            found.problems[name] = why
    return found


def recorded_origins(module: nn.Module, recorded: Recording, tensors: Named, source: str) -> Origins:
    """The laws of a module that was built while recording."""
    return _answers(recorded, tensors, default_laws(module), lambda name: source)


def _answers(recorded: Recording, tensors: Named, defaults: Mapping[str, Law], source: Callable[[str], str]) -> Origins:
    found = laws_of(recorded, tensors, defaults)
    return Origins(found.laws, found.problems, {name: source(name) for name in found.laws})


# --- the initialisers that modules have -------------------------------------------------------------------------------


def own_initialisers(module: nn.Module) -> Iterator[Initialiser]:
    """The initialisers that are not torch.nn's own: children first, parents last.

    A model of transformers initialises all that is inside it; the models inside it do not do it again.
    """
    pretrained = _pretrained()
    inside = {
        id(child)
        for parent in module.modules()
        if isinstance(parent, pretrained)
        for child in parent.modules()
        if child is not parent
    }
    for place, layer in reversed(list(module.named_modules())):
        if isinstance(layer, pretrained):
            if id(layer) not in inside:
                yield Initialiser(place, layer, "initialize_weights", ())
            continue
        for name in INITIALISERS:
            method = getattr(type(layer), name, None)
            if callable(method) and not str(getattr(method, "__module__", "torch.")).startswith("torch."):
                yield Initialiser(place, layer, name, _required(method))


def _pretrained() -> tuple[type[nn.Module], ...]:
    """The class of the models of transformers, if anything has imported them."""
    modelling = sys.modules.get("transformers.modeling_utils")
    return (modelling.PreTrainedModel,) if modelling is not None else ()


def _required(method: Callable[..., Any]) -> tuple[str, ...]:
    """The arguments of a method, but for self, that have no default."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = list(inspect.signature(method).parameters.values())[1:]
    return tuple(one.name for one in parameters if one.default is inspect.Parameter.empty and one.kind not in kinds)


def _takes_one(init: Callable[..., Any]) -> bool:
    """Whether a callable wants the model."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(init).parameters.values()
    return any(one.default is inspect.Parameter.empty and one.kind not in kinds for one in parameters)


@contextmanager
def _restored(module: nn.Module) -> Iterator[None]:
    """Afterwards every module has the parameters and buffers that it had: an initialiser may have put others there."""
    before = [(layer, dict(layer._parameters), dict(layer._buffers)) for layer in module.modules()]
    try:
        yield
    finally:
        for layer, parameters, buffers in before:
            for own, kept in ((layer._parameters, parameters), (layer._buffers, buffers)):
                if own.keys() != kept.keys() or any(own[name] is not one for name, one in kept.items()):
                    own.clear()
                    own.update(kept)


def _standing_for(module: nn.Module, tensors: Named) -> Named:
    """The tensors, and in the place of each that an initialiser replaced, the one that it put there."""
    found: Named = []
    for name, tensor in tensors:
        place, _, own = name.rpartition(".")
        held = module.get_submodule(place)
        now = held._parameters.get(own) if own in held._parameters else held._buffers.get(own)
        found.append((name, tensor if now is None or now.shape != tensor.shape else now))
    return found


@contextmanager
def _flags_cleared(module: nn.Module) -> Iterator[None]:
    """Without transformers' marks of what is initialised already; afterwards they are as they were."""
    mark = "_is_hf_initialized"
    things: list[Any] = [*module.modules(), *module.parameters(), *module.buffers()]
    before = [(one, one.__dict__[mark]) for one in things if mark in getattr(one, "__dict__", {})]
    for one, _ in before:
        del one.__dict__[mark]
    try:
        yield
    finally:
        for one in things:
            getattr(one, "__dict__", {}).pop(mark, None)
        for one, value in before:
            one.__dict__[mark] = value


@contextmanager
def _untied(module: nn.Module) -> Iterator[None]:
    """A model of transformers as it is when it initialises itself: it ties its parameters only afterwards.

    What is written to an output that will be the embedding must not count as written to the embedding.
    """
    if not isinstance(module, _pretrained()):
        yield
        return
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    outputs = set(getattr(module, "all_tied_weights_keys", None) or ())
    changed: list[tuple[dict[str, Any], str, Any]] = []
    for several in names.values():
        first = next((name for name in several if name not in outputs), several[0])
        for name in several:
            if name != first:
                place, _, own = name.rpartition(".")
                held: dict[str, Any] = module.get_submodule(place)._parameters
                changed.append((held, own, held[own]))
                held[own] = nn.Parameter(torch.empty_like(held[own], device="meta"), held[own].requires_grad)
    try:
        yield
    finally:
        for held, own, parameter in changed:
            held[own] = parameter


# --- constructors -----------------------------------------------------------------------------------------------------


def draws_itself_above(module: nn.Module, name: str) -> str | None:
    """What is said of a constructor, of a module that holds the parameter, which initialises by itself."""
    owner = module
    for part in name.split("."):
        found = draws_itself(type(owner))  # type: ignore[arg-type]
        if found is not None:
            return found
        child = owner._modules.get(part)
        if child is None:
            return None
        owner = child
    return None
