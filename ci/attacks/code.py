"""Damaged machine code: files of the engine's cache are cut, changed, swapped, emptied; no fill may come out wrong."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

from attacks import mutations
from attacks.outcome import Outcome, within

# A process that fills by the compiled engine: the digest of what it drew, and the warnings that there were.
FILL = """
import hashlib, warnings, numpy as np, fastinit
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    digest = hashlib.blake2b()
    for fill in (fastinit.fill_normal, fastinit.fill_uniform):
        a = np.empty(1000, "f4")
        fill(a, seed=1, name="w", **({"std": 1.0} if fill is fastinit.fill_normal else {"low": -1.0, "high": 1.0}))
        digest.update(a.tobytes())
print(digest.hexdigest())
for one in caught:
    print(one.category.__name__, one.message)
"""


def fill(cache: Path) -> tuple[int, list[str], str]:
    """Fill with this folder of machine code: exit code, lines of the output, errors."""
    env = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "FASTINIT_ENGINE": "numba"}
    done = subprocess.run([sys.executable, "-c", FILL], env=env, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout.splitlines(), done.stderr


def damage(rng: random.Random, cache: Path) -> str:
    """Damage one file of a cache, or several; what was done."""
    files = {one: one.read_bytes() for one in sorted(cache.rglob("*")) if one.is_file()}
    chosen = rng.sample(list(files), min(len(files), rng.choice((1, 1, 2, 4))))
    said = []
    for one in chosen:
        data = files[one]
        match rng.randrange(5):
            case 0:
                one.write_bytes(data[: rng.randrange(len(data) + 1)])
                said.append(f"{one.name} cut")
            case 1:
                at = rng.randrange(len(data))
                one.write_bytes(data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :])
                said.append(f"{one.name}: a bit of byte {at}")
            case 2:
                one.write_bytes(files[rng.choice(list(files))])
                said.append(f"{one.name} is another file")
            case 3:
                one.unlink()
                said.append(f"{one.name} is gone")
            case _:
                one.write_bytes(mutations.of_bytes(rng, data[: 1 << 13], [data]) + data[1 << 13 :])
                said.append(f"{one.name} garbled")
    return ", ".join(said)


def attack(seed: int, seconds: float, folder: Path, count: int | None = None) -> Outcome:
    """Damage so many caches, or as many as the time allows."""
    outcome, warm, cache = Outcome(), folder / "warm", folder / "damaged"
    warm.mkdir()
    code, right, errors = fill(warm)
    assert code == 0, errors
    for number in within(outcome, seconds, count):
        shutil.copytree(warm, cache)
        done = damage(random.Random(f"{seed} code {number}"), cache)
        code, lines, errors = fill(cache)
        fault = ""
        if code != 0:
            fault = f"exit code {code}: {errors[-2000:]}"
        elif lines[:1] != right[:1]:
            fault = "other values"
        elif len(lines) > 2:
            fault = f"more than one warning: {lines[1:]}"
        found = fault and f"code: --seed {seed}, trial {number} ({done}): {fault}"
        outcome.note("damaged caches of machine code", 1, found)
        shutil.rmtree(cache)
    return outcome
