"""The values of a content: a table as it is, an expression by the operations that were recorded."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fastinit import laws
from fastinit.torch.record.contents import Assembled, Computed, Content, Draw, Input, Lawful, Values, why_unknown

LARGEST = 1 << 28  # elements of a table that is computed; 1 GiB of float32

Sample = Callable[[Draw], Tensor]


class NotComputableError(ValueError):
    """A content that has no values yet."""


def evaluate(content: Content, shape: tuple[int, ...], dtype: torch.dtype, sample: Sample | None = None) -> Tensor:
    """The values of a content as a tensor of this shape and dtype on the CPU; `sample` draws, or chance is refused.

    Raises NotComputableError for what is unknown, was never written, depends on chance, or is too large.
    """
    return _Evaluation(sample).tensor(content, shape, dtype)


class _Evaluation:
    def __init__(self, sample: Sample | None) -> None:
        self.sample = sample
        self.done: dict[int, tuple[Content, Any]] = {}
        self.draws: dict[int, Tensor] = {}

    def tensor(self, content: Content, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        count = math.prod(shape)
        if count > LARGEST:
            raise NotComputableError(f"it has {count:,} elements, and at most {LARGEST:,} are computed")
        if isinstance(content, Lawful):
            return self._lawful(content, shape, dtype)
        if isinstance(content, Values):
            values = content.values.to(dtype)
            return values.reshape(shape) if values.numel() == count else values.expand(shape)
        if isinstance(content, Assembled):
            return self._assembled(content, dtype)
        if isinstance(content, Computed):
            return self._computed(content).to(dtype).reshape(shape)
        unknown = why_unknown(content)
        raise NotComputableError(f"{unknown[0]} ({unknown[1]})" if unknown else "what was there before the recording")

    def _lawful(self, content: Lawful, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        if isinstance(content.law, laws.Constant):
            return torch.full(shape, content.law.value, dtype=dtype, device="cpu")
        if content.draw is None or content.parts or self.sample is None:
            if content.draw is None and isinstance(content.law, laws.Identity):
                return (torch.eye(*shape) * content.law.gain).to(dtype)
            raise NotComputableError("it depends on chance" if not content.parts else "it is a part of a draw")
        drawn = self.draws.get(id(content.draw))
        if drawn is None:
            drawn = self.draws[id(content.draw)] = self.sample(content.draw)
        return (drawn * content.scale + content.shift).to(dtype).reshape(shape)

    def _assembled(self, content: Assembled, dtype: torch.dtype) -> Tensor:
        if content.size > LARGEST:
            raise NotComputableError(f"its memory has {content.size:,} elements, and at most {LARGEST:,} are computed")
        memory = torch.zeros(content.size, dtype=dtype, device="cpu")
        for region, piece in content.pieces:
            view = torch.as_strided(memory, region.shape, region.strides, region.offset)
            view.copy_(self.tensor(piece, region.shape, dtype))
        view = content.view
        return torch.as_strided(memory, view.shape, view.strides, view.offset).clone()

    def _computed(self, content: Computed) -> Tensor:
        key = id(content.args)  # several results of one call share their arguments
        found = self.done.get(key)
        if found is None:
            with torch.no_grad():
                result = content.function(*self._filled(content.args), **self._filled(content.kwargs))
            found = self.done[key] = content, result
        result = found[1] if content.pick is None else _flat(found[1])[content.pick]
        assert isinstance(result, Tensor)
        return result

    def _filled(self, value: Any) -> Any:
        if isinstance(value, Input):
            return self.tensor(value.content, value.shape, value.dtype)
        if isinstance(value, torch.device):
            return torch.device("cpu")
        if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
            return type(value)(self._filled(one) for one in value)
        if isinstance(value, dict):
            return {name: "cpu" if name == "device" else self._filled(one) for name, one in value.items()}
        return value


def _flat(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [one for part in value for one in _flat(part)] if isinstance(value, (list, tuple)) else []
