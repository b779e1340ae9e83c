"""Where laws come from: a model's own initialisers and constructors, layers of torch.nn, rules; frozen parameters."""

from __future__ import annotations

import gc
import logging
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import fastinit  # noqa: E402
from fastinit.laws import Constant, Copy, Normal, Padded, Uniform  # noqa: E402
from fastinit.plan import Plan, Rule  # noqa: E402
from fastinit.torch import initialize_, materialize_, plan  # noqa: E402
from fastinit.write import write  # noqa: E402


def laws_in(made):
    return {one.name: one.said for one in made.tensors}


# --- models of transformers -------------------------------------------------------------------------------------------

LAYERS = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
KINDS = {
    "LlamaConfig": LAYERS | {"vocab_size": 200, "tie_word_embeddings": True},
    "GPT2Config": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64, "vocab_size": 200},
    "BertConfig": LAYERS | {"vocab_size": 200},
    "MixtralConfig": LAYERS | {"vocab_size": 200, "num_key_value_heads": 2},
    "Mamba2Config": {
        "hidden_size": 64,
        "num_heads": 8,
        "head_dim": 16,
        "state_size": 16,
        "num_hidden_layers": 2,
        "vocab_size": 200,
        "n_groups": 2,
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_built_transformer_and_what_builds_it_have_one_plan_and_one_start(kind):
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, kind)(**KINDS[kind])

    def build():
        return transformers.AutoModelForCausalLM.from_config(config)

    model = build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    marks = {name: getattr(one, "_is_hf_initialized", None) for name, one in model.named_modules()}
    of_model, of_build = plan(model), plan(build)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert marks == {name: getattr(one, "_is_hf_initialized", None) for name, one in model.named_modules()}
    assert laws_in(of_model) == laws_in(of_build) and of_model.tied == of_build.tied
    assert of_build.origin["libraries"] == {"torch": torch.__version__, "transformers": transformers.__version__}
    made = materialize_(build, 4)
    initialize_(model, 4)
    for (name, own), (_, theirs) in zip(made.named_parameters(), model.named_parameters(), strict=True):
        assert torch.equal(own, theirs), name
        assert own.device.type == "cpu"
    for (name, own), (_, theirs) in zip(made.named_buffers(), model.named_buffers(), strict=True):
        assert torch.equal(own, theirs), name
    made(torch.zeros(1, 4, dtype=torch.long))


def test_bert_starts_as_bert_does():
    transformers = pytest.importorskip("transformers")
    model = transformers.BertModel(transformers.BertConfig(**KINDS["BertConfig"]))
    initialize_(model, 0)
    words = model.embeddings.word_embeddings.weight
    assert abs(words[1:].std() - 0.02) < 1e-3 and (words[0] == 0).all()
    assert all((one == 0).all() for name, one in model.named_parameters() if name.endswith("bias"))


def test_a_dtype_and_a_prefix_hold_for_builds_too(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(**KINDS["LlamaConfig"])

    def build():
        return transformers.AutoModel.from_config(config)

    made = materialize_(build, 1, dtype=torch.bfloat16, prefix="model.")
    assert {one.dtype for one in made.parameters()} == {torch.bfloat16}
    expected = np.empty((64, 64), np.float32)
    fastinit.fill_normal(expected, 0.0, 0.02, seed=1, name="model.layers.1.self_attn.q_proj.weight")
    assert torch.equal(made.layers[1].self_attn.q_proj.weight, torch.from_numpy(expected).bfloat16())


# --- models of one's own ----------------------------------------------------------------------------------------------


class Zeroed(nn.Module):
    """A gate whose constructor zeroes the layer inside it."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(60, 40)
        nn.init.zeros_(self.gate.weight)


def zero_module(module):
    for parameter in module.parameters():
        parameter.detach().zero_()
    return module


class ZeroedElsewhere(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = zero_module(nn.Linear(60, 40))


class Applied(nn.Module):
    """The pattern of minGPT."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(60, 40), nn.Linear(40, 60)
        self.apply(self._init_weights)

    def _init_weights(self, module):
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)


class Own(nn.Module):
    """A module with an initialiser of its own, and a table of its own."""

    def __init__(self, size=4):
        super().__init__()
        self.table = nn.Parameter(torch.empty(size, 6))
        self.inner = nn.Linear(6, 4)
        self.reset_parameters()

    def reset_parameters(self):
        nn.init.trunc_normal_(self.table, std=0.1)


