"""The name of a leaf of a tree: its path, joined by dots."""

from __future__ import annotations

from typing import Any

from jax.tree_util import GetAttrKey, keystr


def name_of(path: tuple[Any, ...]) -> str:
    """The name of a leaf; the `value` of Flax's boxes (nnx.Param, nn.Partitioned) is left out."""
    return str(keystr(tuple(key for key in path if key != GetAttrKey("value")), simple=True, separator="."))
