"""record(): the law of every tensor is that which the code draws; nothing is drawn, changed or guessed."""

from __future__ import annotations

import copy
import functools
import math
import random
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
from scipy import stats

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import init  # noqa: E402

import fastinit.torch  # noqa: E402
from fastinit import laws  # noqa: E402
from fastinit.laws import Blocks, Constant, Normal, Orthogonal, Padded, TruncatedNormal, Uniform  # noqa: E402
from fastinit.torch import record  # noqa: E402


def law_of(build):
    """The recorded law of what a function makes."""
    with record() as recorded:
        tensor = build()
    return recorded.law(tensor)


def draws(fill, shape=(400, 300)):
    """A build that fills an empty parameter."""

    def build():
        parameter = nn.Parameter(torch.empty(shape))
        with torch.no_grad():
            fill(parameter)
        return parameter

    return build


def table(n, d):
    places = torch.arange(n)[:, None] * torch.exp(torch.arange(0, d, 2) * (-math.log(10000.0) / d))
    return torch.stack((places.sin(), places.cos()), dim=2).reshape(n, d)


def fused(w):
    init.xavier_uniform_(w[:100])
    init.normal_(w[100:250], std=0.1)
    w[250:].zero_()


def experts(w):
    for i in range(4):
        init.kaiming_uniform_(w[i], a=math.sqrt(5))


def step_bias(n=20000, low=1e-3, high=0.1, floor=1e-4):
    dt = torch.exp(torch.rand(n) * (math.log(high) - math.log(low)) + math.log(low)).clamp(min=floor)
    return dt + torch.log(-torch.expm1(-dt))


def timm_like(w):
    w.uniform_(2 * 0.0227 - 1, 2 * 0.9772 - 1).erfinv_().mul_(0.02 * math.sqrt(2.0)).add_(0.1).clamp_(min=-2, max=2)


def gates(w):
    w.normal_(0, 0.02)
    w.view(4, 100, 300)[1].fill_(1.0)


