"""Audit a checkpoint: draw again what its files say, and compare bit by bit."""

from fastinit.lazy import be_called_by_function as _be_called_by_function
from fastinit.verify.checkpoint import CLOSE as CLOSE
from fastinit.verify.checkpoint import DIFFERS as DIFFERS
from fastinit.verify.checkpoint import EDITED_SINCE as EDITED_SINCE
from fastinit.verify.checkpoint import SAME as SAME
from fastinit.verify.checkpoint import UNKNOWN as UNKNOWN
from fastinit.verify.checkpoint import Verdict as Verdict
from fastinit.verify.checkpoint import Verified as Verified
from fastinit.verify.checkpoint import verify as verify

_be_called_by_function(__name__)
