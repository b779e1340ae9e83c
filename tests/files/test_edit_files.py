"""An edit leaves the old checkpoint or the new one, whatever fails and whenever it is killed, and nothing beside it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from processes import descriptors, run_python

import fastinit
from fastinit.cli import main
from fastinit.edit import Add, Cast, Configure, Copy, Delete, Laws, Redraw, Rename, edit
from fastinit.edit.journal import JOURNAL
from fastinit.files import publish
from fastinit.files.safetensors import SafetensorsError, read_header
from fastinit.laws import Constant, Normal, Orthogonal, Sparse
from fastinit.plan import Plan, Rule, Tensor
from fastinit.verify import verify
from fastinit.write import write

PLAN = Plan([Tensor(f"w{i}", (50, 20), "float32", Normal()) for i in range(4)])
HALF = Laws(rules=(Rule(".*", "normal", {"std": 0.5}),))
CONFIG = {"layers": 4}
OPERATIONS = (Redraw("w1", HALF), Copy("w2", "w4"), Delete("w0"), Configure("layers", 5))


def checkpoint(folder: Path, *, sharded: bool) -> Path:
    write(PLAN, folder, seed=0, shard_size=8000 if sharded else 10**9, durable=False)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


def values(folder: Path) -> dict[str, bytes]:
    """Name -> bytes, as a reader of the index, or of the one file, has them."""
    index = folder / "model.safetensors.index.json"
    files = (
        sorted(set(json.loads(index.read_text())["weight_map"].values())) if index.exists() else ["model.safetensors"]
    )
    found = {}
    for file in files:
        found |= {name: one.tobytes() for name, one in safetensors.numpy.load_file(folder / file).items()}
    return found


def layers(folder: Path) -> int:
    return json.loads((folder / "config.json").read_text())["layers"]


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def listed(folder: Path) -> list[str]:
    """The names that a whole checkpoint has, and no others."""
    index = folder / "model.safetensors.index.json"
    files = (
        {*json.loads(index.read_text())["weight_map"].values(), index.name} if index.exists() else {"model.safetensors"}
    )
    return sorted({*files, "config.json"})


@pytest.fixture(scope="module", params=[False, True], ids=["one file", "sharded"])
def stages(request, tmp_path_factory):
    """Whether it is sharded, and what the old checkpoint and the new one hold."""
    folder = checkpoint(tmp_path_factory.mktemp("stages") / "c", sharded=request.param)
    old = values(folder)
    edit(folder, OPERATIONS, seed=1, durable=False)
    return request.param, old, values(folder)


# --- every step fails, or is the last ---------------------------------------------------------------------------------

STEPS = [
    *((os, step) for step in ("open", "posix_fallocate", "pwrite", "preadv", "copy_file_range", "fsync", "dup")),
    *((os, step) for step in ("rename", "replace", "unlink", "fstat", "stat", "listdir", "mkdir", "rmdir", "lseek")),
    *((fcntl, step) for step in ("flock", "ioctl")),
    (publish, "rename_exclusive"),
]


class Failing:
    """A function of the system that fails once, at the k-th call of all that share `left`."""

    def __init__(self, real: Callable[..., object], left: list[int], fail: Callable[[], object]) -> None:
        self.real, self.left, self.fail = real, left, fail

    def __call__(self, *arguments: object, **options: object) -> object:
        self.left[0] -= 1
        if self.left[0] == 0:
            self.fail()
        return self.real(*arguments, **options)


def raising(error: BaseException) -> Callable[[], object]:
    def fail() -> object:
        raise error

    return fail


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize(("module", "step"), STEPS, ids=lambda value: value if isinstance(value, str) else "")
def test_whatever_step_fails_the_checkpoint_is_the_old_or_the_new_one(tmp_path, stages, module, step, error):
    sharded, old, new = stages
    for k in range(1, 400):
        folder = checkpoint(tmp_path / str(k), sharded=sharded)
        before, left = descriptors(), [k]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, step, Failing(getattr(module, step), left, raising(error)))
            try:
                edit(folder, OPERATIONS, seed=1, threads=1, durable=step == "fsync")
                raised = None
            except (OSError, KeyboardInterrupt) as caught:
                raised = caught
        assert descriptors() == before
        assert values(folder) in (old, new)
        if raised is None:
            assert values(folder) == new
        elif values(folder) == new:
            said = f"{raised} {getattr(raised, '__notes__', '')}"
            assert "new one" in said or "whole" in said, said
        if step not in ("unlink", "listdir", "stat", "fstat", "open", "flock"):  # those the tidying itself needs
            assert names(folder) == listed(folder)
            assert (layers(folder) == 5) == (values(folder) == new)
        edit(folder, [], durable=False)
        assert values(folder) in (old, new)
        assert (layers(folder) == 5) == (values(folder) == new)
        assert names(folder) == listed(folder)
        if left[0] > 0:
            return
    pytest.fail("it never ended")


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize(("module", "step"), STEPS, ids=lambda value: value if isinstance(value, str) else "")
def test_whatever_step_fails_another_folder_holds_nothing_or_the_new_one(tmp_path, stages, module, step, error):
    sharded, old, new = stages
    folder = checkpoint(tmp_path / "c", sharded=sharded)
    for k in range(1, 400):
        output, left = tmp_path / f"o{k}", [k]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, step, Failing(getattr(module, step), left, raising(error)))
            try:
                edit(folder, OPERATIONS, output=output, seed=1, threads=1, durable=step == "fsync")
                raised = None
            except (OSError, KeyboardInterrupt) as caught:
                raised = caught
        assert values(folder) == old
        assert names(folder) == listed(folder)
        if raised is None:
            assert values(output) == new
        elif step not in ("unlink", "listdir", "stat", "fstat", "open", "rmdir"):
            assert not output.exists() or names(output) == [] or values(output) == new
        if not (output / "config.json").exists() or JOURNAL in names(output):
            edit(folder, OPERATIONS, output=output, seed=1, durable=False)
        assert values(output) == new
        assert layers(output) == 5
        assert names(output) == listed(output)
        if left[0] > 0:
            return
    pytest.fail("it never ended")


# Before every system call, or as many of them as there is time for by default.
MOMENTS = [pytest.param(1, marks=pytest.mark.slow, id="all"), pytest.param(7, id="every seventh")]


def killed_at(k: int, call: Callable[[], object], steps=STEPS) -> bool:
    """Run a call in a forked child that kills itself before the k-th system call of `steps`; whether it did."""
    child = os.fork()
    if child == 0:
        left = [k]
        for module, step in steps:
            setattr(module, step, Failing(getattr(module, step), left, lambda: os.kill(os.getpid(), signal.SIGKILL)))
        try:
            call()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("stride", MOMENTS)
def test_killed_before_a_system_call_the_checkpoint_is_the_old_or_the_new_one(tmp_path, stages, stride):
    sharded, old, new = stages
    seen = set()
    for k in range(1, 2000, stride):
        folder = checkpoint(tmp_path / str(k), sharded=sharded)
        killed = killed_at(k, lambda folder=folder: edit(folder, OPERATIONS, seed=1, threads=1))
        found = values(folder)
        assert found in (old, new)
        seen.add(found == new)
        report = edit(folder, [], durable=False)
        assert report.recovered or names(folder) == listed(folder)
        assert values(folder) == found
        assert (layers(folder) == 5) == (found == new)
        assert names(folder) == listed(folder)
        if not killed:
            assert seen == {False, True}
            assert k > 30
            return
    pytest.fail("it never ended")


@pytest.mark.parametrize("stride", MOMENTS)
def test_killed_before_a_system_call_another_folder_is_finished_by_the_same_edit_and_no_other(tmp_path, stages, stride):
    sharded, old, new = stages
    folder = checkpoint(tmp_path / "c", sharded=sharded)
    unfinished = 0
    for k in range(1, 2000, stride):
        output = tmp_path / f"o{k}"
        killed = killed_at(k, lambda output=output: edit(folder, OPERATIONS, output=output, seed=1, threads=1))
        assert values(folder) == old
        if output.exists() and JOURNAL in names(output):
            unfinished += 1
            with pytest.raises(FileExistsError, match="another edit that did not end; run that again"):
                edit(folder, OPERATIONS, output=output, seed=2)
            with pytest.raises(SafetensorsError, match="an edit to this folder did not end; run it again"):
                edit(output, [])
        if not output.exists() or names(output) != listed(output):
            edit(folder, OPERATIONS, output=output, seed=1, durable=False)
        assert values(output) == new
        assert layers(output) == 5
        assert names(output) == listed(output)
        if not killed:
            assert unfinished > 5
            return
    pytest.fail("it never ended")


def test_what_a_killed_edit_left_is_removed_only_if_nobody_reads_it_and_it_is_the_very_file(tmp_path):
    folder = checkpoint(tmp_path / "c", sharded=True)
    index = folder / "model.safetensors.index.json"
    before, old = index.read_bytes(), names(folder)
    steps = [(os, "unlink")]  # dies between the commit and the first removal
    assert killed_at(1, lambda: edit(folder, [Redraw("w1", HALF)], seed=1, threads=1), steps)
    assert index.read_bytes() != before
    gone = (set(old) - set(listed(folder))).pop()
    (folder / gone).rename(folder / "kept")
    (folder / gone).write_bytes((folder / "kept").read_bytes())  # another file of that name, which somebody put
    edit(folder, [])
    assert set(names(folder)) == {*listed(folder), gone, "kept"}


def test_an_index_that_cannot_be_read_keeps_all_files(tmp_path):
    folder = checkpoint(tmp_path / "c", sharded=True)
    steps = [(os, "replace")]  # of the journal, of the file, of the index
    assert killed_at(3, lambda: edit(folder, [Redraw("w1", HALF)], seed=1, threads=1), steps)
    assert any(name.startswith("model-edit") for name in names(folder))
    before = names(folder)
    (folder / "model.safetensors.index.json").write_text("{")
    with pytest.raises(SafetensorsError, match=r"index\.json cannot be read .*nobody knows which files"):
        edit(folder, [])
    assert names(folder) == before


@pytest.mark.parametrize("content", ["{", "[]", '{"journal": "other"}'])
def test_a_journal_that_is_none_is_refused_and_nothing_is_removed(tmp_path, content):
    folder = checkpoint(tmp_path / "c", sharded=True)
    (folder / JOURNAL).write_text(content)
    before = names(folder)
    with pytest.raises(SafetensorsError, match="look at the files beside it, and remove it"):
        edit(folder, [Delete("w1")])
    assert names(folder) == before


@pytest.mark.parametrize(
    "names_in_it",
    [
        {"new": ["../model-edit01234567-00001-of-00002.safetensors"]},
        {"new": ["tokenizer.json"]},
        {"new": ["model-00001-of-00002.safetensors"]},
        {"old": [["tokenizer.json", ""]]},
        {"old": [["../mine.safetensors", ""]]},
        {"commit": "../model.safetensors"},
    ],
)
def test_a_journal_names_weights_in_its_folder_and_nothing_else(tmp_path, names_in_it):
    folder = checkpoint(tmp_path / "c", sharded=True)
    for name in ("tokenizer.json", "../mine.safetensors", "../model-edit01234567-00001-of-00002.safetensors"):
        (folder / name).write_text("x")
    before = names(folder), names(tmp_path)
    entry = {"journal": "fastinit-edit-journal-1", "commit": "model.safetensors.index.json", "size": 0, "digest": ""}
    (folder / JOURNAL).write_text(json.dumps(entry | {"new": [], "old": [], "config": None} | names_in_it))
    with pytest.raises(SafetensorsError, match="no journal of an edit"):
        edit(folder, [])
    (folder / JOURNAL).unlink()
    assert (names(folder), names(tmp_path)) == before


# --- two at once ------------------------------------------------------------------------------------------------------


def test_of_two_editors_one_waits_for_the_other_and_sees_what_it_did(tmp_path):
    folder = checkpoint(tmp_path / "c", sharded=True)
    code = f"""
        from fastinit.edit import *
        for i in range(10):
            edit({str(folder)!r}, [Copy("w1", "c{{}}.%d" % i), Delete("w3") if i == 0 else Rename("w2", "w2")], seed=1)
    """
    results = []
    threads = [
        threading.Thread(
            target=lambda mark=mark: results.append(
                run_python(code.replace("c{}", mark).replace('Delete("w3") if i == 0 else ', ""))
            )
        )
        for mark in ("a", "b")
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [one.stderr for one in results] == ["", ""]
    found = values(folder)
    assert set(found) == {*(f"w{i}" for i in range(4)), *(f"{mark}.{i}" for mark in "ab" for i in range(10))}
    assert all(found[f"{mark}.{i}"] == found["w1"] for mark in "ab" for i in range(10))
    assert names(folder) == listed(folder)


def test_two_that_read_each_others_folder_do_not_wait_in_a_ring(tmp_path):
    folder = checkpoint(tmp_path / "a", sharded=False)
    checkpoint(tmp_path / "b", sharded=False)
    code = """
        import sys
        from fastinit.edit import *
        for i in range(20):
            try:
                edit({!r}, [Redraw("w1")], output={!r}, seed=1)
            except FileExistsError:
                pass
    """
    results = []
    pairs = [(str(folder), str(tmp_path / "b")), (str(tmp_path / "b"), str(folder))]
    threads = [
        threading.Thread(target=lambda pair=pair: results.append(run_python(code.format(*pair), timeout=60)))
        for pair in pairs
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [one.returncode for one in results] == [0, 0], results


# --- another folder ---------------------------------------------------------------------------------------------------


def test_files_beside_the_weights_come_along_and_weights_in_other_formats_do_not(tmp_path):
    folder = checkpoint(tmp_path / "c", sharded=True)
    for name in (
        "tokenizer.json",
        "README.md",
        "pytorch_model.bin",
        "x.gguf",
        "pytorch_model.bin.index.json",
        ".hidden",
    ):
        (folder / name).write_text(name)
    (folder / "empty.txt").write_text("")
    (folder / "inner").mkdir()
    edit(folder, [Redraw("w1", HALF)], output=tmp_path / "o", seed=0, durable=False)
    beside = [name for name in names(tmp_path / "o") if not name.startswith("model")]
    assert beside == ["README.md", "config.json", "empty.txt", "tokenizer.json"]
    assert (tmp_path / "o" / "tokenizer.json").read_text() == "tokenizer.json"
    assert verify(tmp_path / "o").ok


def test_files_of_another_folder_are_no_hard_links(tmp_path):
    folder = checkpoint(tmp_path / "c", sharded=True)
    edit(folder, [Redraw("w1", HALF)], output=tmp_path / "o", seed=0, durable=False)
    assert all(one.stat().st_nlink == 1 for one in (tmp_path / "o").iterdir())
    assert all(one.stat().st_nlink == 1 for one in folder.iterdir())


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "other.safetensors"])
def test_a_folder_that_holds_such_a_file_is_refused_and_keeps_it(tmp_path, name):
    folder = checkpoint(tmp_path / "c", sharded=False)
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / name).write_text("mine")
    with pytest.raises(FileExistsError, match=f"holds {name} already; choose another folder"):
        edit(folder, [Redraw("w1", HALF)], output=tmp_path / "o", seed=0)
    assert names(tmp_path / "o") == [name]
    assert (tmp_path / "o" / name).read_text() == "mine"


def test_the_same_folder_by_another_name_and_a_remote_one_are_refused(tmp_path):
    folder = checkpoint(tmp_path / "c", sharded=False)
    (tmp_path / "link").symlink_to("c")
    for output in (folder, tmp_path / "link", tmp_path / "c" / "..", f"{folder}/../c/"):
        if str(output).endswith(".."):
            continue
        with pytest.raises(ValueError, match="is the folder of the checkpoint; leave out -o"):
            edit(folder, [Redraw("w1", HALF)], output=output, seed=0)
    with pytest.raises(ValueError, match="an edit writes to a local folder"):
        edit(folder, [Redraw("w1", HALF)], output="s3://bucket/folder", seed=0)
    assert names(folder) == ["config.json", "model.safetensors"]


def test_the_kernel_copies_and_memory_does_where_it_cannot(tmp_path, monkeypatch):
    folder = checkpoint(tmp_path / "c", sharded=True)
    edit(folder, OPERATIONS, output=tmp_path / "a", seed=1, durable=False)

    def refuse(*arguments: object) -> int:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "copy_file_range", refuse)
    edit(folder, OPERATIONS, output=tmp_path / "b", seed=1, durable=False)
    monkeypatch.delattr(os, "copy_file_range")
    edit(folder, OPERATIONS, output=tmp_path / "d", seed=1, durable=False)
    for other in ("b", "d"):
        assert values(tmp_path / "a") == values(tmp_path / other)


def test_a_file_system_that_shares_blocks_is_asked_for_whole_files_and_nothing_is_copied(tmp_path, monkeypatch):
    """As btrfs and XFS answer FICLONE: the target has the content of the source, whatever space there is."""
    folder = checkpoint(tmp_path / "c", sharded=True)
    shared, real = [], fcntl.ioctl

    def clone(target: int, request: int, source: object = 0) -> int:
        if request != 0x40049409:
            return real(target, request, source)
        assert os.fstat(target).st_size == os.fstat(target).st_blocks == 0  # nothing was reserved
        shared.append(Path(f"/proc/self/fd/{source}").readlink())
        os.pwrite(target, os.pread(source, os.fstat(source).st_size, 0), 0)
        return 0

    monkeypatch.setattr(fcntl, "ioctl", clone)
    edit(folder, [Redraw("w1", HALF)], output=tmp_path / "o", seed=0, durable=False)
    assert sorted(one.name for one in shared) == ["config.json", "model-00002-of-00002.safetensors"]
    assert verify(tmp_path / "o").ok

    def refuse(*arguments: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "ioctl", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        edit(folder, [Redraw("w1", HALF)], output=tmp_path / "p", seed=0, durable=False)
    assert not (tmp_path / "p").exists()


def test_a_full_disk_is_an_error_that_names_the_file_and_leaves_nothing(tmp_path, monkeypatch):
    folder = checkpoint(tmp_path / "c", sharded=True)
    before = {one.name: one.read_bytes() for one in folder.iterdir()}

    def full(fd: int, begin: int, size: int) -> None:
        if size > 1000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"no space for .*model-edit.*safetensors: it needs"):
        edit(folder, [Redraw("w1", HALF)], seed=0)
    assert {one.name: one.read_bytes() for one in folder.iterdir()} == before
    with pytest.raises(OSError, match=r"no space for .*: it needs"):
        edit(folder, [Redraw("w1", HALF)], output=tmp_path / "o", seed=0)
    assert names(tmp_path) == ["c"]


# --- links ------------------------------------------------------------------------------------------------------------


def hub(tmp_path: Path, *, sharded: bool) -> Path:
    """A checkpoint as the hub's cache keeps it: a snapshot of links to blobs."""
    blobs = checkpoint(tmp_path / "blobs", sharded=sharded)
    (tmp_path / "snapshot").mkdir()
    for one in blobs.iterdir():
        (tmp_path / "snapshot" / one.name).symlink_to(Path("..", "blobs", one.name))
    return tmp_path / "snapshot"


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("in_place", [False, True])
def test_a_hubs_cache_is_not_changed_and_another_folder_gets_files(tmp_path, sharded, in_place):
    folder = hub(tmp_path, sharded=sharded)
    before = {one.name: one.read_bytes() for one in folder.iterdir()}
    with pytest.raises(ValueError, match="is a symbolic link, as in a hub's cache"):
        edit(folder, [Redraw("w1", HALF)], in_place=in_place, seed=0)
    with pytest.raises(ValueError, match="is a symbolic link, as in a hub's cache"):
        edit(folder, [Redraw("w1", HALF)], in_place=in_place, seed=0, dry_run=True)
    assert {one.name: one.read_bytes() for one in folder.iterdir()} == before
    edit(folder, [Redraw("w1", HALF)], output=tmp_path / "o", seed=0, durable=False)
    assert not any(one.is_symlink() for one in (tmp_path / "o").iterdir())
    assert verify(tmp_path / "o").ok


