"""One file of a checkpoint as a task: small to pickle, run anywhere, and the same however often it is run."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fastinit.blocks import ITEM, LONGEST_ROW, Source, items, unit
from fastinit.files.failures import cannot_write
from fastinit.files.folder import Folder, Found
from fastinit.files.publish import publishing, write_at
from fastinit.files.remote import RemoteFolder, folder_at
from fastinit.files.safetensors import Header, lay_out, read_header
from fastinit.files.scratch import scratch
from fastinit.floating_point import in_default_mode
from fastinit.pipeline import Staging
from fastinit.plan import Tensor
from fastinit.progress import Progress
from fastinit.threads import for_each, resolve

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
    header, folder = task.header, folder_at(task.folder)
    found = folder.find(task.name, header.text, header.size)
    if not task.overwrite:
        if found is Found.WHOLE:
            if task.durable:
                folder.sync(task.name)
            return True
        if found is Found.OTHER:
            raise _in_the_way(task, folder)
    try:
        _write(task, header, folder, progress)
    except FileExistsError:
        if folder.find(task.name, header.text, header.size) is Found.WHOLE:  # another writer of the same was faster
            return True
        raise _in_the_way(task, folder) from None
    return False


def _write(task: FileTask, header: Header, folder: Folder, progress: Progress | None) -> None:
    """Write the file where it is to be or, for a remote folder, in scratch, and put it there."""
    if isinstance(folder, RemoteFolder):
        with scratch() as here:
            run(replace(task, folder=str(here), durable=False, overwrite=False), progress)
            folder.upload(here / task.name, task.name, header.text, overwrite=task.overwrite)
        return
    with publishing(folder.path(task.name), header.size, overwrite=task.overwrite, durable=task.durable) as fd:
        try:
            _fill(fd, task, header, progress)
        except OSError as error:
            raise cannot_write(error, folder.path(task.name), header.size) from error


def _in_the_way(task: FileTask, folder: Folder) -> FileExistsError:
    """The refusal of a file that is not what the task would write; the seed it says it has, if that is another."""
    reason = "is there, and not what this plan gives"
    path = Path(task.folder, task.name)
    with contextlib.suppress(OSError, ValueError):
        if path.is_file() and (seed := read_header(path).metadata.get("fastinit.seed", "none")) != str(task.seed):
            reason = f"is there with seed {seed}, and this is seed {task.seed}"
    return FileExistsError(
        errno.EEXIST,
        f"{folder.shown(task.name)} {reason}; to resume, pass the same plan and seed; else choose another folder, or "
        "replace it (overwrite=True, --overwrite)",
    )


def _fill(fd: int, task: FileTask, header: Header, progress: Progress | None) -> None:
    """Write header and tensors: first all that can be cut into items, in one pass, then those that must be whole."""
    source = Source(task.seed, task.stream, task.engine)
    threads = resolve(task.threads)
    total = sum(tensor.bytes for tensor in task.tensors)
    work_items = list(items(task.tensors, header.slots))
    sizes = np.cumsum([0, *(sum(piece.bytes for piece in item) for item in work_items)])
    write_at(fd, header.text, 0)
    staging = Staging(ITEM + LONGEST_ROW, np.uint8)

    def work(i: int) -> None:
        item = work_items[i]
        begin, buffer = item[0].begin, staging.buffer
        for piece in item:
            at = piece.begin - begin
            source.draw(piece, buffer[at : at + piece.bytes])
        write_at(fd, memoryview(buffer)[: int(sizes[i + 1] - sizes[i])], begin)

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
            source.fill_file(fd, slot.begin, tensor, threads)
            done += tensor.bytes
            if progress is not None:
                progress(done, total)
