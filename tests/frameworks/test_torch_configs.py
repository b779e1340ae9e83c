"""From a config.json to a folder that from_pretrained reads: names, ties, dtypes, and each tensor's own law."""

from __future__ import annotations

import json
import sys

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import fastinit.torch  # noqa: E402
from fastinit.cli import main  # noqa: E402
from fastinit.laws import Normal  # noqa: E402
from fastinit.torch.configs import from_config, from_name  # noqa: E402

LAYERS = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
WORDS = {"vocab_size": 200}
GROUPED = LAYERS | WORDS | {"num_key_value_heads": 2, "head_dim": 16, "pad_token_id": 0}
BOTH = {f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in (("layers", 2), ("attention_heads", 4))}
IMAGE = LAYERS | {"image_size": 32, "patch_size": 8}
TEXT = LAYERS | WORDS | {"max_position_embeddings": 32}
STATES = {"hidden_size": 64, "num_heads": 8, "head_dim": 16, "state_size": 16, "num_hidden_layers": 2, "n_groups": 2}
LATENT = {"q_lora_rank": 24, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 16}
ROUTED = {"n_routed_experts": 4, "n_group": 2, "topk_group": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
KINDS = {
    "LlamaForCausalLM": ("LlamaConfig", GROUPED | {"tie_word_embeddings": True}),
    "MistralForCausalLM": ("MistralConfig", GROUPED),
    "Qwen2ForCausalLM": ("Qwen2Config", GROUPED),
    "Qwen3ForCausalLM": ("Qwen3Config", GROUPED),
    "GemmaForCausalLM": ("GemmaConfig", GROUPED),
    "PhiForCausalLM": ("PhiConfig", LAYERS | WORDS),
    "GPT2LMHeadModel": ("GPT2Config", {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64} | WORDS),
    "GPTJForCausalLM": ("GPTJConfig", {"n_embd": 64, "n_layer": 2, "n_head": 4, "rotary_dim": 8} | WORDS),
    "OPTForCausalLM": ("OPTConfig", LAYERS | WORDS | {"ffn_dim": 96, "word_embed_proj_dim": 64}),
    "FalconForCausalLM": ("FalconConfig", LAYERS | WORDS),
    "MixtralForCausalLM": ("MixtralConfig", GROUPED | {"num_local_experts": 4}),
    "DeepseekV3ForCausalLM": ("DeepseekV3Config", LAYERS | WORDS | LATENT | ROUTED | {"first_k_dense_replace": 1}),
    "Mamba2ForCausalLM": ("Mamba2Config", STATES | WORDS),
    "T5ForConditionalGeneration": (
        "T5Config",
        {"d_model": 64, "d_kv": 16, "d_ff": 96, "num_layers": 2, "num_heads": 4} | WORDS,
    ),
    "BertForMaskedLM": ("BertConfig", TEXT),
    "RobertaForMaskedLM": ("RobertaConfig", TEXT),
    "ViTForImageClassification": ("ViTConfig", IMAGE),
    "CLIPModel": ("CLIPConfig", {"text_config": TEXT, "vision_config": IMAGE, "projection_dim": 32}),
    "WhisperForConditionalGeneration": (
        "WhisperConfig",
        BOTH | WORDS | {"d_model": 64, "pad_token_id": 5, "max_source_positions": 40, "max_target_positions": 30},
    ),
    "SiglipModel": ("SiglipConfig", {"text_config": TEXT, "vision_config": IMAGE}),
}


def write(tmp_path, name, *options, **changes):
    kind, numbers = KINDS[name]
    config = getattr(transformers, kind)(**numbers | changes, architectures=[name])
    config.save_pretrained(tmp_path / "config")
    assert main(["write", "--config", str(tmp_path / "config"), "-o", str(tmp_path / "out"), *options, "--quiet"]) == 0
    return config, tmp_path / "out"


@pytest.mark.parametrize("name", KINDS)
def test_from_pretrained_reads_the_folder_and_finds_the_model_s_own_start(name, tmp_path):
    config, folder = write(tmp_path, name, "--seed", "3")
    kind = getattr(transformers, name)
    model, loading = kind.from_pretrained(folder, output_loading_info=True)
    assert not any(loading.values()), loading
    torch.manual_seed(1)
    own = kind._from_config(config)
    theirs = own.state_dict()
    for tensor, value in model.state_dict().items():
        one, two = value.double().ravel(), theirs[tensor].double().ravel()
        assert value.dtype == theirs[tensor].dtype, tensor
        if torch.equal(one, two):  # a table, or one number
            continue
        assert one.numel() > 1, tensor
        error = two.std() / two.numel() ** 0.5 * 2**0.5
        assert abs(one.mean() - two.mean()) < 5 * error, tensor
        assert abs(one.std() - two.std()) < 5 * error * max(1.0, (one**4).mean() / (one**2).mean() ** 2 / 3), tensor


def test_the_weights_are_those_of_materialize(tmp_path):
    config, folder = write(tmp_path, "MixtralForCausalLM", "--seed", "3", "--shard-size", "100kB")
    model = transformers.MixtralForCausalLM.from_pretrained(folder)
    made = fastinit.torch.materialize_(lambda: transformers.MixtralForCausalLM(config), 3)
    for (name, one), (_, two) in zip(model.named_parameters(), made.named_parameters(), strict=True):
        assert torch.equal(one, two), name


@pytest.mark.parametrize(("options", "dtype"), [((), torch.bfloat16), (("--dtype", "float16"), torch.float16)])
def test_the_dtype_is_the_config_s_or_the_one_that_is_said(options, dtype, tmp_path):
    _, folder = write(tmp_path, "LlamaForCausalLM", "--seed", "3", *options, dtype="bfloat16")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == dtype
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert json.loads((folder / "config.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")
    assert (folder / "generation_config.json").exists()


@pytest.mark.parametrize("name", ["LlamaForCausalLM", "GPT2LMHeadModel", "DeepseekV3ForCausalLM"])
def test_a_folder_that_save_pretrained_wrote_is_verified_with_the_config_and_the_seed(name, tmp_path, capsys):
    _, out = write(tmp_path, name, "--seed", "3")
    model = getattr(transformers, name).from_pretrained(out)
    model.save_pretrained(tmp_path / "saved")
    assert main(["verify", str(tmp_path / "saved")]) == 1  # transformers drops the metadata
    said = ["verify", str(tmp_path / "saved"), "--config", str(tmp_path / "config"), "--seed", "3"]
    assert main(said) == 0
    with torch.no_grad():
        model.get_input_embeddings().weight[7, 0] += 1
    model.save_pretrained(tmp_path / "saved")
    capsys.readouterr()
    assert main(said) == 1
    assert "1 of 12,800 elements differ (0.00781 %), first at [7, 0]" in capsys.readouterr().out


def test_a_model_that_was_converted_is_as_initialised_too(tmp_path, capsys):
    # A narrow draw is the wide one rounded.
    _, out = write(tmp_path, "LlamaForCausalLM", "--seed", "3")
    transformers.LlamaForCausalLM.from_pretrained(out).half().save_pretrained(tmp_path / "half")
    said = ["verify", str(tmp_path / "half"), "--config", str(tmp_path / "config"), "--seed", "3"]
    assert main(said) == 1
    assert "with dtype float16; the plan has dtype float32; a plan of the file's dtype" in capsys.readouterr().err
    assert main([*said, "--dtype", "fp16"]) == 0


def test_a_run_again_resumes_and_another_config_in_the_way_is_an_error(tmp_path, capsys):
    write(tmp_path, "LlamaForCausalLM", "--seed", "3")
    write(tmp_path, "LlamaForCausalLM", "--seed", "3")
    kind, numbers = KINDS["LlamaForCausalLM"]
    other = getattr(transformers, kind)(**numbers | {"rope_theta": 5.0}, architectures=["LlamaForCausalLM"])
    other.save_pretrained(tmp_path / "config")
    words = ["write", "--config", str(tmp_path / "config"), "-o", str(tmp_path / "out"), "--seed", "3"]
    assert main(words) == 1
    assert "config.json" in capsys.readouterr().err
    assert main([*words, "--overwrite", "--quiet"]) == 0


def test_plan_prints_the_laws_of_a_config_and_of_a_callable(tmp_path, capsys, monkeypatch):
    kind, numbers = KINDS["LlamaForCausalLM"]
    getattr(transformers, kind)(**numbers).save_pretrained(tmp_path)
    path = str(tmp_path / "config.json")
    assert main(["plan", "--config", path]) == 2
    assert "names no architecture" in (said := capsys.readouterr().err) and "LlamaForCausalLM" in said
    assert main(["plan", "--config", path, "--architecture", "LlamaForCausalLM"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "model.layers.1.mlp.up_proj.weight 96x64 float32 Normal(mean=0.0, std=0.02)" in said
    (tmp_path / "mine.py").write_text("import torch\n\ndef build():\n    return torch.nn.Linear(3, 4)\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert main(["plan", "--model", "mine:build"]) == 0
    assert "weight  4x3  float32  Uniform" in capsys.readouterr().out
    assert sys.path == before
    assert main(["write", "--model", "mine:build", "-o", str(tmp_path / "out"), "--seed", "0", "--quiet"]) == 0
    assert [one.name for one in from_name("torch.nn:Identity").tensors] == []


def test_what_is_no_config_or_callable_is_refused(tmp_path, capsys):
    def config(**content):
        (tmp_path / "config.json").write_text(json.dumps(content))
        return ["--config", str(tmp_path)]

    remote = {"auto_map": {"AutoConfig": "configuration_mine.Mine"}, "model_type": "mine"}
    for words, code, message in (
        (lambda: config(model_type="mine"), 2, "of model_type 'mine', which transformers"),
        (lambda: config(**remote), 2, "code that a config names is never run"),
        (lambda: config(hidden_size=3), 2, "has no model_type"),
        (lambda: config(model_type="llama", architectures=["os.system"]), 2, "is no model of transformers"),
        (lambda: config(model_type="llama", architectures=["BertModel"]), 2, "takes a BertConfig"),
        (lambda: config(model_type="llama", architectures=["A", "B"]), 2, "the config names A, B; choose one"),
        (lambda: ["--config", str(tmp_path / "no")], 1, "does not exist; name a config.json"),
        (lambda: ["--model", "mine"], 2, "name a callable as package.module:callable"),
        (lambda: ["--model", "torch.nn:Nothing"], 2, "torch.nn has no Nothing"),
        (lambda: ["--model", "torch.nn:Linear", "--rules", "r.toml"], 2, "pass one of them, without"),
        (lambda: ["--architecture", "LlamaModel", "--recipe", "gpt2"], 2, "--architecture belongs to a --config"),
    ):
        assert main(["plan", *words()]) == code, message
        assert message in capsys.readouterr().err
    (tmp_path / "config.json").write_text("{")
    assert main(["plan", "--config", str(tmp_path)]) == 2


def test_a_quantised_config_is_written_without_its_quantisation(tmp_path):
    kind, numbers = KINDS["LlamaForCausalLM"]
    content = getattr(transformers, kind)(**numbers, architectures=["LlamaForCausalLM"]).to_dict()
    content["quantization_config"] = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    (tmp_path / "config.json").write_text(json.dumps(content))
    found = from_config(tmp_path)
    assert b"quantization_config" not in found.files["config.json"]
    assert found.plan.tensors[1].law == Normal(0.0, 0.02)


def test_a_model_of_hundreds_of_billions_of_weights_is_planned_in_bounded_memory(tmp_path):
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    config = transformers.LlamaConfig(
        hidden_size=16384,
        intermediate_size=53248,
        num_hidden_layers=126,
        num_attention_heads=128,
        num_key_value_heads=8,
        vocab_size=128256,
        dtype="bfloat16",
        architectures=["LlamaForCausalLM"],
    )
    config.save_pretrained(tmp_path)
    found = from_config(tmp_path)
    assert found.plan.bytes > 800e9 and len(found.plan.tensors) == 1137
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB
