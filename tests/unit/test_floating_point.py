"""Draws are the same in every floating-point mode of the caller, whose mode is as it was afterwards."""

from __future__ import annotations

import ctypes
import platform
import sys
import threading
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
from processes import run_python

import fastinit
from fastinit import engines, floating_point, laws
from fastinit.dtypes import FORMATS, array_dtype
from fastinit.files.npy import fill_file
from fastinit.plan import Plan, Tensor
from fastinit.verify import verify
from fastinit.write import write

pytestmark = pytest.mark.skipif(
    not (sys.platform == "linux" and platform.machine() == "x86_64"), reason="sets the control register of x86-64 Linux"
)

# fenv_t of glibc and musl on x86-64 is 32 bytes; the last four are MXCSR (rounding: bits 13 and 14; flush: 6 and 15).
MXCSR = 7
MODES = {"downward": 0x2000, "upward": 0x4000, "toward zero": 0x6000, "flushes": 0x8040, "all": 0x8040 | 0x6000}
# All in 0x1F80: the exceptions are masked.

LAWS = {
    "uniform": laws.Uniform(-0.05, 0.03),
    "normal": laws.Normal(0.1, 0.02),
    "normal of subnormals": laws.Normal(0.0, 1e-38),
    "truncated": laws.TruncatedNormal(0.1, 0.3, -0.2, 0.7),
    "far tail": laws.TruncatedNormal(0.0, 1.0, 3.0, 5.0),
    "sparse": laws.Sparse(laws.Normal(0.0, 0.5), 0.7),
    "step bias": laws.StepBias(),
    "log of uniform": laws.LogOfUniform(1.0, 16.0),
}


def environment() -> tuple[ctypes.CDLL, ctypes.Array[ctypes.c_uint32]]:
    library = ctypes.CDLL(None)
    words = (ctypes.c_uint32 * 64)()
    library.fegetenv(words)
    return library, words


def control() -> int:
    return environment()[1][MXCSR] & 0xFFC0


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> Iterator[int]:
    """The thread of the test is in this mode; its warning has been given."""
    library, words = environment()
    own = words[MXCSR]
    words[MXCSR] = own | MODES[request.param]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library.fesetenv(words)
        assert not floating_point.is_default()
        try:
            yield control()
        finally:
            words[MXCSR] = own
            library.fesetenv(words)


def drawn(law: laws.Law, dtype: str, size: int, threads: int) -> bytes:
    shape = (size // 50, 50)
    return fastinit.new(shape, law, dtype=dtype, seed=3, name="w", threads=threads).tobytes()


@pytest.fixture(scope="module")
def usual() -> dict[tuple[str, str], bytes]:
    assert floating_point.is_default()
    with engines.use("numpy"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {(name, dtype): drawn(law, dtype, 1500, 1) for name, law in LAWS.items() for dtype in FORMATS}


@pytest.mark.parametrize("name", LAWS)
def test_every_law_has_its_bits_in_every_mode(engine, mode, usual, name):
    for dtype in FORMATS:
        assert drawn(LAWS[name], dtype, 1500, 1) == usual[name, dtype], dtype
        assert control() == mode


def test_every_thread_draws_the_same_in_every_mode(engine, mode):
    first = fastinit.new(1_000_000, laws.Normal(0.1, 0.02), seed=3, name="w", threads=3).tobytes()
    assert control() == mode

    def elsewhere() -> None:  # a thread that has the default mode, or that of the thread that started it
        results.append(fastinit.new(1_000_000, laws.Normal(0.1, 0.02), seed=3, name="w", threads=3).tobytes())

    results: list[bytes] = []
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    with floating_point.default_mode():
        expected = fastinit.new(1_000_000, laws.Normal(0.1, 0.02), seed=3, name="w", threads=1).tobytes()
    assert [first, *results] == [expected] * 2


def test_numbers_that_a_law_keeps_are_those_of_the_default_mode(mode):
    from fastinit.engines import gaussian

    def numbers() -> list[float]:
        for function in (gaussian.density, gaussian.upper_tail, gaussian.lower_tail, gaussian.truncated_std):
            function.cache_clear()
        return [f(x) for f in (gaussian.density, gaussian.upper_tail, gaussian.truncated_std) for x in (0.3, 1.7, 2.9)]

    with floating_point.default_mode():
        expected = numbers()
    assert numbers() == expected


def test_files_and_checkpoints_have_their_bytes_in_every_mode(mode, tmp_path):
    tensors = [
        Tensor("a", (300, 70), "float32", laws.Normal(0.0, 1e-38)),
        Tensor("b", (90, 40), "bfloat16", laws.TruncatedNormal(0.1, 0.3, -0.2, 0.7)),
        Tensor("c", (60, 60), "float64", laws.Sparse(laws.Normal(0.0, 0.5), 0.7)),
    ]
    fill_file(tmp_path / "foreign.npy", (999,), laws.TruncatedNormal(0.1, 0.3, -0.2, 0.7), seed=1)
    write(Plan(tensors), tmp_path / "foreign", seed=1)
    assert verify(tmp_path / "foreign").ok
    assert control() == mode
    with floating_point.default_mode():
        fill_file(tmp_path / "usual.npy", (999,), laws.TruncatedNormal(0.1, 0.3, -0.2, 0.7), seed=1)
        write(Plan(tensors), tmp_path / "usual", seed=1)
    assert (tmp_path / "foreign.npy").read_bytes() == (tmp_path / "usual.npy").read_bytes()
    name = "model.safetensors"
    assert (tmp_path / "foreign" / name).read_bytes() == (tmp_path / "usual" / name).read_bytes()


def test_the_mode_of_the_caller_is_as_it_was_after_an_error(mode):
    with pytest.raises(ValueError, match="read-only"):
        fastinit.fill(np.broadcast_to(np.float32(0), (3, 3)), laws.Normal(), seed=0)
    with pytest.raises(RuntimeError, match="stop"):
        fastinit.fill(np.empty(9, np.float32), laws.Normal(), seed=0, progress=_stop)
    assert control() == mode


def _stop(done: int, total: int) -> None:
    raise RuntimeError("stop")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_new_tensor_is_that_of_the_default_mode(mode, dtype):
    x = fastinit.new((7, 8), laws.Uniform(-1e-38, 1e-38), dtype=dtype, seed=0)
    with floating_point.default_mode():
        expected = fastinit.new((7, 8), laws.Uniform(-1e-38, 1e-38), dtype=dtype, seed=0)
    assert x.dtype == array_dtype(dtype)
    assert x.tobytes() == expected.tobytes()


ONCE = """
import ctypes, warnings, numpy as np, fastinit
x = np.empty(9, np.float32)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    fastinit.fill_normal(x, seed=0)
    assert not caught
    ctypes.CDLL(None).fesetround({mode})
    for _ in range(3):
        fastinit.fill_normal(x, seed=0)
print(len(caught), *(one.message for one in caught))
"""


@pytest.mark.parametrize(("mode", "word"), [(0x400, "downward"), (0x800, "upward"), (0xC00, "toward zero")])
def test_the_first_fill_in_a_foreign_mode_warns_once_and_names_it(mode, word):
    done = run_python(ONCE.format(mode=mode))
    assert done.stdout.startswith("1 "), done.stderr
    assert f"rounds {word}, keeps subnormals" in done.stdout


def test_a_system_without_these_functions_warns_that_values_may_differ(monkeypatch):
    monkeypatch.setattr(floating_point, "_calls", lambda: None)
    monkeypatch.setattr(floating_point, "_warned", False)
    with pytest.warns(RuntimeWarning, match="cannot change it on this system"), floating_point.default_mode():
        pass
