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

# The peak of this process in MiB. Not getrusage: its ru_maxrss begins with that of the parent, which holds the arena.
PEAK = """
import re
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
"""

# The peak after the buffer has been touched and a small fill has warmed everything up, against the peak after the fill.
EXTRA_MEMORY = (
    PEAK
    + """
import numpy, fastinit
fastinit.fill_he_normal(numpy.zeros(1 << 22, numpy.float32), 8192, seed=1, name="w")
buf = numpy.empty({bytes} // 4, numpy.float32)
buf.fill(1.0)
before = peak()
fastinit.fill_he_normal(buf, 8192, seed=1, name="w")
print(peak() - before)
"""
)

# The peak again, for a buffer of 15 lines, which is drawn and thinned in one pass.
EXTRA_MEMORY_OF_SPARSE = (
    PEAK
    + """
import numpy, fastinit
fastinit.fill_sparse(numpy.zeros((15, 1 << 20), numpy.float32), 0.9, axis={axis}, seed=1, name="w")
buf = numpy.empty((15, {columns}), numpy.float32)
buf.fill(1.0)
before = peak()
fastinit.fill_sparse(buf, 0.9, axis={axis}, seed=1, name="w")
print(peak() - before)
"""
)

# The median of three orthogonal matrices, after one that is not counted.
ORTHOGONAL = """
import statistics, time, numpy, fastinit
buf = numpy.empty({shape}, numpy.float32)
def seconds():
    begin = time.perf_counter()
    fastinit.fill_orthogonal(buf, seed=1, name="w")
    return time.perf_counter() - begin
print(statistics.median([seconds() for _ in range(4)][1:]))
"""

ORTHOGONAL_OF_TORCH = """
import statistics, time, torch
buf = torch.empty({shape})
def seconds():
    begin = time.perf_counter()
    torch.nn.init.orthogonal_(buf)
    return time.perf_counter() - begin
print(statistics.median([seconds() for _ in range(4)][1:]))
"""

# Where these pin NumPy's BLAS to another processor's kernel, a comparison with PyTorch's would be unfair.
PINS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def child(code: str, without: tuple[str, ...] = (), **environment: str) -> Callable[[], float]:
    """A function that runs `code` in a fresh Python process and gives the number it prints."""
    inherited = {name: value for name, value in os.environ.items() if name not in without}

    def run() -> float:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=inherited | environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=300,
        )
        return float(done.stdout)

    return run
