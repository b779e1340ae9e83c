"""What an edit does, tensor by tensor and file by file, in words and bytes: for `--dry-run`, and for the report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fastinit.edit.layout import Layout
from fastinit.edit.state import State
from fastinit.files.safetensors import bits_of
from fastinit.provenance import in_words

WRITTEN, KEPT, COPIED, REMOVED, FILLED = "written", "kept", "copied", "removed", "overwritten in part"


@dataclass(frozen=True)
class TensorChange:
    """A tensor that is not what it was: its name, shape, dtype and bytes afterwards, and how it came to be.

    A tensor that is left out has how "deleted", and the shape and bytes that it had.
    """

    name: str
    how: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    file: str


@dataclass(frozen=True)
class FileChange:
    """A file: written, kept, copied, removed, or overwritten in part, and how many bytes that takes."""

    name: str
    what: str
    bytes: int


@dataclass(frozen=True)
class Changes:
    """All of them, and what else is worth knowing."""

    tensors: tuple[TensorChange, ...]
    files: tuple[FileChange, ...]
    settings: tuple[tuple[str, object], ...]
    notes: tuple[str, ...]

    @property
    def bytes_written(self) -> int:
        """Bytes that pass through the disk: files that are written or copied."""
        return sum(one.bytes for one in self.files if one.what in (WRITTEN, COPIED, FILLED))


def tensor_changes(state: State, layout: Layout) -> list[TensorChange]:
    """The tensors that are new or changed, in the order of the files, and those that are gone."""
    changes = []
    for output in layout.outputs:
        for name, content in output.tensors.items():
            entry = state.entries[name]
            if entry.home is None or not state.is_as_stored(name, entry.home):
                known = state.files[entry.home].edited.get(name) if entry.home is not None else None
                earlier = known.how if known is not None else ()
                before = len(earlier) if entry.how[:-1][: len(earlier)] == earlier else 0
                how = in_words(entry.how[before:]) or f"cast (to {content.dtype})"
                changes.append(TensorChange(name, how, content.shape, content.dtype, content.bytes, output.name))
    for home, header in state.checkpoint.headers.items():
        for name, slot in header.slots.items():
            if name not in state.entries:
                nbytes = slot.elements * bits_of(slot.dtype) // 8
                changes.append(TensorChange(name, "deleted", slot.shape, slot.dtype, nbytes, home))
    return changes


def file_changes(layout: Layout, gone: Iterable[FileChange], *, elsewhere: bool) -> list[FileChange]:
    """The files of the checkpoint that are written, and those that are not."""
    stay = COPIED if elsewhere else KEPT
    files = [FileChange(one.name, stay if one.unchanged else WRITTEN, one.bytes) for one in layout.outputs]
    return [*files, *gone]
