"""Checkpoints that transformers and huggingface_hub wrote are edited from the command line, and load.

Each task is one command; afterwards the model loads without a missing or an unexpected tensor, and one pass runs.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

import fastinit
from fastinit.cli import main
from fastinit.edit import Copy, Delete, Resize, edit
from fastinit.files.safetensors import read_header
from fastinit.laws import Normal
from fastinit.plan import Plan, shapes_of
from fastinit.recipes import rules_for
from fastinit.verify import verify
from fastinit.write import write

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
hub = pytest.importorskip("huggingface_hub")
safetensors_torch = pytest.importorskip("safetensors.torch")

LLAMA = {
    "vocab_size": 500,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": False,
}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA)).to(torch.bfloat16)


@pytest.fixture(params=["one file", "transformers", "huggingface_hub", "fastinit"])
def checkpoint(request: pytest.FixtureRequest, model, tmp_path: Path) -> Path:
    """The model on disk, by each of those who write such folders."""
    folder = tmp_path / "llama"
    model.config.save_pretrained(folder)
    match request.param:
        case "one file":
            safetensors_torch.save_file(model.state_dict(), folder / "model.safetensors", {"format": "pt"})
        case "transformers":
            model.save_pretrained(folder, max_shard_size="60KB")
        case "huggingface_hub":
            hub.save_torch_state_dict(model.state_dict(), folder, max_shard_size="60KB")
        case "fastinit":
            safetensors_torch.save_file(model.state_dict(), tmp_path / "shapes.safetensors")
            shapes = shapes_of(tmp_path / "shapes.safetensors")
            write(Plan.from_rules(shapes, rules_for("llama", shapes)), folder, seed=0, shard_size=60_000, durable=False)
    return folder


def run(*words: object) -> None:
    assert main(["edit", *map(str, words), "--seed", "1", "--quiet", "--no-fsync"]) == 0


def loaded(folder: Path):
    """The model, all of whose tensors come from the folder; and one pass through it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, report = transformers.AutoModelForCausalLM.from_pretrained(
            folder, output_loading_info=True, dtype=torch.bfloat16
        )
    assert not report["missing_keys"], report
    assert not report["unexpected_keys"], report
    assert not report["mismatched_keys"], report
    with torch.no_grad():
        logits = found(torch.arange(10)[None]).logits
    assert torch.isfinite(logits).all()
    return found, logits


def state(folder: Path) -> dict[str, torch.Tensor]:
    index = folder / "model.safetensors.index.json"
    places = json.loads(index.read_text())["weight_map"] if index.exists() else {"": "model.safetensors"}
    files = sorted(set(places.values()))
    found = {}
    for file in files:
        found |= safetensors_torch.load_file(folder / file)
    return found


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    alike = one.dtype == other.dtype and one.shape == other.shape
    return alike and torch.equal(one.view(torch.uint8), other.view(torch.uint8))


@pytest.fixture(params=["here", "elsewhere"])
def goes(request: pytest.FixtureRequest, tmp_path: Path):
    """Options of the command, and the folder of the result."""
    if request.param == "here":
        return [], tmp_path / "llama"
    return ["-o", tmp_path / "new"], tmp_path / "new"


def test_an_untied_head_is_drawn_again(checkpoint, goes):
    options, new = goes
    before, ours = state(checkpoint), "fastinit.seed" in _metadata(checkpoint)
    run(checkpoint, "--redraw", r"lm_head\..*", "--law", 'scheme = "normal", std = 0.02', *options)
    found, _ = loaded(new)
    drawn = np.empty((500, 32), np.uint16)
    fastinit.fill(drawn, Normal(0.0, 0.02), seed=1, name="lm_head.weight", dtype="bfloat16")
    assert found.lm_head.weight.view(torch.uint16).numpy().tobytes() == drawn.tobytes()
    after = state(new)
    assert set(after) == set(before)
    assert all(same(after[name], before[name]) for name in before if name != "lm_head.weight")
    statuses = {one.name: one.status for one in verify(new).tensors}
    assert statuses.pop("lm_head.weight") == "as initialised"
    assert set(statuses.values()) == ({"as initialised"} if ours else {"unknown law"})


def test_eight_layers_become_twelve(checkpoint, goes):
    options, new = goes
    before = state(checkpoint)
    run(
        checkpoint,
        *("--rename", r"model\.layers\.([67])\.(.*)", "model.layers.{1+4}.{2}"),
        *("--copy", r"model\.layers\.([2-5])\.(.*)", "model.layers.{1+4}.{2}"),
        *("--configure", "num_hidden_layers=12"),
        *options,
    )
    found, _ = loaded(new)
    assert len(found.model.layers) == 12
    after = state(new)
    for layer, source in enumerate([0, 1, 2, 3, 4, 5, 2, 3, 4, 5, 6, 7]):
        for name in before:
            if name.startswith(f"model.layers.{source}."):
                other = name.replace(f"layers.{source}.", f"layers.{layer}.")
                assert same(after[other], before[name]), other
    assert same(after["lm_head.weight"], before["lm_head.weight"])


