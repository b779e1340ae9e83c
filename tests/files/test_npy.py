"""A weight file holds what `fill` puts into an array, bit for bit, however it was written."""

from __future__ import annotations

import errno
import json
import math
import os
import random
import signal
import struct
import subprocess
import sys
import time
import warnings
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastinit
from fastinit import Shard, engines
from fastinit.dtypes import FORMATS, byte_values
from fastinit.files import npy
from fastinit.files.npy import Report, fill_file
from fastinit.laws import Constant, Identity, Law, Normal, Orthogonal, Sparse, TruncatedNormal, Uniform
from fastinit.pipeline import BoxGrid

LAWS = [Normal(0.5, 0.02), Uniform(-0.05, 0.03), TruncatedNormal(0.0, 1.0, -2.0, 2.0), Constant(0.25)]
# 2,400,000 float32 are 9.2 staging buffers: several threads, whole buffers and a part.
SHAPE = (1200, 2000)


def filled(shape: tuple[int, ...], law: Law, dtype: str, *, shard: Shard | None = None) -> np.ndarray:
    """What the file must hold, as storage."""
    storage = np.dtype(dtype) if hasattr(np, dtype) else np.dtype(FORMATS[dtype].storage)
    array = np.empty(shape, storage)
    raw = None if hasattr(np, dtype) else dtype
    fastinit.fill(array, law, seed=7, name="w", dtype=raw, shard=shard)
    return array


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("law", LAWS, ids=repr)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_numpy_opens_the_file_and_finds_what_fill_gives(tmp_path: Path, dtype: str, law: Law, threads: int) -> None:
    report = fill_file(tmp_path / "w.npy", SHAPE, law, dtype=dtype, seed=7, name="w", threads=threads, durable=False)
    stored = np.load(tmp_path / "w.npy", mmap_mode="r")
    assert (stored.dtype, stored.shape, stored.flags.c_contiguous) == (np.dtype(dtype), SHAPE, True)
    assert stored.tobytes() == filled(SHAPE, law, dtype).tobytes()
    assert report.threads == threads
    assert [entry.name for entry in tmp_path.iterdir()] == ["w.npy"]


@pytest.mark.parametrize("dtype", list(FORMATS))
def test_a_bare_file_holds_the_elements_and_nothing_else(tmp_path: Path, dtype: str) -> None:
    law = Normal(0.5, 0.02)
    fill_file(tmp_path / "w.bin", SHAPE, law, dtype=dtype, seed=7, name="w", durable=False)
    assert (tmp_path / "w.bin").read_bytes() == filled(SHAPE, law, dtype).tobytes()


@pytest.mark.parametrize("name", [".npy", ".bin"])
def test_a_name_that_is_an_ending_and_nothing_else_is_taken(tmp_path: Path, name: str) -> None:
    for overwrite in (False, True):
        fill_file(tmp_path / name, (5,), Normal(), seed=1, overwrite=overwrite)
    fill_file(tmp_path / name, (5,), Normal(), seed=1, dtype="float32", existing=True)
    held = np.load(tmp_path / name) if name == ".npy" else np.fromfile(tmp_path / name, np.float32)
    assert np.array_equal(held, fastinit.new(5, Normal(), seed=1))


