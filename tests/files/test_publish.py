"""A file appears under its name whole or not at all, whatever goes wrong."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_a_file_system_without_links_still_refuses_an_existing_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(FileExistsError), publishing(tmp_path / "w.bin", SIZE):
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
