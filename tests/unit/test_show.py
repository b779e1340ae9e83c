"""What show measures, against NumPy; what it marks; its table and its page; that it reads every byte once."""

from __future__ import annotations

import json
import math
import os
import random
import struct
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors
from processes import run_python
from safetensors.numpy import save_file
from scipy import stats

import fastinit
from fastinit import laws
from fastinit.dtypes import storage_dtype
from fastinit.files.safetensors import DTYPES, SafetensorsError, lay_out
from fastinit.formatting import columns_of, printable
from fastinit.laws.law_json import to_json
from fastinit.plan import Plan, Tensor
from fastinit.show import ITEM, html, show, table
from fastinit.show.histogram import numbers
from fastinit.show.shown import Shown, TensorShown
from fastinit.write import write

RNG = np.random.default_rng(1)
SMALL = ("bfloat16", "float8_e4m3fn", "float8_e5m2")
EVIL = "a<b>&\"'\x00\x1b[31m\u202e🙂.http://x/</script>"


def numpy_dtype(name: str) -> np.dtype[Any]:
    return np.dtype(getattr(ml_dtypes, name) if name in SMALL else name)


def store(path: Path, arrays: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> Path:
    """A safetensors file of these arrays, in the order they are given, without any padding of the header."""
    entries: dict[str, Any] = {"__metadata__": metadata} if metadata is not None else {}
    at = 0
    for name, array in arrays.items():
        code = DTYPES[array.dtype.name][0]
        entries[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    header = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"".join(a.tobytes() for a in arrays.values()))
    return path


def said(**entries: laws.Law) -> dict[str, str]:
    """Metadata that gives these tensors these laws."""
    return {"fastinit.laws": json.dumps({name: to_json(law) for name, law in entries.items()})}


def one(path: Path, **options: Any) -> TensorShown:
    (tensor,) = show(path, **options).tensors
    return tensor


def total(tensor: TensorShown) -> int:
    """Every element, wherever it was counted."""
    drawn = tensor.histogram
    return sum(drawn.counts) + drawn.below + drawn.above + tensor.nans + tensor.infinities


def drawn(law: laws.Law, count: int, dtype: str = "float32", name: str = "x") -> np.ndarray:
    x = np.empty(count, numpy_dtype(dtype))
    fastinit.fill(x, law, seed=3, name=name)
    return x


# --- what is measured -------------------------------------------------------------------------------------------------


def sample(dtype: str) -> np.ndarray:
    """More than one read, not a whole number of pieces; zeros among them."""
    kind, count = numpy_dtype(dtype), 2 * ITEM // DTYPES[dtype][1] + 12345
    if dtype == "bool":
        return RNG.random(count) < 0.3
    if kind.kind in "iu":
        info = np.iinfo(kind)
        wide = RNG.integers(max(info.min, -(10**6)), min(info.max, 10**6), count, endpoint=True, dtype=kind)
        wide[:100] = 0
        return wide
    x = RNG.standard_normal(count) * 0.5 + 0.1
    x[:100] = 0.0
    if kind.kind == "c":
        x = x + 1j * RNG.permutation(x)
        x[:100] = 0.0
    return x.astype(kind)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_numbers_are_those_of_numpy(engine, dtype, tmp_path):
    x = sample(dtype)
    tensor = one(store(tmp_path / "x.safetensors", {"x": x}))
    wide = np.abs(x.astype(np.complex128)) if x.dtype.kind == "c" else x.astype(np.float64)
    assert (tensor.dtype, tensor.shape, tensor.elements) == (dtype, x.shape, x.size)
    assert tensor.mean == pytest.approx(wide.mean(), rel=1e-9, abs=1e-12)
    assert tensor.std == pytest.approx(wide.std(), rel=1e-9)
    assert (tensor.minimum, tensor.maximum) == (wide.min(), wide.max())
    assert tensor.zeros == np.count_nonzero(wide == 0) >= 1
    assert tensor.nans == tensor.infinities == 0
    assert total(tensor) == x.size
    histogram = tensor.histogram
    counts, _ = np.histogram(wide, len(histogram.counts), (histogram.low, histogram.high))
    assert np.array_equal(histogram.counts, counts)
    assert histogram.below == np.count_nonzero(wide < histogram.low)
    assert histogram.above == np.count_nonzero(wide > histogram.high)
    assert sum(counts) >= 0.99 * x.size


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_the_extremes_of_large_integers_keep_all_their_digits(dtype, tmp_path):
    x = np.array([np.iinfo(dtype).max, np.iinfo(dtype).max - 1, np.iinfo(dtype).min + 1], dtype)
    tensor = one(store(tmp_path / "x.safetensors", {"x": x}))
    assert (tensor.minimum, tensor.maximum) == (int(x.min()), int(x.max()))
    assert total(tensor) == 3


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16", "float8_e5m2", "float8_e4m3fn"])
@pytest.mark.parametrize("count", [40, 700_000])
def test_zeros_nans_and_infinities_are_counted_and_left_out_of_the_moments(engine, dtype, count, tmp_path):
    x = np.ones(count, numpy_dtype(dtype))
    infinite = 0 if dtype == "float8_e4m3fn" else 7
    x[:5], x[5:8], x[8:11] = np.nan, 0.0, -0.0
    x[20 : 20 + infinite : 2], x[21 : 20 + infinite : 2] = np.inf, -np.inf
    x[-1] = np.nan
    tensor = one(store(tmp_path / "x.safetensors", {"x": x}))
    assert (tensor.nans, tensor.infinities, tensor.zeros) == (6, infinite, 6)
    assert (tensor.minimum, tensor.maximum) == (0.0, 1.0)
    assert tensor.mean == pytest.approx((count - 12 - infinite) / (count - 6 - infinite))
    assert total(tensor) == count
    assert tensor.remarks == ("6 NaN",) + (("7 inf",) if infinite else ())


def test_a_signalling_nan_is_a_nan_and_no_warning(tmp_path):
    x = np.array([0x7F800001, 0x3F800000], np.uint32).view(np.float32)
    assert one(store(tmp_path / "x.safetensors", {"x": x})).nans == 1


@pytest.mark.parametrize("value", [0.0, -3.5, 1e-320, 1.7e308, math.inf, math.nan])
def test_a_constant_stands_in_the_middle(value, tmp_path):
    tensor = one(store(tmp_path / "x.safetensors", {"x": np.full(100, value)}))
    counts = tensor.histogram.counts
    if math.isfinite(value):
        assert (tensor.mean, tensor.std, counts[len(counts) // 2]) == (value, 0.0, 100)
    else:
        assert (tensor.mean, tensor.std, sum(counts)) == (None, None, 0)
    assert total(tensor) == 100
    assert tensor.histogram.high > tensor.histogram.low
    if value == 0:
        assert (tensor.histogram.low, tensor.histogram.high) == pytest.approx((-0.5, 0.5))


def test_the_ends_of_float64_do_no_harm(engine, tmp_path):
    x = np.array([-1.7e308, 1.7e308, 5e-324, 0.0])
    tensor = one(store(tmp_path / "x.safetensors", {"x": x}))
    assert (tensor.minimum, tensor.maximum, total(tensor)) == (-1.7e308, 1.7e308, 4)
    html(show(tmp_path), "ends")


def test_scalars_and_empty_tensors_and_an_empty_file(tmp_path):
    nothing = store(tmp_path / "nothing.safetensors", {})
    assert show(nothing).tensors == ()
    assert table(show(nothing), 80).startswith("0 tensors")
    path = store(tmp_path / "x.safetensors", {"s": np.array(2.5), "e": np.empty((0, 3), "f4"), "i": np.array(7, "i8")})
    scalar, empty, integer = show(path).tensors
    assert (scalar.mean, scalar.shape, total(scalar)) == (2.5, (), 1)
    assert (empty.mean, empty.minimum, total(empty), empty.remarks) == (None, None, 0, ())
    assert integer.minimum == 7
    assert table(show(path), 60)
    html(show(nothing), "nothing")
    html(show(path), "small")


def test_tensors_may_begin_at_any_byte(engine, tmp_path):
    x, y = RNG.standard_normal(5000), RNG.standard_normal(3000).astype("f4")
    path = store(tmp_path / "x.safetensors", {"odd": np.zeros(3, "u1"), "x": x, "more": np.ones(2, bool), "y": y})
    found = {tensor.name: tensor for tensor in show(path).tensors}
    assert found["x"].mean == pytest.approx(x.mean())
    assert found["y"].std == pytest.approx(y.astype(float).std())


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "int64", "complex64"])
def test_a_kernel_is_never_given_unaligned_memory(dtype):
    """Numba takes every array for aligned, and does not look."""
    raw = np.frombuffer(np.zeros(803, np.uint8)[3:], storage_dtype(dtype))
    assert not raw.flags.aligned
    assert numbers(raw, dtype).flags.aligned


def test_sorted_values_fit_the_range_their_sample_chooses(tmp_path):
    x = np.arange(2_000_000, dtype="i4")
    tensor = one(store(tmp_path / "x.safetensors", {"x": x}))
    assert (tensor.histogram.below, tensor.histogram.above) == (0, 0)
    assert max(tensor.histogram.counts) < 40_000


# --- beside the law ---------------------------------------------------------------------------------------------------

CASES = {
    "normal": laws.Normal(0.01, 0.02),
    "uniform": laws.Uniform(-0.3, 0.1),
    "truncated": laws.TruncatedNormal(0.0, 1.0, -2.0, 2.0),
    "step bias": laws.StepBias(),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "float8_e4m3fn"])
