"""A file appears under its name whole or not at all, whatever goes wrong."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import as_nobody, descriptors

from fastinit.files import failures, publish
from fastinit.files.publish import publishing, write_at

SIZE = 100_000


def put(path: Path, *, content: bytes = b"x" * SIZE, overwrite: bool = False, durable: bool = True) -> None:
    with publishing(path, len(content), overwrite=overwrite, durable=durable) as fd:
        write_at(fd, content, 0)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("durable", [True, False])
def test_the_file_has_its_bytes_and_nothing_else_is_there(tmp_path: Path, durable: bool) -> None:
    put(tmp_path / "w.bin", durable=durable)
    assert names(tmp_path) == ["w.bin"]
    assert (tmp_path / "w.bin").read_bytes() == b"x" * SIZE


def test_an_empty_file_can_be_published(tmp_path: Path) -> None:
    put(tmp_path / "w.bin", content=b"")
    assert (tmp_path / "w.bin").stat().st_size == 0


def test_the_name_is_absent_and_the_space_reserved_while_the_block_runs(tmp_path: Path) -> None:
    with publishing(tmp_path / "w.bin", SIZE) as fd:
        assert not (tmp_path / "w.bin").exists()
        assert os.fstat(fd).st_size == SIZE
        assert os.fstat(fd).st_blocks * 512 >= SIZE


@pytest.mark.parametrize(
    "error", [ValueError("broken"), OSError(errno.EIO, "broken"), KeyboardInterrupt(), SystemExit(3)]
)
def test_any_exception_leaves_nothing_behind(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), publishing(tmp_path / "w.bin", SIZE):
        raise error
    assert names(tmp_path) == []


def test_a_failed_sync_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=r"w\.bin cannot be written: Input/output error"):
        put(tmp_path / "w.bin")
    assert names(tmp_path) == []


def test_without_durable_nothing_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    put(tmp_path / "a.bin", durable=False)
    assert synced == []
    put(tmp_path / "b.bin")
    assert len(synced) == 2  # the file, then its folder


def test_an_existing_file_is_refused_and_keeps_its_content(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"old")
    with pytest.raises(FileExistsError, match=r"w\.bin already exists; replace it .*--overwrite.*--existing"):
        put(tmp_path / "w.bin")
    assert (tmp_path / "w.bin").read_bytes() == b"old"
    assert names(tmp_path) == ["w.bin"]


def test_a_file_that_another_writer_published_meanwhile_is_refused_too(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="already exists"), publishing(tmp_path / "w.bin", SIZE):
        put(tmp_path / "w.bin", content=b"faster")
    assert (tmp_path / "w.bin").read_bytes() == b"faster"
    assert names(tmp_path) == ["w.bin"]


def test_overwrite_keeps_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "w.bin"
    target.write_bytes(b"old")
    with pytest.raises(ValueError, match="broken"), publishing(target, SIZE, overwrite=True):
        raise ValueError("broken")
    assert target.read_bytes() == b"old"
    with publishing(target, 3, overwrite=True) as fd:
        write_at(fd, b"new", 0)
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["w.bin"]


def test_overwrite_keeps_the_permissions(tmp_path: Path) -> None:
    target = tmp_path / "w.bin"
    target.write_bytes(b"old")
    target.chmod(0o640)
    put(target, overwrite=True)
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "w.bin").symlink_to(tmp_path / "elsewhere" / "real.bin")
    put(tmp_path / "w.bin")
    assert (tmp_path / "w.bin").is_symlink()
    assert (tmp_path / "elsewhere" / "real.bin").stat().st_size == SIZE


def test_a_name_of_255_bytes_can_be_published(tmp_path: Path) -> None:
    target = tmp_path / ("ß" * 125 + "w.bin")
    assert len(os.fsencode(target.name)) == 255
    put(target)
    assert names(tmp_path) == [target.name]


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_directory_in_the_way_is_refused(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "w.bin").mkdir()
    with pytest.raises(IsADirectoryError, match=r"w\.bin is a directory"):
        put(tmp_path / "w.bin", overwrite=overwrite)
    assert names(tmp_path) == ["w.bin"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist.*make the folder first"):
        put(tmp_path / "nowhere" / "w.bin")


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError, match="file is not a directory"):
        put(tmp_path / "file" / "w.bin")


def test_a_folder_nobody_may_write_to_is_named() -> None:
    # /sys refuses new files to everyone, root included.
    with pytest.raises(PermissionError, match=r"/sys/w\.bin cannot be written \(.*\); choose a folder"):
        put(Path("/sys/w.bin"))


def test_more_than_the_disk_holds_is_refused_at_once_with_both_sizes(tmp_path: Path) -> None:
    disk = os.statvfs(tmp_path)
    size = disk.f_blocks * disk.f_frsize + (1 << 30)
    reached = False
    with pytest.raises(OSError, match=rf"needs {size:,} bytes") as caught, publishing(tmp_path / "w.bin", size):
        reached = True
    assert not reached
    assert caught.value.errno in (errno.ENOSPC, errno.EFBIG)
    assert names(tmp_path) == []


def test_a_file_system_without_fallocate_is_compared_with_its_free_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int, offset: int, length: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    put(tmp_path / "w.bin")
    assert (tmp_path / "w.bin").stat().st_size == SIZE
    with pytest.raises(
        OSError, match=r"no space for .*big\.bin: it needs .* bytes, and .* has .* bytes free"
    ) as caught:
        put_size(tmp_path / "big.bin", 1 << 60)
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.delattr(os, "posix_fallocate")
    put(tmp_path / "v.bin")
    assert names(tmp_path) == ["v.bin", "w.bin"]


def put_size(path: Path, size: int) -> None:
    with publishing(path, size):
        pytest.fail("space that does not exist was reserved")


def refuse_renames(monkeypatch: pytest.MonkeyPatch, number: int = errno.EINVAL) -> None:
    """A file system, or a kernel, that knows no rename which refuses to replace."""

    def refuse(folder: int, old: str, new: str) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(publish, "rename_exclusive", refuse)


def refuse_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without hard links."""

    def refuse(source: object, target: object, **options: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("renames", [errno.EINVAL, errno.ENOSYS, errno.EPERM, None])
def test_a_file_system_without_renames_or_links_still_refuses_an_existing_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool, renames: int | None
) -> None:
    if renames is not None:
        refuse_renames(monkeypatch, renames)
    if not links:
        refuse_links(monkeypatch)
    with pytest.raises(FileExistsError, match="already exists"), publishing(tmp_path / "w.bin", SIZE):
        put(tmp_path / "w.bin", content=b"faster")
    assert (tmp_path / "w.bin").read_bytes() == b"faster"
    assert names(tmp_path) == ["w.bin"]