class Parent(nn.Module):
    """A parent that has the last word about a part of what is inside."""

    def __init__(self):
        super().__init__()
        self.child, self.head = Own(), nn.Linear(6, 3)
        self.init_weights()

    def init_weights(self, std=0.5):
        nn.init.normal_(self.child.table, std=std)
        self.child.inner.weight.data.mul_(0.1)


class Asking(nn.Module):
    """Torchtitan's pattern: a layer whose initialiser needs an argument."""

    def __init__(self):
        super().__init__()
        self.w = nn.Linear(6, 4)

    def init_weights(self, init_std):
        nn.init.normal_(self.w.weight, std=init_std)


class Giving(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([Asking(), Asking()])
        self.norm = nn.LayerNorm(4)

    def init_weights(self, buffer_device=None):
        for i, layer in enumerate(self.layers):
            layer.init_weights(0.1 / (i + 1))
            nn.init.zeros_(layer.w.bias)


class Table(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(1e-4 * torch.ones(5))
        self.register_buffer("steps", torch.arange(7))


def test_children_first_and_the_parent_last():
    found = laws_in(plan(Parent()))
    assert found["child.table"] == Normal(0.0, 0.5)
    assert found["child.inner.weight"].high == pytest.approx(0.1 * 6**-0.5)
    assert found["child.inner.bias"].high == pytest.approx(6**-0.5)
    assert plan(Parent()).origin["laws"] == {"its own initialiser": 2, "torch.nn": 3}
    from_build = laws_in(plan(Parent))
    assert from_build["child.table"] == found["child.table"]
    assert from_build["child.inner.weight"].high == pytest.approx(found["child.inner.weight"].high)


def test_a_parent_may_give_what_an_initialiser_needs():
    found = laws_in(plan(Giving()))
    assert found["layers.1.w.weight"] == Normal(0.0, 0.05) and found["layers.1.w.bias"] == Constant(0.0)
    with pytest.raises(
        ValueError, match=r"'w.weight' .* of Linear \(Asking.init_weights needs init_std\).*plan\(lambda"
    ):
        plan(Asking())


@pytest.mark.parametrize("kind", [Zeroed, ZeroedElsewhere, Applied])
def test_what_a_constructor_wrote_is_not_guessed_but_recorded(kind):
    with pytest.raises(ValueError, match=rf"{kind.__name__}.__init__ initialises by itself \(.*no longer shows"):
        initialize_(kind(), 0)
    found = laws_in(plan(kind))
    assert found[next(iter(found))] == (Normal(0.0, 0.02) if kind is Applied else Constant(0.0))
    made = materialize_(kind, 3)
    torch.manual_seed(0)
    theirs = kind()
    for own, other in zip(made.parameters(), theirs.parameters(), strict=True):
        assert bool((own == 0).all()) == bool((other == 0).all())
        assert own.std().item() == pytest.approx(other.std().item(), rel=0.4)
    layers = laws_in(plan(kind(), init="layers"))
    assert all(isinstance(law, Uniform) for law in layers.values())


def test_an_initialiser_that_puts_other_parameters_in_place_is_read_and_the_model_keeps_its_own():
    class Replacing(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 4), nn.Linear(4, 6)
            self.reset_parameters()

        def reset_parameters(self):
            self.a.weight = nn.Parameter(torch.randn(4, 6) * 0.1)
            self.a.bias.data = torch.ones(4)
            self.b.weight.data = torch.zeros(6, 4)
            self.b.register_buffer("mark", torch.zeros(2))

    model = Replacing()
    before = {name: (parameter, parameter.clone()) for name, parameter in model.named_parameters()}
    with torch.no_grad():
        model.b.weight.fill_(3.0)
        model.a.bias.fill_(2.0)
    for how in ("auto", model.reset_parameters):
        found = laws_in(
            plan(model, [Rule(r"b\.bias", "zeros"), Rule(r".*mark", "zeros"), Rule(".*", "default")], init=how)
        )
        assert found["a.weight"] == Normal(0.0, 0.1) and found["a.bias"] == Constant(1.0)
        assert found["b.weight"] == Constant(0.0)
    assert (model.b.weight == 3.0).all() and (model.a.bias == 2.0).all()
    assert all(parameter is before[name][0] for name, parameter in model.named_parameters())


def test_a_callable_says_the_laws():
    def start(model):
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.3)

    assert set(laws_in(plan(Applied(), init=start)).values()) == {Normal(0.0, 0.3)}
    model = Giving()
    with pytest.raises(ValueError, match=r"'norm.weight' .* \(nothing was written to it while recording\)"):
        plan(model, init=model.init_weights)
    rules = [Rule("norm.*", "ones"), Rule(".*", "default")]
    assert laws_in(plan(model, rules, init=model.init_weights))["layers.0.w.weight"] == Normal(0.0, 0.1)


def test_rules_go_before_and_then_nothing_is_asked():
    found = laws_in(plan(Applied(), [Rule(".*weight", "he_normal"), Rule(".*", "zeros")]))
    assert found["a.bias"] == Constant(0.0)
    with pytest.raises(ValueError, match=r"no law for 'a.bias'"):
        plan(Applied(), [Rule(".*weight", "he_normal"), Rule(".*", "default")])


def test_tables_are_given_in_a_build_and_refused_in_a_built_model(tmp_path):
    with pytest.raises(ValueError, match=r"no law for 'scale' \[5\] of Table, 'steps' \[7\] of Table; add a rule"):
        plan(Table())
    made = plan(Table)
    assert made.tensors[1].dtype == "int64"
    write(made, tmp_path, seed=0)
    held = pytest.importorskip("safetensors.torch").load_file(tmp_path / "model.safetensors")
    assert torch.equal(held["steps"], torch.arange(7)) and (held["scale"] == torch.tensor(1e-4)).all()
    model = materialize_(Table, 0)
    assert torch.equal(model.steps, torch.arange(7)) and (model.scale == torch.tensor(1e-4)).all()


def test_large_tables_of_a_build_are_computed_only_where_they_are_needed():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mask", torch.tril(torch.ones(300, 300)), persistent=False)
            self.register_buffer("zeros", torch.zeros(300, 300))

    assert torch.equal(materialize_(Masked, 0).mask, torch.tril(torch.ones(300, 300)))
    assert laws_in(plan(Masked)) == {"zeros": Constant(0.0)}


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_copies_of_a_layer_have_the_values_of_the_first():
    def build():
        return nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32), 3)

    found = laws_in(plan(build))
    first = "layers.0.self_attn.in_proj_weight"
    assert found["layers.2.self_attn.in_proj_weight"] == Copy(found[first], first)
    made = materialize_(build, 2)
    assert torch.equal(made.layers[0].linear1.weight, made.layers[2].linear1.weight)
    assert not torch.equal(made.layers[0].linear1.weight.ravel(), made.layers[0].linear2.weight.ravel())