def test_one_shard_of_an_index_is_refused_and_the_folder_named(tmp_path):
    folder = checkpoint(tmp_path / "c", sharded=True)
    with pytest.raises(ValueError, match=r"is one file of .*index\.json; name the folder"):
        edit(folder / "model-00001-of-00002.safetensors", [Redraw(".*", HALF)], seed=0)


def test_files_without_an_index_cannot_change_in_one_step_and_can_elsewhere(tmp_path):
    for name in "ab":
        safetensors.numpy.save_file({name: np.zeros(3, np.float32)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(ValueError, match="2 files without an index, which cannot change in one step"):
        edit(tmp_path, [Redraw("a", HALF)], seed=0)
    edit(tmp_path, [Redraw("a", HALF), Copy("b", "c")], output=tmp_path / "o", seed=0)
    assert set(safetensors.numpy.load_file(tmp_path / "o" / "b.safetensors")) == {"b", "c"}
    assert edit(tmp_path / "a.safetensors", [Redraw("a", HALF)], seed=0).changes.tensors[0].name == "a"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder, index: index.pop("weight_map"), 'no "weight_map"'),
        (lambda folder, index: index["weight_map"].pop("w0"), "says that 'w0' is in no file"),
        (
            lambda folder, index: index["weight_map"].update(x="model-00001-of-00002.safetensors"),
            "'x' is in model-0000",
        ),
        (lambda folder, index: index["weight_map"].update(w0="../w.safetensors"), "lists files beside it"),
        (lambda folder, index: index.update(metadata=3), '"metadata" that is no object'),
        (lambda folder, index: (folder / "model-00002-of-00002.safetensors").unlink(), "is missing; .* lists it"),
    ],
)
def test_an_index_that_disagrees_with_its_files_is_refused(tmp_path, damage, message):
    folder = tmp_path / "c"
    write(PLAN, folder, seed=0, shard_size=8000, durable=False)
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    damage(folder, index)
    path.write_text(json.dumps(index))
    with pytest.raises((SafetensorsError, FileNotFoundError), match=message):
        edit(folder, [Delete("w1")])


