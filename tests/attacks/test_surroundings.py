"""Short, deterministic parts of the attacks on memory, names, clocks, machine code and forks."""

from __future__ import annotations

import shutil

import pytest

pytest.importorskip("fsspec")
from attacks import code, forks, memory
from attacks.outcome import Outcome, in_child
from attacks.report import write_report

BEGIN, END = "<!-- ci/attack: begin -->", "<!-- ci/attack: end -->"


def test_memory_that_runs_out_odd_names_and_jumping_clocks_harm_no_file(tmp_path):
    outcome = memory.attack(20261129, 0.0, tmp_path, 24)
    assert outcome.found == []
    assert dict(outcome.tried) == dict.fromkeys(memory.KINDS, 6)


def test_machine_code_under_the_name_of_another_function_is_not_run(tmp_path):
    pytest.importorskip("numba")
    status, right, _ = code.fill(tmp_path)
    assert status == 0
    normal, uniform = (
        next(tmp_path.rglob(f"*{kernel}*.nbc")) for kernel in ("normal_32_rows", "uniform_steps_32_rows")
    )
    shutil.copy(uniform, normal)
    status, lines, errors = code.fill(tmp_path)
    assert (status, lines[:1]) == (0, right[:1]), errors


def test_damaged_machine_code_gives_no_wrong_value(tmp_path):
    pytest.importorskip("numba")
    outcome = code.attack(20261129, 0.0, tmp_path, 2)
    assert outcome.found == []


def test_forks_while_a_thread_fills():
    assert forks.run(20, 1e6) == (20, "")


def test_what_becomes_of_a_child_is_said():
    assert in_child(lambda: None) == ""
    assert "ZeroDivisionError" in in_child(lambda: 1 / 0)
    assert in_child(lambda: __import__("os").kill(__import__("os").getpid(), 9)) == "it died of SIGKILL"
    assert "did not end within 0.1 s" in in_child(lambda: __import__("time").sleep(60), 0.1)


def test_the_figures_stand_between_the_marks_of_a_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    outcome = Outcome()
    outcome.tried["mutated files"] = 1234567
    write_report(page, {"readers": outcome}, seed=7, command="ci/attack --minutes 30", minutes=30.2)
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\n`ci/attack --minutes 30` with seed 7, on ")
    assert "| mutated files | 1,234,567 | 0 |\n" in text
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    page.write_text("no marks")
    with pytest.raises(ValueError, match="has no marks"):
        write_report(page, {}, seed=7, command="", minutes=0.0)
