"""Every scheme against its formula, typed anew; gains and advice against PyTorch's table and custom."""

from __future__ import annotations

import inspect
import itertools
import math

import numpy as np
import pytest
import scipy.stats
from scipy import integrate, special

import fastinit
from fastinit import laws, schemes
from fastinit.laws import Constant, Normal, TruncatedNormal, Uniform

SHAPE = (48, 80)
FILLS = sorted(name for name in dir(fastinit) if name.startswith("fill_") and name != "fill_many")

# scheme, its arguments, the standard deviation it must have
FORMULAS = [
    ("xavier", (300, 100), {}, math.sqrt(2 / 400)),
    ("xavier", (300, 100), {"gain": 5 / 3}, 5 / 3 * math.sqrt(2 / 400)),
    ("xavier", (1, 1), {}, 1.0),
    ("he", (512,), {}, 0.0625),
    ("he", (512,), {"negative_slope": 1.0}, math.sqrt(1 / 512)),
    ("he", (512,), {"negative_slope": 0.2}, math.sqrt(2 / (1.04 * 512))),
    ("he", (512,), {"negative_slope": -0.2}, math.sqrt(2 / (1.04 * 512))),
    ("he", (512,), {"negative_slope": math.sqrt(5)}, math.sqrt(1 / (3 * 512))),  # torch.nn.Linear's own start
    ("he", (512,), {"gain": 0.01}, 0.000625),
    ("lecun", (400,), {}, 0.05),
    ("lecun", (400,), {"gain": 2.0}, 0.1),
    ("lecun", (0.25,), {}, 2.0),
]
BOUNDS = {"xavier": lambda fan_in, fan_out: math.sqrt(6 / (fan_in + fan_out)), "lecun": lambda fan: math.sqrt(3 / fan)}


# --- scheme -> law ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scheme", "fans", "options", "std"), FORMULAS)
def test_a_normal_scheme_is_a_plain_normal_of_the_formulas_std(scheme, fans, options, std):
    law = getattr(schemes, f"{scheme}_normal")(*fans, **options)
    assert isinstance(law, Normal)
    assert law.mean == 0.0
    assert law.std == pytest.approx(std, rel=1e-15)


@pytest.mark.parametrize(("scheme", "fans", "options", "std"), FORMULAS)
def test_a_uniform_scheme_is_symmetric_with_the_formulas_std(scheme, fans, options, std):
    law = getattr(schemes, f"{scheme}_uniform")(*fans, **options)
    assert isinstance(law, Uniform)
    assert law.low == -law.high
    assert law.high == pytest.approx(math.sqrt(3) * std, rel=1e-15)
    assert law.std == pytest.approx(std, rel=1e-15)


def test_the_bound_of_xavier_uniform_is_the_papers():
    assert schemes.xavier_uniform(2, 1).high == pytest.approx(math.sqrt(2), rel=1e-15)


@pytest.mark.parametrize(("scheme", "fans", "options", "std"), FORMULAS)
def test_truncated_true_cuts_at_two_sigma_and_corrects_the_std(scheme, fans, options, std):
    law = getattr(schemes, f"{scheme}_normal")(*fans, truncated=True, **options)
    assert isinstance(law, TruncatedNormal)
    assert law.parent_std == pytest.approx(std / 0.87962566103423978, rel=1e-14)
    assert law.support == pytest.approx((-2 * law.parent_std, 2 * law.parent_std), rel=1e-15)
    assert scipy.stats.truncnorm(-2, 2, scale=law.parent_std).std() == pytest.approx(std, rel=1e-9)
    assert law.std == pytest.approx(std, rel=1e-9)
    assert law.mean == pytest.approx(0.0, abs=1e-15)


def test_the_gain_of_relu_on_top_of_he_counts_sqrt_2_twice():
    once, twice = schemes.he_normal(64), schemes.he_normal(64, gain=fastinit.gain("relu"))
    assert once.std**2 == pytest.approx(2 / 64, rel=1e-15)
    assert twice.std**2 == pytest.approx(4 / 64, rel=1e-15)
    for name in ("fill_he_normal", "fill_he_uniform"):
        assert "twice" in getattr(fastinit, name).__doc__


