"""What a notebook and a prompt show of plans and reports: short, safe, marked rows first; a repr is pasted back."""

from __future__ import annotations

import html.parser

import numpy as np
import pytest
import safetensors.numpy

import fastinit
from fastinit import laws
from fastinit.advice import Advice  # noqa: F401, pasted
from fastinit.edit import Cast, Copy, Delete, Edit, Laws, Redraw, Resize  # noqa: F401
from fastinit.notebook import MOST_ROWS
from fastinit.plan import Plan, Rule, Tensor

MANY = 148


@pytest.fixture(scope="module")
def plan():
    return Plan(tuple(Tensor(f"h.{i}.<b>", (8, 8), "float32", laws.Normal(0.0, 0.02)) for i in range(MANY)))


@pytest.fixture(scope="module")
def trained(plan, tmp_path_factory):
    """A checkpoint whose last tensor was trained."""
    folder = tmp_path_factory.mktemp("trained")
    fastinit.write(plan, folder, seed=0, durable=False)
    path = folder / "model.safetensors"
    with safetensors.safe_open(path, "numpy") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}
    tensors[f"h.{MANY - 1}.<b>"] += 1
    safetensors.numpy.save_file(tensors, path, metadata)
    return folder


@pytest.fixture(scope="module")
def reports(plan, trained):
    return {
        "plan": plan,
        "show": fastinit.show(trained),
        "verify": fastinit.verify(trained),
        "edit": fastinit.edit(trained, [Redraw(".*")], seed=1, dry_run=True),
        "compare": fastinit.compare("relu", depth=4, width=8, batch=8),
    }


NAMES = ("plan", "show", "verify", "edit", "compare")


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_shows_a_line(name, reports):
    assert len(repr(reports[name])) < 300
    assert "\n" not in repr(reports[name])


class Tags(html.parser.HTMLParser):
    """Tags that were opened, and that every one is closed again."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag not in ("br", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_shows_a_short_safe_table(name, reports):
    text = reports[name]._repr_html_()
    assert len(text) < (90_000 if name == "compare" else 25_000)
    tags = Tags()
    tags.feed(text)
    assert not tags.open
    assert not {"script", "style", "b>"} & {tag for tag, _ in tags.seen}
    assert "h.0.<b>" not in text
    assert sum(tag == "tr" for tag, _ in tags.seen) <= MOST_ROWS + 1


@pytest.mark.parametrize("name", ["show", "verify"])
def test_what_wants_a_look_comes_first_and_is_named(name, reports):
    text = reports[name]._repr_html_()
    first_row = text.partition("<tbody>")[2].partition("</tr>")[0].replace("<wbr>", "")
    assert f"h.{MANY - 1}." in first_row and "color:" in first_row
    assert f"h.{MANY - 1}.<b>" in repr(reports[name])
    assert f"and {MANY - MOST_ROWS:,} more" in text


def test_the_page_and_the_table_are_methods_of_the_report(reports):
    assert reports["show"].html().startswith("<!doctype html>")
    assert "148 tensors" in reports["show"].table(80)
    assert reports["compare"].html().startswith("<!doctype html>")
    assert "Verdict:" in reports["compare"].report(80)


PASTED = [
    fastinit.Shard((4, 4), (0, 0)),
    fastinit.fans((3, 4)),
    fastinit.scheme_for("leaky_relu"),
    Rule("w", "he_normal", {"gain": 2}),
    Tensor("w", (2, 3), "float32", laws.Normal(0, 0.02)),
    laws.Blocks([(2, laws.Normal()), (3, laws.Constant(0))], 0),
    laws.Sparse(laws.Uniform(np.float64(-1), 1), 0.5),
    laws.Orthogonal(0.5, flatten="jax"),
    Edit(Redraw("w"), Copy("a", "b"), Delete("x"), Cast("bfloat16"), Resize("w", 3)),
]


@pytest.mark.parametrize("thing", PASTED, ids=lambda thing: type(thing).__name__)
def test_a_repr_is_pasted_back(thing):
    names = {**vars(laws), "Copy": Copy} if isinstance(thing, Edit) else vars(laws)
    pasted = eval(repr(thing), {**globals(), **vars(fastinit), **names, "fastinit": fastinit})
    assert pasted == thing