def test_the_header_is_numpys_own(tmp_path: Path) -> None:
    fill_file(tmp_path / "w.npy", (3, 5), Normal(), seed=7, name="w")
    np.save(tmp_path / "numpy.npy", filled((3, 5), Normal(), "float32"))
    assert (tmp_path / "w.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (64,), (2, 3, 5, 7), (1,) * 61 + (2, 3, 5)])
@pytest.mark.parametrize("suffix", ["npy", "bin"])
def test_every_shape_can_be_written(tmp_path: Path, shape: tuple[int, ...], suffix: str) -> None:
    report = fill_file(tmp_path / f"w.{suffix}", shape, Normal(), seed=7, name="w")
    expected = filled(shape, Normal(), "float32")
    stored = np.load(tmp_path / "w.npy") if suffix == "npy" else np.fromfile(tmp_path / "w.bin", "f4").reshape(shape)
    assert stored.shape == shape
    assert stored.tobytes() == expected.tobytes()
    assert report.measured_elements == math.prod(shape)


SHAPED = [Sparse(sparsity=0.9), Sparse(Uniform(), nonzeros=3, axis=-1), Identity(0.5), Orthogonal(2.0)]


@pytest.mark.parametrize("law", SHAPED)
@pytest.mark.parametrize(("suffix", "dtype"), [("npy", "float32"), ("npy", "float64"), ("bin", "bfloat16")])
def test_a_shaped_law_fills_a_file_as_it_fills_an_array(tmp_path: Path, law: Law, suffix: str, dtype: str) -> None:
    seen: list[tuple[int, int]] = []
    shape = (700, 500)
    path = tmp_path / f"w.{suffix}"
    report = fill_file(path, shape, law, dtype=dtype, seed=7, name="w", progress=lambda *done: seen.append(done))
    expected = filled(shape, law, dtype)
    stored = np.load(path) if suffix == "npy" else np.fromfile(path, "u2").reshape(shape)
    if isinstance(law, Orthogonal):
        assert np.array_equal(stored != 0, expected != 0)
        assert report.std == pytest.approx(law.marginal(shape).std, rel=1e-3)
        if suffix == "npy":
            assert abs(stored - expected).max() < 1e-5
    else:
        assert stored.tobytes() == expected.tobytes()
    assert seen[-1] == (expected.nbytes, expected.nbytes)
    assert report.measured_elements == expected.size


@pytest.mark.parametrize("law", SHAPED)
def test_a_fortran_file_and_a_shard_hold_the_same_elements(tmp_path: Path, law: Law) -> None:
    whole = filled((90, 60), law, "float32")
    np.save(tmp_path / "fortran.npy", np.ones((90, 60), "f4", order="F"))
    fill_file(tmp_path / "fortran.npy", None, law, seed=7, name="w", existing=True)
    assert np.allclose(np.load(tmp_path / "fortran.npy"), whole, atol=1e-5)
    fill_file(tmp_path / "shard.npy", (30, 20), law, seed=7, name="w", shard=Shard((90, 60), (31, 17)))
    assert np.allclose(np.load(tmp_path / "shard.npy"), whole[31:61, 17:37], atol=1e-5)


@pytest.mark.parametrize(
    ("law", "shape", "dtype", "message"),
    [
        (Sparse(nonzeros=5), (4, 6), "float32", "has only 4"),
        (Orthogonal(), (6,), "float32", "is no matrix"),
        (Orthogonal(1e6), (6, 6), "float16", "beyond the largest float16"),
        (Orthogonal(), (6, 6), "int32", "dtype int32, which Orthogonal cannot fill"),
    ],
)
def test_a_shaped_law_that_does_not_fit_creates_no_file(
    tmp_path: Path, law: Law, shape: tuple[int, ...], dtype: str, message: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        fill_file(tmp_path / "w.npy", shape, law, dtype=dtype, seed=7)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("dtype", "value"), [("int64", 2**60 + 1), ("bool", True), ("uint8", 200), ("float32", -math.inf)]
)
def test_a_constant_fills_every_real_dtype(tmp_path: Path, dtype: str, value: float) -> None:
    report = fill_file(tmp_path / "w.npy", (1000,), Constant(value), dtype=dtype)
    assert np.array_equal(np.load(tmp_path / "w.npy"), np.full(1000, value, dtype))
    assert (report.mean, report.std) == (float(value), 0.0)


@pytest.mark.parametrize("engine", ["numba", "numpy"])
def test_the_file_is_written_by_the_engine_of_the_caller(
    tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The other engine breaks: pool threads, too, must use the one chosen in the caller's context.
    other = {"numba": "numpy", "numpy": "numba"}[engine]
    with engines.use(other):
        broken = engines.chosen(1)
    with engines.use(engine):
        for target, shard in (("flat.bin", None), ("block.bin", Shard((1500, 4000), (100, 300)))):
            expected = filled(SHAPE, Normal(), "float32", shard=shard).tobytes()
            with monkeypatch.context() as patch:
                patch.setattr(broken, "fill", None)
                path = tmp_path / target
                fill_file(path, SHAPE, Normal(), seed=7, name="w", shard=shard, threads=2, durable=False)
            assert path.read_bytes() == expected


@pytest.mark.parametrize(
    "shard", [Shard((5000, 2000), (1300, 0)), Shard((1500, 4001), (100, 300)), Shard((2**40, 2000), (2**39, 0))]
)
def test_a_shard_file_is_the_slice_of_the_whole(tmp_path: Path, shard: Shard) -> None:
    fill_file(tmp_path / "w.npy", SHAPE, Normal(), seed=7, name="w", shard=shard, threads=2, durable=False)
    assert np.load(tmp_path / "w.npy").tobytes() == filled(SHAPE, Normal(), "float32", shard=shard).tobytes()


def test_a_flat_shard_file_is_part_of_the_flattened_tensor(tmp_path: Path) -> None:
    fill_file(tmp_path / "w.bin", (5000,), Normal(), seed=7, name="w", shard=Shard((60_000,), (1003,)))
    whole = filled((200, 300), Normal(), "float32").reshape(-1)
    assert (tmp_path / "w.bin").read_bytes() == whole[1003:6003].tobytes()


# --- in place -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    ("shape", "dtype"), [(SHAPE, "float32"), ((64, 31, 3, 7), "float16"), ((5,), "float64"), ((2, 400_001), "float32")]
)
def test_an_existing_npy_file_is_filled_in_its_own_order(
    tmp_path: Path, shape: tuple[int, ...], dtype: str, order: str
) -> None:
    path = tmp_path / "w.npy"
    np.save(path, np.full(shape, np.nan, dtype, order=order))
    before, inode = path.read_bytes(), path.stat().st_ino
    report = fill_file(path, None, Normal(), seed=7, name="w", existing=True, threads=2)
    stored = np.load(path, mmap_mode="r")
    expected = filled(shape, Normal(), dtype)
    assert np.array_equal(stored, expected)
    assert stored.flags.f_contiguous == (order == "F" or len(shape) == 1)
    header = len(before) - expected.nbytes
    assert path.read_bytes()[:header] == before[:header]
    assert path.stat().st_ino == inode
    assert (report.shape, report.dtype, report.measured_elements) == (shape, dtype, expected.size)


def test_an_existing_shard_in_fortran_order_is_the_slice_of_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "w.npy"
    np.save(path, np.zeros(SHAPE, "f4", order="F"))
    shard = Shard((1500, 4001), (100, 300))
    fill_file(path, SHAPE, Normal(), dtype="float32", seed=7, name="w", shard=shard, existing=True, durable=False)
    assert np.array_equal(np.load(path), filled(SHAPE, Normal(), "float32", shard=shard))


@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple),
    order=st.sampled_from("CF"),
    room=st.sampled_from([1, 7, 64, 500]),
    wide=st.sampled_from([1, 4, 128]),
)
def test_blocks_cover_a_file_once_in_the_right_places(shape: tuple[int, ...], order: str, room: int, wide: int) -> None:
    block = npy._block_shape(shape, room, wide if order == "F" else 1)
    grid = BoxGrid(shape, block)
    assert math.prod(block) <= max(room, wide)
    numbers = np.arange(math.prod(shape)).reshape(shape)
    written = np.zeros(math.prod(shape), np.int64)
    for i in range(grid.count):
        corner, sizes = grid.box(i)
        part = numbers[tuple(slice(c, c + s) for c, s in zip(corner, sizes, strict=True))].reshape(-1)
        for place, begin, length in grid.lines(i):
            written[place : place + length] += part[begin : begin + length] + 1
    assert np.array_equal(written, numbers.reshape(-1) + 1)


