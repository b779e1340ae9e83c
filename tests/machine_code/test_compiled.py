"""What the compiled engine promises beyond its bits: the machine code it becomes, and where that is kept."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import early
import numba
import numpy as np
import pytest
from processes import importing_first
from traced import scalar

import fastinit
from fastinit.engines import compiled, processor, stream
from fastinit.engines.compiled import conversions

ONE_LOOP = ["uniform_32_rows", "uniform_steps_32_rows"]  # with the generator
ROOTS_32 = ["normal_32_rows", "centred_normal_32_rows", "truncated_deep_32_rows"]  # laws that take square roots
ROOTS_64 = ["normal_64_rows", "truncated_64_rows"]
SINGLE = [*ONE_LOOP, *ROOTS_32, "truncated_32_rows", "laplace_32_rows"]
KERNELS = [*SINGLE, *ROOTS_64, "uniform_64_rows", "laplace_64_rows"]
# Of 256 bits: four vectors, and four some steps behind. Of 512, each some steps behind the one before.
APART = ["normal_32_rows", "centred_normal_32_rows", "normal_64_rows", "truncated_64_rows", "laplace_64_rows"]
# Operations for each vector whose product is exact, and which AVX-512 does in one instruction with the sum.
EXACT = {
    **dict.fromkeys(("normal_32_rows", "centred_normal_32_rows"), 3),
    **dict.fromkeys(("truncated_32_rows", "truncated_deep_32_rows", "laplace_32_rows"), 2),
    **dict.fromkeys(("normal_64_rows", "truncated_64_rows"), 1),
    "laplace_64_rows": 0,
}

FUSED = r"vfn?m(?:add|sub)\w*"
MASKED = (r"vmov(?:up[sd]|dqu32)", r"\(.*\{%k\d\}")  # stores that leave lanes out

# Fill once with each kernel, its machine code freshly compiled, and print the assembly of each as JSON.
ASSEMBLY = """
import json, sys, numpy as np, fastinit
from fastinit import laws
from fastinit.engines.compiled import KERNELS
from fastinit.engines.compiled.constants import repeat
kernels = {kernel.py_func.__name__: kernel for kernel in (*KERNELS.values(), repeat)}
repeat(0, 0, np.zeros(192, np.uint8), False)
cut, deep = laws.TruncatedNormal(0, 1, -2, 2), laws.TruncatedNormal(0, 1, -5, 5)
for dtype in (np.float32, np.float64):
    for law in (laws.Uniform(), laws.Uniform(0.5, 0.99), laws.Normal(), laws.Normal(1, 1), cut, deep, laws.Laplace()):
        fastinit.fill(np.empty(4096, dtype), law, seed=0)
