"""From a bias to 2 GiB: the same call at every size, beside the peers. docs/performance.md draws it."""

from __future__ import annotations

import numpy as np
import pytest

from bench.ceilings import ceilings
from bench.ours import ours
from bench.pairing import Contender
from bench.peers import contenders

SIZES = (8, 12, 16, 20, 24, 29)  # powers of two, in elements
SHORTEST = 4 << 20  # bytes that a timed run writes, by as many calls as that takes: the clock must not count


def often(contender: Contender, timed: bool) -> Contender:
    """Calls enough for the clock."""
    calls = max(1, int(SHORTEST // contender.amount)) if timed else 1

    def run() -> None:
        for _ in range(calls):
            contender.run()

    return Contender(contender.name, run, contender.amount * calls, contender.call)


@pytest.mark.parametrize("power", SIZES)
def test_size(power, sizes, race):
    buf = np.ones(1 << (power if sizes.timed else min(power, 16)), np.float32)
    rivals = [often(one, sizes.timed) for one in [*contenders("normal", "float32", buf, sizes.part), *ceilings(buf)]]
    ourselves = often(ours("normal", buf), sizes.timed)
    race(f"normal float32, 2^{power} elements", ourselves, rivals, "float32", elements=buf.size)
