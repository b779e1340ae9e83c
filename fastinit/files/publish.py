"""A file appears under its name whole, or not at all.

`publishing` gives an open file under a temporary name beside the target, with its space already reserved. When the
block ends well the file is synced, takes its name in one step, and the folder is synced. After an exception of the
block, Ctrl-C included, neither name exists. A killed process cannot tidy up: it leaves the temporary file, never the
final name, and the next writer of the same target removes it, knowing it by the lock that its dead owner no longer
holds (temporary.py). What is relied on, and what happens where it is not so: docs/guarantees.md.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat
from collections.abc import Callable, Iterator

from fastinit.files import system
from fastinit.files.failures import already_exists, saying
from fastinit.files.permissions import NEW, PRIVATE, Permissions
from fastinit.files.place import Place, held_to_write, let_go, look
from fastinit.files.system import NOT_SUPPORTED, Handle
from fastinit.files.temporary import Temporary, remove_leftovers, temporary

RENAME_NOREPLACE = 1  # linux/fs.h


@contextlib.contextmanager
def publishing(
    path: str | os.PathLike[str], size: int, *, overwrite: bool = False, durable: bool = True
) -> Iterator[int]:
    """Give a file descriptor to write; the file is called `path` only after the block has ended well.

    path       the final name; a symbolic link is followed, unless another user has put it into a folder of everybody's.
    size       bytes the file has, and that are reserved on disk before the block begins.
    overwrite  an existing file gives way, in the same single step; mode and access list are kept, and owner and group
               as far as this user may give files away. Otherwise it is refused, before the block and at the end of it.
    durable    sync the file before it takes its name and the folder afterwards, so that it survives a power cut.
               Without, it survives a crash of the process only.

    The folder may be renamed meanwhile: the file appears in it all the same.
    Raises FileExistsError, IsADirectoryError, NotADirectoryError, FileNotFoundError, PermissionError, or OSError (full
    disk, file too large), each naming the path; nothing is left behind. Where the error comes after the step (the
    folder cannot be synced), it says that the file is whole and has its name.
    """
    with held_to_write(path, size) as place:
        found = place.look()
        if found is not None and stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, f"{place.path} is a directory; name a file in it")
        remove_leftovers(place.folder, lambda target: target == place.name[:50])
        if found is not None and not overwrite:
            raise already_exists(place.path)
        if found is not None and not stat.S_ISREG(found.st_mode):
            raise FileExistsError(
                errno.EEXIST, f"{place.path} is a device or a pipe, and would become a file; name a file"
            )
        with temporary(place, NEW if found is None else PRIVATE, size) as file:
            old = Permissions.of(place)
            with saying(place.path, size):
                reserve(file.fd, size)
            yield file.fd
            with saying(place.path, size):
                settle(file.fd, durable=durable)
                if overwrite:
                    replace(file, old)
                else:
                    take_name(file)
        if durable:
            sync_folder(place)


def write_at(fd: int, data: memoryview | bytes, offset: int) -> None:
    """Write all of `data` at `offset`. One pwrite may write less than it was given: 2 GiB, or up to a full disk."""
    rest = memoryview(data).cast("B")
    while rest:
        written = system.write_some(fd, rest, offset)
        rest = rest[written:]
        offset += written


def reserve(fd: int, size: int) -> None:
    """Give the file its size and its blocks, so that a full disk is an error now and not in the middle.

    It also doubles the speed of the writes that follow (1.1 to 1.9 GB/s without, 5 with, on ext4). Where the file
    system has no fallocate, compare with the free space and set the size.
    """
    if size == 0:
        return
    try:
        if system.allocate(fd, size):
            return
    except OSError as error:
        if error.errno not in NOT_SUPPORTED:
            with contextlib.suppress(OSError):
                os.ftruncate(fd, 0)  # gives back what was taken, so that the message counts it as free
            raise
    free = system.free_bytes(fd)
    if free is not None and size > free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.ftruncate(fd, size)


def settle(fd: int, *, durable: bool) -> None:
    """Wait for the disk or, without durable, hear at least what a network file system has to say of lost writes."""
    if durable:
        system.sync(fd)
    else:
        os.close(os.dup(fd))  # NFS and others report at a close what they could not write


def take_name(file: Temporary) -> None:
    """Give the finished file a name that nobody has, in one step; another writer that was faster keeps it.

    By a rename that refuses; where the file system has none, by a hard link, which refuses too. Where it has neither,
    nothing refuses: of two writers that look at the same moment and see a free name, the last one replaces the other.
    On Windows every rename refuses, and the file is closed before.
    """
    if not system.POSIX:
        file.close()
        try:
            system.rename(file.place.folder, file.name, file.place.name)
        except FileExistsError:
            raise already_exists(file.place.path) from None
        return
    for take in (rename_exclusive, _link, _rename_if_free):
        try:
            take(file.place.folder, file.name, file.place.name)
            return
        except OSError as error:
            if file.is_at(file.place.name):  # done, and the answer was lost on the network
                return
            if error.errno == errno.EEXIST:
                raise already_exists(file.place.path) from None
            if error.errno not in NOT_SUPPORTED or take is _rename_if_free:
                raise


def rename_exclusive(folder: Handle, old: str, new: str) -> None:
    """Rename within a folder; FileExistsError if the new name is taken, EINVAL or ENOSYS where this is not known."""
    import ctypes

    rename = _renameat2()
    if rename is None or not isinstance(folder, int):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if rename(folder, os.fsencode(old), folder, os.fsencode(new), RENAME_NOREPLACE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@functools.cache
def _renameat2() -> Callable[[int, bytes, int, bytes, int], int] | None:
    """The C library's function, which Python has no name for; None where it has none."""
    import ctypes

    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    function.restype = ctypes.c_int
    return function


def _link(folder: Handle, old: str, new: str) -> None:
    (before, fd), (after, _) = system.at(old, folder), system.at(new, folder)
    os.link(before, after, src_dir_fd=fd, dst_dir_fd=fd, follow_symlinks=False)


def _rename_if_free(folder: Handle, old: str, new: str) -> None:
    if look(new, folder) is not None:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    system.rename(folder, old, new)


def replace(file: Temporary, old: Permissions | None) -> None:
    """Give the finished file its name, in one step that leaves no moment without a whole file."""
    place = file.place
    permissions = Permissions.of(place) or old  # what is there now, should somebody have changed it
    if permissions is not None:
        permissions.give(file.fd)
    if not system.POSIX:
        file.close()
    try:
        system.replace(place.folder, file.name, place.name)
    except OSError:
        if not system.POSIX or not file.is_at(place.name):
            raise


def sync_folder(place: Place) -> None:
    """Make the new name itself survive a power cut; on Windows, where no folder can be synced, NTFS sees to it."""
    if not system.POSIX:
        return
    try:
        try:
            fd = system.open_in(place.folder, ".", system.FOLDER)
        except PermissionError:  # one may make files in it, but not read it; then the whole system is synced
            os.sync()
            return
        try:
            system.sync(fd)
        finally:
            let_go(fd)
    except OSError as error:
        if error.errno in NOT_SUPPORTED:  # some network file systems sync names by themselves, and refuse to be asked
            return
        raise OSError(
            error.errno,
            f"{place.path} is whole and has its name, but its folder could not be synced: {error.strerror}. After a "
            "power cut the name may be missing, or be that of the old file",
        ) from error
