"""A draw as an operator, which torch.compile keeps in its graph and runs as it runs without being compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import init

from fastinit import laws
from fastinit.torch import tensors
from fastinit.torch.initialisers import columns

# Law -> PyTorch's own function, for a tensor that turns out, when the graph runs, not to be one that fastinit fills.
_BY_TORCH: dict[Callable[..., Any], Callable[..., Any]] = {
    laws.Uniform: init.uniform_,
    laws.Normal: init.normal_,
    laws.TruncatedNormal: init.trunc_normal_,
    laws.Constant: init.constant_,
    laws.Orthogonal: init.orthogonal_,
    columns: init.sparse_,
}
_LAWS = {law.__name__: law for law in _BY_TORCH}
tensors.OPERATORS.update(_LAWS)


def _draw(tensor: Tensor, law: str, numbers: Sequence[float]) -> None:
    kind = _LAWS[law]
    if not tensors.draw(tensor, kind, tuple(numbers)):
        _BY_TORCH[kind](tensor, *numbers)


# Two draws of one law are two, whatever a compiler makes of equal calls.
_library = torch.library.Library("fastinit", "DEF")
_library.define("draw_(Tensor(a!) tensor, str law, float[] numbers) -> ()", tags=(torch.Tag.nondeterministic_seeded,))
_library.impl("draw_", _draw, "CompositeExplicitAutograd")
torch.library.register_fake("fastinit::draw_", lambda tensor, law, numbers: None, lib=_library)

OPERATOR = torch.ops.fastinit.draw_
