"""initialize_, materialize_ and plan: laws of layers, names, wrappers, ties, meta models, what is refused."""

from __future__ import annotations

import copy
import math
import types

import numpy as np
import pytest
from scipy import stats

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn.utils import prune  # noqa: E402

import fastinit  # noqa: E402
from fastinit import blocks, engines, laws  # noqa: E402
from fastinit.address import STREAM  # noqa: E402
from fastinit.plan import Rule, Tensor  # noqa: E402
from fastinit.recipes import rules_for  # noqa: E402
from fastinit.torch import drawing, initialize_, layers, materialize_, plan  # noqa: E402
from fastinit.write import write  # noqa: E402

LAYERS = {
    "linear": lambda: nn.Linear(300, 200),
    "bilinear": lambda: nn.Bilinear(30, 20, 40),
    "convolution": lambda: nn.Conv2d(32, 64, 3),
    "grouped": lambda: nn.Conv1d(32, 64, 5, groups=4),
    "transposed": lambda: nn.ConvTranspose2d(32, 48, 3),
    "transposed, grouped": lambda: nn.ConvTranspose3d(16, 32, 3, groups=2),
    "embedding": lambda: nn.Embedding(300, 50),
    "padded": lambda: nn.Embedding(300, 50, padding_idx=-1),
    "bag": lambda: nn.EmbeddingBag(300, 50, padding_idx=4),
    "lstm": lambda: nn.LSTM(40, 50, num_layers=2, bidirectional=True, proj_size=20),
    "gru": lambda: nn.GRU(40, 50, bias=False),
    "cell": lambda: nn.RNNCell(40, 50),
    "attention": lambda: nn.MultiheadAttention(64, 4, add_bias_kv=True),
    "attention of two widths": lambda: nn.MultiheadAttention(64, 4, kdim=48, vdim=80, bias=False),
    "batch norm": lambda: nn.BatchNorm2d(50),
    "layer norm": lambda: nn.LayerNorm((5, 6)),
    "group norm": lambda: nn.GroupNorm(2, 50),
    "rms norm": lambda: nn.RMSNorm(50),
    "instance norm": lambda: nn.InstanceNorm1d(50, affine=True),
    "prelu": lambda: nn.PReLU(7, init=0.3),
    "encoder": lambda: nn.TransformerEncoderLayer(48, 4, 96),
    "transformer": lambda: nn.Transformer(48, 4, 1, 1, 96, batch_first=True),
    "softmax": lambda: nn.AdaptiveLogSoftmaxWithLoss(32, 200, [50, 100]),
}


def bits(tensor):
    return tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def drawn_again(module, seed):
    """A copy, spoilt and then initialised."""
    module = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(math.nan)
    assert initialize_(module, seed) is module
    return module


# --- laws of layers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", LAYERS)
def test_a_layer_draws_the_law_it_is_built_with(case):
    torch.manual_seed(3)
    theirs = [LAYERS[case]() for _ in range(12)]
    ours = [drawn_again(theirs[0], seed) for seed in range(12)]
    for name, parameter in theirs[0].named_parameters():
        x, y = (
            np.concatenate([dict(one.named_parameters())[name].detach().double().numpy().ravel() for one in many])
            for many in (theirs, ours)
        )
        if x.std() == 0:
            assert (x == y).all(), name
            continue
        assert (x == 0).tolist() == (y == 0).tolist(), name  # the padding row
        assert stats.ks_2samp(x, y).pvalue > 1e-4, name
        assert abs(y).max() <= abs(x).max() * 1.2, name
        assert abs(y.std() / x.std() - 1) < 8 / math.sqrt(parameter.numel() * 12), name


def test_every_layer_of_torch_that_draws_has_a_law():
    resetting = {
        kind
        for kind in vars(nn).values()
        if isinstance(kind, type)
        and issubclass(kind, nn.Module)
        and (hasattr(kind, "reset_parameters") or hasattr(kind, "_reset_parameters"))
        and not issubclass(kind, nn.modules.lazy.LazyModuleMixin)
    }
    assert {nn.Linear, nn.Transformer, nn.SyncBatchNorm} <= resetting
    known = tuple(kind for kinds, _ in layers.LAYERS for kind in kinds)
    # Whose parameters are those of the Linear layers inside it.
    assert {kind for kind in resetting if not issubclass(kind, known)} == {nn.AdaptiveLogSoftmaxWithLoss}


