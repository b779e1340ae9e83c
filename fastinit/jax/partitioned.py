"""A draw inside a compiled function, cut as its result is cut: every device draws its own block and nothing else."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fastinit.jax import foreign

ALL = "devices"  # the one axis of a mesh that is made where a sharding has none


def drawn(words: Any, said: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> jax.Array:
    """The tensors of a batch of keys, traced: `words` is (batch..., words of a key), the result (batch..., *shape).

    `said` is what foreign.encoded says of the tensor.
    """
    if not shape:  # there is nothing to cut
        return _whole(words, said, shape, dtype)
    return _partitioned(words, said, shape, dtype)


def _whole(words: Any, said: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> jax.Array:
    return foreign.call(said, words, jnp.zeros(len(shape), jnp.uint32), (*words.shape[:-1], *shape), dtype)


_partitioned = custom_partitioning(_whole, static_argnums=(1, 2, 3))


def _partition(
    said: str, shape: tuple[int, ...], dtype: np.dtype[Any], mesh: Any, arguments: Any, result: Any
) -> tuple[Any, Any, Any, Any]:
    """How one device draws its part of a result that is laid out in some way: what XLA asks when it cuts a program.

    Every device has the same program, and learns from its place in the mesh which block is its own. Blocks are counted,
    not measured: an offset in elements may be beyond 32 bits.
    """
    sharding, rank = result.sharding, len(result.shape)
    batch = rank - len(shape)
    if isinstance(sharding, NamedSharding):
        mesh = sharding.mesh
        axes = [_axes(entry) for entry in (*sharding.spec, *(None for _ in range(rank - len(sharding.spec))))]
        cuts = [math.prod(mesh.shape[axis] for axis in several) for several in axes]
        of_words = NamedSharding(mesh, PartitionSpec(*sharding.spec[:batch]))

        def numbers() -> jax.Array:
            return jnp.stack([lax.axis_index(several) if several else jnp.int32(0) for several in axes[batch:]])

    else:
        mesh = Mesh(np.array(sharding._device_assignment), (ALL,))
        cuts, table = _numbered(sharding, rank)
        of_words = arguments[0].sharding if batch else NamedSharding(mesh, PartitionSpec())

        def numbers() -> jax.Array:
            return jnp.asarray(table[:, batch:])[lax.axis_index(ALL)]

    block = tuple(-(-n // cut) for n, cut in zip(result.shape, cuts, strict=True))

    def draw(words: Any) -> jax.Array:
        return foreign.call(said, words, numbers().astype(jnp.uint32), block, dtype)

    return mesh, draw, sharding, (of_words,)


def _axes(entry: Any) -> tuple[str, ...]:
    """The axes of the mesh that cut a dimension, the slowest first."""
    return () if entry is None else entry if isinstance(entry, tuple) else (entry,)


def _numbered(sharding: Any, rank: int) -> tuple[list[int], Any]:
    """Into how many blocks each dimension is cut, and which one every device has: of a sharding without a mesh."""
    tiles = sharding._to_xla_hlo_sharding(rank)
    cuts = [1] * rank if tiles.is_replicated() else list(tiles.tile_assignment_dimensions()[:rank])
    places = sharding.devices_indices_map(tuple(cuts))  # of a tensor of so many elements each is a block
    return cuts, np.array([[at.start or 0 for at in places[one]] for one in sharding._device_assignment], np.int32)


def _rule(said: str, shape: tuple[int, ...], dtype: Any, mesh: Any, operands: Any, results: Any) -> Any:
    """For Shardy: the batch is cut as the keys are, a tensor in any way, and a key is never cut."""
    batch = " ".join(f"b{i}" for i in range(operands[0].rank - 1))
    tensor = " ".join(f"t{i}" for i in range(len(shape)))
    return f"{batch} word -> {batch} {tensor}", {"need_replication_factors": ("word",)}


def _as_its_user(said: str, shape: tuple[int, ...], dtype: Any, mesh: Any, user: Any) -> Any:
    """For GSPMD: as what is computed from it is cut."""
    return user.sharding


def _of_keys(said: str, shape: tuple[int, ...], dtype: Any, mesh: Any, arguments: Any, result: Any) -> Any:
    """For GSPMD: from the keys follows nothing, but that a batch is cut as they are."""
    sharding = arguments[0].sharding
    spec = sharding.spec[: len(result.shape) - len(shape)] if isinstance(sharding, NamedSharding) else ()
    return NamedSharding(getattr(sharding, "mesh", mesh), PartitionSpec(*spec))


_partitioned.def_partition(
    _partition, infer_sharding_from_operands=_of_keys, propagate_user_sharding=_as_its_user, sharding_rule=_rule
)
