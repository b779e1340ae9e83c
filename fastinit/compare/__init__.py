"""Which start suits an activation: a signal through a deep network and back, cost curves, and a verdict."""

from fastinit.compare.comparison import Comparison as Comparison
from fastinit.compare.comparison import End as End
from fastinit.compare.comparison import Outcome as Outcome
from fastinit.compare.comparison import compare as compare
from fastinit.compare.propagation import Signal as Signal
from fastinit.compare.starts import Start as Start
from fastinit.compare.training import Curve as Curve
from fastinit.compare.training import Recipe as Recipe
from fastinit.compare.verdict import Verdict as Verdict
from fastinit.compare.verdict import verdict as verdict
from fastinit.lazy import be_called_by_function as _be_called_by_function

_be_called_by_function(__name__)
