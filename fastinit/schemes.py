"""Scheme -> law: one formula each. The fill_* functions are a scheme and one call of fill.

`gain` multiplies the scheme's own standard deviation, so it serves every "scale by 0.01 afterwards" rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from typing import Any, ParamSpec, Unpack

import numpy as np

from fastinit.choices import Distribution
from fastinit.engines.gaussian import truncated_std
from fastinit.fill import fill
from fastinit.laws import Constant, Laplace, Law, Normal, TruncatedNormal, Uniform
from fastinit.laws.law import finite, real
from fastinit.options import Options, shows_options

P = ParamSpec("P")


# --- schemes: numbers -> law ------------------------------------------------------------------------------------------


def _fan(value: object, what: str) -> float:
    """A fan: positive and finite."""
    try:
        number = real(value, what)
    except TypeError:
        raise TypeError(f"{what} is {value!r}; pass the number of units of the whole tensor") from None
    except ValueError:
        number = math.inf
    if not (number > 0 and math.isfinite(number)):
        raise ValueError(
            f"{what} is {value}; it must be positive and finite. It counts the units of the whole tensor, not of a "
            "shard; fastinit.fans(shape, layout) computes it"
        )
    return number


def _factor(value: object, what: str) -> float:
    """A gain or scale: finite, not negative."""
    number = real(value, what)
    if not (number >= 0 and math.isfinite(number)):
        raise ValueError(f"{what} is {number}; it must be finite and not negative")
    return number


def _kept(scheme: Callable[P, Law]) -> Callable[P, Law]:
    """Keep the laws of earlier calls: to make one takes a quarter of a fill of 64 elements."""
    cached = lru_cache(maxsize=1024, typed=True)(scheme)

    @wraps(scheme)
    def law(*numbers: P.args, **options: P.kwargs) -> Law:
        try:
            if 0.0 not in numbers or not any(n == 0 and math.copysign(1, n) < 0 for n in numbers):  # -0.0 equals 0.0
                return cached(*numbers, **options)  # type: ignore[arg-type]
        except (TypeError, ValueError):  # nothing that can be kept, such as a list: the scheme says what it takes
            pass
        return scheme(*numbers, **options)

    return law


_ZERO, _ONE = Constant(0), Constant(1)


def constant(value: Any) -> Constant:
    """The law of one value."""
    return Constant(value)


def zeros() -> Constant:
    """The law of zeros."""
    return _ZERO


def ones() -> Constant:
    """The law of ones."""
    return _ONE


@_kept
def uniform(low: float = 0.0, high: float = 1.0) -> Uniform:
    """Uniform on [low, high)."""
    return Uniform(low, high)


@_kept
def normal(mean: float = 0.0, std: float = 1.0) -> Normal:
    """Normal of this mean and standard deviation."""
    return Normal(mean, std)


@_kept
def laplace(mean: float = 0.0, std: float = 1.0) -> Laplace:
    """Laplace of this mean and standard deviation, sqrt(2) times its scale."""
    return Laplace(mean, std)


def truncated_normal(
    mean: float = 0.0,
    std: float = 1.0,
    *,
    sigmas: tuple[float, float] | None = None,
    bounds: tuple[float, float] | None = None,
    corrected: bool = False,
) -> TruncatedNormal:
    """A normal cut to `sigmas` (standard deviations from the mean; default -2, 2) or to absolute `bounds`.

    `std` is that of the parent. `corrected=True`, with symmetric sigmas only, widens the parent so that the truncated
    law has exactly this std: by 1 / 0.87962566 at 2 sigma, as JAX and Keras do in variance scaling.
    """
    if sigmas is not None and bounds is not None:
        raise ValueError("pass sigmas (in standard deviations) or bounds (absolute), not both")
    if bounds is not None:
        if corrected:
            raise ValueError("corrected=True needs symmetric sigmas, not bounds")
        return TruncatedNormal(mean, std, *_pair(bounds, "bounds"))
    mean, std = finite(mean, "mean"), finite(std, "std")
    below, above = (-2.0, 2.0) if sigmas is None else _pair(sigmas, "sigmas")
    if corrected:
        if not (below == -above and above > 0):
            raise ValueError(f"corrected=True needs symmetric sigmas such as (-2, 2); these are {sigmas}")
        std = std / truncated_std(above)
    low, high = (mean + below * std, mean + above * std) if std else (mean, mean)
    return TruncatedNormal(mean, std, low, high)


def _pair(values: object, what: str) -> tuple[float, float]:
    """Two real numbers."""
    message = f"{what} is {values!r}; pass a pair of numbers such as (-2, 2)"
    if not isinstance(values, (Sequence, np.ndarray)) or isinstance(values, str):
        raise TypeError(message)
    if len(values) != 2:
        raise ValueError(message)
    return real(values[0], what), real(values[1], what)


@_kept
def xavier_uniform(fan_in: float, fan_out: float, *, gain: float = 1.0) -> Law:
    """U(-a, a) with a = gain sqrt(6 / (fan_in + fan_out)). Glorot and Bengio 2010, eq. 16."""
    return _symmetric(_factor(gain, "gain") * math.sqrt(6.0 / (_fan(fan_in, "fan_in") + _fan(fan_out, "fan_out"))))


@_kept
def xavier_normal(fan_in: float, fan_out: float, *, gain: float = 1.0, truncated: bool = False) -> Law:
    """Normal with std = gain sqrt(2 / (fan_in + fan_out)). Glorot and Bengio 2010, eq. 12."""
    std = _factor(gain, "gain") * math.sqrt(2.0 / (_fan(fan_in, "fan_in") + _fan(fan_out, "fan_out")))
    return _bell(std, truncated)


@_kept
def he_uniform(fan_in: float, *, negative_slope: float = 0.0, gain: float = 1.0) -> Law:
    """U(-a, a) with a = sqrt(3) std of he_normal: gain sqrt(6 / fan_in) for ReLU. He et al. 2015, eq. 10."""
    return _symmetric(math.sqrt(3.0) * _he_std(fan_in, negative_slope, gain))


@_kept
def he_normal(fan_in: float, *, negative_slope: float = 0.0, gain: float = 1.0, truncated: bool = False) -> Law:
    """Normal with std = gain sqrt(2 / ((1 + negative_slope^2) fan_in)). He et al. 2015, eqs. 10 and 15."""
    return _bell(_he_std(fan_in, negative_slope, gain), truncated)


@_kept
def lecun_uniform(fan_in: float, *, gain: float = 1.0) -> Law:
    """U(-a, a) with a = gain sqrt(3 / fan_in). LeCun et al. 1998, "Efficient BackProp", eq. 16."""
    return _symmetric(_factor(gain, "gain") * math.sqrt(3.0 / _fan(fan_in, "fan_in")))


@_kept
def lecun_normal(fan_in: float, *, gain: float = 1.0, truncated: bool = False) -> Law:
    """Normal with std = gain sqrt(1 / fan_in). LeCun et al. 1998, "Efficient BackProp", eq. 16."""
    return _bell(_factor(gain, "gain") * math.sqrt(1.0 / _fan(fan_in, "fan_in")), truncated)


@_kept
def variance_scaling(scale: float, fan: float, *, distribution: Distribution = "truncated_normal") -> Law:
    """Variance scale / fan, as "truncated_normal" (at 2 sigma, corrected), "normal" or "uniform".

    `fan` is fan_in, fan_out or their mean; JAX's and Keras' `mode` chooses it from `fastinit.fans`.
    """
    std = math.sqrt(_factor(scale, "scale") / _fan(fan, "fan"))
    if distribution == "uniform":
        return _symmetric(math.sqrt(3.0) * std)
    if distribution not in ("truncated_normal", "normal"):
        raise ValueError(f"distribution is {distribution!r}; it can be 'truncated_normal', 'normal' or 'uniform'")
    return _bell(std, distribution == "truncated_normal")


def _he_std(fan_in: float, negative_slope: float, gain: float) -> float:
    slope = finite(negative_slope, "negative_slope")
    return _factor(gain, "gain") * math.sqrt(2.0 / ((1.0 + slope * slope) * _fan(fan_in, "fan_in")))


def _symmetric(bound: float) -> Law:
    return Uniform(-bound, bound) if bound else Constant(0.0)


def _bell(std: float, truncated: bool) -> Law:
    return truncated_normal(0.0, std, corrected=True) if truncated else Normal(0.0, std)


glorot_uniform, glorot_normal = xavier_uniform, xavier_normal
kaiming_uniform, kaiming_normal = he_uniform, he_normal


# --- fill_*: the same, into a buffer ----------------------------------------------------------------------------------


@shows_options
def fill_constant(buf: Any, value: Any, **options: Unpack[Options]) -> None:
    """Fill `buf`, of any numeric dtype, with one value; raises ValueError if its dtype cannot hold it."""
    fill(buf, constant(value), **options)


@shows_options
def fill_zeros(buf: Any, **options: Unpack[Options]) -> None:
    """Fill `buf`, of any numeric dtype, with zeros."""
    fill(buf, zeros(), **options)


@shows_options
def fill_ones(buf: Any, **options: Unpack[Options]) -> None:
    """Fill `buf`, of any numeric dtype, with ones."""
    fill(buf, ones(), **options)


@shows_options
def fill_uniform(buf: Any, low: float = 0.0, high: float = 1.0, **options: Unpack[Options]) -> None:
    """Fill `buf` with uniform draws from [low, high): low included, high never, after rounding to its dtype too.

    Mean (low + high) / 2, std (high - low) / sqrt(12), 24 random bits (53 for float64). Raises ValueError unless low <
    high, both finite.
    """
    fill(buf, uniform(low, high), **options)


@shows_options
def fill_normal(buf: Any, mean: float = 0.0, std: float = 1.0, **options: Unpack[Options]) -> None:
    """Fill `buf` with normal draws of this mean and standard deviation; the tail reaches 6.76 std, 9.49 in float64.

    Raises ValueError unless std is finite and not negative (0 gives the mean).
    """
    fill(buf, normal(mean, std), **options)


@shows_options
def fill_laplace(buf: Any, mean: float = 0.0, std: float = 1.0, **options: Unpack[Options]) -> None:
    """Fill `buf` with Laplace (double exponential) draws of this mean and std; std is sqrt(2) times the scale.

    The tail reaches 15.6 std, 31.4 in float64. Raises ValueError unless std is finite and not negative (0 gives the
    mean).
    Source: numpy.random.Generator.laplace has the same law, by its scale.
    """
    fill(buf, laplace(mean, std), **options)


@shows_options
def fill_truncated_normal(
    buf: Any,
    mean: float = 0.0,
    std: float = 1.0,
    *,
    sigmas: tuple[float, float] | None = None,
    bounds: tuple[float, float] | None = None,
    corrected: bool = False,
    **options: Unpack[Options],
) -> None:
    """Fill `buf` with a normal of this mean and std, conditioned to an interval; default 2 std either side.

    sigmas     the interval in standard deviations from the mean, e.g. (-2, 2) or (0, inf)
    bounds     the interval in absolute values, as torch.nn.init.trunc_normal_ takes a and b; not both
    corrected  widen the parent so that the result has exactly this std (JAX, Keras); symmetric sigmas only

    Both ends are included, and hold after rounding to the buffer's dtype. No rejection: one word an element.
    """
    fill(buf, truncated_normal(mean, std, sigmas=sigmas, bounds=bounds, corrected=corrected), **options)


@shows_options
def fill_xavier_uniform(
    buf: Any, fan_in: float, fan_out: float, *, gain: float = 1.0, **options: Unpack[Options]
) -> None:
    """Fill `buf` from U(-a, a), a = gain sqrt(6 / (fan_in + fan_out)): PyTorch's, Keras' and JAX's Xavier/Glorot.

    std = gain sqrt(2 / (fan_in + fan_out)). Fans are those of the whole tensor.
    Source: Glorot and Bengio 2010, eq. 16 (https://proceedings.mlr.press/v9/glorot10a.html).
    """
    fill(buf, xavier_uniform(fan_in, fan_out, gain=gain), **options)


@shows_options
def fill_xavier_normal(
    buf: Any, fan_in: float, fan_out: float, *, gain: float = 1.0, truncated: bool = False, **options: Unpack[Options]
) -> None:
    """Fill `buf` with normals of std = gain sqrt(2 / (fan_in + fan_out)), as PyTorch's xavier_normal_.

    `truncated=True` cuts at 2 sigma and corrects the std: what Keras, JAX and Flax call glorot_normal.
    Source: Glorot and Bengio 2010, eq. 12 (https://proceedings.mlr.press/v9/glorot10a.html).
    """
    fill(buf, xavier_normal(fan_in, fan_out, gain=gain, truncated=truncated), **options)


@shows_options
def fill_he_uniform(
    buf: Any, fan_in: float, *, negative_slope: float = 0.0, gain: float = 1.0, **options: Unpack[Options]
) -> None:
    """Fill `buf` from U(-a, a), a = gain sqrt(6 / ((1 + negative_slope^2) fan_in)).

    The factor 2 for ReLU is in the scheme: `gain=fastinit.gain("relu")` would count it twice.
    Source: He, Zhang, Ren, Sun 2015, eqs. 10 and 15 (https://arxiv.org/abs/1502.01852).
    """
    fill(buf, he_uniform(fan_in, negative_slope=negative_slope, gain=gain), **options)


@shows_options
def fill_he_normal(
    buf: Any,
    fan_in: float,
    *,
    negative_slope: float = 0.0,
    gain: float = 1.0,
    truncated: bool = False,
    **options: Unpack[Options],
) -> None:
    """Fill `buf` with normals of mean 0 and std = gain sqrt(2 / ((1 + negative_slope^2) fan_in)).

    fan_in          inputs feeding one output unit of the whole tensor; positive. fastinit.fans computes it.
    negative_slope  of a leaky ReLU behind the layer
    gain            multiplies the std. The factor 2 for ReLU is in the scheme already: `gain=fastinit.gain("relu")`
                    would count sqrt 2 twice.
    truncated       False is the plain normal of the paper and of PyTorch's kaiming_normal_. True cuts at 2 sigma and
                    corrects the std: what Keras, JAX and Flax call he_normal.

    Source: He, Zhang, Ren, Sun 2015, eqs. 10 and 15 (https://arxiv.org/abs/1502.01852).
    """
    fill(buf, he_normal(fan_in, negative_slope=negative_slope, gain=gain, truncated=truncated), **options)


@shows_options
def fill_lecun_uniform(buf: Any, fan_in: float, *, gain: float = 1.0, **options: Unpack[Options]) -> None:
    """Fill `buf` from U(-a, a), a = gain sqrt(3 / fan_in).

    Source: LeCun, Bottou, Orr, Mueller 1998, "Efficient BackProp", eq. 16.
    """
    fill(buf, lecun_uniform(fan_in, gain=gain), **options)


@shows_options
def fill_lecun_normal(
    buf: Any, fan_in: float, *, gain: float = 1.0, truncated: bool = False, **options: Unpack[Options]
) -> None:
    """Fill `buf` with normals of std = gain sqrt(1 / fan_in): the start of self-normalising (SELU) networks.

    `truncated=True` cuts at 2 sigma and corrects the std: what Keras, JAX and Flax call lecun_normal.
    Source: LeCun, Bottou, Orr, Mueller 1998, "Efficient BackProp", eq. 16; Klambauer et al. 2017.
    """
    fill(buf, lecun_normal(fan_in, gain=gain, truncated=truncated), **options)


@shows_options
def fill_variance_scaling(
    buf: Any, scale: float, fan: float, *, distribution: Distribution = "truncated_normal", **options: Unpack[Options]
) -> None:
    """Fill `buf` with variance scale / fan: "truncated_normal" (2 sigma, corrected), "normal" or "uniform".

    Source: jax.nn.initializers.variance_scaling; Keras' VarianceScaling.
    """
    fill(buf, variance_scaling(scale, fan, distribution=distribution), **options)


fill_glorot_uniform = fill_xavier_uniform
fill_glorot_normal = fill_xavier_normal
fill_kaiming_uniform = fill_he_uniform
fill_kaiming_normal = fill_he_normal
