"""Follow the results of a traced program back to the draws that made them; nothing is drawn, scans are unrolled.

Only what the results depend on is looked at. What chance has no part in (keys, above all) is computed as it is met,
if it is small. Everything else is a content that an operation turns into another one.
"""

from __future__ import annotations

import contextlib
import functools
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from fastinit.jax.record.contents import DETERMINED, Content, Number, Unknown, Values
from fastinit.jax.record.numbers import EXACT, said

LARGEST = 1 << 24  # elements of what is computed without chance

Handler = Callable[[Any, list[Content]], "Sequence[Content] | None"]  # None: what none of our laws is
HANDLERS: dict[str, Handler] = {}
# Primitives that run another program on their operands, as it is.
CALLS = (
    *("jit", "pjit", "closed_call", "core_call", "call", "remat", "remat2", "checkpoint"),
    *("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr", "custom_lin"),
)
CHANCE = ("random_bits", "fastinit_draw", "rng_bit_generator", "rng_uniform")


def handles(*names: str) -> Callable[[Handler], Handler]:
    """Register what a primitive of these names does to contents, where chance has a part in one of them."""

    def register(handler: Handler) -> Handler:
        for name in names:
            HANDLERS[name] = handler
        return handler

    return register


def follow(program: ClosedJaxpr, inputs: Sequence[Content], wanted: Sequence[bool]) -> list[Content]:
    """What each result holds; `Unknown` for one that is not wanted."""
    return _run(program.jaxpr, [_of_array(value) for value in program.consts], inputs, wanted)


def _run(jaxpr: Jaxpr, consts: Sequence[Content], inputs: Sequence[Content], wanted: Iterable[bool]) -> list[Content]:
    wanted = list(wanted)
    held: dict[Any, Content] = dict(zip(jaxpr.constvars, consts, strict=True))
    held |= dict(zip(jaxpr.invars, inputs, strict=True))

    def read(atom: Any) -> Content:
        return _of_array(atom.val) if isinstance(atom, Literal) else held[atom]

    for equation, results in _used(jaxpr, tuple(wanted)):
        operands = [
            read(atom) if use else _NOT_ASKED for atom, use in zip(equation.invars, results.operands, strict=True)
        ]
        made = apply(equation, operands, results.wanted)
        held |= dict(zip(equation.outvars, made, strict=True))
    return [read(atom) if want else _NOT_ASKED for atom, want in zip(jaxpr.outvars, wanted, strict=True)]


# --- what is asked for ------------------------------------------------------------------------------------------------

_NOT_ASKED = Unknown("nothing depends on it", "-")


class _Use:
    """Which operands of an equation the wanted ones of its results depend on."""

    def __init__(self, equation: Any, needed: set[Any]) -> None:
        self.wanted = [variable in needed for variable in equation.outvars]
        self.operands = _operands(equation, self.wanted)


@functools.cache  # the body of a scan is asked for once a round; `forget` ends it
def _used(jaxpr: Jaxpr, wanted: tuple[bool, ...]) -> list[tuple[Any, _Use]]:
    """The equations that wanted results depend on, in their order."""
    needed = {atom for atom, want in zip(jaxpr.outvars, wanted, strict=True) if want and not isinstance(atom, Literal)}
    found = []
    for equation in reversed(jaxpr.eqns):
        if not needed.isdisjoint(equation.outvars):
            use = _Use(equation, needed)
            found.append((equation, use))
            needed |= {
                atom
                for atom, needs in zip(equation.invars, use.operands, strict=True)
                if needs and not isinstance(atom, Literal)
            }
    return found[::-1]


def forget() -> None:
    """Let go of the programs."""
    _used.cache_clear()


def _depends(jaxpr: Jaxpr, wanted: Sequence[bool]) -> list[bool]:
    """Which inputs of a program its wanted results depend on."""
    needed = {atom for atom, want in zip(jaxpr.outvars, wanted, strict=True) if want and not isinstance(atom, Literal)}
    for equation, use in _used(jaxpr, tuple(wanted)):
        needed |= {
            atom
            for atom, needs in zip(equation.invars, use.operands, strict=True)
            if needs and not isinstance(atom, Literal)
        }
    return [variable in needed for variable in jaxpr.invars]


def _operands(equation: Any, wanted: list[bool]) -> list[bool]:
    name, inner = equation.primitive.name, _program_of(equation)
    if name in CALLS and inner is not None:
        return _depends(inner.jaxpr, wanted)
    if name == "scan":
        return _scan_depends(equation, wanted)[0]
    return [True] * len(equation.invars)


