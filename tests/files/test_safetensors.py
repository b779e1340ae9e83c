"""Headers as the format's own library writes and reads them, and files that break each rule of the format once."""

from __future__ import annotations

import json
import math
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import safetensors
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fastinit.files.safetensors import DTYPES, NAMES, UNDECODED, Header, SafetensorsError, lay_out, read_header

NAME = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(lambda name: name != "__metadata__")
SHAPE = st.lists(st.integers(0, 4), max_size=4).map(tuple)
TABLE = st.dictionaries(NAME, st.tuples(st.sampled_from(sorted(DTYPES)), SHAPE), max_size=8)
ODD_NAMES = [
    "a/b",
    "../../etc/passwd",
    "..",
    "",
    "NUL\0inside",
    'quote" back\\slash',
    "tab\tline\nbell\x07\x7f\x1f",
    "größe",
    "👩‍🔬🎲",
    "\U0010ffff\u2028\ufeff",
    "x" * 10_000,
    "é" * 5_000,
]


def library_file(tensors, metadata=None) -> bytes:
    """What the library writes for these tensors, all of whose bytes are 7."""
    data = np.full(max([1, *(math.prod(shape) * DTYPES[dtype][1] for dtype, shape in tensors.values())]), 7, np.uint8)
    specs = {
        name: safetensors.TensorSpec(
            dtype=dtype, shape=list(shape), data_ptr=data.ctypes.data, data_len=math.prod(shape) * DTYPES[dtype][1]
        )
        for name, (dtype, shape) in tensors.items()
    }
    return safetensors.serialize(specs, metadata)


def our_file(tensors, metadata=None) -> bytes:
    header = lay_out(tensors, metadata)
    return header.text + b"\7" * (header.size - len(header.text))


def library_reads(path: Path) -> tuple[dict[str, tuple[str, list[int], int, int]], dict[str, str]]:
    """Tensors (code, shape, begin, end within the file) and metadata, as the library reads them."""
    start = 8 + struct.unpack("<Q", path.read_bytes()[:8])[0]
    with safetensors.safe_open(path, "np") as opened:
        metadata = opened.metadata() or {}
        found = {name: opened.get_slice(name) for name in opened.keys()}
        shapes = {name: (one.get_dtype(), one.get_shape()) for name, one in found.items()}
        order = opened.offset_keys()
    tensors, begin = {}, start
    for name in order:
        code, shape = shapes[name]
        end = begin + math.prod(shape) * DTYPES[NAMES[code]][1]
        tensors[name] = (code, shape, begin, end)
        begin = end
    return tensors, metadata


def as_library(header: Header):
    return {
        name: (DTYPES[slot.dtype][0], list(slot.shape), slot.begin, slot.end) for name, slot in header.slots.items()
    }, header.metadata


# --- lay_out ----------------------------------------------------------------------------------------------------------


@given(TABLE, st.dictionaries(NAME, NAME, min_size=1, max_size=1) | st.none())
@example({"b": ("float32", (2,)), "a": ("float32", (2,)), "c": ("bool", (3,)), "d": ("int64", ())}, {"format": "pt"})
@example({name: (name, (3,)) for name in DTYPES}, None)
@example(dict.fromkeys(ODD_NAMES, ("float32", (1,))), None)
@example({}, None)
def test_files_are_those_of_the_library_byte_for_byte(tensors, metadata):
    assert our_file(tensors, metadata) == library_file(tensors, metadata)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_is_laid_out_as_by_the_library_beside_one_of_each_alignment(dtype):
    others = {f"{other}.{i}": (other, (i,)) for i, other in enumerate(DTYPES)}
    tensors = {"scalar": (dtype, ()), "empty": (dtype, (3, 0, 5)), "vector": (dtype, (5,)), **others}
    assert our_file(tensors) == library_file(tensors)


def test_a_file_on_disk_is_the_one_the_library_puts_there(tmp_path):
    data = np.full(24, 7, np.uint8)
    spec = safetensors.TensorSpec(dtype="float32", shape=[2, 3], data_ptr=data.ctypes.data, data_len=24)
    safetensors.serialize_file({"w": spec}, tmp_path / "w.safetensors", {"format": "pt"})
    assert (tmp_path / "w.safetensors").read_bytes() == our_file({"w": ("float32", (2, 3))}, {"format": "pt"})


