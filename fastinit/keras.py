"""Keras 3 initialisers of the same names, drawn by fastinit: the same laws, other values, on every backend.

    keras.layers.Dense(512, kernel_initializer=fastinit.keras.HeNormal())
    keras.layers.Dense(512, kernel_initializer="fastinit>HeNormal")       # once fastinit.keras has been imported

Each class is a subclass of Keras' own, with its arguments, its checks and its configuration; what it draws is ours.
Those that draw take a `name` besides, and mean by `seed`:

    None             every call draws a fresh seed from Python's `random`, which keras.utils.set_random_seed seeds: two
                     layers that share one initialiser get different weights, the same ones after the same
                     set_random_seed. (Keras' own class would give both the same.)
    an integer       in [0, 2^64): every call gives what `fastinit.fill` draws with this seed and `name`. Layers that
                     share such an initialiser get the same weights (the smaller the beginning of the larger): that is
                     what was asked for. For different ones give each its own `name`.
    a SeedGenerator  every call takes the next state: its two words (high, low) are the seed high * 2^32 + low. Inside a
                     function that JAX or TensorFlow traces they are those of the run, and the host draws then.

Every class takes `layout`, a keras.distribution.TensorLayout or a sharding of JAX: then each device draws its own block
and nothing else, also where Keras passes it, under keras.distribution.ModelParallel and DataParallel.

Importing this module imports Keras and registers the classes under the package "fastinit", by which saved models name
them: import it before loading one. Importing fastinit does neither. Needs `pip install 'fastinit-kernels[keras]'` and a
backend: JAX, PyTorch or TensorFlow. docs/frameworks.md shows it at work.
"""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import initializers

import fastinit
from fastinit import laws, schemes, structures
from fastinit.choices import Distribution
from fastinit.dtypes import storage_dtype
from fastinit.fans import Fans, fans
from fastinit.floating_point import default_mode, is_default

_registered = keras.saving.register_keras_serializable(package="fastinit")


# A stranger to Keras' own classes, which Keras takes where ours are not registered; its error then says what to do.
HINT = "import fastinit.keras before loading this model"
MARTENS = 15  # incoming weights a unit (Martens 2010, section 5)


class _Filled:
    """Mixed into a class of Keras: the call fills a tensor with the law of its shape."""

    def law(self, shape: tuple[int, ...]) -> laws.Law:
        """The law of a tensor of this shape."""
        raise NotImplementedError

    def __call__(self, shape: Sequence[int], dtype: Any = None, layout: Any = None) -> Any:
        """Draw a tensor of `shape`, of `dtype` or else keras.config.floatx(), over the devices of `layout`."""
        return _tensor(tuple(shape), self.law(tuple(shape)), dtype, (0, 0), "", layout)


class _Drawn(_Filled):
    """Mixed into a class of Keras that draws: seed and name give the address."""

    seed: Any

    def __init__(self, *args: Any, name: str | int = "", **kwargs: Any) -> None:
        kwargs.pop(HINT, None)
        super().__init__(*args, **kwargs)
        self.name = name
        # Keras fixes a seed where it is given none, so that every call would draw the same values.
        self.seed = None if self.get_config()["seed"] is None else self.seed

    def __call__(self, shape: Sequence[int], dtype: Any = None, layout: Any = None) -> Any:
        """Draw a tensor of `shape`, of `dtype` or else keras.config.floatx(), over the devices of `layout`."""
        return _tensor(tuple(shape), self.law(tuple(shape)), dtype, self._next_words(), self.name, layout)

    def _next_words(self) -> Any:
        """High and low word of the seed of this call: two integers, or a tensor that is traced."""
        if isinstance(self.seed, keras.random.SeedGenerator):
            state = self.seed.next()
            return state if _is_traced(state) else tuple(int(word) & 0xFFFFFFFF for word in state)
        seed = random.getrandbits(64) if self.seed is None else int(self.seed)
        return seed >> 32, seed & 0xFFFFFFFF

    def get_config(self) -> dict[str, Any]:
        """The arguments, as Keras saves them."""
        return {**super().get_config(), HINT: True, "name": self.name}  # type: ignore[misc]


