"""jax.nn.initializers, name for name and default for default, drawn by fastinit: the same laws, other values.

    init = fastinit.jax.initializers.he_normal()
    weights = init(jax.random.key(0), (784, 512))

The seed comes from the key, as `fastinit.jax.seed_of` says, and the name is empty: the values are those of
`fastinit.fill` with that seed. Other than in JAX a complex dtype is refused by what draws, and `constant` takes one
number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import fastinit
from fastinit import schemes, structures
from fastinit.fans import Axes, Fans
from fastinit.jax import arrays
from fastinit.jax.counting import fans_of
from fastinit.jax.keys import seed_of_words, words_of
from fastinit.jax.record.marks import is_recording, mark
from fastinit.laws import Constant, Law

MODES = ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")


@dataclass(frozen=True)
class Initializer:
    """What draws a weight: `init(key, shape, dtype=None, out_sharding=None)`, as the initialisers of JAX.

    law          shape -> the law of a tensor of that shape
    dtype        where a call names none; None is JAX's default float
    column_axis  the axis of the tensor that its law takes for the last

    A call draws on the host. Outside of a transformation the array lies on JAX's default device or, with
    `out_sharding`, a NamedSharding or PartitionSpec, on the devices of a mesh, each block drawn alone. Under jit, scan
    and vmap a callback draws the whole array when the compiled function runs; eval_shape and make_jaxpr draw nothing.
    The key is one key, old or new; constants do not look at it. Raises TypeError or ValueError for what is no key,
    for a batch of keys, for a dtype or a shape that the law cannot have.
    Guarantee: the bits depend on key, shape, dtype and law; not on jit, vmap, devices or sharding.
    """

    law: Callable[[tuple[int, ...]], Law]
    dtype: Any = None
    column_axis: int = -1

    def __call__(self, key: Any, shape: Sequence[int], dtype: Any = None, out_sharding: Any = None) -> jax.Array:
        """Draw an array of `shape` with the seed of `key`."""
        shape = arrays.exact(shape)
        dtype = arrays.canonical(self.dtype if dtype is None else dtype)
        if self.column_axis in (-1, len(shape) - 1):
            return _drawn(key, shape, self.law(shape), dtype, out_sharding)
        if out_sharding is not None:
            raise NotImplementedError(
                f"out_sharding with column_axis={self.column_axis}; make the last axis the columns"
            )
        others = [*shape]
        others.append(others.pop(self.column_axis))
        moved = tuple(others)
        return jnp.moveaxis(_drawn(key, moved, self.law(moved), dtype, None), -1, self.column_axis)


def _drawn(key: Any, shape: tuple[int, ...], law: Law, dtype: Any, out_sharding: Any) -> jax.Array:
    if isinstance(law, Constant):
        value = fastinit.new((), law, dtype=dtype.name)
        return arrays.laid_out(jnp.full(shape, value, dtype), out_sharding)
    words = words_of(key)
    if is_recording():
        return arrays.laid_out(mark(words, law, shape, dtype), out_sharding)
    if isinstance(words, jax.core.Tracer):
        return arrays.laid_out(arrays.traced(words, shape, law, dtype), out_sharding)
    seed = seed_of_words(words)
    if out_sharding is None:
        return arrays.new(shape, law, dtype, seed=seed)
    return arrays.sharded(shape, dtype, law, out_sharding, seed=seed, name="")


# --- without fans -----------------------------------------------------------------------------------------------------


def constant(value: Any, dtype: Any = None) -> Initializer:
    """Every element is `value`, one number."""
    return Initializer(lambda shape: schemes.constant(value), dtype)


zeros = constant(0)
ones = constant(1)


def uniform(scale: Any = 1e-2, dtype: Any = None) -> Initializer:
    """Uniform on [0, scale): not symmetric, as in JAX."""
    return Initializer(lambda shape: schemes.uniform(0.0, scale), dtype)


def normal(stddev: Any = 1e-2, dtype: Any = None) -> Initializer:
    """Normal of mean 0 and standard deviation `stddev`."""
    return Initializer(lambda shape: schemes.normal(0.0, stddev), dtype)


def truncated_normal(stddev: Any = 1e-2, dtype: Any = None, lower: Any = -2.0, upper: Any = 2.0) -> Initializer:
    """Normal of mean 0, cut to [lower, upper] times `stddev`, which is that of the normal before the cut."""
    return Initializer(lambda shape: schemes.truncated_normal(0.0, stddev, sigmas=(lower, upper)), dtype)


# --- by fans ----------------------------------------------------------------------------------------------------------


def variance_scaling(
    scale: Any,
    mode: str,
    distribution: str,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: Any = None,
) -> Initializer:
    """Mean 0 and variance scale / n.

    mode          what n is: "fan_in", "fan_out", "fan_avg" (their mean) or "fan_geo_avg" (their geometric mean)
    distribution  "truncated_normal" (at 2 standard deviations, corrected so that the variance is that of the result),
                  "normal" or "uniform"
    in_axis, out_axis, batch_axis
                  the axes of inputs, outputs and independent copies, each one or several; all others are the receptive
                  field, which counts in both fans. An axis may be named for two, as in Flax's embeddings
                  (out_axis=0): the field is then what is left of the number of elements, a fraction

    Raises ValueError for another mode or distribution and, at the call, for axes that the shape does not have.
    """
    if mode not in MODES:
        raise ValueError(f"variance_scaling: mode is {mode!r}; it can be {', '.join(MODES)}")

    def law(both: Fans) -> Law:
        return schemes.variance_scaling(scale, _units(mode, *both), distribution=distribution)

    return _by_fans(law, in_axis, out_axis, batch_axis, dtype)


def _units(mode: str, fan_in: int, fan_out: int) -> float:
    """What the variance is divided by."""
    if mode == "fan_geo_avg":
        return math.sqrt(fan_in * fan_out)
    return {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]


def _by_fans(law: Callable[[Fans], Law], in_axis: Axes, out_axis: Axes, batch_axis: Axes, dtype: Any) -> Initializer:
    """The initialiser whose law follows from the fans of the shape."""
    return Initializer(lambda shape: law(fans_of(shape, in_axis, out_axis, batch_axis)), dtype)


def glorot_uniform(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None) -> Initializer:
    """Uniform on (-a, a) with a = sqrt(6 / (fan_in + fan_out))."""
    return _by_fans(lambda both: schemes.xavier_uniform(*both), in_axis, out_axis, batch_axis, dtype)


def glorot_normal(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None) -> Initializer:
    """Truncated normal with std = sqrt(2 / (fan_in + fan_out)) after the cut at 2 standard deviations."""
    return _by_fans(lambda both: schemes.xavier_normal(*both, truncated=True), in_axis, out_axis, batch_axis, dtype)


def lecun_uniform(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None) -> Initializer:
    """Uniform on (-a, a) with a = sqrt(3 / fan_in)."""
    return _by_fans(lambda both: schemes.lecun_uniform(both.fan_in), in_axis, out_axis, batch_axis, dtype)


def lecun_normal(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None) -> Initializer:
    """Truncated normal with std = sqrt(1 / fan_in) after the cut at 2 standard deviations."""
    return _by_fans(
        lambda both: schemes.lecun_normal(both.fan_in, truncated=True), in_axis, out_axis, batch_axis, dtype
    )


def he_uniform(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None) -> Initializer:
    """Uniform on (-a, a) with a = sqrt(6 / fan_in)."""
    return _by_fans(lambda both: schemes.he_uniform(both.fan_in), in_axis, out_axis, batch_axis, dtype)


def he_normal(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None) -> Initializer:
    """Truncated normal with std = sqrt(2 / fan_in) after the cut at 2 standard deviations."""
    return _by_fans(lambda both: schemes.he_normal(both.fan_in, truncated=True), in_axis, out_axis, batch_axis, dtype)


xavier_uniform, xavier_normal = glorot_uniform, glorot_normal
kaiming_uniform, kaiming_normal = he_uniform, he_normal


# --- orthogonal -------------------------------------------------------------------------------------------------------


def orthogonal(scale: Any = 1.0, column_axis: int = -1, dtype: Any = None) -> Initializer:
    """`scale` times a Haar-distributed matrix whose columns are `column_axis` and whose rows all other axes.

    Its columns are orthonormal if they are the fewer, else its rows. Raises ValueError, at the call, below rank 2.
    """
    return Initializer(lambda shape: structures.orthogonal(scale, flatten="jax"), dtype, column_axis)


def delta_orthogonal(scale: Any = 1.0, column_axis: int = -1, dtype: Any = None) -> Initializer:
    """A convolution (k..., in, out), out >= in, zero but for `scale` times an orthogonal matrix at its centre.

    Which of the matrix' two axes is `column_axis` changes nothing in its law, which is Haar's either way.
    """
    return Initializer(lambda shape: structures.delta_orthogonal(scale, layout="keras"), dtype)
