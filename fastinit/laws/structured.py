"""Laws of whole rows, lines and matrices: a padding row, sparse with exact counts, orthogonal, delta-orthogonal."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from fastinit.address import axes, integer
from fastinit.choices import Flatten, KernelLayout
from fastinit.dtypes import Format
from fastinit.laws.independent import Constant, Normal
from fastinit.laws.law import (
    Element,
    IndependentLaw,
    Law,
    LawOfValues,
    ShapedLaw,
    finite,
    real,
    refuse_overflow,
)
from fastinit.laws.marginals import SphereCoordinate, thinned

LONGEST_LINE = (1 << 32) - 1  # elements: a survivor is found by one product of 32 x 32 bits


@dataclass(frozen=True)
class Sparse(LawOfValues, ShapedLaw):
    """Along every line of `axis` exactly so many elements are zero; the others are those of `values` at their address.

    values     an independent law; Normal(0, 0.01) as in torch.nn.init.sparse_
    sparsity   share of zeros: ceil(sparsity n) of the n elements of a line, the product in float64, as PyTorch counts
    nonzeros   how many survive on a line, instead: Martens' 15
    axis       along which a line runs; negative counts from the last
    batch_axis axes that count copies (experts, heads): `axis` then counts the others

    Which of a line survive is a uniform subset (to 2^-32 a step), independent of every other line: Knuth's algorithm S
    (The Art of Computer Programming, volume 2, 3.4.2). A zero is +0.0. Raises TypeError or ValueError for a sparsity
    outside [0, 1], for both or neither of sparsity and nonzeros, and, at the fill, for an axis or a number of nonzeros
    beyond the tensor's.
    """

    values: IndependentLaw = field(default_factory=lambda: Normal(0.0, 0.01))
    sparsity: float | None = None
    nonzeros: int | None = None
    axis: int = 0
    batch_axis: tuple[int, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.values, IndependentLaw):
            raise TypeError(
                f"Sparse: values is {self.values!r}; pass an independent law such as laws.Normal(0.0, 0.01)"
            )
        if (self.sparsity is None) == (self.nonzeros is None):
            raise ValueError(
                f"Sparse: sparsity is {self.sparsity!r} and nonzeros is {self.nonzeros!r}; pass one of them: the share "
                "of zeros on a line, or the number of survivors"
            )
        if self.sparsity is not None:
            share = real(self.sparsity, "Sparse: sparsity")
            if not 0.0 <= share <= 1.0:
                raise ValueError(f"Sparse: sparsity is {share}; it is the share of zeros, in [0, 1]")
            object.__setattr__(self, "sparsity", share)
        else:
            count = integer(self.nonzeros, "Sparse: nonzeros")
            if count < 0:
                raise ValueError(f"Sparse: nonzeros is {count}; it must be zero or positive")
            object.__setattr__(self, "nonzeros", count)
        object.__setattr__(self, "axis", integer(self.axis, "Sparse: axis"))
        object.__setattr__(self, "batch_axis", axes(self.batch_axis, "Sparse: batch_axis"))

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse a tensor without that axis, with too short or too long lines."""
        rank = len(self.own_axes(shape))
        if not -rank <= self.axis < rank:
            beside = f" beside batch_axis {self.batch_axis}" if self.batch_axis else ""
            raise ValueError(
                f"Sparse: axis {self.axis} does not exist in a tensor of shape {shape}{beside}; axis 0 zeroes within a "
                "column, axis 1 within a row, of a matrix"
            )
        n = shape[self.line(shape)]
        if n > LONGEST_LINE:
            raise ValueError(f"Sparse: a line of axis {self.axis} has {n} elements; at most 2^32 - 1 are supported")
        if self.nonzeros is not None and self.nonzeros > n:
            raise ValueError(
                f"Sparse: nonzeros is {self.nonzeros}, but a line along axis {self.axis} of shape {shape} has only {n} "
                "elements; pass fewer, or the other axis"
            )

    def line(self, shape: tuple[int, ...]) -> int:
        """The axis of the tensor along which a line runs."""
        return self.own_axes(shape)[self.axis]

    def survivors(self, n: int) -> int:
        """How many of the n elements of a line are not zeroed."""
        return self.nonzeros if self.nonzeros is not None else n - math.ceil((self.sparsity or 0.0) * n)

    def marginal(self, shape: tuple[int, ...]) -> Element:
        """Zero, or a value of the inner law."""
        self.check(shape)
        n = shape[self.line(shape)]
        return thinned(self.survivors(n) / n if n else 0.0, self.values)


