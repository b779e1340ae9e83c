"""The safetensors format: the header that describes tensors, written as the format's own library writes it, and read.

A file is the length of the header (8 bytes, little-endian), the header (JSON), and the elements of all tensors, row by
row, without gaps. The library itself keeps all tensors in memory while it writes; here only the header is made, and
what lies where. Source: https://github.com/huggingface/safetensors, README "Format" and safetensors/src/tensor.rs.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

# dtype name -> the format's code, bytes of an element, rank in the library's order of alignment (largest first).
DTYPES = {
    "bool": ("BOOL", 1, 0),
    "uint8": ("U8", 1, 4),
    "int8": ("I8", 1, 5),
    "float8_e5m2": ("F8_E5M2", 1, 6),
    "float8_e4m3fn": ("F8_E4M3", 1, 7),
    "int16": ("I16", 2, 11),
    "uint16": ("U16", 2, 12),
    "float16": ("F16", 2, 13),
    "bfloat16": ("BF16", 2, 14),
    "int32": ("I32", 4, 15),
    "uint32": ("U32", 4, 16),
    "float32": ("F32", 4, 17),
    "complex64": ("C64", 8, 18),
    "float64": ("F64", 8, 19),
    "int64": ("I64", 8, 20),
    "uint64": ("U64", 8, 21),
}
NAMES = {code: name for name, (code, _, _) in DTYPES.items()}
LARGEST_HEADER = 100_000_000  # bytes: what the library reads and writes at most


class SafetensorsError(ValueError):
    """A file that is not a safetensors file, or a header that the format cannot hold; the message says which rule."""


@dataclass(frozen=True)
class Slot:
    """Where a tensor lies: dtype name, shape, and bytes [begin, end) of the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def elements(self) -> int:
        """How many elements the tensor has."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    """All slots in the order of the file, the metadata, and the bytes in front of the data."""

    slots: dict[str, Slot]
    metadata: dict[str, str]
    text: bytes

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return max((slot.end for slot in self.slots.values()), default=len(self.text))


def lay_out(tensors: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str] | None = None) -> Header:
    """The header of a file of these tensors (name -> dtype, shape), byte for byte as the library orders and pads it.

    Sorted by alignment, the largest first, then by name; padded with spaces to a multiple of 8. Metadata is sorted, so
    that equal content gives equal bytes. Raises SafetensorsError for a dtype the format has no code for, for the name
    "__metadata__" and for a header beyond 100 MB.
    """
    for name, (dtype, _) in tensors.items():
        if dtype not in DTYPES:
            raise SafetensorsError(f"tensor {name!r}: safetensors has no dtype {dtype}; it has {', '.join(DTYPES)}")
        if name == "__metadata__":
            raise SafetensorsError("a tensor cannot be called '__metadata__'; the format keeps that name")
    table: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    slots, begin = {}, 0
    for name in sorted(tensors, key=lambda name: (-DTYPES[tensors[name][0]][2], name)):
        dtype, shape = tensors[name]
        code, itemsize, _ = DTYPES[dtype]
        end = begin + math.prod(shape) * itemsize
        table[name] = {"dtype": code, "shape": list(shape), "data_offsets": [begin, end]}
        slots[name] = Slot(dtype, tuple(shape), begin, end)
        begin = end
    try:
        body = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise SafetensorsError("a name has a lone surrogate, which UTF-8 cannot encode; rename the tensor") from None
    body += b" " * (-len(body) % 8)
    if len(body) > LARGEST_HEADER:
        raise SafetensorsError(
            f"the header would take {len(body):,} bytes, and readers accept {LARGEST_HEADER:,}; write smaller files"
        )
    text = struct.pack("<Q", len(body)) + body
    start = len(text)
    return Header(
        {name: Slot(s.dtype, s.shape, start + s.begin, start + s.end) for name, s in slots.items()},
        dict(table.get("__metadata__", {})),
        text,
    )


def read_header(path: str | Path) -> Header:
    """Read the header of a file, and hold every rule of the format against it.

    Raises SafetensorsError, which names the file and the rule; OSError where the file cannot be read. Reads no data,
    and no more than the 100 MB that a header may have.
    """
    path = Path(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            refuse(path, f"has {size} bytes; the length of its header alone takes 8")
        (length,) = struct.unpack("<Q", start)
        if length > LARGEST_HEADER:
            refuse(path, f"says its header has {length:,} bytes; the format allows {LARGEST_HEADER:,}")
        if 8 + length > size:
            refuse(path, f"says its header has {length:,} bytes, but the file ends after {size:,}")
        body = file.read(length)
    try:
        table = json.loads(body.decode(), object_pairs_hook=unique, parse_int=_unsigned)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        refuse(path, f"has a header that is no JSON in UTF-8 ({error})")
    except ValueError:  # of `unique`: those of the parser are caught above
        refuse(path, "has a key twice in its header")
    if not isinstance(table, dict):
        refuse(path, "has a header that is no JSON object")
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        refuse(path, "has metadata that is no object of strings")
    for text in (*table, *metadata, *metadata.values()):
        if not _is_unicode(text):
            refuse(path, f"has half a surrogate pair in {_short(text)}; names and metadata are UTF-8")
    slots = {name: _slot(path, name, entry, 8 + length) for name, entry in table.items()}
    order = sorted(slots, key=lambda name: (slots[name].begin, slots[name].end))
    end = 8 + length
    for name in order:
        if slots[name].begin != end:
            kind = "overlaps" if slots[name].begin < end else "leaves a gap behind"
            refuse(path, f"has a tensor {_short(name)} that {kind} the one before it; tensors must touch")
        end = slots[name].end
    if end != size:
        refuse(path, f"has {size:,} bytes, but its header describes {end:,}")
    return Header({name: slots[name] for name in order}, metadata, start + body)


def _slot(path: Path, name: str, entry: Any, start: int) -> Slot:
    """One entry of the header, checked."""
    shown = f"a tensor {_short(name)}"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        refuse(path, f"has {shown} without dtype, shape and data_offsets, or with more")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in NAMES:
        refuse(path, f"has {shown} of dtype {_short(code)}; fastinit reads {', '.join(NAMES)}")
    for what, numbers in (("shape", shape), ("data_offsets", offsets)):
        if not isinstance(numbers, list) or not all(type(n) is int and n < 1 << 64 for n in numbers):
            refuse(path, f"has {shown} whose {what} is no list of unsigned integers: {_short(numbers)}")
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        refuse(path, f"has {shown} with data_offsets {_short(offsets)}; they must be [begin, end]")
    nbytes = _product([*shape, DTYPES[NAMES[code]][1]])
    if nbytes is None:
        refuse(path, f"has {shown} of shape {_short(shape)}, whose product is beyond 2^64")
    if nbytes != offsets[1] - offsets[0]:
        refuse(path, f"has {shown} of {nbytes:,} bytes by shape, {offsets[1] - offsets[0]:,} by data_offsets")
    return Slot(NAMES[code], tuple(shape), start + offsets[0], start + offsets[1])


def _product(numbers: list[int]) -> int | None:
    """Their product; None where it passes 2^64 on the way, as the library counts: a header of 100 MB may ask for it."""
    product = 1
    for number in numbers:
        product *= number
        if product >= 1 << 64:
            return None
    return product


def _unsigned(text: str) -> int | float:
    """An integer as the format has it; what is none (-1, -0, thousands of digits) as a float, refused where it stands.

    The library reads -0 as a float too, and Python refuses to read more than 4300 digits.
    """
    return int(text) if text.isdigit() and len(text) <= 20 else float(text)


def _is_unicode(text: str) -> bool:
    """Whether the text can be UTF-8; an escape in JSON may name half a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON in which no key comes twice; ValueError where one does."""
    found = dict(pairs)
    if len(found) != len(pairs):
        ((key, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"a key comes twice: {_short(key)}")
    return found


def _short(value: Any) -> str:
    """A value for a message: what a damaged header holds may be long."""
    if isinstance(value, (str, list)):
        value = value[:100]
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def read_at(fd: int, buffer: np.ndarray[Any, Any], offset: int, path: Path) -> None:
    """Read until the buffer is full; one read gives less than it was asked for at a signal, or at the end."""
    rest = memoryview(buffer)  # type: ignore[arg-type]
    while rest:
        count = os.preadv(fd, [rest], offset)
        if count == 0:
            refuse(path, f"has become shorter since its header: it ended at {offset:,} bytes while it was read")
        rest, offset = rest[count:], offset + count


def refuse(path: Path, what: str) -> NoReturn:
    """Raise the error that this file is not what it should be."""
    raise SafetensorsError(f"{path} {what}")