def test_a_file_size_limit_is_an_error_with_the_size_and_leaves_nothing(tmp_path: Path) -> None:
    code = f"""
import resource, sys
from fastinit.files.publish import publishing
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    with publishing({str(tmp_path / "w.bin")!r}, 1 << 24):
        sys.exit("reserved more than the limit")
except OSError as error:
    print(error.errno, error.strerror)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{errno.EFBIG} ")
    assert "w.bin is too large: it needs 16,777,216 bytes" in done.stdout
    assert names(tmp_path) == []


HOLD = """
import sys, time
from fastinit.files.publish import publishing
with publishing(sys.argv[1], 4096):
    print("holding", flush=True)
    time.sleep(600)
"""


def hold(target: Path) -> subprocess.Popen[str]:
    """A child that stands inside `publishing`."""
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(target)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "holding\n"
    return child


def end(child: subprocess.Popen[str], number: int) -> None:
    child.send_signal(number)
    child.wait(timeout=60)
    assert child.stdout is not None
    child.stdout.close()


def test_a_killed_writer_leaves_no_name_and_the_next_one_tidies_up(tmp_path: Path) -> None:
    target = tmp_path / "w [1]*.bin"  # what a pattern must not take for a wildcard
    end(hold(target), signal.SIGKILL)
    assert len(names(tmp_path)) == 1
    assert names(tmp_path)[0].endswith(".partial")
    put(target)
    assert names(tmp_path) == [target.name]


def test_the_temporary_file_of_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    child = hold(tmp_path / "w.bin")
    put(tmp_path / "w.bin")
    assert len(names(tmp_path)) == 2
    end(child, signal.SIGINT)
    assert names(tmp_path) == ["w.bin"]


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    end(hold(tmp_path / "w.bin"), signal.SIGINT)
    assert names(tmp_path) == []


def test_what_a_dead_writer_left_is_removed_also_where_the_target_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "w.bin"
    end(hold(target), signal.SIGKILL)
    target.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="already exists"):
        put(target)
    assert names(tmp_path) == ["w.bin"]


def test_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (
        pytest.raises(FileExistsError, match="pipe is a device or a pipe, and would become a file"),
        publishing(tmp_path / "pipe", SIZE, overwrite=True),
    ):
        pass
    assert (tmp_path / "pipe").is_fifo()


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: whole(fd, data[:7], offset))
    put(tmp_path / "w.bin", content=bytes(range(100)))
    assert (tmp_path / "w.bin").read_bytes() == bytes(range(100))


def test_two_writers_at_once_never_mix(tmp_path: Path) -> None:
    code = """
