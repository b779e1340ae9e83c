"""fastinit.jax.record: the laws of layers of Linen, NNX and Equinox, as they are stacked, are those that they draw."""

from __future__ import annotations

import functools
import importlib.util
import math

import numpy as np
import pytest

import fastinit
from fastinit import laws
from fastinit.plan import Rule

jax = pytest.importorskip("jax")
nn = pytest.importorskip("flax.linen")

import jax.numpy as jnp  # noqa: E402
from flax import nnx  # noqa: E402

from fastinit.jax import initialize, initializers, plan, record  # noqa: E402

needs_equinox = pytest.mark.skipif(importlib.util.find_spec("equinox") is None, reason="not installed: equinox")
truncated = functools.partial(fastinit.schemes.lecun_normal, truncated=True)


def key():
    return jax.random.key(0)


# --- twenty kinds of stacked and general layers -----------------------------------------------------------------------
# Each gives what makes it. Kernels are large enough that a std which is wrong by a tenth shows.


class Layer(nn.Module):
    """The body of a scan."""

    @nn.compact
    def __call__(self, x, _):
        return nn.Dense(64)(x), None


def linen(module, *shapes):
    return lambda: module.init(key(), *(jnp.zeros(shape) for shape in shapes))


def scanned(axis, length=6, body=Layer):
    scan = nn.scan(body, variable_axes={"params": axis}, split_rngs={"params": True}, length=length)
    return lambda: scan().init(key(), jnp.zeros((2, 64)), None)


def mapped(axis, layer=nn.Dense, *arguments, inputs=((2, 64), float)):
    many = nn.vmap(
        layer, variable_axes={"params": axis}, split_rngs={"params": True}, in_axes=None, axis_size=6, out_axes=0
    )
    return lambda: many(*arguments).init(key(), jnp.zeros(*inputs))