@pytest.mark.parametrize("case", CASES)
def test_a_histogram_fits_its_law_after_rounding(case, dtype, tmp_path):
    x = drawn(CASES[case], 400_000, dtype)
    tensor = one(store(tmp_path / "x.safetensors", {"x": x}, said(x=CASES[case])))
    assert tensor.law == CASES[case]
    assert tensor.remarks == ()
    assert p_value(tensor) > 1e-4


@pytest.mark.parametrize("case", CASES)
def test_a_histogram_does_not_fit_a_law_of_other_width(case, tmp_path):
    law = CASES[case]
    x = law.mean + 1.05 * (drawn(law, 400_000, "float64") - law.mean)
    tensor = one(store(tmp_path / "x.safetensors", {"x": x}, said(x=law)))
    assert p_value(tensor) < 1e-9
    assert any(remark.startswith("std +") for remark in tensor.remarks)


def p_value(tensor: TensorShown) -> float:
    assert tensor.expected is not None
    counts = np.array([tensor.histogram.below, *tensor.histogram.counts, tensor.histogram.above])
    shares = np.array([tensor.expected.below, *tensor.expected.shares, tensor.expected.above])
    assert shares.sum() == pytest.approx(1.0, abs=1e-12)
    order = np.argsort(shares)[::-1]  # the rare bins last, so that they are counted together
    counts, wanted = counts[order], shares[order] * counts.sum()
    enough = np.count_nonzero(wanted >= 10.0)
    assert enough >= 3
    observed = np.append(counts[:enough], counts[enough:].sum())
    expected = np.append(wanted[:enough], wanted[enough:].sum())
    if expected[-1] < 5.0:
        if observed[-1] > 50:
            return 0.0
        observed, expected = observed[:-1], expected[:-1]
    return float(stats.chisquare(observed, expected * (observed.sum() / expected.sum())).pvalue)


