"""Recipes without a framework: names with and without prefix, buffers, numbers that are read, what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastinit.laws import Constant, Normal, Padded, TruncatedNormal, Uniform
from fastinit.plan import Plan
from fastinit.recipes import RECIPES, rules_for, tied_for

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")


def gpt2(layers=range(12), prefix=""):
    names = {"wte.weight": [50257, 768], "wpe.weight": [1024, 768], "ln_f.weight": [768], "ln_f.bias": [768]}
    for layer in layers:
        for name, shape in (
            *(("ln_1.weight", [768]), ("ln_1.bias", [768]), ("ln_2.weight", [768]), ("ln_2.bias", [768])),
            *(("attn.c_attn.weight", [768, 2304]), ("attn.c_attn.bias", [2304])),
            *(("attn.c_proj.weight", [768, 768]), ("attn.c_proj.bias", [768])),
            *(("mlp.c_fc.weight", [768, 3072]), ("mlp.c_fc.bias", [3072])),
            *(("mlp.c_proj.weight", [3072, 768]), ("mlp.c_proj.bias", [768])),
        ):
            names[f"h.{layer}.{name}"] = shape
    return {f"{prefix}{name}": {"shape": shape, "dtype": "float32"} for name, shape in names.items()}


def shaped(**names):
    return {name: {"shape": list(shape)} for name, shape in names.items()}


def laws(recipe, shapes, **numbers):
    plan = Plan.from_rules(shapes, rules_for(recipe, shapes, **numbers), tied=tied_for(recipe, shapes))
    return {tensor.name: tensor.law for tensor in plan.tensors}


TITAN = {
    "tok_embeddings.weight": [1000, 64],
    **{f"layers.{layer}.attention.{name}.weight": [64, 64] for layer in range(2) for name in ("wq", "wk", "wv", "wo")},
    **{f"layers.{layer}.feed_forward.{name}.weight": [96, 64] for layer in range(2) for name in ("w1", "w3")},
    **{f"layers.{layer}.feed_forward.w2.weight": [64, 96] for layer in range(2)},
    **{f"layers.{layer}.{name}_norm.weight": [64] for layer in range(2) for name in ("attention", "ffn")},
    "norm.weight": [64],
    "output.weight": [1000, 64],
}
VIT_OF_TRANSFORMERS_4 = {
    "vit.embeddings.cls_token": [1, 1, 32],
    "vit.embeddings.position_embeddings": [1, 17, 32],
    "vit.embeddings.patch_embeddings.projection.weight": [32, 3, 8, 8],
    "vit.embeddings.patch_embeddings.projection.bias": [32],
    **{
        f"vit.encoder.layer.0.{module}.{last}": shape
        for module in (
            *(f"attention.attention.{name}" for name in ("query", "key", "value")),
            *("attention.output.dense", "intermediate.dense", "output.dense"),
        )
        for last, shape in (("weight", [32, 32]), ("bias", [32]))
    },
    "vit.encoder.layer.0.layernorm_before.weight": [32],
    "vit.encoder.layer.0.layernorm_after.bias": [32],
    "vit.layernorm.weight": [32],
    "classifier.weight": [10, 32],
}


# --- laws -------------------------------------------------------------------------------------------------------------


def test_gpt2_of_124_million_has_these_laws():
    found = laws("gpt2", gpt2())
    residual = 0.02 / 24**0.5
    for name, law in found.items():
        if name.endswith("c_proj.weight"):
            assert (law.mean, law.std) == (0.0, pytest.approx(residual, rel=1e-15)), name
        elif name.endswith("bias"):
            assert law == Constant(0), name
        elif ".ln_" in name or name.startswith("ln_"):
            assert law == Constant(1), name
        else:
            assert law == Normal(0.0, 0.02), name
    assert sum(one.elements for one in Plan.from_rules(gpt2(), rules_for("gpt2", gpt2())).tensors) == 124_439_808


def test_the_prefix_of_the_model_does_not_matter():
    bare, prefixed = laws("gpt2", gpt2()), laws("gpt2", gpt2(prefix="transformer."))
    assert prefixed == {f"transformer.{name}": law for name, law in bare.items()}


def test_the_head_of_gpt2_is_its_embedding_and_is_written_once():
    shapes = {**gpt2(prefix="transformer."), "lm_head.weight": {"shape": [50257, 768]}}
    assert tied_for("gpt2", shapes) == {"lm_head.weight": "transformer.wte.weight"}
    assert "lm_head.weight" not in laws("gpt2", shapes)
    untied = Plan.from_rules(shapes, rules_for("gpt2", shapes), tied=tied_for("gpt2", shapes, tie=False))
    assert untied.tensors[-1].name == "lm_head.weight"
    assert untied.tensors[-1].law == Normal(0.0, 0.02)


def test_t5_shares_its_embedding_even_where_the_output_is_its_own():
    names = ["shared", "encoder.embed_tokens", "decoder.embed_tokens", "lm_head"]
    shapes = {f"{name}.weight": {"shape": [100, 64]} for name in names}
    shared = {"encoder.embed_tokens.weight": "shared.weight", "decoder.embed_tokens.weight": "shared.weight"}
    assert tied_for("t5", shapes, tie=False) == shared
    assert tied_for("t5", shapes) == {**shared, "lm_head.weight": "shared.weight"}


def test_a_file_that_holds_the_embedding_only_has_nothing_tied():
    assert tied_for("gpt2", gpt2()) == {}


def test_a_mask_is_no_bias():
    shapes = {**gpt2(range(1)), "h.0.attn.bias": {"shape": [1, 1, 1024, 1024], "dtype": "uint8"}}
    shapes["h.0.attn.masked_bias"] = {"shape": [], "dtype": "float32"}
    assert set(laws("gpt2", shapes)) == set(gpt2(range(1)))


@pytest.mark.parametrize(
    ("recipe", "name", "shape"),
    [
        ("bert", "bert.embeddings.position_ids", (1, 512)),
        ("bert", "embeddings.token_type_ids", (1, 512)),
        ("llama", "model.layers.0.self_attn.rotary_emb.inv_freq", (64,)),
        ("llama", "model.rotary_emb.inv_freq", (64,)),
        ("llama_depth", "freqs_cis", (2048, 32)),
    ],
)
def test_tables_that_the_model_computes_are_left_out(recipe, name, shape):
    assert laws(recipe, shaped(**{name: shape}), **({"width": 64} if recipe == "llama_depth" else {})) == {}


def test_llama_depth_speaks_the_names_of_torchtitan():
    found = laws("llama_depth", shaped(**TITAN))
    assert set(found) == set(TITAN)
    assert found["tok_embeddings.weight"] == Normal(0.0, 1.0)
    assert found["output.weight"] == TruncatedNormal(0.0, 0.125, -0.375, 0.375)
    for layer in range(2):
        scaled = TruncatedNormal(0.0, 0.02 / (2 * (layer + 1)) ** 0.5, -2.0, 2.0)
        for name in ("attention.wo", "feed_forward.w2", "feed_forward.w3"):
            assert found[f"layers.{layer}.{name}.weight"] == scaled
        for name in ("attention.wq", "attention.wk", "attention.wv", "feed_forward.w1"):
            assert found[f"layers.{layer}.{name}.weight"] == TruncatedNormal(0.0, 0.02, -2.0, 2.0)


def test_vit_speaks_the_names_of_transformers_4():
    found = laws("vit", shaped(**VIT_OF_TRANSFORMERS_4))
    assert set(found) == set(VIT_OF_TRANSFORMERS_4)
    for name, law in found.items():
        if "token" in name or "position" in name:
            assert law == TruncatedNormal(0.0, 0.02, -2.0, 2.0), name
        elif name.endswith("bias"):
            assert law == Constant(0), name
        else:
            assert law == (Constant(1) if "norm" in name else Normal(0.0, 0.02)), name


def test_the_head_of_a_resnet_is_that_of_a_linear_layer():
    found = laws("resnet", shaped(**{"conv1.weight": (64, 3, 7, 7), "fc.weight": (10, 512), "fc.bias": (10,)}))
    assert found["conv1.weight"] == Normal(0.0, (2 / (64 * 49)) ** 0.5)
    bound = 512**-0.5
    for name in ("fc.weight", "fc.bias"):
        assert isinstance(found[name], Uniform)
        assert found[name].support == (pytest.approx(-bound, rel=1e-15), pytest.approx(bound, rel=1e-15))


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "last", "is_end"), [(0, 5, False), (3, 8, False), (6, 11, True)])
def test_a_stage_of_a_pipeline_needs_the_layers_of_the_whole_model(first, last, is_end):
    stage = {name: entry for name, entry in gpt2(range(first, last + 1)).items() if is_end or "ln_f" not in name}
    with pytest.raises(ValueError, match=f"the 6 blocks from {first} to {last} are a part of a model, .*; pass layers"):
        rules_for("gpt2", stage)
    whole, found = laws("gpt2", gpt2()), laws("gpt2", stage, layers=12)
    assert all(whole[name] == law for name, law in found.items())


def test_layers_that_the_names_contradict_are_refused():
    with pytest.raises(ValueError, match="layers is 6, but the names have a block 11"):
        rules_for("gpt2", gpt2(), layers=6)


def test_names_without_a_block_need_the_layers():
    with pytest.raises(ValueError, match="layers cannot be read: no name begins with"):
        rules_for("gpt2", shaped(**{"wte.weight": (10, 4)}))


def test_a_width_that_cannot_be_read_is_asked_for():
    stage = shaped(**{"layers.3.attention.wo.weight": (64, 64), "output.weight": (1000, 64)})
    with pytest.raises(ValueError, match=r"width cannot be read: no name matches .*; pass width"):
        rules_for("llama_depth", stage)
    assert laws("llama_depth", stage, width=64)["output.weight"] == TruncatedNormal(0.0, 0.125, -0.375, 0.375)


def test_embeddings_of_two_widths_are_not_guessed_between():
    two = shaped(**{"tok_embeddings.weight": (10, 4), "model.embed_tokens.weight": (10, 8)})
    with pytest.raises(ValueError, match=r"width cannot be read: .* end in \[4, 8\]; pass width"):
        rules_for("llama_depth", two)


def test_a_width_of_zero_is_refused():
    with pytest.raises(ValueError, match="width is 0; it must be positive"):
        rules_for("llama_depth", shaped(**{"tok_embeddings.weight": (10, 0)}))
    with pytest.raises(ValueError, match="width is 0; it must be positive"):
        rules_for("llama_depth", shaped(**TITAN), width=0)


def t5(heads=4):
    attention = "encoder.block.0.layer.0.SelfAttention"
    return shaped(
        **{
            "shared.weight": (100, 64),
            f"{attention}.q.weight": (96, 64),
            f"{attention}.o.weight": (64, 96),
            **({f"{attention}.relative_attention_bias.weight": (32, heads)} if heads else {}),
        }
    )


def test_t5_reads_the_width_of_a_head_from_its_relative_positions():
    found = laws("t5", t5())
    attention = "encoder.block.0.layer.0.SelfAttention"
    assert found[f"{attention}.q.weight"].std == pytest.approx((64 * 24) ** -0.5, rel=1e-15)
    assert found[f"{attention}.o.weight"].std == pytest.approx(96**-0.5, rel=1e-15)
    assert found[f"{attention}.relative_attention_bias.weight"].std == pytest.approx(0.125, rel=1e-15)


@pytest.mark.parametrize(
    ("heads", "numbers", "message"),
    [
        (None, {}, "heads cannot be read: no name matches .*; pass heads"),
        (5, {}, r"the width of a head cannot be read: heads is 5, .* have \[96\] rows"),
        (4, {"heads": 0}, "heads is 0; it must be positive"),
    ],
)
def test_t5_refuses_heads_that_do_not_fit(heads, numbers, message):
    with pytest.raises(ValueError, match=message):
        rules_for("t5", t5(heads), **numbers)


def test_the_padding_row_is_zero_where_there_is_one():
    words = "bert.embeddings.word_embeddings.weight"
    assert laws("bert", shaped(**{words: (10, 4)}))[words] == Padded(Normal(0.0, 0.02), 0)
    assert laws("bert", shaped(**{words: (10, 4)}), padding=3.0)[words] == Padded(Normal(0.0, 0.02), 3)
    embedding = shaped(**{"model.embed_tokens.weight": (10, 4)})
    assert laws("llama", embedding)["model.embed_tokens.weight"] == Normal(0.0, 0.02)
    assert laws("llama", embedding, padding=9)["model.embed_tokens.weight"] == Padded(Normal(0.0, 0.02), 9)
    with pytest.raises(ValueError, match="row 10 does not exist in a tensor of shape"):
        laws("llama", embedding, padding=10)
    with pytest.raises(ValueError, match=r"padding is 0\.5; it is the number of a row"):
        rules_for("llama", embedding, padding=0.5)


# --- what is refused --------------------------------------------------------------------------------------------------


def test_an_unknown_recipe_is_refused_with_those_there_are():
    for call in (rules_for, tied_for):
        with pytest.raises(ValueError, match="recipe 'gpt5' is unknown; there are gpt2, llama,"):
            call("gpt5", {})


def test_a_number_without_use_is_refused():
    with pytest.raises(ValueError, match="recipe vit has no use for layers; it takes std"):
        rules_for("vit", {}, layers=12)
    with pytest.raises(ValueError, match="recipe mlp_he has no use for std; it takes nothing"):
        rules_for("mlp_he", {}, std=1.0)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), "0.02"])
def test_a_number_that_is_none_is_refused(value):
    with pytest.raises(ValueError, match=r"recipe bert: std is .*; it must be a number, finite and not negative"):
        rules_for("bert", {}, std=value)


@pytest.mark.parametrize(
    ("recipe", "name", "shape"),
    [
        ("gpt2", "h.0.attn.rotary.weight", (4, 4)),
        ("llama", "model.layers.0.mlp.experts.gate_up_proj", (8, 64, 32)),
        ("llama", "model.layers.0.pre_feedforward_layernorm.weight", (64,)),  # Gemma, whose norms start at zero
        ("resnet", "layer1.0.se.fc1.bias", (4,)),
        ("mlp_he", "embedding.weight", (100, 8)),
        ("mlp_he", "act.weight", (1,)),  # PReLU's slope
        ("mlp_xavier", "rnn.weight_ih_l0", (32, 8)),
    ],
)
def test_a_tensor_of_another_architecture_is_an_error_of_the_plan(recipe, name, shape):
    numbers = {"layers": 1} if recipe == "gpt2" else {}
    with pytest.raises(ValueError, match=rf"no rule matches {re.escape(repr(name))}"):
        laws(recipe, shaped(**{name: shape}), **numbers)


def test_shapes_that_are_none_are_refused_by_name():
    for recipe in RECIPES:
        with pytest.raises(ValueError, match=r"shapes: 'fc.weight' is \[10, 4\]; it must look like"):
            rules_for(recipe, {"fc.weight": [10, 4]})


def test_blocks_without_a_last_norm_cannot_have_it_zeroed():
    with pytest.raises(ValueError, match="zero_last: no name is that of a block's last norm"):
        rules_for("resnet", shaped(**{"conv1.weight": (64, 3, 7, 7)}), zero_last=1)


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_has_every_recipe_with_its_numbers_and_source():
    for name, recipe in RECIPES.items():
        assert recipe.name == name
        row = re.search(rf"^\| `{name}` \| (.*?) \|.*$", PAGE, flags=re.MULTILINE)
        assert row, name
        assert re.findall(r"`(\w+)`", row[1]) == list(recipe.numbers), name
        for address in re.findall(r"https://[^\s,;]+", recipe.source):
            assert address in PAGE, address
