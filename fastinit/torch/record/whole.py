"""Initialisers that a mode cannot see on the meta device, because they return before they call anything.

`trunc_normal_`, `orthogonal_`, `sparse_` and `dirac_` return early there, and timm's truncated normal computes with
draws. Code holds them under any name, in tables and partial functions too, so that the function objects themselves are
given other code as long as any thread records; in the other threads that code calls the original.
"""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import init

from fastinit import laws
from fastinit.torch.record.contents import Lawful, Unknown, Unwritten, here
from fastinit.torch.record.mode import Recorder
from fastinit.torch.record.writes import note_draw

_local = threading.local()
_HOOK = "_fastinit_recorded"


def recorders() -> list[Recorder]:
    """The recorders of this thread; the last is the innermost."""
    if not hasattr(_local, "open"):
        _local.open = []
    found: list[Recorder] = _local.open
    return found


# --- what stands in the place of each: same arguments, and one call ---------------------------------------------------


def _no_grad_trunc_normal_(tensor, mean, std, a, b, generator=None):  # type: ignore[no-untyped-def]
    return _fastinit_recorded("trunc_normal_", tensor, mean, std, a, b, generator=generator)  # type: ignore[name-defined] # noqa: F821


def _trunc_normal_(tensor, mean, std, a, b):  # type: ignore[no-untyped-def]
    return _fastinit_recorded("timm", tensor, mean, std, a, b)  # type: ignore[name-defined] # noqa: F821


def orthogonal_(tensor, gain=1, generator=None):  # type: ignore[no-untyped-def]
    """Stands in the place of torch.nn.init.orthogonal_."""
    return _fastinit_recorded("orthogonal_", tensor, gain, generator=generator)  # type: ignore[name-defined] # noqa: F821


def sparse_(tensor, sparsity, std=0.01, generator=None):  # type: ignore[no-untyped-def]
    """Stands in the place of torch.nn.init.sparse_."""
    return _fastinit_recorded("sparse_", tensor, sparsity, std, generator=generator)  # type: ignore[name-defined] # noqa: F821


def dirac_(tensor, groups=1):  # type: ignore[no-untyped-def]
    """Stands in the place of torch.nn.init.dirac_."""
    return _fastinit_recorded("dirac_", tensor, groups)  # type: ignore[name-defined] # noqa: F821


# --- the laws ---------------------------------------------------------------------------------------------------------


def _truncated(tensor: Tensor, mean: float, std: float, a: float, b: float) -> laws.Law:
    return laws.TruncatedNormal(float(mean), float(std), float(a), float(b))


def _orthogonal(tensor: Tensor, gain: float) -> laws.Law:
    if tensor.ndimension() < 2:
        raise ValueError("Only tensors with 2 or more dimensions are supported")
    return laws.Orthogonal(abs(float(gain)))


def _sparse(tensor: Tensor, sparsity: float, std: float) -> laws.Law:
    if tensor.ndimension() != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    return laws.Sparse(laws.Normal(0.0, float(std)), float(sparsity))


def _dirac(tensor: Tensor, groups: int) -> laws.Law:
    law = laws.Dirac(groups)
    law.check(tuple(tensor.shape))
    return law


_LAWS: dict[str, Callable[..., laws.Law]] = {
    "trunc_normal_": _truncated,
    "timm": _truncated,
    "orthogonal_": _orthogonal,
    "sparse_": _sparse,
    "dirac_": _dirac,
}


_original_from_numpy = torch.from_numpy


def _from_numpy(array: Any) -> Tensor:
    """torch.from_numpy, which no mode sees: values, made while recording."""
    tensor = _original_from_numpy(array)
    if recorders():
        recorders()[-1].born(tensor)
    return tensor


def _init(self: Tensor, *args: Any, **kwargs: Any) -> None:
    """torch.Tensor(...), which no mode sees: of a list its values, of sizes memory that nobody has written."""
    if type(self) is torch.Tensor and recorders() and args and not isinstance(args[0], Tensor):
        recorder = recorders()[-1]
        with torch._C.DisableTorchFunction():
            if isinstance(args[0], (list, tuple)) and not isinstance(args[0], torch.Size):
                recorder.born(self)
            elif isinstance(args[0], (int, torch.Size)):
                recorder.storages.write(self, Unwritten(here()))


class _InPlace:
    """Gives the functions their other code when the first recording of any thread begins, and takes it back."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.open = 0
        self.changed: list[tuple[types.FunctionType, types.CodeType]] = []

    def __enter__(self) -> None:
        with self.lock:
            self.open += 1
            if self.open == 1:
                for key, function, other in _functions():
                    original = types.FunctionType(
                        function.__code__, function.__globals__, function.__name__, function.__defaults__
                    )
                    hook = function.__globals__.setdefault(_HOOK, _Hook())
                    hook.originals[key] = original
                    self.changed.append((function, function.__code__))
                    function.__code__ = other.__code__
                torch.from_numpy = _from_numpy
                torch.Tensor.__init__ = _init

    def __exit__(self, *exception: object) -> None:
        with self.lock:
            self.open -= 1
            if self.open == 0:
                while self.changed:
                    function, code = self.changed.pop()
                    function.__code__ = code
                    function.__globals__.pop(_HOOK, None)
                torch.from_numpy = _original_from_numpy
                del torch.Tensor.__init__


class _Hook:
    """What the other code calls: the name of the initialiser, and its arguments."""

    def __init__(self) -> None:
        self.originals: dict[str, Callable[..., Any]] = {}

    def __call__(self, key: str, tensor: Tensor, *numbers: Any, **options: Any) -> Any:
        if not recorders():
            return self.originals[key](tensor, *numbers, **options)
        recorder = recorders()[-1]
        recorder.leaves_behind(options.get("generator"))
        tensor, given = recorder.storages.whole(tensor), tensor
        if tensor.numel():
            without_mode(recorder, key, tensor, numbers)
        return given


def without_mode(recorder: Recorder, key: str, tensor: Tensor, numbers: tuple[Any, ...]) -> None:
    """Note the law of an initialiser that was taken whole."""
    with torch._C.DisableTorchFunction():
        try:
            law = _LAWS[key](tensor, *numbers)
        except (TypeError, ValueError) as error:
            if "Only tensors" in str(error) or key == "dirac_":
                raise
            recorder.storages.write(tensor, Unknown(f"{key}: {error}", here()))
            return
        if law.draws:
            note_draw(recorder, tensor, law)
        else:
            recorder.storages.write(tensor, Lawful(law, None, here()))


def _functions() -> list[tuple[str, types.FunctionType, types.FunctionType]]:
    """Key, function and what stands in its place, of those that are loaded."""
    found: list[tuple[str, Any, Any]] = [
        ("trunc_normal_", init._no_grad_trunc_normal_, _no_grad_trunc_normal_),
        *((one.__name__, getattr(init, one.__name__), one) for one in (orthogonal_, sparse_, dirac_)),
    ]
    if timm := sys.modules.get("timm.layers.weight_init"):
        found.append(("timm", timm._trunc_normal_, _trunc_normal_))
    return [(key, unwrapped(function), other) for key, function, other in found]


def unwrapped(function: Any) -> types.FunctionType:
    """The function of Python itself, without what `accelerate` may have put around it."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    assert isinstance(function, types.FunctionType)
    return function


whole = _InPlace()