# what, its build, the law; each is also drawn by PyTorch, and compared
CASES = {
    "normal": (draws(lambda w: w.normal_(0.5, 0.02)), Normal(0.5, 0.02)),
    "uniform by names": (draws(lambda w: w.uniform_(**{"from": -1.0, "to": 3.0})), Uniform(-1.0, 3.0)),
    "init": (draws(lambda w: init.normal_(w, std=0.3)), Normal(0.0, 0.3)),
    "xavier": (draws(init.xavier_normal_), Normal(0.0, math.sqrt(2 / 700))),
    "kaiming": (draws(init.kaiming_uniform_), Uniform(-math.sqrt(6 / 300), math.sqrt(6 / 300))),
    "truncated": (draws(lambda w: init.trunc_normal_(w, 0.1, 0.5, -0.4, 2.0)), TruncatedNormal(0.1, 0.5, -0.4, 2.0)),
    "timm's chain": (draws(timm_like), None),
    "orthogonal": (draws(lambda w: init.orthogonal_(w, 2.0), (40, 30)), Orthogonal(2.0)),
    "orthogonal, scaled": (draws(lambda w: init.orthogonal_(w).mul_(-0.5), (40, 30)), Orthogonal(0.5)),
    "sparse": (draws(lambda w: init.sparse_(w, 0.3, 0.1)), laws.Sparse(Normal(0.0, 0.1), 0.3)),
    "dirac": (draws(lambda w: init.dirac_(w, 2), (8, 4, 3)), laws.Dirac(2)),
    "eye": (draws(init.eye_, (8, 6)), laws.Identity()),
    "scaled": (lambda: nn.Parameter(torch.randn(400, 300) * 0.02), Normal(0.0, 0.02)),
    "scaled from the left": (lambda: nn.Parameter(1 - 2 * torch.rand(400, 300)), Uniform(-1.0, 1.0)),
    "over a root": (lambda: torch.randn(400, 300) / 300**0.5 + 1, Normal(1.0, 300**-0.5)),
    "of means": (lambda: torch.normal(torch.zeros(400, 300), torch.full((400, 300), 0.2)), Normal(0.0, 0.2)),
    "like": (lambda: torch.randn_like(torch.empty(400, 300)).mul_(3.0), Normal(0.0, 3.0)),
    "new": (lambda: torch.ones(3).new_empty(400, 300).normal_(), Normal(0.0, 1.0)),
    "a padding row": (lambda: nn.Embedding(400, 30, padding_idx=7).weight, Padded(Normal(0.0, 1.0), 7)),
    "the last row": (lambda: nn.Embedding(400, 30, padding_idx=-1).weight, Padded(Normal(0.0, 1.0), 399)),
    "slices": (
        draws(fused),
        Blocks(
            [(100, Uniform(-math.sqrt(6 / 400), math.sqrt(6 / 400))), (150, Normal(0.0, 0.1)), (150, Constant(0.0))]
        ),
    ),
    "slices of the last axis": (
        draws(lambda w: (w.zero_(), w[:, 100:].normal_())),
        Blocks([(100, Constant(0.0)), (200, Normal(0.0, 1.0))], 1),
    ),
    "experts": (draws(experts, (4, 100, 50)), Uniform(-math.sqrt(1 / 50), math.sqrt(1 / 50))),
    "orthogonal experts": (
        draws(lambda w: [init.orthogonal_(w[i]) for i in range(4)], (4, 30, 20)),
        Blocks([(1, Orthogonal(batch_axis=(0,)))] * 4),
    ),
    "orthogonal heads of the last axis": (
        draws(lambda w: [init.orthogonal_(w[:, :, i]) for i in range(3)], (30, 20, 3)),
        Blocks([(1, Orthogonal(batch_axis=(2,)))] * 3, 2),
    ),
    "identities": (draws(lambda w: [init.eye_(w[i]) for i in range(3)], (3, 6, 5)), None),
    "a turned table in rows": (
        draws(lambda w: (w.zero_(), w[:2].t().copy_(torch.arange(12.0).reshape(6, 2))), (4, 6)),
        None,
    ),
    "a turned identity": (draws(lambda w: (w.zero_(), init.eye_(w[1:3].t())), (4, 6)), None),
    "gates, through a view": (
        draws(gates),
        Blocks([(100, Normal(0.0, 0.02)), (100, Constant(1.0)), (200, Normal(0.0, 0.02))]),
    ),
    "joined": (
        lambda: torch.cat([torch.randn(100, 30), torch.zeros(50, 30), torch.rand(60, 30)]),
        Blocks([(100, Normal(0.0, 1.0)), (50, Constant(0.0)), (60, Uniform(0.0, 1.0))]),
    ),
    "stacked": (lambda: torch.stack([torch.randn(30) for _ in range(400)]), Normal(0.0, 1.0)),
    "scaled after slices": (
        draws(lambda w: (w.zero_(), w[:, 100:].normal_(), w.mul_(0.5))),
        Blocks([(100, Constant(0.0)), (200, Normal(0.0, 0.5))], 1),
    ),
    "turned": (lambda: nn.Parameter(torch.randn(300, 400).t().contiguous()), Normal(0.0, 1.0)),
    "in another dtype": (lambda: torch.randn(400, 300).mul(0.02).to(torch.float64), Normal(0.0, 0.02)),
    "logarithm of a uniform": (lambda: torch.empty(20000).uniform_(1, 16).log(), laws.LogOfUniform(1.0, 16.0)),
    "steps": (step_bias, laws.StepBias(1e-3, 0.1, 1e-4)),
    "S4D": (lambda: torch.log(torch.arange(1, 17).float()).repeat(4, 1), None),
    "sinusoids": (lambda: nn.Parameter(table(50, 16), requires_grad=False), None),
    "a table in an empty parameter": (draws(lambda w: w.copy_(table(50, 16)), (50, 16)), None),
    "every second column": (
        draws(lambda w: (w[:, 0::2].copy_(table(50, 8)), w[:, 1::2].fill_(2.0)), (50, 16)),
        None,
    ),
    "a column of a table": (draws(lambda w: (w.zero_(), w[:, 1].copy_(torch.arange(50.0))), (50, 16)), None),
    "one number": (lambda: nn.Parameter(1e-6 * torch.ones(30)), Constant(1e-6)),
    "one large number": (lambda: nn.Parameter(1e-6 * torch.ones(300, 400)), Constant(1e-6)),
    "NumPy's values": (lambda: torch.from_numpy(np.arange(12.0).reshape(3, 4)), None),
}


