"""The steps that an edit takes wherever it writes: the state after the operations, the changes, the files as tasks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass
from pathlib import Path

from fastinit import engines
from fastinit.edit.changes import WRITTEN, Changes, FileChange, file_changes, tensor_changes
from fastinit.edit.contents import Content
from fastinit.edit.layout import Layout, Output
from fastinit.edit.operations import Operation
from fastinit.edit.state import CONFIG, State
from fastinit.edit.task import FileTask, run
from fastinit.files.anyones import Checkpoint, open_checkpoint
from fastinit.files.place import held
from fastinit.progress import Progress


@dataclass(frozen=True)
class How:
    """How files are written."""

    threads: int | None
    durable: bool
    shard_size: int
    executor: Executor | None
    progress: Progress | None


def start(path: str | os.PathLike[str], operations: Sequence[Operation], seed: int) -> tuple[Checkpoint, State]:
    """The state of a checkpoint after the operations."""
    checkpoint = open_checkpoint(Path(path))
    state = State.of(checkpoint)
    for operation in operations:
        operation.on(state, seed)
    return checkpoint, state


def changes_of(state: State, layout: Layout, others: Sequence[FileChange], *, elsewhere: bool) -> Changes:
    """The changes of a layout, with those of other files."""
    files = file_changes(layout, others, elsewhere=elsewhere)
    if layout.index is not None and (elsewhere or any(not one.unchanged for one in layout.outputs)):
        files.append(FileChange(str(state.checkpoint.listed), WRITTEN, len(layout.index)))
    if layout.config is not None:
        files.append(FileChange(CONFIG, WRITTEN, len(layout.config)))
    settings = tuple(state.settings.items()) if layout.config is not None else ()
    return Changes(tuple(tensor_changes(state, layout)), tuple(files), settings, tuple(state.notes))


def tasks_of(
    outputs: Sequence[Output], checkpoint: Checkpoint, folder: Path, how: How, *, overwrite: bool
) -> list[FileTask]:
    """The files to write, as tasks."""
    engine = engines.engine_for(sum(content.elements for one in outputs for content in one.tensors.values()))
    return [
        FileTask(
            str(folder),
            one.name,
            one.header,
            {} if one.unchanged else one.tensors,
            str((checkpoint.folder / str(one.home)).absolute()) if one.unchanged else None,
            engine,
            how.threads,
            how.durable,
            overwrite,
        )
        for one in outputs
    ]


def tasks_of_bytes(drawn: Mapping[str, Mapping[str, Content]], checkpoint: Checkpoint, how: How) -> list[FileTask]:
    """The files of which some tensors are overwritten, as tasks."""
    engine = engines.engine_for(sum(content.elements for group in drawn.values() for content in group.values()))
    folder, headers = str(checkpoint.folder), checkpoint.headers
    return [
        FileTask(folder, home, headers[home], group, None, engine, how.threads, how.durable, overwrite=True, part=True)
        for home, group in drawn.items()
    ]


def run_all(tasks: Sequence[FileTask], how: How) -> None:
    """Run the tasks here, one after the other on all threads, or on the workers."""
    total = sum(task.bytes for task in tasks)
    done = dict.fromkeys((task.name for task in tasks), 0)

    def report(name: str, nbytes: int) -> None:
        done[name] = nbytes
        if how.progress is not None and total:
            how.progress(sum(done.values()), total)

    for task in _finished(tasks, how.executor, report):
        report(task.name, task.bytes)


def _finished(
    tasks: Sequence[FileTask], executor: Executor | None, report: Callable[[str, int], None]
) -> Iterator[FileTask]:
    if executor is None:
        for task in tasks:
            run(task, lambda nbytes, total, name=task.name: report(name, nbytes))  # type: ignore[misc]
            yield task
        return
    futures = {executor.submit(run, task): task for task in tasks}
    try:
        for future in as_completed(futures):
            future.result()
            yield futures[future]
    finally:
        for future in futures:  # after an error or Ctrl-C: what has not begun does not begin
            future.cancel()


def real_folder(path: Path) -> Path:
    """A folder by its name without links, for locks that are taken in one order."""
    try:
        with held(path) as place:
            return place.path
    except FileNotFoundError:
        return Path(os.path.realpath(path))
