"""Fill memory that NumPy cannot see, on an accelerator, by way of the CPU: draw a piece there, and copy it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from fastinit.address import Shard, boxes

# A copy of so much takes milliseconds, in which the next piece is drawn; with two pieces or three under way the memory
# of the CPU stays bounded whatever the tensor's size.
PIECE_BYTES = 64 << 20


def fill_staged(part: Tensor, shard: Shard | None, fill: Callable[[Tensor, Shard], None], *, in_pieces: bool) -> None:
    """Fill a tensor on another device, which is a block of a whole or (None) the whole.

    fill       fills a tensor on the CPU that is the block of the whole which the Shard says
    in_pieces  whether a piece can be drawn without the others; else all is drawn at once

    To CUDA devices the pieces go through pinned memory, and the copies follow one another on the device's current
    stream: the memory is not used again before its copy is done, by PyTorch's own allocator of pinned memory.
    """
    whole = Shard(tuple(part.shape), (0,) * part.dim()) if shard is None else shard
    pinned = part.device.type == "cuda"
    with torch.no_grad():
        for offsets, block in _pieces(part) if in_pieces else [((0,) * part.dim(), tuple(part.shape))]:
            staging = torch.empty(block, dtype=part.dtype, device="cpu", pin_memory=pinned)
            fill(staging, Shard(whole.shape, [a + b for a, b in zip(whole.offsets, offsets, strict=True)]))
            where = tuple(slice(begin, begin + size) for begin, size in zip(offsets, block, strict=True))
            part[where].copy_(staging, non_blocking=pinned)


def _pieces(part: Tensor) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Offsets and shape of blocks that make up the tensor, row by row."""
    count, most = part.numel(), PIECE_BYTES // part.element_size()
    for first in range(0, count, most):
        yield from boxes(tuple(part.shape), first, min(most, count - first))
