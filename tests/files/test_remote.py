"""Remote folders: whole or absent, resumed with the same bytes, and nothing left, here or there."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import random
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from processes import descriptors

from fastinit.files.remote import own_move
from fastinit.files.scratch import scratch
from fastinit.laws import Normal
from fastinit.plan import Plan, Tensor
from fastinit.write import write

PLAN = Plan([Tensor(f"layers.{i}.weight", (50, 50 + i), "float32", Normal()) for i in range(6)])
SHARD = 25_000  # bytes: three files
FILES = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
INDEX = "model.safetensors.index.json"


# What a local file system calls its move: mv_file in older releases of fsspec.
MOVE = "mv_file" if hasattr(LocalFileSystem, "mv_file") else "mv"


class Remote:
    """A folder that fsspec reaches, as a test sees it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.files, self.root = fsspec.core.url_to_fs(address)

    def content(self) -> dict[str, bytes]:
        if not self.files.exists(self.root):
            return {}
        paths = [entry["name"] for entry in self.files.ls(self.root, detail=True) if entry["type"] == "file"]
        return {path.rsplit("/", 1)[-1]: self.files.cat_file(path) for path in paths}

    def put(self, name: str, content: bytes) -> None:
        self.files.makedirs(self.root, exist_ok=True)
        self.files.pipe_file(f"{self.root}/{name}", content)

    def write(self, **options: Any) -> Any:
        return write(PLAN, self.address, **{"seed": 5, "shard_size": SHARD, **options})


