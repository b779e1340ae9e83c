"""docs/stream.md, the scalar engine and fastinit hold the same numbers and compute the same host parameters."""

from __future__ import annotations

import ast
import math
import random
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import scalar_engine

from fastinit import address, dtypes, laws
from fastinit.engines import gaussian, stream

PAGE = (Path(__file__).parents[2] / "docs" / "stream.md").read_text(encoding="utf-8")
POLYNOMIALS = sorted(name for name, number in vars(stream).items() if isinstance(number, tuple))


def number_of(pattern):
    """The float whose bits are this hexadecimal number of 8 or 16 digits."""
    digits = pattern.removeprefix("0x")
    return struct.unpack(">f" if len(digits) == 8 else ">d", bytes.fromhex(digits))[0]


def page_polynomial(name):
    """The coefficients of a polynomial in section 12."""
    block = PAGE.split(f"\n`{name}`\n\n```\n")[1].split("```")[0]
    rows = [line.split() for line in block.splitlines()]
    assert [int(row[0]) for row in rows] == list(range(len(rows)))
    for _, pattern, decimal in rows:
        working = np.float32 if len(pattern) == 10 else np.float64
        assert working(decimal) == number_of(pattern)
    return tuple(number_of(row[1]) for row in rows)


def page_number(name):
    """A single constant in the table of section 12."""
    return number_of(re.search(rf"\| `{name}` \| `(0x[0-9a-f]+)` \|", PAGE)[1])


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_page_scalar_engine_and_engines_have_the_same_polynomial(name):
    coefficients = tuple(float(c) for c in getattr(stream, name))
    assert getattr(scalar_engine, name) == coefficients
    assert page_polynomial(name) == coefficients


def test_page_scalar_engine_and_engines_have_the_same_numbers():
    for name in ("MULTIPLIER_0", "MULTIPLIER_1", "WEYL_0", "WEYL_1"):
        number = getattr(stream, name)
        assert getattr(scalar_engine, name) == number
        assert f"0x{number:08X}" in PAGE
    for name, ours in (
        ("MINUS_2_LN_2_32", np.float32(stream.MINUS_2_LN_2)),
        ("MINUS_2_LN_2_64", stream.MINUS_2_LN_2),
        ("SMALLEST_32", stream.SMALLEST_32),
        ("HALF_32", stream.HALF_32),
        ("LN_2", gaussian.LN_2),
        ("LN_2_HIGH", gaussian.LN_2_HIGH),
        ("LN_2_LOW", gaussian.LN_2_LOW),
        ("INVERSE_SQRT_2_PI", gaussian.INVERSE_SQRT_2_PI),
    ):
        assert page_number(name) == getattr(scalar_engine, name) == float(ours)
    assert page_number("MAGNITUDE_CENTRE_32") == scalar_engine.MAGNITUDE_CENTRE == float(np.float32(2.65))
    assert page_number("TAIL_FROM_32") == scalar_engine.TAIL_FROM == float(np.float32(5.3))