def test_an_existing_bare_file_must_have_the_size_of_its_shape(tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    path.write_bytes(bytes(2 * 30_000))
    fill_file(path, (300, 100), Normal(), dtype="bfloat16", seed=7, name="w", existing=True)
    assert path.read_bytes() == filled((300, 100), Normal(), "bfloat16").tobytes()
    for shape, dtype in (((300, 100), "float32"), ((299, 100), "bfloat16")):
        with pytest.raises(ValueError, match=r"w\.bin has 60,000 bytes; .* needs (120,000|59,800)"):
            fill_file(path, shape, Normal(), dtype=dtype, existing=True)
    with pytest.raises(ValueError, match="does not say its shape"):
        fill_file(path, None, Normal(), existing=True)
    assert path.read_bytes() == filled((300, 100), Normal(), "bfloat16").tobytes()


def test_an_interrupted_fill_in_place_is_completed_by_running_it_again(tmp_path: Path) -> None:
    path = tmp_path / "w.npy"
    np.save(path, np.zeros(SHAPE, "f4"))

    def stop(done: int, total: int) -> None:
        if done > total // 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill_file(path, None, Normal(), seed=7, name="w", existing=True, progress=stop)
    assert np.load(path).shape == SHAPE
    fill_file(path, None, Normal(), seed=7, name="w", existing=True)
    assert np.array_equal(np.load(path), filled(SHAPE, Normal(), "float32"))


def broken(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_file_that_is_not_what_it_says_is_refused_untouched(tmp_path: Path) -> None:
    np.save(tmp_path / "whole.npy", np.zeros((10, 10), "f4"))
    whole = (tmp_path / "whole.npy").read_bytes()
    np.save(tmp_path / "big_endian.npy", np.zeros(10, ">f4"))
    np.save(tmp_path / "record.npy", np.zeros(10, [("a", "f4"), ("b", "f4")]))
    np.save(tmp_path / "object.npy", np.array([None, {}]), allow_pickle=True)
    np.save(tmp_path / "complex.npy", np.zeros(10, "c8"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy says that it stores raw bytes, and that it needs format 3.0
        np.save(tmp_path / "version_3.npy", np.zeros(10, [("Ж", "f4"), ("b", "f4")]))
        np.save(tmp_path / "bfloat16.npy", np.zeros(10, ml_dtypes.bfloat16))
    broken(tmp_path / "short.npy", whole[:-1])
    broken(tmp_path / "garbage.npy", b"not an array")
    broken(tmp_path / "empty.npy", b"")
    broken(tmp_path / "half_header.npy", whole[:40])
    reasons = {
        "big_endian": "other byte order",
        "record": "no real number",
        "version_3": "not a .npy file that can be filled: version \\(3, 0\\)",
        "object": "no real number",
        "complex": "no real number",
        "bfloat16": "no real number",
        "short": "has 527 bytes; float32 of shape \\(10, 10\\) needs 528",
        "garbage": "not a .npy file",
        "empty": "not a .npy file",
        "half_header": "not a .npy file",
    }
    for name, reason in reasons.items():
        path = tmp_path / f"{name}.npy"
        before = path.read_bytes()
        with pytest.raises((TypeError, ValueError), match=reason):
            fill_file(path, None, Constant(0), existing=True)
        assert path.read_bytes() == before, name


# What NumPy's reader says to each of them is no ValueError, or names no file, or takes a shape that no array has.
DAMAGED = {
    "a bracket is open": "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 5), ",
    "indented": "  {'descr': '<f4',\n 'fortran_order': False, \n  'shape': (3, 5), }\n   1\n 2",
    "a comma for the byte order": "{'descr': ',f4', 'fortran_order': False, 'shape': (3, 5), }",
    "a key of bytes": "{'descr': '<f4', 'fortran_order': False, b'shape': (3, 5), }",
    "an empty field": "{'descr': [()], 'fortran_order': False, 'shape': (3, 5), }",
    "a list for a key": "{['descr']: '<f4'}",
    "nested deeply": "(" * 9000,
    "negated deeply": "-" * 9000 + "1",
    "too long": "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 5), }" + " " * 20000,
    "negative": "{'descr': '<f4', 'fortran_order': False, 'shape': (-3, -5), }",
    "a bool for a size": "{'descr': '<f4', 'fortran_order': False, 'shape': (True, 5), }",
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_header_is_refused_in_one_line_that_names_the_file(tmp_path: Path, case: str) -> None:
    header = DAMAGED[case].encode()
    path = broken(tmp_path / "w.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(60))
    with pytest.raises(ValueError, match=r"^\S*w\.npy is not a \.npy file that can be filled: .*; create it anew$"):
        fill_file(path, None, Constant(0), existing=True)


def test_shape_and_dtype_given_for_an_existing_file_are_compared_with_it(tmp_path: Path) -> None:
    path = tmp_path / "w.npy"
    np.save(path, np.zeros((10, 10), "f4"))
    with pytest.raises(ValueError, match=r"shape \(10, 10\), not \(5, 20\)"):
        fill_file(path, (5, 20), Normal(), existing=True)
    with pytest.raises(ValueError, match="holds float32, not float16"):
        fill_file(path, None, Normal(), dtype="float16", existing=True)
    with pytest.raises(FileNotFoundError, match="does not exist; to create it, leave out"):
        fill_file(tmp_path / "absent.npy", None, Normal(), existing=True)
    with pytest.raises(IsADirectoryError):
        fill_file(folder(tmp_path / "folder.npy"), None, Normal(), existing=True)
    with pytest.raises(ValueError, match="not a regular file"):
        fill_file(fifo(tmp_path / "pipe.npy"), None, Normal(), existing=True)


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2", ml_dtypes.bfloat16])
def test_npy_refuses_what_it_cannot_record(tmp_path: Path, dtype: object) -> None:
    with pytest.raises(TypeError, match=r"\.npy cannot record (bfloat16|float8_e\w+); .* Write a \.bin file"):
        fill_file(tmp_path / "w.npy", (10,), Normal(), dtype=dtype)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"path": "w.txt"}, ValueError, r"must end in \.npy, or in \.bin"),
        ({"shape": None}, ValueError, "a new file needs a shape"),
        ({"shape": (3, -1)}, ValueError, "negative"),
        ({"shape": (3, 2.5)}, TypeError, "pass an integer"),
        ({"shape": (1,) * 65}, ValueError, r"shape has 65 dimensions, and NumPy opens at most 64; write a \.bin file"),
        ({"shape": (2**40, 2**40)}, ValueError, r"at most 2\*\*58"),
        ({"dtype": "float33"}, TypeError, "dtype 'float33' is unknown"),
        ({"dtype": "complex64"}, TypeError, "no real number"),
        ({"dtype": "int32"}, TypeError, "Normal cannot fill"),
        ({"law": "normal"}, TypeError, "law is 'normal'"),
        ({"law": Normal(0, 1e5), "dtype": "float16"}, ValueError, "beyond the largest float16"),
        ({"law": Constant(10**400)}, ValueError, "cannot hold|beyond"),
        ({"seed": -1}, ValueError, "seed is -1"),
        ({"seed": True}, TypeError, "seed is True"),
        ({"name": 1.5}, TypeError, "name is 1.5"),
        ({"threads": 0}, ValueError, "threads is 0"),
        ({"shard": Shard((5, 5), (3, 0)), "seed": 0}, ValueError, "sticks out"),
        ({"shard": Shard((9, 9), (0, 0))}, ValueError, "needs seed="),
        ({"existing": True, "overwrite": True}, ValueError, "choose one"),
    ],
)
def test_what_makes_no_sense_is_refused_before_a_file_exists(
    tmp_path: Path, arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    call: dict[str, object] = {"path": "w.npy", "shape": (3, 5), "law": Normal()} | arguments
    path = tmp_path / str(call.pop("path"))
    with pytest.raises(error, match=message):
        fill_file(path, call.pop("shape"), call.pop("law"), **call)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


# --- the report ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", list(FORMATS))
def test_the_report_measures_what_is_in_the_file(tmp_path: Path, dtype: str) -> None:
    report = fill_file(tmp_path / "w.bin", SHAPE, Normal(0.5, 0.25), dtype=dtype, seed=7, name="w", durable=False)
    kind = np.dtype(dtype) if hasattr(np, dtype) else np.dtype(getattr(ml_dtypes, dtype))
    values = np.fromfile(tmp_path / "w.bin", np.uint8).view(kind).astype(np.float64)
    assert report.measured_elements == values.size
    assert report.mean == pytest.approx(values.mean(), rel=1e-12)
    assert report.std == pytest.approx(values.std(), rel=1e-12)
    assert (report.minimum, report.maximum) == (values.min(), values.max())
    assert (report.expected_mean, report.expected_std) == (0.5, 0.25)
    assert report.bytes == values.size * kind.itemsize == (tmp_path / "w.bin").stat().st_size
    assert 0 < report.write_seconds <= report.seconds
    assert report.gigabytes_per_second == pytest.approx(report.bytes / report.write_seconds / 1e9)


def test_a_large_file_is_measured_in_every_16th_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npy, "STAGING", 4096)
    reports = [
        fill_file(tmp_path / f"{n}.bin", (1000, 1000), Normal(3.0, 0.01), seed=7, threads=n, durable=False)
        for n in (1, 2)
    ]
    values = np.fromfile(tmp_path / "1.bin", "f4").reshape(-1)
    seen = np.concatenate([values[i : i + 1024] for i in range(0, values.size, 16 * 1024)]).astype("f8")
    for report in reports:
        assert report.measured_elements == seen.size
        assert report.mean == pytest.approx(seen.mean(), rel=1e-12)
        assert report.std == pytest.approx(seen.std(), rel=1e-9)
    assert reports[0].mean == reports[1].mean
    assert reports[0].std == reports[1].std


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2"])
def test_the_table_of_byte_values_is_that_of_ml_dtypes(dtype: str) -> None:
    values = byte_values(FORMATS[dtype])
    expected = np.arange(256, dtype=np.uint8).view(getattr(ml_dtypes, dtype)).astype(np.float32)
    assert np.array_equal(values, expected, equal_nan=True)


def test_a_drawn_seed_is_reported_and_gives_the_file_again(tmp_path: Path) -> None:
    first = fill_file(tmp_path / "a.bin", (100,), Normal())
    second = fill_file(tmp_path / "b.bin", (100,), Normal())
    assert first.seed != second.seed
    fill_file(tmp_path / "c.bin", (100,), Normal(), seed=first.seed)
    assert (tmp_path / "c.bin").read_bytes() == (tmp_path / "a.bin").read_bytes() != (tmp_path / "b.bin").read_bytes()


def test_progress_runs_from_something_to_everything(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = fill_file(tmp_path / "w.bin", SHAPE, Normal(), progress=lambda done, total: seen.append((done, total)))
    assert isinstance(report, Report)
    assert seen == sorted(seen)
    assert seen[-1] == (report.bytes, report.bytes)


# --- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()])
def test_an_exception_in_the_middle_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def fail(done: int, total: int) -> None:
        if done > total // 3:
            raise error

    with pytest.raises(type(error)):
        fill_file(tmp_path / "w.npy", SHAPE, Normal(), progress=fail)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_in_the_middle_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A file system without reservation, and one that lies about its free space.
    whole = os.pwrite

    def full(fd: int, data: memoryview, offset: int) -> int:
        if offset > 4_000_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match=r"no space for .*w\.npy: it needs 9,600,128 bytes") as caught:
        fill_file(tmp_path / "w.npy", SHAPE, Normal())
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("law", [Sparse(Normal(), 0.5), Orthogonal()])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), OSError(errno.ENOSPC, "full")])
def test_an_error_in_a_shaped_fill_is_raised_and_leaves_nothing(
    tmp_path: Path, law: Law, error: BaseException, engine: str
) -> None:
    def fail(done: int, total: int) -> None:
        raise error

    with pytest.raises(type(error), match="no space for" if isinstance(error, OSError) else None):
        fill_file(tmp_path / "w.npy", (500, 400), law, seed=7, progress=fail)
    assert list(tmp_path.iterdir()) == []


