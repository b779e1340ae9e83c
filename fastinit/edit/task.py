"""One file of an edited checkpoint as a task: small to pickle, and the same however often it is run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from fastinit.blocks import ITEM
from fastinit.dtypes import storage_dtype
from fastinit.edit.contents import Content, Drawn, Stored
from fastinit.edit.reading import Reader, is_drawn_whole, reader, stored_in
from fastinit.files.copying import AT_ONCE, copy, share
from fastinit.files.failures import cannot_write, saying
from fastinit.files.place import held
from fastinit.files.publish import publishing, reserve, settle, write_at
from fastinit.files.safetensors import Header, read_at, refuse
from fastinit.floating_point import in_default_mode
from fastinit.progress import Progress
from fastinit.threads import for_each, resolve


@dataclass(frozen=True)
class FileTask:
    """A file to write: where, what it holds, and how.

    source  a file that it is a copy of, or None
    part    whether the file is there, and only these tensors of it are overwritten
    """

    folder: str
    name: str
    header: Header
    tensors: Mapping[str, Content]
    source: str | None
    engine: str
    threads: int | None
    durable: bool
    overwrite: bool
    part: bool = False

    @property
    def bytes(self) -> int:
        """What is written."""
        return sum(one.bytes for one in self.tensors.values()) if self.part else self.header.size


@in_default_mode
def run(task: FileTask, progress: Progress | None = None) -> None:
    """Write the file of a task, whole or not at all."""
    path = Path(task.folder, task.name)
    if task.part:
        _overwrite(path, task, progress)
        return
    size = 0 if task.source is not None else task.header.size
    paths = {one.path for content in task.tensors.values() for one in stored_in(content)}
    threads = resolve(task.threads)
    with (
        publishing(path, size, overwrite=task.overwrite, durable=task.durable) as fd,
        # Closed before the file takes its name: of a file that is open, Windows refuses the replacement.
        reader(task.engine, threads, paths if task.source is None else {task.source}) as source,
    ):
        try:
            if task.source is not None:
                _copy_all(source.files[task.source], fd, task, progress)
            else:
                write_at(fd, task.header.text, 0)
                fill_tensors(fd, task.header, task.tensors, source, progress)
        except OSError as error:
            raise cannot_write(error, path, task.header.size) from error


def _overwrite(path: Path, task: FileTask, progress: Progress | None) -> None:
    """Draw some tensors of a file that is there again, in their places."""
    slots = {name: task.header.slots[name] for name in task.tensors}
    with held(path) as place, reader(task.engine, resolve(task.threads), set()) as source:
        fd = place.open(os.O_RDWR)
        try:
            head = np.empty(len(task.header.text), np.uint8)
            read_at(fd, head, 0, path)
            if head.tobytes() != task.header.text or os.fstat(fd).st_size != task.header.size:
                refuse(path, "has changed since its header was read")
            with saying(path, task.bytes):
                fill_tensors(fd, Header(slots, {}, b""), task.tensors, source, progress)
                settle(fd, durable=task.durable)
        finally:
            os.close(fd)


def _copy_all(source: int, target: int, task: FileTask, progress: Progress | None) -> None:
    """A copy that shares the blocks of its source where the file system can."""
    size = task.header.size
    head = np.empty(len(task.header.text), np.uint8)
    read_at(source, head, 0, Path(str(task.source)))
    if head.tobytes() != task.header.text:
        refuse(Path(str(task.source)), "has changed since its header was read")
    if not share(source, target):
        reserve(target, size)
        copy(source, 0, target, 0, size, partial(refuse, Path(str(task.source)), "has become shorter meanwhile"))
    if progress is not None:
        progress(size, size)


@dataclass(frozen=True)
class _Step:
    """Elements [first, first + count) of a tensor, or for stored ones bytes, to be written at byte `at`."""

    name: str
    content: Content
    first: int
    count: int
    at: int
    bytes: int


def _steps(header: Header, tensors: Mapping[str, Content]) -> Iterator[_Step]:
    """What is done one after the other, or at once, in the order of the file."""
    for name, slot in header.slots.items():
        content, nbytes = tensors[name], slot.end - slot.begin
        if isinstance(content, Stored):
            for begin in range(0, nbytes, AT_ONCE):
                count = min(AT_ONCE, nbytes - begin)
                yield _Step(name, content, begin, count, slot.begin + begin, count)
        elif not is_drawn_whole(content):
            itemsize = storage_dtype(content.dtype).itemsize
            for first in range(0, content.elements, ITEM // itemsize):
                count = min(ITEM // itemsize, content.elements - first)
                yield _Step(name, content, first, count, slot.begin + first * itemsize, count * itemsize)


def fill_tensors(
    fd: int, header: Header, tensors: Mapping[str, Content], source: Reader, progress: Progress | None
) -> None:
    """Write these tensors where the header says: in pieces on all threads, then those that must be drawn whole."""
    steps = list(_steps(header, tensors))
    ends = np.cumsum([0, *(step.bytes for step in steps)])
    total = sum(content.bytes for content in tensors.values())

    def work(i: int) -> None:
        step = steps[i]
        if isinstance(step.content, Stored):
            path = step.content.path
            gone = partial(refuse, Path(path), "has become shorter meanwhile")
            copy(source.files[path], step.content.begin + step.first, fd, step.at, step.count, gone)
        else:
            found = source.read(step.content, step.first, step.count, f"tensor {step.name!r}")
            write_at(fd, found.view(np.uint8).data, step.at)

    def after(done: int) -> None:
        if progress is not None:
            progress(int(ends[done]), total)

    for_each(work, len(steps), source.threads, progress and after)
    done = int(ends[-1])
    for name, content in tensors.items():
        if isinstance(content, Drawn) and is_drawn_whole(content):
            source.source(content.seed).fill_file(fd, header.slots[name].begin, content.tensor, source.threads)
            done += content.bytes
            if progress is not None:
                progress(done, total)
