"""A plugin of pytest for ci/upstream_jax: the initialisers of JAX, or of Keras, are ours before a test is imported."""

from __future__ import annotations

import importlib
import os

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


if os.environ.get("FASTINIT_REDIRECT"):
    print("redirected to fastinit:", *sorted(set(redirect(os.environ["FASTINIT_REDIRECT"]))))
