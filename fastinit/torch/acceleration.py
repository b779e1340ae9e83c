"""accelerate: inside the block, and in its thread, what initialises is drawn by fastinit.

PyTorch's own interception, a TorchFunctionMode, sees the draws: it belongs to the thread, nests, and ends with the
block. It sees tensor methods and some functions of torch.nn.init. The few initialisers whose bodies are Python loops
(redraw until none is outside, a permutation a column) or a QR are taken whole, by other functions under their names as
long as any thread is in a block; in the others these fall through. docs/torch.md says what is taken how.
"""

from __future__ import annotations

import functools
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import init
from torch.overrides import TorchFunctionMode
from torch.utils import checkpoint

from fastinit import laws
from fastinit.address import STREAM, stream_words
from fastinit.torch import computing, initialisers
from fastinit.torch.addresses import Block, Report, blocks, note
from fastinit.torch.tensors import draw, why_not

Namespace = dict[str, Any]


@contextmanager
def accelerate(seed: int | None = None, *, devices: str = "cpu") -> Iterator[Report]:
    """Draw with fastinit whatever is initialised inside the block, on this thread.

        with fastinit.torch.accelerate(seed=0) as report:
            model = transformers.AutoModelForCausalLM.from_config(config)
        print(report)

    seed     None: each draw takes its seed from PyTorch's generator, so that torch.manual_seed governs it. With a seed,
             the n-th draw of the block has the address (seed, n): the same model built in the same order has the same
             weights. `initialize_` gives weights that do not depend on the order. Code in the block that restores a
             state of PyTorch's generator draws again what it drew from it; after code has seeded it, it governs
    devices  "cpu": what is on an accelerator is left to PyTorch. "all": it is drawn on the CPU and copied, with the
             same bits, a piece at a time

    Taken are the functions of torch.nn.init under any reference to them, Tensor.normal_ and uniform_, torch.randn and
    rand, on float tensors of the CPU. Of a DTensor each rank draws the block that it holds, without communication: with
    a seed, the full tensor is the one that a single process draws. All else is PyTorch's, and counted in
    `report.fell_through` with the reason. So is what a module's forward, a checkpointed function or a backward draws.
    Constants below 4 MiB are PyTorch's too, and not counted: their bits are the same. Blocks nest; after the block, and
    after an exception, nothing is left.

    Raises TypeError or ValueError for a seed that is none, ValueError for other devices; a draw raises ValueError for a
    DTensor whose place in the whole is not known.
    """
    if seed is not None:
        stream_words(seed, 0, STREAM)
    if devices not in ("cpu", "all"):
        raise ValueError(f'devices is {devices!r}; pass "cpu" (accelerators are PyTorch\'s) or "all"')
    if not blocks():
        computing.start()
    block = Block(seed, everywhere=devices == "all")
    with _taken_whole:
        blocks().append(block)
        try:
            with _Mode(block):
                yield block.report
        finally:
            blocks().remove(block)


# --- the draws of tensors ---------------------------------------------------------------------------------------------


