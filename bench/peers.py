"""The peers, used as their documentation says: NumPy always, PyTorch, JAX and MKL where they are installed.

A peer that cannot draw a dtype draws float32 into memory that it keeps, and converts: what its user would do. A peer is
given the easier task where they differ: NumPy's normal is not scaled. JAX, which has no `out`, allocates its result.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench import mkl
from bench.pairing import Contender

Array = np.ndarray[Any, Any]
Run = Callable[..., Any]

# A peer that would need more seconds than this for the whole buffer is run on a part of it; rates are compared.
PATIENCE = 1.5
FAN_IN = 8192
VALUE = 0.02


@dataclass(frozen=True)
class Peer:
    """A library's way to draw a law: `bind(buf)` prepares it, and gives a function that does it once."""

    name: str
    call: str
    bind: Callable[[Array], Run]


def has(package: str) -> bool:
    """Whether a package is installed; it is not imported."""
    return importlib.util.find_spec(package) is not None


def peers(law: str, dtype: str) -> list[Peer]:
    """Who can draw this law in this dtype, among the installed."""
    found = []
    if dtype in ("float64", "float32", "float16") or has("ml_dtypes"):
        found.append(numpy_peer(law, dtype))
    if has("torch"):
        found.append(torch_peer(law, dtype))
    if has("jax") and not dtype.startswith("float8"):  # its users initialise those in a wider dtype
        found.append(jax_peer(law, dtype))
    if mkl.library_path() and law in ("uniform", "normal") and dtype in ("float32", "float64"):
        found += [mkl_peer(law, generator) for generator in mkl.GENERATORS]
    return found


def contenders(law: str, dtype: str, buf: Array, part_elements: int) -> list[Contender]:
    """The peers on the whole of `buf`, or on its first elements where the whole would take too long."""
    ready = []
    for peer in peers(law, dtype):
        part = buf[:part_elements]
        small = Contender(peer.name, peer.bind(part), part.nbytes, peer.call)
        if part.nbytes < buf.nbytes:
            small.run()
            if small.seconds() * buf.nbytes / part.nbytes <= PATIENCE:
                ready.append(Contender(peer.name, peer.bind(buf), buf.nbytes, peer.call))
                continue
        ready.append(small)
    return ready


def numpy_peer(law: str, dtype: str) -> Peer:
    """`Generator`'s methods with out=, on the calling thread: NumPy has no parallel fill."""
    rng = np.random.default_rng(0)

    def uniform(out: Array) -> None:
        rng.random(out=out, dtype=out.dtype.type)

    def normal(out: Array) -> None:
        rng.standard_normal(out=out, dtype=out.dtype.type)

    def truncated(out: Array, bound: float = 2.0) -> None:
        normal(out)
        outside = np.flatnonzero(np.abs(out) > bound)
        while outside.size:
            again = rng.standard_normal(outside.size, dtype=out.dtype.type)
            out[outside] = again
            outside = outside[np.abs(again) > bound]

    call, draw = {
        "uniform": ("Generator.random", uniform),
        "normal": ("Generator.standard_normal", normal),
        "truncated": ("Generator.standard_normal, redrawn outside", truncated),
        "loosely truncated": ("Generator.standard_normal, redrawn outside", lambda out: truncated(out, 100.0)),
        "constant": ("ndarray.fill", lambda out: out.fill(VALUE)),
    }[law]

    def bind(buf: Array) -> Run:
        if dtype in ("float32", "float64") or law == "constant":
            out = _numpy_view(buf, dtype)
            return lambda: draw(out)
        out, single = _numpy_view(buf, dtype), np.empty(buf.size, np.float32)

        def run() -> None:
            draw(single)
            out[...] = single

        return run

    return Peer("numpy", call, bind)


def _numpy_view(buf: Array, dtype: str) -> Array:
    """Raw storage as an array of its dtype."""
    if dtype in ("float64", "float32", "float16"):
        return buf
    import ml_dtypes

    return buf.view(getattr(ml_dtypes, dtype))


def torch_peer(law: str, dtype: str) -> Peer:
    """The in-place methods of a tensor, and torch.nn.init."""
    import torch

    std = math.sqrt(2 / FAN_IN)
    calls: dict[str, tuple[str, Run]] = {
        "uniform": ("Tensor.uniform_", lambda out: out.uniform_()),
        "normal": (
            "torch.nn.init.kaiming_normal_",
            lambda out: torch.nn.init.kaiming_normal_(out.view(-1, min(FAN_IN, out.numel())), nonlinearity="relu"),
        ),
        "truncated": (
            "torch.nn.init.trunc_normal_",
            lambda out: torch.nn.init.trunc_normal_(out, 0.0, std, -2 * std, 2 * std),
        ),
        "loosely truncated": (
            "torch.nn.init.trunc_normal_",
            lambda out: torch.nn.init.trunc_normal_(out, 0.0, 0.02, -2.0, 2.0),
        ),
        "constant": ("Tensor.fill_", lambda out: out.fill_(VALUE)),
    }
    call, draw = calls[law]

    def bind(buf: Array) -> Run:
        out = torch.from_numpy(buf).view(getattr(torch, dtype))
        if not dtype.startswith("float8") or law == "constant":
            return lambda: draw(out)
        single = torch.empty(buf.size)
        return lambda: out.copy_(draw(single).view(-1))

    return Peer("torch", call, bind)


def jax_peer(law: str, dtype: str) -> Peer:
    """jax.random under jit, on the CPU, until the result is there."""
    import jax
    import jax.numpy as jnp

    std = math.sqrt(2 / FAN_IN)
    drawn = jnp.dtype(dtype)
    calls: dict[str, tuple[str, Run]] = {
        "uniform": ("jax.random.uniform", lambda key, n: jax.random.uniform(key, (n,), drawn)),
        "normal": ("jax.random.normal", lambda key, n: std * jax.random.normal(key, (n,), drawn)),
        "truncated": (
            "jax.random.truncated_normal",
            lambda key, n: std * jax.random.truncated_normal(key, -2, 2, (n,), drawn),
        ),
        "loosely truncated": (
            "jax.random.truncated_normal",
            lambda key, n: 0.02 * jax.random.truncated_normal(key, -100, 100, (n,), drawn),
        ),
        "constant": ("jax.numpy.full", lambda key, n: jnp.full((n,), VALUE, drawn)),
    }
    call, draw = calls[law]

    def bind(buf: Array) -> Run:
        cpu = jax.devices("cpu")[0]
        with jax.enable_x64(dtype == "float64"), jax.default_device(cpu):
            key = jax.random.key(0)
            compiled = jax.jit(lambda key: draw(key, buf.size)).lower(key).compile()
        return lambda: compiled(key).block_until_ready()

    return Peer("jax", call, bind)


def mkl_peer(law: str, generator: str) -> Peer:
    """MKL's vector statistics, a stream a thread."""
    std = math.sqrt(2 / FAN_IN)
    call = {"uniform": "v?RngUniform", "normal": "v?RngGaussian, ICDF"}[law]
    return Peer(f"mkl {generator}", f"{call}, {generator}", lambda buf: mkl.filler(law, generator, buf, std))
