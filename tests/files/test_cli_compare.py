"""The command `compare`: table, JSON, files, and what it says when a package is missing."""

from __future__ import annotations

import json
import sys

import pytest

from fastinit.cli import main

TINY = ["compare", "--depth", "5", "--width", "16", "--batch", "8", "--train-depth", "3", "--train-width", "8"]
TINY += ["--epochs", "1", "--activation"]


def test_a_table_and_a_verdict_are_printed(capsys):
    assert main([*TINY, "relu", "--no-training"]) == 0
    printed = capsys.readouterr()
    assert "He *" in printed.out
    assert 'Verdict: Both measurements confirm scheme_for("relu")' in printed.out
    assert printed.err == ""


def test_json_has_the_numbers_and_the_verdict(capsys):
    pytest.importorskip("sklearn")
    assert main([*TINY, "tanh", "--json", "--seed", "3"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["activation"], result["seed"], result["training"]["epochs"]) == ("tanh", 3, 1)
    assert {"scheme", "findings", "words", "confirmed"} <= set(result["verdict"])
    assert len(result["outcomes"][0]["costs"]) == 2


def test_what_is_no_number_is_null_in_json(capsys):
    assert main(["compare", "--activation", "relu", "--depth", "330", "--width", "4", "--no-training", "--json"]) == 0
    printed = capsys.readouterr().out
    assert "Infinity" not in printed
    assert "NaN" not in printed


def test_page_and_picture_are_written(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    page, picture = tmp_path / "a.html", tmp_path / "a.png"
    assert main([*TINY, "selu", "--no-training", "--quiet", "--html", str(page), "--png", str(picture)]) == 0
    assert capsys.readouterr().out == ""
    assert page.read_text().startswith("<!doctype html>")
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("package", "words"),
    [("sklearn", "pip install scikit-learn, or pass --no-training"), ("matplotlib", "pip install matplotlib")],
)
def test_a_package_that_is_missing_is_named(monkeypatch, capsys, tmp_path, package, words):
    for module in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    picture = ["--png", str(tmp_path / "a.png"), "--no-training"] if package == "matplotlib" else []
    assert main([*TINY, "relu", *picture]) == 1
    assert words in capsys.readouterr().err


def test_training_is_left_out_without_scikit_learn(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert main([*TINY, "relu", "--no-training"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["softmax"], "softmax acts on the last layer"),
        (["rule"], "'rule' is unknown"),
        (["relu", "--rate", "nan"], "rate is nan"),
        (["relu", "--epochs", "0"], "epochs is 0"),
    ],
)
def test_nonsense_is_a_usage_error(capsys, words, message):
    assert main([*TINY, *words]) == 2
    assert message in capsys.readouterr().err
