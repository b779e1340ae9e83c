"""Every kind of buffer and layout takes the same values; constants reach every numeric dtype; progress adds up."""

from __future__ import annotations

import array
import ctypes
import math
import mmap
from itertools import pairwise

import ml_dtypes
import numpy as np
import pytest
import scalar_engine
from numpy.lib.stride_tricks import as_strided

import fastinit
from fastinit import Shard, laws
from fastinit.dtypes import FORMATS, array_dtype

NORMAL = laws.Normal(0.25, 2.0)
DTYPES = list(FORMATS)
NUMERIC = ["bool", *(f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)), "complex64", "complex128"]
NUMERIC += ["longdouble", "clongdouble"]


def plain(shape, dtype="float32", law=NORMAL, **options):
    """The values of a tensor, from a contiguous buffer on one thread."""
    got = np.full(math.prod(shape), 0x5A, FORMATS[dtype].storage).view(array_dtype(dtype))
    fastinit.fill(got, law, seed=1, name="w", threads=1, **options)
    return got.reshape(shape)


def fill(buf, law=NORMAL, **options):
    fastinit.fill(buf, law, seed=1, name="w", **options)
    return buf


def assert_same(got, expected):
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
    assert got.tobytes() == expected.tobytes()  # tobytes walks in logical order


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_filled_buffer_holds_the_values_of_the_stream_page(engine, dtype):
    got = fill(np.zeros(70, array_dtype(dtype)))
    expected = [scalar_engine.value("normal", (0.25, 2.0), dtype, 1, "w", i) for i in range(70)]
    assert got.view(f"u{got.itemsize}").tolist() == expected


def test_seed_and_name_decide_and_nothing_else_does(engine):
    draws = {}
    for seed, name in [(0, ""), (1, ""), (0, "a"), (0, "b"), (0, 5), (0, "5"), (2**32, "")]:
        first, second = (fastinit.new(100, laws.Normal(), seed=seed, name=name) for _ in range(2))
        assert_same(first, second)
        draws[first.tobytes()] = (seed, name)
    assert len(draws) == 7


def test_without_a_seed_two_fills_differ(engine):
    assert (fastinit.new(100, laws.Normal()) != fastinit.new(100, laws.Normal())).any()


@pytest.mark.parametrize("error", ["raise", "warn", "ignore"])
@pytest.mark.filterwarnings("ignore:std .* is under 4 times")
@pytest.mark.parametrize("dtype", DTYPES)
def test_numpys_error_state_does_not_matter(engine, dtype, error):
    """Underflow while rounding is no error, whatever np.seterr says; a warning would fail this test too."""
    for law in (laws.Normal(0.0, 1.0), laws.Uniform(-1e-3, 1e-3), laws.Constant(1e-9), laws.Constant(math.inf)):
        if law == laws.Constant(math.inf) and dtype == "float8_e4m3fn":
            continue
        expected = plain((5000,), dtype, law)
        with np.errstate(all=error):
            assert_same(fill(np.zeros(5000, array_dtype(dtype)), law), expected)


# --- layouts ----------------------------------------------------------------------------------------------------------

LAYOUTS = {
    "contiguous": lambda shape, dtype: np.zeros(shape, dtype),
    "fortran": lambda shape, dtype: np.zeros(shape, dtype, order="F"),
    "transposed": lambda shape, dtype: np.zeros(shape[::-1], dtype).T,
    "middle axis last": lambda shape, dtype: np.moveaxis(np.zeros((shape[0], *shape[2:], shape[1]), dtype), -1, 1),
    "every second": lambda shape, dtype: np.zeros([2 * n for n in shape], dtype)[::2, ::2, ::2],
    "a block": lambda shape, dtype: np.zeros([n + 3 for n in shape], dtype)[1:-2, 2:-1, 3:],
    "reversed": lambda shape, dtype: np.zeros(shape, dtype)[::-1, ::-1, ::-1],
    "rows reversed": lambda shape, dtype: np.zeros(shape, dtype)[::-1],
    "columns reversed and spread": lambda shape, dtype: np.zeros((*shape[:2], 3 * shape[2]), dtype)[..., ::-3],
    "fortran reversed": lambda shape, dtype: np.zeros(shape, dtype, order="F")[:, ::-1, ::-1],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 5, 7), (2, 70, 130), (64, 1, 3)])
def test_a_layout_takes_the_values_of_the_same_logical_elements(engine, layout, dtype, shape):
    assert_same(fill(LAYOUTS[layout](shape, array_dtype(dtype))), plain(shape, dtype))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("threads", [1, 3])
