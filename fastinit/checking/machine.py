"""What surrounds the draws on this machine: the thread's floating-point mode, and the folder of compiled code."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fastinit.floating_point import described, is_default


def floating_point_note() -> str | None:
    """What is to be said of this thread's floating-point mode; None for the default one."""
    if is_default():
        return None
    return (
        f"this thread {described()}; fastinit draws in the default mode all the same, and numbers that are computed "
        "before the fill, such as a std from a fan, are rounded in yours"
    )


def folder_note(folder: str | None) -> str | None:
    """What is to be said of the folder of compiled code; None where it is this user's and nobody else may write."""
    if folder is None:
        return "no folder can be written, so every process compiles anew; name one by NUMBA_CACHE_DIR"
    if not hasattr(os, "getuid"):
        return None
    for path in (Path(folder), *Path(folder).parents):
        try:
            said = path.stat()
        except FileNotFoundError:  # made when the first kernel is kept
            continue
        except OSError as error:
            return f"{path} cannot be looked at ({error.strerror})"
        own = os.getuid()
        sticky = bool(said.st_mode & stat.S_ISVTX)  # whose entries only their owners may replace
        others = said.st_gid not in (0, own)  # a group of the user's own number has, by custom, no other member
        who = (
            f"belongs to user {said.st_uid}"
            if said.st_uid not in (0, own)
            else "may be written by everybody"
            if said.st_mode & stat.S_IWOTH and not sticky
            else f"may be written by group {said.st_gid}"
            if said.st_mode & stat.S_IWGRP and others and not sticky
            else None
        )
        if who is not None:
            return (
                f"{path} {who}: whoever writes there can have this process run code; name a folder of your own by "
                "NUMBA_CACHE_DIR"
            )
    return None