@pytest.fixture(params=["memory", "file", "dir"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Remote:
    """An object store, which puts at once; a file system that renames; and one that passes on what it is asked."""
    kinds = {
        "memory": f"memory://{tmp_path.name}",
        "file": f"file://{tmp_path}/remote",
        "dir": f"dir://out::file://{tmp_path}",
    }
    return Remote(kinds[request.param])


@pytest.fixture(autouse=True)
def scratch_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where scratch folders are made."""
    place = tmp_path / "scratch"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return place


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an undisturbed run writes into a local folder."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write(PLAN, folder, seed=5, shard_size=SHARD)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_file_system_moves_by_itself_or_fsspec_copies_and_deletes() -> None:
    assert own_move(LocalFileSystem()) is not None
    assert own_move(MemoryFileSystem()) is None
    assert own_move(DirFileSystem("/x", LocalFileSystem())) is not None
    assert own_move(DirFileSystem("/x", MemoryFileSystem())) is None


@pytest.mark.parametrize("name", [FILES[0], FILES[2], INDEX])
@pytest.mark.parametrize("left", [0, 5, 8, 100, 600, 0.5, -1])
def test_a_file_that_was_not_put_to_its_end_is_put_again(
    remote: Remote, undisturbed: dict[str, bytes], name: str, left: float
) -> None:
    whole = undisturbed[name]
    remote.write()
    remote.put(name, whole[: int(left * len(whole)) if isinstance(left, float) else left])
    report = remote.write()
    assert set(report.skipped) == set(FILES) - {name}
    assert remote.content() == undisturbed


@pytest.mark.parametrize("left", [0, 5, 8, 100, 900, -1])
def test_so_is_one_of_another_plan(remote: Remote, undisturbed: dict[str, bytes], tmp_path: Path, left: int) -> None:
    other = Plan([Tensor("other", (70, 70), "float32", Normal())])
    write(other, tmp_path / "other", seed=1)
    remote.put(FILES[0], (tmp_path / "other" / "model.safetensors").read_bytes()[:left])
    remote.write()
    assert remote.content() == undisturbed


@pytest.mark.parametrize("name", [FILES[1], INDEX])
def test_a_whole_file_of_another_plan_is_refused_and_stays(
    remote: Remote, undisturbed: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    write(PLAN, tmp_path / "other", seed=6, shard_size=SHARD)
    other = b'{"weight_map": {}}' if name == INDEX else (tmp_path / "other" / name).read_bytes()
    remote.put(name, other)
    with pytest.raises(FileExistsError, match=name):
        remote.write()
    assert remote.content()[name] == other
    assert all(undisturbed[file] == data for file, data in remote.content().items() if file != name)
    remote.write(overwrite=True)
    assert remote.content() == undisturbed


@pytest.mark.parametrize(
    "content",
    [
        b"\xff" * 100,
        b"this is no safetensors file",
        b"\x02" + bytes(7) + b"[]" + b"x" * 20,
        b"\x05" + bytes(7) + b"{nope",
    ],
)
def test_what_no_writer_has_begun_is_refused_too(remote: Remote, content: bytes) -> None:
    remote.put(FILES[0], content)
    with pytest.raises(FileExistsError, match=rf"{FILES[0]} is there, and not what this plan gives"):
        remote.write()
    assert remote.content() == {FILES[0]: content}


def test_trained_values_under_the_same_header_are_not_put_again(remote: Remote, undisturbed: dict[str, bytes]) -> None:
    remote.write()
    trained = undisturbed[FILES[0]][:-1000] + b"\1" * 1000
    remote.put(FILES[0], trained)
    assert remote.write().skipped == tuple(FILES)
    assert remote.content() == undisturbed | {FILES[0]: trained}


def test_temporary_files_of_dead_writers_go_and_others_stay(remote: Remote, undisturbed: dict[str, bytes]) -> None:
    dead = [".model-00001-of-00003.safetensors.0123abcd.partial", f".{INDEX}.00000000.partial"]
    dead += [".model-00007-of-00009.safetensors.0123abcd.partial", ".model.safetensors.ffffffff.partial"]
    others = [".model.safetensors.download.partial", ".config.json.0123abcd.partial", "config.json"]
    for name in dead + others:
        remote.put(name, b"?")
    remote.write()
    assert remote.content() == undisturbed | dict.fromkeys(others, b"?")
    for name in dead:
        remote.put(name, b"?")
    assert remote.write().skipped == tuple(FILES)  # all is whole
    assert remote.content() == undisturbed | dict.fromkeys(others, b"?")


def test_a_store_that_knows_no_folders_takes_a_checkpoint(
    tmp_path: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As s3fs: making a folder does nothing, and listing one without objects is an error."""
    remote = Remote(f"memory://{tmp_path.name}")
    monkeypatch.setattr(MemoryFileSystem, "makedirs", lambda *_, **__: None)
    for name in (None, FILES[1]):
        if name:
            remote.files.rm_file(f"{remote.root}/{name}")
        remote.write()
        assert remote.content() == undisturbed


def test_a_temporary_file_that_another_writer_took_for_a_dead_ones_is_put_again(
    remote: Remote, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    if own_move(remote.files) is None:
        pytest.skip("no temporary files")
    real, robbed = getattr(LocalFileSystem, MOVE), []

    def rob(self: LocalFileSystem, source: str, target: str, **options: object) -> None:
        if target not in robbed:
            robbed.append(target)
            self.rm_file(source)
        real(self, source, target, **options)

    monkeypatch.setattr(LocalFileSystem, MOVE, rob)
    remote.write()
    assert len(robbed) == 4
    assert remote.content() == undisturbed


def test_a_move_that_does_not_replace_is_made_to(
    remote: Remote, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(LocalFileSystem, MOVE)

    def careful(self: LocalFileSystem, source: str, target: str, **options: object) -> None:
        if self.exists(target):
            raise RuntimeError("550 file exists")  # as an FTP server may say; ftplib's errors are no OSError
        real(self, source, target, **options)

    monkeypatch.setattr(LocalFileSystem, MOVE, careful)
    remote.write(seed=6)
    remote.write(overwrite=True)
    assert remote.content() == undisturbed


def test_two_writers_both_succeed(remote: Remote, undisturbed: dict[str, bytes]) -> None:
    begun = []

    def begin_another(done: int, total: int) -> None:
        if not begun:
            begun.append(remote.write())  # to its end, while the first one has not put its first file

    remote.write(progress=begin_another)
    assert remote.content() == undisturbed


# --- scratch ----------------------------------------------------------------------------------------------------------


def test_scratch_of_dead_writers_is_removed_and_that_of_the_living_and_of_others_stays(
    tmp_path: Path, scratch_place: Path
) -> None:
    dead = scratch_place / "fastinit-scratch-0123456789abcdef"
    users = {
        "fastinit-abcdefgh": "model.safetensors",
        "fastinit-scratch-mine": "model.safetensors",
        "fastinit-scratch-0123456789ABCDEF": "model.safetensors",
        "fastinit-scratch-00000000000000000": "model.safetensors",
    }
    dead.mkdir(mode=0o700)
    (dead / "model-00001-of-00003.safetensors").write_bytes(b"half")
    (dead / ".model-00002-of-00003.safetensors.0123abcd.partial").write_bytes(b"half")
    (scratch_place / "fastinit-scratch-aaaaaaaaaaaaaaaa").write_bytes(b"a file")
    (scratch_place / "fastinit-scratch-bbbbbbbbbbbbbbbb").symlink_to("fastinit-abcdefgh")
    for folder, name in users.items():
        (scratch_place / folder).mkdir()
        (scratch_place / folder / name).write_bytes(b"mine")
    with scratch() as living:
        (living / "model.safetensors").write_bytes(b"half")
        Remote(f"file://{tmp_path}/remote").write()
        assert (living / "model.safetensors").exists()
    assert not dead.exists()
    assert not living.exists()
    left = {path.name for path in scratch_place.iterdir()}
    assert left == {*users, "fastinit-scratch-aaaaaaaaaaaaaaaa", "fastinit-scratch-bbbbbbbbbbbbbbbb"}
    assert all((scratch_place / folder / name).read_bytes() == b"mine" for folder, name in users.items())


def test_what_somebody_has_put_into_a_dead_writers_scratch_stays(tmp_path: Path, scratch_place: Path) -> None:
    dead = scratch_place / "fastinit-scratch-0123456789abcdef"
    dead.mkdir()
    (dead / "thesis.txt").write_bytes(b"mine")
    (dead / "model.safetensors").mkdir()
    Remote(f"file://{tmp_path}/remote").write()
    assert sorted(path.name for path in dead.iterdir()) == ["model.safetensors", "thesis.txt"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_scratch_of_another_user_stays(tmp_path: Path, scratch_place: Path) -> None:
    theirs = scratch_place / "fastinit-scratch-0123456789abcdef"
    theirs.mkdir()
    (theirs / "model.safetensors").write_bytes(b"theirs")
    os.chown(theirs, 4242, 4242)
    Remote(f"file://{tmp_path}/remote").write()
    assert (theirs / "model.safetensors").exists()


def test_only_this_user_may_look_into_scratch() -> None:
    with scratch() as folder:
        assert folder.stat().st_mode & 0o077 == 0


def test_without_locks_scratch_of_others_stays_and_ones_own_goes(
    tmp_path: Path, scratch_place: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, bytes]
) -> None:
    def refuse(fd: int, how: int) -> None:
        number = errno.EBADF if stat.S_ISDIR(os.fstat(fd).st_mode) else errno.ENOLCK  # as NFS, and without its lockd
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    (scratch_place / "fastinit-scratch-0123456789abcdef").mkdir()
    remote = Remote(f"memory://{tmp_path.name}")
    remote.write()
    assert remote.content() == undisturbed
    assert [path.name for path in scratch_place.iterdir()] == ["fastinit-scratch-0123456789abcdef"]


# --- faults -----------------------------------------------------------------------------------------------------------


class Broken(Exception):
    """What a file system of fsspec raises, that is no OSError."""


def half(real: Callable[..., object], error: BaseException) -> Callable[..., object]:
    """A put or a pipe that ends in the middle, as a connection does."""

    def put(self: Any, source: Any, target: Any, **options: object) -> object:
        content = target if isinstance(target, bytes) else Path(source).read_bytes()
        address = source if isinstance(target, bytes) else target
        with self.open(address, "wb") as file:
            file.write(content[: len(content) // 2])
        raise error

    return put


@contextlib.contextmanager
def failing(call: str, k: int, error: BaseException) -> Iterator[list[int]]:
    """Make the k-th call of a file system of fsspec fail; half of what it was given may have arrived."""
    calls = [0]
    with pytest.MonkeyPatch.context() as patch:
        for kind in (LocalFileSystem, MemoryFileSystem):
            real = getattr(kind, call, None)
            bad = half(real, error) if call in ("put_file", "pipe_file") else None

            def once(self: Any, *given: Any, real: Any = real, bad: Any = bad, **options: Any) -> object:
                calls[0] += 1
                if calls[0] != k:
                    return real(self, *given, **options)
                if bad is None:
                    raise error
                return bad(self, *given, **options)

            if real is not None:
                patch.setattr(kind, call, once)
        yield calls


CALLS = ["put_file", "pipe_file", MOVE, "rm_file", "ls", "info", "cat_file", "makedirs"]


@pytest.mark.parametrize("error", [OSError(errno.EIO, "gone"), Broken("gone"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("overwrite", [False, True])
def test_whatever_call_fails_files_are_whole_or_absent_and_a_rerun_leaves_nothing_else(
    remote: Remote,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    scratch_place: Path,
    call: str,
    error: BaseException,
    overwrite: bool,
) -> None:
    old: dict[str, bytes] = {}
    if overwrite:
        write(PLAN, tmp_path / "old", seed=6, shard_size=SHARD)
        old = {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()}
    for k in range(1, 100):
        for name in remote.content():
            remote.files.rm_file(f"{remote.root}/{name}")
        for name, data in old.items():
            remote.put(name, data)
        before = descriptors()
        raised = None
        with failing(call, k, error) as calls:
            try:
                remote.write(overwrite=overwrite)
            except (OSError, Broken, KeyboardInterrupt) as caught:
                raised = caught
        assert descriptors() == before
        there = remote.content()
        assert all(data in (undisturbed.get(name), old.get(name)) for name, data in there.items() if name[0] != ".")
        if raised is None:
            assert {name: data for name, data in there.items() if name[0] != "."} == undisturbed
        elif call != "rm_file":  # which would have removed it
            assert all(name[0] != "." for name in there)
        assert not list(scratch_place.iterdir())
        assert remote.write(overwrite=overwrite).files == tuple(FILES)
        assert remote.content() == undisturbed
        if calls[0] < k:
            return
    pytest.fail("it never ended")


def test_a_put_that_silently_loses_the_end_is_an_error(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(self: Any, source: str, target: str, **options: object) -> None:
        with self.open(target, "wb") as file:
            file.write(Path(source).read_bytes()[:-1])

    for kind in (LocalFileSystem, MemoryFileSystem):
        monkeypatch.setattr(kind, "put_file", short)
    with pytest.raises(OSError, match="bytes after it was put; run again"):
        remote.write()
    assert remote.content() == {}


WRITER = """
import os, signal, sys
sys.path[:0] = {path!r}
from fsspec.implementations.local import LocalFileSystem
from test_remote import MOVE, PLAN, SHARD
from fastinit.write import write
{before}
print("ready", flush=True)
write(PLAN, sys.argv[1], seed=5, shard_size=SHARD)
"""


def writer(address: str, before: str = "") -> subprocess.Popen[str]:
    """A process that writes the checkpoint to an address."""
    here = Path(__file__)
    code = WRITER.format(path=[str(here.parents[1]), str(here.parent)], before=before)
    environment = os.environ | {"FASTINIT_ENGINE": "numpy"}
    return subprocess.Popen([sys.executable, "-c", code, address], stdout=subprocess.PIPE, text=True, env=environment)


KILLS = {
    "in a put": """
def put_file(self, source, target, **options):
    with open(source, "rb") as local, open(target, "wb") as file:
        file.write(local.read(1000))
    os.kill(os.getpid(), signal.SIGKILL)
LocalFileSystem.put_file = put_file
""",
    "before a move": "setattr(LocalFileSystem, MOVE, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))",
    "after a move": """
real = getattr(LocalFileSystem, MOVE)
setattr(LocalFileSystem, MOVE, lambda *a, **k: (real(*a, **k), os.kill(os.getpid(), signal.SIGKILL)))
""",
    "in the index": "LocalFileSystem.pipe_file = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)",
}


@pytest.mark.parametrize("moment", KILLS)
def test_killed_at_that_moment_nothing_is_cut_and_a_rerun_leaves_nothing(
    tmp_path: Path, scratch_place: Path, undisturbed: dict[str, bytes], moment: str
) -> None:
    remote = Remote(f"file://{tmp_path}/remote")
    child = writer(remote.address, KILLS[moment])
    child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL
    there = remote.content()
    assert {name: data for name, data in there.items() if name[0] != "."}.items() <= undisturbed.items()
    if moment in ("in a put", "before a move"):
        assert [name for name in there if name[0] == "."]
    assert moment == "in the index" or list(scratch_place.iterdir())
    remote.write()
    assert remote.content() == undisturbed
    assert not list(scratch_place.iterdir())


def test_killed_at_twenty_moments_nothing_is_cut_and_a_rerun_leaves_nothing(
    tmp_path: Path, scratch_place: Path, undisturbed: dict[str, bytes]
) -> None:
    draw = random.Random(0)
    remote = Remote(f"file://{tmp_path}/remote")
    child = writer(f"file://{tmp_path}/timed")
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    begin = time.perf_counter()
    child.communicate()
    whole_run = time.perf_counter() - begin
    for _ in range(20):
        child = writer(remote.address)
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        time.sleep(draw.uniform(0.0, whole_run))
        child.kill()
        child.communicate()
        whole = {name: data for name, data in remote.content().items() if name[0] != "."}
        assert whole.items() <= undisturbed.items()
        if len(whole) == len(undisturbed):
            for name in remote.content():
                remote.files.rm_file(f"{remote.root}/{name}")
    remote.write()
    assert remote.content() == undisturbed
    assert not list(scratch_place.iterdir())


def test_the_index_comes_last(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    real = {kind: kind.pipe_file for kind in (LocalFileSystem, MemoryFileSystem)}
    seen = []

    def pipe(self: Any, path: str, content: bytes, **options: object) -> object:
        seen.append(sorted(name for name in remote.content() if name[0] != "."))
        assert set(json.loads(content)["weight_map"].values()) == set(FILES)
        return real[type(self)](self, path, content, **options)

    for kind in real:
        monkeypatch.setattr(kind, "pipe_file", pipe)
    remote.write()
    assert seen == [FILES]