def extended(kind, *arguments):
    """A layer of a subclass with a parameter `extra` of its own, which is drawn elsewhere."""

    class Extended(kind):
        def __init__(self):
            super().__init__(*arguments)
            self.extra = nn.Parameter(torch.zeros(4, 6))

    return Extended()


EXTENDED = [
    (nn.Linear, 6, 4),
    (nn.Conv1d, 6, 4, 3),
    (nn.Bilinear, 6, 5, 4),
    (nn.LSTM, 6, 4),
    (nn.GRUCell, 6, 4),
    (nn.Embedding, 6, 4),
    (nn.LayerNorm, 6),
    (nn.BatchNorm1d, 6),
    (nn.PReLU,),
    (nn.MultiheadAttention, 6, 2),
    (nn.Transformer, 4, 2, 1, 1, 8),
]


@pytest.mark.parametrize("case", EXTENDED, ids=lambda case: case[0].__name__)
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_a_parameter_that_a_subclass_adds_has_no_law_until_a_rule_gives_one(case):
    model = nn.ModuleDict({"layer": extended(*case)})
    for give in (
        initialize_,
        lambda model, seed: plan(model),
        lambda model, seed: materialize_(model.to("meta"), seed),
    ):
        with pytest.raises(ValueError, match=r"no law for 'layer\.extra' \[4, 6\] of Extended; add a rule"):
            give(copy.deepcopy(model), 0)
    rules = [Rule(r".*\.extra", "skip"), Rule(".*", "default")]
    initialize_(model, 0, rules)
    assert (model["layer"].extra == 0).all()


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_the_two_parts_that_weight_norm_makes_of_a_weight_have_no_law():
    with pytest.raises(ValueError, match=r"no law for 'weight_g' .*, 'weight_v' "):
        initialize_(nn.utils.weight_norm(nn.Linear(16, 4)), 0)


def test_the_buffer_that_a_subclass_of_a_norm_adds_has_no_value():
    norm = on_meta(lambda: nn.BatchNorm1d(6))
    norm.register_buffer("scale", torch.empty(6, device="meta"))
    with pytest.raises(ValueError, match="buffers without a value: 'scale'"):
        materialize_(norm, 0)


def test_a_weight_that_prune_or_spectral_norm_renames_keeps_its_law():
    rules = [Rule(".*_mask", "skip"), Rule(".*", "default")]
    for kind, arguments in [(nn.Linear, (16, 4)), (nn.GroupNorm, (2, 6)), (nn.RNN, (6, 4))]:
        name = "weight_hh_l0" if kind is nn.RNN else "weight"
        pruned, plain = prune.identity(kind(*arguments), name), kind(*arguments)
        laws, expected = ({one.name: one.law for one in plan(module, rules).tensors} for module in (pruned, plain))
        assert laws[f"{name}_orig"] == expected[name]
    initialize_(nn.utils.spectral_norm(nn.Linear(16, 4)), 0)


# --- names ------------------------------------------------------------------------------------------------------------


class Block(nn.Module):
    """A block whose parts are registered in an order of choice."""

    def __init__(self, order="abc"):
        super().__init__()
        parts = {"a": nn.Linear(20, 30), "b": nn.Linear(30, 20), "c": nn.LayerNorm(20)}
        for part in order:
            self.add_module(part, parts[part])

    def forward(self, x):
        return x


def test_values_are_those_of_fill_under_the_qualified_name():
    model = initialize_(nn.Sequential(Block(), nn.Linear(20, 5)), 9)
    expected = np.empty((20, 30), np.float32)
    fastinit.fill_uniform(expected, -(30**-0.5), 30**-0.5, seed=9, name="0.b.weight")
    assert bits(model[0].b.weight) == expected.tobytes()


