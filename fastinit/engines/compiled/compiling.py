"""How Numba compiles: the options of every kernel, and of the pieces that only kernels call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

from fastinit.engines import cache

if getattr(numba.config, "DISABLE_JIT", False):
    raise ImportError(
        "NUMBA_DISABLE_JIT is set, and the kernels have no form in Python: their intrinsics are machine code"
    )

u8, u16, u32, u64 = np.uint8, np.uint16, np.uint32, np.uint64
i32, i64, f32, f64 = np.int32, np.int64, np.float32, np.float64

F = TypeVar("F", bound=Callable[..., Any])


# A piece that only kernels call needs no wrappers for callers from Python and C: a sixth of the time to compile.
INNER: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": False}


def kernel(function: F) -> F:
    """Compile on first use; release the GIL; keep the machine code on disk where a folder can be written."""
    compiled = numba.njit(**OPTIONS)(function)
    cache.keep_on_disk(compiled, function)
    return cast(F, compiled)


def inline(function: F) -> F:
    """A piece of a kernel, forced in: a loop that is left with a call in it is not vectorised."""
    return cast(F, numba.njit(forceinline=True, **INNER, **OPTIONS)(function))


# Called from a kernel, and kept in its machine code; an inline caller would pass its own inlining on.
routine = numba.njit(forceinline=False, **INNER, **OPTIONS)


def named_routine(name: str, function: Callable[..., Any]) -> Any:
    """A routine under a name of its own.

    Machine code that another process kept is linked by names. Functions of one name Numba tells apart by a number that
    each process counts anew, and one law would be called for another.
    """
    function.__name__ = function.__qualname__ = name
    return routine(function)
