"""`show` and `verify` know the parts of a tensor: each is held against its own law, and a wrong one is named."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from fastinit.address import boxes
from fastinit.cli import main
from fastinit.dtypes import decoded, storage_dtype
from fastinit.files.safetensors import read_header
from fastinit.laws import Blocks, Constant, Normal, Orthogonal, Padded, Sparse, Uniform
from fastinit.plan import Plan, Tensor, load_rules
from fastinit.show import files, html, show, table
from fastinit.verify import verify
from fastinit.write import write

TENSORS = (
    Tensor("experts", (4, 300, 700), "bfloat16", Blocks(tuple((1, Normal(0.0, s)) for s in (0.1, 0.2, 0.3, 0.4)))),
    Tensor(
        "qkv",
        (700, 300),
        "float32",
        Blocks(((400, Normal(0.0, 0.02)), (200, Uniform(-1.0, 1.0)), (100, Constant(0.5)))),
    ),
    Tensor("kv inner", (1000, 700), "float32", Blocks(((300, Normal(0.0, 0.02)), (400, Normal(0.5, 0.1))), 1)),
    Tensor("embed", (1000, 128), "bfloat16", Blocks(((900, Padded(Normal(0.0, 0.02), 3)), (100, Constant(0.0))))),
    Tensor("lstm", (256, 64), "float32", Blocks(((64, Orthogonal()),) * 4)),
    Tensor("lstm bias", (256,), "float32", Blocks(((64, Constant(0.0)), (64, Constant(1.0)), (128, Constant(0.0))))),
    Tensor("mask", (20, 20), "float32", Blocks(((10, Constant(-math.inf)), (10, Constant(0.0))), -1)),
    Tensor("phases", (20,), "complex64", Blocks(((10, Constant(3 + 4j)), (10, Constant(0.0))))),
    Tensor("sparse", (60, 50), "float32", Blocks(((40, Sparse(nonzeros=5, axis=1)), (20, Normal(1.0, 2.0))))),
    Tensor("plain", (300, 200), "float32", Normal(0.0, 1.0)),
)
PARTS = {"experts": 4, "qkv": 3, "kv inner": 2, "embed": 2, "lstm": 4, "lstm bias": 3, "mask": 2, "phases": 2}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    write(Plan(TENSORS), tmp_path, seed=5, durable=False)
    return tmp_path


@given(shape=st.lists(st.integers(1, 5), max_size=4), data=st.data())
def test_boxes_are_the_stretch_in_its_order(shape, data):
    count = math.prod(shape)
    first = data.draw(st.integers(0, count))
    last = data.draw(st.integers(first, count))
    numbers, found = np.arange(count).reshape(shape), []
    blocks = list(boxes(tuple(shape), first, last - first))
    for offsets, block in blocks:
        found += numbers[tuple(slice(at, at + n) for at, n in zip(offsets, block, strict=True))].ravel().tolist()
    assert found == list(range(first, last))
    assert len(blocks) <= max(2 * len(shape) - 1, 1)


def test_every_part_is_shown_as_the_tensor_that_it_is(checkpoint):
    path = checkpoint / "model.safetensors"
    shown, header = show(path, threads=2), read_header(path)
    raw = path.read_bytes()
    for tensor, made in zip(shown.tensors, sorted(TENSORS, key=lambda one: one.name), strict=False):
        assert len(tensor.parts) == PARTS.get(tensor.name, 2 if tensor.name == "sparse" else 0)
        slot = header.slots[tensor.name]
        x = np.frombuffer(raw[slot.begin : slot.end], storage_dtype(slot.dtype)).reshape(slot.shape)
        x = np.abs(x) if x.dtype.kind == "c" else np.asarray(decoded(x.reshape(-1), slot.dtype)).reshape(slot.shape)
        for part in tensor.parts:
            where = part.name.removeprefix(tensor.name)
            own = eval(f"x{where}", {"x": x}).astype("f8")
            assert part.shape == own.shape
            finite = own[np.isfinite(own)]
            if finite.size:
                assert part.mean == pytest.approx(finite.mean(), abs=1e-7)
                assert part.std == pytest.approx(finite.std(), abs=1e-7)
                assert (part.minimum, part.maximum) == (finite.min(), finite.max())
            assert part.zeros == np.count_nonzero(own == 0)
            assert part.infinities == np.count_nonzero(np.isinf(own))
            counts = (*part.histogram.counts, part.histogram.below, part.histogram.above)
            assert sum(counts) == finite.size
            assert part.expected is not None
            mean = part.law.marginal(part.shape).mean
            assert part.expected.mean == pytest.approx(abs(mean) if isinstance(mean, complex) else mean)
        assert tensor.remarks == ()
        assert tensor.law == next(one.law for one in TENSORS if one.name == tensor.name)
        assert made is not None
    assert shown.summary.startswith("10 tensors, ")
    assert "10 of 10 with a law follow it, 0 marked" in shown.summary


def test_the_result_does_not_depend_on_threads_or_reads(checkpoint, monkeypatch):
    one = show(checkpoint, threads=1)
    assert show(checkpoint, threads=3) == one
    monkeypatch.setattr(files, "ITEM", 1 << 12)
    small = show(checkpoint, threads=2)
    for ours, others in zip(one.rows, small.rows, strict=True):
        assert ours.histogram == others.histogram
        assert ours.std == pytest.approx(others.std, nan_ok=True)


def test_a_part_that_is_not_its_law_is_named_where_the_whole_seems_right(checkpoint):
    """q and v change places: the mixture is the same, and the parts are not."""
    path = checkpoint / "model.safetensors"
    slot = read_header(path).slots["kv inner"]
    x = np.frombuffer(path.read_bytes()[slot.begin : slot.end], "f4").reshape(slot.shape).copy()
    narrow = x[:, :100].copy()
    x[:, :100], x[:, 400:500] = x[:, 400:500].copy(), narrow
    with path.open("r+b") as file:
        file.seek(slot.begin)
        file.write(x.tobytes())
    shown = next(one for one in show(path).tensors if one.name == "kv inner")
    assert shown.remarks == ("2 of 2 parts",)
    assert [bool(part.remarks) for part in shown.parts] == [True, True]
    assert "2 of 2 parts" in table(show(path), 200)
    assert "kv inner[:, 0:300]" in table(show(path), 200)
    page = html(show(path), "parts")
    assert "kv inner[:, 300:700]" in page
    assert page.count("<tr class=marked>") == 3


def test_verify_names_the_part_of_the_first_difference(checkpoint, capsys):
    path = checkpoint / "model.safetensors"
    for name, index, part in (("qkv", 650 * 300 + 7, "[600:700]"), ("kv inner", 3 * 700 + 650, "[:, 300:700]")):
        slot = read_header(path).slots[name]
        with path.open("r+b") as file:
            file.seek(slot.begin + 4 * index)
            file.write(b"\x00\x00\x80\x7f")
        verdict = next(one for one in verify(path).tensors if one.name == name)
        assert (verdict.status, verdict.differing, verdict.part) == ("differs", 1, part)
        assert main(["verify", str(path)]) == 1
        assert f"in part {part}" in capsys.readouterr().out
    assert next(one for one in verify(path).tensors if one.name == "plain").part is None


def test_the_page_and_the_table_have_a_row_for_every_part(checkpoint, capsys):
    shown = show(checkpoint)
    lines = table(shown, 250).splitlines()
    assert len(lines) == 2 + len(shown.rows) + 2
    assert html(shown, "parts").count('<th scope="row"') == len(shown.rows)
    assert main(["show", str(checkpoint), "--json"]) == 0
    tensors = {one["name"]: one for one in json.loads(capsys.readouterr().out)["tensors"]}
    assert [part["name"] for part in tensors["lstm"]["parts"]] == [f"lstm[{i}:{i + 64}]" for i in range(0, 256, 64)]
    assert tensors["lstm"]["parts"][1]["law"].startswith("Orthogonal(")
    assert tensors["qkv"]["law"].startswith("Blocks(")


RULES = """
[[rule]]
match = '.*experts\\.up'
scheme = "he_normal"
layout = "experts_out_in"