class _Scaled(_Drawn):
    """Mixed into a class of Keras whose law follows from the fans of the shape."""

    input_axes: Sequence[int] | None = None
    output_axes: Sequence[int] | None = None

    def fans(self, shape: tuple[int, ...]) -> Fans:
        """As Keras counts: a vector of n has n inputs and n outputs, and nothing has fewer than one."""
        if self.input_axes is not None and self.output_axes is not None:
            fan_in, fan_out = (math.prod(shape[axis] for axis in axes) for axes in (self.input_axes, self.output_axes))
        elif len(shape) < 2:
            fan_in = fan_out = math.prod(shape)
        else:
            fan_in, fan_out = fans(shape, "keras")
        return Fans(max(1, fan_in), max(1, fan_out))


# --- constants --------------------------------------------------------------------------------------------------------


@_registered
class Zeros(_Filled, initializers.Zeros):
    """Zeros."""

    def law(self, shape: tuple[int, ...]) -> laws.Law:
        """Constant(0)."""
        return schemes.zeros()


@_registered
class Ones(_Filled, initializers.Ones):
    """Ones."""

    def law(self, shape: tuple[int, ...]) -> laws.Law:
        """Constant(1)."""
        return schemes.ones()


@_registered
class Constant(_Filled, initializers.Constant):
    """Constant(value=0.0): one number everywhere, or an array that is broadcast to the shape."""

    def law(self, shape: tuple[int, ...]) -> laws.Law:
        """Constant(value), or Given of the array."""
        if not _has_axes(self.value):
            return schemes.constant(self.value)
        return laws.Given.of(np.broadcast_to(np.asarray(keras.ops.convert_to_numpy(self.value)), shape))

    def __call__(self, shape: Sequence[int], dtype: Any = None, layout: Any = None) -> Any:
        """The constant tensor of `shape`, of `dtype` or else keras.config.floatx(), over the devices of `layout`."""
        if not _has_axes(self.value):
            return super().__call__(shape, dtype, layout)
        return _laid_out(super(_Filled, self).__call__(tuple(shape), dtype), layout)


def _has_axes(value: Any) -> bool:
    """Whether a constant is an array, and not one number."""
    return isinstance(value, (list, tuple)) or len(getattr(value, "shape", ())) > 0


@_registered
class STFT(initializers.STFT):
    """STFT(side="real", window="hann", scaling="density", periodic=False): Keras' own, which draws nothing."""

    def __call__(self, shape: Sequence[int], dtype: Any = None, layout: Any = None) -> Any:
        """The kernel of Keras, over the devices of `layout`."""
        return _laid_out(super().__call__(tuple(shape), dtype), layout)


@_registered
class Identity(_Filled, initializers.Identity):
    """Identity(gain=1.0): `gain` on the diagonal of a matrix, zeros elsewhere."""

    def law(self, shape: tuple[int, ...]) -> laws.Law:
        """Identity(gain)."""
        return structures.identity(self.gain)


# --- without fans -----------------------------------------------------------------------------------------------------


@_registered
class RandomNormal(_Drawn, initializers.RandomNormal):
    """RandomNormal(mean=0.0, stddev=0.05, seed=None, name=""): normal."""

    def law(self, shape: tuple[int, ...]) -> laws.Law:
        """Normal(mean, stddev)."""
        return schemes.normal(self.mean, self.stddev)


@_registered
class TruncatedNormal(_Drawn, initializers.TruncatedNormal):
    """TruncatedNormal(mean=0.0, stddev=0.05, seed=None, name=""): cut at 2 `stddev`, which is that before the cut."""

    def law(self, shape: tuple[int, ...]) -> laws.Law:
        """A normal of mean and stddev cut to [-2, 2] stddev about the mean; its own std is 0.88 stddev, as in Keras."""
        return schemes.truncated_normal(self.mean, self.stddev)


@_registered
class RandomUniform(_Drawn, initializers.RandomUniform):
    """RandomUniform(minval=-0.05, maxval=0.05, seed=None, name=""): uniform on [minval, maxval)."""

    def law(self, shape: tuple[int, ...]) -> laws.Law:
        """Uniform(minval, maxval)."""
        return schemes.uniform(self.minval, self.maxval)


# --- by fans ----------------------------------------------------------------------------------------------------------