def nested():
    inner = nn.vmap(
        nn.Dense, variable_axes={"params": 1}, split_rngs={"params": True}, in_axes=None, axis_size=3, out_axes=0
    )

    class Experts(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return inner(64)(x).mean(0), None

    scan = nn.scan(Experts, variable_axes={"params": 0}, split_rngs={"params": True}, length=4)
    return lambda: scan().init(key(), jnp.zeros((2, 64)), None)


def nnx_stack(make, count=6):
    @nnx.split_rngs(splits=count)
    @nnx.vmap(in_axes=0, out_axes=0)
    def many(rngs):
        return make(rngs)

    return lambda: nnx.split(many(nnx.Rngs(0)), nnx.Param, ...)[1]


def nnx_one(make):
    return lambda: nnx.split(make(nnx.Rngs(0)), nnx.Param, ...)[1]


def deeper():
    """A scan whose layers are drawn smaller the deeper they lie."""

    def body(scale, one):
        kernel = jax.nn.initializers.he_normal()(one, (64, 64)) * scale
        return scale * 0.5, kernel

    return lambda: {"kernel": jax.lax.scan(body, 1.0, jax.random.split(key(), 4))[1]}


def equinox_stack():
    import equinox as eqx

    return eqx.filter_vmap(lambda one: eqx.nn.MLP(32, 32, 64, 1, key=one))(jax.random.split(key(), 6))


def equinox(name, *arguments, **options):
    def make():
        import equinox as eqx

        return getattr(eqx.nn, name)(*arguments, **options, key=key())

    return make


KINDS = {
    "Linen: scan, stacked along axis 0": scanned(0),
    "Linen: scan, stacked along axis 1": scanned(1),
    "Linen: scan of a layer that is checkpointed": scanned(0, body=nn.remat(Layer)),
    "Linen: vmap, stacked along axis 0": mapped(0, nn.Dense, 64),
    "Linen: vmap, stacked along axis 1": mapped(1, nn.Dense, 64),
    "Linen: a scan of experts that are mapped": nested(),
    "Linen: embeddings, mapped": mapped(0, nn.Embed, 100, 64, inputs=((2,), int)),
    "Linen: convolutions, mapped": mapped(0, nn.Conv, 24, (3, 3), inputs=((1, 8, 8, 16), float)),
    "Linen: a recurrent cell, mapped": mapped(0, nn.RNN, nn.OptimizedLSTMCell(16), inputs=((1, 4, 16), float)),
    "Linen: DenseGeneral, several output axes": linen(nn.DenseGeneral((8, 16)), (2, 64)),
    "Linen: DenseGeneral, several axes of both": linen(nn.DenseGeneral((4, 8), axis=(-2, -1)), (2, 16, 24)),
    "Linen: DenseGeneral, with a batch dimension": linen(nn.DenseGeneral(32, batch_dims=(0,)), (4, 2, 64)),
    "Linen: attention": linen(nn.MultiHeadDotProductAttention(8, qkv_features=64), (2, 5, 32), (2, 5, 32)),
    "Linen: Einsum": linen(nn.Einsum((16, 8, 32), "abc,cde->abde"), (2, 3, 16)),
    "Linen: a grouped convolution": linen(nn.Conv(64, (3, 3), feature_group_count=4), (1, 8, 8, 16)),
    "Linen: a transposed convolution": linen(nn.ConvTranspose(48, (3, 3)), (1, 8, 8, 16)),
    "NNX: vmap": nnx_stack(lambda rngs: nnx.Linear(64, 64, rngs=rngs), 16),
    "NNX: LinearGeneral, mapped": nnx_stack(lambda rngs: nnx.LinearGeneral(64, (4, 8), rngs=rngs)),
    "NNX: attention, mapped": nnx_stack(lambda rngs: nnx.MultiHeadAttention(4, 32, decode=False, rngs=rngs)),
    "NNX: Embed": nnx_one(lambda rngs: nnx.Embed(200, 32, rngs=rngs)),
    "NNX: LoRA, mapped": nnx_stack(lambda rngs: nnx.LoRALinear(64, 64, lora_rank=16, rngs=rngs)),
    "NNX: Einsum, mapped": nnx_stack(lambda rngs: nnx.Einsum("ab,bcd->acd", (32, 8, 8), (8, 8), rngs=rngs)),
    "NNX: a recurrent cell, mapped": nnx_stack(lambda rngs: nnx.GRUCell(16, 16, rngs=rngs)),
    "JAX: a scan whose scale falls": deeper(),
}
EQUINOX = {
    "Equinox: a stack of perceptrons": equinox_stack,
    "Equinox: attention": equinox("MultiheadAttention", 4, 64),
    "Equinox: a convolution": equinox("Conv2d", 16, 32, 3),
    "Equinox: Embedding": equinox("Embedding", 200, 32),
    "Equinox: a recurrent cell": equinox("GRUCell", 32, 64),
}


def arrays_of(tree):
    """Name -> values, of the arrays of a tree."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    named = [
        (jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value"), leaf) for path, leaf in leaves
    ]
    return {
        name: np.asarray(leaf, np.float64)
        for name, leaf in named
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jnp.floating)
    }


def spread(sample):
    """The standard deviation about zero, and its standard error for a law with tails no heavier than a normal's."""
    return math.sqrt((sample**2).mean()), math.sqrt((sample**2).mean() / (2 * sample.size))


@pytest.mark.parametrize("kind", [*KINDS, *(pytest.param(kind, marks=needs_equinox) for kind in EQUINOX)])
def test_a_layer_is_drawn_with_the_std_that_it_draws_itself(kind):
    build = (KINDS | EQUINOX)[kind]
    own = arrays_of(build())
    recorded = record(build)
    assert not recorded.problems
    ours = arrays_of(initialize(recorded, 3))
    assert set(ours) == set(own) == {name for name in recorded.laws if name in own}
    for name, theirs in own.items():
        assert ours[name].shape == theirs.shape, name
        (a, error_a), (b, error_b) = spread(theirs), spread(ours[name])
        assert abs(a - b) <= 5 * math.hypot(error_a, error_b) + 1e-9, (name, a, b, recorded.laws[name])
        law = recorded.laws[name].on(theirs.shape)
        assert abs(a - math.hypot(law.std, law.mean)) <= 5 * error_a + 1e-6 * a, (name, a, law)
        least, most = law.support
        assert least * (1 + 1e-5) - 1e-9 <= theirs.min(), name
        assert theirs.max() <= most * (1 + 1e-5) + 1e-9, name


def test_there_are_twenty_kinds():
    assert len(KINDS) >= 20


def test_a_recording_is_shown_in_one_line():
    def build():
        drawn = jax.random.normal(key(), (4, 3))
        return {"w": drawn, **{f"odd{i}": jnp.sin(drawn + i) for i in range(5)}}

    recorded = record(build)
    assert len(recorded.problems) == 5
    assert repr(recorded) == "<Recording of 1 array with a law, 5 without one: odd0, odd1, odd2 and 2 more>"
    assert repr(record(lambda: {"w": jnp.ones(3), "b": jnp.zeros(3)})) == "<Recording of 2 arrays with a law>"


# --- what is read -----------------------------------------------------------------------------------------------------


def test_the_laws_are_those_of_the_schemes_to_the_last_bit():
    def build():
        keys = jax.random.split(key(), 8)
        them = jax.nn.initializers
        return {
            "lecun": them.lecun_normal()(keys[0], (300, 77)),
            "glorot": them.glorot_uniform()(keys[1], (300, 77)),
            "he": them.he_normal(in_axis=0, out_axis=1)(keys[2], (7, 5)),
            "normal": them.normal(0.02)(keys[3], (7, 5)),
            "uniform": them.uniform(1e-3)(keys[4], (7, 5)),
            "orthogonal": them.orthogonal(0.5)(keys[5], (3, 7, 5)),
            "delta": them.delta_orthogonal()(keys[6], (3, 3, 4, 5)),
            "cut": them.truncated_normal(0.1, lower=-1.5, upper=3.0)(keys[7], (7, 5)),
        }

    schemes = fastinit.schemes
    assert record(build).laws == {
        "lecun": schemes.lecun_normal(300, truncated=True),
        "glorot": schemes.xavier_uniform(300, 77),
        "he": schemes.he_normal(7, truncated=True),
        "normal": laws.Normal(0.0, 0.02),
        "uniform": laws.Uniform(0.0, 1e-3),
        "orthogonal": laws.Orthogonal(0.5, flatten="jax"),
        "delta": laws.DeltaOrthogonal(layout="keras"),
        "cut": schemes.truncated_normal(0.0, 0.1, sigmas=(-1.5, 3.0)),
    }


def test_our_own_initializers_are_read_as_they_are_under_jit_and_vmap():
    def build():
        @jax.jit
        def one(a, b):
            return {"kernel": initializers.he_normal()(a, (4, 6)), "cell": initializers.orthogonal(2.0)(b, (4, 6))}

        return jax.vmap(one)(*(jax.random.split(jax.random.key(i), 3) for i in (1, 2)))

    expected = {
        "kernel": fastinit.schemes.he_normal(4, truncated=True),
        "cell": laws.Orthogonal(2.0, flatten="jax", batch_axis=0),
    }
    assert record(build).laws == expected
    assert build()["kernel"].shape == (3, 4, 6)
    assert record(build).laws == expected  # also of functions that JAX has traced before


def test_nothing_is_made_of_a_model_of_any_size():
    layer = nn.scan(Huge, variable_axes={"params": 0}, split_rngs={"params": True}, length=48)
    recorded = record(layer().init, key(), jax.ShapeDtypeStruct((8, 16384), jnp.float32), None)
    assert recorded.law("params.Dense_1.kernel") == truncated(16384)
    assert plan(recorded).bytes > 48 * 16384 * 65536 * 4


class Huge(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return nn.Dense(16384)(nn.Dense(65536)(x)), None


def test_layers_that_are_made_with_one_key_are_the_same():
    many = nn.vmap(
        nn.Dense, variable_axes={"params": 0}, split_rngs={"params": False}, in_axes=None, axis_size=3, out_axes=0
    )
    made = initialize(record(many(8).init, key(), jnp.zeros((2, 4))), 3)["params"]["kernel"]
    assert (made[0] == made[1]).all()
    assert (made[0] == made[2]).all()
    assert float(made.std()) > 0.1


def test_what_is_drawn_by_one_key_is_a_copy():
    def build():
        online = jax.nn.initializers.normal(0.02)(key(), (4, 4))
        return {"online": online, "target": online, "half": 0.5 * online}

    recorded = record(build)
    assert recorded.law("target") == laws.Copy(laws.Normal(0.0, 0.02), "half")
    made = initialize(recorded, 0)
    assert (made["online"] == made["target"]).all()
    assert np.allclose(made["half"], 0.5 * made["online"])


def test_parts_of_one_draw_are_none():
    def build():
        query, value = jnp.split(jax.random.normal(key(), (4, 6)), 2, axis=1)
        return {"query": query, "value": value}

    assert record(build).laws == {"query": laws.Normal(), "value": laws.Normal()}


def test_a_tensor_of_parts_has_the_law_of_each():
    def build():
        one, two = jax.random.split(key())
        table = jax.random.normal(one, (10, 4)).at[3].set(0.0)
        return {"table": table, "fused": jnp.concatenate([jax.random.uniform(two, (2, 4)), jnp.ones((1, 4))])}

    assert record(build).laws == {
        "table": laws.Padded(laws.Normal(), 3),
        "fused": laws.Blocks(((2, laws.Uniform(0.0, 1.0)), (1, laws.Constant(1.0)))),
    }


def test_values_without_chance_are_kept_and_keys_are_left_as_they_are():
    class Model(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(4, 4, rngs=rngs)
            self.dropout = nnx.Dropout(0.5, rngs=rngs)
            self.positions = nnx.Param(jnp.sin(jnp.arange(6.0)))
            self.steps = nnx.Variable(jnp.array(7))

    recorded = record(lambda: Model(nnx.Rngs(0)))
    own, ours = Model(nnx.Rngs(0)), initialize(recorded, 0)
    assert isinstance(ours, Model)
    assert np.allclose(ours.positions[...], own.positions[...])
    assert int(ours.steps[...]) == 7
    assert (jax.random.key_data(ours.dropout.rngs.key[...]) == jax.random.key_data(own.dropout.rngs.key[...])).all()
    assert "dropout.rngs.key" not in {tensor.name for tensor in plan(recorded).tensors}


def test_what_is_no_law_is_refused_by_name_with_operation_and_line_and_a_rule_settles_it():
    def build():
        return {"w": jnp.cumsum(jax.random.normal(key(), (4, 4)), 0), "bias": jnp.zeros(4)}

    recorded = record(build)
    with pytest.raises(
        ValueError, match=r"no law for 'w' \[4, 4\]: cumsum of draws.*test_jax_record.py:\d+ in .*build"
    ):
        initialize(recorded, 0)
    made = initialize(recorded, 0, [Rule("w", "normal", {"std": 2.0})])
    assert (np.asarray(made["w"]) == fastinit.new((4, 4), laws.Normal(0.0, 2.0), seed=0, name="w")).all()
    assert not made["bias"].any()


def test_a_written_checkpoint_has_the_same_weights(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    from fastinit.write import write

    recorded = record(KINDS["Linen: scan, stacked along axis 1"])
    write(plan(recorded), tmp_path, seed=5)
    written = safetensors.load_file(tmp_path / "model.safetensors")
    for name, array in arrays_of(initialize(recorded, 5)).items():
        assert (written[name] == array).all()


# --- trees of shapes --------------------------------------------------------------------------------------------------


def test_stacked_layers_of_a_tree_of_shapes_are_told_by_their_bias():
    shapes = jax.eval_shape(KINDS["NNX: vmap"])
    assert {tensor.name: tensor.law for tensor in plan(shapes).tensors} == {
        "bias": laws.Constant(0),
        "kernel": truncated(64),
    }


@pytest.mark.parametrize(
    ("shape", "bias", "law"),
    [
        ((3, 3, 16, 40), (40,), truncated(144)),  # a convolution
        ((8, 16, 70), (70,), truncated(128)),  # a projection out of heads, or a convolution: one fan_in
        ((64, 8, 16), (8, 16), truncated(64)),  # a projection into heads
        ((6, 64, 32), (6, 32), truncated(64)),  # layers
        ((6, 64, 8, 16), (6, 8, 16), truncated(64)),  # layers of projections into heads
        ((6, 3, 3, 16, 40), (6, 40), truncated(144)),  # layers of convolutions
    ],
)
def test_the_bias_says_what_the_axes_of_a_kernel_are(shape, bias, law):
    tree = {"kernel": jax.ShapeDtypeStruct(shape, jnp.float32), "bias": jax.ShapeDtypeStruct(bias, jnp.float32)}
    assert {tensor.name: tensor.law for tensor in plan(tree).tensors}["kernel"] == law


@pytest.mark.parametrize(
    ("shape", "bias", "told"),
    [
        ((6, 64, 32), None, "no bias beside it"),
        ((64, 6, 32), (32, 6), r"\(32, 6\), fits none"),  # a scan along axis 1
    ],
)
def test_a_kernel_that_nothing_explains_is_refused_by_name(shape, bias, told):
    tree = {"up": {"kernel": jax.ShapeDtypeStruct(shape, jnp.float32)}}
    if bias:
        tree["up"]["bias"] = jax.ShapeDtypeStruct(bias, jnp.float32)
    with pytest.raises(ValueError, match=rf"'up.kernel' of shape .*{told}.*fastinit.jax.record.*batch_axis=0"):
        initialize(tree, 0)
    stacked = [Rule(r"up\.kernel", "lecun_normal", {"truncated": True, "batch_axis": 0}), *fastinit.jax.FLAX]
    assert {tensor.name: tensor.law for tensor in plan(tree, stacked).tensors}["up.kernel"] == truncated(shape[1])


def test_a_kernel_of_two_readings_is_refused_where_they_differ():
    tree = {
        "kernel": jax.ShapeDtypeStruct((16, 16, 64), jnp.float32),  # layers, or a projection into heads
        "bias": jax.ShapeDtypeStruct((16, 64), jnp.float32),
    }
    assert {tensor.name: tensor.law for tensor in plan(tree).tensors}["kernel"] == truncated(16)
    with pytest.raises(ValueError, match=r"the bias beside it, \(16, 64\), fits more than one"):
        plan(tree, [Rule("kernel", "glorot_normal"), *fastinit.jax.FLAX])


def test_embeddings_that_are_stacked_are_refused_too():
    with pytest.raises(ValueError, match="'embedding' of shape"):
        plan({"embedding": jax.ShapeDtypeStruct((6, 100, 64), jnp.float32)})


def test_what_was_recorded_is_drawn_inside_jit_with_the_same_bits():
    recorded = record(KINDS["NNX: vmap"])
    inside, outside = (
        arrays_of(make()) for make in (jax.jit(lambda: initialize(recorded, 0)), lambda: initialize(recorded, 0))
    )
    assert (inside["kernel"] == outside["kernel"]).all()


def test_all_four_modes_of_jax_are_rules():
    tree = {"w": jax.ShapeDtypeStruct((4, 9), jnp.float32)}
    rule = Rule("w", "variance_scaling", {"scale": 1.0, "mode": "fan_geo_avg", "distribution": "normal"})
    (tensor,) = plan(tree, [rule]).tensors
    assert tensor.law == laws.Normal(0.0, math.sqrt(1 / 6))
