"""Promise 2, second half: code for SSE2, for AVX2 and for this processor gives the same bits, for every law and dtype.

Numba compiles for the processor that NUMBA_CPU_NAME and NUMBA_CPU_FEATURES name, so child processes, each with its own
folder of machine code, run the instructions of older machines on this one. The code for registers of 512 bits, with
masked stores and without, runs everywhere: LLVM takes each for several.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path

import early
import pytest
from drawing import LAWS, STORAGE, digest, draw, empty

import fastinit
from fastinit import Shard, engines
from fastinit.engines import compiled, processor
from fastinit.fill import policies
from fastinit.laws import Sparse

OLDER = {
    "SSE2": {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse,+sse2"},
    "AVX2": {
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+avx,+avx2,+f16c",
    },
}
WIDEST = {"SSE2": ["sse2"], "AVX2": ["sse2", "avx2", "f16c"]}
FOLDER = str(Path(__file__).parent)
AS_AVX_512 = {"registers of 512 bits": "", "registers of 512 bits, masked stores": "masked"}
PROGRAM = """
import json, sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/.."]
from fastinit.engines import processor
if len(sys.argv) > 2:
    processor.REGISTER, processor.LETTER, processor.MASKED_STORES = 512, None, sys.argv[2] == "masked"
import fastinit, test_processors
print(json.dumps([fastinit.info(), test_processors.digests()]))
"""


def digests():
    """What is drawn -> a digest of its bits, for every law and dtype."""
    found = {}
    for dtype in STORAGE:
        for case, law in LAWS.items():
            found[f"{case}, {dtype}"] = digest(draw(law, 300_007, dtype, seed=21, name=case))
    for dtype, case in (("float32", "normal"), ("float16", "uniform")):
        x = empty((257, 61), dtype, "F")
        fastinit.fill(x, LAWS[case], seed=21, dtype=dtype, shard=Shard((300, 70), (5, 3)))
        found[f"{case}, {dtype}, transposed"] = digest(x)
    for axis in (0, 1):
        law = Sparse(LAWS["normal"], 0.9, axis=axis)
        found[f"sparse along axis {axis}"] = digest(draw(law, (9, 5003), "float32", seed=21))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTINIT_PAST_CACHE", "1")
        patch.setattr(policies, "SMALLEST_PAST_CACHE", 0)
        for dtype in STORAGE:
            for case in ("uniform around zero", "normal"):
                found[f"{case}, {dtype}, past the cache"] = digest(draw(LAWS[case], 300_007, dtype, seed=21))
                x = empty((320, 128), dtype, "F")
                fastinit.fill(x, LAWS[case], seed=21, dtype=dtype)
                found[f"{case}, {dtype}, transposed, past the cache"] = digest(x)
    return found


def children():
    """Processor -> the child whose code is compiled for it: those whose instructions this one has, but for its own."""
    found = {}
    if platform.machine() in ("x86_64", "AMD64"):
        for name, pins in OLDER.items():
            if set(WIDEST[name]) <= set(compiled.target()["cpu_features"]):
                found[name] = early.Child("others", PROGRAM, FOLDER, **pins)
    own = ("masked" if processor.MASKED_STORES else "") if processor.REGISTER == 512 else None
    for name, stores in AS_AVX_512.items():
        if stores != own:
            found[name] = early.Child("others", PROGRAM, FOLDER, stores)
    return found


CHILDREN = children()


@pytest.fixture(scope="module")
def others():
    """Processor -> (info(), digests) of a child process whose code is compiled for it."""
    return {name: json.loads(child.output()) for name, child in CHILDREN.items()}


def test_a_pinned_processor_is_what_the_code_was_compiled_for(others):
    for name, (info, _) in others.items():
        assert info["engine"] == "numba"
        assert info["cpu_features"] == WIDEST.get(name, info["cpu_features"])


@pytest.mark.parametrize("name", ["numba", "numpy"])
def test_every_processor_gives_the_same_bits(others, name):
    with engines.use(name):
        expected = digests()
    for other, (_, found) in others.items():
        assert found.keys() == expected.keys()
        different = [what for what in expected if found[what] != expected[what]]
        assert not different, f"{other} differs from the {name} engine here in: {'; '.join(different)}"
