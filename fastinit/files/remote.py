"""The folder of a checkpoint at an address that fsspec knows: s3://..., gs://..., sftp://..., file://...

A file is put under its final name in one step. Where the file system has a move of its own (it renames: local disks,
SFTP, SMB, HDFS), the file is put under a temporary name and moved. Where fsspec would copy and delete (object stores,
memory), it is put under its name at once: a store shows an object only when its last byte has arrived, and a copy would
cost as much again. Should a file be cut all the same, its size says so, and the next run puts it again.
"""

from __future__ import annotations

import contextlib
import errno
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fastinit.files.failures import already_exists
from fastinit.files.folder import INDEX, Folder, Found, is_of_checkpoint
from fastinit.files.place import held
from fastinit.files.safetensors import LARGEST_HEADER
from fastinit.files.scratch import remove_dead_scratch
from fastinit.files.temporary import target_of, temporary_name

ATTEMPTS = 3  # at a put whose temporary file another writer removes


class RemoteFolder(Folder):
    """A folder that fsspec reaches. It has no locks: who overwrites it must be alone."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self._files, self._root = _fsspec().core.url_to_fs(address)
        self._own_move = own_move(self._files)

    def shown(self, name: str) -> str:
        """The address of a file in it, for messages."""
        return f"{self.address.rstrip('/')}/{name}"

    def _at(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def make(self) -> None:
        """Make the folder where the file system has such a thing; remove the scratch of dead writers here."""
        from fsspec.implementations.local import LocalFileSystem

        if isinstance(self._files, LocalFileSystem):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError), held(self._root):
                pass  # refuses the links of other users
        remove_dead_scratch()
        self._files.makedirs(self._root, exist_ok=True)

    def names(self) -> list[str]:
        """The files in it that belong to a checkpoint, by their names."""
        return sorted(filter(is_of_checkpoint, self._entries()))

    def _entries(self) -> list[str]:
        """All names in it; none where a store knows no empty folders."""
        self._files.invalidate_cache()
        try:
            return [entry.rsplit("/", 1)[-1] for entry in self._files.ls(self._root, detail=False)]
        except FileNotFoundError:
            return []

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Nothing: there is no lock to wait for."""
        yield

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._at(name))

    def sync(self, name: str) -> None:
        """Nothing: what has been put is the file system's."""

    def find(self, name: str, text: bytes, size: int) -> Found:
        """What is there under the name of a file that begins with `text` and has `size` bytes in all."""
        self._files.invalidate_cache()
        try:
            found = self._files.info(self._at(name))
            there = found["size"]
            if found["type"] != "file":
                return Found.OTHER
            head = self._read(name, min(len(text), there))
        except FileNotFoundError:
            return Found.ABSENT
        if head == text and there == size:
            return Found.WHOLE
        if there < size and head == text[:there]:
            return Found.CUT
        return Found.CUT if self._is_cut(name, there) else Found.OTHER

    def _read(self, name: str, count: int) -> bytes:
        """The first bytes of a file."""
        return bytes(self._files.cat_file(self._at(name), start=0, end=count)) if count else b""

    def _is_cut(self, name: str, size: int) -> bool:
        """Whether a file ends before its own header says, or in the middle of its JSON."""
        if name == INDEX:
            try:
                json.loads(self._read(name, size))
            except (ValueError, RecursionError):
                return True
            return False
        if size < 8:
            return True
        (length,) = struct.unpack("<Q", self._read(name, 8))
        if length > LARGEST_HEADER:  # no file of this format ever was
            return False
        if 8 + length > size:
            return True
        try:
            table = json.loads(self._read(name, 8 + length)[8:])
            ends = [entry["data_offsets"][1] for key, entry in table.items() if key != "__metadata__"]
            return bool(size < 8 + length + max(ends, default=0))
        except (ValueError, RecursionError, TypeError, LookupError, AttributeError):
            return False

    def put(self, name: str, content: bytes, *, durable: bool, overwrite: bool) -> None:
        """Write a small file, whole or not at all; one that has this content already is left alone."""
        self._publish(
            name,
            content,
            len(content),
            lambda address: self._files.pipe_file(address, content),
            overwrite=overwrite,
        )

    def upload(self, local: Path, name: str, text: bytes, *, overwrite: bool) -> None:
        """Put a finished local file, which begins with `text`, into the folder."""
        self._publish(
            name,
            text,
            local.stat().st_size,
            lambda address: self._files.put_file(str(local), address),
            overwrite=overwrite,
        )

    def _publish(self, name: str, text: bytes, size: int, send: Callable[[str], object], *, overwrite: bool) -> None:
        """Put a file under its name; one that is there already and whole stays, and another one is refused."""

        def taken() -> bool:
            found = self.find(name, text, size)
            if found is Found.OTHER and not overwrite:
                raise already_exists(self.shown(name))
            return found is Found.WHOLE and (not overwrite or name == INDEX)

        if taken():
            return
        if self._own_move is None:
            self._send_in_place(name, text, size, send)
            return
        for attempt in range(ATTEMPTS):
            temporary = temporary_name(name)
            try:
                self._send(temporary, size, send)
                if taken():  # another writer was faster
                    self.remove(temporary)
                    return
                self._move(self._own_move, temporary, name)
                self._check(name, size)
                return
            except BaseException as error:
                with contextlib.suppress(Exception):  # the error that is under way says more
                    self.remove(temporary)
                # A writer that was done may have taken our temporary file for a dead one's.
                if not isinstance(error, FileNotFoundError) or attempt == ATTEMPTS - 1:
                    raise
                if taken():
                    return

    def _send_in_place(self, name: str, text: bytes, size: int, send: Callable[[str], object]) -> None:
        """Put a file under its final name; what a failure leaves of it is removed."""
        try:
            self._send(name, size, send)
        except BaseException:
            with contextlib.suppress(Exception):
                if self.find(name, text, size) is Found.CUT:
                    self.remove(name)
            raise

    def _send(self, name: str, size: int, send: Callable[[str], object]) -> None:
        send(self._at(name))
        self._check(name, size)

    def _check(self, name: str, size: int) -> None:
        """Raise OSError if a file that was put does not have its size."""
        self._files.invalidate_cache()
        there = self._files.size(self._at(name))
        if there != size:
            raise OSError(
                errno.EIO, f"{self.shown(name)} has {there:,} of its {size:,} bytes after it was put; run again"
            )

    def _move(self, move: Callable[[str, str], object], temporary: str, name: str) -> None:
        """Give a file its final name. Where a move does not replace, what is there is removed first."""
        try:
            move(self._at(temporary), self._at(name))
        except FileNotFoundError:
            raise
        except Exception:  # ftplib's errors are no OSError
            if not self._files.exists(self._at(name)):
                raise
            self.remove(name)
            move(self._at(temporary), self._at(name))

    def finish(self) -> None:
        """Remove temporary files, once the checkpoint is whole.

        There are no locks that say whose writer is dead, and no clock is asked. But whoever still writes a file of this
        checkpoint finds it whole when its own has gone, and is done; of another checkpoint, puts its own again.
        """
        with contextlib.suppress(OSError):  # what cannot be removed, the next run tries again
            for name in self._entries():
                if is_of_checkpoint(target_of(name) or ""):
                    self.remove(name)


def folder_at(address: str) -> Folder:
    """The local folder of a path, or the remote one of an address (s3://..., memory://...)."""
    return RemoteFolder(address) if "://" in address else Folder(address)


def own_move(files: Any) -> Callable[[str, str], object] | None:
    """The move of a file system of fsspec that has its own; None where the inherited one copies and deletes."""
    from fsspec import AbstractFileSystem

    inner = getattr(files, "fs", None)  # of dir://, which passes on what it is asked
    kind = type(inner if isinstance(inner, AbstractFileSystem) else files)
    if kind.mv is not AbstractFileSystem.mv:
        return files.mv  # type: ignore[no-any-return]
    return files.mv_file if hasattr(kind, "mv_file") else None  # of local files in older releases


def _fsspec() -> Any:
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("a remote folder needs fsspec: pip install fsspec") from error
    return fsspec
