"""Laws without chance: identity, Dirac, the bias of an LSTM's gates, the logarithms of Mamba's states."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastinit.address import axes, integer
from fastinit.dtypes import Format
from fastinit.engines.reference.logarithm import log_64
from fastinit.laws.independent import Constant
from fastinit.laws.law import Element, ShapedLaw, finite
from fastinit.laws.marginals import thinned

Array = np.ndarray[Any, Any]
Index = tuple[Array, ...]


class Pattern(ShapedLaw):
    """Zeros, and values at places that follow from the shape.

    `places` is asked with the axes of one copy; every copy is the same.
    """

    draws = floats_only = False

    @abstractmethod
    def places(self, shape: tuple[int, ...], offsets: tuple[int, ...], block: tuple[int, ...]) -> tuple[Index, Any]:
        """Where the block at `offsets` of a tensor of `shape` is not zero (an index a dimension), and what is there."""


def _within(wanted: Array, start: int, length: int) -> Array:
    """Which of these indices lie in the block."""
    result: Array = (wanted >= start) & (wanted < start + length)
    return result


@dataclass(frozen=True)
class Identity(Pattern):
    """`gain` on the diagonal of a matrix, which need not be square, zero elsewhere: torch.nn.init.eye_.

    `batch_axis`, an axis or several, counts matrices: one an expert, one a gate.
    """

    gain: float = 1.0
    batch_axis: tuple[int, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", finite(self.gain, "Identity: gain"))
        object.__setattr__(self, "batch_axis", axes(self.batch_axis, "Identity: batch_axis"))

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse what is no matrix."""
        if len(self.own_axes(shape)) != 2:
            raise ValueError(
                f"Identity: a tensor of shape {shape} is no matrix; for a convolution use Dirac, for matrices along an "
                "axis batch_axis"
            )

    def places(self, shape: tuple[int, ...], offsets: tuple[int, ...], block: tuple[int, ...]) -> tuple[Index, Any]:
        """The part of the diagonal."""
        first = max(offsets)
        i = np.arange(first, max(first, min(start + length for start, length in zip(offsets, block, strict=True))))
        return (i - offsets[0], i - offsets[1]), self.gain

    def marginal(self, shape: tuple[int, ...]) -> Element:
        """Gain in one element of max(rows, columns), zero in the others."""
        self.check(shape)
        shape = self.own(shape)
        return thinned(1.0 / max(shape) if min(shape) else 0.0, Constant(self.gain))

    def kernel_arguments(self, format: Format) -> None:
        """Check that the gain fits the format."""
        Constant(self.gain).kernel_arguments(format)


