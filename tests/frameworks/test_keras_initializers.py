"""fastinit.keras: the arguments and laws of keras.initializers, configurations, seeds, models that learn.

On the backend that KERAS_BACKEND names, JAX if none; the last test runs all the others on PyTorch and TensorFlow.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import math
import os
import sys

import numpy as np
import pytest
from processes import run_python
from scipy import stats

import fastinit
from fastinit import laws

pytest.importorskip("jax")
os.environ.setdefault("KERAS_BACKEND", "jax")
keras = pytest.importorskip("keras")

import fastinit.keras  # noqa: E402

# Keras' own, where it makes NumPy arrays of its variables.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
BACKEND = keras.config.backend()
NAMES = sorted({one.__name__ for one in vars(keras.initializers).values() if inspect.isclass(one)} - {"Initializer"})
CONSTANT = {"Zeros", "Ones", "Constant", "Identity", "STFT"}  # the last is a basis of sines
RANDOM = [name for name in NAMES if name not in CONSTANT]
SHAPE = (192, 256)
ARGUMENTS = {
    "RandomNormal": [{}, {"mean": 0.1, "stddev": 0.5}],
    "TruncatedNormal": [{}, {"mean": 0.1, "stddev": 0.5}],
    "RandomUniform": [{}, {"minval": -0.5, "maxval": 1.5}],
    "VarianceScaling": [
        {"scale": 3.0, "mode": mode, "distribution": distribution}
        for mode in ("fan_in", "fan_out", "fan_avg")
        for distribution in ("truncated_normal", "normal", "untruncated_normal", "uniform")
    ],
}
INDEPENDENT = [(name, arguments) for name in RANDOM if name != "Orthogonal" for arguments in ARGUMENTS.get(name, [{}])]


def ours(kind, /, **arguments):
    if kind == "Sparse":
        arguments = {"sparsity": 0.5, **arguments}
    return getattr(fastinit.keras, kind)(**arguments)


def shape_of(name):
    """A small shape that an initialiser takes."""
    return (8, 1, 5) if name == "STFT" else (8, 8)


def numpy(tensor):
    """The numbers of a tensor of the backend."""
    return tensor.detach().cpu().numpy() if BACKEND == "torch" else np.asarray(tensor)


def kernel(layer, shape=(8, 8)):
    layer.build((None, shape[0]))
    return numpy(layer.kernel.value)


# --- laws -------------------------------------------------------------------------------------------------------------


def test_no_initializer_of_keras_is_missing():
    assert set(NAMES) | {"Sparse"} == {
        name
        for name, one in vars(fastinit.keras).items()
        if inspect.isclass(one) and issubclass(one, keras.initializers.Initializer)
    }


@pytest.mark.parametrize("name", NAMES)
def test_arguments_are_those_of_keras(name):
    original = getattr(keras.initializers, name)
    assert issubclass(getattr(fastinit.keras, name), original)
    config = ours(name).get_config()
    config.pop("name", None)
    config.pop(fastinit.keras.HINT, None)
    assert config == original().get_config()


@pytest.mark.parametrize(("name", "arguments"), INDEPENDENT, ids=str)
def test_what_keras_draws_and_what_we_draw_follow_one_law(name, arguments):
    one = ours(name, seed=7, **arguments)
    law = one.law(SHAPE)
    low, high = law.support
    for initializer in (one, getattr(keras.initializers, name)(seed=7, **arguments)):
        sample = numpy(initializer(SHAPE)).astype(np.float64).ravel()
        assert low - 1e-6 <= sample.min()
        assert sample.max() <= high + 1e-6
        assert abs(sample.mean() - law.mean) <= 4 * law.std / math.sqrt(sample.size)
        assert sample.std() == pytest.approx(law.std, rel=4 / math.sqrt(sample.size))
        assert stats.kstest(sample, law.cdf, method="asymp").pvalue > 1e-3


def test_truncation_is_corrected_where_keras_corrects_it():
    assert ours("TruncatedNormal", stddev=0.5).law(SHAPE) == laws.TruncatedNormal(0.0, 0.5, -1.0, 1.0)
    for name, variance in [("HeNormal", 2 / 192), ("LecunNormal", 1 / 192), ("GlorotNormal", 2 / (192 + 256))]:
        assert ours(name).law(SHAPE).std == pytest.approx(math.sqrt(variance), rel=1e-12)
        assert ours(name).law(SHAPE).high == pytest.approx(2 * math.sqrt(variance) / 0.87962566103423978, rel=1e-12)
    for distribution in ("truncated_normal", "normal"):
        law = ours("VarianceScaling", scale=3.0, distribution=distribution).law(SHAPE)
        assert isinstance(law, laws.TruncatedNormal)
        assert law.std == pytest.approx(math.sqrt(3 / 192), rel=1e-12)


@pytest.mark.parametrize("shape", [(), (5,), (4, 6), (3, 4, 6), (3, 3, 4, 6)])
def test_fans_are_those_of_keras(shape):
    from keras.src.initializers.random_initializers import compute_fans

    assert ours("HeNormal").fans(shape) == compute_fans(shape)


def test_a_projection_into_heads_has_the_fans_that_keras_gives_it():
    def std(initializer):
        attention = keras.layers.MultiHeadAttention(16, 64, kernel_initializer=initializer)
        attention.build((None, 5, 128), (None, 5, 128))
        return numpy(attention.query_dense.kernel.value).std()

    assert std(ours("HeNormal")) == pytest.approx(std(keras.initializers.HeNormal()), rel=0.02)


@pytest.mark.parametrize(
    ("name", "arguments", "value"), [("Zeros", {}, 0), ("Ones", {}, 1), ("Constant", {"value": 3}, 3)]
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32"])
def test_constants_are_those_of_keras(name, arguments, value, dtype):
    tensor = ours(name, **arguments)((3, 4), dtype=dtype)
    assert keras.backend.standardize_dtype(tensor.dtype) == dtype
    assert bool(keras.ops.all(keras.ops.equal(tensor, value)))


def test_identity_is_that_of_keras():
    assert (numpy(ours("Identity", gain=2.0)((3, 5))) == numpy(keras.initializers.Identity(2.0)((3, 5)))).all()


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (3, 2, 7)])
def test_an_orthogonal_tensor_is_orthonormal_along_the_side_that_keras_chooses(shape):
    def gram(tensor):
        matrix = numpy(tensor).reshape(-1, shape[-1])
        return matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix

    assert np.allclose(
        gram(ours("Orthogonal", gain=2.0)(shape)), gram(keras.initializers.Orthogonal(2.0)(shape)), atol=1e-4
    )


def test_sparse_leaves_so_many_inputs_to_each_unit_of_a_dense_layer():
    w = kernel(keras.layers.Dense(30, kernel_initializer=fastinit.keras.Sparse(nonzeros=15)), (100, 30))
    assert (np.count_nonzero(w, axis=0) == 15).all()
    w = numpy(fastinit.keras.Sparse(0.9, axis=1, mean=1.0, stddev=0.1)((100, 30)))
    assert (np.count_nonzero(w, axis=1) == 3).all()
    assert w[w != 0].mean() == pytest.approx(1.0, abs=0.03)


def test_sparse_refuses_both_of_its_counts_and_takes_martens_fifteen_for_neither():
    with pytest.raises(ValueError, match="pass one of them"):
        fastinit.keras.Sparse(sparsity=0.5, nonzeros=3)
    w = kernel(keras.layers.Dense(30, kernel_initializer="fastinit>Sparse"), (100, 30))
    assert (np.count_nonzero(w, axis=0) == 15).all()


def test_a_depthwise_kernel_has_the_fans_that_keras_gives_it_and_not_those_of_he():
    def std(initializer):
        layer = keras.layers.DepthwiseConv2D(3, depthwise_initializer=initializer)
        layer.build((None, 8, 8, 64))
        return numpy(layer.kernel.value).std()

    # Keras counts 9 x 64 inputs, and each output sees nine.
    assert std(ours("HeNormal")) == pytest.approx(std(keras.initializers.HeNormal(0)), rel=0.15)
    assert ours("HeNormal").law((3, 3, 64, 1)).std == pytest.approx(math.sqrt(2 / (9 * 64)), rel=1e-12)


@pytest.mark.parametrize("value", [[1.0, 2.0, 3.0], np.arange(6.0, dtype=np.float32).reshape(2, 3)], ids=str)
def test_a_constant_takes_an_array_as_that_of_keras(value):
    one = ours("Constant", value=value)
    assert (numpy(one((2, 3))) == numpy(keras.initializers.Constant(value)((2, 3)))).all()
    assert (fastinit.new((2, 3), one.law((2, 3))) == np.broadcast_to(value, (2, 3))).all()
    again = keras.initializers.deserialize(json.loads(json.dumps(keras.initializers.serialize(one))))
    assert (numpy(again((2, 3))) == numpy(one((2, 3)))).all()


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch traces nothing here")
@pytest.mark.parametrize("name", ["HeNormal", "Orthogonal"])
def test_a_seed_generator_is_drawn_from_inside_a_traced_function(name):
    def traced(call, generator):
        if BACKEND == "tensorflow":
            return sys.modules["tensorflow"].function(call)()
        jax = sys.modules["jax"]

        def stateless(state):
            with keras.StatelessScope(state_mapping=[(generator.state, state)]) as scope:
                return call(), scope.get_current_value(generator.state)

        found, state = jax.jit(stateless)(generator.state.value)
        generator.state.assign(state)
        return found

    generators = [keras.random.SeedGenerator(5) for _ in range(2)]
    one, two = (ours(name, seed=generator, name="w") for generator in generators)
    for _ in range(2):  # each run takes the next state
        inside = [numpy(each) for each in traced(lambda: [one((6, 4)), one((6, 4))], generators[0])]
        outside = [numpy(two((6, 4))) for _ in range(2)]
        assert (inside[0] != inside[1]).any()
        assert np.allclose(inside, outside, atol=1e-6)
        assert name == "Orthogonal" or np.array_equal(inside, outside)


# --- dtypes and bits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_a_call_has_the_bits_of_fill(dtype):
    tensor = ours("HeNormal", seed=3, name="w")(SHAPE, dtype=dtype)
    assert keras.backend.standardize_dtype(tensor.dtype) == dtype
    if BACKEND == "torch":
        tensor = tensor.view(
            {1: sys.modules["torch"].uint8, 2: sys.modules["torch"].uint16}.get(tensor.itemsize, tensor.dtype)
        )
    expected = fastinit.new(SHAPE, fastinit.schemes.he_normal(192, truncated=True), dtype=dtype, seed=3, name="w")
    assert numpy(tensor).tobytes() == expected.tobytes()


def test_the_default_dtype_is_that_of_keras():
    keras.config.set_floatx("float16")
    try:
        assert keras.backend.standardize_dtype(ours("HeNormal")(SHAPE).dtype) == "float16"
    finally:
        keras.config.set_floatx("float32")


# --- seeds ------------------------------------------------------------------------------------------------------------


def two_layers(initializer):
    return [kernel(keras.layers.Dense(8, kernel_initializer=initializer)) for _ in range(2)]


@pytest.mark.parametrize("name", [*RANDOM, "Sparse"])
def test_two_layers_that_share_an_initializer_get_different_weights_the_same_in_every_run(name):
    keras.utils.set_random_seed(5)
    first, second = two_layers(ours(name))
    assert (first != second).any()
    keras.utils.set_random_seed(5)
    for again, before in zip(two_layers(ours(name)), (first, second), strict=True):
        assert (again == before).all()
    keras.utils.set_random_seed(6)
    assert (two_layers(ours(name))[0] != first).any()


def test_keras_own_initializer_gives_two_layers_that_share_it_the_same_weights():
    first, second = two_layers(keras.initializers.HeNormal())
    assert (first == second).all()


def test_two_projections_into_heads_that_share_an_initializer_get_different_weights():
    shared = ours("HeNormal")
    layers = [keras.layers.EinsumDense("ab,bcd->acd", (4, 8), kernel_initializer=shared) for _ in range(2)]
    for layer in layers:
        layer.build((None, 16))
    assert (numpy(layers[0].kernel.value) != numpy(layers[1].kernel.value)).all()


def test_an_integer_seed_gives_every_layer_the_same_weights_and_names_tell_them_apart():
    first, second = two_layers(ours("HeNormal", seed=3))
    assert (first == second).all()
    named = kernel(keras.layers.Dense(8, kernel_initializer=ours("HeNormal", seed=3, name="second")))
    assert (named != first).any()


def test_a_seed_generator_gives_every_layer_its_own_weights_reproducibly():
    first, second = two_layers(ours("HeNormal", seed=keras.random.SeedGenerator(5)))
    assert (first != second).any()
    assert (two_layers(ours("HeNormal", seed=keras.random.SeedGenerator(5)))[1] == second).all()
    expected = fastinit.new((8, 8), fastinit.schemes.he_normal(8, truncated=True), seed=5 << 32 | 1)
    assert (second == expected).all()


# --- configurations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*NAMES, "Sparse"])
@pytest.mark.parametrize("seed", [None, 3, "generator"])
def test_a_configuration_gives_the_initializer_back_through_json(name, seed):
    if name in CONSTANT:
        one = ours(name)
    else:
        one = ours(name, seed=keras.random.SeedGenerator(4) if seed == "generator" else seed, name="w")
    written = json.dumps(keras.initializers.serialize(one))
    again = keras.initializers.deserialize(json.loads(written))
    assert type(again) is type(one)
    assert again.get_config() == one.get_config()
    if seed is not None:
        assert (numpy(again(shape_of(name))) == numpy(one(shape_of(name)))).all()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "Constant"])  # Keras' own has no name alone either
def test_an_initializer_is_found_by_its_registered_name(name):
    layer = keras.layers.Dense(8, kernel_initializer=f"fastinit>{name}")
    assert type(layer.kernel_initializer) is getattr(fastinit.keras, name)
    assert layer.kernel_initializer(shape_of(name)).shape == shape_of(name)


def test_a_saved_model_is_loaded_by_another_process_that_imports_fastinit_keras(tmp_path):
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8, kernel_initializer=ours("HeNormal", seed=3))])
    model.save(tmp_path / "model.keras")
    done = run_python(
        f"""
        import keras, fastinit.keras
        model = keras.models.load_model({str(tmp_path / "model.keras")!r})
        print(type(model.layers[0].kernel_initializer), model.layers[0].kernel_initializer.get_config()["seed"])
        """,
        KERAS_BACKEND=BACKEND,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == "<class 'fastinit.keras.HeNormal'> 3"
    done = run_python(
        f"import keras\nkeras.models.load_model({str(tmp_path / 'model.keras')!r})", KERAS_BACKEND=BACKEND
    )
    assert done.returncode
    assert "unexpected keyword argument 'import fastinit.keras before loading this model'" in done.stderr


@pytest.mark.skipif(BACKEND != "jax", reason="Keras distributes on JAX")
def test_layers_over_eight_devices_have_the_bits_of_one_and_share_no_weights():
    # A kernel of 3000 x 3000 is large enough for Keras to call the initialiser under jit.
    done = run_python(
        """
        import keras, numpy as np
        import fastinit, fastinit.keras

        mesh = keras.distribution.DeviceMesh((2, 4), ["batch", "model"], keras.distribution.list_devices())
        layouts = keras.distribution.LayoutMap(mesh)
        layouts[".*kernel"] = (None, "model")
        keras.distribution.set_distribution(keras.distribution.ModelParallel(layout_map=layouts))

        def kernel(n, initializer):
            layer = keras.layers.Dense(n, kernel_initializer=initializer)
            layer.build((None, n))
            assert len(layer.kernel.value.sharding.device_set) == 8
            return np.asarray(layer.kernel.value)

        shared = fastinit.keras.HeNormal()
        for n in (64, 3000):
            assert (kernel(n, shared) == kernel(n, shared)).mean() < 0.001
            law = fastinit.schemes.he_normal(n, truncated=True)
            ours = kernel(n, fastinit.keras.HeNormal(seed=3, name="w"))
            assert (ours == fastinit.new((n, n), law, seed=3, name="w")).all()
        """,
        XLA_FLAGS="--xla_force_host_platform_device_count=8",
        JAX_PLATFORMS="cpu",
        KERAS_BACKEND="jax",
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(BACKEND != "jax", reason="Keras distributes on JAX")
def test_each_device_draws_its_own_block_and_nothing_else_in_less_memory_and_time_than_keras():
    figures = {}
    for module in ("fastinit.keras", "keras.initializers"):
        done = run_python(
            f"""
            import time
            from pathlib import Path
            import jax, keras, keras.initializers, fastinit.keras
            from fastinit.jax import arrays

            def memory(what):
                lines = Path("/proc/self/status").read_text().splitlines()
                return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))

            mesh = keras.distribution.DeviceMesh((1, 8), ["batch", "model"], keras.distribution.list_devices())
            layouts = keras.distribution.LayoutMap(mesh)
            layouts[".*kernel"] = (None, "model")
            keras.distribution.set_distribution(keras.distribution.ModelParallel(layout_map=layouts))
            drawn, filled = [], arrays.filled
            arrays.filled = lambda shape, *rest: drawn.append(shape) or filled(shape, *rest)

            def build(n, seed):
                layer = keras.layers.Dense(n, kernel_initializer={module}.HeNormal(seed=seed))
                layer.build((None, n))
                return jax.block_until_ready(layer.kernel.value)

            build(3072, 0)
            Path("/proc/self/clear_refs").write_text("5")
            before, cpu = memory("VmRSS"), time.process_time()
            kernels = [build(4096, seed) for seed in (1, 2, 3)]
            print((memory("VmHWM") - before) / kernels[0].nbytes, time.process_time() - cpu)
            assert all(shape != (4096, 4096) for shape in drawn)
            assert "{module}" != "fastinit.keras" or drawn.count((4096, 512)) == 24
            """,
            XLA_FLAGS="--xla_force_host_platform_device_count=8",
            JAX_PLATFORMS="cpu",
            KERAS_BACKEND="jax",
        )
        assert done.returncode == 0, done.stderr
        figures[module] = [float(number) for number in done.stdout.split()]
    for ours_, theirs in zip(figures["fastinit.keras"], figures["keras.initializers"], strict=True):
        assert ours_ <= theirs, figures


@pytest.mark.skipif(BACKEND != "jax", reason="Keras distributes on JAX")
@pytest.mark.parametrize("name", NAMES)
def test_every_initializer_takes_a_layout(name):
    import jax

    mesh = jax.make_mesh((1,), ("model",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("model"))
    device_mesh = keras.distribution.DeviceMesh((1,), ["model"], keras.distribution.list_devices()[:1])
    shape = shape_of(name)
    one = ours(name) if name in CONSTANT else ours(name, seed=3)
    for layout in (sharding, keras.distribution.TensorLayout(["model", *[None] * (len(shape) - 1)], device_mesh)):
        laid = one(shape, layout=layout)
        assert laid.sharding.is_equivalent_to(sharding, len(shape))
        assert np.allclose(laid, one(shape), atol=1e-6)


# --- models -----------------------------------------------------------------------------------------------------------


def test_a_model_learns_the_digits():
    data = pytest.importorskip("sklearn.datasets").load_digits()
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(8, 3, strides=2, activation="relu", kernel_initializer=ours("HeNormal")),
            keras.layers.Flatten(),
            keras.layers.Dense(32, activation="relu", kernel_initializer=ours("HeUniform")),
            keras.layers.Dense(10, kernel_initializer="fastinit>GlorotUniform", bias_initializer="fastinit>Zeros"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"])
    images = data.images[:, :, :, None].astype(np.float32) / 16
    _, before = model.evaluate(images, data.target, verbose=0)
    model.fit(images, data.target, batch_size=128, epochs=4, verbose=0)
    _, after = model.evaluate(images, data.target, verbose=0)
    assert before < 0.3
    assert after > 0.9


@pytest.mark.skipif(BACKEND != "jax", reason="this is that run")
@pytest.mark.parametrize("backend", ["torch", "tensorflow"])
def test_all_of_this_holds_on_another_backend(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"not installed: {backend}")
    done = run_python(
        f"import pytest, sys; sys.exit(pytest.main(['-q', '-x', '-p', 'no:cacheprovider', {__file__!r}]))",
        timeout=280,
        KERAS_BACKEND=backend,
    )
    assert done.returncode == 0, done.stdout