PLANAR = {
    "complex normal": laws.ComplexNormal(0.0, 0.2),
    "complex normal about another mean": laws.ComplexNormal(0.5 - 2.0j, 0.3),
    "disc": laws.ComplexUniform(0.25),
    "cut disc": laws.ComplexTruncatedNormal(1.0, 2.0),
}


@pytest.mark.parametrize("case", PLANAR)
def test_magnitudes_of_complex_numbers_fit_their_law_and_no_other(case, tmp_path):
    x = drawn(PLANAR[case], 400_000, "complex64")
    tensor = one(store(tmp_path / "x.safetensors", {"x": x}, said(x=PLANAR[case])))
    assert tensor.law == PLANAR[case]
    assert tensor.remarks == ()
    assert p_value(tensor) > 1e-4
    wider = one(store(tmp_path / "wider.safetensors", {"x": np.complex64(1.05) * x}, said(x=PLANAR[case])))
    assert p_value(wider) < 1e-9
    assert any(remark.startswith("std +") for remark in wider.remarks)


def test_the_table_and_the_page_say_that_magnitudes_of_complex_numbers_are_shown(tmp_path):
    shown = show(store(tmp_path / "x.safetensors", {"x": drawn(PLANAR["disc"], 100, "complex64")}))
    assert shown.summary.endswith("; of complex numbers the magnitudes are shown")
    assert "<dt>shown of complex numbers</dt><dd>magnitudes</dd>" in shown.html()
    plain = show(store(tmp_path / "y.safetensors", {"x": drawn(laws.Normal(), 100)}))
    assert "complex" not in plain.summary + plain.html()


