"""Every refusal: its type, a message that says what came, what is accepted or what to do, and an untouched buffer."""

from __future__ import annotations

import math
import re
import warnings

import ml_dtypes
import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import fastinit
from fastinit import Shard, schemes
from fastinit.laws import Constant, Normal, TruncatedNormal, Uniform

INF, NAN = math.inf, math.nan
POISON = 0x5A


def poisoned(dtype="float32", shape=(4, 6)):
    return np.full(math.prod(shape) * np.dtype(dtype).itemsize, POISON, np.uint8).view(dtype).reshape(shape)


def memory_of(buf):
    """All the memory a buffer may reach."""
    while isinstance(buf, np.ndarray) and buf.base is not None:
        buf = buf.base
    return buf


def bytes_of(buf):
    memory = memory_of(buf)
    return bytes(memory) if isinstance(memory, (bytes, bytearray)) else np.asarray(memory).tobytes()


def fails(row, *arguments, **options):
    """Call a fill that must be refused; the message must match every pattern, and no byte may change."""
    buf, call, error, *patterns = row
    before = bytes_of(buf)
    with pytest.raises(error) as refusal:
        call(buf, *arguments, **options)
    assert type(refusal.value) is error
    for pattern in patterns:
        assert re.search(pattern, str(refusal.value)), f"{pattern!r} is not in: {refusal.value}"
    assert bytes_of(buf) == before


def overlapping(shape, steps):
    return as_strided(poisoned(shape=(64,)), shape, [4 * step for step in steps])


def read_only(dtype="float32"):
    buf = poisoned(dtype)
    buf.flags.writeable = False
    return buf


def normal(buf, **options):
    fastinit.fill(buf, Normal(0.0, 0.02), **{"seed": 0, **options})


def constant(value):
    return lambda buf: fastinit.fill_constant(buf, value)


BUFFERS = {
    "read-only": (read_only(), normal, ValueError, "buf is read-only", "pass a writable array", "r\\+"),
    "read-only, constant": (read_only("int8"), constant(1), ValueError, "buf is read-only", "writable"),
    "bytes": (b"\x5a" * 8, constant(1), ValueError, "buf is read-only", "writable"),
    "integers": (poisoned("int32"), normal, TypeError, "dtype int32, which Normal", "float64, float32.*float8_e5m2"),
    "bool": (poisoned("bool"), normal, TypeError, "dtype bool, which Normal", "float64, float32"),
    "complex long double": (poisoned("clongdouble"), normal, TypeError, "dtype complex256, which Normal", "complex64"),
    "raw uint16": (poisoned("uint16"), normal, TypeError, "dtype uint16, which Normal", "bfloat16"),
    "long double": (poisoned("longdouble"), normal, TypeError, "dtype float128, which Normal", "float64, float32"),
    "objects": (np.full(4, None), constant(1), TypeError, "dtype object, which Constant", "every bool, integer"),
    "text": (np.full(4, "ab"), constant(1), TypeError, "dtype <U2, which Constant", "every bool, integer"),
    "dates": (poisoned("M8[s]"), constant(1), TypeError, r"dtype datetime64\[s\], which Constant", "it fills"),
    "records": (poisoned("f4,f4"), constant(1), TypeError, "which Constant cannot fill", "it fills"),
    "masked": (np.ma.masked_array(poisoned(), False), normal, TypeError, "masked array", r"pass buf\.data"),
    "other order": (poisoned(">f4"), normal, TypeError, r"byte order of another machine \(>f4\)", "use <f4"),
    "other order, int": (poisoned(">i8"), constant(1), TypeError, r"byte order of another machine \(>i8\)", "use <i8"),
    "all one element": (
        overlapping((4, 4), (0, 0)),
        normal,
        ValueError,
        r"strides \(0, 0\)",
        "overlaps",
        "pass a copy",
    ),
    "rows the same": (overlapping((4, 4), (0, 1)), normal, ValueError, r"strides \(0, 4\) overlaps itself", "copy"),
    "columns the same": (overlapping((4, 4), (4, 0)), normal, ValueError, r"strides \(16, 0\) overlaps", "copy"),
    "sliding window": (overlapping((4, 4), (1, 1)), normal, ValueError, r"shape \(4, 4\) and strides \(4, 4\)", "copy"),
    "rows that touch": (overlapping((4, 4), (3, 1)), normal, ValueError, "overlaps itself", "pass a copy"),
    "mirrored": (
        overlapping((4, 4), (3, 1))[::-1, ::-1],
        constant(1),
        ValueError,
        "overlaps itself",
        "pass a copy",
    ),
    "interleaved, meeting once": (overlapping((4, 3), (2, 3)), normal, ValueError, "overlaps itself", "pass a copy"),
    "half an element apart": (
        as_strided(poisoned(shape=(64,)), (4,), (2,)),
        normal,
        ValueError,
        r"strides \(2,\) overlaps itself",
    ),
    "a list": ([1.0], normal, TypeError, "buf is a list", r"numpy\.empty\(1\)"),
    "a number": (1.0, normal, TypeError, "buf is a float", "pass a NumPy array"),
    "a NumPy scalar": (np.float32(1), normal, TypeError, "buf is a float32", "pass a NumPy array"),
    "nothing": (None, normal, TypeError, "buf is a NoneType", "pass a NumPy array"),
    "a text": ("weights", normal, TypeError, "buf is a str", "pass a NumPy array"),
    "bytearray without dtype": (
        bytearray(8),
        normal,
        TypeError,
        "dtype uint8, which Normal cannot fill",
        "float8_e5m2",
    ),
}

