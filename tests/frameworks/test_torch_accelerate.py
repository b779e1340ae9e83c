"""accelerate: what it takes, what it counts, what it leaves behind; models of others built inside it."""

from __future__ import annotations

import functools
import threading

import numpy as np
import pytest
from scipy import stats

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import init  # noqa: E402
from torch.nn.init import orthogonal_, sparse_, trunc_normal_  # noqa: E402

import fastinit.torch  # noqa: E402
from fastinit.torch import accelerate  # noqa: E402

partial_truncated = functools.partial(trunc_normal_, std=0.02)
kept = {"normal": init.normal_, "truncated": init.trunc_normal_}


def patched():
    """Everything that a block could leave behind."""
    places = [vars(init), dict(vars(torch.Tensor)), globals(), {"randn": torch.randn, "rand": torch.rand}]
    return [{name: id(value) for name, value in place.items() if callable(value)} for place in places]


def bits(tensor):
    return tensor.detach().contiguous().numpy().tobytes()


# --- what is taken ----------------------------------------------------------------------------------------------------

CALLS = {
    "uniform_": lambda w: init.uniform_(w, -1, 1),
    "normal_": lambda w: init.normal_(w, 0.5, 2.0),
    "trunc_normal_": lambda w: init.trunc_normal_(w, std=0.5),
    "trunc_normal_ kept": lambda w: trunc_normal_(w),
    "trunc_normal_ partial": lambda w: partial_truncated(w),
    "trunc_normal_ in a dict": lambda w: kept["truncated"](w, a=0.0),
    "normal_ in a dict": lambda w: kept["normal"](w),
    "uniform_ by xavier": init.xavier_uniform_,
    "normal_ by xavier": init.xavier_normal_,
    "kaiming_uniform_": lambda w: init.kaiming_uniform_(w, a=5**0.5),
    "normal_ by kaiming": lambda w: init.kaiming_normal_(w, mode="fan_out"),
    "orthogonal_": lambda w: init.orthogonal_(w),
    "orthogonal_ kept": lambda w: orthogonal_(w, 2.0),
    "sparse_": lambda w: init.sparse_(w, 0.5),
    "sparse_ kept": lambda w: sparse_(w, sparsity=0.9),
    "normal_ method": lambda w: w.normal_(std=3.0),
    "normal_ of data": lambda w: w.data.normal_(1.0, 0.02),
    "uniform_ method": lambda w: w.uniform_(-0.5, to=0.5),
    "uniform_ by keyword": lambda w: w.uniform_(**{"from": 2.0, "to": 3.0}),
    "randn": lambda w: w.copy_(torch.randn(*w.shape)),
    "rand": lambda w: w.copy_(torch.rand(w.shape)),
}


@pytest.mark.parametrize("case", CALLS)
def test_a_call_is_taken_counted_and_draws_the_law_of_torch(case):
    name = case.split()[0]
    torch.manual_seed(5)
    theirs = CALLS[case](torch.zeros(300, 200)).double().numpy().ravel()
    before = patched()
    with accelerate(seed=3) as report:
        ours = CALLS[case](torch.zeros(300, 200)).double().numpy().ravel()
    assert patched() == before
    assert report.accelerated == {name: 1}
    assert not report.fell_through
    assert np.count_nonzero(ours) == np.count_nonzero(theirs)
    assert stats.ks_2samp(ours[ours != 0], theirs[theirs != 0]).pvalue > 1e-4
    assert not np.array_equal(ours, theirs)


def test_an_orthogonal_that_hides_in_a_container_is_taken_in_its_draws():
    hidden = {"orthogonal": orthogonal_}
    with accelerate(seed=0) as report:
        w = hidden["orthogonal"](torch.empty(20, 30))
    assert report.accelerated == {"normal_": 1}
    assert torch.allclose(w @ w.T, torch.eye(20), atol=1e-5)


def test_the_layers_of_torch_are_taken():
    with accelerate(seed=0) as report:
        nn.Linear(30, 20)
        nn.Embedding(30, 20)
        nn.LSTM(4, 5)
        nn.Bilinear(3, 4, 5)
        nn.MultiheadAttention(8, 2)
        nn.LayerNorm(4)
    # Linear 1 + 1, LSTM 4, Bilinear 2, attention: in_proj 1 and the Linear inside 1 + 1
    assert report.accelerated == {"kaiming_uniform_": 2, "uniform_": 1 + 4 + 2 + 1 + 1, "normal_": 1}
    assert not report.fell_through


