"""The fans of a shape as jax.nn.initializers count them, also where an axis is named for two of its parts."""

from __future__ import annotations

import math

from fastinit.address import axes, places_of
from fastinit.fans import Axes, Fans, fans


def fans_of(shape: tuple[int, ...], in_axis: Axes, out_axis: Axes, batch_axis: Axes) -> Fans:
    """Fans by axes; what `fastinit.fans` refuses as named twice is counted by JAX's formula.

    With I, O and B the products of the lengths of the axes of inputs, outputs and copies, and n that of all, the
    receptive field is n / (I O B), fan_in = I n / (I O B) and fan_out = O n / (I O B). Flax's embeddings, (rows, width)
    with in_axis=-2 and out_axis=0, so have fan_in = width, for rows count in both; a fan may be a fraction. Raises
    ValueError, in JAX's words, for a shape of one dimension whose inputs are to be the last but one.
    """
    if len(shape) < 2 and in_axis == -2:
        raise ValueError(
            f"Can't compute input and output sizes of a {len(shape)}-dimensional weights tensor with default in_axis. "
            f"Must be at least 2D or specify in_axis explicitly. The shape is {shape}; fill a bias by a constant"
        )
    places = [
        places_of(axes(given, what), shape, what)
        for what, given in (("in_axis", in_axis), ("out_axis", out_axis), ("batch_axis", batch_axis))
    ]
    if len(set().union(*places)) == sum(map(len, places)) or 0 in shape:
        return fans(shape, in_axis=in_axis, out_axis=out_axis, batch_axis=batch_axis)
    inputs, outputs, copies = (math.prod(shape[axis] for axis in one) for one in places)
    field = math.prod(shape) / inputs / outputs / copies
    return Fans(inputs * field, outputs * field)  # type: ignore[arg-type]
