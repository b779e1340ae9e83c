"""Every scheme of an architecture against its formula, typed anew, and against the code it comes from, in PyTorch."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

import fastinit
from fastinit import architectures
from fastinit.laws import GateBias, LogOfUniform, Normal, StateLogs, StepBias, Uniform

PAGE = (Path(__file__).parents[2] / "docs" / "architectures.md").read_text(encoding="utf-8")
INF, NAN = math.inf, math.nan

# scheme, arguments, options, the law: standard deviations and bounds worked out by hand
FORMULAS = [
    ("siren_uniform", (256,), {"first": True}, Uniform(-1 / 256, 1 / 256)),
    ("siren_uniform", (2,), {"first": True, "omega": 100.0}, Uniform(-0.5, 0.5)),
    ("siren_uniform", (256,), {}, Uniform(-0.005103103630798288, 0.005103103630798288)),  # sqrt(6) / 16 / 30
    ("siren_uniform", (6,), {"omega": 4}, Uniform(-0.25, 0.25)),
    ("residual_normal", (12,), {}, Normal(0.0, 0.004082482904638630)),  # GPT-2 small: 0.02 / sqrt(24)
    ("residual_normal", (48,), {"std": 0.0}, Normal(0.0, 0.0)),
    ("residual_normal", (8,), {"std": 1.0}, Normal(0.0, 0.25)),
    ("small_normal", (10,), {}, Normal(0.0, 0.2)),
    ("small_normal", (6144,), {}, Normal(0.0, 0.008068715304598785)),  # GPT-NeoX-20B
    ("wang_normal", (6144, 44), {}, Normal(0.0, 0.000579898139863442)),  # GPT-NeoX-20B
    ("wang_normal", (16, 5), {}, Normal(0.0, 0.1)),
    ("mup_normal", (256, 256), {}, Normal(0.0, 0.02)),
    ("mup_normal", (4096, 256), {}, Normal(0.0, 0.005)),
    ("mup_normal", (64, 256), {"std": 0.5}, Normal(0.0, 1.0)),
    ("mamba_dt_bias", (), {}, StepBias(0.001, 0.1, 0.0001)),
    ("mamba_dt_bias", (0.01, 0.2), {"floor": 0.02}, StepBias(0.01, 0.2, 0.02)),
    ("lstm_bias", (), {}, GateBias(1.0)),
    ("lstm_bias", (2.5,), {}, GateBias(2.5)),
    ("mamba_a_log", (), {}, StateLogs()),
    ("mamba2_a_log", (), {}, LogOfUniform(1.0, 16.0)),
    ("mamba2_a_log", (0.5, 2), {}, LogOfUniform(0.5, 2.0)),
]


@pytest.mark.parametrize(("scheme", "arguments", "options", "law"), FORMULAS)
def test_a_scheme_is_its_formula(scheme, arguments, options, law):
    got = getattr(architectures, scheme)(*arguments, **options)
    assert type(got) is type(law)
    assert vars(got) == pytest.approx(vars(law), rel=1e-9)


@pytest.mark.parametrize(("scheme", "arguments", "options", "law"), FORMULAS)
def test_a_fill_function_is_its_scheme_and_one_call_of_fill(scheme, arguments, options, law):
    address = {"seed": 3, "name": "layers.0", "shard": fastinit.Shard((100, 40), (50, 0)), "threads": 1}
    expected, got = np.full((50, 40), np.nan, np.float32), np.full((50, 40), np.nan, np.float32)
    fastinit.fill(expected, getattr(architectures, scheme)(*arguments, **options), **address)
    assert getattr(fastinit, f"fill_{scheme}")(got, *arguments, **options, **address) is None
    assert got.tobytes() == expected.tobytes()
    assert not np.isnan(got).any()


def test_the_forget_gate_of_an_lstm_is_where_pytorch_has_it():
    torch = pytest.importorskip("torch")
    cell = torch.nn.LSTMCell(1, 3)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
        fastinit.fill_lstm_bias(cell.bias_ih.numpy(), 50.0)  # open: the cell is kept whole
        _, kept = cell(torch.zeros(1, 1), (torch.zeros(1, 3), torch.ones(1, 3)))
        fastinit.fill_lstm_bias(cell.bias_ih.numpy(), -50.0)
        _, lost = cell(torch.zeros(1, 1), (torch.zeros(1, 3), torch.ones(1, 3)))
    assert kept.numpy() == pytest.approx(1.0)
    assert lost.numpy() == pytest.approx(0.0, abs=1e-9)


def test_mambas_a_log_is_that_of_its_code():
    theirs = np.log(np.arange(1, 17, dtype=np.float32))  # mamba_simple.py: repeat(arange(1, d_state + 1), "n -> d n")
    ours = np.full((6, 16), np.nan, np.float32)
    fastinit.fill_mamba_a_log(ours)
    assert ours == pytest.approx(np.tile(theirs, (6, 1)), rel=2e-7)


def test_the_layers_of_a_siren_settle_at_one_spread_whatever_the_depth():
    """Of a normal of variance v the sine has variance (1 - e^-2v) / 2, and the weights double it: v = 1 - e^-2v."""
    width, omega = 1024, 30.0
    x = np.random.default_rng(0).uniform(-1, 1, (2, 1000)).astype(np.float32)
    weight = np.empty((width, 2), np.float32)
    fastinit.fill_siren_uniform(weight, 2, first=True, seed=1, name="0")
    x = np.sin(omega * (weight @ x))
    for layer in range(1, 9):
        weight = np.empty((width, width), np.float32)
        fastinit.fill_siren_uniform(weight, width, seed=1, name=str(layer))
        inside = omega * (weight @ x)
        assert inside.std() == pytest.approx(math.sqrt(2 * (x.astype(np.float64) ** 2).mean()), rel=0.01)
        x = np.sin(inside)
    assert inside.std() == pytest.approx(math.sqrt(0.796812), rel=0.03)


def test_residual_projections_of_any_depth_add_up_to_the_variance_of_one_plain_matrix():
    for layers in (1, 12, 48):
        branches = 2 * layers
        assert branches * architectures.residual_normal(layers).std ** 2 == pytest.approx(0.02**2, rel=1e-14)


def test_small_init_is_xavier_of_the_matrix_with_four_times_the_outputs():
    assert architectures.small_normal(768) == pytest.approx(fastinit.schemes.xavier_normal(768, 4 * 768))


@pytest.mark.parametrize("width", [64, 256, 1024])
def test_under_mup_the_output_of_a_hidden_matrix_keeps_its_size(width):
    """Entries of size one in, entries of the base model's size out, at every width."""
    weight, x = np.empty((width, width), np.float32), np.sign(np.random.default_rng(0).normal(size=(width, 200)))
    fastinit.fill_mup_normal(weight, width, 64, std=0.125, seed=5)
    assert (weight @ x).std() == pytest.approx(0.125 * math.sqrt(64), rel=0.05)