def _scan_depends(equation: Any, wanted: list[bool]) -> tuple[list[bool], list[bool]]:
    """Which operands of a scan, and which results of its body, the wanted results depend on."""
    params, body = equation.params, equation.params["jaxpr"].jaxpr
    consts, carries = params["num_consts"], params["num_carry"]
    asked = list(wanted)
    while True:
        inputs = _depends(body, asked)
        carried = [a or b for a, b in zip(asked[:carries], inputs[consts : consts + carries], strict=True)]
        if carried == asked[:carries]:
            return inputs, asked
        asked = [*carried, *asked[carries:]]


# --- equations --------------------------------------------------------------------------------------------------------


def _program_of(equation: Any) -> ClosedJaxpr | None:
    """The program that a primitive runs."""
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        found = equation.params.get(name)
        if isinstance(found, Jaxpr):
            return ClosedJaxpr(found, ())
        if isinstance(found, ClosedJaxpr):
            return found
    return None


def apply(equation: Any, operands: list[Content], wanted: list[bool]) -> list[Content]:
    """What the results of an equation hold."""
    name, inner = equation.primitive.name, _program_of(equation)
    if name in CALLS and inner is not None:
        return [_placed(one, equation) for one in follow(inner, operands, wanted)]
    determined = all(isinstance(one, DETERMINED) for one in operands)
    if determined and not _has_chance(equation):
        return _computed(equation, operands)
    if name == "scan":
        return _scan(equation, operands, wanted)
    if name == "cond":
        return _branch(equation, operands, wanted)
    handler = HANDLERS.get(name)
    found = None if handler is None else handler(equation, operands)
    if found is None:
        return [unknown(equation, operands)] * len(equation.outvars)
    return list(found)


def unknown(equation: Any, operands: Iterable[Content], why: str = "") -> Unknown:
    """The content of what an operation makes that turns no law into a law; an earlier reason goes before this one."""
    for one in operands:
        if isinstance(one, Unknown) and one is not _NOT_ASKED:
            return one
    return Unknown(why or f"{equation.primitive.name} of draws, which is none of our laws", place(equation))


def _has_chance(equation: Any) -> bool:
    """Whether an equation draws, or runs a program that does."""
    if equation.primitive.name in CHANCE:
        return True
    programs = [
        one.jaxpr if isinstance(one, ClosedJaxpr) else one
        for value in equation.params.values()
        for one in (value if isinstance(value, (tuple, list)) else (value,))
        if isinstance(one, (ClosedJaxpr, Jaxpr))
    ]
    return any(_has_chance(inner) for program in programs for inner in program.eqns)


def _scan(equation: Any, operands: list[Content], wanted: list[bool]) -> list[Content]:
    """Each round of a scan by itself; what the rounds pile up is stacked."""
    from fastinit.jax.record.stacking import element, stacked

    params, body = equation.params, equation.params["jaxpr"]
    consts, carries, length = params["num_consts"], params["num_carry"], params["length"]
    _, asked = _scan_depends(equation, wanted)
    carry, rows = operands[consts : consts + carries], operands[consts + carries :]
    shapes = [atom.aval for atom in equation.invars[consts + carries :]]
    piled: list[list[Content]] = [[] for _ in body.out_avals[carries:]]
    order = range(length - 1, -1, -1) if params["reverse"] else range(length)
    for i in order:
        each = [element(one, i, aval) for one, aval in zip(rows, shapes, strict=True)]
        made = follow(body, [*operands[:consts], *carry, *each], asked)
        carry = made[:carries]
        for pile, one in zip(piled, made[carries:], strict=True):
            pile.append(one)
    if params["reverse"]:
        piled = [pile[::-1] for pile in piled]
    results = [
        stacked(pile, aval, place(equation)) if want else _NOT_ASKED
        for pile, aval, want in zip(piled, body.out_avals[carries:], asked[carries:], strict=True)
    ]
    return [*carry, *results]


def _branch(equation: Any, operands: list[Content], wanted: list[bool]) -> list[Content]:
    """The branch that is taken, where chance does not choose it."""
    index, rest = operands[0], operands[1:]
    if isinstance(index, DETERMINED):
        branches = equation.params["branches"]
        chosen = int(array_of(index, equation.invars[0].aval))
        return follow(branches[min(max(chosen, 0), len(branches) - 1)], rest, wanted)
    return [unknown(equation, operands, "a branch that depends on what is drawn")] * len(equation.outvars)


# --- without chance ---------------------------------------------------------------------------------------------------


