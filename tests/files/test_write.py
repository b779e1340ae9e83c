"""Checkpoints: the bytes of fill, the layout of safetensors and huggingface_hub, whole or absent, resumed."""

from __future__ import annotations

import concurrent.futures
import errno
import fcntl
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from processes import descriptors, run_python
from safetensors import safe_open

import fastinit
from fastinit import engines
from fastinit.files.folder import Folder
from fastinit.files.safetensors import read_header
from fastinit.laws import (
    Constant,
    DeltaOrthogonal,
    Dirac,
    Identity,
    Normal,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Uniform,
)
from fastinit.plan import Plan, Tensor
from fastinit.write import write
from fastinit.write.checkpoint import split

PLAN = Plan(
    [
        Tensor("embed.weight", (1000, 300), "float32", Normal(0.0, 0.02)),
        Tensor("h.0.half", (301, 77), "bfloat16", Uniform(-0.1, 0.1)),
        Tensor("h.0.float16", (33, 9), "float16", Normal()),
        Tensor("h.0.eight", (99, 3), "float8_e4m3fn", TruncatedNormal(0.0, 0.5, -1.0, 1.0)),
        Tensor("h.0.double", (17, 5), "float64", Normal()),
        Tensor("h.0.sparse.columns", (400, 33), "float16", Sparse(sparsity=0.9)),
        Tensor("h.0.sparse.rows", (400, 33), "float32", Sparse(Uniform(), nonzeros=5, axis=1)),
        Tensor("h.1.eye", (700, 600), "float32", Identity()),
        Tensor("h.1.dirac", (8, 8, 3), "float16", Dirac()),
        Tensor("position_ids", (512,), "int64", Constant(3)),
        Tensor("mask", (5, 5), "bool", Constant(True)),
        Tensor("empty", (0, 5), "float32", Normal()),
        Tensor("scalar", (), "float32", Normal()),
    ],
    {"lm_head.weight": "embed.weight"},
)
SMALL = 300_000  # bytes: three files


def as_filled(tensor: Tensor, seed: int) -> bytes:
    """The bytes that fill gives for a tensor of a plan."""
    own = getattr(ml_dtypes, tensor.dtype, None) or np.dtype(tensor.dtype)
    x = np.zeros(tensor.shape, own)
    fastinit.fill(x, tensor.law, seed=seed, name=tensor.name)
    return x.tobytes()


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, hidden ones too."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("shard_size", [10**9, SMALL, 1])
def test_every_tensor_holds_the_bytes_of_fill(tmp_path: Path, engine: str, shard_size: int) -> None:
    report = write(PLAN, tmp_path, seed=5, shard_size=shard_size)
    assert report.bytes == report.bytes_written == PLAN.bytes
    seen = {}
    for name in report.files:
        raw, header = (tmp_path / name).read_bytes(), read_header(tmp_path / name)
        seen |= {tensor: raw[slot.begin : slot.end] for tensor, slot in header.slots.items()}
    assert seen == {tensor.name: as_filled(tensor, 5) for tensor in PLAN.tensors}


@pytest.mark.parametrize("law", [Orthogonal(), DeltaOrthogonal(layout="keras"), Orthogonal(batch=1)])
def test_orthogonal_tensors_are_those_of_fill_to_a_tolerance(tmp_path: Path, law: object) -> None:
    tensor = Tensor("w", (5, 40, 50), "float32", law)
    write(Plan([Tensor("odd", (3,), "float32", Normal()), tensor]), tmp_path, seed=5)
    with safe_open(tmp_path / "model.safetensors", "np") as file:
        assert abs(file.get_tensor("w") - np.frombuffer(as_filled(tensor, 5), "f4").reshape(5, 40, 50)).max() < 1e-5


