"""Draw the tensors of a model, or the shards of them that this rank holds, into the memory of its parameters."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from fastinit import engines
from fastinit.address import STREAM, Shard
from fastinit.blocks import Piece, Source, items, unit
from fastinit.files.safetensors import lay_out
from fastinit.fill import memory
from fastinit.plan import Tensor
from fastinit.progress import Progress
from fastinit.threads import for_each
from fastinit.torch.shards import local_part
from fastinit.torch.targets import Target
from fastinit.torch.tensors import increment_version, may_be_of_a_file, memory_of, overlaps

Array = np.ndarray[Any, Any]
Place = tuple[torch.Tensor, Shard | None]  # memory on this rank, and which block of the tensor it is


def fill_all(targets: list[Target], seed: int, workers: int, progress: Progress | None) -> None:
    """Draw all: those whose memory is one stretch in one pass over their pieces, then the others, one by one."""
    parts = [(target, *_checked(target)) for target in targets]
    _refuse_shared([(target.tensor.name, part) for target, part, _ in parts if part.is_cpu and part.numel()])
    total = sum(part.nbytes for _, part, _ in parts)
    source = Source(seed, STREAM, engines.engine_for(sum(part.numel() for _, part, _ in parts)))

    def report(done: int) -> None:
        if progress is not None:
            progress(done, total)

    pieced = {target.tensor.name: part for target, part, shard in parts if shard is None and _in_pieces(target, part)}
    tensors = [target.tensor for target in targets if target.tensor.name in pieced]
    done = _fill_pieces(tensors, pieced, source, workers, report)
    for target, part, shard in parts:
        if target.tensor.name not in pieced and part.numel():
            _fill_alone(part, target.tensor, shard, source, workers)
            done += part.nbytes
            report(done)
        increment_version(part)
        if part is not target.parameter:
            increment_version(target.parameter)  # a DTensor and its local part count apart


def _checked(target: Target) -> Place:
    """The memory of a parameter on this rank, which is safe to fill, and which block of the tensor it is."""
    part, shard = local_part(target.parameter, target.tensor.name)
    fakes = sys.modules.get("torch._subclasses.fake_tensor")
    if fakes is not None and isinstance(part, fakes.FakeTensor):
        raise TypeError(
            f"parameter {target.tensor.name!r} is a FakeTensor, which has no memory; build the module outside "
            "FakeTensorMode, or take its plan(module), which needs none"
        )
    if part.is_neg() or part._is_zerotensor():
        raise TypeError(
            f"parameter {target.tensor.name!r} is a view of the opposite sign, or a zero without memory, into which no "
            "kernel can store; replace it by nn.Parameter(parameter.detach().resolve_neg().clone())"
        )
    if part.is_cpu and overlaps(part):
        raise ValueError(
            f"parameter {target.tensor.name!r} overlaps itself (strides {part.stride()}), so that two elements would "
            "share memory; make it contiguous"
        )
    return part, shard


def _refuse_shared(parts: list[tuple[str, torch.Tensor]]) -> None:
    """Refuse parameters that share memory: which of them is drawn last would be a matter of threads."""
    reaching: list[tuple[int, str, torch.Tensor]] = []  # end, name and tensor of those that may go on past this one
    for name, part in sorted(parts, key=lambda item: item[1].data_ptr()):
        begin = part.data_ptr()
        reach = sum(step * (size - 1) for step, size in zip(part.stride(), part.shape, strict=True))
        reaching = [one for one in reaching if one[0] > begin]
        for _, other, earlier in reaching:
            if np.shares_memory(memory_of(earlier), memory_of(part)):
                raise ValueError(
                    f"parameters {other!r} and {name!r} share memory without being one tensor; give one of them its "
                    f"own, nn.Parameter(parameter.detach().clone()), or leave it out by a rule of the scheme 'skip'"
                )
        reaching.append((begin + (reach + 1) * part.itemsize, name, part))


def _in_pieces(target: Target, part: torch.Tensor) -> bool:
    """Whether the memory is one stretch that can be drawn piece by piece."""
    return part.is_cpu and part.is_contiguous() and unit(target.tensor) is not None and not may_be_of_a_file(part)


def _fill_pieces(
    tensors: list[Tensor],
    parts: Mapping[str, torch.Tensor],
    source: Source,
    workers: int,
    report: Callable[[int], None],
) -> int:
    """One parallel pass over the pieces of many tensors: a thousand small ones do not cost a thousand barriers."""
    lines = {name: _bytes_of(part) for name, part in parts.items()}
    for line in lines.values():
        memory.advise_huge_pages(line.ctypes.data, line.nbytes)
    slots = lay_out({one.name: (one.dtype, one.shape) for one in tensors}).slots
    work = list(items(tensors, slots))
    ends = list(itertools.accumulate(sum(piece.bytes for piece in item) for item in work))

    def fill(i: int) -> None:
        for piece in work[i]:
            source.draw(piece, _stretch(lines[piece.tensor.name], piece))

    for_each(fill, len(work), workers, lambda done: report(ends[done - 1]) if done else None)
    return ends[-1] if ends else 0


def _stretch(line: Array, piece: Piece) -> Array:
    """The bytes of a piece in its tensor."""
    begin = piece.first * (line.nbytes // piece.tensor.elements)
    return line[begin : begin + piece.bytes]


def _bytes_of(part: torch.Tensor) -> Array:
    """The memory of a contiguous tensor as bytes, whatever its dtype."""
    return memory_of(part).reshape(-1).view(np.uint8)


def _fill_alone(part: torch.Tensor, tensor: Tensor, shard: Shard | None, source: Source, workers: int) -> None:
    """A tensor, or a shard of one, in any layout; on another device by way of the CPU."""
    if part.is_cpu:
        source.fill(memory_of(part), tensor, shard, workers)
        return
    staging = torch.empty(part.shape, dtype=part.dtype, device="cpu")
    source.fill(memory_of(staging), tensor, shard, workers)
    with torch.no_grad():
        part.copy_(staging)