@pytest.mark.parametrize("case", CASES)
def test_the_law_is_that_which_the_code_draws(case):
    build, expected = CASES[case]
    law = law_of(build)
    if expected is not None:
        assert same(law, expected), law
    torch.manual_seed(1)
    theirs = build().detach().double()
    ours = torch.empty(theirs.shape, dtype=torch.float64)
    fastinit.fill(ours, law, seed=1, name=case)
    if not law.draws:
        assert torch.allclose(ours, theirs, rtol=1e-6, atol=1e-7)
        return
    assert (theirs == 0).float().mean().item() == pytest.approx((ours == 0).float().mean().item(), abs=1e-3)
    assert stats.ks_2samp(ours.numpy().ravel(), theirs.numpy().ravel()).pvalue > 1e-4
    for axis in range(theirs.ndim):  # which rows, and which columns, have which law
        x, y = (one.movedim(axis, 0).reshape(theirs.shape[axis], -1).square().mean(1) for one in (ours, theirs))
        if theirs.numel() >= 100 * theirs.shape[axis]:
            assert torch.allclose(x, y, rtol=0.9, atol=1e-12)


@pytest.mark.parametrize("case", ["orthogonal experts", "orthogonal heads of the last axis"])
def test_matrices_that_are_written_to_slices_are_orthogonal(case):
    build, _ = CASES[case]
    with record() as recorded:
        model = nn.ParameterList([build()])
    law = recorded.laws(model)["0"]
    drawn = torch.from_numpy(fastinit.new(tuple(model[0].shape), law, seed=3, name="w"))
    matrices = drawn.movedim(2, 0) if drawn.shape[-1] == 3 else drawn
    assert all(torch.allclose(one.T @ one, torch.eye(20), atol=1e-5) for one in matrices)
    assert not torch.allclose(matrices[0], matrices[1])


def same(law, expected):
    """Whether laws are one, but for the last bits of their numbers."""
    if isinstance(law, Blocks) and isinstance(expected, Blocks):
        pairs = zip(law.parts, expected.parts, strict=True)
        return law.axis == expected.axis and all(a == b and same(x, y) for (a, x), (b, y) in pairs)
    if type(law) is not type(expected):
        return False
    ours, theirs = vars(law), vars(expected)
    return all(
        same(value, theirs[name])
        if isinstance(value, laws.Law)
        else value == (pytest.approx(theirs[name], rel=1e-9) if isinstance(value, float) else theirs[name])
        for name, value in ours.items()
        if not name.startswith("_")
    )


def test_every_reference_to_an_initialiser_is_seen():
    held = {"mine": functools.partial(init.orthogonal_, gain=3.0), "cut": init.trunc_normal_}
    assert law_of(draws(held["mine"], (8, 6))) == Orthogonal(3.0)
    assert law_of(draws(held["cut"])) == TruncatedNormal(0.0, 1.0, -2.0, 2.0)
    assert held["cut"](torch.empty(100)).std() > 0  # after the block it draws again
    assert abs(torch.linalg.norm(held["mine"](torch.empty(8, 6)), 2) - 3.0) < 1e-4


# --- what is refused --------------------------------------------------------------------------------------------------


def branching(w):
    w.normal_()
    while w.std() > 1:
        w.mul_(0.9)


REFUSED = {
    "never written": (lambda: nn.Parameter(torch.empty(3, 4)), "nothing was written"),
    "a part never written": (draws(lambda w: w[:2].normal_()), "never written|nothing was written"),
    "made by torch.Tensor": (lambda: nn.Parameter(torch.Tensor(8, 8)), "to which nothing was written"),
    "every second column never written": (draws(lambda w: w[:, 0::2].fill_(1.0)), "never written"),
    "no law": (draws(lambda w: w.exponential_()), "exponential_, of which fastinit has no law"),
    "a decomposition": (lambda: torch.linalg.svd(torch.randn(4, 3))[1], "linalg_svd of draws, which is not replayed"),
    "an argument": (lambda: torch.randn(4, 3).sum(dtype=torch.float64), "the argument dtype"),
    "a matrix in a box": (
        draws(lambda w: w.copy_(init.orthogonal_(torch.empty(30, 20))), (1, 30, 20)),
        "a part, or a function, of an orthogonal matrix",
    ),
    "two functions of a draw": (
        lambda: (lambda u: u.log() - (1 - u).log())(torch.empty(30).uniform_(0.1, 0.9)),
        "two functions of one draw in one expression",
    ),
    "a clip of very many": (draws(lambda w: w.normal_().clamp_(-1, 1), (1 << 14, 1 << 14)), "at most 67,108,864"),
    "different deviations": (lambda: torch.normal(0.0, torch.arange(1.0, 4.0)), "different means or deviations"),
    "integers": (lambda: torch.randint(0, 5, (3,)), "randint, of which fastinit has no law"),
    "rounded": (lambda: torch.randn(3).to(torch.int64), "a draw that is copied into torch.int64"),
    "a fan of a slice that is torn": (
        draws(lambda w: (init.orthogonal_(w), w[:2].zero_()), (8, 6)),
        "a part of a Orthogonal, whose rest was written over",
    ),
}


