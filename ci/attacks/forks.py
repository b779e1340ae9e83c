"""Forks at any moment of a fill: parent and child end, and what both draw is right."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from attacks.outcome import Outcome

# A process that forks while another of its threads fills, with the threads of BLAS at their default: the number of
# forks, and the seconds after which it forks no more, are its arguments.
FORKS = """
import os, signal, sys, threading, time, fastinit
from fastinit import laws
LAWS = {
    "orthogonal": laws.Orthogonal(),
    "sparse": laws.Sparse(laws.Normal(), 0.9),
    "truncated": laws.TruncatedNormal(0.0, 1.0, -2.0, 2.0),
    "normal": laws.Normal(),
}
def draw(name):
    return fastinit.new((300, 300), LAWS[name], seed=0, name=name)
expected = {name: draw(name) for name in LAWS}
def right(name):
    if name == "orthogonal":
        return abs(draw(name) - expected[name]).max() <= 32 * 2.0**-23
    return (draw(name) == expected[name]).all()
ended, wrong, fills = False, [], 0
def keep_filling():
    global fills
    while not ended:
        for name in LAWS:
            wrong.extend([] if right(name) else [name])
            fills += 1
worker = threading.Thread(target=keep_filling)
worker.start()
failed, forks, begin = 0, 0, time.monotonic()
while forks < int(sys.argv[1]) and time.monotonic() - begin < float(sys.argv[2]):
    child = os.fork()
    if child == 0:
        signal.alarm(120)
        os._exit(0 if all(map(right, LAWS)) else 1)
    forks += 1
    failed += os.waitpid(child, 0)[1] != 0
ended = True
worker.join(120)
print(forks)
assert not worker.is_alive(), "the thread that fills does not end"
assert not failed, f"{failed} of {forks} children failed"
assert not wrong, f"wrong values of {wrong}"
assert fills >= len(LAWS)
"""


def run(forks: int, seconds: float) -> tuple[int, str]:
    """Fork so often, or for so long; how often it was, and what went wrong."""
    env = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    try:
        done = subprocess.run(
            [sys.executable, "-c", FORKS, str(forks), str(seconds)],
            env=env,
            capture_output=True,
            text=True,
            timeout=seconds + 300,
        )
    except subprocess.TimeoutExpired:
        return 0, "it hangs"
    count = int(done.stdout.split()[0]) if done.stdout.split() else 0
    return count, "" if done.returncode == 0 else f"exit code {done.returncode}: {done.stderr[-2000:]}"


def attack(seed: int, seconds: float, folder: Path, count: int | None = None) -> Outcome:
    """Fork so often, or for so long. The moments are not of a seed: they are those of the system."""
    del seed, folder
    outcome = Outcome()
    forks, fault = run(1 << 30 if count is None else count, 1e6 if count is not None else seconds)
    outcome.note("forks while a thread fills", forks, fault and f"forks: {fault}")
    return outcome
