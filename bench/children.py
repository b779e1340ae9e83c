"""Measure what only a fresh Python process can show: imports, first fills, the peak of memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

IMPORT_FASTINIT = """
import time, numpy
begin = time.perf_counter()
import fastinit
print(time.perf_counter() - begin)
"""

IMPORT_NUMBA = """
import time, numpy
begin = time.perf_counter()
import numba
print(time.perf_counter() - begin)
"""

FIRST_FILL = """
import time, numpy, fastinit
buf = numpy.zeros(1 << 18, numpy.float32)
begin = time.perf_counter()
fastinit.fill_he_normal(buf, 8192, seed=1, name="w")
print(time.perf_counter() - begin)
"""

# The peak after the buffer has been touched and a small fill has warmed everything up, against the peak after the fill.
EXTRA_MEMORY = """
import resource, sys, numpy, fastinit
fastinit.fill_he_normal(numpy.zeros(1 << 22, numpy.float32), 8192, seed=1, name="w")
buf = numpy.empty({bytes} // 4, numpy.float32)
buf.fill(1.0)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
before = peak()
fastinit.fill_he_normal(buf, 8192, seed=1, name="w")
print(peak() - before)
"""


def child(code: str, **environment: str) -> Callable[[], float]:
    """A function that runs `code` in a fresh Python process and gives the number it prints."""

    def run() -> float:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=120,
        )
        return float(done.stdout)

    return run
