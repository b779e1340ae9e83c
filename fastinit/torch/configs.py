"""From a config.json of transformers, or a callable by its name, to a plan: the architecture's own class and laws.

No tensor of the model is allocated, nothing is downloaded, and no code that a config names is run: only classes of the
transformers library.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fastinit.plan import Plan
from fastinit.torch.modules import plan

CONFIG, GENERATION = "config.json", "generation_config.json"
# Dtypes in which transformers builds a model; in others a plan has its float tensors.
BUILDABLE = ("float64", "float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Pretrained:
    """What a folder holds that from_pretrained reads.

    files  name -> content, of what stands beside the weights: config.json and, for what generates text,
           generation_config.json
    """

    plan: Plan
    files: Mapping[str, bytes] = field(default_factory=dict)


def from_config(
    path: str | os.PathLike[str], *, dtype: str | None = None, architecture: str | None = None
) -> Pretrained:
    """The plan of the model that a config.json describes, and the small files that from_pretrained wants beside it.

    path          a config.json, or a folder that holds one
    dtype         of the float tensors, by name; None: that of the config, float32 if it says none
    architecture  name of a class of transformers, such as LlamaForCausalLM; None: the one that the config names

    The laws are those that the class's own code draws, recorded. Names, ties and buffers are those of its state dict.
    A `quantization_config` is left out of the file: the weights are not quantised.

    Raises FileNotFoundError for a path that is none; ValueError for a config that transformers does not know, that
    names no architecture or several, or wants code that is not in transformers (trust_remote_code is never given), and
    for a parameter without a law; ImportError without transformers.
    """
    transformers = _transformers()
    config = _config(transformers, _file(path))
    kind = _class(transformers, config, architecture)
    wanted = getattr(torch, dtype) if dtype in BUILDABLE else None
    config.dtype = wanted or config.dtype or torch.float32
    for left_out in ("quantization_config",):
        if getattr(config, left_out, None) is not None:
            delattr(config, left_out)
    kept: list[nn.Module] = []

    def build() -> nn.Module:
        kept.append(kind._from_config(copy.deepcopy(config)))
        return kept[-1]

    with _quiet(transformers):
        made = plan(build, dtype=None if dtype in (*BUILDABLE, None) else getattr(torch, dtype))
        files = _beside(kept[0], kind.__name__)
    ignored = getattr(kept[0], "_keys_to_ignore_on_save", None) or ()
    return Pretrained(_without(made, set(ignored)), files)


def from_name(name: str, *, dtype: str | None = None) -> Plan:
    """The plan of what a callable builds, which is named as package.module:callable; this imports and runs it.

    The callable takes no arguments and returns a torch.nn.Module: a class, a function, or a built module itself. The
    working directory is searched first, as `python -m` does. Raises ValueError for a name that is none, ImportError,
    and what `plan` raises.
    """
    place, colon, attribute = name.partition(":")
    if not colon or not place or not attribute:
        raise ValueError(f"model is {name!r}; name a callable as package.module:callable, such as my.models:build")
    sys.path.insert(0, str(Path.cwd()))
    try:
        thing: Any = importlib.import_module(place)
    finally:
        sys.path.remove(str(Path.cwd()))
    for part in attribute.split("."):
        if not hasattr(thing, part):
            raise ValueError(f"model is {name!r}, and {place} has no {attribute}")
        thing = getattr(thing, part)
    return plan(thing, dtype=getattr(torch, dtype) if dtype is not None else None)


# --- transformers -----------------------------------------------------------------------------------------------------


def _transformers() -> Any:
    if "huggingface_hub" not in sys.modules:  # it reads this once; a config may name a backbone that would be fetched
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        raise ImportError(
            f"a config.json is read by transformers, which is not installed ({error}); "
            "pip install 'fastinit-kernels[transformers]'"
        ) from None
    return transformers


def _file(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    file = path / CONFIG if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(2, f"{file} does not exist; name a config.json, or a folder that holds one")
    return file


def _config(transformers: Any, file: Path) -> Any:
    """The configuration in a file, by the class that transformers has for its model_type."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is no JSON that can be read: {error}") from None
    kind = content.get("model_type") if isinstance(content, dict) else None
    if not isinstance(kind, str):
        raise ValueError(f"{file} has no model_type, by which transformers knows the class of a config")
    known = transformers.models.auto.configuration_auto.CONFIG_MAPPING
    if kind not in known:
        raise ValueError(
            f"{file} is of model_type {kind!r:.100}, which transformers {transformers.__version__} does not know; code "
            "that a config names is never run. Import that code yourself, and pass --model package.module:callable"
        )
    content, _ = known[kind].get_config_dict(str(file), local_files_only=True)  # which reads an infinity as one
    content.pop("auto_map", None)
    return known[kind].from_dict(content)


def _class(transformers: Any, config: Any, architecture: str | None) -> Any:
    """The class of the model."""
    named = [architecture] if architecture is not None else list(config.architectures or ())
    if len(named) != 1:
        raise ValueError(
            f"the config names {'no architecture' if not named else ', '.join(named)}; choose one with architecture= "
            f"(--architecture), such as {', '.join(_suggested(transformers, config)) or 'LlamaForCausalLM'}"
        )
    kind: Any = getattr(transformers, named[0], None)
    is_model: bool = isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)
    if not is_model:
        raise ValueError(
            f"{named[0]!r:.100} is no model of transformers {transformers.__version__}; choose another with "
            f"architecture= (--architecture), such as {', '.join(_suggested(transformers, config))}"
        )
    if kind.config_class is not None and not isinstance(config, kind.config_class):
        raise ValueError(f"{kind.__name__} takes a {kind.config_class.__name__}, and this is a {type(config).__name__}")
    return kind


def _suggested(transformers: Any, config: Any) -> list[str]:
    """Classes that take such a config."""
    auto = transformers.models.auto.modeling_auto
    found = []
    for table in ("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES", "MODEL_MAPPING_NAMES", "MODEL_FOR_MASKED_LM_MAPPING_NAMES"):
        name = getattr(auto, table, {}).get(config.model_type)
        found += [name] if isinstance(name, str) else list(name or ())
    return found


def _beside(model: Any, architecture: str) -> dict[str, bytes]:
    """The small files of a folder, as save_pretrained writes them."""
    config = copy.deepcopy(model.config)
    config.dtype = str(model.dtype).removeprefix("torch.")
    config.architectures = [architecture]
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        if model.can_generate():
            model.generation_config.save_pretrained(folder)
        return {file.name: file.read_bytes() for file in sorted(Path(folder).glob("*.json"))}


def _without(made: Plan, ignored: set[str]) -> Plan:
    """A plan without the tensors that transformers does not save."""
    if not ignored:
        return made
    kept = tuple(one for one in made.tensors if one.name not in ignored)
    names = {one.name for one in kept}
    return replace(made, tensors=kept, tied={alias: name for alias, name in made.tied.items() if name in names})


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Without what transformers logs below an error."""
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(before)
