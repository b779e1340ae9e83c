"""New rows of an embedding follow the law that is asked for, or the mean and covariance of those there are."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

import fastinit
from fastinit import engines
from fastinit.edit import Cast, Copy, Edit, Laws, Redraw, Resize, edit, reading
from fastinit.edit import rows as rows_module
from fastinit.laws import Blocks, Normal, Orthogonal, Uniform
from fastinit.plan import Plan, Rule, Tensor
from fastinit.verify import verify
from fastinit.write import write

HALF = Laws(rules=(Rule(".*", "normal", {"std": 0.5}),))
EMBEDDING = "model.embed_tokens.weight"


def model(folder: Path, *, config: dict | None = None, dtype: type = np.float32, **more: np.ndarray) -> Path:
    """An embedding of 300 correlated rows, an untied head, a layer; and what else is asked for."""
    random = np.random.default_rng(0)
    mixing = random.normal(size=(8, 8))
    tensors = {
        EMBEDDING: (random.normal(size=(300, 8)) @ mixing + 3.0).astype(dtype),
        "lm_head.weight": random.normal(size=(300, 8)).astype(dtype),
        "model.layers.0.w": random.normal(size=(8, 8)).astype(dtype),
        **more,
    }
    folder.mkdir()
    safetensors.numpy.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def load(folder: Path) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(folder / "model.safetensors")


def config(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("factor", [1.0, 0.25])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, ml_dtypes.bfloat16])
def test_new_rows_have_the_mean_and_the_covariance_of_the_old_ones(tmp_path, factor, dtype):
    folder = model(tmp_path / "c", dtype=dtype)
    before = load(folder)
    edit(folder, [Resize(EMBEDDING, "+20000", covariance=factor)], seed=5, durable=False)
    after = load(folder)
    assert after[EMBEDDING].dtype == dtype
    assert after[EMBEDDING].shape == (20300, 8)
    for name in (EMBEDDING, "lm_head.weight"):
        assert after[name][:300].tobytes() == before[name].tobytes()
        old, new = before[name].astype(np.float64), after[name][300:].astype(np.float64)
        covariance = np.cov(old.T, bias=True)
        deviations = np.sqrt(np.diag(covariance))
        # Standard errors: sigma / sqrt(n) of a mean, at most sqrt(2 / n) sigma sigma' of a covariance. 5 of them, and
        # the rounding of bfloat16.
        slack = 2.0**-8 if dtype == ml_dtypes.bfloat16 else 0.0
        errors = np.abs(new.mean(axis=0) - old.mean(axis=0)) / (np.sqrt(factor) * deviations)
        assert (errors < 5 / np.sqrt(len(new)) + slack).all()
        found = np.cov(new.T) / factor
        assert (
            np.abs(found - covariance) < (5 * np.sqrt(2 / len(new)) + slack) * np.outer(deviations, deviations)
        ).all()


def test_rows_are_the_sum_that_the_page_prints(tmp_path):
    folder = model(tmp_path / "c")
    old = load(folder)[EMBEDDING].astype(np.float64)
    edit(folder, [Resize(EMBEDDING, "+7", covariance=0.3)], seed=5, durable=False)
    g = np.empty((7, 300), np.float32)
    fastinit.fill(g, Normal(), seed=5, name=f"{EMBEDDING} (new rows)")
    expected = old.mean(axis=0) + np.sqrt(0.3 / 300) * g.astype(np.float64) @ (old - old.mean(axis=0))
    np.testing.assert_allclose(load(folder)[EMBEDDING][300:], expected, rtol=2e-6, atol=2e-6)  # float32 sums


def test_the_default_is_close_to_the_mean_as_in_transformers(tmp_path):
    folder = model(tmp_path / "c")
    old = load(folder)[EMBEDDING].astype(np.float64)
    edit(folder, [Resize(EMBEDDING, 1300)], seed=5, durable=False)
    distance = (load(folder)[EMBEDDING][300:] - old.mean(axis=0)) / old.std(axis=0)
    assert 2.5e-5 < distance.std() < 4e-5  # sqrt(1e-9) is 3.2e-5
    edit(folder, [Resize("lm_head.weight", "+5", covariance=0.0, only=True)], seed=5, durable=False)
    head = load(folder)["lm_head.weight"]
    assert (head[-5:] == head[-1]).all()


def test_fewer_old_rows_than_columns_are_no_obstacle(tmp_path):
    data = np.random.default_rng(1).normal(size=(5, 40)).astype(np.float32)
    safetensors.numpy.save_file({"wte.weight": data}, tmp_path / "model.safetensors")
    edit(tmp_path, [Resize("wte.weight", "+400", covariance=1.0)], seed=5, durable=False)
    new = load(tmp_path)["wte.weight"][5:].astype(np.float64)
    centred = new - data.mean(axis=0)
    basis = np.linalg.svd(data - data.mean(axis=0))[2][:4]
    assert np.abs(centred - centred @ basis.T @ basis).max() < 1e-5  # in the plane of the old ones
    assert np.abs(centred).std() > 0.1


def test_blocks_of_rows_and_threads_change_nothing_but_the_last_bits(tmp_path, monkeypatch):
    folder = model(tmp_path / "c", dtype=np.float64)
    results = []
    for i, (block, rows, threads) in enumerate([(1 << 24, 1024, 2), (4000, 256, 1), (8192, 500, 3)]):
        monkeypatch.setattr(rows_module, "BLOCK", block)
        monkeypatch.setattr(reading, "ROWS", rows)
        output = tmp_path / f"o{i}"
        edit(folder, [Resize(EMBEDDING, 900, covariance=1.0)], output=output, seed=1, threads=threads, durable=False)
        results.append(load(output)[EMBEDDING])
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], rtol=1e-12)


def test_memory_does_not_grow_with_the_rows(tmp_path):
    peaks = []
    with engines.use("numpy"):  # Numba's own import would be counted
        for count in (40_000, 120_000):
            data = np.tile(np.arange(256, dtype=np.float32), (count, 1))
            safetensors.numpy.save_file({"wte.weight": data}, tmp_path / "model.safetensors")
            del data
            tracemalloc.start()
            edit(tmp_path, [Resize("wte.weight", "+20", covariance=1.0)], seed=1, threads=1, durable=False)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] < 1e8


def test_a_law_of_the_new_rows_is_drawn_at_their_place_in_the_grown_tensor(tmp_path):
    folder = model(tmp_path / "c", config={"vocab_size": 300})
    before = load(folder)
    edit(folder, [Resize(EMBEDDING, 310, HALF)], seed=9, durable=False)
    for name in (EMBEDDING, "lm_head.weight"):
        whole = np.empty((310, 8), np.float32)
        fastinit.fill(whole, Normal(0.0, 0.5), seed=9, name=name)
        whole[:300] = before[name]
        assert load(folder)[name].tobytes() == whole.tobytes()
    found = {one.name: one for one in verify(folder).tensors}
    assert (found[EMBEDDING].status, found[EMBEDDING].compared) == ("edited", 80)
    assert "rows 300 to 310" in found[EMBEDDING].how


def test_a_vocabulary_of_ours_that_grows_by_its_law_and_seed_is_as_if_drawn_at_once(tmp_path):
    def plan(rows: int) -> Plan:
        return Plan([Tensor("wte.weight", (rows, 8), "bfloat16", Normal(0.0, 0.5))])

    write(plan(300), tmp_path / "c", seed=9, durable=False)
    edit(tmp_path / "c", [Resize("wte.weight", 320, HALF)], seed=9, durable=False)
    write(plan(320), tmp_path / "d", seed=9, durable=False)
    assert load(tmp_path / "c")["wte.weight"].tobytes() == load(tmp_path / "d")["wte.weight"].tobytes()
    report = verify(tmp_path / "c")
    assert report.ok
    assert report.compared == 320 * 8
    data = bytearray((tmp_path / "c" / "model.safetensors").read_bytes())
    data[-3] ^= 1
    (tmp_path / "c" / "model.safetensors").write_bytes(data)
    assert verify(tmp_path / "c").tensors[0].index == (319, 6)


def test_what_stays_of_a_tensor_of_ours_is_still_checked(tmp_path):
    write(Plan([Tensor("wte.weight", (300, 8), "float32", Uniform())]), tmp_path / "c", seed=0, durable=False)
    edit(tmp_path / "c", [Resize("wte.weight", 400)], seed=1, durable=False)
    (found,) = verify(tmp_path / "c").tensors
    assert (found.status, found.compared, found.elements) == ("edited", 2400, 3200)
    edit(tmp_path / "c", [Resize("wte.weight", 200)], seed=1, durable=False)
    (found,) = verify(tmp_path / "c").tensors
    assert (found.status, found.compared) == ("as initialised", 1600)
    data = bytearray((tmp_path / "c" / "model.safetensors").read_bytes())
    data[-4] ^= 1
    (tmp_path / "c" / "model.safetensors").write_bytes(data)
    (found,) = verify(tmp_path / "c").tensors
    assert (found.status, found.index) == ("differs", (199, 7))


def test_fewer_rows_are_the_first_ones(tmp_path):
    folder = model(tmp_path / "c", config={"vocab_size": 300})
    before = load(folder)
    edit(folder, [Resize(EMBEDDING, 100)], durable=False)
    for name in (EMBEDDING, "lm_head.weight"):
        assert load(folder)[name].tobytes() == before[name][:100].tobytes()
    assert config(folder) == {"vocab_size": 100}


@pytest.mark.parametrize(
    ("rows", "multiple", "expected"),
    [(310, 1, 310), ("+10", 1, 310), ("+10", 64, 320), ("320", 64, 320), (321, 64, 384)],
)
def test_rows_are_a_number_or_so_many_more_and_rounded_up(tmp_path, rows, multiple, expected):
    folder = model(tmp_path / "c", config={"vocab_size": 300})
    edit(folder, [Resize(EMBEDDING, rows, multiple=multiple)], seed=0, durable=False)
    assert load(folder)[EMBEDDING].shape == (expected, 8)
    assert config(folder) == {"vocab_size": expected}


def test_the_head_its_bias_and_the_size_go_along(tmp_path):
    bias = np.linspace(0.0, 1.0, 300, dtype=np.float32)
    folder = model(tmp_path / "c", config={"text_config": {"vocab_size": 300}}, **{"lm_head.bias": bias})
    edit(folder, [Resize("lm_head.weight", 310)], seed=0, durable=False)
    after = load(folder)
    assert {name: one.shape[0] for name, one in after.items()} == {
        EMBEDDING: 310,
        "lm_head.weight": 310,
        "lm_head.bias": 310,
        "model.layers.0.w": 8,
    }
    np.testing.assert_allclose(after["lm_head.bias"][300:], bias.mean(), atol=1e-3)
    assert config(folder) == {"text_config": {"vocab_size": 310}}


def test_two_tensors_that_are_one_in_the_model_get_the_same_rows(tmp_path):
    folder = model(tmp_path / "c", config={"vocab_size": 300, "tie_word_embeddings": True})
    data = load(folder)
    data["lm_head.weight"] = data[EMBEDDING].copy()
    safetensors.numpy.save_file(data, folder / "model.safetensors")
    edit(folder, [Resize(EMBEDDING, 310, HALF)], seed=0, durable=False)
    after = load(folder)
    assert after["lm_head.weight"].tobytes() == after[EMBEDDING].tobytes()


def test_only_leaves_the_head_and_the_config(tmp_path):
    folder = model(tmp_path / "c", config={"vocab_size": 300})
    edit(folder, [Resize(EMBEDDING, 310, only=True)], seed=0, durable=False)
    assert load(folder)["lm_head.weight"].shape == (300, 8)
    assert config(folder) == {"vocab_size": 300}


def test_of_one_file_the_config_stays_and_the_report_says_so(tmp_path):
    folder = model(tmp_path / "c", config={"vocab_size": 300})
    report = edit(folder / "model.safetensors", [Resize(EMBEDDING, 310)], seed=0, durable=False)
    assert config(folder) == {"vocab_size": 300}
    assert report.changes.notes == (
        "config.json beside the file stays as it is; name the folder to have vocab_size set",
    )


def test_a_tensor_that_may_belong_to_the_vocabulary_is_named_and_nothing_is_done(tmp_path):
    for i, shape in enumerate([(300, 3), (1, 300)]):
        folder = model(tmp_path / str(i), config={"vocab_size": 300}, final_logits=np.zeros(shape, np.float32))
        with pytest.raises(ValueError, match=r"'final_logits' \[.*may belong to it; resize each tensor alone"):
            edit(folder, [Resize(EMBEDDING, 310)], seed=0)
        edit(folder, [Resize(EMBEDDING, 310, only=True)], seed=0, durable=False)
    folder = model(tmp_path / "chance", config={"vocab_size": 4}, other=np.zeros((300, 3), np.float32))
    report = edit(folder, [Resize(EMBEDDING, 310)], seed=0, durable=False)
    assert load(folder)["other"].shape == (300, 3)
    assert report.changes.notes == ("config.json stays as it is: vocab_size is 4, and the tensor had 300 rows",)


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda: Resize("w", 0), "rows is 0"),
        (lambda: Resize("w", "-3"), "rows is '-3'"),
        (lambda: Resize("w", True), "rows is True"),
        (lambda: Resize("w", 3, multiple=0), "multiple is 0"),
        (lambda: Resize("w", 3, covariance=-1.0), "covariance is -1"),
        (lambda: Resize("w", 3, covariance=float("nan")), "covariance is nan"),
    ],
)
def test_a_resize_that_makes_no_sense_is_refused_when_it_is_made(operation, message):
    with pytest.raises(ValueError, match=message):
        operation()


def test_what_cannot_be_resized_is_refused_and_nothing_changes(tmp_path):
    nan = np.full((300, 2), np.nan, np.float32)
    scalar, integers, empty = np.float32(1), np.zeros((300, 2), np.int64), np.zeros((0, 2), np.float32)
    extra = {"nan": nan, "scalar": np.array(scalar), "integers": integers, "empty": empty}
    folder = model(tmp_path / "c", **extra)
    before = (folder / "model.safetensors").read_bytes()
    for operation, message in (
        (Resize("missing", 3), "there is no tensor 'missing'"),
        (Resize("scalar", 3), "it is a scalar"),
        (Resize("integers", 400), "'integers' holds int64; rows can be added to floats"),
        (Resize("nan", 400), "'nan' holds NaN or infinities"),
        (Resize("empty", 4), "has no rows to take mean and covariance of"),
        (
            Resize(EMBEDDING, 400, Laws(by_name={EMBEDDING: Orthogonal(), "lm_head.weight": Orthogonal()})),
            "drawn whole",
        ),
        (Resize(EMBEDDING, 400, Laws(rules=(Rule(".*", "zeros", dtype="float16"),))), "cast it in an operation"),
    ):
        with pytest.raises(ValueError, match=message):
            edit(folder, [operation], seed=0)
    assert (folder / "model.safetensors").read_bytes() == before
    assert sorted(one.name for one in folder.iterdir()) == ["model.safetensors"]


def test_a_resize_goes_together_with_other_operations(tmp_path):
    folder = model(tmp_path / "c", config={"vocab_size": 300})
    before = load(folder)
    operations = Edit(
        Redraw(EMBEDDING, HALF),
        Resize(EMBEDDING, 310, HALF),
        Cast("bfloat16", EMBEDDING),
        Copy(EMBEDDING, "copy", noise=0.125),
        Resize(EMBEDDING, 305, only=True),
    )
    assert Edit.from_json(json.loads(json.dumps(operations.to_json()))) == operations
    operations.apply(folder, seed=3, durable=False)
    drawn = np.empty((310, 8), np.float32)
    fastinit.fill(drawn, Normal(0.0, 0.5), seed=3, name=EMBEDDING)
    after = load(folder)
    assert after[EMBEDDING].tobytes() == drawn.astype(ml_dtypes.bfloat16)[:305].tobytes()
    noise = np.empty((310, 8), np.float32)
    fastinit.fill(noise, Normal(0.0, 0.125), seed=3, name="copy")
    expected = (drawn.astype(ml_dtypes.bfloat16).astype(np.float32) + noise).astype(ml_dtypes.bfloat16)
    assert after["copy"].tobytes() == expected.tobytes()
    assert after["lm_head.weight"][:300].tobytes() == before["lm_head.weight"].tobytes()
    assert config(folder) == {"vocab_size": 310}
    assert {one.name: one.status for one in verify(folder).tensors}[EMBEDDING] == "as initialised"


def test_rows_of_parts_fill_the_grown_tensor(tmp_path):
    folder = model(tmp_path / "c")
    law = Blocks(((300, Normal()), (10, Uniform(2.0, 3.0))))
    laws = Laws(by_name={EMBEDDING: law, "lm_head.weight": law})
    edit(folder, [Resize(EMBEDDING, 310, laws)], seed=3, durable=False)
    added = load(folder)[EMBEDDING][300:]
    assert ((added >= 2.0) & (added < 3.0)).all()