# --- in place ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("sharded", [False, True])
def test_in_place_only_the_bytes_of_the_tensor_change_and_verify_knows_how(tmp_path, ours, sharded):
    folder = checkpoint(tmp_path / "c", sharded=sharded)
    if not ours:
        for file in folder.glob("*.safetensors"):
            safetensors.numpy.save_file(safetensors.numpy.load_file(file), file)
    before = {one.name: (one.stat().st_ino, one.read_bytes()) for one in folder.iterdir()}
    file = next(one for one in folder.glob("*.safetensors") if "w1" in read_header(one).slots)
    report = edit(folder, [Redraw("w1", HALF)], in_place=True, seed=7)
    assert [(one.name, one.what, one.bytes) for one in report.changes.files] == [
        (file.name, "overwritten in part", 4000)
    ]
    slot = read_header(file).slots["w1"]
    expected = np.empty((50, 20), np.float32)
    fastinit.fill(expected, Normal(0.0, 0.5), seed=7, name="w1")
    for name, (node, content) in before.items():
        assert (folder / name).stat().st_ino == node
        if name == file.name:
            content = content[: slot.begin] + expected.tobytes() + content[slot.end :]
        assert (folder / name).read_bytes() == content
    assert set(names(folder)) - set(before) == {f"{file.name}.edited.json"}
    found = {one.name: one for one in verify(folder).tensors}
    assert found["w1"].status == "as initialised"
    assert "redraw" in found["w1"].how
    assert {found[f"w{i}"].status for i in (0, 2, 3)} == {"as initialised" if ours else "unknown law"}
    data = bytearray(file.read_bytes())
    data[slot.begin + 80] ^= 1
    file.write_bytes(data)
    assert {one.name: one.status for one in verify(folder).tensors}["w1"] == "differs"


