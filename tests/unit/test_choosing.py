"""Which engine fills: the choice, its warning, and the head start of the NumPy engine."""

from __future__ import annotations

import pytest
from processes import run_python

from fastinit import engines
from fastinit.engines import choosing


def test_a_missing_numba_means_the_reference_engine_and_one_warning() -> None:
    result = run_python(
        """
        import sys, warnings
        sys.modules["numba"] = None  # an import of it raises ModuleNotFoundError
        import numpy as np, fastinit

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(3):
                fastinit.fill_normal(np.empty(100, "f4"), seed=1)
        assert [w.category for w in caught] == [RuntimeWarning], caught
        assert "NumPy engine" in str(caught[0].message)
        assert fastinit.info()["engine"] == "numpy"
        """,
        FASTINIT_ENGINE="",
    )
    assert result.returncode == 0, result.stderr


def test_a_numba_told_not_to_compile_means_the_reference_engine_and_one_warning() -> None:
    code = """
        import warnings, numpy as np, fastinit

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            buf = np.empty(10_000_000, "f4")
            fastinit.fill_normal(buf, seed=1)
        print(*(f"{w.category.__name__}: {w.message}" for w in caught), fastinit.info()["engine"], buf.std())
        """
    result = run_python(code, FASTINIT_ENGINE="", NUMBA_DISABLE_JIT="1")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("Warning") == 1
    assert "NUMBA_DISABLE_JIT" in result.stdout
    assert result.stdout.split()[-2] == "numpy"
    assert float(result.stdout.split()[-1]) == pytest.approx(1, abs=1e-3)
    named = run_python(code, FASTINIT_ENGINE="numba", NUMBA_DISABLE_JIT="1")
    assert "ImportError: NUMBA_DISABLE_JIT is set" in named.stderr


@pytest.mark.parametrize("name", ["numba", "numpy"])
def test_the_environment_chooses_the_engine_without_a_warning(name: str) -> None:
    code = "import fastinit; fastinit.fill_normal(bytearray(0), seed=1) if 0 else print(fastinit.info()['engine'])"
    result = run_python(code, FASTINIT_ENGINE=name)
    assert result.stdout.strip() == name
    assert not result.stderr


def test_an_unknown_engine_in_the_environment_is_refused() -> None:
    result = run_python("import fastinit; fastinit.info()", FASTINIT_ENGINE="cuda")
    assert "it can be 'numba' or 'numpy'" in result.stderr


def test_the_first_small_fills_do_not_wait_for_numba_and_have_its_bits() -> None:
    result = run_python(
        """
        import sys, numpy as np, fastinit

        first, later = np.empty(100_000, "f4"), np.empty(100_000, "f4")
        fastinit.fill_normal(first, seed=1, name="w")
        assert "numba" not in sys.modules
        fastinit.fill_normal(np.empty(10_000_000, "f4"), seed=1, name="v")
        assert "numba" in sys.modules
        fastinit.fill_normal(later, seed=1, name="w")
        assert first.tobytes() == later.tobytes()
        """,
        FASTINIT_ENGINE="",
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("elements", [1, 1000, 1_000_000])
def test_the_head_start_ends_after_its_seconds_however_the_fills_are_cut(
    elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "_spent", 0.0)
    monkeypatch.setattr(choosing, "_loaded", {})
    monkeypatch.setattr(choosing, "_by_environment", lambda: None)
    monkeypatch.setattr(choosing, "_automatic", lambda: "numba")
    cost = choosing.SECONDS_PER_CALL + choosing.SECONDS_PER_ELEMENT * elements
    small = int(choosing.HEAD_START / cost)
    chosen = [engines.engine_for(elements) for _ in range(small + 10)]
    assert chosen.count("numpy") in (small - 1, small)
    assert chosen[small:] == ["numba"] * 10


def test_a_named_engine_has_no_head_start() -> None:
    result = run_python(
        """
        import sys, numpy as np, fastinit

        fastinit.fill_normal(np.empty(100, "f4"), seed=1)
        assert "numba" in sys.modules
        """,
        FASTINIT_ENGINE="numba",
    )
    assert result.returncode == 0, result.stderr


def test_inside_use_the_engine_is_the_one_named() -> None:
    for name in ("numba", "numpy"):
        with engines.use(name):
            assert engines.engine_for(1) == engines.engine_for(1 << 40) == name
            assert engines.chosen(1).__name__ == choosing.MODULES[name]  # type: ignore[attr-defined]
