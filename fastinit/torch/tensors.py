"""Which tensors fastinit can fill, the memory of one as NumPy sees it, and a draw into it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache
from math import copysign, sqrt
from typing import Any

import numpy as np
import torch
from torch._compile import _disable_dynamo  # torch.compiler.disable would import the whole compiler now

from fastinit import engines
from fastinit.address import Shard
from fastinit.dtypes import FORMATS, Format, storage_dtype
from fastinit.engines.interface import one_row
from fastinit.fill import buffers, fill
from fastinit.fill.memory import Foreign, populate
from fastinit.floating_point import in_default_mode, is_default
from fastinit.laws import KernelArguments, Law, Normal
from fastinit.laws.law import IndependentLaw, ShapedLaw
from fastinit.torch.addresses import address, address_from, address_words, note, on_every_device
from fastinit.torch.shards import is_sharded, local_part
from fastinit.torch.staging import fill_staged

Array = np.ndarray[Any, Any]

DTYPES: dict[torch.dtype, str] = {getattr(torch, name): name for name in FORMATS}
# What NumPy shall see of the others: it has no bfloat16 and no float8, and a view as integers is no copy.
_RAW = {"bfloat16": torch.int16, "float8_e4m3fn": torch.uint8, "float8_e5m2": torch.uint8}
_KINDS = {dtype: storage_dtype(name).str for dtype, name in DTYPES.items()}
_STORED = {name: np.dtype(format.storage) for name, format in FORMATS.items()}
_COMPLEX = (torch.complex64, torch.complex128)
_OF_PARTS = ("Normal", "Uniform")
PLAIN = {torch.Tensor, torch.nn.Parameter, torch.nn.Buffer}
# Up to so many elements a draw is one call of a kernel, without the cutting and the checks of `fill`, with which a call
# on a bias took 10 times as long as PyTorch's own.
SMALL = 1 << 14
# A name that a small call would look up again and again.
_strided = torch.strided
# The transform that the thread is in: vmap may ask for a draw an example, also of a tensor that it has not wrapped.
_transform = torch._C._functorch.peek_interpreter_stack
_is_compiling = torch.compiler.is_dynamo_compiling
increment_version = torch.autograd.graph.increment_version


def why_not(tensor: torch.Tensor) -> str:
    """Why PyTorch must do what is asked of this tensor; empty where fastinit can.

    What PyTorch refuses (integers, overlapping memory, inference tensors outside inference mode) is left to it too, for
    its own error. A DTensor is filled where its block is; one whose place is not known is a ValueError, since what
    PyTorch would draw instead are the same values on every rank.
    """
    if type(tensor) not in PLAIN:
        return _why_not_sharded(tensor) if is_sharded(tensor) else f"a {type(tensor).__name__}"
    if not tensor.is_cpu and (tensor.is_meta or not on_every_device()):
        return f"on {tensor.device.type}"
    if tensor.dtype not in DTYPES:
        return f"of {str(tensor.dtype).removeprefix('torch.')}"
    if tensor.layout is not _strided:
        return f"of layout {str(tensor.layout).removeprefix('torch.')}"
    if tensor.is_nested:
        return "a nested tensor"
    if tensor.is_inference() and not torch.is_inference_mode_enabled():
        return "an inference tensor"
    if tensor.is_neg() or _transform() is not None:
        return "under a transformation"
    if not tensor.is_contiguous() and overlaps(tensor):
        return "overlapping itself"
    return ""


def _why_not_sharded(tensor: Any) -> str:
    """The same of a DTensor, by its block on this rank."""
    if any(placement.is_partial() for placement in tensor.placements):
        return "a partial sum"  # which PyTorch refuses to draw in place
    return why_not(tensor.to_local())


def overlaps(tensor: torch.Tensor) -> bool:
    """Whether two elements of a tensor share memory; on other devices than the CPU, as far as PyTorch can tell."""
    if not tensor.is_cpu:
        return bool(torch._debug_has_internal_overlap(tensor) == 1)
    return not tensor.is_contiguous() and buffers.may_overlap(memory_of(tensor))


class _Own:
    """Memory that PyTorch has allocated."""

    __slots__ = ("__array_interface__", "owner")

    def __init__(self, interface: dict[str, Any], owner: object) -> None:
        self.__array_interface__, self.owner = interface, owner


def memory_of(tensor: torch.Tensor) -> Array:
    """The tensor's own memory; bfloat16 and float8 as unsigned integers.

    Not by `Tensor.numpy`, which would keep the storage from ever being resized again.
    """
    kind = _KINDS.get(tensor.dtype)
    if kind is None or not tensor.numel():
        return _by_numpy(tensor)
    strides = None
    if not tensor.is_contiguous():
        size = tensor.element_size()
        strides = tuple(step * size for step in tensor.stride())
    holder = Foreign if may_be_of_a_file(tensor) else _Own
    interface = {
        "data": (tensor.data_ptr(), False),
        "shape": tuple(tensor.shape),
        "strides": strides,
        "typestr": kind,
        "version": 3,
    }
    return np.asarray(holder(interface, tensor))


def _by_numpy(tensor: torch.Tensor) -> Array:
    """The same of an empty tensor, and of integers."""
    name, tensor = DTYPES.get(tensor.dtype, ""), tensor.detach()
    if name not in _RAW:
        own: Array = tensor.numpy()
        return own
    bits: Array = tensor.view(_RAW[name]).numpy()
    return bits.view(storage_dtype(name))


def may_be_of_a_file(tensor: torch.Tensor) -> bool:
    """Whether the memory of a CPU tensor is not PyTorch's own allocation: of `from_file`, `from_numpy`, shared memory.

    A store into a page of a file for which the disk has no room kills the process.
    """
    storage = tensor.untyped_storage()
    return not storage.resizable() or bool(storage.is_shared())


def draw(tensor: torch.Tensor, law: Callable[..., Law], numbers: tuple[Any, ...], generator: Any = None) -> bool:
    """Whether the tensor is filled by `law(*numbers)`; if not, PyTorch has to, and nothing is drawn or changed."""
    if _is_compiling():
        if generator is None and type(tensor) in PLAIN and law.__name__ in OPERATORS and _are_numbers(numbers):
            with torch.no_grad():
                torch.ops.fastinit.draw_(tensor, law.__name__, numbers)
            return True
        return _draw_between_graphs(tensor, law, numbers, generator)
    reason = why_not(tensor)
    if not reason:
        reason = _fill(tensor, law, numbers, generator)
    elif law.__name__ in _OF_PARTS and type(tensor) in PLAIN and tensor.dtype in _COMPLEX:
        reason = _fill_parts(tensor, law, numbers, generator)
    note(law.__name__, reason)
    if not reason and tensor.requires_grad and _is_computed(tensor):
        warnings.warn(
            "filled was a tensor that autograd has computed, by which no parameter changes; of a parametrised layer "
            "(torch.nn.utils.parametrizations.weight_norm and the like) fill parametrizations.weight.original, or "
            "original0, original1, ..., instead of weight",
            stacklevel=3,
        )
    return not reason


def _fill_parts(tensor: torch.Tensor, law: Callable[..., Law], numbers: tuple[Any, ...], generator: Any) -> str:
    """Fill complex numbers as PyTorch does, part by part; else why that cannot be.

    Each part of a normal has the mean, and half of the variance; each part of a uniform its bounds.
    """
    if tensor.is_conj():
        return "under a transformation"
    with torch.no_grad():
        parts = torch.view_as_real(tensor)
    if law is Normal:
        mean, std = numbers
        numbers = (mean, std / sqrt(2.0))
    return why_not(parts) or _fill(parts, law, numbers, generator)


def _is_computed(tensor: torch.Tensor) -> bool:
    """Whether a tensor is neither a leaf of autograd's nor a view of one."""
    if tensor._is_view():  # of several views at once autograd answers no question after a change
        return bool(tensor._base.requires_grad and not tensor._base.is_leaf)
    return not tensor.is_leaf


