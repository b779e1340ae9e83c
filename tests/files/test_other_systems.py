"""Windows and macOS, simulated (tests/simulated.py): each test runs in a process from which their gaps are taken.

No such machine is at hand. What is written under the simulation is held against what is written without it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from processes import importing_first

from fastinit.files.npy import fill_file
from fastinit.laws import Normal, Orthogonal, Sparse, Uniform
from fastinit.plan import Plan, Tensor
from fastinit.write import write

HERE = Path(__file__).parents[1]
SYSTEMS = ("windows", "macos")
PLAN = Plan(
    [Tensor(f"layers.{i}.weight", (300, 200 + i), "float32", Normal(0.0, 0.02)) for i in range(6)]
    + [
        Tensor("half", (1000, 3), "bfloat16", Uniform(-1.0, 1.0)),
        Tensor("router", (64, 32), "float16", Sparse(sparsity=0.9)),
    ]
    + [Tensor("square", (96, 96), "float32", Orthogonal())]
)
# Beginning of every child: the same plan, and a folder.
COMMON = """
import json, os, sys
from pathlib import Path
import simulated
synced = simulated.{system}()
import numpy as np
import fastinit
from fastinit import engines
from fastinit.laws import Normal, Orthogonal, Sparse, Uniform
from fastinit.plan import Plan
from fastinit.write import write
folder = Path({folder!r})
PLAN = Plan.from_json(json.loads({plan!r}))
"""


def run(system: str, folder: Path, code: str, *, dies: bool = False) -> str:
    """Run code on a simulated system; what it prints."""
    text = COMMON.format(system=system, folder=str(folder), plan=json.dumps(PLAN.to_json())) + textwrap.dedent(code)
    child = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", text],
        env={**os.environ, "PYTHONPATH": importing_first(HERE)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert child.returncode == (-signal.SIGKILL if dies else 0), child.stdout + child.stderr
    return child.stdout


def content(folder: Path) -> dict[str, bytes]:
    """The files of a folder; the hidden ones too."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The checkpoint of the plan, as it is written on this system."""
    folder = tmp_path_factory.mktemp("here") / "checkpoint"
    write(PLAN, folder, seed=7, shard_size=300_000)
    return content(folder)


def test_the_simulation_refuses_what_windows_refuses(tmp_path: Path) -> None:
    run(
        "windows",
        tmp_path,
        """
        import errno, mmap, shutil

        def refused(kind, call, *arguments, **named):
            try:
                call(*arguments, **named)
            except kind as error:
                return error
            raise AssertionError(f"{call} was not refused")

        refused(ImportError, __import__, "fcntl")
        refused(ImportError, __import__, "resource")
        for gone in ("pwrite", "preadv", "posix_fallocate", "fchmod", "statvfs", "O_DIRECTORY", "O_NOFOLLOW",
                     "O_CLOEXEC", "sched_getaffinity", "register_at_fork", "geteuid", "fork"):
            assert not hasattr(os, gone), gone
        one, other = folder / "one", folder / "other"
        one.write_bytes(b"1")
        other.write_bytes(b"2")
        refused(NotImplementedError, os.stat, "one", dir_fd=3)
        refused(NotImplementedError, os.open, "one", os.O_RDONLY, dir_fd=3)
        refused(PermissionError, os.open, folder, os.O_RDONLY)
        refused(FileExistsError, os.rename, one, other)
        with one.open("rb") as file:
            refused(OSError, os.fsync, file.fileno())
            for call in (os.unlink, os.remove, one.unlink):
                refused(PermissionError, call, *([] if call == one.unlink else [one]))
            refused(PermissionError, os.rename, one, folder / "new")
            refused(PermissionError, os.replace, one, other)
            refused(PermissionError, os.replace, other, one)
        with one.open("r+b") as file:
            map = mmap.mmap(file.fileno(), 1)
        refused(PermissionError, one.unlink)
        map.close()
        os.replace(one, other)
        assert other.read_bytes() == b"1" and sys.platform == "win32"
        refused(FileNotFoundError, open, "/proc/cpuinfo")
        """,
    )


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_module_imports(tmp_path: Path, system: str) -> None:
    """Those that want a framework only where it is installed."""
    printed = run(
        system,
        tmp_path,
        """
        import importlib, json, pkgutil
        imported, missing = [], {}
        for one in pkgutil.walk_packages(fastinit.__path__, "fastinit."):
            if one.name == "fastinit.__main__":
                continue
            try:
                importlib.import_module(one.name)
                imported.append(one.name)
            except ModuleNotFoundError as error:
                missing[one.name] = error.name or str(error)
        print(json.dumps([imported, missing]))
        """,
    )
    imported, missing = json.loads(printed.splitlines()[-1])
    optional = ("torch", "jax", "keras", "flax", "transformers", "accelerate", "ml_dtypes", "optax")
    others = {name: why for name, why in missing.items() if not any(word in why for word in optional)}
    assert not others
    assert len(imported) > 100
    assert {"fastinit.plan", "fastinit.write", "fastinit.verify", "fastinit.edit", "fastinit.cli"} <= {*imported}


