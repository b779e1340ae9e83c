"""What every storage holds while a model is recorded: the writes that still show, in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from fastinit import laws
from fastinit.laws.law import IndependentLaw
from fastinit.torch.record.contents import (
    Assembled,
    Before,
    Content,
    Lawful,
    Region,
    Unknown,
    Unwritten,
    Values,
    here,
)
from fastinit.torch.shards import is_sharded


@dataclass
class Memory:
    """A storage that was written to while recording, or made then.

    holds   the storage of what is recorded, a weak reference to that of values: neither lets its address be another's
    size    in elements of the tensor that was first seen
    real    whether the values are in the memory itself: tables computed without chance
    """

    holds: Any
    size: int
    item: int
    writes: dict[Region, Content] = field(default_factory=dict)
    real: bool = False

    def whole(self, region: Region) -> bool:
        """Whether a region, which no element is twice in, is all of the storage."""
        count = 1
        for n in region.shape:
            count *= n
        return count >= self.size and not region.repeats

    def write(self, region: Region, content: Content) -> None:
        """Note a write; what it covers is forgotten."""
        if self.whole(region):
            self.writes.clear()
        else:
            self.writes.pop(region, None)  # so that it comes last
        self.writes[region] = content


class Storages:
    """The memory of all tensors that a recording has seen."""

    def __init__(self) -> None:
        self.known: dict[int, Memory] = {}
        self.wholes: dict[int, tuple[Any, Tensor]] = {}  # of DTensors, by the memory of their local parts

    def whole(self, tensor: Tensor) -> Tensor:
        """The tensor itself; for a DTensor a plain one of its whole shape, without memory, on which all is noted."""
        if not is_sharded(tensor):
            return tensor
        local = tensor._local_tensor.untyped_storage()
        found = self.wholes.get(local._cdata)
        if found is None:
            plain = torch.empty(tensor.shape, dtype=tensor.dtype, device="meta", requires_grad=tensor.requires_grad)
            found = self.wholes[local._cdata] = local, plain
        return found[1]

    def find(self, tensor: Tensor) -> Memory | None:
        """The memory of a tensor, if it is known."""
        return self.known.get(_key(self.whole(tensor)))

    def forget_the_dead(self) -> None:
        """Drop what is known of tables that are no more."""
        dead = [key for key, one in self.known.items() if isinstance(one.holds, StorageWeakRef) and one.holds.expired()]
        for key in dead:
            del self.known[key]

    def memory(self, tensor: Tensor) -> Memory:
        """The memory of a tensor, known from now on."""
        key = _key(tensor)
        found = self.known.get(key)
        if found is None:
            storage = tensor.untyped_storage()
            item = tensor.element_size() or 1
            size = storage.nbytes() // item
            found = self.known[key] = Memory(storage, size, item)
        elif isinstance(found.holds, StorageWeakRef):
            found.holds = tensor.untyped_storage()
        return found

    def is_recorded(self, tensor: Tensor) -> bool:
        """Whether what the tensor holds is in the recording, and not in its memory."""
        memory = self.find(tensor)
        return tensor.is_meta or (memory is not None and bool(memory.writes))

    def born(self, tensor: Tensor) -> None:
        """Note that a tensor with values was made while recording: its memory may be written to."""
        if tensor.numel() and _key(tensor) not in self.known:
            memory = self.memory(tensor)
            memory.real, memory.holds = True, StorageWeakRef(memory.holds)

    def is_real(self, tensor: Tensor) -> bool:
        """Whether it was made while recording, and has its values in its memory."""
        memory = self.find(tensor)
        return memory is not None and memory.real and not memory.writes and not tensor.is_meta

    def write(self, tensor: Tensor, content: Content) -> None:
        """Note what a tensor, or the view of one, holds now."""
        tensor = self.whole(tensor)
        if not tensor.numel():
            return
        memory = self.memory(tensor)
        region = region_of(tensor)
        if memory.item != (tensor.element_size() or 1):
            whole = tensor.numel() * tensor.element_size() >= memory.size * memory.item
            if not whole:
                content = Unknown("a write through a view of another dtype", here())
            region = Region(0, (memory.size,), (1,))
        if not memory.writes and not memory.whole(region) and not tensor.is_meta:
            everything = Region(0, (memory.size,), (1,))  # the rest stays as it is
            rest: Content = Before()
            if memory.real:
                rest = Values(torch.as_strided(tensor.detach(), (memory.size,), (1,), 0).clone(), here())
            memory.writes[everything] = rest
        memory.write(region, content)

    def content(self, tensor: Tensor) -> Content:
        """What a tensor, or the view of one, holds."""
        tensor = self.whole(tensor)
        memory = self.find(tensor)
        if memory is None or not memory.writes:
            if tensor.is_meta:
                return Unknown("a tensor of the meta device that was made before the recording", here())
            return Values(tensor.detach().clone(), here())
        if memory.item != (tensor.element_size() or 1):
            return Unknown("a view of another dtype", here())
        region = region_of(tensor)
        if len(memory.writes) == 1:
            ((written, content),) = memory.writes.items()
            return seen(content, written, region, memory.size)
        for written, content in reversed(memory.writes.items()):
            if written == region:
                return content
            if written.meets(region):
                if memory.whole(written):
                    return seen(content, written, region, memory.size)
                break
        pieces = tuple((at, one) for at, one in memory.writes.items() if at.meets(region))
        return Assembled(pieces, region, memory.size, here())

    def change(self, tensor: Tensor, change: Callable[[Content], Content]) -> None:
        """Note an operation in place that treats every element alike."""
        memory = self.find(tensor)
        region = region_of(tensor)
        if memory is not None and len(memory.writes) > 1 and memory.item == tensor.element_size():
            if memory.whole(region):
                for at, content in memory.writes.items():
                    memory.writes[at] = change(content)
                return
        self.write(tensor, change(self.content(tensor)))

    def copy(self, source: Tensor, target: Tensor, change: Callable[[Content], Content]) -> None:
        """Note an operation that makes `target` of `source` and treats every element alike."""
        memory = self.find(source)
        if memory is not None and len(memory.writes) > 1 and memory.whole(region_of(source)):
            fresh = self.memory(target)
            if region_of(source) == region_of(target) and fresh.size == memory.size:
                fresh.writes = {at: change(content) for at, content in memory.writes.items()}
                return
        self.write(target, change(self.content(source)))


def region_of(tensor: Tensor) -> Region:
    """Where a tensor lies in its storage."""
    return Region(tensor.storage_offset(), tuple(tensor.shape), tuple(tensor.stride()))


def seen(content: Content, written: Region, region: Region, size: int) -> Content:
    """A content, written over all of a storage, through another view."""
    if written == region or isinstance(content, (Unwritten, Unknown, Before)):
        return content
    if isinstance(content, Lawful):
        if isinstance(content.law, laws.Constant):
            return content
        if not region.repeats and region.end <= size and isinstance(content.law, IndependentLaw):
            return replace(content, parts=(*content.parts, written, region))
        if isinstance(content.law, laws.Orthogonal) and _same_matrix(written, region):
            return replace(content, parts=(*content.parts, written, region))
    return Assembled(((written, content),), region, size, here())


def _same_matrix(written: Region, region: Region) -> bool:
    """Whether a tensor, as a matrix of its first dimension, is that which was written, or its transpose."""
    rows = (written.shape[:1], region.shape[:1])
    if rows[0] == rows[1] and _is_plain(written) and _is_plain(region):
        return True
    turned = (written.shape[::-1], written.strides[::-1])
    return len(written.shape) == 2 and written.offset == region.offset and (region.shape, region.strides) == turned


def _is_plain(region: Region) -> bool:
    """Whether it is row by row, from the storage's first element on."""
    step = 1
    for n, stride in zip(reversed(region.shape), reversed(region.strides), strict=True):
        if n > 1 and stride != step:
            return False
        step *= n
    return region.offset == 0


def _key(tensor: Tensor) -> int:
    """What tensors on one storage have in common."""
    return int(tensor.untyped_storage()._cdata)
