"""The answers inside the package are those of the scalar engine, and a wrong engine does not pass them."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import math
import os
import struct
import sys
from functools import cache
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest

import fastinit
from fastinit import checking, engines, laws
from fastinit.checking import answers, known, machine
from fastinit.dtypes import PARTS, storage_dtype
from fastinit.laws import Law

sys.path.insert(0, str(Path(__file__).parent.parent))
import scalar_engine
from known_answers import PHILOX
from scalar_engine import narrow_bits, value

KINDS = {
    laws.Uniform: "uniform",
    laws.Normal: "normal",
    laws.TruncatedNormal: "truncated_normal",
    laws.Laplace: "laplace",
    laws.StepBias: "step_bias",
    laws.LogOfUniform: "log_of_uniform",
}

survivors = cache(scalar_engine.survivors)


def number(x: float, dtype: str) -> int:
    """The bits of a given value, which is rounded to the precision of the arithmetic first."""
    return narrow_bits(x if dtype == "float64" else scalar_engine.f32(x), dtype) if x else 0


def clipped_direction(seed: int, dtype: str, row: int, column: int) -> float:
    """An element of the expression of known.py: a draw over the length of its row, its squares added by halves."""
    working, code = ("float64", "<d") if dtype == "float64" else ("float32", "<f")
    size = struct.calcsize(code)
    bits = [value("normal", (0.0, 1.0), working, seed, "weight_v", 5 * row + i) for i in range(5)]
    drawn = [struct.unpack(code, one.to_bytes(size, "little")) for one in bits]
    a, b, c, d, e = (x * x for (x,) in drawn)
    return min(drawn[column][0] / math.sqrt(((a + c) + (b + d)) + e), 0.4)


def index_of(case: known.Case, place: tuple[int, ...]) -> int:
    """The row-major index of an element in the whole tensor."""
    return sum(at * math.prod(case.shape[axis + 1 :]) for axis, at in enumerate(place))


def element(law: Law, case: known.Case, dtype: str, place: tuple[int, ...]) -> int:
    """The bits of one element, by the definition of each law."""
    index = index_of(case, place)
    if type(law) in KINDS:
        parameters = dataclasses.astuple(law)  # type: ignore[call-overload]
        return value(KINDS[type(law)], parameters, dtype, case.seed, case.name, index)
    match law:
        case laws.Constant():
            return number(float(law.value), dtype)
        case laws.Sparse():
            line = [(*place[: law.axis], t, *place[law.axis + 1 :]) for t in range(case.shape[law.axis])]
            indices = tuple(a * case.shape[1] + b for a, b in line)
            alive = survivors(law.survivors(len(line)), indices, case.seed, case.name)
            return element(law.values, case, dtype, place) if alive[place[law.axis]] else 0
        case laws.Padded():
            return 0 if place[0] == law.row else element(law.values, case, dtype, place)
        case laws.Blocks():
            ends = itertools.accumulate(size for size, _ in law.parts)
            part = next(i for i, end in enumerate(ends) if place[law.axis] < end)
            return element(law.parts[part][1], case, dtype, place)
        case laws.Identity():
            return number(law.gain if place[0] == place[1] else 0.0, dtype)
        case laws.Dirac():
            own = place[0] % (case.shape[0] // law.groups)
            return number(float(own == place[1] and place[2] == case.shape[2] // 2), dtype)
        case laws.GateBias():
            return number(law.forget if case.shape[-1] // 4 <= place[-1] < case.shape[-1] // 2 else 0.0, dtype)
        case laws.StateLogs():
            return number(scalar_engine.log(place[-1] + 1.0), dtype)
        case laws.Given():
            return number((3 * place[0] + place[1]) / 7, dtype)
        case laws.Copy():
            return element(law.values, dataclasses.replace(case, name=law.name), dtype, place)
        case laws.Replayed():
            return number(clipped_direction(case.seed, dtype, *place), dtype)
    raise TypeError(law)


def complex_element(law: Law, case: known.Case, dtype: str, place: tuple[int, ...]) -> tuple[int, int]:
    """The bits of both parts of one complex number."""
    index = index_of(case, place)
    match law:
        case laws.ComplexNormal():
            mean = complex(law.mean)
            kind, parameters = "complex_normal", (mean.real, mean.imag, law.std)
        case laws.ComplexUniform():
            kind, parameters = "complex_uniform", (law.radius,)
        case laws.ComplexTruncatedNormal():
            kind, parameters = "complex_truncated_normal", (law.parent_std, law.radius)
        case _:
            raise TypeError(law)
    return scalar_engine.complex_value(kind, parameters, dtype, case.seed, case.name, index)


@pytest.mark.parametrize(
    ("name", "dtype"), [(name, dtype) for name, case in known.CASES.items() for dtype in case.dtypes]
)
def test_the_answers_are_those_of_the_scalar_engine(name: str, dtype: str) -> None:
    case = known.CASES[name]
    one = complex_element if dtype in PARTS else element
    bits = [
        one(case.law, case, dtype, tuple(o + i for o, i in zip(offsets, place, strict=True)))
        for offsets, shape in case.blocks
        for place in np.ndindex(*shape)
    ]
    size = storage_dtype(dtype).itemsize // (2 if dtype in PARTS else 1)
    assert blake2b(np.array(bits, f"<u{size}"), digest_size=8).hexdigest() == known.ANSWERS[name, dtype]


def test_the_matrix_is_that_of_the_scalar_engine() -> None:
    rows, columns = np.shape(known.MATRIX)
    expected = scalar_engine.orthonormal(rows, columns, 0, known.MATRIX_SEED, known.MATRIX_NAME)
    assert np.array_equal(known.MATRIX, expected)


def test_the_vectors_are_the_published_ones() -> None:
    assert known.PHILOX == PHILOX


def test_every_answer_is_asked_for_and_every_law_has_one() -> None:
    assert set(known.ANSWERS) == {(name, dtype) for name, case in known.CASES.items() for dtype in case.dtypes}
    public = {one for one in vars(laws).values() if isinstance(one, type) and issubclass(one, Law)} - {Law}
    asked = {type(case.law) for case in known.CASES.values()} | {laws.Orthogonal, laws.DeltaOrthogonal}
    assert asked == public


def test_everything_is_right_here() -> None:
    result = fastinit.selftest()
    assert not result.wrong
    both = [check.what for check in result if check.outcome == "right" and check.what.startswith(("numba:", "numpy:"))]
    assert len(both) == 2 * (len(known.CASES) + 2)
    assert str(result).splitlines() == [*map(str, result), result.verdict]
    assert result.verdict.startswith("all ")


@pytest.mark.parametrize("name", list(known.CASES))
def test_a_wrong_element_is_a_fault(name: str, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case, fill = known.CASES[name], answers.fill

    def wrong(block: np.ndarray, *args: object, **kwargs: object) -> None:
        fill(block, *args, **kwargs)
        last = block[(-1,) * (block.ndim - 1) + (slice(-1, None),)]
        last.view("u1")[..., 0] ^= 1

    dtype = "bfloat16" if "bfloat16" in case.dtypes else "complex64"
    assert answers.law_fault(case, dtype, known.ANSWERS[name, dtype]) is None
    monkeypatch.setattr(answers, "fill", wrong)
    fault = answers.law_fault(case, dtype, known.ANSWERS[name, dtype])
    assert fault is not None
    assert fault.startswith(f"expected digest {known.ANSWERS[name, dtype]}, got ")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_matrix_that_is_a_little_off_is_a_fault(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert answers.orthogonal_fault(dtype) is None
    new = answers.new
    monkeypatch.setattr(answers, "new", lambda *args, **kwargs: new(*args, **kwargs) * (1 + 99 * np.finfo(dtype).eps))
    assert "an element is" in str(answers.orthogonal_fault(dtype))


def test_a_word_in_the_wrong_place_is_a_fault(engine: str) -> None:
    words = answers.words_of(engine)
    assert answers.philox_fault(words) is None
    fault = answers.philox_fault(lambda group, domain, stream: words(group, domain, stream)[::-1])
    assert fault is not None
    assert "counter 00000000 00000000 00000000 00000000: expected 6627e8d5" in fault


def test_an_engine_that_does_not_load_is_no_wrong_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def words_of(engine: str) -> answers.Words:
        if engine == "numba":
            raise ImportError("no LLVM for this machine")
        return answers.words_of(engine)

    monkeypatch.setattr(checking, "words_of", words_of)
    result = fastinit.selftest()
    assert not result.wrong
    assert [str(check) for check in result if check.outcome == "not run"] == [
        "not run  numba: the engine does not load (no LLVM for this machine); fills take the NumPy engine, if they can"
    ]
    assert "; 1 did not run, and nothing is known of them" in result.verdict


def test_a_missing_numba_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = fastinit.selftest()
    assert not result.wrong
    assert [check.said for check in result if check.outcome == "not run"] == [
        "Numba is not installed; fills take the NumPy engine, with the same values"
    ]


def test_the_check_leaves_the_engine_as_it_was() -> None:
    with engines.use("numpy"):
        for _ in checking.checks():
            assert engines.engine_name() == "numpy"


def test_another_floating_point_mode_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.floating_point_note() is None
    monkeypatch.setattr(machine, "is_default", lambda: False)
    assert "this thread rounds to nearest, keeps subnormals" in str(machine.floating_point_note())
    first = next(checking.checks())
    assert (first.outcome, first.what) == ("note", "floating-point mode")


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners of files on this system")
def test_who_may_write_to_the_folder_of_compiled_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "shared" / "own"
    folder.mkdir(parents=True)
    assert machine.folder_note(str(folder)) is None
    assert machine.folder_note(str(folder / "not yet made")) is None
    folder.chmod(0o777)
    assert f"{folder} may be written by everybody: whoever writes there" in str(machine.folder_note(str(folder)))
    folder.chmod(0o755)
    folder.parent.chmod(0o777)  # others may put a folder of theirs in its place
    assert f"{folder.parent} may be written by everybody" in str(machine.folder_note(str(folder)))
    folder.parent.chmod(0o1777)  # as /tmp: they may not
    assert machine.folder_note(str(folder)) is None
    assert "no folder can be written" in str(machine.folder_note(None))
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    said = machine.folder_note(str(folder))
    assert said is None if folder.stat().st_uid == 0 else f"{folder} belongs to user" in str(said)


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="needs root, to give a file away")
def test_a_folder_of_another_user_or_group_is_noted(tmp_path: Path) -> None:
    tmp_path.chmod(0o775)
    os.chown(tmp_path, 0, 4321)
    assert f"{tmp_path} may be written by group 4321" in str(machine.folder_note(str(tmp_path)))
    os.chown(tmp_path, 4321, 0)
    assert f"{tmp_path} belongs to user 4321" in str(machine.folder_note(str(tmp_path)))
