"""Names that arguments choose from: type checkers know those that are accepted; one that is none of them is refused."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import pytest

import fastinit
from fastinit import choices
from fastinit.fans import LAYOUTS
from fastinit.laws import DeltaOrthogonal, Orthogonal
from fastinit.plan import Rule
from fastinit.scheme_names import MEANS, SCHEMES, SIDES, law_of

CALLS = Path(__file__).parents[1] / "typing" / "wrong_calls.py"


def test_the_literals_are_the_names_that_are_accepted():
    assert set(get_args(choices.Layout)) == set(LAYOUTS)
    assert set(get_args(choices.Scheme)) == set(SCHEMES)
    assert set(get_args(choices.Mode)) == {*SIDES, *MEANS}
    for name in get_args(choices.Distribution):
        fastinit.fill_variance_scaling(fastinit.new(3, fastinit.laws.Constant(0)), 1.0, 3, distribution=name, seed=0)
    for name in get_args(choices.Flatten):
        assert Orthogonal(flatten=name).flatten == name
    for name in get_args(choices.KernelLayout):
        assert DeltaOrthogonal(layout=name).layout == name
    for name in ("skip", "default", *SCHEMES):
        assert Rule(".*", name).scheme == name


def test_a_rule_of_an_unknown_scheme_is_refused_when_it_is_made_with_the_nearest_name():
    message = "rule 'wte.*': scheme 'he_norml' is unknown; did you mean 'he_normal'?"
    with pytest.raises(ValueError, match=re.escape(message)):
        Rule("wte.*", "he_norml")


@pytest.mark.parametrize(
    ("given", "meant"),
    [("Xavier-Uniform", "xavier_uniform"), ("kaiming", "kaiming_normal"), ("trunc_normal", "truncated_normal")],
)
def test_the_nearest_name_is_found_across_case_and_dashes(given, meant):
    assert choices.nearest(given, SCHEMES) == meant


def test_where_no_name_is_near_all_are_listed():
    with pytest.raises(ValueError, match=r"scheme 'qqq' is unknown; there are constant, zeros, ones, .*lstm_bias"):
        law_of("qqq", {}, (3, 3))


def test_a_number_with_a_typing_error_is_told_the_nearest():
    with pytest.raises(ValueError, match=r"he_normal has no use for 'fanin'; did you mean 'fan_in'\?"):
        law_of("he_normal", {"fanin": 3}, (3, 3))


@pytest.mark.parametrize("checker", ["mypy", "basedpyright"])
def test_a_type_checker_finds_each_of_twelve_wrong_calls_and_no_right_one(checker):
    if find_spec(checker) is None:
        pytest.skip(f"{checker} is not installed")
    options = ["--strict", "--no-error-summary"] if checker == "mypy" else ["--level", "error"]
    command = [sys.executable, "-m", checker, *options, str(CALLS)]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=CALLS.parents[2])
    found = {int(line) for line in re.findall(rf"{CALLS.name}:(\d+)(?::\d+)?(?: -|:) error", answer.stdout)}
    wrong = {i for i, line in enumerate(CALLS.read_text().splitlines(), 1) if line.endswith("# wrong")}
    assert len(wrong) == 12
    assert found == wrong, answer.stdout
