"""From a JAX key to a seed."""

from __future__ import annotations

import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def words_of(key: Any) -> Any:
    """The uint32 words of one key, new-style (`jax.random.key`) or old-style (`PRNGKey`), traced where JAX traces.

    The key is used up by this, where jax_debug_key_reuse is on: a second call with it raises JAX's KeyReuseError.
    Raises TypeError for what is no key, ValueError for a batch of keys.
    """
    dtype = getattr(key, "dtype", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if not typed and dtype != np.uint32:
        raise TypeError(f"key is {key!r}; pass a key of JAX, such as jax.random.key(0)")
    batch = key.shape if typed else key.shape[:-1]
    if batch:
        raise ValueError(
            f"key is a batch of keys of shape {batch}, and a tensor takes one; split off one for each tensor, or map: "
            "jax.vmap(lambda key: init(key, shape))(keys)"
        )
    if typed and jax.config.jax_debug_key_reuse:
        jax.random.bits(key)  # looking at the data of a key does not count as a use of it
    # A step that JAX traces where it traces, for a key from outside of the function too: weights that were drawn while
    # the function is traced would be constants of the compiled program.
    return jax.random.key_data(key)


def seed_of_words(words: Any) -> int:
    """The seed of the words of a key: one integer, its most significant word first.

    Where they are more than two (the keys of rbg have four), the 8-byte BLAKE2b digest of that integer's little-endian
    bytes, as an integer in the same order.
    """
    number = 0
    for word in np.asarray(words, np.uint32).tolist():
        number = number << 32 | word
    if len(words) <= 2:
        return number
    digest = hashlib.blake2b(number.to_bytes(4 * len(words), "little"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def seed_of(key: Any) -> int:
    """The seed that an initialiser takes from `key`: a function of `jax.random.key_data(key)` and nothing else.

    The data of a threefry or philox key are two uint32 words (high, low), and the seed is high * 2^32 + low: different
    keys have different seeds, and `jax.random.key(7)`, whose data are (0, 7), has seed 7. The four words of an rbg key
    are hashed to 64 bits (BLAKE2b). `key` is one key, new-style or old-style: a batch raises ValueError, anything else
    TypeError. Inside a traced function the key is unknown, and JAX raises its TracerArrayConversionError.
    """
    return seed_of_words(words_of(key))