def _computed(equation: Any, operands: list[Content]) -> list[Content]:
    """The results of an equation in which chance has no part."""
    name, avals = equation.primitive.name, [variable.aval for variable in equation.outvars]
    if name == "platform_index":
        # One branch for each platform, and the last for all others, which is the general one.
        return [Number(len(equation.params["platforms"]) - 1)]
    numbers = [one.value for one in operands if isinstance(one, Number)]
    if operands and len(numbers) == len(operands):
        found = _exactly(equation, numbers, avals[0])
        if found is not None:
            return [Number(found)] * len(avals)
    largest = max((math.prod(aval.shape) for aval in avals), default=0)
    if largest > LARGEST:
        return [Unknown(f"a table of {largest:,} values; at most {LARGEST:,} are computed", place(equation))] * len(
            avals
        )
    found = equation.primitive.get_bind_params(equation.params)
    functions, params = found if isinstance(found, tuple) else ((), found)  # a pair, before JAX 0.10
    values = [array_of(one, atom.aval) for one, atom in zip(operands, equation.invars, strict=True)]
    made = equation.primitive.bind(*functions, *values, **params)
    return [_of_array(one) for one in (made if equation.primitive.multiple_results else [made])]


def _exactly(equation: Any, numbers: list[Any], aval: Any) -> Any:
    """The number that all elements of a result are; None where JAX has to compute them."""
    name = equation.primitive.name
    if name in ("broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose", "slice", "rev", "copy", "split"):
        return numbers[0]
    if name in IDENTITIES or name == "concatenate":
        return numbers[0] if all(type(one) is type(numbers[0]) and one == numbers[0] for one in numbers) else None
    if name == "convert_element_type":
        return _cast(numbers[0], aval.dtype)
    if name not in EXACT or not jnp.issubdtype(aval.dtype, jnp.floating):
        return None
    try:
        options = {"y": equation.params["y"]} if name == "integer_pow" else {}
        return float(EXACT[name](*map(float, numbers), **options))
    except (ArithmeticError, TypeError, ValueError):
        return None


def _cast(number: Any, dtype: Any) -> Any:
    """A number in another dtype; None where it is rounded to another one."""
    if jnp.issubdtype(dtype, jnp.floating) and not isinstance(number, complex):
        return float(number)
    if jnp.issubdtype(dtype, jnp.integer) and isinstance(number, (int, float)) and math.isfinite(number):
        limits = jnp.iinfo(dtype)
        return int(number) if limits.min <= number <= limits.max else None
    return None


# Primitives that leave the values as they are, operand by operand.
IDENTITIES = (
    *("stop_gradient", "copy_p", "device_put", "optimization_barrier", "sharding_constraint", "reshard", "mesh_cast"),
    *("reduce_precision", "pvary", "pcast", "layout_constraint", "random_clone", "name"),
)


def array_of(content: Content, aval: Any) -> Any:
    """The values of a content that is determined."""
    if isinstance(content, Number):
        return np.full(aval.shape, content.value, aval.dtype)
    assert isinstance(content, Values)
    return content.array


def _of_array(value: Any) -> Content:
    """The content of a constant of the program: a number, if it has no shape."""
    array = value if isinstance(value, jax.Array) else np.asarray(value)
    if array.shape or jnp.issubdtype(array.dtype, jax.dtypes.extended):
        return Values(array)
    number = np.asarray(array).item()
    return Number(said(number, array.dtype) if isinstance(number, float) else number)


# --- where ------------------------------------------------------------------------------------------------------------

NOWHERE = "an unknown line"
LIBRARIES = ("jax", "flax", "equinox", "jaxtyping")  # whose frames are between the code of a model and a draw


def _machinery() -> tuple[str, ...]:
    """The folders of what is no code of a model."""
    found = [Path(sys.modules[name].__file__ or "").parent for name in LIBRARIES if name in sys.modules]
    return tuple(f"{folder}/" for folder in (*found, Path(__file__).parents[1])) + (
        contextlib.__file__,
        functools.__file__,
    )


def place(equation: Any) -> str:
    """The line of code of an equation: the innermost that is not JAX's, a library's of layers or ours."""
    traceback = getattr(equation.source_info, "traceback", None)
    machinery = _machinery()
    for frame in getattr(traceback, "frames", ()):
        if not frame.file_name.startswith(machinery):
            return f"{frame.file_name}:{frame.line_num} in {frame.function_name}"
    return NOWHERE


def _placed(content: Content, equation: Any) -> Content:
    """The content, at the line that calls a function of JAX, which keeps no line of its caller in what it traced."""
    if isinstance(content, Unknown) and content.where == NOWHERE:
        return Unknown(content.why, place(equation))
    return content
