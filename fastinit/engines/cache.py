"""Machine code on disk that can be trusted: Numba's cache, stamped with all sources of the engine, every entry sealed.

Numba's own cache looks at the file that a function stands in, at none that it calls into, and unpickles what it finds:
one changed byte is an exception at best, and a crash of the process where it lies in the machine code. Here the bytes
of an entry are held against their digest before anything reads them. What is damaged, belongs to other sources, or
cannot be written is compiled in this process, and `report` says so once.

A digest guards against damage, not against an enemy: who may write to the folder may have this process run code.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import blake2b
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import config

DIGEST = 32  # bytes
MAGIC = b"fastinit machine code\n"
ADVICE = "Free space there, let this user write to it, or name another folder by NUMBA_CACHE_DIR."
PICKLE = b"\x80"  # how an entry of Numba's own begins, which a release before this cache may have left

_trouble: list[str] = []
_reported = False


@cache
def stamp() -> bytes:
    """What machine code depends on beside its function: every source of the engine, and the compilers' versions."""
    digest = blake2b(f"{numba.__version__} {llvmlite.__version__}".encode(), digest_size=DIGEST)
    for name, text in sorted(_sources(files("fastinit.engines"))):
        digest.update(f"{name} {len(text)} ".encode() + text)
    return digest.digest()


def _sources(folder: Traversable, path: str = "") -> Iterator[tuple[str, bytes]]:
    """Every module of a package and of the packages in it: its path and its text."""
    for one in folder.iterdir():
        if one.is_dir():
            yield from _sources(one, f"{path}{one.name}/")
        elif one.name.endswith(".py"):
            yield path + one.name, one.read_bytes()


def seal(payload: bytes, *, subject: bytes) -> bytes:
    """The bytes of an entry: what it is about and its digest in front."""
    about = blake2b(subject, digest_size=DIGEST, key=stamp()).digest()
    return MAGIC + about + blake2b(payload, digest_size=DIGEST).digest() + payload


def unseal(data: bytes, *, subject: bytes) -> bytes | None:
    """The payload of an entry; None if it is of other sources or about something else; ValueError if it is damaged."""
    if data.startswith(PICKLE):
        return None
    start = len(MAGIC) + 2 * DIGEST
    if len(data) < start or not data.startswith(MAGIC):
        raise ValueError("it is no entry of this cache")
    if blake2b(data[start:], digest_size=DIGEST).digest() != data[start - DIGEST : start]:
        raise ValueError("its content does not have its digest")
    about = blake2b(subject, digest_size=DIGEST, key=stamp()).digest()
    return data[start:] if data[len(MAGIC) : len(MAGIC) + DIGEST] == about else None


def keep_on_disk(dispatcher: Any, function: Callable[..., Any]) -> None:
    """Have a function's machine code loaded from disk and saved there, if there is a folder that can be written."""
    try:
        dispatcher._cache = _engine_cache()(function)
    except Exception as error:  # no folder at all (RuntimeError), or a Numba that has other private names
        note(f"No folder for machine code can be used, so every process compiles it anew ({error}). {ADVICE}")
        return
    asked, used = getattr(config, "CACHE_DIR", ""), Path(dispatcher._cache.cache_path)
    if asked and Path(asked).absolute() not in used.absolute().parents:
        note(f"NUMBA_CACHE_DIR is {asked!r}, which cannot be written; machine code is kept in {str(used)!r}. {ADVICE}")


def folder_of(dispatcher: Any) -> str | None:
    """Where the machine code of a function is kept; None where there is no such folder."""
    path: str | None = dispatcher._cache.cache_path
    return path


def note(what: str) -> None:
    """Remember what is wrong with the cache, for `report`: Numba must not be torn by a warning that is an error."""
    _trouble.append(what)


def report() -> None:
    """Warn of the first trouble that there was, once a process."""
    global _reported
    if _trouble and not _reported:
        _reported = True
        warnings.warn(f"{_trouble[0]} The values are right.", RuntimeWarning, stacklevel=2)


@cache
def _engine_cache() -> Any:
    """The class, on Numba's private classes; made when it is needed, so that their absence is no error of an import."""
    from numba.core.caching import FunctionCache, IndexDataCacheFile

    class Files(IndexDataCacheFile):
        """An index of signatures, and a file for each, whose name follows from its key.

        Two processes that save at once can lose an entry of the index, and never take one entry for another. Nor does a
        file that stands under the name of another: what an entry is about names its function, too.
        """

        def __init__(self, path: str, base: str, stamp: bytes) -> None:
            super().__init__(path, base, stamp)
            self._function = base

        def _about(self, what: object) -> bytes:
            return f"{self._function} {what!r}".encode()

        def load(self, key: Any) -> Any:
            name = self._load_index().get(key)
            return None if name is None else self._read(self._data_path(name), self._about(key))

        def save(self, key: Any, data: Any) -> None:
            name = self._data_name_pattern.format(
                number=int(blake2b(repr(key).encode(), digest_size=4).hexdigest(), 16)
            )
            self._write(self._data_path(name), data, self._about(key))
            self._save_index({**self._load_index(), key: name})

        def _load_index(self) -> dict[Any, str]:
            return self._read(self._index_path, self._about("index")) or {}

        def _save_index(self, overloads: dict[Any, str]) -> None:
            self._write(self._index_path, overloads, self._about("index"))

        def _read(self, path: str, subject: bytes) -> Any:
            try:
                payload = unseal(Path(path).read_bytes(), subject=subject)
                return None if payload is None else pickle.loads(payload)
            except FileNotFoundError:
                return None
            except (OSError, ValueError) as error:
                name, folder = Path(path).name, self._cache_path
                note(f"Machine code in {folder!r} is damaged, and was compiled anew: {name}, {error}.")
                return None

        def _write(self, path: str, data: Any, subject: bytes) -> None:
            with self._open_for_write(path) as file:
                file.write(seal(self._dump(data), subject=subject))

    class EngineCache(FunctionCache):
        """Numba's cache of a function, none of whose faults is one of the fill."""

        def __init__(self, function: Callable[..., Any]) -> None:
            super().__init__(function)
            self._cache_file = Files(self._cache_path, self._impl.filename_base, stamp())

        def load_overload(self, signature: Any, target: Any) -> Any:
            try:
                return super().load_overload(signature, target)
            except Exception as error:
                note(f"Machine code in {self._cache_path!r} cannot be used, and was compiled anew ({error}).")
                return None

        def save_overload(self, signature: Any, data: Any) -> None:
            try:
                super().save_overload(signature, data)
            except Exception as error:
                note(f"Machine code cannot be kept in {self._cache_path!r} ({error}). {ADVICE}")

    return EngineCache
