"""Write a checkpoint of freshly initialised weights: safetensors files that are whole or absent, and their index.

Memory is bounded by a MiB a thread, whatever the size, but for orthogonal tensors. A rerun resumes: it skips the files
that are whole, and writes the same bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass

from fastinit import engines
from fastinit.about import __version__
from fastinit.address import STREAM, drawn_seed, stream_words
from fastinit.files.folder import INDEX, SINGLE, is_of_checkpoint, shard_names
from fastinit.files.remote import folder_at
from fastinit.floating_point import in_default_mode
from fastinit.laws.law_json import to_json
from fastinit.plan import Plan, Tensor
from fastinit.progress import AnyProgress, following
from fastinit.threads import resolve
from fastinit.write.task import FileTask, run

SHARD_SIZE = 5_000_000_000  # bytes of tensors in a file, as in huggingface_hub


@dataclass(frozen=True)
class Written:
    """What `write` did. `files` are the names, in order; `skipped` those that were whole already."""

    folder: str
    files: tuple[str, ...]
    skipped: tuple[str, ...]
    seed: int
    tensors: int
    bytes: int
    bytes_written: int
    seconds: float

    @property
    def gigabytes_per_second(self) -> float:
        """Speed of what was written, in 10^9 bytes a second."""
        return self.bytes_written / self.seconds / 1e9 if self.seconds else 0.0


@in_default_mode
def write(
    plan: Plan,
    folder: str | os.PathLike[str],
    *,
    seed: int | None = None,
    shard_size: int = SHARD_SIZE,
    threads: int | None = None,
    progress: AnyProgress = None,
    executor: Executor | None = None,
    durable: bool = True,
    overwrite: bool = False,
    stream: str = STREAM,
    beside: Mapping[str, bytes] | None = None,
) -> Written:
    """Write the tensors of a plan to `folder`, as model.safetensors or, above `shard_size`, as shards with an index.

    folder     is made if it does not exist. An address such as s3://bucket/folder needs fsspec: files are made in local
               scratch and put there, the index last.
    seed       integer in [0, 2^64); None draws one: the log has it at the start (logger "fastinit", level INFO), and
               the result at the end. A tensor's name is its address: its values are those of fastinit.fill with this
               seed and name.
    shard_size bytes of tensors a file holds at most; a larger tensor has a file of its own
    threads    of each file
    progress   True for a bar (tqdm), or a function: called with (bytes done, bytes in all), by files where there is an
               executor
    executor   any concurrent.futures.Executor: one file is one task. Every worker must see the folder.
    durable    sync each file before it takes its name; False leaves that to the system
    overwrite  replace what is there, each file in one step, also what seems whole; files of another checkpoint beyond
               ours are removed at the end
    beside     name -> content, of small files that are put into the folder first, such as config.json

    A file takes its name when it is whole. Run again after a fault, `write` skips what is whole and writes the rest.
    Two writers of one folder do not disturb each other; of two that overwrite, one waits for the other. Raises
    FileExistsError where another checkpoint is in the way; OSError, before anything is written to the file, where the
    disk is too full; what a plan cannot hold was refused when it was made.
    Guarantee: the bytes depend on plan, seed, shard_size and version only, but for orthogonal tensors (a tolerance).
    """
    folder = os.fspath(folder)
    seed = drawn_seed("write") if seed is None else seed
    stream_words(seed, "", stream)
    follow = following(progress)
    resolve(threads)
    check_shard_size(shard_size)
    groups = split(plan, shard_size)
    files = dict(zip(file_names(len(groups)), groups, strict=True))
    engine = engines.engine_for(sum(tensor.elements for tensor in plan.tensors))
    tasks = [
        FileTask(
            folder,
            name,
            group,
            metadata(plan, group, seed, stream),
            seed=seed,
            stream=stream,
            engine=engine,
            threads=threads,
            durable=durable,
            overwrite=overwrite,
        )
        for name, group in files.items()
    ]
    index = index_of(plan, files) if len(files) > 1 else None
    ours = {*files, INDEX} if index is not None else {*files}
    place = folder_at(folder)
    place.make()
    if not overwrite:
        place.refuse_others(ours)
    for name, content in _small(beside or {}).items():
        place.put(name, content, durable=durable, overwrite=overwrite)
    begin = time.perf_counter()
    done = dict.fromkeys(files, 0)

    def report(name: str, nbytes: int) -> None:
        done[name] = nbytes
        if follow is not None:
            follow(sum(done.values()), plan.bytes)

    sizes = {name: sum(tensor.bytes for tensor in group) for name, group in files.items()}
    skipped = []
    with place.alone() if overwrite else contextlib.nullcontext():
        for task, was_whole in _run(tasks, executor, report):
            report(task.name, sizes[task.name])
            if was_whole:
                skipped.append(task.name)
        if index is not None:
            place.put(INDEX, index, durable=durable, overwrite=overwrite)
        if overwrite:
            place.remove_others(ours)
        place.finish()
    seconds = time.perf_counter() - begin
    fresh = plan.bytes - sum(sizes[name] for name in skipped)
    return Written(folder, tuple(files), tuple(sorted(skipped)), seed, len(plan.tensors), plan.bytes, fresh, seconds)


def _small(beside: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """Files beside the weights, whose names are names, and none of theirs."""
    for name, content in beside.items():
        if not isinstance(content, bytes) or name in ("", ".", "..") or "/" in name or is_of_checkpoint(name):
            raise ValueError(f"beside: {name!r} must be the name of a file, of no weights, and its content bytes")
    return beside


def _run(
    tasks: list[FileTask], executor: Executor | None, report: Callable[[str, int], None]
) -> Iterator[tuple[FileTask, bool]]:
    """Run the tasks here, one after the other on all threads, or on the workers; each with whether it was whole."""
    if executor is None:
        for task in tasks:
            yield task, run(task, lambda done, total, task=task: report(task.name, done))  # type: ignore[misc]
        return
    futures = {executor.submit(run, task): task for task in tasks}
    try:
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        for future in futures:  # after an error or Ctrl-C: what has not begun does not begin
            future.cancel()


def check_shard_size(shard_size: object) -> None:
    """Refuse what is no number of bytes."""
    if isinstance(shard_size, bool) or not isinstance(shard_size, int) or shard_size < 1:
        raise ValueError(f"shard_size is {shard_size!r}; it is a number of bytes, such as {SHARD_SIZE}")


def file_names(count: int) -> list[str]:
    """model.safetensors, or model-00001-of-0000N.safetensors ..."""
    if count == 1:
        return [SINGLE]
    return shard_names("model", count)


def split(plan: Plan, shard_size: int) -> list[tuple[Tensor, ...]]:
    """The tensors of each file, as huggingface_hub splits a state dict (serialization/_base.py).

    In the order of the plan: a file is closed where the next tensor would exceed the limit. A tensor that exceeds it
    alone has a file of its own, which comes before the one that is open.
    """
    groups: list[list[Tensor]] = []
    current: list[Tensor] = []
    held = 0
    for tensor in plan.tensors:
        if tensor.bytes > shard_size:
            groups.append([tensor])
            continue
        if held + tensor.bytes > shard_size:
            groups.append(current)
            current, held = [], 0
        current.append(tensor)
        held += tensor.bytes
    if current or not groups:
        groups.append(current)
    return [tuple(group) for group in groups]


def metadata(plan: Plan, tensors: tuple[Tensor, ...], seed: int, stream: str) -> dict[str, str]:
    """What a file says of itself: enough to draw its tensors again. "format" is for the readers of PyTorch."""
    names = {tensor.name for tensor in tensors}
    tied = {alias: name for alias, name in sorted(plan.tied.items()) if name in names}
    laws = {tensor.name: to_json(tensor.said) for tensor in tensors}
    compact = {"separators": (",", ":"), "ensure_ascii": False, "sort_keys": True}
    return {
        "format": "pt",
        "fastinit.stream": stream,
        "fastinit.version": __version__,
        "fastinit.seed": str(seed),
        "fastinit.plan": plan.digest,
        "fastinit.laws": json.dumps(laws, **compact),  # type: ignore[arg-type]
        **({"fastinit.origin": json.dumps(plan.origin, **compact)} if plan.origin else {}),  # type: ignore[arg-type]
        **({"fastinit.tied": json.dumps(tied, **compact)} if tied else {}),  # type: ignore[arg-type]
    }


def index_of(plan: Plan, files: Mapping[str, tuple[Tensor, ...]]) -> bytes:
    """model.safetensors.index.json, as huggingface_hub and transformers write and read it; tied names are not in it."""
    place = {tensor.name: name for name, group in files.items() for tensor in group}
    content = {"metadata": {"total_size": plan.bytes}, "weight_map": dict(sorted(place.items()))}
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
