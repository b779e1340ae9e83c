"""Fill a block with Haar-distributed matrices, each formed as a product of random Householder reflectors.

The QR factorisation of a Gaussian matrix reflects its columns one by one, and what the next column then holds below the
diagonal is a fresh Gaussian vector. So the reflectors can be drawn directly, from vectors of m, m - 1, ... normals, and
only Q is formed: half the work (G. W. Stewart, "The efficient generation of random orthogonal matrices with an
application to condition estimators", SIAM J. Numer. Anal. 17, 1980). Column j is multiplied by the sign that R has on
its diagonal, or Q would not be Haar (F. Mezzadri, "How to generate random matrices from the classical compact groups",
Notices of the AMS 54, 2007).

Reflectors are gathered in blocks, I - V T V^T (R. Schreiber and C. Van Loan, "A storage-efficient WY representation",
SIAM J. Sci. Stat. Comput. 10, 1989), so that nearly all work is matrix products. Their sums are those of BLAS, whose
last bits differ between libraries, processors and thread counts. A fork waits for the product in hand (products.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from fastinit.dtypes import FORMATS
from fastinit.engines.stream import DOMAIN_ORTHOGONAL
from fastinit.fill import memory
from fastinit.fill.runs import BoundLaw, FillRequest, fill_direct, fill_memory
from fastinit.laws import Constant, DeltaOrthogonal, Normal, Orthogonal
from fastinit.laws.law import ShapedLaw
from fastinit.products import inverse, matmul

Array = np.ndarray[Any, Any]

# Reflectors in a block: 4096 x 4096 takes 1.43, 1.04, 0.89 s with 64, 128, 256. Rows of the matrix updated at a time.
BLOCK, PANEL = 256, 512
# Elements of the matrix in one product, for which a fork waits: 17 GFLOP, a quarter of a second on a core of 64 GFLOPS.
LARGEST_FACTOR = 1 << 25


def fill_orthogonal(storage: Array, law: Orthogonal, request: FillRequest) -> None:
    """Fill a block with its part of each matrix. A matrix of which it holds any part is formed whole."""
    own, part = law.own(request.place.shape), part_of_copy(storage, law, request)
    _, rows, cols = law.matrices(request.place.shape)
    done, total = 0, storage.nbytes
    mapped = memory.file_behind(storage) is not None
    for number, mine in copies(storage, law, request):
        if mapped:
            low, high = byte_bounds(mine)
            memory.populate(low, high - low)
        straight = mine.shape == own and mine.flags.carray and request.floats.code == 0
        matrix = mine.reshape(rows, cols) if straight else np.empty((rows, cols), request.floats.working)

        def report(share: float, done: int = done, size: int = mine.nbytes) -> None:
            if request.progress is not None:
                request.progress(done + int(share * size), total)

        form(matrix, number, law.gain, request, report)
        if not straight:
            mine[...] = request.rounded(matrix.reshape(own)[part], storage)
        done += mine.nbytes


def fill_delta_orthogonal(storage: Array, law: DeltaOrthogonal, request: FillRequest) -> None:
    """Zeros on all threads, then the part of the matrix at the centre."""
    zeros = request.bound(Constant(0))
    fill_memory(storage, zeros, request.first, request.pitches, request.workers, request.progress)
    shape, offsets = request.place.shape, request.place.offsets
    centre = {axis: at - offsets[axis] for axis, at in law.centre(shape).items()}
    if not all(0 <= at < storage.shape[axis] for axis, at in centre.items()):
        return
    own, part = law.own_axes(shape), part_of_copy(storage, law, request)
    here = tuple(centre.get(axis, slice(None)) for axis in own)
    channels = [i for i, axis in enumerate(own) if axis not in centre]
    for number, mine in copies(storage, law, request):
        matrix = np.empty([shape[own[i]] for i in channels], request.floats.working)
        form(matrix, number, law.gain, request, lambda share: None)
        mine[here] = request.rounded(matrix[tuple(part[i] for i in channels)], storage)


def copies(storage: Array, law: ShapedLaw, request: FillRequest) -> Iterator[tuple[int, Array]]:
    """The number of each copy that a block has a part of, in row-major order of the batch axes, and that part."""
    shape, offsets = request.place.shape, request.place.offsets
    batch = law.batch_axes(shape)
    moved = storage.transpose(batch + law.own_axes(shape))
    for index in np.ndindex(*moved.shape[: len(batch)]):
        number = 0
        for i, axis in zip(index, batch, strict=True):
            number = number * shape[axis] + offsets[axis] + i
        yield number, moved[index]


def part_of_copy(storage: Array, law: ShapedLaw, request: FillRequest) -> tuple[slice, ...]:
    """What the block has of each copy."""
    offsets = request.place.offsets
    own = law.own_axes(request.place.shape)
    return tuple(slice(offsets[axis], offsets[axis] + storage.shape[axis]) for axis in own)


@dataclass(frozen=True)
class Reflectors:
    """The Gaussian vectors of matrix `number` of a tensor, m rows by n columns, m >= n.

    Vector j, of which the rows j ... m - 1 count, is row `number` n + j of a tensor of m columns of standard float32
    normals in domain 3, whose first element is number `before`: the same for every dtype.
    """

    words: Array
    before: int
    number: int
    m: int
    n: int
    workers: int

    def draw(self, j: int, count: int) -> Array:
        """Vectors j ... j + count - 1 from row j on, one a row, zero before their own beginning."""
        x = np.empty((count, self.m - j), np.float32)
        format = FORMATS["float32"]
        arguments = Normal().kernel_arguments(format)._replace(domain=DOMAIN_ORTHOGONAL)
        first = self.before + (self.number * self.n + j) * self.m + j
        fill_direct(x, BoundLaw(self.words, arguments, None, format), first, (self.m, 1), self.workers, None)
        return np.triu(x)


def form(matrix: Array, number: int, gain: float, request: FillRequest, report: Callable[[float], None]) -> None:
    """Write gain times a Haar-distributed matrix: orthonormal columns if they are the fewer, else rows.

    `report` is told the share of the work that is done. For a matrix of m x n, m >= n, or its transpose, the memory
    beside it is (2 m + n) x 256 elements, and 512 rows.
    """
    q = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    m, n = q.shape
    reflectors = Reflectors(request.words, request.before, number, m, n, request.workers)
    signs = np.empty(n, q.dtype)
    q[...] = 0
    for j in range((n - 1) // BLOCK * BLOCK, -1, -BLOCK):
        count = min(BLOCK, n - j)
        v, signs[j : j + count] = householder(reflectors.draw(j, count).astype(q.dtype, copy=False))
        reflect(v, q[j:, j:])
        report(1.0 - (j / n) ** 2)
    q *= signs * q.dtype.type(gain)


def householder(x: Array) -> tuple[Array, Array]:
    """Vectors v of the reflectors I - v v^T that turn each row x onto its first axis, and the sign of Q's column.

    Row i of x begins at column i, with x_0. v = x + sign(x_0) |x| e_0, scaled to v^T v = 2, takes x to
    -sign(x_0) |x| e_0. That is R's diagonal; its sign goes to Q's column. A row of length one turns by -1 and back.
    """
    i = np.arange(len(x))
    head = x[i, i]
    sign = np.copysign(x.dtype.type(1), head)
    norm = np.sqrt(np.einsum("ij,ij->i", x, x))
    x[i, i] += sign * norm
    x /= np.sqrt(norm * (norm + np.abs(head)))[:, None]
    return x, -sign


def reflect(v: Array, q: Array) -> None:
    """Q := H_0 H_1 ... Q, where the first rows and columns of Q are still zero and stand for those of the identity."""
    count, rest = len(v), q.shape[1] - len(v)
    i = np.arange(count)
    t = np.triu(matmul(v, v.T), 1)  # I - V T V^T is the product, with T^-1 = I + the strict upper triangle of V^T V
    t[i, i] = 1
    q[i, i] = 1
    w = np.empty((count, count + rest), q.dtype)
    w[:, :count] = v[:, :count]
    across = max(BLOCK, LARGEST_FACTOR // len(q))
    for c in range(count, count + rest, across):
        matmul(v[:, count:], q[count:, c : c + across], out=w[:, c : c + across])
    w = matmul(inverse(t), w)
    turned = abs(q.strides[0]) < abs(q.strides[1])
    product = np.empty((q.shape[1], PANEL), q.dtype).T if turned else np.empty((PANEL, q.shape[1]), q.dtype)
    for r in range(0, len(q), PANEL):
        rows = q[r : r + PANEL]
        rows -= matmul(v[:, r : r + PANEL].T, w, out=product[: len(rows)])
