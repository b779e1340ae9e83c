"""Plant a fault into modules that are imported already: the functions that everybody holds get the faulty code.

The faulty module is run in a namespace of its own, and its code, defaults and constants are put where the sound ones
are: functions keep their identity, so that all who imported them have the fault. What cannot be put in its place stays
sound, so that a fault is at worst missed, which is looked at, and never seen where none is.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import sys
import types
from typing import Any

PLAIN = (bool, int, float, complex, str, bytes, tuple, frozenset, type(None))


def plant(path: str, code: types.CodeType) -> None:
    """Put the code of a module of the project in the place of its own, in this process."""
    name = path.removesuffix(".py").replace("/", ".")
    sound = importlib.import_module(name)
    faulty = types.ModuleType(name)
    faulty.__file__, faulty.__package__ = sound.__file__, sound.__package__
    sys.modules[name] = faulty  # dataclasses look their module up
    try:
        exec(code, faulty.__dict__)
    finally:
        sys.modules[name] = sound
    for key, new in list(vars(faulty).items()):
        old = vars(sound).get(key)
        if isinstance(new, PLAIN) and key[:2] != "__" and new != old:
            _everywhere(key, old, new)
        else:
            _transplant(old, new, name)
    for module in _of_project():
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()


def _of_project() -> list[types.ModuleType]:
    return [module for name, module in sys.modules.items() if name.partition(".")[0] == "fastinit"]


def _everywhere(name: str, old: object, new: object) -> None:
    """A constant, in every module that has imported it."""
    for module in _of_project():
        if name in vars(module) and vars(module)[name] is old:
            setattr(module, name, new)


def _transplant(old: Any, new: Any, module: str) -> None:
    """Code and constants of `new` into `old`, if both are of this module."""
    if old is new or type(old) is not type(new):
        return
    if isinstance(new, (types.FunctionType, type)) and new.__module__ != module:
        return
    if isinstance(new, types.FunctionType):
        if hasattr(new, "__wrapped__") and hasattr(old, "__wrapped__"):  # a decorator calls the function it was given
            _transplant(old.__wrapped__, new.__wrapped__, module)
        if old.__code__.co_freevars == new.__code__.co_freevars:
            old.__code__, old.__defaults__, old.__kwdefaults__ = new.__code__, new.__defaults__, new.__kwdefaults__
    elif isinstance(new, type):
        for name, value in list(vars(new).items()):
            had = vars(old).get(name)
            if isinstance(value, PLAIN) and name[:2] != "__" and value != had:
                setattr(old, name, value)
            elif name == "__dataclass_fields__":
                _fields(had, value)
            else:
                _transplant(had, value, module)
    elif isinstance(new, property):
        _transplant(old.fget, new.fget, module)
    elif isinstance(new, (classmethod, staticmethod)):
        _transplant(old.__func__, new.__func__, module)
    elif isinstance(new, functools.cached_property):
        _transplant(old.func, new.func, module)
    elif hasattr(new, "__wrapped__"):
        _transplant(old.__wrapped__, new.__wrapped__, module)
    elif isinstance(new, dict):
        for name, value in new.items():
            if isinstance(value, PLAIN):
                old[name] = value
            else:
                _transplant(old.get(name), value, module)


def _fields(old: dict[str, dataclasses.Field[Any]], new: dict[str, dataclasses.Field[Any]]) -> None:
    """The defaults of a dataclass, for whoever asks its fields; those of its __init__ are among its functions."""
    for name, field in new.items():
        if isinstance(field.default, PLAIN):
            old[name].default = field.default
