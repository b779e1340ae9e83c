"""Which files an edited checkpoint has: those that stay, those that are written, their metadata, and the index."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fastinit.about import __version__
from fastinit.address import STREAM
from fastinit.edit.contents import Content
from fastinit.edit.state import State
from fastinit.files.anyones import ENDING
from fastinit.files.folder import shard_names
from fastinit.files.safetensors import Header, lay_out
from fastinit.provenance import EDITED, to_metadata

SHARD = re.compile(r"(?P<prefix>.*?)(-edit[0-9a-f]{8})?(?P<number>-\d{5,}-of-\d{5,})?\.safetensors", re.DOTALL)


@dataclass(frozen=True)
class Output:
    """A file of the edited checkpoint.

    name      that it gets
    home      the file it was, or None for a new one
    tensors   what it holds, by name
    header    the bytes in front of them
    unchanged whether it is the old file, byte for byte
    """

    name: str
    home: str | None
    tensors: Mapping[str, Content]
    header: Header
    unchanged: bool

    @property
    def bytes(self) -> int:
        """Of the whole file."""
        return self.header.size


@dataclass(frozen=True)
class Layout:
    """All files in order; the content of the index and of config.json, None where these are not there, or stay."""

    outputs: tuple[Output, ...]
    index: bytes | None
    config: bytes | None


def lay_out_files(state: State, shard_size: int, token: str | None) -> Layout:
    """The files of a state.

    token  marks the names of files that are written beside those they replace; None: all files go to another folder,
           and have the plain names
    """
    groups: list[tuple[str | None, list[str]]] = [(home, []) for home in state.checkpoint.headers]
    by_home = dict(groups)
    new = []
    for name, entry in state.entries.items():
        if entry.home is None:
            new.append(name)
        else:
            by_home[entry.home].append(name)
    groups = [group for group in groups if group[1]]
    groups += [(None, group) for group in _split(state, new, shard_size)]
    changed = [
        home is None or not _stays(state, home, names) or (token is None and bool(state.files[home].beside))
        for home, names in groups
    ]
    outputs = []
    for (home, names), differs, name in zip(groups, changed, _names(state, groups, changed, token), strict=True):
        tensors = {one: state.entries[one].content for one in names}
        header = state.checkpoint.headers[home] if home is not None and not differs else None
        if header is None:
            shapes = {one: (content.dtype, content.shape) for one, content in tensors.items()}
            header = lay_out(shapes, _metadata(state, home, names), undecoded=True)
        outputs.append(Output(name, home, tensors, header, not differs))
    index = _index(state, outputs) if state.checkpoint.listed is not None else None
    return Layout(tuple(outputs), index, _config(state))


def _split(state: State, names: Iterable[str], shard_size: int) -> list[list[str]]:
    """New tensors in files of `shard_size` bytes at most, each of at least one."""
    groups: list[list[str]] = []
    held = 0
    for name in names:
        nbytes = state.entries[name].content.bytes
        if not groups or held + nbytes > shard_size:
            groups.append([])
            held = 0
        groups[-1].append(name)
        held += nbytes
    return groups


def _stays(state: State, home: str, names: list[str]) -> bool:
    """Whether a file holds the same tensors as before, and says the same of other names of them."""
    return (
        set(names) == set(state.checkpoint.headers[home].slots)
        and all(state.is_as_stored(name, home) for name in names)
        and _tied(state, names) == _tied_before(state, home)
    )


def _tied(state: State, names: Iterable[str]) -> dict[str, str]:
    inside = set(names)
    return {alias: name for alias, name in sorted(state.tied.items()) if name in inside}


def _tied_before(state: State, home: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(state.checkpoint.headers[home].metadata.get("fastinit.tied", "{}"))
    return found


def _names(
    state: State, groups: list[tuple[str | None, list[str]]], changed: list[bool], token: str | None
) -> list[str]:
    """What the files are called."""
    listed = state.checkpoint.listed
    if listed is None:  # one file, or files that nothing lists: their names are all that is known of them
        return [str(home) for home, _ in groups]
    prefix = listed.removesuffix(ENDING)
    if token is None:
        return shard_names(prefix, len(groups))
    fresh = shard_names(f"{prefix}-edit{token}", len(groups))
    taken = {str(home) for (home, _), differs in zip(groups, changed, strict=True) if not differs}
    found = []
    for (home, _), differs in zip(groups, changed, strict=True):
        name = str(home)
        if differs:
            match = SHARD.fullmatch(name)
            if home is not None and match is not None:  # the number that it had, where no other file has that now
                name = f"{match['prefix']}-edit{token}{match['number'] or ''}.safetensors"
            if home is None or match is None or name in taken:
                name = next(one for one in fresh if one not in taken)
            taken.add(name)
        found.append(name)
    return found


def _metadata(state: State, home: str | None, names: Iterable[str]) -> dict[str, str]:
    """What a file says of itself: what it said, and what is true of its tensors now."""
    names = list(names)
    first = state.checkpoint.headers[home or next(iter(state.checkpoint.headers))].metadata
    of_new = ("format", "fastinit.plan")
    kept: dict[str, str] = {key: value for key, value in first.items() if home is not None or key in of_new}
    for key in ("fastinit.laws", "fastinit.tied", "fastinit.seed", "fastinit.stream", "fastinit.version", EDITED):
        kept.pop(key, None)
    edited = {name: one for name in names if (one := state.edited_of(name)) is not None}
    laws = {
        name: state.entries[name].spans[0].drawn.law for name in names if name not in edited and state.is_as_drawn(name)
    }
    said = dict(to_metadata(laws, edited))
    if state.seed is None:
        said.pop("fastinit.laws")
    else:
        kept["fastinit.seed"] = str(state.seed)
    if said:
        kept |= {"fastinit.stream": STREAM, "fastinit.version": __version__, **said}
    tied = _tied(state, names)
    if tied:
        kept["fastinit.tied"] = json.dumps(tied, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    return kept


def _index(state: State, outputs: Iterable[Output]) -> bytes:
    """The index: which file holds each tensor, and the bytes of all; what else it said stays."""
    content: dict[str, Any] = copy.deepcopy(dict(state.checkpoint.index))
    contents = [one.content for one in state.entries.values()]
    metadata = content.setdefault("metadata", {})
    metadata["total_size"] = sum(one.bytes for one in contents)
    if "total_parameters" in metadata:
        metadata["total_parameters"] = sum(one.elements for one in contents)
    places = {name: output.name for output in outputs for name in output.tensors}
    content["weight_map"] = dict(sorted(places.items()))
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _config(state: State) -> bytes | None:
    """config.json with its settings; None where nothing is set, or all of it is so already."""
    content = copy.deepcopy(state.config)
    for key, value in state.settings.items():
        *outer, last = key.split(".")
        inner: Any = content
        for one in outer:
            inner = inner[one]
        inner[last] = value
    if content == state.config:
        return None
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