def test_a_law_that_is_drawn_whole_is_drawn_into_its_place(tmp_path):
    folder = checkpoint(tmp_path / "c", sharded=False)
    before = values(folder)
    laws = Laws(by_name={"w1": Orthogonal(), "w2": Sparse(nonzeros=2)})
    edit(folder, [Redraw("w[12]", laws)], in_place=True, seed=7, durable=False)
    w1 = safetensors.numpy.load_file(folder / "model.safetensors")["w1"]
    np.testing.assert_allclose(w1.T @ w1, np.eye(20), atol=1e-5)
    assert {one.name: one.status for one in verify(folder).tensors} == {
        "w0": "as initialised",
        "w1": "as initialised to a tolerance",
        "w2": "as initialised",
        "w3": "as initialised",
    }
    assert {name: values(folder)[name] for name in ("w0", "w3")} == {name: before[name] for name in ("w0", "w3")}


def test_what_was_overwritten_is_in_the_metadata_of_the_next_file(tmp_path):
    folder = checkpoint(tmp_path / "c", sharded=False)
    edit(folder, [Redraw("w1", HALF)], in_place=True, seed=7)
    edit(folder, [Delete("w2")], output=tmp_path / "o", durable=False)
    edit(folder, [], output=tmp_path / "p", durable=False)
    edit(folder, [Delete("w2")], durable=False)
    for one in (folder, tmp_path / "o", tmp_path / "p"):
        assert names(one) == ["config.json", "model.safetensors"]
        found = {tensor.name: tensor for tensor in verify(one).tensors}
        assert {tensor.status for tensor in found.values()} == {"as initialised"}
        assert found["w1"].how == "redraw (law Normal(mean=0.0, std=0.5), seed 7)"


