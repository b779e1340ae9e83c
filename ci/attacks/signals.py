"""Signals at random moments to the command line, on local folders and on fsspec's file://.

After each: every file under its name is whole, the old one or the new one, and the command, run again, gives every byte
and leaves nothing else.
"""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from attacks.jobs import all_there, contents, whole_or_absent
from attacks.outcome import Outcome, in_child, on_all_processors, within
from fastinit import engines, laws
from fastinit.cli import main
from fastinit.plan import Plan, Tensor

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGSTOP)
WAIT = 120.0  # seconds for one command

PLAN = Plan(
    (
        Tensor("embed.weight", (1500, 256), "bfloat16", laws.Padded(laws.Normal(0.0, 0.02), 3)),
        Tensor("rec.weight", (200, 200), "float32", laws.Orthogonal()),
        Tensor(
            "qkv.weight", (384, 256), "float32", laws.Blocks([(128, laws.Normal()), (256, laws.Uniform(-1.0, 1.0))])
        ),
        Tensor("sparse.weight", (300, 300), "float32", laws.Sparse(laws.Normal(), 0.9)),
        Tensor("head.weight", (300, 300), "float64", laws.TruncatedNormal(0.0, 1.0, -2.0, 2.0)),
    )
)


@dataclass(frozen=True)
class Command:
    """A command line, {out} being its folder; what may be there before it, a key of `Stage.before`."""

    name: str
    arguments: tuple[str, ...]
    before: str = "nothing"


_WRITE = ("write", "--plan", "{plan}", "-o", "{out}", "--seed", "1", "--shard-size", "400KB", "--quiet")
_REMOTE = ("write", "--plan", "{plan}", "-o", "file://{out}", "--seed", "1", "--shard-size", "400KB", "--quiet")
_FILL = ("fill", "{out}/w.npy", "--shape", "500,1000", "--scheme", "normal", "--std", "1", "--seed", "1", "--quiet")
COMMANDS = (
    Command("write", _WRITE),
    Command("write --overwrite", (*_WRITE, "--overwrite"), "older"),
    Command("write to file://", _REMOTE),
    Command("write --overwrite to file://", (*_REMOTE, "--overwrite"), "older"),
    Command("fill", (*_FILL, "--overwrite"), "array"),
)


class Stage:
    """What every trial needs, made once: the plan, what may be there before, and what must be there afterwards."""

    def __init__(self, root: Path) -> None:
        self.root, self.plan = root, root / "plan.json"
        PLAN.save(self.plan)
        self.before: dict[str, dict[str, bytes]] = {"nothing": {}}
        self.expected: dict[str, dict[str, bytes]] = {}
        self.seconds: dict[str, float] = {}
        older = Command(
            "older", ("write", "--plan", "{plan}", "-o", "{out}", "--seed", "2", "--shard-size", "300KB", "--quiet")
        )
        array = Command("array", (*_FILL[:-3], "--seed", "2", "--quiet"))
        for command in (older, array, *COMMANDS):
            folder = self.folder(f"undisturbed {command.name.replace('/', '')}", self.before[command.before])
            begin = time.monotonic()
            code, said = self.finish(self.start(command, folder))
            assert code == 0, said
            self.seconds[command.name] = time.monotonic() - begin
            self.expected[command.name] = contents(folder)
            if command.name in ("older", "array"):
                self.before[command.name] = contents(folder)
            shutil.rmtree(folder.parent)

    def folder(self, name: str, before: dict[str, bytes]) -> Path:
        """A folder with these files in it, and one for temporary files beside it."""
        folder = self.root / name / "out"
        folder.mkdir(parents=True)
        (folder.parent / "tmp").mkdir()
        for one, content in before.items():
            (folder / one).write_bytes(content)
        return folder

    def start(self, command: Command, folder: Path) -> subprocess.Popen[str]:
        """Start the command in this folder, with its temporary files beside it."""
        arguments = [one.format(plan=self.plan, out=folder) for one in command.arguments]
        return subprocess.Popen(
            [sys.executable, "-m", "fastinit", *arguments],
            env={**os.environ, "TMPDIR": str(folder.parent / "tmp"), "FASTINIT_ENGINE": "numpy"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        """Wait for a command: its exit code and what it said."""
        try:
            _, said = process.communicate(timeout=WAIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return 1, f"it did not end within {WAIT:g} s"
        return process.returncode, said

    def rerun(self, command: Command, folder: Path) -> None:
        """Run the command once more, in this process, which saves the start of an interpreter."""
        tempfile.tempdir = str(folder.parent / "tmp")
        errors = io.StringIO()
        with engines.use("numpy"), redirect_stderr(errors):
            code = main([one.format(plan=self.plan, out=folder) for one in command.arguments])
        assert code == 0, errors.getvalue()

    def strike(self, seed: int, number: int) -> None:
        """Trial `number`: a command, a moment and a signal, all functions of the arguments."""
        rng = random.Random(f"{seed} signal {number}")
        command, what = rng.choice(COMMANDS), rng.choice(SIGNALS)
        moment = rng.uniform(0.0, 1.1 * self.seconds[command.name])
        try:
            self._strike(command, what, moment, number)
        except AssertionError as wrong:
            raise AssertionError(f"{command.name}, {what.name} after {moment:.3f} s: {wrong}") from wrong

    def _strike(self, command: Command, what: signal.Signals, moment: float, number: int) -> None:
        before, expected = self.before[command.before], self.expected[command.name]
        folder = self.folder(f"trial {number}", before)
        process = self.start(command, folder)
        time.sleep(moment)
        process.send_signal(what)
        if what is signal.SIGSTOP:
            time.sleep(0.1)
            process.send_signal(signal.SIGCONT)
        code, said = self.finish(process)
        whole_or_absent(folder, before, expected)
        there = contents(folder)
        if code == 0:
            assert there == expected, f"it said that it was done, and there is {sorted(there)}"
        else:
            assert what is not signal.SIGSTOP, f"exit code {code} after a pause: {said}"
            assert code in (-what, 128 + what, 1), f"exit code {code}: {said}"
        fault = in_child(partial(self.rerun, command, folder), WAIT)
        assert not fault, f"the rerun: {fault}"
        all_there(folder, expected)
        shutil.rmtree(folder.parent)


def attack(seed: int, seconds: float, folder: Path, count: int | None = None) -> Outcome:
    """Send so many signals, or as many as the time allows, to as many commands at a time as there are processors."""
    stage, outcome = Stage(folder), Outcome()

    def strike(number: int) -> None:
        found = ""
        try:
            stage.strike(seed, number)
        except Exception as wrong:
            found = f"signals: --seed {seed}, trial {number}: {wrong}"
        outcome.note("signals to the command line", 1, found)

    on_all_processors(within(outcome, seconds, count), strike)
    return outcome
