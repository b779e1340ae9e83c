"""Recipes against the models they are for: every tensor has the law that the model's own code draws, and files load.

Exactly: the calls that `_init_weights` makes are recorded, on the meta device, at the real sizes too. By sample: small
models are built on the CPU and measured. llama_depth is torchtitan's, which is no package: its laws are those its code
spells.
"""

from __future__ import annotations

import dataclasses
import importlib
import math

import numpy as np
import pytest

import fastinit
from fastinit.laws import Constant, Normal, Padded, TruncatedNormal, Uniform
from fastinit.plan import Plan
from fastinit.recipes import rules_for, tied_for
from fastinit.write import write

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
import fastinit.torch  # noqa: E402

BASE = {"num_hidden_layers": 3, "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4}
SMALL = {"vocab_size": 199, **BASE}
GPT2 = {
    "vocab_size": 199,
    "n_positions": 32,
    "n_embd": 64,
    "n_layer": 3,
    "n_head": 4,
    "bos_token_id": 1,
    "eos_token_id": 1,
}
T5 = {
    "vocab_size": 199,
    "d_model": 64,
    "d_kv": 24,
    "d_ff": 96,
    "num_layers": 2,
    "num_heads": 4,
    "decoder_start_token_id": 0,
}
GATED = {**T5, "feed_forward_proj": "gated-gelu"}
VIT = {**BASE, "image_size": 32, "patch_size": 8}
GROUPED = {**SMALL, "num_key_value_heads": 2}

# (recipe, model, configuration, numbers of the configuration)
SMALL_MODELS = [
    ("gpt2", "GPT2LMHeadModel", GPT2),
    ("gpt2", "GPT2Model", GPT2),
    ("gpt2", "GPT2LMHeadModel", {**GPT2, "add_cross_attention": True}),
    ("gpt2", "GPT2DoubleHeadsModel", GPT2),
    ("gpt2", "GPT2ForSequenceClassification", GPT2),
    ("gpt2", "GPT2ForTokenClassification", GPT2),
    ("gpt2", "GPT2ForQuestionAnswering", GPT2),
    ("llama", "LlamaForCausalLM", SMALL),
    ("llama", "LlamaModel", SMALL),
    ("llama", "LlamaForCausalLM", {**SMALL, "attention_bias": True, "mlp_bias": True}),
    ("llama", "LlamaForSequenceClassification", SMALL),
    ("llama", "LlamaForTokenClassification", SMALL),
    ("llama", "LlamaForQuestionAnswering", SMALL),
    ("llama", "MistralForCausalLM", GROUPED),
    ("llama", "Qwen2ForCausalLM", GROUPED),
    ("llama", "Qwen3ForCausalLM", GROUPED),
    ("llama", "Olmo2ForCausalLM", {**SMALL, "pad_token_id": None, "eos_token_id": 1}),
    ("llama", "Phi3ForCausalLM", {**GROUPED, "pad_token_id": None, "bos_token_id": 1, "eos_token_id": 1}),
    ("bert", "BertForPreTraining", SMALL),
    ("bert", "BertModel", SMALL),
    ("bert", "BertModel", {**SMALL, "is_decoder": True, "add_cross_attention": True}),
    ("bert", "BertForMaskedLM", SMALL),
    ("bert", "BertForSequenceClassification", SMALL),
    ("bert", "BertForQuestionAnswering", SMALL),
    ("t5", "T5ForConditionalGeneration", T5),
    ("t5", "T5ForConditionalGeneration", GATED),
    ("t5", "T5Model", T5),
    ("t5", "T5EncoderModel", T5),
    ("t5", "T5ForQuestionAnswering", T5),
    ("t5", "T5ForSequenceClassification", T5),
    ("t5", "T5ForTokenClassification", T5),
    ("vit", "ViTForImageClassification", VIT),
    ("vit", "ViTModel", VIT),
    ("vit", "ViTForMaskedImageModeling", {**VIT, "encoder_stride": 8}),
    ("resnet", "ResNetForImageClassification", {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 2]}),
]
REAL_MODELS = [
    ("gpt2", "GPT2LMHeadModel", {}),
    ("llama", "LlamaForCausalLM", {}),
    ("bert", "BertForPreTraining", {}),
    ("t5", "T5ForConditionalGeneration", {}),
    ("vit", "ViTForImageClassification", {}),
    ("resnet", "ResNetForImageClassification", {}),
]
CONFIGURED = {"gpt2": "std", "llama": "std", "bert": "std", "vit": "std", "t5": "factor"}