def test_xavier_with_the_gain_of_relu_is_he_where_both_fans_are_equal():
    assert schemes.xavier_normal(64, 64, gain=fastinit.gain("relu")).std == pytest.approx(schemes.he_normal(64).std)


@pytest.mark.parametrize("distribution", ["truncated_normal", "normal", "uniform"])
@pytest.mark.parametrize(("mode", "fan"), [("fan_in", 144), ("fan_out", 288), ("fan_avg", 216)])
def test_variance_scaling_has_variance_scale_over_fan(distribution, mode, fan):
    fan_in, fan_out = fastinit.fans((3, 3, 16, 32), "jax")
    chosen = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
    law = schemes.variance_scaling(2.0, chosen, distribution=distribution)
    assert law.std**2 == pytest.approx(2.0 / fan, rel=1e-9)
    kinds = {"truncated_normal": TruncatedNormal, "normal": Normal, "uniform": Uniform}
    assert type(law) is kinds[distribution]


def test_variance_scaling_is_the_root_of_the_named_schemes():
    scaled = schemes.variance_scaling
    assert scaled(2.0, 512, distribution="normal") == schemes.he_normal(512)
    assert scaled(2.0, 512) == schemes.he_normal(512, truncated=True)
    assert scaled(1.0, 512) == schemes.lecun_normal(512, truncated=True)
    assert scaled(1.0, 384).std == pytest.approx(schemes.xavier_normal(512, 256, truncated=True).std)
    assert scaled(1.0, 384, distribution="uniform").high == pytest.approx(schemes.xavier_uniform(512, 256).high)


def test_variance_scaling_is_truncated_by_default():
    assert isinstance(schemes.variance_scaling(1.0, 10), TruncatedNormal)


@pytest.mark.parametrize(
    "law",
    [
        schemes.xavier_uniform(3, 4, gain=0),
        schemes.xavier_normal(3, 4, gain=0),
        schemes.he_uniform(3, gain=0.0),
        schemes.he_normal(3, gain=0.0, truncated=True),
        schemes.lecun_uniform(3, gain=0.0),
        schemes.variance_scaling(0.0, 3),
        schemes.variance_scaling(0.0, 3, distribution="uniform"),
    ],
)
def test_a_gain_of_zero_gives_zeros(law):
    assert (law.mean, law.std) == (0.0, 0.0)
    assert not fastinit.new(100, law, seed=0).any()


# --- truncated_normal -------------------------------------------------------------------------------------------------


def test_truncated_normal_cuts_two_std_either_side_by_default():
    assert schemes.truncated_normal(1.0, 0.5) == TruncatedNormal(1.0, 0.5, 0.0, 2.0)


@pytest.mark.parametrize(
    ("sigmas", "low", "high"), [((-1, 3), 0.5, 2.5), ((0, math.inf), 1.0, math.inf), ((-math.inf, -1), -math.inf, 0.5)]
)
def test_sigmas_are_standard_deviations_from_the_mean(sigmas, low, high):
    assert schemes.truncated_normal(1.0, 0.5, sigmas=sigmas) == TruncatedNormal(1.0, 0.5, low, high)


def test_bounds_are_absolute_as_in_torch():
    assert schemes.truncated_normal(1.0, 0.5, bounds=(-2, 2)) == TruncatedNormal(1.0, 0.5, -2.0, 2.0)


@pytest.mark.parametrize("sigmas", [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 8.0, math.inf])
def test_corrected_gives_the_std_asked_for(sigmas):
    law = schemes.truncated_normal(0.3, 0.02, sigmas=(-sigmas, sigmas), corrected=True)
    assert law.mean == pytest.approx(0.3)
    assert law.std == pytest.approx(0.02, rel=1e-8)
    assert law.high - 0.3 == pytest.approx(sigmas * law.parent_std)