ARGUMENTS = {
    "law: a class": ({"law": Normal}, TypeError, "law is <class", r"pass fastinit\.laws\.Normal\(0\.0, 0\.02\)"),
    "law: a number": ({"law": 0.02}, TypeError, "law is 0.02", r"pass fastinit\.laws\.Normal"),
    "law: none": ({"law": None}, TypeError, "law is None", r"pass fastinit\.laws\.Normal"),
    "seed: float": ({"seed": 1.0}, TypeError, "seed is 1.0 of type float", "pass an integer"),
    "seed: text": ({"seed": "1"}, TypeError, "seed is '1' of type str", "pass an integer"),
    "seed: bool": ({"seed": True}, TypeError, "seed is True", "pass an integer"),
    "seed: NumPy bool": ({"seed": np.True_}, TypeError, "seed is np.True_", "pass an integer"),
    "seed: negative": ({"seed": -1}, ValueError, "seed is -1", r"in \[0, 2\*\*64\)"),
    "seed: negative NumPy": ({"seed": np.int8(-1)}, ValueError, "seed is -1", r"in \[0, 2\*\*64\)"),
    "seed: too large": ({"seed": 2**64}, ValueError, "seed is 18446744073709551616", r"in \[0, 2\*\*64\)"),
    "name: bytes": ({"name": b"w"}, TypeError, "name is b'w' of type bytes", "pass a string or an integer|str"),
    "name: none": ({"name": None}, TypeError, "name is None", "pass a string or an integer|str"),
    "name: bool": ({"name": False}, TypeError, "name is False", "pass a"),
    "name: float": ({"name": 1.5}, TypeError, "name is 1.5", "pass a"),
    "name: negative": ({"name": -1}, ValueError, "name is the integer -1", r"in \[0, 2\*\*64\), or a string"),
    "name: too large": ({"name": 2**64}, ValueError, "name is the integer 184", r"in \[0, 2\*\*64\), or a string"),
    "name: lone surrogate": ({"name": "a\ud800"}, ValueError, r"'a\\ud800' has a lone surrogate", "rename the tensor"),
    "stream: unknown": (
        {"stream": "fastinit-0"},
        ValueError,
        "stream='fastinit-0' is unknown",
        "computes 'fastinit-1'",
    ),
    "shard: a tuple": (
        {"shard": ((4, 6), (0, 0))},
        TypeError,
        r"shard is \(\(4",
        r"pass fastinit\.Shard\(shape, offsets\)",
    ),
    "shard: without seed": (
        {"shard": Shard((8, 6), (4, 0)), "seed": None},
        ValueError,
        "seed=None with shard= would give every rank its own weights",
        "pass one seed to all",
    ),
    "shard: sticks out": (
        {"shard": Shard((8, 6), (5, 0))},
        ValueError,
        r"along dimension 0 the block \[5, 9\) sticks out of the tensor, which has 8",
        r"the buffer is \(4, 6\) at \(5, 0\) of \(8, 6\)",
    ),
    "shard: other rank": (
        {"shard": Shard((48,), (24,))},
        ValueError,
        r"the buffer has 2 dimensions \(4, 6\), the tensor 1 \(48,\)",
        "pass a flat buffer",
    ),
    "shard: tensor too large": (
        {"shard": Shard((2**30, 2**29), (0, 0))},
        ValueError,
        "has 576460752303423488 elements",
        r"at most 2\*\*58",
    ),
    "dtype: unknown": ({"dtype": "float8"}, TypeError, "dtype='float8' is not a format", "it fills float64, float32"),
    "dtype: another size": ({"dtype": "bfloat16"}, TypeError, "does not fit a buffer of float32", "raw uint16 storage"),
    "dtype: another float": (
        {"dtype": np.float64},
        TypeError,
        "'float64' does not fit a buffer of float32",
        "pass float64",
    ),
    "dtype: a number": ({"dtype": 5}, TypeError, "dtype=5 is not a format", "it fills float64, float32"),
    "threads: zero": ({"threads": 0}, ValueError, "threads is 0", "integer from 1 to 1024"),
    "threads: negative": ({"threads": -2}, ValueError, "threads is -2", "integer from 1 to 1024"),
    "threads: too many": ({"threads": 1025}, ValueError, "threads is 1025", "integer from 1 to 1024"),
    "threads: float": ({"threads": 2.0}, ValueError, "threads is 2.0", "integer from 1 to 1024"),
    "threads: bool": ({"threads": True}, ValueError, "threads is True", "integer from 1 to 1024"),
    "progress: no function": ({"progress": 5}, TypeError, "progress is 5", "pass a function|or a function|callable"),
}

