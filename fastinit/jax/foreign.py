"""What a compiled function of JAX calls to draw: a target of XLA's foreign function interface, in ctypes alone.

XLA hands over the memory of a result, and the handler fills it: no copy, no callback through Python objects of JAX. The
structures are those of xla/ffi/api/c_api.h, which jaxlib brings along; each begins with its own size, so that a newer
interface, which only adds fields, is read as the one that is known here.
"""

from __future__ import annotations

import ctypes
import json
import math
import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from fastinit.address import Shard
from fastinit.fill import fill
from fastinit.floating_point import default_mode, is_default
from fastinit.jax.keys import seed_of_words
from fastinit.laws import Law
from fastinit.laws.law_json import from_json, to_json

TARGET = "fastinit_draw"
MAJOR, MINOR = 0, 3  # the version of the interface whose structures stand below
EXECUTE = 3  # of XLA_FFI_ExecutionStage
METADATA = 1  # of XLA_FFI_Extension_Type
INVALID_ARGUMENT, INTERNAL = 3, 13  # of XLA_FFI_Error_Code


# --- structures -------------------------------------------------------------------------------------------------------


class Structure(ctypes.Structure):
    """One that begins with its size and a list of extensions."""

    _fields_: ClassVar[Sequence[tuple[str, Any]]] = (("size", ctypes.c_size_t), ("extensions", ctypes.c_void_p))


class Version(Structure):
    """Of the interface."""

    _fields_ = (("major", ctypes.c_int), ("minor", ctypes.c_int))


class Buffer(Structure):
    """An argument or a result: its memory and its shape."""

    _fields_ = (
        ("dtype", ctypes.c_int),
        ("data", ctypes.c_void_p),
        ("rank", ctypes.c_int64),
        ("dims", ctypes.POINTER(ctypes.c_int64)),
    )


class Buffers(Structure):
    """All arguments, or all results."""

    _fields_ = (
        ("count", ctypes.c_int64),
        ("types", ctypes.c_void_p),
        ("items", ctypes.POINTER(ctypes.POINTER(Buffer))),
    )


class Text(ctypes.Structure):
    """The value of an attribute, which is text."""

    _fields_ = (("start", ctypes.c_void_p), ("length", ctypes.c_size_t))


class Attributes(Structure):
    """All attributes."""

    _fields_ = (
        ("count", ctypes.c_int64),
        ("types", ctypes.c_void_p),
        ("names", ctypes.c_void_p),
        ("items", ctypes.POINTER(ctypes.POINTER(Text))),
    )


class Failure(Structure):
    """What an error of XLA is made of."""

    _fields_ = (("message", ctypes.c_char_p), ("code", ctypes.c_int))


class Interface(Structure):
    """What XLA offers, as far as the maker of errors."""

    _fields_ = (
        ("version", Version),
        ("internal", ctypes.c_void_p),
        ("create_error", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(Failure))),
    )


class Frame(Structure):
    """One call."""

    _fields_ = (
        ("api", ctypes.POINTER(Interface)),
        ("context", ctypes.c_void_p),
        ("stage", ctypes.c_int),
        ("arguments", Buffers),
        ("results", Buffers),
        ("attributes", Attributes),
    )


class Metadata(ctypes.Structure):
    """What a handler says of itself, as far as the version of its structures."""

    _fields_ = (("size", ctypes.c_size_t), ("version", Version))


