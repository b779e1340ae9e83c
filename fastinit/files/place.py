"""Where a path leads: its folder, held open, and the name in it; links are followed as Linux follows protected ones.

Whoever holds the folder open finds it again when it is renamed, and cannot be led elsewhere by a link that is changed
meanwhile. In a folder that everybody may write to (/tmp), a link that another user has put there is refused: it would
have us write where that user may not. That is the rule of the kernel's protected_symlinks (may_follow_link in
fs/namei.c), which resolving links by hand would go around; here it also holds for folders on the way.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fastinit.files import system
from fastinit.files.failures import cannot_write
from fastinit.files.system import Handle

MOST_LINKS = 40  # on the way to one file, as in Linux
# O_PATH asks for no right to read the folder. Where there is no such flag, O_RDONLY (0) has to do.
FOLDER = getattr(os, "O_PATH", 0) | system.FOLDER | system.NO_FOLLOW | system.BYTES
EVERYBODYS = stat.S_ISVTX | stat.S_IWOTH  # everybody makes files in it, and removes only their own


@dataclass(frozen=True)
class Place:
    """A name in a folder.

    folder  a descriptor of it, for dir_fd=; on Windows its path
    name    in it; "." is the folder itself
    path    what it was called when it was opened, without links: for messages
    """

    folder: Handle
    name: str
    path: Path

    def look(self) -> os.stat_result | None:
        """What has the name now; None if nothing has."""
        return look(self.name, self.folder)

    def open(self, flags: int) -> int:
        """Open what has the name; a link that somebody has put there since is not followed."""
        return system.open_in(self.folder, self.name, flags | system.NO_FOLLOW)


@contextlib.contextmanager
def held(path: str | os.PathLike[str]) -> Iterator[Place]:
    """Follow a path to its last name, which need not exist, and keep the folder of that open for the block.

    Raises OSError where a folder on the way is missing, is a file, or may not be passed, and PermissionError for a link
    that another user has put into a folder of everybody's.
    """
    place = _follow(os.fspath(path))
    try:
        yield place
    finally:
        _let_go_of(place.folder)


@contextlib.contextmanager
def held_to_write(path: str | os.PathLike[str], size: int) -> Iterator[Place]:
    """`held`, with errors that name the file that was to be written."""
    try:
        place = _follow(os.fspath(path))
    except OSError as error:
        if error.filename is None:  # ours: it says all
            raise
        raise cannot_write(error, Path(os.path.realpath(path)), size) from error
    try:
        yield place
    finally:
        _let_go_of(place.folder)


@contextlib.contextmanager
def held_folder(path: str | os.PathLike[str]) -> Iterator[Handle]:
    """A descriptor of an existing folder, reached by the same rule, that can be listed, locked and synced.

    On Windows its path, of a folder that can be listed.
    """
    with contextlib.ExitStack() as opened:
        with held(path) as place:
            if isinstance(place.folder, str):
                if place.name != "." and not stat.S_ISDIR(os.stat(place.path).st_mode):  # noqa: PTH116
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fspath(path))
                yield str(place.path)
                return
            fd = place.open(system.FOLDER)
            opened.callback(let_go, fd)
        yield fd


def let_go(fd: int) -> None:
    """Close a descriptor through which nothing was written: whatever the system says, it is closed and nothing lost."""
    with contextlib.suppress(OSError):
        os.close(fd)


def _let_go_of(folder: Handle) -> None:
    if isinstance(folder, int):
        let_go(folder)


def look(name: str, folder: Handle) -> os.stat_result | None:
    """What has this name in a folder, a link not followed; None if nothing has."""
    path, fd = system.at(name, folder)
    try:
        return os.stat(path, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _follow(path: str) -> Place:
    """Walk down a path, a name at a time."""
    if not system.POSIX:
        return _resolved(path)
    fd, at = _root() if path.startswith("/") else (os.open(".", FOLDER), Path.cwd())
    try:
        rest, links = _names(path), 0
        while rest:
            name = rest.pop()
            found = look(name, fd)
            if found is not None and stat.S_ISLNK(found.st_mode):
                links += 1
                if links > MOST_LINKS:
                    raise OSError(errno.ELOOP, f"{path} leads through more than {MOST_LINKS} links")
                text = os.readlink(name, dir_fd=fd)
                _refuse_planted(os.fstat(fd), found, at / name, text)
                if text.startswith("/"):
                    above, (fd, at) = fd, _root()
                    let_go(above)
                rest += _names(text)
            elif rest or name == "..":
                above, fd = fd, os.open(name, FOLDER, dir_fd=fd)
                let_go(above)
                at = at.parent if name == ".." else at / name
            else:
                return Place(fd, name, at / name)
        return Place(fd, ".", at)
    except BaseException as error:
        let_go(fd)
        if isinstance(error, OSError) and error.filename is not None:
            error.filename = path  # the whole of it: the system was asked for one name
        raise


def _resolved(path: str) -> Place:
    """The same on Windows, where no folder is everybody's, and making a link takes a right of its own."""
    whole = os.path.realpath(path)
    folder, name = os.path.split(whole)
    try:
        found = os.stat(folder)  # noqa: PTH116
    except OSError as error:
        error.filename = path
        raise
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    return Place(folder, name or ".", Path(whole))


def _root() -> tuple[int, Path]:
    return os.open("/", FOLDER), Path("/")


def _names(path: str) -> list[str]:
    """The names of a path, the first one last."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]


def _refuse_planted(folder: os.stat_result, link: os.stat_result, path: Path, text: str) -> None:
    """Raise PermissionError for a link whose owner is neither us nor the owner of the folder, which is everybody's."""
    if folder.st_mode & EVERYBODYS == EVERYBODYS and link.st_uid not in (os.geteuid(), folder.st_uid):
        raise PermissionError(
            errno.EACCES,
            f"{path} is a link to {text} that another user (uid {link.st_uid}) has put into a folder that everybody "
            "may write to; it is not followed. Name the file itself, or choose another folder",
        )
