"""Turn the shape of a weight into the number of inputs and outputs each unit sees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from fastinit.address import axes, integer, places_of
from fastinit.choices import Layout, unknown

LAYOUTS: dict[Layout, str] = {
    "torch": "Linear (out, in) and Conv (out, in / groups, k...), as torch.nn stores them",
    "torch_transposed": "ConvTranspose (in, out / groups, k...)",
    "keras": "Dense (in, out) and Conv (k..., in / groups, out), as Keras, Flax and TensorFlow store them",
    "jax": "the same as keras; with in_axis, out_axis, batch_axis as in jax.nn.initializers.variance_scaling",
    "jax_heads": "a projection into heads (in, heads, width), as Flax's attention stores query, key and value",
    "jax_heads_out": "a projection out of heads (heads, width, out), as Flax's attention stores its output",
    "keras_transposed": "Conv2DTranspose (k..., out, in)",
    "keras_depthwise": "DepthwiseConv (k..., in, multiplier): each output sees one input channel",
    "mlx": "Conv (out, k..., in / groups)",
    "torch_grouped": "Conv (out, in / groups, k...) whose groups must be said",
    "torch_depthwise": "Conv (out, 1, k...): each output sees one input channel; groups: the inputs, by default all",
    "torch_fused": "Linear (groups * out, in): so many equal projections of one input, such as q, k and v",
    "keras_fused": "Dense (in, groups * out): so many equal projections of one input",
    "experts_out_in": "stacked experts (experts, out, in): a Linear of PyTorch each; groups counts projections in out",
    "experts_in_out": "stacked experts (experts, in, out): as they are multiplied; groups counts projections in out",
    "embedding": "a table (vocabulary, width): looked up, not multiplied, so its fan_in is 1",
}
UNGROUPED: tuple[Layout, ...] = ("jax_heads", "jax_heads_out", "keras_depthwise", "embedding")
NEEDS_GROUPS = ("torch_grouped", "torch_fused", "keras_fused")
# What a tensor of three dimensions may be; a guess would be wrong by a factor that nothing shows.
THREE_DIMENSIONS: dict[Layout, str] = {
    "torch": "Conv1d: out, in, k",
    "keras": "Conv1D: k, in, out",
    "experts_out_in": "experts, out, in",
    "experts_in_out": "experts, in, out",
    "jax_heads": "in, heads, width",
    "jax_heads_out": "heads, width, out",
}
Axes = int | Sequence[int]


class Fans(NamedTuple):
    """How many inputs feed one output unit, and how many outputs one input unit feeds."""

    fan_in: int
    fan_out: int


def fans(
    shape: Sequence[int],
    layout: Layout | None = None,
    *,
    groups: int | None = None,
    in_axis: Axes | None = None,
    out_axis: Axes | None = None,
    batch_axis: Axes = (),
) -> Fans:
    """Fans of a weight of `shape`, which is always the shape of the whole tensor, never of a shard.

    layout      a name of fastinit.fans.LAYOUTS: torch (if nothing is said), torch_transposed, torch_grouped,
                torch_depthwise, torch_fused, keras, jax, jax_heads, jax_heads_out, keras_transposed, keras_depthwise,
                keras_fused, mlx, experts_out_in, experts_in_out, embedding
    groups      of a grouped convolution. One output sees in / groups channels and one input feeds out / groups, so a
                depthwise 3 x 3 kernel has fans (9, 9); torch.nn.init reports (9, 9 out), pytorch#23854. Of fused
                layouts and experts, how many equal projections stand in `out`. jax_heads, jax_heads_out,
                keras_depthwise and embedding have none
    in_axis, out_axis
                axes of inputs and outputs, each an axis or several, in place of a layout; the axes left over are the
                receptive field, as in jax.nn.initializers.variance_scaling. Default -2 and -1
    batch_axis  axes of independent copies (experts, heads). With a layout the other axes follow it; without one they
                follow in_axis and out_axis

    Raises ValueError for an unknown layout, one beside in_axis or out_axis (jax goes with them), a shape with too few
    dimensions, channels that `groups` does not divide, groups where the layout has none or none where it needs them;
    TypeError for what is no integer.
    Source: He et al. 2015 (arXiv:1502.01852), section 2.2; the layouts are the frameworks' own.
    """
    size = _exact(shape)
    if layout is not None and layout not in LAYOUTS:
        raise ValueError(unknown("fans: layout", layout, LAYOUTS))
    if groups is not None and integer(groups, "fans: groups") < 1:
        raise ValueError(f"fans: groups is {groups}; it must be at least 1")
    batch = axes(batch_axis, "fans: batch_axis")
    if in_axis is not None or out_axis is not None or (layout is None and batch):
        if layout not in (None, "jax"):
            raise ValueError(f"fans: layout {layout!r} says which axes are which; pass it, or in_axis and out_axis")
        return _by_axes(size, -2 if in_axis is None else in_axis, -1 if out_axis is None else out_axis, batch, groups)
    copies = places_of(batch, size, "fans: batch_axis")
    own = tuple(length for axis, length in enumerate(size) if axis not in copies)
    if len(own) < 2:
        beside = f" and batch_axis {batch_axis}" if copies else ""
        raise ValueError(
            f"fans: a tensor of shape {size}{beside} has no fan_in and fan_out; pass them, or fill a bias by a constant"
        )
    return _by_layout(own, layout or "torch", groups)


def _by_layout(size: tuple[int, ...], layout: Layout, groups: int | None) -> Fans:
    """Fans of one copy."""
    if layout in UNGROUPED and groups not in (None, 1):
        raise ValueError(f"fans: layout {layout!r} has no groups, and groups is {groups}; leave it out")
    if layout in NEEDS_GROUPS and groups is None:
        raise ValueError(f"fans: layout {layout!r} needs groups: {LAYOUTS[layout]}")
    if layout.startswith("experts") and len(size) != 3:
        raise ValueError(
            f"fans: layout {layout!r} is {LAYOUTS[layout].partition(':')[0]}, and the shape is {size}; pass one of "
            "three dimensions, or name the others by batch_axis"
        )
    if layout == "embedding":
        return Fans(1, size[-1])
    if layout == "torch_depthwise":
        if size[1] != 1:
            raise ValueError(f"fans: shape {size} is not depthwise: its second dimension is {size[1]}, and must be 1")
        groups = size[0] if groups is None else groups
    # `first` counts all channels of its side, `second` those of one group.
    if layout == "experts_out_in":
        first, second, field = size[1], size[2], 1
    elif layout == "experts_in_out":
        first, second, field = size[2], size[1], 1
    elif layout == "jax_heads":
        first, second, field = math.prod(size[1:]), size[0], 1
    elif layout == "jax_heads_out":
        first, second, field = size[-1], math.prod(size[:-1]), 1
    elif layout.startswith("torch"):
        first, second, field = size[0], size[1], math.prod(size[2:])
    elif layout == "mlx":
        first, second, field = size[0], size[-1], math.prod(size[1:-1])
    else:
        first, second, field = size[-1], size[-2], math.prod(size[:-2])
    if layout == "keras_depthwise":
        return Fans(field, first * field)
    share = _share(first, groups, size)
    if layout.endswith("transposed"):
        return Fans(share * field, second * field)
    return Fans(second * field, share * field)


def _share(channels: int, groups: int | None, size: tuple[int, ...]) -> int:
    """The channels of one group."""
    if groups is None:
        return channels
    if channels % groups:
        raise ValueError(f"fans: {channels} channels of shape {size} do not divide into {groups} groups")
    return channels // groups


def _exact(shape: Sequence[int]) -> tuple[int, ...]:
    try:
        size = tuple(integer(length, "an entry of shape") for length in shape)
    except TypeError:
        raise TypeError(f"fans: shape is {shape!r}; pass a tuple of integers") from None
    if any(length < 0 for length in size):
        raise ValueError(f"fans: shape {size} has a negative entry")
    return size


def _by_axes(
    size: tuple[int, ...], in_axis: Axes, out_axis: Axes, batch_axis: tuple[int, ...], groups: int | None
) -> Fans:
    """Fans by explicit axes."""
    sides = []
    taken: set[int] = set()
    for what, given in (("in_axis", in_axis), ("out_axis", out_axis), ("batch_axis", batch_axis)):
        chosen = axes(given, f"fans: {what}")
        for axis, place in zip(chosen, places_of(chosen, size, f"fans: {what}"), strict=True):
            if place in taken:
                raise ValueError(f"fans: axis {axis} of shape {size} is named twice")
            taken.add(place)
        sides.append(math.prod(size[axis] for axis in chosen))
    field = math.prod(length for axis, length in enumerate(size) if axis not in taken)
    return Fans(sides[0] * field, _share(sides[1], groups, size) * field)
