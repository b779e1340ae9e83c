"""fastinit.jax.sharded on a mesh of eight CPU devices, in child processes: JAX counts its devices when it starts."""

from __future__ import annotations

from eight_devices import on_eight_devices
from processes import needs

pytestmark = needs("jax")


def test_every_sharding_has_the_bits_of_numpy():
    on_eight_devices(
        """
independent = [laws.Normal(0.0, 0.02), laws.Uniform(), laws.TruncatedNormal(0.0, 1.0, -2.0, 2.0), laws.Constant(2.0)]
shaped = [laws.Sparse(sparsity=0.5), laws.Sparse(sparsity=0.5, axis=1), laws.Identity()]
layouts = [((8,), P("x")), ((8,), P(None, "x")), ((4, 2), P("x", "y")), ((2, 4), P("x", "y")), ((4, 2), P(("y", "x")))]
layouts += [((4, 2), P("y")), ((4, 2), P()), ((1,), P("x"))]
for law in independent + shaped:
    for dtype in ("float32", "bfloat16", "float8_e4m3fn"):
        numpy = fastinit.new(SHAPE, law, dtype=dtype, seed=3, name="w")
        for grid, spec in layouts:
            sharding = NamedSharding(mesh(grid), spec)
            ours = fastinit.jax.sharded(SHAPE, dtype, law, sharding, seed=3, name="w")
            assert ours.sharding.is_equivalent_to(sharding, 2)
            assert np.asarray(ours).tobytes() == numpy.tobytes(), (law, dtype, grid, spec)
            for shard in ours.addressable_shards:
                assert np.asarray(shard.data).tobytes() == numpy[shard.index].tobytes(), (law, dtype, grid, spec)
"""
    )


def test_an_orthogonal_matrix_is_the_same_for_every_sharding_to_a_tolerance():
    on_eight_devices(
        """
numpy = fastinit.new(SHAPE, laws.Orthogonal(), seed=3, name="w")
for grid, spec in [((8,), P("x")), ((4, 2), P("x", "y")), ((2, 4), P("x", "y"))]:
    ours = fastinit.jax.sharded(SHAPE, None, laws.Orthogonal(), NamedSharding(mesh(grid), spec), seed=3, name="w")
    assert np.abs(np.asarray(ours) - numpy).max() <= 32 * 2.0**-23
"""
    )


def test_each_device_draws_its_block_and_nothing_else():
    on_eight_devices(
        """
drawn, fill = [], arrays.fill
def watched(array, law, **address):
    drawn.append((array.shape, address["shard"].offsets))
    fill(array, law, **address)
arrays.fill = watched
fastinit.jax.sharded(SHAPE, None, laws.Normal(), NamedSharding(mesh((4, 2)), P("x", "y")), seed=3, name="w")
assert sorted(drawn) == [((4, 12), (row, column)) for row in (0, 4, 8, 12) for column in (0, 12)], drawn
"""
    )


def test_a_function_that_donates_a_sharded_array_leaves_its_replicas_alone():
    on_eight_devices(
        """
sharding = NamedSharding(mesh((4, 2)), P("x"))
ours = fastinit.jax.sharded(SHAPE, None, laws.Normal(), sharding, seed=3, name="w")
numpy = fastinit.new(SHAPE, laws.Normal(), seed=3, name="w")
twice = jax.jit(lambda x: 2 * x, donate_argnums=0)(ours)
assert (np.asarray(twice) == 2 * numpy).all()
for shard in twice.addressable_shards:
    assert (np.asarray(shard.data) == 2 * numpy[shard.index]).all()
"""
    )


def test_an_initializer_takes_out_sharding_where_those_of_jax_do():
    on_eight_devices(
        """
for type in (AxisType.Auto, AxisType.Explicit):
    grid = mesh((4, 2), type)
    for init in (initializers.normal(), initializers.ones):
        expected = np.asarray(init(KEY, SHAPE))
        for sharding in (P("x", None), P(None, "y"), NamedSharding(grid, P("x", "y"))):
            spec = getattr(sharding, "spec", sharding)
            for call in (init, jax.jit(init, static_argnums=(1, 2, 3))):
                with jax.set_mesh(grid):
                    ours = call(KEY, SHAPE, None, sharding)
                assert ours.sharding.is_equivalent_to(NamedSharding(grid, spec), 2), (type, sharding)
                assert (np.asarray(ours) == expected).all()
        without_context = init(KEY, SHAPE, None, NamedSharding(grid, P("x")))
        assert (np.asarray(without_context) == expected).all()
"""
    )


