"""`edit` changes what it is told to, and no other byte; what can still be drawn again, `verify` still checks."""

from __future__ import annotations

import json
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from processes import descriptors

import fastinit
from fastinit.dtypes import FORMATS
from fastinit.edit import Add, Cast, Configure, Copy, Delete, Edit, Laws, Redraw, Rename, edit
from fastinit.edit.naming import names_of
from fastinit.edit.rounding import encoded
from fastinit.files.safetensors import SafetensorsError, lay_out, read_header
from fastinit.laws import Blocks, Constant, Normal, Orthogonal, Sparse, Uniform
from fastinit.plan import Plan, Rule, Tensor
from fastinit.recipes import RECIPES
from fastinit.show import show
from fastinit.verify import verify
from fastinit.write import write

SEED = 11
NORMAL = Laws(rules=(Rule(".*", "normal", {"std": 0.5}),))
PLAN = Plan(
    [
        Tensor("embed", (90, 32), "float32", Normal(0.0, 0.02)),
        *(Tensor(f"layers.{i}.w", (40, 32), "bfloat16", Uniform(-1.0, 1.0)) for i in range(4)),
        *(Tensor(f"layers.{i}.b", (40,), "float32", Constant(0.0)) for i in range(4)),
        Tensor("head", (90, 32), "float32", Normal(0.0, 0.02)),
        Tensor("steps", (3,), "int64", Constant(7)),
    ],
    tied={"alias": "embed"},
)


