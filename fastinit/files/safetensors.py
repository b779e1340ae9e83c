"""The safetensors format: the header that describes tensors, written as the format's own library writes it, and read.

A file is the length of the header (8 bytes, little-endian), the header (JSON), and the elements of all tensors, row by
row, without gaps. The library itself keeps all tensors in memory while it writes; here only the header is made, and
what lies where. Source: https://github.com/huggingface/safetensors, README "Format" and safetensors/src/tensor.rs.
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from fastinit.address import index_strides
from fastinit.files.system import read_some
from fastinit.printable import printable

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
# What the format has and fastinit cannot decode: dtype name -> code, bits of an element, rank.
UNDECODED = {
    "float4_e2m1fn": ("F4", 4, 1),
    "float6_e2m3fn": ("F6_E2M3", 6, 2),
    "float6_e3m2fn": ("F6_E3M2", 6, 3),
    "float8_e8m0fnu": ("F8_E8M0", 8, 8),
    "float8_e4m3fnuz": ("F8_E4M3FNUZ", 8, 9),
    "float8_e5m2fnuz": ("F8_E5M2FNUZ", 8, 10),
}
EVERY = {name: (code, 8 * size, rank) for name, (code, size, rank) in DTYPES.items()} | UNDECODED
UNDECODED_NAMES = {code: name for name, (code, _, _) in UNDECODED.items()}
FIELDS = {"dtype", "shape", "data_offsets"}

LARGEST_HEADER = 100_000_000  # bytes: what the library reads and writes at most
MOST_TENSORS = 1 << 18  # in one file; of each a reader keeps a KiB or two
MOST_BRACKETS = 4 * MOST_TENSORS  # of a kind: an empty list of two bytes takes 56 in Python
LIMIT = f"fastinit reads files of up to {MOST_TENSORS:,} tensors"
DEEPEST = 127  # levels of brackets: what the library reads

# How files begin that people have beside their safetensors files.
OTHER_FORMATS = {
    b"\x93NUMPY": "a .npy file of NumPy",
    b"PK\x03\x04": "a zip archive, such as .npz of NumPy or .pt of PyTorch,",
    b"GGUF": "a GGUF file",
    b"\x89HDF": "an HDF5 file",
    b"\x80\x02": "a pickle, such as an old .pt file of PyTorch,",
    b"\x1f\x8b": "a gzip file",
    b"{": "a JSON file",
}


class SafetensorsError(ValueError):
    """A file that is not a safetensors file, or a header that the format cannot hold; the message says which rule."""


@dataclass(frozen=True, slots=True)
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


def bits_of(dtype: str) -> int:
    """Bits of an element, also of a dtype that fastinit cannot decode."""
    return EVERY[dtype][1]


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


def lay_out(
    tensors: Mapping[str, tuple[str, tuple[int, ...]]],
    metadata: Mapping[str, str] | None = None,
    *,
    undecoded: bool = False,
) -> Header:
    """The header of a file of these tensors (name -> dtype, shape), byte for byte as the library orders and pads it.

    Sorted by alignment, the largest first, then by name; padded with spaces to a multiple of 8. Metadata is sorted, so
    that equal content gives equal bytes. `undecoded` takes those dtypes too whose elements fastinit cannot read.
    Raises SafetensorsError for a dtype the format has no code for, for the name "__metadata__" and for a header beyond
    100 MB.
    """
    for name, (dtype, _) in tensors.items():
        if dtype not in DTYPES and not (undecoded and dtype in UNDECODED):
            raise SafetensorsError(f"tensor {name!r}: safetensors has no dtype {dtype}; it has {', '.join(DTYPES)}")
        if name == "__metadata__":
            raise SafetensorsError("a tensor cannot be called '__metadata__'; the format keeps that name")
    table: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    slots, begin = {}, 0
    for name in sorted(tensors, key=lambda name: (-EVERY[tensors[name][0]][2], name)):
        dtype, shape = tensors[name]
        end = begin + math.prod(shape) * bits_of(dtype) // 8
        table[name] = {"dtype": EVERY[dtype][0], "shape": list(shape), "data_offsets": [begin, end]}
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

    What is taken is what the format's own library takes: other keys in an entry, a tensor that is listed twice (the
    last one counts), metadata that is null, and dtypes that fastinit cannot decode (`UNDECODED`).
    Raises SafetensorsError, which names the file and the rule; OSError where the file cannot be read. Reads no data,
    no more than the 100 MB that a header may have, and no more than 262,144 tensors, in linear time and memory.
    """
    path = Path(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            refuse(path, f"has {size} bytes; the length of its header alone takes 8")
        (length,) = struct.unpack("<Q", start)
        if length > LARGEST_HEADER or 8 + length > size:
            for magic, kind in OTHER_FORMATS.items():
                if start.startswith(magic):
                    refuse(path, f"is {kind}, not a safetensors file, which is what is read here")
        if length > LARGEST_HEADER:
            refuse(path, f"says its header has {length:,} bytes; the format allows {LARGEST_HEADER:,}")
        if 8 + length > size:
            refuse(path, f"says its header has {length:,} bytes, but the file ends after {size:,}")
        file.seek(0)
        text = file.read(8 + length)
    for bracket in (b"{", b"["):
        if text.count(bracket) > MOST_BRACKETS:
            refuse(path, f"has a header with more than {MOST_BRACKETS:,} brackets; {LIMIT}")
    try:
        decoded = str(memoryview(text)[8:], "utf-8")  # a slice of its own would be one copy more
        table = json.loads(decoded, object_pairs_hook=_object, parse_int=_unsigned)
    except (ValueError, RecursionError) as error:  # UTF-8 or JSON
        refuse(path, f"has a header that is no JSON in UTF-8 ({error})")
    pairs = _pairs(table)
    if pairs is None:
        refuse(path, "has a header that is no JSON object")
    del decoded, table
    if len(pairs) > MOST_TENSORS + 1:
        refuse(path, f"has a header of {len(pairs):,} entries; {LIMIT}")
    metadata = _metadata(path, pairs)
    slots: dict[str, Slot] = {}
    for name, entry in reversed(pairs):  # the last of two counts; of the other only the kinds of its fields are held
        if name != "__metadata__":
            fields = _fields(path, name, entry)
            if name not in slots:
                slots[name] = _slot(path, name, *fields, 8 + length)
        pairs.pop()  # a header of 100 MB: what is read makes room
    for word in (*slots, *metadata, *metadata.values()):
        if not _is_unicode(word):
            refuse(path, f"has half a surrogate pair in {_short(word)}; names and metadata are UTF-8")
    order = sorted(slots, key=lambda name: (slots[name].begin, slots[name].end))
    end = 8 + length
    for name in order:
        if slots[name].begin != end:
            kind = "overlaps" if slots[name].begin < end else "leaves a gap behind"
            refuse(path, f"has a tensor {_short(name)} that {kind} the one before it; tensors must touch")
        end = slots[name].end
    if end != size:
        refuse(path, f"has {size:,} bytes, but its header describes {end:,}")
    if order != list(slots):
        slots = {name: slots[name] for name in order}
    return Header(slots, metadata, text)


class _Entry(NamedTuple):
    """An object with the three fields of a tensor and nothing else: most of a header, kept small."""

    dtype: Any
    shape: Any
    data_offsets: Any


class _Object(list[tuple[str, Any]]):
    """Any other object, as its pairs: what a key that comes twice means depends on where it stands."""


def _object(pairs: list[tuple[str, Any]]) -> _Entry | _Object:
    if len(pairs) == 3:
        fields = dict(pairs)
        if fields.keys() == FIELDS:
            # A tuple takes half the memory of a list that was read.
            return _Entry(*(tuple(v) if type(v := fields[k]) is list else v for k in _Entry._fields))
    return _Object(pairs)


def _pairs(value: Any) -> list[tuple[str, Any]] | None:
    """The pairs of an object; None if it is none."""
    if isinstance(value, _Entry):
        return list(value._asdict().items())
    return value if isinstance(value, _Object) else None


def _metadata(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, str]:
    """The metadata of a header: an object of strings, null, or absent."""
    given = [entry for name, entry in pairs if name == "__metadata__"]
    if len(given) > 1:
        refuse(path, "has its metadata twice")
    inner = [] if not given or given[0] is None else _pairs(given[0])
    if inner is None or not all(isinstance(value, str) for _, value in inner):
        refuse(path, "has metadata that is no object of strings")
    return dict(inner)


def _fields(path: Path, name: str, entry: Any) -> tuple[str, list[int], list[int]]:
    """The dtype name, shape and data_offsets of an entry, each of its kind."""
    shown = f"a tensor {_short(name)}"
    pairs = _pairs(entry)
    if pairs is None and type(entry) in (list, tuple) and len(entry) == 3:  # as the library reads it too
        pairs = list(zip(("dtype", "shape", "data_offsets"), entry, strict=True))
    known = [pair for pair in pairs or () if pair[0] in FIELDS]
    fields = dict(known)
    if pairs is None or fields.keys() != FIELDS:
        refuse(path, f"has {shown} without dtype, shape and data_offsets")
    if len(known) != len(fields):
        refuse(path, f"has {shown} with dtype, shape or data_offsets twice")
    if len(known) != len(pairs) and not all(_is_legal(value, DEEPEST - 2) for _, value in pairs):
        refuse(path, f"has {shown} with a further field that is nested too deeply, not finite, or no UTF-8")
    code, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(code, str) or (code not in NAMES and code not in UNDECODED_NAMES):
        codes = ", ".join((*NAMES, *UNDECODED_NAMES))
        refuse(path, f"has {shown} of dtype {_short(code)}; the format has {codes}")
    for what, numbers in (("shape", shape), ("data_offsets", offsets)):
        if type(numbers) not in (list, tuple) or not all(type(n) is int and n < 1 << 64 for n in numbers):
            refuse(path, f"has {shown} whose {what} is no list of unsigned integers: {_short(numbers)}")
    if len(offsets) != 2:
        refuse(path, f"has {shown} with data_offsets {_short(offsets)}; they must be [begin, end]")
    return NAMES.get(code) or UNDECODED_NAMES[code], shape, offsets


def _slot(path: Path, name: str, dtype: str, shape: list[int], offsets: list[int], start: int) -> Slot:
    """Where a tensor lies, its numbers held against each other."""
    shown = f"a tensor {_short(name)}"
    if offsets[0] > offsets[1]:
        refuse(path, f"has {shown} with data_offsets {_short(offsets)}; they must be [begin, end]")
    bits = bits_of(dtype)
    nbytes = _product([*shape, bits // 8 if bits % 8 == 0 else bits])
    if nbytes is None:
        refuse(path, f"has {shown} of shape {_short(shape)}, whose product is beyond 2^64")
    if bits % 8:
        nbytes, rest = divmod(nbytes, 8)
        if rest:
            refuse(path, f"has {shown} of shape {_short(shape)} and {bits} bits an element, which end within a byte")
    if nbytes != offsets[1] - offsets[0]:
        refuse(path, f"has {shown} of {nbytes:,} bytes by shape, {offsets[1] - offsets[0]:,} by data_offsets")
    return Slot(dtype, tuple(shape), start + offsets[0], start + offsets[1])


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


def _is_legal(value: Any, levels: int) -> bool:
    """Whether a value that nobody reads is one that the library passes over: not too deep, in UTF-8, and finite."""
    if isinstance(value, str):
        return _is_unicode(value)
    if isinstance(value, float):
        return math.isfinite(value)
    pairs = _pairs(value)
    inner = [one for pair in pairs for one in pair] if pairs is not None else value
    if isinstance(value, (list, tuple)):
        return levels > 0 and all(_is_legal(one, levels - 1) for one in inner)
    return True


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
    if isinstance(value, (str, list, tuple)):
        value = value[:100] if isinstance(value, str) else list(value[:100])
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def read_at(fd: int, buffer: np.ndarray[Any, Any], offset: int, path: Path) -> None:
    """Read until the buffer is full; one read gives less than it was asked for at a signal, or at the end."""
    rest = memoryview(buffer)  # type: ignore[arg-type]
    while rest:
        count = read_some(fd, rest, offset)
        if count == 0:
            refuse(path, f"has become shorter since its header: it ended at {offset:,} bytes while it was read")
        rest, offset = rest[count:], offset + count


def read_block(
    fd: int,
    buffer: np.ndarray[Any, Any],
    begin: int,
    shape: tuple[int, ...],
    offsets: tuple[int, ...],
    path: Path,
) -> None:
    """Read a block of a tensor of `shape` that begins at byte `begin`: a read for each stretch of the file.

    Not through a memory map: of a file that becomes shorter meanwhile a map kills the process.
    """
    axis = len(shape)
    while axis > 0 and buffer.shape[axis - 1 :] == shape[axis - 1 :]:
        axis -= 1
    axis = max(axis - 1, 0)  # from here on the block is one stretch
    strides = index_strides(shape)
    for index in np.ndindex(*buffer.shape[:axis]):
        place = (o + i for o, i in zip(offsets, (*index, *(0 for _ in shape[axis:])), strict=True))
        first = sum(at * stride for at, stride in zip(place, strides, strict=True))
        read_at(fd, buffer[index].reshape(-1).view(np.uint8), begin + first * buffer.itemsize, path)


def refuse(path: Path, what: str) -> NoReturn:
    """Raise the error that this file is not what it should be."""
    raise SafetensorsError(printable(f"{path} {what}"))
