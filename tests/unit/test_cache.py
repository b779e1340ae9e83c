"""Machine code on disk: found again, never believed when damaged or old, and no fault of it is a fault of the fill."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from processes import importing_first

import fastinit

pytest.importorskip("numba")

FILL = """
import sys, numpy as np, fastinit
x = np.empty(1000, np.float32)
fastinit.fill_uniform(x, low=-1.0, high=1.0, seed=0)
kernel = sys.modules["fastinit.engines.compiled"].KERNELS["uniform_steps_32", "rows"]
print(fastinit.__file__, sum(kernel.stats.cache_hits.values()), x.tobytes().hex())
"""


def expected() -> str:
    x = np.empty(1000, np.float32)
    with fastinit.engines.use("numpy"):
        fastinit.fill_uniform(x, low=-1.0, high=1.0, seed=0)
    return x.tobytes().hex()


def fill(cache: Path, *options: str, before: str = "", package: Path | None = None) -> tuple[list[str], list[str], str]:
    """Fill in a fresh process: the words it printed, the warnings it gave, and what it wrote to stderr."""
    done = subprocess.run(
        [sys.executable, *options, "-c", before + FILL],
        env={
            **os.environ,
            "NUMBA_CACHE_DIR": str(cache),
            "FASTINIT_ENGINE": "numba",
            "PYTHONPATH": importing_first(package or Path(fastinit.__file__).parents[1]),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=package or Path(fastinit.__file__).parents[1],  # what -c imports from first
    )
    assert done.returncode == 0, done.stderr
    warned = [line for line in done.stderr.splitlines() if "Warning: " in line]
    return done.stdout.split(), warned, done.stderr


@pytest.fixture(scope="module")
def filled_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the machine code of one kernel."""
    folder = tmp_path_factory.mktemp("machine-code")
    words, warned, _ = fill(folder)
    assert (words[1:], warned) == (["0", expected()], [])
    return folder


