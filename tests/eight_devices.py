"""Run code on a mesh of eight CPU devices, in a child process: JAX counts its devices when it starts."""

from __future__ import annotations

from processes import run_python

SETTING = """
import hashlib, re
import jax, jax.numpy as jnp, numpy as np
import fastinit, fastinit.jax
from fastinit import laws
from fastinit.jax import arrays, drawing, foreign, initializers
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

assert len(jax.devices()) == 8
SHAPE, KEY = (16, 24), jax.random.key(3)

def mesh(grid, type=AxisType.Auto):
    names = ("x", "y", "z")[: len(grid)]
    devices = jax.devices()[: int(np.prod(grid))]
    return jax.make_mesh(grid, names, axis_types=(type,) * len(grid), devices=devices)

def raised(call):
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    raise AssertionError("nothing was raised")

# The shapes of the blocks that a compiled function has drawn.
drawn, fill_blocks = [], foreign.fill_blocks

def watched(out, law, shape, *address):
    drawn.append(out.shape)
    fill_blocks(out, law, shape, *address)

foreign.fill_blocks = watched

def blocks(*made):
    jax.block_until_ready(made)
    found = drawn[:]
    drawn.clear()
    return found
"""


def on_eight_devices(code: str, *, timeout: float = 300, **environment: str) -> str:
    """Run code on eight devices, warnings being errors; what it printed."""
    done = run_python(
        "import warnings\nwarnings.simplefilter('error')\n" + SETTING + code,
        timeout,
        XLA_FLAGS="--xla_force_host_platform_device_count=8",
        JAX_PLATFORMS="cpu",
        **environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
