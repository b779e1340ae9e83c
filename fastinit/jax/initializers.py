"""jax.nn.initializers, name for name and default for default, drawn by fastinit: the same laws, other values.

    init = fastinit.jax.initializers.he_normal()
    weights = init(jax.random.key(0), (784, 512))

The seed comes from the key, as `fastinit.jax.seed_of` says, and the name is empty: the values are those of
`fastinit.fill` with that seed. Complex dtypes have JAX's laws: variance counts both parts, a uniform law is one on a
disc, a truncated one cut by the modulus, an orthogonal matrix unitary.

A scale may be traced or an array, under jit, vmap and grad: then what is drawn with scale 1 is multiplied by it in
float32 (float64 where that is drawn). A scale below 0 draws what its magnitude draws, negated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np

import fastinit
from fastinit import schemes, structures
from fastinit.address import axes
from fastinit.choices import Distribution, Mode
from fastinit.engines.gaussian import truncated_std
from fastinit.fans import Axes, Fans
from fastinit.jax import arrays, drawing, scaled
from fastinit.jax.counting import fans_of
from fastinit.jax.keys import seed_of_words, words_of
from fastinit.laws import ComplexTruncatedNormal, Constant, Law, TruncatedNormal
from fastinit.laws.law import real

# What jax.nn.initializers takes for the std of a complex normal of std 1 that is cut at 2.
JAX_COMPLEX_STD = 0.95311164380491208
MODES = get_args(Mode)


@dataclass(frozen=True)
class Initializer:
    """What draws a weight: `init(key, shape, dtype=None, out_sharding=None)`, as the initialisers of JAX.

    law          shape -> the law of a tensor of that shape
    dtype        where a call names none; None is JAX's default float
    column_axis  the axis of the tensor that its law takes for the last
    factor       what the draw of the law is multiplied by; None is 1
    units        the mode and the axes by which the law counts fans, for symbolic dimensions; None where it does not

    Outside of a transformation the host draws, and the array lies where JAX's own would: on the mesh of the context,
    where the key is committed, else on the default device. With `out_sharding`, a NamedSharding or PartitionSpec, it
    lies on the devices of a mesh, each block drawn alone. Under jit, scan and vmap the draw is part of the program, as
    fastinit.jax.drawn_by says; eval_shape and make_jaxpr draw nothing. The key is one key, old or new, and used up;
    constants do not look at it. `shape` is a tuple, or an integer for one dimension. Dtypes are those of `fill` and the
    other float8 of JAX. Raises TypeError or ValueError for what is no key, for a batch of keys, for a dtype or a shape
    that the law cannot have.
    Guarantee: the bits depend on key, shape, dtype and law; not on jit, vmap, devices or sharding.
    """

    law: Callable[[tuple[int, ...]], Law]
    dtype: Any = None
    column_axis: int = -1
    factor: Any = None
    units: tuple[str, Axes, Axes, Axes] | None = None

    def __call__(self, key: Any, shape: Any, dtype: Any = None, out_sharding: Any = None) -> jax.Array:
        """Draw an array of `shape` with the seed of `key`."""
        shape = arrays.exact(shape)
        dtype = arrays.canonical(self.dtype if dtype is None else dtype)
        if self.units is not None and not all(isinstance(n, int) for n in shape):
            law = self.law((1, 1))
            law = _as_jax_cuts(law) if dtype.kind == "c" else law
            return _drawn(key, shape, law, dtype, out_sharding, self._symbolic_factor(shape))
        if self.column_axis in (-1, len(shape) - 1):
            law = self.law(shape)
            if dtype.kind == "c" and self.units is not None:
                law = _as_jax_cuts(law)
            return _drawn(key, shape, law, dtype, out_sharding, self.factor)
        if out_sharding is not None:
            raise NotImplementedError(
                f"out_sharding with column_axis={self.column_axis}; make the last axis the columns"
            )
        others = [*shape]
        others.append(others.pop(self.column_axis))
        moved = tuple(others)
        return jnp.moveaxis(_drawn(key, moved, self.law(moved), dtype, None, self.factor), -1, self.column_axis)

    def _symbolic_factor(self, shape: tuple[Any, ...]) -> Any:
        """Of a law whose fans are both 1, where they are known only when the program runs."""
        mode, *several = self.units  # type: ignore[misc]
        of_inputs, of_outputs, of_batch = (axes(one, "an axis") for one in several)

        def product(places: Iterable[int]) -> jax.Array:
            found = jnp.float32(1)
            for place in places:
                found = found * jnp.asarray(shape[place]).astype(jnp.float32)
            return found

        field = product(range(len(shape))) / product(of_inputs) / product(of_outputs) / product(of_batch)
        factor = jnp.sqrt(1 / _units(mode, product(of_inputs) * field, product(of_outputs) * field))
        return factor if self.factor is None else self.factor * factor


def _drawn(key: Any, shape: tuple[Any, ...], law: Law, dtype: Any, out_sharding: Any, factor: Any) -> jax.Array:
    if isinstance(law, Constant):
        value = fastinit.new((), law, dtype=dtype.name) if factor is None else factor
        return arrays.laid_out(jnp.full(shape, value, dtype), out_sharding)
    words = words_of(key)
    drawn_in = scaled.drawn_in(dtype, factor)
    if isinstance(words, jax.core.Tracer) or not all(isinstance(n, int) for n in shape):
        values = drawing.drawn(words, shape, law, drawn_in)
        return arrays.laid_out(scaled.finished(values, law, dtype, factor), out_sharding)
    seed = seed_of_words(words)
    sharding = arrays.placement(words) if out_sharding is None else out_sharding
    if sharding is None:
        values = arrays.new(shape, law, drawn_in, seed=seed)
    else:
        values = arrays.sharded(shape, drawn_in, law, sharding, seed=seed, name="")
    return scaled.finished(values, law, dtype, factor)


def _as_jax_cuts(law: Law) -> Law:
    """A law by fans for complex numbers; a truncated one widened as JAX widens it, for 0.9531 where 0.9620 is exact."""
    if not isinstance(law, TruncatedNormal):
        return law
    parent_std = law.parent_std * truncated_std(2.0) / JAX_COMPLEX_STD
    return ComplexTruncatedNormal(parent_std, 2.0 * parent_std)


def _scale(value: Any, what: str) -> tuple[float, Any]:
    """The scale of a law, not negative, and what its draw is multiplied by: what is traced, an array, a sign."""
    if isinstance(value, jax.core.Tracer) or np.ndim(value) > 0:
        return 1.0, value
    number = real(value, what)
    return (-number, -1.0) if number < 0 else (number, None)


# --- without fans -----------------------------------------------------------------------------------------------------


def constant(value: Any, dtype: Any = None) -> Initializer:
    """Every element is `value`: a number, or an array, traced or not, that is broadcast to the shape."""
    if isinstance(value, jax.core.Tracer) or np.ndim(value) > 0:
        return Initializer(lambda shape: schemes.constant(1), dtype, factor=value)
    return Initializer(lambda shape: schemes.constant(value), dtype)


zeros = constant(0)
ones = constant(1)


def uniform(scale: Any = 1e-2, dtype: Any = None) -> Initializer:
    """Uniform on [0, scale): not symmetric, as in JAX. A scale of 0 gives zeros, one below 0 values in (scale, 0]."""
    size, factor = _scale(scale, "uniform: scale")
    return Initializer(lambda shape: schemes.uniform(0.0, size) if size else Constant(0.0), dtype, factor=factor)


def normal(stddev: Any = 1e-2, dtype: Any = None) -> Initializer:
    """Normal of mean 0 and standard deviation `stddev`."""
    size, factor = _scale(stddev, "normal: stddev")
    return Initializer(lambda shape: schemes.normal(0.0, size), dtype, factor=factor)


def truncated_normal(stddev: Any = 1e-2, dtype: Any = None, lower: Any = -2.0, upper: Any = 2.0) -> Initializer:
    """Normal of mean 0, cut to [lower, upper] times `stddev`, which is that of the normal before the cut."""
    size, factor = _scale(stddev, "truncated_normal: stddev")
    return Initializer(lambda shape: schemes.truncated_normal(0.0, size, sigmas=(lower, upper)), dtype, factor=factor)


# --- by fans ----------------------------------------------------------------------------------------------------------


def variance_scaling(
    scale: Any,
    mode: Mode,
    distribution: Distribution,
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
    scale         may be traced: then its square root is taken in float32

    Raises ValueError for another mode or distribution and, at the call, for axes that the shape does not have.
    """
    if mode not in MODES:
        raise ValueError(f"variance_scaling: mode is {mode!r}; it can be {', '.join(MODES)}")

    traced = isinstance(scale, jax.core.Tracer)
    size = 1.0 if traced else real(scale, "variance_scaling: scale")

    def law(both: Fans) -> Law:
        if size == 0:
            return Constant(0.0)
        return schemes.variance_scaling(size, _units(mode, *both), distribution=distribution)

    return _by_fans(law, mode, in_axis, out_axis, batch_axis, dtype, factor=jnp.sqrt(scale) if traced else None)


