"""What is known only when a program runs: traced scales, symbolic dimensions; and what the device draws."""

from __future__ import annotations

import numpy as np
import pytest

import fastinit
from fastinit import laws

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

from fastinit.jax import drawing, drawn_by, elementwise, initializers, seed_of  # noqa: E402
from fastinit.jax.scaled import OTHERS  # noqa: E402

SHAPE = (60, 130)
NARROW = ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")


def key7():
    return jax.random.key(7)


def raw(array):
    array = np.asarray(array)
    return array.view(f"u{array.itemsize}")


# --- scales -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", *NARROW])
@pytest.mark.parametrize("name", ["normal", "uniform", "truncated_normal"])
def test_a_traced_scale_draws_what_that_scale_draws(name, dtype):
    make = getattr(initializers, name)
    draw = jax.jit(lambda scale: make(scale)(key7(), SHAPE, dtype))
    for scale in np.float32([0.02, 0.9, 1.7, 3.0]):
        traced, told = (
            np.asarray(array).astype(np.float64) for array in (draw(scale), make(scale)(key7(), SHAPE, dtype))
        )
        ulp = np.spacing(np.abs(told).astype(np.float32)) if name == "truncated_normal" else 0.0
        assert (np.abs(traced - told) <= ulp).all()
        if name == "uniform":
            assert traced.max() < scale
        if name == "truncated_normal":
            assert np.abs(traced).max() <= 2 * float(scale)


@pytest.mark.parametrize("mode", ["fan_in", "fan_avg", "fan_geo_avg"])
@pytest.mark.parametrize("distribution", ["normal", "uniform", "truncated_normal"])
def test_a_traced_variance_is_that_variance(mode, distribution):
    def draw(scale):
        return initializers.variance_scaling(scale, mode, distribution)(key7(), SHAPE)

    traced, told = (np.asarray(array) for array in (jax.jit(draw)(2.5), draw(2.5)))
    assert np.abs(traced - told).max() <= 2.0**-22 * np.abs(told).max()


def test_a_scale_that_depends_on_the_depth_of_a_scan():
    def layer(depth, key):
        return depth + 1, initializers.normal(0.02 / jnp.sqrt(depth))(key, SHAPE)

    keys = jax.random.split(key7(), 4)
    _, weights = jax.jit(lambda keys: jax.lax.scan(layer, jnp.float32(1), keys))(keys)
    for depth, (key, weight) in enumerate(zip(keys, weights, strict=True), 1):
        scale = np.float32(0.02) / np.sqrt(np.float32(depth))
        # XLA divides by the root in its own way, to a unit or two in the last place of the scale.
        assert np.allclose(weight, initializers.normal(scale)(key, SHAPE), rtol=1e-6, atol=0)


def test_a_batch_of_scales_and_an_array_as_scale():
    scales = jnp.array([0.5, 1.0, 2.0])
    told = np.stack([np.asarray(initializers.normal(float(s))(key7(), (4,))) for s in scales])
    assert (np.asarray(jax.vmap(lambda s: initializers.normal(s)(key7(), (4,)))(scales)) == told).all()
    columns = np.asarray(initializers.normal(scales)(key7(), (40, 3)))
    assert (columns == np.asarray(initializers.normal(1.0)(key7(), (40, 3))) * np.asarray(scales)).all()


@pytest.mark.parametrize("name", ["normal", "uniform", "truncated_normal"])
@pytest.mark.parametrize("scale", [-0.7, 0.0, 0.7])
def test_the_gradient_by_a_scale_is_the_draw_with_scale_1(name, scale):
    make = getattr(initializers, name)
    slope = jax.grad(lambda s: make(s)(key7(), SHAPE).sum())(scale)
    assert slope == pytest.approx(float(np.asarray(make(1.0)(key7(), SHAPE), np.float64).sum()), rel=1e-4)


@pytest.mark.parametrize("name", ["normal", "uniform", "truncated_normal", "orthogonal"])
def test_a_scale_below_zero_draws_what_its_magnitude_draws_negated(name):
    make = getattr(initializers, name)
    assert (np.asarray(make(-0.3)(key7(), SHAPE)) == -np.asarray(make(0.3)(key7(), SHAPE))).all()
    traced = jax.jit(lambda scale: make(scale)(key7(), SHAPE))(-0.3)
    assert np.allclose(traced, make(-0.3)(key7(), SHAPE), rtol=1e-6)


def test_a_scale_of_zero_draws_zeros():
    for init in (
        initializers.uniform(0.0),
        initializers.normal(0.0),
        initializers.truncated_normal(0.0),
        initializers.variance_scaling(0.0, "fan_in", "uniform"),
    ):
        assert not np.asarray(init(key7(), SHAPE)).any()


