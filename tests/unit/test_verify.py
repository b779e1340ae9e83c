"""`verify` says of every tensor whether it is as initialised, finds one flipped bit, and refuses what it cannot."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from processes import run_python

from fastinit import engines
from fastinit.blocks import items
from fastinit.dtypes import FORMATS, decoded, storage_dtype
from fastinit.files.safetensors import SafetensorsError, Slot, lay_out, read_header
from fastinit.fill import fill
from fastinit.laws import (
    Blocks,
    ComplexNormal,
    ComplexTruncatedNormal,
    ComplexUniform,
    Constant,
    DeltaOrthogonal,
    Normal,
    Orthogonal,
    Padded,
    Sparse,
    TruncatedNormal,
    Uniform,
)
from fastinit.laws.law_json import to_json
from fastinit.laws.patterns import Dirac, GateBias, Identity, StateLogs
from fastinit.plan import Plan, Tensor
from fastinit.verify import audit, verify
from fastinit.write import write

TENSORS = (
    Tensor("normal", (300, 1000), "float32", Normal(0.0, 0.02)),
    Tensor("double", (700,), "float64", Normal(0.0, 0.02)),
    Tensor("uniform", (130, 70), "float16", Uniform(-1.0, 1.0)),
    Tensor("truncated", (1000, 300), "bfloat16", TruncatedNormal(0.0, 1.0, -2.0, 2.0)),
    Tensor("ones", (33,), "float16", Constant(1)),
    Tensor("e4m3", (999,), "float8_e4m3fn", Normal()),
    Tensor("e5m2", (77, 3), "float8_e5m2", Normal()),
    Tensor("integers", (5, 7), "int64", Constant(-3)),
    Tensor("flags", (11,), "bool", Constant(True)),
    Tensor("complex", (9,), "complex64", Constant(1 - 2j)),
    Tensor("complex normal", (300, 101), "complex64", ComplexNormal(0.5 - 2j, 0.3)),
    Tensor("complex by a real law", (99, 7), "complex64", Normal(0.0, 0.02)),
    Tensor("disc", (701,), "complex64", ComplexUniform(0.25)),
    Tensor("cut disc", (70, 11), "complex64", ComplexTruncatedNormal(1.0, 2.0)),
    Tensor("unitary", (30, 20), "complex64", Orthogonal()),
    Tensor("sparse complex", (60, 50), "complex64", Sparse(nonzeros=5)),
    Tensor("padded complex", (60, 50), "complex64", Padded(Normal(), 4)),
    Tensor("complex parts", (70, 30), "complex64", Blocks(((40, Normal()), (30, ComplexUniform(1.0))))),
    Tensor("scalar", (), "float32", Constant(-0.0)),
    Tensor("empty", (0, 4), "float32", Normal()),
    Tensor("identity", (40, 50), "float32", Identity()),
    Tensor("dirac", (4, 4, 3), "float16", Dirac()),
    Tensor("padded", (600, 500), "bfloat16", Padded(Normal(), 417)),
    Tensor("gates", (4 * 33,), "bfloat16", GateBias()),
    Tensor("states", (6, 16), "float32", StateLogs()),
    Tensor("sparse rows", (50, 60), "float32", Sparse(sparsity=0.5, axis=1)),
    Tensor("sparse columns", (60, 50), "bfloat16", Sparse(Uniform(1.0, 2.0), nonzeros=5)),
    Tensor("orthogonal", (2, 30, 20), "float32", Orthogonal(2.0, batch=1)),
    Tensor("orthogonal bfloat16", (20, 30), "bfloat16", Orthogonal()),
    Tensor("delta", (8, 4, 3), "float64", DeltaOrthogonal()),
    Tensor("delta an expert", (8, 3, 4, 3), "float32", DeltaOrthogonal(batch_axis=1)),
    Tensor("qkv", (700, 300), "float16", Blocks(((300, Normal()), (200, Uniform()), (200, Constant(-0.0))))),
    Tensor("kv, inner", (300, 701), "float32", Blocks(((300, Normal()), (401, Normal(1.0, 2.0))), 1)),
    Tensor("experts", (3, 400, 300), "bfloat16", Blocks(((1, Normal()), (1, Normal(0.0, 2.0)), (1, Uniform())))),
    Tensor("rows of parts", (70, 30), "float32", Blocks(((40, Sparse(axis=1, nonzeros=3)), (30, Identity())))),
    Tensor("columns", (70, 30), "float32", Blocks(((40, Sparse(nonzeros=3)), (30, Padded(Normal(), 4))))),
    Tensor("lstm", (80, 20), "bfloat16", Blocks(((20, Orthogonal()),) * 3 + ((20, Normal()),))),
    Tensor("lstm, inner", (20, 80), "float64", Blocks(((20, Orthogonal()),) * 3 + ((20, Constant(0.0)),), 1)),
    Tensor("gate", (64,), "int64", Blocks(((16, Constant(0)), (16, Constant(1)), (32, Constant(0))))),
    Tensor("no parts", (0, 4), "float32", Blocks(((0, Normal()),))),
)
TOLERANT = {"unitary", "orthogonal", "orthogonal bfloat16", "delta", "delta an expert", "lstm", "lstm, inner"}
NONEMPTY = [tensor.name for tensor in TENSORS if tensor.elements]


def written(folder: Path, tensors=TENSORS, **options) -> Path:
    write(Plan(tuple(tensors)), folder, seed=5, durable=False, **options)
    return folder / "model.safetensors"


def edit(path: Path, tensor: str, index: int, change) -> None:
    """Change one element of a file, given as an array of one element of its storage dtype."""
    slot = read_header(path).slots[tensor]
    storage = storage_dtype(slot.dtype)
    with path.open("r+b") as file:
        file.seek(slot.begin + index * storage.itemsize)
        element = np.frombuffer(file.read(storage.itemsize), storage).copy()
        file.seek(slot.begin + index * storage.itemsize)
        file.write(np.asarray(change(element)).astype(storage).tobytes())


def flip(path: Path, tensor: str, index: int, bit: int) -> None:
    slot = read_header(path).slots[tensor]
    at = slot.begin + index * storage_dtype(slot.dtype).itemsize + bit // 8
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << bit % 8]))


def statuses(result) -> dict[str, str]:
    return {one.name: one.status for one in result.tensors}


def rewritten(path: Path, change, data=None) -> None:
    """Give a file another header: `change` alters the parsed one."""
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    table = json.loads(content[8 : 8 + length])
    change(table)
    body = json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(body)) + body + (content[8 + length :] if data is None else data))


@pytest.mark.parametrize("threads", [1, 3])
def test_a_fresh_file_is_as_initialised(tmp_path, engine, threads):
    path = written(tmp_path)
    result = verify(path, threads=threads)
    assert result.ok
    assert statuses(result) == {
        t.name: "as initialised to a tolerance" if t.name in TOLERANT else "as initialised" for t in TENSORS
    }
    assert result.compared == result.elements == sum(tensor.elements for tensor in TENSORS)
    assert result.bytes_compared == sum(tensor.bytes for tensor in TENSORS)
    assert (result.differing, result.files) == (0, ("model.safetensors",))
    for one in result.tensors:
        assert (one.compared, one.differing, one.index) == (one.elements, 0, None)


def test_the_elements_are_those_that_fill_draws(tmp_path):
    header = read_header(path := written(tmp_path))
    content = path.read_bytes()
    for tensor in TENSORS:
        if tensor.name in TOLERANT:
            continue
        slot = header.slots[tensor.name]
        storage = np.dtype(FORMATS[tensor.dtype].storage) if tensor.dtype in FORMATS else np.dtype(tensor.dtype)
        expected = np.zeros(tensor.shape, storage)
        fill(expected, tensor.law, seed=5, name=tensor.name, dtype=tensor.dtype if tensor.dtype in FORMATS else None)
        assert content[slot.begin : slot.end] == expected.tobytes(), tensor.name


def test_a_file_of_one_engine_is_verified_by_the_other(tmp_path):
    with engines.use("numba"):
        path = written(tmp_path)
    with engines.use("numpy"):
        assert verify(path).ok


@pytest.mark.parametrize("name", NONEMPTY)
def test_one_flipped_bit_is_found_with_its_index(tmp_path, name):
    path = written(tmp_path)
    tensor = next(tensor for tensor in TENSORS if tensor.name == name)
    index = tensor.elements * 2 // 3
    # The lowest bit, or, of an orthogonal law, the highest of the exponent: that is no rounding.
    bits = storage_dtype(tensor.dtype).itemsize * 8
    flip(path, name, index, bits - 2 if name in TOLERANT else 0)
    result = verify(path, threads=2)
    assert not result.ok
    assert [one.name for one in result.tensors if one.status == "differs"] == [name]
    (one,) = (one for one in result.tensors if one.name == name)
    assert (one.differing, one.index) == (1, tuple(int(i) for i in np.unravel_index(index, tensor.shape)))
    assert one.found != one.expected
    assert result.differing == 1


def test_the_values_are_those_of_the_file_and_of_the_law(tmp_path):
    path = written(tmp_path)
    edit(path, "integers", 8, lambda element: 7 + 0 * element)
    edit(path, "truncated", 301, lambda element: 0x4000 + 0 * element)
    edit(path, "truncated", 305, lambda element: 0x4000 + 0 * element)
    flip(path, "flags", 4, 3)
    found = {one.name: one for one in verify(path).tensors}
    assert (found["integers"].index, found["integers"].found, found["integers"].expected) == ((1, 1), 7, -3)
    assert (found["truncated"].index, found["truncated"].found, found["truncated"].differing) == ((1, 1), 2.0, 2)
    assert abs(found["truncated"].expected) <= 2.0
    assert (found["flags"].found, found["flags"].expected) == (9, True)


def test_a_negative_zero_is_not_a_zero(tmp_path):
    for value in (0.0, -0.0):  # equal laws: what one prepared must not serve the other
        path = written(tmp_path / str(value), [Tensor("w", (4,), "float32", Constant(value))])
        assert verify(path).ok
        assert path.read_bytes()[-4:] == struct.pack("<f", value)


def test_trained_tensors_are_told_from_those_that_never_moved(tmp_path):
    path = written(tmp_path)
    for name in ("normal", "uniform"):
        slot = read_header(path).slots[name]
        with path.open("r+b") as file:
            file.seek(slot.begin)
            file.write(bytes(slot.end - slot.begin))
    result = verify(path)
    assert {one.name for one in result.tensors if one.status == "differs"} == {"normal", "uniform"}
    (one,) = (one for one in result.tensors if one.name == "normal")
    assert (one.differing, one.index, one.found) == (one.elements, (0, 0), 0.0)


@pytest.mark.parametrize("name", ["orthogonal", "delta"])
def test_an_orthogonal_tensor_may_differ_by_its_tolerance_and_no_more(tmp_path, name):
    path = written(tmp_path)
    unit = 2.0 * 2.0**-23 if name == "orthogonal" else 2.0**-52
    index = 45 if name == "orthogonal" else 1 + 3 * 4  # the delta's matrix lies at the middle of three places
    edit(path, name, index, lambda element: element + 30 * unit)
    assert verify(path).ok
    edit(path, name, index, lambda element: element + 6 * unit)
    (one,) = (one for one in verify(path).tensors if one.status == "differs")
    assert (one.name, one.differing) == (name, 1)


def test_a_narrow_orthogonal_tensor_may_round_the_other_way_only_beside_a_tie(tmp_path):
    path = written(tmp_path, [Tensor("w", (300, 300), "bfloat16", Orthogonal())])
    wide = written(tmp_path / "wide", [Tensor("w", (300, 300), "float32", Orthogonal())])
    exact = np.frombuffer(wide.read_bytes()[-300 * 300 * 4 :], np.uint32)
    rest = np.where(abs(exact.view(np.float32)) > 2.0**-5, exact & 0xFFFF, 0)  # what rounding drops, in 2^-28 or more
    below_a_tie = int(np.flatnonzero((rest > 0x7F00) & (rest < 0x8000))[0])
    far_from_it = int(np.flatnonzero((rest > 0x1000) & (rest < 0x1100))[0])
    edit(path, "w", below_a_tie, lambda element: element + 1)
    assert verify(path).ok
    edit(path, "w", far_from_it, lambda element: element + 1)
    assert [one.differing for one in verify(path).tensors] == [1]


def test_the_zeros_around_a_delta_are_exact_and_nan_is_never_near(tmp_path):
    path = written(tmp_path)
    edit(path, "delta", 0, lambda element: element + 2.0**-60)
    edit(path, "orthogonal", 700, lambda element: element * np.nan)
    found = {one.name: one for one in verify(path).tensors}
    assert (found["delta"].index, found["delta"].expected) == ((0, 0, 0), 0.0)
    assert found["orthogonal"].index == (1, 5, 0)


# --- sample -----------------------------------------------------------------------------------------------------------


def test_a_sample_sees_every_tensor_and_says_how_much(tmp_path):
    tensors = [*TENSORS, *(Tensor(f"big{i}", (25, 1 << 18), "float32", Normal()) for i in range(3))]
    path = written(tmp_path, tensors)
    result = verify(path, sample=0.05)
    again = verify(path, sample=0.05, threads=1)
    assert result.ok
    assert all(one.compared > 0 for one in result.tensors if one.elements)
    assert 0.03 < result.compared / result.elements < 0.2
    assert [one.compared for one in result.tensors] == [one.compared for one in again.tensors]
    assert verify(path, sample=0.5).compared / result.elements == pytest.approx(0.5, abs=0.1)
    assert verify(path, sample=1e-9).compared >= len(NONEMPTY) + 3


def test_a_sample_sees_a_tensor_whose_name_is_empty(tmp_path):
    path = written(tmp_path, [Tensor(name, (2000, 1000), "float64", Normal()) for name in ("", "w")])
    assert all(one.compared > 0 for one in verify(path, sample=0.01).tensors)


def test_a_sample_finds_what_lies_in_it(tmp_path):
    path = written(tmp_path, [Tensor("w", (10, 1 << 18), "float32", Normal())])  # ten items of a MiB
    for item in range(10):
        edit(path, "w", item * (1 << 18) + 17, lambda element: element + 1)
    (one,) = verify(path, sample=0.3).tensors
    assert (one.compared, one.differing) == (3 << 18, 3)
    assert one.index == (3, 17)


@pytest.mark.parametrize("sample", [0, -0.1, 1.5, float("nan")])
def test_a_sample_is_a_share(tmp_path, sample):
    with pytest.raises(ValueError, match="share of the elements"):
        verify(tmp_path, sample=sample)


# --- blocks and pieces ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 64, 1000])
@pytest.mark.parametrize("shape", [(60, 50), (7, 9, 11), (500,)])
def test_sparse_tensors_are_compared_in_blocks_of_any_size(tmp_path, monkeypatch, block, shape):
    path = written(tmp_path, [Tensor("w", shape, "float32", Sparse(sparsity=0.7))])
    monkeypatch.setattr(audit, "BLOCK", block * 4)
    assert verify(path).ok
    size = int(np.prod(shape))
    for index in (size - 1, size // 2):
        flip(path, "w", index, 1)
    (one,) = verify(path).tensors
    assert (one.compared, one.differing) == (size, 2)
    assert one.index == tuple(int(i) for i in np.unravel_index(size // 2, shape))


def test_tensors_of_another_writer_lie_apart_and_at_odd_bytes(tmp_path):
    path = written(tmp_path, TENSORS)
    header = read_header(path)
    content = path.read_bytes()
    table, data = {}, b""
    for i, (name, slot) in enumerate(reversed(header.slots.items())):
        for key, code, part in (
            (f"new{i}", "U8", b"\1" * (1 + i % 3)),
            (name, lay_out({name: (slot.dtype, ())}).text.split(b'"dtype":"')[1].split(b'"')[0].decode(), None),
        ):
            part = content[slot.begin : slot.end] if part is None else part
            shape = list(slot.shape) if key == name else [len(part)]
            table[key] = {"dtype": code, "shape": shape, "data_offsets": [len(data), len(data) + len(part)]}
            data += part
    body = json.dumps({"__metadata__": header.metadata, **table}).encode()
    path.write_bytes(struct.pack("<Q", len(body)) + body + data)
    result = verify(path)
    status = statuses(result)
    assert {name for name in status if status[name] == "unknown law"} == {f"new{i}" for i in range(len(TENSORS))}
    assert not result.ok
    assert all("as initialised" in status[tensor.name] for tensor in TENSORS)
    assert all(one.compared == (0 if one.name.startswith("new") else one.elements) for one in result.tensors)


def test_an_item_is_one_stretch_of_the_file_with_aligned_pieces():
    tensors = [Tensor(name, (3,), "float32" if name != "b" else "uint8", Constant(1)) for name in "abcd"]
    slots = {
        "a": Slot("float32", (3,), 0, 12),
        "b": Slot("uint8", (3,), 12, 15),
        "c": Slot("float32", (3,), 15, 27),
        "d": Slot("float32", (3,), 31, 43),
    }
    assert [[piece.tensor.name for piece in item] for item in items(tensors, slots)] == [["a", "b"], ["c"], ["d"]]


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_every_code_is_decoded_as_by_ml_dtypes(dtype):
    storage = storage_dtype(dtype)
    codes = np.arange(1 << 8 * storage.itemsize).astype(storage)
    expected = codes.view(getattr(ml_dtypes, dtype)).astype(np.float32)
    np.testing.assert_array_equal(decoded(codes, dtype), expected)
    np.testing.assert_array_equal(np.signbit(decoded(codes, dtype)), np.signbit(expected))


# --- folders ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    write(Plan(TENSORS), tmp_path, seed=5, durable=False, shard_size=500_000)
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    return tmp_path


def index_of(folder: Path):
    path = folder / "model.safetensors.index.json"
    return path, json.loads(path.read_text())


def test_a_folder_is_verified_with_and_without_its_index(folder):
    for _ in range(2):
        result = verify(folder)
        assert result.ok
        assert sorted(statuses(result)) == sorted(tensor.name for tensor in TENSORS)
        assert list(result.files) == sorted(path.name for path in folder.glob("*.safetensors"))
        (folder / "model.safetensors.index.json").unlink(missing_ok=True)


def test_a_missing_file_is_named(folder):
    gone = min(folder.glob("*.safetensors"))
    gone.unlink()
    with pytest.raises(FileNotFoundError, match=rf"{gone.name} is missing; .*index\.json lists it for"):
        verify(folder)


def test_a_missing_file_is_named_by_the_number_of_the_others_where_there_is_no_index(folder):
    index_of(folder)[0].unlink()
    gone = sorted(folder.glob("*.safetensors"))[1]
    gone.unlink()
    with pytest.raises(FileNotFoundError, match=rf"{gone.name} is missing; others are called ...-of-0000\d"):
        verify(folder)


def test_a_tensor_in_the_wrong_file_is_named_with_both(folder):
    path, index = index_of(folder)
    places = list(index["weight_map"].values())
    files = sorted(set(places), key=places.count, reverse=True)  # the first holds several: it stays in the index
    tensor = next(name for name, file in index["weight_map"].items() if file == files[0])
    index["weight_map"][tensor] = files[1]
    path.write_text(json.dumps(index))
    with pytest.raises(SafetensorsError, match=rf"says that '{tensor}' is in {files[1]}; it is in {files[0]}"):
        verify(folder)
    del index["weight_map"][tensor]
    path.write_text(json.dumps(index))
    with pytest.raises(SafetensorsError, match=rf"says that '{tensor}' is in no file; {files[0]} holds it"):
        verify(folder)
    index["weight_map"] |= {tensor: files[0], "ghost": files[0]}
    path.write_text(json.dumps(index))
    with pytest.raises(SafetensorsError, match=r"says that 'ghost' is in .*; it is in none"):
        verify(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is no JSON"),
        (b"\xff", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[]", 'has no "weight_map"'),
        (b'{"weight_map":{"a":3}}', 'has no "weight_map"'),
        (b'{"weight_map":{"a":"../w.safetensors"}}', "lists files beside it"),
        (b'{"weight_map":{"a":"x","a":"y"}}', "a key comes twice"),
    ],
)
def test_a_damaged_index_is_refused(folder, content, message):
    path, _ = index_of(folder)
    path.write_bytes(content)
    with pytest.raises(SafetensorsError, match=message) as caught:
        verify(folder)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("what", ["seed", "plan"])
def test_two_checkpoints_mixed_up_are_refused(folder, tmp_path_factory, what):
    other = tmp_path_factory.mktemp("other")
    first = replace(TENSORS[0], law=Constant(0.25)) if what == "plan" else TENSORS[0]
    write(Plan([first, *TENSORS[1:]]), other, seed=6 if what == "seed" else 5, durable=False, shard_size=500_000)
    last = max(other.glob("*.safetensors"))
    last.replace(folder / last.name)
    for _ in range(2):
        with pytest.raises(SafetensorsError, match=f"has {what} .*: two checkpoints mixed up"):
            verify(folder)
        (folder / "model.safetensors.index.json").unlink(missing_ok=True)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no \.safetensors file"):
        verify(tmp_path)


# --- what cannot be verified ------------------------------------------------------------------------------------------

SPARSE = to_json(Sparse(sparsity=0.5))
DEEP = '{"w":' + '{"law":"Sparse","sparsity":0.5,"values":' * 400 + "3" + "}" * 401
DAMAGED = {
    "no stream": ({"fastinit.stream": None}, "has no fastinit.stream in its metadata"),
    "no seed": ({"fastinit.seed": None}, "has no fastinit.seed in its metadata"),
    "no laws": ({"fastinit.laws": None}, "has no fastinit.laws in its metadata"),
    "a stream of the future": ({"fastinit.stream": "fastinit-9"}, "the stream 'fastinit-9'; this version computes"),
    "a seed that is no number": ({"fastinit.seed": "x"}, "fastinit.seed is 'x'"),
    "a negative seed": ({"fastinit.seed": "-1"}, "fastinit.seed is '-1'"),
    "an empty seed": ({"fastinit.seed": ""}, "fastinit.seed is ''"),
    "a seed with a line end": ({"fastinit.seed": "5\n"}, "fastinit.seed is"),
    "a seed in other digits": ({"fastinit.seed": "\u0665"}, "fastinit.seed is"),
    "a seed of 2^64": ({"fastinit.seed": str(2**64)}, "no integer in"),
    "a seed of 5000 digits": ({"fastinit.seed": "9" * 5000}, "no integer in"),
    "laws that are no JSON": ({"fastinit.laws": '{"w":'}, "fastinit.laws is no JSON"),
    "laws nested too deep": ({"fastinit.laws": "[" * 100_000}, "fastinit.laws is no JSON"),
    "laws with a long number": ({"fastinit.laws": '{"w":' + "9" * 5000 + "}"}, "fastinit.laws is no JSON"),
    "laws with a name twice": ({"fastinit.laws": '{"w":1,"w":2}'}, "a key comes twice"),
    "laws that are a list": ({"fastinit.laws": "[]"}, "fastinit.laws is no object"),
    "a law for nobody": ({"fastinit.laws": json.dumps({"v": to_json(Normal())})}, "does not hold the tensor 'v'"),
    "a law that is a number": ({"fastinit.laws": '{"w":3}'}, "does not fit the tensor 'w'"),
    "a law nobody knows": ({"fastinit.laws": '{"w":{"law":"Cauchy"}}'}, "'w': law 'Cauchy' is unknown"),
    "a parameter nobody knows": ({"fastinit.laws": '{"w":{"law":"Normal","x":1}}'}, "'w': Normal has no parameter"),
    "a parameter of text": ({"fastinit.laws": '{"w":{"law":"Normal","std":"y"}}'}, "fit the tensor 'w'"),
    "a negative deviation": ({"fastinit.laws": '{"w":{"law":"Normal","std":-1}}'}, "fit the tensor 'w'"),
    "a law that overflows": ({"fastinit.laws": '{"w":{"law":"Normal","std":1e39}}'}, "fit the tensor 'w'"),
    "a constant that is null": ({"fastinit.laws": '{"w":{"law":"Constant","value":null}}'}, "fit the tensor 'w'"),
    "half a complex": ({"fastinit.laws": '{"w":{"law":"Constant","value":{"complex":[1,2,3]}}}'}, "the tensor 'w'"),
    "a complex of nothing": ({"fastinit.laws": '{"w":{"law":"Constant","value":{"complex":3}}}'}, "the tensor 'w'"),
    "no parameters": ({"fastinit.laws": '{"w":{"law":"Constant"}}'}, "the tensor 'w'"),
    "an axis too many": ({"fastinit.laws": json.dumps({"w": {**SPARSE, "axis": 2}})}, "axis 2 does not exist"),
    "a law of another shape": ({"fastinit.laws": '{"w":{"law":"Dirac"}}'}, "fit the tensor 'w'"),
    "no groups": ({"fastinit.laws": '{"w":{"law":"Dirac","groups":0}}'}, "fit the tensor 'w'"),
    "laws in laws": ({"fastinit.laws": DEEP}, "fit the tensor 'w'|no JSON"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_metadata_is_refused_with_the_file_and_the_reason(tmp_path, damage):
    changes, message = DAMAGED[damage]
    path = written(tmp_path, [Tensor("w", (6, 4), "float32", Normal())])

    def change(table):
        metadata = table["__metadata__"]
        metadata |= changes
        table["__metadata__"] = {key: value for key, value in metadata.items() if value is not None}

    rewritten(path, change)
    with pytest.raises(SafetensorsError, match=message) as caught:
        verify(path)
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value)) < len(str(path)) + 2000


def test_a_float_law_on_a_tensor_of_integers_is_refused(tmp_path):
    path = written(tmp_path, [Tensor("w", (6, 4), "float32", Normal())])
    rewritten(path, lambda table: table["w"].update(dtype="I32"))
    with pytest.raises(SafetensorsError, match=r"does not fit the tensor 'w'.*Normal draws floats"):
        verify(path)


def test_a_file_of_the_library_alone_is_refused(tmp_path):
    safetensors.numpy.save_file({"w": np.zeros(4, np.float32)}, tmp_path / "w.safetensors")
    with pytest.raises(SafetensorsError, match=r"w\.safetensors has no fastinit\.stream.*did not write it"):
        verify(tmp_path / "w.safetensors")


def test_a_shape_of_a_thousand_dimensions_is_refused_for_a_shaped_law(tmp_path):
    path = written(tmp_path, [Tensor("w", (6, 4), "float32", Sparse(sparsity=0.5))])
    rewritten(path, lambda table: table["w"].update(shape=[24] + [1] * 1000))
    with pytest.raises(SafetensorsError, match=r"'w'.*1001 dimensions"):
        verify(path)


def test_a_matrix_that_memory_cannot_hold_is_an_error_that_names_it(tmp_path, monkeypatch):
    path = written(tmp_path, [Tensor("w", (6, 4), "float32", Orthogonal())])

    def fill(*args, **kwargs):
        raise MemoryError("Unable to allocate 1 EiB")

    monkeypatch.setattr(audit.Source, "fill", fill)
    with pytest.raises(SafetensorsError, match="tensor 'w' cannot be drawn again: Unable to allocate"):
        verify(path)


@pytest.mark.parametrize("cut", [1, 100_000, 2_000_000])
def test_a_truncated_file_is_refused(tmp_path, cut):
    path = written(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    with pytest.raises(SafetensorsError, match=str(path)):
        verify(path)


def test_a_file_that_shrinks_under_way_is_an_error_and_no_crash(tmp_path, monkeypatch):
    path = written(tmp_path, [Tensor("w", (10, 1 << 18), "float32", Normal())])

    def progress(done, total):
        with path.open("r+b") as file:
            file.truncate(5 << 20)

    with pytest.raises(SafetensorsError, match="has become shorter"):
        verify(path, threads=1, progress=progress)


def test_the_file_is_not_changed(tmp_path):
    path = written(tmp_path)
    before = path.read_bytes()
    verify(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("sample", [1.0, 0.2])
def test_progress_grows_and_ends_with_everything(folder, sample):
    seen: list[tuple[int, int]] = []
    verify(folder, sample=sample, progress=lambda done, total: seen.append((done, total)))
    total = sum(tensor.bytes for tensor in TENSORS)
    assert seen[-1] == (total, total)
    assert {end for _, end in seen} == {total}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_what_progress_raises_comes_through(tmp_path):
    def progress(done, total):
        raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        verify(written(tmp_path), progress=progress)


@pytest.mark.parametrize("law", [Normal(0.0, 0.02), Sparse(sparsity=0.9)], ids=["pieces", "whole"])
def test_memory_is_bounded_for_a_file_of_a_gib(tmp_path, law):
    for folder, rows in (("small", 1 << 5), ("large", 1 << 15)):
        written(tmp_path / folder, [Tensor("w", (rows, 1 << 13), "float32", law)])
    done = run_python(
        f"""
        import resource
        from fastinit.verify import verify
        for folder in ("small", "large"):
            assert verify("{tmp_path}/" + folder, threads=2).ok
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        """,
        timeout=300,
        FASTINIT_ENGINE="numba",
    )
    assert done.returncode == 0, done.stderr
    before, after = map(int, done.stdout.split())  # in KiB
    assert after - before < 150 << 10


# --- with a plan, for files whose metadata is lost --------------------------------------------------------------------


def saved_since(folder: Path) -> Path:
    """The tensors of a checkpoint as another program saves them, without any metadata."""
    path = written(folder, WITHOUT_FLOAT8)
    arrays = safetensors.numpy.load_file(path)
    safetensors.numpy.save_file(arrays, path)
    with pytest.raises(SafetensorsError, match=r"verify\(path, plan=..., seed=...\)"):
        verify(path)
    return path


WITHOUT_FLOAT8 = tuple(tensor for tensor in TENSORS if "float8" not in tensor.dtype and tensor.elements)


def test_a_plan_and_a_seed_stand_for_metadata_that_was_lost(tmp_path, engine):
    path = saved_since(tmp_path)
    result = verify(path, plan=Plan(WITHOUT_FLOAT8), seed=5)
    assert result.ok
    assert result.compared == sum(tensor.elements for tensor in WITHOUT_FLOAT8)
    drawn = {tensor.name for tensor in WITHOUT_FLOAT8 if "Normal" in repr(tensor.law)}
    wrong = {one.name for one in verify(path, plan=Plan(WITHOUT_FLOAT8), seed=6).tensors if one.status == "differs"}
    assert drawn <= wrong


def test_a_flipped_bit_is_found_with_a_plan_too(tmp_path):
    path = saved_since(tmp_path)
    flip(path, "complex normal", 70, 3)
    (other,) = verify(path, plan=Plan(WITHOUT_FLOAT8), seed=5).others
    assert (other.name, other.status, other.differing) == ("complex normal", "differs", 1)
    assert other.index == np.unravel_index(70, (300, 101))


def test_the_plan_counts_where_the_metadata_says_another_seed(tmp_path):
    path = written(tmp_path, WITHOUT_FLOAT8)
    assert verify(path).ok
    assert not verify(path, plan=Plan(WITHOUT_FLOAT8), seed=6).ok


def test_a_tensor_that_only_the_plan_or_only_the_file_has_is_named(tmp_path):
    path = saved_since(tmp_path)
    more = Tensor("more", (7, 3), "float32", Normal())
    result = verify(path, plan=Plan([*WITHOUT_FLOAT8[1:], more]), seed=5)
    assert {one.name: one.status for one in result.others} == {WITHOUT_FLOAT8[0].name: "unknown law", "more": "missing"}
    assert not result.ok
    missing = result.others[-1]
    assert (missing.file, missing.shape, missing.elements, missing.compared) == ("", (7, 3), 21, 0)


@pytest.mark.parametrize(("change", "what"), [({"shape": (1000, 300)}, "shape"), ({"dtype": "float16"}, "dtype")])
def test_a_tensor_of_another_shape_or_dtype_than_the_plan_has_is_refused_by_name(tmp_path, change, what):
    path = saved_since(tmp_path)
    plan = Plan([replace(WITHOUT_FLOAT8[0], **change), *WITHOUT_FLOAT8[1:]])
    with pytest.raises(SafetensorsError, match=rf"has the tensor 'normal' with {what} \S.*; the plan has {what}"):
        verify(path, plan=plan, seed=5)


def test_a_plan_without_a_seed_and_a_seed_without_a_plan_are_refused(tmp_path):
    path = written(tmp_path)
    with pytest.raises(ValueError, match="plan is given and seed is None: pass both"):
        verify(path, plan=Plan(TENSORS))
    with pytest.raises(ValueError, match="plan is None and seed is 5: pass both"):
        verify(path, seed=5)
    with pytest.raises(ValueError, match="seed"):
        verify(path, plan=Plan(TENSORS), seed=-1)


def test_shards_that_another_program_saved_are_verified_by_their_index(tmp_path):
    write(Plan(WITHOUT_FLOAT8), tmp_path, seed=5, durable=False, shard_size=500_000)
    for path in tmp_path.glob("*.safetensors"):
        safetensors.numpy.save_file(safetensors.numpy.load_file(path), path)
    result = verify(tmp_path, plan=Plan(WITHOUT_FLOAT8), seed=5)
    assert result.ok
    assert len(result.files) > 1