@pytest.mark.parametrize("corrected", [False, True])
def test_a_std_of_zero_is_the_mean_everywhere(corrected):
    law = schemes.truncated_normal(0.25, 0.0, sigmas=(-math.inf, math.inf), corrected=corrected)
    assert (fastinit.new(100, law, seed=0) == 0.25).all()


# --- fill_* -----------------------------------------------------------------------------------------------------------


def test_other_names_are_the_same_functions():
    assert fastinit.fill_glorot_uniform is fastinit.fill_xavier_uniform
    assert fastinit.fill_glorot_normal is fastinit.fill_xavier_normal
    assert fastinit.fill_kaiming_uniform is fastinit.fill_he_uniform
    assert fastinit.fill_kaiming_normal is fastinit.fill_he_normal


@pytest.mark.parametrize(
    ("name", "arguments", "options"),
    [
        ("zeros", (), {}),
        ("ones", (), {}),
        ("constant", (0.5,), {}),
        ("uniform", (), {}),
        ("uniform", (-0.5, 0.25), {}),
        ("normal", (), {}),
        ("normal", (0.5, 0.02), {}),
        ("truncated_normal", (), {}),
        ("truncated_normal", (0.5, 0.02), {"sigmas": (-3, 1)}),
        ("truncated_normal", (0.5, 0.02), {"bounds": (0.49, 1.0)}),
        ("truncated_normal", (0.5, 0.02), {"corrected": True}),
        ("xavier_uniform", (80, 48), {"gain": 0.5}),
        ("xavier_normal", (80, 48), {"gain": 0.5, "truncated": True}),
        ("he_uniform", (80,), {"negative_slope": 0.1, "gain": 0.5}),
        ("he_normal", (80,), {"negative_slope": 0.1, "gain": 0.5, "truncated": True}),
        ("lecun_uniform", (80,), {"gain": 0.5}),
        ("lecun_normal", (80,), {"gain": 0.5, "truncated": True}),
        ("variance_scaling", (2.0, 80), {"distribution": "uniform"}),
    ],
)
def test_a_fill_function_is_its_scheme_and_one_call_of_fill(name, arguments, options):
    law = getattr(schemes, name)(*arguments, **options)
    address = {"seed": 3, "name": "layers.0.weight", "shard": fastinit.Shard((100, 80), (50, 0)), "threads": 1}
    expected, got = np.full(SHAPE, np.nan, np.float32), np.full(SHAPE, np.nan, np.float32)
    fastinit.fill(expected, law, **address)
    assert getattr(fastinit, f"fill_{name}")(got, *arguments, **options, **address) is None
    assert got.tobytes() == expected.tobytes()


# Where a vector of four and the numbers 0.5 and 0.75 do not do.
SHAPES = {
    **dict.fromkeys(("fill_identity", "fill_orthogonal"), (2, 2)),
    **dict.fromkeys(("fill_dirac", "fill_delta_orthogonal"), (2, 2, 1)),
}


