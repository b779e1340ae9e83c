"""The compiled engine: the kernels that Numba compiles, a room a subject, and how Python calls them.

What a law computes stands with its kernel: uniform.py, normal.py, truncated.py, laplace.py. The same formulas stand in
the rooms of these names in ../reference/, in NumPy, with the same bits; docs/stream.md is the specification of both.

Constants are wrapped (`u32(...)`) because Numba computes `uint32 + int` in int64, and each step is cast back to 32 bits
because 64-bit lanes halve the speed. fastmath stays off: a fused or reordered operation would change bits.
"""

from fastinit.engines.compiled.entries import KERNELS as KERNELS
from fastinit.engines.compiled.entries import fill as fill
from fastinit.engines.compiled.entries import fill_address as fill_address
from fastinit.engines.compiled.entries import fill_line as fill_line
from fastinit.engines.compiled.entries import fill_many as fill_many
from fastinit.engines.compiled.entries import repeat as repeat
from fastinit.engines.compiled.entries import store as store
from fastinit.engines.compiled.entries import tally as tally
from fastinit.engines.compiled.entries import target as target
from fastinit.engines.compiled.entries import thin as thin
from fastinit.engines.compiled.philox import words as words