def _are_numbers(numbers: tuple[Any, ...]) -> bool:
    """Whether an operator can be given these: a tensor may change, and is read at every draw."""
    return all(isinstance(number, int | float) for number in numbers)


# Names of the laws that an operator draws, which torch.compile keeps in its graphs (compiled.py).
OPERATORS: set[str] = set()
# Other draws torch.compile cannot trace. Only a call that it traces goes this way, which takes a tenth of a bias.
_draw_between_graphs: Callable[..., bool] = _disable_dynamo(draw)


def _fill(tensor: torch.Tensor, law: Callable[..., Law], numbers: tuple[Any, ...], generator: Any) -> str:
    """Fill a tensor that can be filled; else why the law cannot be."""
    count, dtype = tensor.numel(), DTYPES[tensor.dtype]
    if count == 0:
        return ""
    try:
        made, prepared, format = _prepared(law, numbers, dtype)
        if prepared is None and isinstance(made, ShapedLaw):
            made.check(tuple(tensor.shape))
    except (TypeError, ValueError, ArithmeticError) as error:
        return f"refused: {error}"
    if not tensor.is_cpu or type(tensor) not in PLAIN:
        fill_elsewhere(tensor, made, *address_from(generator, tensor.device).tolist())
        return ""
    if prepared is not None and count <= SMALL and tensor.is_contiguous() and is_default():
        _fill_small(tensor, prepared, format, address_words(generator))
    else:
        storage = memory_of(tensor)
        seed, name = address(generator).tolist()
        fill(storage, made, seed=seed, name=name, dtype=dtype if dtype in _RAW else None)
    increment_version(tensor)  # as PyTorch does: autograd must hear of a change in place
    return ""


