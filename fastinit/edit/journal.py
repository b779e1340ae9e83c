"""What an edit is about to do, written before it begins, so that the next one can tidy up after a kill.

The rename of the index is the commit. Before it, new files exist that no index lists; after it, old ones. Both are
named in the journal, and what the index does not list is removed: nobody reads it. An old file is removed only if it is
the very file that the journal saw. config.json follows the commit, and is put again from the journal if it did not.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path

from fastinit.edit.layout import SHARD
from fastinit.edit.state import CONFIG
from fastinit.files.anyones import ENDING
from fastinit.files.folder import Folder
from fastinit.files.place import held_folder, look
from fastinit.files.safetensors import refuse
from fastinit.files.system import Handle, names_in
from fastinit.files.temporary import remove_leftovers
from fastinit.provenance import BESIDE

JOURNAL = ".fastinit-edit.json"
VERSION = "fastinit-edit-journal-1"
OUTPUT = "fastinit-edit-output-1"  # of an edit to another folder, which goes on where it was (elsewhere.py)
NEW = re.compile(r".*-edit[0-9a-f]{8}(-\d{5,}-of-\d{5,})?\.safetensors", re.DOTALL)
HEAD = 1 << 27  # bytes of a committed file that tell it apart: an index, or a header


@dataclass(frozen=True)
class Journal:
    """What an edit writes and removes.

    commit   the file whose new content is the commit: the index, or the only file
    size     how many bytes of it `digest` is of
    digest   of the new content's first bytes
    new      files that did not exist before
    old      files that go when the commit is made, each with what tells it apart from another of its name
    config   the new content of config.json, or None
    """

    commit: str
    size: int
    digest: str
    new: tuple[str, ...]
    old: tuple[tuple[str, str], ...]
    config: str | None

    @classmethod
    def of(
        cls, folder: Path, commit: str, head: bytes, new: Iterable[str], old: Iterable[str], config: bytes | None
    ) -> Journal:
        """The journal of an edit that commits by a file that begins with `head`."""
        with held_folder(folder) as fd:
            seen = tuple((name, identity(name, fd)) for name in old)
        text = None if config is None else base64.b64encode(config).decode()
        return cls(commit, len(head), _digest(head), tuple(new), seen, text)

    def save(self, folder: Folder, durable: bool) -> None:
        """Put it into the folder, before anything else."""
        content = json.dumps({"journal": VERSION, **asdict(self)}, indent=1, ensure_ascii=False).encode()
        folder.put(JOURNAL, content, durable=durable, overwrite=True)


def identity(name: str, folder: Handle) -> str:
    """What tells a file apart from another that gets its name later; "" where there is none."""
    found = look(name, folder)
    return "" if found is None else f"{found.st_dev}-{found.st_ino}-{found.st_size}-{found.st_mtime_ns}"


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=32).hexdigest()


def load(path: Path) -> Journal | None:
    """The journal of an edit that did not end; None where there is none."""
    try:
        content = json.loads((path / JOURNAL).read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        refuse(path / JOURNAL, f"is no JSON ({error!s:.200}); look at the files beside it, and remove it")
    if isinstance(content, dict) and content.get("journal") == OUTPUT:
        refuse(path / JOURNAL, "says that an edit to this folder did not end; run it again, or remove the folder")
    try:
        names = [content["commit"], *content["new"], *(name for name, _ in content["old"])]
        if content["journal"] != VERSION or any(Path(name).name != name for name in names):
            raise ValueError("another version")
        # Whoever wrote it, no other files than weights are ever removed.
        if not all(NEW.fullmatch(name) for name in content["new"]):
            raise ValueError("a new file that no edit makes")
        if not all(name.endswith((".safetensors", BESIDE)) for name, _ in content["old"]):
            raise ValueError("an old file that no edit replaces")
        old = tuple((str(name), str(seen)) for name, seen in content["old"])
        return Journal(
            content["commit"], int(content["size"]), content["digest"], tuple(content["new"]), old, content["config"]
        )
    except (KeyError, TypeError, ValueError):
        refuse(path / JOURNAL, "is no journal of an edit of this version; look at the files beside it, and remove it")


def recover(folder: Folder, path: Path, *, durable: bool = True, with_config: bool = True) -> bool:
    """Tidy up after an edit that did not end, in a folder that is locked. Returns whether there was one.

    New files that the index does not list are removed. If the edit was committed, config.json is put, and old files
    that are not listed are removed. Then the checkpoint is the old one or the new one, with nothing beside it.
    """
    journal = load(path)
    if journal is not None:
        committed = is_committed(journal, path)
        if journal.config is not None and committed and with_config:
            content = base64.b64decode(journal.config)
            folder.put(CONFIG, content, durable=durable, overwrite=True)
        listed = _listed(path / journal.commit)
        with held_folder(path) as fd:
            for name in journal.new:
                if name not in listed:
                    folder.remove(name)
            for name, seen in journal.old if committed else ():
                if name not in listed and seen and identity(name, fd) == seen:
                    folder.remove(name)
    with held_folder(path) as fd:
        remove_leftovers(fd, _of_edits(fd, journal))
    if journal is not None:
        folder.remove(JOURNAL)
    return journal is not None


def _of_edits(folder: Handle, journal: Journal | None) -> Callable[[str], bool]:
    """Whether a temporary file for a target, of which it shows 50 characters, is one that edits of this folder make.

    A journal alone does not tell: an edit that replaces one file by one rename needs none, and the one after a killed
    edit may have found its temporary file still locked by the dying process.
    """
    targets = {JOURNAL, CONFIG}
    if journal is not None:
        targets |= {journal.commit, *journal.new}
    beginnings = set()
    with contextlib.suppress(OSError):
        for name in names_in(folder):
            if name.endswith((".safetensors", ENDING, BESIDE)):
                targets.add(name)
            if match := SHARD.fullmatch(name):
                beginnings.add(f"{match['prefix']}-edit"[:50])
    shown, begins = {name[:50] for name in targets}, tuple(beginnings)
    return lambda target: target in shown or target.startswith(begins)


def _listed(commit: Path) -> set[str]:
    """The files that are read: those of the index that is there, or the only file."""
    if not commit.name.endswith(".json"):
        return {commit.name}
    try:
        places = json.loads(commit.read_bytes())["weight_map"]
        return {commit.name, *(Path(name).name for name in places.values())}
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        refuse(commit, f"cannot be read ({error!s:.200}), so nobody knows which files beside it count; put it right")


def is_committed(journal: Journal, path: Path) -> bool:
    """Whether the file of the commit has its new content."""
    with contextlib.suppress(FileNotFoundError), (path / journal.commit).open("rb") as file:
        if journal.commit.endswith(".json") and os.fstat(file.fileno()).st_size != journal.size:
            return False
        return _digest(file.read(min(journal.size, HEAD))) == journal.digest
    return False