def test_mamba_biases_are_those_of_the_authors_code_in_law(engine):
    """mamba_ssm/modules/mamba_simple.py, in torch, against ours: Kolmogorov and Smirnov's two-sample distance."""
    torch = pytest.importorskip("torch")
    n, low, high = 1 << 17, 0.001, 0.1
    uniform = torch.rand(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    dt = torch.exp(uniform * (math.log(high) - math.log(low)) + math.log(low)).clamp(min=1e-4)
    theirs = dt + torch.log(-torch.expm1(-dt))
    ours = np.empty(n, np.float32)
    fastinit.fill_mamba_dt_bias(ours, seed=4)
    assert scipy.stats.ks_2samp(ours, theirs.numpy()).pvalue > 1e-3
    steps = torch.nn.functional.softplus(torch.from_numpy(ours).double())
    assert low <= float(steps.min()) < 0.00101
    assert 0.0999 < float(steps.max()) <= high


def test_mamba2_decay_rates_are_uniform_from_1_to_16(engine):
    logs = np.empty(1 << 17, np.float32)
    fastinit.fill_mamba2_a_log(logs, seed=4)
    assert scipy.stats.kstest(np.exp(logs.astype(np.float64)), scipy.stats.uniform(1, 15).cdf).pvalue > 1e-3


# --- refusals ---------------------------------------------------------------------------------------------------------

REFUSALS = [
    (
        "siren_uniform",
        (0,),
        {},
        ValueError,
        r"fan_in is 0; it must be positive and finite: the inputs .*fastinit\.fans",
    ),
    ("siren_uniform", (NAN,), {"first": True}, ValueError, "fan_in is nan; it must be positive"),
    ("siren_uniform", ((3, 4),), {}, TypeError, r"fan_in is \(3, 4\) of type tuple; pass a real number"),
    ("siren_uniform", (8,), {"omega": 0}, ValueError, "omega is 0; it must be positive and finite: .* 30 in the paper"),
    ("siren_uniform", (8,), {"omega": -30.0, "first": True}, ValueError, "omega is -30.0; it must be positive"),
    ("residual_normal", (0,), {}, ValueError, "layers is 0; it must be positive and finite: the number of transformer"),
    ("residual_normal", (None,), {}, TypeError, "layers is None of type NoneType; pass a real number"),
    ("residual_normal", (12,), {"std": -0.02}, ValueError, "std is -0.02; it must be zero or positive"),
    ("residual_normal", (12,), {"std": NAN}, ValueError, "std is nan; it must be finite"),
    ("small_normal", (NAN,), {}, ValueError, "width is nan; it must be positive and finite: the length of a vector"),
    ("small_normal", (True,), {}, TypeError, "width is True of type bool; pass a real number"),
    ("wang_normal", (0, 12), {}, ValueError, "width is 0; it must be positive"),
    ("wang_normal", (768, -12), {}, ValueError, "layers is -12; it must be positive"),
    ("wang_normal", (768, INF), {}, ValueError, "layers is inf; it must be positive and finite"),
    ("mup_normal", (0, 256), {}, ValueError, "fan_in is 0; it must be positive"),
    ("mup_normal", (256, 0), {}, ValueError, "base_fan_in is 0; it must be positive and finite: .* narrow model"),
    ("mup_normal", (256, 256), {"std": "0.02"}, TypeError, "std is '0.02' of type str; pass a real number"),
    ("mamba_dt_bias", (0, 0.1), {}, ValueError, "StepBias: low is 0.0; it must be positive and finite"),
    ("mamba_dt_bias", (0.1, 0.001), {}, ValueError, "low 0.1 is not below high 0.001; swap them"),
    ("mamba_dt_bias", (0.1, 0.1), {}, ValueError, "low 0.1 is not below high 0.1"),
    ("mamba_dt_bias", (0.001, INF), {}, ValueError, "StepBias: high is inf; it must be positive and finite"),
    ("mamba_dt_bias", (), {"floor": 0.0}, ValueError, "StepBias: floor is 0.0; it must be positive"),
    ("mamba_dt_bias", (), {"floor": 0.1}, ValueError, "floor 0.1 is not below high 0.1.*lower the floor"),
    ("mamba_dt_bias", (), {"floor": None}, TypeError, "StepBias: floor is None of type NoneType; pass a real number"),
    ("mamba2_a_log", (0,), {}, ValueError, "LogOfUniform: low is 0.0; it must be positive and finite"),
    ("mamba2_a_log", (16, 1), {}, ValueError, "low 16.0 is not below high 1.0; swap them"),
    ("mamba2_a_log", (1, NAN), {}, ValueError, "LogOfUniform: high is nan; it must be positive"),
    ("mamba2_a_log", (1e-320, 1), {}, ValueError, r"low is 1e-320; .*from 2\^-1000 to 2\^1000"),
]


@pytest.mark.parametrize(("scheme", "arguments", "options", "error", "message"), REFUSALS)
def test_bad_numbers_are_refused_before_the_first_store(scheme, arguments, options, error, message):
    buf = np.full(100, 0.625, np.float32)
    with pytest.raises(error, match=message):
        getattr(fastinit, f"fill_{scheme}")(buf, *arguments, **options, seed=0)
    assert (buf == 0.625).all()


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_calls_every_scheme_of_this_module_as_it_can_be_called():
    called = dict(re.findall(r"`(fill_\w+)\((.*?)\)`", PAGE))
    assert {name for name in called if hasattr(architectures, name)} == {f"fill_{row[0]}" for row in FORMULAS}
    names = {"buf": np.empty(64, np.float32), "fan_in": 64, "base_fan_in": 16, "width": 64, "layers": 12}
    for name, arguments in called.items():
        eval(f"fastinit.{name}({arguments}, seed=0)", {"fastinit": fastinit, **names})
