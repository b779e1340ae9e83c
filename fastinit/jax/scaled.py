"""What is made of a draw in float32: times a number that only the program knows, cut to the law's support, rounded."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fastinit.dtypes import Format
from fastinit.jax.elementwise import clamped
from fastinit.laws import Law, Uniform
from fastinit.laws.law import IndependentLaw

# Formats that JAX has and that no file of fastinit holds: drawn in float32 and rounded, as the narrow ones of FORMATS.
OTHERS = {
    name: Format(name, "uint8", 0, found.nmant, found.minexp, float(found.max))
    for name in ("float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz", "float8_e4m3fnuz", "float8_e5m2fnuz")
    for found in (jnp.finfo(name),)
}


def drawn_in(dtype: np.dtype[Any], factor: Any) -> np.dtype[Any]:
    """The dtype of the draw itself: the working precision where something is made of it, else its own."""
    if (factor is None and dtype.name not in OTHERS) or dtype.kind == "c":
        return dtype
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


def finished(values: jax.Array, law: Law, dtype: np.dtype[Any], factor: Any) -> jax.Array:
    """The values of a draw of `law` in `drawn_in(dtype, factor)`, times the factor where there is one, in `dtype`.

    Values stay in the support of the law, times the factor, after rounding. Raises ValueError where another float8
    cannot hold the law.
    """
    if values.dtype == dtype and factor is None:
        return values
    bounded = isinstance(law, IndependentLaw) and dtype.kind != "c" and np.isfinite(law.support).any()
    if factor is None:
        format = OTHERS[dtype.name]
        law.kernel_arguments(format)
        if bounded:
            low, high = law.support  # type: ignore[attr-defined]
            highest = format.below(high) if isinstance(law, Uniform) else format.at_most(high)
            values = clamped(values, np.float32(format.at_least(low)), np.float32(highest))
        return values.astype(dtype)
    factor = jnp.asarray(factor, values.dtype)
    values = values * factor
    if bounded:
        size = lax.stop_gradient(jnp.abs(factor))
        low, high = (size * values.dtype.type(end) for end in law.support)  # type: ignore[attr-defined]
        lowest = -_at_most(-low, dtype)
        highest = jnp.maximum(_at_most(high, dtype, strictly=isinstance(law, Uniform)), lowest)
        negative = factor < 0
        values = clamped(values, jnp.where(negative, -highest, lowest), jnp.where(negative, -lowest, highest))
    return values.astype(dtype)


def _at_most(x: jax.Array, dtype: np.dtype[Any], *, strictly: bool = False) -> jax.Array:
    """The largest value of a dtype that is <= x, or < x, as x has it."""
    value = x.astype(dtype)
    back = value.astype(x.dtype)
    kind = np.dtype(f"int{8 * dtype.itemsize}")
    bits = lax.bitcast_convert_type(value, kind)
    # Sign and magnitude as one number in the order of the values, then one down, and back.
    largest = kind.type(np.iinfo(kind).max)
    order = jnp.where(bits < 0, -(bits & largest), bits) - kind.type(1)
    below = jnp.where(order < 0, -order | kind.type(np.iinfo(kind).min), order)
    down = (back >= x) if strictly else (back > x)
    return lax.bitcast_convert_type(jnp.where(down, below, bits), dtype).astype(x.dtype)
