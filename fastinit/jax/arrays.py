"""JAX arrays that a law fills: on one device, over many, inside a traced function."""

from __future__ import annotations

import contextlib
import math
import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fastinit.address import Shard
from fastinit.fill import fill
from fastinit.floating_point import default_mode, is_default
from fastinit.jax import drawing
from fastinit.laws import Law

Array = np.ndarray[Any, Any]
# JAX's CPU backend takes host memory that begins at a multiple of 64 bytes as it is, and copies any other: 256 MiB in
# 0.4 ms against 470 (2 busy cores, fresh pages). NumPy begins a large array 16 bytes into a page.
ALIGNMENT = 64


def exact(shape: Any) -> tuple[Any, ...]:
    """A shape as Python integers, symbolic dimensions of jax.export as they are; an integer is one dimension."""
    try:
        lengths = tuple(shape)
    except TypeError:
        lengths = (shape,)
    try:
        exact = tuple(n if jax.export.is_symbolic_dim(n) else operator.index(n) for n in lengths)
    except TypeError:
        raise TypeError(f"shape is {shape!r}; pass a tuple of integers, such as (784, 512), or one integer") from None
    if any(isinstance(n, int) and n < 0 for n in exact):
        raise ValueError(f"shape {exact} has a negative entry")
    return exact


def canonical(dtype: Any) -> np.dtype[Any]:
    """The dtype that JAX gives an array for which `dtype` is asked; None is its default float.

    JAX itself is asked, for it warns where it makes float32 of float64.
    """
    found: np.dtype[Any] = jnp.zeros((), dtype).dtype
    return found


def filled(shape: tuple[int, ...], law: Law, dtype: np.dtype[Any], seed: int, name: str | int, shard: Any) -> Array:
    """Host memory that JAX can take as it is, filled."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    array = memory[start : start + size].view(dtype).reshape(shape)
    with contextlib.nullcontext() if is_default() else default_mode(warn=False):  # XLA's threads flush subnormals
        fill(array, law, seed=seed, name=name, shard=shard)
    return array


def new(shape: tuple[int, ...], law: Law, dtype: np.dtype[Any], *, seed: int, name: str | int = "") -> jax.Array:
    """An array on JAX's default device. On the CPU it is the memory that was filled, without a copy.

    Where JAX traces, the draw becomes part of the program: an array would be one of its constants.
    """
    if drawing.is_traced():
        return drawing.drawn(drawing.words_of_seed(seed), shape, law, dtype, name)
    return jax.device_put(filled(shape, law, dtype, seed, name, None))


def sharded(shape: Sequence[int], dtype: Any, law: Law, sharding: Any, *, seed: int, name: str | int) -> jax.Array:
    """A global array of `shape` laid out by `sharding`, each device's block drawn alone and put where it belongs.

    shape     of the whole array
    dtype     float64 (with jax_enable_x64), float32, float16, bfloat16, float8_e4m3fn or float8_e5m2; None is JAX's
              default float. Constants and patterns take every numeric dtype
    law       one of fastinit.laws
    sharding  any jax.sharding.Sharding: a NamedSharding of any mesh, devices of other processes included
    seed, name  the address of the tensor, as in `fastinit.fill`; the same on every process

    The whole array is nowhere in memory, unless a device holds all of it; a block that several devices hold is drawn
    for each. Where JAX traces, under `jit`, the draw is part of the program, laid out by a constraint. Raises what
    `fastinit.fill` and `jax.make_array_from_callback` raise.
    Guarantee: every sharding gives the same bits, those of `fill` on a NumPy array. Orthogonal laws hold it to a
    tolerance, and each block forms its matrix whole (docs/guarantees.md).
    """
    shape, dtype = exact(shape), canonical(dtype)
    if drawing.is_traced():
        return laid_out(drawing.drawn(drawing.words_of_seed(seed), shape, law, dtype, name), sharding)

    def block(index: tuple[slice, ...]) -> Array:
        extents = [part.indices(length) for part, length in zip(index, shape, strict=True)]
        offsets = [start for start, _, _ in extents]
        return filled(tuple(stop - start for start, stop, _ in extents), law, dtype, seed, name, Shard(shape, offsets))

    return jax.make_array_from_callback(shape, concrete(sharding), block, dtype=dtype)


def concrete(sharding: Any) -> Any:
    """A sharding over devices: that of a PartitionSpec, or of an abstract mesh, is over the mesh of the context."""
    spec = sharding if isinstance(sharding, jax.sharding.PartitionSpec) else getattr(sharding, "spec", None)
    if spec is None or isinstance(getattr(sharding, "mesh", None), jax.sharding.Mesh):
        return sharding
    mesh = jax.sharding.get_mesh()
    if mesh.empty:
        raise ValueError(
            f"{sharding} names axes of a mesh, and there is none here; pass a jax.sharding.NamedSharding of a mesh, or "
            "call inside `with jax.set_mesh(mesh):`"
        )
    return jax.sharding.NamedSharding(mesh, spec)


def placement(words: Any) -> Any:
    """Where JAX puts what it computes from a key with these words; None where it is free, on the default device.

    An ambient mesh decides, and a key that is committed to a device or a mesh; JAX itself is asked. Raises its
    ValueError where both speak and differ.
    """
    computed = words | np.uint32(0)
    if not computed.committed:
        return None
    mesh = getattr(computed.sharding, "mesh", None)
    return computed.sharding if mesh is None else jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())


def laid_out(array: jax.Array, sharding: Any) -> jax.Array:
    """The array, traced or not, over the devices of `sharding`; None leaves it where it is."""
    if sharding is None:
        return array
    if not isinstance(array, jax.core.Tracer):
        return jax.device_put(array, concrete(sharding))
    mesh = getattr(sharding, "mesh", None) or jax.sharding.get_abstract_mesh()
    if jax.sharding.AxisType.Explicit in mesh.axis_types:
        return jax.sharding.reshard(array, sharding)
    return jax.lax.with_sharding_constraint(array, sharding)
