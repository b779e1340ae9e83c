"""fastinit.compare: the verdict follows the numbers, and table, page and pictures show them."""

from __future__ import annotations

import dataclasses
import json
import re
from functools import cache
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from fastinit.compare import Comparison, Curve, Recipe, compare, verdict
from fastinit.compare.chart import LINES, OTHER, figure, panels, ticks
from fastinit.compare.page import html
from fastinit.compare.picture import save_png
from fastinit.compare.report import report
from fastinit.compare.verdict import remark
from fastinit.formatting import columns_of

SMALL = Recipe(depth=4, width=16, epochs=2)


@cache
def compared(name: str, depth: int = 50, width: int = 64) -> Comparison:
    return compare(name, depth=depth, width=width, batch=32)


def trained(name: str) -> Comparison:
    pytest.importorskip("sklearn")
    return compare(name, depth=5, width=32, batch=16, training=SMALL)


def changed(comparison: Comparison, start: str, **fields: object) -> Comparison:
    """The same with other measurements of one start."""
    return dataclasses.replace(
        comparison,
        outcomes=tuple(
            dataclasses.replace(one, signal=dataclasses.replace(one.signal, **fields))
            if one.start.name == start
            else one
            for one in comparison.outcomes
        ),
    )


# --- the verdict ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "selu", "linear", "tanh", "gelu", "silu", "elu", "mish"])
def test_the_signal_confirms_scheme_for(name):
    assert verdict(compared(name)).confirmed


@pytest.mark.parametrize("name", ["relu", "selu", "linear", "gelu"])
def test_both_ways_of_the_signal_confirm_scheme_for(name):
    judged = verdict(compared(name))
    assert all(one.confirms for one in judged.findings)
    assert "Both measurements confirm" in judged.words


def test_the_verdict_on_tanh_says_that_gradients_would_choose_another():
    # Mean field: with gain 5/3 the gradient grows by 1.2 a layer, with 1 it falls to 1.4 %.
    judged = verdict(compared("tanh"))
    assert [one.confirms for one in judged.findings] == [True, False]
    assert "1 of 2 measurements confirms" in judged.words
    assert "gradients would choose another" in judged.words


def test_the_verdict_on_sigmoid_says_no():
    # 1 / 16 a layer: no start of a usual size brings a gradient back through 50 layers of sigmoid.
    judged = verdict(compared("sigmoid"))
    assert not judged.confirmed
    assert "do NOT confirm" in judged.words
    assert "gradients vanish" in judged.words


def test_a_verdict_follows_the_numbers_not_the_name():
    honest = compared("relu")
    lied = changed(honest, "He", activations=(1.0, 1e-9), gradients=(1e-9, 1.0))
    lied = changed(lied, "Xavier", activations=(1.0, 0.9), gradients=(1.1, 1.0))
    judged = verdict(lied)
    assert not judged.confirmed
    assert [one.chosen for one in judged.findings] == [("Xavier",), ("Xavier",)]
    assert "do NOT confirm" in judged.words
    assert "activations vanish (1e-09) and gradients vanish (1e-09)" in judged.words


def test_all_measurements_confirm_a_scheme_under_which_the_signal_is_lost_and_that_word_stands_beside():
    dying = changed(compared("relu"), "He", activations=(1.0, 3e-8), gradients=(3e-8, 1.0))
    for other in ("Xavier", "LeCun", "small", "large"):
        dying = changed(dying, other, activations=(1.0, 1e-30), gradients=(1e-30, 1.0))
    judged = verdict(dying)
    assert judged.confirmed and len(judged.lost) == 2
    beside = "as the best of these starts; even with it activations vanish (3e-08) and gradients vanish (3e-08)"
    assert (
        f'Both measurements confirm scheme_for("relu"), which names fill_he_normal(buf, fan_in), {beside}'
        in judged.words
    )
    assert 'class="verdict alert"' in html(dying)


def test_orthogonal_that_does_better_is_named_as_outside_the_contest():
    better = changed(compared("relu"), "orthogonal", activations=(1.0, 1.0))
    words = verdict(changed(better, "He", activations=(1.0, 0.5))).findings[0].words
    assert (
        "He keeps their variance nearest to the input's (0.5; orthogonal, which takes no part, does better: 1)" in words
    )
    worse = changed(better, "orthogonal", activations=(1.0, 0.1))
    assert "takes no part" not in verdict(changed(worse, "He", activations=(1.0, 0.5))).findings[0].words


def test_several_seeds_are_judged_by_their_median_and_shown_with_their_spread():
    one, three = (compare("relu", depth=20, width=32, batch=16, seeds=seeds) for seeds in (1, 3))
    alone = [compare("relu", depth=20, width=32, batch=16, seed=seed)["He"].signal.activations[-1] for seed in range(3)]
    he = three["He"]
    assert he.signal == one["He"].signal
    assert [end.activations for end in he.ends] == alone
    assert he.median.activations == sorted(alone)[1]
    low, middle, high = (f"{value:.2g}" for value in sorted(alone))
    assert f"{middle} [{low} to {high}]" in report(three) and "seeds 0 to 2, medians" in report(three)
    assert f"{middle} [{low} to {high}]" in verdict(three).findings[0].words
    assert len(three.record()["outcomes"][0]["others"]) == 2
    assert "[" not in report(one)
    with pytest.raises(ValueError, match="seeds is 0; it must be at least 1"):
        compare("relu", seeds=0)


def test_a_start_that_saturates_does_not_hold_its_activations():
    judged = verdict(compared("tanh"))
    assert compared("tanh")["large"].signal.activations[-1] > 0.9
    assert "large" not in judged.findings[0].chosen