def contents(folder: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Name -> dtype, shape and bytes, as the safetensors library reads them, by the index where there is one."""
    index = next(iter(folder.glob("*.index.json")), None)
    places = None if index is None else json.loads(index.read_text())["weight_map"]
    files = sorted(set(places.values())) if places else [one.name for one in folder.glob("*.safetensors")]
    found = {}
    for file in files:
        for name, tensor in safetensors.deserialize((folder / file).read_bytes()):
            assert places is None or places[name] == file
            assert name not in found
            found[name] = (tensor["dtype"], tuple(tensor["shape"]), bytes(tensor["data"]))
    assert places is None or set(places) == set(found)
    return found


def values(folder: Path, name: str) -> np.ndarray:
    """A tensor by ml_dtypes."""
    kinds = {"BF16": ml_dtypes.bfloat16, "F32": np.float32, "F16": np.float16, "I64": np.int64, "F64": np.float64}
    kinds |= {"F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2}
    dtype, shape, data = contents(folder)[name]
    return np.frombuffer(data, kinds[dtype]).reshape(shape)


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


@pytest.fixture(params=["ours", "ours, sharded", "foreign", "foreign, sharded"])
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A checkpoint by `write`, or as others write it: one file, or two files and an index."""
    folder = tmp_path / "checkpoint"
    size = 12_000 if "sharded" in request.param else 10**9
    write(PLAN, folder, seed=SEED, shard_size=size, durable=False)
    if "foreign" in request.param:
        for file in folder.glob("*.safetensors"):
            kinds = {"bfloat16": ml_dtypes.bfloat16}
            tensors = {
                name: np.frombuffer(
                    file.read_bytes()[slot.begin : slot.end], kinds.get(slot.dtype, slot.dtype)
                ).reshape(slot.shape)
                for name, slot in read_header(file).slots.items()
            }
            safetensors.numpy.save_file(tensors, file, {"format": "pt", "of": "somebody"})
    (folder / "config.json").write_text(json.dumps({"vocab_size": 90, "inner": {"depth": 4}, "dtype": "float32"}))
    (folder / "tokenizer.json").write_text("{}")
    return folder


@pytest.fixture(params=["here", "elsewhere"])
def place(request: pytest.FixtureRequest, tmp_path: Path):
    """Apply operations to a checkpoint, and return the folder of the new one: the same, or another."""

    def apply(folder: Path, *operations, **options) -> Path:
        before = contents(folder)
        output = None if request.param == "here" else tmp_path / "new"
        edit(folder, operations, output=output, seed=SEED + 1, durable=False, **options)
        assert not [name for name in names(output or folder) if name.startswith(".")]
        if output is None:
            return folder
        assert contents(folder) == before
        return output

    return apply


def test_untouched_tensors_keep_their_bytes_and_others_are_what_was_asked_for(checkpoint, place):
    before = contents(checkpoint)
    ours = "fastinit.seed" in read_header(next(checkpoint.glob("*.safetensors"))).metadata
    new = place(
        checkpoint,
        Redraw("head", NORMAL),
        Copy(r"layers\.([23])\.(.*)", "layers.{1+2}.{2}"),
        Delete(r"layers\.0\..*"),
        Rename(r"layers\.(\d+)\.(.*)", "blocks.{1-1}.{2}"),
        Add("gates.{0..2}", (4, 8), {"scheme": "ones"}),
    )
    after = contents(new)
    kept = {"embed": "embed", "steps": "steps"}
    kept |= {f"blocks.{i - 1}.{one}": f"layers.{i}.{one}" for i in (1, 2, 3) for one in "wb"}
    kept |= {f"blocks.{i + 1}.{one}": f"layers.{i}.{one}" for i in (2, 3) for one in "wb"}
    assert set(after) == {*kept, "head", "gates.0", "gates.1", "gates.2"}
    for name, old in kept.items():
        assert after[name] == before[old], name
    drawn = np.empty((90, 32), np.float32)
    fastinit.fill(drawn, Normal(0.0, 0.5), seed=SEED + 1, name="head")
    assert after["head"] == ("F32", (90, 32), drawn.tobytes())
    assert after["gates.2"] == ("F32", (4, 8), np.ones((4, 8), np.float32).tobytes())
    report = {one.name: one.status for one in verify(new).tensors}
    assert {name for name, status in report.items() if status == "as initialised"} == (
        set(after) if ours else {"head", "gates.0", "gates.1", "gates.2"}
    )
    assert "differs" not in report.values()


def test_files_without_a_change_are_not_written(checkpoint):
    index = checkpoint / "model.safetensors.index.json"
    if not index.exists():
        pytest.skip("there is one file")
    before = {one: (checkpoint / one).stat() for one in names(checkpoint)}
    place = json.loads(index.read_text())["weight_map"]["head"]
    report = edit(checkpoint, [Redraw("head", NORMAL)], seed=1)
    after = {one: (checkpoint / one).stat() for one in names(checkpoint)}
    gone, new = set(before) - set(after), set(after) - set(before)
    assert gone == {place}
    assert len(new) == 1
    assert re.fullmatch(r"model-edit[0-9a-f]{8}-\d{5}-of-\d{5}\.safetensors", new.pop())
    for name in set(before) & set(after) - {index.name}:
        assert (before[name].st_ino, before[name].st_mtime_ns) == (after[name].st_ino, after[name].st_mtime_ns)
    written = [one for one in report.changes.files if one.what == "written"]
    assert len(written) == 2
    assert report.changes.bytes_written == sum(one.bytes for one in written)


def test_the_index_says_the_size_and_keeps_what_else_it_said(tmp_path):
    write(PLAN, tmp_path / "c", seed=0, shard_size=12_000, durable=False)
    index = tmp_path / "c" / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["metadata"] |= {"total_parameters": 1, "by": "somebody"}
    content["more"] = [1]
    index.write_text(json.dumps(content))
    edit(tmp_path / "c", [Cast("float16", "head")], durable=False)
    after = json.loads(index.read_text())
    found = contents(tmp_path / "c")
    assert after["metadata"] == {
        "total_size": sum(len(data) for _, _, data in found.values()),
        "total_parameters": sum(int(np.prod(shape)) for _, shape, _ in found.values()),
        "by": "somebody",
    }
    assert after["more"] == [1]


def test_new_tensors_of_a_sharded_checkpoint_have_files_of_their_own(tmp_path):
    write(PLAN, tmp_path / "c", seed=0, shard_size=12_000, durable=False)
    old = {one for one in names(tmp_path / "c") if one.endswith(".safetensors")}
    edit(tmp_path / "c", [Copy("head", "copies.{0..4}")], shard_size=25_000, durable=False)
    assert old < set(names(tmp_path / "c"))
    places = json.loads((tmp_path / "c" / "model.safetensors.index.json").read_text())["weight_map"]
    assert len({places[f"copies.{i}"] for i in range(5)} - old) == 3
    assert verify(tmp_path / "c").ok


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float64"])
def test_a_cast_rounds_to_nearest_even_as_ml_dtypes_does(tmp_path, dtype):
    data = np.random.default_rng(0).normal(size=(300, 70)).astype(np.float32)
    data[0, :4] = [0.0, -0.0, 1.0 + 2.0**-8, 1.0 + 3 * 2.0**-8]
    data[1, 0] = np.nan
    safetensors.numpy.save_file({"w": data, "i": np.arange(3)}, tmp_path / "c.safetensors")
    edit(tmp_path / "c.safetensors", [Cast(dtype)], durable=False)
    found = values(tmp_path, "w")
    np.testing.assert_array_equal(found.astype(np.float64), data.astype(found.dtype).astype(np.float64))
    assert (np.signbit(found.astype(np.float64)) == np.signbit(data)).all()
    assert values(tmp_path, "i").tolist() == [0, 1, 2]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float8_e4m3fn", "float8_e5m2"])
def test_a_number_that_a_dtype_cannot_hold_is_refused_by_name_and_nothing_changes(tmp_path, dtype):
    data = np.zeros((300, 70))
    data[200, 3] = 1e39
    safetensors.numpy.save_file({"large": data}, tmp_path / "c.safetensors")
    before = (tmp_path / "c.safetensors").read_bytes()
    with pytest.raises(ValueError, match=r"'large'.*1e\+39, beyond .*; use a wider dtype"):
        edit(tmp_path / "c.safetensors", [Cast(dtype)])
    assert names(tmp_path) == ["c.safetensors"]
    assert (tmp_path / "c.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("dtype", "value"), [("float16", 65520.0), ("bfloat16", 3.4e38), ("float8_e4m3fn", 465.0), ("float8_e5m2", 61440.0)]
)
def test_the_smallest_number_that_would_overflow_is_refused_and_the_largest_that_does_not_is_kept(
    tmp_path, dtype, value
):
    fitting = float(np.nextafter(np.float32(value), np.float32(0))) if dtype == "float16" else FORMATS[dtype].largest
    for number in (fitting, -fitting):
        safetensors.numpy.save_file({"w": np.full(5, number, np.float32)}, tmp_path / "c.safetensors")
        edit(tmp_path / "c.safetensors", [Cast(dtype)], durable=False)
        assert np.isfinite(values(tmp_path, "w").astype(np.float64)).all()
    safetensors.numpy.save_file({"w": np.array([np.nan, -value], np.float32)}, tmp_path / "c.safetensors")
    with pytest.raises(ValueError, match=f"'w': it reaches .*beyond the largest {dtype}"):
        edit(tmp_path / "c.safetensors", [Cast(dtype)])
    safetensors.numpy.save_file({"w": np.full((20, 20), 65000.0, np.float16)}, tmp_path / "c.safetensors")
    with pytest.raises(ValueError, match=r"'v': it reaches .*beyond the largest float16"):
        edit(tmp_path / "c.safetensors", [Copy("w", "v", noise=1e4)], seed=0)


def test_infinities_and_nan_are_kept_where_the_dtype_has_them(tmp_path):
    data = np.array([np.inf, -np.inf, np.nan, 2.0], np.float32)
    for dtype in ("float16", "bfloat16", "float8_e5m2", "float64"):
        safetensors.numpy.save_file({"w": data}, tmp_path / "c.safetensors")
        edit(tmp_path / "c.safetensors", [Cast(dtype)], durable=False)
        np.testing.assert_array_equal(values(tmp_path, "w").astype(np.float64), data)
    safetensors.numpy.save_file({"w": data}, tmp_path / "c.safetensors")
    with pytest.raises(ValueError, match=r"'w'.*infinity, and float8_e4m3fn has none"):
        edit(tmp_path / "c.safetensors", [Cast("float8_e4m3fn")])


@pytest.mark.parametrize("dtype", FORMATS)
def test_every_element_of_a_narrow_format_survives_the_way_through_numbers(dtype):
    if FORMATS[dtype].storage not in ("uint8", "uint16"):
        pytest.skip("is not narrow")
    kind = np.float16 if dtype == "float16" else np.dtype(getattr(ml_dtypes, dtype))
    every = np.arange(1 << 8 * kind.itemsize if dtype != "float16" else 1 << 16, dtype=FORMATS[dtype].storage)
    numbers = every.view(kind).astype(np.float32)
    found = encoded(numbers, dtype, "w").view(every.dtype)
    same = (found == every) | np.isnan(numbers)
    assert same.all()
    assert np.isnan(found.view(kind)[np.isnan(numbers)].astype(np.float32)).all()


def test_noise_is_the_draw_of_the_copys_name_added_and_rounded_once(checkpoint, place):
    source = values(checkpoint, "layers.1.w")
    new = place(checkpoint, Copy(r"layers\.1\.w", "experts.{0..1}", noise=0.25))
    for i in range(2):
        noise = np.empty(source.shape, np.float32)
        fastinit.fill(noise, Normal(0.0, 0.25), seed=SEED + 1, name=f"experts.{i}")
        expected = (source.astype(np.float32) + noise).astype(ml_dtypes.bfloat16)
        assert values(new, f"experts.{i}").tobytes() == expected.tobytes()
    assert (values(new, "experts.0") != values(new, "experts.1")).any()


def test_a_cast_keeps_what_can_be_drawn_again_and_names_what_cannot(tmp_path):
    plan = Plan(
        [
            Tensor("normal", (50, 40), "float32", Normal()),
            Tensor("zeros", (50,), "float32", Constant(0.0)),
            Tensor("uniform", (50, 40), "float32", Uniform()),
            Tensor("double", (50, 40), "float64", Normal()),
            Tensor("parts", (50, 40), "float32", Blocks(((20, Normal()), (30, Normal(1.0, 2.0))))),
        ]
    )
    write(plan, tmp_path / "c", seed=0, durable=False)
    edit(tmp_path / "c", [Cast("bfloat16")], durable=False)
    report = {one.name: one for one in verify(tmp_path / "c").tensors}
    assert {name for name, one in report.items() if one.status == "as initialised"} == {"normal", "zeros", "parts"}
    for name in ("uniform", "double"):
        assert report[name].status == "edited"
        assert report[name].compared == 0
        assert "cast" in report[name].how


def test_a_flipped_bit_of_a_redrawn_renamed_tensor_is_found(checkpoint, place):
    new = place(checkpoint, Redraw("head", NORMAL), Rename("head", "out"))
    file = next(one for one in new.glob("*.safetensors") if "out" in read_header(one).slots)
    slot = read_header(file).slots["out"]
    data = bytearray(file.read_bytes())
    data[slot.begin + 4 * 33] ^= 1
    file.write_bytes(data)
    report = {one.name: one for one in verify(new).tensors}
    assert report["out"].status == "differs"
    assert (report["out"].differing, report["out"].index) == (1, (1, 1))
    assert "redraw" in report["out"].how


def test_a_checkpoint_is_drawn_again_by_its_own_laws_where_none_is_given(tmp_path):
    write(PLAN, tmp_path / "c", seed=SEED, durable=False)
    edit(tmp_path / "c", [Redraw("head|layers.*")], seed=2, durable=False)
    again = tmp_path / "again"
    write(PLAN, again, seed=2, durable=False)
    for name in contents(again):
        same = contents(again)[name] == contents(tmp_path / "c")[name]
        assert same == (name not in ("embed",)), name
    assert verify(tmp_path / "c").ok
    edit(tmp_path / "c", [Redraw("head|layers.*")], seed=SEED, durable=False)
    write(PLAN, tmp_path / "old", seed=SEED, durable=False)
    assert (tmp_path / "c" / "model.safetensors").read_bytes() == (tmp_path / "old" / "model.safetensors").read_bytes()


def test_a_foreign_tensor_without_a_law_is_refused_by_name(tmp_path):
    safetensors.numpy.save_file({"w": np.zeros(3, np.float32)}, tmp_path / "c.safetensors")
    with pytest.raises(ValueError, match=r"the law of 'w' is not known.*does not say.*--law"):
        edit(tmp_path / "c.safetensors", [Redraw("w")], seed=0)
    with pytest.raises(ValueError, match="the law of 'w' is not known: no rule matches it"):
        edit(tmp_path / "c.safetensors", [Redraw("w", Laws(rules=(Rule("x", "zeros"),)))], seed=0)
    plan = Plan([Tensor("x", (3,), "float32", Constant(0.0))])
    with pytest.raises(ValueError, match="the law of 'w' is not known: the plan has no such tensor"):
        edit(tmp_path / "c.safetensors", [Redraw("w", Laws.of_plan(plan))], seed=0)


def test_a_plan_and_a_recipe_give_laws(tmp_path):
    shapes = {"wte.weight": (60, 16), "wpe.weight": (10, 16), "h.0.attn.c_proj.weight": (16, 16), "ln_f.weight": (16,)}
    data = {name: np.zeros(shape, np.float16) for name, shape in shapes.items()}
    safetensors.numpy.save_file(data, tmp_path / "c.safetensors")
    edit(tmp_path / "c.safetensors", [Redraw(".*", Laws(recipe="gpt2", numbers={"layers": 8}))], seed=4, durable=False)
    drawn = np.empty((16, 16), np.float16)
    fastinit.fill_residual_normal(drawn, layers=8, seed=4, name="h.0.attn.c_proj.weight")
    assert values(tmp_path, "h.0.attn.c_proj.weight").tobytes() == drawn.tobytes()
    plan = Plan([Tensor(name, shape, "float32", Normal(0.0, 3.0)) for name, shape in shapes.items()])
    edit(tmp_path / "c.safetensors", [Redraw("wte.*", Laws.of_plan(plan))], seed=5, durable=False)
    drawn = np.empty((60, 16), np.float16)
    fastinit.fill(drawn, Normal(0.0, 3.0), seed=5, name="wte.weight")
    assert values(tmp_path, "wte.weight").tobytes() == drawn.tobytes()
    assert "gpt2" in RECIPES


def test_laws_that_are_drawn_whole_are_drawn_through_a_map(tmp_path):
    data = {"w": np.zeros((30, 20), np.float32), "v": np.zeros((30, 20), np.float32)}
    safetensors.numpy.save_file(data, tmp_path / "c.safetensors")
    laws = Laws(by_name={"w": Orthogonal(), "v": Sparse(nonzeros=3)})
    edit(tmp_path / "c.safetensors", [Redraw("w|v", laws), Rename("w", "x")], seed=5, durable=False)
    x = values(tmp_path, "x")
    np.testing.assert_allclose(x.T @ x, np.eye(20), atol=1e-5)
    assert (np.count_nonzero(values(tmp_path, "v"), axis=0) == 3).all()
    assert [one.status for one in verify(tmp_path / "c.safetensors").tensors] == [
        "as initialised",
        "as initialised to a tolerance",
    ]
    with pytest.raises(ValueError, match=r"'y'.*drawn whole; add noise in a second edit"):
        edit(tmp_path / "c.safetensors", [Redraw("x", laws := Laws(by_name={"x": Orthogonal()})), Copy("x", "y", 0.1)])
    assert laws.by_name


def test_ties_follow_their_tensor(tmp_path):
    def tied(folder: Path) -> dict[str, str]:
        return json.loads(read_header(folder / "model.safetensors").metadata.get("fastinit.tied", "{}"))

    write(PLAN, tmp_path / "c", seed=0, durable=False)
    edit(tmp_path / "c", [Rename("embed", "wte")], output=tmp_path / "renamed", durable=False)
    assert tied(tmp_path / "renamed") == {"alias": "wte"}
    edit(tmp_path / "c", [Copy("embed", "alias")], output=tmp_path / "copied", durable=False)
    assert tied(tmp_path / "copied") == {}
    assert contents(tmp_path / "copied")["alias"] == contents(tmp_path / "copied")["embed"]
    edit(tmp_path / "c", [Delete("embed")], output=tmp_path / "deleted", durable=False)
    assert tied(tmp_path / "deleted") == {}
    with pytest.raises(ValueError, match="'alias' is another name of a tensor that is kept once"):
        edit(tmp_path / "c", [Delete("alias")])


def test_elements_that_fastinit_cannot_decode_are_carried_along(tmp_path):
    header = lay_out(
        {"f4": ("float4_e2m1fn", (4, 6)), "e8": ("float8_e8m0fnu", (5,)), "w": ("float32", (7,))}, undecoded=True
    )
    data = np.random.default_rng(0).bytes(header.size - len(header.text))
    (tmp_path / "c.safetensors").write_bytes(header.text + data)
    before = contents(tmp_path)
    edit(tmp_path / "c.safetensors", [Copy("f4", "g4"), Redraw("w", NORMAL), Cast("bfloat16")], seed=0, durable=False)
    after = contents(tmp_path)
    assert after["f4"] == after["g4"] == before["f4"]
    assert after["e8"] == before["e8"]
    with pytest.raises(ValueError, match="'h4' holds float4_e2m1fn, and noise is added to floats"):
        edit(tmp_path / "c.safetensors", [Copy("f4", "h4", noise=1.0)], seed=0)


def test_names_can_be_exchanged_in_one_operation(tmp_path):
    safetensors.numpy.save_file({"a.0": np.zeros(3), "a.1": np.ones(3)}, tmp_path / "c.safetensors")
    edit(tmp_path / "c.safetensors", [Rename(r"a\.0", "a.2"), Rename(r"a\.(\d)", "a.{1-1}")], durable=False)
    assert values(tmp_path, "a.0").tolist() == [1.0] * 3
    assert values(tmp_path, "a.1").tolist() == [0.0] * 3


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (Delete("nothing"), "delete 'nothing': no tensor's whole name matches"),
        (Delete(".*"), "no tensor would be left"),
        (Copy("head", "embed"), "there is a tensor 'embed' already; delete it first"),
        (Copy("head", "{0..1}{x}"), "speaks of the group x, which 'head' has not"),
        (Copy("(head)", "h{1+1}"), "the group 1 is 'head' in 'head'.*needs a number"),
        (Copy(r"layers\.(\d)\.w", "layers.{1-1}.x"), "not below 0"),
        (Copy("head", "h{"), "has a { that is no field"),
        (Rename("head", "h{0..1}"), "would have 2 names"),
        (Rename(r"layers\.\d\.w", "layer"), "there is a tensor 'layer' already"),
        (Add("new", (2, 2), {"scheme": "nothing"}), "scheme 'nothing' is unknown"),
        (Configure("vocab_size", 3), "there is no .*config.json"),
        (Redraw("steps", NORMAL), "tensor 'steps'.*draws floats, and dtype is int64"),
    ],
)
def test_what_is_not_possible_is_refused_before_anything_is_written(tmp_path, operation, message):
    write(PLAN, tmp_path / "c", seed=0, durable=False)
    before = (tmp_path / "c" / "model.safetensors").read_bytes()
    for options in ({}, {"output": tmp_path / "new"}, {"dry_run": True}):
        with pytest.raises((ValueError, TypeError), match=message):
            edit(tmp_path / "c", [operation], seed=0, **options)
    assert names(tmp_path / "c") == ["model.safetensors"]
    assert (tmp_path / "c" / "model.safetensors").read_bytes() == before
    assert names(tmp_path) == ["c"]


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda: Delete("("), "no regular expression"),
        (lambda: Delete(3), "a pattern is 3"),
        (lambda: Cast("float17"), "dtype 'float17' is unknown"),
        (lambda: Copy("a", "b", noise=-1.0), "noise is -1"),
        (lambda: Laws(rules=(Rule("a", "zeros"),), recipe="gpt2"), "give one of them"),
        (lambda: Laws(numbers={"layers": 3}), "belong to a recipe"),
        (lambda: Edit("delete"), "an operation is 'delete'"),
    ],
)
def test_an_operation_that_makes_no_sense_is_refused_when_it_is_made(operation, message):
    with pytest.raises((ValueError, TypeError), match=message):
        operation()


