"""Whole models: draw every parameter under its own name, give a meta model its weights, or hand it to a plan."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import nn

from fastinit.address import STREAM, stream_words
from fastinit.plan import Plan, Rule
from fastinit.progress import AnyProgress, following
from fastinit.threads import resolve
from fastinit.torch.builds import Built, Model, built
from fastinit.torch.drawing import fill_all
from fastinit.torch.origins import AUTO, Init
from fastinit.torch.shards import is_sharded
from fastinit.torch.targets import Target, buffer_values, dtype_name, targets_of

Rules = str | Iterable[Rule]

_log = logging.getLogger("fastinit")


def initialize_(
    module: Model,
    seed: int,
    rules: Rules | None = None,
    *,
    init: Init = AUTO,
    frozen: str = "keep",
    prefix: str = "",
    threads: int | None = None,
    progress: AnyProgress = None,
) -> nn.Module:
    """Draw every parameter that is trained again, under its qualified name; return the module.

    module    on any device. DTensor parameters (FSDP2, tensor parallel) are filled on each rank alone, and are the
              shards of the tensor that one process would draw, bit for bit. What builds one, a callable without
              arguments, is handed to `materialize_`
    seed      integer in [0, 2^64), the same on every rank
    rules     `fastinit.plan.Rule`s, in order; the first that matches the whole name counts. The scheme "skip" leaves a
              parameter as it is, "default" draws it by its own law. Or the name of a recipe, such as "llama". None:
              every parameter by its own law
    init      where the own laws come from. "auto": what the modules have to initialise themselves, recorded and not
              run: `_init_weights` of a model of transformers, `init_weights`, `reset_parameters`; children first,
              parents last; for layers of torch.nn without such an owner, the law that they draw when they are built.
              "layers": that alone. A callable, such as model.init_weights: what it writes
    frozen    "keep" leaves parameters that need no gradient as they are, and logs how many (logger "fastinit", level
              INFO); "draw" draws them too
    prefix    in front of every name: that of the stage's place in the whole model, such as "layers.12."
    threads   default set_num_threads, FASTINIT_NUM_THREADS, or the CPUs this process may use
    progress  True for a bar (tqdm), or a function: called on the calling thread as progress(done_bytes, total_bytes)

    A value depends on (seed, name, index, law, dtype): not on the order of construction, on other submodules, on ranks.
    It is that of `fastinit.fill` and of a checkpoint that `fastinit.write` makes of the same names. Names are those of
    named_parameters without what wrappers add (DistributedDataParallel's `module.`, `_orig_mod.`,
    `_fsdp_wrapped_module.`, `_checkpoint_wrapped_module.`); a tied parameter has its first name. Buffers are left
    alone.

    Raises ValueError, before the first store, for a parameter without a law (that no initialiser writes and no layer of
    torch.nn owns; of a class whose constructor, or an initialiser with arguments, says what it draws; what is written
    is none of our laws), on the meta device, of a law that its shape or dtype cannot have, for two parameters of one
    name, and where all are frozen; TypeError for a module with flat parameters (FSDP1), which hold no tensor of their
    own, and for what is no module and builds none.
    """
    if frozen not in ("keep", "draw"):
        raise ValueError(f"frozen is {frozen!r}; it can be 'keep' (leave them as they are) or 'draw'")
    if not isinstance(module, nn.Module):
        return materialize_(module, seed, rules, prefix=prefix, threads=threads, progress=progress)
    stream_words(seed, "", STREAM)
    workers = resolve(threads)
    targets = targets_of(module, rules, prefix, init=init, trainable_only=frozen == "keep")
    if frozen == "keep":
        _count_frozen(module, bool(targets))
    for target in targets:
        if target.parameter.is_meta:
            raise ValueError(
                f"parameter {target.tensor.name!r} is on the meta device, without memory; use materialize_, or "
                "module.to_empty(device=...) first"
            )
        own = dtype_name(target.parameter.dtype)
        if target.tensor.dtype != own:
            raise ValueError(
                f"parameter {target.tensor.name!r} is of {own}, and its rule says {target.tensor.dtype}; convert the "
                "module first, or leave the dtype out of the rule"
            )
    fill_all(targets, seed, workers, following(progress))
    return module


def _count_frozen(module: nn.Module, some: bool) -> None:
    """Log how many parameters stay as they are; refuse a model of which nothing is left to draw."""
    parameters = list(module.parameters())
    count = sum(not one.requires_grad for one in parameters)
    if count == len(parameters) and count and not some:
        raise ValueError(
            f"all {count} parameters are frozen (requires_grad is False), so that none would be drawn; "
            "frozen='draw' draws them"
        )
    if count:
        _log.info("initialize_: %d of %d parameters are frozen, and stay as they are", count, len(parameters))


def materialize_(
    module: Model,
    seed: int,
    rules: Rules | None = None,
    dtype: torch.dtype | None = None,
    *,
    init: Init = AUTO,
    buffers: Mapping[str, torch.Tensor] | None = None,
    prefix: str = "",
    threads: int | None = None,
    progress: AnyProgress = None,
) -> nn.Module:
    """Give the meta parameters of a module memory on the CPU, and their weights, in one parallel pass; return it.

        model = fastinit.torch.materialize_(lambda: Model(config), seed=0)

    module   what builds the model, a callable without arguments, whose code is recorded and draws nothing; or a built
             module with parameters on the meta device
    dtype    of the float parameters; None: as they are. A rule's own dtype goes before it
    init     for a built module, as in `initialize_`
    buffers  name -> value, for buffers on the meta device. Of a model that is built here all have theirs; of a built
             one only statistics of normalising layers get theirs back: any other that is not given is an error that
             names it, since no law knows what it held

    Tied parameters stay tied; requires_grad and attributes of a parameter stay; frozen ones are drawn too. Parameters
    that have memory are left alone. The memory is advised to be huge pages. Other arguments, errors and the guarantee
    as `initialize_`; a DTensor on the meta device is refused: `module.to_empty(device="cpu")` gives it memory,
    `initialize_` weights.
    """
    stream_words(seed, "", STREAM)
    workers = resolve(threads)
    model = built(module)
    targets = _without_memory(model, rules, dtype, init, prefix)
    for target in targets:
        if is_sharded(target.parameter):
            raise ValueError(
                f"parameter {target.tensor.name!r} is a DTensor on the meta device; call "
                "module.to_empty(device='cpu'), then initialize_"
            )
    values = buffer_values(model.module, buffers or {}, prefix, model.recording)
    fresh = [replace(target, parameter=_given_memory(target)) for target in targets]
    fill_all(fresh, seed, workers, following(progress))
    values |= {id(old.parameter): new.parameter for old, new in zip(targets, fresh, strict=True)}
    for layer in model.module.modules():  # every place of a tied parameter
        for own in (layer._parameters, layer._buffers):
            for name, old in own.items():
                if id(old) in values:
                    own[name] = values[id(old)]
    return model.module


def _without_memory(
    model: Built, rules: Rules | None, dtype: torch.dtype | None, init: Init, prefix: str
) -> list[Target]:
    """The parameters that are to have memory: those of the meta device, and those that were made while recording."""
    if model.recording is None:
        return targets_of(model.module, rules, prefix, dtype, init=init, meta_only=True)
    return targets_of(model.module, rules, prefix, dtype, init=model.recording, made_only=True)


def plan(
    module: Model,
    rules: Rules | None = None,
    dtype: torch.dtype | None = None,
    *,
    init: Init = AUTO,
    prefix: str = "",
) -> Plan:
    """The plan of a checkpoint of this module, for `fastinit.write`; no tensor of it needs memory.

        plan(lambda: transformers.AutoModelForCausalLM.from_config(config))

    module  what builds the model, a callable without arguments, whose code is recorded and draws nothing; or a built
            module, also on the meta device

    Parameters, frozen ones too, and the buffers that a state dict holds: of a model that is built here all, of a built
    one statistics of normalising layers, and what a rule matches. A tied parameter is written once, under its first
    name; a copy of a layer is a `fastinit.laws.Copy`. `origin` of the plan says where the laws come from, and the
    versions of the libraries. The other arguments and errors as `materialize_`.
    """
    model = built(module)
    targets = targets_of(model.module, rules, prefix, dtype, init=model.recording or init, buffers=True)
    tied = {alias: target.tensor.name for target in targets for alias in target.aliases}
    sources = {target.tensor.name: target.source for target in targets}
    return Plan(tuple(target.tensor for target in targets), tied, origin=model.origin(sources))


def _given_memory(target: Target) -> nn.Parameter:
    """A parameter like that of the target, on the CPU; its attributes stay."""
    memory = torch.empty(target.tensor.shape, dtype=getattr(torch, target.tensor.dtype), device="cpu")
    parameter = nn.Parameter(memory, requires_grad=target.parameter.requires_grad)
    parameter.__dict__.update(target.parameter.__dict__)
    return parameter