class Extension(ctypes.Structure):
    """The extension of a call that asks for metadata."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("kind", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("metadata", ctypes.POINTER(Metadata)),
    )


def _foreign_layout(frame: Frame) -> str | None:
    """What makes a call frame shorter than the structures above, in words; None where nothing does."""
    for structure in (frame, frame.api.contents, frame.arguments, frame.results, frame.attributes):
        known = ctypes.sizeof(type(structure))
        if structure.size < known:
            return f"a {type(structure).__name__} of {structure.size} bytes, and one of {known} is known here"
    return None


# --- the handler ------------------------------------------------------------------------------------------------------


def _handle(pointer: Any) -> int | None:
    """Describe itself where XLA asks for it, else draw; what it raises becomes an error of XLA."""
    frame = pointer.contents
    try:
        if frame.extensions:
            extension = ctypes.cast(frame.extensions, ctypes.POINTER(Extension)).contents
            if extension.kind == METADATA:
                version = extension.metadata.contents.version
                version.size = ctypes.sizeof(Version)
                version.major, version.minor = MAJOR, min(MINOR, frame.api.contents.version.minor)
                return None
        if unlike := _foreign_layout(frame):
            raise RuntimeError(f"XLA's foreign function interface has {unlike}")
        if frame.stage == EXECUTE:
            _draw(frame)
    except BaseException as error:  # nothing may be raised through XLA
        code = INVALID_ARGUMENT if isinstance(error, (TypeError, ValueError)) else INTERNAL
        text = f"{type(error).__name__}: {error}".encode()
        failure = Failure(ctypes.sizeof(Failure), None, text, code)
        created: int = frame.api.contents.create_error(ctypes.byref(failure))
        return created
    return None


_handler = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(Frame))(_handle)


def _draw(frame: Frame) -> None:
    """Fill the memory of the result: a block of the tensor, for each key of the batch."""
    words, numbers = (_array(frame.arguments.items[i].contents, np.dtype(np.uint32)) for i in range(2))
    text = frame.attributes.items[0].contents
    law, dtype, shape, name = _decoded(ctypes.string_at(text.start, text.length))
    fill_blocks(_array(frame.results.items[0].contents, dtype), law, shape, name, words, numbers.tolist())


def _array(buffer: Buffer, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """The memory of a buffer as an array."""
    shape = tuple(buffer.dims[: buffer.rank])
    size = math.prod(shape) * dtype.itemsize
    if not size:
        return np.empty(shape, dtype)
    return np.frombuffer((ctypes.c_char * size).from_address(buffer.data), dtype).reshape(shape)


@lru_cache(maxsize=1024)  # of every call of every device
def _decoded(text: bytes) -> tuple[Law, np.dtype[Any], tuple[int, ...], str | int]:
    said = json.loads(text)
    return from_json(said["law"]), jnp.dtype(said["dtype"]), tuple(said["shape"]), said["name"]


def fill_blocks(
    out: np.ndarray[Any, Any],
    law: Law,
    shape: tuple[int, ...],
    name: str | int,
    words: np.ndarray[Any, Any],
    numbers: list[int],
) -> None:
    """Fill the block that a device holds of a tensor, once for each key.

    out      (batch..., block...): all blocks of a tensor are of one shape, of which the last ones may stick out
    words    (batch..., words of a key)
    numbers  which block it is, along every dimension of the tensor

    What sticks out belongs to no element; XLA pads so where a dimension does not divide, and it is zero here.
    """
    block = out.shape[out.ndim - len(shape) :]
    if not out.size:
        return
    offsets = [number * length for number, length in zip(numbers, block, strict=True)]
    inside = [max(0, min(length, n - at)) for length, n, at in zip(block, shape, offsets, strict=True)]
    place = Shard(shape, offsets) if 0 not in inside and tuple(block) != shape else None
    if tuple(inside) != block:
        out.view(np.uint8)[...] = 0
        if 0 in inside:
            return
    part: tuple[Any, ...] = (..., *(slice(n) for n in inside))  # the dots keep a tensor without dimensions an array
    # XLA's threads flush subnormals, and a draw does not.
    with nullcontext() if is_default() else default_mode(warn=False):
        every = out.reshape(-1, *block)
        for i, key in enumerate(words.reshape(-1, words.shape[-1])):
            fill(every[(i, *part)], law, seed=seed_of_words(key), name=name, shard=place)


# --- the call ---------------------------------------------------------------------------------------------------------


@cache
def is_available() -> bool:
    """Register the handler, once, and say whether jaxlib's interface is the one of the structures above.

    Where it is not, a warning says so. Nothing is tried then: a handler of another version that is registered before
    the backend of the CPU starts would keep it from starting.
    """
    found = _version()
    if found is None or found[0] != MAJOR:
        said = "is not to be found" if found is None else f"has version {found[0]}.{found[1]}"
        warnings.warn(
            f"the foreign function interface of this jaxlib {said}, and fastinit knows {MAJOR}.{MINOR}: under jax.jit "
            "a callback draws weights, whole on every device. Install another jax, or draw outside of jit",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    jax.ffi.register_ffi_target(TARGET, jax.ffi.pycapsule(_handler), platform="cpu", api_version=1)
    return True


def _version() -> tuple[int, int] | None:
    """The version of the interface, as the header of jaxlib has it."""
    try:
        header = Path(jax.ffi.include_dir(), "xla", "ffi", "api", "c_api.h").read_text(encoding="utf-8")
    except OSError:
        return None
    found = [re.search(rf"#define XLA_FFI_API_{part} (\d+)", header) for part in ("MAJOR", "MINOR")]
    return (int(found[0][1]), int(found[1][1])) if found[0] and found[1] else None


def encoded(law: Law, shape: tuple[int, ...], dtype: np.dtype[Any], name: str | int) -> str:
    """What a call says to the handler, beside key and block."""
    return json.dumps({"law": to_json(law), "dtype": dtype.name, "shape": list(shape), "name": name})


def call(said: str, words: Any, numbers: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> jax.Array:
    """The traced call: `shape` is that of the block that is drawn, the batch of the words before it."""
    draw: Callable[..., jax.Array] = jax.ffi.ffi_call(TARGET, jax.ShapeDtypeStruct(shape, dtype))
    return draw(words, numbers, said=said)
