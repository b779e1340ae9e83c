"""A formula has one name in both engines, takes the same things, and gives the same bits."""

from __future__ import annotations

import importlib
import inspect

import numba
import numpy as np
import pytest
from traced import scalar

from fastinit.engines import compiled, reference
from fastinit.engines.compiled import entries
from fastinit.engines.interface import law_rooms

# Not conversions.py, which NumPy says by `astype`; nor planar.py, whose formulas take neighbours in pairs, which one
# scalar has not (tests/laws/test_complex.py holds the engines against each other).
LAW_ROOMS = [room.__name__.rpartition(".")[2] for room in law_rooms(compiled.__name__)]
ROOMS = ("logarithm", *(room for room in LAW_ROOMS if room != "planar"))


def formulas():
    """Every formula of the compiled engine; what takes Operands is a law, or a way to one of several."""
    for name in ROOMS:
        room, twin = (importlib.import_module(f"{engine.__name__}.{name}") for engine in (compiled, reference))
        for name, function in inspect.getmembers(room, inspect.isfunction):
            first = next(iter(inspect.signature(function).parameters.values()), None)
            if function.__module__ == room.__name__ and first is not None and first.annotation != "Operands":
                yield name, (function, getattr(twin, name, None))


FORMULAS = dict(formulas())


@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_has_a_twin_in_the_numpy_engine_that_takes_the_same(name):
    formula, twin = FORMULAS[name]
    assert twin is not None, f"the room of this name in reference/ has no {name}"
    assert [*inspect.signature(twin).parameters] == [*inspect.signature(formula).parameters]


def test_the_rooms_of_laws_are_the_same_in_both_engines_but_for_laws_that_are_not_compiled():
    assert LAW_ROOMS == ["laplace", "normal", "planar", "truncated", "uniform"]
    own = {room.__name__.rpartition(".")[2] for room in law_rooms(reference.__name__)}
    assert own - set(LAW_ROOMS) == {"mamba"}
    assert own >= set(LAW_ROOMS)


def test_the_rooms_hold_formulas():
    assert {"split_32", "radius_32", "unit_64", "tail_32", "ratio_64", "store_pairs"} <= set(FORMULAS)
    assert len(FORMULAS) >= 20


def test_every_law_has_a_twin_in_the_numpy_engine():
    names = {law.__name__ for law in entries.LAWS}
    assert names <= set(reference.LAWS)
    alone = set(reference.LAWS) - names  # float64 of one word for every dtype, too few elements to be compiled
    alone -= {"complex_normal_32", "complex_normal_64"}  # of a mean that is not 0: with 0 it is a normal law of floats
    assert not [name for name in alone if name.endswith(("_32", "_64"))], alone


single, double = numba.types.float32, numba.types.float64
two = numba.types.UniTuple
WORD, TAIL_32, TAIL_64 = "a word", "twice a tail probability", "a tail probability"
# What a formula takes, and the type of what it gives.
SAME = {
    "unit_32": (WORD, single),
    "radius_32": (WORD, single),
    "angle_32": (WORD, two(single, 2)),
    "pairs_32": (WORD, WORD, two(single, 2)),
    "log_odds_32": (TAIL_32, two(single, 2)),
    "near_magnitude_32": (TAIL_32, single),
    "magnitude_32": (TAIL_32, single),
    "unit_64": (WORD, WORD, double),
    "radius_64": (WORD, WORD, double),
    "angle_64": (WORD, WORD, two(double, 2)),
    "magnitude_64": (TAIL_64, double),
}


def some(what, seed):
    """Words near the places where something turns, and others of all sizes; or as many tail probabilities."""
    rng = np.random.default_rng(seed)
    edges = [0, 1, 2, 3, 7, 8, 2**23, 2**24 + 1, 2**31 - 1, 2**31, 2**32 - 8, 2**32 - 2, 2**32 - 1]
    others = rng.integers(0, 2**32, 30_000) >> rng.integers(0, 32, 30_000)
    words = np.concatenate([rng.permutation(edges), others]).astype(np.uint32)
    if what is WORD:
        return words
    p = (words + 0.5) * 2.0**-33 * np.exp2(-rng.integers(0, 80, words.size))
    return np.minimum(2 * p, 1 - 2.0**-24).astype(np.float32) if what is TAIL_32 else p


@pytest.mark.parametrize("name", SAME)
def test_twins_give_the_same_bits(name):
    *takes, gives = SAME[name]
    arguments = [some(what, seed) for seed, what in enumerate(takes)]
    formula, twin = FORMULAS[name]
    formula = scalar(formula, gives)
    compute = numba.njit(lambda x: formula(x)) if len(takes) == 1 else numba.njit(lambda x, y: formula(x, y))
    ours = np.array([compute(*each) for each in zip(*arguments, strict=True)]).T
    theirs = np.array(twin(*arguments))
    integer = f"u{theirs.itemsize}"
    differing = ours.astype(theirs.dtype).view(integer) != np.ascontiguousarray(theirs).view(integer)
    assert not differing.any(), f"{np.count_nonzero(differing)} of {theirs.size} values"
