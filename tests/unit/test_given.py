"""laws.Given: a table of values has them in every shard, dtype, file and audit, and refuses what is no table."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fastinit
from fastinit import Shard
from fastinit.laws import Blocks, Given, Normal
from fastinit.laws.law_json import from_json, to_json
from fastinit.plan import Plan, Tensor
from fastinit.verify import verify
from fastinit.write import write

TABLE = np.sin(np.arange(600.0)).reshape(20, 30)


@pytest.mark.parametrize("kind", ["float32", "float64", "int64", "int8", "uint8", "bool"])
def test_a_table_comes_back_in_its_own_dtype(kind):
    table = (TABLE * 100).astype(kind)
    out = np.empty_like(table)
    fastinit.fill(out, Given.of(table))
    assert (out == table).all()
    assert from_json(to_json(Given.of(table))) == Given.of(table)


def test_a_shard_is_the_slice():
    law = Given.of(TABLE)
    for offsets, shape in (((3, 5), (7, 11)), ((19, 0), (1, 30)), ((0, 29), (20, 1))):
        block = np.full(shape, np.nan)
        fastinit.fill(block, law, shard=Shard(TABLE.shape, offsets))
        assert (block == TABLE[tuple(slice(a, a + n) for a, n in zip(offsets, shape, strict=True))]).all()


def test_narrow_formats_are_rounded_to_nearest():
    half = np.empty(TABLE.shape, np.float16)
    fastinit.fill(half, Given.of(TABLE.astype(np.float32)))
    assert (half == TABLE.astype(np.float32).astype(np.float16)).all()


def test_it_is_written_audited_and_a_part_of_blocks(tmp_path):
    positions = Given.of(np.arange(1 << 12).reshape(1, -1))
    fused = Blocks([(4, Normal(0.0, 1.0)), (20, Given.of(TABLE.astype(np.float32)))])
    plan = Plan((Tensor("ids", (1, 1 << 12), "int64", positions), Tensor("fused", (24, 30), "float32", fused)))
    assert Plan.from_json(plan.to_json()) == plan
    write(plan, tmp_path, seed=3)
    assert verify(tmp_path).ok
    safetensors = pytest.importorskip("safetensors.numpy")
    held = safetensors.load_file(tmp_path / "model.safetensors")
    assert (held["ids"] == np.arange(1 << 12)).all()
    assert (held["fused"][4:] == TABLE.astype(np.float32)).all()


def test_its_moments_are_those_of_the_values():
    element = Given.of(TABLE).marginal(TABLE.shape)
    assert element.mean == pytest.approx(TABLE.mean())
    assert element.std == pytest.approx(TABLE.std())
    assert element.support == (TABLE.min(), TABLE.max())
    assert element.cdf(0.0) == (TABLE <= 0.0).mean()
    masked = np.where(TABLE > 0, -math.inf, 0.0)
    assert Given.of(masked).marginal(TABLE.shape).std == math.inf


def test_a_table_without_elements_has_moments_of_zero_and_fills_nothing():
    law = Given.of(np.empty((0, 3), np.float32))
    element = law.marginal((0, 3))
    assert (element.mean, element.std, element.support, element.cdf(1.0)) == (0.0, 0.0, (0.0, 0.0), 0.0)
    fastinit.fill(np.empty((0, 3), np.float32), law)


def test_the_distribution_function_of_one_value_is_a_step_of_one():
    element = Given.of(np.array([2.0])).marginal((1,))
    assert (element.cdf(1.9), element.cdf(2.0)) == (0.0, 1.0)


def test_a_table_of_one_infinity_everywhere_does_not_vary():
    assert Given.of(np.full(3, -math.inf)).marginal((3,)).std == 0.0
    assert Given.of(np.array([0.0, math.inf])).marginal((2,)).std == math.inf


def test_one_infinity_is_too_many_for_a_format_without_and_fits_the_others():
    law = Given.of(np.array([1.0, math.inf]))
    with pytest.raises(ValueError, match="float8_e4m3fn has no infinity"):
        fastinit.fill(np.empty(2, np.uint8), law, dtype="float8_e4m3fn")
    half = np.empty(2, np.float16)
    fastinit.fill(half, law)
    assert half.tolist() == [1.0, math.inf]
    eighth = np.empty(2, np.uint8)
    fastinit.fill(eighth, Given.of(np.array([1.0, 448.0])), dtype="float8_e4m3fn")
    assert eighth.tolist() == [0x38, 0x7E]


def test_a_shape_that_is_a_list_is_kept_as_a_tuple():
    assert Given([2], "int8", "AAA=") == Given((2,), "int8", "AAA=")


def test_the_text_of_a_law_leaves_the_values_out():
    assert "data" not in repr(Given.of(TABLE))


REFUSED = {
    "another shape": (
        lambda: fastinit.fill(np.empty((30, 20)), Given.of(TABLE)),
        "have shape .20, 30., and the tensor",
    ),
    "another kind": (lambda: Given((2,), "complex64", ""), "kind is 'complex64'; it can be bool"),
    "too short": (lambda: Given((2,), "int8", "AA=="), "holds 1 bytes, and shape and kind say 2"),
    "no base64": (lambda: Given((3,), "int8", "!!!!"), "is no base64"),
    "no bools": (lambda: Given((3,), "bool", "AAAC"), "neither 0 nor 1"),
    "data of another length": (lambda: Given((8,), "int8", "AAAA"), "has 4 characters, and 8 bytes of int8"),
    "data that is no text": (lambda: Given((3,), "int8", b"AAAA"), "pass base64 text"),
    "a shape that is a number": (lambda: Given(3, "int8", "AAAA"), "shape is 3; pass a tuple of integers"),
    "a negative shape": (lambda: Given((3, -1), "int8", ""), "has a negative entry"),
    "the moments of another shape": (lambda: Given.of(TABLE).marginal((30, 20)), "and the tensor .30, 20."),
    "too large in the negative": (
        lambda: fastinit.fill(np.empty(2, np.float16), Given.of(np.array([-1e9, 1.0]))),
        "beyond",
    ),
    "a shape of text": (lambda: Given("33", "int8", ""), "shape is '33'"),
    "too large": (lambda: fastinit.fill(np.empty(2, np.float16), Given.of(np.array([1.0, 1e9]))), "beyond the largest"),
    "floats in integers": (
        lambda: fastinit.fill(np.empty(2, np.int64), Given.of(np.array([1.0, 2.5]))),
        "draws floats|float",
    ),
    "integers that do not fit": (
        lambda: Tensor("a", (2,), "int8", Given.of(np.array([1, 300]))),
        "does not fit dtype int8",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_table_or_does_not_fit_is_refused(case):
    call, message = REFUSED[case]
    with pytest.raises((TypeError, ValueError), match=message):
        call()