def test_the_order_in_which_tensors_and_metadata_come_does_not_matter():
    tensors = {"b": ("float32", (2,)), "a": ("bfloat16", (2,)), "c": ("float32", (1,))}
    metadata = {"z": "1", "a": "2"}
    reverse = lay_out(dict(reversed(tensors.items())), dict(reversed(metadata.items())))
    assert lay_out(tensors, metadata).text == reverse.text


@pytest.mark.parametrize(
    ("tensors", "metadata", "message"),
    [
        ({"a": ("float128", (1,))}, None, "tensor 'a': safetensors has no dtype float128"),
        ({"__metadata__": ("float32", (1,))}, None, "cannot be called '__metadata__'"),
        ({"\ud800": ("float32", (1,))}, None, "lone surrogate"),
        ({"a": ("float32", (1,))}, {"x": "y" * 100_000_000}, "header would take 100,000,"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(tensors, metadata, message):
    with pytest.raises(SafetensorsError, match=message):
        lay_out(tensors, metadata)


def test_odd_names_survive_the_round_trip(tmp_path):
    tensors = {name: ("float32", (i,)) for i, name in enumerate(ODD_NAMES)}
    path = tmp_path / "w.safetensors"
    path.write_bytes(our_file(tensors, dict.fromkeys(ODD_NAMES, '👩‍🔬\0"')))
    header = read_header(path)
    assert {name: (slot.dtype, slot.shape) for name, slot in header.slots.items()} == tensors
    assert as_library(header) == library_reads(path)


# --- read_header ------------------------------------------------------------------------------------------------------


@given(tensors=TABLE, metadata=st.dictionaries(NAME, NAME, max_size=3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_files_of_the_library_are_read_as_the_library_reads_them(tmp_path, tensors, metadata):
    path = tmp_path / "w.safetensors"
    content = library_file(tensors, metadata or None)  # of {} it makes a header that it cannot read itself
    path.write_bytes(content)
    header = read_header(path)
    assert as_library(header) == library_reads(path)
    assert {name: (slot.dtype, slot.shape) for name, slot in header.slots.items()} == tensors
    assert header.metadata == metadata
    assert (header.size, header.text) == (len(content), content[: len(header.text)])


def entry(dtype="U8", shape="[4]", offsets="[0,4]", more=""):
    return f'{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}{more}}}'


def one(*field, **fields):
    return f'{{"a":{entry(*field, **fields)}}}'


def two(first="[0,4]", second="[4,8]"):
    return f'{{"a":{entry(offsets=first)},"b":{entry(offsets=second)}}}'


def packed(header: str | bytes, data: bytes | int = 4) -> bytes:
    body = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(body)) + body + (b"\7" * data if isinstance(data, int) else data)


CODES = {name: code for name, (code, *_) in (DTYPES | UNDECODED).items()}
INTEGERS = "no list of unsigned integers"
ATTACKS = {
    "an empty file": (b"", "has 0 bytes; the length of its header alone takes 8"),
    "seven bytes": (b"\0" * 7, "has 7 bytes; the length of its header alone takes 8"),
    "a header beyond the file": (struct.pack("<Q", 100) + b"{}", "says its header has 100 bytes, but the file ends"),
    "a header beyond 2^63": (b"\xff" * 8 + b"{}", "says its header has 18,446,744,073,709,551,615 bytes; the format"),
    "a header of no bytes": (packed("", 0), "no JSON in UTF-8"),
    "bad UTF-8": (packed(b'{"\xff":1}'), "no JSON in UTF-8"),
    "UTF-8 with a mark in front": (packed("\ufeff{}", 0), "no JSON in UTF-8"),
    "bad JSON": (packed('{"a":'), "no JSON in UTF-8"),
    "two objects": (packed("{}{}", 0), "no JSON in UTF-8"),
    "zeros behind the header": (packed("{}\0\0", 0), "no JSON in UTF-8"),
    "lists in lists": (packed("[" * 100_000), "no JSON in UTF-8"),
    "objects in objects": (packed('{"a":' * 100_000), "no JSON in UTF-8"),
    "a list": (packed("[]", 0), "no JSON object"),
    "a number": (packed("3", 0), "no JSON object"),
    "an entry that is a number": (packed('{"a":3}', 0), "a tensor 'a' without dtype, shape and data_offsets"),
    "no dtype": (packed('{"a":{"shape":[4],"data_offsets":[0,4]}}'), "a tensor 'a' without dtype"),
    "no shape": (packed('{"a":{"dtype":"U8","data_offsets":[0,4]}}'), "a tensor 'a' without dtype"),
    "no offsets": (packed('{"a":{"dtype":"U8","shape":[4]}}'), "a tensor 'a' without dtype"),
    "a tensor twice, once wrong": (packed(f'{{"a":3,"a":{entry()}}}'), "a tensor 'a' without dtype"),
    "a field twice": (packed(one(more=',"shape":[4]')), "with dtype, shape or data_offsets twice"),
    "metadata twice": (packed('{"__metadata__":{},"__metadata__":{}}', 0), "its metadata twice"),
    "a further field too deep": (packed(one(more=',"x":' + "[" * 126 + "]" * 126)), "nested too deeply"),
    "a further field of half a surrogate": (packed(one(more=',"x":["\\ud800"]')), "no UTF-8"),
    "a further field that is infinite": (packed(one(more=',"x":{"y":1e999}')), "not finite"),
    "a further field that is no number": (packed(one(more=',"x":NaN')), "not finite"),
    "half a byte": (packed(one("F4", "[3]", "[0,1]"), 1), "end within a byte"),
    "six bits too many": (packed(one("F6_E2M3", "[5]", "[0,3]"), 3), "end within a byte"),
    "a dtype of another world": (packed(one("U128")), "a tensor 'a' of dtype 'U128'; the format has"),
    "a dtype that is a number": (packed('{"a":{"dtype":3,"shape":[4],"data_offsets":[0,4]}}'), "of dtype 3"),
    "a dtype that is a list": (packed('{"a":{"dtype":["U8"],"shape":[4],"data_offsets":[0,4]}}'), "of dtype ['U8']"),
    "a shape that is a number": (packed(one(shape="4")), f"whose shape is {INTEGERS}: 4"),
    "a shape that is an object": (packed(one(shape="{}")), f"whose shape is {INTEGERS}"),
    "a negative shape": (packed(one(shape="[-4]")), f"whose shape is {INTEGERS}"),
    "two negative shapes": (packed(one(shape="[-2,-2]")), f"whose shape is {INTEGERS}"),
    "a shape of minus zero": (packed(one(shape="[-0]", offsets="[0,0]"), 0), INTEGERS),
    "a shape that is a float": (packed(one(shape="[4.0]")), f"whose shape is {INTEGERS}"),
    "a shape with an exponent": (packed(one(shape="[4e0]")), f"whose shape is {INTEGERS}"),
    "a shape that is infinite": (packed(one(shape="[Infinity]")), f"whose shape is {INTEGERS}"),
    "a shape that is a bool": (packed(one(shape="[true]", offsets="[0,1]"), 1), INTEGERS),
    "a shape of text": (packed(one(shape=json.dumps(["4"]))), f"whose shape is {INTEGERS}"),
    "a shape of 2^64": (packed(one(shape=f"[{2**64}]")), f"whose shape is {INTEGERS}"),
    "a shape of 5000 digits": (packed(one(shape="[" + "9" * 5000 + "]")), f"whose shape is {INTEGERS}"),
    "a product of 2^64": (packed(one(shape=f"[{2**32},{2**32}]", offsets="[0,0]"), 0), "beyond 2^64"),
    "a product of 2^64 bytes": (packed(one("F64", f"[{2**61}]", "[0,0]"), 0), "beyond 2^64"),
    "a product beyond 2^64, times zero": (
        packed(one(shape=f"[{2**63},4,0]", offsets="[0,0]"), 0),
        "beyond 2^64",
    ),
    "a product of a million numbers": (
        packed(one(shape="[" + f"{2**64 - 1}," * 1_000_000 + "1]")),
        "beyond 2^64",
    ),
    "one offset": (packed(one(offsets="[0]")), "must be [begin, end]"),
    "three offsets": (packed(one(offsets="[0,4,4]")), "must be [begin, end]"),
    "offsets that go back": (packed(one(offsets="[4,0]")), "must be [begin, end]"),
    "a negative offset": (packed(one(offsets="[-4,0]")), f"whose data_offsets is {INTEGERS}"),
    "an offset that is a float": (packed(one(offsets="[0,4.0]")), f"whose data_offsets is {INTEGERS}"),
    "an offset that is a bool": (packed(one(offsets="[false,4]")), f"whose data_offsets is {INTEGERS}"),
    "an offset of 2^64": (packed(one(offsets=f"[0,{2**64}]")), f"whose data_offsets is {INTEGERS}"),
    "offsets for fewer": (packed(one(offsets="[0,3]"), 3), "4 bytes by shape, 3 by data_offsets"),
    "offsets for more": (packed(one("F32", offsets="[0,4]")), "16 bytes by shape, 4 by data_offsets"),
    "data that does not start at 0": (packed(one(offsets="[4,8]"), 8), "'a' that leaves a gap behind"),
    "a gap": (packed(two(second="[5,9]"), 9), "'b' that leaves a gap behind the one before it"),
    "an overlap": (packed(two(second="[3,7]"), 7), "'b' that overlaps the one before it"),
    "two tensors in one place": (packed(two(second="[0,4]"), 4), "overlaps the one before it"),
    "an end far behind the file": (packed(one(shape=f"[{2**62}]", offsets=f"[0,{2**62}]")), "describes"),
    "a byte too few": (packed(two(), 7), "but its header describes"),
    "a byte too many": (packed(two(), 9), "but its header describes"),
    "data without tensors": (packed("{}", 1), "but its header describes"),
    "metadata that is a list": (packed('{"__metadata__":[]}', 0), "metadata that is no object of strings"),
    "metadata of numbers": (packed('{"__metadata__":{"a":1}}', 0), "metadata that is no object of strings"),
    "metadata of negative numbers": (packed('{"__metadata__":{"a":-1}}', 0), "metadata that is no object of strings"),
    "metadata of objects": (packed('{"__metadata__":{"a":{}}}', 0), "metadata that is no object of strings"),
    "half a surrogate in a name": (
        packed(f'{{"\\ud800":{entry()}}}'),
        "half a surrogate pair in '\\ud800'",
    ),
    "half a surrogate in metadata": (packed('{"__metadata__":{"a":"\\udfff"}}', 0), "half a surrogate pair"),
}


# What looks wrong, and the library reads.
ODDITIES = {
    "one more field": packed(one(more=',"x":1,"y":{"dtype":[]},"x":[null,{"a":"b"}]')),
    "a further field as deep as can be": packed(one(more=',"x":' + "[" * 125 + "]" * 125)),
    "an entry that is a list": packed('{"a":["U8",[4],[0,4]]}'),
    "a tensor twice": packed(f'{{"a":{entry()},"a":{entry()}}}'),
    "a tensor twice, the last one right": packed(f'{{"a":{entry(shape="[2]", offsets="[0,2]")},"a":{entry()}}}'),
    "a tensor twice, once with offsets that go back": packed(f'{{"a":{entry(offsets="[4,0]")},"a":{entry()}}}'),
    "tensors called like the fields, as lists": packed(
        '{"dtype":["U8",[1],[0,1]],"shape":["U8",[1],[1,2]],"data_offsets":["U8",[2],[2,4]]}'
    ),
    "a tensor twice, by an escape": packed(f'{{"a":{entry()},"\\u0061":{entry()}}}'),
    "metadata that is null": packed(f'{{"__metadata__":null,"a":{entry()}}}'),
    "metadata with a key twice": packed(f'{{"__metadata__":{{"x":"1","x":"2"}},"a":{entry()}}}'),
    "metadata like a tensor": packed('{"__metadata__":{"dtype":"U8","shape":"4","data_offsets":"0"}}', 0),
    "spaces in front": packed(f" {one()}"),
    "F4": packed(one("F4", "[8]", "[0,4]")),
    "F6_E2M3": packed(one("F6_E2M3", "[2,4]", "[0,6]"), 6),
    "F6_E3M2": packed(one("F6_E3M2", "[4]", "[0,3]"), 3),
    "F8_E8M0": packed(one("F8_E8M0")),
    "F8_E4M3FNUZ": packed(one("F8_E4M3FNUZ")),
    "F8_E5M2FNUZ": packed(one("F8_E5M2FNUZ")),
    "a shape of F4 without elements": packed(one("F4", "[3,0]", "[0,0]"), 0),
}


@pytest.mark.parametrize("oddity", ODDITIES)
def test_what_the_library_reads_is_read(tmp_path, oddity):
    path = tmp_path / "w.safetensors"
    path.write_bytes(ODDITIES[oddity])
    theirs = {name: (said["dtype"], said["shape"]) for name, said in safetensors.deserialize(ODDITIES[oddity])}
    header = read_header(path)
    ours = {name: (CODES[slot.dtype], list(slot.shape)) for name, slot in header.slots.items()}
    assert ours == theirs
    if oddity == "metadata with a key twice":
        assert header.metadata == {"x": "2"}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_broken_rule_is_named_with_the_file(tmp_path, attack):
    content, rule = ATTACKS[attack]
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    with pytest.raises(SafetensorsError) as caught:
        read_header(path)
    message = str(caught.value)
    assert message.startswith(f"{path} ")
    assert rule in message
    assert len(message) < len(str(path)) + 1000


def test_the_attacks_break_a_file_that_is_whole_without_them(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(packed(two(), 8))
    assert list(read_header(path).slots) == ["a", "b"]
    path.write_bytes(packed(f' {{"a":{entry()},"__metadata__":{{"a":"1"}}}} \n'))
    assert as_library(read_header(path)) == library_reads(path)
    path.write_bytes(packed(one(shape=f"[0,{2**63},4]", offsets="[0,0]"), 0))  # 0 first: no overflow
    assert as_library(read_header(path)) == library_reads(path)


@pytest.mark.parametrize("length", [100_000_001, 1 << 40])
def test_a_header_over_100_mb_is_refused_before_it_is_read(tmp_path, length):
    path = tmp_path / "sparse.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", length))
        file.truncate(length + 8)
    tracemalloc.start()
    with pytest.raises(SafetensorsError, match=f"says its header has {length:,} bytes; the format allows 100,000,000"):
        read_header(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_a_missing_file_and_a_folder_are_os_errors(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_header(tmp_path / "nothing.safetensors")
    with pytest.raises(IsADirectoryError):
        read_header(tmp_path)


EDIT = st.tuples(
    st.sampled_from(["flip", "insert", "delete", "copy"]),
    st.integers(0, 10**6),
    st.integers(0, 255),
    st.integers(1, 12),
)
VALID = our_file(
    {"a": ("float32", (2, 3)), 'b"\\': ("bfloat16", (5,)), "é": ("uint8", ()), "empty": ("int64", (0, 4))},
    {"format": "pt", "x": "ü"},
)


def edited(content: bytes, edits) -> bytes:
    """The header with bytes flipped, inserted, deleted or repeated; its length is kept right three times in four."""
    length = struct.unpack("<Q", content[:8])[0]
    header, data = bytearray(content[8 : 8 + length]), content[8 + length :]
    for kind, place, byte, count in edits:
        at = place % (len(header) + 1)
        if kind == "flip" and at < len(header):
            header[at] ^= 1 << byte % 8
        elif kind == "insert":
            header[at:at] = bytes([byte])
        elif kind == "delete":
            del header[at : at + count]
        elif kind == "copy":
            header[at:at] = header[byte % (len(header) + 1) :][:count]
    keep = edits[0][1] % 4 == 0
    return struct.pack("<Q", length if keep else len(header)) + bytes(header) + data


@given(edits=st.lists(EDIT, min_size=1, max_size=3))
@settings(max_examples=1500, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_mutated_header_is_refused_or_read_as_the_library_reads_it(tmp_path, edits):
    path = tmp_path / "w.safetensors"
    path.write_bytes(edited(VALID, edits))
    try:
        header = read_header(path)
    except SafetensorsError as error:
        assert str(error).startswith(str(path))
        return
    assert as_library(header) == library_reads(path)


@given(st.binary(max_size=200))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arbitrary_bytes_are_refused(tmp_path, content):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(SafetensorsError):
        read_header(path)