f16, bf16, e4m3, e5m2 = np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2
# Laws that are sound, but not in this dtype.
VALUES = {
    "normal, float16": (
        f16,
        Normal(0, 1e4),
        "Normal.* reaches 6.77e\\+04",
        "largest float16",
        "smaller scale or a wider",
    ),
    "normal by its mean": (f16, Normal(-65520, 0), "reaches 6.552e\\+04, beyond the largest float16", "wider dtype"),
    "normal, both": (e4m3, Normal(400, 10), "beyond the largest float8_e4m3fn \\(448\\)", "wider dtype"),
    "normal, float8_e5m2": (e5m2, Normal(0, 9100), "beyond the largest float8_e5m2", "wider dtype"),
    "normal, bfloat16": (bf16, Normal(0, 1e38), "beyond the largest bfloat16", "smaller scale"),
    "normal, float32": ("f4", Normal(0, 1e38), "beyond the largest float32", "wider dtype"),
    "normal, float64": ("f8", Normal(0, 1e308), "beyond the largest float64", "smaller scale"),
    "uniform, float16": (f16, Uniform(-7e4, 1), "Uniform.* reaches 7e\\+04, beyond the largest float16", "wider dtype"),
    "uniform, float8_e4m3fn": (e4m3, Uniform(0, 500), "beyond the largest float8_e4m3fn", "wider dtype"),
    "uniform, wide span": ("f4", Uniform(-3e38, 3e38), "spans 6e\\+38, which overflows float32", "smaller range"),
    "uniform, wide span, float64": (
        "f8",
        Uniform(-1e308, 1e308),
        "spans inf, which overflows float64",
        "smaller range",
    ),
    "uniform between two values": (e4m3, Uniform(1.01, 1.1), "holds no float8_e4m3fn value", "wider range or a wider"),
    "uniform below a value": (f16, Uniform(1.0 + 2.0**-12, 1.0 + 2.0**-10), "holds no float16 value", "wider dtype"),
    "truncated, float16": (f16, TruncatedNormal(0, 1e4, -INF, INF), "beyond the largest float16", "wider dtype"),
    "truncated by its bound": (e4m3, TruncatedNormal(0, 1e3, -1e3, 1), "beyond the largest float8_e4m3fn", "wider"),
    "truncated between two values": (
        e5m2,
        TruncatedNormal(1, 1, 1.3, 1.4),
        "holds no float8_e5m2 value",
        "wider bounds",
    ),
    "constant, float16": (f16, Constant(65520), "beyond the largest float16 \\(6.55e\\+04\\)", "wider dtype"),
    "constant, float32": ("f4", Constant(-1e39), "beyond the largest float32", "wider dtype"),
    "constant, infinity in float8_e4m3fn": (
        e4m3,
        Constant(INF),
        "float8_e4m3fn has no infinity",
        "largest value is 448",
    ),
    "constant, complex in a real dtype": ("f4", Constant(1 + 0j), r"\(1\+0j\)\) does not fit dtype float32", "is real"),
    "constant, complex in long double": ("g", Constant(1 + 2j), r"\(1\+2j\)\) does not fit dtype float128", "real"),
    "constant, complex in integers": (
        "i4",
        Constant(1 + 2j),
        r"\(1\+2j\)\) does not fit dtype int32",
        "pass a value|real",
    ),
    "constant, negative in unsigned": (
        "u1",
        Constant(-1),
        "-1\\) does not fit dtype uint8",
        "pass a value it can hold",
    ),
    "constant, too large": ("u1", Constant(256), "256\\) does not fit dtype uint8", "pass a value it can hold"),
    "constant, 2^63 as int64": ("i8", Constant(2**63), "does not fit dtype int64", "pass a value it can hold"),
    "constant, 2.0^64 as uint64": ("u8", Constant(2.0**64), "does not fit dtype uint64", "pass a value it can hold"),
    "constant, fraction in integers": (
        "i4",
        Constant(0.5),
        "0.5\\) does not fit dtype int32",
        "pass a value it can hold",
    ),
    "constant, NaN in integers": ("i4", Constant(NAN), "nan\\) does not fit dtype int32", "pass a value it can hold"),
    "constant, infinity in integers": (
        "i8",
        Constant(INF),
        "inf\\) does not fit dtype int64",
        "pass a value it can hold",
    ),
    "constant, 2 as bool": ("?", Constant(2), "2\\) does not fit dtype bool", "pass a value it can hold"),
    "constant, 10^39 as complex64": ("c8", Constant(10**39), "overflows dtype complex64", "use a wider dtype"),
    "constant, 10^400 as complex128": ("c16", Constant(10**400), "too large for dtype complex128", "use a wider dtype"),
    "constant, complex64": ("c8", Constant(1e300), "overflows dtype complex64", "use a wider dtype"),
}
# Just below the value that rounds to infinity in float64 arithmetic, and infinity after rounding to float32 first.
EDGES = [
    (f16, math.nextafter(65520, 0)),
    (e5m2, math.nextafter(61440, 0)),
    (bf16, math.nextafter((2 - 2.0**-8) * 2.0**127, 0)),
]

