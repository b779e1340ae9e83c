"""The tensors of a model: each parameter under its name without wrappers, with its law."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from fastinit.files.safetensors import DTYPES
from fastinit.laws import Constant
from fastinit.plan import DEFAULT, SKIP, Rule, Tensor, first_match, rules_in, some_of
from fastinit.torch.layers import default_laws
from fastinit.torch.origins import Init, Origins, origins_of, recorded_origins
from fastinit.torch.record import Recording
from fastinit.torch.record.models import renamed
from fastinit.torch.tensors import PLAIN

RULES = "rules"  # the source of a law that a rule gives
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


@dataclass(frozen=True)
class Target:
    """A parameter, the tensor that it is (or is a shard of), its other names, and where its law comes from."""

    parameter: torch.Tensor
    tensor: Tensor
    aliases: tuple[str, ...]
    source: str


def targets_of(
    module: nn.Module,
    rules: str | Iterable[Rule] | None,
    prefix: str,
    dtype: torch.dtype | None = None,
    *,
    init: Init | Recording,
    buffers: bool = False,
    meta_only: bool = False,
    made_only: bool = False,
    trainable_only: bool = False,
) -> list[Target]:
    """Every parameter that no rule skips, and the buffers of a state dict if asked, with its law.

    init  where the laws come from that no rule gives, or the recording in which the module was built
    With `meta_only` those that have memory need no law, and are left out; with `made_only` those that the build
    was given and left as they were; with `trainable_only` those that are frozen.
    """
    chosen = _chosen(module, rules, prefix, buffers)
    whose: dict[str, str] = {}
    targets, unknown, wanted = [], [], []
    everything: list[tuple[str, torch.Tensor]] = []  # also what is left out: a copy has the name of its first
    names: dict[str, str] = {}
    for tensor, all_names in _distinct(module, buffers):
        name, *aliases = (prefix + _clean(module, one) for one in all_names)
        if whose.setdefault(name, all_names[0]) != all_names[0]:
            raise ValueError(
                f"{whose[name]!r} and {all_names[0]!r} have one name, {name!r}, without their wrappers; "
                "names are addresses, so they must differ"
            )
        everything.append((all_names[0], tensor))
        names[all_names[0]] = name
        rule = first_match(chosen, name)
        if (rule is not None and rule.scheme == SKIP) or (meta_only and not tensor.is_meta):
            continue
        if made_only and isinstance(init, Recording) and init.was_given(tensor):
            continue
        if trainable_only and not tensor.requires_grad and isinstance(tensor, nn.Parameter):
            continue
        wanted.append((tensor, all_names[0], name, tuple(aliases), rule))
    asked = any(rule is not None and rule.scheme == DEFAULT for _, _, _, _, rule in wanted)
    origins = _origins(module, init, everything) if asked else Origins()
    for tensor, raw, name, others, rule in wanted:
        shape, own = tuple(tensor.shape), dtype_name(tensor.dtype)
        law, why = None, ""
        if rule is not None and rule.scheme == DEFAULT:
            law, why = origins.laws.get(raw), origins.problems.get(raw, "")
        elif rule is not None:
            law = rule.law(name, shape)
        if rule is None or law is None or why:
            reason = f" ({why})" if why else ""
            unknown.append(f"{name!r} {list(shape)} of {type(_owner(module, raw)).__name__}{reason}")
            continue
        law = renamed(law, lambda one: names.get(one, one))
        kept = dtype_name(dtype) if dtype is not None and tensor.is_floating_point() else own
        source = origins.sources[raw] if rule.scheme == DEFAULT else RULES
        targets.append(Target(tensor, Tensor(name, shape, rule.dtype or kept, law), others, source))
    if unknown:
        build = (
            ""
            if isinstance(init, Recording)
            else (
                "; or hand over what builds the model, whose code then says what it draws, such as "
                "plan(lambda: Model(config))"
            )
        )
        raise ValueError(
            f"no law for {some_of(unknown)}; add a rule (the scheme {DEFAULT!r} for layers of torch.nn, {SKIP!r} to "
            f"leave a tensor as it is){build}"
        )
    return targets


def _chosen(module: nn.Module, rules: str | Iterable[Rule] | None, prefix: str, buffers: bool) -> list[Rule]:
    """The rules; those of the recipe that is named, for this model's names and shapes; by default, each its own law."""
    if rules is None:
        return [Rule(".*", DEFAULT)]
    if not isinstance(rules, str):
        return list(rules)
    named = [(prefix + _clean(module, name), one) for one, names in _distinct(module, buffers) for name in names]
    return rules_in(rules, {name: {"shape": list(one.shape), "dtype": dtype_name(one.dtype)} for name, one in named})