def test_the_draws_of_a_block_are_numbered_under_its_seed():
    with accelerate(seed=7):
        layer = nn.Linear(30, 20)
        table = torch.randn(10, 4)
    bound = 30**-0.5
    for tensor, number, law in (
        (layer.weight, 0, fastinit.laws.Uniform(-bound, bound)),
        (layer.bias, 1, fastinit.laws.Uniform(-bound, bound)),
        (table, 2, fastinit.laws.Normal()),
    ):
        expected = np.empty(tuple(tensor.shape), np.float32)
        fastinit.fill(expected, law, seed=7, name=number)
        assert np.allclose(tensor.detach().numpy(), expected, rtol=3e-7, atol=0)


def test_without_a_seed_torch_governs():
    def built():
        with accelerate():
            return nn.Linear(30, 20)

    torch.manual_seed(1)
    first, second = built(), built()
    torch.manual_seed(1)
    assert bits(built().weight) == bits(first.weight) != bits(second.weight)


def test_a_generator_goes_before_the_seed_of_the_block():
    with accelerate(seed=1):
        a = init.normal_(torch.empty(50), generator=torch.Generator().manual_seed(2))
        b = torch.empty(50).normal_(generator=torch.Generator().manual_seed(2))
    assert bits(a) == bits(b)


def test_randn_keeps_what_it_was_asked_for():
    with accelerate(seed=1) as report:
        tensor = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
        torch.randn((), generator=torch.Generator())
        torch.rand(size=(2, 3), dtype=torch.bfloat16)
        torch.randn(5, out=torch.empty(5))
    assert (tensor.dtype, tensor.shape, tensor.requires_grad, tensor.is_leaf) == (torch.float64, (3, 4), True, True)
    assert report.accelerated == {"randn": 2, "rand": 1}


# --- what falls through -----------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental:UserWarning")
def test_other_devices_and_dtypes_fall_through_and_are_counted():
    with accelerate(seed=0) as report:
        with torch.device("meta"):
            nn.Linear(3, 4)
        torch.empty(5, dtype=torch.complex32).normal_()
        trunc_normal_(torch.empty(5, device="meta"))
        weight = (torch.ones(4, requires_grad=True) * 2).normal_()  # autograd records it
    assert weight.grad_fn is not None
    assert report.fell_through == {
        ("kaiming_uniform_", "on meta"): 1,
        ("uniform_", "on meta"): 1,
        ("normal_", "of complex32"): 1,
        ("trunc_normal_", "on meta"): 1,
        ("normal_", "recorded by autograd"): 1,
    }
    assert "on meta" in str(report)


def test_what_torch_refuses_is_refused_inside_too():
    with accelerate(seed=0):
        with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
            nn.Parameter(torch.empty(3)).normal_()
        with pytest.raises(RuntimeError, match="single memory location"):
            torch.empty(3, 1).expand(3, 4).uniform_()
        with pytest.raises(RuntimeError, match="std"):
            torch.empty(3).normal_(0.0, -1.0)
        with pytest.raises(TypeError):
            torch.empty(3).normal_(0.0, 1.0, 2.0)


@pytest.mark.parametrize("randomness", ["same", "different"])
@pytest.mark.parametrize("draw", [torch.randn, torch.rand])
def test_under_vmap_torch_draws_as_many_times_as_it_is_asked_for(draw, randomness):
    def noisy(x):
        return x + draw(3)

    def call():
        torch.manual_seed(5)
        return torch.vmap(noisy, randomness=randomness)(torch.zeros(2, 3))

    with accelerate(seed=0) as report:
        rows = call()
    assert torch.equal(rows, call())
    assert torch.equal(*rows) == (randomness == "same")
    assert report.fell_through.total() == 1 and not report.accelerated


def test_under_vmap_torch_refuses_to_draw_once_for_all_where_each_example_wants_its_own():
    for method in (torch.Tensor.normal_, torch.Tensor.uniform_, fastinit.torch.normal_):
        with accelerate(seed=0), pytest.raises(RuntimeError, match="different inplace randomness"):
            torch.vmap(lambda x, method=method: x + method(torch.empty(3)), randomness="different")(torch.zeros(2, 3))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch.compile's own, in 2.13