def test_templates_count_shift_and_escape():
    found = re.fullmatch(r"(?P<name>a)\.(\d+)", "a.12")
    assert list(names_of("{name}.{2+3}.{0..2}{{x}}", found, "-")) == [f"a.15.{i}{{x}}" for i in range(3)]
    assert list(names_of("{0}", found, "-")) == ["a.12"]
    with pytest.raises(ValueError, match="counts from 3 to 1"):
        list(names_of("{3..1}", None, "-"))


def test_config_is_set_where_it_is_told(checkpoint, place):
    new = place(checkpoint, Configure("inner.depth", 6), Configure("new", [1]), Delete("steps"))
    found = json.loads((new / "config.json").read_text())
    assert found == {"vocab_size": 90, "inner": {"depth": 6}, "dtype": "float32", "new": [1]}
    assert (new / "tokenizer.json").exists()


def test_a_dry_run_says_what_would_be_done_and_does_nothing(checkpoint, tmp_path):
    before = {one: (checkpoint / one).read_bytes() for one in names(checkpoint)}
    operations = [Redraw("head", NORMAL), Delete("steps"), Copy("embed", "e2")]
    would = edit(checkpoint, operations, seed=0, dry_run=True)
    assert {one: (checkpoint / one).read_bytes() for one in names(checkpoint)} == before
    did = edit(checkpoint, operations, seed=0, durable=False)
    assert [(one.name, one.how, one.bytes) for one in would.changes.tensors] == [
        (one.name, one.how, one.bytes) for one in did.changes.tensors
    ]
    assert {one.name: one.bytes for one in did.changes.tensors} == {"head": 11520, "steps": 24, "e2": 11520}
    assert would.changes.bytes_written == did.changes.bytes_written
    assert would.dry_run
    assert not did.dry_run


