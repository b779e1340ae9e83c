"""Laws as JSON, for plans and the metadata of checkpoints: {"law": "Normal", "mean": 0.0, "std": 0.02}."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

import numpy as np

from fastinit import laws
from fastinit.laws.law import Law

# By name: the laws that `fastinit.laws` lists.
LAWS: dict[str, type[Any]] = {
    name: one
    for name, one in vars(laws).items()
    if isinstance(one, type) and issubclass(one, Law) and is_dataclass(one)
}
FIELDS = {kind: tuple(field.name for field in dataclasses.fields(kind)) for kind in LAWS.values()}


def to_json(law: Law) -> dict[str, Any]:
    """A law as an object that `json` can write: its name and its parameters, floats to the last bit.

    No axes are left out, as laws were written that had no batch_axis yet.
    """
    kind = type(law)
    given = {name: getattr(law, name) for name in FIELDS[kind]}
    return {"law": kind.__name__} | {name: _plain(value) for name, value in given.items() if not _is_empty(value)}


def from_json(entry: Any) -> Law:
    """The law of such an object; ValueError or TypeError where it is none."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("law"), str):
        raise ValueError(f'{entry!r} is no law; one looks like {{"law": "Normal", "mean": 0.0, "std": 0.02}}')
    kind = LAWS.get(entry["law"])
    if kind is None:
        raise ValueError(f"law {entry['law']!r} is unknown; there are {', '.join(sorted(LAWS))}")
    fields = {field.name for field in dataclasses.fields(kind)}
    given = {name: _value(value) for name, value in entry.items() if name != "law"}
    if set(given) - fields:
        raise ValueError(f"{entry['law']} has no parameter {min(set(given) - fields)!r}; it has {', '.join(fields)}")
    law: Law = kind(**given)
    return law


def _is_empty(value: Any) -> bool:
    return isinstance(value, tuple) and not value


def _plain(value: Any) -> Any:
    """A parameter as JSON has it: what is not finite as text, a complex number as two, an inner law as an object."""
    if type(value) is float and math.isfinite(value):
        return value
    if isinstance(value, Law):
        return to_json(value)
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return {"complex": [_plain(value.real), _plain(value.imag)]} if isinstance(value, complex) else value


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_value(one) for one in value)
    if isinstance(value, Mapping):
        return complex(*map(_value, value["complex"])) if set(value) == {"complex"} else from_json(value)
    return float(value) if value in ("inf", "-inf", "nan") else value