@_registered
class VarianceScaling(_Scaled, initializers.VarianceScaling):
    """VarianceScaling(scale=1.0, mode="fan_in", distribution="truncated_normal", seed=None, name="").

    Mean 0 and variance scale / n, with n the fan_in, fan_out or fan_avg. "truncated_normal" and "normal" are cut at 2
    standard deviations and corrected, so that the variance is that of the result; "untruncated_normal"; "uniform".
    """

    def law(self, shape: tuple[int, ...]) -> laws.Law:
        """Of variance scale / n."""
        fan_in, fan_out = self.fans(shape)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        kind: Distribution = "normal" if self.distribution == "untruncated_normal" else self.distribution
        return schemes.variance_scaling(self.scale, fan, distribution=kind)


@_registered
class GlorotUniform(_Scaled, initializers.GlorotUniform):
    """GlorotUniform(seed=None, name=""): uniform on (-a, a) with a = sqrt(6 / (fan_in + fan_out))."""

    def law(self, shape: tuple[int, ...]) -> laws.Law:
        """Uniform(-a, a)."""
        return schemes.xavier_uniform(*self.fans(shape))


@_registered
class GlorotNormal(_Scaled, initializers.GlorotNormal):
    """GlorotNormal(seed=None, name=""): std = sqrt(2 / (fan_in + fan_out)) after the cut at 2 standard deviations."""

    def law(self, shape: tuple[int, ...]) -> laws.Law:
        """A truncated normal of that std."""
        return schemes.xavier_normal(*self.fans(shape), truncated=True)


@_registered
class LecunUniform(_Scaled, initializers.LecunUniform):
    """LecunUniform(seed=None, name=""): uniform on (-a, a) with a = sqrt(3 / fan_in)."""

    def law(self, shape: tuple[int, ...]) -> laws.Law:
        """Uniform(-a, a)."""
        return schemes.lecun_uniform(self.fans(shape).fan_in)


@_registered
class LecunNormal(_Scaled, initializers.LecunNormal):
    """LecunNormal(seed=None, name=""): std = sqrt(1 / fan_in) after the cut at 2 standard deviations."""

    def law(self, shape: tuple[int, ...]) -> laws.Law:
        """A truncated normal of that std."""
        return schemes.lecun_normal(self.fans(shape).fan_in, truncated=True)


@_registered
class HeUniform(_Scaled, initializers.HeUniform):
    """HeUniform(seed=None, name=""): uniform on (-a, a) with a = sqrt(6 / fan_in)."""

    def law(self, shape: tuple[int, ...]) -> laws.Law:
        """Uniform(-a, a)."""
        return schemes.he_uniform(self.fans(shape).fan_in)


@_registered
class HeNormal(_Scaled, initializers.HeNormal):
    """HeNormal(seed=None, name=""): std = sqrt(2 / fan_in) after the cut at 2 standard deviations."""

    def law(self, shape: tuple[int, ...]) -> laws.Law:
        """A truncated normal of that std."""
        return schemes.he_normal(self.fans(shape).fan_in, truncated=True)


# --- structured -------------------------------------------------------------------------------------------------------


@_registered
class Orthogonal(_Drawn, initializers.Orthogonal):
    """Orthogonal(gain=1.0, seed=None, name=""): `gain` times a Haar-distributed matrix, half types included.

    All axes but the last are its rows, as in Keras; orthonormal are the rows or the columns, whichever are fewer.
    """

    def law(self, shape: tuple[int, ...]) -> laws.Law:
        """Orthogonal(gain, flatten="jax")."""
        return structures.orthogonal(self.gain, flatten="jax")


