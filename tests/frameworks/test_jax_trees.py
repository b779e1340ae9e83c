"""fastinit.jax.initialize: names from paths, rules in JAX's layout, Flax's own laws by default, models that learn."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fastinit
from fastinit import laws
from fastinit.plan import Rule

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

from fastinit.jax import FLAX, initialize, plan  # noqa: E402

LAYER = {"kernel": jax.ShapeDtypeStruct((6, 4), jnp.float32), "bias": jax.ShapeDtypeStruct((4,), jnp.bfloat16)}


def law_by_name(tree, rules=FLAX):
    return {tensor.name: tensor.law for tensor in plan(tree, rules).tensors}


# --- names ------------------------------------------------------------------------------------------------------------


def test_a_name_is_the_path_joined_by_dots():
    tree = {"params": {"Dense_0": LAYER, "blocks": [LAYER, (LAYER,)]}}
    leaves = ("bias", "kernel")
    assert [tensor.name for tensor in plan(tree).tensors] == [
        f"params.{place}.{leaf}" for place in ("Dense_0", "blocks.0", "blocks.1.0") for leaf in leaves
    ]


def test_two_leaves_of_one_name_are_refused():
    with pytest.raises(ValueError, match=r"two leaves called 'a\.kernel'"):
        initialize({"a.kernel": LAYER["kernel"], "a": {"kernel": LAYER["kernel"]}}, 0)


def test_a_leaf_without_a_shape_is_refused():
    with pytest.raises(TypeError, match=r"leaf 'step' is 3, .*jax.eval_shape"):
        initialize({"step": 3}, 0)


def test_a_leaf_that_no_rule_matches_is_refused_by_name():
    with pytest.raises(ValueError, match=r"no rule matches 'a\.w' \[2\]"):
        initialize({"a": {"w": jax.ShapeDtypeStruct((2,), jnp.float32)}}, 0)


def test_a_seed_is_needed():
    with pytest.raises(TypeError, match="seed is None"):
        initialize(LAYER, None)


# --- what is drawn ----------------------------------------------------------------------------------------------------


def test_a_leaf_has_the_bits_of_its_name_in_numpy():
    made = initialize({"params": {"Dense_0": LAYER}}, 11)["params"]["Dense_0"]
    w = np.empty((6, 4), np.float32)
    fastinit.fill_lecun_normal(w, 6, truncated=True, seed=11, name="params.Dense_0.kernel")
    assert (np.asarray(made["kernel"]) == w).all()
    assert made["bias"].dtype == jnp.bfloat16
    assert not made["bias"].any()


def test_a_leaf_does_not_depend_on_the_others():
    alone = initialize({"a": LAYER}, 11)
    among = initialize({"0": LAYER, "a": LAYER, "z": LAYER}, 11)
    assert (among["a"]["kernel"] == alone["a"]["kernel"]).all()
    assert (among["a"]["kernel"] != among["z"]["kernel"]).any()


def test_a_skipped_leaf_is_returned_as_it_came():
    step = jnp.array(3)
    made = initialize({"layer": LAYER, "step": step}, 0, [Rule("step", "skip"), *FLAX])
    assert made["step"] is step


def test_a_rule_may_change_the_dtype():
    made = initialize(LAYER, 0, [Rule(".*", "normal", {"std": 1.0}, dtype="float16")])
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype(jnp.float16)}


@pytest.mark.parametrize(
    ("scheme", "numbers", "shape", "law"),
    [
        ("he_normal", {}, (6, 4), laws.Normal(0.0, math.sqrt(2 / 6))),
        ("he_normal", {"layout": "torch"}, (6, 4), laws.Normal(0.0, math.sqrt(2 / 4))),
        ("he_normal", {"fan_in": 9}, (6, 4), laws.Normal(0.0, math.sqrt(2 / 9))),
        (
            "variance_scaling",
            {"scale": 1.0, "distribution": "normal", "layout": "jax"},
            (3, 6, 4),
            laws.Normal(0.0, math.sqrt(1 / 18)),
        ),
        ("he_normal", {"in_axis": 0, "out_axis": (1, 2)}, (3, 6, 4), laws.Normal(0.0, math.sqrt(2 / 3))),
        ("he_normal", {"mode": "fan_out", "groups": 2}, (6, 4), laws.Normal(0.0, math.sqrt(2 / 2))),
        ("orthogonal", {"flatten": "jax"}, (3, 6, 4), laws.Orthogonal(flatten="jax")),
        ("orthogonal", {"flatten": "torch"}, (3, 6, 4), laws.Orthogonal()),
        ("he_normal", {"batch_axis": 0}, (3, 6, 4), laws.Normal(0.0, math.sqrt(2 / 6))),
        ("orthogonal", {"batch_axis": 0}, (3, 6, 4), laws.Orthogonal(1.0, "jax", 1)),
        ("delta_orthogonal", {}, (3, 4, 6), laws.DeltaOrthogonal(layout="keras")),
        (
            "blocks",
            {"axis": 1, "parts": [{"size": 2, "scheme": "he_normal"}, {"scheme": "orthogonal"}]},
            (6, 4),
            laws.Blocks(((2, laws.Normal(0.0, math.sqrt(2 / 6))), (2, laws.Orthogonal(flatten="jax"))), 1),
        ),
        ("normal", {"std": 0.5}, (6, 4), laws.Normal(0.0, 0.5)),
    ],
)
def test_rules_mean_the_layout_of_jax(scheme, numbers, shape, law):
    tree = {"w": jax.ShapeDtypeStruct(shape, jnp.float32)}
    assert law_by_name(tree, [Rule("w", scheme, numbers)]) == {"w": law}


def test_dirac_is_refused_for_it_knows_no_layout_but_that_of_pytorch():
    with pytest.raises(ValueError, match="delta_orthogonal"):
        initialize({"w": jax.ShapeDtypeStruct((3, 4, 4), jnp.float32)}, 0, [Rule("w", "dirac")])


def test_arrays_are_as_good_as_their_shapes():
    shapes = {"a": LAYER}
    arrays = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    assert (initialize(arrays, 1)["a"]["kernel"] == initialize(shapes, 1)["a"]["kernel"]).all()


# --- Flax -------------------------------------------------------------------------------------------------------------


def linen_model(linen):
    class Model(linen.Module):
        @linen.compact
        def __call__(self, image, tokens):
            image = linen.Conv(40, (3, 3))(image)
            image = linen.GroupNorm(4)(linen.BatchNorm(use_running_average=True)(image))
            image = linen.ConvTranspose(30, (2, 2))(image)
            x = linen.Embed(300, 64)(tokens)
            x = linen.RMSNorm()(linen.LayerNorm()(x))
            x = linen.MultiHeadDotProductAttention(8)(x, x)
            x = linen.RNN(linen.OptimizedLSTMCell(64))(x)
            x = linen.RNN(linen.SimpleCell(64))(linen.RNN(linen.GRUCell(64))(x))
            return linen.DenseGeneral(70, axis=(-2, -1))(x), image

    return Model(), (jnp.zeros((1, 8, 8, 16)), jnp.zeros((1, 5), int))


def test_the_default_rules_draw_what_the_layers_of_linen_draw():
    linen = pytest.importorskip("flax.linen")
    model, inputs = linen_model(linen)
    # Without optimisation, for it is compiled for one run.
    own = jax.jit(model.init, compiler_options={"xla_backend_optimization_level": 0})(jax.random.key(0), *inputs)
    ours = law_by_name(jax.eval_shape(model.init, jax.random.key(0), *inputs))
    assert len(ours) == len(jax.tree.leaves(own))
    for path, leaf in jax.tree_util.tree_leaves_with_path(own):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        law, sample = ours[name].on(leaf.shape), np.asarray(leaf, np.float64)
        assert sample.std() == pytest.approx(law.std, rel=4 / math.sqrt(sample.size) + 1e-6, abs=1e-9), name
        assert sample.mean() == pytest.approx(law.mean, abs=4 * law.std / math.sqrt(sample.size) + 1e-9), name
        assert law.support[0] - 1e-6 <= sample.min(), name
        assert sample.max() <= law.support[1] + 1e-6, name
        if isinstance(ours[name], laws.Orthogonal):
            assert np.allclose(sample @ sample.T, np.eye(len(sample)), atol=1e-5), name


def test_the_state_of_an_nnx_module_has_the_names_of_its_attributes():
    nnx = pytest.importorskip("flax.nnx")

    class Model(nnx.Module):
        def __init__(self, rngs):
            self.embed = nnx.Embed(10, 8, rngs=rngs)
            self.blocks = nnx.List([nnx.Linear(8, 8, rngs=rngs)])
            self.attention = nnx.MultiHeadAttention(2, 8, rngs=rngs, decode=False)
            self.cell = nnx.GRUCell(8, 8, rngs=rngs)

    graph, state = nnx.split(nnx.eval_shape(lambda: Model(nnx.Rngs(0))), nnx.Param)
    found = law_by_name(state)
    assert {"embed.embedding", "blocks.0.kernel", "blocks.0.bias", "attention.query.kernel"} <= set(found)
    assert found["attention.query.kernel"] == fastinit.schemes.lecun_normal(8, truncated=True)
    assert found["cell.dense_h.kernel"] == laws.Orthogonal(flatten="jax")
    model = nnx.merge(graph, initialize(state, 3))
    expected = fastinit.new((8, 8), found["blocks.0.kernel"], seed=3, name="blocks.0.kernel")
    assert (np.asarray(model.blocks[0].kernel[...]) == expected).all()


def digits():
    """Images of 8 x 8 in [0, 1], and which digit they are."""
    data = pytest.importorskip("sklearn.datasets").load_digits()
    return jnp.asarray(data.images[:, :, :, None] / 16.0, jnp.float32), jnp.asarray(data.target)


def accuracy_after_training(forward, params, images, labels):
    """Of a model before and after 60 steps of Adam on all the digits."""
    optax = pytest.importorskip("optax")
    optimizer = optax.adam(1e-2)

    def loss(params):
        return optax.softmax_cross_entropy_with_integer_labels(forward(params, images), labels).mean()

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    def accuracy(params):
        return float((forward(params, images).argmax(-1) == labels).mean())

    before, state = accuracy(params), optimizer.init(params)
    for _ in range(60):
        params, state = step(params, state)
    return before, accuracy(params)


def test_a_linen_model_learns_the_digits():
    linen = pytest.importorskip("flax.linen")
    images, labels = digits()

    class Model(linen.Module):
        @linen.compact
        def __call__(self, x):
            x = linen.relu(linen.Conv(8, (3, 3), strides=(2, 2))(x)).reshape(len(x), -1)
            return linen.Dense(10)(linen.relu(linen.Dense(32)(x)))

    params = initialize(jax.eval_shape(Model().init, jax.random.key(0), images), 0)
    before, after = accuracy_after_training(Model().apply, params, images, labels)
    assert before < 0.3
    assert after > 0.9


def test_an_nnx_model_learns_the_digits():
    nnx = pytest.importorskip("flax.nnx")
    images, labels = digits()

    class Model(nnx.Module):
        def __init__(self, rngs):
            self.first, self.last = nnx.Linear(64, 32, rngs=rngs), nnx.Linear(32, 10, rngs=rngs)

        def __call__(self, x):
            return self.last(nnx.relu(self.first(x.reshape(len(x), -1))))

    graph, state = nnx.split(nnx.eval_shape(lambda: Model(nnx.Rngs(0))), nnx.Param)
    before, after = accuracy_after_training(
        lambda params, x: nnx.merge(graph, params)(x), initialize(state, 0), images, labels
    )
    assert before < 0.3
    assert after > 0.9


def test_a_layer_of_flax_takes_our_initializers():
    linen = pytest.importorskip("flax.linen")
    from fastinit.jax import initializers, seed_of

    seen = []

    def kernel(key, shape, dtype):
        seen.append((seed_of(key), shape))
        return initializers.he_normal()(key, shape, dtype)

    layers = linen.Sequential([linen.Dense(5, kernel_init=kernel), linen.Dense(5, kernel_init=kernel)])
    params = layers.init(jax.random.key(0), jnp.zeros((1, 5)))["params"]
    for layer, (seed, shape) in zip(("layers_0", "layers_1"), seen, strict=True):
        w = np.empty(shape, np.float32)
        fastinit.fill_he_normal(w, 5, truncated=True, seed=seed)
        assert (np.asarray(params[layer]["kernel"]) == w).all()
    assert seen[0][0] != seen[1][0]