[[rule]]
match = '.*experts\\.gate_up'
scheme = "xavier_uniform"
layout = "experts_out_in"
groups = 2

[[rule]]
match = '.*qkv\\.weight'
scheme = "blocks"
parts = [{ size = 256, scheme = "xavier_normal" }, { scheme = "xavier_normal" }, { scheme = "normal", std = 0.01 }]

[[rule]]
match = 'embed\\.weight'
scheme = "blocks"

[[rule.parts]]
size = 1000
scheme = "normal"
std = 0.02
padding_idx = 0

[[rule.parts]]
scheme = "zeros"
"""


def test_a_model_of_parts_is_planned_written_verified_shown_and_loaded(tmp_path: Path, capsys):
    shapes = {
        "layers.0.experts.up": (8, 128, 64),
        "layers.0.experts.gate_up": (8, 256, 64),
        "layers.0.qkv.weight": (512, 64),
        "embed.weight": (1024, 64),
    }
    (tmp_path / "rules.toml").write_text(RULES)
    described = {name: {"shape": list(shape), "dtype": "float16"} for name, shape in shapes.items()}
    (tmp_path / "shapes.json").write_text(json.dumps(described))
    plan = Plan.from_rules(described, load_rules(tmp_path / "rules.toml"))
    laws = {tensor.name: tensor.law for tensor in plan.tensors}
    assert laws["layers.0.experts.up"] == Normal(0.0, math.sqrt(2 / 64))
    bound = math.sqrt(6 / (64 + 128))
    assert laws["layers.0.experts.gate_up"] == Uniform(-bound, bound)
    assert laws["layers.0.qkv.weight"].parts[1] == (128, Normal(0.0, math.sqrt(2 / (64 + 128))))
    words = ["--shapes", tmp_path / "shapes.json", "--rules", tmp_path / "rules.toml", "-o", tmp_path / "out"]
    assert main([str(word) for word in ("write", *words, "--seed", 3, "--no-fsync", "--quiet")]) == 0
    loaded = safetensors.numpy.load_file(tmp_path / "out" / "model.safetensors")
    assert {name: x.shape for name, x in loaded.items()} == shapes
    assert not loaded["embed.weight"][1000:].any()
    assert not loaded["embed.weight"][0].any()
    for expert in loaded["layers.0.experts.up"].astype("f8"):
        assert abs(expert.std() - math.sqrt(2 / 64)) < 5 * math.sqrt(2 / 64) / math.sqrt(2 * expert.size)
    assert main(["verify", str(tmp_path / "out")]) == 0
    assert main(["show", str(tmp_path / "out"), "--html", str(tmp_path / "w.html")]) == 0
    said = capsys.readouterr().out
    assert "4 of 4 tensors are as initialised" in said
    assert "4 of 4 with a law follow it, 0 marked" in said
    assert "layers.0.qkv.weight[256:384]" in (tmp_path / "w.html").read_text().replace("<wbr>", "")


def test_checkpoints_of_parts_are_the_same_for_every_engine_and_shard_size(tmp_path: Path, monkeypatch):
    folders = []
    for engine, size in itertools.product(("numba", "numpy"), (1 << 40, 300_000)):
        monkeypatch.setenv("FASTINIT_ENGINE", engine)
        folder = tmp_path / f"{engine}{size}"
        write(Plan(TENSORS), folder, seed=5, durable=False, shard_size=size)
        tensors = {}
        for path in sorted(folder.glob("*.safetensors")):
            raw = path.read_bytes()
            tensors |= {name: raw[slot.begin : slot.end] for name, slot in read_header(path).slots.items()}
        folders.append(tensors)
    for others in folders[1:]:
        assert others.keys() == folders[0].keys()
        assert all(others[name] == data for name, data in folders[0].items() if name != "lstm")
