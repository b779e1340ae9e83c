"""Intel's MKL as a peer: the vector statistics of libmkl_rt (`pip install mkl`), through ctypes, on every core.

A generator of MKL is serial, as its documentation says: each thread has a stream of its own, and a part of the buffer.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import fastinit

Array = np.ndarray[Any, Any]

# Its fastest, and the one that is also ours. Numbers from mkl_vsl_defines.h.
GENERATORS = {"ARS5": 15 << 20, "SFMT19937": 13 << 20, "Philox4x32-10": 16 << 20}
UNIFORM_STD, GAUSSIAN_ICDF = 0, 2  # the methods; for normals the inverse is the fastest of the three
SEQUENTIAL = 1


def library_path() -> Path | None:
    """Where pip puts the library."""
    return next(iter(sorted(Path(sys.prefix, "lib").glob("libmkl_rt.so*"))), None)


@cache
def _library() -> Any:
    library = ctypes.CDLL(str(library_path()))
    library.MKL_Set_Threading_Layer(SEQUENTIAL)
    return library


def _stream(generator: str, seed: int) -> ctypes.c_void_p:
    stream = ctypes.c_void_p()
    error = _library().vslNewStream(ctypes.byref(stream), GENERATORS[generator], ctypes.c_uint(seed))
    if error:
        raise RuntimeError(f"vslNewStream gives {error} for {generator}")
    return stream


def filler(law: str, generator: str, buf: Array, std: float) -> Callable[[], None]:
    """What fills float32 or float64 `buf` with U[0, 1) or N(0, std^2)."""
    letter, real = ("s", ctypes.c_float) if buf.dtype == np.float32 else ("d", ctypes.c_double)
    name, method = {"uniform": ("Uniform", UNIFORM_STD), "normal": ("Gaussian", GAUSSIAN_ICDF)}[law]
    function = getattr(_library(), f"v{letter}Rng{name}")
    numbers = (real(0.0), real(1.0 if law == "uniform" else std))
    threads = fastinit.info()["threads"]
    parts = [part for part in np.array_split(buf.reshape(-1), threads) if part.size]
    streams = [_stream(generator, seed) for seed in range(len(parts))]
    pool = ThreadPoolExecutor(threads)

    def fill(i: int) -> None:
        pointer = ctypes.c_void_p(parts[i].ctypes.data)
        error = function(method, streams[i], parts[i].size, pointer, *numbers)
        if error:
            raise RuntimeError(f"{name} of {generator} gives {error}")

    return lambda: list(pool.map(fill, range(len(parts)))) and None
