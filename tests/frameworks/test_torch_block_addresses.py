"""The address of a draw in a block: reseeding, saved states, forked workers, and draws while a model computes."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.utils.checkpoint import CheckpointFunction, checkpoint, checkpoint_sequential  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402

import fastinit  # noqa: E402
import fastinit.torch  # noqa: E402
from fastinit.torch import accelerate, addresses  # noqa: E402

SEEDS = [None, 0]
DRAWS = {
    "randn": lambda: torch.randn(5),
    "rand": lambda: torch.rand(20_000),  # more than one call of a kernel
    "normal_": lambda: torch.empty(5).normal_(),
    "trunc_normal_": lambda: nn.init.trunc_normal_(torch.empty(5)),
    "kaiming_uniform_": lambda: nn.init.kaiming_uniform_(torch.empty(5, 4)),
    "orthogonal_": lambda: nn.init.orthogonal_(torch.empty(5, 4)),
    "sparse_": lambda: nn.init.sparse_(torch.empty(5, 4), 0.5),
    "drop-in": lambda: fastinit.torch.normal_(torch.empty(5)),
}


def numbered(seed, number, size):
    return torch.from_numpy(fastinit.new(size, fastinit.laws.Normal(), seed=seed, name=number))


@pytest.fixture(autouse=True)
def _same_generator_afterwards():
    with torch.random.fork_rng():
        yield


# --- reseeding --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", DRAWS)
def test_who_seeds_again_in_a_block_draws_the_same_again(name, seed):
    draw = DRAWS[name]
    with accelerate(seed=seed) as report:
        torch.manual_seed(1)
        first, second = draw(), draw()
        torch.manual_seed(2)
        other = draw()
        torch.manual_seed(1)
        assert torch.equal(draw(), first) and torch.equal(draw(), second)
    assert not torch.equal(first, second) and not torch.equal(first, other)
    assert report.accelerated.total() == 5 and not report.fell_through


def test_after_reseeding_the_generator_governs_as_in_a_block_without_a_seed():
    torch.manual_seed(1)
    torch.empty(1, dtype=torch.int64).random_()
    yielded = int(torch.empty(1, dtype=torch.int64).random_())
    torch.manual_seed(9)
    with accelerate(seed=7):
        torch.manual_seed(1)
        torch.randn(3)
        assert torch.equal(torch.randn(5), numbered(yielded, 0, 5))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_generator_that_is_passed_draws_what_the_default_one_draws_from_the_same_seed(seed):
    with accelerate(seed=seed):
        passed = nn.init.trunc_normal_(torch.empty(5), generator=torch.Generator().manual_seed(42))
        torch.manual_seed(42)
        assert torch.equal(nn.init.trunc_normal_(torch.empty(5)), passed)


@pytest.mark.parametrize("reseeded", [None, 1, 2])
def test_what_is_built_first_does_not_depend_on_the_generator(reseeded):
    if reseeded is not None:
        torch.manual_seed(reseeded)
    with accelerate(seed=7):
        drawn = [torch.randn(5), torch.randperm(9), torch.randn(5)]
    assert torch.equal(drawn[0], numbered(7, 0, 5)) and torch.equal(drawn[2], numbered(7, 1, 5))


def test_the_seed_that_the_generator_had_starts_again_with_the_first_draw():
    torch.manual_seed(3)
    with accelerate(seed=7):
        first = torch.randn(5), torch.randn(5)
        torch.manual_seed(3)
        assert all(torch.equal(torch.randn(5), one) for one in first)
        assert torch.equal(torch.randn(5), numbered(7, 2, 5))


@pytest.mark.parametrize("seed", SEEDS)
def test_who_restores_the_state_of_the_generator_draws_the_same_again(seed):
    with accelerate(seed=seed):
        torch.randn(5)
        state = torch.get_rng_state()
        first = torch.randn(5), torch.randperm(50), torch.rand(5)
        torch.set_rng_state(state)
        assert all(
            torch.equal(a, b) for a, b in zip(first, (torch.randn(5), torch.randperm(50), torch.rand(5)), strict=True)
        )
        with torch.random.fork_rng():
            inside = torch.randn(5)
        assert torch.equal(torch.randn(5), inside)
        assert not torch.equal(torch.randn(5), inside)


def test_a_block_remembers_so_many_draws_and_then_follows_the_generator(monkeypatch):
    monkeypatch.setattr(addresses, "MOST_NUMBERED", 3)
    with accelerate(seed=7):
        drawn = [torch.randn(5) for _ in range(3)]
        state = torch.get_rng_state()
        far = [torch.randn(5) for _ in range(4)]
        torch.set_rng_state(state)
        assert all(torch.equal(torch.randn(5), one) for one in far)
    assert all(torch.equal(one, numbered(7, i, 5)) for i, one in enumerate(drawn))
    assert len({tuple(one.tolist()) for one in drawn + far}) == 7


def test_blocks_inside_each_other_count_for_themselves():
    with accelerate(seed=7):
        a = torch.randn(5)
        with accelerate(seed=8):
            b = torch.randn(5)
        c = torch.randn(5)
    assert all(torch.equal(x, numbered(*where, 5)) for x, where in ((a, (7, 0)), (b, (8, 0)), (c, (7, 1))))


SMALL = {
    "vocab_size": 99,
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "intermediate_size": 37,
    "num_attention_heads": 4,
}
MODELS = {
    "BertModel": SMALL,
    "LlamaModel": SMALL | {"num_key_value_heads": 2},
    "GPT2Model": {"vocab_size": 99, "n_layer": 2, "n_embd": 32, "n_head": 4, "n_positions": 64},
    "ViTModel": {name: n for name, n in SMALL.items() if name != "vocab_size"} | {"image_size": 32, "patch_size": 8},
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", MODELS)
def test_what_transformers_seeds_layer_by_layer_is_equal_from_scratch_and_from_missing_weights(name, seed, monkeypatch):
    """As the test that transformers has for all its models, test_can_init_all_missing_weights."""
    transformers = pytest.importorskip("transformers")
    kind = getattr(transformers, name)
    initialise = transformers.PreTrainedModel._initialize_weights

    def seeded(*arguments, **options):
        transformers.set_seed(0)
        return initialise(*arguments, **options)

    monkeypatch.setattr(transformers.PreTrainedModel, "_initialize_weights", seeded)
    with accelerate(seed=seed) as report:
        built = kind(kind.config_class(**MODELS[name])).state_dict()
        loaded = kind.from_pretrained(None, config=kind.config_class(**MODELS[name]), state_dict={}).state_dict()
    assert built.keys() == loaded.keys()
    assert [key for key in built if not torch.equal(built[key], loaded[key])] == []
    assert report.accelerated["normal_"] + report.accelerated["trunc_normal_"] > 8


# --- workers ----------------------------------------------------------------------------------------------------------


class Noise(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, i):
        return torch.randn(4)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes:UserWarning")
@pytest.mark.parametrize("context", ["fork", "spawn"])
@pytest.mark.parametrize("seed", SEEDS)
def test_every_worker_draws_its_own_and_the_same_after_the_same_seed(seed, context):
    def rows():
        torch.manual_seed(5)
        with accelerate(seed=seed):
            loader = DataLoader(Noise(), num_workers=4 if context == "fork" else 2, multiprocessing_context=context)
            return [tuple(row.tolist()) for batch in loader for row in batch]

    drawn = rows()
    assert len(set(drawn)) == 8
    if context == "fork":
        assert rows() == drawn


# --- while a model computes -------------------------------------------------------------------------------------------


def masked(x):
    return (x * (torch.rand(x.shape) > 0.5)).sin()


class Masked(nn.Module):
    def __init__(self, draw=masked):
        super().__init__()
        self.draw = draw

    def forward(self, x):
        return self.draw(x)


class Checkpointed(nn.Module):
    """Recomputes a method, in which no module is called."""

    def forward(self, x):
        return checkpoint(self.inner, x, use_reentrant=False)

    def inner(self, x):
        return masked(x)


def by_initialiser(x):
    return x * nn.init.trunc_normal_(torch.empty(x.shape)).sign()


COMPUTED = {
    "a function": lambda x: checkpoint(masked, x, use_reentrant=False),
    "a function, reentrant": lambda x: checkpoint(masked, x, use_reentrant=True),
    "by the class": lambda x: CheckpointFunction.apply(masked, True, x),
    "a module": lambda x: checkpoint(Masked(), x, use_reentrant=False),
    "a module, reentrant": lambda x: checkpoint(Masked(), x, use_reentrant=True),
    "a method in a forward": lambda x: Checkpointed()(x),
    "a sequence": lambda x: checkpoint_sequential([Masked(), Masked(torch.sin)], 2, x, use_reentrant=False),
    "dropout": lambda x: checkpoint(nn.Dropout(0.5), x, use_reentrant=False),
    "the drop-in": lambda x: checkpoint(
        lambda y: y * fastinit.torch.uniform_(torch.empty(y.shape)).round(), x, use_reentrant=False
    ),
    "an initialiser": lambda x: checkpoint(by_initialiser, x, use_reentrant=False),
}


@pytest.mark.parametrize("seed", [*SEEDS, "none"])
@pytest.mark.parametrize("how", COMPUTED)
@pytest.mark.parametrize("backward", ["method", "function", "grad"])
def test_what_is_recomputed_for_a_gradient_is_what_was_computed(how, backward, seed):
    x = torch.linspace(0.5, 1.5, 1000, requires_grad=True)
    parameters = [x]

    def gradient():
        y = COMPUTED[how](x)
        if backward == "method":
            y.sum().backward()
        elif backward == "function":
            torch.autograd.backward(y.sum())
        elif "reentrant" in how or "class" in how:
            pytest.skip("PyTorch refuses autograd.grad through a reentrant checkpoint")
        else:
            x.grad = torch.autograd.grad(y.sum(), parameters)[0]
        return y.detach()

    if seed == "none":
        y = gradient()
    else:
        with accelerate(seed=seed):
            torch.randn(3)
            y = gradient()
    if how == "an initialiser":
        assert torch.equal(x.grad, y / x.detach())
    else:
        assert torch.equal(y != 0, x.grad != 0)
        assert 300 < (y != 0).sum() < 700


@pytest.mark.parametrize("seed", SEEDS)
def test_while_a_module_computes_torch_draws(seed):
    def noisy(x):
        drawn = (
            torch.randn(3),
            torch.empty(3).uniform_(),
            nn.init.normal_(torch.empty(3)),
            nn.init.trunc_normal_(torch.empty(3)),
            nn.init.orthogonal_(torch.empty(3, 3)),
            nn.init.sparse_(torch.empty(3, 3), 0.5),
        )
        return torch.cat([one.flatten() for one in drawn])

    module = nn.Sequential(Masked(noisy))
    torch.manual_seed(4)
    expected = module(None)
    with accelerate(seed=seed) as report:
        torch.manual_seed(4)
        assert torch.equal(module(None), expected)
        assert not report.accelerated
        why = "while a module's forward runs"
        names = ("randn", "uniform_", "normal_", "trunc_normal_", "orthogonal_", "sparse_")
        assert report.fell_through == {(name, why): 1 for name in names}
        nn.Linear(3, 4)  # after the forward, initialisers are taken again
    assert report.accelerated == {"kaiming_uniform_": 1, "uniform_": 1}


def test_after_an_interrupted_forward_initialisers_are_taken():
    def interrupted(x):
        raise KeyboardInterrupt

    with accelerate(seed=0) as report:
        with pytest.raises(KeyboardInterrupt):
            Masked(interrupted)(None)
        torch.randn(3)
    assert report.accelerated == {"randn": 1}


def test_a_lazy_layer_is_initialised_though_a_call_asks_for_it():
    model = nn.Sequential(nn.LazyLinear(4), nn.LazyConv1d(3, 2))
    with accelerate(seed=0) as report:
        model(torch.zeros(2, 5, 7))
    assert report.accelerated == {"kaiming_uniform_": 2, "uniform_": 2} and not report.fell_through


def test_nothing_of_a_block_stays_at_modules_and_checkpoints():
    from torch.utils import checkpoint as checkpoints

    before = nn.Module._call_impl, dict(vars(checkpoints))
    with accelerate(), accelerate(seed=0):
        assert nn.Module._call_impl is not before[0]
    assert (nn.Module._call_impl, dict(vars(checkpoints))) == before


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("seed", SEEDS)
def test_a_compiled_module_computes_as_it_does_outside(seed):
    compiled = torch.compile(nn.Sequential(Masked(), nn.Linear(6, 6)), backend="eager")
    x = torch.ones(4, 6)
    torch.manual_seed(3)
    expected = compiled(x)
    with accelerate(seed=seed) as report:
        torch.manual_seed(3)
        assert torch.equal(compiled(x), expected)
    assert not report.accelerated


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_compiled_module_without_draws_is_one_graph_in_a_block_too():
    compiled = torch.compile(copy.deepcopy(nn.Sequential(nn.Linear(6, 6), nn.ReLU())), backend="eager", fullgraph=True)
    with accelerate(seed=0):
        assert compiled(torch.ones(4, 6)).shape == (4, 6)
