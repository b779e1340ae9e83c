"""A seed that nobody passed can be found again: in the log of fastinit, in a report, in what a command prints."""

from __future__ import annotations

import logging
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

import fastinit
from fastinit import laws
from fastinit.address import Shard
from fastinit.files.npy import fill_file
from fastinit.plan import Plan, Tensor
from fastinit.write import write


def seeds_in(text: str) -> list[int]:
    return [int(seed) for seed in re.findall(r"seed (\d+)", text)]


def drawn(caplog: pytest.LogCaptureFixture) -> tuple[int, str]:
    """The one seed that the log holds, and the line it stands in."""
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("fastinit", logging.INFO)
    (seed,) = set(seeds_in(record.getMessage()))
    return seed, record.getMessage()


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, logger="fastinit")
    return caplog


@pytest.mark.parametrize("size", [9, 100_000])
def test_the_seed_that_a_fill_drew_gives_the_same_values_again(log, size):
    first, again = np.empty(size, np.float32), np.empty(size, np.float32)
    fastinit.fill(first, laws.Normal(), name="layers.0.weight")
    seed, line = drawn(log)
    assert "'layers.0.weight'" in line
    fastinit.fill(again, laws.Normal(), name="layers.0.weight", seed=seed)
    assert first.tobytes() == again.tobytes()


def test_schemes_and_new_tell_the_seed_they_drew(log):
    weights = np.empty((20, 30), np.float32)
    fastinit.fill_he_normal(weights, 30)
    assert np.array_equal(fastinit.new((20, 30), laws.Normal(0.0, (2 / 30) ** 0.5), seed=drawn(log)[0]), weights)
    log.clear()
    made = fastinit.new((4, 5), laws.Uniform())
    assert np.array_equal(fastinit.new((4, 5), laws.Uniform(), seed=drawn(log)[0]), made)


def test_a_weight_file_and_a_checkpoint_log_the_seed_of_their_report_before_they_begin(log, tmp_path):
    report = fill_file(tmp_path / "w.npy", (10,), laws.Normal())
    assert drawn(log)[0] == report.seed
    log.clear()
    written = write(Plan([Tensor("w", (10,), "float32", laws.Normal())]), tmp_path / "out")
    assert drawn(log)[0] == written.seed
    log.clear()

    def fails(done: int, total: int) -> None:
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write(Plan([Tensor("w", (10,), "float32", laws.Normal())]), tmp_path / "other", progress=fails)
    assert 0 <= drawn(log)[0] < 2**64


def test_nothing_is_logged_where_the_seed_was_passed_or_has_no_part(log, tmp_path):
    fill_file(tmp_path / "w.npy", (10,), laws.Constant(0))
    weights = np.empty(9, np.float32)
    fastinit.fill_normal(weights, seed=1)
    fastinit.fill_zeros(weights)
    fastinit.fill_constant(weights, 2.0)
    fastinit.fill_zeros(weights, shard=Shard((90,), (9,)))
    assert log.records == []


def test_the_log_is_silent_unless_it_is_asked_for(capfd):
    fastinit.fill_normal(np.empty(9, np.float32))
    assert capfd.readouterr() == ("", "")


def test_a_name_in_the_log_cannot_move_the_cursor(log):
    fastinit.fill_normal(np.empty(9, np.float32), name="w\x1b[2J\n\u202e")
    assert drawn(log)[1].isprintable()


COMMANDS = {
    "fill": ("fill", "out.npy", "--shape", "9", "--scheme", "normal"),
    "write": ("write", "--plan", "plan.json", "-o", "out"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("how", [(), ("--json",), ("--quiet",)])
def test_a_command_says_the_seed_it_drew_apart_from_its_report(tmp_path, command, how):
    Plan([Tensor("w", (10,), "float32", laws.Normal())]).save(tmp_path / "plan.json")
    words = [sys.executable, "-m", "fastinit", *COMMANDS[command], *how]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    (seed,) = set(seeds_in(done.stdout if how == ("--quiet",) else done.stderr))
    assert str(seed) in done.stdout
    given = subprocess.run([*words, "--overwrite", "--seed", str(seed)], cwd=tmp_path, capture_output=True, text=True)
    assert (given.returncode, given.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills a process, as POSIX has it")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_is_killed_has_said_its_seed(tmp_path, command):
    Plan([Tensor("w", (1 << 26,), "float32", laws.Normal())]).save(tmp_path / "plan.json")
    words = [word if word != "9" else str(1 << 26) for word in COMMANDS[command]]
    with subprocess.Popen(
        [sys.executable, "-m", "fastinit", *words], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as process:
        assert process.stderr is not None
        line = process.stderr.readline().decode()
        process.kill()
    for leftover in tmp_path.rglob(".*.partial"):  # 256 MB that only the next writer of the same would remove
        leftover.unlink()
    assert len(seeds_in(line)) == 1
