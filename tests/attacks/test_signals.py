"""A short part of the attack by signals, and that it sees a fault. The moments are the machine's; all must be right."""

from __future__ import annotations

import signal

import pytest

pytest.importorskip("fsspec")
from attacks import signals


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return signals.Stage(tmp_path_factory.mktemp("stage"))


def test_commands_that_are_killed_paused_and_interrupted_leave_whole_files_and_a_rerun_completes(stage):
    for number in range(12):
        stage.strike(20261129, number)


def test_the_attack_sees_a_short_file(stage):
    folder = stage.folder("seen", {})
    (folder / "w.npy").write_bytes(b"half")

    class Dead:
        def send_signal(self, what):
            pass

    def start(command, folder):
        return Dead()

    stage_like = object.__new__(signals.Stage)
    stage_like.before, stage_like.expected = stage.before, stage.expected
    stage_like.folder = lambda name, before: folder
    stage_like.start = start
    stage_like.finish = lambda process: (-9, "")
    with pytest.raises(AssertionError, match=r"w\.npy has 4 bytes that are neither the old nor the new ones"):
        stage_like._strike(signals.COMMANDS[-1], signal.SIGKILL, 0.0, 0)
