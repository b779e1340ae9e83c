"""The floating-point mode of a thread: draws are made in the default one of IEEE 754, whatever the caller's.

Another rounding direction changes the last bits of nearly every law, and flushed subnormals those of a std near 1e-38.
Some libraries set one or the other for their own ends, such as torch.set_flush_denormal(True) or the threads of XLA.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

# Read from here when they are used: an expression of constants would be computed when Python compiles it.
ONE = 1.0
BELOW_HALF, ABOVE_HALF = 2.0**-54, 1.5 * 2.0**-53  # of the distance from 1 to the next float64
SUBNORMAL = 2.0**-1060

SIZE_OF_ENVIRONMENT = 512  # bytes: more than any system's fenv_t (32 on x86-64, 8 on ARM64)

_warned = False


def is_default() -> bool:
    """Whether this thread rounds to nearest and keeps subnormals: 0.07 us, which even a small fill can pay."""
    return ONE + BELOW_HALF == ONE != ONE + ABOVE_HALF and SUBNORMAL + SUBNORMAL != 0.0


def described() -> str:
    """The mode of this thread in words."""
    up, down = ONE + BELOW_HALF != ONE, -ONE - BELOW_HALF != -ONE
    to_zero = not up and not down and ONE + ABOVE_HALF == ONE
    rounding = "upward" if up else "downward" if down else "toward zero" if to_zero else "to nearest"
    return f"rounds {rounding}, {'keeps' if SUBNORMAL + SUBNORMAL else 'flushes'} subnormals"


@contextmanager
def default_mode(*, warn: bool = True) -> Iterator[None]:
    """Compute in the default mode inside the block, and in the thread's own again after it; warns once a process.

    `warn=False` is for a thread whose mode is nobody's choice, such as one of XLA, which calls back.
    """
    global _warned
    mode, calls = described(), _calls()
    if warn and not _warned:
        _warned = True
        done = (
            "fastinit draws in the default mode all the same, and what it draws is right; numbers that are computed "
            "before the fill, such as a std from a fan, are rounded in yours"
            if calls
            else "fastinit cannot change it on this system, so that values may differ in their last bits"
        )
        warnings.warn(f"The floating-point mode of this thread {mode}. {done}.", RuntimeWarning, stacklevel=4)
    if calls is None:
        yield
        return
    save, restore, default = calls
    own = ctypes.create_string_buffer(SIZE_OF_ENVIRONMENT)
    save(own)
    restore(default)
    try:
        yield
    finally:
        restore(own)


def in_default_mode(function: Callable[P, R]) -> Callable[P, R]:
    """Have a function compute in the default mode, whatever the mode of the thread that calls it."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if is_default():
            return function(*args, **kwargs)
        with default_mode():
            return function(*args, **kwargs)

    return call


@cache
def _calls() -> tuple[Any, Any, Any] | None:
    """C99's fegetenv and fesetenv, and its default environment; None where there is no C library that has them."""
    if sys.platform == "win32":  # fesetenv of its library leaves the mode of subnormals alone
        return None
    try:
        library = ctypes.CDLL(ctypes.util.find_library("m") if sys.platform == "darwin" else None)
        save, restore = library.fegetenv, library.fesetenv
        # <fenv.h>: an object of the library on macOS, the address -1 in glibc and musl.
        default = ctypes.addressof(ctypes.c_byte.in_dll(library, "_FE_DFL_ENV")) if sys.platform == "darwin" else -1
    except (OSError, AttributeError, ValueError):
        return None
    save.argtypes = restore.argtypes = (ctypes.c_void_p,)
    return save, restore, ctypes.c_void_p(default)
