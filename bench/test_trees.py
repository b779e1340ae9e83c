"""A whole tree of weights on the host, 10^9 of them, beside jax.nn.initializers under jit on the same CPU."""

from __future__ import annotations

import pytest

from bench.pairing import Contender
from bench.peers import has

# 60 x 4096^2 is a little more than 10^9.
LAYERS, WIDTH = 60, 4096
# Workload -> JAX's initialiser, our rule of the same law.
CASES = {
    "tree, normal float32": ("normal", (0.02,), ("normal", {"std": 0.02})),
    "tree, LeCun normal float32": ("lecun_normal", (), ("lecun_normal", {"truncated": True})),
}


@pytest.mark.skipif(not has("jax"), reason="not installed: jax")
@pytest.mark.parametrize("workload", CASES, ids=lambda workload: workload.replace(", ", "-").replace(" ", "-"))
def test_tree(workload, sizes, race):
    import jax
    import jax.numpy as jnp

    from fastinit.jax import initialize
    from fastinit.plan import Rule

    theirs, arguments, (scheme, numbers) = CASES[workload]
    layers, width = (LAYERS, WIDTH) if sizes.timed else (4, 64)
    shape = (width, width)
    tree = {f"Dense_{i}": {"kernel": jax.ShapeDtypeStruct(shape, jnp.float32)} for i in range(layers)}
    rules = [Rule(r".*\.kernel", scheme, numbers)]
    with jax.default_device(jax.devices("cpu")[0]):
        init, key = getattr(jax.nn.initializers, theirs)(*arguments), jax.random.key(0)

        @jax.jit
        def drawn(key):
            keys = jax.random.split(key, layers)
            return {name: {"kernel": init(keys[i], shape)} for i, name in enumerate(tree)}

        compiled = drawn.lower(key).compile()
        nbytes = layers * width * width * 4
        ours = Contender(
            "fastinit",
            lambda: jax.block_until_ready(initialize(tree, 1, rules)),
            nbytes,
            f"fastinit.jax.initialize, {scheme}",
        )
        rival = Contender(
            "jax", lambda: jax.block_until_ready(compiled(key)), nbytes, f"jax.nn.initializers.{theirs} under jit"
        )
        race(workload, ours, [rival], "float32", rounds=4)