def _fill_small(tensor: torch.Tensor, arguments: KernelArguments, format: Format, words: Array) -> None:
    """Fill a contiguous tensor by one call of a kernel."""
    compiled, count = engines.loaded_compiled(), tensor.numel()
    if compiled is not None and not may_be_of_a_file(tensor):
        if compiled.fill_address(arguments, tensor.data_ptr(), count, _STORED[format.name], words, format.code):
            return
    storage = memory_of(tensor)
    if isinstance(storage.base, Foreign):
        populate(storage.ctypes.data, storage.nbytes)
    line = storage.view(format.storage).reshape(-1)
    if compiled is not None:
        compiled.fill_line(arguments, line, words, format.code)
    else:
        engines.chosen(count).fill(
            *(arguments.kernel, line, one_row(count), words),
            *(arguments.domain, arguments.reals, arguments.integers, format.code),
        )


def fill_elsewhere(tensor: torch.Tensor, law: Law, seed: int, name: int) -> None:
    """Fill this rank's block of a DTensor, or a tensor of an accelerator.

    A rank whose block is empty is given an address as the others are, so that all agree on that of the next draw.
    """
    part, shard = local_part(tensor)

    def into(memory: torch.Tensor, where: Shard | None) -> None:
        dtype = DTYPES[memory.dtype]
        raw = dtype if dtype in _RAW else None
        fill(memory_of(memory), law, seed=seed, name=name, shard=where, dtype=raw)

    if part.is_cpu:
        into(part, shard)
    else:
        fill_staged(part, shard, into, in_pieces=isinstance(law, IndependentLaw))
    increment_version(part)
    if part is not tensor:
        increment_version(tensor)  # a DTensor and its block count apart


def refused(tensor: torch.Tensor, law: Callable[..., Law], numbers: tuple[Any, ...]) -> str:
    """Why a tensor that can be filled cannot be by this law; empty where it can."""
    try:
        _prepared(law, numbers, DTYPES[tensor.dtype])
    except (TypeError, ValueError, ArithmeticError) as error:
        return f"refused: {error}"
    return ""


def _prepared(
    law: Callable[..., Law], numbers: tuple[Any, ...], dtype: str
) -> tuple[Law, KernelArguments | None, Format]:
    """A law, and what its kernel receives where one call of it draws the tensor; kept for the next call.

    Not kept is what a number does not say for ever: a tensor or an array may change in place, and -0.0 equals 0.0.
    """
    for number in numbers:
        if (type(number) is not float and type(number) is not int) or (not number and copysign(1.0, number) < 0):
            return _prepare(law, numbers, dtype)
    return _kept(law, numbers, dtype)


@in_default_mode
def _prepare(
    law: Callable[..., Law], numbers: tuple[Any, ...], dtype: str
) -> tuple[Law, KernelArguments | None, Format]:
    made, format = law(*numbers), FORMATS[dtype]
    prepared = made.kernel_arguments(format)
    return made, prepared if isinstance(made, IndependentLaw) else None, format


_kept = lru_cache(maxsize=1024)(_prepare)
