"""Initialisers that look at the whole tensor: sparse, orthogonal, identity, Dirac, delta-orthogonal, parts.

As in schemes.py, a fill_* function is a law and one call of fill. Fans do not matter here; the shape does: with `shard`
it is that of the whole tensor.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Unpack

from fastinit.address import axes
from fastinit.choices import Flatten, KernelLayout
from fastinit.fans import Axes
from fastinit.fill import fill
from fastinit.laws import Blocks, DeltaOrthogonal, Dirac, Identity, Law, Normal, Orthogonal, Sparse
from fastinit.laws.law import IndependentLaw
from fastinit.options import Options, shows_options


def sparse(
    sparsity: float | None = None,
    *,
    nonzeros: int | None = None,
    std: float | None = None,
    axis: int = 0,
    values: IndependentLaw | None = None,
    batch_axis: Axes = (),
) -> Sparse:
    """Exact counts of zeros along `axis`, the rest normal of `std` (0.01) or `values`. Martens 2010; PyTorch."""
    if std is not None and values is not None:
        raise ValueError("pass std, for normal values, or values, a law; not both")
    normal = Normal(0.0, 0.01 if std is None else std)
    return Sparse(values or normal, sparsity, nonzeros, axis, batch_axis=axes(batch_axis, "batch_axis"))


def orthogonal(gain: float = 1.0, *, flatten: Flatten = "torch", batch: int = 0, batch_axis: Axes = ()) -> Orthogonal:
    """Haar-distributed, times gain. Saxe, McClelland, Ganguli 2013."""
    return Orthogonal(gain, flatten, batch, batch_axis=axes(batch_axis, "batch_axis"))


def identity(gain: float = 1.0, *, batch_axis: Axes = ()) -> Identity:
    """`gain` on the diagonal of a matrix."""
    return Identity(gain, batch_axis=axes(batch_axis, "batch_axis"))


def dirac(groups: int = 1, *, batch_axis: Axes = ()) -> Dirac:
    """A convolution that passes its inputs on."""
    return Dirac(groups, batch_axis=axes(batch_axis, "batch_axis"))


def delta_orthogonal(gain: float = 1.0, *, layout: KernelLayout = "torch", batch_axis: Axes = ()) -> DeltaOrthogonal:
    """An isometry of the channels at the centre of a convolution. Xiao et al. 2018."""
    return DeltaOrthogonal(gain, layout, batch_axis=axes(batch_axis, "batch_axis"))


def blocks(parts: Iterable[tuple[int, Law]], axis: int = 0) -> Blocks:
    """Slices along `axis` of these sizes, each with a law of its own."""
    return Blocks(parts, axis)


@shows_options
def fill_sparse(
    buf: Any,
    sparsity: float | None = None,
    *,
    nonzeros: int | None = None,
    std: float | None = None,
    axis: int = 0,
    values: IndependentLaw | None = None,
    batch_axis: Axes = (),
    **options: Unpack[Options],
) -> None:
    """Fill `buf` with normals of `std`, of which exactly ceil(sparsity n) are zero in every line of n along `axis`.

    sparsity    share of zeros, in [0, 1]; counted as torch.nn.init.sparse_ does
    nonzeros    survivors on a line, instead: fill_sparse(w, nonzeros=15, axis=1) is Martens' form for an (out, in)
                matrix, 15 incoming weights a unit
    std         of the values that are not zero; default 0.01
    axis        along which the zeros are counted; 0, PyTorch's, is within a column of a matrix
    values      another law of the values, such as laws.Uniform(-0.1, 0.1) or laws.TruncatedNormal(...); instead of std
    batch_axis  an axis or several that count matrices (experts, gates); `axis` then counts the others

    Which elements survive is a uniform subset of each line (to 2^-32 a step), independent between lines. A survivor has
    the value that its law gives to the same address without zeros. A zero is +0.0. Any dtype of floats, any rank. A
    shard draws the words, not the values, of its lines' elements before it. Memory beside the buffer: 3.3 MiB a thread.
    Raises TypeError or ValueError also for a sparsity outside [0, 1], both or neither of sparsity and nonzeros, more
    nonzeros than a line has, an axis that does not exist.
    Source: Martens 2010, "Deep learning via Hessian-free optimization", section 5; torch.nn.init.sparse_.
    """
    fill(buf, sparse(sparsity, nonzeros=nonzeros, std=std, axis=axis, values=values, batch_axis=batch_axis), **options)


@shows_options
def fill_orthogonal(
    buf: Any,
    gain: float = 1.0,
    *,
    flatten: Flatten = "torch",
    batch: int = 0,
    batch_axis: Axes = (),
    **options: Unpack[Options],
) -> None:
    """Fill `buf` with a Haar-distributed orthogonal matrix times `gain`; orthonormal rows or columns, the fewer.

    gain        of every singular value
    flatten     "torch": rows are the first dimension; "jax": columns are the last (JAX, Keras, Flax)
    batch       so many leading dimensions count matrices, one a head or expert, each with its own draw
    batch_axis  the axis or axes that count matrices, instead, wherever they stand

    float64 buffers are computed in float64, all others in float32 and then rounded: half types too, which PyTorch
    refuses. The same matrix for every dtype. The elements of one matrix depend on each other, so a shard forms each
    matrix of which it holds a part whole, and keeps its part: the cost of the whole, and its memory. Memory beside
    an m x n matrix, m >= n, that is filled whole, contiguous and in float32 or float64: (2 m + n) x 256 elements and
    512 rows; otherwise one matrix more.
    Deterministic for a seed up to the rounding of BLAS (a few units in the last place), whose sums depend on library,
    processor and number of threads. Raises ValueError also for a rank below 2 + batch.
    Source: Saxe, McClelland, Ganguli 2013 (https://arxiv.org/abs/1312.6120); Stewart 1980; Mezzadri 2007.
    """
    fill(buf, orthogonal(gain, flatten=flatten, batch=batch, batch_axis=batch_axis), **options)


@shows_options
def fill_identity(buf: Any, gain: float = 1.0, *, batch_axis: Axes = (), **options: Unpack[Options]) -> None:
    """Fill `buf`, a matrix of any numeric dtype, with `gain` on the diagonal and zeros: torch.nn.init.eye_.

    It need not be square. `batch_axis`, an axis or several, counts matrices (experts, gates). Raises ValueError also
    for a rank other than 2 beside them.
    Source: Le, Jaitly, Hinton 2015 (https://arxiv.org/abs/1504.00941) for recurrent networks of ReLUs.
    """
    fill(buf, identity(gain, batch_axis=batch_axis), **options)


@shows_options
def fill_dirac(buf: Any, groups: int = 1, *, batch_axis: Axes = (), **options: Unpack[Options]) -> None:
    """Fill `buf`, a convolution kernel (out, in / groups, k...), to pass its inputs on: torch.nn.init.dirac_.

    A one at the centre k // 2 for each input channel of each group, zeros elsewhere; any numeric dtype, rank 3 to 5.
    `batch_axis`, an axis or several, counts kernels. Raises ValueError also for another rank, and for channels that
    `groups` does not divide.
    """
    fill(buf, dirac(groups, batch_axis=batch_axis), **options)


@shows_options
def fill_delta_orthogonal(
    buf: Any, gain: float = 1.0, *, layout: KernelLayout = "torch", batch_axis: Axes = (), **options: Unpack[Options]
) -> None:
    """Fill `buf`, a convolution kernel, with zeros, and an orthogonal matrix times `gain` at its centre (k - 1) // 2.

    layout      "torch": (out, in, k...); "keras", JAX's too: (k..., in, out). out >= in; rank 3 to 5.
    batch_axis  an axis or several that count kernels, each with its own draw

    Computed, rounded and sharded as fill_orthogonal. Raises ValueError also for another rank or fewer outputs than
    inputs.
    Source: Xiao et al. 2018, algorithm 1 (https://arxiv.org/abs/1806.05393); jax.nn.initializers.delta_orthogonal.
    """
    fill(buf, delta_orthogonal(gain, layout=layout, batch_axis=batch_axis), **options)


@shows_options
def fill_blocks(buf: Any, parts: Iterable[tuple[int, Law]], axis: int = 0, **options: Unpack[Options]) -> None:
    """Fill `buf` part by part: slices along `axis`, each with a law of its own (q, k and v, gates, padded rows).

    parts  (size, law) in order, the sizes adding up to the length of the axis: those of the whole tensor, not of a
           shard, as torch.split takes them
    axis   along which the parts follow each other

    An element of an independent law has the value that this law gives to its address in the whole tensor; a law of
    lines or matrices takes its part for the tensor. Raises ValueError also for sizes that do not add up, and for a part
    that its law cannot have.
    """
    fill(buf, blocks(parts, axis), **options)