@pytest.mark.parametrize("name", ["normal_", "trunc_normal_", "xavier_uniform_", "orthogonal_"])
def test_a_compiled_function_draws_what_it_draws_uncompiled_and_anew_at_every_call(name):
    def doubled(weight):
        return getattr(fastinit.torch, name)(weight) * 2

    compiled = torch.compile(doubled, backend="eager")
    torch.manual_seed(5)
    drawn = [compiled(torch.empty(8, 4)) for _ in range(2)]
    torch.manual_seed(5)
    assert [bits(one) for one in drawn] == [bits(doubled(torch.empty(8, 4))) for _ in range(2)]
    assert bits(drawn[0]) != bits(drawn[1])


WHOLE = {
    "normal_": {"std": 0.5},
    "uniform_": {"a": -1.0},
    "trunc_normal_": {"std": 0.02},
    "kaiming_normal_": {},
    "kaiming_uniform_": {"a": 5**0.5},
    "xavier_uniform_": {},
    "xavier_normal_": {"gain": 2.0},
    "orthogonal_": {},
    "sparse_": {"sparsity": 0.5},
    "zeros_": {},
}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("name", WHOLE)
def test_a_draw_stays_in_the_graph_that_is_compiled_around_it(name, backend):
    def drawn(x, weight):
        ours = [getattr(fastinit.torch, name)(one, **WHOLE[name]) for one in (torch.empty(8, 4), torch.empty(8, 4))]
        getattr(fastinit.torch, name)(weight, **WHOLE[name])
        return x @ ours[0] - x @ ours[1] + x @ weight

    torch.compiler.reset()  # or the cases before count as recompilations
    compiled = torch.compile(drawn, backend=backend, fullgraph=True)
    x = torch.ones(3, 8)
    weights = [nn.Parameter(torch.zeros(8, 4)) for _ in range(4)]
    torch.manual_seed(5)
    expected = [drawn(x, weight) for weight in weights[:2]]
    torch.manual_seed(5)
    found = [compiled(x, weight) for weight in weights[2:]]
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(weights[:2], weights[2:], strict=True))
    assert torch.equal(*expected) == (name == "zeros_")
    found[0].sum().backward()
    assert torch.equal(weights[2].grad, torch.full((8, 4), 3.0))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_compiled_draw_of_what_fastinit_does_not_fill_is_torchs():
    compiled = torch.compile(lambda w: fastinit.torch.sparse_(w, 0.5).abs(), backend="eager", fullgraph=True)
    drawn = []
    for call in (compiled, lambda w: nn.init.sparse_(w, 0.5).abs()):
        torch.manual_seed(3)
        drawn.append(call(torch.empty(20, 20, dtype=torch.complex64)))
    assert torch.equal(*drawn)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_compiled_function_is_taken_in_the_block_too():
    def noise():
        return torch.randn(3) + torch.empty(3).uniform_()

    with accelerate(seed=0) as report:
        drawn = [torch.compile(noise, backend="eager")() for _ in range(2)]
    with accelerate(seed=0):
        assert [bits(one) for one in drawn] == [bits(noise()) for _ in range(2)]
    assert report.accelerated == {"randn": 2, "uniform_": 2}


def test_a_seed_that_is_none_is_refused_before_the_block():
    for seed in (-1, 1 << 64, 0.5, True):
        with pytest.raises((TypeError, ValueError)), accelerate(seed):
            pytest.fail("the block ran")


# --- what is left behind ----------------------------------------------------------------------------------------------


def test_nothing_is_patched_after_an_exception():
    before = patched()
    with pytest.raises(KeyError), accelerate(seed=0):
        assert patched() != before
        raise KeyError
    assert patched() == before
    torch.manual_seed(0)
    a = init.trunc_normal_(torch.empty(5))
    torch.manual_seed(0)
    assert torch.equal(init.trunc_normal_(torch.empty(5)), a)


def test_blocks_nest_and_the_innermost_counts():
    before = patched()
    with accelerate(seed=0) as outer:
        init.normal_(torch.empty(5))
        with accelerate(seed=1) as inner:
            a = init.normal_(torch.empty(50))
            init.normal_(torch.empty(5, device="meta"))
        b = init.normal_(torch.empty(50))
        trunc_normal_(b)
    assert patched() == before
    assert (dict(outer.accelerated), dict(inner.accelerated)) == ({"normal_": 2, "trunc_normal_": 1}, {"normal_": 1})
    assert (outer.fell_through.total(), inner.fell_through.total()) == (0, 1)
    assert bits(a) != bits(b)


