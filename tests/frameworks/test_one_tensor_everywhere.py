"""One seed, name, shape and law: the same float32 bits in NumPy, PyTorch, JAX, Keras and in a written checkpoint."""

from __future__ import annotations

import numpy as np
from processes import needs, run_python

import fastinit
from fastinit.plan import Plan, Rule
from fastinit.write import write


@needs("torch", "jax", "keras", "safetensors")
def test_one_tensor_has_the_same_bits_everywhere(tmp_path):
    import jax
    import torch
    from safetensors.numpy import load_file

    from fastinit.jax import initialize, plan, sharded

    seed, name, shape = 2**63 + 1, "layers.0.kernel", (300, 200)
    law = fastinit.schemes.he_normal(300, truncated=True)
    found = {"numpy": np.empty(shape, np.float32)}
    fastinit.fill_he_normal(found["numpy"], fan_in=300, truncated=True, seed=seed, name=name)

    tensor = torch.empty(shape)
    fastinit.fill(tensor, law, seed=seed, name=name)
    found["torch"] = tensor.numpy()

    linear = torch.nn.Linear(300, 200)  # whose weight is the transposed twin
    fastinit.fill(linear.weight.detach().T, law, seed=seed, name=name)
    found["torch, transposed"] = linear.weight.detach().numpy().T

    tree = {"layers": [{"kernel": jax.ShapeDtypeStruct(shape, "float32")}]}
    rules = [Rule(r".*\.kernel", "he_normal", {"truncated": True})]
    found["jax"] = np.asarray(initialize(tree, seed, rules)["layers"][0]["kernel"])
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    found["jax, sharded"] = np.asarray(sharded(shape, "float32", law, here, seed=seed, name=name))

    checkpoint = plan(tree, rules)
    numbers = {"fan_in": 300, "truncated": True}
    assert checkpoint == Plan.from_rules({name: {"shape": list(shape)}}, [Rule(".*", "he_normal", numbers)])
    write(checkpoint, tmp_path, seed=seed)
    found["checkpoint"] = load_file(tmp_path / "model.safetensors")[name]

    for backend in ("jax", "torch"):
        done = run_python(
            f"""
            import numpy, fastinit.keras
            tensor = fastinit.keras.HeNormal(seed={seed}, name={name!r})({shape})
            numpy.save({str(tmp_path / backend)!r}, numpy.asarray(tensor))
            """,
            KERAS_BACKEND=backend,
        )
        assert done.returncode == 0, done.stderr
        found[f"keras on {backend}"] = np.load(tmp_path / f"{backend}.npy")

    assert {where: array.dtype for where, array in found.items()} == dict.fromkeys(found, np.dtype("float32"))
    bits = {where: array.tobytes() for where, array in found.items()}
    assert bits == dict.fromkeys(bits, bits["numpy"])