def Plain(tensor):
    """A tensor as a parameter, whatever it holds."""
    return nn.Parameter(tensor, requires_grad=False)


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_law_is_refused_with_its_line(case):
    build, message = REFUSED[case]
    with record() as recorded:
        tensor = build()
    with pytest.raises(ValueError, match=message) as refused:
        recorded.laws(nn.ParameterList([tensor if isinstance(tensor, nn.Parameter) else Plain(tensor)]))
    if case not in ("made by torch.Tensor",):
        assert f"{__file__}:" in str(refused.value)


REPLAYED = {
    "clipped": draws(lambda w: w.normal_(0, 0.5).clamp_(-0.4, 0.6)),
    "a product of draws": lambda: torch.randn(300, 40) * torch.rand(300, 40),
    "repeated": lambda: torch.randn(100, 30).repeat(4, 1),
    "expanded": lambda: torch.randn(1, 3000).expand(4, 3000).clone(),
    "interleaved": lambda: torch.randn(100, 30).repeat_interleave(3, dim=0),
    "over its deviation": lambda: (lambda w: w / w.std())(torch.randn(60, 50) * 3),
    "rows of length one": lambda: (lambda w: w / w.norm(dim=1, keepdim=True))(torch.randn(60, 50)),
    "a norm of rows": lambda: torch.linalg.vector_norm(torch.randn(600, 50), dim=1),
    "variances": lambda: torch.randn(600, 50).var(dim=1),
    "means": lambda: torch.randn(600, 50).mean(1),
    "rotations": lambda: (lambda a: torch.stack([a.cos() * 0.3, torch.sin(a + math.pi / 2)]))(torch.rand(1500) * 6.0),
    "RG-LRU": draws(lambda w: w.uniform_(0.81, 0.998).log_().mul_(0.5).neg_().exp_().sub_(1.0).log_(), (3000,)),
    "a slice of a clip": lambda: torch.randn(80, 60).clamp(-1, 1)[:, 7:50].contiguous(),
    "every second column": draws(lambda w: (w[:, 0::2].normal_(), w[:, 1::2].uniform_())),
    "pieces": lambda: torch.cat([torch.randn(50, 30).abs(), torch.zeros(20, 30)]),
}


@pytest.mark.parametrize("case", REPLAYED)
def test_what_has_no_law_is_replayed(case):
    build = REPLAYED[case]
    with record() as recorded:
        model = nn.ParameterDict({"w": nn.Parameter(build())})
    law = recorded.laws(model)["w"]
    assert isinstance(law, laws.Replayed)
    torch.manual_seed(3)
    theirs = torch.cat([build().detach().ravel() for _ in range(4)]).double().numpy()
    drawn = [fastinit.new(law.shape, law, seed=seed, name="x").ravel() for seed in range(4)]
    several = case in ("repeated", "expanded", "interleaved")  # each value of them is there several times
    ours, theirs = (np.unique(one) if several else one for one in (np.concatenate(drawn), theirs))
    assert stats.ks_2samp(ours, theirs).pvalue > 1e-4
    if several:
        return
    assert len(np.unique(drawn[0])) == pytest.approx(len(np.unique(theirs)) / 4, rel=0.05)


