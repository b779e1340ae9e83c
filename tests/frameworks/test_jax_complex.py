"""Complex dtypes of the JAX face: JAX's own law in distribution, and the bits of fill on every way."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402
from jax.sharding import NamedSharding  # noqa: E402
from jax.sharding import PartitionSpec as P  # noqa: E402

import fastinit.jax  # noqa: E402
from fastinit import laws  # noqa: E402
from fastinit.jax import initializers as ours  # noqa: E402

theirs = jax.nn.initializers
KEY = jax.random.key(7)
SHAPE = (300, 200)
BY_FANS = ["glorot_uniform", "glorot_normal", "lecun_uniform", "lecun_normal", "he_uniform", "he_normal"]
DRAWS = {
    "normal": lambda place: place.normal(0.02),
    **{name: (lambda place, name=name: getattr(place, name)()) for name in BY_FANS},
    "variance_scaling": lambda place: place.variance_scaling(2.0, "fan_out", "normal"),
}
WIDTHS = ["complex64", "complex128"]


@pytest.fixture(params=WIDTHS)
def dtype(request):
    with jax.enable_x64(request.param == "complex128"):
        yield jnp.dtype(request.param)


@pytest.mark.parametrize("name", DRAWS)
def test_a_draw_has_the_law_of_jaxs_own(name, dtype):
    own, others = (np.asarray(DRAWS[name](place)(KEY, SHAPE, dtype)) for place in (ours, theirs))
    assert own.dtype == others.dtype == dtype
    own, others = (x.astype(np.complex128).reshape(-1) for x in (own, others))
    for of in (np.abs, np.angle, np.real, np.imag):
        assert stats.ks_2samp(of(own), of(others)).pvalue > 1e-4
    assert np.abs(own).std() == pytest.approx(np.abs(others).std(), rel=0.03)
    assert abs(np.corrcoef(own.real, own.imag)[0, 1]) < 5.0 / math.sqrt(own.size)


def test_a_truncated_law_is_cut_where_jax_cuts_it():
    cut = 2.0 * math.sqrt(2.0 / 300) / ours.JAX_COMPLEX_STD
    for place in (ours, theirs):
        drawn = np.abs(np.asarray(place.he_normal()(KEY, (300, 3000), jnp.complex64)))
        assert 0.999 * cut < drawn.max() < cut * (1.0 + 1e-6)


@pytest.mark.parametrize("name", DRAWS)
def test_every_way_gives_the_bits_of_fill(name, dtype):
    init = DRAWS[name](ours)
    drawn = np.asarray(init(KEY, SHAPE, dtype))
    if "normal" not in name or name == "normal":  # the truncated ones have JAX's constant
        same = np.empty(SHAPE, dtype)
        fastinit.fill(same, init.law(SHAPE), seed=7)
        assert np.array_equal(drawn, same)
    assert np.array_equal(jax.jit(lambda key: init(key, SHAPE, dtype))(KEY), drawn)
    with fastinit.jax.drawn_by("device"):
        assert np.array_equal(jax.jit(lambda key: init(key, SHAPE, dtype))(KEY), drawn)
    exported = jax.export.export(jax.jit(lambda key: init(key, SHAPE, dtype)))(KEY)
    assert np.array_equal(exported.call(KEY), drawn)
    keys = jax.random.split(KEY, 3)
    stacked = jax.vmap(lambda key: init(key, SHAPE, dtype))(keys)
    assert np.array_equal(stacked[2], init(keys[2], SHAPE, dtype))


def test_a_mesh_changes_no_bit(dtype):
    mesh = jax.make_mesh((jax.device_count(),), ("a",))
    layout, init = NamedSharding(mesh, P("a")), ours.he_normal()
    drawn = init(KEY, (64, 30), dtype)
    assert np.array_equal(init(KEY, (64, 30), dtype, out_sharding=layout), drawn)
    assert np.array_equal(jax.jit(lambda key: init(key, (64, 30), dtype), out_shardings=layout)(KEY), drawn)


@pytest.mark.parametrize("column_axis", [0, -1])
def test_an_orthogonal_matrix_is_unitary(column_axis, dtype):
    for shape in ((40, 30), (30, 40), (3, 10, 40)):
        for run in (lambda call: call(KEY), lambda call: jax.jit(call)(KEY)):
            q = np.asarray(run(lambda key: ours.orthogonal(2.0, column_axis)(key, shape, dtype)))  # noqa: B023
            q = np.moveaxis(q, column_axis, -1).reshape(-1, shape[column_axis]).astype(np.complex128) / 2.0
            q = q if q.shape[0] >= q.shape[1] else q.T
            assert np.abs(q.conj().T @ q - np.eye(q.shape[1])).max() < 64.0 * np.finfo(dtype).eps
    kernel = np.asarray(ours.delta_orthogonal()(KEY, (3, 4, 5), dtype))
    assert np.abs(kernel[1] @ kernel[1].conj().T - np.eye(4)).max() < 64.0 * np.finfo(dtype).eps
    assert not kernel[[0, 2]].any()


def test_constants_and_traced_scales(dtype):
    assert (ours.zeros(KEY, (3,), dtype) == 0).all()
    assert (ours.constant(2 - 1j)(KEY, (3,), dtype) == 2 - 1j).all()
    scaled = jax.jit(lambda std: ours.normal(std)(KEY, SHAPE, dtype))(0.5)
    assert np.array_equal(scaled, ours.normal(0.5)(KEY, SHAPE, dtype))


def test_a_law_of_an_interval_is_refused_as_by_jax(dtype):
    with pytest.raises(ValueError, match="is not symmetric about 0, and has no form for complex numbers"):
        ours.uniform(1.0)(KEY, (3,), dtype)
    with pytest.raises(ValueError, match="must be a float dtype"):
        theirs.uniform(1.0)(KEY, (3,), dtype)


def test_a_recording_says_the_complex_law_of_ours_and_none_of_what_it_cannot_read():
    recorded = fastinit.jax.record(
        lambda key: {
            "own": ours.normal(0.5)(key, (4, 4), jnp.complex64),
            "real": jnp.ones(3) * jax.random.normal(key, (3,)) + 0j,
        },
        KEY,
    )
    assert recorded.law("own") == laws.ComplexNormal(0.0, 0.5)
    with pytest.raises(ValueError, match="'real'"):
        recorded.law("real")
