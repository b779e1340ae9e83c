"""Every law in every dtype, on a warm buffer, against the ceilings and the peers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.ceilings import ceilings
from bench.ours import ours
from bench.peers import contenders
from fastinit.dtypes import FORMATS

LAWS = ("uniform", "normal", "truncated", "constant")
CASES = [(law, dtype) for law in LAWS for dtype in FORMATS] + [("loosely truncated", "float32")]


@pytest.mark.parametrize(("law", "dtype"), CASES, ids=lambda part: part.replace(" ", "-"))
def test_law(law, dtype, arena, sizes, race):
    buf = arena.view(FORMATS[dtype].storage)
    rivals = [*contenders(law, dtype, buf, sizes.part), *ceilings(buf)]
    if (law, dtype) == ("normal", "float32"):
        rivals.append(ours("uniform", buf, "own uniform"))
    if law == "normal" and dtype in ("bfloat16", "float16"):
        # Elements count: each float32 is worth the two bytes that it takes here.
        single = arena.view("float32")
        rivals.append(replace(ours("normal", single, "own float32"), amount=single.size * buf.itemsize))
    race(f"{law} {dtype}", ours(law, buf, dtype=dtype), rivals, dtype)
