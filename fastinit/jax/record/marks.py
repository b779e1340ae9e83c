"""Our own initialisers while a model is recorded: a mark in the program, with the law, stands for the draw."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
import numpy as np
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend.core import Primitive
from jax.interpreters import batching

from fastinit.laws import Law

_recording: ContextVar[bool] = ContextVar("recording", default=False)

draw_p = Primitive("fastinit_draw")
draw_p.def_abstract_eval(
    lambda words, *, law, shape, dtype, copies: jax.core.ShapedArray((*copies, *shape), dtype)  # of each set of words
)


def _batched(words: Any, axes: Any, *, law: Law, shape: Any, dtype: Any, copies: Any) -> Any:
    """One draw for each set of words, along the first axis."""
    (moved,), (axis,) = words, axes
    moved = jax.numpy.moveaxis(moved, axis, 0)
    return draw_p.bind(moved, law=law, shape=shape, dtype=dtype, copies=(moved.shape[0], *copies)), 0


batching.primitive_batchers[draw_p] = _batched


def is_recording() -> bool:
    """Whether the program that is traced now is recorded."""
    return _recording.get()


def mark(words: Any, law: Law, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """What stands for a draw from these words of a key."""
    return draw_p.bind(words, law=law, shape=shape, dtype=dtype, copies=())


@contextmanager
def marking() -> Iterator[None]:
    """Inside the block our initialisers leave marks.

    JAX keeps the programs of functions that it has traced. The metadata are a part of what it keeps them by, so that a
    program with marks is never run, and one without is not taken for the recording.
    """
    token = _recording.set(True)
    try:
        with set_xla_metadata(fastinit="record"):
            yield
    finally:
        _recording.reset(token)
