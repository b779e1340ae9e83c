"""An edit as a value: a list of operations that can be printed, saved, read again, and applied to any checkpoint."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastinit.edit.apply import Edited, edit
from fastinit.edit.operations import Add, Cast, Configure, Copy, Delete, Operation, Redraw, Rename
from fastinit.edit.resizing import Resize
from fastinit.files.safetensors import unique
from fastinit.files.small import save

VERSION = "fastinit-edit-1"
OPERATIONS: dict[str, type[Operation]] = {
    kind.op: kind for kind in (Redraw, Resize, Copy, Rename, Delete, Cast, Add, Configure)
}


@dataclass(frozen=True, repr=False)
class Edit:
    """Operations, in their order: each is applied to what the one before left."""

    operations: tuple[Operation, ...]

    def __init__(self, *operations: Operation) -> None:
        for one in operations:
            if not isinstance(one, Operation):
                raise TypeError(f"an operation is {one!r}; pass those of fastinit.edit, such as Delete('lm_head.*')")
        object.__setattr__(self, "operations", operations)

    def __repr__(self) -> str:
        return f"Edit({', '.join(map(repr, self.operations))})"

    def __iter__(self) -> Iterator[Operation]:
        return iter(self.operations)

    def apply(self, path: str | os.PathLike[str], **options: Any) -> Edited:
        """Apply the operations to a checkpoint; the options, errors and guarantees are those of `edit`."""
        return edit(path, self.operations, **options)

    def to_json(self) -> dict[str, Any]:
        """The edit as an object that `json` can write."""
        return {"edit": VERSION, "operations": [one.to_json() for one in self.operations]}

    @classmethod
    def from_json(cls, content: Any) -> Edit:
        """The edit of such an object; ValueError or TypeError where it is none."""
        if not isinstance(content, Mapping) or content.get("edit") != VERSION:
            raise ValueError(f'this is no edit; one is a JSON object with "edit": "{VERSION}" and "operations"')
        entries = content.get("operations")
        if not isinstance(entries, list):
            raise ValueError(f'"operations" of the edit is {entries!r:.200}; it must be a list of objects')
        return cls(*map(_operation, entries))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the edit as JSON; the file is whole, or the one that was there."""
        save(path, (json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n").encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Edit:
        """Read an edit that `save` wrote; ValueError or TypeError, which names the file, where it is none."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=unique)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is no JSON that can be read: {error}") from None
        try:
            return cls.from_json(content)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{path}: {error}") from error


def _operation(entry: Any) -> Operation:
    """An operation of an edit in JSON."""
    kind = OPERATIONS.get(str(entry.get("op"))) if isinstance(entry, Mapping) else None
    if kind is None:
        raise ValueError(f"{entry!r:.200} is no operation; one is an object with an op: {', '.join(OPERATIONS)}")
    return kind.from_json(entry)