@dataclass(frozen=True)
class Padded(LawOfValues, ShapedLaw):
    """A table whose row `row` is +0.0, that of the padding token; the others are those of `values` at their address.

    values  an independent law
    row     along the first dimension, counted from 0; torch.nn.Embedding's padding_idx

    Raises TypeError or ValueError for a row that is no integer or negative, and, at the fill, for one beyond the
    tensor's.
    """

    values: IndependentLaw
    row: int

    def __post_init__(self) -> None:
        if not isinstance(self.values, IndependentLaw):
            raise TypeError(f"Padded: values is {self.values!r}; pass an independent law such as laws.Normal(0.0, 1.0)")
        row = integer(self.row, "Padded: row")
        if row < 0:
            raise ValueError(f"Padded: row is {row}; it counts from 0")
        object.__setattr__(self, "row", row)

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse a tensor without that row."""
        if not shape or self.row >= shape[0]:
            raise ValueError(f"Padded: row {self.row} does not exist in a tensor of shape {shape}")

    def parts(self, rows: int) -> tuple[tuple[int, IndependentLaw], ...]:
        """Sizes and laws along the first dimension, as `Blocks` has them."""
        return (self.row, self.values), (1, Constant(0)), (rows - self.row - 1, self.values)

    def marginal(self, shape: tuple[int, ...]) -> Element:
        """Zero in one row, a value of the inner law in the others."""
        self.check(shape)
        return thinned(1.0 - 1.0 / shape[0], self.values)


@dataclass(frozen=True)
class Orthogonal(ShapedLaw):
    """A Haar-distributed matrix times `gain`: its columns are orthonormal if they are the fewer, else its rows.

    gain        finite, not negative; every singular value of the matrix
    flatten     how a tensor of higher rank is a matrix. "torch": the first dimension is the rows, all others the
                columns (torch.nn.init.orthogonal_); "jax": the last is the columns, all others the rows (JAX with
                column_axis=-1, Keras, Flax)
    batch       so many leading dimensions count matrices, each with its own draw: heads, experts
    batch_axis  the axis or axes that count matrices, instead

    One element follows the law of a coordinate on the sphere in max(rows, columns) dimensions: std is
    gain / sqrt(max(rows, columns)). Formed from random Householder reflectors (Stewart 1980, "The efficient generation
    of random orthogonal matrices", SIAM J. Numer. Anal. 17; signs as in Mezzadri 2007, math-ph/0609050).
    """

    gain: float = 1.0
    flatten: Flatten = "torch"
    batch: int = 0
    batch_axis: tuple[int, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", _gain(self.gain, "Orthogonal"))
        if self.flatten not in ("torch", "jax"):
            raise ValueError(
                f"Orthogonal: flatten is {self.flatten!r}; it can be 'torch' (the first dimension is the rows) or "
                "'jax' (the last is the columns)"
            )
        batch = integer(self.batch, "Orthogonal: batch")
        if batch < 0:
            raise ValueError(f"Orthogonal: batch is {batch}; it counts leading dimensions, so zero or positive")
        named = axes(self.batch_axis, "Orthogonal: batch_axis")
        if batch and named:
            raise ValueError(f"Orthogonal: batch is {batch} and batch_axis {named}; pass one of them")
        if named == tuple(range(len(named))):  # one law has one form
            batch, named = len(named) or batch, ()
        object.__setattr__(self, "batch", batch)
        object.__setattr__(self, "batch_axis", named)

    def batch_axes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The axes that count matrices, from the first on."""
        # A batch beyond the dimensions is refused by `check`, and may be a stranger's: of 10^18 there would be no list.
        return tuple(range(min(self.batch, len(shape) + 1))) if self.batch else super().batch_axes(shape)

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse a tensor that is no matrix."""
        batch = self.batch or len(self.batch_axes(shape))
        if len(shape) - batch < 2:
            beside = f" beside the {batch} of the batch" if batch else ""
            raise ValueError(
                f"Orthogonal: a tensor of shape {shape} is no matrix; it needs two dimensions or more{beside}"
            )

    def matrices(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """How many matrices the tensor is, their rows and columns, in row-major order."""
        own = self.own(shape)
        rows = own[0] if self.flatten == "torch" else math.prod(own[:-1])
        cols = math.prod(own[1:]) if self.flatten == "torch" else own[-1]
        return math.prod(shape[axis] for axis in self.batch_axes(shape)), rows, cols

    def marginal(self, shape: tuple[int, ...]) -> Element:
        """A coordinate of a point on the sphere."""
        self.check(shape)
        _, rows, cols = self.matrices(shape)
        return SphereCoordinate(max(rows, cols, 1), self.gain)

    def kernel_arguments(self, format: Format) -> None:
        """Check that the gain fits the format."""
        refuse_overflow(self, self.gain, format)

    def complex_form(self) -> Law:
        """The law itself, whose matrix is unitary there."""
        return self

    complex_arguments = kernel_arguments


@dataclass(frozen=True)
class DeltaOrthogonal(ShapedLaw):
    """A convolution kernel of zeros, but for a Haar-distributed matrix at its centre: an isometry of the channels.

    gain        finite, not negative
    layout      "torch": (out, in, k...); "keras", which is JAX's too: (k..., in, out)
    batch_axis  the axis or axes that count kernels, each with its own draw

    The centre is (k - 1) // 2 of each spatial dimension, as in JAX; rank 3 to 5; out >= in, so that W^T W = gain^2 I
    over the inputs. Source: Xiao et al. 2018, "Dynamical isometry and a mean field theory of CNNs", algorithm 1
    (https://arxiv.org/abs/1806.05393).
    """

    gain: float = 1.0
    layout: KernelLayout = "torch"
    batch_axis: tuple[int, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", _gain(self.gain, "DeltaOrthogonal"))
        if self.layout not in ("torch", "keras"):
            raise ValueError(
                f"DeltaOrthogonal: layout is {self.layout!r}; it can be 'torch' (out, in, k...) or 'keras' "
                "(k..., in, out)"
            )
        object.__setattr__(self, "batch_axis", axes(self.batch_axis, "DeltaOrthogonal: batch_axis"))

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse a tensor that is no convolution kernel, or with fewer outputs than inputs."""
        own = self.own(shape)
        if not 3 <= len(own) <= 5:
            raise ValueError(
                f"DeltaOrthogonal: a tensor of shape {own} has {len(own)} dimensions; the kernel of a convolution "
                "has 3 to 5. For a matrix use Orthogonal"
            )
        fan_in, fan_out = self.channels(shape)
        if fan_out < fan_in:
            raise ValueError(
                f"DeltaOrthogonal: shape {shape} in layout {self.layout!r} has {fan_out} output and {fan_in} input "
                "channels; no isometry maps into fewer channels. Use at least as many outputs as inputs, or Orthogonal"
            )

    def channels(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Input and output channels."""
        own = self.own(shape)
        return (own[1], own[0]) if self.layout == "torch" else (own[-2], own[-1])

    def centre(self, shape: tuple[int, ...]) -> dict[int, int]:
        """The index of the matrix along the spatial axes of the tensor, by axis."""
        own = self.own_axes(shape)
        return {axis: (shape[axis] - 1) // 2 for axis in (own[2:] if self.layout == "torch" else own[:-2])}

    def marginal(self, shape: tuple[int, ...]) -> Element:
        """Zero off the centre; there, a coordinate of a point on the sphere."""
        self.check(shape)
        fan_in, fan_out = self.channels(shape)
        taps = math.prod(self.own(shape)) // (fan_in * fan_out) if fan_in else 1
        return thinned(1.0 / taps if taps else 0.0, SphereCoordinate(max(fan_out, 1), self.gain))

    def kernel_arguments(self, format: Format) -> None:
        """Check that the gain fits the format."""
        refuse_overflow(self, self.gain, format)

    def complex_form(self) -> Law:
        """The law itself, whose matrix is unitary there."""
        return self

    complex_arguments = kernel_arguments


def _gain(value: object, law: str) -> float:
    number = finite(value, f"{law}: gain")
    if number < 0:
        raise ValueError(f"{law}: gain is {number}; it must be zero or positive")
    return number
