"""Apply an edit: to another folder, or to the checkpoint itself, by new files and one rename that is the commit."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import time
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from fastinit.address import drawn_seed, stream_words
from fastinit.edit.changes import REMOVED, Changes, FileChange
from fastinit.edit.elsewhere import edit_elsewhere, others_of
from fastinit.edit.inplace import changes_in_place, edit_in_place
from fastinit.edit.journal import Journal, is_committed, recover
from fastinit.edit.layout import Layout, lay_out_files
from fastinit.edit.operations import Operation
from fastinit.edit.state import CONFIG
from fastinit.edit.steps import How, changes_of, run_all, start, tasks_of
from fastinit.files.anyones import ENDING, Checkpoint
from fastinit.files.folder import Folder
from fastinit.floating_point import in_default_mode
from fastinit.formatting import printable, size, some_of
from fastinit.progress import AnyProgress, following
from fastinit.provenance import beside
from fastinit.threads import resolve
from fastinit.write import SHARD_SIZE, check_shard_size

COMMITTED = "The checkpoint is the new one; what is left of the old one beside it, the next edit removes"


@dataclass(frozen=True, repr=False)
class Edited:
    """What `edit` did, or would do: the seed, the changes, and whether anything was written."""

    path: str
    output: str | None
    seed: int
    changes: Changes
    dry_run: bool
    recovered: bool
    seconds: float

    @property
    def summary(self) -> str:
        """One line: what changed, or would."""
        changes, names = self.changes, [printable(one.name) for one in self.changes.tensors]
        did = "would be written" if self.dry_run else "written"
        named = f": {some_of(names, 3)}" if names else ""
        changed = f"{len(names):,} tensor{'s' * (len(names) != 1)} changed{named}"
        return f"{changed}; {size(changes.bytes_written)} {did}; seed {self.seed}"

    def __repr__(self) -> str:
        return f"<Edited {printable(self.output or self.path)}: {self.summary}>"

    def _repr_html_(self) -> str:
        from fastinit import formatting, notebook

        rows = [
            (notebook.safe(one.name), formatting.shape(one.shape), one.dtype, notebook.safe(one.how))
            for one in self.changes.tensors
        ]
        said = f"<b>{notebook.safe(self.output or self.path)}</b>: {notebook.safe(self.summary)}"
        return notebook.sheet(said, ("tensor", "shape", "dtype", "what"), rows, rest="report.changes.tensors has them")


@in_default_mode
def edit(
    path: str | os.PathLike[str],
    operations: Iterable[Operation],
    *,
    output: str | os.PathLike[str] | None = None,
    in_place: bool = False,
    dry_run: bool = False,
    seed: int | None = None,
    shard_size: int = SHARD_SIZE,
    threads: int | None = None,
    progress: AnyProgress = None,
    executor: Executor | None = None,
    durable: bool = True,
) -> Edited:
    """Change some tensors of a checkpoint, by any program, without loading it: in bounded memory.

    path        a safetensors file, a folder of them, or an index. Nothing but headers is read of what does not change.
    operations  an `Edit`, or any list of operations, each applied to what the one before left
    output      a folder for the new checkpoint, which must hold none yet; None: the checkpoint itself changes. Files
                that change are written beside those they replace, and the rename of the index (of the file, where
                there is one) makes the change, in one step.
    in_place    overwrite the bytes of tensors that are drawn again and keep shape and dtype, and write no new file.
                Killed, they are partly drawn; the same edit, run again, ends it.
    dry_run     compute and check what would be done, and do nothing
    seed        integer in [0, 2^64), for all that is drawn, each tensor under its own name; None draws one
    shard_size  bytes of tensors in a file at most, for files that are new
    threads     of each file
    progress    True for a bar (tqdm), or a function: called with (bytes done, bytes in all)
    executor    any concurrent.futures.Executor: one file is one task. Every worker must see the folders.
    durable     sync each file before it takes its name; False leaves that to the system

    Raises ValueError or TypeError where an operation is not possible, SafetensorsError for a damaged file, and OSError,
    all before a file that counts is changed; a number that a dtype cannot hold is a ValueError, found while its file is
    written. After any error the checkpoint is the old one, and nothing is beside it.
    Guarantee: untouched tensors keep their bytes. Killed at any moment, the checkpoint is the old one or the new one;
    what is left beside it, the next edit removes.
    """
    begin = time.perf_counter()
    if in_place and output is not None:
        raise ValueError("in_place=True changes the files that are there; leave out output (-o)")
    if output is not None and "://" in os.fspath(output):
        raise ValueError(f"{output}: an edit writes to a local folder; put it where it is to be afterwards")
    check_shard_size(shard_size)
    operations = list(operations)
    for one in operations:
        if not isinstance(one, Operation):
            raise TypeError(f"an operation is {one!r}; pass those of fastinit.edit, such as Delete('lm_head.*')")
    if seed is None:
        seed = drawn_seed("edit") if any(one.draws for one in operations) else 0
    stream_words(seed, "")
    resolve(threads)
    how = How(threads, durable, shard_size, executor, following(progress))
    root = _root(Path(path))
    recovered = False
    if in_place and dry_run:
        changes = changes_in_place(path, operations, seed, how)
    elif dry_run:
        changes = _plan_only(path, operations, seed, how, None if output is None else Path(output))
    elif output is not None:
        changes = edit_elsewhere(path, root, Path(output), operations, seed, how)
    else:
        folder = Folder(str(root))
        with folder.alone():
            recovered = recover(folder, root, durable=durable)
            here = edit_in_place if in_place else _edit_here
            changes = here(path, folder, operations, seed, how)
    seconds = time.perf_counter() - begin
    where = None if output is None else os.fspath(output)
    return Edited(os.fspath(path), where, seed, changes, dry_run, recovered, seconds)


def _root(path: Path) -> Path:
    """The folder of a checkpoint."""
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, f"{path} does not exist; name a .safetensors file or a folder of them")
    return path if path.is_dir() else path.parent


def _plan_only(
    path: str | os.PathLike[str], operations: Sequence[Operation], seed: int, how: How, output: Path | None
) -> Changes:
    """What would be done."""
    checkpoint, state = start(path, operations, seed)
    if output is not None:
        layout = lay_out_files(state, how.shard_size, None)
        return changes_of(state, layout, others_of(checkpoint, layout), elsewhere=True)
    layout = lay_out_files(state, how.shard_size, "0" * 8)
    refuse_here(checkpoint, layout)
    return changes_of(state, layout, _gone(checkpoint, layout), elsewhere=False)


def _gone(checkpoint: Checkpoint, layout: Layout) -> list[FileChange]:
    """The files of the old checkpoint that the new one has not."""
    names = {one.name for one in layout.outputs}
    return [FileChange(name, REMOVED, header.size) for name, header in checkpoint.headers.items() if name not in names]


# --- the checkpoint itself --------------------------------------------------------------------------------------------


def _edit_here(
    path: str | os.PathLike[str], folder: Folder, operations: Sequence[Operation], seed: int, how: How
) -> Changes:
    """Write what changes beside what is there, commit, remove what is no longer read."""
    checkpoint, state = start(path, operations, seed)
    layout = lay_out_files(state, how.shard_size, _token(checkpoint.folder))
    refuse_here(checkpoint, layout)
    gone = _gone(checkpoint, layout)
    changes = changes_of(state, layout, gone, elsewhere=False)
    written = [one for one in layout.outputs if not one.unchanged]
    if not written and not gone and layout.config is None:
        return changes
    index = layout.index if written or gone else None
    commit, head = _commit_of(checkpoint, layout)
    new = [one.name for one in written if one.name not in checkpoint.headers]
    replaced = [*(one.name for one in gone), *(one.name for one in written if one.name in checkpoint.headers)]
    old = [one.name for one in gone] + [
        place.name for name in replaced if (place := beside(checkpoint.folder / name)).exists()
    ]
    journal = Journal.of(checkpoint.folder, commit, head, new, old, layout.config)
    try:
        if new or old or (written and layout.config is not None):
            journal.save(folder, how.durable)
        run_all(tasks_of(written, checkpoint, checkpoint.folder, how, overwrite=True), how)
        if index is not None:
            folder.put(commit, index, durable=how.durable, overwrite=True)
        if layout.config is not None:
            folder.put(CONFIG, layout.config, durable=how.durable, overwrite=True)
    except BaseException as error:
        try:
            recover(folder, checkpoint.folder, durable=how.durable)
        except OSError as trouble:
            error.add_note(
                f"What is left beside the checkpoint could not be removed ({trouble}); the next edit will try"
            )
        if is_committed(journal, checkpoint.folder):
            error.add_note(COMMITTED)
        raise
    try:
        recover(folder, checkpoint.folder, with_config=False)
    except BaseException as error:
        error.add_note(COMMITTED)
        raise
    return changes


def _commit_of(checkpoint: Checkpoint, layout: Layout) -> tuple[str, bytes]:
    """The file whose rename is the commit, and the first bytes of its new content."""
    if checkpoint.listed is not None:
        return checkpoint.listed, layout.index or b""
    return layout.outputs[0].name, layout.outputs[0].header.text


def refuse_here(checkpoint: Checkpoint, layout: Layout) -> None:
    """Refuse what cannot be changed in one step, and links: behind them is the content of others."""
    changed = [one for one in layout.outputs if not one.unchanged]
    if checkpoint.listed is None and len(checkpoint.headers) > 1:
        raise ValueError(
            f"{checkpoint.path} holds {len(checkpoint.headers)} files without an index, which cannot change in one "
            "step; write to another folder (-o), or name one file"
        )
    if checkpoint.named:
        for index in checkpoint.folder.glob(f"*{ENDING}"):
            if changed and f'"{checkpoint.path.name}"' in index.read_text(encoding="utf-8", errors="replace"):
                raise ValueError(
                    f"{checkpoint.path} is one file of {index}; name the folder, so that the index follows"
                )
    names = {checkpoint.listed} if checkpoint.listed is not None else {one.name for one in changed}
    if layout.config is not None:
        names.add(CONFIG)
    refuse_links(checkpoint.folder, {name for name in names if name is not None}, "write to another folder (-o)")


def refuse_links(folder: Path, names: Collection[str], instead: str) -> None:
    """Refuse to write through symbolic links, such as those of a hub's cache: other names lead to the same content."""
    for name in sorted(names):
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISLNK((folder / name).lstat().st_mode):
                raise ValueError(f"{folder / name} is a symbolic link, as in a hub's cache; {instead}")


def _token(folder: Path) -> str:
    """Eight digits that no file of the folder has in its name."""
    while True:
        token = secrets.token_hex(4)
        if not any(token in name for name in os.listdir(folder)):  # noqa: PTH208
            return token
