"""fastinit.jax.initializers: the signatures and the laws of jax.nn.initializers, the bits of fastinit.fill."""

from __future__ import annotations

import functools
import inspect
import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import fastinit
from fastinit.laws import TruncatedNormal

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

from fastinit.jax import arrays, initializers, seed_of  # noqa: E402

theirs = jax.nn.initializers
NAMES = sorted(name for name in dir(theirs) if not name.startswith("_") and name != "Initializer")
READY = ("zeros", "ones")  # initialisers themselves; all others make one
SHAPE = (192, 256)
# The arguments that have no default, and some that have one, so that they are seen to matter.
ARGUMENTS = {
    "constant": [{"value": 3.0}],
    "uniform": [{}, {"scale": 1.5}],
    "normal": [{}, {"stddev": 0.5}],
    "truncated_normal": [{}, {"stddev": 0.5, "lower": -1.5, "upper": 1.0}],
    "variance_scaling": [
        {"scale": 3.0, "mode": mode, "distribution": distribution}
        for mode in ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")
        for distribution in ("truncated_normal", "normal", "uniform")
    ],
    **{
        name: [{}, {"in_axis": 1, "out_axis": 0}] for name in NAMES if re.match("glorot|xavier|lecun|he_|kaiming", name)
    },
}
DRAWN = [
    (name, arguments) for name in NAMES if name in ARGUMENTS and name != "constant" for arguments in ARGUMENTS[name]
]

TRUNCATED = [
    (name, arguments)
    for name, arguments in DRAWN
    if (name.endswith("_normal") or arguments.get("distribution") == "truncated_normal")
]


@functools.cache  # a function, so that JAX starts no threads while tests are collected: others fork
def key7():
    return jax.random.key(7)


def made(module, name, arguments=None):
    """The initialiser of this name in a module."""
    one = getattr(module, name)
    return one if name in READY else one(**(ARGUMENTS.get(name, [{}])[0] if arguments is None else arguments))


def test_no_name_of_jax_is_missing():
    assert set(NAMES) <= set(vars(initializers))


@pytest.mark.parametrize("name", NAMES)
def test_names_and_defaults_are_those_of_jax(name):
    def parameters(one):
        # Before JAX 0.8 the default dtype is written as jnp.float_, and means what None means.
        found = inspect.signature(one).parameters.values()
        return [(each.name, None if each.default is jnp.float_ else each.default) for each in found]

    ours, original = made(initializers, name), made(theirs, name)
    if name not in READY:
        assert parameters(getattr(initializers, name)) == parameters(getattr(theirs, name))
    # Before JAX 0.8 their calls have no out_sharding.
    assert parameters(ours)[: len(parameters(original))] == parameters(original)
    assert [each for each, _ in parameters(ours)] == ["key", "shape", "dtype", "out_sharding"]
    assert isinstance(ours, theirs.Initializer)


@pytest.mark.parametrize(("name", "arguments"), DRAWN, ids=str)
def test_what_jax_draws_and_what_we_draw_follow_one_law(name, arguments):
    law = made(initializers, name, arguments).law(SHAPE)
    low, high = law.support
    for module, level in ((initializers, 1e-3), (theirs, 1e-3)):
        sample = np.asarray(made(module, name, arguments)(key7(), SHAPE)).astype(np.float64).ravel()
        assert low * (1 + 1e-6) <= sample.min()
        assert sample.max() <= high * (1 + 1e-6)
        assert abs(sample.mean() - law.mean) <= 4 * law.std / math.sqrt(sample.size)
        assert sample.std() == pytest.approx(law.std, rel=4 / math.sqrt(sample.size))
        assert stats.kstest(sample, law.cdf, method="asymp").pvalue > level


@pytest.mark.parametrize(("name", "arguments"), TRUNCATED, ids=str)
def test_a_truncated_law_is_corrected_where_jax_corrects_it(name, arguments):
    law = made(initializers, name, arguments).law(SHAPE)
    assert isinstance(law, TruncatedNormal)
    fan_in, fan_out = SHAPE[:: -1 if "in_axis" in arguments else 1]
    variances = {"glorot": 2 / (fan_in + fan_out), "xavier": 2 / (fan_in + fan_out), "lecun": 1 / fan_in}
    variances |= {"he": 2 / fan_in, "kaiming": 2 / fan_in}
    if name == "truncated_normal":
        assert law.parent_std == arguments.get("stddev", 1e-2)
    elif name == "variance_scaling":
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
        n["fan_geo_avg"] = math.sqrt(fan_in * fan_out)
        assert law.std == pytest.approx(math.sqrt(3.0 / n[arguments["mode"]]), rel=1e-12)
    else:
        assert law.std == pytest.approx(math.sqrt(variances[name.split("_")[0]]), rel=1e-12)
        assert law.high == pytest.approx(2 * law.std / 0.87962566103423978, rel=1e-12)


