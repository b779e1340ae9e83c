"""A checkpoint as an edit sees it: names and what each tensor holds. Operations change the names; nothing is computed.

Which file each tensor belongs to is kept beside it, so that files whose tensors stay are left as they are.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fastinit.address import stream_id
from fastinit.dtypes import FORMATS
from fastinit.edit.contents import Content, Stored, spans_of
from fastinit.files.anyones import Checkpoint
from fastinit.files.safetensors import refuse, unique
from fastinit.plan import Shapes
from fastinit.provenance import Edited, File, Span, file_of

CONFIG = "config.json"
MOST_CONFIG = 1 << 24  # bytes


@dataclass(frozen=True)
class Entry:
    """A tensor of the edited checkpoint.

    home   the file it came from and stays in; None for one that is new
    how    the operations that made it what it is, for the metadata
    """

    content: Content
    home: str | None
    how: tuple[Mapping[str, Any], ...] = ()

    def but(self, content: Content, **how: Any) -> Entry:
        """The same tensor with another content, and one operation more."""
        return replace(self, content=content, how=(*self.how, how))

    @property
    def spans(self) -> tuple[Span, ...]:
        """What of it is as drawn."""
        return tuple(spans_of(self.content))


@dataclass
class State:
    """All tensors by name, in the order of the files; ties; config.json; and what else is worth saying.

    seed     that the checkpoint was drawn from, or None
    config   what config.json holds; None where there is none
    settings what is to be set in it
    """

    checkpoint: Checkpoint
    files: Mapping[str, File]
    entries: dict[str, Entry]
    tied: dict[str, str]
    seed: int | None
    config: dict[str, Any] | None
    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> State:
        """The state of a checkpoint before the first operation."""
        files = {
            name: file_of(checkpoint.folder / name, header, foreign=True) for name, header in checkpoint.headers.items()
        }
        seeds = {file.seed for file in files.values()}
        if len(seeds - {None}) > 1:
            shown = ", ".join(sorted(map(str, seeds - {None})))
            refuse(checkpoint.path, f"has files drawn from the seeds {shown}: two checkpoints mixed up")
        entries, tied = {}, {}
        for name, file in files.items():
            path = str((checkpoint.folder / name).absolute())
            for tensor, slot in file.header.slots.items():
                content = Stored(slot.shape, slot.dtype, path, slot.begin, file.spans_of(tensor))
                how = file.edited[tensor].how if tensor in file.edited else ()
                entries[tensor] = Entry(content, name, how)
            tied.update(_tied(file))
        # A tie that an older program left behind may speak of a tensor that is there: the tensor counts.
        tied = {alias: name for alias, name in tied.items() if alias not in entries and name in entries}
        config = None if checkpoint.named else _config(checkpoint.folder / CONFIG)
        return cls(checkpoint, files, entries, tied, next(iter(seeds - {None}), None), config)

    @property
    def shapes(self) -> Shapes:
        """Names, shapes and dtypes, tied names too, as rules and recipes read them."""
        found = {
            name: {"shape": list(one.content.shape), "dtype": one.content.dtype} for name, one in self.entries.items()
        }
        return found | {alias: found[name] for alias, name in self.tied.items()}

    def get(self, name: str, what: str) -> Entry:
        """The tensor of this name; ValueError where there is none."""
        if name in self.entries:
            return self.entries[name]
        if name in self.tied:
            raise ValueError(f"{what}: {name!r} is another name of {self.tied[name]!r}, which is kept once; name that")
        raise ValueError(f"{what}: there is no tensor {name!r}; it has {', '.join(list(self.entries)[:3])}, ...")

    def put(self, name: str, entry: Entry, what: str) -> None:
        """Add a tensor under a free name; a name that was tied to another becomes its own."""
        stream_id(name)
        if name == "__metadata__" or not name:
            raise ValueError(f"{what}: a tensor cannot be called {name!r}")
        if name in self.entries:
            raise ValueError(f"{what}: there is a tensor {name!r} already; delete it first, or choose another name")
        self.tied.pop(name, None)
        self.entries[name] = entry

    def home_of_copies(self, home: str | None) -> str | None:
        """The file of a tensor that is added beside one of `home`: a new file where an index can list it."""
        return None if self.checkpoint.index else home

    def common_dtype(self) -> str | None:
        """The dtype of most tensors of floats; None where no one dtype has more than half of them."""
        counts = Counter(one.content.dtype for one in self.entries.values() if one.content.dtype in FORMATS)
        found = counts.most_common(1)
        return found[0][0] if found and 2 * found[0][1] > counts.total() else None

    def is_as_stored(self, name: str, home: str) -> bool:
        """Whether a tensor is what its file has under this name already."""
        entry, slot = self.entries.get(name), self.checkpoint.headers[home].slots.get(name)
        return (
            entry is not None
            and slot is not None
            and entry.home == home
            and isinstance(entry.content, Stored)
            and (entry.content.begin, entry.content.dtype, entry.content.shape) == (slot.begin, slot.dtype, slot.shape)
            and Path(entry.content.path).name == home
        )

    def edited_of(self, name: str, *, always: bool = False) -> Edited | None:
        """What the metadata is to say of a tensor: how it was edited; None where a law alone says all, or nothing.

        `always`: also where a law would say all.
        """
        entry = self.entries[name]
        if not entry.how or (self.is_as_drawn(name) and not always):
            return None
        return Edited(entry.how, entry.spans)

    def is_as_drawn(self, name: str) -> bool:
        """Whether the whole tensor is as drawn from the checkpoint's own seed under its own name."""
        entry = self.entries[name]
        spans, content = entry.spans, entry.content
        return (
            len(spans) == 1
            and spans[0].seed == self.seed
            and (spans[0].at, spans[0].first, spans[0].count) == (0, 0, content.elements)
            and (spans[0].drawn.name, spans[0].drawn.shape) == (name, content.shape)
        )


def _tied(file: File) -> dict[str, str]:
    """Other name -> name, as the file's metadata says."""
    text = file.header.metadata.get("fastinit.tied")
    if text is None:
        return {}
    try:
        found = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
        refuse(file.path, "has damaged metadata: fastinit.tied is no object of names")
    return found


def _config(path: Path) -> dict[str, Any] | None:
    """What config.json beside the files holds; None where there is none, or it is no object of JSON."""
    try:
        if path.stat().st_size > MOST_CONFIG:
            return None
        found = json.loads(path.read_bytes().decode())
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
