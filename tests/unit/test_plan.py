"""Plans: from rules and shapes, through JSON, and what they refuse."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest

from fastinit import laws, scheme_names, schemes
from fastinit.files.safetensors import lay_out
from fastinit.laws import Constant, Dirac, Identity, Normal, Orthogonal, Sparse, TruncatedNormal, Uniform
from fastinit.laws.law_json import LAWS, from_json, to_json
from fastinit.plan import Plan, Rule, Tensor, load_rules, rules_of, shapes_of

SHAPES = {
    "h.0.attn.weight": {"shape": [64, 32], "dtype": "float32"},
    "h.0.attn.bias": {"shape": [64]},
    "h.1.conv": {"shape": [8, 4, 3, 3], "dtype": "bfloat16"},
    "steps": {"shape": [], "dtype": "int64"},
}
RULES = [
    Rule(r".*\.bias", "zeros"),
    Rule(r"h\.\d+\.attn\.weight", "he_normal", {"layout": "keras"}),
    Rule(r".*conv", "variance_scaling", {"scale": 2.0, "mode": "fan_out"}),
    Rule("steps", "constant", {"value": 7}),
]
EVERY_LAW = [
    Constant(0.5),
    Constant(-math.inf),
    Constant(3),
    Constant(1 + 2j),
    Uniform(-0.1, 0.3),
    Normal(0.1, 1 / 3),
    TruncatedNormal(0.0, 1.0, -math.inf, 2.0),
    laws.Laplace(0.5, 0.02),
    Sparse(Uniform(0.5, 1.0), 0.9, axis=1),
    Sparse(nonzeros=3),
    Orthogonal(2.0, "jax", 1),
    laws.DeltaOrthogonal(2.0, "keras"),
    Identity(0.5),
    Dirac(2),
    laws.GateBias(2.0),
    laws.Padded(Normal(0.0, 0.02), 3),
    laws.Blocks(((2, Normal(0.0, 0.02)), (1, laws.Blocks(((3, Orthogonal()),), -1)), (0, Constant(-math.inf)))),
    laws.StateLogs(),
    laws.Copy(Normal(0.0, 0.02), "layers.0.weight"),
    laws.Replayed((2,), '{"draw":{"law":"Normal","mean":0.0,"std":1.0},"name":"v","shape":[2]}'),
    laws.Given.of(np.arange(6.0).reshape(2, 3)),
    laws.StepBias(0.01, 0.2, 0.02),
    laws.LogOfUniform(2.0, 8.0),
]


@pytest.mark.parametrize("law", EVERY_LAW)
def test_a_law_comes_back_from_json_to_the_last_bit(law):
    text = json.dumps(to_json(law), allow_nan=False)
    assert from_json(json.loads(text)) == law


def test_every_public_law_has_a_form_in_json():
    public = {name for name, thing in vars(laws).items() if isinstance(thing, type) and issubclass(thing, laws.Law)}
    assert set(LAWS) == public - {"Law"} == {type(law).__name__ for law in EVERY_LAW}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (None, "is no law; one looks like"),
        ({"mean": 0.0}, "is no law"),
        ({"law": "Cauchy"}, "law 'Cauchy' is unknown; there are Blocks, Constant"),
        ({"law": "Normal", "mu": 0.0}, "Normal has no parameter 'mu'"),
        ({"law": "Normal", "std": -1}, "zero or positive"),
        ({"law": "Sparse", "values": {"law": "Orthogonal"}, "sparsity": 0.5}, "an independent law"),
        ({"law": "Blocks"}, "parts"),
        ({"law": "Blocks", "parts": {"law": "Normal"}}, "pass pairs of a size and a law"),
        ({"law": "Blocks", "parts": [[3]]}, "part 0 is .3,.; pass a size and a law"),
        ({"law": "Blocks", "parts": [[3, {"law": "Cauchy"}]]}, "law 'Cauchy' is unknown"),
    ],
)
def test_json_that_is_no_law_is_refused(entry, message):
    with pytest.raises((TypeError, ValueError), match=message):
        from_json(entry)


def test_the_first_rule_that_matches_the_whole_name_gives_the_law():
    plan = Plan.from_rules(SHAPES, RULES)
    assert [(one.name, one.shape, one.dtype) for one in plan.tensors] == [
        ("h.0.attn.weight", (64, 32), "float32"),
        ("h.0.attn.bias", (64,), "float32"),
        ("h.1.conv", (8, 4, 3, 3), "bfloat16"),
        ("steps", (), "int64"),
    ]
    assert [one.law for one in plan.tensors] == [
        schemes.he_normal(64),
        Constant(0),
        schemes.variance_scaling(2.0, 72),
        Constant(7),
    ]
    assert plan.bytes == 4 * 64 * 32 + 4 * 64 + 2 * 288 + 8
    first = Plan.from_rules(SHAPES, [Rule(".*bias", "ones"), *RULES])
    assert first.tensors[1].law == Constant(1)


def test_dtypes_are_the_rules_then_the_callers_then_the_shapes():
    rules = [Rule(".*conv", "zeros", dtype="float16"), *RULES]
    plan = Plan.from_rules(SHAPES, rules, dtype="float64")
    assert [one.dtype for one in plan.tensors] == ["float64", "float64", "float16", "int64"]


def test_a_skipped_and_a_tied_tensor_are_left_out():
    plan = Plan.from_rules(SHAPES, [Rule("steps", "skip"), *RULES], tied={"h.0.attn.bias": "h.0.attn.weight"})
    assert [one.name for one in plan.tensors] == ["h.0.attn.weight", "h.1.conv"]
    assert plan.tied == {"h.0.attn.bias": "h.0.attn.weight"}


def test_a_tensor_without_a_rule_is_an_error_that_names_it_and_says_what_to_do():
    message = re.escape("no rule matches 'h.1.conv' [8, 4, 3, 3], 'steps' []; add one, with scheme = 'skip'")
    with pytest.raises(ValueError, match=message):
        Plan.from_rules(SHAPES, RULES[:2])


def test_a_plan_comes_back_from_its_file(tmp_path):
    plan = Plan([Tensor(f"t{i}", (64, 4, 4), "float32", law) for i, law in enumerate(EVERY_LAW[4:10])], {"x": "t1"})
    plan.save(tmp_path / "plan.json")
    again = Plan.load(tmp_path / "plan.json")
    assert again == plan
    assert again.digest == plan.digest


def test_the_largest_tensor_is_planned():
    assert Plan([Tensor("a", (2**29, 2**29), "float64", Normal())]).bytes == 2**61


def test_the_digest_sees_every_difference():
    plan = Plan.from_rules(SHAPES, RULES)
    one, *rest = plan.tensors
    others = [
        Plan((*rest, one)),
        Plan(rest),
        Plan((Tensor("other", one.shape, one.dtype, one.law), *rest)),
        Plan((Tensor(one.name, (32, 64), one.dtype, one.law), *rest)),
        Plan((Tensor(one.name, one.shape, "float16", one.law), *rest)),
        Plan((Tensor(one.name, one.shape, one.dtype, Normal(0.0, np.nextafter(one.law.std, 1))), *rest)),
        Plan(plan.tensors, {"alias": one.name}),
    ]
    assert len({plan.digest, *(other.digest for other in others)}) == 8


NO_TENSORS = {"plan": "fastinit-plan-1", "tensors": [], "tied": {}}
REFUSED = {
    "half a surrogate pair": (lambda: Tensor("\ud800", (4,), "float32", Normal()), "lone surrogate.*rename the tensor"),
    "tied half a surrogate pair": (
        lambda: Plan([Tensor("a", (4,), "float32", Normal())], {"\ud800": "a"}),
        "lone surrogate.*rename the tensor",
    ),
    "the name of the metadata": (
        lambda: Tensor("__metadata__", (4,), "float32", Normal()),
        "cannot be called '__metadata__'.* Rename the tensor",
    ),
    "more elements than the stream has": (
        lambda: Tensor("a", (2**40, 2**40), "float32", Normal()),
        "'a' of shape .*: the sizes multiply to more than 2\\*\\*58",
    ),
    "more beside a zero": (lambda: Tensor("a", (0, 2**64), "float32", Normal()), "more than 2\\*\\*58"),
    "shapes beyond a float": (
        lambda: Plan.from_rules({"a": {"shape": [10**400, 2]}}, [Rule("a", "he_normal")]),
        "shapes: 'a' of shape .* more than 2\\*\\*58",
    ),
    "more bytes than a file has": (
        lambda: Plan([Tensor(f"a{i}", (2**58,), "float64", Normal()) for i in range(4)]),
        "the plan has 9,223,372,036,854,775,808 bytes, and no file has 2\\*\\*63",
    ),
    "two of a name": (lambda: Plan([Tensor("a", (1,), "float32", Normal())] * 2), "two tensors called 'a'"),
    "tied to nothing": (lambda: Plan([], {"a": "b"}), "'a' is said to be 'b'"),
    "unknown dtype": (lambda: Tensor("a", (1,), "float7", Normal()), "dtype 'float7' is unknown; use one of bool"),
    "law of another rank": (
        lambda: Tensor("a", (3,), "float32", Orthogonal()),
        r"tensor 'a' of shape \(3,\): .* no mat",
    ),
    "scale beyond the dtype": (
        lambda: Tensor("a", (3,), "float16", Normal(0, 1e5)),
        "'a' .* beyond the largest",
    ),
    "value beyond the dtype": (lambda: Tensor("a", (3,), "int8", Constant(300)), "'a' .* does not fit dtype int8"),
    "floats into integers": (lambda: Tensor("a", (3,), "int8", Normal()), "Normal draws floats, and dtype is int8"),
    "no law": (lambda: Tensor("a", (3,), "float32", 0.5), "law is 0.5; pass one of fastinit.laws"),
    "negative size": (lambda: Tensor("a", (-3,), "float32", Normal()), "negative entry"),
    "no regular expression": (lambda: Rule("(", "zeros"), r"rule '\(' is no regular expression"),
    "repeated too often": (
        lambda: Rule("a{99999999999999999999}", "zeros"),
        "is no regular expression: the repetition",
    ),
    "nested too deeply": (
        lambda: Rule("(" * 5000 + ")" * 5000, "zeros"),
        "is no regular expression: maximum recursion",
    ),
    "unknown scheme": (
        lambda: Plan.from_rules(SHAPES, [Rule("h.*", "he")]),
        r"rule 'h.\*': scheme 'he' is unknown; did you mean 'he_normal'\?",
    ),
    "number too many": (
        lambda: Plan.from_rules(SHAPES, [Rule(".*", "zeros", {"std": 1})]),
        "zeros has no use for 'std'; it takes nothing",
    ),
    "flag in text": (
        lambda: Plan.from_rules(SHAPES, [Rule(".*", "he_normal", {"fan_in": 3, "truncated": "false"})]),
        "tensor 'h.0.attn.weight' .* 'truncated' is 'false'; pass true or false",
    ),
    "number missing": (lambda: Plan.from_rules(SHAPES, [Rule(".*", "constant")]), "constant needs 'value'"),
    "fans of a vector": (lambda: Plan.from_rules(SHAPES, [Rule(".*", "he_normal")]), r"tensor 'h.0.attn.bias' .* fan"),
    "shapes without shape": (lambda: Plan.from_rules({"a": {}}, RULES), "'a' is {}; it must look like"),
    "no plan": (lambda: Plan.from_json({"tensors": []}), "this is no plan"),
    "tensor without law": (
        lambda: Plan.from_json(
            {"plan": "fastinit-plan-1", "tensors": [{"name": "a", "shape": [], "dtype": "float32"}]}
        ),
        "has no 'law'",
    ),
    "rules of another form": (lambda: rules_of({"rules": []}), r"rules are \[\[rule\]\] tables"),
    "plan without tensors": (lambda: Plan.from_json({**NO_TENSORS, "tensors": None}), '"tensors" of the plan is None'),
    "tensor that is no object": (
        lambda: Plan.from_json({**NO_TENSORS, "tensors": ["a"]}),
        "a tensor of the plan is 'a'",
    ),
    "tied that is no object": (lambda: Plan.from_json({**NO_TENSORS, "tied": ["ab"]}), "\"tied\" of the plan is .'ab'"),
    "tied to no name": (lambda: Plan.from_json({**NO_TENSORS, "tied": {"a": ["b"]}}), "must be an object of names"),
    "law of a tensor in JSON": (
        lambda: Plan.from_json({**NO_TENSORS, "tensors": [{"name": "a", "shape": [], "dtype": "float32", "law": 3}]}),
        "tensor 'a': 3 is no law",
    ),
    "dtype that is no name": (lambda: Tensor("a", (3,), ["x"], Normal()), r"'a': dtype \['x'\] is unknown; use one of"),
    "shape that is no list": (lambda: Tensor("a", 4, "float32", Normal()), "'a': shape is 4; pass a list of integers"),
    "shape of a float": (lambda: Tensor("a", (4.0,), "float32", Normal()), "'a' of shape .* 4.0 of type float"),
    "shapes of floats": (lambda: Plan.from_rules({"a": {"shape": [4.0]}}, RULES), "shapes: 'a' of shape .* 4.0"),
    "shapes in text": (lambda: Plan.from_rules({"a": {"shape": "44"}}, RULES), "'a': shape is '44'; pass a list"),
    "rule that is no table": (lambda: rules_of({"rule": ["x"]}), r"rules are \[\[rule\]\] tables"),
    "rule that matches a number": (lambda: Rule(3, "zeros"), "rule 3: match is 3; pass a string"),
    "rule with a list of schemes": (lambda: Rule("a", ["zeros"]), r"rule 'a': scheme is \['zeros'\]; pass a string"),
    "rule with a list of dtypes": (lambda: Rule("a", "zeros", {}, ["x"]), r"rule 'a': dtype is \['x'\]; pass a string"),
    "rule without scheme": (lambda: rules_of({"rule": [{"match": ".*"}]}), "'scheme' is missing"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused_with_what_came(case):
    make, message = REFUSED[case]
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_rules_are_read_from_toml(tmp_path):
    path = tmp_path / "rules.toml"
    path.write_text(
        """
        [[rule]]
        match = '.*\\.bias'
        scheme = "zeros"

        [[rule]]
        match = ".*"
        scheme = "truncated_normal"
        std = 0.02
        bounds = [-0.04, 0.04]
        dtype = "bfloat16"
        """
    )
    assert load_rules(path) == [
        Rule(r".*\.bias", "zeros"),
        Rule(".*", "truncated_normal", {"std": 0.02, "bounds": (-0.04, 0.04)}, "bfloat16"),
    ]
    path.write_text("[[rule")
    with pytest.raises(ValueError, match=r"rules\.toml is no TOML that can be read"):
        load_rules(path)


DAMAGED = {
    "empty": (b"", "is no JSON|rules are"),
    "no UTF-8": (b"\xff", "can't decode byte 0xff"),
    "nested too deeply": (b"x = " + b"[" * 100_000, "is no (JSON|TOML) that can be read"),
    "a key twice": (b'{"a": {"shape": [4]}, "a": {"shape": [5]}}', "a key comes twice: 'a'|is no TOML"),
    "of another form": (b"[3]", "must hold an object|this is no plan|is no TOML|rules are"),
    "rules in text": (b'rule = ["x"]', "is no JSON|rules are"),
}


@pytest.mark.parametrize("read", [shapes_of, Plan.load, load_rules])
@pytest.mark.parametrize("case", DAMAGED)
def test_a_file_that_cannot_be_read_is_named(tmp_path, read, case):
    content, message = DAMAGED[case]
    path = tmp_path / "damaged.json"
    path.write_bytes(content)
    if read is not load_rules and case == "nested too deeply":
        path.write_bytes(content.removeprefix(b"x = "))
    with pytest.raises(ValueError, match=rf"damaged\.json.*({message})"):
        read(path)


def test_shapes_are_read_from_json_a_file_and_a_folder(tmp_path):
    tensors = {"a": ("float32", (3, 4)), "b": ("bfloat16", (5,)), "c": ("int64", ())}
    wanted = {name: {"shape": list(shape), "dtype": dtype} for name, (dtype, shape) in tensors.items()}
    for file, names in (("one.safetensors", "ab"), ("two.safetensors", "c")):
        header = lay_out({name: tensors[name] for name in names})
        (tmp_path / file).write_bytes(header.text + bytes(header.size - len(header.text)))
    (tmp_path / "shapes.json").write_text(json.dumps(wanted))
    assert shapes_of(tmp_path) == wanted
    assert shapes_of(tmp_path / "shapes.json") == wanted
    assert shapes_of(tmp_path / "two.safetensors") == {"c": wanted["c"]}
    (tmp_path / "three.safetensors").write_bytes((tmp_path / "two.safetensors").read_bytes())
    with pytest.raises(ValueError, match="has a tensor 'c' that another file of the folder has too"):
        shapes_of(tmp_path)


@pytest.mark.parametrize("scheme", scheme_names.SCHEMES)
def test_a_scheme_by_name_says_what_it_takes(scheme):
    with pytest.raises(ValueError, match=f"{scheme} has no use for 'nonsense'"):
        scheme_names.law_of(scheme, {"nonsense": 1}, (8, 4, 3))
    assert "layout" in scheme_names.takes(scheme) or not {"fan_in", "fan_out"} & scheme_names.takes(scheme)


@pytest.mark.parametrize(
    ("scheme", "flag"), [("he_normal", "truncated"), ("truncated_normal", "corrected"), ("siren_uniform", "first")]
)
def test_a_flag_of_a_scheme_is_true_or_false(scheme, flag):
    assert scheme_names.law_of(scheme, {flag: True}, (8, 4)) != scheme_names.law_of(scheme, {flag: False}, (8, 4))
    with pytest.raises(TypeError, match=f"'{flag}' is 'false'; pass true or false"):
        scheme_names.law_of(scheme, {flag: "false"}, (8, 4))


@pytest.mark.parametrize(("mode", "fan"), [("fan_in", 36), ("fan_out", 72), ("fan_avg", 54)])
def test_variance_scaling_chooses_its_fan_by_mode(mode, fan):
    got = scheme_names.law_of("variance_scaling", {"scale": 1.0, "mode": mode}, (8, 4, 3, 3))
    assert got == schemes.variance_scaling(1.0, fan)
