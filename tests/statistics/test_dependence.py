"""Values at different places, under different names and from different seeds have nothing to do with each other."""

from __future__ import annotations

import numpy as np
import pytest
from budget import accept
from checks import LAWS, correlation, draw, independence, standardised

COUNT = 1 << 22
GROUP, LANES = 64, 16

# Neighbours; lanes of a register; the pair of one counter (16) and its double; neighbouring groups; blocks; chunks.
LAGS = (1, 2, 3, 4, 8, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 128, 256, 1024, 4096, 65536, 1 << 18, 1 << 20, 1 << 21)
CASES = ["uniform", "normal", "truncated at two sigma"]


@pytest.mark.parametrize("squares", [False, True], ids=["values", "squares"])
@pytest.mark.parametrize("case", CASES)
def test_no_lag_correlates(case, squares):
    z = standardised(draw(LAWS[case], COUNT, seed=8, name=case), LAWS[case], squares=squares)
    for lag in LAGS:
        what = f"lag {lag} of {'squares of ' if squares else ''}{case}"
        accept("dependence", what, correlation(z[:-lag], z[lag:]))


@pytest.mark.parametrize("squares", [False, True], ids=["values", "squares"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_two_normals_of_a_pair_do_not_correlate(dtype, squares):
    z = standardised(draw(LAWS["normal"], COUNT, dtype, seed=9), LAWS["normal"], squares=squares)
    even, odd = z.reshape(-1, 2, LANES).transpose(1, 0, 2).reshape(2, -1)
    accept("dependence", f"pair (i, i + 16), {'squares' if squares else 'values'}, {dtype}", correlation(even, odd))


@pytest.mark.parametrize("squares", [False, True], ids=["values", "squares"])
@pytest.mark.parametrize("case", CASES)
def test_no_two_places_of_a_group_correlate(case, squares):
    z = standardised(draw(LAWS[case], COUNT, seed=10, name=case), LAWS[case], squares=squares)
    places = np.ascontiguousarray(z.reshape(-1, GROUP).T)
    what = f"{'squares of ' if squares else ''}{case}"
    accept("dependence", f"places of a group, {what}", independence(places))
    accept("dependence", f"neighbouring groups, {what}", independence(places[:, :-1], places[:, 1:]))


@pytest.mark.parametrize("squares", [False, True], ids=["values", "squares"])
@pytest.mark.parametrize("case", ["uniform", "normal"])
@pytest.mark.parametrize("what", ["names", "integer names", "seeds", "high bits of seeds"])
def test_streams_do_not_correlate(what, case, squares):
    law, count, streams = LAWS[case], 1 << 15, 200
    rows = []
    for i in range(streams):
        seed = {"seeds": i, "high bits of seeds": i << 32}.get(what, 0)
        name = {"names": f"layers.{i}.weight", "integer names": i}.get(what, "layers.0.weight")
        rows.append(standardised(draw(law, count, seed=seed, name=name), law, squares=squares))
    kind = "squares of " if squares else ""
    accept("streams", f"{what} 0 to {streams - 1}, {kind}{case}", independence(np.array(rows)))


def test_no_two_names_or_seeds_share_a_block():
    seen = {}
    for seed in range(64):
        for name in (*(f"layers.{i}.weight" for i in range(64)), *range(64)):
            first = draw(LAWS["uniform"], 64, seed=seed, name=name).tobytes()
            assert first not in seen, f"seed {seed}, name {name!r} and {seen[first]} begin alike"
            seen[first] = (seed, name)
