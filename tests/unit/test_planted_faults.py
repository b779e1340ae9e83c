"""What ci/mutation plants is seen by all who have imported it already, and by nobody before."""

from __future__ import annotations

import numpy as np
import pytest
from attacks.outcome import in_child
from mutations.faults import ROOT, faults
from mutations.guards import GUARDS
from mutations.planting import plant

import fastinit
from fastinit import laws
from fastinit.address import integer
from fastinit.laws import Given, Identity, Normal, Uniform


def one(path, where, before, after):
    found = [fault for fault in faults(path) if (fault.where, fault.before, fault.after) == (where, before, after)]
    assert len(found) == 1
    return found[0]


def seen(fault, look):
    """What `look` finds before a fault is planted, and whether it finds something else in the child that has it."""
    before = look()

    def work():
        plant(fault.path, fault.code)
        assert look() != before

    return in_child(work) == ""


def filled_together():
    buf = np.zeros(4, np.float32)
    fastinit.fill_many([(buf, Normal(), "a")], seed=1)
    return buf


INDEPENDENT, GIVEN, PATTERNS = (f"fastinit/laws/{name}.py" for name in ("independent", "given", "patterns"))
CASES = {
    "a property": (
        (INDEPENDENT, "Uniform.mean", "return self.low / 2 + self.high / 2", "return self.low / 2 - self.high / 2"),
        lambda: Uniform(0.0, 1.0).mean,
    ),
    "a default": (
        (PATTERNS, "Identity", "gain: float = 1.0", "gain: float = 1.5"),
        lambda: Identity().gain,
    ),
    "a class constant": (
        (INDEPENDENT, "Constant", "draws = floats_only = False", "draws = floats_only = True"),
        lambda: laws.Constant(1).draws,
    ),
    "what a decorator wraps": (
        ("fastinit/fill/many.py", "fill_many", "store()", "(removed)"),
        lambda: filled_together().tolist(),
    ),
    "a check": (
        ("fastinit/address.py", "integer", "if type(value) is int:", "if type(value) is not int:"),
        lambda: integer(np.int64(3), "it").__class__,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_fault_is_seen_by_who_has_imported_the_sound_code(case):
    change, look = CASES[case]
    assert seen(one(*change), look)


def test_a_cached_property_has_the_fault_too():
    law = Given.of(np.array([1.0, np.inf]))
    planted = [fault for fault in faults(GIVEN) if fault.where == "Given._extent" and ".all()" in fault.after]
    assert [seen(fault, lambda: Given(law.shape, law.kind, law.data)._extent) for fault in planted] == [True]


def test_the_sound_code_planted_changes_nothing():
    def work():
        plant(INDEPENDENT, compile((ROOT / INDEPENDENT).read_text(), INDEPENDENT, "exec"))
        assert isinstance(Normal(0.0, 2.0), laws.Law)
        assert Normal(0.0, 2.0) == laws.Normal(0.0, 2.0)
        assert Uniform(0.0, 1.0).mean == 0.5

    assert in_child(work) == ""


def test_texts_and_the_arguments_of_errors_are_left_alone():
    for fault in faults("fastinit/address.py"):
        if fault.before.startswith("raise"):
            assert fault.after == "(removed)"


def test_every_module_of_laws_and_fills_has_guards_that_exist():
    modules = {
        str(path.relative_to(ROOT))
        for folder in ("laws", "fill")
        for path in (ROOT / "fastinit" / folder).glob("*.py")
        if path.name != "__init__.py"
    }
    assert modules <= set(GUARDS)
    for path, guards in GUARDS.items():
        assert all((ROOT / name).exists() for name in (path, *guards)), path
