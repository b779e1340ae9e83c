"""JAX: its initialisers by name, sharded arrays, whole trees of weights; the same bits for every sharding.

Importing this module imports JAX, importing fastinit does not. Needs `pip install 'fastinit-kernels[jax]'`.
docs/jax.md shows it at work.
"""

from fastinit.jax import initializers as initializers
from fastinit.jax.arrays import sharded as sharded
from fastinit.jax.drawing import drawn_by as drawn_by
from fastinit.jax.keys import seed_of as seed_of
from fastinit.jax.record import Recording as Recording
from fastinit.jax.record import record as record
from fastinit.jax.trees import FLAX as FLAX
from fastinit.jax.trees import initialize as initialize
from fastinit.jax.trees import plan as plan
