"""Write tests/known_answers.py from the scalar engine of the tests.

    python ci/golden.py

The answers of a released stream never change: after a release this script may add to the file, and what stood there
stays.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path.insert(0, str(TESTS))

from scalar_engine import FORMATS, value  # noqa: E402  (the tests folder is not a package)

HEADER = '''"""Known answers, data only: published vectors of the generator, and golden values of stream "fastinit-1".

Written by ci/golden.py; do not edit by hand. The golden values are those of tests/scalar_engine.py, the scalar engine
in plain Python that was written from docs/stream.md and shares no code with fastinit.

The indices: the first elements; both sides of the places where the lane returns to 0 and the word of the counter
changes (15 | 16, 31 | 32, 47 | 48) and of the first border between groups (63 | 64); one in the middle of nowhere;
both sides of 2^32 (an element number that overflows 32 bits), of 2^34 (the counter's low word overflows), of 2^40 and
of 2^57; the last two of the longest tensor.
"""

import math

'''

PHILOX = """# (counter, key, output) of Philox4x32-10: the file kat_vectors of Random123 1.14.0.
PHILOX = (
    (
        (0x00000000, 0x00000000, 0x00000000, 0x00000000),
        (0x00000000, 0x00000000),
        (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
    ),
    (
        (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
)

# C++26 [rand.predef]: the 10000th output of a default-constructed std::philox4x32, whose seed is 20111115.
STANDARD_SEED, STANDARD_OUTPUT = 20111115, 1955073260
"""

INDICES = (
    *(0, 1, 2, 15, 16, 31, 32, 47, 48, 62, 63, 64, 65, 1_000_003),
    *(2**32 - 1, 2**32, 2**34 - 1, 2**34, 2**40 - 1, 2**40, 2**57 - 1, 2**57, 2**58 - 2, 2**58 - 1),
)

# What is drawn, and the seed and name it is drawn with.
CASES: dict[str, tuple[str, tuple[float, ...], int, str | int]] = {
    "uniform": ("uniform", (0.0, 1.0), 0, ""),
    "uniform around zero": ("uniform", (-0.05, 0.03), 1, "layers.0.weight"),
    "normal": ("normal", (0.0, 1.0), 0, ""),
    "normal away from zero": ("normal", (0.5, 0.02), 2**64 - 1, "größe"),
    "truncated at two sigma": ("truncated_normal", (0.0, 1.0, -2.0, 2.0), 0, ""),
    "truncated, scaled": ("truncated_normal", (0.1, 0.3, -0.2, 1.3), 20260101, "blocks.7.mlp.up"),
    "truncated, a millionth below zero": ("truncated_normal", (0.0, 1.0, -1e-6, 1.0), 3, 5),
    "upper half-line": ("truncated_normal", (0.0, 1.0, 1.0, math.inf), 3, 2**64 - 1),
    "lower half-line": ("truncated_normal", (0.0, 1.0, -math.inf, -0.5), 4, "5"),
    "far upper tail": ("truncated_normal", (0.0, 1.0, 8.0, 10.0), 5, "tail"),
    "far lower tail": ("truncated_normal", (1.0, 2.0, -19.0, -10.0), 5, "tail"),
    "step bias": ("step_bias", (0.001, 0.1, 0.0001), 0, ""),
    "step bias with a floor": ("step_bias", (0.001, 2.0, 0.01), 6, "layers.0.mixer.dt_proj.bias"),
    "step bias of long steps": ("step_bias", (0.3, 200.0, 1e-300), 6, "layers.1.mixer.dt_proj.bias"),
    "log of uniform": ("log_of_uniform", (1.0, 16.0), 0, ""),
    "log of uniform below one": ("log_of_uniform", (1e-200, 1.0), 7, "layers.0.mixer.A_log"),
}


def number(x: float) -> str:
    """A number as Python source."""
    return repr(x).replace("inf", "math.inf")


def lines_of_bits(bits: list[int], dtype: str) -> list[str]:
    """Bits as rows of hexadecimal integers, as many as fit."""
    digits = {"float64": 16, "float32": 8, "float16": 4, "bfloat16": 4}.get(dtype, 2)
    per_row = {16: 4, 8: 8, 4: 12, 2: 12}[digits]
    words = [f"0x{b:0{digits}X}" for b in bits]
    return [f"        {', '.join(words[i : i + per_row])},\n" for i in range(0, len(words), per_row)]


def main() -> None:
    """Compute and write the file."""
    text = [HEADER, PHILOX, "\n# fmt: off\nINDICES = (\n"]
    text += [f"    {', '.join(str(i) for i in INDICES[j : j + 7])},\n" for j in range(0, len(INDICES), 7)]
    text += [
        ")\n\n# What is drawn: kind, parameters, seed, name.\n",
        "CASES: dict[str, tuple[str, tuple[float, ...], int, str | int]] = {\n",
    ]
    for case, (kind, params, seed, name) in CASES.items():
        quoted = f'"{name}"' if isinstance(name, str) else str(name)
        numbers = ", ".join(map(number, params))
        text.append(f'    "{case}": ("{kind}", ({numbers}), {seed}, {quoted}),\n')
    text.append("}\n\n# The bits of the elements INDICES.\nGOLDEN: dict[tuple[str, str], tuple[int, ...]] = {\n")
    for case, (kind, params, seed, name) in CASES.items():
        for dtype in FORMATS:
            bits = [value(kind, params, dtype, seed, name, index) for index in INDICES]
            text += [f'    ("{case}", "{dtype}"): (\n', *lines_of_bits(bits, dtype), "    ),\n"]
    text.append("}\n# fmt: on\n")
    (TESTS / "known_answers.py").write_text("".join(text), encoding="utf-8")


if __name__ == "__main__":
    main()