import sys
from fastinit.files.publish import publishing, write_at
with publishing(sys.argv[1], 1 << 22, durable=False) as fd:
    for i in range(1 << 10):
        write_at(fd, sys.argv[2].encode() * 4096, 4096 * i)
"""
    for attempt in range(3):
        target = tmp_path / f"{attempt}.bin"
        children = [
            subprocess.Popen([sys.executable, "-c", code, str(target), mark], stderr=subprocess.PIPE, text=True)
            for mark in "ab"
        ]
        errors = [child.communicate(timeout=60)[1] for child in children]
        codes = [child.returncode for child in children]
        assert 0 in codes, errors
        assert all(code == 0 or "already exists" in error for code, error in zip(codes, errors, strict=True)), errors
        content = target.read_bytes()
        assert content in (b"a" * (1 << 22), b"b" * (1 << 22))
    assert names(tmp_path) == ["0.bin", "1.bin", "2.bin"]


def test_an_unknown_fault_of_the_disk_keeps_its_number_and_names_the_file(tmp_path: Path) -> None:
    for number in (errno.EIO, errno.EDQUOT, errno.EROFS, errno.ENOSPC, errno.EFBIG):
        error = failures.cannot_write(OSError(number, os.strerror(number)), tmp_path / "w.bin", 12345)
        assert error.errno == number
        assert "w.bin" in str(error)


# --- permissions ------------------------------------------------------------------------------------------------------

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o444, 0o200])
def test_the_temporary_file_never_has_wider_permissions_than_the_file_it_replaces(tmp_path: Path, mode: int) -> None:
    target = tmp_path / "w.bin"
    target.write_bytes(b"old")
    target.chmod(mode)
    with publishing(target, 3, overwrite=True) as fd:
        (partial,) = tmp_path.glob(".w.bin.*.partial")
        assert mode_of(partial) & 0o077 & ~mode == 0
        write_at(fd, b"new", 0)
    assert target.read_bytes() == b"new"
    assert mode_of(target) == mode


@as_root
def test_overwrite_keeps_owner_and_group_and_what_root_may_give(tmp_path: Path) -> None:
    target = tmp_path / "w.bin"
    target.write_bytes(b"old")
    os.chown(target, 1234, 5678)
    target.chmod(0o4640)
    put(target, overwrite=True)
    found = target.stat()
    assert (found.st_uid, found.st_gid, mode_of(target)) == (1234, 5678, 0o4640)


@as_root
@pytest.mark.parametrize(("mode", "left"), [(0o664, 0o644), (0o660, 0o600), (0o4775, 0o755), (0o646, 0o646)])
def test_a_group_that_cannot_be_kept_leaves_its_rights_to_nobody(tmp_path: Path, mode: int, left: int) -> None:
    """Its bits would speak of the writer's own group."""
    tmp_path.chmod(0o777)
    target = tmp_path / "w.bin"
    target.write_bytes(b"old")
    target.chmod(mode)
    assert as_nobody(lambda: put(Path("w.bin"), overwrite=True), tmp_path) == ""
    assert (target.stat().st_uid, mode_of(target)) == (65534, left)


