"""Whether a model computes on this thread instead of being initialised: then a block leaves the draws to PyTorch.

Activation checkpointing computes twice, the second time inside the backward, where no block may see it: PyTorch
intercepts nothing there, and on an accelerator it happens on another thread. So both times have to be PyTorch's.

That a module has been called, or a function checkpointed, is noticed by the function that PyTorch calls for it; only
afterwards does a draw look at the stack of calls, which would take as long as the draw of a bias. A hook for all
modules would do as well, but torch.compile warns of one.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch._compile import _disable_dynamo
from torch.nn.modules.lazy import LazyModuleMixin
from torch.utils import checkpoint

# In torch.utils.checkpoint every way to checkpoint asks for these before it computes; a version of PyTorch in which
# none does is one where the stack is always looked at.
ASKED = "_get_autocast_kwargs"

FORWARD = "while a module's forward runs"
CHECKPOINTED = "while a checkpointed function runs"
BACKWARD = "while a backward runs"

# Name of a function and its file -> what runs while it is on the stack. A lazy layer that is called for the first time
# is initialised in between.
_RUNNING = {
    ("_call_impl", nn.Module._call_impl.__code__.co_filename): FORWARD,
    ("checkpoint", checkpoint.__file__): CHECKPOINTED,
    ("forward", checkpoint.__file__): CHECKPOINTED,
    ("_infer_parameters", LazyModuleMixin._infer_parameters.__code__.co_filename): "",
}
_NAMES = {name for name, _ in _RUNNING}
_is_compiling = torch.compiler.is_dynamo_compiling
_graph = torch._C._current_graph_task_id


class _Local(threading.local):
    noticed = False


_local = _Local()


def start() -> None:
    """Forget what this thread has called before."""
    _local.noticed = not hasattr(checkpoint, ASKED)


def notice(*_: object) -> None:
    """Hear that this thread calls a module or checkpoints a function."""
    if not _is_compiling():  # what calls a compiled function has been noticed
        _local.noticed = True


def noticing(original: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is noticed."""

    @functools.wraps(original)
    def noticed(*args: Any, **kwargs: Any) -> Any:
        notice()
        return original(*args, **kwargs)

    return noticed


def why_torch() -> str:
    """What runs on this thread, because of which PyTorch has to draw; empty where nothing does."""
    if _is_compiling():
        return _between_graphs()
    if _graph() != -1:
        return BACKWARD
    return _on_the_stack() if _local.noticed else ""


_between_graphs: Callable[[], str] = _disable_dynamo(why_torch)


def _on_the_stack() -> str:
    frame: Any = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_name in _NAMES and (running := _RUNNING.get((code.co_name, code.co_filename))) is not None:
            return running
        frame = frame.f_back
    return ""
