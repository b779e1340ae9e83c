"""The other names of torch.nn.init: functions without the underscore, which warn, and two that everybody imports."""

from collections.abc import Callable
from typing import Any

from torch.nn import init
from torch.nn.init import _calculate_correct_fan as _calculate_correct_fan
from torch.nn.init import _calculate_fan_in_and_fan_out as _calculate_fan_in_and_fan_out

from fastinit.torch import initialisers

_deprecated: Callable[[Any], Any] = init._make_deprecate  # with PyTorch's own FutureWarning, at the caller's line

uniform = _deprecated(initialisers.uniform_)
normal = _deprecated(initialisers.normal_)
constant = _deprecated(initialisers.constant_)
eye = _deprecated(initialisers.eye_)
dirac = _deprecated(initialisers.dirac_)
xavier_uniform = _deprecated(initialisers.xavier_uniform_)
xavier_normal = _deprecated(initialisers.xavier_normal_)
kaiming_uniform = _deprecated(initialisers.kaiming_uniform_)
kaiming_normal = _deprecated(initialisers.kaiming_normal_)
orthogonal = _deprecated(initialisers.orthogonal_)
sparse = _deprecated(initialisers.sparse_)
