"""The stream in jax.numpy: every element from its own index, so that XLA cuts it in any way and compiles it anywhere.

This is docs/stream.md once more, sections 2 to 8. Integers, and with them words and the uniform in [0, 1), are exact on
every backend. XLA makes one operation of a product and the sum after it, which rounds once instead of twice; a maximum
with the smallest number stands between them here, which changes no value and keeps them apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fastinit.address import stream_words
from fastinit.dtypes import FORMATS
from fastinit.engines import stream as k
from fastinit.laws import Copy, Law, Normal, TruncatedNormal, Uniform

LAWS = (Uniform, Normal, TruncatedNormal)

Array = Any  # a jax.Array, traced or not
Words = tuple[Array, Array, Array, Array]


def refusal(law: Law, key_words: int) -> str | None:
    """Why there is no such draw, and what to do; None where there is one."""
    law = law.values if isinstance(law, Copy) else law
    if not isinstance(law, LAWS):
        return (
            f"{type(law).__name__} is drawn on the host, and has no form in jax.numpy, as Uniform, Normal and "
            "TruncatedNormal have. Draw it outside of what is exported, or under jax.jit on the CPU without "
            'fastinit.jax.drawn_by("device")'
        )
    if key_words != 2:
        return (
            f"a key of {key_words} words is hashed on the host; use one of two, such as those of "
            'jax.random.key(0, impl="threefry2x32"), where the device draws'
        )
    return None


def drawn(words: Array, shape: Sequence[Any], law: Law, dtype: np.dtype[Any], name: str | int) -> jax.Array:
    """The tensor of one key, `words` being its two (high, low); a length of `shape` may be symbolic."""
    if isinstance(law, Copy):
        name, law = law.name, law.values
    format = FORMATS[dtype.name]
    _, _, *stream = stream_words(0, name)
    address = (words[1], words[0], *stream)
    high, low = _index(shape)
    # Group and place in it: the number of the counter, which of its four words, and the pair of words of a normal.
    counter = ((low >> 6) | _above(high, 26)) << 4 | (low & 15)
    beyond = None if high is None else high >> 2
    which = (low >> 4) & 3
    prepared = law.kernel_arguments(format)
    assert prepared is not None  # of laws that draw
    reals, integers = prepared.reals, prepared.integers
    if isinstance(law, Uniform):
        values = _uniform(_two(counter, beyond, address, format.working, which), *reals)
    elif isinstance(law, Normal) or not law.parent_std:  # type: ignore[attr-defined]
        values = _normal(_all(counter, beyond, address, format.working), which, *reals)
    else:
        word = _two(counter, beyond, address, format.working, which)
        values = _truncated(word, "deep" in prepared.kernel, integers, *reals)
    drawn: jax.Array = values.astype(dtype)
    return drawn


# --- words ------------------------------------------------------------------------------------------------------------


def _index(shape: Sequence[Any]) -> tuple[Array | None, Array]:
    """The row-major index of every element, as a high and a low word; no high word where all are zero."""
    known = all(isinstance(n, int) for n in shape)
    wide = not known or math.prod(shape) > 1 << 32
    low = jnp.zeros(tuple(shape), jnp.uint32)
    high = jnp.zeros(tuple(shape), jnp.uint32) if wide else None
    step: tuple[Array, Array] = (jnp.uint32(0), jnp.uint32(1))
    for axis in reversed(range(len(shape))):
        at = lax.broadcasted_iota(jnp.uint32, tuple(shape), axis)
        if high is None:
            low = low + at * step[1]
        else:
            term = at * step[1]
            low = low + term
            high = high + _mulhi(at, step[1]) + at * step[0] + (low < term).astype(jnp.uint32)
        n = jnp.asarray(shape[axis]).astype(jnp.uint32)
        step = (step[0] * n + _mulhi(step[1], n), step[1] * n)
    return high, low


def _above(high: Array | None, places: int) -> Array | np.uint32:
    """The low bits of the high word, moved up by so many places."""
    return np.uint32(0) if high is None else high << np.uint32(places)


def _mulhi(a: Array, b: Array) -> Array:
    """The high word of a product of two words.

    In 64 bits, which processors multiply in one step, whether or not jax_enable_x64 is set. lax.mulhi is as fast, and
    Shardy cannot cut it (JAX 0.10.2); products of 16 bits take one and a half times as long.
    """
    with jax.enable_x64(True):
        product = a.astype(np.uint64) * jnp.asarray(b).astype(np.uint64)
        high: Array = (product >> np.uint64(32)).astype(np.uint32)
    return high


def _philox(c0: Array, c1: Array, c2: Array, c3: Array, k0: Array, k1: Array) -> Words:
    """Philox4x32-10."""
    first, second = np.uint32(k.MULTIPLIER_0), np.uint32(k.MULTIPLIER_1)
    for _ in range(k.ROUNDS):
        high_0, high_1 = _mulhi(c0, first), _mulhi(c2, second)
        c0, c1, c2, c3 = high_1 ^ c1 ^ k0, c2 * second, high_0 ^ c3 ^ k1, c0 * first
        k0, k1 = k0 + np.uint32(k.WEYL_0), k1 + np.uint32(k.WEYL_1)
    return c0, c1, c2, c3


def _counter(q: Array, beyond: Array | None, address: Sequence[Any], domain: int) -> Words:
    """The four words of the counter with this number."""
    k0, k1, low_id, high_id = address
    c1 = jnp.full_like(q, np.uint32(domain << 24))
    return _philox(
        q, c1 if beyond is None else c1 | beyond, jnp.full_like(q, low_id), jnp.full_like(q, high_id), k0, k1
    )


def _all(q: Array, beyond: Array | None, address: Sequence[Any], working: str) -> tuple[Words, Words | None]:
    """The words of an element's counter, and for float64 the low words."""
    low = _counter(q, beyond, address, k.DOMAIN_LOW) if working == "float64" else None
    return _counter(q, beyond, address, k.DOMAIN_ELEMENT), low


