"""Two engines with the same functions and the same bits: compiled/ (Numba) and reference.py (NumPy)."""

from fastinit.engines.loading import Engine as Engine
from fastinit.engines.loading import chosen as chosen
from fastinit.engines.loading import engine_for as engine_for
from fastinit.engines.loading import engine_name as engine_name
from fastinit.engines.loading import named as named
from fastinit.engines.loading import use as use
