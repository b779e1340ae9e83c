"""fastinit: fill weight buffers at memory speed, with the same bits for every sharding.

Arrays: `fill_he_normal(buf, fan_in, seed=0, name="layers.0.weight")` and the other fill_* functions; `fill` takes any
law of `fastinit.laws`. Checkpoints: `Plan`, `write`, `verify`, `show`, `edit`. Models: `fastinit.torch`,
`fastinit.jax`, `fastinit.keras`. Advice: `fans`, `gain`, `scheme_for`, `compare`.
"""

from typing import TYPE_CHECKING

from fastinit import laws

# This installation.
from fastinit.about import __version__, info, selftest

# Addresses: which numbers a tensor gets.
from fastinit.address import STREAM, Shard, new_seed

# Advice.
from fastinit.advice import gain, scheme_for

# Schemes of particular architectures.
from fastinit.architectures import (
    fill_lstm_bias,
    fill_mamba2_a_log,
    fill_mamba_a_log,
    fill_mamba_dt_bias,
    fill_mup_normal,
    fill_residual_normal,
    fill_siren_uniform,
    fill_small_normal,
    fill_wang_normal,
)
from fastinit.fans import Fans, fans

# Any law, into a buffer or a new array.
from fastinit.fill import fill, fill_many, new
from fastinit.lazy import resolve_when_used

# Schemes that draw element by element.
from fastinit.schemes import (
    fill_constant,
    fill_glorot_normal,
    fill_glorot_uniform,
    fill_he_normal,
    fill_he_uniform,
    fill_kaiming_normal,
    fill_kaiming_uniform,
    fill_laplace,
    fill_lecun_normal,
    fill_lecun_uniform,
    fill_normal,
    fill_ones,
    fill_truncated_normal,
    fill_uniform,
    fill_variance_scaling,
    fill_xavier_normal,
    fill_xavier_uniform,
    fill_zeros,
)

# Schemes that look at the whole tensor.
from fastinit.structures import (
    fill_blocks,
    fill_delta_orthogonal,
    fill_dirac,
    fill_identity,
    fill_orthogonal,
    fill_sparse,
)
from fastinit.threads import set_num_threads

if TYPE_CHECKING:  # imported when they are first used: fastinit/lazy.py
    from fastinit import jax as jax
    from fastinit import keras as keras
    from fastinit import plan
    from fastinit import torch as torch
    from fastinit.compare import compare
    from fastinit.edit import edit
    from fastinit.plan import Plan, Rule
    from fastinit.show import show
    from fastinit.verify import verify
    from fastinit.write import write

__all__ = [
    "STREAM",
    "Fans",
    "Plan",
    "Rule",
    "Shard",
    "__version__",
    "compare",
    "edit",
    "fans",
    "fill",
    "fill_blocks",
    "fill_constant",
    "fill_delta_orthogonal",
    "fill_dirac",
    "fill_glorot_normal",
    "fill_glorot_uniform",
    "fill_he_normal",
    "fill_he_uniform",
    "fill_identity",
    "fill_kaiming_normal",
    "fill_kaiming_uniform",
    "fill_laplace",
    "fill_lecun_normal",
    "fill_lecun_uniform",
    "fill_lstm_bias",
    "fill_mamba2_a_log",
    "fill_mamba_a_log",
    "fill_mamba_dt_bias",
    "fill_many",
    "fill_mup_normal",
    "fill_normal",
    "fill_ones",
    "fill_orthogonal",
    "fill_residual_normal",
    "fill_siren_uniform",
    "fill_small_normal",
    "fill_sparse",
    "fill_truncated_normal",
    "fill_uniform",
    "fill_variance_scaling",
    "fill_wang_normal",
    "fill_xavier_normal",
    "fill_xavier_uniform",
    "fill_zeros",
    "gain",
    "info",
    "laws",
    "new",
    "new_seed",
    "plan",
    "scheme_for",
    "selftest",
    "set_num_threads",
    "show",
    "verify",
    "write",
]

resolve_when_used(__name__)