def test_the_gain_of_weight_norm_is_the_norm_of_its_direction():
    def build():
        return nn.utils.parametrizations.weight_norm(nn.Conv1d(8, 6, 3), dim=2)

    made = fastinit.torch.materialize_(build, 3, prefix="model.")
    own = made.parametrizations.weight
    assert torch.allclose(own.original0, torch.norm_except_dim(own.original1, 2, 2))
    assert len(fastinit.torch.plan(build).tensors) == 3


def test_code_that_branches_on_a_draw_is_an_error_with_its_line():
    with pytest.raises(RuntimeError, match=r"test_torch_record\.py:\d+ in branching: __bool__ needs values"):
        law_of(draws(branching))


def test_what_branches_on_values_without_chance_goes_on():
    def build():
        w = torch.empty(300, 300).fill_(0.0)
        return w.normal_() if not w.any() and w.sum().item() == 0 else w

    assert law_of(build) == Normal(0.0, 1.0)


def test_all_parameters_without_a_law_are_named():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 4)
            self.scale = nn.Parameter(torch.empty(5))

    with record() as recorded:
        model = Odd()
    with pytest.raises(ValueError, match=r"no law for 'scale' \[5\]: memory of .*test_torch_record.py:\d+ in __init__"):
        recorded.laws(model)
    assert set(recorded.laws(model.inner)) == {"weight", "bias"}


# --- nothing else happens ---------------------------------------------------------------------------------------------


