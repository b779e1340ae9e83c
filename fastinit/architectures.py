"""Schemes of particular architectures: LSTM, SIREN, GPT-2's residual stream, GPT-NeoX, muP, Mamba.

As in schemes.py a scheme turns numbers into a law, and a fill_* function is a scheme and one call of fill. Each is one
formula with one source; docs/architectures.md has them in a table, with what the other tensors of the model take.
"""

from __future__ import annotations

import math
from typing import Any, Unpack

from fastinit.fill import fill
from fastinit.laws import GateBias, LogOfUniform, Normal, StateLogs, StepBias, Uniform
from fastinit.laws.law import real, standard_deviation
from fastinit.options import Options, shows_options

_MEANING = {
    "fan_in": "the inputs of one unit in the whole tensor, not in a shard; fastinit.fans(shape, layout) computes it",
    "base_fan_in": "the fan_in of this tensor in the narrow model whose hyperparameters were tuned",
    "width": "the length of a vector in the residual stream (hidden size, d_model)",
    "layers": "the number of transformer blocks in the whole model",
    "omega": "the factor omega_0 inside the sine, 30 in the paper",
}


def _size(value: object, what: str) -> float:
    """One of the numbers above: positive and finite."""
    number = real(value, what)
    if not (number > 0 and math.isfinite(number)):
        raise ValueError(f"{what} is {value}; it must be positive and finite: {_MEANING[what]}")
    return number


# --- schemes: numbers -> law ------------------------------------------------------------------------------------------


def lstm_bias(forget: float = 1.0) -> GateBias:
    """`forget` for the forget gate, zero for the others. Jozefowicz et al. 2015."""
    return GateBias(forget)


def siren_uniform(fan_in: float, *, first: bool = False, omega: float = 30.0) -> Uniform:
    """U(-a, a) with a = sqrt(6 / fan_in) / omega, in the first layer a = 1 / fan_in. Sitzmann et al. 2020, sec. 3.2."""
    fan_in, omega = _size(fan_in, "fan_in"), _size(omega, "omega")
    bound = 1.0 / fan_in if first else math.sqrt(6.0 / fan_in) / omega
    return Uniform(-bound, bound)


def residual_normal(layers: float, *, std: float = 0.02) -> Normal:
    """Normal with std / sqrt(2 layers). Radford et al. 2019, sec. 2.3."""
    return Normal(0.0, standard_deviation(std) / math.sqrt(2.0 * _size(layers, "layers")))


def small_normal(width: float) -> Normal:
    """Normal with std = sqrt(2 / (5 width)). Nguyen and Salazar 2019."""
    return Normal(0.0, math.sqrt(2.0 / (5.0 * _size(width, "width"))))


def wang_normal(width: float, layers: float) -> Normal:
    """Normal with std = 2 / (layers sqrt(width)). Wang 2021, Mesh Transformer JAX."""
    return Normal(0.0, (2.0 / _size(layers, "layers")) / math.sqrt(_size(width, "width")))


def mup_normal(fan_in: float, base_fan_in: float, *, std: float = 0.02) -> Normal:
    """Normal with std sqrt(base_fan_in / fan_in). Yang et al. 2022, table 8."""
    ratio = _size(base_fan_in, "base_fan_in") / _size(fan_in, "fan_in")
    return Normal(0.0, standard_deviation(std) * math.sqrt(ratio))


def mamba_dt_bias(low: float = 1e-3, high: float = 0.1, *, floor: float = 1e-4) -> StepBias:
    """The bias whose softplus is a log-uniform step. Gu and Dao 2023; mamba_ssm/modules/mamba_simple.py."""
    return StepBias(low, high, floor)


def mamba_a_log() -> StateLogs:
    """Ln 1, ln 2, ... along the states. Gu and Dao 2023; mamba_ssm/modules/mamba_simple.py."""
    return StateLogs()


def mamba2_a_log(low: float = 1.0, high: float = 16.0) -> LogOfUniform:
    """The logarithm of a decay rate uniform on (low, high). Dao and Gu 2024; mamba_ssm/modules/mamba2.py."""
    return LogOfUniform(low, high)


# --- fill_*: the same, into a buffer ----------------------------------------------------------------------------------


