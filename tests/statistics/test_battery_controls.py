"""The battery catches what is planted, passes what is right, and says so by its exit code."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from battery import __main__ as command
from battery import addresses, controls, dieharder, report, rounds, values, verdict, words
from scalar_engine import word

from fastinit.laws import Uniform

REJECTED, ACCEPTED = 1e-4, 1e-6  # of one p-value
CASES = [
    pytest.param(kind, control, id=control.name)
    for kind, (planted, *_) in enumerate(controls.KINDS)
    for control in planted
]


@pytest.fixture(scope="module")
def samples():
    """A sample of each kind that is damaged, as large as the battery's own."""
    return [sample(0, controls.FIRST_ROUND) for _, sample, *_ in controls.KINDS]


@pytest.mark.parametrize(("kind", "control"), CASES)
def test_a_planted_defect_is_caught_and_the_sample_it_damages_is_not(samples, kind, control):
    _, _, checks, law = controls.KINDS[kind]
    named = {check.name: check for check in checks}
    before = samples[kind].copy()
    damaged = control.damage(samples[kind], np.random.default_rng(0))
    assert np.array_equal(before, samples[kind]), "a control must leave the sample to the next one"
    for name in control.catchers:
        most = named[name].most
        assert named[name].p_value(damaged[:most], *law) < REJECTED, name
        assert named[name].p_value(before[:most], *law) > ACCEPTED, name


def test_every_check_must_catch_something():
    names = {check.name for check in (*words.CHECKS, *values.SEQUENCES, *values.GROUPS, values.TENSORS)}
    planted = (*controls.OF_WORDS, *controls.OF_VALUES, *controls.OF_TENSORS)
    assert {name for control in planted for name in control.catchers} == names


# --- addresses -------------------------------------------------------------------------------------------------------