def test_a_vocabulary_grows_by_a_thousand_and_to_a_multiple_of_64(checkpoint, goes):
    options, new = goes
    before = state(checkpoint)
    run(checkpoint, "--resize", "model.embed_tokens.weight", "+1000", "--multiple-of", 64, *options)
    found, logits = loaded(new)
    assert found.config.vocab_size == 1536
    assert logits.shape[-1] == 1536
    after = state(new)
    for name in before:
        if name in ("model.embed_tokens.weight", "lm_head.weight"):
            assert after[name].shape == (1536, 32)
            assert same(after[name][:500].contiguous(), before[name])
            mean = before[name].float().mean(dim=0)
            assert torch.allclose(after[name][500:].float(), mean.expand(1036, 32), atol=1e-3)
        else:
            assert same(after[name], before[name])


def test_a_dense_mlp_becomes_four_experts_with_noise(checkpoint, goes):
    options, new = goes
    before = state(checkpoint)
    moe = r"model.layers.{1}.block_sparse_moe.experts.{0..3}"
    run(
        checkpoint,
        *("--copy", r"model\.layers\.(\d+)\.mlp\.gate_proj\.weight", f"{moe}.w1.weight", "--noise", 0.001),
        *("--copy", r"model\.layers\.(\d+)\.mlp\.down_proj\.weight", f"{moe}.w2.weight", "--noise", 0.001),
        *("--copy", r"model\.layers\.(\d+)\.mlp\.up_proj\.weight", f"{moe}.w3.weight", "--noise", 0.001),
        *("--add", "model.layers.{0..7}.block_sparse_moe.gate.weight", "4,32"),
        *("--law", 'scheme = "normal", std = 0.02'),
        *("--delete", r"model\.layers\.\d+\.mlp\..*"),
        *("--configure", "model_type=mixtral", "--configure", 'architectures=["MixtralForCausalLM"]'),
        *("--configure", "num_local_experts=4", "--configure", "num_experts_per_tok=2"),
        *options,
    )
    found, _ = loaded(new)
    assert type(found).__name__ == "MixtralForCausalLM"
    after = state(new)
    source = before["model.layers.3.mlp.up_proj.weight"].float()
    experts = [after[f"model.layers.3.block_sparse_moe.experts.{i}.w3.weight"].float() for i in range(4)]
    for expert in experts:
        assert 0.0007 < (expert - source).std() < 0.0013
    assert not torch.equal(experts[0], experts[1])


def test_a_cast_loads_and_rounds_as_torch_does(checkpoint, goes):
    options, new = goes
    before = state(checkpoint)
    run(checkpoint, "--dtype", "float16", *options)
    after = state(new)
    assert all(same(after[name], before[name].to(torch.float16)) for name in before)
    loaded(new)


@pytest.mark.parametrize("source", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "float8_e5m2", "float8_e4m3fn"])
def test_casts_are_those_of_torch(tmp_path, source, dtype):
    data = (torch.randn(3000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3).to(source)
    safetensors_torch.save_file({"w": data}, tmp_path / "model.safetensors")
    run(tmp_path, "--dtype", dtype)
    found = safetensors_torch.load_file(tmp_path / "model.safetensors")["w"]
    assert same(found, data.to(getattr(torch, dtype)))


def test_new_rows_have_the_law_of_mean_resizing(tmp_path):
    """Both samples, of many rows, have the same mean and covariance, within five standard errors."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**LLAMA | {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2})
    model = transformers.LlamaForCausalLM(config).float()
    mixing = torch.randn(8, 8)
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(torch.randn(500, 8) @ mixing)
    model.save_pretrained(tmp_path / "c")
    old = model.model.embed_tokens.weight.detach().double()
    count = 20_000
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.resize_token_embeddings(500 + count, mean_resizing=True)
    theirs = model.model.embed_tokens.weight.detach().double()[500:]
    edit(tmp_path / "c", [Resize("model.embed_tokens.weight", f"+{count}")], seed=3, durable=False)
    ours = state(tmp_path / "c")["model.embed_tokens.weight"].double()[500:]
    covariance = 1e-9 * torch.cov(old.T, correction=0)
    deviations = covariance.diagonal().sqrt()
    for rows in (theirs, ours):
        # float32 rounds each number, of a size of 1, to 6e-8, beside deviations of 1e-4
        assert ((rows.mean(dim=0) - old.mean(dim=0)).abs() < 5 * deviations / count**0.5 + 1e-7).all()
        errors = (torch.cov(rows.T) - covariance).abs() / torch.outer(deviations, deviations)
        assert (errors < 5 * (2 / count) ** 0.5 + 1e-3).all()


def test_a_moved_head_and_a_deleted_layer_leave_a_whole_index(checkpoint, goes):
    options, new = goes
    before = state(checkpoint)
    operations = [Delete(r"model\.layers\.7\..*"), Copy("lm_head.weight", "score.weight")]
    edit(checkpoint, operations, output=new if options else None, seed=1, durable=False)
    after = state(new)
    assert set(after) == {*(name for name in before if ".7." not in name), "score.weight"}
    assert same(after["score.weight"], before["lm_head.weight"])
    index = new / "model.safetensors.index.json"
    if index.exists():
        size = sum(one.numel() * one.element_size() for one in after.values())
        assert json.loads(index.read_text())["metadata"]["total_size"] == size


def _metadata(folder: Path) -> dict[str, str]:
    return dict(read_header(next(folder.glob("*.safetensors"))).metadata)
