"""The pool of threads on machines that are not here: a simulation with the costs that were measured on this one.

    python -m bench.pool                       # costs measured here, then the simulated times for 1 to 192 threads
    python -m bench.pool --rate 5 --memory 300  # GB/s of one core, and of all together

Two things are done by one thread at a time, since both hold Python's lock: handing a thread its first work, and what a
thread does between two chunks. All else runs side by side, as fast as a core draws and as memory takes it.
"""

from __future__ import annotations

import argparse
import heapq
import time
from dataclasses import dataclass

import numpy as np

import fastinit
from fastinit import engines, laws, threads
from fastinit.engines.interface import one_row
from fastinit.fill import policies, runs

MIB, GIB = 1 << 20, 1 << 30
THREADS = (1, 2, 4, 8, 16, 32, 64, 128, 192)
SIZES = (1 * MIB, 16 * MIB, 256 * MIB, 4 * GIB, 64 * GIB)
WAKE = 30e-6  # seconds until a thread that sleeps runs again: 20 to 60 us where they were measured


@dataclass(frozen=True)
class Costs:
    """Seconds that Python's lock is held: to give a thread its first work, and between two chunks."""

    start: float
    chunk: float


def measured() -> Costs:
    """The costs here, in processor time, the least of many."""
    start = chunk = float("inf")
    with engines.use("numba"):
        fastinit.fill(np.empty(1024, np.float32), laws.Normal(), seed=0)
        buf = np.zeros(1024, np.float32)
        bound = runs.BoundLaw.of(laws.Normal(), np.zeros(4, np.uint32), buf.dtype, fastinit.dtypes.FORMATS["float32"])
        engine, storing, nothing = engines.chosen(1), policies.told(MIB), one_row(0)
        assert storing is not None
        for _ in range(50):
            begin = time.thread_time()
            waiting = threads._submit(lambda: None, 16)
            start = min(start, (time.thread_time() - begin) / 16)
            for one in waiting:
                one.result()

            def work(i: int) -> None:
                storing.chunk(0, 0, lambda policy: bound.run(engine, buf, nothing, policy))

            begin = time.thread_time()
            threads.for_each(work, 256, 1)
            chunk = min(chunk, (time.thread_time() - begin) / 256)
    return Costs(start, chunk)


def chunks(total: int, workers: int) -> list[int]:
    """The bytes of the chunks of a contiguous fill, as `runs.chunk_grid` cuts them."""
    size = runs.chunk_bytes(total, workers)
    whole, rest = divmod(total, size)
    return [size] * whole + [rest] * (rest > 0)


def simulated(total: int, workers: int, costs: Costs, rate: float, memory: float) -> float:
    """Seconds of a fill of so many bytes, by so many threads: `rate` bytes a second each, `memory` all together."""
    workers = runs.useful_workers(total, workers)
    queue = chunks(total, workers)[::-1]
    workers = min(workers, len(queue))
    each = min(rate, memory / workers)
    ready = [(0.0, 0)]  # when a thread wants its next chunk
    lock = 0.0  # when Python's lock is free
    for helper in range(1, workers):
        lock += costs.start
        ready.append((lock + WAKE, helper))
    ready[0] = (lock, 0)  # the calling thread, which starts the others first
    heapq.heapify(ready)
    lock, end = 0.0, 0.0
    while queue:
        wants, thread = heapq.heappop(ready)
        # A thread that finds the lock taken sleeps, and is woken.
        begin = wants if wants >= lock else lock + min(WAKE, costs.chunk)
        lock = begin + costs.chunk
        done = lock + queue.pop() / each
        end = max(end, done)
        heapq.heappush(ready, (done, thread))
    return end


def main() -> None:
    """Measure, simulate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=5.0, help="GB/s that one core draws; default %(default)s")
    parser.add_argument("--memory", type=float, default=300.0, help="GB/s of memory; default %(default)s")
    options = parser.parse_args()
    costs = measured()
    print(f"Python's lock is held {costs.start * 1e6:.1f} us for a thread and {costs.chunk * 1e6:.1f} us for a chunk.")
    print("Speedup over one thread, and the percentage of what cores and memory could do:\n")
    titles = [f"{size // MIB} MiB" if size < GIB else f"{size // GIB} GiB" for size in SIZES]
    print("| threads | " + " | ".join(titles) + " |")
    print("| ---: |" + " ---: |" * len(SIZES))
    rate, memory = options.rate * 1e9, options.memory * 1e9
    for workers in THREADS:
        cells = []
        for size in SIZES:
            gain = simulated(size, 1, costs, rate, memory) / simulated(size, workers, costs, rate, memory)
            cells.append(f"{gain:.1f} ({gain / min(workers, memory / rate):.0%})")
        print(f"| {workers} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
