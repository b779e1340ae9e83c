"""What a law reads and stores: arrays, whose vectors lie side by side, and numbers that hold for every element."""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir
from numba.core import cgutils

from fastinit.engines.compiled.vectors import Body, Mask, Vectors, double, single, word_32, word_64
from fastinit.engines.stream import LANES


class VectorOperand:
    """An array: [0] is where the vectors of a body lie, or the first of each pair, and [1] the second, 16 further."""

    def __init__(self, body: Body, data: ir.Value, index: ir.Value, pairs: bool) -> None:
        self.body, self.data, self.index, self.pairs = body, data, index, pairs

    def _places(self, half: int) -> list[ir.Value]:
        builder, kind = self.body.builder, self.body.type_of(self.data.type.pointee).as_pointer()
        places = [(self.body.first + way) * self.body.lanes for way in range(self.body.unroll)]
        if self.pairs:
            places = [2 * LANES * (place // LANES) + place % LANES + LANES * half for place in places]
        indices = [builder.add(self.index, word_64(place)) for place in places]
        return [builder.bitcast(builder.gep(self.data, [index]), kind) for index in indices]

    def _align(self) -> int:
        return 8 if self.data.type.pointee in (double, word_64) else 4

    def __getitem__(self, half: int) -> Vectors:
        loads = [self.body.builder.load(place) for place in self._places(half)]
        for load in loads:
            load.align = self._align()
        return Vectors(self.body, [self.body.pin(load) for load in loads])

    def __setitem__(self, half: int, x: Vectors) -> None:
        for place, value in zip(self._places(half), x.values, strict=True):
            self.body.builder.store(value, place).align = self._align()

    def replace(self, half: int, mask: Mask, x: Vectors) -> None:
        """Store x over what was stored, in the lanes of a mask."""
        builder = self.body.builder
        masks = [mask.decide(*operands) for operands in zip(*(y.values for y in mask.operands), strict=True)]
        for place, value, lanes in zip(self._places(half), x.values, masks, strict=True):
            store_lanes(builder, value, place, lanes, self._align())


def store_lanes(builder: ir.IRBuilder, value: ir.Value, place: ir.Value, lanes: ir.Value, align: int) -> None:
    """Store those lanes of a vector that a mask has (llvm.masked.store)."""
    element = {word_32: "i32", single: "f32", double: "f64"}[value.type.element]
    name = f"llvm.masked.store.v{value.type.count}{element}.p0"
    function = ir.FunctionType(ir.VoidType(), [value.type, place.type, word_32, lanes.type])
    masked_store = cgutils.get_or_insert_function(builder.module, function, name)  # type: ignore[no-untyped-call]
    builder.call(masked_store, [value, place, word_32(align), lanes])


class ScalarOperand:
    """An array of numbers that are the same for every element, read before the loop: [i] is the i-th in every lane."""

    def __init__(self, body: Body, data: ir.Value) -> None:
        self.body, self.data = body, data
        self.read: dict[int, Vectors] = {}

    def __getitem__(self, i: int) -> Vectors:
        if i not in self.read:
            builder = self.body.builder
            with builder.goto_block(self.body.before):
                self.read[i] = self.body.spread(builder.load(builder.gep(self.data, [word_64(i)])))
        return self.read[i]


@dataclass(frozen=True)
class Operands:
    """What the formula of a law over a block of words reads and stores.

    The low words are those that float64 adds. Reals and integers are what the law has prepared; the tail probabilities
    are a place for those of a truncated law, of which the far ones are drawn again.
    """

    words: VectorOperand
    low_words: VectorOperand
    out: VectorOperand
    reals: ScalarOperand
    integers: ScalarOperand
    tail_probability: VectorOperand