def test_what_existed_before_keeps_its_values():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Embedding(4, 5, padding_idx=1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with record() as recorded:
        for layer in model:
            layer.reset_parameters()
        with torch.no_grad():
            model[0].bias.zero_()
            model[0].weight.data = torch.randn(3, 4) * 0.1
            model[2].weight[0] = 3.0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    found = recorded.laws(model)
    assert found["0.bias"] == Constant(0.0)
    assert found["0.weight"] == Normal(0.0, 0.1)
    assert found["1.weight"] == Constant(1.0)
    assert found["2.weight"] == Blocks([(1, Constant(3.0)), (1, Constant(0.0)), (2, Normal(0.0, 1.0))])


WRITES = {
    "a view": lambda w: w.view(-1).zero_(),
    "a row": lambda w: [row.zero_() for row in w],
    "a transpose": lambda w: w.T.zero_(),
    "chunks": lambda w: [one.zero_() for one in w.chunk(2)],
    "a diagonal and the rest": lambda w: w.as_strided((16,), (1,)).zero_(),
    "narrowed": lambda w: (w.narrow(0, 0, 2).zero_(), w.narrow(0, 2, 2).zero_()),
    "out=": lambda w: torch.zeros(4, 4, out=w),
    "out= of arithmetic": lambda w: torch.mul(torch.ones(4, 4), 0.0, out=w),
    "in place, by a function": lambda w: torch.nn.functional.threshold(w.fill_(-1.0), 0.0, 0.0, inplace=True),
    "several at once": lambda w: torch._foreach_mul_([w.fill_(-0.0)], -1.0),
}


@pytest.mark.parametrize("parameter", ["that existed", "of the block"])
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_write_is_seen_in_whatever_way_it_is_done(write, parameter):
    weight = nn.Parameter(torch.full((4, 4), 3.0))
    with record() as recorded, torch.no_grad():
        if parameter == "of the block":
            weight = nn.Linear(4, 4).weight
        write(weight)
    assert recorded.law(weight) == Constant(0.0)
    assert weight.is_meta or (weight == 3.0).all()


def test_what_a_function_draws_by_itself_is_no_value():
    """PyTorch's dropout draws inside; what it makes of a table would count as given, the same for every seed."""
    with record() as recorded:
        table = nn.functional.dropout(torch.ones(64), 0.5)
    with pytest.raises(ValueError, match="dropout, which draws"):
        recorded.law(table)


def test_the_constructor_of_tensors_gives_values_of_a_list_and_memory_of_sizes():
    with record() as recorded:
        given, drawn, never = torch.Tensor([2.0, 3.0]), torch.Tensor(400, 300), torch.Tensor(torch.Size((3,)))
        nn.init.normal_(drawn, std=0.02)
    assert given.tolist() == [2.0, 3.0]
    assert torch.equal(recorded.values(given), torch.tensor([2.0, 3.0]))
    assert recorded.law(drawn) == Normal(0.0, 0.02)
    with pytest.raises(ValueError, match=r"memory of .*test_torch_record.* to which nothing was written"):
        recorded.law(never)
    assert "__init__" not in vars(torch.Tensor)


def test_generators_stay_and_one_that_moved_is_named():
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    with record() as recorded:
        nn.Linear(30, 20), torch.randn(3), torch.randperm(5)
    assert recorded.moved == ()
    with record() as recorded:
        nn.Parameter(torch.from_numpy(np.random.randn(3))), random.random()
    assert recorded.moved == ("numpy", "random")
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()
    assert before[2] == random.getstate()


def own_generator(seed=7):
    return torch.Generator().manual_seed(seed)


def chosen():
    """A mask of chosen places, and the places: as adapters with fixed sparsity make them."""
    places = torch.randperm(600, generator=own_generator())[:50]
    mask = torch.zeros(1, 600).scatter_(1, places.unsqueeze(0), torch.ones(1, 50)).view(20, 30)
    return mask, torch.stack(torch.where(mask == 1.0))


def test_what_a_generator_of_the_code_draws_without_a_law_is_a_value():
    """It comes from the seed that the code says, and is the same whatever seed a model is drawn with."""
    with record() as recorded:
        mask, places = chosen()
        buffer = torch.empty(40).exponential_(generator=own_generator())
        table = torch.zeros(40).exponential_(generator=torch.Generator())
    assert torch.equal(recorded.values(mask), chosen()[0])
    assert torch.equal(recorded.values(places), chosen()[1])
    assert torch.equal(recorded.values(buffer), torch.empty(40).exponential_(generator=own_generator()))
    assert torch.equal(recorded.values(table), torch.empty(40).exponential_(generator=torch.Generator()))


def by_chance():
    generator = torch.Generator()
    generator.seed()
    return generator


@pytest.mark.parametrize("before", [torch.randn, init.trunc_normal_, init.orthogonal_, init.normal_, None])
def test_a_generator_that_recording_left_behind_or_chance_seeded_gives_no_values(before):
    """A draw that was recorded has not moved it: what it would draw next is not what the code gets."""
    generator = own_generator() if before is not None else by_chance()
    with record() as recorded:
        if before is torch.randn:
            torch.randn(8, generator=generator)
        elif before is not None:
            before(torch.empty(4, 4), generator=generator)
        places = torch.randperm(40, generator=generator)
        buffer = torch.empty(40).exponential_(generator=generator)
    for tensor in (places, buffer):
        with pytest.raises(ValueError, match=r"randperm|exponential_"):
            recorded.law(tensor)


def test_other_threads_draw():
    found = {}

    def elsewhere():
        found["cut"] = init.trunc_normal_(torch.empty(100)).std()
        found["orthogonal"] = init.orthogonal_(torch.empty(8, 8)).std()

    with record():
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert 0.5 < found["cut"] < 1.2 and 0.2 < found["orthogonal"] < 0.5


def test_after_an_exception_nothing_is_left():
    code = init.orthogonal_.__code__
    with pytest.raises(KeyError), record():
        raise KeyError
    assert init.orthogonal_.__code__ is code
    assert torch.randn(3).device.type == "cpu"


def test_inside_accelerate_it_is_refused():
    with fastinit.torch.accelerate(seed=0), pytest.raises(RuntimeError, match="one draws, the other records"), record():
        pass


def test_copies_of_one_draw_have_its_identity():
    with record() as recorded:
        layer = nn.Linear(3, 4)
        other = copy.deepcopy(layer)
        fresh = nn.Linear(3, 4)
    draw = [recorded.answer(one.weight).draws[0][0].draw for one in (layer, other, fresh)]
    assert draw[0] is draw[1] is not draw[2]


def test_a_model_of_any_size_needs_no_memory():
    with record() as recorded:
        model = nn.Sequential(nn.Linear(1 << 20, 1 << 20), nn.Embedding(1 << 30, 1 << 12))
    assert recorded.laws(model)["1.weight"] == Normal(0.0, 1.0)


SHARDED = """
    import sys
    import torch, torch.distributed as dist
    from torch import nn
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.testing._internal.distributed.fake_pg import FakeStore
    import fastinit.torch
    from fastinit.torch.shards import local_part

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.out = nn.Embedding(37, 24, padding_idx=3), nn.Linear(24, 50)
            self.table = nn.Parameter(torch.empty(7, 9))

        def init_weights(self, buffer_device=None):
            nn.init.trunc_normal_(self.out.weight, std=0.02)
            nn.init.zeros_(self.out.bias)
            nn.init.normal_(self.words.weight, std=0.1)
            with torch.no_grad():
                self.words.weight[self.words.padding_idx].zero_()
                self.table.normal_().mul_(0.5).add_(1)

    plain = fastinit.torch.initialize_(Model(), 5)
    assert (plain.words.weight[3] == 0).all() and plain.out.weight.std() < 0.025
    dist.init_process_group("fake", store=FakeStore(), rank=int(sys.argv[1]), world_size=4)
    with torch.device("meta"):
        model = Model()
    fully_shard(model, mesh=init_device_mesh("cpu", (4,)))
    model.to_empty(device="cpu")
    for init in ("auto", model.init_weights):
        fastinit.torch.initialize_(model, 5, init=init)
        assert fastinit.torch.plan(model, init=init).tensors == fastinit.torch.plan(plain).tensors
        for (name, own), (_, whole) in zip(model.named_parameters(), plain.named_parameters()):
            local, shard = local_part(own, name)
            place = tuple(slice(at, at + n) for at, n in zip(shard.offsets, local.shape))
            assert torch.equal(local, whole[place]), name
    print("equal")
"""


@pytest.mark.parametrize("rank", [0, 3])  # rank 0 has the padding row, rank 3 has not, and fewer rows
def test_a_dtensor_has_the_law_of_the_whole_and_so_have_its_slices(rank):
    run = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(SHARDED), str(rank)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=240, check=False)
    assert done.stdout.strip() == "equal", done.stderr[-3000:]


