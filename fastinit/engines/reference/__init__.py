"""The reference engine: the same laws as compiled/, in NumPy, with the same bits; and the laws it has alone.

It is the fallback where Numba is missing, the oracle of the tests, and the readable form of docs/stream.md. Every
step is one correctly rounded operation on whole arrays, so vector width and platform cannot change a bit. A formula
stands in the room of the same name, under the same name, as in compiled/; a test compares them.
"""

from fastinit.engines.reference.counting import tally as tally
from fastinit.engines.reference.entries import LAWS as LAWS
from fastinit.engines.reference.entries import fill as fill
from fastinit.engines.reference.entries import store as store
from fastinit.engines.reference.philox import words as words
from fastinit.engines.reference.rounding import rounded as rounded
from fastinit.engines.reference.sparse import thin as thin