def test_a_change_that_is_none_writes_nothing(checkpoint):
    before = {one: (checkpoint / one).stat().st_mtime_ns for one in names(checkpoint)}
    report = edit(checkpoint, [Cast("float32", "head")], seed=0)
    assert report.changes.bytes_written == 0
    assert {one: (checkpoint / one).stat().st_mtime_ns for one in names(checkpoint)} == before


def test_an_edit_is_a_value_that_can_be_saved_and_read_again(tmp_path):
    value = Edit(
        Redraw("head", NORMAL),
        Redraw("embed"),
        Redraw("x", Laws(recipe="gpt2", numbers={"layers": 3})),
        Redraw("y", Laws(by_name={"y": Blocks(((2, Normal()), (3, Constant(0.0))))})),
        Copy("a", "b", 0.5),
        Rename("a", "b"),
        Delete("c"),
        Cast("bfloat16"),
        Add("n", (3, 4), {"scheme": "truncated_normal", "std": 1.0, "bounds": (-2.0, 2.0)}),
        Configure("a.b", {"c": 1}),
    )
    value.save(tmp_path / "edit.json")
    assert Edit.load(tmp_path / "edit.json") == value
    assert "Redraw(match='head'" in repr(value)
    for content, message in (
        ({"edit": "fastinit-edit-1", "operations": [{"op": "jump"}]}, "is no operation"),
        ({"edit": "fastinit-edit-1", "operations": [{"op": "delete", "match": "a", "x": 1}]}, "it has no 'x'"),
        ({"edit": "fastinit-edit-1", "operations": [{"op": "delete"}]}, "operation delete"),
        ({"edit": "fastinit-edit-1", "operations": 3}, "must be a list"),
        ([], "this is no edit"),
    ):
        (tmp_path / "edit.json").write_text(json.dumps(content))
        with pytest.raises(ValueError, match=message):
            Edit.load(tmp_path / "edit.json")


