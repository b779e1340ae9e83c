"""Hold digests of every law in every dtype, on both engines, against those that tests/kat/digests.json records.

    python ci/digests.py                     # 1 if one differs, or one of the two lacks it
    python ci/digests.py --engine numpy      # that engine alone, where there is no Numba
    python ci/digests.py --write             # record them, if both engines agree

Rows and columns, the far end of large tensors, stores past the cache. Orthogonal laws are left out: their last bits
are those of a linear algebra library. The digests of a released stream never change: those of new laws are added.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from pathlib import Path

import numpy as np

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS / "laws")]

from drawing import LAWS, STORAGE, digest, draw, empty  # noqa: E402

import fastinit  # noqa: E402
from fastinit import Shard, engines  # noqa: E402
from fastinit.checking.known import CASES, Case  # noqa: E402
from fastinit.fill import policies  # noqa: E402
from fastinit.laws import Law  # noqa: E402

RECORD = TESTS / "kat" / "digests.json"


def known(case: Case, dtype: str) -> str:
    """The digest of the blocks of a known answer, wherever in the tensor they are."""
    found = blake2b(digest_size=8)
    for offsets, shape in case.blocks:
        block, shard = empty(shape, dtype), Shard(case.shape, offsets)
        fastinit.fill(block, case.law, seed=case.seed, name=case.name, dtype=dtype, shard=shard, threads=1)
        found.update(block.tobytes())
    return found.hexdigest()


def long_line(law: Law, name: str, dtype: str) -> str:
    """The digest of what several chunks draw, and of an end that fills no group."""
    return digest(draw(law, 300_007, dtype, seed=21, name=name))


def transposed(law: Law, name: str, dtype: str, shape: tuple[int, int], shard: Shard | None = None) -> str:
    """The digest of a matrix whose columns are contiguous."""
    x = empty(shape, dtype, "F")
    fastinit.fill(x, law, seed=21, name=name, dtype=dtype, shard=shard)
    return digest(x)


def drawings() -> Iterator[tuple[str, Callable[[], str]]]:
    """What is drawn, and what gives its digest on the engine that is in use."""
    for name, case in CASES.items():
        for dtype in case.dtypes:
            yield f"{name}, {dtype}", partial(known, case, dtype)
    for dtype in STORAGE:
        for name, law in LAWS.items():
            yield f"{name}, {dtype}, a long line", partial(long_line, law, name, dtype)
            block = Shard((300, 70), (5, 3))
            yield f"{name}, {dtype}, transposed", partial(transposed, law, name, dtype, (257, 61), block)
        for name in ("uniform around zero", "normal"):
            law = LAWS[name]
            yield f"{name}, {dtype}, past the cache", past_cache(partial(long_line, law, "", dtype))
            yield (
                f"{name}, {dtype}, transposed, past the cache",
                past_cache(partial(transposed, law, "", dtype, (320, 128))),
            )


def past_cache(drawing: Callable[[], str]) -> Callable[[], str]:
    """The same, by stores past the cache, which only large buffers have otherwise."""

    def drawn() -> str:
        with all_past_cache():
            return drawing()

    return drawn


@contextmanager
def all_past_cache() -> Iterator[None]:
    """Let every fill store past the cache."""
    smallest, policies.SMALLEST_PAST_CACHE = policies.SMALLEST_PAST_CACHE, 0
    os.environ["FASTINIT_PAST_CACHE"] = "1"
    try:
        yield
    finally:
        policies.SMALLEST_PAST_CACHE = smallest
        del os.environ["FASTINIT_PAST_CACHE"]


def digests(engine: str) -> dict[str, str]:
    """What is drawn -> the digest of its bits, on an engine."""
    with engines.use(engine), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a std that a narrow dtype loses, where it is drawn to see its bits
        return {what: drawing() for what, drawing in drawings()}


def compared(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    """What differs, or is in one of the two only."""
    return sorted(what for what in found.keys() | expected.keys() if found.get(what) != expected.get(what))


def main(arguments: list[str] | None = None) -> int:
    """Compare the digests with the recorded ones, or record them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("numba", "numpy"), help="this engine alone")
    parser.add_argument("--write", action="store_true", help=f"write {RECORD.name} where both engines agree")
    options = parser.parse_args(arguments)
    found = {engine: digests(engine) for engine in ([options.engine] if options.engine else ["numba", "numpy"])}
    if options.write:
        if options.engine or compared(found["numba"], found["numpy"]):
            parser.error("what is recorded is what both engines draw, and here they differ or one is left out")
        content = {"about": __doc__.partition("\n")[0], "stream": fastinit.STREAM, "digests": found["numpy"]}
        RECORD.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    expected = json.loads(RECORD.read_text(encoding="utf-8"))["digests"]
    wrong = 0
    for engine, values in found.items():
        different = compared(values, expected)
        wrong += len(different)
        same = len(values.keys() | expected.keys()) - len(different)
        print(f"{engine}: {same} of {len(expected)} digests are those recorded (NumPy {np.__version__})", flush=True)
        for what in different:
            print(f"  differs: {what}")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
