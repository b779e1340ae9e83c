"""Products of matrices, by BLAS, that a fork waits for.

A fork while another thread is in OpenBLAS hangs parent and child: OpenBLAS ends its threads before a fork and waits for
those at work, who wait for it. So a fork in Python waits until no product of ours is under way, and none begins until
it is done. Products of several threads run at the same time. What others call in BLAS is not seen here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class _Gate:
    """Counts the products under way; a fork closes it."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.inside = 0  # products under way, in all threads
        self.forks = 0  # forks that wait, or are under way
        self.own = threading.local()  # `depth`: products under way in this thread

    @contextmanager
    def product(self) -> Iterator[None]:
        depth = getattr(self.own, "depth", 0)
        with self.changed:
            # A signal handler that draws while this thread is in a product must not wait for a fork that waits for it.
            while self.forks and not depth:
                self.changed.wait()
            self.inside += 1
            self.own.depth = depth + 1
        try:
            yield
        finally:
            with self.changed:
                self.inside -= 1
                self.own.depth = depth
                self.changed.notify_all()

    def close(self) -> None:
        """Wait until no other thread is in a product, and let none begin."""
        self.changed.acquire()
        self.forks += 1
        while self.inside > getattr(self.own, "depth", 0):
            self.changed.wait()

    def open(self) -> None:
        """The fork is done: the parent goes on."""
        self.forks -= 1
        self.changed.notify_all()
        self.changed.release()


_gate = _Gate()


def _open_in_child() -> None:
    global _gate
    _gate = _Gate()  # the threads that were waiting do not exist in a child


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: _gate.close(), after_in_parent=lambda: _gate.open(), after_in_child=_open_in_child
    )


def matmul(a: Array, b: Array, out: Array | None = None) -> Array:
    """The product of two matrices, as np.matmul gives it.

    Into zeros where no `out` is given: a matrix by its own transpose is BLAS's syrk to NumPy, and OpenBLAS's float32
    one on ARM64 multiplies what it finds there by 0, so that a NaN in recycled memory becomes one of the product. The
    flags of that, and of an underflow, are not the caller's.
    """
    if out is None:
        out = np.zeros((a.shape[0], b.shape[1]), np.result_type(a, b))
    with _gate.product(), np.errstate(all="ignore"):
        return np.matmul(a, b, out=out)


def dot(a: Array, b: Array) -> float:
    """The sum of the products of two vectors, as np.dot gives it."""
    with _gate.product():
        return float(np.dot(a, b))


def legendre(count: int) -> tuple[Array, Array]:
    """Gauss and Legendre's points in [-1, 1] and their weights, which are found by eigenvalues."""
    with _gate.product():
        points, weights = np.polynomial.legendre.leggauss(count)
    return points, weights


def inverse(a: Array) -> Array:
    """The inverse of a square matrix, as np.linalg.inv gives it."""
    with _gate.product():
        return np.linalg.inv(a)
