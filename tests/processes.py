"""Run code in a fresh Python process."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest


def importing_first(*folders: str | Path) -> str:
    """PYTHONPATH with these folders before those that are there, of which a dependency may come."""
    return os.pathsep.join([*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])])


def run_python(code: str, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def needs(*packages: str) -> pytest.MarkDecorator:
    """Skip a test whose child processes import packages that are not installed. They are not imported here."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def descriptors() -> int:
    """How many files this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def as_nobody(call: Callable[[], object], folder: Path, *, groups: Sequence[int] = ()) -> str:
    """Call a function in a forked child that has given up root's rights, from a folder; the error's text, "" if none.

    The folder is entered before, since nobody may not pass pytest's own.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        text = "the child was cut short"
        try:
            os.chdir(folder)
            os.setgroups(list(groups))
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            call()
            text = ""
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        finally:
            os.write(writing, text.encode())
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with open(reading, "rb") as pipe:  # noqa: PTH123
        return pipe.read().decode()
