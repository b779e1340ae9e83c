"""Promise 2, first half: both engines give the same bits, over ten million elements of each law and dtype."""

from __future__ import annotations

import math

import pytest
from drawing import LAWS, STORAGE, draw, empty, same_bits

import fastinit
from fastinit import Shard, engines, laws

# The laws that between them use every piece of arithmetic there is.
CASES = ["uniform around zero", "normal", "laplace", "truncated at two sigma", "upper half-line", "far lower tail"]
TEN_MILLION = 10_000_037
SHORTENED = {
    # Symmetric intervals, for which the compiled engine has a shorter form if they lie about zero.
    "wide": laws.TruncatedNormal(0.0, 0.02, -2.0, 2.0),
    "narrow": laws.TruncatedNormal(0.0, 3.0, -0.25, 0.25),
    "the whole line": laws.TruncatedNormal(0.0, 1.0, -math.inf, math.inf),
    "about another mean": laws.TruncatedNormal(0.5, 0.25, 0.0, 1.0),
    "bounds that round unevenly": laws.TruncatedNormal(1e-9, 1.0, -2.0, 2.0),
    "values that round to zero": laws.TruncatedNormal(0.0, 1e-43, -2e-43, 2e-43),
    # Uniform laws, for which it leaves out the cut at the top, and others.
    "uniform": laws.Uniform(-0.1, 0.1),
    "rounded up to high": laws.Uniform(0.5, 0.99),
    "whose step is no float32": laws.Uniform(0.0, 3e-37),
    "of few values": laws.Uniform(1.0, 1.0 + 2.0**-20),
    # Normals, for which it does not add a mean of 0: but to what rounds to -0.0.
    "normal": laws.Normal(0.0, 0.02),
    "the smallest without a sum": laws.Normal(0.0, 2.0**-80),
    "the largest with one": laws.Normal(0.0, 2.0**-80 * (1 - 2.0**-30)),
    "normals that round to zero": laws.Normal(0.0, 1e-44),
    "normal about another mean": laws.Normal(-0.5, 0.02),
}


@pytest.mark.parametrize("dtype", STORAGE)
@pytest.mark.parametrize("case", CASES)
def test_engines_agree_over_ten_million_elements(case, dtype):
    with engines.use("numpy"):
        expected = draw(LAWS[case], TEN_MILLION, dtype, seed=17, name=case)
    with engines.use("numba"):
        same_bits(draw(LAWS[case], TEN_MILLION, dtype, seed=17, name=case), expected)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("case", SHORTENED)
@pytest.mark.filterwarnings("ignore:std .* is under:UserWarning")
def test_engines_agree_where_one_has_a_shorter_form(case, dtype):
    results = []
    for name in ("numba", "numpy"):
        with engines.use(name):
            results.append(draw(SHORTENED[case], 300_007, dtype, seed=19, name=case))
    same_bits(*results)


@pytest.mark.parametrize("dtype", STORAGE)
@pytest.mark.parametrize("case", LAWS)
def test_engines_agree_on_transposed_and_on_narrow_blocks(case, dtype):
    for shard, block, order in [
        (Shard((301, 1000), (3, 11)), (290, 700), "F"),
        (Shard((2000, 300), (0, 33)), (1999, 5), "C"),
        (Shard((5000, 192), (0, 64)), (5000, 64), "C"),
    ]:
        results = []
        for name in ("numba", "numpy"):
            x = empty(block, dtype, order)
            with engines.use(name):
                fastinit.fill(x, LAWS[case], seed=18, name=case, dtype=dtype, shard=shard)
            results.append(x)
        same_bits(*results)
