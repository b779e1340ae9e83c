"""Promise 2, second half: code for SSE2, for AVX2 and for this processor gives the same bits, for every law and dtype.

Numba compiles for the processor that NUMBA_CPU_NAME and NUMBA_CPU_FEATURES name, so child processes, each with its own
folder of machine code, run the instructions of older machines on this one. The code for registers of 512 bits, with
masked stores and without, runs everywhere: LLVM takes each for several.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from drawing import LAWS, STORAGE, digest, draw, empty

import fastinit
from fastinit import Shard, engines
from fastinit.fill import memory
from fastinit.laws import Sparse

OLDER = {
    "SSE2": {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse,+sse2"},
    "AVX2": {
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+avx,+avx2,+f16c",
    },
}
WIDEST = {"SSE2": ["sse2"], "AVX2": ["sse2", "avx2", "f16c"]}
AS_AVX_512 = {"registers of 512 bits": "", "registers of 512 bits, masked stores": "masked"}
PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
from fastinit.engines import vectors
if len(sys.argv) > 2:
    vectors.REGISTER, vectors.LETTER, vectors.MASKED_STORES = 512, None, sys.argv[2] == "masked"
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
        patch.setattr(memory, "SMALLEST_PAST_CACHE", 0)
        for dtype in STORAGE:
            for case in ("uniform around zero", "normal"):
                found[f"{case}, {dtype}, past the cache"] = digest(draw(LAWS[case], 300_007, dtype, seed=21))
                x = empty((320, 128), dtype, "F")
                fastinit.fill(x, LAWS[case], seed=21, dtype=dtype)
                found[f"{case}, {dtype}, transposed, past the cache"] = digest(x)
    return found


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Processor -> (info(), digests) of a child process whose code is compiled for it."""
    older = [name for name in OLDER if name == "SSE2" or _has_avx2()]
    wider = [name for name, how in AS_AVX_512.items() if how != _own_stores()]
    running = {}
    for name in [*(older if platform.machine() in ("x86_64", "AMD64") else []), *wider]:
        environment = {**os.environ, "FASTINIT_ENGINE": "numba", **OLDER.get(name, {})}
        environment["NUMBA_CACHE_DIR"] = str(tmp_path_factory.mktemp("machine-code"))
        how = [AS_AVX_512[name]] if name in AS_AVX_512 else []
        command = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), *how]
        running[name] = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    found = {}
    for name, child in running.items():
        output, _ = child.communicate(timeout=400)
        assert child.returncode == 0, f"the child for {name} failed"
        found[name] = json.loads(output)
    return found


def _has_avx2():
    from fastinit.engines import compiled

    return "avx2" in compiled.target()["cpu_features"]


def _own_stores():
    """Which stores the code for 512 bits has that this process runs itself, if it does."""
    from fastinit.engines import vectors

    return ("masked" if vectors.MASKED_STORES else "") if vectors.REGISTER == 512 else None


def test_a_pinned_processor_is_what_the_code_was_compiled_for(others):
    for name, (info, _) in others.items():
        assert info["engine"] == "numba"
        assert info["cpu_features"] == WIDEST.get(name, info["cpu_features"])


@pytest.mark.parametrize("name", ["numba", "numpy"])
def test_every_processor_gives_the_same_bits(others, name):
    with engines.use(name):
        expected = digests()
    for processor, (_, found) in others.items():
        assert found.keys() == expected.keys()
        different = [what for what in expected if found[what] != expected[what]]
        assert not different, f"{processor} differs from the {name} engine here in: {'; '.join(different)}"
