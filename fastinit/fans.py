"""Turn the shape of a weight into the number of inputs and outputs each unit sees."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import NamedTuple

# (in axes, out axes, groups multiply the outputs per group) is decided below; this is what the names mean.
LAYOUTS = {
    "torch": "Linear (out, in) and Conv (out, in / groups, k...), as torch.nn stores them",
    "torch_transposed": "ConvTranspose (in, out / groups, k...)",
    "keras": "Dense (in, out) and Conv (k..., in / groups, out), as Keras, Flax and TensorFlow store them",
    "jax": "the same as keras; with in_axis, out_axis, batch_axis as in jax.nn.initializers.variance_scaling",
    "jax_heads": "a projection into heads (in, heads, width), as Flax's attention stores query, key and value",
    "keras_transposed": "Conv2DTranspose (k..., out, in)",
    "keras_depthwise": "DepthwiseConv (k..., in, multiplier): each output sees one input channel",
    "mlx": "Conv (out, k..., in / groups)",
    "embedding": "a table (vocabulary, width): looked up, not multiplied, so its fan_in is 1",
}
Axes = int | Sequence[int]


class Fans(NamedTuple):
    """How many inputs feed one output unit, and how many outputs one input unit feeds."""

    fan_in: int
    fan_out: int


def fans(
    shape: Sequence[int],
    layout: str = "torch",
    *,
    groups: int = 1,
    in_axis: Axes | None = None,
    out_axis: Axes | None = None,
    batch_axis: Axes = (),
) -> Fans:
    """Fans of a weight of `shape`, which is always the shape of the whole tensor, never of a shard.

    layout      one of torch, torch_transposed, keras, jax, jax_heads, keras_transposed, keras_depthwise, mlx, embedding
    groups      of a grouped convolution. One output sees in / groups channels and one input feeds out / groups, so a
                depthwise 3 x 3 kernel has fans (9, 9); torch.nn.init reports (9, 9 out), pytorch#23854
    in_axis, out_axis, batch_axis
                axes of inputs, outputs and independent copies (experts, heads), each an axis or several, in place of a
                layout; the axes left over are the receptive field, as in jax.nn.initializers.variance_scaling

    Raises ValueError for an unknown layout, a shape with too few dimensions, channels that `groups` does not divide.
    Source: He et al. 2015 (arXiv:1502.01852), section 2.2; the layouts are the frameworks' own.
    """
    size = _exact(shape)
    if layout not in LAYOUTS:
        raise ValueError(f"fans: layout {layout!r} is unknown; there are {', '.join(LAYOUTS)}")
    if groups < 1:
        raise ValueError(f"fans: groups is {groups}; it must be at least 1")
    if in_axis is not None or out_axis is not None or batch_axis != ():
        return _by_axes(size, -2 if in_axis is None else in_axis, -1 if out_axis is None else out_axis, batch_axis)
    if len(size) < 2:
        raise ValueError(
            f"fans: a tensor of shape {size} has no fan_in and fan_out; pass them, or fill a bias by a constant"
        )
    if layout == "embedding":
        return Fans(1, size[-1])
    if layout == "jax_heads":
        first, second, field = math.prod(size[1:]), size[0], 1
    elif layout.startswith("torch"):
        first, second, field = size[0], size[1], math.prod(size[2:])
    elif layout == "mlx":
        first, second, field = size[0], size[-1], math.prod(size[1:-1])
    else:
        first, second, field = size[-1], size[-2], math.prod(size[:-2])
    if layout == "keras_depthwise":
        return Fans(field, first * field)
    # `first` counts all channels of its side, `second` those of one group.
    if first % groups:
        raise ValueError(f"fans: {first} channels of shape {size} do not divide into {groups} groups")
    if layout.endswith("transposed"):
        return Fans(first // groups * field, second * field)
    return Fans(second * field, first // groups * field)


def _exact(shape: Sequence[int]) -> tuple[int, ...]:
    try:
        size = tuple(operator.index(length) for length in shape)
    except TypeError:
        raise TypeError(f"fans: shape is {shape!r}; pass a tuple of integers") from None
    if any(length < 0 for length in size):
        raise ValueError(f"fans: shape {size} has a negative entry")
    return size


def _by_axes(size: tuple[int, ...], in_axis: Axes, out_axis: Axes, batch_axis: Axes) -> Fans:
    """Fans by explicit axes."""
    sides = []
    taken: set[int] = set()
    for what, axes in (("in_axis", in_axis), ("out_axis", out_axis), ("batch_axis", batch_axis)):
        chosen = [axes] if isinstance(axes, int) else list(axes)
        for axis in chosen:
            if not -len(size) <= axis < len(size):
                raise ValueError(f"fans: {what} {axis} is not an axis of shape {size}")
            if axis % len(size) in taken:
                raise ValueError(f"fans: axis {axis} of shape {size} is named twice")
            taken.add(axis % len(size))
        sides.append(math.prod(size[axis] for axis in chosen))
    field = math.prod(length for axis, length in enumerate(size) if axis not in taken)
    return Fans(sides[0] * field, sides[1] * field)
