"""The known answers of tests/kat, as the tests take them: golden values of the stream, and vectors of the generator.

CASES: what is drawn, (kind, parameters, seed, name); GOLDEN: the bits of the elements INDICES for a case and a dtype.
"""

from __future__ import annotations

import json
from pathlib import Path

from fastinit.checking import known

VALUES = json.loads((Path(__file__).parent / "kat" / "values.json").read_text(encoding="utf-8"))
PHILOX = known.PHILOX  # (counter, key, output)
STANDARD_SEED, STANDARD_OUTPUT = known.STANDARD

INDICES = tuple(int(index) for index in VALUES["indices"])
CASES: dict[str, tuple[str, tuple[float, ...], int, str | int]] = {
    one["case"]: (
        one["kind"],
        tuple(float(number) for number in one["parameters"]),
        int(one["seed"]),
        one["name"] if isinstance(one["name"], str) else int(one["name"]["number"]),
    )
    for one in VALUES["cases"]
}
GOLDEN: dict[tuple[str, str], tuple[int, ...]] = {
    (one["case"], dtype): tuple(int(word, 16) for word in bits.split())
    for one in VALUES["cases"]
    for dtype, bits in one["bits"].items()
}