def test_order_and_other_submodules_do_not_matter():
    whole, turned, part = (initialize_(Block(order), 4) for order in ("abc", "cba", "b"))
    for name, parameter in part.named_parameters():
        assert bits(parameter) == bits(whole.get_parameter(name)) == bits(turned.get_parameter(name))


def test_a_stage_of_a_pipeline_has_the_weights_of_the_whole():
    whole = initialize_(nn.ModuleDict({"layers": nn.ModuleList([Block() for _ in range(3)])}), 4)
    stage = initialize_(Block(), 4, prefix="layers.2.")
    assert bits(stage.a.weight) == bits(whole["layers"][2].a.weight)
    assert bits(stage.a.weight) != bits(whole["layers"][1].a.weight)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch.compile's own, in 2.13
def test_what_wrappers_add_to_a_name_is_no_part_of_it():
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    plain = initialize_(nn.Sequential(Block(), Block()), 4)
    wrappers = {
        "compiled": torch.compile(nn.Sequential(Block(), Block())),
        "parallel": nn.DataParallel(nn.Sequential(Block(), Block())),
        "averaged": torch.optim.swa_utils.AveragedModel(nn.Sequential(Block(), Block())),
        "checkpointed": nn.Sequential(checkpoint_wrapper(Block()), Block()),
        "both": torch.compile(nn.DataParallel(nn.Sequential(checkpoint_wrapper(Block()), Block()))),
    }
    for case, wrapped in wrappers.items():
        initialize_(wrapped, 4)
        for own, expected in zip(wrapped.parameters(), plain.parameters(), strict=True):
            assert bits(own) == bits(expected), case


def test_a_layer_called_module_beside_others_keeps_its_name():
    model = nn.ModuleDict({"module": nn.Linear(4, 4), "head": nn.Linear(4, 4)})
    initialize_(model, 4)
    expected = np.empty((4, 4), np.float32)
    fastinit.fill_uniform(expected, -0.5, 0.5, seed=4, name="module.weight")
    assert bits(model["module"].weight) == expected.tobytes()


def test_a_tied_parameter_is_drawn_once_under_its_first_name():
    model = nn.ModuleDict({"embedding": nn.Embedding(10, 6), "head": nn.Linear(6, 10, bias=False)})
    model["head"].weight = model["embedding"].weight
    initialize_(model, 4)
    expected = np.empty((10, 6), np.float32)
    fastinit.fill_normal(expected, seed=4, name="embedding.weight")
    assert bits(model["head"].weight) == expected.tobytes()


def test_two_parameters_on_one_memory_are_one_under_the_first_name():
    model = nn.ModuleDict({"a": nn.Linear(600, 600), "b": nn.Linear(600, 600)})
    model["b"].weight.data = model["a"].weight.data
    initialize_(model, 4, threads=4)
    expected = np.empty((600, 600), np.float32)
    fastinit.fill_uniform(expected, -(600**-0.5), 600**-0.5, seed=4, name="a.weight")
    assert bits(model["b"].weight) == expected.tobytes()
    assert plan(model).tied == {"b.weight": "a.weight"}


