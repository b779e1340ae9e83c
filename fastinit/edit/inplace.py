"""Apply an edit to the bytes of the files that are there: tensors that are drawn again and keep name, shape and dtype.

A header cannot grow, so what was drawn is said in a small file beside (`provenance.BESIDE`), which is put before the
first byte changes: killed, `verify` finds the tensors that are partly drawn, and the same edit, run again, ends it.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from fastinit.edit.changes import FILLED, Changes, FileChange, tensor_changes
from fastinit.edit.contents import Content, Drawn
from fastinit.edit.layout import lay_out_files
from fastinit.edit.operations import Operation
from fastinit.edit.state import State
from fastinit.edit.steps import How, run_all, start, tasks_of_bytes
from fastinit.files.folder import Folder
from fastinit.laws import Law
from fastinit.laws.law_json import to_json
from fastinit.provenance import beside, beside_text


def changes_in_place(path: str | os.PathLike[str], operations: Sequence[Operation], seed: int, how: How) -> Changes:
    """What would be done."""
    return _checked(path, operations, seed, how)[2]


def edit_in_place(
    path: str | os.PathLike[str], folder: Folder, operations: Sequence[Operation], seed: int, how: How
) -> Changes:
    """Overwrite the tensors that are drawn again, in a folder that is locked."""
    state, drawn, changes = _checked(path, operations, seed, how)
    for home, tensors in drawn.items():
        _say(state, home, tensors, folder, how)
    run_all(tasks_of_bytes(drawn, state.checkpoint, how), how)
    return changes


def _checked(
    path: str | os.PathLike[str], operations: Sequence[Operation], seed: int, how: How
) -> tuple[State, dict[str, dict[str, Content]], Changes]:
    """The state, the tensors to be overwritten by file, and the changes; refused where that is not possible."""
    checkpoint, state = start(path, operations, seed)
    drawn = _drawn(state)
    for home in drawn:
        refuse_shared(checkpoint.folder / home)
    return state, drawn, _changes(state, drawn, how)


def _drawn(state: State) -> dict[str, dict[str, Content]]:
    """The tensors to be overwritten, by file; ValueError for any change that is more than that."""
    drawn: dict[str, dict[str, Content]] = {}
    instead = "in place, tensors can only be drawn again; leave out in_place=True (--in-place)"
    for name, entry in state.entries.items():
        if entry.home is not None and state.is_as_stored(name, entry.home):
            continue
        slot = None if entry.home is None else state.checkpoint.headers[entry.home].slots.get(name)
        if slot is None or not isinstance(entry.content, Drawn):
            raise ValueError(f"{name!r} would be more than a draw ({_last(entry.how)}), and {instead}")
        if (slot.shape, slot.dtype) != (entry.content.shape, entry.content.dtype):
            before, after = f"{slot.dtype} of {slot.shape}", f"{entry.content.dtype} of {entry.content.shape}"
            raise ValueError(f"{name!r} is {before} and would be {after}; {instead}")
        drawn.setdefault(str(entry.home), {})[name] = entry.content
    for header in state.checkpoint.headers.values():
        for name in header.slots:
            if name not in state.entries:
                raise ValueError(f"{name!r} would be gone; {instead}")
    if state.settings:
        raise ValueError(f"config.json would change ({', '.join(state.settings)}); {instead}")
    return drawn


def _last(how: Sequence[object]) -> str:
    return str(dict(how[-1])["op"]) if how else "it moved"  # type: ignore[call-overload]


def _changes(state: State, drawn: dict[str, dict[str, Content]], how: How) -> Changes:
    tensors = tensor_changes(state, lay_out_files(state, how.shard_size, "0" * 8))
    homes = {name: home for home, group in drawn.items() for name in group}
    files = [FileChange(home, FILLED, sum(one.bytes for one in group.values())) for home, group in drawn.items()]
    moved = (type(one)(one.name, one.how, one.shape, one.dtype, one.bytes, homes[one.name]) for one in tensors)
    return Changes(tuple(moved), tuple(files), (), tuple(state.notes))


def refuse_shared(path: Path) -> None:
    """Refuse a file that has other names: a symbolic link, as in a hub's cache, or more than one hard link."""
    found = path.lstat()
    instead = "who reads it by another name would see it change; write to another folder (-o), or without --in-place"
    if stat.S_ISLNK(found.st_mode):
        raise ValueError(f"{path} is a symbolic link, as in a hub's cache: {instead}")
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{path} is not a regular file")
    if found.st_nlink > 1:
        raise ValueError(f"{path} has {found.st_nlink} names (hard links): {instead}")


def _say(state: State, home: str, tensors: dict[str, Content], folder: Folder, how: How) -> None:
    """Put what will have been drawn beside the file, where the file's own header does not say the same."""
    file = state.files[home]
    said = dict(file.beside)
    for name in tensors:
        known = file.known.get(name)
        if known is not None and state.is_as_drawn(name) and _same(known.law, state.entries[name].spans[0].drawn.law):
            said.pop(name, None)
        else:
            edited = state.edited_of(name, always=True)
            assert edited is not None  # it is drawn
            said[name] = edited
    if said != file.beside:
        name = beside(file.path).name
        if said:
            folder.put(name, beside_text(file.header, said), durable=how.durable, overwrite=True)
        else:
            folder.remove(name)


def _same(one: Law, other: Law) -> bool:
    """Whether two laws draw the same: Constant(0.0) and Constant(-0.0) are equal, and do not."""
    return json.dumps(to_json(one)) == json.dumps(to_json(other))