FILL = """
import sys
from fastinit.files.npy import fill_file
from fastinit.laws import Normal
fill_file(sys.argv[1], (8192, 2048), Normal(), seed=7, name="w", threads=2,
          progress=lambda done, total: print(done, flush=True))
"""


def test_a_file_killed_at_any_moment_is_absent_or_whole(tmp_path: Path) -> None:
    path = tmp_path / "w.npy"
    expected = filled((8192, 2048), Normal(), "float32")
    moments = random.Random(20260101)
    cut_short = 0
    for _ in range(10):
        child = subprocess.Popen([sys.executable, "-c", FILL, str(path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for _ in range(moments.randrange(1, 40)):  # about 32 of the 64 blocks report; then the sync and the name
            if not child.stdout.readline():
                break
        time.sleep(moments.uniform(0.0, 0.002))
        child.send_signal(signal.SIGKILL)
        child.wait(timeout=60)
        child.stdout.close()
        if path.exists():
            assert np.array_equal(np.load(path, mmap_mode="r"), expected)
            path.unlink()
        cut_short += len(list(tmp_path.iterdir()))
    assert cut_short, "no child was killed early enough to test anything"
    fill_file(path, (8192, 2048), Normal(), seed=7, name="w", durable=False)
    assert [entry.name for entry in tmp_path.iterdir()] == ["w.npy"]  # what the killed ones left is gone
    assert np.array_equal(np.load(path, mmap_mode="r"), expected)


def test_memory_stays_bounded(tmp_path: Path) -> None:
    code = f"""
import json, re
from fastinit.files.npy import fill_file
from fastinit.laws import Normal
# Not getrusage: its ru_maxrss begins with that of the parent, which is larger.
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
fill_file({str(tmp_path / "small.bin")!r}, (1 << 20,), Normal(), durable=False, threads=2)
before = peak()
fill_file({str(tmp_path / "large.bin")!r}, (1 << 26,), Normal(), durable=False, threads=2)
print(json.dumps(peak() - before))
"""
    environment = {**os.environ, "FASTINIT_ENGINE": "numba"}  # the small file would not load it
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) < 16 << 20