# --- models of transformers -------------------------------------------------------------------------------------------

LAYERS = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
WORDS = {"vocab_size": 200}
SIDES = {f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in (("layers", 2), ("attention_heads", 4))}
SMALL = {
    "LlamaConfig": LAYERS | WORDS,
    "GPT2Config": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64} | WORDS,
    "BertConfig": LAYERS | WORDS,
    "ViTConfig": LAYERS | {"image_size": 32},
    "MixtralConfig": LAYERS | WORDS | {"num_key_value_heads": 2},
    "WhisperConfig": SIDES
    | WORDS
    | {"d_model": 64, "pad_token_id": 5, "max_source_positions": 40, "max_target_positions": 30},
    "Mamba2Config": {"hidden_size": 64, "num_heads": 8, "head_dim": 16, "state_size": 16, "num_hidden_layers": 2}
    | WORDS
    | {"n_groups": 2},
    "T5Config": {"d_model": 64, "d_kv": 16, "d_ff": 96, "num_layers": 2, "num_heads": 4} | WORDS,
    "ConvNextConfig": {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 1, 1]},
}


@pytest.mark.parametrize("kind", SMALL)
def test_the_laws_of_a_transformer_are_those_of_its_own_code(kind):
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, kind)(**SMALL[kind])
    with record() as recorded:
        model = transformers.AutoModel.from_config(config)
    found = recorded.laws(model)
    torch.manual_seed(5)
    theirs = [transformers.AutoModel.from_config(config) for _ in range(3)]
    worst = 1.0
    for name, parameter in theirs[0].named_parameters():
        law = found[name]
        values = torch.cat([dict(one.named_parameters())[name].detach().double().ravel() for one in theirs]).numpy()
        if not law.draws:
            ours = torch.empty(parameter.shape)
            fastinit.fill(ours, law)
            assert torch.allclose(ours, parameter, rtol=1e-6, atol=1e-7), name
            continue
        element = law.marginal(tuple(parameter.shape))
        drawn = values[values != 0] if isinstance(law, Padded) else values
        worst = min(worst, stats.kstest(drawn, (law.values if isinstance(law, Padded) else element).cdf).pvalue)
    assert worst > 1e-3 / len(found)
    assert recorded.moved == ()
    built, build = (fastinit.torch.plan(one) for one in (theirs[0], lambda: transformers.AutoModel.from_config(config)))
    assert {one.name: one.said for one in built.tensors} == {one.name: one.said for one in build.tensors}
    fastinit.torch.initialize_(theirs[0], seed=0)  # README's example