def test_a_layout_cut_for_threads_takes_the_same_values(layout, threads):
    shape = (4, 300, 500)  # 2.4 MB: several chunks
    assert_same(fill(LAYOUTS[layout](shape, np.float32), threads=threads), plain(shape))


@pytest.mark.parametrize("layout", ["every second", "a block"])
def test_nothing_between_the_elements_of_a_view_is_touched(engine, layout):
    where = np.s_[::2, ::3, ::4] if layout == "every second" else np.s_[3:9, 5:30, 7:9]
    whole, inside = np.full((40, 40, 40), 0x5A5A5A5A, np.uint32), np.zeros((40, 40, 40), bool)
    block, inside[where] = whole.view(np.float32)[where], True
    fill(block)
    assert (whole[~inside] == 0x5A5A5A5A).all()
    assert_same(np.ascontiguousarray(block), plain(block.shape))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 15, 16, 17, 63, 64, 65, 1000, 1023])
def test_the_bytes_around_a_buffer_stay(engine, dtype, size):
    itemsize = array_dtype(dtype).itemsize
    memory = np.full((size + 128) * itemsize, 0x5A, np.uint8)
    fill(memory[64 * itemsize : -64 * itemsize].view(array_dtype(dtype)))
    assert (memory[: 64 * itemsize] == 0x5A).all()
    assert (memory[-64 * itemsize :] == 0x5A).all()
    assert memory[64 * itemsize : -64 * itemsize].tobytes() == plain((size,), dtype).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_0_d_array_takes_the_value_of_element_0(engine, dtype):
    assert_same(fill(np.zeros((), array_dtype(dtype))), plain((), dtype))
    assert fill(np.zeros((), array_dtype(dtype))) == plain((3,), dtype)[0]


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0, 3)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_zero_size_buffer_returns(engine, dtype, shape):
    calls = []
    fill(np.zeros(shape, array_dtype(dtype)), progress=lambda *args: calls.append(args))
    assert calls == []


def test_a_zero_size_buffer_returns_before_values_are_checked():
    fill(np.zeros((0, 3), np.float16), laws.Normal(0.0, 1e9))
    fill(np.zeros(0, np.uint8), laws.Constant(-1))