# Numbers that no dtype makes sound: call, error, patterns.
NUMBERS = {
    "uniform: low above high": (lambda: Uniform(1, 0), ValueError, "low 1.0 is not below high 0.0", "swap them"),
    "uniform: low equal high": (lambda: Uniform(1, 1), ValueError, "low 1.0 is not below high 1.0", "use Constant"),
    "uniform: NaN": (lambda: Uniform(NAN, 1), ValueError, "Uniform: low is nan; it must be finite"),
    "uniform: infinite": (lambda: Uniform(0, INF), ValueError, "Uniform: high is inf; it must be finite"),
    "uniform: complex": (lambda: Uniform(0, 1j), TypeError, "high is 1j of type complex; pass a real number"),
    "uniform: bool": (lambda: Uniform(False, 1), TypeError, "low is False of type bool; pass a real number"),
    "normal: NaN mean": (lambda: Normal(NAN), ValueError, "Normal: mean is nan; it must be finite"),
    "normal: infinite mean": (lambda: Normal(INF), ValueError, "Normal: mean is inf; it must be finite"),
    "normal: negative std": (lambda: Normal(0, -1), ValueError, "Normal: std is -1.0; it must be zero or positive"),
    "normal: NaN std": (lambda: Normal(0, NAN), ValueError, "Normal: std is nan; it must be finite"),
    "normal: infinite std": (lambda: Normal(0, INF), ValueError, "Normal: std is inf; it must be finite"),
    "normal: no std": (lambda: Normal(0, None), TypeError, "std is None of type NoneType; pass a real number"),
    "normal: text": (lambda: Normal(0, "0.02"), TypeError, "std is '0.02' of type str; pass a real number"),
    "normal: bool": (lambda: Normal(0, True), TypeError, "std is True of type bool; pass a real number"),
    "normal: array": (lambda: Normal(0, np.ones(3)), TypeError, "std is array.*; pass a real number"),
    "normal: huge integer": (lambda: Normal(0, 10**400), ValueError, "Normal: std", "finite"),
    "truncated: negative std": (
        lambda: TruncatedNormal(0, -1, -1, 1),
        ValueError,
        "parent_std is -1.0; it must be zero or positive",
    ),
    "truncated: NaN bound": (lambda: TruncatedNormal(0, 1, NAN, 1), ValueError, "low nan is not below high 1.0"),
    "truncated: order": (lambda: TruncatedNormal(0, 1, 1, -1), ValueError, "low 1.0 is not below high -1.0"),
    "truncated: infinite mean": (lambda: TruncatedNormal(INF, 1, 0, 1), ValueError, "parent_mean is inf", "finite"),
    "truncated: no mass": (
        lambda: TruncatedNormal(0, 1, 13, INF),
        ValueError,
        r"\[13.0, inf\] holds no mass of a normal of mean 0.0 and std 1.0",
        "move the bounds towards the mean",
    ),
    "truncated: no mass below": (
        lambda: TruncatedNormal(0, 1, -20, -13),
        ValueError,
        "holds no mass",
        "move the bounds",
    ),
    "truncated: std 0 off bounds": (
        lambda: TruncatedNormal(3, 0, -1, 1),
        ValueError,
        "holds no mass",
        "move the bounds",
    ),
    "sigmas and bounds": (
        lambda: schemes.truncated_normal(sigmas=(-2, 2), bounds=(-1, 1)),
        ValueError,
        "pass sigmas .* or bounds .*, not both",
    ),
    "corrected bounds": (
        lambda: schemes.truncated_normal(bounds=(-1, 1), corrected=True),
        ValueError,
        "corrected=True needs symmetric sigmas, not bounds",
    ),
    "corrected one-sided": (
        lambda: schemes.truncated_normal(sigmas=(-1, 2), corrected=True),
        ValueError,
        r"needs symmetric sigmas such as \(-2, 2\); these are \(-1, 2\)",
    ),
    "corrected, turned round": (
        lambda: schemes.truncated_normal(sigmas=(2, -2), corrected=True),
        ValueError,
        r"needs symmetric sigmas such as \(-2, 2\)",
    ),
    "sigmas: one number": (lambda: schemes.truncated_normal(sigmas=2), TypeError, "sigmas is 2", r"\(-2, 2\)|pair"),
    "sigmas: three": (lambda: schemes.truncated_normal(sigmas=(1, 2, 3)), ValueError, "sigmas", r"\(-2, 2\)|pair|two"),
    "bounds: one number": (lambda: schemes.truncated_normal(bounds=2), TypeError, "bounds is 2", "pair|two|low"),
    "truncated: text": (lambda: schemes.truncated_normal("x"), TypeError, "mean is 'x'", "pass a real number"),
    "fan: zero": (lambda: schemes.he_normal(0), ValueError, "fan_in is 0; it must be positive", r"fastinit\.fans"),
    "fan: negative": (lambda: schemes.lecun_normal(-3), ValueError, "fan_in is -3; it must be positive"),
    "fan: NaN": (lambda: schemes.xavier_normal(NAN, 1), ValueError, "fan_in is nan; it must be positive and finite"),
    "fan: infinite": (
        lambda: schemes.xavier_uniform(1, INF),
        ValueError,
        "fan_out is inf; it must be positive and finite",
    ),
    "fan: none": (lambda: schemes.he_uniform(None), TypeError, "fan_in is None; pass the number of units"),
    "fan: a shape": (lambda: schemes.he_uniform((3, 4)), TypeError, r"fan_in is \(3, 4\); pass the number of units"),
    "fan: text": (lambda: schemes.he_normal("64"), TypeError, "fan_in is '64'; pass the number of units"),
    "fan: bool": (lambda: schemes.he_normal(True), TypeError, "fan_in is True; pass the number of units"),
    "fan: huge integer": (lambda: schemes.he_normal(10**400), ValueError, "fan_in", "positive and finite"),
    "fan: variance scaling": (lambda: schemes.variance_scaling(1, 0), ValueError, "fan is 0; it must be positive"),
    "gain: negative": (
        lambda: schemes.he_normal(4, gain=-1),
        ValueError,
        "gain is -1.0; it must be finite and not neg",
    ),
    "gain: NaN": (lambda: schemes.xavier_normal(4, 4, gain=NAN), ValueError, "gain is nan; it must be finite"),
    "gain: infinite": (lambda: schemes.lecun_uniform(4, gain=INF), ValueError, "gain is inf; it must be finite"),
    "gain: none": (
        lambda: schemes.lecun_uniform(4, gain=None),
        TypeError,
        "gain is None of type NoneType; pass a real number",
    ),
    "gain: text": (
        lambda: schemes.lecun_uniform(4, gain="2"),
        TypeError,
        "gain is '2' of type str; pass a real number",
    ),
    "scale: negative": (
        lambda: schemes.variance_scaling(-1, 4),
        ValueError,
        "scale is -1.0; it must be finite and not neg",
    ),
    "slope: NaN": (
        lambda: schemes.he_normal(4, negative_slope=NAN),
        ValueError,
        "negative_slope is nan; it must be finite",
    ),
    "slope: none": (lambda: schemes.he_normal(4, negative_slope=None), TypeError, "negative_slope is None", "pass a"),
    "distribution": (
        lambda: schemes.variance_scaling(1, 4, distribution="gaussian"),
        ValueError,
        "distribution is 'gaussian'; it can be 'truncated_normal', 'normal' or 'uniform'",
    ),
    "constant: text": (lambda: Constant("1"), TypeError, "value is '1'; pass one number"),
    "constant: array": (lambda: Constant([1, 2]), TypeError, r"value is \[1, 2\]; pass one number"),
    "constant: none": (lambda: Constant(None), TypeError, "value is None; pass one number"),
    "constant: raw bytes": (lambda: Constant(np.void(b"abcd")), TypeError, "pass one number"),
    "Shard: negative": (lambda: Shard((4, 4), (0, -1)), ValueError, r"offsets \(0, -1\) has a negative entry"),
    "Shard: lengths": (
        lambda: Shard((4, 4), (0,)),
        ValueError,
        r"\(4, 4\) and offsets \(0,\) differ in length",
        "give one",
    ),
    "Shard: number": (lambda: Shard(4, 0), TypeError, "shape is 4; pass a tuple of integers"),
    "Shard: float": (lambda: Shard((4.0,), (0,)), TypeError, "entry of shape is 4.0 of type float; pass an integer"),
    "Shard: bool": (lambda: Shard((4,), (True,)), TypeError, "entry of offsets is True; pass an integer"),
    "Shard: text": (lambda: Shard("44", (0, 0)), TypeError, "entry of shape is '4' of type str; pass an integer"),
    "threads setting": (lambda: fastinit.set_num_threads(0), ValueError, "threads is 0", "integer from 1 to 1024"),
    "new: dtype": (lambda: fastinit.new(3, Normal(), dtype="int8"), TypeError, "dtype int8, which Normal", "float32"),
}


