"""A file that replaces another has its permissions, and never wider ones on the way."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass

from fastinit.files.place import Place
from fastinit.files.system import NOT_SUPPORTED

NEW = 0o666  # what the umask, or the folder's default ACL, leaves of it
PRIVATE = 0o600  # until the permissions of the old file are known to be in place
ACL = "system.posix_acl_access"


@dataclass(frozen=True)
class Permissions:
    """Owner, group, mode and access control list of a file."""

    uid: int
    gid: int
    mode: int
    acl: bytes | None

    @classmethod
    def of(cls, place: Place) -> Permissions | None:
        """Those of the file that has the name; None where there is no such file."""
        found = place.look()
        if found is None or not stat.S_ISREG(found.st_mode):
            return None
        return cls(found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode), _acl(place))

    def give(self, fd: int) -> None:
        """Give them to a file that is ours alone so far: first whom it belongs to, then what they may.

        Only root gives a file to another user, and only to a group of one's own may others give it. Where the group
        cannot be kept, or the list, the group may no more than all others may: its bits meant somebody else.
        Windows has none of these: there a new file may what its folder says.
        """
        if not hasattr(os, "fchown"):
            return
        mode, now = self.mode, os.fstat(fd)
        owned, grouped = now.st_uid == self.uid, now.st_gid == self.gid
        if not (owned and grouped):
            owned = grouped = _done(os.fchown, fd, self.uid, self.gid)
            if not grouped:
                grouped = _done(os.fchown, fd, -1, self.gid)
        listed = self.acl is None or _done(os.setxattr, fd, ACL, self.acl)
        if not (grouped and listed):
            mode &= ~0o070 | (mode & 0o007) << 3
        if not (owned and grouped):
            mode &= 0o1777  # not with the rights of another owner or group
        if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
            _done(os.fchmod, fd, mode)


def _acl(place: Place) -> bytes | None:
    """The access control list, beyond what the mode says; None if it has none, or the system knows no such thing."""
    if not hasattr(os, "getxattr"):
        return None
    with contextlib.suppress(OSError):
        return os.getxattr(f"/proc/self/fd/{place.folder}/{place.name}", ACL, follow_symlinks=False)
    return None


def _done(change: object, *arguments: object) -> bool:
    """Whether a change was made; False where this user or this file system may not make it."""
    try:
        change(*arguments)  # type: ignore[operator]
    except OSError as error:
        if error.errno not in NOT_SUPPORTED | {errno.EACCES}:
            raise
        return False
    return True