@pytest.mark.parametrize("system", SYSTEMS)
def test_fills_have_the_same_values(tmp_path: Path, system: str) -> None:
    printed = run(
        system,
        tmp_path,
        """
        for engine in ("numba", "numpy"):
            with engines.use(engine):
                values = fastinit.new((301, 17), Normal(0.0, 0.5), seed=3, name="w", threads=2)
                print(values.tobytes().hex()[:64], values.sum(dtype="f8").hex())
        mapped = np.lib.format.open_memmap("w.npy", mode="w+", dtype=np.float32, shape=(301, 17))
        fastinit.fill(mapped, Normal(0.0, 0.5), seed=3, name="w")
        mapped.flush()
        assert (mapped == values).all()
        info = fastinit.info()
        assert info["cpus"] >= 1 and info["threads"] >= 1
        """,
    )
    import fastinit

    values = fastinit.new((301, 17), Normal(0.0, 0.5), seed=3, name="w")
    expected = f"{values.tobytes().hex()[:64]} {values.sum(dtype='f8').hex()}"
    assert printed.split("\n")[:2] == [expected, expected]


@pytest.mark.parametrize("system", SYSTEMS)
def test_weight_files_have_the_same_bytes_and_replace_each_other(tmp_path: Path, system: str) -> None:
    there, native = tmp_path / "there", tmp_path / "native"
    there.mkdir()
    native.mkdir()
    run(
        system,
        there,
        """
        from fastinit.files.npy import fill_file

        fill_file("w.npy", (700, 900), Normal(), seed=1, threads=2)
        fill_file("w.bin", (700, 90), Normal(), dtype="bfloat16", seed=1, durable=False)
        fill_file("square.npy", (128, 128), Orthogonal(), seed=1)
        fill_file("sparse.npy", (128, 128), Sparse(sparsity=0.9), seed=1)
        try:
            fill_file("w.npy", (3, 3), Normal(), seed=2)
            raise AssertionError("the file was not refused")
        except FileExistsError as error:
            assert "already exists" in str(error)
        fill_file("w.npy", (700, 800), Normal(), seed=2, overwrite=True)
        fill_file("square.npy", None, Orthogonal(), seed=3, existing=True)
        os.mkdir("folder")
        for path, kind in (("folder/x.npy/y.npy", FileNotFoundError), ("w.npy/x.npy", NotADirectoryError)):
            try:
                fill_file(path, (3,), Normal(), seed=2)
                raise AssertionError("the path was not refused")
            except kind:
                pass
        os.rmdir("folder")
        """,
    )
    fill_file(native / "w.bin", (700, 90), Normal(), dtype="bfloat16", seed=1)
    fill_file(native / "sparse.npy", (128, 128), Sparse(sparsity=0.9), seed=1)
    fill_file(native / "w.npy", (700, 800), Normal(), seed=2)
    fill_file(native / "square.npy", (128, 128), Orthogonal(), seed=3)
    assert content(there) == content(native)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_checkpoint_has_the_same_bytes_and_is_resumed_after_a_kill(
    tmp_path: Path, system: str, here: dict[str, bytes]
) -> None:
    run(
        system,
        tmp_path,
        """
        import signal
        calls = []

        def kill(done, total):
            calls.append(done)
            if done > total // 2:
                os.kill(os.getpid(), signal.SIGKILL)

        write(PLAN, "out", seed=7, shard_size=300_000, progress=kill)
        """,
        dies=True,
    )
    left = content(tmp_path / "out")
    assert any(name.endswith(".partial") for name in left)
    assert any(name.endswith(".safetensors") for name in left)
    assert "model.safetensors.index.json" not in left
    run(
        system,
        tmp_path,
        """
        from fastinit.show import show
        from fastinit.verify import verify

        done = write(PLAN, "out", seed=7, shard_size=300_000)
        assert done.skipped and len(done.skipped) < len(done.files), done
        again = write(PLAN, "out", seed=7, shard_size=300_000, overwrite=True)
        assert not again.skipped
        assert verify("out").ok
        assert len(show("out").tensors) == len(PLAN.tensors)
        """,
    )
    assert content(tmp_path / "out") == here


