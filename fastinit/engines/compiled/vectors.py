"""Straight-line code on several vectors at once, in the order in which it is written.

A law is a chain of some fifty operations that wait for each other, and a core finds work for the meantime only among
the next sixty-four. So an expression here acts on each vector of a body before the next expression begins: eight
chains, side by side. LLVM would take them apart again, one chain after the other, to save registers; an empty piece of
assembly behind each operation keeps them where they are (the truncated law: 1.5 times as fast).

`loop` (loops.py) makes an intrinsic for Numba of a function that looks like NumPy: its argument is what a law reads and
stores (operands.py), `x.words[0]` loads a vector, `x.out[0] = ...` stores one, and operators and the functions below
are traced into LLVM's language, as JAX traces. All operations are those of the elements, in the order written: nothing
is fused that would change a bit, and nothing depends on the width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Union

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from fastinit.engines.processor import FEATURES, LETTER, REGISTER

# Vectors of an unrolled body: enough to fill the gaps, few enough for 16 registers (docs/decisions.md, "Vectors are
# written out, eight side by side").
UNROLL = 8

Number = int | float | np.float32
Operand = Union["Vectors", Number]
word_32, word_64 = ir.IntType(32), ir.IntType(64)
single, double = ir.FloatType(), ir.DoubleType()
INTEGER = {single: word_32, double: word_64}
REAL = {word_32: single, word_64: double}


class Order(Enum):
    """Which operations LLVM leaves where they are written."""

    EACH = "each"  # every operation: a step
    ROUNDS = "rounds"  # what stands between two calls of `pause` is a step; inside of it the order is LLVM's
    FREE = "free"  # none


class Body:
    """The unrolled body of a loop: where its code goes, and how many vectors of how many lanes it takes."""

    def __init__(
        self,
        builder: ir.IRBuilder,
        before: ir.Block,
        unroll: int,
        lanes: int,
        first: int = 0,
        order: Order = Order.EACH,
    ) -> None:
        self.builder, self.before, self.unroll, self.lanes = builder, before, unroll, lanes
        self.first = first  # which vector of an operand is the first of this body
        self.order = order
        self.letter = LETTER if order is Order.EACH else None
        self.is_open = False  # whether what is computed is part of one step, and LLVM may look into it (`together`)
        self.steps: list[int] = []  # how many instructions the block had at the end of each step

    def type_of(self, element: ir.Type) -> ir.Type:
        """The type of a vector of such elements; without lanes, of one."""
        return ir.VectorType(element, self.lanes) if self.lanes else element

    def spread(self, value: ir.Value) -> Vectors:
        """A number in every lane."""
        return Vectors(self, [spread(self.builder, value, self.lanes)] * self.unroll)

    def number(self, value: Number, element: ir.Type) -> Vectors:
        """A constant in every lane."""
        value = float(value) if element in INTEGER else int(value)
        constant = ir.Constant(self.type_of(element), [value] * self.lanes if self.lanes else value)
        return Vectors(self, [constant] * self.unroll)

    def pin(self, value: ir.Value) -> ir.Value:
        """The value, computed at this place and in a register."""
        if self.letter is None or not self.lanes or not _is_register(value.type):
            return value
        kind = ir.FunctionType(value.type, [value.type])
        barrier = ir.InlineAsm(kind, "", f"={self.letter},0", side_effect=True)
        return self.builder.call(barrier, [value], attrs=("nounwind",))


def _is_register(kind: ir.VectorType) -> bool:
    width = {word_32: 32, word_64: 64, single: 32, double: 64}[kind.element] * kind.count
    return width in (128, 256, 512) and width <= REGISTER


def spread(builder: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    """A vector with this value in every lane."""
    if not lanes:
        return value
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, value, word_32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(word_32, lanes), [0] * lanes))


class Vectors:
    """The same step of every vector of a body: floats, or integers of 32 or 64 bits, signed or not."""

    def __init__(self, body: Body, values: Sequence[ir.Value], signed: bool = False) -> None:
        self.body, self.values, self.signed = body, list(values), signed
        kind = self.values[0].type
        self.element = kind.element if isinstance(kind, ir.VectorType) else kind

    def step(self, operation: Callable[..., ir.Value], *others: Operand, signed: bool | None = None) -> Vectors:
        """operation(this vector, the others' vectors), one vector after the other."""
        body = self.body
        operands = [self, *(x if isinstance(x, Vectors) else body.number(x, self.element) for x in others)]
        signed = self.signed if signed is None else signed
        if all(x.is_number for x in operands):
            return Vectors(body, [operation(*(x.values[0] for x in operands))] * body.unroll, signed)
        # A number is fetched once, and not by every vector: a core does two loads a cycle, and four operations.
        columns = [[body.pin(x.values[0])] * body.unroll if x.is_number else x.values for x in operands]
        made = Vectors(body, [operation(*row) for row in zip(*columns, strict=True)], signed)
        return made if body.is_open else made.pinned()

    def pinned(self) -> Vectors:
        """The same, computed at this place: the end of a step."""
        body = self.body
        values = [body.pin(value) for value in self.values]
        if body.order is not Order.ROUNDS:
            body.steps.append(len(body.builder.block.instructions))
        return Vectors(body, values, self.signed)

    @property
    def is_number(self) -> bool:
        """Whether all vectors are one and the same."""
        return self.body.unroll > 1 and all(x is self.values[0] for x in self.values)

    def _arithmetic(self, real: str, integer: str, other: Operand, swapped: bool = False) -> Vectors:
        operation = getattr(self.body.builder, real if self.element in INTEGER else integer)
        return self.step((lambda x, y: operation(y, x)) if swapped else operation, other)

    def __add__(self, other: Operand) -> Vectors:
        return self._arithmetic("fadd", "add", other)

    __radd__ = __add__

    def __mul__(self, other: Operand) -> Vectors:
        return self._arithmetic("fmul", "mul", other)

    __rmul__ = __mul__

    def __sub__(self, other: Operand) -> Vectors:
        return self._arithmetic("fsub", "sub", other)

    def __rsub__(self, other: Operand) -> Vectors:
        return self._arithmetic("fsub", "sub", other, swapped=True)

    def __truediv__(self, other: Operand) -> Vectors:
        return self.step(self.body.builder.fdiv, other)

    def __rtruediv__(self, other: Number) -> Vectors:
        return self.step(lambda x, y: self.body.builder.fdiv(y, x), other)

    def __and__(self, other: Vectors | int) -> Vectors:
        return self.step(self.body.builder.and_, other)

    def __or__(self, other: Vectors | int) -> Vectors:
        return self.step(self.body.builder.or_, other)

    def __xor__(self, other: Vectors | int) -> Vectors:
        return self.step(self.body.builder.xor, other)

    def __lshift__(self, places: int) -> Vectors:
        return self._shift(self.body.builder.shl, places)

    def __rshift__(self, places: int) -> Vectors:
        return self._shift(self.body.builder.ashr if self.signed else self.body.builder.lshr, places)

    def _shift(self, operation: Callable[..., ir.Value], places: int) -> Vectors:
        kind = self.values[0].type  # the instruction holds how far
        count = ir.Constant(kind, [places] * self.body.lanes if self.body.lanes else places)
        return self.step(lambda x: operation(x, count))

    def __lt__(self, other: Operand) -> Mask:
        return self._compare("<", other)

    def __le__(self, other: Operand) -> Mask:
        return self._compare("<=", other)

    def __gt__(self, other: Operand) -> Mask:
        return self._compare(">", other)

    def _compare(self, how: str, other: Operand) -> Mask:
        builder = self.body.builder
        integers = builder.icmp_signed if self.signed else builder.icmp_unsigned
        compare = builder.fcmp_ordered if self.element in INTEGER else integers
        if isinstance(other, int) and other == 0:  # kept in sight: whether an integer is below zero is one bit of it
            return Mask(lambda x: compare(how, x, ir.Constant(x.type, None)), self)
        return Mask(lambda x, y: compare(how, x, y), self, other)

    def cast(self, operation: Callable[..., ir.Value], element: ir.Type, signed: bool = False) -> Vectors:
        """operation(this vector, the type of a vector of such elements)."""
        return self.step(lambda x: operation(x, self.body.type_of(element)), signed=signed)


class Mask:
    """Which lanes: a comparison, which is made where it decides. Together they are one instruction or two."""

    def __init__(self, decide: Callable[..., ir.Value], x: Vectors, *others: Operand) -> None:
        self.decide = decide
        self.operands = [x, *(y if isinstance(y, Vectors) else x.body.number(y, x.element) for y in others)]


def is_zero(x: Vectors) -> Mask:
    """Where an integer is 0 (vptestnmd)."""
    builder = x.body.builder
    return Mask(lambda x: builder.icmp_unsigned("==", x, ir.Constant(x.type, None)), x)


def is_set(x: Vectors, bit: int) -> Mask:
    """Where an integer has this bit (vptestmd)."""
    builder = x.body.builder
    return Mask(lambda x, y: builder.icmp_unsigned("!=", builder.and_(x, y), ir.Constant(x.type, None)), x, bit)


def where(mask: Mask, x: Operand, y: Operand) -> Vectors:
    """Choose x where the mask holds and y elsewhere; one of the two is no plain number."""
    one = x if isinstance(x, Vectors) else y
    assert isinstance(one, Vectors)
    x, y = (z if isinstance(z, Vectors) else one.body.number(z, one.element) for z in (x, y))
    select, decide = one.body.builder.select, mask.decide
    return x.step(lambda x, y, *operands: select(decide(*operands), x, y), y, *mask.operands)


def together(operations: Callable[..., Vectors], *vectors: Vectors) -> Vectors:
    """Several operations on vectors as one step: for those that are one instruction, or LLVM would not know it."""
    body = vectors[0].body
    body.is_open = True
    made = operations(*vectors)
    body.is_open = False
    return made.pinned()


def minimum(x: Vectors, y: Operand) -> Vectors:
    """The smaller of the two; no NaN."""
    builder = x.body.builder
    return x.step(lambda x, y: builder.select(builder.fcmp_ordered("<", x, y), x, y), y)


def maximum(x: Vectors, y: Operand) -> Vectors:
    """The larger of the two; no NaN."""
    builder = x.body.builder
    return x.step(lambda x, y: builder.select(builder.fcmp_ordered(">", x, y), x, y), y)


def clamp(x: Vectors, lowest: Vectors, highest: Vectors) -> Vectors:
    """x, moved into [lowest, highest]."""
    return minimum(maximum(x, lowest), highest)


def and_not(x: Vectors | int, mask: Vectors) -> Vectors:
    """The bits of x that the mask does not have: x & ~mask."""
    builder = mask.body.builder
    return mask.step(lambda mask, x: builder.and_(x, builder.not_(mask)), x)


def signed(x: Vectors) -> Vectors:
    """The integers, taken as signed: what `>>`, `<`, `real` and `wide` do depends on it."""
    return Vectors(x.body, x.values, True)


def bits(x: Vectors) -> Vectors:
    """The bits of floats as unsigned integers of their size."""
    kind = x.body.type_of(INTEGER[x.element])
    return Vectors(x.body, [x.body.builder.bitcast(value, kind) for value in x.values])


def from_bits(x: Vectors) -> Vectors:
    """The floats whose bits are these integers."""
    kind = x.body.type_of(REAL[x.element])
    return Vectors(x.body, [x.body.builder.bitcast(value, kind) for value in x.values])


def real(x: Vectors, element: ir.Type | None = None) -> Vectors:
    """The floats nearest to integers, of their size if nothing else is said."""
    builder = x.body.builder
    return x.cast(builder.sitofp if x.signed else builder.uitofp, element or REAL[x.element])


def wide(x: Vectors) -> Vectors:
    """Integers of 32 bits in 64."""
    builder = x.body.builder
    return x.cast(builder.sext if x.signed else builder.zext, word_64, x.signed)


def product(x: Vectors, y: Vectors | int) -> Vectors:
    """The 64-bit products of the low halves of 64-bit lanes: one instruction (vpmuludq), which masks for nothing."""
    builder, low = x.body.builder, ir.Constant(x.values[0].type, [0xFFFFFFFF] * x.body.lanes)
    return x.step(lambda x, y: builder.mul(builder.and_(x, low), builder.and_(y, low)), y)


def high_half(x: Vectors) -> Vectors:
    """The high halves of 64-bit lanes, in the low halves too: a shuffle, where a shift and a shuffle have a port each.

    On 512-bit registers; narrower ones share ports otherwise.
    """
    kind = x.values[0].type
    if REGISTER != 512:
        return x >> 32
    builder, halves = x.body.builder, ir.VectorType(word_32, 2 * kind.count)
    odd = ir.Constant(halves, [lane | 1 for lane in range(2 * kind.count)])

    def shuffle(value: ir.Value) -> ir.Value:
        value = builder.bitcast(value, halves)
        return builder.bitcast(builder.shuffle_vector(value, value, odd), kind)

    return x.step(shuffle)


def pause(vectors: Sequence[Vectors]) -> list[Vectors]:
    """End a step of Order.ROUNDS: what is made of these vectors, LLVM leaves behind it. Of other orders, nothing.

    A piece of assembly as in `Body.pin`, but for all of them: inside of a step the order is LLVM's.

    It also hides where they come from. Where LLVM knows that one operand of an exclusive or has no high half, it masks
    the other before the loop, forgets what that was for, and multiplies whole lanes by vpmullq: three times as long.
    """
    body = vectors[0].body
    if body.order is not Order.ROUNDS:
        return list(vectors)
    assert body.unroll == 1
    kinds, places = [x.values[0].type for x in vectors], range(len(vectors))
    constraints = ",".join([f"={LETTER}" for _ in places] + [str(place) for place in places])
    kind = ir.FunctionType(ir.LiteralStructType(kinds), kinds)
    barrier = ir.InlineAsm(kind, "", constraints, side_effect=True)
    all_values = body.builder.call(barrier, [x.values[0] for x in vectors], attrs=("nounwind",))
    values = [body.builder.extract_value(all_values, place) for place in places]
    body.steps.append(len(body.builder.block.instructions))
    return [Vectors(body, [value], x.signed) for x, value in zip(vectors, values, strict=True)]


def square_root(x: Vectors) -> Vectors:
    """The square roots, rounded once."""
    return x.step(lambda v: _call(x, "sqrt", v))


def fused(x: Vectors, factor: Operand, term: Operand) -> Vectors:
    """The same as x * factor + term, in one instruction where a register has 512 bits.

    It rounds once. So only where two steps would not round twice either: `factor` is a power of two, or `term` is
    `factor`, and what is meant is (x + 1) * factor for whole numbers.
    """
    if "avx512f" not in FEATURES:  # 256 bits: no gain, since sums have units of their own (0.454 against 0.445 ns)
        return x * factor + term
    return x.step(lambda v, y, z: _call(x, "fma", v, y, z), factor, term)


def _call(x: Vectors, name: str, *operands: ir.Value) -> ir.Value:
    """An operation that LLVM has as a function."""
    size, kind = {single: "f32", double: "f64"}[x.element], operands[0].type
    name = f"llvm.{name}.v{x.body.lanes}{size}" if x.body.lanes else f"llvm.{name}.{size}"
    function = ir.FunctionType(kind, [kind] * len(operands))
    return x.body.builder.call(cgutils.get_or_insert_function(x.body.builder.module, function, name), operands)  # type: ignore[no-untyped-call]


def exponent(x: Vectors) -> Vectors:
    """The whole number e with 2^e <= |x| < 2^(e + 1), as a float (vgetexp)."""
    return x.step(lambda v: _call_512(x, "getexp", v))


def mantissa(x: Vectors) -> Vectors:
    """The numbers with another exponent: their size in [1/2, 1) (vgetmant)."""
    return x.step(lambda v: _call_512(x, "getmant", v, word_32(2)))


def _call_512(x: Vectors, name: str, value: ir.Value, *operands: ir.Value) -> ir.Value:
    """An operation of AVX-512, on all lanes of a register; of a single number, in one of them."""
    builder, size = x.body.builder, {single: "ps", double: "pd"}[x.element]
    lanes = {single: 16, double: 8}[x.element]
    whole = value if x.body.lanes else spread(builder, value, lanes)
    all_lanes, as_rounding_is_set = ir.Constant(ir.IntType(lanes), -1), word_32(4)
    arguments = [whole, *operands, whole, all_lanes, as_rounding_is_set]
    function = ir.FunctionType(whole.type, [argument.type for argument in arguments])
    name = f"llvm.x86.avx512.mask.{name}.{size}.512"
    found = builder.call(cgutils.get_or_insert_function(builder.module, function, name), arguments)  # type: ignore[no-untyped-call]
    return found if x.body.lanes else builder.extract_element(found, word_32(0))


def horner(x: Vectors, coefficients: Sequence[Number]) -> Vectors:
    """The polynomial with these coefficients, lowest first: multiply, then add, from the highest down."""
    total: Vectors = x * coefficients[-1] + coefficients[-2]
    for term in coefficients[-3::-1]:
        total = total * x + term
    return total
