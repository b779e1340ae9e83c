"""What this machine can do at most: `ndarray.fill`, which only stores, on one thread and on all of them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np

from bench.pairing import Contender
from fastinit.threads import resolve

CEILING, CEILING_ONE_THREAD = "ceiling", "ceiling on one thread"
# Each thread takes the next chunk when it is free, so that a core that another process uses does not hold up the rest.
CHUNK = 4 << 20


@cache
def _pool(helpers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(helpers, thread_name_prefix="ceiling")


def parallel_fill(buf: np.ndarray[Any, Any], threads: int) -> Callable[[], None]:
    """A function that stores a float32 constant all over a contiguous buffer, on so many threads.

    The same stores for every dtype (whole MiB are assumed): a ceiling of bytes a second, not of elements.
    """
    line = buf.reshape(-1).view(np.float32)
    step = CHUNK // line.itemsize
    chunks = [line[at : at + step] for at in range(0, line.size, step)]

    def run() -> None:
        rest = iter(chunks)  # next() on a list's iterator is atomic

        def work() -> None:
            for chunk in rest:
                chunk.fill(1.0)

        others = [_pool(threads).submit(work) for _ in range(threads - 1)]
        work()
        for other in others:
            other.result()

    return run


def ceilings(buf: np.ndarray[Any, Any]) -> list[Contender]:
    """`ndarray.fill` of this buffer on one thread, and on as many as a fill would use."""
    line = buf.reshape(-1).view(np.float32)
    return [
        Contender(CEILING_ONE_THREAD, lambda: line.fill(1.0), buf.nbytes, "ndarray.fill"),
        Contender(CEILING, parallel_fill(buf, resolve()), buf.nbytes, f"ndarray.fill on {resolve()} threads"),
    ]
