"""Structured initialisers beside those of PyTorch and JAX: element for element where nothing is drawn, else the law."""

from __future__ import annotations

import numpy as np
import pytest

import fastinit

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("shape", [(5, 5), (3, 8), (8, 3)])
def test_identity_is_torch_eye(shape):
    ours, theirs = np.empty(shape, np.float32), torch.nn.init.eye_(torch.empty(shape))
    fastinit.fill_identity(ours)
    assert (ours == theirs.numpy()).all()


@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("kernel", [(1,), (3,), (4,), (3, 3), (2, 5), (4, 3, 2), (2, 2, 2)])
@pytest.mark.parametrize(("out", "own"), [(6, 6), (6, 2), (12, 3), (6, 9)])
def test_dirac_is_torch_dirac(out, own, kernel, groups):
    ours, theirs = np.empty((out, own, *kernel), np.float32), torch.empty(out, own, *kernel)
    fastinit.fill_dirac(ours, groups)
    torch.nn.init.dirac_(theirs, groups)
    assert (ours == theirs.numpy()).all()


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.35, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("shape", [(7, 5), (100, 3), (1, 4)])
def test_sparse_counts_as_torch_counts(shape, sparsity):
    ours = np.empty(shape, np.float32)
    fastinit.fill_sparse(ours, sparsity, seed=0)
    theirs = torch.nn.init.sparse_(torch.empty(shape), sparsity).numpy()
    assert (np.count_nonzero(ours, axis=0) == np.count_nonzero(theirs, axis=0)).all()


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (6, 2, 3), (2, 6, 3)])
def test_the_same_side_is_orthonormal_as_in_torch(shape):
    ours = np.empty(shape, np.float64)
    fastinit.fill_orthogonal(ours, 2.0, seed=0)
    theirs = torch.nn.init.orthogonal_(torch.empty(shape, dtype=torch.float64), 2.0).numpy()
    a, b = (x.reshape(shape[0], -1) for x in (ours, theirs))
    side = (lambda x: x @ x.T) if a.shape[0] <= a.shape[1] else (lambda x: x.T @ x)
    assert np.allclose(side(a), side(b), atol=1e-12)


@pytest.mark.parametrize("kernel", [(3,), (4,), (3, 4), (2, 2, 3)])
def test_delta_orthogonal_has_the_support_of_jax(kernel):
    jax = pytest.importorskip("jax")
    shape = (*kernel, 4, 6)
    ours = np.empty(shape, np.float32)
    fastinit.fill_delta_orthogonal(ours, 1.5, layout="keras", seed=0)
    theirs = np.asarray(jax.nn.initializers.delta_orthogonal(1.5)(jax.random.key(0), shape))
    assert ((ours != 0) == (theirs != 0)).all()
    a, b = (x[tuple((k - 1) // 2 for k in kernel)] for x in (ours, theirs))
    assert np.allclose(a @ a.T, b @ b.T, atol=1e-5)


@pytest.mark.parametrize("shape", [(6, 4), (3, 2, 6), (2, 2, 3, 5)])
def test_flatten_jax_makes_the_same_side_orthonormal_as_jax(shape):
    jax = pytest.importorskip("jax")
    ours = np.empty(shape, np.float32)
    fastinit.fill_orthogonal(ours, flatten="jax", seed=0)
    theirs = np.asarray(jax.nn.initializers.orthogonal()(jax.random.key(0), shape))
    a, b = (x.reshape(-1, shape[-1]) for x in (ours, theirs))
    side = (lambda x: x @ x.T) if a.shape[0] <= a.shape[1] else (lambda x: x.T @ x)
    assert np.allclose(side(a), side(b), atol=1e-5)
