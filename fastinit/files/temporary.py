"""Temporary files beside a target: made, locked by their writer, and removed once it is done, or dead.

A writer holds a lock on its file (flock) until it has closed it, and the system lets go of it when the writer dies. So
a file that can be locked belongs to nobody, and the next writer removes it. On Windows a file that is open cannot be
removed, so the open file itself is the lock. No clock is asked.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fastinit.files import system
from fastinit.files.failures import cannot_write
from fastinit.files.place import Place, let_go, look
from fastinit.files.system import NOT_SUPPORTED, Handle

ATTEMPTS = 100  # at a name that is free; 2^32 of them exist
# All that is ever taken for a temporary file, and removed: what `temporary_name` makes, to the letter.
TEMPORARY = re.compile(r"\.(?P<target>.{1,50})\.[0-9a-f]{8}\.partial", re.DOTALL)


def temporary_name(target: str) -> str:
    """A new name for a file that is to be called `target`; of that it shows 50 characters, since 255 bytes may."""
    return f".{target[:50]}.{secrets.token_hex(4)}.partial"


def target_of(name: str) -> str | None:
    """The first 50 characters of the target of a temporary name; None for any other name."""
    match = TEMPORARY.fullmatch(name)
    return match["target"] if match else None


@dataclass
class Temporary:
    """An open temporary file, and its name in the folder of its target."""

    fd: int
    name: str
    place: Place
    closed: bool = False

    def close(self) -> None:
        """Close it, once: on Windows before it gets another name."""
        if not self.closed:
            self.closed = True
            os.close(self.fd)

    def is_at(self, name: str) -> bool:
        """Whether this very file has the name, in the folder of its target."""
        found, own = look(name, self.place.folder), os.fstat(self.fd)
        return found is not None and (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)


@contextlib.contextmanager
def temporary(place: Place, mode: int, size: int) -> Iterator[Temporary]:
    """A locked, empty file beside the target, with these permissions; its name is gone and it is closed afterwards.

    Where the name cannot be removed, an error of the block is still the one that is raised, with a note; without one,
    the error says that the target is whole.
    """
    try:
        file = create(place, mode)
    except OSError as error:
        raise cannot_write(error, place.path, size) from error
    try:
        yield file
    except BaseException as error:
        trouble = discard(file)
        if trouble is not None:
            error.add_note(f"{file.name} beside it could not be removed ({trouble}); the next writer of it will try")
        raise
    trouble = discard(file)
    if trouble is not None:
        raise OSError(
            trouble.errno,
            f"{place.path} is whole and has its name, but {file.name} beside it, a second name of the same file, could "
            f"not be removed: {trouble.strerror}. The next writer of it will try again",
        )


def create(place: Place, mode: int) -> Temporary:
    """Create a temporary file beside the target, on the same file system, and lock it."""
    for _ in range(ATTEMPTS):
        name = temporary_name(place.name)
        try:
            fd = system.open_in(place.folder, name, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError:
            continue
        file = Temporary(fd, name, place)
        try:
            # Before the lock is ours another writer may take the file for a leftover; then it has lost its name.
            if not system.POSIX or (lock(fd) and os.fstat(fd).st_nlink > 0):
                return file
        except BaseException:
            discard(file)
            raise
        discard(file)
    raise OSError(errno.EBUSY, f"no temporary file of {ATTEMPTS} could be made and locked")


def discard(file: Temporary) -> OSError | None:
    """Remove the temporary name, if the file still has it, and close the file. Returns what went wrong."""
    try:
        if not system.POSIX:
            with contextlib.suppress(OSError):
                file.close()
            with contextlib.suppress(FileNotFoundError):
                system.remove(file.place.folder, file.name)
        elif file.is_at(file.name):
            system.remove(file.place.folder, file.name)
    except OSError as error:
        return error
    finally:
        with contextlib.suppress(OSError):  # whatever it says, the descriptor is gone, and the data were flushed before
            file.close()
    return None


def lock(fd: int, *, wait: bool = False) -> bool:
    """Lock a file or a folder for this process; False if somebody else holds it. True where there are no locks."""
    try:
        system.lock(fd, wait=wait)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NOT_SUPPORTED | {errno.EBADF}:  # NFS, of a folder
            raise
    return True


def remove_leftovers(folder: Handle, belongs: Callable[[str], bool]) -> None:
    """Remove temporary files whose writer is dead, and for whose target (its first 50 characters) `belongs` holds.

    A living writer holds the lock, and keeps its file. Where the file system has no locks all files stay: nobody can
    tell. A folder that may not be listed is left as it is.
    """
    with contextlib.suppress(OSError):
        for name in system.names_in(folder):
            target = target_of(name)
            if target is not None and belongs(target):
                with contextlib.suppress(OSError):
                    _remove_if_dead(folder, name)


def _remove_if_dead(folder: Handle, name: str) -> None:
    """Remove a regular file that nobody has locked."""
    found = look(name, folder)
    if found is None or not stat.S_ISREG(found.st_mode):
        return
    if not system.POSIX:  # whoever has it open forbids it
        system.remove(folder, name)
        return
    fd = system.open_in(folder, name, os.O_RDWR | system.NO_FOLLOW | system.NO_WAIT)
    try:
        system.lock(fd)
        own = os.fstat(fd)
        if (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino):
            system.remove(folder, name)
    finally:
        let_go(fd)