INDEX_AND_STREAM = {  # of word `at` of round 1 with seed 7: index, seed, name
    "consecutive": lambda at: ((1 << 24) + at, 7, "consecutive"),
    "every 64th": lambda at: (64 * ((1 << 18) + at) + 1, 7, "strided"),
    "across names": lambda at: (at // 4096, 7, f"layers.{4096 + at % 4096}"),
    "across seeds": lambda at: (at // 4096, 7 + 4096 + at % 4096, "seeds"),
    "shards": lambda at: (1024 * (256 + at // 1024) + 128 * (at % 8) + at // 8 % 128, 7, "shards"),
}


@pytest.mark.parametrize("where", addresses.ADDRESSES, ids=lambda where: where.name)
def test_words_are_those_of_the_addresses_promised(where):
    sample = where.words(7, 1)
    for at in (0, 1, 7, 8, 1023, 1024, 5000, len(sample) - 1):
        index, seed, name = INDEX_AND_STREAM[where.name](at)
        assert sample[at] == word(seed, name, index), at


@pytest.mark.parametrize("where", addresses.ADDRESSES, ids=lambda where: where.name)
def test_values_stand_at_the_addresses_of_the_words(where):
    x = where.values(Uniform(0.0, 1.0), "float32", 7, 1)
    sample = where.words(7, 1)
    assert np.array_equal(x[: len(sample)], (sample >> np.uint32(8)) * np.float32(2.0**-24))


def test_low_words_are_those_of_the_second_domain():
    assert addresses.low_words(7, 1)[5] == word(7, "consecutive", (1 << 24) + 5, domain=1)


@pytest.mark.parametrize("where", [*addresses.ADDRESSES, *addresses.MANY_TENSORS], ids=lambda where: where.name)
def test_no_round_looks_at_the_elements_of_another(where):
    def elements(number):
        for block in where.blocks(0, number):
            rows = np.arange(block.shape[0]) + block.offsets[0]
            yield from ((block.seed, block.name, row, block.offsets[1:]) for row in rows[:: max(1, len(rows) - 1)])

    first, second = set(elements(0)), set(elements(1))
    assert first
    assert not first & second


# --- the verdict -----------------------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
    """Rounds over small samples: a second instead of ten."""
    for name, size in (("LONG", 1 << 15), ("SHORT", 1 << 15), ("WORDS", 1 << 15), ("TENSORS", 16), ("LENGTH", 512)):
        monkeypatch.setattr(addresses, name, size)


def test_a_round_has_every_cell_once_and_the_stream_passes(small):
    p_values = defaultdict(list)
    for cell, p in rounds.round_of(0, 0):
        p_values[cell].append(p)
    assert len(p_values) == rounds.cells()
    assert {len(p) for p in p_values.values()} == {1}
    assert len(set(map(tuple, p_values.values()))) == rounds.cells(), "two cells look at the same words"
    assert min(one.adjusted for one in verdict.verdicts(p_values).values()) > verdict.LEVEL


def test_holm_gives_the_textbook_values():
    assert verdict.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert verdict.holm([0.9, 0.8]) == [1.0, 1.0]


def test_one_disaster_and_many_small_faults_both_fail():
    rng = np.random.default_rng(0)
    right = {i: list(rng.random(100)) for i in range(40)}
    assert min(one.adjusted for one in verdict.verdicts(right).values()) > verdict.LEVEL
    wrong = right | {0: [*right[0][1:], 1e-12], 1: list(rng.random(100) ** 4), 2: list(0.4 + 0.2 * rng.random(100))}
    failed = {cell for cell, one in verdict.verdicts(wrong).items() if one.adjusted < verdict.LEVEL}
    assert failed == {0, 1, 2}
    assert verdict.of_smallest([0.5, 0.02]) == pytest.approx(1 - 0.98**2)
    assert verdict.of_smallest([1.0, 1.0]) == 1.0


def fake_round(p):
    return lambda seed, number: iter([(rounds.Cell("a check", "somewhere", "words"), p)])


def fake_controls(adjusted):
    return lambda seed: iter([controls.Caught("a defect", "a check", adjusted)])


@pytest.mark.parametrize(
    ("p", "adjusted", "code", "said"),
    [
        (0.5, 0.0, 0, "Nothing failed"),
        (1e-9, 0.0, 1, "FAILED: a check, somewhere, words: adjusted p"),
        (0.5, 0.3, 1, "FAILED: control not caught by a check: a defect"),
    ],
)
def test_the_command_judges_and_writes_the_page(monkeypatch, tmp_path, capsys, p, adjusted, code, said):
    monkeypatch.setattr(command, "round_of", fake_round(p))
    monkeypatch.setattr(controls, "run", fake_controls(adjusted))
    page = tmp_path / "statistics.md"
    assert command.main(["--rounds", "1", "--report", str(page)]) == code
    text = page.read_text(encoding="utf-8")
    assert f"`ci/statistics --rounds 1 --report {page}`" in text
    assert said in text
    assert ("FAILED" in capsys.readouterr().out) == (code == 1)


def test_rounds_end_when_the_time_is_over(monkeypatch, capsys):
    now = iter(range(0, 10_000, 7))  # every look at the clock finds it seven seconds on
    monkeypatch.setattr(command.time, "monotonic", lambda: next(now))
    monkeypatch.setattr(command, "round_of", fake_round(0.5))
    options = command.options_of(["--minutes", "2"])
    done, p_values = command.all_rounds(options, began=next(now))
    assert 2 <= done <= 5
    assert [len(p) for p in p_values.values()] == [done]
    assert command.options_of(["--hours", "2"]).minutes == 120
    assert "left, the smallest of" in capsys.readouterr().err


def test_an_interrupt_ends_the_rounds_and_keeps_what_there_is(monkeypatch):
    def round_of(seed, number):
        if number == 3:
            raise KeyboardInterrupt
        return fake_round(0.5)(seed, number)

    monkeypatch.setattr(command, "round_of", round_of)
    done, p_values = command.all_rounds(command.options_of(["--hours", "1"]), command.time.monotonic())
    assert (done, [len(p) for p in p_values.values()]) == (3, [3])


def test_the_answer_of_dieharder_is_read_and_shown(monkeypatch, tmp_path):
    program = tmp_path / "dieharder"
    program.write_text(
        "#!/bin/sh\nhead -c 1000000 > /dev/null\n"
        'echo "        test_name   |ntup| tsamples |psamples|  p-value |Assessment"\n'
        'echo "   diehard_birthdays|   0|       100|     100|0.51925388|  PASSED  "\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("FASTINIT_ENGINE", "numpy")  # starts faster
    monkeypatch.setattr(dieharder, "TESTS", (0,))
    monkeypatch.setattr(dieharder, "SOURCES", ("--across seeds --each 64",))
    outcomes = list(dieharder.run(0))
    assert outcomes == [dieharder.Outcome("--across seeds --each 64", "diehard_birthdays", "0", "0.51925388", "PASSED")]
    run = report.Run("ci/statistics", 0, 1, 0.1, {rounds.Cell("c", "a", "w"): [0.5]}, [], outcomes)
    assert "| `--across seeds --each 64` | diehard_birthdays | 0 | 0.51925388 | PASSED |" in report.page(run)


def test_a_missing_dieharder_is_refused_before_anything_runs(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SystemExit) as stop:
        command.main(["--dieharder"])
    assert stop.value.code == command.USAGE