@as_root
def test_a_group_of_ones_own_is_kept(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    target = tmp_path / "w.bin"
    target.write_bytes(b"old")
    os.chown(target, 0, 4321)
    target.chmod(0o660)
    assert as_nobody(lambda: put(Path("w.bin"), overwrite=True), tmp_path, groups=[4321]) == ""
    assert (target.stat().st_uid, target.stat().st_gid, mode_of(target)) == (65534, 4321, 0o660)


def test_overwrite_keeps_the_access_control_list(tmp_path: Path) -> None:
    """Without the list, the mask that the mode shows would be what the group may."""
    target = tmp_path / "w.bin"
    target.write_bytes(b"old")
    entries = [(1, 6, -1), (2, 6, 1234), (4, 0, -1), (16, 6, -1), (32, 0, -1)]  # owner, user 1234, group, mask, others
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    try:
        os.setxattr(target, "system.posix_acl_access", acl)
    except OSError as error:
        pytest.skip(f"no access control lists here: {error}")
    assert mode_of(target) == 0o660
    put(target, overwrite=True)
    assert os.getxattr(target, "system.posix_acl_access") == acl
    assert mode_of(target) == 0o660


@as_root
def test_a_folder_that_may_be_written_but_not_read_takes_a_file(tmp_path: Path) -> None:
    tmp_path.chmod(0o333)
    assert as_nobody(lambda: put(Path("w.bin")), tmp_path) == ""
    tmp_path.chmod(0o755)
    assert names(tmp_path) == ["w.bin"]


def test_what_is_there_is_kept_unless_it_is_to_be_overwritten(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"old")
    with pytest.raises(FileExistsError, match=r"w\.bin already exists"), publishing(tmp_path / "w.bin", 3):
        pytest.fail("a file that is there was to be replaced")
    assert (tmp_path / "w.bin").read_bytes() == b"old"


# --- leftovers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        ".w.npy.download.partial",
        ".w.npy.DEADBEEF.partial",
        ".w.npy.0123abcg.partial",
        ".w.npy.0123abc.partial",
        ".w.npy.0123abcde.partial",
        ".w.npy.0123abcd.partial.bak",
        ".w.npy.0123abcd.partial\n",
        "w.npy.0123abcd.partial",
        ".v.npy.0123abcd.partial",
        ".w.npy.٠١٢٣٤٥٦٧.partial",
    ],
)
def test_a_file_of_another_name_is_never_taken_for_a_leftover(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"mine")
    put(tmp_path / "w.npy")
    put(tmp_path / "w.npy", overwrite=True)
    assert names(tmp_path) == sorted([name, "w.npy"])


def test_only_a_regular_file_is_taken_for_a_leftover(tmp_path: Path) -> None:
    (tmp_path / ".w.npy.00000000.partial").mkdir()
    (tmp_path / ".w.npy.00000001.partial").symlink_to("w.npy")
    os.mkfifo(tmp_path / ".w.npy.00000002.partial")
    (tmp_path / ".w.npy.00000003.partial").write_bytes(b"half")
    put(tmp_path / "w.npy")
    assert len(names(tmp_path)) == 4


def test_without_locks_a_leftover_stays_and_files_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    (tmp_path / ".w.bin.01234567.partial").write_bytes(b"half")
    put(tmp_path / "w.bin")
    put(tmp_path / "w.bin", overwrite=True)
    assert names(tmp_path) == [".w.bin.01234567.partial", "w.bin"]


def test_no_clock_decides_what_a_leftover_is(tmp_path: Path) -> None:
    child = hold(tmp_path / "w.bin")
    (partial,) = tmp_path.iterdir()
    (tmp_path / ".w.bin.01234567.partial").write_bytes(b"half")
    for when in (0, 1 << 32):
        os.utime(partial, (when, when))
        os.utime(tmp_path / ".w.bin.01234567.partial", (when, when)) if when == 0 else None
        put(tmp_path / "w.bin", overwrite=True)
        assert names(tmp_path) == sorted([partial.name, "w.bin"])
    end(child, signal.SIGKILL)


def test_a_folder_that_is_renamed_meanwhile_has_the_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with publishing(tmp_path / "a" / "w.bin", 3) as fd:
        (tmp_path / "a").rename(tmp_path / "b")
        write_at(fd, b"new", 0)
    with pytest.raises(ValueError, match="broken"), publishing(tmp_path / "b" / "v.bin", 3):
        (tmp_path / "b").rename(tmp_path / "c")
        raise ValueError("broken")
    assert names(tmp_path) == ["c"]
    assert names(tmp_path / "c") == ["w.bin"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_writer_whose_temporary_file_somebody_has_removed_ends_with_an_error(tmp_path: Path, overwrite: bool) -> None:
    """As another machine may, where locks hold on one only."""
    (tmp_path / "w.bin").write_bytes(b"old") if overwrite else None
    before = descriptors()
    with (
        pytest.raises(FileNotFoundError, match=r"w\.bin cannot be written"),
        publishing(tmp_path / "w.bin", SIZE, overwrite=overwrite),
    ):
        next(tmp_path.glob(".w.bin.*.partial")).unlink()
    assert names(tmp_path) == ["w.bin"] * overwrite
    assert descriptors() == before


def test_a_file_that_has_taken_the_temporary_name_meanwhile_is_not_removed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="broken"), publishing(tmp_path / "w.bin", SIZE):
        (partial,) = tmp_path.iterdir()
        partial.unlink()
        partial.write_bytes(b"mine")
        raise ValueError("broken")
    assert partial.read_bytes() == b"mine"