class _Mode(TorchFunctionMode):
    """Sees every call of PyTorch's functions on this thread; while it handles one, it sees none."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block

    def __torch_function__(
        self, func: Any, kinds: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        taken = _TAKEN.get(func) or _guarded(func)
        if (
            taken is None
            or self.block is not blocks()[-1]  # a block around another sees what that one let through
            or self.block.passing
            or _computes(func.__name__)
        ):
            return func(*args, **(kwargs or {}))
        with _calling(func.__name__):
            return taken(func, *args, **(kwargs or {}))


@contextmanager
def _calling(name: str) -> Iterator[None]:
    """Count what is drawn inside under this name."""
    block = blocks()[-1]
    block.calling = name
    try:
        yield
    finally:
        block.calling = None


def _computes(name: str) -> bool:
    """Whether a model computes, so that PyTorch draws; it is counted."""
    reason = computing.why_torch()
    if reason:
        with _calling(name):
            note(name, reason)
    return bool(reason)


def _guarded(func: Any) -> Callable[..., Any] | None:
    """What takes a function that another library has put into torch.nn.init, as transformers does while it builds.

    PyTorch's own function hands itself over by its name, so that what arrives here is the function of that name.
    """
    name = func.__name__ if type(func) is types.FunctionType else None
    return _initialiser if name in _INITIALISERS and vars(init)[name] is func else None


def _initialiser(func: Any, *args: Any, **kwargs: Any) -> Any:
    """A function of torch.nn.init, by ours of its name."""
    return getattr(initialisers, func.__name__)(*args, **kwargs)


def _method(law: Any, first: str, second: str, defaults: tuple[float, float]) -> Callable[..., Any]:
    """A method of tensors, which autograd may record."""

    def handle(func: Any, tensor: Tensor, *args: Any, generator: Any = None, **kwargs: Any) -> Any:
        named = (
            dict(zip((first, second), defaults, strict=True)) | dict(zip((first, second), args, strict=False)) | kwargs
        )
        recorded = tensor.requires_grad and torch.is_grad_enabled()
        if recorded:
            note(func.__name__, "recorded by autograd")
        elif len(args) <= 2 and set(named) == {first, second}:
            numbers = (named[first], named[second])
            if draw(tensor, law, numbers, generator):
                return tensor
        return func(tensor, *args, generator=generator, **kwargs)

    return handle


def _factory(law: Any) -> Callable[..., Any]:
    """A function that makes a tensor of draws."""

    def handle(func: Any, *args: Any, generator: Any = None, **kwargs: Any) -> Any:
        if kwargs.get("out") is None and kwargs.get("names") is None:
            tensor = torch.empty(*args, **{**kwargs, "requires_grad": False})
            if draw(tensor, law, (0.0, 1.0), generator):
                return tensor.requires_grad_() if kwargs.get("requires_grad") else tensor
        return func(*args, generator=generator, **kwargs)

    return handle


_INITIALISERS = {name for name in vars(initialisers) if name.endswith("_") and callable(getattr(init, name, None))}
_TAKEN: dict[Any, Callable[..., Any]] = {
    **{getattr(init, name): _initialiser for name in _INITIALISERS},
    Tensor.normal_: _method(laws.Normal, "mean", "std", (0.0, 1.0)),
    Tensor.uniform_: _method(laws.Uniform, "from", "to", (0.0, 1.0)),
    torch.randn: _factory(laws.Normal),
    torch.rand: _factory(laws.Uniform),
}


# --- initialisers that are taken whole --------------------------------------------------------------------------------


def _active() -> bool:
    """Whether this thread is in a block that takes what is initialised."""
    return bool(blocks()) and not blocks()[-1].passing


@contextmanager
def _asked_for(name: str) -> Iterator[bool]:
    """Whether a function is taken. If not, because a model computes, what PyTorch draws inside is not counted again."""
    block = blocks()[-1]
    if _computes(name):
        block.passing = True
        try:
            yield False
        finally:
            block.passing = False
    else:
        with _calling(name):
            yield True


def _truncated(original: Callable[..., Any]) -> Callable[..., Any]:
    """The body of trunc_normal_: of PyTorch, whose public function asks for it by its name, and of timm's copy."""

    @functools.wraps(original)
    def taken(tensor: Tensor, mean: float, std: float, a: float, b: float, generator: Any = None) -> Any:
        options = {} if generator is None else {"generator": generator}
        if not _active():
            return original(tensor, mean, std, a, b, **options)
        with _asked_for("trunc_normal_") as ours:
            if not ours:
                return original(tensor, mean, std, a, b, **options)
            filled = initialisers.truncated(tensor, mean, std, a, b, generator, level=4)
        return tensor if filled else original(tensor, mean, std, a, b, **options)

    return taken