@pytest.mark.parametrize("row", BUFFERS.values(), ids=BUFFERS)
def test_a_buffer_that_cannot_be_filled_is_refused_untouched(row):
    fails(row)


@pytest.mark.parametrize("row", ARGUMENTS.values(), ids=ARGUMENTS)
@pytest.mark.parametrize("size", ["small", "large"])
def test_a_wrong_argument_is_refused_before_the_first_store(row, size):
    options, error, *patterns = row
    buf = poisoned(shape=(4, 6)) if size == "small" or "shard" in options else poisoned(shape=(400, 600))
    options = {"law": Normal(), "seed": 0, **options}
    fails((buf, fastinit.fill, error, *patterns), **options)


@pytest.mark.parametrize("what", [what for what in ARGUMENTS if what.split(":")[0] in ("seed", "name", "dtype")])
def test_dtype_seed_and_name_are_checked_for_a_zero_size_buffer_too(what):
    options, error, *patterns = ARGUMENTS[what]
    fails((np.zeros((0, 6), np.float32), fastinit.fill, error, *patterns), **{"law": Normal(), "seed": 0, **options})


@pytest.mark.parametrize("buf", [poisoned("int8", (0, 3)), poisoned(">f4", (0,))], ids=["integers", "other order"])
def test_the_dtype_of_a_zero_size_buffer_is_checked(buf):
    with pytest.raises(TypeError):
        normal(buf)