def test_safetensors_opens_every_file_and_reads_the_metadata(tmp_path: Path) -> None:
    report = write(PLAN, tmp_path, seed=5, shard_size=SMALL)
    names = []
    for file in report.files:
        with safe_open(tmp_path / file, "np") as opened:
            metadata = opened.metadata()
            names += list(opened.keys())
            for name in opened.keys():
                slot = read_header(tmp_path / file).slots[name]
                assert tuple(opened.get_slice(name).get_shape()) == slot.shape
        assert metadata["format"] == "pt"
        assert metadata["fastinit.stream"] == fastinit.STREAM
        assert metadata["fastinit.seed"] == "5"
        assert metadata["fastinit.plan"] == PLAN.digest
        assert set(json.loads(metadata["fastinit.laws"])) == set(read_header(tmp_path / file).slots)
    assert sorted(names) == sorted(tensor.name for tensor in PLAN.tensors)


def test_torch_loads_what_was_written(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    write(PLAN, tmp_path, seed=5)
    loaded = load_file(tmp_path / "model.safetensors")
    assert set(loaded) == {tensor.name for tensor in PLAN.tensors}
    for tensor in PLAN.tensors:
        assert tuple(loaded[tensor.name].shape) == tensor.shape
        raw = loaded[tensor.name].reshape(-1).view(torch.uint8).numpy().tobytes()
        assert raw == as_filled(tensor, 5)


@pytest.mark.parametrize("seed", range(20))
def test_shards_and_index_are_those_of_huggingface_hub(tmp_path: Path, seed: int) -> None:
    hub = pytest.importorskip("huggingface_hub.serialization._base")
    draw = random.Random(seed)
    sizes = {f"t{i}": draw.choice([0, 4, 100, 1000, 30_000]) for i in range(draw.randrange(1, 30))}
    plan = Plan([Tensor(name, (size // 4,), "float32", Constant(0)) for name, size in sizes.items()])
    limit = draw.choice([1, 500, 5000, 10**6])
    theirs = hub.split_state_dict_into_shards_factory(
        sizes,
        max_shard_size=limit,
        get_storage_size=lambda size: size,
        get_storage_id=lambda size: None,
        filename_pattern="model{suffix}.safetensors",
    )
    report = write(plan, tmp_path, seed=0, shard_size=limit)
    ours = {name: list(read_header(tmp_path / name).slots) for name in report.files}
    assert {name: sorted(names) for name, names in ours.items()} == {
        name: sorted(names) for name, names in theirs.filename_to_tensors.items()
    }
    index = tmp_path / "model.safetensors.index.json"
    assert index.exists() == theirs.is_sharded
    if theirs.is_sharded:
        read = json.loads(index.read_text())
        assert read["weight_map"] == theirs.tensor_to_filename
        assert read["metadata"]["total_size"] == theirs.metadata["total_size"] == plan.bytes


def test_threads_engines_and_workers_do_not_matter(tmp_path: Path) -> None:
    write(PLAN, tmp_path / "one", seed=5, shard_size=SMALL, threads=1)
    expected = content(tmp_path / "one")
    write(PLAN, tmp_path / "seven", seed=5, shard_size=SMALL, threads=7, durable=False)
    for name in ("numba", "numpy"):
        with engines.use(name):
            write(PLAN, tmp_path / name, seed=5, shard_size=SMALL)
    with concurrent.futures.ThreadPoolExecutor(3) as executor:
        write(PLAN, tmp_path / "threads", seed=5, shard_size=SMALL, executor=executor, threads=1)
    with concurrent.futures.ProcessPoolExecutor(2) as executor:
        write(PLAN, tmp_path / "processes", seed=5, shard_size=SMALL, executor=executor, threads=1)
    for other in ("seven", "numba", "numpy", "threads", "processes"):
        assert content(tmp_path / other) == expected, other


def test_dask_workers_give_the_same_folder(tmp_path: Path) -> None:
    result = run_python(
        f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        sys.path.insert(0, {str(Path(__file__).parent)!r})

        if __name__ == "__main__":
            from distributed import Client, LocalCluster
            from test_write import PLAN, SMALL
            from fastinit.write import write

            with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
                with Client(cluster) as client:
                    executor = client.get_executor(pure=False)
                    report = write(PLAN, {str(tmp_path / "dask")!r}, seed=5, shard_size=SMALL, executor=executor)
                    assert len(report.files) == 3, report
        """,
        FASTINIT_ENGINE="numpy",
    )
    assert result.returncode == 0, result.stderr[-3000:]
    write(PLAN, tmp_path / "here", seed=5, shard_size=SMALL)
    assert content(tmp_path / "dask") == content(tmp_path / "here")


@pytest.mark.parametrize("shard_size", [10**9, SMALL])
def test_a_rerun_skips_what_is_whole_and_restores_what_is_missing(tmp_path: Path, shard_size: int) -> None:
    first = write(PLAN, tmp_path, seed=5, shard_size=shard_size)
    expected = content(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = write(PLAN, tmp_path, seed=5, shard_size=shard_size)
    assert again.skipped == first.files
    assert again.bytes_written == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == times
    for missing in sorted(tmp_path.iterdir()):
        missing.unlink()
        third = write(PLAN, tmp_path, seed=5, shard_size=shard_size)
        assert content(tmp_path) == expected
        assert set(third.skipped) == set(first.files) - {missing.name}


def test_another_checkpoint_in_the_way_is_refused_and_nothing_is_touched(tmp_path: Path) -> None:
    write(PLAN, tmp_path, seed=5, shard_size=SMALL)
    before = content(tmp_path)
    with pytest.raises(
        FileExistsError, match=r"-00001-of-.* is there with seed 5, and this is seed 6; to resume, pass"
    ):
        write(PLAN, tmp_path, seed=6, shard_size=SMALL)
    with pytest.raises(FileExistsError, match=r"-00001-of-.* is there, and not what this plan gives"):
        write(replace(PLAN, tensors=PLAN.tensors[::-1]), tmp_path, seed=5, shard_size=SMALL)
    with pytest.raises(FileExistsError, match="of another checkpoint; choose another folder, or replace it"):
        write(PLAN, tmp_path, seed=5)
    assert content(tmp_path) == before


def test_overwrite_replaces_another_checkpoint_and_leaves_nothing_of_it(tmp_path: Path) -> None:
    write(PLAN, tmp_path / "x", seed=5, shard_size=SMALL)
    (tmp_path / "x" / "config.json").write_text("{}")
    write(PLAN, tmp_path / "x", seed=6, overwrite=True)
    write(PLAN, tmp_path / "y", seed=6)
    assert content(tmp_path / "x") == content(tmp_path / "y") | {"config.json": b"{}"}
    write(PLAN, tmp_path / "x", seed=7, shard_size=SMALL, overwrite=True)
    write(PLAN, tmp_path / "z", seed=7, shard_size=SMALL)
    assert content(tmp_path / "x") == content(tmp_path / "z") | {"config.json": b"{}"}


@pytest.mark.parametrize(
    "name",
    [
        "model-\N{ARABIC-INDIC DIGIT ONE}0001-of-00002.safetensors",
        "model-1-of-2.safetensors",
        "model.safetensors\n",
        "my-model.safetensors",
    ],
)
def test_overwrite_leaves_a_file_whose_name_only_resembles_one_of_a_checkpoint(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"mine")
    write(PLAN, tmp_path, seed=5, overwrite=True)
    assert sorted(content(tmp_path)) == sorted([name, "model.safetensors"])


def test_overwrite_writes_again_what_seems_whole(tmp_path: Path) -> None:
    write(PLAN, tmp_path, seed=5)
    before = content(tmp_path)
    with (tmp_path / "model.safetensors").open("r+b") as file:
        file.seek(-100, os.SEEK_END)
        file.write(b"\xff" * 100)
    assert write(PLAN, tmp_path, seed=5).skipped
    assert not write(PLAN, tmp_path, seed=5, overwrite=True).skipped
    assert content(tmp_path) == before


def test_what_a_dead_writer_left_beside_a_whole_file_is_removed(tmp_path: Path) -> None:
    write(PLAN, tmp_path, seed=5)
    (tmp_path / ".model.safetensors.01234567.partial").write_bytes(b"half")
    write(PLAN, tmp_path, seed=5)
    assert list(content(tmp_path)) == ["model.safetensors"]


@pytest.mark.parametrize("shard_size", [SMALL, 10**9])
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_dead_writers_left_of_any_checkpoint_goes_and_nothing_else(
    tmp_path: Path, shard_size: int, overwrite: bool
) -> None:
    """Of the index, of files beyond ours, of another number of files; whether or not all of ours is whole."""
    write(PLAN, tmp_path, seed=5, shard_size=shard_size)
    whole = content(tmp_path)
    dead = [".model.safetensors.index.json.0123abcd.partial", ".model.safetensors.0123abcd.partial"]
    dead += [".model-00001-of-00003.safetensors.0123abcd.partial", ".model-00070-of-00099.safetensors.0123abcd.partial"]
    others = [".model.safetensors.download.partial", ".model.safetensors.DEADBEEF.partial", "config.json"]
    others += [".config.json.0123abcd.partial", ".model-00001.safetensors.0123abcd.partial"]
    for name in dead + others:
        (tmp_path / name).write_bytes(b"?")
    with (tmp_path / ".model.safetensors.aaaaaaaa.partial").open("wb") as living:
        fcntl.flock(living, fcntl.LOCK_EX)
        write(PLAN, tmp_path, seed=5, shard_size=shard_size, overwrite=overwrite)
        kept = dict.fromkeys(others, b"?") | {".model.safetensors.aaaaaaaa.partial": b""}
        assert content(tmp_path) == whole | kept


def test_what_is_skipped_is_synced_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who wrote it may have been told not to, or have been killed after the file had taken its name."""
    report = write(PLAN, tmp_path, seed=5, shard_size=SMALL, durable=False)
    synced: list[str] = []
    real = os.fsync
    monkeypatch.setattr(
        os,
        "fsync",
        lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")) or real(fd),  # noqa: PTH115
    )
    write(PLAN, tmp_path, seed=5, shard_size=SMALL, durable=False)
    assert synced == []
    assert write(PLAN, tmp_path, seed=5, shard_size=SMALL).skipped == report.files
    assert {Path(path).name for path in synced} == {*content(tmp_path), tmp_path.name}


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EBADF, errno.EIO])
def test_a_folder_without_locks_is_overwritten_and_a_failing_lock_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(fd: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    if number == errno.EIO:
        with pytest.raises(OSError, match="Input/output error"):
            write(PLAN, tmp_path, seed=5, overwrite=True)
        assert content(tmp_path) == {}
    else:
        write(PLAN, tmp_path, seed=5, overwrite=True)
        assert list(content(tmp_path)) == ["model.safetensors"]


def test_a_folder_that_is_renamed_while_it_is_written_keeps_no_temporary_file(tmp_path: Path) -> None:
    def rename(done: int, total: int) -> None:
        if (tmp_path / "out").exists():
            (tmp_path / "out").rename(tmp_path / "elsewhere")

    with pytest.raises(FileNotFoundError, match=r"out does not exist"):
        write(PLAN, tmp_path / "out", seed=5, shard_size=SMALL, progress=rename)
    assert list(content(tmp_path / "elsewhere")) == ["model-00001-of-00003.safetensors"]
    write(PLAN, tmp_path / "elsewhere", seed=5, shard_size=SMALL)
    write(PLAN, tmp_path / "again", seed=5, shard_size=SMALL)
    assert content(tmp_path / "elsewhere") == content(tmp_path / "again")


@pytest.mark.parametrize("kind", ["folder", "pipe"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_file_is_refused_and_stays(tmp_path: Path, kind: str, overwrite: bool) -> None:
    path = tmp_path / "model.safetensors"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    before = descriptors()
    with pytest.raises(OSError, match=r"model\.safetensors is (there, and not what|a directory)"):
        write(PLAN, tmp_path, seed=5, overwrite=overwrite)
    assert path.is_dir() if kind == "folder" else path.is_fifo()
    assert len(list(tmp_path.iterdir())) == 1
    assert descriptors() == before


def test_progress_rises_to_the_whole_and_an_error_in_it_leaves_nothing(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write(PLAN, tmp_path / "a", seed=5, shard_size=SMALL, progress=lambda *done: seen.append(done))
    assert seen == sorted(seen)
    assert seen[-1] == (PLAN.bytes, PLAN.bytes)

    def stop(done: int, total: int) -> None:
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        write(PLAN, tmp_path / "b", seed=5, progress=stop)
    assert not list((tmp_path / "b").iterdir())


@pytest.mark.parametrize("name", ["a/b", "../../etc/passwd", "..", "nul\0byte", "🦙.weight", "größe", "x" * 10_000, ""])
def test_any_name_is_a_name_in_the_file_and_nothing_else(tmp_path: Path, name: str) -> None:
    plan = Plan([Tensor(name, (3,), "float32", Normal())])
    write(plan, tmp_path / "out", seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with safe_open(tmp_path / "out" / "model.safetensors", "np") as file:
        assert list(file.keys()) == [name]
        assert file.get_tensor(name).tobytes() == as_filled(plan.tensors[0], 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shard_size": 0}, "shard_size is 0"),
        ({"shard_size": "5GB"}, "shard_size is '5GB'"),
        ({"seed": -1}, r"seed is -1; it must be in \[0, 2\*\*64\)"),
        ({"threads": 0}, "threads is 0"),
        ({"stream": "fastinit-9"}, "stream='fastinit-9' is unknown"),
    ],
)
def test_bad_arguments_are_refused_before_the_folder_is_made(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write(PLAN, tmp_path / "out", **{"seed": 0, **options})
    assert not list(tmp_path.iterdir())


def test_a_file_where_the_folder_should_be_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    for folder in (tmp_path / "out", tmp_path / "out" / "below"):
        with pytest.raises(NotADirectoryError, match=str(tmp_path / "out")):
            write(PLAN, folder, seed=0)
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("where", ["new", "there"])
def test_a_folder_that_may_not_be_written_is_a_clear_error(tmp_path: Path, where: str) -> None:
    """In a forked child, which gives up the rights of root where it has them."""
    (tmp_path / "there").mkdir()
    (tmp_path / "there").chmod(0o555)
    tmp_path.chmod(0o555)
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.chdir(tmp_path)
                os.seteuid(65534)
            write(PLAN, where, seed=0, threads=1)
        except PermissionError as error:
            os._exit(0 if f"{where}" in str(error) and "Permission denied" in str(error) else 3)
        finally:
            os._exit(2)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    tmp_path.chmod(0o755)
    assert code == 0
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


@pytest.mark.parametrize("protocol", ["memory", "file"])
def test_a_remote_folder_holds_the_same_files_and_resumes(tmp_path: Path, protocol: str) -> None:
    import fsspec

    address = f"memory://{tmp_path.name}" if protocol == "memory" else f"file://{tmp_path / 'remote'}"
    write(PLAN, tmp_path / "here", seed=5, shard_size=SMALL)
    report = write(PLAN, address, seed=5, shard_size=SMALL)
    files, root = fsspec.core.url_to_fs(address)

    def remote() -> dict[str, bytes]:
        return {path.rsplit("/", 1)[-1]: files.cat_file(path) for path in files.ls(root, detail=False)}

    assert remote() == content(tmp_path / "here")
    files.rm_file(f"{root}/{report.files[1]}")
    assert set(write(PLAN, address, seed=5, shard_size=SMALL).skipped) == set(report.files) - {report.files[1]}
    assert remote() == content(tmp_path / "here")
    with pytest.raises(FileExistsError, match="of another checkpoint"):
        write(PLAN, address, seed=5)


# --- faults -----------------------------------------------------------------------------------------------------------

FAULTS = Plan([Tensor(f"layers.{i}.weight", (500, 500 + i), "float32", Normal()) for i in range(12)])
WRITER = """
import sys
sys.path[:0] = {path!r}
from test_write import FAULTS
from fastinit.write import write
print("ready", flush=True)
write(FAULTS, sys.argv[1], seed=5, shard_size=2_500_000)
print("done", flush=True)
"""


def writer(folder: Path, **environment: str) -> subprocess.Popen[str]:
    """A process that writes FAULTS to a folder."""
    here = Path(__file__)
    return subprocess.Popen(
        [sys.executable, "-c", WRITER.format(path=[str(here.parents[1]), str(here.parent)]), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"FASTINIT_ENGINE": "numpy"} | environment,  # Numba would be most of the run
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an undisturbed run writes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write(FAULTS, folder, seed=5, shard_size=2_500_000)
    return content(folder)


def test_killed_at_fifty_moments_every_name_is_absent_or_whole_and_a_rerun_completes(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    draw = random.Random(0)
    folder = tmp_path / "out"
    stages = set()
    child = writer(tmp_path / "timed")
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    begin = time.perf_counter()
    child.communicate()
    whole_run = time.perf_counter() - begin
    for _ in range(50):
        child = writer(folder)
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        time.sleep(draw.uniform(0.0, whole_run))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        there = content(folder) if folder.exists() else {}
        whole = {name: data for name, data in there.items() if not name.startswith(".")}
        assert whole.items() <= undisturbed.items()
        stages.add(len(whole))
        if len(whole) == len(undisturbed):  # begin again
            for path in folder.iterdir():
                path.unlink()
    assert len(stages) > 2, stages  # it was killed in the middle, too
    write(FAULTS, folder, seed=5, shard_size=2_500_000)
    assert content(folder) == undisturbed  # and what the killed ones left is gone


def test_two_writers_of_one_folder_both_succeed(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    children = [writer(tmp_path / "out") for _ in range(2)]
    for child in children:
        _, errors = child.communicate(timeout=120)
        assert child.returncode == 0, errors
    assert content(tmp_path / "out") == undisturbed


def test_of_two_writers_that_overwrite_one_waits_and_a_whole_checkpoint_is_left(tmp_path: Path) -> None:
    write(FAULTS, tmp_path / "alone", seed=5, shard_size=4_000_000)
    second = threading.Thread(
        target=lambda: write(FAULTS, tmp_path / "out", seed=5, shard_size=4_000_000, overwrite=True)
    )

    def begin_another(done: int, total: int) -> None:
        if second.ident is None:
            second.start()
            second.join(1)  # long enough to write everything, if it did not wait

    write(FAULTS, tmp_path / "out", seed=5, shard_size=2_500_000, overwrite=True, progress=begin_another)
    second.join()
    assert content(tmp_path / "out") == content(tmp_path / "alone")


def test_the_index_is_the_first_of_another_checkpoint_to_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(FAULTS, tmp_path, seed=5, shard_size=2_500_000)
    removed: list[str] = []
    monkeypatch.setattr(os, "unlink", lambda path, *, dir_fd=None: removed.append(Path(path).name))
    Folder(str(tmp_path)).remove_others({"model.safetensors"})
    assert removed[0] == "model.safetensors.index.json"
    assert len(removed) > 2


class Deadly(concurrent.futures.ProcessPoolExecutor):
    """The process that takes the third task is killed by it."""

    tasks = 0

    def submit(self, work, /, *args, **options):
        self.tasks += 1
        if self.tasks == 3:
            return super().submit(signal.raise_signal, signal.SIGKILL)
        return super().submit(work, *args, **options)


def test_a_killed_worker_is_an_error_and_a_rerun_resumes(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    with Deadly(2) as executor, pytest.raises(concurrent.futures.process.BrokenProcessPool):
        write(FAULTS, tmp_path, seed=5, shard_size=2_500_000, executor=executor, threads=1)
    whole = {name: data for name, data in content(tmp_path).items() if not name.startswith(".")}
    assert whole.items() <= undisturbed.items()
    write(FAULTS, tmp_path, seed=5, shard_size=2_500_000)
    assert content(tmp_path) == undisturbed


def test_a_file_size_limit_is_an_oserror_and_leaves_nothing(tmp_path: Path) -> None:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    here = Path(__file__)
    code = WRITER.format(path=[str(here.parents[1]), str(here.parent)])
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, check=False)
    assert "OSError" in done.stderr
    assert "is too large: it needs" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_an_oserror_and_leaves_nothing(tmp_path: Path) -> None:
    """A tmpfs of 9 MB that only the child sees; where mounting is not allowed, a limit on the file's size stands in."""
    here = Path(__file__)
    code = WRITER.format(path=[str(here.parents[1]), str(here.parent)])
    inside = tmp_path / "disk"
    inside.mkdir()
    script = f'mount -t tmpfs -o size=9m none {inside} && "$0" -c "$1" {inside}/out; s=$?; ls -A {inside}/out; exit $s'
    mounted = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, sys.executable, code], capture_output=True, text=True, check=False
    )
    if "mount:" in mounted.stderr or "unshare" in mounted.stderr:
        pytest.skip(f"this machine allows no mounts: {mounted.stderr.strip()}")
    assert mounted.returncode != 0
    assert "no space for" in mounted.stderr and "bytes free" in mounted.stderr
    listed = mounted.stdout.split()[1:]  # after "ready"
    assert all(not name.startswith(".") for name in listed)


def test_memory_does_not_grow_with_the_checkpoint(tmp_path: Path) -> None:
    result = run_python(
        f"""
        import re
        from fastinit.laws import Normal
        from fastinit.plan import Plan, Tensor
        from fastinit.write import write

        def peak():  # not getrusage: its ru_maxrss begins with that of the parent
            return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024

        small = Plan([Tensor("w", (1000, 3000), "float32", Normal())])
        write(small, {str(tmp_path / "small")!r}, seed=0, durable=False)
        before = peak()
        large = Plan([Tensor(f"w{{i}}", (8192, 8192), "float32", Normal()) for i in range(4)])
        write(large, {str(tmp_path / "large")!r}, seed=0, durable=False)
        print(peak() - before, peak())
        """,
        FASTINIT_ENGINE="numba",
    )
    assert result.returncode == 0, result.stderr
    grown, peak = map(float, result.stdout.split())
    assert grown < 64
    assert peak < 300


def test_thousands_of_small_tensors_are_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastinit.write import task

    passes = []
    real = task.for_each
    monkeypatch.setattr(task, "for_each", lambda *arguments: passes.append(arguments[1]) or real(*arguments))
    plan = Plan([Tensor(f"t{i}", (50, 50), "float32", Normal()) for i in range(2000)])
    write(plan, tmp_path, seed=0)
    assert len(passes) == 1
    assert passes[0] <= plan.bytes // (1 << 20) + 2


@pytest.mark.parametrize("limit", [1, SMALL, 10**9])
def test_split_leaves_no_tensor_out_and_keeps_to_the_limit(limit: int) -> None:
    groups = split(PLAN, limit)
    assert sorted(t.name for group in groups for t in group) == sorted(t.name for t in PLAN.tensors)
    assert all(len(group) == 1 or sum(t.bytes for t in group) <= limit for group in groups)
    assert split(Plan([]), 1) == [()]
