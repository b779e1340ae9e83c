"""The functions of torch.nn.init: the same names, arguments, defaults, warnings and errors, drawn by fastinit.

Each is a formula and one draw. What fastinit does not fill (another device, the meta device, integers, a subclass of
Tensor) is handed to PyTorch's own function, which fills it or refuses it.

A draw takes its seed from PyTorch's generator: the default one, so that torch.manual_seed governs it, or the one that
is passed. The values are fastinit's, not those that PyTorch would draw.
"""

from __future__ import annotations

import math
import warnings

from torch import Generator, Tensor
from torch.nn import init
from torch.nn.init import calculate_gain as calculate_gain

from fastinit import laws
from fastinit.choices import FanMode
from fastinit.fill.memory import SMALLEST_HUGE_BUFFER
from fastinit.torch.addresses import note
from fastinit.torch.shards import is_sharded
from fastinit.torch.tensors import draw, fill_elsewhere, refused, why_not

# PyTorch's own, whatever `accelerate` puts in their place later.
_orthogonal, _sparse, _eye, _dirac = init.orthogonal_, init.sparse_, init.eye_, init.dirac_


def _large(tensor: Tensor) -> bool:
    """Whether a fill without chance gains by huge pages; below, PyTorch's own is as good, and the bits are the same."""
    return bool(tensor.nbytes >= SMALLEST_HUGE_BUFFER)


# --- without a shape --------------------------------------------------------------------------------------------------


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with U[a, b). `b` itself never comes up, in half types too."""
    if not draw(tensor, laws.Uniform, (a, b), generator):
        init.uniform_(tensor, a, b, generator)
    return tensor


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with N(mean, std^2)."""
    if not draw(tensor, laws.Normal, (mean, std), generator):
        init.normal_(tensor, mean, std, generator)
    return tensor


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Fill with N(mean, std^2) cut to [a, b]: absolute bounds, not in standard deviations."""
    if not truncated(tensor, mean, std, a, b, generator, level=3):
        init.trunc_normal_(tensor, mean, std, a, b, generator)
    return tensor


def truncated(
    tensor: Tensor, mean: float, std: float, a: float, b: float, generator: Generator | None, *, level: int
) -> bool:
    """Whether the tensor is filled by the truncated law, with PyTorch's warning at that stack level."""
    if std == 0:  # an error there, and a law here
        note("trunc_normal_", why_not(tensor) or "of std 0")
        return False
    far = mean < a - 2 * std or mean > b + 2 * std
    if far and not (why_not(tensor) or refused(tensor, laws.TruncatedNormal, (mean, std, a, b))):
        warnings.warn(
            "mean is more than 2 std from [a, b] in nn.init.trunc_normal_. "
            "The distribution of values may be incorrect.",
            stacklevel=level,
        )
    return draw(tensor, laws.TruncatedNormal, (mean, std, a, b), generator)


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with `val`."""
    if not (_large(tensor) and draw(tensor, laws.Constant, (val,))):
        init.constant_(tensor, val)
    return tensor


def ones_(tensor: Tensor) -> Tensor:
    """Fill with 1."""
    if not (_large(tensor) and draw(tensor, laws.Constant, (1.0,))):
        init.ones_(tensor)
    return tensor


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with 0."""
    if not (_large(tensor) and draw(tensor, laws.Constant, (0.0,))):
        init.zeros_(tensor)
    return tensor


# --- by the fans of torch.nn.init -------------------------------------------------------------------------------------


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with U(-a, a), a = gain sqrt(6 / (fan_in + fan_out)). Glorot and Bengio 2010, eq. 16."""
    fan_in, fan_out = init._calculate_fan_in_and_fan_out(tensor)
    bound = math.sqrt(3.0) * (gain * math.sqrt(2.0 / (fan_in + fan_out)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with N(0, std^2), std = gain sqrt(2 / (fan_in + fan_out)). Glorot and Bengio 2010, eq. 12."""
    fan_in, fan_out = init._calculate_fan_in_and_fan_out(tensor)
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / (fan_in + fan_out)), generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: FanMode = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Fill with U(-b, b), b = gain sqrt(3 / fan). He et al. 2015, eq. 10; a: negative slope of leaky_relu."""
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=2)
        return tensor
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: FanMode = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Fill with N(0, std^2), std = gain / sqrt(fan). He et al. 2015, eq. 10; a: negative slope of leaky_relu."""
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=2)
        return tensor
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: FanMode, nonlinearity: str) -> float:
    fan = init._calculate_correct_fan(tensor, mode)
    return float(calculate_gain(nonlinearity, a) / math.sqrt(fan))


# --- of matrices and convolutions -------------------------------------------------------------------------------------


def eye_(tensor: Tensor) -> Tensor:
    """Fill a matrix with ones on the diagonal, zeros elsewhere."""
    matrix = tensor.ndimension() == 2
    if not (matrix and ((_large(tensor) and draw(tensor, laws.Identity, ())) or placed(tensor, laws.Identity()))):
        _eye(tensor)
    return tensor


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Fill the kernel of a convolution so that it passes its inputs on: a one at the centre of channel d to d."""
    if not (tensor.ndimension() in (3, 4, 5) and draw(tensor, laws.Dirac, (groups,))):
        _dirac(tensor, groups)
    return tensor


def placed(tensor: Tensor, law: laws.Law) -> bool:
    """Whether the tensor was a DTensor, and is filled by a law without chance, which takes no address.

    PyTorch's own eye_ and dirac_ cannot place their ones in a block.
    """
    if not is_sharded(tensor) or why_not(tensor):
        return False
    fill_elsewhere(tensor, law, 0, 0)
    return True


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Generator | None = None) -> Tensor:
    """Fill with a random (semi-)orthogonal matrix times gain, Haar; every float dtype. Saxe et al. 2013."""
    if not (tensor.ndimension() >= 2 and draw(tensor, laws.Orthogonal, (gain,), generator)):
        _orthogonal(tensor, gain, generator)
    return tensor


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None) -> Tensor:
    """Fill a matrix with N(0, std^2), and ceil(sparsity rows) elements of each column with zero. Martens 2010.

    Which of a column are zero follows `generator` too; PyTorch's own draws them from the default generator.
    """
    if not (tensor.ndimension() == 2 and draw(tensor, columns, (sparsity, std), generator)):
        _sparse(tensor, sparsity, std, generator)
    return tensor


def columns(sparsity: float, std: float) -> laws.Sparse:
    """The law of sparse_."""
    return laws.Sparse(laws.Normal(0.0, std), sparsity)