def test_an_executor_gives_the_same_bytes(tmp_path):
    write(PLAN, tmp_path / "c", seed=0, shard_size=12_000, durable=False)
    value = Edit(Redraw("head|embed", NORMAL), Copy("head", "h2", 0.1))
    value.apply(tmp_path / "c", output=tmp_path / "a", seed=3, durable=False)
    with ProcessPoolExecutor(2) as executor:
        value.apply(tmp_path / "c", output=tmp_path / "b", seed=3, durable=False, executor=executor, threads=1)
    assert {one: (tmp_path / "a" / one).read_bytes() for one in names(tmp_path / "a")} == {
        one: (tmp_path / "b" / one).read_bytes() for one in names(tmp_path / "b")
    }


def test_threads_and_progress_change_no_byte_and_no_descriptor_stays_open(tmp_path):
    write(PLAN, tmp_path / "c", seed=0, shard_size=12_000, durable=False)
    before, seen = descriptors(), []
    for threads in (1, 3):
        edit(
            tmp_path / "c",
            [Redraw("head", NORMAL), Cast("float16", "embed")],
            output=tmp_path / str(threads),
            seed=3,
            threads=threads,
            progress=lambda done, total: seen.append((done, total)),
        )
    assert contents(tmp_path / "1") == contents(tmp_path / "3")
    assert seen[-1][0] == seen[-1][1]
    assert all(0 <= done <= total for done, total in seen)
    assert descriptors() == before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"fastinit.edited": "["}, "fastinit.edited is no"),
        ({"fastinit.edited": '{"x": {"how": []}}'}, "does not hold the tensor 'x'"),
        ({"fastinit.edited": '{"head": {"how": 3}}'}, "what was edited of the tensor 'head'"),
        (
            {"fastinit.edited": '{"head": {"how": [{"op": "a"}], "drawn": [{}]}}'},
            "what was edited of the tensor 'head'",
        ),
        ({"fastinit.stream": "fastinit-9"}, "drawn from the stream 'fastinit-9'"),
    ],
)
def test_damaged_metadata_of_an_edit_is_refused_by_verify_and_edit(tmp_path, damage, message):
    safetensors.numpy.save_file({"head": np.zeros((90, 32), np.float32)}, tmp_path / "c.safetensors")
    edit(tmp_path / "c.safetensors", [Redraw("head", NORMAL)], seed=0, durable=False)
    assert verify(tmp_path / "c.safetensors").ok
    header = read_header(tmp_path / "c.safetensors")
    metadata = dict(header.metadata) | damage
    safetensors.numpy.save_file({"head": values(tmp_path, "head")}, tmp_path / "c.safetensors", metadata)
    for call in (verify, lambda path: edit(path, [Delete("x")])):
        with pytest.raises(SafetensorsError, match=message):
            call(tmp_path / "c.safetensors")