@shows_options
def fill_lstm_bias(buf: Any, forget: float = 1.0, **options: Unpack[Options]) -> None:
    """Fill `buf`, a bias of an LSTM of 4 x hidden elements, with `forget` for the forget gate and zeros.

    forget  what the forget gate starts with; its sigmoid is the share of the cell that is kept: 1 keeps 0.73

    The forget gate is the second quarter, in PyTorch (i, f, g, o) and in Keras (i, f, c, o). PyTorch adds bias_ih and
    bias_hh: fill one of them with this and the other with zeros, or the gate starts with twice as much. Every layer and
    direction has its own. Raises ValueError also where four does not divide the last dimension.
    Source: Gers, Schmidhuber, Cummins 2000; Jozefowicz, Zaremba, Sutskever 2015; Keras' unit_forget_bias.
    """
    fill(buf, lstm_bias(forget), **options)


@shows_options
def fill_siren_uniform(
    buf: Any, fan_in: float, *, first: bool = False, omega: float = 30.0, **options: Unpack[Options]
) -> None:
    """Fill `buf`, a weight in front of a sine, from U(-a, a): a = sqrt(6 / fan_in) / omega, first layer 1 / fan_in.

    fan_in  inputs of one unit of the whole tensor; positive
    first   whether the layer takes the coordinates themselves
    omega   the factor omega_0 in sin(omega_0 (W x + b)); positive. The first layer's weights do not depend on it.

    The last, linear layer is a hidden one here. The authors' biases are PyTorch's:
    `fill_uniform(buf, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))`. Raises ValueError unless fan_in and omega are
    positive and finite.
    Source: Sitzmann, Martel, Bergman, Lindell, Wetzstein 2020, sec. 3.2 and supplement 1.5
    (https://arxiv.org/abs/2006.09661); the first layer as in the authors' code, github.com/vsitzmann/siren, modules.py,
    first_layer_sine_init.
    """
    fill(buf, siren_uniform(fan_in, first=first, omega=omega), **options)


@shows_options
def fill_residual_normal(buf: Any, layers: float, *, std: float = 0.02, **options: Unpack[Options]) -> None:
    """Fill `buf`, a projection that ends in the residual stream, with normals of std / sqrt(2 layers).

    layers  transformer blocks of the whole model, with two residual branches each (attention and MLP); positive
    std     that of the model's other matrices, which take `fill_normal(buf, 0.0, 0.02)`; zero or positive

    In GPT-2 these are the two c_proj of a block. A model with one branch a block (parallel attention and MLP) passes
    layers / 2. Raises ValueError unless layers is positive and finite.
    Source: Radford, Wu, Child, Luan, Amodei, Sutskever 2019, "Language models are unsupervised multitask learners",
    sec. 2.3: a factor 1 / sqrt(N), N the number of residual layers; Megatron-LM's scaled_init_method_normal.
    """
    fill(buf, residual_normal(layers, std=std), **options)


@shows_options
def fill_small_normal(buf: Any, width: float, **options: Unpack[Options]) -> None:
    """Fill `buf` with normals of std = sqrt(2 / (5 width)): Xavier's for the width x 4 width matrix, for all matrices.

    width  length of a vector in the residual stream; positive

    GPT-NeoX takes it for every matrix but those in front of the residual stream: those are `fill_wang_normal`. Raises
    ValueError unless width is positive and finite.
    Source: Nguyen and Salazar 2019, "SmallInit" (https://arxiv.org/abs/1910.05895); GPT-NeoX,
    megatron/model/init_functions.py, small_init_init_method.
    """
    fill(buf, small_normal(width), **options)


@shows_options
def fill_wang_normal(buf: Any, width: float, layers: float, **options: Unpack[Options]) -> None:
    """Fill `buf`, a projection that ends in the residual stream, with normals of std = 2 / (layers sqrt(width)).

    width   length of a vector in the residual stream, also where the matrix has 4 width inputs; positive
    layers  transformer blocks of the whole model; positive

    The 2 is for attention and MLP in parallel. As GPT-NeoX a plain normal; Wang's own is cut at 2 sigma, not corrected.
    Raises ValueError unless both are positive and finite.
    Source: Wang 2021, Mesh Transformer JAX, mesh_transformer/layers.py (init_scale = 2 / layers); Black et al. 2022,
    sec. 2.1.3 (https://arxiv.org/abs/2204.06745); GPT-NeoX, megatron/model/init_functions.py, wang_init_method.
    """
    fill(buf, wang_normal(width, layers), **options)