def test_a_tensor_that_is_drawn_in_place_as_it_was_at_first_needs_no_record(tmp_path):
    folder = checkpoint(tmp_path / "c", sharded=False)
    before = (folder / "model.safetensors").read_bytes()
    edit(folder, [Redraw("w.*", HALF)], in_place=True, seed=7)
    assert "model.safetensors.edited.json" in names(folder)
    edit(folder, [Redraw("w.*", Laws.of_plan(PLAN))], in_place=True, seed=0)
    assert names(folder) == ["config.json", "model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == before
    plan = Plan([Tensor("z", (9,), "float32", Constant(0.0))])
    write(plan, tmp_path / "z", seed=0, durable=False)
    edit(tmp_path / "z", [Redraw("z", Laws(by_name={"z": Constant(-0.0)}))], in_place=True, seed=0)
    assert verify(tmp_path / "z").ok  # a record, since the bits of the two constants differ


def test_a_record_of_another_file_of_that_name_does_not_count(tmp_path):
    folder = checkpoint(tmp_path / "c", sharded=False)
    edit(folder, [Redraw("w1", HALF)], in_place=True, seed=7)
    write(PLAN, folder, seed=3, overwrite=True, durable=False)
    assert verify(folder).ok
    (folder / "model.safetensors.edited.json").write_text("{")
    with pytest.raises(SafetensorsError, match=r"edited\.json is damaged"):
        verify(folder)


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (Cast("float16", "w1"), r"'w1' would be more than a draw \(cast\)"),
        (Redraw("w1", Laws(rules=(Rule(".*", "zeros", dtype="float16"),))), "'w1' is float32 .* and would be float16"),
        (Delete("w1"), "'w1' would be gone"),
        (Rename("w1", "x"), r"'x' would be more than a draw \(rename\)"),
        (Copy("w1", "x"), r"'x' would be more than a draw \(copy\)"),
        (Add("x", (3,), {"scheme": "zeros"}), "'x' would be more than a draw"),
        (Configure("layers", 3), r"config.json would change \(layers\)"),
    ],
)
def test_in_place_nothing_but_a_draw_is_possible(tmp_path, operation, message):
    folder = checkpoint(tmp_path / "c", sharded=False)
    before = {one.name: one.read_bytes() for one in folder.iterdir()}
    for dry in (True, False):
        with pytest.raises(ValueError, match=f"{message}.*leave out in_place=True"):
            edit(folder, [operation], in_place=True, seed=0, dry_run=dry)
    assert {one.name: one.read_bytes() for one in folder.iterdir()} == before
    with pytest.raises(ValueError, match="leave out output"):
        edit(folder, [operation], in_place=True, output=tmp_path / "o", seed=0)


