"""What the attacks on files interrupt: jobs that write, with the bytes that must be there afterwards."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fastinit import engines, laws
from fastinit.files.npy import fill_file
from fastinit.files.safetensors import read_header
from fastinit.plan import Plan, Tensor
from fastinit.write import write

PLAN = Plan(
    (
        Tensor("embed.weight", (40, 16), "float32", laws.Padded(laws.Normal(0.0, 0.02), 3)),
        Tensor("q.weight", (24, 16), "bfloat16", laws.Blocks([(8, laws.Normal()), (16, laws.Uniform(-1.0, 1.0))])),
        Tensor("rec.weight", (16, 16), "float32", laws.Orthogonal()),
        Tensor("sparse.weight", (16, 16), "float16", laws.Sparse(laws.Normal(), 0.5)),
        Tensor("bias", (16,), "float32", laws.Constant(0.0)),
    ),
    {"head.weight": "embed.weight"},
)
SHARD = 1500  # bytes: four files
NEW, OLD = 1, 2  # seeds


def _plan(address: Callable[[Path], str], *, sharded: bool, overwrite: bool) -> Callable[[Path], object]:
    return lambda folder: write(
        PLAN,
        address(folder),
        seed=NEW,
        shard_size=SHARD if sharded else 1 << 30,
        overwrite=overwrite,
        threads=2,
    )


def _local(folder: Path) -> str:
    return str(folder)


def _remote(folder: Path) -> str:
    return f"file://{folder}"


def _array(folder: Path, seed: int = NEW) -> object:
    return fill_file(folder / "w.npy", (30, 20), laws.Normal(), seed=seed, overwrite=True)


def _raw(folder: Path) -> object:
    return fill_file(folder / "w.bin", (20, 20), laws.Orthogonal(), seed=NEW, overwrite=True)


def _nothing(folder: Path) -> None:
    pass


def _older(folder: Path) -> None:
    """A checkpoint of another seed, in more files."""
    write(PLAN, folder, seed=OLD, shard_size=600)


def _half(folder: Path) -> None:
    """What a writer left that was killed in the middle: its first file, and a part of the next."""
    whole = folder.parent / "whole"
    write(PLAN, whole, seed=NEW, shard_size=SHARD)
    first = min(whole.glob("*.safetensors"))
    shutil.move(first, folder / first.name)
    (folder / ".model-00002-of-00004.safetensors.01234567.partial").write_bytes(b"half")
    shutil.rmtree(whole)


def _save(folder: Path) -> object:
    return PLAN.save(folder / "plan.json")


@dataclass(frozen=True)
class Job:
    """What is done in a folder, what is there before, and whether that may be found there as it was."""

    name: str
    run: Callable[[Path], object]
    prepare: Callable[[Path], object] = _nothing


JOBS = (
    Job("one file", _plan(_local, sharded=False, overwrite=False)),
    Job("shards", _plan(_local, sharded=True, overwrite=False)),
    Job("shards over an older checkpoint", _plan(_local, sharded=True, overwrite=True), _older),
    Job("shards, resumed", _plan(_local, sharded=True, overwrite=False), _half),
    Job("shards by file://", _plan(_remote, sharded=True, overwrite=False)),
    Job("shards by file:// over an older checkpoint", _plan(_remote, sharded=True, overwrite=True), _older),
    Job("an .npy file over an older one", _array, lambda folder: _array(folder, OLD)),
    Job("a raw file of an orthogonal matrix", _raw),
    Job("a plan", _save),
)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by name."""
    return {name: (folder / name).read_bytes() for name in sorted(os.listdir(folder))}  # noqa: PTH208


def whole_or_absent(folder: Path, before: dict[str, bytes], expected: dict[str, bytes]) -> None:
    """Assert that every file under a name of its own is the new one or the one that was there before."""
    for name, content in contents(folder).items():
        if name.endswith(".partial"):
            continue
        known = (before.get(name), expected.get(name))
        assert content in known, f"{name} has {len(content)} bytes that are neither the old nor the new ones"
        if name.endswith(".safetensors"):
            read_header(folder / name)


def all_there(folder: Path, expected: dict[str, bytes]) -> None:
    """Assert that a rerun gave every byte, and left nothing else, nor in the folder of temporary files beside it."""
    there = contents(folder)
    assert there == expected, f"after a rerun: {sorted(there)}, expected {sorted(expected)}"
    scratch = os.listdir(folder.parent / "tmp")  # noqa: PTH208
    assert not scratch, f"left in the folder of temporary files: {scratch}"


class Trial:
    """A job in a fresh folder, what was there before it, and what must be there after it."""

    def __init__(self, job: Job, root: Path) -> None:
        self.job, self.root = job, root
        self.expected = self._undisturbed()

    def _undisturbed(self) -> dict[str, bytes]:
        with self.fresh() as folder:
            self.job.run(folder)
            return contents(folder)

    @contextmanager
    def fresh(self) -> Iterator[Path]:
        """A folder in which the job has not run; scratch folders are made beside it."""
        with tempfile.TemporaryDirectory(dir=self.root) as parent:
            folder, scratch = Path(parent, "out"), Path(parent, "tmp")
            folder.mkdir()
            scratch.mkdir()
            before, tempfile.tempdir = tempfile.tempdir, str(scratch)
            try:
                with engines.use("numpy"):
                    self.job.prepare(folder)
                    yield folder
            finally:
                tempfile.tempdir = before

    def survives(self, disturbance: AbstractContextManager[object], *errors: type[BaseException]) -> None:
        """Assert that no file is cut where one of these errors ends the job, and that the job, run again, ends well."""
        with self.fresh() as folder:
            before = contents(folder)
            with disturbance, suppress(*errors):
                self.job.run(folder)
            whole_or_absent(folder, before, self.expected)
            self.rerun(folder)

    def rerun(self, folder: Path) -> None:
        """Assert that the job, run again, gives every byte, and leaves nothing else."""
        self.job.run(folder)
        all_there(folder, self.expected)