@shows_options
def fill_mup_normal(
    buf: Any, fan_in: float, base_fan_in: float, *, std: float = 0.02, **options: Unpack[Options]
) -> None:
    """Fill `buf`, a hidden matrix under muP, with normals of std sqrt(base_fan_in / fan_in).

    fan_in       inputs of one unit of the whole tensor; positive
    base_fan_in  the same in the base model, whose hyperparameters were tuned; positive
    std          that of the base model; zero or positive

    Hidden is a matrix both of whose dimensions grow with the width. A tensor with one such dimension (embedding, bias,
    norm) keeps the base model's std at every width: `fill_normal(buf, 0.0, std)`. So does the read-out, whose output
    the model then multiplies by base_fan_in / fan_in; zeros are as good for it, and for the queries. Under Adam the
    learning rate of a hidden matrix goes with base_fan_in / fan_in, and attention divides by d, not sqrt(d). Raises
    ValueError unless both fans are positive and finite.
    Source: Yang, Hu, Babuschkin et al. 2022, table 8 (https://arxiv.org/abs/2203.03466); github.com/microsoft/mup,
    mup/init.py, constant_std_init_.
    """
    fill(buf, mup_normal(fan_in, base_fan_in, std=std), **options)


@shows_options
def fill_mamba_dt_bias(
    buf: Any, low: float = 1e-3, high: float = 0.1, *, floor: float = 1e-4, **options: Unpack[Options]
) -> None:
    """Fill `buf`, the dt bias of a Mamba block, so that softplus(bias) is log-uniform on (low, high), at least `floor`.

    low, high  shortest and longest step of the state space; positive
    floor      steps below it are raised to it; below high

    dt = max(exp(u (ln high - ln low) + ln low), floor) with u uniform on (0, 1), value = dt + ln(1 - exp(-dt)). Mamba-1
    calls it dt_proj.bias, Mamba-2 dt_bias. 32 random bits in every dtype, float64 too; keep it in float32. Raises
    ValueError unless low < high and floor < high, all positive and finite.
    Source: github.com/state-spaces/mamba, mamba_ssm/modules/mamba_simple.py and mamba2.py (inv_dt). The paper, Gu and
    Dao 2023, sec. 3.6 (https://arxiv.org/abs/2312.00752), prints a uniform dt; the authors' code draws it log-uniform.
    """
    fill(buf, mamba_dt_bias(low, high, floor=floor), **options)


@shows_options
def fill_mamba_a_log(buf: Any, **options: Unpack[Options]) -> None:
    """Fill `buf`, the A_log of a Mamba-1 block, (channels, states), with ln(n + 1) in the n-th state of every channel.

    The model takes A = -exp(A_log) = -1, -2, ..., -states: S4D-Real. Nothing is drawn. Keep it in float32. Raises
    TypeError for integers, ValueError for a scalar.
    Source: Gu, Gupta, Goel, Re 2022 (https://arxiv.org/abs/2206.11893); github.com/state-spaces/mamba,
    mamba_ssm/modules/mamba_simple.py, A_log.
    """
    fill(buf, mamba_a_log(), **options)


@shows_options
def fill_mamba2_a_log(buf: Any, low: float = 1.0, high: float = 16.0, **options: Unpack[Options]) -> None:
    """Fill `buf`, the A_log of a Mamba-2 block, with ln(a), a uniform on (low, high): one decay rate a head.

    low, high  smallest and largest rate; the model takes A = -exp(A_log); positive

    32 random bits in every dtype, float64 too; keep it in float32. Raises ValueError unless low < high, both positive
    and finite.
    Source: Dao and Gu 2024 (https://arxiv.org/abs/2405.21060); github.com/state-spaces/mamba,
    mamba_ssm/modules/mamba2.py, A_init_range.
    """
    fill(buf, mamba2_a_log(low, high), **options)
