"""Write tests/kat/values.json from the scalar engine of the tests.

    python ci/golden.py

The answers of a released stream never change: after a release this script may add to the file, and what stood there
stays.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path.insert(0, str(TESTS))

from scalar_engine import FORMATS, complex_value, value  # noqa: E402  (the tests folder is not a package)

ABOUT = """Golden values of stream fastinit-1, by tests/scalar_engine.py, the scalar engine in plain Python that was
written from docs/stream.md and shares no code with fastinit. Written by ci/golden.py; do not edit by hand. A case is a
kind of law with its parameters, a seed and a name (a number, or a text); its bits are those of the elements `indices`,
in hexadecimal, for each dtype. Integers beyond 2^53 are text in decimal, and so is an infinite parameter. The indices:
the first elements; both sides of the places where the lane returns to 0 and the word of the counter changes (15 | 16,
31 | 32, 47 | 48) and of the first border between groups (63 | 64); one in the middle of nowhere; both sides of 2^32 (an
element number that overflows 32 bits), of 2^34 (the counter's low word overflows), of 2^40 and of 2^57; the last two
of the longest tensor. The part `complex` is the same of complex numbers, whose real and imaginary parts follow each
other; their longest tensor has half as many elements."""

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
    "upper half-line": ("truncated_normal", (0.0, 1.0, 1.0, float("inf")), 3, 2**64 - 1),
    "lower half-line": ("truncated_normal", (0.0, 1.0, -float("inf"), -0.5), 4, "5"),
    "far upper tail": ("truncated_normal", (0.0, 1.0, 8.0, 10.0), 5, "tail"),
    "far lower tail": ("truncated_normal", (1.0, 2.0, -19.0, -10.0), 5, "tail"),
    "laplace": ("laplace", (0.0, 1.0), 0, ""),
    "laplace, scaled": ("laplace", (0.25, 0.02), 8, "noise"),
    "step bias": ("step_bias", (0.001, 0.1, 0.0001), 0, ""),
    "step bias with a floor": ("step_bias", (0.001, 2.0, 0.01), 6, "layers.0.mixer.dt_proj.bias"),
    "step bias of long steps": ("step_bias", (0.3, 200.0, 1e-300), 6, "layers.1.mixer.dt_proj.bias"),
    "log of uniform": ("log_of_uniform", (1.0, 16.0), 0, ""),
    "log of uniform below one": ("log_of_uniform", (1e-200, 1.0), 7, "layers.0.mixer.A_log"),
}

COMPLEX_INDICES = (*(i for i in INDICES if i < 2**56), 2**56, 2**57 - 2, 2**57 - 1)
COMPLEX_CASES: dict[str, tuple[str, tuple[float, ...], int, str | int]] = {
    "complex normal": ("complex_normal", (0.0, 0.0, 1.0), 0, ""),
    "complex normal away from zero": ("complex_normal", (0.5, -2.0, 0.02), 2**64 - 1, "größe"),
    "complex uniform": ("complex_uniform", (1.0,), 0, ""),
    "complex uniform, scaled": ("complex_uniform", (0.05,), 1, "layers.0.weight"),
    "complex truncated at two": ("complex_truncated_normal", (1.0, 2.0), 0, ""),
    "complex truncated, narrow": ("complex_truncated_normal", (0.3, 0.1), 3, 5),
    "complex truncated, everywhere": ("complex_truncated_normal", (0.02, float("inf")), 5, "5"),
}


def plain(x: float | int | str) -> float | int | str:
    """A number as every reader of JSON takes it: to the last bit, and finite."""
    if isinstance(x, int) and x >= 2**53:
        return str(x)
    return str(x) if isinstance(x, float) and x in (float("inf"), float("-inf")) else x


def entry(case: str, kind: str, params: tuple[float, ...], seed: int, name: str | int, bits: dict[str, str]) -> Any:
    """A case as an object of JSON."""
    return {
        "case": case,
        "kind": kind,
        "parameters": [plain(x) for x in params],
        "seed": str(seed),
        "name": {"number": str(name)} if isinstance(name, int) else name,
        "bits": bits,
    }


def main() -> None:
    """Compute and write the file."""
    cases, complex_cases = [], []
    for case, (kind, params, seed, name) in CASES.items():
        bits = {
            dtype: " ".join(f"{value(kind, params, dtype, seed, name, i):0{digits}x}" for i in INDICES)
            for dtype, digits in (
                (dtype, (1 + exponent + mantissa) // 4) for dtype, (exponent, mantissa, _) in FORMATS.items()
            )
        }
        cases.append(entry(case, kind, params, seed, name, bits))
    for case, (kind, params, seed, name) in COMPLEX_CASES.items():
        bits = {
            dtype: " ".join(
                f"{part:0{digits}x}"
                for i in COMPLEX_INDICES
                for part in complex_value(kind, params, dtype, seed, name, i)
            )
            for dtype, digits in (("complex128", 16), ("complex64", 8))
        }
        complex_cases.append(entry(case, kind, params, seed, name, bits))
    content = {"about": " ".join(ABOUT.split()), "stream": "fastinit-1", "indices": [str(i) for i in INDICES]}
    both = {"indices": [str(i) for i in COMPLEX_INDICES], "cases": complex_cases}
    text = json.dumps(content | {"cases": cases, "complex": both}, indent=1, ensure_ascii=False)
    (TESTS / "kat" / "values.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
