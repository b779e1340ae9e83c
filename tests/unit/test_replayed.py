"""laws.Replayed: an expression over draws has its values in every shard, dtype, file and audit; others are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

import fastinit
from fastinit import Shard
from fastinit.fill.replay import cosine, exponential, exponential_less_one, logarithm, total
from fastinit.laws import Normal, Orthogonal, Replayed
from fastinit.laws.law_json import from_json, to_json
from fastinit.plan import Plan, Tensor
from fastinit.verify import verify
from fastinit.write import write


def draw(shape, name="v", law=None):
    return {"draw": to_json(law or Normal()), "name": name, "shape": list(shape)}


def op(name, *of, **parameters):
    return {"op": name, "of": list(of), **parameters}


def law(shape, tree):
    return Replayed(shape, json.dumps(tree))


def drawn(shape, name="v", seed=4, of=None, dtype="float32"):
    return fastinit.new(shape, of or Normal(), seed=seed, name=name, dtype=dtype).astype(np.float64)


def filled(one, dtype=np.float32, **options):
    x = np.empty(options.pop("block", one.shape), dtype)
    fastinit.fill(x, one, seed=4, name="anything", **options)
    return x


V = draw((6, 5, 4))
NORM = op("reshape", op("sqrt", op("sum", op("square", V), axes=[1, 2])), shape=[6, 1, 1])
CASES = {
    "norm": (law((6, 1, 1), NORM), lambda v: np.sqrt((v**2).sum((1, 2), keepdims=True))),
    "clipped": (law((6, 5, 4), op("clamp", V, low=-0.5, high=0.7)), lambda v: v.clip(-0.5, 0.7)),
    "over its norm": (law((6, 5, 4), op("div", V, NORM)), lambda v: v / np.sqrt((v**2).sum((1, 2), keepdims=True))),
    "exp": (law((6, 5, 4), op("exp", V)), np.exp),
    "expm1": (law((6, 5, 4), op("expm1", V)), np.expm1),
    "log": (law((6, 5, 4), op("log", op("abs", V))), lambda v: np.log(abs(v))),
    "cos": (law((6, 5, 4), op("cos", op("mul", V, {"value": 40.0}))), lambda v: np.cos(40 * v)),
    "sin": (law((6, 5, 4), op("sin", op("mul", V, {"value": 40.0}))), lambda v: np.sin(40 * v)),
    "affine": (law((6, 5, 4), op("sub", op("mul", op("neg", V), {"value": 2.0}), {"value": 1})), lambda v: -2 * v - 1),
    "permuted": (law((4, 6, 5), op("permute", V, axes=[2, 0, 1])), lambda v: v.transpose(2, 0, 1)),
    "repeated": (law((12, 5, 4), op("repeat", V, times=[2, 1, 1])), lambda v: np.tile(v, (2, 1, 1))),
    "spread": (law((3, 6, 5, 4), op("expand", V, shape=[3, 6, 5, 4])), lambda v: np.broadcast_to(v, (3, 6, 5, 4))),
    "assembled": (
        law(
            (2, 60),
            {**op("assemble", V, {"value": 7.0}, size=120), "regions": [[0, [6, 5, 4], [20, 4, 1]], [0, [60], [2]]]}
            | {"view": [0, [2, 60], [60, 1]]},
        ),
        lambda v: np.where(np.arange(120) % 2, v.ravel(), 7.0).reshape(2, 60),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_an_expression_is_computed_of_the_draws_of_its_names(case):
    one, expected = CASES[case]
    assert np.allclose(filled(one), expected(drawn((6, 5, 4))), rtol=1e-6, atol=1e-7)
    assert np.allclose(filled(one, np.float64), expected(drawn((6, 5, 4), dtype="float64")), rtol=1e-12, atol=1e-14)
    assert from_json(json.loads(json.dumps(to_json(one)))) == one


def test_a_shard_is_the_slice_and_narrow_formats_are_rounded():
    one, _ = CASES["over its norm"]
    whole = filled(one)
    block = filled(one, shard=Shard(one.shape, (2, 0, 1)), block=(3, 5, 2))
    assert (block == whole[2:5, :, 1:3]).all()
    assert (filled(one, np.float16) == whole.astype(np.float16)).all()


def test_a_file_has_the_gain_of_the_direction_beside_it_and_is_audited(tmp_path):
    norm, _ = CASES["norm"]
    plan = Plan((Tensor("g", (6, 1, 1), "float32", norm), Tensor("v", (6, 5, 4), "float32", Normal())))
    assert Plan.from_json(plan.to_json()) == plan
    write(plan, tmp_path, seed=4)
    assert verify(tmp_path).ok
    held = pytest.importorskip("safetensors.numpy").load_file(tmp_path / "model.safetensors")
    assert np.allclose(held["g"], np.sqrt((held["v"].astype(float) ** 2).sum((1, 2), keepdims=True)), rtol=1e-6)


def test_names_change_with_the_tensors():
    one = CASES["norm"][0].renamed(lambda name: f"model.{name}")
    assert np.allclose(filled(one).ravel() ** 2, (drawn((6, 5, 4), "model.v") ** 2).sum((1, 2)))


def test_sums_exponentials_and_logarithms_are_exact_to_the_last_bits():
    x = np.random.default_rng(0).standard_normal((7, 1001)) * 10
    assert np.allclose(total(x, [1])[:, 0], [sum(map(float, row)) for row in x], rtol=1e-13)
    assert np.allclose(total(x, [0, 1]), x.sum(), rtol=1e-11)
    assert total(np.zeros((0, 3)), [0]).tolist() == [[0.0, 0.0, 0.0]]
    assert np.allclose(exponential(x), np.exp(x), rtol=1e-14)
    tiny = np.array([1e-12, -1e-9, 0.3, -40.0])
    assert np.allclose(exponential_less_one(tiny), np.expm1(tiny), rtol=1e-14)
    assert np.allclose(logarithm(abs(x)), np.log(abs(x)), rtol=1e-14)
    assert logarithm(np.array([0.0, -1.0]))[0] == -np.inf and np.isnan(logarithm(np.array([-1.0]))[0])


def test_cosines_and_sines_are_exact_to_the_last_bits():
    mpmath = pytest.importorskip("mpmath")
    mpmath.mp.prec = 120
    random = np.random.default_rng(0)
    near = np.arange(-400, 400) * np.pi / 2
    x = np.concatenate([random.uniform(-7, 7, 1500), random.uniform(-(2.0**18), 2.0**18, 1500), near, [0.0, 2.0**18]])
    for quarters, exact in ((0, mpmath.cos), (3, mpmath.sin)):
        off = [
            abs(float(mpmath.mpf(float(y)) - exact(float(at)))) for at, y in zip(x, cosine(x, quarters), strict=True)
        ]
        assert max(off) < 2.0**-52
    assert np.signbit(cosine(np.array([-1e-300]), 3))[0] and cosine(np.array([1e-300]), 3)[0] == 1e-300
    for beyond in (2.0**18 + 1, np.inf, np.nan):
        with pytest.raises(ValueError, match=r"beyond 2\^18"):
            cosine(np.array([0.0, beyond]))


def test_the_law_of_an_element_is_that_of_a_run():
    element = CASES["clipped"][0].on((6, 5, 4))
    assert element.support[0] >= -0.5 and element.support[1] <= np.float32(0.7) and 0 < element.std < 1


@pytest.mark.parametrize("shape", [(6, 5), (5, 6, 4), (120,)])
def test_the_law_of_an_element_of_another_tensor_is_refused(shape):
    with pytest.raises(ValueError, match=r"the expression has shape \(6, 5, 4\), and the tensor"):
        CASES["clipped"][0].on(shape)


def deep(n):
    node = V
    for _ in range(n):
        node = op("neg", node)
    return node


REFUSED = {
    "no JSON": (lambda: Replayed((3,), "{"), "expression is no JSON"),
    "no object": (lambda: Replayed((3,), "[]"), "must be an object"),
    "no operation": (lambda: law((3,), op("eval", V)), "no operation 'eval'"),
    "operands": (lambda: law((3,), op("add", V)), "no operation 'add' with such operands"),
    "a value of text": (lambda: law((3,), {"value": "1"}), "it must be a number"),
    "a draw without a name": (lambda: law((3,), {"draw": {}, "shape": [3]}), "a draw has a law, a shape, a name"),
    "axes of text": (lambda: law((3,), op("sum", V, axes="01")), "axes of sum is '01'"),
    "too deep": (lambda: law((3,), deep(80)), "more than 64 operations"),
    "too large": (lambda: law((3,), draw((1 << 14, 1 << 14))), "at most 67,108,864 are replayed"),
    "another shape": (lambda: fastinit.fill(np.empty(3), CASES["norm"][0], seed=0), "and the tensor .3,."),
    "shapes that do not fit": (lambda: filled(law((6, 5, 4), op("add", V, draw((7,))))), "broadcast"),
    "a result of another shape": (lambda: filled(law((6, 5), V)), "broadcast|shape"),
    "a large result": (
        lambda: filled(law((3,), op("expand", V, shape=[1 << 20, 6, 5, 4]))),
        "at most 67,108,864 are computed",
    ),
    "a region outside": (
        lambda: filled(law((2,), op("assemble", V, size=3, regions=[[0, [6, 5, 4], [20, 4, 1]]], view=[0, [2], [1]]))),
        "outside of its memory",
    ),
    "axes outside": (lambda: filled(law((3,), op("sum", V, axes=[7]))), "cannot be computed|axes"),
    "an expression of expressions": (
        lambda: filled(law((6, 1, 1), draw((6, 1, 1), law=CASES["norm"][0]))),
        "its operations belong into this one",
    ),
    "a law that does not fit": (lambda: filled(law((3,), draw((3,), law=Orthogonal()))), "is no matrix"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_expression_is_refused(case):
    call, message = REFUSED[case]
    with pytest.raises((TypeError, ValueError), match=message):
        call()