def test_a_constant_is_a_number_or_an_array_traced_or_not():
    rows = np.arange(3.0)
    assert (np.asarray(initializers.constant(rows)(None, (2, 3))) == rows).all()
    assert (np.asarray(initializers.constant(jnp.float32(3))(None, (2,))) == 3).all()
    assert (jax.jit(lambda value: initializers.constant(value)(None, (2,)))(5.0) == 5).all()
    assert jax.grad(lambda value: initializers.constant(value)(None, (2, 3)).sum())(1.0) == 6
    with pytest.raises(ValueError, match="roadcast"):
        initializers.constant(rows)(None, (2, 4))


def test_an_integer_is_a_shape_of_one_dimension():
    assert (np.asarray(initializers.normal()(key7(), 5)) == np.asarray(initializers.normal()(key7(), (5,)))).all()
    with pytest.raises(TypeError, match="pass a tuple of integers"):
        initializers.normal()(key7(), (2.5,))
    with pytest.raises(ValueError, match="negative"):
        initializers.normal()(key7(), (-1,))


def test_what_is_no_scale_is_refused():
    with pytest.raises(TypeError, match=r"stddev is 'a'.*real number"):
        initializers.normal("a")
    with pytest.raises(ValueError, match="nan"):
        initializers.normal(float("nan"))(key7(), SHAPE)
    with pytest.raises(TypeError, match="sigmas"):
        jax.jit(lambda low: initializers.truncated_normal(lower=low)(key7(), SHAPE))(-1.0)


@pytest.mark.parametrize("dtype", sorted(OTHERS))
def test_another_float8_holds_the_float32_values_rounded_within_the_support(dtype):
    for init in (initializers.normal(1.0), initializers.uniform(1.0), initializers.truncated_normal(1.0)):
        ours = np.asarray(init(key7(), SHAPE, dtype))
        single = np.asarray(init(key7(), SHAPE))
        assert (raw(jax.jit(lambda key, init=init: init(key, SHAPE, dtype))(key7())) == raw(ours)).all()
        inside = (
            single.astype(ours.dtype).astype(np.float32) < 1 if init.law(SHAPE) == laws.Uniform(0, 1) else ours == ours
        )
        assert (raw(ours) == raw(single.astype(ours.dtype)))[inside].all()
        if init.law(SHAPE) == laws.Uniform(0, 1):
            assert ours.astype(np.float32).max() < 1
    with pytest.raises(ValueError, match="beyond the largest"):
        initializers.normal(1e6)(key7(), SHAPE, dtype)


def test_a_key_is_used_up():
    with jax.debug_key_reuse(True):
        key = jax.random.key(11)
        initializers.normal()(key, (2,))
        with pytest.raises(jax.errors.KeyReuseError):
            initializers.normal()(key, (2,))
        with pytest.raises(jax.errors.KeyReuseError):
            jax.jit(lambda key: initializers.normal()(key, (2,)) + initializers.uniform()(key, (2,)))(
                jax.random.key(12)
            )
        initializers.ones(key, (2,))


# --- by the device ----------------------------------------------------------------------------------------------------

DEVICE = [
    laws.Uniform(),
    laws.Uniform(-0.3, 0.7),
    laws.Normal(),
    laws.Normal(0.5, 0.02),
    laws.TruncatedNormal(0.0, 1.0, -2.0, 2.0),
    laws.TruncatedNormal(0.1, 0.02, -0.05, 0.3),
    laws.TruncatedNormal(0.0, 1.0, 0.0, np.inf),
    laws.TruncatedNormal(0.0, 1.0, -9.0, -3.0),
    laws.TruncatedNormal(0.1, 0.0, -9.0, 3.0),
]


def by_the_device(law, shape, dtype, seed=3 << 32 | 7, name=""):
    words = drawing.words_of_seed(seed)
    draw = jax.jit(lambda words: drawing.drawn(words, shape, law, np.dtype(jnp.dtype(dtype)), name, "device"))
    return np.asarray(draw(words))


@pytest.mark.parametrize("dtype", ["float32", *NARROW])
@pytest.mark.parametrize("law", DEVICE, ids=str)
def test_the_device_draws_the_bits_of_numpy(law, dtype):
    expected = fastinit.new(SHAPE, law, dtype=dtype, seed=3 << 32 | 7, name="a")
    assert (raw(by_the_device(law, SHAPE, dtype, name="a")) == raw(expected)).all()


def test_the_device_draws_the_bits_of_numpy_in_float64():
    with jax.enable_x64(True):
        for law in DEVICE:
            expected = fastinit.new(SHAPE, law, dtype="float64", seed=3 << 32 | 7)
            assert (raw(by_the_device(law, SHAPE, "float64")) == raw(expected)).all(), law


def test_words_and_uniforms_of_a_million_elements_are_the_stream():
    shape = (1000, 1000)
    assert (
        by_the_device(laws.Uniform(), shape, "float32") == fastinit.new(shape, laws.Uniform(), seed=3 << 32 | 7)
    ).all()


