"""Complex tensors of PyTorch: its own law of their parts, drawn by fastinit; parameters, plans and recordings."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import fastinit.torch  # noqa: E402
from fastinit import laws  # noqa: E402
from fastinit.plan import Rule  # noqa: E402
from fastinit.torch import accelerate  # noqa: E402

DTYPES = [torch.complex64, torch.complex128]
COUNT = 60_000


def parts_of(tensor):
    return torch.view_as_real(tensor.detach()).double().numpy().reshape(-1, 2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_normal_is_that_of_fill_to_the_bit(dtype):
    with accelerate(seed=3) as report:
        drawn = torch.empty(300, 200, dtype=dtype).normal_(0.0, 0.02)
        again = torch.randn(40, 7, dtype=dtype)
    for number, (tensor, std) in enumerate(((drawn, 0.02), (again, 1.0))):
        same = np.empty(tuple(tensor.shape), str(dtype).removeprefix("torch."))
        fastinit.fill(same, laws.ComplexNormal(0.0, std), seed=3, name=number)
        assert np.array_equal(tensor.numpy(), same)
    assert report.accelerated == {"normal_": 1, "randn": 1}
    assert not report.fell_through


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_parts_follow_the_law_of_pytorchs_own(dtype):
    draws = {
        "normal": lambda: torch.empty(COUNT, dtype=dtype).normal_(2.0, 3.0),
        "uniform": lambda: torch.empty(COUNT, dtype=dtype).uniform_(-1.0, 0.5),
        "rand": lambda: torch.rand(COUNT, dtype=dtype),
        "kaiming": lambda: nn.init.kaiming_uniform_(torch.empty(300, 200, dtype=dtype)),
    }
    for name, draw in draws.items():
        torch.manual_seed(1)
        theirs = parts_of(draw())
        with accelerate() as report:
            ours = parts_of(draw())
        assert not report.fell_through
        assert not np.array_equal(ours, theirs)
        for part in range(2):
            assert stats.ks_2samp(ours[:, part], theirs[:, part]).pvalue > 1e-4, name
        assert abs(np.corrcoef(ours.T)[0, 1]) < 5.0 / math.sqrt(len(ours))


def test_what_pytorch_refuses_or_fastinit_does_not_fill_is_left_to_pytorch():
    with accelerate(seed=0) as report:
        with pytest.raises(NotImplementedError, match="ComplexFloat"):
            nn.init.trunc_normal_(torch.empty(5, dtype=torch.complex64))
        torch.empty(5, dtype=torch.complex64).conj().normal_()
        nn.init.sparse_(torch.empty(8, 8, dtype=torch.complex64), 0.5)
    assert report.fell_through[("normal_", "under a transformation")] == 1
    assert report.fell_through[("sparse_", "of complex64")] == 1


def test_complex_parameters_are_initialised_by_rules():
    module = nn.Linear(16, 8, dtype=torch.complex64)
    rules = [Rule(".*weight", "he_uniform", {}), Rule(".*bias", "zeros", {})]
    fastinit.torch.initialize_(module, 0, rules)
    same = np.empty((8, 16), np.complex64)
    fastinit.fill_he_uniform(same, 16, seed=0, name="weight")
    assert np.array_equal(module.weight.detach().numpy(), same)
    assert not module.bias.any()
    wide = nn.Linear(16, 8, dtype=torch.complex128)
    with pytest.raises(ValueError, match="a tensor of complex128 cannot be initialised; convert it to one of"):
        fastinit.torch.initialize_(wide, 0, rules)


class Weights(nn.Module):
    def __init__(self):
        super().__init__()
        self.drawn = nn.Parameter(torch.empty(8, 4, dtype=torch.complex64))
        self.made = nn.Parameter(torch.randn(5, 5, dtype=torch.complex64))
        self.square = nn.Parameter(torch.rand(5, 5, dtype=torch.complex64))
        self.real = nn.Parameter(torch.randn(3, 3).to(torch.complex64))
        nn.init.normal_(self.drawn, 1.0, 0.5)


def test_a_recording_says_a_complex_law_or_none():
    with fastinit.torch.record() as recorded:
        module = Weights()
    assert recorded.law(module.drawn) == laws.ComplexNormal(1.0 + 1.0j, 0.5)
    assert recorded.law(module.made) == laws.ComplexNormal(0.0, 1.0)
    for parameter, said in (
        (module.square, "a draw into torch.complex64"),
        (module.real, "a draw that is copied into torch.complex64"),
    ):
        with pytest.raises(ValueError, match=said):
            recorded.law(parameter)