@dataclass(frozen=True)
class Dirac(Pattern):
    """A convolution kernel (out, in / groups, k...) that passes its inputs on: torch.nn.init.dirac_.

    In every group output channel d has a one at input channel d and the centre k // 2 of each spatial dimension, for
    d < min(out / groups, in / groups); all else is zero. Rank 3 to 5. For an even k the centre differs from JAX's
    delta-orthogonal, which takes (k - 1) // 2. `batch_axis`, an axis or several, counts kernels.
    """

    groups: int = 1
    batch_axis: tuple[int, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        groups = integer(self.groups, "Dirac: groups")
        if groups < 1:
            raise ValueError(f"Dirac: groups is {groups}; it must be positive")
        object.__setattr__(self, "groups", groups)
        object.__setattr__(self, "batch_axis", axes(self.batch_axis, "Dirac: batch_axis"))

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse what is no convolution kernel of so many groups."""
        shape = self.own(shape)
        if not 3 <= len(shape) <= 5:
            raise ValueError(
                f"Dirac: a tensor of shape {shape} has {len(shape)} dimensions; the kernel of a convolution has 3 to "
                "5. For a matrix use Identity"
            )
        if shape[0] % self.groups:
            raise ValueError(
                f"Dirac: {shape[0]} output channels (shape {shape}) do not divide into {self.groups} groups; pass the "
                "groups of the convolution"
            )

    def places(self, shape: tuple[int, ...], offsets: tuple[int, ...], block: tuple[int, ...]) -> tuple[Index, Any]:
        """One place an output channel, where the centre lies in the block."""
        centre = [k // 2 for k in shape[2:]]
        within = all(s <= c < s + n for c, s, n in zip(centre, offsets[2:], block[2:], strict=True))
        channel = np.arange(offsets[0], offsets[0] + (block[0] if within else 0))
        own = channel % max(shape[0] // self.groups, 1)
        mine = (own < shape[1]) & _within(own, offsets[1], block[1])
        channel, own = channel[mine], own[mine]
        rest = [np.full(len(own), c - s) for c, s in zip(centre, offsets[2:], strict=True)]
        return (channel - offsets[0], own - offsets[1], *rest), 1

    def marginal(self, shape: tuple[int, ...]) -> Element:
        """One in min(out, in) elements of the tensor, zero in the others."""
        self.check(shape)
        shape = self.own(shape)
        ones = self.groups * min(shape[0] // self.groups, shape[1])
        return thinned(ones / math.prod(shape) if math.prod(shape) else 0.0, Constant(1.0))

    def kernel_arguments(self, format: Format) -> None:
        """One fits every format."""


@dataclass(frozen=True)
class GateBias(Pattern):
    """The bias of an LSTM: `forget` at the forget gate, the second of four equal parts of the last axis; else zero.

    PyTorch orders the gates i, f, g, o, and Keras i, f, c, o: the second part in both. PyTorch adds two biases, bias_ih
    and bias_hh: give only one of them this law. Sources: Gers, Schmidhuber, Cummins 2000, "Learning to forget";
    Jozefowicz, Zaremba, Sutskever 2015, "An empirical exploration of recurrent network architectures", which found 1
    to help; Keras' `unit_forget_bias`.
    """

    forget: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "forget", finite(self.forget, "GateBias: forget"))

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse what does not divide into four gates."""
        if not shape or shape[-1] % 4:
            raise ValueError(
                f"GateBias: the last dimension of shape {shape} does not divide into the four gates of an LSTM; "
                "pass the bias of 4 x hidden elements"
            )

    def places(self, shape: tuple[int, ...], offsets: tuple[int, ...], block: tuple[int, ...]) -> tuple[Index, Any]:
        """The part of the second quarter."""
        hidden, start, length = shape[-1] // 4, offsets[-1], block[-1]
        gate = np.arange(max(start, hidden), max(start, hidden, min(start + length, 2 * hidden))) - start
        others = [np.arange(n) for n in block[:-1]]
        return tuple(np.ix_(*others, gate)), self.forget

    def marginal(self, shape: tuple[int, ...]) -> Element:
        """`forget` in a quarter of the elements."""
        self.check(shape)
        return thinned(0.25, Constant(self.forget))

    def kernel_arguments(self, format: Format) -> None:
        """Check that the bias fits the format."""
        Constant(self.forget).kernel_arguments(format)


@dataclass(frozen=True)
class _LogOfStates(Element):
    """ln of one of 1 ... states, each as likely."""

    states: int

    @property
    def _values(self) -> Array:
        drawn: Array = log_64(np.arange(1, self.states + 1, dtype=np.float64))
        return drawn  # not NumPy's logarithms, which may differ in the last bit: the steps of cdf are at what is drawn

    @property
    def mean(self) -> float:  # type: ignore[override]
        """Of ln 1 ... ln states."""
        return float(self._values.mean()) if self.states else 0.0

    @property
    def std(self) -> float:  # type: ignore[override]
        """Of ln 1 ... ln states."""
        return float(self._values.std()) if self.states else 0.0

    @property
    def support(self) -> tuple[float, float]:
        """Zero and ln states."""
        return (0.0, float(self._values[-1]) if self.states else 0.0)

    def cdf(self, x: Any) -> Any:
        """A step of 1 / states at each logarithm."""
        return np.searchsorted(self._values, np.asarray(x, np.float64), side="right") / max(self.states, 1)


@dataclass(frozen=True)
class StateLogs(Pattern):
    """Mamba's A_log: ln(n + 1) in the n-th place of the last axis, in every row (channel).

    The diagonal A = -(n + 1) is S4D-Real (Gu, Gupta, Goel, Re 2022, https://arxiv.org/abs/2206.11893), kept as its
    logarithm in state-spaces/mamba, mamba_ssm/modules/mamba_simple.py. Computed in float64 by fastinit's own logarithm
    and rounded once; keep it in float32.
    """

    floats_only = True

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse a scalar."""
        if not shape:
            raise ValueError("StateLogs: a scalar has no states; pass a buffer of (channels, states)")

    def places(self, shape: tuple[int, ...], offsets: tuple[int, ...], block: tuple[int, ...]) -> tuple[Index, Any]:
        """Everywhere."""
        n = np.arange(offsets[-1] + 1, offsets[-1] + block[-1] + 1, dtype=np.float64)
        return (Ellipsis,), log_64(n)  # type: ignore[return-value]

    def marginal(self, shape: tuple[int, ...]) -> Element:
        """One of the logarithms."""
        self.check(shape)
        return _LogOfStates(shape[-1])

    def kernel_arguments(self, format: Format) -> None:
        """The logarithm of a length fits every format."""