def test_windows_keeps_the_file_of_a_living_writer_and_removes_a_dead_one_s(tmp_path: Path) -> None:
    run(
        "windows",
        tmp_path,
        """
        from fastinit.files.publish import publishing, write_at

        Path(".w.bin.0123abcd.partial").write_bytes(b"of a dead writer")
        with publishing("w.bin", 3) as fd:
            write_at(fd, b"one", 0)
            (ours,) = os.listdir()
            with publishing("w.bin", 5) as other:
                write_at(other, b"other", 0)
            assert sorted(os.listdir()) == sorted([ours, "w.bin"])
            os.unlink("w.bin")
        assert os.listdir() == ["w.bin"] and Path("w.bin").read_bytes() == b"one"
        """,
    )


def test_windows_says_that_a_file_is_in_use_and_leaves_it(tmp_path: Path) -> None:
    run(
        "windows",
        tmp_path,
        """
        from fastinit.files.npy import fill_file

        fill_file("w.npy", (9, 9), Normal(), seed=1)
        before = Path("w.npy").read_bytes()
        with open("w.npy", "rb"):
            try:
                fill_file("w.npy", (9, 9), Normal(), seed=2, overwrite=True)
                raise AssertionError("the file was replaced")
            except PermissionError as error:
                assert "close the programs that have it open" in str(error), error
        assert os.listdir() == ["w.npy"] and Path("w.npy").read_bytes() == before
        """,
    )


def test_windows_lets_one_writer_wait_for_the_other(tmp_path: Path) -> None:
    run(
        "windows",
        tmp_path,
        """
        import threading, time
        from fastinit.files.folder import Folder

        seen = []

        def replace(number):
            with Folder(".").alone():
                seen.append(number)
                time.sleep(0.2)
                seen.append(number)

        threads = [threading.Thread(target=replace, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(seen) == 8 and seen[::2] == seen[1::2], seen
        assert os.listdir() == []
        """,
    )


@pytest.mark.parametrize("system", SYSTEMS)
def test_edits_give_the_same_bytes(tmp_path: Path, system: str, here: dict[str, bytes]) -> None:
    from fastinit.edit import Delete, Redraw, edit

    there, native = tmp_path / "there", tmp_path / "native"
    for place in (there, native):
        for name in ("folder", "one"):
            (place / name).mkdir(parents=True)
        for name, data in here.items():
            (place / "folder" / name).write_bytes(data)
        write(PLAN, place / "one", seed=1)
    run(
        system,
        there,
        """
        from fastinit.edit import Delete, Redraw, edit

        edit("folder", [Redraw("layers.1.*"), Delete("half")], seed=9, output="elsewhere")
        edit("one/model.safetensors", [Redraw("layers.1.*"), Delete("half")], seed=9)
        edit("one", [Redraw("layers.2.*")], seed=8, in_place=True)
        edit("folder", [Redraw("layers.1.*")], seed=9)
        try:
            edit("folder", [Redraw("nothing.*")], seed=9, output="new")
            raise AssertionError("the edit was not refused")
        except ValueError:
            assert not os.path.exists("new")
        """,
    )
    edit(native / "folder", [Redraw("layers.1.*"), Delete("half")], seed=9, output=native / "elsewhere")
    edit(native / "one" / "model.safetensors", [Redraw("layers.1.*"), Delete("half")], seed=9)
    edit(native / "one", [Redraw("layers.2.*")], seed=8, in_place=True)
    for name in ("elsewhere", "one"):
        assert content(there / name) == content(native / name)
    left = content(there / "folder")
    assert not [name for name in left if name.startswith(".")]
    assert len(left) == len(here)