@pytest.mark.parametrize(
    "axes",
    [
        {"batch_axis": 0},
        {"in_axis": 0, "out_axis": (1, 2)},
        {"in_axis": (0, 1)},
        {"out_axis": 0},
        {"out_axis": -2},
        {"in_axis": (0, 1), "out_axis": 1, "batch_axis": (1, 2)},
    ],
)
def test_axes_count_as_in_jax(axes):
    shape = (40, 50, 60)
    ours = made(initializers, "he_normal", axes).law(shape).std
    sample = np.asarray(made(theirs, "he_normal", axes)(key7(), shape)).astype(np.float64)
    assert ours == pytest.approx(sample.std(), rel=0.01)


@pytest.mark.parametrize("shape", [(), (5,)])
def test_a_shape_of_too_few_dimensions_is_refused_in_the_words_of_jax(shape):
    with pytest.raises(ValueError, match=r"default in_axis\. Must be") as ours:
        initializers.he_normal()(key7(), shape)
    with pytest.raises(ValueError, match="Must be at least 2D") as original:
        theirs.he_normal()(key7(), shape)
    assert str(ours.value).startswith(str(original.value))


@pytest.mark.parametrize(("shape", "axis"), [((6, 4), -1), ((4, 6), 0), ((3, 5, 8), 0), ((3, 5, 8), 1), ((3, 2, 7), 2)])
def test_the_matrix_of_an_orthogonal_tensor_is_that_of_jax(shape, axis):
    def gram(array):
        matrix = np.moveaxis(np.asarray(array), axis, -1).reshape(-1, shape[axis])
        return matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix

    ours, original = (module.orthogonal(2.0, axis)(key7(), shape) for module in (initializers, theirs))
    assert ours.shape == shape
    assert np.allclose(gram(ours), gram(original), atol=1e-5)


@pytest.mark.parametrize("axis", [-1, -2])
def test_a_delta_orthogonal_kernel_is_zero_where_that_of_jax_is(axis):
    ours, original = (np.asarray(m.delta_orthogonal(2.0, axis)(key7(), (3, 4, 5, 6))) for m in (initializers, theirs))
    assert ((ours != 0) == (original != 0)).all()
    assert np.allclose(ours[1, 1] @ ours[1, 1].T, 4 * np.eye(5), atol=1e-5)


# --- keys -------------------------------------------------------------------------------------------------------------


def test_the_seed_of_a_key_is_its_two_words_high_word_first():
    assert seed_of(jax.random.key(7)) == seed_of(jax.random.PRNGKey(7)) == 7
    assert seed_of(jnp.array([3, 5], jnp.uint32)) == 3 * 2**32 + 5
    assert seed_of(jax.random.key(-1)) == 2**32 - 1
    high, low = np.asarray(jax.random.key_data(jax.random.split(key7())[1])).tolist()
    assert seed_of(jax.random.split(key7())[1]) == high << 32 | low


def test_the_four_words_of_an_rbg_key_are_hashed():
    import hashlib

    key = jax.random.key(7, impl="rbg")  # its words are 0, 7, 0, 7
    expected = hashlib.blake2b((7 << 64 | 7).to_bytes(16, "little"), digest_size=8).digest()
    assert seed_of(key) == int.from_bytes(expected, "little")


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_different_keys_have_different_seeds(impl):
    keys = [jax.random.key(i, impl=impl) for i in range(20)]
    keys += list(jax.random.split(keys[0], 100)) + [jax.random.fold_in(keys[1], i) for i in range(50)]
    assert len({seed_of(key) for key in keys}) == len(keys)


@pytest.mark.parametrize("make", [jax.random.key, jax.random.PRNGKey])
def test_a_batch_of_keys_is_refused_and_the_message_says_how_to_map(make):
    with pytest.raises(ValueError, match=r"batch of keys of shape \(3,\).*jax.vmap"):
        initializers.he_normal()(jax.random.split(make(0), 3), SHAPE)


@pytest.mark.parametrize("key", [None, 7, np.zeros(2), np.zeros(2, np.int32)], ids=str)
def test_what_is_no_key_is_refused(key):
    with pytest.raises(TypeError, match=r"jax.random.key\(0\)"):
        initializers.he_normal()(key, SHAPE)


def test_a_constant_does_not_look_at_the_key():
    assert (initializers.ones(None, (2, 3)) == 1).all()


# --- bits -------------------------------------------------------------------------------------------------------------


def table():
    """JAX's name -> our call, as docs/initializers.md sets them side by side."""
    page = (Path(__file__).parents[2] / "docs" / "initializers.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `(\w+).*?` \| `(.*?)` \|", page.split("## jax.nn.initializers")[1], flags=re.M))


