"""Children that compile for a minute, started when the tests are collected: at a low priority, on an idle core."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Collection

CHILDREN: list[Child] = []


class Child:
    """A Python program whose machine code has a folder of its own; it starts early if a test needs `fixture`."""

    def __init__(self, fixture: str, program: str, *arguments: str, **environment: str) -> None:
        self.fixture = fixture
        self._command = [sys.executable, "-W", "error", "-c", "import os; os.nice(10)\n" + program, *arguments]
        self._environment = {**os.environ, "FASTINIT_ENGINE": "numba", **environment}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[str] | None = None
        CHILDREN.append(self)

    def start(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._folder = tempfile.TemporaryDirectory()
            environment = {**self._environment, "NUMBA_CACHE_DIR": self._folder.name}
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            self._process = subprocess.Popen(self._command, env=environment, text=True, **pipes)
        return self._process

    def output(self) -> str:
        """What it prints, when it is done."""
        child = self.start()
        output, errors = child.communicate(timeout=400)
        assert child.returncode == 0, errors
        return output

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        if self._folder is not None:
            self._folder.cleanup()


def start(fixtures: Collection[str]) -> None:
    """Start the children that these fixtures wait for."""
    for child in CHILDREN:
        if child.fixture in fixtures:
            child.start()


def stop() -> None:
    """End those that run still, and remove what they compiled."""
    for child in CHILDREN:
        child.stop()
