"""Where the seed of a draw comes from: PyTorch's generator, or the `accelerate` block that the thread is in."""

from __future__ import annotations

import sys
import threading
from collections import Counter
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


# Draws of a block that have a number; they are remembered in 0.1 GB, and no model is initialised in as many.
MOST_NUMBERED = 1 << 20


@dataclass
class Block:
    """An open `accelerate` block.

    everywhere  whether it draws on accelerators too
    calling     the function that draws, by which a draw is counted
    passing     whether PyTorch draws what the thread asks for now, uncounted
    origin      the seed that PyTorch's generator had when the block opened: another one says that it was seeded again
    numbers     what the generator yielded -> the number of the draw that it was asked for, counted from 0
    """

    seed: int | None
    everywhere: bool = False
    report: Report = field(default_factory=Report)
    calling: str | None = None
    passing: bool = False
    origin: int = field(default_factory=torch.default_generator.initial_seed)
    numbers: dict[int, int] = field(default_factory=dict)

    def address(self, seed: int, yielded: int) -> tuple[int, int]:
        """Seed and name of a draw, in a block of this seed, for which PyTorch's generator yielded 63 bits.

        Until somebody seeds the generator again the name is the number of the draw. A state that was restored yields
        the same bits, and so the same number. From then on the generator governs, as in a block without a seed.
        """
        if torch.default_generator.initial_seed() != self.origin:
            return yielded, 0
        number = self.numbers.get(yielded)
        if number is None:
            if len(self.numbers) >= MOST_NUMBERED:
                return seed, yielded + (1 << 63)
            number = self.numbers[yielded] = len(self.numbers)
        return seed, number


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

    A number in [0, 2^63) is drawn from the generator (None: the default one), whose state advances. It is the seed, and
    the name is 0; in a block with a seed, unless a generator is passed, they are what the block makes of the number.
    """
    blocks, numbers = _local.blocks, _local.numbers
    _local.drawn.random_(generator=generator)
    if generator is None and blocks and (seed := blocks[-1].seed) is not None:
        numbers[0], numbers[1] = blocks[-1].address(seed, int(numbers[0]))
    else:
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
    if _local.blocks and not (block := _local.blocks[-1]).passing:
        name = block.calling or law
        if reason:
            block.report.fell_through[name, reason] += 1
        else:
            block.report.accelerated[name] += 1
