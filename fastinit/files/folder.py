"""The folder of a checkpoint: on this machine, or at an address that fsspec knows (s3://..., gs://..., memory://...)."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from fastinit.files.publish import publishing, write_at

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
CHECKPOINT = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json")


def shard_names(prefix: str, count: int) -> list[str]:
    """The files of a checkpoint of several: model-00001-of-0000N.safetensors ..."""
    return [f"{prefix}-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]


class Folder:
    """Where files of a checkpoint are put, compared and removed, by their names."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.remote = "://" in address
        self._files: Any = None
        if self.remote:
            self._files, self._root = _fsspec().core.url_to_fs(address)

    def path(self, name: str) -> Path:
        """A file of a local folder."""
        return Path(self.address) / name

    def _remote(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def make(self) -> None:
        """Make the folder, and what is above it, if it does not exist."""
        if self.remote:
            self._files.makedirs(self._root, exist_ok=True)
            return
        try:
            Path(self.address).mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise NotADirectoryError(errno.ENOTDIR, f"{self.address} is a file; name a folder") from None
        except OSError as error:
            raise type(error)(error.errno, f"{self.address} cannot be made: {error.strerror}") from None

    def names(self) -> list[str]:
        """The files in it that belong to a checkpoint, by their names."""
        if self.remote:
            found = [entry.rsplit("/", 1)[-1] for entry in self._files.ls(self._root, detail=False)]
        else:
            found = [entry.name for entry in Path(self.address).iterdir()]
        return sorted(name for name in found if CHECKPOINT.fullmatch(name))

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
        """Wait until nobody else replaces what is in it: two would remove each other's files. Needs a local folder."""
        if self.remote:
            yield
            return
        fd = os.open(self.address, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            with contextlib.suppress(OSError):  # by name: a worker that was forked meanwhile has the descriptor too
                fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)

    def remove_others(self, ours: Collection[str]) -> None:
        """Remove files of another checkpoint, its index first: if this ends half-way, none lists what is not there."""
        for name in sorted(self.names(), key=lambda name: name != INDEX):
            if name not in ours:
                self._files.rm_file(self._remote(name)) if self.remote else self.path(name).unlink(missing_ok=True)

    def begins_with(self, name: str, text: bytes, size: int) -> bool | None:
        """Whether the file begins with these bytes and has this size; None where there is no such file."""
        if not self.remote:
            try:
                with self.path(name).open("rb") as file:
                    return file.read(len(text)) == text and self.path(name).stat().st_size == size
            except FileNotFoundError:
                return None
        if not self._files.exists(self._remote(name)):
            return None
        same = self._files.cat_file(self._remote(name), start=0, end=len(text)) == text
        return bool(same and self._files.size(self._remote(name)) == size)

    def put(self, name: str, content: bytes, *, durable: bool, overwrite: bool) -> None:
        """Write a small file, whole or not at all; one that has this content already is left alone."""
        if self.begins_with(name, content, len(content)):
            return
        if self.remote:
            self._files.pipe_file(self._remote(name), content)
            return
        try:
            with publishing(self.path(name), len(content), overwrite=overwrite, durable=durable) as fd:
                write_at(fd, content, 0)
        except FileExistsError:
            if not self.begins_with(name, content, len(content)):  # else another writer of the same was faster
                raise

    def upload(self, local: Path, name: str) -> None:
        """Put a finished local file into a remote folder."""
        self._files.put_file(str(local), self._remote(name))


def _fsspec() -> Any:
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("a remote folder needs fsspec: pip install fsspec") from error
    return fsspec
