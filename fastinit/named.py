"""Schemes by name, as rules and the command line give them: a name, numbers, a shape -> a law."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from fastinit import architectures, schemes, structures
from fastinit.fans import fans
from fastinit.laws import Law, Padded
from fastinit.laws.law import IndependentLaw

SCHEMES: dict[str, Callable[..., Law]] = {
    **{
        name: getattr(schemes, name)
        for name in (
            *("zeros", "ones", "constant", "uniform", "normal", "truncated_normal"),
            *("xavier_uniform", "xavier_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal"),
            "variance_scaling",
        )
    },
    "glorot_uniform": schemes.xavier_uniform,
    "glorot_normal": schemes.xavier_normal,
    "kaiming_uniform": schemes.he_uniform,
    "kaiming_normal": schemes.he_normal,
    **{name: getattr(structures, name) for name in ("sparse", "orthogonal", "identity", "dirac", "delta_orthogonal")},
    **{
        name: getattr(architectures, name)
        for name in (
            *("lstm_bias", "siren_uniform", "residual_normal", "small_normal", "wang_normal", "mup_normal"),
            *("mamba_a_log", "mamba_dt_bias", "mamba2_a_log"),
        )
    },
}
SIDES = ("fan_in", "fan_out")
PADDING = "padding_idx"  # the row that stays zero: of every scheme that draws element by element


def takes(scheme: str) -> set[str]:
    """The numbers a scheme has a use for, with those that a fan is derived from."""
    found = set(_parameters(scheme))
    if "fan" in found:
        found |= {*SIDES, "mode"}
    if found & {*SIDES}:
        found.add("layout")
    return found


def law_of(
    scheme: str, numbers: Mapping[str, Any], shape: tuple[int, ...] | None, spell: Callable[[str], str] = repr
) -> Law:
    """The law that a scheme gives for a tensor of `shape` (None: unknown); `spell` writes a number's name in errors.

    A fan that is not given is that of the shape in `layout` ("torch" if not given); `fan`, of variance_scaling, is
    chosen by `mode` (fan_in, fan_out or fan_avg; fan_in if not given). `padding_idx`, a number of every scheme that
    draws element by element, names a row of zeros, as in torch.nn.Embedding. Raises ValueError for an unknown scheme,
    for a number that the scheme has no use for, and for one that is missing: what is passed over would be a silent
    error.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"scheme {scheme!r} is unknown; there are {', '.join(SCHEMES)}")
    if PADDING in numbers:
        law = law_of(scheme, {name: value for name, value in numbers.items() if name != PADDING}, shape, spell)
        if not isinstance(law, IndependentLaw):
            raise ValueError(f"{scheme} has no use for {spell(PADDING)}; it does not draw element by element")
        return Padded(law, numbers[PADDING])
    useful, parameters = takes(scheme), _parameters(scheme)
    for name in numbers:
        if name not in useful:
            raise ValueError(
                f"{scheme} has no use for {spell(name)}; it takes {', '.join(sorted(useful)) or 'nothing'}"
            )
    given = dict(numbers)

    def side(name: str) -> float:
        if name in given:
            return float(given[name])
        if shape is None:
            raise ValueError(f"{scheme} needs {spell(name)}, or {spell('shape')} to derive it from")
        return float(getattr(fans(shape, given.get("layout", "torch")), name))

    if "fan" in parameters and "fan" not in given:
        mode = given.get("mode", "fan_in")
        if mode not in (*SIDES, "fan_avg"):
            raise ValueError(f"{spell('mode')} is {mode!r}; it can be fan_in, fan_out or fan_avg")
        given["fan"] = (side("fan_in") + side("fan_out")) / 2 if mode == "fan_avg" else side(mode)
    for name in SIDES:
        if name in parameters and name not in given:
            given[name] = side(name)
    arguments = {name: value for name, value in given.items() if name in parameters}
    for name, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and name not in arguments:
            raise ValueError(f"{scheme} needs {spell(name)}")
        if isinstance(parameter.default, bool) and not isinstance(arguments.get(name, False), bool):
            raise TypeError(f"{spell(name)} is {arguments[name]!r}; pass true or false")  # "false" would count as true
    return SCHEMES[scheme](**arguments)


def _parameters(scheme: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(SCHEMES[scheme]).parameters