def test_parameters_that_share_a_part_of_their_memory_are_refused_and_neighbours_are_not():
    model, memory = nn.ModuleDict({"a": nn.Linear(6, 4), "b": nn.Linear(6, 4)}), torch.zeros(6, 12)
    for shared in (memory.view(-1)[10:34].view(4, 6), memory[:4, 5:11], memory.view(-1)[:24].view(6, 4).t()):
        model["a"].weight.data, model["b"].weight.data = memory.view(-1)[:24].view(4, 6), shared
        with pytest.raises(ValueError, match=r"parameters 'a\.weight' and 'b\.weight' share memory"):
            initialize_(model, 0)
        assert (memory == 0).all()
        initialize_(model, 0, [Rule(r"b\.weight", "skip"), Rule(".*", "default")])
        memory.zero_()
    for first, second in [(memory[:4, :6], memory[:4, 6:]), (memory[:2].view(4, 6), memory[2:4].view(4, 6))]:
        model["a"].weight.data, model["b"].weight.data = first, second
        initialize_(model, 0)
        assert bits(model["a"].weight) == bits(initialize_(nn.Linear(6, 4), 0, prefix="a.").weight)
        assert bits(model["b"].weight) == bits(initialize_(nn.Linear(6, 4), 0, prefix="b.").weight)


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_threads_do_not_matter(threads):
    model = initialize_(nn.Sequential(nn.Linear(700, 900), *[nn.Linear(3, 5) for _ in range(300)]), 4, threads=threads)
    again = initialize_(copy.deepcopy(model), 4, threads=3)
    assert all(bits(a) == bits(b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_progress_counts_every_byte():
    seen = []
    model = nn.Sequential(nn.Linear(700, 900), nn.Linear(3, 5))
    model[1].weight = nn.Parameter(torch.empty(3, 5).t())  # not in one stretch
    initialize_(model, 0, progress=lambda done, total: seen.append((done, total)))
    total = 4 * (700 * 900 + 900 + 15 + 5)
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_parameter_on_another_device_is_drawn_on_the_cpu_whatever_the_default_device_is():
    drawn = torch.zeros(6)
    elsewhere = types.SimpleNamespace(is_cpu=False, shape=(6,), dtype=torch.float32, copy_=drawn.copy_)
    source = blocks.Source(4, STREAM, engines.engine_name())
    with torch.device("meta"):
        drawing._fill_alone(elsewhere, Tensor("norm", (6,), "float32", laws.Normal()), None, source, 1)
    expected = np.empty(6, np.float32)
    fastinit.fill_normal(expected, seed=4, name="norm")
    assert bits(drawn) == expected.tobytes()


@pytest.mark.parametrize(
    "make", [lambda: torch.zeros(4, dtype=torch.complex64).conj().imag, lambda: torch._efficientzerotensor(4)]
)
def test_a_view_of_the_opposite_sign_and_a_zero_without_memory_are_refused_by_name(make):
    with pytest.raises(TypeError, match=r"buf is a Tensor that .*; fill buf\.resolve_neg\(\)\.clone\(\)"):
        fastinit.fill_normal(make(), seed=0)
    with pytest.raises(TypeError, match=r"parameter 'scale' .*resolve_neg\(\)\.clone\(\)"):
        initialize_(nn.ParameterDict({"scale": nn.Parameter(make())}), 0, [Rule(".*", "normal")])
    fastinit.fill_normal(own := make().resolve_neg().clone(), seed=0)
    assert (own != 0).all()


# --- rules ------------------------------------------------------------------------------------------------------------


def test_rules_go_first_default_falls_back_and_skip_leaves_alone():
    model = nn.Sequential(nn.Linear(40, 30), nn.Linear(30, 20), nn.LayerNorm(20))
    before = bits(model[1].weight)
    rules = [
        Rule(r"0\.weight", "he_normal"),
        Rule(r"1\.weight", "skip"),
        Rule(r"2\.bias", "constant", {"value": 0.5}),
        Rule(r".*", "default"),
    ]
    initialize_(model, 3, rules)
    expected = np.empty((30, 40), np.float32)
    fastinit.fill_he_normal(expected, 40, seed=3, name="0.weight")
    assert bits(model[0].weight) == expected.tobytes()
    assert bits(model[1].weight) == before
    assert (model[2].bias == 0.5).all() and (model[2].weight == 1).all()
    assert abs(model[0].bias).max() <= 40**-0.5


def test_laws_of_whole_matrices_and_strided_parameters_are_filled_too():
    model = nn.Sequential(nn.Linear(40, 30), nn.Linear(30, 40))
    model[1].weight = nn.Parameter(torch.empty(30, 40).t())
    rules = [Rule(r"0\.weight", "orthogonal"), Rule(r"1\.weight", "sparse", {"sparsity": 0.5}), Rule(".*", "zeros")]
    initialize_(model, 3, rules)
    w = model[0].weight.detach()
    assert torch.allclose(w @ w.T, torch.eye(30), atol=1e-5)
    assert ((model[1].weight != 0).sum(0) == 20).all()


def test_a_recipe_of_a_whole_architecture_serves():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=90, n_layer=2, n_embd=64, n_head=2, n_positions=32)
    model = transformers.GPT2LMHeadModel(config)
    shapes = {name: {"shape": list(tensor.shape)} for name, tensor in model.state_dict().items()}
    initialize_(model, 3, rules_for("gpt2", shapes))
    expected = np.empty((64, 64), np.float32)
    fastinit.fill_residual_normal(expected, 2, seed=3, name="transformer.h.1.attn.c_proj.weight")
    assert bits(model.transformer.h[1].attn.c_proj.weight) == expected.tobytes()
    assert model.lm_head.weight is model.transformer.wte.weight


# --- the meta device --------------------------------------------------------------------------------------------------


def big():
    model = nn.ModuleDict(
        {
            "embedding": nn.Embedding(50, 24, padding_idx=1),
            "blocks": nn.ModuleList([nn.TransformerEncoderLayer(24, 2, 48) for _ in range(3)]),
            "norm": nn.BatchNorm1d(24),
            "head": nn.Linear(24, 50, bias=False),
        }
    )
    model["head"].weight = model["embedding"].weight
    return model


def on_meta(make):
    with torch.device("meta"):
        return make()


@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float64])
def test_a_meta_model_gets_memory_and_the_weights_of_a_built_one(dtype):
    model = on_meta(big)
    model["embedding"].weight.requires_grad_(False)
    model["norm"].weight.mark = "kept"
    assert materialize_(model, 6, dtype=dtype) is model
    built = initialize_(big().to(dtype), 6)
    for (name, own), (_, expected) in zip(model.named_parameters(), built.named_parameters(), strict=True):
        assert own.dtype == expected.dtype == (dtype or torch.float32)
        assert bits(own) == bits(expected), name
    assert model["head"].weight is model["embedding"].weight
    assert not model["head"].weight.requires_grad and model["norm"].weight.requires_grad
    assert model["norm"].weight.mark == "kept"
    assert (model["norm"].running_var == 1).all() and model["norm"].num_batches_tracked == 0
    model["blocks"][0](torch.zeros(3, 2, 24, dtype=dtype or torch.float32))


