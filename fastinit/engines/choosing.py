"""Choose the engine: compiled where Numba works and is worth loading, else reference; let nothing tear it half-way."""

from __future__ import annotations

import importlib
import importlib.util
import logging  # noqa: F401  registers its fork hook before ours, see below
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from types import ModuleType
from typing import cast

from fastinit.engines.interface import Engine

MODULES = {"numba": "fastinit.engines.compiled", "numpy": "fastinit.engines.reference"}

# Held while Numba is imported or compiles. A fork waits for it, so that no child inherits a lock whose holder is gone.
# Hooks run in reverse order: logging's, which takes the logging lock that an import of Numba needs too, must come after
# this one, so logging is imported first. Otherwise the fork would hold that lock while it waits here, for ever.
fork_lock = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=fork_lock.acquire, after_in_parent=fork_lock.release, after_in_child=fork_lock.release)

# Loading Numba takes half a second, and two more where nothing is cached yet; by then the NumPy engine has drawn many a
# small tensor, with the same bits. So where nobody names an engine the fills of a process begin there, until what they
# cost adds up to this many seconds (at worst they are lost).
HEAD_START = 0.3
SECONDS_PER_CALL, SECONDS_PER_ELEMENT = 3e-4, 4e-8  # of the NumPy engine, normal law

_spent = 0.0
_loaded: dict[str, ModuleType] = {}
_override: ContextVar[str | None] = ContextVar("fastinit_engine", default=None)


def run_uninterrupted(work: Callable[[], None]) -> None:
    """Import or compile: no fork comes in between, and Ctrl-C is raised when that is done.

    Numba does not survive an exception at any place: after an import that was broken off it has "no attribute 'core'",
    after a compilation its module is "already added to this engine". Ctrl-C is raised in the main thread, so the work
    is done on another.
    """

    def locked() -> None:
        with fork_lock:
            work()

    if threading.current_thread() is not threading.main_thread():
        locked()
        return
    with ThreadPoolExecutor(1, thread_name_prefix="fastinit-loading") as other:
        try:
            loading = other.submit(locked)
        except RuntimeError:  # the interpreter ends, in an atexit handler: no thread starts any more
            locked()
        else:
            loading.result()


def _load(name: str) -> ModuleType:
    if name not in _loaded:

        def load() -> None:
            _loaded[name] = importlib.import_module(MODULES[name])

        run_uninterrupted(load)
    return _loaded[name]


@cache
def _by_environment() -> str | None:
    """The engine FASTINIT_ENGINE names, read once; None where it names none."""
    name = os.environ.get("FASTINIT_ENGINE") or None
    if name is not None and name not in MODULES:
        raise ValueError(f"FASTINIT_ENGINE is {name!r}; it can be 'numba' or 'numpy'")
    return name


@cache
def _installed() -> bool:
    """Whether there is a Numba to load; it is not imported."""
    return importlib.util.find_spec("numba") is not None


@cache
def _automatic() -> str:
    """The compiled engine, or, with one warning, the reference engine where Numba is missing or refuses to load."""
    try:
        _load("numba")
    except Exception as error:  # ImportError for a missing Numba or a newer NumPy; a broken install raises anything
        warnings.warn(
            f"fastinit runs on its NumPy engine, about 30 times slower, since Numba does not load ({error}). "
            "The values are the same. Install a Numba that knows this NumPy, or set FASTINIT_ENGINE=numpy "
            "to choose this silently.",
            RuntimeWarning,
            stacklevel=5,
        )
        return "numpy"
    return "numba"


def engine_name() -> str:
    """The engine of this process: 'numba' or 'numpy'."""
    return _override.get() or _by_environment() or _automatic()


def engine_for(elements: int) -> str:
    """The engine for a fill of so many elements: that of the process, or 'numpy' while Numba is not worth loading."""
    global _spent
    named = _override.get() or _by_environment()
    if named is None and "numba" not in _loaded and _installed():
        seconds = SECONDS_PER_CALL + SECONDS_PER_ELEMENT * elements
        if _spent + seconds <= HEAD_START:
            _spent += seconds
            return "numpy"
    return named or _automatic()


def loaded_compiled() -> ModuleType | None:
    """The compiled engine where this process has loaded it and nothing asks for the other; never loads it."""
    return None if (_override.get() or _by_environment()) == "numpy" else _loaded.get("numba")


def named(name: str) -> Engine:
    """The engine of this name."""
    return cast(Engine, _load(name))


def chosen(elements: int) -> Engine:
    """The engine for a fill of so many elements."""
    compiled = loaded_compiled()
    if compiled is not None:
        return cast(Engine, compiled)
    return cast(Engine, _load(engine_for(elements)))


@contextmanager
def use(name: str) -> Iterator[None]:
    """Fill with the engine of this name inside the `with` block (in this context only): for tests and comparisons."""
    if name not in MODULES:
        raise ValueError(f"no engine {name!r}; there are 'numba' and 'numpy'")
    token = _override.set(name)
    try:
        yield
    finally:
        _override.reset(token)
