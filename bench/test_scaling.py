"""What threads give over one, on as many cores as there are, and what the reference engine gives without Numba."""

from __future__ import annotations

import pytest

from bench.ceilings import CEILING_ONE_THREAD, ceilings
from bench.ours import ours
from bench.peers import contenders
from fastinit import engines
from fastinit.threads import available_cpus


@pytest.mark.parametrize("law", ["normal", "truncated"])
def test_two_threads(law, arena, race):
    buf = arena.view("float32")
    single = ours(law, buf, "own single thread", threads=1)
    # One CPU can show nothing: the floor stays unjudged there.
    rivals = [single] if available_cpus() > 1 else []
    race(f"{law} float32, two threads", ours(law, buf, threads=2), [*ceilings(buf), *rivals], "float32")


# 2, 4, 8, ... and all; bench/pool.py simulates machines that are not at hand.
COUNTS = sorted({*(2**power for power in range(1, 11) if 2**power <= available_cpus()), available_cpus()})


@pytest.mark.parametrize("count", COUNTS)
def test_curve(count, arena, race):
    buf = arena.view("float32")
    single = ours("normal", buf, "own single thread", threads=1)
    race(
        f"normal float32, {count} threads of {available_cpus()}",
        ours("normal", buf, threads=count),
        [single],
        "float32",
    )


def test_reference_engine(arena, sizes, race):
    buf = arena.view("float32")[: sizes.part]
    rivals = [one for one in contenders("normal", "float32", buf, sizes.part) if one.name == "numpy"]
    rivals += [one for one in ceilings(buf) if one.name == CEILING_ONE_THREAD]
    with engines.use("numpy"):
        race("normal float32, reference engine", ours("normal", buf), rivals, "float32")