@pytest.mark.parametrize("name", FILLS)
def test_every_fill_function_takes_the_options_of_fill_by_keyword_only(name):
    function = getattr(fastinit, name)
    assert schemes.Options.__annotations__.keys() == inspect.signature(fastinit.fill).parameters.keys() - {"buf", "law"}
    parameters = inspect.signature(function).parameters
    assert next(iter(parameters)) == "buf"
    keywords = {p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY}
    assert keywords >= schemes.Options.__annotations__.keys()
    given = {"fill_dirac": [1], "fill_blocks": [((4, Normal()),), 0]}.get(name, [0.5, 0.75])
    numbers = given[: sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters.values()) - 1]
    options = {"seed": 1, "name": "a", "shard": None, "dtype": "bfloat16", "threads": 1, "stream": "fastinit-1"}
    buf = np.zeros(SHAPES.get(name, (4,)), np.uint16)
    function(buf, *numbers, progress=lambda done, total: None, **options)
    with pytest.raises(TypeError, match="positional argument"):
        function(buf, *numbers, 1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'sed'"):
        function(buf, *numbers, sed=1)


@pytest.mark.parametrize(
    "name", ["fill_he_normal", "fill_xavier_uniform", "fill_lecun_normal", "fill_variance_scaling"]
)
def test_the_measured_std_of_a_filled_buffer_is_the_formulas(engine, name):
    buf = np.full((256, 1024), np.nan, np.float32)
    arguments, std = {
        "fill_he_normal": ((1024,), math.sqrt(2 / 1024)),
        "fill_xavier_uniform": ((1024, 256), math.sqrt(2 / 1280)),
        "fill_lecun_normal": ((1024,), 1 / 32),
        "fill_variance_scaling": ((3.0, 1024), math.sqrt(3 / 1024)),
    }[name]
    getattr(fastinit, name)(buf, *arguments, seed=0)
    assert buf.std(dtype=np.float64) == pytest.approx(std, rel=5 / math.sqrt(buf.size))
    assert abs(buf.mean(dtype=np.float64)) < 5 * std / math.sqrt(buf.size)


# --- gain and advice --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nonlinearity", "param", "expected"),
    [
        *((name, None, 1.0) for name in ("linear", "sigmoid", "conv1d", "conv2d", "conv3d")),
        *((f"conv_transpose{d}d", None, 1.0) for d in (1, 2, 3)),
        ("tanh", None, 1.6666666666666667),
        ("relu", None, 1.4142135623730951),
        ("leaky_relu", None, math.sqrt(2 / 1.0001)),
        ("leaky_relu", 0.2, math.sqrt(2 / 1.04)),
        ("leaky_relu", 0, 1.4142135623730951),
        ("leaky_relu", 1, 1.0),
        ("leaky_relu", -0.2, math.sqrt(2 / 1.04)),
        ("selu", None, 0.75),
    ],
)
def test_gain_is_torchs_table(nonlinearity, param, expected):
    assert fastinit.gain(nonlinearity, param) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(("nonlinearity", "param"), [("gleu", None), ("ReLU", None), ("", None)])
def test_gain_refuses_what_it_does_not_know_and_names_the_nearest(nonlinearity, param):
    meant = {"gleu": "did you mean 'glu'", "ReLU": "did you mean 'relu'", "": "there are leaky_relu, .*swiglu"}
    with pytest.raises(ValueError, match=f"gain: nonlinearity '{nonlinearity}' is unknown; {meant[nonlinearity]}"):
        fastinit.gain(nonlinearity, param)


def density(z):
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


KEPT = {
    "relu": lambda z: max(z, 0.0),
    "relu6": lambda z: min(max(z, 0.0), 6.0),
    "leaky_relu": lambda z: z if z > 0 else 0.01 * z,
    "prelu": lambda z: z if z > 0 else 0.25 * z,
    "rrelu": lambda z: z if z > 0 else 11 / 48 * z,
    "elu": lambda z: z if z > 0 else math.expm1(z),
    "celu": lambda z: z if z > 0 else math.expm1(z),
    "gelu": lambda z: z * special.ndtr(z),
    "silu": lambda z: z * special.expit(z),
    "swish": lambda z: z * special.expit(z),
    "mish": lambda z: z * math.tanh(math.log1p(math.exp(z))),
    "softplus": lambda z: math.log1p(math.exp(z)),
    "softsign": lambda z: z / (1 + abs(z)),
    "hardtanh": lambda z: min(max(z, -1.0), 1.0),
    "hardswish": lambda z: z * min(max(z + 3.0, 0.0), 6.0) / 6.0,
    "glu": special.expit,  # the gates; what they multiply is standard normal and independent of them
    "reglu": lambda z: max(z, 0.0),
    "geglu": lambda z: z * special.ndtr(z),
    "swiglu": lambda z: z * special.expit(z),
}


