"""Record the laws of a model of JAX from its own code: each array that it returns, back to the draw that made it."""

from fastinit.jax.record.recording import Recording as Recording
from fastinit.jax.record.recording import record as record