def _two(
    q: Array, beyond: Array | None, address: Sequence[Any], working: str, which: Array
) -> tuple[Array, Array | None]:
    """The word of an element, and for float64 its low word."""
    high, low = _all(q, beyond, address, working)
    return _chosen(high, which), None if low is None else _chosen(low, which)


def _chosen(words: Words, which: Array) -> Array:
    odd = (which & 1) != 0
    return jnp.where((which & 2) != 0, jnp.where(odd, words[3], words[2]), jnp.where(odd, words[1], words[0]))


# --- arithmetic -------------------------------------------------------------------------------------------------------


def times(a: Array, b: Array) -> Array:
    """A product that is rounded by itself before a sum."""
    product = a * b
    return jnp.maximum(product, jnp.finfo(product.dtype).min)


def _horner(x: Array, coefficients: tuple[Any, ...]) -> Array:
    total = jnp.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = times(total, x) + coefficient
    return total


def _bits(x: Array) -> Array:
    return lax.bitcast_convert_type(x, np.uint64 if x.dtype == np.float64 else np.uint32)


def _signed(x: Array) -> Array:
    return lax.bitcast_convert_type(x, np.int64 if x.dtype == np.uint64 else np.int32)


def _split(y: Array) -> tuple[Array, Array]:
    """Exponent e and f of y = (1 + f) 2^e, 1 + f in [1/2, 1)."""
    pattern = _bits(y)
    places = np.finfo(y.dtype).nmant
    kind, bias = pattern.dtype.type, np.finfo(y.dtype).maxexp - 2
    exponent = (_signed(pattern >> kind(places)) - bias).astype(y.dtype)
    half = kind(int(bias) << places)
    mantissa = lax.bitcast_convert_type((pattern & kind((1 << places) - 1)) | half, y.dtype)
    return exponent, mantissa - y.dtype.type(1)


def _minus_2_log(exponent: Array, f: Array) -> Array:
    """-2 ln((1 + f) 2^exponent)."""
    if f.dtype == np.float64:
        s = f / (2.0 + f)
        z = s * s
        return times(-4.0, s + times(s, z * _horner(z, k.LOG_64))) + times(exponent, k.MINUS_2_LN_2)
    return times(f, _horner(f, k.LOG_32)) + times(exponent, np.float32(k.MINUS_2_LN_2))


# --- laws -------------------------------------------------------------------------------------------------------------


def _joined(high: Array, low: Array) -> Array:
    return (high.astype(np.uint64) << np.uint64(32)) | low.astype(np.uint64)