@_registered
class Sparse(_Drawn, initializers.RandomNormal):
    """Normal values of which exactly so many are zero on every line along `axis`; Keras has no such initialiser.

    sparsity      share of zeros, in [0, 1]: ceil(sparsity n) of the n elements of a line
    nonzeros      survivors on a line, instead; 15 where neither is given, as of "fastinit>Sparse": Martens' incoming
                  weights of a unit, along axis 0 of a Dense kernel
    mean, stddev  of the values that are not zero
    axis          along which zeros are counted; 0 is the inputs of a unit of a Dense kernel (in, out). The transposed
                  twin of torch.nn.init.sparse_, which counts the outputs of an input, has axis=1
    seed, name    as above

    Raises ValueError for both of sparsity and nonzeros, and, at the call, for what the shape does not have.
    """

    def __init__(
        self,
        sparsity: float | None = None,
        nonzeros: int | None = None,
        mean: float = 0.0,
        stddev: float = 0.01,
        axis: int = 0,
        seed: Any = None,
        name: str | int = "",
        **hint: Any,
    ) -> None:
        if sparsity is None and nonzeros is None:
            nonzeros = MARTENS
        self.sparsity, self.nonzeros, self.axis = sparsity, nonzeros, axis
        super().__init__(mean, stddev, seed, name=name, **hint)
        self.law(())  # its numbers are checked here, its shape at the call

    def law(self, shape: tuple[int, ...]) -> laws.Law:
        """Sparse(Normal(mean, stddev), sparsity, nonzeros, axis)."""
        values = laws.Normal(self.mean, self.stddev)
        return structures.sparse(self.sparsity, nonzeros=self.nonzeros, axis=self.axis, values=values)

    def get_config(self) -> dict[str, Any]:
        """The arguments, as Keras saves them."""
        return {**super().get_config(), "sparsity": self.sparsity, "nonzeros": self.nonzeros, "axis": self.axis}


# --- tensors of the backends ------------------------------------------------------------------------------------------


def _tensor(shape: tuple[int, ...], law: laws.Law, dtype: Any, words: Any, name: str | int, layout: Any) -> Any:
    """A filled tensor of the backend. JAX and PyTorch take over the memory that is filled; Keras itself would copy."""
    dtype = keras.backend.standardize_dtype(dtype)
    backend = keras.config.backend()
    if backend == "jax":
        return _of_jax(shape, law, dtype, words, name, layout)
    if layout is not None:
        raise ValueError(f"layout is {layout!r}, and the backend {backend}; Keras lays tensors out on JAX alone")
    if backend == "tensorflow" and _is_traced(words):
        return _of_tensorflow(shape, law, dtype, words, name)
    array: Any = fastinit.new(shape, law, dtype=dtype, seed=_seed(words), name=name)
    if backend == "torch":
        import torch

        array = torch.from_numpy(array.view(storage_dtype(dtype))).view(getattr(torch, dtype))
    return keras.ops.convert_to_tensor(array, dtype=dtype)


def _of_jax(shape: tuple[int, ...], law: laws.Law, dtype: str, words: Any, name: str | int, layout: Any) -> Any:
    from fastinit.jax import arrays, drawing

    sharding, kind = getattr(layout, "backend_layout", layout), arrays.canonical(dtype)
    if _is_traced(words):
        return arrays.laid_out(drawing.drawn(words.astype("uint32"), shape, law, kind, name), sharding)
    if sharding is None:
        return arrays.new(shape, law, kind, seed=_seed(words), name=name)
    return arrays.sharded(shape, kind, law, sharding, seed=_seed(words), name=name)


def _of_tensorflow(shape: tuple[int, ...], law: laws.Law, dtype: str, words: Any, name: str | int) -> Any:
    """A tensor of a function that TensorFlow traces: the host draws it when the function runs."""
    import tensorflow as tf

    def draw(state: Any) -> Any:
        seed = _seed([int(word) & 0xFFFFFFFF for word in state])
        with contextlib.nullcontext() if is_default() else default_mode(warn=False):  # their threads flush subnormals
            return fastinit.new(shape, law, dtype=dtype, seed=seed, name=name)

    drawn = tf.numpy_function(draw, [words], tf.dtypes.as_dtype(dtype))
    return tf.ensure_shape(drawn, shape)


def _laid_out(tensor: Any, layout: Any) -> Any:
    """A tensor of the backend over the devices of a layout."""
    if layout is None:
        return tensor
    if keras.config.backend() != "jax":
        raise ValueError(f"layout is {layout!r}; Keras lays tensors out on JAX alone")
    from fastinit.jax import arrays

    return arrays.laid_out(tensor, getattr(layout, "backend_layout", layout))


def _seed(words: Any) -> int:
    """The seed of its high and low word."""
    high, low = words
    return int(high) << 32 | int(low)


def _is_traced(state: Any) -> bool:
    """Whether a state has no values yet."""
    if keras.config.backend() == "jax":
        import jax

        return isinstance(state, jax.core.Tracer)
    return keras.config.backend() == "tensorflow" and not isinstance(state, tuple) and not hasattr(state, "numpy")