@pytest.mark.parametrize("dtype", ["float32", "float64", "longdouble", "complex64", "complex128", "clongdouble"])
@pytest.mark.parametrize("value", [2**64, -(2**70), 3 * 2**100])
def test_an_integer_beyond_64_bits_is_stored_where_it_fits(dtype, value):
    buf = np.zeros(3, dtype)
    fastinit.fill_constant(buf, value)
    assert (buf == float(value)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_unaligned_field_of_a_packed_record_is_filled_and_its_neighbours_stay(engine, dtype, order):
    records = np.zeros((30, 50), np.dtype([("mark", "u1"), ("w", array_dtype(dtype)), ("end", "u2")]), order=order)
    records["mark"], records["end"] = 0x5A, 0x5A5A
    assert not records["w"].flags.aligned or records["w"].itemsize == 1
    fill(records["w"])
    assert_same(np.ascontiguousarray(records["w"]), plain((30, 50), dtype))
    assert (records["mark"] == 0x5A).all()
    assert (records["end"] == 0x5A5A).all()


def test_an_aligned_field_of_an_aligned_record_is_filled(engine):
    records = np.zeros((30, 50), np.dtype([("mark", "u1"), ("w", "f4")], align=True))
    assert records["w"].flags.aligned
    assert_same(np.ascontiguousarray(fill(records["w"])), plain((30, 50)))


@pytest.mark.parametrize("shape", [(300_000,), (600, 500), (2, 3, 50_000)])
@pytest.mark.parametrize("reverse", [False, True])
def test_unaligned_memory_of_many_staging_blocks_takes_the_same_values(shape, reverse):
    memory = np.zeros(4 * math.prod(shape) + 1, np.uint8)
    buf = memory[1:].view(np.float32).reshape(shape)
    if reverse:
        buf = buf[..., ::-1]
    assert not buf.flags.aligned
    done = []
    fill(buf, progress=lambda now, total: done.append((now, total)))
    assert_same(np.ascontiguousarray(buf), plain(shape))
    assert memory[0] == 0
    assert done[-1] == (buf.nbytes, buf.nbytes)
    assert len(done) > 1


def test_strides_that_interleave_without_overlap_are_filled():
    memory = np.full(64, np.nan, np.float32)
    buf = as_strided(memory, (2, 3), (12, 8))  # elements 0, 2, 4 and 3, 5, 7
    assert_same(np.ascontiguousarray(fill(buf)), plain((2, 3)))
    assert np.isnan(memory[[1, 6, *range(8, 64)]]).all()


# --- shards -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["contiguous", "fortran", "reversed", "every second"])
def test_a_shard_is_the_slice_of_the_whole(engine, dtype, layout):
    whole = plain((9, 33, 71), dtype)
    buf = LAYOUTS[layout]((4, 20, 65), array_dtype(dtype))
    fill(buf, shard=Shard((9, 33, 71), (5, 13, 6)))
    assert_same(np.ascontiguousarray(buf), np.ascontiguousarray(whole[5:9, 13:33, 6:71]))


@pytest.mark.parametrize("start", [0, 1, 63, 64, 65, 999])
def test_a_flat_shard_is_the_run_of_the_flat_tensor(engine, start):
    assert_same(fill(np.zeros(500, np.float32), shard=Shard((1500,), (start,))), plain((1500,))[start : start + 500])


def test_a_column_of_a_matrix_and_a_0_d_tensor_are_shards(engine):
    whole = plain((40, 30))
    assert_same(fill(np.zeros((40, 1), np.float32), shard=Shard((40, 30), (0, 17))), whole[:, 17:18].copy())
    assert_same(fill(np.zeros((), np.float32), shard=Shard((), ())), plain(()))


def test_an_unaligned_shard_is_the_slice(engine):
    buf = np.zeros(4 * 600 + 1, np.uint8)[1:].view(np.float32).reshape(20, 30)
    fill(buf, shard=Shard((50, 70), (11, 13)))
    assert_same(buf.copy(), plain((50, 70))[11:31, 13:43].copy())


def test_a_constant_needs_no_seed_for_a_shard():
    buf = np.zeros(3)
    fastinit.fill_ones(buf, shard=Shard((9,), (6,)))
    assert buf.tolist() == [1, 1, 1]


def test_an_empty_shard_at_the_end_returns():
    fill(np.zeros((0, 5), np.float32), shard=Shard((7, 5), (7, 0)))


# --- storage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("law", [NORMAL, laws.Uniform(), laws.TruncatedNormal(0, 1, -1, 2), laws.Constant(-0.3)])
def test_raw_storage_with_dtype_holds_the_bits_of_the_typed_array(engine, dtype, law):
    raw = np.zeros((20, 30), FORMATS[dtype].storage)
    fill(raw, law, dtype=dtype)
    assert raw.tobytes() == plain((20, 30), dtype, law).tobytes()
    fill(raw.T, law, dtype=array_dtype(dtype))
    assert_same(raw.T.copy().view(array_dtype(dtype)), plain((30, 20), dtype, law))


def test_a_memory_map_file_is_filled(engine, tmp_path):
    path = tmp_path / "weights.npy"
    mapped = np.lib.format.open_memmap(path, "w+", np.float32, (300, 500))
    fill(mapped)
    mapped.flush()
    assert_same(np.load(path), plain((300, 500)))
    fill(mapped[100:, ::-2], shard=Shard((300, 500), (100, 250)))
    mapped.flush()
    assert_same(np.load(path)[100:, ::-2].copy(), plain((300, 500))[100:, 250:].copy())
    assert_same(np.load(path)[:100], plain((300, 500))[:100])


def test_a_memory_map_that_begins_off_the_boundary_is_filled(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"\x5a" * (4 * 1000 + 3))
    mapped = np.memmap(path, np.float32, "r+", offset=3, shape=(1000,))
    fill(mapped)
    mapped.flush()
    assert path.read_bytes() == b"\x5a" * 3 + plain((1000,)).tobytes()


def test_anonymous_shared_memory_is_filled():
    with mmap.mmap(-1, 4 * 1000) as memory:
        fill(np.frombuffer(memory, np.float32))
        assert memory[:] == plain((1000,)).tobytes()


@pytest.mark.parametrize(
    ("make", "dtype", "count"),
    [
        (lambda: array.array("f", [0.0] * 100), "float32", 100),
        (lambda: array.array("d", [0.0] * 100), "float64", 100),
        (lambda: (ctypes.c_float * 100)(), "float32", 100),
        (lambda: memoryview(bytearray(400)).cast("f"), "float32", 100),
        (lambda: memoryview(bytearray(400)).cast("f", (10, 10)), "float32", 100),
        (lambda: memoryview(np.zeros(100, np.float16)), "float16", 100),
    ],
    ids=["array f", "array d", "ctypes", "cast", "two dimensions", "half"],
)
def test_an_object_with_the_buffer_protocol_is_filled_in_place(engine, make, dtype, count):
    buf = make()
    fill(buf)
    assert bytes(memoryview(buf).cast("B")) == plain((count,), dtype).tobytes()


def test_raw_bytes_are_storage_for_float8_and_a_strided_view_of_them_too(engine):
    buf = bytearray(200)
    fill(memoryview(buf)[::2], dtype="float8_e5m2")
    assert buf[::2] == plain((100,), "float8_e5m2").tobytes()
    assert not any(buf[1::2])


class Capsule:
    """A tensor of another library: nothing but DLPack."""

    def __init__(self, values):
        self.values = values

    def __dlpack__(self, **options):
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.values.__dlpack_device__()


writes = pytest.mark.skipif(
    not np.from_dlpack(np.empty(1)).flags.writeable, reason="this NumPy takes all that comes by DLPack as read-only"
)


@writes
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_an_object_with_dlpack_is_filled_in_place(engine, dtype):
    capsule = Capsule(np.zeros((20, 30), dtype))
    fill(capsule)
    assert_same(capsule.values, plain((20, 30), dtype))


@writes
def test_raw_storage_behind_dlpack_is_filled(engine):
    capsule = Capsule(np.zeros((20, 30), np.uint16).T)
    fill(capsule, dtype="bfloat16")
    assert_same(capsule.values.copy().view(ml_dtypes.bfloat16), plain((30, 20), "bfloat16"))


def test_a_numpy_whose_dlpack_is_read_only_is_named(monkeypatch):
    real = np.from_dlpack

    def read_only(x):
        array = real(x)
        array.flags.writeable = False
        return array

    monkeypatch.setattr(np, "from_dlpack", read_only)
    capsule = Capsule(np.zeros(3))
    with pytest.raises(TypeError, match=r"NumPy \S+ takes all that comes by DLPack as read-only; 2\.2\.6 does not"):
        fill(capsule)
    assert not capsule.values.any()


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_an_ndarray_subclass_is_filled_in_place(engine):
    for kind in (np.matrix, np.recarray):
        buf = np.zeros((20, 30), np.float32).view(kind)
        fill(buf)
        assert_same(np.array(buf), plain((20, 30)))


# --- constants --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", NUMERIC)
@pytest.mark.parametrize("shape", [(), (7,), (30, 50)])
def test_zeros_and_ones_reach_every_numeric_dtype(engine, dtype, shape):
    buf = np.full(shape, 1, dtype)
    fastinit.fill_zeros(buf)
    assert np.array_equal(buf, np.zeros(shape, dtype))
    fastinit.fill_ones(buf)
    assert np.array_equal(buf, np.ones(shape, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [0.0, -0.0, 1, True, -2.5, 0.3, np.float32(0.3), 1e-3, math.nan, math.inf, -math.inf])
def test_a_constant_is_rounded_once_to_the_buffers_dtype(engine, dtype, value):
    if math.isinf(value) and dtype == "float8_e4m3fn":
        return  # has no infinity; refused in test_bad_input.py
    buf = np.full(100, 7, array_dtype(dtype))
    fastinit.fill_constant(buf, value)
    expected = np.full(100, value, np.float64).astype(np.float32 if dtype != "float64" else np.float64)
    if math.isnan(value):
        assert np.isnan(buf.astype(np.float64)).all()
    else:
        assert_same(buf, expected.astype(buf.dtype))


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("int8", -128),
        ("uint8", 255),
        ("uint8", 255.0),
        ("int64", 2**63 - 1),
        ("int64", -(2**63)),
        ("uint64", 2**64 - 1),
        ("uint64", np.uint64(2**64 - 1)),
        ("int32", True),
        ("int16", ml_dtypes.bfloat16(96)),
        ("bool", True),
        ("bool", 0.0),
        ("complex64", 1.5 - 2.5j),
        ("complex64", complex(math.inf, -math.inf)),
        ("complex128", math.inf),
        ("complex128", -3),
        ("longdouble", math.inf),
        ("longdouble", 0.1),
    ],
)
def test_a_constant_that_the_dtype_holds_is_stored_exactly(dtype, value):
    buf = np.zeros((5, 6), dtype, order="F")
    fastinit.fill_constant(buf, value)
    assert (buf == value).all()
    assert buf[0, 0].item() == value


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_constant_fills_every_layout(layout):
    buf = LAYOUTS[layout]((4, 300, 500), np.complex64)
    fastinit.fill_constant(buf, 1 - 2j, threads=2)
    assert (buf == 1 - 2j).all()