def test_other_threads_are_not_in_the_block():
    """While one thread is in a block, another draws what PyTorch draws; and it may open and close its own."""
    inside, done = threading.Event(), threading.Event()
    found = {}

    def outsider():
        inside.wait(30)
        generator = torch.Generator().manual_seed(3)
        found["outside"] = [
            init.trunc_normal_(torch.empty(100), generator=generator),
            init.orthogonal_(torch.empty(8, 8), generator=generator),
            init.normal_(torch.empty(100), generator=generator),
        ]
        with accelerate(seed=4) as report:
            init.trunc_normal_(torch.empty(100))
        found["own"] = dict(report.accelerated)
        done.set()

    before = patched()
    thread = threading.Thread(target=outsider)
    thread.start()
    with accelerate(seed=0) as report:
        inside.set()
        assert done.wait(30)
        init.trunc_normal_(torch.empty(100))
    thread.join()
    generator = torch.Generator().manual_seed(3)
    expected = [
        init.trunc_normal_(torch.empty(100), generator=generator),
        init.orthogonal_(torch.empty(8, 8), generator=generator),
        init.normal_(torch.empty(100), generator=generator),
    ]
    assert all(torch.equal(a, b) for a, b in zip(found["outside"], expected, strict=True))
    assert found["own"] == dict(report.accelerated) == {"trunc_normal_": 1}
    assert patched() == before


# --- models of others -------------------------------------------------------------------------------------------------

SMALL = {
    "vocab_size": 300,
    "num_hidden_layers": 3,
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_attention_heads": 4,
}
MODELS = {
    "GPT2LMHeadModel": ({"vocab_size": 300, "n_layer": 3, "n_embd": 96, "n_head": 4, "n_positions": 64}, {"normal_"}),
    "BertForMaskedLM": (SMALL, {"normal_"}),
    "LlamaForCausalLM": (SMALL | {"num_key_value_heads": 2}, {"normal_"}),
    "ViTForImageClassification": (
        {"image_size": 32, "patch_size": 8, **{k: v for k, v in SMALL.items() if k != "vocab_size"}},
        {"normal_", "trunc_normal_"},
    ),
}


def same_laws(theirs, ours):
    """Two-sample KS of every parameter, Bonferroni over all; constants are equal."""
    level = 1e-3 / len(dict(theirs.named_parameters()))
    for (name, a), (_, b) in zip(theirs.named_parameters(), ours.named_parameters(), strict=True):
        x, y = (p.detach().double().numpy().ravel() for p in (a, b))
        if x.std() == 0 or y.std() == 0:
            assert (x == y).all(), name
            continue
        assert not np.array_equal(x, y), name
        assert np.count_nonzero(x == 0) == np.count_nonzero(y == 0), name
        assert stats.ks_2samp(x, y).pvalue > level, name


@pytest.mark.parametrize("name", MODELS)
def test_models_of_transformers_have_their_own_laws(name):
    transformers = pytest.importorskip("transformers")
    numbers, last = MODELS[name]
    kind = getattr(transformers, name)
    torch.manual_seed(2)
    theirs = kind(kind.config_class(**numbers))
    before = patched()
    with accelerate(seed=5) as report:
        ours = kind(kind.config_class(**numbers))
    assert patched() == before
    same_laws(theirs, ours)
    assert not report.fell_through
    # Every matrix is drawn by its layer when it is built, and once more by the model.
    matrices = sum(isinstance(layer, nn.Linear | nn.Embedding | nn.Conv2d) for layer in ours.modules())
    assert last <= set(report.accelerated)
    assert report.accelerated.total() >= 2 * matrices - 2


def test_a_resnet_has_its_own_laws():
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(2)
    theirs = torchvision.models.resnet18(num_classes=50)
    with accelerate(seed=5) as report:
        ours = torchvision.models.resnet18(num_classes=50)
    same_laws(theirs, ours)
    convolutions = sum(isinstance(layer, nn.Conv2d) for layer in ours.modules())
    # Each convolution by its layer, then by the model (kaiming_normal_); the head has a weight and a bias.
    assert report.accelerated == {"kaiming_uniform_": convolutions + 1, "normal_": convolutions, "uniform_": 1}
    assert not report.fell_through


def test_a_vision_transformer_of_timm_is_drawn_by_its_own_copy():
    timm = pytest.importorskip("timm")

    def built():
        return timm.create_model("vit_tiny_patch16_224", num_classes=7, img_size=32, depth=2)

    torch.manual_seed(2)
    theirs = built()
    with accelerate(seed=5) as report:
        ours = built()
    same_laws(theirs, ours)
    assert report.accelerated["trunc_normal_"] >= 8  # timm's _trunc_normal_, whole
    assert not report.fell_through
