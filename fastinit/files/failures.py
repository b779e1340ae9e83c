"""What is said of a file that cannot be written: the same kind of OSError, naming the path and what would help."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from fastinit.files.system import POSIX


@contextlib.contextmanager
def saying(target: Path, size: int) -> Iterator[None]:
    """Say of which file an OSError of the system speaks; FileExistsError is fastinit's own, and says it already."""
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        raise cannot_write(error, target, size) from error


def already_exists(target: Path | str) -> FileExistsError:
    """The refusal of an existing target."""
    return FileExistsError(
        errno.EEXIST,
        f"{target} already exists; replace it (overwrite=True, --overwrite) "
        "or fill it in place (existing=True, --existing)",
    )


def cannot_write(error: OSError, target: Path, size: int) -> OSError:
    """The same kind of OSError, with a message that names the path, the sizes, and what would help."""
    folder = target.parent
    number = error.errno or errno.EIO
    match number:
        case errno.ENOSPC:
            text = f"no space for {target}: it needs {size:,} bytes, and {folder} has {_free(folder)} bytes free"
        case errno.EDQUOT:
            text = f"no space for {target}: its {size:,} bytes exceed this user's quota on {folder}"
        case errno.EFBIG:
            text = (
                f"{target} is too large: it needs {size:,} bytes, more than this process may put in a file (ulimit -f) "
                "or than the file system takes"
            )
        case errno.ENOENT if not folder.exists():
            text = f"{folder} does not exist, so {target.name} cannot be made in it; make the folder first"
        case errno.ENOTDIR:
            text = f"{folder} is not a directory, so {target.name} cannot be made in it"
        case errno.EACCES | errno.EPERM | errno.EROFS | errno.ENOENT:
            text = f"{target} cannot be written ({os.strerror(number)}); choose a folder that this user may write to"
            if not POSIX and number == errno.EACCES:
                text += ", or close the programs that have it open"
        case _:
            text = f"{target} cannot be written: {error.strerror}"
    return OSError(number, text)


def _free(folder: Path) -> str:
    """The free bytes of a folder; it may have been renamed meanwhile."""
    try:
        return f"{shutil.disk_usage(folder).free:,}"
    except OSError:
        return "an unknown number of"
