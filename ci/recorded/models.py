"""What there is to record: every model of a library with what builds it, or why it is left out."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from recorded.shrinking import candidates

Build = Callable[[], nn.Module]


@dataclass(frozen=True)
class Candidate:
    """A model: what builds it, or why it is left out."""

    name: str
    build: Build | None
    why_not: str = ""


Named = Iterator[tuple[str, Callable[[], Candidate]]]  # what a candidate is, is found out when it is asked for


def transformers() -> Named:
    """Every entry of AutoModel, in a small configuration that can be built on the meta device."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING as TABLE

    for kind, names in TABLE._model_mapping.items():
        for name in names if isinstance(names, (tuple, list)) else (names,):
            yield name, functools.partial(_of_transformers, TABLE, kind, name)


def _of_transformers(table: Any, kind: str, name: str) -> Candidate:
    try:
        config_class = table._load_attr_from_module(kind, table._config_mapping[kind])
        model_class = table._load_attr_from_module(kind, name)
    except (ValueError, AttributeError) as error:
        return Candidate(name, None, f"not in this transformers: {error}")
    return _smallest(name, config_class, model_class)


def _smallest(name: str, config_class: Any, model_class: Any) -> Candidate:
    first = ""
    for make in _made(candidates(config_class)):
        try:
            config = make()
            with torch.device("meta"):
                model_class(config)
        except Exception as error:  # whatever a library says of a configuration
            first = first or f"{type(error).__name__}: {error}"
        else:
            return Candidate(name, functools.partial(_build, model_class, make))
    return Candidate(name, None, f"no small configuration builds: {first}")


def _build(model_class: Any, make: Callable[[], Any]) -> nn.Module:
    model: nn.Module = model_class(make())
    return model


def _made(several: Iterator[Callable[[], Any]]) -> Iterator[Callable[[], Any]]:
    """The candidates; none for a class whose default configuration cannot be made."""
    try:
        yield from several
    except Exception as error:
        text = f"{type(error).__name__}: {error}"

        def fail() -> Any:
            raise RuntimeError(text)

        yield fail


def timm() -> Named:
    """Every name of list_models."""
    import timm as library

    for name in library.list_models():
        yield name, functools.partial(Candidate, name, functools.partial(library.create_model, name))


def torchvision() -> Named:
    """Every name of list_models."""
    from torchvision import models as library

    for name in library.list_models():
        options = {"weights": None}
        if "weights_backbone" in inspect.signature(library.get_model_builder(name)).parameters:
            options["weights_backbone"] = None
        yield name, functools.partial(Candidate, name, functools.partial(library.get_model, name, **options))


def diffusers() -> Named:
    """Every model class that its default arguments build."""
    import diffusers as library

    for name in sorted(dir(library)):
        try:
            kind = getattr(library, name)
        except Exception:  # a class whose optional dependency is missing
            continue
        if not (inspect.isclass(kind) and issubclass(kind, library.ModelMixin) and kind is not library.ModelMixin):
            continue
        yield name, functools.partial(_of_diffusers, name, kind)


def _of_diffusers(name: str, kind: Any) -> Candidate:
    try:
        with torch.device("meta"):
            kind()
    except Exception as error:
        return Candidate(name, None, f"its defaults build nothing: {type(error).__name__}: {error}")
    return Candidate(name, kind)


def peft() -> Named:
    """Every tuner that takes plain layers by their names, on a small model that has its weights already."""
    import peft as library

    base = nn.Sequential()
    base.add_module("first", nn.Linear(64, 96))
    base.add_module("second", nn.Linear(96, 64))
    for kind, config_class in sorted(library.mapping.PEFT_TYPE_TO_CONFIG_MAPPING.items()):
        yield str(kind), functools.partial(_of_peft, str(kind), config_class, base)


def _of_peft(name: str, config_class: Any, base: nn.Module) -> Candidate:
    import peft as library

    if "target_modules" not in inspect.signature(config_class).parameters:
        return Candidate(name, None, "takes no layers by their names")

    def build() -> nn.Module:
        return library.get_peft_model(copy.deepcopy(base), config_class(target_modules=["first", "second"]))

    try:
        build()
    except Exception as error:
        return Candidate(name, None, f"its defaults fit no such model: {type(error).__name__}: {error}")
    return Candidate(name, build)


LIBRARIES = {one.__name__: one for one in (transformers, timm, torchvision, diffusers, peft)}
