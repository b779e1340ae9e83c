"""The known answers of tests/kat, as the tests take them: golden values of the stream, and vectors of the generator.

CASES: what is drawn, (kind, parameters, seed, name); GOLDEN: the bits of the elements INDICES for a case and a dtype.
COMPLEX_CASES and COMPLEX_GOLDEN are those of complex numbers, two integers an element of COMPLEX_INDICES.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastinit.checking import known

VALUES = json.loads((Path(__file__).parent / "kat" / "values.json").read_text(encoding="utf-8"))
PHILOX = known.PHILOX  # (counter, key, output)
STANDARD_SEED, STANDARD_OUTPUT = known.STANDARD

Case = tuple[str, tuple[float, ...], int, str | int]


def cases_of(entries: list[dict[str, Any]]) -> dict[str, Case]:
    """What is drawn."""
    return {
        one["case"]: (
            one["kind"],
            tuple(float(number) for number in one["parameters"]),
            int(one["seed"]),
            one["name"] if isinstance(one["name"], str) else int(one["name"]["number"]),
        )
        for one in entries
    }


def golden_of(entries: list[dict[str, Any]]) -> dict[tuple[str, str], tuple[int, ...]]:
    """The bits of each case and dtype."""
    return {
        (one["case"], dtype): tuple(int(word, 16) for word in bits.split())
        for one in entries
        for dtype, bits in one["bits"].items()
    }


INDICES = tuple(int(index) for index in VALUES["indices"])
CASES, GOLDEN = cases_of(VALUES["cases"]), golden_of(VALUES["cases"])
COMPLEX_INDICES = tuple(int(index) for index in VALUES["complex"]["indices"])
COMPLEX_CASES, COMPLEX_GOLDEN = cases_of(VALUES["complex"]["cases"]), golden_of(VALUES["complex"]["cases"])
