"""A draw as one primitive of JAX, `fastinit_draw`, and the choice of who draws when the compiled function runs.

The primitive says in a jaxpr which law a value has; how it is drawn is decided when the program is lowered for a
platform.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive, jaxpr_as_fun
from jax.interpreters import batching, mlir

from fastinit.address import stream_words
from fastinit.jax import elementwise, foreign, partitioned
from fastinit.laws import Law
from fastinit.laws.law_json import from_json
from fastinit.plan import Tensor

WAYS = ("host", "device")
_way = jax.make_user_context(None)  # part of the key of every cache of jit, so that a change of it is seen


def drawn_by(way: str | None) -> AbstractContextManager[None]:
    """Choose who draws inside of functions that JAX traces within the block.

        with fastinit.jax.drawn_by("device"):
            exported = jax.export.export(jax.jit(init))(key)

    "host"    the host: on the CPU a foreign function that XLA calls, which draws each device's block alone, at the
              speed of `fastinit.fill`; elsewhere a callback, which draws the whole tensor and sends it over. Every law
    "device"  operations of jax.numpy in the compiled program itself, on every backend and in `jax.export`: Uniform,
              Normal and TruncatedNormal, complex too, of keys of two words. Another law raises NotImplementedError
    None      the default: "host" on the CPU and for other laws; "device" on other backends and in `jax.export`

    Raises ValueError for another word. What is drawn outside of traced functions is drawn by the host.
    Guarantee: on the CPU all ways give the bits of `fastinit.fill`, except that XLA flushes subnormals of what the
    device draws.
    """
    if way is not None and way not in WAYS:
        raise ValueError(f'drawn_by: way is {way!r}; it can be "host", "device" or None')
    chosen: AbstractContextManager[None] = _way(way)
    return chosen


def drawn(
    words: Any, shape: Sequence[Any], law: Law, dtype: np.dtype[Any], name: str | int = "", way: str | None = None
) -> jax.Array:
    """The tensor of the key with these words, as part of what JAX traces; `way` is one of drawn_by, else the chosen."""
    shape, way = tuple(shape), way or _way.value
    symbolic = not all(isinstance(n, int) for n in shape)
    if way == "device" or symbolic:
        if refused := elementwise.refusal(law, words.shape[-1]):
            where = "of symbolic dimensions" if symbolic else 'by the device, as drawn_by("device") asks'
            raise NotImplementedError(f"no draw {where}: {refused}")
        return _on_device(words, shape=shape, law=law, dtype=dtype, name=name)
    _check(law, shape, dtype)  # here, and not inside XLA
    if 0 in shape:
        return jnp.zeros(shape, dtype)
    return _bound(words, shape, law, dtype, name, way)


def _check(law: Law, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Refuse what `fill` would refuse, as a tensor of a plan does, which has no complex128."""
    Tensor("drawn under jax.jit", shape, "complex64" if dtype == np.complex128 else dtype.name, law)


def _bound(
    words: Any, shape: tuple[int, ...], law: Law, dtype: np.dtype[Any], name: str | int, way: str | None
) -> jax.Array:
    """The primitive, of a batch of keys."""
    said = foreign.encoded(law, shape, dtype, name)
    draw = partitioned.drawn if foreign.is_available() else _called_back
    host = jax.make_jaxpr(partial(draw, said=said, shape=shape, dtype=dtype))(words)
    bound: jax.Array = draw_p.bind(words, law=law, shape=shape, dtype=dtype, name=name, way=way, said=said, host=host)
    return bound


