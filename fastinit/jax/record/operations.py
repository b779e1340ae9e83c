"""Draws, and arithmetic on what is drawn: random bits to a uniform, a uniform to a normal, a normal times a number."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fastinit import laws
from fastinit.jax.record.contents import (
    DETERMINED,
    Bits,
    Content,
    Draw,
    Factor,
    Haar,
    Lawful,
    Number,
    Pieces,
    Shaped,
    Signs,
    Unknown,
    Unsigned,
    Values,
    moved,
)
from fastinit.jax.record.numbers import said
from fastinit.jax.record.program import HANDLERS, array_of, handles
from fastinit.laws.arithmetic import affine, within
from fastinit.laws.law import IndependentLaw
from fastinit.laws.mamba import SMALLEST

# A bound that a clamp repeats, after arithmetic in floats: a part in a hundred thousand of it is no other bound.
SLACK = 1e-5
MOST_SLICES = 1 << 12


# --- draws ------------------------------------------------------------------------------------------------------------


@handles("random_bits")
def _bits(equation: Any, operands: list[Content]) -> list[Content] | None:
    key, shape = operands[0], equation.outvars[0].aval.shape
    batch = equation.invars[0].aval.shape
    width = int(equation.params["bit_width"])
    if not isinstance(key, Values):  # a key that is an argument: other than all others
        return [Bits(Draw(object(), shape), width)]
    found = _repeats(np.asarray(jax.random.key_data(key.array)), len(batch))
    if found is None:
        return [Unknown("draws of a batch of keys some of which are the same", "random_bits")]
    words, repeats = found
    return [Bits(Draw((str(jax.random.key_impl(key.array)), words), shape), width, repeats=repeats)]


@handles("fastinit_draw")
def _own(equation: Any, operands: list[Content]) -> list[Content] | None:
    """A draw of our own initialisers (fastinit/jax/drawing.py), of one key or of a batch of them."""
    law, shape, key = equation.params["law"], equation.params["shape"], operands[0]
    if np.dtype(equation.params["dtype"]).kind == "c":
        law = law.complex_form()
    whole = equation.outvars[0].aval.shape
    copies = len(whole) - len(shape)
    draw, repeats = Draw(object(), whole), frozenset[int]()
    if isinstance(key, DETERMINED):
        found = _repeats(np.asarray(array_of(key, equation.invars[0].aval)), copies)
        if found is None:
            return [Unknown("draws of a batch of keys some of which are the same", "an initialiser")]
        words, repeats = found
        draw = Draw(("fastinit", words, equation.params["name"]), whole)
    if isinstance(law, IndependentLaw):
        return [Lawful(law, draw, repeats=repeats)]
    if repeats:
        return None
    batch = frozenset(range(copies))
    if isinstance(law, laws.Orthogonal):
        own = [axis + copies for axis in law.own_axes(shape)]
        batch |= {axis + copies for axis in law.batch_axes(shape)}
        sides = ({own[0]}, set(own[1:])) if law.flatten == "torch" else (set(own[:-1]), {own[-1]})
        return [Haar(law.gain, draw, frozenset(sides[0]), frozenset(sides[1]), batch)]
    if copies and isinstance(law, laws.DeltaOrthogonal):
        law = replace(law, batch_axis=tuple(batch) + tuple(axis + copies for axis in law.batch_axes(shape)))
    elif copies:
        return None
    return [Shaped(law, draw)]


def _repeats(words: Any, axes: int) -> tuple[Any, frozenset[int]] | None:
    """The words of a batch of keys without axes along which they are the same, and those; None if some are the same."""
    repeats = frozenset(
        axis for axis in range(axes) if words.shape[axis] > 1 and (words == words.take([0], axis)).all()
    )
    for axis in repeats:
        words = words.take([0], axis)
    rows = words.reshape(-1, words.shape[-1])
    if len(np.unique(rows, axis=0)) < len(rows):
        return None
    return words.tobytes(), repeats


@handles("shift_right_logical")
def _shift(equation: Any, operands: list[Content]) -> list[Content] | None:
    bits, by = operands
    if isinstance(bits, Bits) and bits.kept is None and isinstance(by, Number):
        return [replace(bits, kept=bits.width - int(by.value))]
    return None


@handles("or")
def _or(equation: Any, operands: list[Content]) -> list[Content] | None:
    bits, exponent = sorted(operands, key=lambda one: not isinstance(one, Bits))
    if isinstance(bits, Bits) and bits.kept is not None and bits.exponent is None and isinstance(exponent, Number):
        return [replace(bits, exponent=int(exponent.value))]
    return None


@handles("bitcast_convert_type")
def _bitcast(equation: Any, operands: list[Content]) -> list[Content] | None:
    """Random bits as a mantissa, under the exponent of 1: uniform on [1, 2)."""
    bits, dtype = operands[0], equation.params["new_dtype"]
    if not isinstance(bits, Bits) or not jnp.issubdtype(dtype, jnp.floating):
        return None
    storage = np.dtype(f"uint{8 * np.dtype(dtype).itemsize}")
    one = int(np.ones((), dtype).view(storage))
    if bits.kept != jnp.finfo(dtype).nmant or bits.exponent != one:
        return None
    return [Lawful(laws.Uniform(1.0, 2.0), bits.draw, moves=bits.moves, repeats=bits.repeats)]


# --- arithmetic -------------------------------------------------------------------------------------------------------


def number_of(content: Content, aval: Any) -> float | None:
    """The number that all elements are; None where they differ, or may."""
    if isinstance(content, Number):
        return None if isinstance(content.value, complex) else float(content.value)
    if isinstance(content, Values) and jnp.issubdtype(aval.dtype, jnp.number) and content.array.size:
        array = np.asarray(content.array)
        first = array.reshape(-1)[0]
        if not np.iscomplexobj(array) and (array == first).all():
            return said(float(first), aval.dtype) if jnp.issubdtype(aval.dtype, jnp.floating) else float(first)
    return None


def _scaled(content: Content, scale: float, shift: float) -> Content | None:
    """What scale x + shift holds."""
    if not (math.isfinite(scale) and math.isfinite(shift)):
        return None
    if isinstance(content, Number):
        return None if isinstance(content.value, complex) else Number(content.value * scale + shift)
    if scale == 0.0:
        return Number(shift)
    if isinstance(content, Lawful):
        law = affine(content.law, scale, shift)
        if law is None:
            return None
        return replace(content, law=_tidy(law), scale=content.scale * scale, shift=content.shift * scale + shift)
    if isinstance(content, Haar) and shift == 0.0:
        return replace(content, gain=content.gain * abs(scale))
    if isinstance(content, Shaped) and shift == 0.0 and isinstance(content.law, laws.DeltaOrthogonal):
        return replace(content, law=replace(content.law, gain=content.law.gain * abs(scale)))
    if isinstance(content, Pieces):
        parts = [(size, _scaled(part, scale, shift)) for size, part in content.parts]
        return (
            Pieces(content.axis, tuple((n, one) for n, one in parts if one)) if all(one for _, one in parts) else None
        )
    return None


def _tidy(law: laws.Law) -> laws.Law:
    """The root of a half, times the root of two, is one."""
    if isinstance(law, laws.Normal) and abs(law.std - 1.0) < 1e-12:
        return laws.Normal(law.mean, 1.0)
    if isinstance(law, laws.TruncatedNormal) and abs(law.parent_std - 1.0) < 1e-12:
        return laws.TruncatedNormal(law.parent_mean, 1.0, law.low, law.high)
    return law


def _two(equation: Any, operands: list[Content]) -> tuple[Content, float, bool] | None:
    """The operand that chance has a part in, the number beside it, and whether the number comes second."""
    for i in (0, 1):
        number = number_of(operands[i], equation.invars[i].aval)
        if number is not None and not isinstance(operands[1 - i], DETERMINED):
            return operands[1 - i], number, i == 1
    return None


@handles("add", "add_any", "sub", "mul", "div")
def _arithmetic(equation: Any, operands: list[Content]) -> list[Content] | None:
    name = equation.primitive.name
    if name == "mul":
        signed = _haar(operands) or _per_slice(equation, operands)
        if signed is not None:
            return [signed]
    two = _two(equation, operands)
    if two is None:
        return _factors(equation, operands)
    content, number, second = two
    if isinstance(content, Factor):
        return [content]
    found = None
    if name in ("add", "add_any"):
        found = _scaled(content, 1.0, number)
    elif name == "sub":
        found = _scaled(content, 1.0, -number) if second else _scaled(content, -1.0, number)
    elif name == "mul":
        found = _scaled(content, number, 0.0)
    elif second and number:
        found = _scaled(content, 1.0 / number, 0.0)
    return None if found is None else [found]


@handles("neg")
def _neg(equation: Any, operands: list[Content]) -> list[Content] | None:
    found = _scaled(operands[0], -1.0, 0.0)
    return _factors(equation, operands) if found is None else [found]


def _per_slice(equation: Any, operands: list[Content]) -> Content | None:
    """A draw times numbers that differ along one axis only: a scale for each layer."""
    for i in (0, 1):
        content, factors = operands[1 - i], operands[i]
        if not (isinstance(content, Lawful) and isinstance(factors, Values)):
            continue
        table, dtype = np.asarray(factors.array), equation.invars[i].aval.dtype
        if table.ndim != len(equation.outvars[0].aval.shape) or not jnp.issubdtype(dtype, jnp.floating):
            return None
        for axis, length in enumerate(table.shape):
            lines = np.moveaxis(table, axis, 0).reshape(length, -1)
            if 1 < length <= MOST_SLICES and (lines == lines[:, :1]).all() and (lines != lines[0]).any():
                slices = [moved(content, ("slice", axis, k)) for k in range(length)]
                scaled = [_scaled(one, said(lines[k, 0], dtype), 0.0) for k, one in enumerate(slices)]
                found = [one for one in scaled if one is not None]
                return Pieces(axis, tuple((1, one) for one in found)) if len(found) == length else None
    return None


@handles("max", "min")
def _bound(equation: Any, operands: list[Content]) -> list[Content] | None:
    two = _two(equation, operands)
    if two is None:
        return None
    content, number, _ = two
    found = (
        _clamped(content, number, math.inf)
        if equation.primitive.name == "max"
        else _clamped(content, -math.inf, number)
    )
    return None if found is None else [found]


@handles("clamp")
def _clamp(equation: Any, operands: list[Content]) -> list[Content] | None:
    low, high = number_of(operands[0], equation.invars[0].aval), number_of(operands[2], equation.invars[2].aval)
    found = None if low is None or high is None else _clamped(operands[1], low, high)
    return None if found is None else [found]


def _clamped(content: Content, low: float, high: float) -> Content | None:
    """What min(max(x, low), high) holds, where that cuts nothing off but what rounding added."""
    if not isinstance(content, Lawful) or not within(content.law, low, high, SLACK):
        return None
    law = content.law
    if isinstance(law, laws.TruncatedNormal):
        near = [
            bound if math.isfinite(bound) and abs(own - bound) <= SLACK * abs(bound) else own
            for own, bound in ((law.low, low), (law.high, high))
        ]
        law = laws.TruncatedNormal(law.parent_mean, law.parent_std, *near)
    return replace(content, law=law)


@handles("erf_inv")
def _erf_inv(equation: Any, operands: list[Content]) -> list[Content] | None:
    """The inverse error function of a uniform: a normal of variance 1/2, cut where the uniform ends."""
    content, epsilon = operands[0], float(jnp.finfo(equation.invars[0].aval.dtype).eps)
    if not (isinstance(content, Lawful) and isinstance(content.law, laws.Uniform)):
        return None
    low, high = content.law.low, content.law.high
    if low < -1.0 or high > 1.0:
        return None
    std = math.sqrt(0.5)
    law: laws.Law = laws.Normal(0.0, std)
    if low > -1.0 + epsilon or high < 1.0 - epsilon:  # the neighbour of -1 stands for it, where 0 is to be left out
        law = laws.TruncatedNormal(0.0, std, _inverse(low, epsilon), _inverse(high, epsilon))
    return [replace(content, law=law, scale=1.0, shift=0.0, moves=(*content.moves, "erf_inv", low, high))]


def _inverse(x: float, epsilon: float) -> float:
    from scipy.special import erfinv

    return math.copysign(math.inf, x) if abs(x) >= 1.0 - epsilon else float(erfinv(x))


@handles("log")
def _log(equation: Any, operands: list[Content]) -> list[Content] | None:
    content = operands[0]
    if not (isinstance(content, Lawful) and isinstance(content.law, laws.Uniform) and content.law.low >= 0.0):
        return None
    low = max(content.law.low, SMALLEST)  # of a uniform from zero on: our words never make a zero
    law = laws.LogOfUniform(low, content.law.high)
    return [replace(content, law=law, scale=1.0, shift=0.0, moves=(*content.moves, "log"))]


@handles("convert_element_type")
def _convert(equation: Any, operands: list[Content]) -> list[Content] | None:
    content, dtype = operands[0], equation.params["new_dtype"]
    if isinstance(content, Bits):
        return operands if jnp.issubdtype(dtype, jnp.unsignedinteger) and content.exponent is None else None
    if isinstance(content, Lawful | Haar | Shaped | Pieces | Factor | Signs | Unsigned):
        return operands if jnp.issubdtype(dtype, jnp.floating) else None
    return None


# --- orthogonal matrices ----------------------------------------------------------------------------------------------


@handles("qr")
def _qr(equation: Any, operands: list[Content]) -> list[Content] | None:
    """Q and R of a matrix of standard normals."""
    content, shape = operands[0], equation.invars[0].aval.shape
    if equation.params.get("full_matrices") or equation.params.get("pivoting") or shape[-2] < shape[-1]:
        return None
    if not isinstance(content, Lawful) or content.repeats or not isinstance(content.law, laws.Normal):
        return None
    return [Unsigned(content.draw, len(shape)), Factor(content.draw)] if content.law.mean == 0.0 else None


def _haar(operands: list[Content]) -> Content | None:
    """Q times the signs of the diagonal of R (Mezzadri 2007)."""
    kinds = {type(one): one for one in operands}
    q, signs = kinds.get(Unsigned), kinds.get(Signs)
    if isinstance(q, Unsigned) and isinstance(signs, Signs) and q.draw == signs.draw:
        sides = frozenset({q.rank - 2}), frozenset({q.rank - 1})
        return Haar(1.0, q.draw, *sides, frozenset(range(q.rank - 2)))
    return None


def _factors(equation: Any, operands: list[Content]) -> list[Content] | None:
    """What is computed of R, and of nothing else that is drawn."""
    drawn = [one for one in operands if not isinstance(one, DETERMINED)]
    if not all(isinstance(one, Factor) for one in drawn) or len(set(drawn)) != 1:
        return None
    factor = drawn[0]
    assert isinstance(factor, Factor)
    if equation.primitive.name == "sign":
        return [Signs(factor.draw)]
    return [factor] * len(equation.outvars)


for _name in ("gather", "reduce_sum", "select_n", "sign", "abs", "eq", "lt", "gt", "ge", "le", "ne", "diag"):
    HANDLERS.setdefault(_name, _factors)
