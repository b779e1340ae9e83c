"""Where the seed of a draw comes from: PyTorch's generator, or the `accelerate` block that the thread is in."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch


@dataclass
class Report:
    """What an `accelerate` block did.

    accelerated   function -> how many of its calls fastinit drew
    fell_through  (function, why) -> how many PyTorch did itself
    """

    accelerated: Counter[str] = field(default_factory=Counter)
    fell_through: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __str__(self) -> str:
        """A line a function."""
        lines = [f"{count:8} x {name}" for name, count in sorted(self.accelerated.items())]
        lines += [f"{count:8} x {name}, by PyTorch: {why}" for (name, why), count in sorted(self.fell_through.items())]
        return "\n".join(lines) or "nothing was initialised"


@dataclass
class Block:
    """An open `accelerate` block: its seed, the number of its next draw, and the function that draws."""

    seed: int | None
    report: Report = field(default_factory=Report)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    calling: str | None = None


class _Local(threading.local):
    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.scratch = torch.zeros(1, dtype=torch.int64, device="cpu")
        self.seed = self.scratch.numpy()  # the same memory: read in a tenth of the time of Tensor.item


_local = _Local()


def blocks() -> list[Block]:
    """The open blocks of this thread; the last is the innermost."""
    return _local.blocks


def address(generator: torch.Generator | None) -> tuple[int, int]:
    """Seed and name of a draw.

    In a block with a seed the name is the number of the draw, counted from 0, unless a generator is passed. Else the
    seed, in [0, 2^63), is drawn from the generator (None: the default one), whose state advances; the name is 0.
    """
    if generator is None and _local.blocks and (seed := _local.blocks[-1].seed) is not None:
        return seed, next(_local.blocks[-1].numbers)
    _local.scratch.random_(generator=generator)
    return int(_local.seed[0]), 0


def note(law: str, reason: str) -> None:
    """Count a draw in the innermost block; with a reason, one that PyTorch does itself."""
    if _local.blocks:
        block = _local.blocks[-1]
        name = block.calling or law
        if reason:
            block.report.fell_through[name, reason] += 1
        else:
            block.report.accelerated[name] += 1
