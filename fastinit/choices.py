"""The names that arguments choose from, as type checkers know them; and what is said of a name that is none of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Layout = Literal[
    "torch",
    "torch_transposed",
    "keras",
    "jax",
    "jax_heads",
    "jax_heads_out",
    "keras_transposed",
    "keras_depthwise",
    "mlx",
    "torch_grouped",
    "torch_depthwise",
    "torch_fused",
    "keras_fused",
    "experts_out_in",
    "experts_in_out",
    "embedding",
]
KernelLayout = Literal["torch", "keras"]
Flatten = Literal["torch", "jax"]
Distribution = Literal["truncated_normal", "normal", "uniform"]
Mode = Literal["fan_in", "fan_out", "fan_avg", "fan_geo_avg"]
FanMode = Literal["fan_in", "fan_out"]
Scheme = Literal[
    "blocks",
    "constant",
    "delta_orthogonal",
    "dirac",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "kaiming_normal",
    "kaiming_uniform",
    "laplace",
    "lecun_normal",
    "lecun_uniform",
    "lstm_bias",
    "mamba2_a_log",
    "mamba_a_log",
    "mamba_dt_bias",
    "mup_normal",
    "normal",
    "ones",
    "orthogonal",
    "residual_normal",
    "siren_uniform",
    "small_normal",
    "sparse",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "wang_normal",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]
# Of a rule: also to leave a tensor out, and to give it the law of its layer in PyTorch.
RuleScheme = Scheme | Literal["skip", "default"]


CLOSE = 0.65  # of difflib's ratio: at its own 0.6, "sine" is near to "linear"


def nearest(name: str, known: Iterable[str], *, dashes: bool = False) -> str | None:
    """The known name that is most like this one, if any is; names have underscores, options `dashes`."""
    import difflib  # a hundredth of a second, for who has made a mistake

    names, name = list(known), name.lower() if dashes else name.lower().replace("-", "_")
    close: list[str] = difflib.get_close_matches(name, names, 1, CLOSE)
    close = close or sorted(one for one in names if name and one.startswith(name))
    return close[0] if close else None


def unknown(what: str, name: object, known: Iterable[str]) -> str:
    """The message of an error: the nearest name, or all of them where none is near."""
    names = list(known)
    close = nearest(name, names) if isinstance(name, str) else None
    return f"{what} {name!r} is unknown; " + (f"did you mean {close!r}?" if close else f"there are {', '.join(names)}")
