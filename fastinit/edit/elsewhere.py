"""Apply an edit to another folder: files that do not change are shared with it or copied, the index comes last."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from hashlib import blake2b
from pathlib import Path

from fastinit.edit.changes import COPIED, Changes, FileChange
from fastinit.edit.journal import JOURNAL, OUTPUT, recover
from fastinit.edit.layout import Layout, lay_out_files
from fastinit.edit.operations import Operation
from fastinit.edit.state import CONFIG
from fastinit.edit.steps import How, changes_of, real_folder, run_all, start, tasks_of
from fastinit.files.anyones import ENDING, Checkpoint
from fastinit.files.copying import copy, share
from fastinit.files.folder import Folder, Found
from fastinit.files.place import held_folder
from fastinit.files.publish import publishing, reserve
from fastinit.files.temporary import remove_leftovers
from fastinit.provenance import BESIDE

# Weights in other formats, which would still be the old ones, and what speaks of them.
WEIGHTS = (
    *(".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".hdf5", ".msgpack", ".onnx", ".npz", ".ot"),
    *(".index.json", BESIDE),
)


def others_of(checkpoint: Checkpoint, layout: Layout) -> list[FileChange]:
    """The files beside the weights that go with them: config.json, tokenizers. Not weights in other formats."""
    if checkpoint.named:
        return []
    found = []
    for one in sorted(checkpoint.folder.iterdir()):
        written = one.name == CONFIG and layout.config is not None
        if one.is_file() and not one.name.startswith(".") and not one.name.endswith(WEIGHTS) and not written:
            found.append(FileChange(one.name, COPIED, one.stat().st_size))
    return found


def edit_elsewhere(
    path: str | os.PathLike[str], root: Path, output: Path, operations: Sequence[Operation], seed: int, how: How
) -> Changes:
    """Write the edited checkpoint to a folder that holds none."""
    here, there = Folder(str(root)), Folder(str(output))
    if real_folder(root) == real_folder(output):
        raise ValueError(f"{output} is the folder of the checkpoint; leave out -o to change it there")
    made = not output.exists()
    there.make()
    with ExitStack() as stack:
        if made:  # after the locks, which on Windows are files in it
            stack.push(lambda kind, error, trace: _remove_empty(output) if kind is not None else None)
        for folder in sorted((here, there), key=lambda one: real_folder(Path(one.address))):  # two never wait in a ring
            stack.enter_context(folder.alone())
        with contextlib.suppress(PermissionError):
            recover(here, root, durable=how.durable)
        checkpoint, state = start(path, operations, seed)
        layout = lay_out_files(state, how.shard_size, None)
        others = others_of(checkpoint, layout)
        changes = changes_of(state, layout, others, elsewhere=True)
        ours = [*(one.name for one in others), *([] if layout.config is None else [CONFIG])]
        ours += [one.name for one in layout.outputs]
        ours += [] if checkpoint.listed is None else [checkpoint.listed]
        mark = _mark(checkpoint, layout, others)
        if not _resumes(output, mark):
            _refuse_occupied(output, ours)
        _write(there, output, checkpoint, layout, others, ours, mark, how)
    return changes


def _write(
    there: Folder,
    output: Path,
    checkpoint: Checkpoint,
    layout: Layout,
    others: Sequence[FileChange],
    ours: Sequence[str],
    mark: bytes,
    how: How,
) -> None:
    """The files, with a journal beside them until all are there; after an error none of them is."""
    try:
        there.put(JOURNAL, mark, durable=how.durable, overwrite=True)
        with held_folder(output) as fd:
            remove_leftovers(fd, lambda target: target in {name[:50] for name in ours})
        for one in others:
            _copy(checkpoint.folder / one.name, output / one.name, how.durable)
        if layout.config is not None:
            there.put(CONFIG, layout.config, durable=how.durable, overwrite=True)
        missing = [one for one in layout.outputs if not _is_whole(there, one.name, one.header.text, one.bytes)]
        run_all(tasks_of(missing, checkpoint, output, how, overwrite=True), how)
        if layout.index is not None:
            there.put(str(checkpoint.listed), layout.index, durable=how.durable, overwrite=True)
        there.remove(JOURNAL)
    except BaseException as error:
        try:
            for name in reversed(ours):  # the index first
                there.remove(name)
            there.remove(JOURNAL)
        except OSError as trouble:
            error.add_note(f"What was written to {output} could not be removed: {trouble}")
        raise


def _remove_empty(output: Path) -> None:
    """Remove a folder that was made for the checkpoint, if nothing is in it."""
    with contextlib.suppress(OSError):
        output.rmdir()


def _mark(checkpoint: Checkpoint, layout: Layout, others: Sequence[FileChange]) -> bytes:
    """What tells this edit of these files apart from any other: the same again goes on where it was killed."""
    digest = blake2b(digest_size=32)
    for name in (*checkpoint.headers, *(one.name for one in others)):
        seen = (checkpoint.folder / name).stat()
        digest.update(f"{name}\0{seen.st_dev} {seen.st_ino} {seen.st_size} {seen.st_mtime_ns}\0".encode())
    for output in layout.outputs:
        digest.update(f"{output.name}\0{dict(output.tensors)!r}\0".encode() + output.header.text)
    digest.update(layout.config or b"")
    content = {"journal": OUTPUT, "source": str(checkpoint.path), "edit": digest.hexdigest()}
    return json.dumps(content, indent=1, ensure_ascii=False).encode()


def _resumes(output: Path, mark: bytes) -> bool:
    """Whether a folder holds what a kill has left of this edit."""
    try:
        found = (output / JOURNAL).read_bytes()
    except FileNotFoundError:
        return False
    if found != mark:
        raise FileExistsError(
            errno.EEXIST,
            f"{output} holds what was left of another edit that did not end; run that again, or choose another folder",
        )
    return True


def _refuse_occupied(output: Path, ours: Sequence[str]) -> None:
    """Refuse a folder that holds a checkpoint, or a file of a name that is to be written."""
    names = os.listdir(output)  # noqa: PTH208
    found = sorted(name for name in names if name in ours or name.endswith((".safetensors", ENDING)))
    if found:
        raise FileExistsError(errno.EEXIST, f"{output} holds {', '.join(found[:3])} already; choose another folder")


def _is_whole(folder: Folder, name: str, text: bytes, size: int) -> bool:
    return folder.find(name, text, size) is Found.WHOLE


def _copy(source: Path, target: Path, durable: bool) -> None:
    """Copy a small file that goes with the weights."""
    with source.open("rb") as file, publishing(target, 0, overwrite=True, durable=durable) as fd:
        size = os.fstat(file.fileno()).st_size
        if size and not share(file.fileno(), fd):
            reserve(fd, size)
            copy(file.fileno(), 0, fd, 0, size, lambda: None)
