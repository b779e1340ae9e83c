"""What `fill` says of real tensors, parameters, arrays and variables; and that what it names takes them."""

from __future__ import annotations

import numpy as np
import pytest

import fastinit


def refused(buf):
    with pytest.raises(TypeError) as error:
        fastinit.fill_he_normal(buf, 4, seed=0)
    return str(error.value)


def test_a_parameter_is_filled_by_what_the_error_names():
    torch = pytest.importorskip("torch")
    w = torch.nn.Parameter(torch.zeros(4, 4))
    assert "fastinit.torch.kaiming_normal_" in refused(w)
    fastinit.torch.kaiming_normal_(w)
    assert w.detach().abs().min() > 0
    fastinit.fill_he_normal(w.detach(), 4, seed=0)
    expected = np.empty((4, 4), np.float32)
    fastinit.fill_he_normal(expected, 4, seed=0)
    assert (w.detach().numpy() == expected).all()


def test_a_meta_tensor_and_a_plain_tensor_are_told_apart():
    torch = pytest.importorskip("torch")
    assert "fastinit.torch.materialize_" in refused(torch.empty(4, 4, device="meta"))
    fastinit.fill_he_normal(torch.empty(4, 4), 4, seed=0)


def test_an_array_of_jax_is_refused_before_it_is_read():
    jax = pytest.importorskip("jax")
    x = jax.numpy.zeros((4, 4))
    assert "fastinit.jax.initializers.he_normal()(key, shape)" in refused(x)
    assert (x == 0).all()
    assert fastinit.jax.initializers.he_normal()(jax.random.key(0), (4, 4)).shape == (4, 4)


def test_a_variable_of_keras_is_assigned_as_the_error_says():
    keras = pytest.importorskip("keras")
    v = keras.Variable(np.zeros((4, 4), np.float32))
    assert "buf.assign(fastinit.keras.HeNormal(seed=0)(buf.shape))" in refused(v)
    v.assign(fastinit.keras.HeNormal(seed=0)(v.shape))
    assert np.abs(keras.ops.convert_to_numpy(v + 0)).min() > 0  # of a variable itself it warns, with NumPy 2
