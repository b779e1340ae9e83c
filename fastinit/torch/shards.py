"""Which block of the whole tensor a parameter holds on this rank."""

from __future__ import annotations

import sys

from torch import Tensor

from fastinit.address import Shard


def local_part(parameter: Tensor, name: str) -> tuple[Tensor, Shard | None]:
    """The memory of a parameter on this rank, and its place in the whole; None where it is the whole.

    A replica is the whole on every rank. Raises ValueError for a DTensor that is a partial sum, or whose local part is
    not the one its placements say.
    """
    if not is_sharded(parameter):
        return parameter, None
    from torch.distributed.tensor import DTensor
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    assert isinstance(parameter, DTensor)
    if any(placement.is_partial() for placement in parameter.placements):
        raise ValueError(
            f"parameter {name!r} is a partial sum over {parameter.device_mesh}; a weight is Shard(dim) or Replicate()"
        )
    local = parameter.to_local()
    shape, offsets = compute_local_shape_and_global_offset(parameter.shape, parameter.device_mesh, parameter.placements)
    if tuple(shape) != tuple(local.shape):
        raise ValueError(
            f"parameter {name!r} has a local part of shape {tuple(local.shape)}, and its placements "
            f"{parameter.placements} over {parameter.device_mesh} say {tuple(shape)}; build it with "
            "torch.distributed.tensor.distribute_tensor or fully_shard"
        )
    return local, Shard(tuple(parameter.shape), tuple(offsets))


def is_sharded(parameter: Tensor) -> bool:
    """Whether a parameter is a DTensor; where nothing has imported them, there are none."""
    tensors = sys.modules.get("torch.distributed.tensor")
    return tensors is not None and isinstance(parameter, tensors.DTensor)