STRUCTURES = {
    "sparse": (laws.Sparse(laws.Normal(0.0, 0.1), sparsity=0.9), (500, 300)),
    "sparser": (laws.Sparse(laws.Normal(0.5, 0.1), nonzeros=1), (1000, 100)),
    "orthogonal": (laws.Orthogonal(2.0), (200, 300)),
    "delta": (laws.DeltaOrthogonal(), (64, 32, 3, 3)),
    "identity": (laws.Identity(), (300, 200)),
    "dirac": (laws.Dirac(), (64, 64, 3)),
    "padded": (laws.Padded(laws.Normal(0.5, 0.1), 7), (20, 400)),
    "gates": (laws.GateBias(), (400,)),
    "states": (laws.StateLogs(), (10, 16)),
    "constant": (laws.Constant(0.1), (77,)),
    "mask": (laws.Constant(-math.inf), (77,)),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", STRUCTURES)
def test_structures_fit_their_law_and_all_of_it_is_in_the_range(case, dtype, tmp_path):
    law, shape = STRUCTURES[case]
    x = np.empty(shape, numpy_dtype(dtype))
    fastinit.fill(x, law, seed=1, name=case)
    tensor = one(store(tmp_path / "x.safetensors", {"x": x}, said(x=law)))
    assert tensor.law == law
    assert tensor.expected is not None
    assert tensor.remarks == ()
    assert tensor.histogram.below + tensor.histogram.above <= 1e-3 * x.size
    if case != "mask":
        element = law.marginal(shape)
        assert (tensor.expected.mean, tensor.expected.std) == (element.mean, element.std)
    if case in ("identity", "dirac", "gates", "states", "constant"):  # no chance in them: every bin is as expected
        assert np.allclose(tensor.histogram.counts, np.array(tensor.expected.shares) * x.size, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "remark"),
    [
        (lambda x: x + np.float32(0.001), "mean +"),
        (lambda x: x - np.float32(0.001), "mean -"),
        (lambda x: x * np.float32(0.98), "std -"),
        (lambda x: np.where(np.arange(x.size) == 5, np.float32(np.nan), x), "1 NaN"),
        (lambda x: np.where(np.arange(x.size) == 5, np.float32(np.inf), x), "1 inf"),
        (lambda x: np.full_like(x, 0.5), "mean +"),
    ],
)
def test_what_is_not_the_law_is_marked(change, remark, tmp_path):
    law = laws.Normal(0.0, 0.02)
    x = drawn(law, 300_000)
    tensor = one(store(tmp_path / "x.safetensors", {"x": change(x)}, said(x=law)))
    assert tensor.remarks[0].startswith(remark)
    assert "0 of 1 with a law follow it, 1 marked" in show(tmp_path).summary
    assert remark in html(show(tmp_path), "marked")


def test_a_mask_that_is_not_infinite_everywhere_is_marked(tmp_path):
    x = np.full(10, -np.inf, "f4")
    x[3] = 0
    tensor = one(store(tmp_path / "x.safetensors", {"x": x}, said(x=laws.Constant(-math.inf))))
    assert tensor.remarks == ("mean off",)


@pytest.mark.parametrize("value", [1e-5, 1.0])
def test_a_wrong_constant_is_marked(value, tmp_path):
    x = np.full(10, value, "f4")
    assert one(store(tmp_path / "x.safetensors", {"x": x}, said(x=laws.Constant(0)))).remarks == ("mean off",)


