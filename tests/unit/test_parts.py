"""Experts, heads, gates, fused projections, grown vocabularies: in Python, as a rule and on the command line."""

from __future__ import annotations

import math
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

import fastinit
from fastinit import fans
from fastinit.cli import main
from fastinit.laws import Blocks, Constant, Normal, Orthogonal, Padded, Sparse, Uniform, marginals
from fastinit.plan import Plan, Rule, rules_of
from fastinit.scheme_names import law_of

EXPERTS = (8, 128, 64)
# What it is, its shape, the scheme with its numbers, the std of every part of the first axis (one: of all).
CASES = {
    "experts out first": (EXPERTS, "he_normal", {"layout": "experts_out_in"}, [math.sqrt(2 / 64)]),
    "experts in first": (EXPERTS, "he_normal", {"layout": "experts_in_out"}, [math.sqrt(2 / 128)]),
    "experts of PyTorch": (EXPERTS, "he_normal", {"layout": "torch", "batch_axis": 0}, [math.sqrt(2 / 64)]),
    "experts of JAX": (EXPERTS, "he_normal", {"batch_axis": 0}, [math.sqrt(2 / 128)]),
    "experts, gate and up fused": (
        (8, 256, 64),
        "xavier_normal",
        {"layout": "experts_out_in", "groups": 2},
        [math.sqrt(2 / (64 + 128))],
    ),
    "a Conv1d": (EXPERTS, "he_normal", {"layout": "torch"}, [math.sqrt(2 / (128 * 64))]),
    "q, k and v in one matrix": (
        (192, 64),
        "xavier_normal",
        {"layout": "torch_fused", "groups": 3},
        [math.sqrt(2 / (64 + 64))],
    ),
    "q, k and v of their own sizes": (
        (128, 64),
        "blocks",
        {"parts": [{"size": 64, "scheme": "xavier_normal"}, *({"size": 32, "scheme": "xavier_normal"},) * 2]},
        [math.sqrt(2 / 128), math.sqrt(2 / 96), math.sqrt(2 / 96)],
    ),
    "four gates in one matrix": (
        (256, 64),
        "blocks",
        {"parts": [{"scheme": "orthogonal"}] * 4},
        [1 / 8, 1 / 8, 1 / 8, 1 / 8],
    ),
    "heads": ((64, 8, 32), "lecun_normal", {"layout": "jax_heads"}, [1 / 8]),
    "heads, back": ((8, 32, 64), "lecun_normal", {"layout": "jax_heads_out"}, [1 / 16]),
    "a padded vocabulary": (
        (128, 64),
        "blocks",
        {"parts": [{"size": 100, "scheme": "normal", "std": 0.02}, {"scheme": "zeros"}]},
        [0.02, 0.0],
    ),
    "a grown vocabulary": (
        (128, 64),
        "blocks",
        {"parts": [{"size": 100, "scheme": "normal", "std": 0.02}, {"scheme": "normal", "std": 0.5}]},
        [0.02, 0.5],
    ),
    "a grouped convolution": (
        (64, 8, 3, 3),
        "he_normal",
        {"layout": "torch_grouped", "groups": 4, "mode": "fan_out"},
        [math.sqrt(2 / 144)],
    ),
    "a depthwise convolution": (
        (64, 1, 3, 3),
        "he_normal",
        {"layout": "torch_depthwise", "mode": "fan_out"},
        [math.sqrt(2 / 9)],
    ),
}