def test_parameters_with_memory_are_left_alone():
    model = nn.Sequential(nn.Linear(3, 4), on_meta(lambda: nn.Linear(4, 5)))
    before = bits(model[0].weight)
    materialize_(model, 0)
    assert bits(model[0].weight) == before
    assert not model[1].weight.is_meta


def test_parameters_with_memory_need_no_law():
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.by = nn.Parameter(torch.full((3,), 7.0))

    model = nn.Sequential(Scale(), on_meta(lambda: nn.Linear(3, 3)))
    materialize_(model, 0)
    assert model[0].by.tolist() == [7.0] * 3
    with pytest.raises(ValueError, match=r"no law for .0\.by."):
        materialize_(nn.Sequential(on_meta(Scale)), 0)


class Rotary(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("frequencies", torch.arange(4.0), persistent=False)


def test_a_buffer_gets_the_value_it_is_given_or_is_named():
    def model():
        return nn.ModuleDict({"rotary": Rotary(), "head": nn.Linear(3, 3)})

    with pytest.raises(ValueError, match=r"buffers without a value: 'rotary.frequencies'"):
        materialize_(on_meta(model), 0)
    given = {"rotary.frequencies": torch.arange(4.0, dtype=torch.float64)}
    made = materialize_(on_meta(model), 0, buffers=given)
    assert torch.equal(made["rotary"].frequencies, torch.arange(4.0))
    with pytest.raises(ValueError, match=r"'rotary.frequencies' has shape .3,., and the module's .4,."):
        materialize_(on_meta(model), 0, buffers={"rotary.frequencies": torch.zeros(3)})
    with pytest.raises(ValueError, match="'lost' is no buffer of the module on the meta device"):
        materialize_(on_meta(model), 0, buffers=given | {"lost": torch.zeros(3)})


# --- plan -------------------------------------------------------------------------------------------------------------


def test_a_checkpoint_of_the_plan_has_the_weights_of_the_module(tmp_path):
    from safetensors.torch import load_file

    made = plan(on_meta(big), dtype=torch.bfloat16)
    assert made.tied == {"head.weight": "embedding.weight"}
    write(made, tmp_path, seed=6)
    loaded = load_file(tmp_path / "model.safetensors")
    model = materialize_(on_meta(big), 6, dtype=torch.bfloat16)
    state = model.state_dict()
    assert set(loaded) == set(state) - {"head.weight"}
    for name, tensor in loaded.items():
        assert tensor.dtype == state[name].dtype or "running" in name
        assert torch.equal(tensor.to(state[name].dtype), state[name]), name


# --- what is refused --------------------------------------------------------------------------------------------------


class OwnReset(nn.Linear):
    def reset_parameters(self):
        nn.init.zeros_(self.weight)


class Custom(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))