def test_the_scalar_engine_does_not_use_fastinit():
    tree = ast.parse(Path(scalar_engine.__file__).read_text(encoding="utf-8"))
    imported = {
        name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported == {"__future__", "math", "struct", "collections.abc", "hashlib"}


def test_the_normal_distribution_is_the_same_to_the_last_bit():
    draw = random.Random(1)
    for x in [draw.uniform(-40, 40) for _ in range(500)] + [draw.uniform(-2, 2) for _ in range(500)] + [math.inf]:
        assert gaussian.density(x) == scalar_engine.density(x)
        assert gaussian.upper_tail(x) == scalar_engine.upper_tail(x)
        assert gaussian.lower_tail(x) == scalar_engine.lower_tail(x)


@pytest.mark.parametrize("dtype", list(dtypes.FORMATS))
def test_clamp_bounds_are_the_same(dtype):
    form, draw = dtypes.FORMATS[dtype], random.Random(dtype)
    numbers = [draw.gauss(0, 1) * 2.0 ** draw.randrange(-30, 8) for _ in range(200)]
    numbers += [0.0, 1.0, -1.0, 2.0, 0.5, -0.5, 1e-60, -1e-60, form.largest, -form.largest, form.smallest_subnormal]
    numbers += [math.ldexp(1.0, form.smallest_exponent), -form.smallest_subnormal / 3]
    for x in numbers:
        lowest, highest = scalar_engine.clamp_bounds(dtype, x, x, open_above=False)
        assert (form.at_least(x), form.at_most(x)) == (lowest, highest)
        if x > -form.largest:
            assert form.below(x) == scalar_engine.clamp_bounds(dtype, x, x, open_above=True)[1]
    assert form.at_least(-math.inf) == -form.largest
    assert form.at_most(math.inf) == form.largest


@pytest.mark.parametrize("dtype", list(dtypes.FORMATS))
def test_the_page_says_how_the_narrow_types_are_made(dtype):
    form = dtypes.FORMATS[dtype]
    exponent_bits, mantissa_bits, largest = scalar_engine.FORMATS[dtype]
    assert mantissa_bits == form.mantissa_bits
    assert scalar_engine.decode(largest, dtype) == form.largest
    assert scalar_engine.decode(1, dtype) == form.smallest_subnormal
    if dtype not in ("float64", "float32"):
        bias = 2 ** (exponent_bits - 1) - 1
        assert f"| {dtype} | 1, {exponent_bits}, {mantissa_bits} | {bias} |" in PAGE
        assert f"| `0x{largest:X}` |" in PAGE


@pytest.mark.parametrize(("alpha", "beta"), [(-2.0, 2.0), (-0.3, 4.0), (1.0, math.inf), (-math.inf, 0.0), (0.0, 0.5)])
def test_truncation_parameters_are_the_same(alpha, beta):
    base_a, flip_a, base_b, flip_b, last, mass = scalar_engine.sides(alpha, beta)
    draw = laws.TruncatedNormal(0.0, 1.0, alpha, beta).kernel_arguments(dtypes.FORMATS["float64"])
    assert draw.reals[:3].tolist() == [base_a, base_b, mass]
    assert draw.integers[:2].tolist() == [last, flip_a]
    assert flip_b == 0xFFFFFFFF or (flip_b == flip_a and last == 0xFFFFFFFF)


@pytest.mark.parametrize("name", ["", "layers.0.weight", "größe", "\U0001d538", 0, 5, 2**64 - 1, "5"])
def test_the_stream_id_is_the_same(name):
    seed = 0x0123456789ABCDEF
    low, high, sid_low, sid_high = (int(word) for word in address.stream_words(seed, name))
    assert (high << 32 | low, sid_high << 32 | sid_low) == (seed, scalar_engine.stream_id(name))


def test_every_domain_has_its_number_on_the_page():
    rows = re.findall(r"^\| (\d) \| (.*?) \|$", PAGE.split("## 3. ")[0], flags=re.MULTILINE)
    assert [int(number) for number, _ in rows] == [
        stream.DOMAIN_ELEMENT,
        stream.DOMAIN_LOW,
        stream.DOMAIN_SPARSE,
        stream.DOMAIN_ORTHOGONAL,
    ]


def check_rows(section):
    """The seven rows of numbers in a section."""
    rows = [
        [int(cell.strip(" `"), 0) for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if re.match(r"\| \d", line)
    ]
    assert len(rows) == 7
    return rows


def test_the_check_values_of_the_page():
    section = PAGE.split("## 14. Check values")[1]
    assert f"`0x{scalar_engine.stream_id(''):016X}`" in section
    for index, word, low_word, uniform, normal, normal_64, truncated in check_rows(section):
        assert word == scalar_engine.word(0, "", index)
        assert low_word == scalar_engine.word(0, "", index, domain=1)
        assert uniform == scalar_engine.value("uniform", (0.0, 1.0), "float32", 0, "", index)
        assert normal == scalar_engine.value("normal", (0.0, 1.0), "float32", 0, "", index)
        assert normal_64 == scalar_engine.value("normal", (0.0, 1.0), "float64", 0, "", index)
        assert truncated == scalar_engine.value("truncated_normal", (0.0, 1.0, -2.0, 2.0), "float32", 0, "", index)


def test_the_check_values_of_the_mamba_laws():
    section = PAGE.split("## 11. Mamba")[1].split("## 12. ")[0]
    for index, step, step_64, log, log_64 in check_rows(section):
        assert step == scalar_engine.value("step_bias", (0.001, 0.1, 0.0001), "float32", 0, "", index)
        assert step_64 == scalar_engine.value("step_bias", (0.001, 0.1, 0.0001), "float64", 0, "", index)
        assert log == scalar_engine.value("log_of_uniform", (1.0, 16.0), "float32", 0, "", index)
        assert log_64 == scalar_engine.value("log_of_uniform", (1.0, 16.0), "float64", 0, "", index)
