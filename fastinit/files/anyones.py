"""The checkpoint of anyone: a safetensors file, or a folder of them with or without an index. Only headers are read."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastinit.files.folder import INDEX
from fastinit.files.safetensors import LARGEST_HEADER, Header, read_header, refuse, unique

ENDING = ".safetensors.index.json"


@dataclass(frozen=True)
class Checkpoint:
    """The files of a checkpoint in the order of their names, each with its header.

    folder  where they are
    index   what the index holds; None where there is none
    listed  its name, or None
    named   whether the path that was opened is one file, and not its folder
    """

    folder: Path
    headers: Mapping[str, Header]
    listed: str | None = None
    index: Mapping[str, Any] = field(default_factory=dict)
    named: bool = False

    @property
    def path(self) -> Path:
        """What was opened, for messages."""
        return self.folder / next(iter(self.headers)) if self.named else self.folder


def open_checkpoint(path: Path) -> Checkpoint:
    """The files of a checkpoint that anyone wrote.

    Of a folder, those that its index lists (model.safetensors.index.json, or another that is alone), else all
    safetensors files in it. Raises FileNotFoundError where there are none or one is missing; SafetensorsError where a
    file is damaged, the index and the files disagree, or two files have a tensor of the same name.
    """
    if not path.is_dir():
        if path.name.endswith(ENDING):
            return _listed(path)
        return Checkpoint(path.parent, {path.name: read_header(path)}, named=True)
    indexes = sorted(one.name for one in path.glob(f"*{ENDING}"))
    if INDEX in indexes or len(indexes) == 1:
        return _listed(path / (INDEX if INDEX in indexes else indexes[0]))
    if indexes:
        refuse(path, f"holds several checkpoints: {', '.join(indexes)}; name the index of one of them")
    headers = {one.name: read_header(one) for one in sorted(path.glob("*.safetensors"))}
    if not headers:
        raise FileNotFoundError(errno.ENOENT, f"{path} holds no .safetensors file; name a file or a folder of them")
    _refuse_twins(path, headers)
    return Checkpoint(path, headers)


def read_index(path: Path) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    """What an index holds, and its map from tensors to files, each of which is there.

    Raises SafetensorsError for what is no index, or lists a file that is not beside it; FileNotFoundError for a file
    that is missing.
    """
    if path.stat().st_size > LARGEST_HEADER:
        refuse(path, f"has more than {LARGEST_HEADER:,} bytes; that is no index")
    try:
        content = json.loads(path.read_bytes().decode(), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        refuse(path, f"is damaged: it is no JSON ({error!s:.200})")
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        refuse(path, 'has no "weight_map" from tensors to files')
    if not places:
        refuse(path, "lists no tensor")
    for name in sorted(set(places.values())):
        if Path(name).name != name:
            refuse(path, f"lists the file {name!r}; an index lists files beside it")
        if not (path.parent / name).is_file():
            tensor = next(tensor for tensor, place in places.items() if place == name)
            raise FileNotFoundError(
                errno.ENOENT, f"{path.parent / name} is missing; {path.name} lists it for {tensor!r}"
            )
    return content, places


def _listed(path: Path) -> Checkpoint:
    """The files of an index, which must hold exactly the tensors that it says."""
    content, places = read_index(path)
    if not isinstance(content.get("metadata", {}), dict):
        refuse(path, 'has a "metadata" that is no object')
    headers = {name: read_header(path.parent / name) for name in sorted(set(places.values()))}
    _refuse_twins(path, headers)
    held = {tensor: name for name, header in headers.items() for tensor in header.slots}
    for tensor in {**places, **held}:
        if places.get(tensor) != held.get(tensor):
            said, there = places.get(tensor, "no file"), held.get(tensor, "none of those listed")
            refuse(path, f"says that {tensor!r} is in {said}; it is in {there}")
    return Checkpoint(path.parent, headers, path.name, content)


def _refuse_twins(path: Path, headers: Mapping[str, Header]) -> None:
    """Refuse two files that have a tensor of the same name: nobody knows which one counts."""
    seen: dict[str, str] = {}
    for name, header in headers.items():
        for tensor in header.slots:
            if tensor in seen:
                refuse(path, f"has the tensor {tensor!r} in {seen[tensor]} and in {name}; name one file")
            seen[tensor] = name
