"""ci/digests.py, by which machines and releases are compared: it knows all laws, and it sees what differs."""

from __future__ import annotations

import json
from itertools import islice

import digests
import pytest

import fastinit

RECORDED = json.loads(digests.RECORD.read_text(encoding="utf-8"))


def test_there_is_a_recorded_digest_for_every_law_and_dtype():
    assert RECORDED["stream"] == fastinit.STREAM
    assert RECORDED["digests"].keys() == {what for what, _ in digests.drawings()}, "python ci/digests.py --write"


@pytest.fixture
def compare(monkeypatch, tmp_path):
    """Compare what the NumPy engine draws in the first two of all drawings with a record of this content."""
    first = list(islice(digests.drawings(), 2))
    monkeypatch.setattr(digests, "drawings", lambda: first)
    monkeypatch.setattr(digests, "RECORD", tmp_path / "digests.json")

    def compared(content):
        digests.RECORD.write_text(json.dumps({"digests": content}), encoding="utf-8")
        return digests.main(["--engine", "numpy"])

    return compared


def test_the_recorded_digests_are_found_again(compare, capsys):
    first = dict(islice(RECORDED["digests"].items(), 2))
    assert compare(first) == 0
    assert "numpy: 2 of 2 digests are those recorded" in capsys.readouterr().out


def test_a_digest_that_differs_or_that_one_side_lacks_is_an_error(compare, capsys):
    (one, its), (other, also) = islice(RECORDED["digests"].items(), 2)
    for content, wrong in [
        ({one: its, other: its}, [other]),
        ({one: its}, [other]),
        ({one: its, other: also, "a law that is gone": its}, ["a law that is gone"]),
        ({}, [one, other]),
    ]:
        assert compare(content) == 1
        said = capsys.readouterr().out
        assert [line for line in said.splitlines() if "differs" in line] == [f"  differs: {what}" for what in wrong]


def test_what_one_engine_draws_is_not_recorded(compare):
    compare({})
    before = digests.RECORD.read_text(encoding="utf-8")
    with pytest.raises(SystemExit):
        digests.main(["--engine", "numpy", "--write"])
    assert digests.RECORD.read_text(encoding="utf-8") == before