def test_a_constant_fills_unaligned_memory():
    memory = np.full(8 * 200_000 + 1, 0x5A, np.uint8)
    fastinit.fill_constant(memory[1:].view(np.int64), -7)
    assert (memory[1:].view(np.int64) == -7).all()
    assert memory[0] == 0x5A


# --- new --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), 7, (3, 4), [3, 4], (0, 3)])
def test_new_is_an_empty_array_and_a_fill(engine, dtype, shape):
    got = fastinit.new(shape, NORMAL, dtype=dtype, seed=1, name="w")
    assert got.flags.c_contiguous
    assert_same(got, plain(np.empty(shape).shape, dtype))


def test_new_is_float32_unless_told():
    assert fastinit.new(3, NORMAL, seed=0).dtype == np.float32


@pytest.mark.parametrize("dtype", ["f4", np.float32, np.dtype("float32"), "float32"])
def test_new_takes_any_spelling_of_a_dtype(dtype):
    assert_same(fastinit.new(30, NORMAL, dtype=dtype, seed=1, name="w"), plain((30,)))


@pytest.mark.parametrize("dtype", NUMERIC)
def test_new_fills_a_constant_of_every_numeric_dtype(dtype):
    got = fastinit.new((2, 3), laws.Constant(1), dtype=dtype)
    assert got.dtype == dtype
    assert np.array_equal(got, np.ones((2, 3)))