def pieces(x, numbers, stds):
    """The parts of the first axis that the stds belong to."""
    sizes = [part.get("size") for part in numbers.get("parts", ())]
    rest = len(x) - sum(size for size in sizes if size)
    sizes = [size or rest // sizes.count(None) for size in sizes] or [len(x)]
    assert len(sizes) == len(stds)
    return np.split(x, np.cumsum(sizes)[:-1])


def has_std(x, std):
    """Within five standard errors."""
    assert abs(x.astype("f8").std() - std) <= 5 * std / math.sqrt(2 * x.size)


@pytest.mark.parametrize("case", CASES)
def test_in_python_every_part_has_its_std(case):
    shape, scheme, numbers, stds = CASES[case]
    x = fastinit.new(shape, law_of(scheme, numbers, shape), seed=1, name="w")
    for part, std in zip(pieces(x, numbers, stds), stds, strict=True):
        has_std(part, std)
    if scheme == "he_normal" and "mode" not in numbers:  # as the fill functions take it
        y = np.empty(shape, np.float32)
        fastinit.fill_he_normal(y, fans(shape, **numbers).fan_in, seed=1, name="w")
        assert (x == y).all()


def toml(value):
    """A value of a rule, as TOML."""
    if isinstance(value, dict):
        return f"{{{inside(value)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def inside(table):
    """The inside of a table of TOML."""
    return ", ".join(f"{name} = {toml(value)}" for name, value in table.items())


@pytest.mark.parametrize("case", CASES)
def test_as_a_rule_every_part_has_its_std(case):
    shape, scheme, numbers, stds = CASES[case]
    text = f"[[rule]]\nmatch = '.*'\nscheme = '{scheme}'\n" + "".join(f"{n} = {toml(v)}\n" for n, v in numbers.items())
    plan = Plan.from_rules({"w": {"shape": list(shape)}}, rules_of(tomllib.loads(text)))
    assert plan.tensors[0].law == law_of(scheme, numbers, shape)
    assert Plan.from_json(plan.to_json()) == plan
    has_std(fastinit.new(shape, plan.tensors[0].law, seed=1, name="w"), plan.tensors[0].law.marginal(shape).std)
    assert len(stds) == 1 or isinstance(plan.tensors[0].law, Blocks)


@pytest.mark.parametrize("case", CASES)
def test_on_the_command_line_every_part_has_its_std(case, tmp_path: Path):
    shape, scheme, numbers, stds = CASES[case]
    words = ["fill", str(tmp_path / "w.npy"), "--shape", ",".join(map(str, shape)), "--scheme", scheme]
    for name, value in numbers.items():
        words += (
            [word for part in value for word in ("--part", inside(part))]
            if name == "parts"
            else [f"--{name.replace('_', '-')}", str(value)]
        )
    assert main([*words, "--seed", "1", "--name", "w", "--quiet"]) == 0
    x = np.load(tmp_path / "w.npy")
    for part, std in zip(pieces(x, numbers, stds), stds, strict=True):
        has_std(part, std)


# --- the page ---------------------------------------------------------------------------------------------------------

PAGE = (Path(__file__).parents[2] / "docs" / "parts.md").read_text(encoding="utf-8")
SHAPES = {
    "layers.0.experts.up": ((8, 128, 64), math.sqrt(2 / 64)),
    "layers.0.qkv.weight": ((384, 256), None),
    "lstm.weight_hh_l0": ((256, 64), 1 / 8),
    "embed_tokens.weight": ((50304, 64), None),
}


def test_the_rules_of_the_page_are_rules_for_what_it_speaks_of():
    blocks = re.findall(r"^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    rules = [rule for block in blocks for rule in rules_of(tomllib.loads(block))]
    assert len(rules) == len(SHAPES)
    plan = Plan.from_rules({name: {"shape": list(shape)} for name, (shape, _) in SHAPES.items()}, rules)
    for tensor in plan.tensors:
        std = SHAPES[tensor.name][1]
        assert std is None or tensor.law.marginal(tensor.shape).std == pytest.approx(std)
    assert plan.tensors[3].law == Blocks(((50257, Padded(Normal(0.0, 0.02), 0)), (47, Constant(0))))


def test_every_case_of_the_page_is_ten_lines_or_fewer():
    for block in re.findall(r"^```\w*\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
        assert block.count("\n") <= 10


def test_the_page_names_every_layout_of_parts():
    for layout in (
        "experts_out_in",
        "experts_in_out",
        "torch_fused",
        "keras_fused",
        "torch_grouped",
        "torch_depthwise",
    ):
        assert layout in PAGE


# --- what nobody said -------------------------------------------------------------------------------------------------

UNSAID = [
    ("he_normal", {}, "layout"),
    ("xavier_uniform", {}, "layout"),
    ("lecun_normal", {"gain": 2.0}, "layout"),
    ("variance_scaling", {"scale": 1.0, "mode": "fan_avg"}, "layout"),
    ("mup_normal", {"base_fan_in": 64}, "layout"),
    ("siren_uniform", {}, "layout"),
    ("he_normal", {"groups": 2}, "layout"),
    ("orthogonal", {}, "batch_axis"),
    ("sparse", {"sparsity": 0.5}, "batch_axis"),
    ("blocks", {"parts": ({"scheme": "he_normal"},)}, "layout"),
]


@pytest.mark.parametrize(("scheme", "numbers", "choice"), UNSAID)
def test_a_tensor_of_three_dimensions_that_nobody_named_is_refused_with_the_choices(scheme, numbers, choice):
    with pytest.raises(ValueError, match=f"a tensor of three dimensions may be .*; say '{choice}'") as raised:
        law_of(scheme, numbers, EXPERTS)
    if choice == "layout":
        for words in ("torch (Conv1d: out, in, k)", "experts_out_in (experts, out, in)", "experts_in_out", "'in_axis'"):
            assert words in str(raised.value)
    rule = Rule(".*", scheme, numbers)
    with pytest.raises(ValueError, match=r"rule '\.\*', tensor 'w' of shape \(8, 128, 64\): .*three dimensions"):
        rule.law("w", EXPERTS)
    for others in ((64, 64), (8, 64, 8, 8)):
        assert law_of(scheme, numbers, others)


def test_the_command_line_refuses_a_guess_and_says_the_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "w.npy"
    assert main(["fill", str(path), "--shape", "8,128,64", "--scheme", "he_normal", "--seed", "0"]) == 2
    said = capsys.readouterr().err
    for words in ("three dimensions", "--layout", "experts_out_in (experts, out, in)", "--in-axis", "--fan_in"[:5]):
        assert words in said
    assert not path.exists()
    assert main(["fill", str(path), "--shape", "8,128,64", "--scheme", "orthogonal", "--seed", "0"]) == 2
    assert "say --batch-axis (0: the first dimension counts them), or --flatten or --batch" in capsys.readouterr().err


@pytest.mark.parametrize("numbers", [{"fan_in": 64}, {"layout": "torch"}, {"in_axis": 2, "out_axis": 1}])
def test_a_fan_a_layout_or_axes_say_what_it_is(numbers):
    assert law_of("he_normal", numbers, EXPERTS).std > 0


def test_the_names_of_the_choices_are_layouts():
    from fastinit.fans import LAYOUTS, THREE_DIMENSIONS

    assert set(THREE_DIMENSIONS) <= set(LAYOUTS)
    for layout in THREE_DIMENSIONS:
        assert law_of("he_normal", {"layout": layout}, EXPERTS).std > 0


# --- modes, groups, axes ----------------------------------------------------------------------------------------------


def test_mode_chooses_the_fan_of_every_scheme_that_takes_one():
    for scheme, more in [
        ("he_normal", {}),
        ("he_uniform", {}),
        ("lecun_normal", {}),
        ("lecun_uniform", {}),
        ("siren_uniform", {}),
        ("mup_normal", {"base_fan_in": 8}),
        ("variance_scaling", {"scale": 2.0}),
    ]:
        for mode, fan in (("fan_in", 20), ("fan_out", 30), ("fan_avg", 25), ("fan_geo_avg", 600**0.5)):
            name = "fan" if scheme == "variance_scaling" else "fan_in"
            assert law_of(scheme, {"mode": mode, **more}, (30, 20)) == law_of(scheme, {name: fan, **more}, None)
    assert law_of("he_normal", {"mode": "fan_out", "fan_out": 9}, None) == law_of("he_normal", {"fan_in": 9}, None)


@pytest.mark.parametrize(
    ("scheme", "numbers", "message"),
    [
        ("xavier_normal", {"mode": "fan_in"}, "xavier_normal has no use for 'mode'"),
        ("he_normal", {"mode": "fan_both"}, "'mode' is 'fan_both'; it can be fan_in, fan_out, fan_avg or fan_geo_avg"),
        ("he_normal", {"fan_in": 3, "mode": "fan_out"}, "has no use for 'fan_in' beside 'mode' fan_out"),
        ("he_normal", {"fan_out": 3}, "he_normal has no use for 'fan_out' beside the fan that is given"),
        ("variance_scaling", {"scale": 1.0, "fan": 3, "fan_in": 3}, "no use for 'fan_in' beside the fan that is given"),
        ("variance_scaling", {"scale": 1.0, "fan": 3, "mode": "fan_in"}, "no use for 'mode' beside 'mode' fan_in"),
        ("he_normal", {"fan_in": 3, "groups": 2}, "no use for 'groups' beside the fan that is given"),
        ("normal", {"layout": "torch"}, "normal has no use for 'layout'"),
        ("he_normal", {"groups": 2.0}, "groups is 2.0 of type float; pass an integer"),
        ("he_normal", {"in_axis": 0.5}, "in_axis is 0.5; pass an axis"),
        ("he_normal", {"layout": "torch", "in_axis": 0}, "'torch' says which axes are which"),
        ("identity", {"batch_axis": 2}, "identity"),
    ],
)
def test_a_number_that_is_passed_over_is_refused(scheme, numbers, message):
    if scheme == "identity":
        with pytest.raises(ValueError, match="batch_axis 2 is not an axis of shape"):
            law_of(scheme, numbers, (30, 20)).check((30, 20))
        return
    with pytest.raises((TypeError, ValueError), match=message):
        law_of(scheme, numbers, (30, 20))


def test_a_matrix_an_expert_of_every_structure():
    assert law_of("orthogonal", {"batch_axis": 0}, EXPERTS) == Orthogonal(batch=1)
    assert law_of("sparse", {"nonzeros": 5, "axis": 1, "batch_axis": (0,)}, EXPERTS) == Sparse(
        Normal(0.0, 0.01), nonzeros=5, axis=1, batch_axis=(0,)
    )
    assert law_of("identity", {"batch_axis": -1}, EXPERTS).batch_axis == (-1,)
    assert law_of("dirac", {"batch_axis": 0, "groups": 2}, (3, 8, 4, 3, 3)).batch_axis == (0,)
    assert law_of("delta_orthogonal", {"batch_axis": 0}, (3, 8, 4, 3, 3)).batch_axis == (0,)


# --- tables of parts --------------------------------------------------------------------------------------------------

Z, N = {"scheme": "zeros"}, {"scheme": "normal", "std": 2.0}


def parts(*tables, shape=(12, 6), **more):
    return law_of("blocks", {"parts": tables, **more}, shape)


def test_parts_without_a_size_share_what_the_others_leave():
    zero, normal = Constant(0), Normal(0.0, 2.0)
    assert parts(N, Z, Z) == Blocks(((4, normal), (4, zero), (4, zero)))
    assert parts({"size": 8, **N}, Z) == Blocks(((8, normal), (4, zero)))
    assert parts({"size": 8, **N}, Z, N) == Blocks(((8, normal), (2, zero), (2, normal)))
    assert parts({"size": 12, **N}, Z) == Blocks(((12, normal), (0, zero)))
    assert parts(N, Z, axis=-1) == Blocks(((3, normal), (3, zero)), -1)
    assert parts({"size": 5, **N}, {"size": 7, **Z}, shape=None) == Blocks(((5, normal), (7, zero)))


def test_the_fans_of_a_part_are_those_of_its_slice():
    bound = math.sqrt(6 / (4 + 6))
    assert parts({"scheme": "xavier_uniform"}, Z, Z).parts[0] == (4, Uniform(-bound, bound))


def test_parts_may_have_parts_and_rows_of_zeros():
    inner = {"scheme": "blocks", "axis": 1, "parts": [N, {"scheme": "zeros", "size": 2}]}
    made = parts({"size": 7, **N, "padding_idx": 3}, inner)
    assert made.parts[0] == (7, Padded(Normal(0.0, 2.0), 3))
    assert made.parts[1] == (5, Blocks(((4, Normal(0.0, 2.0)), (2, Constant(0))), 1))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: law_of("blocks", {}, (4, 4)), ValueError, "blocks needs 'parts'"),
        (lambda: law_of("blocks", {"parts": 3}, (4, 4)), TypeError, "'parts' is 3; pass a table for each part"),
        (lambda: parts((4, Normal())), TypeError, "pass a table for each part, such as {size = 4096, scheme"),
        (lambda: parts(), ValueError, "there are no parts"),
        (lambda: parts({"size": 4}), ValueError, "part 0: scheme is None; name one of constant, zeros"),
        (lambda: parts(N, {"scheme": "cauchy"}), ValueError, "part 1: scheme 'cauchy' is unknown"),
        (lambda: parts(N, {"scheme": "zeros", "std": 1.0}), ValueError, "part 1: zeros has no use for 'std'"),
        (lambda: parts({"size": 1.5, **N}, Z), TypeError, "the size of part 0 is 1.5"),
        (lambda: parts({"size": -1, **N}, Z), ValueError, "the size of part 0 is -1"),
        (lambda: parts({"size": 14, **N}, Z), ValueError, "leave -2 of the 12 of axis 0, which 1 parts"),
        (lambda: parts(*[Z] * 5), ValueError, "leave 12 of the 12 of axis 0, which 5 parts .* cannot share equally"),
        (lambda: parts(N, Z, axis=2), ValueError, r"'axis' 2 does not exist in a tensor of shape \(12, 6\)"),
        (lambda: parts(N, Z, shape=None), ValueError, "a part without a size needs 'shape'"),
        (lambda: parts(N, Z, padding_idx=0), ValueError, "blocks has no use for 'padding_idx'"),
    ],
)
def test_a_table_that_makes_no_parts_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_mixture_of_mixtures_is_one_of_their_components():
    half_zeros = marginals.thinned(0.5, Normal(1.0, 2.0))
    both = marginals.mixture([(0.4, half_zeros), (0.6, Uniform(0.0, 1.0)), (0.0, Normal())])
    assert [share for share, _ in both.components] == pytest.approx([0.2, 0.2, 0.6])
    assert [law for _, law in both.components] == [Normal(1.0, 2.0), Constant(0.0), Uniform(0.0, 1.0)]
    assert both.mean == pytest.approx(0.2 * 1.0 + 0.6 * 0.5)
