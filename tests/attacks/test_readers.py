"""The readers under mutated files, a short and deterministic part of `ci/attack`; and that the attack sees a fault."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from attacks import corpus, readers

from fastinit import engines


def test_mutated_files_are_read_as_the_library_reads_them_or_refused_in_words(tmp_path):
    cached: dict[str, list[bytes]] = {}
    with engines.use("numpy"):
        for number in range(3000):
            target, data = readers.mutated(20261129, number, cached)
            try:
                readers.try_one(tmp_path, target, data, measure=False)
            except Exception as error:
                pytest.fail(f"input {number} of {target}: {error!r}")


# Inputs that were findings once: seed and number.
ONCE_FOUND = {"a tensor twice, once with offsets that go back": (1, 14191), "an index that lists nothing": (1, 10828)}


@pytest.mark.parametrize("what", ONCE_FOUND)
def test_what_was_found_once_stays_mended(tmp_path, what):
    target, data = readers.mutated(*ONCE_FOUND[what], {})
    readers.try_one(tmp_path, target, data, measure=False)


def test_the_attack_sees_a_reader_that_takes_too_much(tmp_path, monkeypatch):
    data = (corpus.FOLDER / "foreign.safetensors").read_bytes()
    (tmp_path / "w.safetensors").write_bytes(data + b"x")
    monkeypatch.setattr(readers, "read_header", lambda path: SimpleNamespace(slots={}))
    with pytest.raises(AssertionError, match="safetensors None"):
        readers.oracle(tmp_path / "w.safetensors", data + b"x")


def test_the_corpus_is_what_its_script_writes(tmp_path):
    corpus.make(tmp_path)
    made = {one.relative_to(tmp_path) for one in tmp_path.rglob("*") if one.is_file()}
    kept = {one.relative_to(corpus.FOLDER) for one in corpus.FOLDER.rglob("*") if one.is_file()}
    assert kept - made == {one for one in kept if one.name == "README.md"}
    assert made <= kept