print(json.dumps({name: list(kernels[name].inspect_asm().values()) for name in sys.argv[1:]}))
"""


def run(program, *arguments, folder=None, **environment):
    """Run a Python program in a child and return its output; warnings are errors, as they are here."""
    command = [sys.executable, "-W", "error", "-c", program, *arguments]
    child = subprocess.run(
        command, env={**os.environ, **environment}, cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert child.returncode == 0, child.stderr
    return child.stdout


COMPILING = early.Child("assembly", ASSEMBLY, *KERNELS, "repeat")


@pytest.fixture(scope="module")
def assembly():
    """Kernel -> the instructions it becomes on this processor."""
    found = json.loads(COMPILING.output())
    for name, versions in found.items():
        assert len(versions) == 1, f"{name} was compiled {len(versions)} times"
    return {name: versions[0] for name, versions in found.items()}


@pytest.fixture(scope="module")
def wide():
    """The name of the widest registers here: 16 or 8 lanes of float32."""
    features = compiled.target()["cpu_features"]
    if "avx512f" in features:
        return "zmm"
    return "ymm" if "avx2" in features else "xmm"


def instructions(text, mnemonic, register=""):
    """The lines with an instruction whose name matches, with an operand in such a register."""
    return re.findall(rf"^\s+{mnemonic}\s.*{register}.*$", text, re.MULTILINE)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_generator_runs_on_whole_registers(assembly, wide, kernel):
    # Ten rounds of two products; with 16 lanes of 64 bits each product takes two registers of eight lanes.
    assert len(instructions(assembly[kernel], "v?pmuludq", f"%{wide}")) >= 20


@pytest.mark.parametrize("kernel", [*ROOTS_32, *ROOTS_64])
def test_square_roots_run_on_whole_registers(assembly, wide, kernel):
    packed = instructions(assembly[kernel], "v?sqrtp[sd]", f"%{wide}")
    single = instructions(assembly[kernel], "v?sqrts[sd]")  # of what a loop leaves over
    assert len(packed) >= max(1, len(single)), f"{len(packed)} square roots of whole registers, {len(single)} of one"


@pytest.mark.parametrize("kernel", KERNELS)
def test_arithmetic_runs_on_whole_registers(assembly, wide, kernel):
    for mnemonic in ("v?mulp[sd]", "v?addp[sd]"):
        assert instructions(assembly[kernel], mnemonic, f"%{wide}"), mnemonic
    if kernel in SINGLE and "truncated" not in kernel:
        assert instructions(assembly[kernel], "v?cvtu?dq2ps", f"%{wide}")


def blocks(text):
    """(Is it a loop, its instructions) for the pieces that are entered at the top and have no branch inside."""
    found = []
    for block in re.split(r"^(?=\.LBB\w+:)", text, flags=re.MULTILINE):
        label, _, code = block.partition(":")
        straight, *jump = re.split(r"^\s+j\w+\s+(\S+)$", code, maxsplit=1, flags=re.MULTILINE)
        found.append((bool(jump) and jump[0] == label, instructions(straight, r"[a-z]\w+")))
    return found


def turn_of_the_law(kernel, text):
    """The longest loop with what this law does once for a vector, and the places of that in it.

    The loop of the generator chooses between one group and two, and whether to carry: there it is a piece of the loop.
    """
    once = {"normal": "v?sqrtp[sd]", "laplace": "v?minp[sd]"}
    once = next((one for name, one in once.items() if name in kernel), "v?maxp[sd]")
    turns = [code for loop, code in blocks(text) if loop or kernel in ONE_LOOP]
    turn = max((code for code in turns if instructions("\n".join(code), once)), key=len)
    return turn, [place for place, line in enumerate(turn) if instructions(line, once)]


@pytest.mark.parametrize("kernel", [kernel for kernel in KERNELS if kernel not in ONE_LOOP])
def test_eight_vectors_go_side_by_side(assembly, wide, kernel):
    # One after the other, or left to LLVM, each of some fifty operations waits for the one before: 1.5 times as slow.
    turn, places = turn_of_the_law(kernel, assembly[kernel])
    assert len(places) % 8 == 0, f"{len(places)} in a turn of {len(turn)} instructions"
    if wide == "zmm" and kernel in EXACT:  # one by one, but the next begins long before this ends: not an eighth apart
        distances = [after - place for place, after in itertools.pairwise(places)]
        assert max(distances) < 0.7 * len(turn) / 8, f"up to {max(distances)} of {len(turn)} instructions apart"
        return
    together = 4 if kernel in APART else 8
    for first in range(0, len(places), together):
        distance = places[first + together - 1] - places[first]
        assert distance < 24, f"{together} of them are {distance} instructions apart"


@pytest.mark.skipif(not processor.MASKED_STORES, reason="no masked stores on this processor")
@pytest.mark.parametrize("kernel", ["normal_32_rows", "centred_normal_32_rows", "normal_64_rows"])
def test_a_choice_takes_no_instruction_of_its_own(assembly, kernel):
    # A swap is two masked stores, and the halves of the logarithm are chosen by what computes them.
    turn, places = turn_of_the_law(kernel, assembly[kernel])
    text = "\n".join(turn)
    assert len(instructions(text, *MASKED)) == 2 * len(places)
    assert len(instructions(text, r"vptestn?m[dq]")) == 2 * len(places)
    assert not instructions(text, r"v\w*blend\w*")
    assert not instructions(text, r"k\w+")


@pytest.mark.parametrize("kernel", ONE_LOOP)
def test_a_short_law_shares_the_loop_of_the_generator(assembly, kernel):
    # Words that go through memory, and stores that come all at once, cost a fifth.
    turn, _ = turn_of_the_law(kernel, assembly[kernel])
    assert len(instructions("\n".join(turn), "v?pmuludq")) >= 20


@pytest.mark.parametrize("kernel", KERNELS)
def test_constants_are_at_hand(assembly, kernel):
    # Numba's code model takes two instructions for a constant that LLVM sees: 55 of 135 in the truncated law.
    turn, _ = turn_of_the_law(kernel, assembly[kernel])
    fetched = [line for line in turn if "movabs" in line]
    assert len(fetched) <= 4, f"{len(fetched)} of {len(turn)} instructions fetch the address of a constant"


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_vector_on_the_stack_lies_in_one_line(assembly, wide, kernel):
    # Across two lines a load takes twice as long; which it is would depend on who calls.
    turn, _ = turn_of_the_law(kernel, assembly[kernel])
    of_the_stack = re.compile(rf"\s+v?mov(dqu|up[sd]).*(\(%r[sb]p.*%{wide}|%{wide}.*\(%r[sb]p)")
    across = [line for line in turn if of_the_stack.match(line)]
    assert not across, f"{len(across)} of {len(turn)} instructions: {across[:3]}"


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_product_of_the_generator_is_one_instruction(assembly, kernel):
    # Two vectors of counters are 36 products, for the first two rounds know half of theirs, and 4 shuffles that pack,
    # or 4 masked stores.
    drawing = ["\n".join(code) for _, code in blocks(assembly[kernel])]
    drawing = [text for text in drawing if len(instructions(text, "v?pmuludq")) >= 20]
    assert drawing
    packing = MASKED if processor.MASKED_STORES and kernel not in ONE_LOOP else ("v?shufps", "")
    for text in drawing:
        assert len(instructions(text, "v?pmuludq")) <= 10 * len(instructions(text, *packing))


@pytest.mark.parametrize("kernel", SINGLE)
def test_no_integer_of_the_float32_laws_is_widened_to_64_bits(assembly, kernel):
    assert not instructions(assembly[kernel], "vcvtu?qq2ps")
    assert not instructions(assembly[kernel], "vpmullq")


@pytest.mark.parametrize("kernel", KERNELS)
def test_finished_lines_go_past_the_cache_while_words_are_drawn(assembly, wide, kernel):
    past = r"v?movnt(?:ps|pd|dq)"
    assert len(instructions(assembly[kernel], past, f"%{wide}")) >= 4
    assert instructions(assembly[kernel], r"mfence|lock\s+or[lq]", "") or "mfence" in assembly[kernel]
    assert len(instructions(assembly[kernel], r"prefetch\w+")) >= 4, "no line is asked for"


def test_a_constant_is_stored_by_whole_registers(assembly, wide):
    of_a_line = 64 // {"xmm": 16, "ymm": 32, "zmm": 64}[wide]
    assert len(instructions(assembly["repeat"], r"v?movnt(?:ps|pd|dq)", f"%{wide}")) >= of_a_line
    assert len(instructions(assembly["repeat"], r"v?mova(?:ps|pd|dq\w*)", rf"%{wide}\d+, .*\(")) >= of_a_line


@pytest.mark.parametrize("kernel", KERNELS)
def test_no_reference_is_counted_between_blocks(assembly, kernel):
    # Each is an instruction that waits until all stores are done: 0.3 us a block, a third of the uniform law.
    body = assembly[kernel].partition(":\n")[2]
    body = body[: body.index(".Lfunc_end0:")]
    counted = re.findall(r"NRT_\w+", body)
    assert len(counted) <= 2, counted


@pytest.mark.parametrize("kernel", KERNELS)
def test_nothing_is_fused_that_is_not_exact(assembly, wide, kernel):
    exact = EXACT.get(kernel, 0) if wide == "zmm" else 0
    turn, places = turn_of_the_law(kernel, assembly[kernel])
    assert len(instructions("\n".join(turn), FUSED)) == exact * len(places)
    fused = instructions(assembly[kernel], FUSED)
    if "normal" in kernel:  # the rest of a group, too: a square root for each vector
        assert len(fused) == exact * len(instructions(assembly[kernel], "v?sqrtp[sd]"))
    if not exact:
        assert not fused, f"{len(fused)} fused instructions change bits: {fused[:3]}"


@pytest.mark.parametrize("kernel", KERNELS)
def test_no_library_function_is_called(assembly, kernel):
    # A JIT calls through a register that a movabsq filled with the address of a symbol.
    symbols = set(re.findall(r"movabsq\s+\$([A-Za-z_.][\w.$]*)", assembly[kernel]))
    symbols |= set(re.findall(r"callq\s+\*?([A-Za-z_][\w.$]*)", assembly[kernel]))
    mathematics = re.compile(r"(?:numba_)?_*(?:log|sin|cos|tan|exp|pow|sqrt|erf|fma|ldexp|frexp|floor)[0-9cp]*f?$")
    assert not [symbol for symbol in symbols if mathematics.match(symbol)]


@pytest.mark.parametrize("how", ["unsigned_by_halves", "unsigned_by_conversion"])
def test_a_word_becomes_a_float32_in_one_rounding(how):
    # A processor uses one of the two ways, so that no other test compares them.
    convert, words = scalar(getattr(conversions, how), numba.types.float32), some_words(0)
    compute = numba.njit(lambda word: convert(word))
    assert [compute(word) for word in words] == words.astype(np.float32).tolist()


@pytest.mark.parametrize("how", ["whole_by_halves", "whole_by_conversion"])
def test_two_words_become_a_float64_in_one_rounding(how):
    convert = scalar(getattr(conversions, how), numba.types.float64)
    high, low = some_words(1).view(np.int32), some_words(2)
    compute = numba.njit(lambda one, two: convert(one, two))
    exact = ((high.astype(np.int64) << 32) | low).astype(np.float64)
    assert [compute(one, two) for one, two in zip(high, low, strict=True)] == exact.tolist()


def some_words(seed):
    """Words near every place where a rounding turns, and others of all sizes."""
    rng = np.random.default_rng(seed)
    edges = [0, 1, 2, 2**16 - 1, 2**16, 2**24 + 1, 2**31 - 1, 2**31, 2**32 - 129, 2**32 - 128, 2**32 - 1]
    others = rng.integers(0, 2**32, 100_000) >> rng.integers(0, 32, 100_000)
    return np.concatenate([rng.permutation(edges), others]).astype(np.uint32)


def test_the_constants_are_of_the_precision_they_are_used_in():
    for name, value in vars(stream).items():
        if name.isupper() and isinstance(value, tuple):
            assert {type(one) for one in value} == {np.float32 if name.endswith("_32") else float}, name


NOWHERE = """
import warnings, numpy as np, fastinit
x = np.empty(100, np.float32)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    fastinit.fill_normal(x, seed=0)
assert fastinit.info()["engine"] == "numba", fastinit.info()
print(fastinit.__file__, fastinit.info()["cache_folder"], x.tobytes().hex())
print(*(one.message for one in caught), sep="\\n")
"""


def test_no_folder_for_machine_code_only_means_compiling_again(tmp_path):
    # Root may write anywhere, so the folders cannot exist: files stand where they would be.
    package = tmp_path / "fastinit"
    here = Path(fastinit.__file__).parent
    shutil.copytree(here, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "engines" / "compiled" / "__pycache__").write_text("a file")
    blocked = tmp_path / "file"
    blocked.write_text("a file")
    output = run(
        NOWHERE,
        folder=tmp_path,
        PYTHONPATH=importing_first(tmp_path),
        PYTHONDONTWRITEBYTECODE="1",
        HOME=str(blocked / "home"),
        XDG_CACHE_HOME=str(blocked / "cache"),
        NUMBA_CACHE_DIR=str(blocked / "numba"),
        FASTINIT_ENGINE="numba",
    )
    first, warning = output.splitlines()
    location, folder, bits = first.split()
    assert "No folder for machine code can be used" in warning
    assert location.startswith(str(tmp_path)), "the child imported another fastinit"
    assert folder == "None"
    x = np.empty(100, np.float32)
    fastinit.fill_normal(x, seed=0)
    assert bits == x.tobytes().hex()


def test_machine_code_is_kept_where_numba_is_told_to(tmp_path):
    first, warning = run(NOWHERE, NUMBA_CACHE_DIR=str(tmp_path / "kept"), FASTINIT_ENGINE="numba").splitlines()
    assert warning == ""
    assert first.split()[1].startswith(str(tmp_path / "kept"))
    assert list((tmp_path / "kept").rglob("*normal_32*.nbi"))


# Fill with the laws that are named, in that order, and print what came.
SHARED = """
import hashlib, json, sys, numpy as np, fastinit
from fastinit import laws
found = {}
for case in sys.argv[1:]:
    kind, dtype = case.split()
    law = {"cut": laws.TruncatedNormal(0, 1, -1, 2), "deep": laws.TruncatedNormal(0, 1, -8, 7)}[kind]
    x = np.empty(10_000, dtype)
    fastinit.fill(x, law, seed=0)
    found[case] = hashlib.sha256(x.tobytes()).hexdigest()
print(json.dumps(found))
"""


def test_machine_code_of_several_processes_is_used_together(tmp_path):
    # Numba tells functions of one name apart by a number that each process counts anew; one process calls what the
    # other kept by its name and number.
    cases = ["cut float32", "deep float16", "deep float32", "cut float16"]
    correct = json.loads(run(SHARED, *cases, FASTINIT_ENGINE="numpy"))
    for i, case in enumerate(cases):
        for order in ([case], cases[i:] + cases[:i], cases[::-1]):
            found = json.loads(run(SHARED, *order, FASTINIT_ENGINE="numba", NUMBA_CACHE_DIR=str(tmp_path)))
            assert found == {case: correct[case] for case in order}


def test_no_two_functions_of_the_engine_have_one_name():
    rooms = [
        importlib.import_module(f"{compiled.__name__}.{room.name}") for room in pkgutil.iter_modules(compiled.__path__)
    ]
    found = {id(one): one for room in rooms for one in vars(room).values() if hasattr(one, "py_func")}
    names = [one.py_func.__qualname__ for one in found.values()]
    assert len(names) > 40
    assert len(names) == len(set(names))