LAW = '{"law":"Normal","mean":0.0,"std":0.02}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        "null",
        '{"x":null}',
        '{"x":{"law":"Nobody"}}',
        '{"x":{"law":["Normal"]}}',
        '{"x":{"law":"Normal","std":-1}}',
        '{"x":{"law":"Normal","std":"wide"}}',
        '{"x":{"law":"Normal","std":{"law":"Normal"}}}',
        '{"x":{"law":"Normal","sigma":1}}',
        '{"x":{"law":"Constant"}}',
        '{"x":{"law":"Constant","value":{"complex":["i"]}}}',
        '{"x":{"law":"Constant","value":1' + "0" * 400 + "}}",
        '{"x":{"law":"Sparse","values":1,"sparsity":0.5}}',
        '{"x":{"law":"Sparse","sparsity":0.5,"axis":9}}',
        '{"x":{"law":"Dirac"}}',
        '{"x":' + LAW[:-1] + ',"std":NaN}}',
        "[" * 5000,
        '{"y":' + LAW + "}",
    ],
)
def test_damaged_metadata_means_law_unknown(text, tmp_path):
    tensor = one(store(tmp_path / "x.safetensors", {"x": np.ones((4, 4), "f4")}, {"fastinit.laws": text}))
    assert (tensor.law, tensor.expected, tensor.remarks, tensor.mean) == (None, None, (), 1.0)


# --- files ------------------------------------------------------------------------------------------------------------


def test_files_of_other_writers(tmp_path):
    x = RNG.standard_normal((300, 20)).astype("f4")
    save_file({"x": x, "n": np.arange(9)}, tmp_path / "numpy.safetensors", metadata={"format": "pt"})
    shown = show(tmp_path)
    assert [tensor.law for tensor in shown.tensors] == [None, None]
    assert {tensor.name: tensor.mean for tensor in shown.tensors} == pytest.approx({"x": x.mean(), "n": 4.0}, rel=1e-5)


def checkpoint(folder: Path, **options: Any) -> Path:
    normal = laws.Normal(0.0, 0.02)
    tensors = [Tensor(f"h.{i}.weight", (64, 100), "float32", normal) for i in range(30)]
    tensors += [Tensor("wte", (900, 1000), "bfloat16", normal), Tensor(EVIL, (50,), "float32", laws.Constant(1.0))]
    write(Plan(tuple(tensors)), folder, seed=5, durable=False, **options)
    return folder


def test_a_folder_of_ours(tmp_path):
    shown = show(checkpoint(tmp_path / "c", shard_size=500_000))
    assert len(shown.files) > 2
    assert {tensor.file for tensor in shown.tensors} == set(shown.files)
    assert all(tensor.law is not None and not tensor.remarks for tensor in shown.tensors)
    assert (len(shown.tensors), shown.elements) == (32, 30 * 6400 + 900_000 + 50)
    assert html(shown, "shards").count(shown.files[0]) >= 1


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no \.safetensors file"):
        show(tmp_path)
    with pytest.raises(FileNotFoundError):
        show(tmp_path / "missing.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"12345678")
    with pytest.raises(SafetensorsError, match="says its header has"):
        show(tmp_path)


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path = store(tmp_path / "x.safetensors", {"x": np.zeros(1000, "f4")})
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, offset: 0)
    with pytest.raises(SafetensorsError, match="while it was read"):
        show(path)


