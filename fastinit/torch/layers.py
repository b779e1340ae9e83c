"""The law that each layer of torch.nn draws its own parameters from, when it is built."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from torch import nn

from fastinit.fans import fans
from fastinit.laws import Constant, Law, Normal, Padded, Uniform
from fastinit.schemes import xavier_normal, xavier_uniform

Shape = tuple[int, ...]
Laws = dict[str, Law]


def default_laws(module: nn.Module) -> Laws:
    """Qualified name of a parameter, or of a norm's statistics -> the law that its layer's reset_parameters gives it.

    A parameter of a layer that is not of torch.nn, or that has its own reset_parameters, is not in it, nor one that a
    subclass or weight_norm adds to a layer of torch.nn: its reset_parameters does not know them. A layer that redraws
    parameters of the layers inside it (MultiheadAttention, Transformer) has the last word, as when it is built.
    """
    found: Laws = {}
    for prefix, layer in reversed(list(module.named_modules(remove_duplicate=False))):  # what is inside comes first
        laws = next((laws for types, laws in LAYERS if isinstance(layer, types)), None)
        if laws is not None and _resets_as_torch(layer):
            found |= {f"{prefix}.{name}" if prefix else name: law for name, law in laws(layer).items()}
    return found


def _resets_as_torch(layer: nn.Module) -> bool:
    """Whether the method that draws is that of torch.nn, not one that a subclass put in its place."""
    reset = getattr(type(layer), "reset_parameters", None) or getattr(type(layer), "_reset_parameters", None)
    return reset is None or reset.__module__.startswith("torch.")


def _own(layer: nn.Module, names: str = "weight|bias") -> dict[str, Shape]:
    """The layer's own parameters whose name the pattern knows; spectral_norm and prune append `_orig` to it."""
    known = re.compile(f"({names})(_orig)?")
    own = layer.named_parameters(recurse=False)
    return {name: tuple(parameter.shape) for name, parameter in own if known.fullmatch(name)}


def _within(bound: float) -> Uniform | Constant:
    """U(-bound, bound)."""
    return Uniform(-bound, bound) if bound else Constant(0.0)


def _linear(layer: Any) -> Laws:
    """Weight and bias: U(-a, a), a = 1 / sqrt(fan_in), which is kaiming_uniform_ at a slope of sqrt(5).

    fan_in as torch.nn.init counts it, which for a transposed convolution is that of the outputs.
    """
    fan_in = fans(tuple(layer.weight.shape), "torch").fan_in
    return dict.fromkeys(_own(layer), _within(1.0 / math.sqrt(fan_in) if fan_in else 0.0))


def _bilinear(layer: Any) -> Laws:
    """U(-a, a), a = 1 / sqrt(features of the first input)."""
    return dict.fromkeys(_own(layer), _within(1.0 / math.sqrt(layer.weight.shape[1])))


def _recurrent(layer: Any) -> Laws:
    """U(-a, a), a = 1 / sqrt(hidden size), biases too."""
    names = r"(weight_(ih|hh|hr)|bias_(ih|hh))(_l\d+(_reverse)?)?"  # of a cell without the number of a layer
    return dict.fromkeys(_own(layer, names), _within(1.0 / math.sqrt(layer.hidden_size) if layer.hidden_size else 0.0))


def _embedding(layer: Any) -> Laws:
    """N(0, 1); the row of padding_idx is zero."""
    padding = layer.padding_idx
    return {"weight": Normal(0.0, 1.0) if padding is None else Padded(Normal(0.0, 1.0), padding)}


def _norm(layer: nn.Module) -> Laws:
    """Weight 1, bias 0."""
    return {name: Constant(1.0 if name.startswith("weight") else 0.0) for name in _own(layer)}


def _norm_with_statistics(layer: nn.Module) -> Laws:
    """Weight 1, bias 0; the statistics of no batch: mean 0, variance 1."""
    none, one = Constant(0.0), Constant(1.0)
    return _norm(layer) | {"running_mean": none, "running_var": one, "num_batches_tracked": none}


def _prelu(layer: Any) -> Laws:
    """The slope it was given."""
    return {"weight": Constant(float(layer.init))}


def _attention(layer: Any) -> Laws:
    """Xavier's uniform for the matrices of queries, keys and values (packed ones as one matrix), zero biases."""
    laws: Laws = {"out_proj.bias": Constant(0.0)} if layer.out_proj.bias is not None else {}
    laws |= {name: xavier_uniform(*fans(shape)) for name, shape in _own(layer, "(in|q|k|v)_proj_weight").items()}
    laws |= {name: xavier_normal(*fans(shape)) for name, shape in _own(layer, "bias_(k|v)").items()}
    laws |= dict.fromkeys(_own(layer, "in_proj_bias"), Constant(0.0))
    return laws


def _transformer(layer: nn.Module) -> Laws:
    """Xavier's uniform for every matrix of encoder and decoder."""
    inside = [item for item in layer.named_parameters() if item[0].startswith(("encoder.", "decoder."))]
    return {name: xavier_uniform(*fans(tuple(p.shape))) for name, p in inside if p.dim() > 1}


LAYERS: tuple[tuple[tuple[type[nn.Module], ...], Callable[[Any], Laws]], ...] = (
    ((nn.Linear, nn.modules.conv._ConvNd), _linear),
    ((nn.Bilinear,), _bilinear),
    ((nn.RNNBase, nn.RNNCellBase), _recurrent),
    ((nn.Embedding, nn.EmbeddingBag), _embedding),
    ((nn.LayerNorm, nn.GroupNorm, nn.RMSNorm), _norm),
    ((nn.modules.batchnorm._NormBase,), _norm_with_statistics),
    ((nn.PReLU,), _prelu),
    ((nn.MultiheadAttention,), _attention),
    ((nn.Transformer,), _transformer),
)