def test_in_place_a_file_with_two_names_is_refused(tmp_path):
    folder = checkpoint(tmp_path / "c", sharded=False)
    before = (folder / "model.safetensors").read_bytes()
    os.link(folder / "model.safetensors", tmp_path / "other")
    with pytest.raises(ValueError, match=r"has 2 names \(hard links\)"):
        edit(folder, [Redraw("w1", HALF)], in_place=True, seed=0)
    assert (folder / "model.safetensors").read_bytes() == before
    edit(folder, [Redraw("w1", HALF)], seed=0, durable=False)
    assert (tmp_path / "other").read_bytes() == before  # a new file has the name; the other name keeps the old one


@pytest.mark.parametrize("stride", MOMENTS)
def test_killed_in_place_the_same_edit_run_again_ends_it_and_verify_finds_it_before(tmp_path, stride):
    statuses = set()
    for k in range(1, 2000, stride):
        folder = checkpoint(tmp_path / str(k), sharded=True)
        untouched = {name: one for name, one in values(folder).items() if name not in ("w1", "w2")}
        killed = killed_at(
            k, lambda folder=folder: edit(folder, [Redraw("w[12]", HALF)], in_place=True, seed=7, threads=1)
        )
        found = {one.name: one.status for one in verify(folder).tensors}
        statuses.add((found["w1"], found["w2"]))
        assert found["w0"] == found["w3"] == "as initialised"
        assert {name: values(folder)[name] for name in untouched} == untouched
        edit(folder, [Redraw("w[12]", HALF)], in_place=True, seed=7, durable=False)
        assert verify(folder).ok
        assert not [name for name in names(folder) if name.startswith(".")]
        if not killed:
            same = "as initialised"
            assert len(statuses) == 4 if stride == 1 else {(same, same), ("differs", "differs")} < statuses
            return
    pytest.fail("it never ended")


