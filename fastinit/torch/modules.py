"""Whole models: draw every parameter under its own name, give a meta model its weights, or hand it to a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import torch
from torch import nn

from fastinit.address import STREAM, stream_words
from fastinit.plan import Plan, Rule
from fastinit.threads import resolve
from fastinit.torch.drawing import fill_all
from fastinit.torch.shards import is_sharded
from fastinit.torch.targets import Target, buffer_values, dtype_name, targets_of

Progress = Callable[[int, int], object]
Rules = Iterable[Rule]


def initialize_(
    module: nn.Module,
    seed: int,
    rules: Rules | None = None,
    *,
    prefix: str = "",
    threads: int | None = None,
    progress: Progress | None = None,
) -> nn.Module:
    """Draw every parameter again, under its qualified name; return the module.

    module    on any device. DTensor parameters (FSDP2, tensor parallel) are filled on each rank alone, and are the
              shards of the tensor that one process would draw, bit for bit
    seed      integer in [0, 2^64), the same on every rank
    rules     `fastinit.plan.Rule`s, in order; the first that matches the whole name counts. The scheme "skip" leaves a
              parameter as it is, "default" draws it as its layer does. None: every parameter as its layer of torch.nn
              does when it is built
    prefix    in front of every name: that of the stage's place in the whole model, such as "layers.12."
    threads   default set_num_threads, FASTINIT_NUM_THREADS, or the CPUs this process may use
    progress  called on the calling thread as progress(done_bytes, total_bytes)

    A value depends on (seed, name, index, law, dtype): not on the order of construction, on other submodules, on ranks.
    It is that of `fastinit.fill` and of a checkpoint that `fastinit.write` makes of the same names. Names are those of
    named_parameters without what wrappers add (DistributedDataParallel's `module.`, `_orig_mod.`,
    `_fsdp_wrapped_module.`, `_checkpoint_wrapped_module.`); a tied parameter has its first name. Buffers are left
    alone.

    Raises ValueError, before the first store, for a parameter without a law (a layer that is not of torch.nn, and no
    rule), on the meta device, of a law that its shape or dtype cannot have, and for two parameters of one name;
    TypeError for a module with flat parameters (FSDP1), which hold no tensor of their own.
    """
    stream_words(seed, "", STREAM)
    workers = resolve(threads)
    targets = targets_of(module, rules, prefix)
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
    fill_all(targets, seed, workers, progress)
    return module


def materialize_(
    module: nn.Module,
    seed: int,
    rules: Rules | None = None,
    dtype: torch.dtype | None = None,
    *,
    buffers: Mapping[str, torch.Tensor] | None = None,
    prefix: str = "",
    threads: int | None = None,
    progress: Progress | None = None,
) -> nn.Module:
    """Give the meta parameters of a module memory on the CPU, and their weights, in one parallel pass; return it.

        with torch.device("meta"):
            model = Model(config)
        fastinit.torch.materialize_(model, seed=0)

    dtype    of the float parameters; None: as they are. A rule's own dtype goes before it
    buffers  name -> value, for buffers on the meta device. Statistics of normalising layers get theirs back without it;
             any other that is not given is an error that names it, since no law knows what it held

    Tied parameters stay tied; requires_grad and attributes of a parameter stay. Parameters that have memory are left
    alone. The memory is advised to be huge pages. Other arguments, errors and the guarantee as `initialize_`; a DTensor
    on the meta device is refused: `module.to_empty(device="cpu")` gives it memory, `initialize_` weights.
    """
    stream_words(seed, "", STREAM)
    workers = resolve(threads)
    targets = targets_of(module, rules, prefix, dtype, meta_only=True)
    for target in targets:
        if is_sharded(target.parameter):
            raise ValueError(
                f"parameter {target.tensor.name!r} is a DTensor on the meta device; call "
                "module.to_empty(device='cpu'), then initialize_"
            )
    values = buffer_values(module, buffers or {}, prefix)
    fresh = [replace(target, parameter=_given_memory(target)) for target in targets]
    fill_all(fresh, seed, workers, progress)
    values |= {id(old.parameter): new.parameter for old, new in zip(targets, fresh, strict=True)}
    for layer in module.modules():  # every place of a tied parameter
        for own in (layer._parameters, layer._buffers):
            for name, old in own.items():
                if id(old) in values:
                    own[name] = values[id(old)]
    return module


def plan(module: nn.Module, rules: Rules | None = None, dtype: torch.dtype | None = None, *, prefix: str = "") -> Plan:
    """The plan of a checkpoint of this module, for `fastinit.write.write`; a meta module will do.

    Parameters, and the buffers that a state dict holds: statistics of normalising layers, and what a rule matches. A
    tied parameter is written once, under its first name. The other arguments and errors as `materialize_`.
    """
    targets = targets_of(module, rules, prefix, dtype, buffers=True)
    tied = {alias: target.tensor.name for target in targets for alias in target.aliases}
    return Plan(tuple(target.tensor for target in targets), tied)


def _given_memory(target: Target) -> nn.Parameter:
    """A parameter like that of the target, on the CPU; its attributes stay."""
    memory = torch.empty(target.tensor.shape, dtype=getattr(torch, target.tensor.dtype), device="cpu")
    parameter = nn.Parameter(memory, requires_grad=target.parameter.requires_grad)
    parameter.__dict__.update(target.parameter.__dict__)
    return parameter
