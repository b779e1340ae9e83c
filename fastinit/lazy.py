"""The names of the package that are imported when they are first used: `fastinit.verify`, `fastinit.torch`.

`fastinit.verify` is a function, and a package of this name holds it and its result's classes. Whichever way the package
is imported first, Python would bind it to the name; `be_called_by_function` binds the function instead, so that
`fastinit.verify(path)` and `from fastinit.verify import Verified` go together in any order. A module of the package is
had by `from fastinit.verify import audit`; `import fastinit.verify.audit as audit` would ask the function for it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

FUNCTIONS = ("compare", "edit", "show", "verify", "write")  # each in the package of its own name
CLASSES = {"Plan": "plan", "Rule": "plan"}
MODULES = ("plan",)
# Not in __all__: `from fastinit import *` must not need them.
FRAMEWORKS = {"torch": "PyTorch", "jax": "JAX", "keras": "Keras"}


_coming: set[str] = set()  # packages whose functions are to be bound, by any thread


class _Binding(ModuleType):
    """What `fastinit` is while one of these packages is imported; other modules are faster to take a name from."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Bind a name, to the function where the import system brings the package that holds it."""
        if name in _coming and isinstance(value, ModuleType):
            value = getattr(value, name)
            _coming.discard(name)
        super().__setattr__(name, value)
        if not _coming:
            self.__class__ = ModuleType  # type: ignore[assignment]


def be_called_by_function(package: str) -> None:
    """Let the function of a package's name be what its parent calls so: the last line of the package."""
    parent, _, name = package.rpartition(".")
    _coming.add(name)
    sys.modules[parent].__class__ = _Binding


def resolve_when_used(name: str) -> None:
    """Give the package of this name an `__getattr__` and a `__dir__` (PEP 562) for the names of this file."""
    package = sys.modules[name]

    def import_it(attribute: str) -> Any:
        if attribute in CLASSES:
            return getattr(import_module(f"{name}.{CLASSES[attribute]}"), attribute)
        if attribute in FRAMEWORKS:
            try:
                return import_module(f"{name}.{attribute}")
            except ModuleNotFoundError as error:
                needs = f"{name}.{attribute} needs {FRAMEWORKS[attribute]}: pip install 'fastinit-kernels[{attribute}]'"
                raise AttributeError(f"{needs} ({error})", name=attribute, obj=package) from error
        if attribute in FUNCTIONS or attribute in MODULES:
            import_module(f"{name}.{attribute}")
            return vars(package)[attribute]
        raise AttributeError(f"module {name!r} has no attribute {attribute!r}", name=attribute, obj=package)

    public = sorted({*vars(package)["__all__"], *FRAMEWORKS})
    vars(package).update(__getattr__=import_it, __dir__=lambda: public)