def configuration(model, values):
    return getattr(transformers, model).config_class(**values)


def built(model, config, device="meta"):
    with torch.device(device):
        return getattr(transformers, model)(config)


def shapes_of(model):
    return {
        name: {"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
        for name, tensor in model.state_dict().items()
    }


def planned(recipe, model, **numbers):
    shapes = shapes_of(model)
    return Plan.from_rules(shapes, rules_for(recipe, shapes, **numbers), tied=tied_for(recipe, shapes))


def recorded(model, monkeypatch):
    """Name -> the law that the model's own _init_weights draws last, of its parameters and buffers."""
    init = importlib.import_module("transformers.initialization")
    drawn = {}

    def note(function, law):
        monkeypatch.setattr(
            init, function, lambda tensor, *args, **named: drawn.update({id(tensor): law(tensor, *args, **named)})
        )

    def fans(tensor):
        return torch.nn.init._calculate_fan_in_and_fan_out(tensor)

    def kaiming_normal(tensor, mode, nonlinearity):
        assert (mode, nonlinearity) == ("fan_out", "relu")
        return Normal(0.0, math.sqrt(2.0 / fans(tensor)[1]))

    def kaiming_uniform(tensor, a):
        bound = math.sqrt(6.0 / ((1.0 + a * a) * fans(tensor)[0]))
        return Uniform(-bound, bound)

    note("normal_", lambda tensor, mean=0.0, std=1.0: Normal(mean, std))
    note("trunc_normal_", lambda tensor, mean=0.0, std=1.0, a=-2.0, b=2.0: TruncatedNormal(mean, std, a, b))
    note("uniform_", lambda tensor, a=0.0, b=1.0: Uniform(a, b))
    note("kaiming_normal_", kaiming_normal)
    note("kaiming_uniform_", kaiming_uniform)
    note("constant_", lambda tensor, val: Constant(val))
    note("zeros_", lambda tensor: Constant(0))
    note("ones_", lambda tensor: Constant(1))
    note("copy_", lambda tensor, other: None)  # buffers that no state dict holds
    model.apply(model._init_weights)
    for module in model.modules():
        if isinstance(module, torch.nn.Embedding) and module.padding_idx is not None:
            drawn[id(module.weight)] = Padded(drawn[id(module.weight)], module.padding_idx)
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {name: drawn[id(tensor)] for name, tensor in named if drawn.get(id(tensor)) is not None}


def assert_same_law(ours, theirs, name):
    assert type(ours) is type(theirs), f"{name}: {ours}, {theirs}"
    if isinstance(ours, Padded):
        assert ours.row == theirs.row, f"{name}: {ours}, {theirs}"
        ours, theirs = ours.values, theirs.values
    assert dataclasses.astuple(ours) == pytest.approx(dataclasses.astuple(theirs), rel=1e-12), (
        f"{name}: {ours}, {theirs}"
    )


@pytest.mark.parametrize(("recipe", "name", "values"), SMALL_MODELS + REAL_MODELS, ids=str)
def test_every_tensor_has_the_law_that_the_model_draws(recipe, name, values, monkeypatch):
    model = built(name, configuration(name, values))
    plan = planned(recipe, model)
    theirs = recorded(model, monkeypatch)
    laws = {tensor.name: tensor.law for tensor in plan.tensors}
    assert set(laws) | set(plan.tied) == set(model.state_dict())
    for tensor, law in laws.items():
        assert_same_law(law, theirs[tensor], tensor)


@pytest.mark.parametrize(("recipe", "name", "values"), SMALL_MODELS, ids=str)
def test_every_law_is_that_which_record_finds_in_the_code(recipe, name, values):
    config = configuration(name, values)
    recorded_plan = fastinit.torch.plan(lambda: getattr(transformers, name)(config))
    found = {tensor.name: tensor.law for tensor in recorded_plan.tensors}
    found |= {alias: found[first] for alias, first in recorded_plan.tied.items()}
    shapes = shapes_of(built(name, config))
    plan = Plan.from_rules(shapes, recipe)
    assert plan == planned(recipe, built(name, config))
    for tensor in plan.tensors:
        assert_same_law(tensor.law, found[tensor.name], tensor.name)


@pytest.mark.parametrize("place", ["plan", "materialize_", "initialize_"])
def test_the_name_of_a_recipe_is_taken_where_rules_are(place):
    config = configuration("LlamaForCausalLM", {**SMALL, "initializer_range": 0.5})
    model = built("LlamaForCausalLM", config, "meta" if place != "initialize_" else "cpu")
    if place == "plan":
        laws = {tensor.name: tensor.law for tensor in fastinit.torch.plan(model, "llama").tensors}
        assert laws["model.layers.0.mlp.up_proj.weight"] == Normal(0.0, 0.02)
        return
    if place == "materialize_":
        fastinit.torch.materialize_(
            model, 0, "llama", buffers=dict(built("LlamaForCausalLM", config, "cpu").named_buffers())
        )
    else:
        fastinit.torch.initialize_(model, 0, "llama")
    name = "model.layers.0.mlp.up_proj.weight"
    weight = model.get_parameter(name)
    expected = fastinit.new(tuple(weight.shape), Normal(0.0, 0.02), seed=0, name=name)
    assert np.array_equal(weight.detach().numpy(), expected)
    with pytest.raises(ValueError, match=r"recipe .lama. is unknown; there are "):
        fastinit.torch.plan(model, "lama")


@pytest.mark.parametrize(("recipe", "name", "values"), [one for one in SMALL_MODELS if one[0] in CONFIGURED], ids=str)
def test_a_number_given_is_that_of_the_configuration(recipe, name, values, monkeypatch):
    key = "initializer_factor" if recipe == "t5" else "initializer_range"
    model = built(name, configuration(name, {**values, key: 0.3}))
    theirs = recorded(model, monkeypatch)
    for tensor in planned(recipe, model, **{CONFIGURED[recipe]: 0.3}).tensors:
        assert_same_law(tensor.law, theirs[tensor.name], tensor.name)


@pytest.mark.parametrize(("recipe", "name", "values"), SMALL_MODELS, ids=str)
def test_what_we_call_tied_shares_memory_in_the_model_and_nothing_else_does(recipe, name, values):
    model = built(name, configuration(name, values), "cpu")
    state = model.state_dict()
    tied = tied_for(recipe, shapes_of(model))
    first = {}
    shared = {name for name, tensor in state.items() if first.setdefault(tensor.data_ptr(), name) != name}
    assert shared | {first[state[name].data_ptr()] for name in shared} == {*tied, *tied.values()}
    assert all(state[alias].data_ptr() == state[name].data_ptr() for alias, name in tied.items())


def test_embeddings_that_the_configuration_ties_are_tied_when_asked():
    config = configuration("LlamaForCausalLM", {**SMALL, "tie_word_embeddings": True})
    shapes = shapes_of(built("LlamaForCausalLM", config))
    assert tied_for("llama", shapes, tie=True) == {"lm_head.weight": "model.embed_tokens.weight"}
    assert tied_for("llama", shapes) == {}
    assert tied_for("gpt2", {"lm_head.weight": {"shape": [4, 2]}, "wte.weight": {"shape": [4, 2]}}, tie=False) == {}


# --- by sample --------------------------------------------------------------------------------------------------------


def assert_drawn_from(law, shape, values, name):
    """Mean and std within 5.5 standard errors, support and constants exactly."""
    law = law.marginal(shape)
    low, high = law.support
    assert low - 1e-7 <= values.min() and values.max() <= high + 1e-7, name
    assert abs(values.mean() - law.mean) <= 5.5 * law.std / math.sqrt(values.size), name
    if values.size > 30:
        assert abs(values.std() - law.std) <= 5.5 * law.std / math.sqrt(2 * values.size), name


def models_that_are_built(recipe):
    """Three of them, with their own random weights."""
    if recipe == "resnet":
        torchvision = pytest.importorskip("torchvision")
        block = torchvision.models.resnet.Bottleneck
        return [torchvision.models.ResNet(block, [1, 2, 1, 1], num_classes=40) for _ in range(3)]
    name, values = next((name, values) for one, name, values in SMALL_MODELS if one == recipe)
    return [built(name, configuration(name, values), "cpu") for _ in range(3)]


@pytest.mark.parametrize("recipe", ["gpt2", "llama", "bert", "t5", "vit", "resnet"])
def test_models_that_are_built_look_as_the_recipe_says(recipe):
    torch.manual_seed(8)
    models = models_that_are_built(recipe)
    for tensor in planned(recipe, models[0]).tensors:
        drawn = [model.state_dict()[tensor.name].numpy().astype("f8") for model in models]
        if isinstance(tensor.law, Padded):
            assert all((one[tensor.law.row] == 0).all() for one in drawn)
        assert_drawn_from(tensor.law, tensor.shape, np.concatenate([one.ravel() for one in drawn]), tensor.name)


@pytest.mark.parametrize(
    ("name", "zero_last"), [("resnet18", 1), ("resnet50", 1), ("resnext50_32x4d", 1), ("resnet26d", 1)]
)
def test_timm_zeroes_the_last_norm_of_a_block(name, zero_last):
    timm = pytest.importorskip("timm")
    torch.manual_seed(8)
    model = timm.create_model(name, num_classes=40)
    for tensor in planned("resnet", model, zero_last=zero_last).tensors:
        values = model.state_dict()[tensor.name].numpy().astype("f8").ravel()
        assert_drawn_from(tensor.law, tensor.shape, values, tensor.name)


def test_torchvision_zeroes_the_last_norm_of_a_block_when_asked():
    torchvision = pytest.importorskip("torchvision")
    for name in ("resnet18", "resnet50"):
        model = getattr(torchvision.models, name)(zero_init_residual=True, num_classes=4)
        laws = {tensor.name: tensor.law for tensor in planned("resnet", model, zero_last=1).tensors}
        for tensor, values in model.state_dict().items():
            assert (laws[tensor] == Constant(0)) == (not values.any()), tensor


def test_llama_depth_draws_what_torchtitan_spells():
    model = built("LlamaForCausalLM", configuration("LlamaForCausalLM", SMALL))
    laws = {tensor.name: tensor.law for tensor in planned("llama_depth", model).tensors}
    assert set(laws) == set(model.state_dict())
    assert laws.pop("model.embed_tokens.weight") == Normal(0.0, 1.0)
    assert_same_law(laws.pop("lm_head.weight"), TruncatedNormal(0.0, 1 / 8, -3 / 8, 3 / 8), "lm_head")
    for name, law in laws.items():
        module = name.split(".")[-2]
        if "norm" in module:
            assert law == Constant(1)
        elif module in ("o_proj", "up_proj", "down_proj"):
            std = 0.02 / math.sqrt(2 * (int(name.split(".")[2]) + 1))
            assert_same_law(law, TruncatedNormal(0.0, std, -2.0, 2.0), name)
        else:
            assert_same_law(law, TruncatedNormal(0.0, 0.02, -2.0, 2.0), name)


@pytest.mark.parametrize("recipe", ["mlp_he", "mlp_xavier"])
def test_any_network_of_linear_layers_and_convolutions_has_laws(recipe):
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.LazyLinear(32),
        torch.nn.LayerNorm(32),
        torch.nn.Linear(32, 10),
    )
    network(torch.zeros(2, 3, 8, 8))
    laws = {tensor.name: tensor.law for tensor in planned(recipe, network).tensors}
    assert set(laws) == set(network.state_dict())
    theirs = {"mlp_he": torch.nn.init.kaiming_normal_, "mlp_xavier": torch.nn.init.xavier_uniform_}[recipe]
    torch.manual_seed(8)
    for name, tensor in network.state_dict().items():
        if tensor.dim() > 1:
            theirs(tensor, **({"nonlinearity": "relu"} if recipe == "mlp_he" else {}))
            assert_drawn_from(laws[name], tuple(tensor.shape), tensor.numpy().astype("f8"), name)
        else:
            module, last = name.split(".")
            is_one = last == "running_var" or (last == "weight" and module in ("1", "5"))
            assert laws[name] == Constant(1 if is_one else 0), name