def test_a_partition_spec_without_a_mesh_is_refused():
    on_eight_devices(
        """
message = raised(lambda: initializers.normal()(KEY, SHAPE, None, P("x")))
assert message.startswith("ValueError") and "jax.set_mesh" in message, message
"""
    )


def test_a_missing_seed_is_refused():
    on_eight_devices(
        """
sharding = NamedSharding(mesh((8,)), P("x"))
message = raised(lambda: fastinit.jax.sharded(SHAPE, None, laws.Normal(), sharding, seed=None, name="w"))
assert message.startswith("ValueError") and "seed" in message, message
"""
    )


def test_a_tree_takes_shardings_for_all_for_its_top_or_from_its_leaves():
    on_eight_devices(
        """
grid = mesh((4, 2))
rows, both = NamedSharding(grid, P("x")), NamedSharding(grid, P("x", "y"))
def leaf(shape, sharding=None):
    return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding)
def same(a, b):
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: bool((np.asarray(x) == np.asarray(y)).all()), a, b)))

tree = {"a": {"kernel": leaf((8, 8), both), "bias": leaf((8,))}, "b": [{"kernel": leaf((16, 4))}]}
plain = fastinit.jax.initialize(jax.tree.map(lambda one: leaf(one.shape), tree), 5)
own = fastinit.jax.initialize(tree, 5)
everywhere = fastinit.jax.initialize(tree, 5, shardings=rows)
top = fastinit.jax.initialize(tree, 5, shardings={"a": rows, "b": None})
assert same(plain, own) and same(plain, everywhere) and same(plain, top)
assert own["a"]["kernel"].sharding == both and len(own["a"]["bias"].devices()) == 1
assert everywhere["a"]["kernel"].sharding == rows == everywhere["b"][0]["kernel"].sharding
assert top["a"]["bias"].sharding == rows and len(top["b"][0]["kernel"].devices()) == 1

with jax.set_mesh(mesh((4, 2), AxisType.Explicit)):  # the leaves lie on an abstract mesh
    abstract = jax.eval_shape(lambda: {"a": {"kernel": jnp.zeros((8, 8), out_sharding=P("x", "y"))}})
    made = fastinit.jax.initialize(abstract, 5)
assert made["a"]["kernel"].sharding.spec == P("x", "y")
assert (np.asarray(made["a"]["kernel"]) == np.asarray(plain["a"]["kernel"])).all()
"""
    )


def test_an_array_lies_where_jax_puts_its_own():
    on_eight_devices(
        """
from contextlib import nullcontext
ours, theirs = initializers.lecun_normal(), jax.nn.initializers.lecun_normal()
expected = np.asarray(ours(KEY, SHAPE))
auto, explicit, two = mesh((4, 2)), mesh((4, 2), AxisType.Explicit), mesh((2,))
device = jax.devices()[3]
contexts = {
    "none": nullcontext, "auto": lambda: jax.set_mesh(auto), "explicit": lambda: jax.set_mesh(explicit),
    "two": lambda: jax.set_mesh(two), "default": lambda: jax.default_device(device),
}
for old in (False, True):
    key = jax.random.PRNGKey(3) if old else KEY
    keys = {
        "free": key, "on a device": jax.device_put(key, device),
        "on a mesh": jax.device_put(key, NamedSharding(auto, P())),
        "of a cut batch": jax.device_put(jnp.stack([key] * 8), NamedSharding(auto, P("x")))[1],
    }
    for context, enter in contexts.items():
        for place, each in keys.items():
            with enter():
                try:
                    original = theirs(each, SHAPE)
                except ValueError:  # the key is committed to another place than the mesh
                    assert raised(lambda: ours(each, SHAPE)).startswith("ValueError"), (context, place)
                    continue
                made = ours(each, SHAPE)
            assert made.sharding.is_equivalent_to(original.sharding, 2), (context, place, made.sharding)
            assert type(made.sharding) is type(original.sharding) and made.committed == original.committed
            assert (np.asarray(made) == expected).all()
"""
    )


@needs("flax")
def test_a_layer_of_nnx_with_metadata_is_made_on_the_mesh_of_the_context():
    on_eight_devices(
        """
warnings.simplefilter("default")
from flax import nnx
def layer(init):
    with jax.set_mesh(mesh((2, 4))):
        return nnx.Linear(8, 8, kernel_init=nnx.with_partitioning(init, ("x", "y")), rngs=nnx.Rngs(0))
made, original = (layer(module.lecun_normal()).kernel for module in (initializers, jax.nn.initializers))
assert made.get_value().sharding == original.get_value().sharding
assert made.get_value().sharding.shard_shape((8, 8)) == (4, 2)
"""
    )
