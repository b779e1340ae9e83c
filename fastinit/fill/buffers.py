"""What a fill may write to: wrap it without a copy, refuse what cannot be filled, see its memory as one line."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from fastinit.dtypes import NAMES, PARTS, Format
from fastinit.engines.interface import Region
from fastinit.fill.foreign import refusal

Array = np.ndarray[Any, Any]


def wrap(buf: Any) -> Array:
    """An ndarray on the memory of `buf`, never a copy."""
    if isinstance(buf, np.ma.MaskedArray):
        raise TypeError("buf is a masked array, whose mask a fill would ignore; pass buf.data")
    if isinstance(buf, np.ndarray):
        return np.asarray(buf)
    if (instead := refusal(buf)) is not None:
        raise TypeError(instead)
    if isinstance(buf, np.generic) or not (hasattr(buf, "__dlpack__") or _has_buffer(buf)):
        raise TypeError(
            f"buf is a {type(buf).__name__}; pass a NumPy array, or an object whose memory NumPy can wrap "
            "(buffer protocol, DLPack: array.array, a PyTorch CPU tensor)"
        )
    if _has_buffer(buf):
        return np.asarray(memoryview(buf))
    for bit, meaning in (("is_neg", "holds its values with the sign turned"), ("_is_zerotensor", "has no memory")):
        if callable(has := getattr(buf, bit, None)) and has():
            raise TypeError(
                f"buf is a {type(buf).__name__} that {meaning}; fill "
                "buf.resolve_neg().clone(), which has memory of its own"
            )
    try:
        array = np.from_dlpack(buf)
        if not array.flags.writeable and _is_of_torch(buf):
            array = buf.numpy()  # the DLPack of old PyTorch does not say that it may be written: NumPy takes it as not
        elif not array.flags.writeable and not np.from_dlpack(np.empty(1)).flags.writeable:
            raise BufferError(f"NumPy {np.__version__} takes all that comes by DLPack as read-only; 2.2.6 does not")
        return array
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise TypeError(
            f"NumPy cannot wrap this {type(buf).__name__} without a copy ({error}); pass a view that it can, such as "
            'tensor.detach(), or tensor.view(torch.uint16).numpy() with dtype="bfloat16"'
        ) from error


def _is_of_torch(buf: Any) -> bool:
    return any(kind.__module__.partition(".")[0] == "torch" for kind in type(buf).__mro__)


def _has_buffer(buf: Any) -> bool:
    try:
        memoryview(buf).release()
    except TypeError:
        return False
    return True


def check(array: Array, format: Format | None, kind: str, *, floats_only: bool) -> None:
    """Refuse an array that a law of this kind cannot fill; some laws fill every numeric dtype."""
    if format is None and not (array.dtype.name in PARTS if floats_only else array.dtype.kind in "biufc"):
        raise TypeError(
            f"buf has dtype {array.dtype}, which {kind} cannot fill; it fills {NAMES}"
            + (f", {', '.join(PARTS)}" if floats_only else " and every bool, integer and complex dtype")
        )
    if array.flags.carray and array.dtype.isnative:
        return
    if not array.dtype.isnative:
        raise TypeError(
            f"buf has the byte order of another machine ({array.dtype.str}); use {array.dtype.newbyteorder('=').str}"
        )
    if not array.flags.writeable:
        raise ValueError("buf is read-only; pass a writable array, or open the memory map with mode 'r+'")
    if may_overlap(array):
        raise ValueError(
            f"buf of shape {array.shape} and strides {array.strides} overlaps itself, so that two elements would share "
            "memory; pass a copy"
        )


def may_overlap(array: Array) -> bool:
    """Whether two elements share memory; a strided layout that interleaves is decided by enumeration."""
    if array.size < 2 or array.flags.forc:
        return False
    reach = array.itemsize
    axes = sorted((abs(step), size) for step, size in zip(array.strides, array.shape, strict=True) if size > 1)
    for step, size in axes:
        if step < reach:
            return step == 0 or _offsets_collide(axes, array.itemsize)
        reach = step * (size - 1) + reach
    return False


def _offsets_collide(axes: list[tuple[int, int]], itemsize: int) -> bool:
    if math.prod(size for _, size in axes) > 1 << 24:
        return True  # too many to enumerate: refuse
    offsets = np.zeros(1, np.int64)
    for step, size in axes:
        offsets = (offsets[:, None] + step * np.arange(size)).reshape(-1)
    offsets.sort()
    return bool((np.diff(offsets) < itemsize).any())


def needs_staging(storage: Array) -> bool:
    """Whether elements are off their natural boundary, where kernels may not store."""
    if storage.flags.carray:
        return False
    return not storage.flags.aligned or any(step % storage.itemsize for step in storage.strides)


def line_of(storage: Array) -> tuple[Array, int]:
    """The memory of a block as one line of elements, and the place of its first logical element."""
    if storage.flags.c_contiguous:
        return storage.reshape(-1), 0
    spans = [step // storage.itemsize * (size - 1) for step, size in zip(storage.strides, storage.shape, strict=True)]
    lowest = storage[tuple(slice(None, None, -1) if span < 0 else slice(None) for span in spans)]
    length = sum(abs(span) for span in spans) + 1
    return as_strided(lowest, (length,), (storage.itemsize,)), -sum(span for span in spans if span < 0)


def place_of(line: Array, region: Region) -> Array:
    """The elements of a region of a line, as rows and columns."""
    offset, rows, row_step, cols, col_step = region[:5]
    return as_strided(line[offset:], (rows, cols), (row_step * line.itemsize, col_step * line.itemsize))
