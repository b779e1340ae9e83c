"""Which constructors initialise by themselves: what they wrote into a layer of torch.nn, a built model no longer shows.

A parent may zero the weights of a Linear inside it, or apply a function to all of them. Nothing in the built model
says so. Its constructor's code does: it names a function that writes into tensors, or calls one that does.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator
from typing import Any

from torch.nn import init

# Names of what writes into a tensor.
WRITERS = {name for name, thing in vars(init).items() if name.endswith("_") and callable(thing)} | {
    *("copy_", "mul_", "div_", "add_", "sub_", "fill_", "zero_", "clamp_", "erfinv_", "exponential_", "pow_", "log_"),
    *("trunc_normal_tf_", "lecun_normal_", "variance_scaling_"),
}
# Methods whose writing is seen: they are run, recorded.
SEEN = {"reset_parameters", "_reset_parameters", "init_weights", "initialize_weights", "post_init"}
DEEPEST = 5  # calls, from a constructor to a function that writes


@functools.lru_cache(maxsize=4096)
def draws_itself(kind: type) -> str | None:
    """What a constructor of this class, or of one that it extends, calls to initialise; None where it does not."""
    for one in kind.__mro__:
        constructor = vars(one).get("__init__")
        if isinstance(constructor, types.FunctionType) and not _is_of_torch(constructor):
            writer = _writer(constructor, kind, DEEPEST, set())
            if writer is not None:
                return f"{one.__qualname__}.__init__ initialises by itself ({writer})"
    return None


def _writer(function: types.FunctionType, kind: type, depth: int, visited: set[Any]) -> str | None:
    """The name of a writer that a function names, or reaches through functions and methods that it names."""
    if depth == 0 or function.__code__ in visited:
        return None
    visited.add(function.__code__)
    names = list(dict.fromkeys(_names(function.__code__)))
    found = next((name for name in names if name in WRITERS), None)
    if found is not None:
        return found
    for name in names:
        if name in SEEN:
            continue
        for called in (function.__globals__.get(name), getattr(kind, name, None)):
            called = getattr(called, "__wrapped__", called)
            if isinstance(called, types.FunctionType) and not _is_of_torch(called):
                found = _writer(called, kind, depth - 1, visited)
                if found is not None:
                    return f"{name}: {found}" if ": " not in found else found
    return None


def _names(code: types.CodeType) -> Iterator[str]:
    """What a function names, those inside it too."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _is_of_torch(function: types.FunctionType) -> bool:
    return str(function.__module__).startswith("torch.")