def _called_back(words: Any, said: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> jax.Array:
    """By a callback of JAX, whole: where XLA cannot call the host in a better way."""

    def draw(words: Any) -> np.ndarray[Any, Any]:
        keys = np.asarray(words)
        out = np.empty((*keys.shape[:-1], *shape), dtype)
        spoken = json.loads(said)
        foreign.fill_blocks(out, from_json(spoken["law"]), shape, spoken["name"], keys, [0] * len(shape))
        return out

    result = jax.ShapeDtypeStruct((*words.shape[:-1], *shape), dtype)
    return jax.pure_callback(draw, result, words, vmap_method="sequential")


@partial(jax.jit, static_argnames=("shape", "law", "dtype", "name"))
def _on_device(words: Any, *, shape: tuple[Any, ...], law: Law, dtype: np.dtype[Any], name: str | int) -> jax.Array:
    """By operations of the program, of a batch of keys."""
    draw: Callable[[Any], jax.Array] = partial(elementwise.drawn, shape=shape, law=law, dtype=dtype, name=name)
    for _ in range(words.ndim - 1):
        draw = jax.vmap(draw)
    return draw(words)


# --- the primitive ----------------------------------------------------------------------------------------------------

# Its parameters: law, shape, dtype and name of the tensor; `way` as it was chosen; `said`, the same for the handler;
# and `host`, the jaxpr of the draw by the host, in which JAX finds that the program is to be lowered for its devices.
draw_p = Primitive("fastinit_draw")


draw_p.def_abstract_eval(lambda words, *, host, **_: host.out_avals[0])


def _run(words: Any, **parameters: Any) -> Any:
    said = {name: parameters[name] for name in ("shape", "law", "dtype", "name", "way")}
    return _compiled(tuple(said.items()))(words)


draw_p.def_impl(_run)


@lru_cache(maxsize=1024)
def _compiled(said: tuple[tuple[str, Any], ...]) -> Any:
    return jax.jit(partial(_bound, **dict(said)))


def _of_a_batch(arguments: Any, axes: Any, *, host: Any, said: str, **parameters: Any) -> Any:
    return _bound(jnp.moveaxis(arguments[0], axes[0], 0), **parameters), 0


batching.primitive_batchers[draw_p] = _of_a_batch


def _by_host(context: Any, words: Any, *, host: Any, **_: Any) -> Any:
    return mlir.lower_fun(jaxpr_as_fun(host), multiple_results=True)(context, words)


def _by_device(context: Any, words: Any, *, law: Law, shape: Any, dtype: Any, name: str | int, **_: Any) -> Any:
    draw = partial(_on_device, shape=shape, law=law, dtype=dtype, name=name)
    return mlir.lower_fun(draw, multiple_results=False)(context, words)


def _lower_for_cpu(context: Any, words: Any, **parameters: Any) -> Any:
    if not context.module_context.lowering_parameters.for_export or parameters["way"] == "host":
        return _by_host(context, words, **parameters)
    if refused := elementwise.refusal(parameters["law"], context.avals_in[0].shape[-1]):
        raise NotImplementedError(f"jax.export cannot take along what the host draws, and {refused}")
    return _by_device(context, words, **parameters)


def _lower(context: Any, words: Any, **parameters: Any) -> Any:
    if parameters["way"] != "host" and not elementwise.refusal(parameters["law"], context.avals_in[0].shape[-1]):
        return _by_device(context, words, **parameters)
    if context.module_context.lowering_parameters.for_export:
        return _lower_for_cpu(context, words, **parameters)
    call = partial(
        _called_back, said=parameters["said"], shape=parameters["shape"], dtype=np.dtype(parameters["dtype"])
    )
    return mlir.lower_fun(call, multiple_results=False)(context, words)


mlir.register_lowering(draw_p, _lower_for_cpu, platform="cpu")
mlir.register_lowering(draw_p, _lower)


def words_of_seed(seed: int) -> Any:
    """The words of a key with this seed, traced where JAX traces."""
    high, low = (int(word) for word in stream_words(seed, "")[1::-1])
    return jnp.asarray(np.array([high, low], np.uint32))


def is_traced() -> bool:
    """Whether JAX traces here: under jit, scan, eval_shape, but not under jax.vmap alone."""
    return isinstance(jax.lax.full((), 0, np.int32), jax.core.Tracer)
