"""Schemes by name, as rules and the command line give them: a name, numbers, a shape -> a law."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastinit import architectures, schemes, structures
from fastinit.address import integer
from fastinit.choices import nearest, unknown
from fastinit.fans import THREE_DIMENSIONS, fans
from fastinit.laws import Law, Padded
from fastinit.laws.law import IndependentLaw

# Every fill_* function stands beside the scheme of its name, whose law it draws: that is its registration.
SCHEMES: dict[str, Callable[..., Law]] = {
    name.removeprefix("fill_"): getattr(module, name.removeprefix("fill_"))
    for module in (schemes, structures, architectures)
    for name in vars(module)
    if name.startswith("fill_")
}
SIDES = ("fan_in", "fan_out")
MEANS: dict[str, Callable[[float, float], float]] = {
    "fan_avg": lambda fan_in, fan_out: (fan_in + fan_out) / 2,
    "fan_geo_avg": lambda fan_in, fan_out: math.sqrt(fan_in * fan_out),
}
AXES = ("layout", "in_axis", "out_axis", "batch_axis")  # any of them says what the dimensions are
PADDING = "padding_idx"  # the row that stays zero: of every scheme that draws element by element
# Of a tensor of three dimensions these schemes need one of the numbers: their default would guess what it is.
DIMENSIONS = {"orthogonal": ("batch_axis", "flatten", "batch"), "sparse": ("batch_axis", "axis")}
Spell = Callable[[str], str]


def takes(scheme: str) -> set[str]:
    """The numbers a scheme has a use for, with those that a fan is derived from."""
    found = set(_parameters(scheme))
    if _chosen(found) is not None:
        found |= {*SIDES, "mode"}
    if found & {*SIDES}:
        found |= {*AXES, "groups"}
    return found


def _chosen(parameters: set[str]) -> str | None:
    """The parameter that takes one fan, which `mode` chooses; None where the scheme takes both, or neither."""
    found = parameters & {"fan", *SIDES}
    return found.pop() if len(found) == 1 else None


def law_of(scheme: str, numbers: Mapping[str, Any], shape: tuple[int, ...] | None, spell: Spell = repr) -> Law:
    """The law that a scheme gives for a tensor of `shape` (None: unknown); `spell` writes a number's name in errors.

    A fan that is not given is that of the shape, by `layout` ("torch" if nothing is said), `groups`, `in_axis`,
    `out_axis` and `batch_axis`, as `fastinit.fans` takes them. A scheme of one fan takes that of `mode`: fan_in (if not
    given), fan_out, or their mean, fan_avg, or geometric mean, fan_geo_avg. `padding_idx`, a number of every scheme
    that draws element by element, names a row of zeros, as in torch.nn.Embedding. The scheme "blocks" takes `parts`:
    tables of a size, a scheme and its numbers, whose fans are those of the slice.

    Raises ValueError for an unknown scheme, for a number that the scheme has no use for, and for one that is missing:
    what is passed over would be a silent error. So would be a guess: of a tensor of three dimensions, which may be a
    convolution or stacked experts, a scheme that depends on which wants to be told.
    """
    if scheme not in SCHEMES:
        raise ValueError(unknown("scheme", scheme, SCHEMES))
    if PADDING in numbers:
        law = law_of(scheme, {name: value for name, value in numbers.items() if name != PADDING}, shape, spell)
        if not isinstance(law, IndependentLaw):
            raise ValueError(f"{scheme} has no use for {spell(PADDING)}; it does not draw element by element")
        return Padded(law, numbers[PADDING])
    useful, parameters = takes(scheme), _parameters(scheme)
    for name in numbers:
        if name not in useful:
            close = nearest(name, useful)
            rest = f"did you mean {spell(close)}?" if close else f"it takes {', '.join(sorted(useful)) or 'nothing'}"
            raise ValueError(f"{scheme} has no use for {spell(name)}; {rest}")
    _refuse_a_guess(scheme, numbers, shape, spell)
    given = dict(numbers)
    if scheme == "blocks" and "parts" in given:
        given["parts"] = _parts(given["parts"], given.get("axis", 0), shape, spell)
    given |= _fans(scheme, numbers, shape, spell)
    arguments = {name: value for name, value in given.items() if name in parameters}
    for name, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and name not in arguments:
            raise ValueError(f"{scheme} needs {spell(name)}")
        if isinstance(parameter.default, bool) and not isinstance(arguments.get(name, False), bool):
            raise TypeError(f"{spell(name)} is {arguments[name]!r}; pass true or false")  # "false" would count as true
    return SCHEMES[scheme](**arguments)


def _fans(scheme: str, numbers: Mapping[str, Any], shape: tuple[int, ...] | None, spell: Spell) -> dict[str, float]:
    """The fans that a scheme takes, of those given or of the shape; numbers that none of them needs are refused."""
    parameters = set(_parameters(scheme))
    chosen = _chosen(parameters)
    used = {"layout"}  # a layout stands in rules for tensors of many kinds, also where a fan is given

    def side(name: str) -> float:
        used.add(name)
        if name in numbers:
            return float(numbers[name])
        if shape is None:
            raise ValueError(f"{scheme} needs {spell(name)}, or {spell('shape')} to derive it from")
        used.update((*AXES, "groups"))
        if len(shape) == 3 and not any(axis in numbers for axis in AXES):
            choices = ", ".join(f"{layout} ({meaning})" for layout, meaning in THREE_DIMENSIONS.items())
            raise ValueError(
                f"a tensor of three dimensions may be a convolution or stacked experts, and its {name} depends on it; "
                f"say {spell('layout')}: {choices}; or say {spell('in_axis')} and {spell('out_axis')}, or {spell(name)}"
            )
        options = {axis: numbers[axis] for axis in (*AXES, "groups") if axis in numbers}
        return float(getattr(fans(shape, **options), name))

    found: dict[str, float] = {}
    if chosen is None:
        found = {name: side(name) for name in SIDES if name in parameters}
    elif chosen != "fan" or chosen not in numbers:
        used.add("mode")
        mode = numbers.get("mode", "fan_in")
        if mode not in (*SIDES, *MEANS):
            raise ValueError(f"{spell('mode')} is {mode!r}; it can be fan_in, fan_out, fan_avg or fan_geo_avg")
        found[chosen] = MEANS[mode](side("fan_in"), side("fan_out")) if mode in MEANS else side(mode)
    for name in (*SIDES, *AXES, "groups", "mode"):
        if name in numbers and name not in used | (parameters - {*SIDES}):
            beside = f"{spell('mode')} {numbers['mode']}" if "mode" in numbers else "the fan that is given"
            raise ValueError(f"{scheme} has no use for {spell(name)} beside {beside}; leave one of them out")
    return found


def _refuse_a_guess(scheme: str, numbers: Mapping[str, Any], shape: tuple[int, ...] | None, spell: Spell) -> None:
    """Refuse a tensor of three dimensions of which nobody said what they are."""
    names = DIMENSIONS.get(scheme, ())
    if shape is not None and len(shape) == 3 and names and not any(name in numbers for name in names):
        first, *others = map(spell, names)
        raise ValueError(
            f"a tensor of three dimensions may be one matrix (a convolution) or several (experts), and {scheme} "
            f"depends on it; say {first} (0: the first dimension counts them), or {' or '.join(others)}"
        )


# --- parts ------------------------------------------------------------------------------------------------------------


def _parts(tables: Any, axis: Any, shape: tuple[int, ...] | None, spell: Spell) -> list[tuple[int, Law]]:
    """Sizes and laws of a table of parts; parts without a size share equally what the others leave of the axis."""
    if not isinstance(tables, Sequence) or not all(isinstance(one, Mapping) for one in tables):
        raise TypeError(
            f"{spell('parts')} is {tables!r}; pass a table for each part, such as "
            '{size = 4096, scheme = "normal", std = 0.02}'
        )
    place = integer(axis, spell("axis"))
    if shape is not None and not -len(shape) <= place < len(shape):
        raise ValueError(f"{spell('axis')} {place} does not exist in a tensor of shape {shape}")
    length = None if shape is None else shape[place]
    sizes = _sizes([table.get("size") for table in tables], length, place, spell)
    found = []
    for i, (size, table) in enumerate(zip(sizes, tables, strict=True)):
        numbers = {name: value for name, value in table.items() if name not in ("size", "scheme")}
        part = None if shape is None else (*shape[: place % len(shape)], size, *shape[place % len(shape) + 1 :])
        try:
            if not isinstance(table.get("scheme"), str):
                raise ValueError(f"scheme is {table.get('scheme')!r}; name one of {', '.join(SCHEMES)}")
            found.append((size, law_of(table["scheme"], numbers, part)))
        except (TypeError, ValueError) as error:
            raise type(error)(f"part {i}: {error}") from error
    return found


def _sizes(given: list[Any], length: int | None, axis: int, spell: Spell) -> list[int]:
    """The sizes of all parts."""
    sizes = [None if size is None else integer(size, f"the size of part {i}") for i, size in enumerate(given)]
    said, open_parts = sum(size for size in sizes if size is not None), sizes.count(None)
    if open_parts and length is None:
        raise ValueError(f"a part without a size needs {spell('shape')}")
    rest = 0 if length is None else length - said
    if open_parts and (rest < 0 or rest % open_parts):
        raise ValueError(
            f"the sizes that are said leave {rest} of the {length} of axis {axis}, which {open_parts} parts without a "
            "size cannot share equally; say their sizes"
        )
    return [rest // open_parts if size is None else size for size in sizes]


def _parameters(scheme: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(SCHEMES[scheme]).parameters