def test_a_verdict_says_so_if_nothing_survives():
    lost = compared("relu")
    for one in lost.outcomes:
        lost = changed(lost, one.start.name, activations=(1.0, 0.0), gradients=(0.0, 1.0))
    judged = verdict(lost)
    assert not judged.confirmed
    assert [one.chosen for one in judged.findings] == [(), ()]
    assert "every start fails" in judged.findings[0].words


def test_starts_that_do_as_well_are_named_beside():
    # Xavier and LeCun are one law where fan_in is fan_out.
    assert verdict(compared("selu")).findings[0].chosen[:2] in (("Xavier", "LeCun"), ("LeCun", "Xavier"))


def test_remarks_say_what_happens():
    said = {one.start.name: remark(one) for one in compared("relu", width=256).outcomes}
    assert said["zero"] == "signal is lost"
    assert said["small"] == said["Xavier"] == "signal vanishes"
    assert said["large"] == "signal explodes"
    assert said["He"] == said["orthogonal"] == "signal holds"
    he = compared("relu", width=256)["He"]
    assert remark(dataclasses.replace(he, curve=Curve((2.3, float("inf")), False))) == "signal holds; cost diverges"
    assert remark(dataclasses.replace(he, curve=Curve((2.3, 2.3), True))) == "signal holds; units stay equal"
    assert remark(dataclasses.replace(he, curve=Curve((2.3, 2.3), False))) == "signal holds; learns nothing"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["relu", "leaky_relu", "selu", "linear", "tanh", "gelu", "silu", "elu", "mish"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_signal_and_training_together_confirm_scheme_for(name, seed):
    pytest.importorskip("sklearn")
    judged = verdict(compare(name, seed=seed, training=Recipe(seed=seed)))
    assert sum(one.confirms for one in judged.findings) >= 2, judged.lines


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["depth", "width", "batch"])
def test_a_size_below_one_is_refused(size):
    with pytest.raises(ValueError, match=f"compare: {size} is 0"):
        compare("relu", **{size: 0})


def test_a_recipe_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="compare: train-depth is 0"):
        compare("relu", training=Recipe(depth=0))
    with pytest.raises(ValueError, match="compare: rate is -1"):
        compare("relu", training=Recipe(rate=-1.0))


# --- table, page, pictures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_the_verdict_is_no_wider_than_the_terminal(width):
    lines = report(compared("tanh"), width).splitlines()
    words = lines[lines.index("* what scheme_for names") :]
    assert max(map(columns_of, words)) <= width


def test_the_table_has_a_line_a_start_and_marks_the_fitting_one():
    lines = report(compared("relu"), 120).splitlines()
    assert [line.split("  ")[0] for line in lines if line.startswith(("He", "Xavier", "zero"))] == [
        "zero",
        "Xavier",
        "He *",
    ]


def test_the_record_is_json_and_holds_every_layer():
    comparison = trained("tanh")
    record = json.loads(json.dumps(comparison.record()))
    assert [one["name"] for one in record["outcomes"]] == [one.start.name for one in comparison.outcomes]
    for one in record["outcomes"]:
        assert len(one["activations"]) == len(one["gradients"]) == len(one["dead"]) == len(one["saturated"]) == 6
        assert len(one["costs"]) == 3


class Page(HTMLParser):
    """The tags of a page: each that opens closes; what could leave the page is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "path", "rect"):
            self.open.append(tag)
        self.outside += [value for name, value in attributes if name in ("src", "href", "xlink:href", "action")]

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_the_page_stands_alone_and_is_well_formed(name):
    page = html(trained(name))
    parser = Page()
    parser.feed(page)
    assert parser.open == []
    assert parser.outside == []
    assert set(re.findall(r"https?://[^\"' ]+", page)) == {"http://www.w3.org/2000/svg"}
    assert "@import" not in page
    assert "url(" not in page
    assert page.count('class="chart"') == 3
    assert "prefers-color-scheme: dark" in page
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert len(data["values"]) == 3
    assert all(len(curves) == len(data["names"]) for curves in data["values"])


def test_the_page_needs_no_training():
    assert html(compared("relu")).count('class="chart"') == 2


def test_the_figure_is_an_svg_with_a_curve_a_start_and_panel():
    comparison = trained("tanh")
    root = ElementTree.fromstring(figure(comparison))
    curves = [one for one in root.iter() if one.tag.endswith("path") and "curve" in one.get("class", "")]
    assert len(curves) == (3 + 1) * len(comparison.outcomes)  # the key has one each


def test_the_fitting_start_and_the_schemes_stay_inside_the_frame():
    for panel in panels(compared("tanh")):
        for name in ("Xavier", "Xavier, gain 5/3", "He", "LeCun", "orthogonal"):
            assert panel.high - panel.low < 12  # 10^48, of large, would flatten them
            assert 10.0**panel.low < min(panel.curves[name]) <= max(panel.curves[name]) < 10.0**panel.high


def test_no_two_curves_look_alike():
    for dark in (0, 1):
        shades = [look[dark] for look in (*LINES.values(), OTHER)]
        assert len(set(shades)) == len(shades)


def test_ticks_are_round_and_inside():
    assert ticks(50) == [0, 10, 20, 30, 40, 50]
    assert ticks(10) == [0, 2, 4, 6, 8, 10]
    assert ticks(1, -17, 7) == [-15, -10, -5, 0]


def test_a_png_is_written(tmp_path):
    pytest.importorskip("matplotlib")
    save_png(trained("relu"), tmp_path / "relu.png")
    assert (tmp_path / "relu.png").read_bytes().startswith(b"\x89PNG")
