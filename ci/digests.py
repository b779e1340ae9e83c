"""Digests of every law in every dtype, on each engine that loads, to be compared between machines and releases.

    python ci/digests.py > here.json                # on one machine
    python ci/digests.py --against here.json        # on another: 1 if a digest differs

Rows and columns, the far end of large tensors, stores past the cache. Orthogonal laws are left out: their last bits
are those of a linear algebra library. `--engine numpy` takes that engine alone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / "laws")]

from drawing import LAWS, STORAGE, digest, draw, empty  # noqa: E402

import fastinit  # noqa: E402
from fastinit import Shard, engines  # noqa: E402
from fastinit.checking.known import CASES  # noqa: E402
from fastinit.fill import memory  # noqa: E402


def digests() -> Iterator[tuple[str, str]]:
    """What is drawn, and a digest of its bits, on the engine that is in use."""
    for dtype in STORAGE:
        for name, case in CASES.items():
            found = blake2b(digest_size=8)
            for offsets, shape in case.blocks:
                block, shard = empty(shape, dtype), Shard(case.shape, offsets)
                fastinit.fill(block, case.law, seed=case.seed, name=case.name, dtype=dtype, shard=shard, threads=1)
                found.update(block.tobytes())
            yield f"{name}, {dtype}", found.hexdigest()
        for name, law in LAWS.items():
            yield f"{name}, {dtype}, a long line", digest(draw(law, 300_007, dtype, seed=21, name=name))
            x = empty((257, 61), dtype, "F")
            fastinit.fill(x, law, seed=21, name=name, dtype=dtype, shard=Shard((300, 70), (5, 3)))
            yield f"{name}, {dtype}, transposed", digest(x)
    smallest, memory.SMALLEST_PAST_CACHE = memory.SMALLEST_PAST_CACHE, 0
    os.environ["FASTINIT_PAST_CACHE"] = "1"
    for dtype in STORAGE:
        for name in ("uniform around zero", "normal"):
            yield f"{name}, {dtype}, past the cache", digest(draw(LAWS[name], 300_007, dtype, seed=21))
            x = empty((320, 128), dtype, "F")
            fastinit.fill(x, LAWS[name], seed=21, dtype=dtype)
            yield f"{name}, {dtype}, transposed, past the cache", digest(x)
    memory.SMALLEST_PAST_CACHE = smallest
    del os.environ["FASTINIT_PAST_CACHE"]


def engines_here() -> list[str]:
    """The engines that load."""
    try:
        engines.named("numba")
    except Exception as error:  # whatever a Numba raises that does not know this NumPy
        print(f"numba does not load ({error}); its digests are left out", file=sys.stderr)
        return ["numpy"]
    return ["numba", "numpy"]


def main() -> int:
    """Print the digests, or hold them against those of a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, metavar="FILE", help="what this printed elsewhere")
    parser.add_argument("--engine", choices=("numba", "numpy"), help="this engine alone")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of a std that a narrow dtype loses, where it is drawn to see its bits
    found: dict[str, dict[str, str]] = {}
    for engine in [options.engine] if options.engine else engines_here():
        with engines.use(engine):
            found[engine] = dict(digests())
    if options.against is None:
        print(json.dumps(found, indent=1))
        return 0
    expected = json.loads(options.against.read_text(encoding="utf-8"))
    first = next(iter(expected.values()))
    wrong = 0
    for engine, values in found.items():
        different = [what for what in first if values.get(what) != first[what]]
        wrong += len(different)
        print(f"{engine}: {len(first) - len(different)} of {len(first)} digests are the same (NumPy {np.__version__})")
        for what in different:
            print(f"  differs: {what}")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