REFUSED = {
    "no law": (Custom, {}, ValueError, r"no law for 'scale' \[4\] of Custom; add a rule"),
    "its own reset": (
        lambda: OwnReset(3, 4),
        {"init": "layers"},
        ValueError,
        r"no law for 'weight' \[4, 3\] of OwnReset",
    ),
    "a part of its own reset": (lambda: OwnReset(3, 4), {}, ValueError, r"no law for '1.bias' \[4\] of OwnReset"),
    "no rule": (lambda: nn.Linear(3, 4), {"rules": [Rule("bias", "zeros")]}, ValueError, "no law for 'weight'"),
    "meta": (lambda: on_meta(lambda: nn.Linear(3, 4)), {}, ValueError, "'weight' is on the meta device"),
    "lazy": (lambda: nn.LazyLinear(4), {}, ValueError, "'weight' has no shape yet"),
    "fans of a vector": (lambda: nn.LayerNorm(4), {"rules": [Rule(".*", "he_normal")]}, ValueError, "tensor 'weight'"),
    "dtype of a rule": (
        lambda: nn.Linear(3, 4),
        {"rules": [Rule(".*", "zeros", dtype="float16")]},
        ValueError,
        "is of float32, and its rule says float16",
    ),
    "seed": (lambda: nn.Linear(3, 4), {"seed": -1}, ValueError, "seed"),
    "threads": (lambda: nn.Linear(3, 4), {"threads": 0}, ValueError, "threads"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_before_the_first_store(case):
    make, options, error, message = REFUSED[case]
    module = nn.Sequential(nn.Linear(2, 2), make())
    options = {"seed": 0, **options}
    if "rules" in options:
        options["rules"] = [
            Rule(rf"1\.(?:{one.match})", one.scheme, one.numbers, one.dtype) for one in options["rules"]
        ]
        options["rules"].insert(0, Rule(r"0\..*", "default"))
    before = bits(module[0].weight)
    with pytest.raises(error, match=message.replace("'weight'", "'1.weight'").replace("'scale'", "'1.scale'")):
        initialize_(module, **options)
    assert bits(module[0].weight) == before


def test_two_parameters_of_one_name_are_refused():
    model = nn.Module()
    model.a = nn.Linear(3, 3)
    inner = nn.Module()
    inner.a = nn.Linear(3, 3)
    model._orig_mod = inner
    with pytest.raises(ValueError, match=r"'a.weight' and '_orig_mod.a.weight' have one name"):
        initialize_(model, 0)


def test_a_parameter_that_overlaps_itself_is_refused():
    layer = nn.Linear(3, 4, bias=False)
    layer.weight = nn.Parameter(torch.zeros(1, 3).expand(4, 3))
    with pytest.raises(ValueError, match="'weight' overlaps itself"):
        initialize_(layer, 0)


def test_a_module_of_fake_tensors_is_refused_by_name():
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        fake = torch.nn.Linear(3, 4)
    with pytest.raises(TypeError, match="'weight' is a FakeTensor, which has no memory"):
        fastinit.torch.initialize_(fake, 0)