def _distributed(original: Callable[..., Any]) -> Callable[..., Any]:
    """What makes the DTensors of torch.distributed.tensor: `rand` and `randn` draw this rank's block at its address."""

    @functools.wraps(original)
    def taken(init_op: Any, *args: Any, **kwargs: Any) -> Any:
        law = {torch.randn: laws.Normal, torch.rand: laws.Uniform}.get(init_op)
        if law is None or not _active():
            return original(init_op, *args, **kwargs)
        with _asked_for(init_op.__name__) as ours:
            tensor = original(torch.empty, *args, **{**kwargs, "requires_grad": False})
            if not ours or why_not(tensor):
                return original(init_op, *args, **kwargs)
            draw(tensor, law, (0.0, 1.0))
        return tensor.requires_grad_() if kwargs.get("requires_grad") else tensor

    return taken


def _whole(original: Callable[..., Any]) -> Callable[..., Any]:
    """An initialiser by ours of its name."""
    ours = getattr(initialisers, original.__name__)

    @functools.wraps(original)
    def taken(*args: Any, **kwargs: Any) -> Any:
        if not _active():
            return original(*args, **kwargs)
        with _asked_for(original.__name__) as taken_whole:
            return (ours if taken_whole else original)(*args, **kwargs)

    return taken


def _identity(original: Callable[..., Any]) -> Callable[..., Any]:
    """eye_ of a DTensor, in whose block PyTorch's own cannot place the ones; nothing is drawn or counted."""

    @functools.wraps(original)
    def taken(tensor: Tensor) -> Any:
        if _active() and tensor.ndimension() == 2 and initialisers.placed(tensor, laws.Identity()):
            return tensor
        return original(tensor)

    return taken


def _dirac(original: Callable[..., Any]) -> Callable[..., Any]:
    """dirac_ of a DTensor in the same way; arguments that PyTorch refuses it refuses itself."""

    @functools.wraps(original)
    def taken(tensor: Tensor, groups: int = 1) -> Any:
        fits = tensor.ndimension() in (3, 4, 5) and type(groups) is int and groups > 0 and not tensor.size(0) % groups
        if _active() and fits and initialisers.placed(tensor, laws.Dirac(groups)):
            return tensor
        return original(tensor, groups)

    return taken


class _TakenWhole:
    """Puts our functions in place when the first block of any thread opens, and the originals back after the last."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.open = 0
        self.places: list[tuple[Namespace, str, Any]] = []
        self.call: Any = None

    def __enter__(self) -> None:
        with self.lock:
            self.open += 1
            if self.open == 1:
                for namespace, name, take in _places():
                    original = namespace[name]
                    self.places.append((namespace, name, original))
                    namespace[name] = take(original)
                self.call = nn.Module._call_impl
                nn.Module._call_impl = computing.noticing(self.call)

    def __exit__(self, *exception: object) -> None:
        with self.lock:
            self.open -= 1
            if self.open == 0:
                nn.Module._call_impl = self.call
                while self.places:
                    namespace, name, original = self.places.pop()
                    namespace[name] = original


_taken_whole = _TakenWhole()


def _places() -> Iterator[tuple[Namespace, str, Callable[[Any], Any]]]:
    """Namespace, name, and what to make of the function there."""
    yield vars(init), "_no_grad_trunc_normal_", _truncated
    if timm := sys.modules.get("timm.layers.weight_init"):
        yield vars(timm), "_trunc_normal_", _truncated
    if tensors := sys.modules.get("torch.distributed.tensor._api"):
        yield vars(tensors), "_dtensor_init_helper", _distributed
    if hasattr(checkpoint, computing.ASKED):
        yield vars(checkpoint), computing.ASKED, computing.noticing
    namespaces = [vars(module) for module in list(sys.modules.values()) if hasattr(module, "__dict__")]
    if transformers := sys.modules.get("transformers.initialization"):
        namespaces.append(vars(transformers).get("TORCH_INIT_FUNCTIONS", {}))
    for name, take in (("orthogonal_", _whole), ("sparse_", _whole), ("eye_", _identity), ("dirac_", _dirac)):
        original = getattr(init, name)
        for namespace in namespaces:
            if namespace.get(name) is original:
                yield namespace, name, take
