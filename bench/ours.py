"""The calls of fastinit that are timed, by law; all with the seed and the name a user would give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import fastinit
from bench.pairing import Contender
from bench.peers import FAN_IN, VALUE

Array = np.ndarray[Any, Any]

CALLS: dict[str, tuple[str, Callable[..., None]]] = {
    "uniform": ("fill_uniform(buf)", fastinit.fill_uniform),
    "normal": ("fill_he_normal(buf, fan_in)", lambda buf, **to: fastinit.fill_he_normal(buf, FAN_IN, **to)),
    "truncated": ("fill_truncated_normal(buf)", fastinit.fill_truncated_normal),
    "loosely truncated": (
        "fill_truncated_normal(buf, 0, 0.02, bounds=(-2, 2))",
        lambda buf, **to: fastinit.fill_truncated_normal(buf, 0.0, 0.02, bounds=(-2.0, 2.0), **to),
    ),
    "constant": ("fill_constant(buf, value)", lambda buf, **to: fastinit.fill_constant(buf, VALUE, **to)),
}


def ours(law: str, buf: Array, name: str = "fastinit", **to: Any) -> Contender:
    """The fill of `buf` with a law; `to` goes to the call (dtype, threads, shard)."""
    call, function = CALLS[law]
    return Contender(name, lambda: function(buf, seed=1, name="w", **to), buf.nbytes, call)