def test_a_name_that_is_too_long_is_refused_before_a_byte_is_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cannot be written: File name too long"), publishing(tmp_path / ("w" * 256), 3):
        pytest.fail("it was begun")
    assert names(tmp_path) == []


# --- every step fails -------------------------------------------------------------------------------------------------


class Failing:
    """A function of the system that fails once, at the k-th call, with this error."""

    def __init__(self, real: Callable[..., object], k: int, error: BaseException) -> None:
        self.real, self.left, self.error, self.failed = real, k, error, False

    def __call__(self, *arguments: object, **options: object) -> object:
        self.left -= 1
        if self.left == 0:
            self.failed = True
            raise self.error
        return self.real(*arguments, **options)


STEPS = [
    (os, "open"),
    (os, "posix_fallocate"),
    (os, "pwrite"),
    (os, "fsync"),
    (os, "dup"),
    (os, "link"),
    (os, "rename"),
    (os, "replace"),
    (os, "unlink"),
    (os, "fstat"),
    (os, "stat"),
    (os, "fchmod"),
    (os, "fchown"),
    (os, "listdir"),
    (os, "readlink"),
    (fcntl, "flock"),
    (publish, "rename_exclusive"),
]


@pytest.mark.parametrize("error", [OSError(errno.EIO, os.strerror(errno.EIO)), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("known", ["renames", "links", "neither"])
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(("module", "step"), STEPS, ids=lambda value: value if isinstance(value, str) else "")
def test_whatever_step_fails_the_file_is_whole_or_absent_and_a_rerun_leaves_nothing_else(
    tmp_path: Path, module: object, step: str, overwrite: bool, known: str, error: BaseException
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "to").symlink_to("real")
    target, new = tmp_path / "to" / "w.bin", b"new" * 100
    for k in range(1, 100):
        with pytest.MonkeyPatch.context() as patch:
            if known != "renames" and step != "rename_exclusive":
                refuse_renames(patch)
            if known == "neither" and step != "link":
                refuse_links(patch)
            target.unlink(missing_ok=True)
            if overwrite:
                target.write_bytes(b"old")
                os.chown(target, *((12, 34) if os.geteuid() == 0 else (-1, -1)))
            # What another writer left, so that removing it may fail, too.
            (tmp_path / "real" / ".w.bin.01234567.partial").write_bytes(b"half")
            before = descriptors()
            failing = Failing(getattr(module, step), k, error)
            with patch.context() as fault:
                fault.setattr(module, step, failing)
                try:
                    put(target, content=new, overwrite=overwrite, durable=k % 2 == 0 or step != "dup")
                    raised = None
                except (OSError, KeyboardInterrupt) as caught:
                    raised = caught
            assert descriptors() == before
            there = target.read_bytes() if target.exists() else None
            assert there in ((b"old", new) if overwrite else (None, new))
            if raised is None:
                assert there == new
            if there != new and raised is not None and step != "unlink":
                assert all(name in ("w.bin", ".w.bin.01234567.partial") for name in names(tmp_path / "real")) or (
                    step in ("fstat", "stat")  # the tidying itself could not tell whose file it was
                )
            put(target, content=new, overwrite=True)
            assert target.read_bytes() == new
            assert names(tmp_path / "real") == ["w.bin"]
            assert descriptors() == before
            if not failing.failed:
                return
    pytest.fail("it never ended")


def test_an_error_while_tidying_up_does_not_hide_the_first_one_and_lets_go_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = descriptors()
    monkeypatch.setattr(os, "unlink", Failing(os.unlink, 1, OSError(errno.EIO, "Input/output error")))
    with pytest.raises(ValueError, match="broken") as caught, publishing(tmp_path / "w.bin", SIZE):
        raise ValueError("broken")
    assert "could not be removed" in caught.value.__notes__[0]
    assert descriptors() == before
    put(tmp_path / "w.bin")  # in this very process: the lock is gone
    assert names(tmp_path) == ["w.bin"]


def test_a_second_name_that_cannot_be_removed_is_an_error_that_says_the_file_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_renames(monkeypatch)
    monkeypatch.setattr(os, "unlink", Failing(os.unlink, 1, OSError(errno.EIO, "Input/output error")))
    with pytest.raises(OSError, match=r"w\.bin is whole and has its name, but \.w\.bin\..*could not be removed"):
        put(tmp_path / "w.bin")
    assert (tmp_path / "w.bin").read_bytes() == b"x" * SIZE
    put(tmp_path / "w.bin", overwrite=True)
    assert names(tmp_path) == ["w.bin"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_cannot_be_synced_is_an_error_that_says_the_file_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    monkeypatch.setattr(os, "fsync", Failing(os.fsync, 2, OSError(errno.EIO, "Input/output error")))
    with pytest.raises(
        OSError, match=r"w\.bin is whole and has its name, but its folder could not be synced: Input/ou"
    ):
        put(tmp_path / "w.bin", overwrite=overwrite)
    assert (tmp_path / "w.bin").read_bytes() == b"x" * SIZE
    assert names(tmp_path) == ["w.bin"]


@pytest.mark.parametrize("links", [True, False])
def test_a_step_whose_answer_was_lost_has_been_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """A network file system asks again when no answer comes, and is told that the name is taken: by our own file."""
    rename, link = publish.rename_exclusive, os.link

    def renamed(folder: int, old: str, new: str) -> None:
        if links:
            raise OSError(errno.EINVAL, "Invalid argument")
        rename(folder, old, new)
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    def linked(*arguments: object, **options: object) -> None:
        link(*arguments, **options)  # type: ignore[arg-type]
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(publish, "rename_exclusive", renamed)
    monkeypatch.setattr(os, "link", linked)
    put(tmp_path / "w.bin")
    assert names(tmp_path) == ["w.bin"]


def test_a_write_that_a_network_file_system_reports_at_the_close_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = os.close

    def late(fd: int) -> None:
        lost = os.fstat(fd).st_size == SIZE and not late_once
        close(fd)
        if lost:
            late_once.append(fd)
            raise OSError(errno.EIO, "Input/output error")

    late_once: list[int] = []
    monkeypatch.setattr(os, "close", late)
    with pytest.raises(OSError, match=r"w\.bin cannot be written: Input/output error"):
        put(tmp_path / "w.bin", durable=False)
    assert names(tmp_path) == []


# --- what planted faults showed ---------------------------------------------------------------------------------------


def test_by_default_file_and_folder_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(publish.system, "sync", lambda fd: synced.append("folder" if is_folder(fd) else "file"))
    with publishing(tmp_path / "w.bin", SIZE):
        pass
    assert synced == ["file", "folder"]
    with publishing(tmp_path / "w.bin", SIZE, overwrite=True, durable=False):
        pass
    assert synced == ["file", "folder"]


def is_folder(fd: int) -> bool:
    return stat.S_ISDIR(os.fstat(fd).st_mode)


@pytest.mark.parametrize("size", [0, 1, SIZE])
@pytest.mark.parametrize("has_fallocate", [True, False])
def test_space_is_reserved_to_the_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, has_fallocate: bool
) -> None:
    if has_fallocate:  # nobody asks for the free space, which some file systems tell wrongly
        monkeypatch.setattr(publish.system, "free_bytes", lambda fd: 0)
    else:
        monkeypatch.setattr(publish.system, "allocate", lambda fd, size: False)
        monkeypatch.setattr(publish.system, "free_bytes", lambda fd: size)  # just enough
    with (tmp_path / "w.bin").open("wb") as file:
        publish.reserve(file.fileno(), size)
        assert os.fstat(file.fileno()).st_size == size


def test_what_a_full_disk_had_given_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, size: int) -> bool:
        os.ftruncate(fd, size // 2)
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(publish.system, "allocate", full)
    with (tmp_path / "w.bin").open("wb") as file:
        with pytest.raises(OSError, match="full"):
            publish.reserve(file.fileno(), SIZE)
        assert os.fstat(file.fileno()).st_size == 0


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is a call of Linux")
def test_a_rename_that_refuses(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        publish.rename_exclusive(folder, "old", "new")
        assert names(tmp_path) == ["new"]
        (tmp_path / "old").write_text("later")
        with pytest.raises(FileExistsError):
            publish.rename_exclusive(folder, "old", "new")
        assert (tmp_path / "new").read_text() == "old"
        assert names(tmp_path) == ["new", "old"]
        with pytest.raises(OSError, match="implemented") as refused:
            publish.rename_exclusive(str(tmp_path), "old", "third")  # a folder without a descriptor, as on Windows
        assert refused.value.errno == errno.ENOSYS
    finally:
        os.close(folder)


def test_an_error_of_the_disk_at_the_rename_is_told_and_not_tried_another_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(publish, "rename_exclusive", broken)
    with pytest.raises(OSError, match="broken"):
        put(tmp_path / "w.bin")
    assert names(tmp_path) == []
