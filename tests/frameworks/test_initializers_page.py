"""docs/initializers.md leaves out no initialiser of PyTorch or JAX, and its calls draw the law of theirs."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

import fastinit

torch = pytest.importorskip("torch")

PAGE = (Path(__file__).parents[2] / "docs" / "initializers.md").read_text(encoding="utf-8")
TORCH_PAGE, JAX_PAGE = PAGE.split("## torch.nn.init")[1].split("## jax.nn.initializers")
NOT_INITIALIZERS = {"Initializer"}  # the type of JAX's
SHAPE = (256, 384)


def rows(section):
    """Their name -> (their call, our call)."""
    cells = re.findall(r"^\| `(\w+)(.*?)` \| `(.*?)` \|", section, flags=re.MULTILINE)
    return {name: (name + rest, ours) for name, rest, ours in cells}


def test_no_initializer_of_torch_is_missing():
    theirs = {name for name in dir(torch.nn.init) if re.fullmatch(r"[a-z]\w*_", name)} | {"calculate_gain"}
    assert set(rows(TORCH_PAGE)) == theirs


def test_no_initializer_of_jax_is_missing():
    jax = pytest.importorskip("jax")
    theirs = {name for name in dir(jax.nn.initializers) if not name.startswith("_")}
    assert set(rows(JAX_PAGE)) == theirs - NOT_INITIALIZERS


@pytest.mark.parametrize("call", [ours for _, ours in (rows(TORCH_PAGE) | rows(JAX_PAGE)).values()])
def test_our_calls_exist(call):
    assert hasattr(fastinit, call.split("(")[0])


def same_law(ours, theirs):
    """Assert that two samples have the mean, deviation and range of one law, to 6 standard errors or so."""
    ours, theirs = ours.astype(np.float64).ravel(), theirs.astype(np.float64).ravel()
    error = max(ours.std(), theirs.std()) / math.sqrt(ours.size)
    assert abs(ours.mean() - theirs.mean()) <= 8 * error + 1e-9
    assert ours.std() == pytest.approx(theirs.std(), rel=0.02, abs=1e-9)
    assert np.quantile(ours, [0.001, 0.25, 0.75, 0.999]) == pytest.approx(
        np.quantile(theirs, [0.001, 0.25, 0.75, 0.999]), rel=0.1, abs=0.1 * ours.std() + 1e-9
    )


@pytest.mark.parametrize("name", sorted(set(rows(TORCH_PAGE)) - {"dirac_", "calculate_gain"}))
def test_a_row_of_torch_draws_the_law_it_names(name):
    theirs, ours = rows(TORCH_PAGE)[name]
    numbers = {"a": -0.5, "b": 0.75, "mean": 0.1, "std": 0.5, "val": 3.0, "gain": 1.5, "sparsity": 0.9}
    if name.startswith("kaiming"):
        numbers |= {"a": 0.2, "mode": "fan_out"}
    fan_in, fan_out = fastinit.fans(SHAPE, "torch")
    w, tensor = np.empty(SHAPE, np.float32), torch.empty(SHAPE)
    torch.manual_seed(0)
    eval(f"torch.nn.init.{theirs}", {"torch": torch, "w": tensor, **numbers})
    where = {"w": w, "fan_in": fan_in, "fan_out": fan_out, "fan": fan_out, **vars(fastinit), **numbers}
    eval(ours, where)
    same_law(w, tensor.numpy())


@pytest.mark.parametrize("name", sorted(set(rows(JAX_PAGE)) - {"delta_orthogonal"}))
def test_a_row_of_jax_draws_the_law_it_names(name):
    jax = pytest.importorskip("jax")
    theirs, ours = rows(JAX_PAGE)[name]
    numbers = {"value": 3.0, "scale": 1.5, "stddev": 0.5, "lower": -1.5, "upper": 1.0}
    numbers |= {"mode": "fan_out", "distribution": "truncated_normal"}
    made = eval(f"initializers.{theirs}", {"initializers": jax.nn.initializers, **numbers})
    tensor = np.asarray(made(jax.random.key(0), SHAPE, "float32"))
    fan_in, fan_out = fastinit.fans(SHAPE, "jax")
    w = np.empty(SHAPE, np.float32)
    eval(ours, {"w": w, "fan_in": fan_in, "fan_out": fan_out, "fan": fan_out, **vars(fastinit), **numbers})
    same_law(w, tensor)
