"""One file of a checkpoint as a task: small to pickle, run anywhere, and the same however often it is run."""

from __future__ import annotations

import contextlib
import errno
import mmap
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fastinit.blocks import ITEM, LONGEST_ROW, Source, items, unit
from fastinit.dtypes import storage_dtype
from fastinit.files.folder import Folder
from fastinit.files.publish import cannot_write, publishing, remove_leftovers, write_at
from fastinit.files.safetensors import Header, lay_out, read_header
from fastinit.floating_point import in_default_mode
from fastinit.plan import Tensor
from fastinit.threads import for_each, resolve

Progress = Callable[[int, int], object]

# Bytes. Where the pieces are smaller, drawing one is mostly Python, and two threads hold each other up: 20,000 tensors
# of 10 KB take 3.0 s on two and 2.4 on one.
SMALL_PIECE = 32 << 10


@dataclass(frozen=True)
class FileTask:
    """A file to write: where, which tensors, what its metadata says, and how."""

    folder: str
    name: str
    tensors: tuple[Tensor, ...]
    metadata: Mapping[str, str]
    seed: int
    stream: str
    engine: str
    threads: int | None
    durable: bool
    overwrite: bool

    @property
    def header(self) -> Header:
        """The bytes in front of the data, and where each tensor lies."""
        return lay_out({one.name: (one.dtype, one.shape) for one in self.tensors}, self.metadata)


@in_default_mode
def run(task: FileTask, progress: Progress | None = None) -> bool:
    """Write the file of a task; True if it was whole already, so that nothing was written: header and size say that."""
    header, folder = task.header, Folder(task.folder)
    there = folder.begins_with(task.name, header.text, header.size)
    if there is not None and not folder.remote:
        remove_leftovers(folder.path(task.name))
    if there and not task.overwrite:
        return True
    if there is False and not task.overwrite:
        raise _in_the_way(task)
    if folder.remote:
        with tempfile.TemporaryDirectory(prefix="fastinit-") as scratch:
            run(replace(task, folder=scratch, durable=False), progress)
            folder.upload(Path(scratch, task.name), task.name)
        return False
    target = folder.path(task.name)
    try:
        with publishing(target, header.size, overwrite=task.overwrite, durable=task.durable) as fd:
            try:
                _fill(fd, task, header, progress)
            except OSError as error:
                raise cannot_write(error, target, header.size) from error
    except FileExistsError:
        if folder.begins_with(task.name, header.text, header.size):  # another writer of the same was faster
            return True
        raise _in_the_way(task) from None
    return False


def _in_the_way(task: FileTask) -> FileExistsError:
    """The refusal of a file that is not what the task would write; the seed it says it has, if that is another."""
    path = Path(task.folder, task.name)
    reason = "is there, and not what this plan gives"
    with contextlib.suppress(OSError, ValueError):
        seed = read_header(path).metadata.get("fastinit.seed", "none")
        if seed != str(task.seed):
            reason = f"is there with seed {seed}, and this is seed {task.seed}"
    return FileExistsError(
        errno.EEXIST,
        f"{path} {reason}; to resume, pass the same plan and seed; else choose another folder, or replace it "
        "(overwrite=True, --overwrite)",
    )


def _fill(fd: int, task: FileTask, header: Header, progress: Progress | None) -> None:
    """Write header and tensors: first all that can be cut into items, in one pass, then those that must be whole."""
    source = Source(task.seed, task.stream, task.engine)
    threads = resolve(task.threads)
    total = sum(tensor.bytes for tensor in task.tensors)
    work_items = list(items(task.tensors, header.slots))
    sizes = np.cumsum([0, *(sum(piece.bytes for piece in item) for item in work_items)])
    write_at(fd, header.text, 0)
    local = threading.local()

    def work(i: int) -> None:
        item = work_items[i]
        if not hasattr(local, "staging"):
            local.staging = np.empty(ITEM + LONGEST_ROW, np.uint8)
        begin = item[0].begin
        for piece in item:
            at = piece.begin - begin
            source.draw(piece, local.staging[at : at + piece.bytes])
        write_at(fd, memoryview(local.staging)[: int(sizes[i + 1] - sizes[i])], begin)

    def after(done: int) -> None:
        if progress is not None:
            progress(int(sizes[done]), total)

    pieces = sum(map(len, work_items))
    busy = threads if sizes[-1] >= SMALL_PIECE * pieces else 1
    for_each(work, len(work_items), busy, progress and after)
    done = int(sizes[-1])
    for tensor in task.tensors:
        if unit(tensor) is None and tensor.elements:
            slot = header.slots[tensor.name]
            _fill_whole(fd, tensor, slot.begin, source, threads)
            done += tensor.bytes
            if progress is not None:
                progress(done, total)


def _fill_whole(fd: int, tensor: Tensor, begin: int, source: Source, threads: int) -> None:
    """Fill a tensor through a map of its part of the file."""
    page = begin // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
    # Not closed by name: a pool thread that has just finished, or the frames of an error, may hold views, and then a
    # map refuses. It goes with the last of them; fsync of the file covers its pages.
    file = mmap.mmap(fd, begin - page + tensor.bytes, offset=page)
    line = np.frombuffer(file, storage_dtype(tensor.dtype), tensor.elements, begin - page)
    source.fill(line.reshape(tensor.shape), tensor, threads=threads)
