"""A model, or what builds one: a build is run while its code is recorded."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef

from fastinit.torch.record.recording import Recording, record
from fastinit.torch.shards import is_sharded

Model: TypeAlias = nn.Module | Callable[[], nn.Module]
LIBRARIES = ("torch", "transformers", "timm", "torchvision", "diffusers", "peft")


@dataclass(frozen=True)
class Built:
    """A module, and the recording in which it was built; None for one that was built before."""

    module: nn.Module
    recording: Recording | None

    def origin(self, sources: Mapping[str, str]) -> dict[str, Any]:
        """What a plan says of where its laws come from: how many of each source, and the versions of libraries."""
        return {"laws": dict(sorted(Counter(sources.values()).items())), "libraries": versions(self.module)}


def built(model: Model) -> Built:
    """A built module as it is; of what builds one, the module that its recorded run gives.

    Raises TypeError for what is neither, and for a build that gives no module; ValueError where the build moved the
    generators of NumPy or of Python: what they drew cannot be recorded, and would count as given values.
    """
    if isinstance(model, nn.Module):
        return Built(model, None)
    if not callable(model):
        raise TypeError(f"module is {model!r}; pass a torch.nn.Module, or a callable without arguments that builds one")
    with _Earlier() as earlier:
        with record() as recording:
            module = model()
        if isinstance(module, nn.Module):
            recording.existing = earlier.storages(recording.unseen((*module.parameters(), *module.buffers())))
    if not isinstance(module, nn.Module):
        raise TypeError(f"the build gave {module!r:.200}; it must return a torch.nn.Module")
    moved = [name for name in recording.moved if name != "torch"]
    if moved:
        raise ValueError(
            f"the build drew from the generator of {' and '.join(moved)}, which cannot be recorded: what it made would "
            "count as given values, the same for every seed. Have it draw by torch, or build the model and pass rules"
        )
    return Built(module, recording)


class _Earlier:
    """Tells memory that was there before the block from memory that code made in it, unseen by the recording.

    A parameter that the build did not write to is one that it was given, or memory that code left as it was. To have
    looked at every object beforehand would cost more than to build most models. So the collector sets all objects
    aside until the block ends (gc.freeze), and those that it still lists are the block's own.
    """

    _one = threading.Lock()  # the collector sets aside once

    def __enter__(self) -> _Earlier:
        self.aside = self._one.acquire(blocking=False)
        if self.aside and gc.get_freeze_count():  # the program's own, which must stay so
            self._one.release()
            self.aside = False
        self.found: dict[int, StorageWeakRef] | None = None
        if self.aside:
            gc.freeze()
        else:
            self.found = _storages(set())
        return self

    def storages(self, asked: list[torch.Tensor]) -> dict[int, StorageWeakRef]:
        """The memory from before, by its address; nothing where no tensor is asked for."""
        if asked:
            listed = {id(thing) for thing in gc.get_objects()}
            self._thaw()
            if self.found is None:
                self.found = _storages(listed)
            else:  # what the program itself had set aside is not listed
                self.found |= _references(one for one in asked if id(one) not in listed)
        return self.found or {}

    def __exit__(self, *exception: object) -> None:
        self._thaw()

    def _thaw(self) -> None:
        if self.aside:
            gc.unfreeze()
            self._one.release()
            self.aside = False


def _storages(without: set[int]) -> dict[int, StorageWeakRef]:
    """The memory of all tensors but those of these identities."""
    things = gc.get_objects()
    return _references(one for one in things if issubclass(type(one), torch.Tensor) and id(one) not in without)


def _references(tensors: Iterable[torch.Tensor]) -> dict[int, StorageWeakRef]:
    """The memory of tensors, by its address, which the references keep from being another's."""
    found: dict[int, StorageWeakRef] = {}
    for tensor in tensors:
        if not is_sharded(tensor):
            with contextlib.suppress(RuntimeError, NotImplementedError):  # a tensor without storage
                storage = tensor.untyped_storage()
                found[storage._cdata] = StorageWeakRef(storage)
    return found


def versions(module: nn.Module) -> dict[str, str]:
    """The versions of torch and of the libraries that classes of the module come from."""
    used = {"torch", *(type(one).__module__.partition(".")[0] for one in module.modules())}
    found = {name: getattr(sys.modules.get(name), "__version__", None) for name in LIBRARIES if name in used}
    return {name: str(version) for name, version in found.items() if version is not None}
