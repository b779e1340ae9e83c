"""A plugin of pytest for ci/upstream_jax: the initialisers of JAX, or of Keras, are ours before a test is imported.

It also moves the seeds of JAX's keys, to see which tests hold for one seed only.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

MODULES = {
    "jax": ("fastinit.jax.initializers", ["jax.nn.initializers"]),
    "keras": ("fastinit.keras", ["keras.initializers", "keras.src.initializers"]),
}


def redirect(framework: str) -> list[str]:
    """Put ours where theirs stand; the names that were replaced."""
    ours, theirs = MODULES[framework]
    source = importlib.import_module(ours)
    replaced = []
    for module in map(importlib.import_module, theirs):
        for name in [name for name in vars(module) if not name.startswith("_") and name != "Initializer"]:
            if hasattr(source, name) and callable(getattr(module, name)):
                setattr(module, name, getattr(source, name))
                replaced.append(name)
        # By which Keras finds a class that is named by a string.
        for name, their_class in getattr(module, "ALL_OBJECTS_DICT", {}).items():
            module.ALL_OBJECTS_DICT[name] = getattr(source, their_class.__name__, their_class)
    return replaced


def shift_seeds(by: int) -> None:
    """Let jax.random.key and PRNGKey begin at other seeds."""
    import jax

    for name in ("key", "PRNGKey"):
        setattr(jax.random, name, _moved(getattr(jax.random, name), by))


def _moved(make: Callable[..., Any], by: int) -> Callable[..., Any]:
    def moved(seed: Any, **options: Any) -> Any:
        return make(seed + by, **options)

    return moved


if os.environ.get("FASTINIT_SHIFT", "0") != "0":
    shift_seeds(1000 * int(os.environ["FASTINIT_SHIFT"]))
if os.environ.get("FASTINIT_REDIRECT"):
    print("redirected to fastinit:", *sorted(set(redirect(os.environ["FASTINIT_REDIRECT"]))))