def test_a_program_that_has_set_objects_aside_keeps_them_aside():
    """What a build was given is told by gc.freeze, of which there is one in a process."""
    given = nn.Parameter(torch.arange(5.0))

    def build():
        module = nn.Linear(3, 4)
        module.given = given
        return module

    gc.freeze()
    try:
        before = gc.get_freeze_count()
        assert torch.equal(materialize_(build, 0).given, given)
        assert gc.get_freeze_count() > before // 2  # some of them have been freed since
    finally:
        gc.unfreeze()
    assert torch.equal(materialize_(build, 0).given, given)
    assert gc.get_freeze_count() == 0
    with pytest.raises(ZeroDivisionError):
        materialize_(lambda: 1 / 0, 0)
    assert gc.get_freeze_count() == 0


def test_what_shares_a_part_of_a_draw_is_refused_and_disjoint_parts_are_not():
    class Shared(nn.Module):
        def __init__(self, second):
            super().__init__()
            drawn = torch.randn(8, 6)
            self.a, self.b = nn.Parameter(drawn[:4].clone()), nn.Parameter(second(drawn).clone())

    assert set(laws_in(plan(lambda: Shared(lambda d: d[4:]))).values()) == {Normal(0.0, 1.0)}
    assert laws_in(plan(lambda: Shared(lambda d: d[:4] * 2)))["b"] == Copy(Normal(0.0, 2.0), "a")
    for part in (lambda d: d[2:6], lambda d: -d[:4], lambda d: d.abs(), lambda d: d[:4].t()):
        with pytest.raises(ValueError, match=r"no law for 'b'"):
            plan(lambda: Shared(part))  # noqa: B023


def test_memory_that_a_build_leaves_as_it_is_is_refused_and_a_tensor_that_it_is_given_stays():
    class Left(nn.Module):
        def __init__(self, given, memory=torch.Tensor):
            super().__init__()
            self.given, self.mine = nn.Parameter(given), nn.Linear(3, 4)
            self.left = nn.Parameter(memory(8, 8))

    given = torch.arange(5.0)
    for call in (plan, lambda build: materialize_(build, 0)):
        for memory in (torch.Tensor, torch.FloatTensor):  # of which the second is seen by nobody
            with pytest.raises(ValueError, match=r"no law for .*'left' \[8, 8\] of Left \(.*nothing was written"):
                call(lambda: Left(given, memory))  # noqa: B023
    rules = [Rule("left", "ones"), Rule(".*", "default")]
    assert torch.equal(materialize_(lambda: Left(given), 0, rules).given, torch.arange(5.0))
    with pytest.raises(ValueError, match=r"no law for 'given' \[5\]"):
        plan(lambda: Left(given), rules)