def test_windows_tidies_up_after_an_edit_that_was_killed(tmp_path: Path, here: dict[str, bytes]) -> None:
    (tmp_path / "folder").mkdir()
    for name, data in here.items():
        (tmp_path / "folder" / name).write_bytes(data)
    run(
        "windows",
        tmp_path,
        """
        import signal
        from fastinit.edit import Redraw, edit

        edit("folder", [Redraw("layers.*")], seed=9, progress=lambda done, total: os.kill(os.getpid(), signal.SIGKILL))
        """,
        dies=True,
    )
    assert len(content(tmp_path / "folder")) > len(here)
    run(
        "windows",
        tmp_path,
        """
        from fastinit.edit import Redraw, edit
        from fastinit.verify import verify

        assert edit("folder", [Redraw("layers.*")], seed=9).recovered
        assert verify("folder").ok
        """,
    )
    left = content(tmp_path / "folder")
    assert not [name for name in left if name.startswith(".")]
    assert len(left) == len(here)


def test_windows_uploads_from_scratch_and_removes_it(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    run(
        "windows",
        tmp_path,
        """
        import fsspec, tempfile

        tempfile.tempdir = str(folder)
        dead = folder / ("fastinit-scratch-" + "0" * 16)
        dead.mkdir()
        (dead / ".alive").write_bytes(b"")
        (dead / "model.safetensors").write_bytes(b"of a dead writer")
        living = folder / ("fastinit-scratch-" + "1" * 16)
        living.mkdir()
        with (living / ".alive").open("wb"):
            write(PLAN, "memory://there", seed=7)
            assert os.listdir() == [living.name]
        files = fsspec.filesystem("memory")
        assert files.size("/there/model.safetensors") > PLAN.bytes
        """,
    )


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_command_line_works(tmp_path: Path, system: str) -> None:
    (tmp_path / "rules.toml").write_text('[[rule]]\nmatch = ".*"\nscheme = "normal"\nstd = 0.02\n')
    (tmp_path / "shapes.json").write_text(json.dumps({"a.weight": {"shape": [30, 40], "dtype": "float32"}}))
    printed = run(
        system,
        tmp_path,
        """
        from fastinit.cli import main

        for words in (
            "--help",
            "info --json",
            "fill w.npy --shape 30,40 --scheme he_normal --fan-in 40 --seed 0 --quiet",
            "plan --shapes shapes.json --rules rules.toml -o plan.json",
            "write --shapes shapes.json --rules rules.toml -o out --seed 0",
            "verify out",
            "show out --html page.html",
            "edit out --redraw a.* --seed 1",
            "verify out",
        ):
            code = main(words.split())
            assert code == 0, (words, code)
        """,
    )
    assert "fastinit" in printed
    assert sorted(content(tmp_path)) == ["page.html", "plan.json", "rules.toml", "shapes.json", "w.npy"]
    assert sorted(content(tmp_path / "out")) == ["model.safetensors"]


def test_macos_syncs_past_the_cache_of_the_disk_and_knows_its_own_answers(tmp_path: Path) -> None:
    run(
        "macos",
        tmp_path,
        """
        import errno
        from fastinit.files.npy import fill_file
        from fastinit.files.system import NOT_SUPPORTED

        fill_file("w.npy", (30, 40), Normal(), seed=1)
        assert len(synced) == 2  # the file and its folder
        assert {45, 102 if errno.EOPNOTSUPP == 102 else errno.EOPNOTSUPP} <= NOT_SUPPORTED

        def refuse(*arguments, **named):
            raise OSError(45, "Operation not supported")

        os.link = refuse  # of a file system without hard links
        fill_file("other.npy", (30, 40), Normal(), seed=1)
        assert sorted(os.listdir()) == ["other.npy", "w.npy"]
        """,
    )
