"""Which block of the whole tensor a parameter holds on this rank."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor

from fastinit.address import Shard

Ranges = list[tuple[int, int]]  # begin and end of each, ascending, not touching


def local_part(parameter: Tensor, name: str | None = None) -> tuple[Tensor, Shard | None]:
    """The memory of a parameter on this rank, and its place in the whole; None where it is the whole.

    A replica is the whole on every rank; a rank outside the mesh holds an empty block. Raises ValueError for a DTensor
    that is a partial sum, whose local part is not the one its placements say, or is not one block of the whole.
    """
    if not is_sharded(parameter):
        return parameter, None
    tensor: Any = parameter
    shape, mesh = tuple(tensor.shape), tensor.device_mesh
    what = f"a DTensor of shape {shape}" if name is None else f"parameter {name!r}"
    with torch.no_grad():  # the memory itself; with gradients it would be a view that autograd knows
        local: Tensor = tensor.to_local()
    if any(placement.is_partial() for placement in tensor.placements):
        raise ValueError(f"{what} is a partial sum over {mesh}; a weight is Shard(dim) or Replicate()")
    coordinate = mesh.get_coordinate()
    if coordinate is None:
        return local.new_empty((0,) * len(shape)), Shard(shape, shape)
    held = ranges_of(shape, tuple(mesh.shape), tuple(coordinate), tensor.placements)
    if held is None:
        raise ValueError(
            f"{what} has placements {tensor.placements}, of which one is unknown to fastinit; use Shard(dim), "
            "Replicate(), or what fully_shard and parallelize_module make of them"
        )
    said = tuple(sum(end - begin for begin, end in ranges) for ranges in held)
    if said != tuple(local.shape):
        raise ValueError(
            f"{what} has a local part of shape {tuple(local.shape)}, and its placements {tensor.placements} over "
            f"{mesh} say {said}; build it with torch.distributed.tensor.distribute_tensor or fully_shard"
        )
    if any(len(ranges) > 1 for ranges in held) and 0 not in said:
        raise ValueError(
            f"{what} has placements {tensor.placements} over {mesh}, by which this rank holds no single block of it, "
            f"but along each dimension {held}; redistribute it to Shard(dim)"
        )
    offsets = tuple(ranges[0][0] if ranges else size for ranges, size in zip(held, shape, strict=True))
    return local, Shard(shape, offsets)


def ranges_of(
    shape: tuple[int, ...], mesh: tuple[int, ...], coordinate: tuple[int, ...], placements: tuple[Any, ...]
) -> list[Ranges] | None:
    """Which indices along each dimension the rank at a coordinate of the mesh holds; None for unknown placements.

    Mesh dimension by mesh dimension, Shard cuts what the rank still holds as torch.chunk does. _StridedShard, which
    fully_shard puts in front of a cut that tensor parallelism has made before it, cuts each of `split_factor` such
    chunks.
    """
    held: list[Ranges] = [[(0, size)] if size else [] for size in shape]
    for pieces, index, placement in zip(mesh, coordinate, placements, strict=True):
        if placement.is_replicate():
            continue
        split = getattr(placement, "split_factor", 1)  # _StridedShard is no Shard in every version of PyTorch
        if not (placement.is_shard() or type(placement).__name__ == "_StridedShard"):
            return None
        axis = placement.dim % len(shape)
        shares = [_share(_share(held[axis], split, one), pieces, index) for one in range(split)]
        held[axis] = _joined([one for share in shares for one in share])
    return held


def _share(ranges: Ranges, pieces: int, index: int) -> Ranges:
    """The part of some indices that is the chunk number `index` of so many, as torch.chunk cuts."""
    total = sum(end - begin for begin, end in ranges)
    size = -(-total // pieces)
    first, last = min(index * size, total), min((index + 1) * size, total)
    share, before = [], 0
    for begin, end in ranges:
        low, high = max(first - before, 0), min(last - before, end - begin)
        if low < high:
            share.append((begin + low, begin + high))
        before += end - begin
    return share


def _joined(ranges: Ranges) -> Ranges:
    """The same indices, ranges that touch made one."""
    joined: Ranges = []
    for begin, end in ranges:
        if joined and joined[-1][1] == begin:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return joined


def is_sharded(parameter: Tensor) -> bool:
    """Whether a parameter is a DTensor; where nothing has imported them, there are none."""
    tensors = sys.modules.get("torch.distributed.tensor")
    return tensors is not None and isinstance(parameter, tensors.DTensor)