def test_the_shard_of_a_zero_size_buffer_is_checked():
    with pytest.raises(ValueError, match=r"\[9, 9\) sticks out of the tensor, which has 8"):
        normal(np.zeros((0, 6), np.float32), shard=Shard((8, 6), (9, 0)))


@pytest.mark.parametrize("row", VALUES.values(), ids=VALUES)
def test_a_law_that_the_dtype_cannot_hold_is_refused_untouched(row):
    dtype, law, *patterns = row
    fails((poisoned(dtype), lambda buf: fastinit.fill(buf, law, seed=0), ValueError, *patterns))


@pytest.mark.parametrize(("dtype", "value"), EDGES)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_value_that_only_float32_rounds_up_to_infinity_is_refused(dtype, value, sign):
    for law in (Constant(sign * value), Normal(sign * value, 0.0)):
        fails((poisoned(dtype), lambda buf, law=law: fastinit.fill(buf, law, seed=0), ValueError, "beyond the largest"))


@pytest.mark.parametrize(("call", "error", "patterns"), [(r[0], r[1], r[2:]) for r in NUMBERS.values()], ids=NUMBERS)
def test_a_number_that_makes_no_sense_is_refused(call, error, patterns):
    with pytest.raises(error) as refusal:
        call()
    assert type(refusal.value) is error
    for pattern in patterns:
        assert re.search(pattern, str(refusal.value)), f"{pattern!r} is not in: {refusal.value}"


