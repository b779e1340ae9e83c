"""The answers inside the package are those of the scalar engine, and a wrong engine does not pass them."""

from __future__ import annotations

import dataclasses
import sys
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest

from fastinit import engines, selftest
from fastinit.dtypes import FORMATS
from fastinit.laws import Normal, TruncatedNormal, Uniform

sys.path.insert(0, str(Path(__file__).parent.parent))
from known_answers import PHILOX
from scalar_engine import value

KINDS = {Uniform: "uniform", Normal: "normal", TruncatedNormal: "truncated_normal"}


@pytest.mark.parametrize("dtype", list(FORMATS))
@pytest.mark.parametrize("case", list(selftest.CASES))
def test_the_answers_are_those_of_the_scalar_engine(case: str, dtype: str) -> None:
    law, seed, name = selftest.CASES[case]
    bits = [
        value(KINDS[type(law)], dataclasses.astuple(law), dtype, seed, name, index)  # type: ignore[call-overload]
        for first, count in selftest.RANGES
        for index in range(first, first + count)
    ]
    size = np.dtype(FORMATS[dtype].storage).itemsize
    assert blake2b(np.array(bits, f"<u{size}"), digest_size=8).hexdigest() == selftest.ANSWERS[case, dtype]


def test_the_vectors_are_the_published_ones() -> None:
    assert selftest.PHILOX == PHILOX


def test_every_answer_is_asked_for() -> None:
    assert set(selftest.ANSWERS) == {(case, dtype) for case in selftest.CASES for dtype in FORMATS}


def test_a_word_in_the_wrong_place_is_a_fault(engine: str) -> None:
    words = selftest.words_of(engine)
    assert selftest.philox_fault(words) is None
    fault = selftest.philox_fault(lambda group, domain, stream: words(group, domain, stream)[::-1])
    assert fault is not None
    assert "counter 00000000 00000000 00000000 00000000: expected 6627e8d5" in fault


def test_an_engine_that_cannot_run_is_a_fault_and_not_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def words_of(engine: str) -> object:
        if engine == "numba":
            raise ImportError("no LLVM for this machine")
        return selftest_words_of(engine)

    selftest_words_of = selftest.words_of
    monkeypatch.setattr(selftest, "words_of", words_of)
    faults = {what: fault for what, fault in selftest.check() if fault is not None}
    assert faults == {"numba: Philox4x32-10": "the engine does not run (no LLVM for this machine)"}


def test_the_check_leaves_the_engine_as_it_was() -> None:
    with engines.use("numpy"):
        for _ in selftest.check():
            assert engines.engine_name() == "numpy"
