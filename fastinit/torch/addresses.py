"""Where the seed of a draw comes from: PyTorch's generator, or the `accelerate` block that the thread is in."""

from __future__ import annotations

import itertools
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

Array = np.ndarray[Any, Any]


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
    """An open `accelerate` block: its seed, whether it draws on accelerators, its next number, and who draws."""

    seed: int | None
    everywhere: bool = False
    report: Report = field(default_factory=Report)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    calling: str | None = None


class _Local(threading.local):
    def __init__(self) -> None:
        self.blocks: list[Block] = []
        # One piece of memory, seen in four ways: a bias is drawn in the time that it takes to convert an integer.
        both = torch.zeros(2, dtype=torch.int64, device="cpu")
        self.drawn = both[:1]
        self.numbers: Array = both.numpy().view(np.uint64)
        self.words: Array = self.numbers.view(np.uint32)


_local = _Local()


def blocks() -> list[Block]:
    """The open blocks of this thread; the last is the innermost."""
    return _local.blocks


def on_every_device() -> bool:
    """Whether the thread is in a block that draws the tensors of accelerators too."""
    blocks = _local.blocks
    return bool(blocks) and blocks[-1].everywhere


def address(generator: torch.Generator | None) -> Array:
    """Seed and name of a draw, as the two uint64 of this thread's memory: the next draw writes over them.

    In a block with a seed the name is the number of the draw, counted from 0, unless a generator is passed. Else the
    seed, in [0, 2^63), is drawn from the generator (None: the default one), whose state advances; the name is 0.
    """
    blocks, numbers = _local.blocks, _local.numbers
    if generator is None and blocks and (seed := blocks[-1].seed) is not None:
        numbers[0], numbers[1] = seed, next(blocks[-1].numbers)
    else:
        _local.drawn.random_(generator=generator)
        numbers[1] = 0
    return numbers


def address_words(generator: torch.Generator | None) -> Array:
    """The same address as `stream_words` gives it, in the same memory."""
    address(generator)
    return _local.words if sys.byteorder == "little" else _local.words[[1, 0, 3, 2]]


def address_from(generator: torch.Generator | None, device: torch.device) -> Array:
    """`address` of a draw on any device, whose generator may be one of that device."""
    if generator is None or device.type == "cpu" or generator.device.type == "cpu":
        return address(generator)
    _local.drawn.copy_(torch.empty(1, dtype=torch.int64, device=generator.device).random_(generator=generator))
    _local.numbers[1] = 0
    return _local.numbers


def note(law: str, reason: str) -> None:
    """Count a draw in the innermost block; with a reason, one that PyTorch does itself."""
    if _local.blocks:
        block = _local.blocks[-1]
        name = block.calling or law
        if reason:
            block.report.fell_through[name, reason] += 1
        else:
            block.report.accelerated[name] += 1