def _uniform(words: tuple[Array, Array | None], low: Any, span: Any, lowest: Any, highest: Any) -> Array:
    word, below = words
    if below is None:
        u = (word >> 8).astype(np.float32) * np.float32(2.0**-24)
    else:
        u = (_joined(word, below) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return clamped(low + times(span, u), lowest, highest)


def clamped(x: Array, lowest: Any, highest: Any) -> Array:
    """Values moved into [lowest, highest]; unlike jnp.clip the gradient of one that lies on a bound is its own."""
    x = jnp.where(x < lowest, lowest, x)
    return jnp.where(x > highest, highest, x)


def _normal(words: tuple[Words, Words | None], which: Array, mean: Any, std: Any) -> Array:
    """Box-Muller: two words of the counter, of which each element of a pair takes the sine or the cosine."""
    high, low = words
    sines: tuple[Any, ...]
    cosines: tuple[Any, ...]
    second, odd = (which & 2) != 0, (which & 1) != 0
    a, b = jnp.where(second, high[2], high[0]), jnp.where(second, high[3], high[1])
    upper = (a >> 31) != 0
    turn = _signed(b) >> 3
    if low is None:
        y = (_signed(jnp.where(upper, ~a, a)).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-32)
        t = (turn.astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-28)
        sines, cosines = k.SIN_32, k.COS_32
    else:
        whole = _joined(a, jnp.where(second, low[2], low[0]))
        y = (jnp.where(upper, ~whole, whole).astype(np.float64) + 0.5) * 2.0**-64
        turn_64 = (turn.astype(np.int64) << 32) | jnp.where(second, low[3], low[1]).astype(np.int64)
        t = (turn_64.astype(np.float64) + 0.5) * 2.0**-60
        sines, cosines = k.SIN_64, k.COS_64
    exponent, f = _split(y)
    zero = y.dtype.type(0)
    radius = jnp.sqrt(_minus_2_log(jnp.where(upper, zero, exponent), jnp.where(upper, -y, f)))
    z = t * t
    sine, cosine = t * _horner(z, sines), _horner(z, cosines)
    cosine = jnp.where((b & 1) != 0, -cosine, cosine)
    return mean + times(radius * jnp.where(((b & 2) != 0) != odd, cosine, sine), std)


def _truncated(
    words: tuple[Array, Array | None],
    deep: bool,
    integers: Any,
    base_a: Any,
    base_b: Any,
    mass: Any,
    mean: Any,
    std: Any,
    lowest: Any,
    highest: Any,
) -> Array:
    """The inverse of the distribution function, from the nearer tail."""
    word, below = words
    side = word <= integers[0]
    flip = jnp.where(side, integers[1], integers[2]).astype(np.uint32)
    base = jnp.where(side, base_a, base_b)
    if below is None:
        s = ((word ^ flip).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-32)
        x = _magnitude_32(clamped(base + times(s, mass), k.SMALLEST_32, k.HALF_32), deep)
    else:
        s = (_joined(word ^ flip, below ^ flip).astype(np.float64) + 0.5) * 2.0**-64
        x = _magnitude_64(base + times(s, mass))
    return clamped(mean + times(std, jnp.where(flip == 0, -x, x)), lowest, highest)


def _magnitude_32(p: Array, deep: bool) -> Array:
    """The inverse; its far half only where the law reaches so deep a tail."""
    one = np.float32(1)
    q = one - (p + p)
    w = np.float32(0.5) * _minus_2_log(*_split((np.float32(4) * p) * (one - p)))
    near: Array = q * _horner(w - np.float32(2.65), k.MAGNITUDE_32)
    if not deep:
        return near
    s = jnp.sqrt(w)
    far = q * (s * _horner(one / s - np.float32(0.25), k.TAIL_32))
    return jnp.where(w < np.float32(5.3), near, far)


def _magnitude_64(p: Array) -> Array:
    q = 0.5 - p
    r = 0.180625 - times(q, q)
    centre = q * _horner(r, k.CENTRE_NUMERATOR) / _horner(r, k.CENTRE_DENOMINATOR)
    r = jnp.sqrt(0.5 * _minus_2_log(*_split(p)))
    near = _horner(r - 1.6, k.NEAR_NUMERATOR) / _horner(r - 1.6, k.NEAR_DENOMINATOR)
    far = _horner(r - 5.0, k.FAR_NUMERATOR) / _horner(r - 5.0, k.FAR_DENOMINATOR)
    return jnp.where(jnp.abs(q) <= 0.425, centre, jnp.where(r <= 5.0, near, far))
