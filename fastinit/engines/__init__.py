"""Two engines with the same functions and the same bits: compiled/ (Numba) and reference/ (NumPy)."""

from fastinit.engines.choosing import chosen as chosen
from fastinit.engines.choosing import engine_for as engine_for
from fastinit.engines.choosing import engine_name as engine_name
from fastinit.engines.choosing import loaded_compiled as loaded_compiled
from fastinit.engines.choosing import named as named
from fastinit.engines.choosing import use as use
from fastinit.engines.interface import Engine as Engine
