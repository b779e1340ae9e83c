"""What a weight file holds and where: the header of .npy, or the bare elements of .bin."""

from __future__ import annotations

import errno
import io
import math
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastinit.address import Shard, integer
from fastinit.dtypes import FORMATS, PARTS, Format

# Formats that NumPy has no name for; raw unsigned integers hold them.
UNRECORDED = ("bfloat16", "float8_e4m3fn", "float8_e5m2")
MOST_DIMENSIONS = 64  # of an array, since NumPy 2


@dataclass(frozen=True)
class Layout:
    """The header of a file (empty for .bin and for a file that has its own) and what follows it.

    storage  NumPy dtype of the elements; raw integers for bfloat16 and float8
    fortran  the first dimension varies fastest, not the last
    begin    offset of the first element in the file, in bytes
    """

    shape: tuple[int, ...]
    dtype: str
    storage: np.dtype[Any]
    header: bytes
    begin: int
    fortran: bool = False

    @property
    def format(self) -> Format | None:
        """The floating-point format; None for integers and bool, which constants may fill."""
        return FORMATS.get(self.dtype)

    @property
    def raw(self) -> str | None:
        """What the raw integers of the storage hold; None where it has the dtype of the file."""
        return self.dtype if self.storage.name != self.dtype else None

    @property
    def elements(self) -> int:
        """How many elements the file holds."""
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.begin + self.elements * self.storage.itemsize


def ending(target: Path) -> str:
    """How the name ends: .npy or .bin also where it is nothing else, which for Path is no suffix."""
    return target.name if target.name in (".npy", ".bin") else target.suffix


def exact_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape whose entries are exact integers, none negative."""
    lengths = tuple(integer(length, "an entry of shape") for length in shape)
    if any(length < 0 for length in lengths):
        raise ValueError(f"shape {lengths} has a negative entry; give how many elements the array has along each axis")
    return Shard(lengths, [0] * len(lengths)).shape


def storage_of(target: Path, dtype: object) -> tuple[str, np.dtype[Any]]:
    """The name of a dtype and how NumPy stores it."""
    if isinstance(dtype, str) and dtype in UNRECORDED:
        name = dtype
    else:
        try:
            kind = np.dtype(dtype)  # type: ignore[call-overload]
        except TypeError:
            raise TypeError(
                f"{target}: dtype {dtype!r} is unknown; use one of {', '.join((*FORMATS, *PARTS))}"
            ) from None
        name = kind.name
        if name not in UNRECORDED and name not in PARTS and (kind.kind not in "fiub" or kind.itemsize > 8):
            raise TypeError(
                f"{target}: dtype {name} is no number of up to 8 bytes a part; "
                f"use one of {', '.join((*FORMATS, *PARTS))}"
            )
    if name not in UNRECORDED:
        return name, np.dtype(name)
    if ending(target) == ".npy":
        raise TypeError(
            f"{target}: .npy cannot record {name}; NumPy would read it back as raw bytes. "
            "Write a .bin file, or use float16 or float32"
        )
    return name, np.dtype(FORMATS[name].storage)


def new_layout(target: Path, shape: tuple[int, ...], dtype: object) -> Layout:
    """The layout of a file that is to be created."""
    name, storage = storage_of(target, dtype)
    header = b""
    if ending(target) == ".npy":
        if len(shape) > MOST_DIMENSIONS:
            raise ValueError(
                f"{target}: shape has {len(shape)} dimensions, and NumPy opens at most {MOST_DIMENSIONS}; "
                "write a .bin file, or merge dimensions"
            )
        text = io.BytesIO()
        description = {"descr": np.lib.format.dtype_to_descr(storage), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(text, description)
        header = text.getvalue()
    return Layout(shape, name, storage, header, len(header))


def existing_layout(target: Path, shape: Sequence[int] | None, dtype: object) -> Layout:
    """Read what an existing file holds, and compare with what the caller says."""
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, f"{target} is a directory; name a file to fill")
    if not target.exists():
        raise FileNotFoundError(
            errno.ENOENT, f"{target} does not exist; to create it, leave out existing=True (--existing)"
        )
    if not stat.S_ISREG(target.stat().st_mode):
        raise ValueError(f"{target} is not a regular file")
    if ending(target) == ".npy":
        layout = _read_header(target)
        if shape is not None and exact_shape(shape) != layout.shape:
            raise ValueError(
                f"{target} holds an array of shape {layout.shape}, not {tuple(shape)}; leave the shape out"
            )
        if dtype is not None and storage_of(target, dtype)[0] != layout.dtype:
            raise ValueError(f"{target} holds {layout.dtype}, not {dtype}; leave the dtype out")
    elif shape is None:
        raise ValueError(f"{target}: a .bin file does not say its shape; pass it")
    else:
        layout = new_layout(target, exact_shape(shape), "float32" if dtype is None else dtype)
    size = target.stat().st_size
    if size < layout.size or (size > layout.size and ending(target) == ".bin"):
        raise ValueError(
            f"{target} has {size:,} bytes; {layout.dtype} of shape {layout.shape} needs {layout.size:,}. "
            "Check shape and dtype, or create the file anew"
        )
    return layout


def _read_header(target: Path) -> Layout:
    """The layout that a .npy file's own header gives."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with target.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            if version not in readers:  # (3, 0) is for records with field names beyond Latin-1
                raise ValueError(f"version {version} does not hold plain numbers")
            shape, fortran, dtype = readers[version](file)
            shape = exact_shape(shape)
        except OSError:
            raise
        except Exception as error:  # NumPy takes the header for Python: damaged, it may provoke whatever Python can say
            said = " ".join(f"{error!s:.300}".split()) or type(error).__name__
            raise ValueError(f"{target} is not a .npy file that can be filled: {said}; create it anew") from None
        begin = file.tell()
    if not dtype.isnative:
        raise ValueError(
            f"{target} holds {dtype.str}, of the other byte order; convert it with astype, or create it anew"
        )
    name, storage = storage_of(target, dtype)
    return Layout(shape, name, storage, b"", begin, fortran and len(shape) > 1)
