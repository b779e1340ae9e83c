"""Buffers of other libraries that `fill` cannot write to: which function of which module takes each.

A type is known by the module it comes from, so no library is imported here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

OF_TORCH = "fastinit.torch.kaiming_normal_(tensor) and its other functions, those of torch.nn.init,"
ALIASES = {"jaxlib": "jax", "flax": "jax"}


def refusal(buf: Any) -> str | None:
    """What to do instead, where the library of `buf` is known and `fill` cannot write to it; else None."""
    if isinstance(buf, (list, tuple, set, range)):
        kind = type(buf).__name__
        return f"buf is a {kind}, which has no memory of numbers; pass a NumPy array, such as numpy.empty({len(buf)})"
    roots = [kind.__module__.partition(".")[0] for kind in type(buf).__mro__]
    libraries = {ALIASES.get(root, root) for root in roots}
    return next((refuse(buf) for library, refuse in _REFUSALS.items() if library in libraries), None)


def _of_torch(buf: Any) -> str | None:
    kind = "a Parameter" if type(buf).__name__ == "Parameter" else "a tensor"
    if getattr(buf, "is_meta", False):
        return (
            f"buf is {kind} of PyTorch on the meta device, which has no memory; "
            "fastinit.torch.materialize_(module, seed=0) gives the parameters of a module memory and fills them"
        )
    device = getattr(buf, "device", None)
    if getattr(device, "type", "cpu") != "cpu":
        return (
            f"buf is {kind} of PyTorch on {device}, and fill writes to the memory of the CPU; {OF_TORCH} fill it "
            "there, as fastinit.torch.initialize_(module, seed=0) does a module"
        )
    if getattr(buf, "requires_grad", False):
        return (
            f"buf is {kind} of PyTorch that records gradients; {OF_TORCH} fill it as it is, "
            "fastinit.torch.initialize_(module, seed=0) a whole module, and fill takes buf.detach()"
        )
    return None


def _of_keras(buf: Any) -> str:
    return (
        "buf is a variable of Keras, which is assigned and not written to; "
        "buf.assign(fastinit.keras.HeNormal(seed=0)(buf.shape)), or another initializer of fastinit.keras, does it"
    )


def _of_jax(buf: Any) -> str:
    return (
        f"buf is an array of JAX ({type(buf).__name__}), which nothing can write to; "
        "fastinit.jax.initializers.he_normal()(key, shape) makes a new one, fastinit.jax.initialize(tree, seed=0) a "
        "whole tree"
    )


def _of_tensorflow(buf: Any) -> str:
    return (
        f"buf is of TensorFlow ({type(buf).__name__}), whose memory nothing else can write to; "
        "fastinit.keras.HeNormal(seed=0)(shape), or another initializer of fastinit.keras, makes a new tensor"
    )


def _of_frames(buf: Any) -> str:
    library = "pandas" if "pandas" in type(buf).__module__ else "polars"
    column = "frame[column] = array" if library == "pandas" else "polars.Series(name, array)"
    return (
        f"buf is a {type(buf).__name__} of {library}, whose memory nothing else should write to; "
        f"array = fastinit.new({len(buf)}, law, seed=0, name=...) makes a NumPy array, and {column} puts it there"
    )


_REFUSALS: dict[str, Callable[[Any], str | None]] = {
    "keras": _of_keras,  # before the library of its backend
    "torch": _of_torch,
    "jax": _of_jax,
    "tensorflow": _of_tensorflow,
    "pandas": _of_frames,
    "polars": _of_frames,
}