def test_the_command_line_says_what_a_kill_leaves_before_it_begins(tmp_path, capsys):
    folder = checkpoint(tmp_path / "c", sharded=False)
    law = 'scheme = "normal", std = 0.5'
    assert main(["edit", str(folder), "--redraw", "w1", "--law", law, "--seed", "7", "--in-place"]) == 0
    out, err = capsys.readouterr()
    assert "if this is killed, run the same command with the same seed again to finish it" in err
    assert "its seed is 7" in err
    assert "overwritten in part, 4,000 bytes" in out


def test_files_of_an_edit_have_names_of_their_own(tmp_path):
    # A shard goes and another comes, so that the new one has the number that the last one had.
    folder = checkpoint(tmp_path / "c", sharded=True)
    before = values(folder)
    edit(folder, [Delete("w[01]"), Copy("w2", "w4"), Redraw("w3", HALF)], seed=1, durable=False)
    drawn = fastinit.new((50, 20), Normal(0.0, 0.5), seed=1, name="w3").tobytes()
    assert values(folder) == {"w2": before["w2"], "w3": drawn, "w4": before["w2"]}
    # Files of two edits whose names have the same number are both written anew.
    edit(folder, [Cast("bfloat16", ".*")], seed=1, durable=False)
    assert {one.name: one.dtype for one in verify(folder).tensors} == dict.fromkeys(("w2", "w3", "w4"), "bfloat16")
    assert names(folder) == listed(folder)


def test_a_killed_edit_of_one_file_leaves_nothing_that_the_next_does_not_remove(tmp_path):
    folder = checkpoint(tmp_path / "c", sharded=False)
    for k in range(1, 400):
        killed = killed_at(k, lambda: edit(folder, [Redraw("w1", HALF)], seed=1, threads=1))
        edit(folder, [], durable=False)
        assert names(folder) == listed(folder)
        if not killed:
            assert k > 10
            return
    pytest.fail("it never ended")


def test_a_temporary_file_that_was_still_locked_is_removed_by_the_edit_after_the_next(tmp_path):
    folder = checkpoint(tmp_path / "c", sharded=True)
    leftover = folder / ".model-edit01234567-00002-of-00002.safetensors.89abcdef.partial"
    with leftover.open("w") as held:  # as of a process that is killed, and has closed the folder already
        fcntl.flock(held, fcntl.LOCK_EX)
        edit(folder, [Redraw("w1", HALF)], seed=1, durable=False)
        assert leftover.exists()
    strangers = folder / ".other-edit01234567.safetensors.89abcdef.partial"
    strangers.write_bytes(b"")
    edit(folder, [], durable=False)
    assert not leftover.exists()
    assert strangers.exists()