def test_new_fills_a_shard():
    got = fastinit.new((5, 6), NORMAL, seed=1, name="w", shard=Shard((10, 20), (3, 4)))
    assert_same(got, plain((10, 20))[3:8, 4:10].copy())


# --- progress and threads ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["contiguous", "fortran", "every second", "reversed"])
@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("law", [NORMAL, laws.Constant(1.0)])
def test_progress_rises_to_the_total_and_ends_there(layout, threads, law):
    buf = LAYOUTS[layout]((4, 500, 700), np.float32)
    calls = []
    fill(buf, law, threads=threads, progress=lambda done, total: calls.append((done, total)))
    done = [now for now, _ in calls]
    assert {total for _, total in calls} == {buf.nbytes}
    assert all(0 < one <= other for one, other in pairwise(done))
    assert done[-1] == buf.nbytes
    if threads == 1:  # otherwise the helpers may take every chunk before the calling thread does
        assert len(set(done)) > 3


@pytest.mark.parametrize("size", [1, 100, 65_536, 65_537])
def test_progress_of_a_small_buffer_ends_at_the_total(engine, size):
    calls = []
    fill(np.zeros(size, np.float32), progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (4 * size, 4 * size)


def test_an_error_in_progress_reaches_the_caller():
    def stop(done, total):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        fill(np.zeros(1_000_000, np.float32), threads=2, progress=stop)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_number_of_threads_does_not_matter(dtype):
    expected = plain((1_000_003,), dtype)
    for threads in (2, 7, 64):
        assert_same(fill(np.zeros(1_000_003, array_dtype(dtype)), threads=threads), expected)


# --- NumPy's floating point errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "law"),
    [
        ((64, 48), laws.Normal(0.0, 1e-3)),
        ((64, 48), laws.Uniform(-1e-3, 1e-3)),
        ((64, 48), laws.TruncatedNormal(0.0, 1e-3, -1e-3, 2e-3)),
        ((64, 48), laws.Constant(1e-3)),
        ((64, 48), laws.Sparse(laws.Normal(0.0, 1e-3), 0.5)),
        ((64, 48), laws.Orthogonal(1e-2)),
        ((6, 5, 3), laws.DeltaOrthogonal(1e-2)),
        ((64, 48), laws.Identity(1e-5)),
        ((64, 48), laws.StateLogs()),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:std .* is under 4 times:UserWarning")
def test_floating_point_errors_that_numpy_shall_raise_are_not_raised_by_rounding(engine, shape, law, dtype):
    expected, got = (np.empty(shape, array_dtype(dtype)) for _ in range(2))
    fastinit.fill(expected, law, seed=1)
    with np.errstate(all="raise"):
        fastinit.fill(got, law, seed=1)
    assert_same(got, expected)