def test_a_build_that_draws_by_numpy_is_refused():
    def build():
        layer = nn.Linear(3, 4)
        layer.weight = nn.Parameter(torch.from_numpy(np.random.randn(4, 3)))
        return layer

    with pytest.raises(ValueError, match="drew from the generator of numpy"):
        plan(build)


def test_what_is_no_model_and_no_origin_is_refused():
    for call, error, message in (
        (lambda: plan(3), TypeError, "module is 3; pass a torch.nn.Module, or a callable"),
        (lambda: plan(lambda: 3), TypeError, "the build gave 3"),
        (lambda: initialize_(3, 0), TypeError, "module is 3"),
        (lambda: plan(nn.Linear(2, 2), init="mine"), ValueError, "init is 'mine'; it can be 'auto'"),
        (lambda: initialize_(nn.Linear(2, 2), 0, frozen="no"), ValueError, "frozen is 'no'"),
    ):
        with pytest.raises(error, match=message):
            call()


def test_a_plan_keeps_its_origin_and_its_digest_does_not_depend_on_it(tmp_path):
    made = plan(lambda: nn.Linear(3, 4))
    made.save(tmp_path / "plan.json")
    again = Plan.load(tmp_path / "plan.json")
    assert again == made and dict(again.origin) == dict(made.origin)
    assert made.origin["laws"] == {"recorded as it was built": 2}
    assert Plan(made.tensors, made.tied).digest == made.digest


# --- frozen parameters ------------------------------------------------------------------------------------------------


def test_frozen_parameters_stay_and_are_counted(caplog):
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    with caplog.at_level(logging.INFO, "fastinit"):
        initialize_(model, 0)
    assert torch.equal(model[0].weight, before)
    assert "2 of 4 parameters are frozen" in caplog.text
    initialize_(model, 0, frozen="draw")
    assert not torch.equal(model[0].weight, before)
    assert len(plan(model).tensors) == 4
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="all 4 parameters are frozen"):
        initialize_(model, 0)


def test_a_frozen_parameter_needs_no_law():
    model = nn.ModuleDict({"table": Table(), "head": nn.Linear(3, 4)})
    model["table"].requires_grad_(False)
    initialize_(model, 0)
    assert (model["table"].scale == torch.tensor(1e-4)).all()


def test_an_adapter_starts_at_zero_and_its_base_stays():
    peft = pytest.importorskip("peft")
    base = nn.Sequential(nn.Linear(64, 64))
    before = base[0].weight.clone()
    config = peft.LoraConfig(r=4, target_modules=["0"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=r"lora_A.*initialises by itself"):
            initialize_(peft.get_peft_model(nn.Sequential(nn.Linear(64, 64)), config), 0)
        model = materialize_(lambda: peft.get_peft_model(base, config), 0)
    assert torch.equal(model.base_model.model[0].base_layer.weight, before)
    named = dict(model.named_parameters())
    assert (named["base_model.model.0.lora_B.default.weight"] == 0).all()
    assert named["base_model.model.0.lora_A.default.weight"].std() > 0.05


# --- models of other libraries ----------------------------------------------------------------------------------------


def test_timm_and_torchvision_are_recorded():
    timm, torchvision = pytest.importorskip("timm"), pytest.importorskip("torchvision")
    built = timm.create_model("vit_tiny_patch16_224", depth=2)
    found = laws_in(plan(lambda: timm.create_model("vit_tiny_patch16_224", depth=2)))
    assert found == laws_in(plan(built))
    assert found["blocks.0.attn.qkv.weight"].parent_std == 0.02 and found["blocks.0.attn.qkv.bias"] == Constant(0.0)
    with pytest.raises(ValueError, match=r"ResNet.__init__ initialises by itself \(kaiming_normal_\)"):
        plan(torchvision.models.resnet18())
    resnet = laws_in(plan(torchvision.models.resnet18))
    assert resnet["conv1.weight"] == Normal(0.0, 2**0.5 / (64 * 49) ** 0.5)
    assert resnet["bn1.running_var"] == Constant(1.0)


def test_an_embedding_keeps_its_padding_row():
    assert laws_in(plan(lambda: nn.Embedding(5, 3, padding_idx=2)))["weight"] == Padded(Normal(0.0, 1.0), 2)