# --- from end to end --------------------------------------------------------------------------------------------------


def written(recipe, name, config, folder, tie=None):
    """The model that transformers reads from the files, measured."""
    shapes = shapes_of(built(name, config))
    plan = Plan.from_rules(shapes, rules_for(recipe, shapes), tied=tied_for(recipe, shapes, tie=tie))
    write(plan, folder, seed=3)
    config.save_pretrained(folder)
    model, report = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    state = model.state_dict()
    for tensor in plan.tensors:
        assert_drawn_from(tensor.law, tensor.shape, state[tensor.name].numpy().astype("f8"), tensor.name)
    for alias, original in plan.tied.items():
        assert state[alias].data_ptr() == state[original].data_ptr()
    return model.eval()


def loss_of(model, vocabulary, shape):
    tokens = torch.randint(vocabulary, shape, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return model(input_ids=tokens, labels=tokens).loss.item()


@pytest.mark.parametrize(
    ("recipe", "name", "values"),
    [
        ("gpt2", "GPT2LMHeadModel", GPT2),
        ("llama", "LlamaForCausalLM", SMALL),
        ("bert", "BertForMaskedLM", SMALL),
    ],
)
def test_a_small_language_model_loads_and_starts_at_the_loss_of_guessing(recipe, name, values, tmp_path):
    model = written(recipe, name, configuration(name, values), tmp_path)
    loss = loss_of(model, 199, (4, 32))
    assert math.log(199) - 0.1 < loss < math.log(199) + 0.6


@pytest.mark.parametrize(
    ("recipe", "name", "values"),
    [("llama_depth", "LlamaForCausalLM", SMALL), ("t5", "T5ForConditionalGeneration", T5)],
)
def test_a_model_whose_logits_have_std_1_starts_half_a_nat_above_guessing(recipe, name, values, tmp_path):
    # Its output is normalised vectors times width^-1/2 (in T5 as a factor); ln E exp N(0, 1) is 1/2.
    model = written(recipe, name, configuration(name, values), tmp_path)
    assert abs(loss_of(model, 199, (8, 32)) - (math.log(199) + 0.5)) < 0.35


@pytest.mark.parametrize(
    ("recipe", "name", "values", "head", "embedding"),
    [
        ("t5", "T5ForConditionalGeneration", {**T5, "tie_word_embeddings": False}, "lm_head", "shared"),
        ("llama", "LlamaForCausalLM", {**SMALL, "tie_word_embeddings": True}, "lm_head", "model.embed_tokens"),
    ],
)
def test_a_model_that_ties_otherwise_than_its_architecture_loads(recipe, name, values, head, embedding, tmp_path):
    tie = values["tie_word_embeddings"]
    model = written(recipe, name, configuration(name, values), tmp_path, tie=tie)
    state = model.state_dict()
    assert torch.equal(state[f"{head}.weight"], state[f"{embedding}.weight"]) == tie


@pytest.mark.parametrize(
    ("recipe", "name", "values", "size"),
    [
        ("vit", "ViTForImageClassification", VIT, 32),
        (
            "resnet",
            "ResNetForImageClassification",
            {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 2]},
            64,
        ),
    ],
)
def test_a_small_vision_model_loads_and_sees(recipe, name, values, size, tmp_path):
    model = written(recipe, name, configuration(name, values), tmp_path)
    with torch.no_grad():
        logits = model(torch.randn(2, 3, size, size)).logits
    assert logits.isfinite().all()
    assert logits.std() > 0


@pytest.mark.slow
def test_gpt2_of_124_million_starts_at_the_loss_of_guessing(tmp_path):
    model = written("gpt2", "GPT2LMHeadModel", transformers.GPT2Config(), tmp_path)
    assert model.num_parameters() == 124_439_808
    loss = loss_of(model, 50257, (1, 128))
    assert math.log(50257) - 0.1 < loss < math.log(50257) + 0.6


@pytest.mark.slow
def test_vit_b_16_loads_and_sees(tmp_path):
    model = written("vit", "ViTForImageClassification", transformers.ViTConfig(num_labels=1000), tmp_path)
    assert model.num_parameters() == 86_567_656
    with torch.no_grad():
        logits = model(torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(5))).logits
    assert logits.shape == (1, 1000)
    assert 0.1 < logits.std() < 1.5  # normalised vectors of 768 times N(0, 0.02): 0.55