@pytest.mark.parametrize("shape", [(1 << 20, 1 << 14), (3, 1 << 19, 1 << 15), (1 << 30, 1 << 25)])
def test_an_index_of_more_than_32_bits_has_its_own_word(shape):
    last = tuple(n - 3 for n in shape)
    for law in (laws.Uniform(), laws.Normal()):
        draw = jax.jit(
            lambda words, law=law: jax.lax.slice(
                drawing.drawn(words, shape, law, np.dtype(np.float32), way="device"), last, shape
            )
        )
        expected = fastinit.new((3,) * len(shape), law, seed=5, shard=fastinit.Shard(shape, last))
        assert (np.asarray(draw(drawing.words_of_seed(5))) == expected).all()


def test_a_choice_of_who_draws_is_seen_by_a_function_that_was_compiled_before():
    draw = jax.jit(lambda key: initializers.normal()(key, SHAPE))

    def calls_the_host():
        return "fastinit_draw" in draw.lower(key7()).compile().as_text()

    host = np.asarray(draw(key7()))
    assert calls_the_host()
    with drawn_by("device"):
        assert (np.asarray(draw(key7())) == host).all()
        assert not calls_the_host()
        with drawn_by("host"):
            assert calls_the_host()
    with pytest.raises(ValueError, match='"host", "device" or None'):
        drawn_by("callback")


def test_what_the_device_cannot_draw_is_refused_by_name():
    with drawn_by("device"):
        with pytest.raises(NotImplementedError, match=r"Orthogonal is drawn on the host.*Draw it outside"):
            jax.jit(lambda key: initializers.orthogonal()(key, SHAPE))(key7())
        with pytest.raises(NotImplementedError, match="a key of 4 words is hashed"):
            jax.jit(lambda key: initializers.normal()(key, SHAPE))(jax.random.key(0, impl="rbg"))
    with pytest.raises(NotImplementedError, match=r"jax.export cannot take along .*Orthogonal"):
        jax.export.export(jax.jit(lambda key: initializers.orthogonal()(key, SHAPE)))(key7())


@pytest.mark.parametrize("platforms", [None, ["cpu", "cuda", "tpu"]], ids=str)
def test_an_exported_initializer_draws_the_same(platforms):
    init = initializers.he_normal()
    exported = jax.export.export(jax.jit(lambda key: init(key, SHAPE)), platforms=platforms)(jax.random.key(0))
    assert (np.asarray(exported.call(key7())) == np.asarray(init(key7(), SHAPE))).all()


def test_an_exported_initializer_is_read_again():
    pytest.importorskip("flatbuffers")
    exported = jax.export.export(jax.jit(lambda key: initializers.normal()(key, SHAPE)))(jax.random.key(0))
    again = jax.export.deserialize(exported.serialize())
    assert (np.asarray(again.call(key7())) == np.asarray(initializers.normal()(key7(), SHAPE))).all()


SYMBOLIC = [
    ("normal", {}),
    ("he_normal", {}),
    ("glorot_uniform", {}),
    ("lecun_normal", {"in_axis": 1, "out_axis": 0}),
    ("variance_scaling", {"scale": 2.0, "mode": "fan_geo_avg", "distribution": "normal"}),
    ("ones", None),
]


@pytest.mark.parametrize(("name", "arguments"), SYMBOLIC, ids=str)
def test_dimensions_may_be_symbolic(name, arguments):
    one = getattr(initializers, name)
    init = one if arguments is None else one(**arguments)
    lengths = jax.export.symbolic_shape("a, b")
    draw = jax.jit(lambda key, like: init(key, like.shape))
    exported = jax.export.export(draw)(jax.random.key(0), jax.ShapeDtypeStruct(lengths, np.float32))
    for shape in (SHAPE, (7, 3)):
        ours, told = np.asarray(exported.call(key7(), np.zeros(shape, np.float32))), np.asarray(init(key7(), shape))
        assert np.abs(ours - told).max() <= (0 if name in ("normal", "ones") else 2.0**-22 * np.abs(told).max())


def test_a_law_that_needs_the_host_is_refused_for_symbolic_dimensions():
    like = jax.ShapeDtypeStruct(jax.export.symbolic_shape("a, b"), np.float32)
    draw = jax.jit(lambda key, like: initializers.orthogonal()(key, like.shape))
    with pytest.raises(NotImplementedError, match="symbolic dimensions: Orthogonal"):
        jax.export.export(draw)(jax.random.key(0), like)


def test_a_seed_is_the_words_of_its_key():
    for seed in (0, 7, 2**63 + 5):
        assert seed_of(drawing.words_of_seed(seed)) == seed


def test_only_laws_of_one_word_an_element_have_a_form_for_the_device():
    assert elementwise.refusal(laws.Normal(), 2) is None
    assert elementwise.refusal(laws.Copy(laws.Normal(), "a"), 2) is None
    assert "Sparse is drawn on the host" in elementwise.refusal(laws.Sparse(sparsity=0.5), 2)
