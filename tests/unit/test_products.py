"""A fork waits for the products that other threads have in BLAS: parent and child go on, with the right values."""

from __future__ import annotations

import ast
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

import fastinit
from fastinit import products

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def test_a_fork_waits_for_the_product_of_another_thread_and_none_begins_meanwhile():
    entered, leave, forked = threading.Event(), threading.Event(), threading.Event()
    order = []

    def multiply() -> None:
        with products._gate.product():
            entered.set()
            leave.wait(10)
            order.append("product ends")

    def fork() -> None:
        child = os.fork()
        if child == 0:
            os._exit(0)
        order.append("forked")
        os.waitpid(child, 0)
        forked.set()

    first = threading.Thread(target=multiply)
    first.start()
    assert entered.wait(10)
    forking = threading.Thread(target=fork)
    forking.start()
    assert not forked.wait(0.2)

    def multiply_later() -> None:
        products.matmul(np.eye(3), np.eye(3))
        order.append("later product ends")

    later = threading.Thread(target=multiply_later)
    later.start()
    later.join(0.2)
    assert later.is_alive()
    leave.set()
    for thread in (first, forking, later):
        thread.join(10)
        assert not thread.is_alive()
    assert order[0] == "product ends"
    assert sorted(order[1:]) == ["forked", "later product ends"]


def test_products_of_two_threads_run_at_the_same_time():
    both = threading.Barrier(2, timeout=10)

    def multiply() -> None:
        with products._gate.product():
            both.wait()

    threads = [threading.Thread(target=multiply) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not both.broken


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers of signals")
def test_a_signal_handler_may_fork_and_multiply_while_its_thread_is_in_a_product():
    statuses = []

    def handle(number: int, frame: object) -> None:
        child = os.fork()
        if child == 0:
            os._exit(0 if products.dot(np.ones(3), np.ones(3)) == 3.0 else 1)
        products.matmul(np.eye(3), np.eye(3))
        statuses.append(os.waitpid(child, 0)[1])

    previous = signal.signal(signal.SIGUSR1, handle)
    try:
        with products._gate.product():
            os.kill(os.getpid(), signal.SIGUSR1)
            for _ in range(1000):
                pass
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert statuses == [0]
    assert products._gate.inside == products._gate.forks == 0


def test_an_error_in_a_product_leaves_the_gate_open():
    with pytest.raises(np.linalg.LinAlgError):
        products.inverse(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="matmul"):
        products.matmul(np.eye(2), np.eye(3))
    assert products._gate.inside == 0


def test_the_results_are_those_of_numpy():
    a, b = fastinit.new((2, 20, 20), fastinit.laws.Normal(), dtype="float64", seed=0)
    assert np.array_equal(products.matmul(a, b), a @ b)
    out = np.empty((20, 20))
    assert products.matmul(a, b, out=out) is out
    assert np.array_equal(products.inverse(a), np.linalg.inv(a))
    assert products.dot(a[0], b[0]) == np.dot(a[0], b[0])


def enters_blas(node: ast.AST) -> bool:
    if isinstance(node, ast.BinOp | ast.AugAssign):
        return isinstance(node.op, ast.MatMult)
    names = {"dot", "vdot", "inner", "matmul", "tensordot", "linalg", "leggauss", "multi_dot", "cov", "corrcoef"}
    return isinstance(node, ast.Attribute) and node.attr in names


def test_only_the_module_of_products_enters_blas():
    package = Path(fastinit.__file__).parent
    found = {
        f"{path.relative_to(package)}:{node.lineno}"
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if enters_blas(node)
    }
    assert {one.partition(":")[0] for one in found} == {"products.py"}


def test_a_product_of_matrices_says_nothing_of_floating_point_flags() -> None:
    small = np.full((4, 4), 1e-200)
    with np.errstate(all="raise"):
        with pytest.raises(FloatingPointError):
            np.matmul(small, small)
        assert not products.matmul(small, small).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_product_does_not_depend_on_what_its_memory_held(dtype) -> None:
    # OpenBLAS on ARM64 (seen under QEMU) multiplies that by 0 where a float32 matrix meets its own transpose.
    a = np.random.default_rng(0).standard_normal((64, 96)).astype(dtype)
    for _ in range(20):
        np.full((64, 64), np.nan, dtype)  # given back at once: the next array of this size has its memory
        assert np.isfinite(products.matmul(a, a.T)).all()
