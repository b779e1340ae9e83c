"""docs/choosing.md: its figures are those of ci/pictures.py, its formulas those of the schemes."""

from __future__ import annotations

import importlib.util
import math
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import mean_field
import numpy as np
import pytest

import fastinit
from fastinit import schemes
from fastinit.compare import compare
from fastinit.compare.activations import activation
from fastinit.compare.propagation import propagate
from fastinit.compare.starts import starts_for

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "choosing.md").read_text(encoding="utf-8")
SCRIPT = ROOT / "ci" / "pictures.py"


@pytest.fixture(scope="module")
def pictures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pictures", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_and_pictures_are_what_was_measured():
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("name", "start_name"), [("relu", "Xavier"), ("relu", "He"), ("tanh", "Xavier, gain 5/3")])
def test_what_was_kept_can_be_measured_again(pictures, name, start_name):
    kept = pictures.kept(name)
    start = next(one for one in starts_for(name) if one.name == start_name)
    size = {"depth": kept.depth, "width": kept.width, "batch": kept.batch, "seed": kept.seed}
    again = propagate(start, activation(name), **size)
    # Kept to four digits; BLAS may sum in another order, and fifty layers carry the last bits on.
    assert again.activations == pytest.approx(kept[start_name].signal.activations, rel=0.01)
    assert again.gradients == pytest.approx(kept[start_name].signal.gradients, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["relu", "tanh", "selu", "gelu", "sigmoid"])
def test_every_curve_that_was_kept_can_be_measured_again(pictures, name):
    pytest.importorskip("sklearn")
    kept = pictures.kept(name)
    again = compare(name, training=kept.training)
    for old, new in zip(kept.outcomes, again.outcomes, strict=True):
        with np.errstate(divide="ignore"):
            assert np.log10(new.signal.activations) == pytest.approx(np.log10(old.signal.activations), abs=0.05)
        assert new.curve.costs[-1] == pytest.approx(old.curve.costs[-1], rel=0.2)


ROWS = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| `([^`]*)` \| (?:`([^`]*)`)? \|", PAGE, flags=re.MULTILINE)
FORMULAS = [
    (name, std if "uniform" not in name else bound) for names, std, bound in ROWS for name in re.findall(r"\w+", names)
]


@pytest.mark.parametrize(("name", "formula"), [row for row in FORMULAS if re.match("lecun|xavier|he_", row[0])])
def test_a_formula_of_the_page_is_that_of_the_scheme(name, formula):
    n, m = 300, 200
    law = getattr(schemes, name)(*((n, m) if "xavier" in name else (n,)))
    ours = law.support[1] if "uniform" in name else law.std
    assert ours == pytest.approx(eval(formula, {"sqrt": math.sqrt, "n": n, "m": m}))


def test_the_formulas_of_leaky_relu_variance_scaling_and_orthogonal_hold():
    n, m, a, scale, gain = 300, 200, 0.3, 1.7, 1.4
    laws = {
        r"sqrt(2 / ((1 + a**2) * n))": schemes.he_normal(n, negative_slope=a).std,
        r"sqrt(6 / ((1 + a**2) * n))": schemes.he_uniform(n, negative_slope=a).support[1],
        r"sqrt(scale / fan)": schemes.variance_scaling(scale, n).std,
        r"sqrt(3 * scale / fan)": schemes.variance_scaling(scale, n, distribution="uniform").support[1],
        r"gain / sqrt(max(n, m))": fastinit.laws.Orthogonal(gain).marginal((m, n)).std,
    }
    names = {"sqrt": math.sqrt, "max": max, "n": n, "m": m, "a": a, "scale": scale, "fan": n, "gain": gain}
    for formula, ours in laws.items():
        assert f"`{formula}`" in PAGE
        assert ours == pytest.approx(eval(formula, names))


def test_six_schemes_have_their_formula_on_the_page():
    found = {name for name, _ in FORMULAS if re.match("lecun|xavier|he_", name)}
    assert found == {f"{who}_{law}" for who in ("lecun", "xavier", "he") for law in ("normal", "uniform")}


def test_a_cut_at_two_sigma_costs_what_the_page_says():
    ratio = schemes.truncated_normal().std
    assert f"{ratio:.2f} of the parent's" in PAGE
    assert f"{1 - ratio**2:.0%} less variance".replace("%", " %") in PAGE


def test_what_the_prose_says_of_tanh_gelu_and_sigmoid_is_theory():
    prose = " ".join(PAGE.split())
    _, gradients = mean_field.variances("tanh", 25 / 9, 50)
    assert "grow by a fifth a layer" in prose
    assert gradients[20] / gradients[21] == pytest.approx(1.2, rel=0.01)
    activations, _ = mean_field.variances("tanh", 1.0, 400)
    assert "1 / (2 layers)" in prose
    assert activations[400] == pytest.approx(1 / 800, rel=0.05)
    activations, _ = mean_field.variances("gelu", 2.0, 80)
    assert "by half in every layer" in prose
    assert activations[80] / activations[79] == pytest.approx(0.5, rel=0.01)
    assert "a factor of 16 in every layer" in prose
    _, gradients = mean_field.variances("sigmoid", 1.0, 20)
    assert 16 < gradients[10] / gradients[9] < 20


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "gelu", "selu", "tanh", "sigmoid", "linear"])
def test_a_call_of_the_first_table_draws_what_scheme_for_names(name):
    call = re.search(rf"^\| {name} \| `(.*?)` \|", PAGE, re.MULTILINE)[1]
    ours, theirs = np.empty((20, 30), np.float32), np.empty((20, 30), np.float32)
    names = vars(fastinit) | {"buf": ours, "fan_in": 30, "fan_out": 20}
    eval(call.replace(")", ", seed=1, name='w')"), names)
    advice = fastinit.scheme_for(name)
    advice.fill(theirs, *((30, 20) if "xavier" in call else (30,)), **advice.arguments, seed=1, name="w")
    assert (ours == theirs).all()