@pytest.mark.parametrize("law", [None, laws.Normal(0.0, 0.02)])
def test_every_byte_is_read_once(law, tmp_path, monkeypatch):
    big = drawn(laws.Normal(0.0, 0.02), 1_300_001)
    arrays = {"a": np.zeros(3, "u1"), "x": big, "e": np.empty(0, "f4"), **{f"n{i}": big[: 10 * i] for i in range(90)}}
    arrays["edge"] = big[: ITEM // 4 + 1]
    path = store(tmp_path / "x.safetensors", arrays, said(x=law) if law else None)
    reads: list[tuple[int, int]] = []
    preadv = os.preadv

    def counted(fd: int, buffers: list[memoryview], offset: int) -> int:
        buffers = [buffers[0][: random.Random(offset).randint(1, len(buffers[0]))]]  # short reads are legal
        got = preadv(fd, buffers, offset)
        reads.append((offset, offset + got))
        return got

    monkeypatch.setattr(os, "preadv", counted)
    shown = show(path, threads=2)
    reads.sort()
    assert [begin for begin, _ in reads[1:]] == [end for _, end in reads[:-1]]
    assert reads[-1][1] == path.stat().st_size
    assert reads[0][0] == path.stat().st_size - shown.bytes
    assert all(total(tensor) == tensor.elements for tensor in shown.tensors)
    assert {t.name: t for t in shown.tensors}["x"].mean == pytest.approx(big.astype(float).mean(), rel=1e-9)


def test_threads_and_repetition_change_nothing(engine, tmp_path):
    x = drawn(laws.Normal(0.0, 0.02), 3_000_000)
    save_file({"x": x}, tmp_path / "other.safetensors")
    checkpoint(tmp_path)
    first = show(tmp_path, threads=1)
    for threads in (1, 2, 5):
        again = show(tmp_path, threads=threads)
        assert again == first
        assert table(again, 120) == table(first, 120)
        assert html(again, "t") == html(first, "t")


def test_progress_grows_to_the_number_of_bytes(tmp_path):
    checkpoint(tmp_path, shard_size=500_000)
    seen: list[tuple[int, int]] = []
    shown = show(tmp_path, threads=2, progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (shown.bytes, shown.bytes)


def test_memory_is_bounded_whatever_the_file(tmp_path):
    big = {f"x{i}": ("bfloat16", (1 << 14, 1 << 12)) for i in range(2)}
    many = {f"small.{i}": ("float32", (64,)) for i in range(1000)}
    header = lay_out({**big, **many})
    with (tmp_path / "x.safetensors").open("wb") as file:
        file.write(header.text)
        file.truncate(header.size)  # 256 MiB of zeros that take no disk
    child = run_python(
        f"""
        import resource
        from fastinit.show import show
        from fastinit.files.safetensors import lay_out
        def small():
            from pathlib import Path
            header = lay_out({{"x": ("bfloat16", (1 << 10, 1 << 10))}})
            path = Path({str(tmp_path / "warm")!r}); path.mkdir()
            (path / "w.safetensors").write_bytes(header.text + bytes(header.size - len(header.text)))
            show(path, threads=2)
        small()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        shown = show({str(tmp_path / "x.safetensors")!r}, threads=2)
        assert len(shown.tensors) == 1002 and shown.bytes > 1 << 28
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
        """
    )
    assert child.returncode == 0, child.stderr
    assert float(child.stdout) < 16.0, f"{child.stdout} MiB more than for a small file"


# --- the table --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [60, 80, 100, 140, 200])
def test_the_table_is_aligned_and_no_wider_than_the_terminal(width, tmp_path):
    shown = show(checkpoint(tmp_path))
    lines = table(shown, width).splitlines()
    assert len(lines) == 2 + 32 + 2
    assert max(columns_of(line) for line in lines[:-2]) <= width
    rule = lines[1]
    for line in lines[2:-2]:
        assert columns_of(line) <= columns_of(rule)
    assert "wte" in lines[-3] or any("wte" in line for line in lines)
    assert lines[-1] == shown.summary
    assert not any(ord(character) < 32 or character == "\u202e" for line in lines for character in line)


def test_numbers_have_four_digits_and_long_names_lose_their_middle(tmp_path):
    name = "model.layers.10.self_attention.query_key_value.weight"
    path = store(tmp_path / "x.safetensors", {name: np.array([1 / 3, 2 / 3, 1.0])})
    text = table(show(path), 44)
    assert "0.6667" in text
    assert "0.66667" not in text
    row = text.splitlines()[2]
    assert row.startswith("model.lay")
    assert "…" in row
    assert "weight" in row


# --- the page ---------------------------------------------------------------------------------------------------------

VOID = {"meta", "input", "wbr", "path"}


class Page(HTMLParser):
    """Rows, texts and attributes of a page; every tag that opens must close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[dict[str, Any]] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.tags: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        self.tags.append(tag)
        if tag == "tr" and "tbody" in self.open:
            self.rows.append({"marked": ("class", "marked") in attrs, "paths": 0, "text": ""})
        if tag == "th" and self.rows:
            self.rows[-1]["name"] = dict(attrs)["data-value"]
        if tag == "path" and self.rows:
            self.rows[-1]["paths"] += 1
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.rows and "tbody" in self.open:
            self.rows[-1]["text"] += data


def test_the_page_has_a_row_and_a_histogram_for_every_tensor(tmp_path):
    shown = show(checkpoint(tmp_path))
    page = Page(html(shown, "GPT"))
    assert len(page.rows) == len(shown.tensors) == 32
    assert all(row["paths"] >= 2 for row in page.rows)
    drawings = [value for name, value in page.attributes if name == "d" and value is not None]
    assert all(value.count("h1") == 65 for value in drawings if "l" not in value)
    assert not any(row["marked"] for row in page.rows)
    assert [row["name"] for row in page.rows][:3] == [printable(tensor.name) for tensor in shown.tensors][:3]


def test_the_page_needs_no_network(tmp_path):
    text = html(show(store(tmp_path / "x.safetensors", {"x": np.ones(3)})), "GPT")
    assert "http" not in text
    assert "url(" not in text
    assert "@import" not in text
    page = Page(text)
    assert not {"link", "img", "iframe", "object", "base"} & set(page.tags)
    assert not {"src", "href", "srcset", "action"} & {name for name, _ in page.attributes}


def test_names_titles_and_paths_cannot_leave_their_place(tmp_path):
    folder = tmp_path / "<i>&\"'"
    shown = show(checkpoint(folder))
    text = html(shown, EVIL)
    page = Page(text)
    assert page.tags.count("script") == 1
    assert "b" not in page.tags
    assert "i" in page.tags  # "fits"
    assert text.count("<i>") == 0
    assert "\x00" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    evil = next(row for row in page.rows if row["name"].startswith("a<b>"))
    assert evil["name"] == "a<b>&\"'\\x00\\x1b[31m\\u202e🙂.http://x/</script>"
    assert evil["name"] in evil["text"]


def test_a_lone_surrogate_in_a_name_is_refused_as_the_library_refuses_it(tmp_path):
    body = b'{"\\ud800":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(body)) + body + b"\1")
    with pytest.raises(SafetensorsError, match="half a surrogate"):
        show(path)


def test_columns_sort_by_buttons_that_say_their_order(tmp_path):
    text = html(show(checkpoint(tmp_path)), "GPT")
    page = Page(text)
    assert [value for name, value in page.attributes if name == "aria-sort"] == ["none"] * 10
    assert text.count('aria-sort="none"><button type="button">') == 10


def test_a_thousand_tensors_take_less_than_four_megabytes(tmp_path):
    x = drawn(laws.Normal(0.0, 0.02), 4096)
    names = [f"model.layers.{i}.self_attention.query_key_value.weight" for i in range(1000)]
    laws_of = {"fastinit.laws": json.dumps(dict.fromkeys(names, to_json(laws.Normal(0.0, 0.02))))}
    shown = show(store(tmp_path / "x.safetensors", dict.fromkeys(names, x), laws_of))
    text = html(shown, "many")
    assert len(Page(text).rows) == 1000
    assert len(text.encode()) < 4_000_000


def test_a_bar_that_towers_over_all_others_is_cut(tmp_path):
    law, shape = STRUCTURES["sparse"]
    x = np.empty(shape, "f4")
    fastinit.fill(x, law, seed=1, name="sparse")
    shown = show(store(tmp_path / "x.safetensors", {"x": x}, said(x=law)))
    assert 'class="cut"' in html(shown, "sparse")
    assert isinstance(shown, Shown)


def test_the_page_says_what_deviates_and_what_is_nan(tmp_path):
    x = np.ones(1000, "f4")
    x[0] = np.nan
    page = Page(html(show(store(tmp_path / "x.safetensors", {"x": x}, said(x=laws.Normal(0.0, 1.0)))), "bad"))
    assert page.rows[0]["marked"]
    assert "1 NaN" in page.rows[0]["text"]
    assert "mean +31.6 se" in page.rows[0]["text"]


def test_the_page_has_marked_rows_first_folds_constants_and_labels_its_figures(tmp_path):
    tensors = [
        Tensor("ones", (64,), "float32", laws.Constant(1.0)),
        Tensor("w", (64, 64), "float32", laws.Normal(0.0, 0.02)),
    ]
    write(Plan(tuple(tensors)), tmp_path, seed=0, durable=False)
    path = tmp_path / "model.safetensors"
    with safetensors.safe_open(path, "numpy") as file:
        metadata, content = file.metadata(), {one.name: file.get_tensor(one.name) for one in tensors}
    save_file(content | {"w": content["w"] + 1}, path, metadata)
    page = show(tmp_path).html()
    rows = page.partition("<tbody>")[2].split("<tr")[1:]
    assert rows[0].startswith(" class=marked>") and 'data-value="w"' in rows[0]
    assert rows[1].startswith(" class=constant>") and 'data-value="ones"' in rows[1]
    assert all(f'data-label="{label}"' in row for row in rows for label in ("Mean", "Std", "Min", "Max", "Zeros"))