@pytest.mark.parametrize("field", ["at", "first", "count"])
@pytest.mark.parametrize("number", [-1, 1, 2**59, "0", True, None])
def test_a_stretch_that_is_not_within_its_tensor_is_refused(tmp_path, field, number):
    data = {"head": np.zeros((90, 32), np.float32)}
    safetensors.numpy.save_file(data, tmp_path / "c.safetensors")
    edit(tmp_path / "c.safetensors", [Redraw("head", NORMAL)], seed=0, durable=False)
    metadata = dict(read_header(tmp_path / "c.safetensors").metadata)
    said = json.loads(metadata["fastinit.edited"])
    said["head"]["drawn"][0][field] = number
    metadata["fastinit.edited"] = json.dumps(said)
    safetensors.numpy.save_file({"head": values(tmp_path, "head")}, tmp_path / "c.safetensors", metadata)
    if field == "count" and type(number) is int and number == 1:
        assert verify(tmp_path / "c.safetensors").tensors[0].status == "edited"
        return
    with pytest.raises(SafetensorsError, match="what was edited of the tensor 'head'"):
        verify(tmp_path / "c.safetensors")


def test_a_stretch_may_lie_elsewhere_in_the_tensor_than_in_what_was_drawn(tmp_path):
    whole = np.empty((30, 8), np.float32)
    fastinit.fill(whole, Normal(), seed=3, name="x")
    data = np.concatenate([np.zeros((2, 8), np.float32), whole[10:20], whole[5:7]])
    law = {"law": "Normal", "mean": 0.0, "std": 1.0}
    drawn = [
        {"at": 8 * at, "first": 8 * first, "count": 8 * count, "seed": "3", "name": "x", "shape": [30, 8], "law": law}
        for at, first, count in ((2, 10, 10), (12, 5, 2))
    ]
    said = {"w": {"how": [{"op": "by hand"}], "drawn": drawn}}
    metadata = {"fastinit.stream": fastinit.STREAM, "fastinit.edited": json.dumps(said)}
    safetensors.numpy.save_file({"w": data}, tmp_path / "c.safetensors", metadata)
    (found,) = verify(tmp_path / "c.safetensors").tensors
    assert (found.status, found.compared) == ("edited", 96)
    data[12, 3] += 1.0
    safetensors.numpy.save_file({"w": data}, tmp_path / "c.safetensors", metadata)
    (found,) = verify(tmp_path / "c.safetensors").tensors
    assert (found.status, found.differing, found.index) == ("differs", 1, (12, 3))
    edit(tmp_path / "c.safetensors", [Redraw("w", NORMAL), Rename("w", "v")], seed=1, durable=False)
    assert verify(tmp_path / "c.safetensors").ok


def test_show_has_the_law_of_what_was_drawn_again(checkpoint):
    edit(checkpoint, [Redraw("head", NORMAL)], seed=0, durable=False)
    shown = {one.name: one for one in show(checkpoint).tensors}
    assert shown["head"].law == Normal(0.0, 0.5)


def test_the_same_draw_again_is_said_as_what_it_is(tmp_path):
    safetensors.numpy.save_file({"w": np.zeros((9, 4), np.float32)}, tmp_path / "c.safetensors")
    for how in ("redraw (seed 1, law Normal(mean=0.0, std=0.5))",) * 2:
        report = edit(tmp_path / "c.safetensors", [Redraw("w", NORMAL)], seed=1, durable=False)
        assert report.changes.tensors[0].how == how
    report = edit(tmp_path / "c.safetensors", [Cast("bfloat16")], seed=1, durable=False)
    assert report.changes.tensors[0].how == "cast (dtype float32 to bfloat16)"
