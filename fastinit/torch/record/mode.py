"""Sees every call of PyTorch's functions on a thread, and notes what it writes instead of drawing.

Memory that only chance or nothing has filled is of the meta device; tables computed without chance stay on the CPU with
their values, so that code which reads them goes on. While the mode handles a call, it sees none.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fastinit.torch.record.contents import here
from fastinit.torch.record.memory import Storages

Handler = Callable[..., Any]


class NotRecordableError(RuntimeError):
    """The code of a model asks for values that are recorded, not drawn."""


class Recorder(TorchFunctionMode):
    """The mode, and what it has noted."""

    def __init__(self) -> None:
        super().__init__()
        self.storages = Storages()
        self.behind: dict[int, torch.Generator] = {}  # of the code's own, and a draw of theirs was recorded, not drawn

    def __torch_function__(
        self, func: Any, kinds: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.__name__
        if name != "__get__" and _any_sharded((*args, *kwargs.values())):
            args, kwargs = self._whole(args), self._whole(kwargs)
        if kwargs:
            if "generator" in kwargs and name not in OF_VALUES:
                self.leaves_behind(kwargs["generator"])
            if kwargs.get("out") is not None and name not in OF_OUT:
                return self._into(func, kinds, args, kwargs)
            if kwargs.get("inplace"):
                return self._in_place(func, kinds, args, kwargs)
        handler = HANDLERS.get(name)
        if handler is not None:
            return handler(self, func, args, kwargs)
        return DEFAULT[0](self, func, args, kwargs)

    def _into(self, func: Any, kinds: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A function with out=: its result, and a copy."""
        outs = kwargs["out"]
        results = self.__torch_function__(func, kinds, args, {k: v for k, v in kwargs.items() if k != "out"})
        pairs = zip(outs, results, strict=True) if isinstance(outs, (tuple, list)) else ((outs, results),)
        for out, result in pairs:
            if out.shape != result.shape:
                raise NotRecordableError(
                    f"{here()}: {func.__name__} into an out= of another shape; give it one of its own"
                )
            with self:
                out.copy_(result)
        return outs

    def _in_place(self, func: Any, kinds: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A function of torch.nn.functional with inplace=True: its result, and a copy."""
        result = self.__torch_function__(func, kinds, args, {**kwargs, "inplace": False})
        tensor = next(iter(self.tensors(args, kwargs)))
        with self:
            tensor.copy_(result)
        return tensor

    # --- what handlers ask ------------------------------------------------------------------------------------------

    def _whole(self, value: Any) -> Any:
        """Arguments in which the whole tensor, without memory, stands for each DTensor: its slices are no DTensors."""
        if isinstance(value, Tensor):
            return self.storages.whole(value)
        if type(value) in (list, tuple):
            return type(value)(self._whole(one) for one in value)
        if type(value) is dict:
            return {name: self._whole(one) for name, one in value.items()}
        return value

    def tensors(self, *values: Any) -> list[Tensor]:
        """The tensors among arguments."""
        found: list[Tensor] = []
        for value in values:
            if isinstance(value, Tensor):
                found.append(value)
            elif isinstance(value, (list, tuple)):
                found += self.tensors(*value)
            elif isinstance(value, dict):
                found += self.tensors(*value.values())
        return found

    def none_recorded(self, *values: Any) -> bool:
        """Whether every tensor among the arguments has its values in its memory."""
        return not any(self.storages.is_recorded(tensor) for tensor in self.tensors(*values))

    def born(self, result: Any) -> Any:
        """A result with values, which are the recording's own."""
        for tensor in self.tensors(result):
            if not tensor.is_meta:
                self.storages.born(tensor)
        return result

    def gives_values(self, generator: torch.Generator | None) -> bool:
        """Whether what this generator draws next are values that the code itself decides, for every seed.

        So it is for one that the code brings along, with the seed that it says: unless a draw of it was recorded, which
        left it where it was, or chance has seeded it (Generator.seed draws 53 bits; PyTorch's own start has 46).
        """
        if generator is None or generator is torch.default_generator or id(generator) in self.behind:
            return False
        seed = generator.initial_seed()
        return bool(seed < 1 << 32 or seed == torch.Generator().initial_seed()) and generator.device.type == "cpu"

    def leaves_behind(self, generator: torch.Generator | None) -> None:
        """Note that a draw of this generator is recorded, not drawn."""
        if generator is not None:
            self.behind[id(generator)] = generator

    def refuse_value(self, name: str) -> NotRecordableError:
        """The error of code that branches on a draw."""
        return NotRecordableError(
            f"{here()}: {name} needs values that are recorded, not drawn. A law cannot depend on what was drawn; give "
            "the parameters of this module rules, or initialise it without recording"
        )


def _any_sharded(values: Iterable[Any]) -> bool:
    """Whether there is a DTensor among arguments; without a process group there is none."""
    tensors = sys.modules.get("torch.distributed.tensor")
    return tensors is not None and torch.distributed.is_initialized() and _any_of(tensors.DTensor, values)


def _any_of(kind: type, values: Iterable[Any]) -> bool:
    return any(isinstance(one, kind) or (isinstance(one, (list, tuple)) and _any_of(kind, one)) for one in values)


HANDLERS: dict[str, Handler] = {}
DEFAULT: list[Handler] = []
# What has an out= and a handler that looks at it.
OF_OUT = {"empty", "randn", "rand", "normal", "eye", "empty_permuted"}
# Draws of which fastinit has no law: those of a generator of the code's own are values.
OF_VALUES = {
    *("randint", "randint_like", "randperm", "multinomial", "bernoulli", "poisson", "binomial", "_standard_gamma"),
    *("exponential_", "log_normal_", "cauchy_", "geometric_", "bernoulli_", "random_"),
}


def handles(*names: str) -> Callable[[Handler], Handler]:
    """Register what is done when a function of this name is called."""

    def register(handler: Handler) -> Handler:
        for name in names:
            HANDLERS[name] = handler
        return handler

    return register


def run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call PyTorch's own function; what is recorded and what has values meet on the meta device."""
    try:
        return func(*args, **kwargs)
    except (RuntimeError, NotImplementedError) as error:
        text = str(error)
        if "device" not in text and "meta" not in text:
            raise
        return func(*_on_meta(args), **_on_meta(kwargs))


def _on_meta(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value if value.is_meta else value.detach().to("meta")
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        return type(value)(_on_meta(one) for one in value)
    if isinstance(value, dict):
        return {name: _on_meta(one) for name, one in value.items()}
    return value