def _units(mode: str, fan_in: Any, fan_out: Any) -> Any:
    """What the variance is divided by."""
    if mode == "fan_geo_avg":
        return math.sqrt(fan_in * fan_out) if isinstance(fan_in, (int, float)) else jnp.sqrt(fan_in * fan_out)
    return {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]


def _by_fans(
    law: Callable[[Fans], Law],
    mode: str,
    in_axis: Axes,
    out_axis: Axes,
    batch_axis: Axes,
    dtype: Any,
    factor: Any = None,
) -> Initializer:
    """The initialiser whose law follows from the fans of the shape; of fans of 1, it is to be divided by the root."""
    return Initializer(
        lambda shape: law(fans_of(shape, in_axis, out_axis, batch_axis)),
        dtype,
        factor=factor,
        units=(mode, in_axis, out_axis, batch_axis),
    )


def glorot_uniform(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None) -> Initializer:
    """Uniform on (-a, a) with a = sqrt(6 / (fan_in + fan_out))."""
    return _by_fans(lambda both: schemes.xavier_uniform(*both), "fan_avg", in_axis, out_axis, batch_axis, dtype)


def glorot_normal(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None) -> Initializer:
    """Truncated normal with std = sqrt(2 / (fan_in + fan_out)) after the cut at 2 standard deviations."""
    return _by_fans(
        lambda both: schemes.xavier_normal(*both, truncated=True), "fan_avg", in_axis, out_axis, batch_axis, dtype
    )