@pytest.mark.parametrize("name", NAMES)
def test_an_initializer_has_the_bits_of_the_fill_beside_it_in_the_table(name):
    shape = (3, 3, 16, 24) if name == "delta_orthogonal" else SHAPE
    arguments = ARGUMENTS.get(name, [{}])[-1]
    ours = np.asarray(made(initializers, name, {} if "in_axis" in arguments else arguments)(key7(), shape))
    fan_in, fan_out = fastinit.fans(shape, "jax")
    w = np.empty(shape, np.float32)
    names = {one: functools.partial(function, seed=7) for one, function in vars(fastinit).items() if "fill" in one}
    fan = math.sqrt(fan_in * fan_out)  # of the last arguments of variance_scaling
    numbers = {"scale": 1.0, **arguments}
    eval(table()[name], {"w": w, "fan_in": fan_in, "fan_out": fan_out, "fan": fan, **names, **numbers})
    assert ours.dtype == w.dtype
    assert (ours == w).all()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("how", ["called", "jit", "vmap"])
def test_every_dtype_has_the_bits_of_numpy_under_every_transformation(dtype, how):
    init = initializers.he_normal()
    if how == "called":
        ours = init(key7(), SHAPE, dtype)
    elif how == "jit":
        ours = jax.jit(lambda key: init(key, SHAPE, dtype))(key7())
    else:
        ours = jax.vmap(lambda key: init(key, SHAPE, dtype))(jax.random.split(key7(), 2))[1]
    seed = seed_of(jax.random.split(key7(), 2)[1]) if how == "vmap" else 7
    assert ours.dtype == dtype
    assert np.asarray(ours).tobytes() == fastinit.new(SHAPE, init.law(SHAPE), dtype=dtype, seed=seed).tobytes()


def test_float64_is_drawn_where_jax_has_it():
    with jax.enable_x64(True):
        ours = initializers.normal()(key7(), SHAPE)
    assert ours.dtype == np.float64
    assert (np.asarray(ours) == fastinit.new(SHAPE, fastinit.laws.Normal(0.0, 0.01), dtype="float64", seed=7)).all()


def test_float64_without_x64_is_float32_and_jax_warns():
    with pytest.warns(UserWarning, match="float64"):
        assert initializers.normal()(key7(), SHAPE, np.float64).dtype == np.float32


def test_the_dtype_of_the_factory_is_the_default_of_the_call():
    init = initializers.normal(dtype=jnp.bfloat16)
    assert init(key7(), (2,)).dtype == jnp.bfloat16
    assert init(key7(), (2,), jnp.float32).dtype == jnp.float32


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float8_e5m2"])
def test_jax_takes_over_the_memory_that_was_filled(dtype):
    for shape in [(1000, 1000), (7,), ()]:
        law = fastinit.laws.Normal(0.0, 1.0)
        array = arrays.filled(shape, law, np.dtype(jnp.dtype(dtype)), 0, "", None)
        assert jax.device_put(array).unsafe_buffer_pointer() == array.ctypes.data


# --- transformations --------------------------------------------------------------------------------------------------


def test_eval_shape_draws_nothing(monkeypatch):
    monkeypatch.setattr(arrays, "fill", lambda *_, **__: pytest.fail("something was drawn"))
    shape = jax.eval_shape(lambda key: initializers.he_normal()(key, (1 << 20, 1 << 20), "bfloat16"), key7())
    assert (shape.shape, shape.dtype) == ((1 << 20, 1 << 20), jnp.bfloat16)


@pytest.mark.parametrize("make", [jax.random.key, jax.random.PRNGKey])
def test_weights_are_no_constants_of_a_compiled_program(make):
    key = make(7)
    lowered = jax.jit(lambda: initializers.he_normal()(key, SHAPE)).lower()
    assert len(lowered.as_text()) < 10_000
    assert (np.asarray(lowered.compile()()) == np.asarray(initializers.he_normal()(key, SHAPE))).all()


def test_what_a_law_refuses_is_refused_while_a_function_is_traced():
    for init, shape, dtype in [
        (initializers.orthogonal(), (3,), "float32"),
        (initializers.normal(), (3,), "int32"),
        (initializers.normal(1e5), (3,), "float16"),
        (initializers.he_normal(), (3,), "float32"),
    ]:
        with pytest.raises((TypeError, ValueError)):
            jax.eval_shape(lambda k, init=init, shape=shape, dtype=dtype: init(k, shape, dtype), key7())


def test_a_mode_or_distribution_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="fan_geo_avg"):
        initializers.variance_scaling(1.0, "fan", "normal")
    with pytest.raises(ValueError, match="truncated_normal"):
        initializers.variance_scaling(1.0, "fan_in", "gaussian")(key7(), SHAPE)