def _origins(module: nn.Module, init: Init | Recording, tensors: list[tuple[str, torch.Tensor]]) -> Origins:
    """The laws that no rule gives."""
    if not isinstance(init, Recording):
        return origins_of(module, init, tensors)
    return recorded_origins(module, init, tensors, "recorded as it was built")


def _distinct(module: nn.Module, buffers: bool) -> Iterable[tuple[torch.Tensor, list[str]]]:
    """Parameters, and persistent buffers if asked, each once with all its names as the module has them."""
    if (fsdp := sys.modules.get("torch.distributed.fsdp")) and any(
        isinstance(layer, fsdp.FullyShardedDataParallel) for layer in module.modules()
    ):
        raise TypeError(
            "the module is wrapped by FullyShardedDataParallel (FSDP1), whose flat parameters are no tensors of the "
            "model; initialise it before it is wrapped, or use fully_shard (FSDP2)"
        )
    found: dict[object, tuple[torch.Tensor, list[str]]] = {}
    for name, tensor in itertools.chain(
        module.named_parameters(remove_duplicate=False), _persistent_buffers(module) if buffers else ()
    ):
        if isinstance(tensor, nn.parameter.UninitializedTensorMixin):
            raise ValueError(f"{name!r} has no shape yet; run a batch through the lazy module first")
        found.setdefault(_identity(tensor), (tensor, []))[1].append(name)
    return found.values()


def _identity(tensor: torch.Tensor) -> object:
    """What two tensors that are one have in common: the same memory read in the same way, else the object."""
    if type(tensor) in PLAIN and tensor.is_cpu and tensor.layout is torch.strided and tensor.numel():
        return tensor.data_ptr() or id(tensor), tensor.shape, tensor.stride(), tensor.dtype
    return id(tensor)


def _persistent_buffers(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    for name, buffer in module.named_buffers(remove_duplicate=False):
        if name.rpartition(".")[2] not in _owner(module, name)._non_persistent_buffers_set:
            yield name, buffer


def _owner(module: nn.Module, name: str) -> nn.Module:
    """The layer whose own parameter this is."""
    return module.get_submodule(name.rpartition(".")[0])


def _clean(module: nn.Module, name: str) -> str:
    """A qualified name without what wrappers add."""
    kept, owner = [], module
    for part in name.split("."):
        child = owner._modules.get(part)
        # DistributedDataParallel and its like hold `module` and nothing else; a model may have a layer of that name.
        only = part == "module" and len(owner._modules) == 1 and not owner._parameters
        if child is None or not (part in WRAPPERS or only):
            kept.append(part)
        if child is not None:
            owner = child
    return ".".join(kept)


def dtype_name(dtype: torch.dtype) -> str:
    """The name that a plan has for a dtype."""
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise ValueError(f"a tensor of {name} cannot be initialised; convert it to one of {', '.join(DTYPES)}")
    return name


def buffer_values(
    module: nn.Module, given: Mapping[str, torch.Tensor], prefix: str, recording: Recording | None = None
) -> dict[int, torch.Tensor]:
    """The identity of every buffer on the meta device -> its value; an error names those that have none."""
    defaults = default_laws(module)
    values: dict[int, torch.Tensor] = {}
    missing, used = [], set()
    for raw, buffer in module.named_buffers(remove_duplicate=False):
        if not buffer.is_meta:
            continue
        name, law = prefix + _clean(module, raw), defaults.get(raw)
        if name in given:
            used.add(name)
            if given[name].shape != buffer.shape:
                raise ValueError(
                    f"buffers: {name!r} has shape {tuple(given[name].shape)}, and the module's {tuple(buffer.shape)}"
                )
            values[id(buffer)] = given[name].to(device="cpu", dtype=buffer.dtype)
        elif isinstance(law, Constant):
            values[id(buffer)] = torch.full(buffer.shape, law.value, dtype=buffer.dtype, device="cpu")
        elif recording is not None:
            try:
                values[id(buffer)] = recording.values(buffer)
            except ValueError as error:
                missing.append(f"{name!r} ({error})")
        else:
            missing.append(repr(name))
    if missing:
        raise ValueError(
            f"buffers without a value: {', '.join(missing)}. Nothing says what they held before the meta device; pass "
            "buffers={name: tensor}, or build the module with its buffers on the CPU"
        )
    if set(given) - used:
        raise ValueError(f"buffers: {min(set(given) - used)!r} is no buffer of the module on the meta device")
    return values
