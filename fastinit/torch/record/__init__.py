"""Record the laws of a model from its own code: what its initialisers and draws write, without drawing."""

from fastinit.torch.record import factories as _factories  # noqa: F401  (each registers what it handles)
from fastinit.torch.record import operations as _operations  # noqa: F401
from fastinit.torch.record import writes as _writes  # noqa: F401
from fastinit.torch.record.recording import Recording as Recording
from fastinit.torch.record.recording import record as record