def lecun_uniform(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None) -> Initializer:
    """Uniform on (-a, a) with a = sqrt(3 / fan_in)."""
    return _by_fans(lambda both: schemes.lecun_uniform(both.fan_in), "fan_in", in_axis, out_axis, batch_axis, dtype)


def lecun_normal(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None) -> Initializer:
    """Truncated normal with std = sqrt(1 / fan_in) after the cut at 2 standard deviations."""
    return _by_fans(
        lambda both: schemes.lecun_normal(both.fan_in, truncated=True), "fan_in", in_axis, out_axis, batch_axis, dtype
    )


def he_uniform(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None) -> Initializer:
    """Uniform on (-a, a) with a = sqrt(6 / fan_in)."""
    return _by_fans(lambda both: schemes.he_uniform(both.fan_in), "fan_in", in_axis, out_axis, batch_axis, dtype)


def he_normal(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None) -> Initializer:
    """Truncated normal with std = sqrt(2 / fan_in) after the cut at 2 standard deviations."""
    return _by_fans(
        lambda both: schemes.he_normal(both.fan_in, truncated=True), "fan_in", in_axis, out_axis, batch_axis, dtype
    )


xavier_uniform, xavier_normal = glorot_uniform, glorot_normal
kaiming_uniform, kaiming_normal = he_uniform, he_normal


# --- orthogonal -------------------------------------------------------------------------------------------------------


def orthogonal(scale: Any = 1.0, column_axis: int = -1, dtype: Any = None) -> Initializer:
    """`scale` times a Haar-distributed matrix whose columns are `column_axis` and whose rows all other axes.

    Its columns are orthonormal if they are the fewer, else its rows. Raises ValueError, at the call, below rank 2.
    """
    size, factor = _scale(scale, "orthogonal: scale")
    return Initializer(lambda shape: structures.orthogonal(size, flatten="jax"), dtype, column_axis, factor)


def delta_orthogonal(scale: Any = 1.0, column_axis: int = -1, dtype: Any = None) -> Initializer:
    """A convolution (k..., in, out), out >= in, zero but for `scale` times an orthogonal matrix at its centre.

    Which of the matrix' two axes is `column_axis` changes nothing in its law, which is Haar's either way.
    """
    return Initializer(lambda shape: structures.delta_orthogonal(scale, layout="keras"), dtype)