@pytest.mark.parametrize("nonlinearity", KEPT)
def test_gain_makes_up_for_what_a_nonlinearity_takes_from_the_second_moment(nonlinearity):
    f = KEPT[nonlinearity]
    parts = [
        integrate.quad(lambda z: f(z) ** 2 * density(z), *ends, epsabs=1e-13)
        for ends in itertools.pairwise((-12, -3, -1, 0, 1, 3, 6, 12))
    ]
    kept = sum(value for value, _ in parts)
    assert fastinit.gain(nonlinearity) ** 2 * kept == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize("param", [True, "0.1", 1j])
def test_gain_refuses_a_slope_that_is_no_number(param):
    with pytest.raises(ValueError, match=r"the negative slope of leaky_relu is .*; pass a number"):
        fastinit.gain("leaky_relu", param)


ADVICE = [
    ("relu", "fill_he_normal", {}),
    ("relu6", "fill_he_normal", {}),
    ("leaky_relu", "fill_he_normal", {"negative_slope": 0.01}),
    ("prelu", "fill_he_normal", {"negative_slope": 0.01}),
    ("rrelu", "fill_he_normal", {"negative_slope": 0.01}),
    ("linear", "fill_xavier_normal", {}),
    ("identity", "fill_xavier_normal", {}),
    ("sigmoid", "fill_xavier_normal", {}),
    ("softmax", "fill_xavier_normal", {}),
    ("softsign", "fill_xavier_normal", {}),
    ("tanh", "fill_xavier_normal", {"gain": 5 / 3}),
    ("selu", "fill_lecun_normal", {}),
    ("gelu", "fill_he_normal", {}),
    ("silu", "fill_he_normal", {}),
    ("swish", "fill_he_normal", {}),
    ("mish", "fill_he_normal", {}),
    ("elu", "fill_he_normal", {}),
    ("softplus", "fill_he_normal", {}),
    ("celu", "fill_he_normal", {}),
    ("hardswish", "fill_he_normal", {}),
    ("hardtanh", "fill_xavier_normal", {}),
    *((name, "fill_lecun_normal", {}) for name in ("glu", "reglu", "geglu", "swiglu")),
]


@pytest.mark.parametrize(("activation", "function", "arguments"), ADVICE)
def test_scheme_for_names_a_fill_that_works_as_advised(activation, function, arguments):
    advice = fastinit.scheme_for(activation)
    assert advice.fill is getattr(fastinit, function)
    assert advice.arguments == arguments
    assert advice.why.endswith(".")
    fans = (80, 48) if "xavier" in function else (80,)
    buf = np.zeros(SHAPE, np.float32)
    advice.fill(buf, *fans, seed=0, **advice.arguments)
    assert buf.all()


def test_the_refusal_of_scheme_for_lists_every_activation_it_knows():
    with pytest.raises(ValueError, match="activation 'sine' is unknown; it knows") as refusal:
        fastinit.scheme_for("sine")
    listed = str(refusal.value).split("it knows ")[1].split(", ")
    assert sorted(listed) == sorted(row[0] for row in ADVICE)


def test_scheme_for_passes_the_slope_on():
    assert fastinit.scheme_for("prelu", 0.25).arguments == {"negative_slope": 0.25}
    assert fastinit.scheme_for("relu", 0.25).arguments == {}


@pytest.mark.parametrize("spelling", ["ReLU", "RELU", "relu"])
def test_scheme_for_ignores_case(spelling):
    assert fastinit.scheme_for(spelling) == fastinit.scheme_for("relu")


@pytest.mark.parametrize("activation", ["gelu", "silu"])
def test_scheme_for_says_that_gelu_and_silu_have_no_exact_rule(activation):
    assert "customary" in fastinit.scheme_for(activation).why
    assert "0.02" in fastinit.scheme_for(activation).why


def test_constants_have_their_values():
    assert (schemes.zeros(), schemes.ones(), schemes.constant(3)) == (Constant(0), Constant(1), Constant(3))
    assert laws.Constant is Constant