def test_a_fill_function_refuses_before_it_touches_the_buffer():
    for call in (
        lambda buf: fastinit.fill_he_normal(buf, 0, seed=0),
        lambda buf: fastinit.fill_uniform(buf, 1, 0, seed=0),
        lambda buf: fastinit.fill_normal(buf, 0, -1, seed=0),
        lambda buf: fastinit.fill_variance_scaling(buf, 1, 4, distribution="x", seed=0),
        lambda buf: fastinit.fill_truncated_normal(buf, 0, 1, sigmas=(13, 14), seed=0),
    ):
        fails((poisoned(), call, ValueError))


def test_storage_of_the_other_byte_order_is_refused_by_its_byte_order():
    row = (poisoned(">u2"), normal, TypeError, "byte order", "use <u2")
    fails(row, dtype="bfloat16")


@pytest.mark.parametrize("value", [10**30, -(10**30), 10**400], ids=["10^30", "-10^30", "10^400"])
def test_an_integer_beyond_64_bits_is_stored_as_a_float_or_refused_as_too_large(value):
    buf = poisoned()
    if abs(value) > 10**300:
        fails((buf, constant(value), ValueError, "beyond the largest float32|overflows|too large", "wider dtype"))
    else:
        fastinit.fill_constant(buf, value)
        assert (buf == np.float32(value)).all()


