"""Functions of SciPy that the distribution functions and moments of laws need: imported when they are, not before."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def function(module: str, name: str) -> Any:
    """A function of SciPy. Raises ModuleNotFoundError that says what to install."""
    try:
        return getattr(import_module(f"scipy.{module}"), name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the distribution function of a law, and the moments of a truncated one, need SciPy: pip install scipy"
        ) from error
