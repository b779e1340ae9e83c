"""record(): inside the block PyTorch's initialisers and draws are recorded, not drawn."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fastinit.laws import Law
from fastinit.torch.addresses import blocks
from fastinit.torch.record.answer import Answer, NoLawError, answer
from fastinit.torch.record.contents import Content
from fastinit.torch.record.evaluate import evaluate
from fastinit.torch.record.mode import Recorder
from fastinit.torch.record.whole import recorders, whole
from fastinit.torch.shards import is_sharded


class Recording:
    """What a `record` block has noted.

    moved  the generators that moved inside the block, of "torch", "numpy" and "random": code that draws by NumPy or by
           Python's own generator cannot be recorded, and what it made looks like values
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.moved: tuple[str, ...] = ()
        self.existing: Mapping[int, Any] = {}  # storages from before the block, where that is known

    def answer(self, tensor: Tensor) -> Answer:
        """What a tensor follows, with the draws it is made of; raises ValueError, which says why, for none."""
        with torch._C.DisableTorchFunction():  # also inside the block
            return answer(self._recorder.storages, tensor)

    def law(self, tensor: Tensor) -> Law:
        """The law that a tensor follows now; a parameter, a buffer, any tensor of the block.

        Raises ValueError where it follows none that can be said, with the operation and the line of code.
        """
        found = self.answer(tensor)
        if found.law is None:
            assert found.replay is not None
            raise NoLawError(f"{name_of(found)} of draws, which is none of our laws ({found.replay.where})")
        return found.law

    def values(self, tensor: Tensor) -> Tensor:
        """The values of a tensor that is computed without chance; raises ValueError, which says why, for another."""
        with torch._C.DisableTorchFunction():
            return evaluate(self._recorder.storages.content(tensor), tuple(tensor.shape), tensor.dtype)

    def write(self, tensor: Tensor, content: Content) -> None:
        """Note what a tensor is to hold before code runs."""
        with torch._C.DisableTorchFunction():
            self._recorder.storages.write(tensor, content)

    def holds(self, tensor: Tensor, content: Content) -> bool:
        """Whether it holds just that still."""
        with torch._C.DisableTorchFunction():
            return self._recorder.storages.content(tensor) is content

    def was_given(self, tensor: Tensor) -> bool:
        """Whether a tensor with values existed before, and was left as it was."""
        if tensor.is_meta:
            return False
        with torch._C.DisableTorchFunction():
            if is_sharded(tensor):
                return not self.has_written(tensor)
            return not self.has_written(tensor) and tensor.untyped_storage()._cdata in self.existing

    def unseen(self, tensors: Iterable[Tensor]) -> list[Tensor]:
        """Those with values of whose memory nothing is known."""
        with torch._C.DisableTorchFunction():
            return [one for one in tensors if not one.is_meta and not self.has_written(one)]

    def has_written(self, tensor: Tensor) -> bool:
        """Whether anything was written to it, or it was made here with its values."""
        with torch._C.DisableTorchFunction():
            memory = self._recorder.storages.find(tensor)
        return not tensor.numel() or (memory is not None and (memory.real or bool(memory.writes)))

    def laws(self, module: nn.Module) -> Mapping[str, Law]:
        """Qualified name -> law, of every parameter of a module; a tied one has its first name.

        Raises ValueError, which names each parameter without a law, and why. What is computed of draws is a
        `fastinit.laws.Replayed`, and a copy of another parameter a `fastinit.laws.Copy`.
        """
        from fastinit.torch.record.models import laws_of

        shapes = {name: list(one.shape) for name, one in module.named_parameters()}
        found = laws_of(self, module.named_parameters())
        if found.problems:
            raise ValueError(
                "no law for " + "; ".join(f"{name!r} {shapes[name]}: {why}" for name, why in found.problems.items())
            )
        return found.laws


def name_of(found: Answer) -> str:
    """The operation whose result a replay is."""
    return str(getattr(found.replay, "name", "pieces"))


@contextmanager
def record() -> Iterator[Recording]:
    """Record what PyTorch's initialisers and draws do inside the block, on this thread, instead of drawing.

        with fastinit.torch.record() as recorded:
            model = Model(config)
        recorded.law(model.embed.weight)  # Normal(mean=0.0, std=0.02)

    Memory that is drawn, or that torch.empty makes, is of the meta device; tables computed without chance stay on the
    CPU with their values. Parameters that existed before keep theirs: what is written to them is noted only. So a model
    of any size is built without its memory. The generators of torch, NumPy and Python are where they were.

    Code that branches on a value that is recorded raises RuntimeError with its line. Blocks nest: the innermost notes.
    Raises RuntimeError inside `fastinit.torch.accelerate`, which draws.
    """
    if blocks():
        raise RuntimeError("record() inside accelerate(): one draws, the other records; leave one of them out")
    recorder = Recorder()
    recording = Recording(recorder)
    before = _states()
    with whole:
        recorders().append(recorder)
        try:
            with recorder:
                yield recording
        finally:
            recorders().remove(recorder)
            recording.moved = _restored(before)


def _states() -> tuple[Any, ...]:
    return torch.get_rng_state(), np.random.get_state(), random.getstate()


def _restored(before: tuple[Any, ...]) -> tuple[str, ...]:
    """The generators that moved, which are put back."""
    moved = []
    if not torch.equal(before[0], torch.get_rng_state()):
        moved.append("torch")
        torch.set_rng_state(before[0])
    now: Any = np.random.get_state()
    if not (np.array_equal(before[1][1], now[1]) and before[1][2:] == now[2:]):
        moved.append("numpy")
        np.random.set_state(before[1])
    if before[2] != random.getstate():
        moved.append("random")
        random.setstate(before[2])
    return tuple(moved)
