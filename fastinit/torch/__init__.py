"""fastinit for PyTorch: torch.nn.init's functions, whole models, and shards that agree."""

from fastinit.torch.acceleration import accelerate as accelerate
from fastinit.torch.addresses import Report as Report
from fastinit.torch.compiled import OPERATOR as _OPERATOR  # noqa: F401, so that it is defined
from fastinit.torch.deprecated import _calculate_correct_fan as _calculate_correct_fan
from fastinit.torch.deprecated import _calculate_fan_in_and_fan_out as _calculate_fan_in_and_fan_out
from fastinit.torch.deprecated import constant as constant
from fastinit.torch.deprecated import dirac as dirac
from fastinit.torch.deprecated import eye as eye
from fastinit.torch.deprecated import kaiming_normal as kaiming_normal
from fastinit.torch.deprecated import kaiming_uniform as kaiming_uniform
from fastinit.torch.deprecated import normal as normal
from fastinit.torch.deprecated import orthogonal as orthogonal
from fastinit.torch.deprecated import sparse as sparse
from fastinit.torch.deprecated import uniform as uniform
from fastinit.torch.deprecated import xavier_normal as xavier_normal
from fastinit.torch.deprecated import xavier_uniform as xavier_uniform
from fastinit.torch.initialisers import calculate_gain as calculate_gain
from fastinit.torch.initialisers import constant_ as constant_
from fastinit.torch.initialisers import dirac_ as dirac_
from fastinit.torch.initialisers import eye_ as eye_
from fastinit.torch.initialisers import kaiming_normal_ as kaiming_normal_
from fastinit.torch.initialisers import kaiming_uniform_ as kaiming_uniform_
from fastinit.torch.initialisers import normal_ as normal_
from fastinit.torch.initialisers import ones_ as ones_
from fastinit.torch.initialisers import orthogonal_ as orthogonal_
from fastinit.torch.initialisers import sparse_ as sparse_
from fastinit.torch.initialisers import trunc_normal_ as trunc_normal_
from fastinit.torch.initialisers import uniform_ as uniform_
from fastinit.torch.initialisers import xavier_normal_ as xavier_normal_
from fastinit.torch.initialisers import xavier_uniform_ as xavier_uniform_
from fastinit.torch.initialisers import zeros_ as zeros_
from fastinit.torch.modules import initialize_ as initialize_
from fastinit.torch.modules import materialize_ as materialize_
from fastinit.torch.modules import plan as plan
from fastinit.torch.record import Recording as Recording
from fastinit.torch.record import record as record
