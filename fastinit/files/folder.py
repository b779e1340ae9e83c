"""The folder of a checkpoint, on this machine: which files are there, whole or not, and how they are put and removed.

remote.py has the same for an address that fsspec knows.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import re
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from fastinit.files import system
from fastinit.files.failures import saying
from fastinit.files.place import held, held_folder, let_go
from fastinit.files.publish import publishing, sync_folder, write_at
from fastinit.files.temporary import lock, remove_leftovers

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
CHECKPOINT = re.compile(r"model(-[0-9]{5,}-of-[0-9]{5,})?\.safetensors|model\.safetensors\.index\.json")


class Found(enum.Enum):
    """What a folder has under the name of a file that is to be written."""

    ABSENT = "nothing"
    WHOLE = "a file of this size that begins as this one"
    CUT = "the beginning of a file, of this checkpoint or another, that was not put to its end"
    OTHER = "another file"


def shard_names(prefix: str, count: int) -> list[str]:
    """The files of a checkpoint of several: model-00001-of-0000N.safetensors ..."""
    return [f"{prefix}-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]


def is_of_checkpoint(name: str) -> bool:
    """Whether a file of this name belongs to a checkpoint."""
    return CHECKPOINT.fullmatch(name) is not None


class Folder:
    """A local folder, by its path."""

    def __init__(self, address: str) -> None:
        self.address = address

    def shown(self, name: str) -> str:
        """The path of a file in it, for messages."""
        return str(Path(self.address, name))

    def path(self, name: str) -> Path:
        """The path of a file in it."""
        return Path(self.address, name)

    def make(self) -> None:
        """Make the folder, and what is above it, if it does not exist; remove what dead writers left in it."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), held(self.address):
            pass  # refuses the links of other users
        try:
            Path(self.address).mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise NotADirectoryError(errno.ENOTDIR, f"{self.address} is a file; name a folder") from None
        except OSError as error:
            raise type(error)(error.errno, f"{self.address} cannot be made: {error.strerror}") from None
        with held_folder(self.address) as folder:
            remove_leftovers(folder, is_of_checkpoint)

    def names(self) -> list[str]:
        """The files in it that belong to a checkpoint, by their names."""
        with held_folder(self.address) as folder:
            return sorted(filter(is_of_checkpoint, os.listdir(folder)))  # noqa: PTH208

    def refuse_others(self, ours: Collection[str]) -> None:
        """Raise FileExistsError if files of another checkpoint are there: readers would mix them up with ours."""
        others = [name for name in self.names() if name not in ours]
        if others:
            raise FileExistsError(
                errno.EEXIST,
                f"{self.address} holds {', '.join(others[:3])}{' and more' if len(others) > 3 else ''} of another "
                "checkpoint; choose another folder, or replace it (overwrite=True, --overwrite)",
            )

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until nobody else replaces what is in it: two would remove each other's files."""
        with held_folder(self.address) as folder:
            if isinstance(folder, str):
                with system.lock_file(folder):
                    yield
                return
            try:
                lock(folder, wait=True)
                yield
            finally:  # by name: a worker that was forked meanwhile has the descriptor too
                with contextlib.suppress(OSError):
                    system.unlock(folder)

    def remove_others(self, ours: Collection[str]) -> None:
        """Remove files of another checkpoint, its index first: if this ends half-way, none lists what is not there."""
        for name in sorted(self.names(), key=lambda name: name != INDEX):
            if name not in ours:
                self.remove(name)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with held_folder(self.address) as folder, contextlib.suppress(FileNotFoundError):
            system.remove(folder, name)

    def find(self, name: str, text: bytes, size: int) -> Found:
        """What is there under the name of a file that begins with `text` and has `size` bytes in all."""
        with contextlib.suppress(FileNotFoundError), held(self.path(name)) as place:
            fd = place.open(os.O_RDONLY | system.NO_WAIT)  # a pipe would wait for who writes into it
            try:
                found, same = os.fstat(fd), False
                if stat.S_ISREG(found.st_mode) and found.st_size == size:
                    with open(fd, "rb", closefd=False) as file:
                        same = file.read(len(text)) == text
            finally:
                let_go(fd)
            return Found.WHOLE if same else Found.OTHER
        return Found.ABSENT

    def sync(self, name: str) -> None:
        """Sync a file that is there and its folder: who wrote it may not have, or was killed before."""
        with held(self.path(name)) as place:
            with saying(place.path, 0):
                fd = place.open(system.TO_SYNC)
                try:
                    system.sync(fd)
                finally:
                    let_go(fd)
            sync_folder(place)

    def put(self, name: str, content: bytes, *, durable: bool, overwrite: bool) -> None:
        """Write a small file, whole or not at all; one that has this content already is left alone."""
        if self.find(name, content, len(content)) is Found.WHOLE:
            if durable:
                self.sync(name)
            return
        try:
            with publishing(self.path(name), len(content), overwrite=overwrite, durable=durable) as fd:
                write_at(fd, content, 0)
        except FileExistsError:
            if self.find(name, content, len(content)) is not Found.WHOLE:  # else another writer was faster
                raise

    def finish(self) -> None:
        """Remove what writers have left, once the checkpoint is whole; here that is done at the beginning."""