@pytest.fixture
def cache(filled_cache: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of it."""
    shutil.copytree(filled_cache, tmp_path / "cache")
    yield tmp_path / "cache"
    assert not list((tmp_path / "cache").rglob("*.tmp.*")), "a temporary file is left"


def flip(path: Path, place: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(place * (len(data) - 1))] ^= 0x10
    path.write_bytes(data)


DAMAGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "an index without its last byte": ("*.nbi", lambda one: os.truncate(one, one.stat().st_size - 1)),
    "code without its last byte": ("*.nbc", lambda one: os.truncate(one, one.stat().st_size - 1)),
    "empty code": ("*.nbc", lambda one: os.truncate(one, 0)),
    "an index of garbage": ("*.nbi", lambda one: one.write_bytes(b"\x00\xff" * 500)),
    "a folder in the place of code": ("*.nbc", lambda one: (one.unlink(), one.mkdir())),
    **{
        f"{kind} with a bit turned at {place}": (pattern, lambda one, place=place: flip(one, place))
        for kind, pattern in (("an index", "*.nbi"), ("code", "*.nbc"))
        for place in (0.5, 1.0)
    },
}


def test_a_second_process_takes_the_machine_code_of_the_first(cache):
    words, warned, _ = fill(cache)
    assert (words[1:], warned) == (["1", expected()], [])


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_machine_code_is_compiled_anew_with_one_warning_and_replaced(cache, damage):
    pattern, spoil = DAMAGE[damage]
    spoiled = list(cache.rglob(pattern))
    assert spoiled
    for one in spoiled:
        spoil(one)
    words, warned, _ = fill(cache)
    assert words[1:] == ["0", expected()]
    assert len(warned) == 1
    assert str(cache) in warned[0]
    if "turned at 0.5" in damage:
        words, warned, _ = fill(cache)
        assert (words[1:], warned) == (["1", expected()], [])


def test_an_entry_of_numba_itself_is_passed_over(cache):
    import pickle

    for one in cache.rglob("*.nbi"):
        one.write_bytes(pickle.dumps("0.61.0", protocol=-1) + b"what Numba wrote")
    words, warned, _ = fill(cache)
    assert (words[1:], warned) == (["0", expected()], [])
    assert fill(cache)[0][1:] == ["1", expected()]


def test_a_warning_that_is_an_error_stops_one_fill_and_tears_nothing(cache):
    for one in cache.rglob("*.nbc"):
        flip(one, 0.5)
    attempt = """
import numpy as np, fastinit
poisoned = np.full(1000, 7, np.float32)
try:
    fastinit.fill_uniform(poisoned, low=-1.0, high=1.0, seed=0)
    raise SystemExit("no warning")
except RuntimeWarning:
    assert (poisoned == 7).all()
"""
    words, _, _ = fill(cache, "-W", "error::RuntimeWarning", before=attempt)
    assert words[2] == expected()


def test_a_folder_that_cannot_be_written_is_named_once(tmp_path):
    (tmp_path / "file").write_text("in the place of a folder")
    words, warned, _ = fill(tmp_path / "file")
    assert words[2] == expected()
    assert len(warned) == 1
    assert str(tmp_path / "file") in warned[0]


def test_a_full_disk_means_compiling_in_this_process(tmp_path):
    full = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
    words, warned, _ = fill(tmp_path / "cache", before=full)
    assert words[1:] == ["0", expected()]
    assert len(warned) == 1
    assert str(tmp_path / "cache") in warned[0]
    assert not [one for one in (tmp_path / "cache").rglob("*") if one.is_file() and ".tmp." in one.name]
    words, warned, _ = fill(tmp_path / "cache")  # space again
    assert (words[1:], warned) == (["0", expected()], [])
    assert fill(tmp_path / "cache")[0][1] == "1"


@pytest.mark.parametrize("name", ["IndexDataCacheFile", "Cache._index_key"])
def test_a_numba_without_these_private_names_compiles_in_each_process(tmp_path, name):
    words, warned, _ = fill(tmp_path, before=f"import numba, numba.core.caching\ndel numba.core.caching.{name}\n")
    assert words[1:] == ["0", expected()]
    assert len(warned) == 1


def test_two_processes_that_compile_at_once_are_both_right_and_leave_what_a_third_takes(tmp_path):
    command = [sys.executable, "-c", FILL]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "FASTINIT_ENGINE": "numba"}
    pair = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [one.communicate(timeout=120)[0].split()[2] for one in pair] == [expected()] * 2
    words, warned, _ = fill(tmp_path)
    assert (words[1:], warned) == (["1", expected()], [])


def test_every_source_of_the_engine_is_in_the_stamp():
    from importlib.resources import files

    from fastinit.engines.cache import _sources

    folder = Path(fastinit.__file__).parent / "engines"
    there = {one.relative_to(folder).as_posix(): one.read_bytes() for one in folder.rglob("*.py")}
    assert "compiled/philox.py" in there
    assert dict(_sources(files("fastinit.engines"))) == there


@pytest.mark.parametrize(
    ("source", "number"), [("compiled/philox.py", "k.MULTIPLIER_0"), ("stream.py", "0xD2511F53, 0xCD9E8D57")]
)
def test_an_edit_in_any_source_of_the_engine_is_seen_at_once_and_so_is_its_end(tmp_path, source, number):
    package = tmp_path / "fastinit"
    shutil.copytree(Path(fastinit.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))

    def run() -> list[str]:
        words, warned, _ = fill(tmp_path / "cache", package=tmp_path)
        assert words[0].startswith(str(tmp_path))
        assert warned == []
        return words[1:]

    assert run() == ["0", expected()]
    assert run() == ["1", expected()]
    edited = package / "engines" / source
    text = edited.read_text()
    assert number in text
    edited.write_text(text.replace(number, number.replace("0xD2511F53", "0xD2511E53").replace("k.M", "0x100 ^ k.M")))
    hits, changed = run()
    assert hits == "0"
    assert changed != expected()
    edited.write_text(text)
    assert run()[1] == expected()


def test_an_entry_is_taken_for_what_it_is_about_and_for_nothing_else():
    from fastinit.engines.cache import seal, unseal

    sealed = seal(b"machine code", subject=b"float32")
    assert unseal(sealed, subject=b"float32") == b"machine code"
    assert unseal(sealed, subject=b"float64") is None
    for place in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[place] ^= 1
        try:
            assert unseal(bytes(damaged), subject=b"float32") is None
        except ValueError:
            pass