def test_a_constant_whose_imaginary_part_is_zero_fills_integers_or_is_refused_without_a_warning():
    buf = np.zeros(3, np.int64)
    try:
        fastinit.fill_constant(buf, 2 + 0j)
    except ValueError:
        return
    assert buf.tolist() == [2, 2, 2]


class Elsewhere:
    """A tensor whose memory NumPy cannot share."""

    def __dlpack__(self, **options):
        raise BufferError("the tensor lives on another device")

    def __dlpack_device__(self):
        return (1, 0)


def test_a_tensor_that_numpy_cannot_wrap_is_refused_with_its_own_reason():
    with pytest.raises(TypeError, match=r"cannot wrap this Elsewhere without a copy \(the tensor lives on another dev"):
        normal(Elsewhere())


def test_a_read_only_memory_map_is_refused(tmp_path):
    path = tmp_path / "weights.npy"
    np.save(path, poisoned())
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"buf is read-only; .*memory map with mode 'r\+'"):
        normal(np.load(path, mmap_mode="r"))
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", "1025"])
def test_a_wrong_number_of_threads_in_the_environment_is_refused_untouched(monkeypatch, text):
    monkeypatch.setenv("FASTINIT_NUM_THREADS", text)
    row = (poisoned(shape=(400, 600)), normal, ValueError, "FASTINIT_NUM_THREADS is ", text, "integer from 1 to 1024")
    fails(row)


# --- warnings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "law"),
    [
        ("float8_e4m3fn", Normal(0, 0.002)),  # GPT-2's residual scale of a deep model
        ("float8_e4m3fn", Uniform(-0.01, 0.01)),
        ("float8_e4m3fn", TruncatedNormal(0, 1, -0.005, 0.005)),
        ("float8_e5m2", Normal(0, 6e-5)),
        ("float16", Normal(0, 2e-7)),
        ("bfloat16", Normal(0, 3e-40)),
        ("float32", Normal(0, 5e-45)),
        ("float64", Normal(0, 1e-323)),
    ],
)
def test_a_std_that_rounding_turns_into_zeros_is_warned_of_once(dtype, law):
    with pytest.warns(
        UserWarning, match=f"is under 4 times the smallest positive {dtype} .*many values will be zero"
    ) as seen:
        fastinit.new(100, law, seed=0, dtype=dtype)
    assert len(seen) == 1
    assert "wider dtype" in str(seen[0].message)
    assert seen[0].filename == __file__


@pytest.mark.parametrize("call", ["fill", "fill_normal"])
def test_the_warning_names_the_line_of_the_caller(call):
    buf = poisoned("float8_e4m3fn")
    with pytest.warns(UserWarning, match="under 4 times") as seen:
        if call == "fill":
            fastinit.fill(buf, Normal(0, 0.002), seed=0)
        else:
            fastinit.fill_normal(buf, 0, 0.002, seed=0)
    assert seen[0].filename == __file__


@pytest.mark.parametrize(
    ("dtype", "law"),
    [
        ("float8_e4m3fn", Normal(0, 0.02)),
        ("float8_e4m3fn", Normal(0, 4 * 2.0**-9)),
        ("float8_e4m3fn", Normal(1, 0)),
        ("float8_e5m2", Uniform(-0.02, 0.02)),
        ("float16", Normal(0, 1e-4)),
        ("float16", Constant(1e-9)),
        ("bfloat16", Normal(0, 1e-30)),
        ("float32", TruncatedNormal(0, 1e-30, -INF, INF)),
    ],
)
def test_a_std_that_the_dtype_resolves_is_not_warned_of(dtype, law):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fastinit.new(100, law, seed=0, dtype=dtype)


def test_a_warning_turned_into_an_error_leaves_the_buffer_untouched():
    buf = poisoned("float8_e4m3fn")
    with pytest.raises(UserWarning):  # the suite turns warnings into errors
        fastinit.fill_normal(buf, 0, 0.002, seed=0)
    assert buf.tobytes() == poisoned("float8_e4m3fn").tobytes()
