"""Loops around straight-line code: over a block of words, and over the counters of the generator.

Each is an intrinsic for Numba, whose memory arguments are pointers (intrinsics.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastinit.engines.constants import GROUP, LANES, MULTIPLIER_0
from fastinit.engines.vectors import (
    LETTER,
    MASKED_STORES,
    REGISTER,
    WAYS,
    Line,
    Numbers,
    Turn,
    Vectors,
    spread,
    store_lanes,
    word_32,
    word_64,
)

# Vectors of counters in a turn: a group, or half of one where that is eight. Of 512 bits a group is two, and with three
# groups a core has more to do: 0.284 ns a word; with two 0.305, with four 0.297, with one 0.340.
MOST_VECTORS = 6 if REGISTER == 512 else WAYS // 2


def own_code(builder: ir.IRBuilder) -> None:
    """Keep the function that is being built out of its callers, with a stack on which a vector lies in one line.

    Inlined, it would have the caller's stack: vectors across two cache lines, every other load of one twice as long
    (the truncated law: 2.5 ns an element in place of 1.5, by the luck of the address).
    """
    builder.function.attributes.add("noinline")
    builder.function.attributes.alignstack = 64


def merge(instructions: list[ir.Instruction], start: int, turns: Sequence[Turn], lag: int) -> None:
    """Put turns that were traced one behind another, from `start` on, side by side: each `lag` steps after the last.

    They know nothing of each other, so that any order is right. Where one turn does a polynomial, which waits for
    itself, the other does something else: normal laws take 0.85 to 0.9 of the time of eight vectors in step.
    """
    steps, begin = [], start
    for which, turn in enumerate(turns):
        for number, end in enumerate(turn.steps):
            steps.append((number + lag * which, which, instructions[begin:end]))
            begin = end
    del instructions[start:]
    for _, _, step in sorted(steps, key=lambda step: step[:2]):
        instructions.extend(step)


def loop(law: Callable[..., None], pairs: bool = False, ways: int = WAYS, apart: tuple[int, int] = (1, 0)) -> Any:
    """An intrinsic (count, words, low words, out, reals, integers, spare) that does a law for `count` elements.

    `law` has the arguments after `count`: Lines, but for the two of Numbers. The elements are whole groups; with
    `pairs` each place of a line stands for two elements, 16 apart. The vectors of a turn go in some parts, each so many
    steps behind the one before: `apart` is both numbers.
    """
    parts, lag = apart

    @intrinsic
    def run(typing_context, count, words, low_words, out, reals, integers, spare):  # type: ignore[no-untyped-def]
        kinds = (words, low_words, out, reals, integers, spare)

        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            own_code(builder)
            data = arguments[1:]
            lanes = REGISTER // reals.dtype.bitwidth
            before = builder.append_basic_block("numbers")
            builder.branch(before)
            begin, source = word_64(0), before
            builder.position_at_end(builder.append_basic_block("turns"))
            first = builder.block
            # As many vectors as a turn takes, then what is left of the last group.
            for number in sorted({ways, math.gcd(ways, (GROUP // 2 if pairs else GROUP) // lanes)}, reverse=True):
                here = builder.block
                index = builder.phi(word_64)
                index.add_incoming(begin, source)
                end = builder.add(index, word_64(number * lanes * (2 if pairs else 1)))
                inside, after = builder.append_basic_block("turn"), builder.append_basic_block("turns")
                builder.cbranch(builder.icmp_signed("<=", end, arguments[0]), inside, after)
                builder.position_at_end(inside)
                of_part = number // (parts if number == ways else 1)
                start = len(inside.instructions)
                turns = [Turn(builder, before, of_part, lanes, way) for way in range(0, number, of_part)]
                for turn in turns:
                    lines = [
                        (Numbers(turn, where) if array in (3, 4) else Line(turn, where, index, pairs))
                        for array, where in enumerate(data)
                    ]
                    law(*lines)
                    turn.steps.append(len(inside.instructions))
                merge(inside.instructions, start, turns, lag)
                builder.branch(here)
                index.add_incoming(end, builder.block)
                begin, source = index, here
                builder.position_at_end(after)
            with builder.goto_block(before):
                builder.branch(first)
            return context.get_dummy_value()

        return types.void(count, *kinds), codegen

    return run


def store_past_cache(builder: ir.IRBuilder, value: ir.Value, place: ir.Value) -> None:
    """Store a whole register to a place that is aligned to it, without reading the line into the cache first."""
    store = builder.store(value, place)
    store.align = REGISTER // 8
    store.set_metadata("nontemporal", builder.module.add_metadata([word_32(1)]))


class Freight:
    """Finished values on their way past the cache: (source, target, lines), two addresses and a count of cache lines.

    A store reads its line into the cache first; one that fills lines and goes past it does not, and memory has half the
    work. Such stores must come slowly, between other work, or the core waits for memory all the same.

    With a source of 0 nothing is carried: the lines at the target, where a law will store, are asked for meanwhile.
    """

    def __init__(self, builder: ir.IRBuilder, freight: ir.Value) -> None:
        self.builder = builder
        self.source, self.target, self.lines = cgutils.unpack_tuple(builder, freight, 3)  # type: ignore[no-untyped-call]
        self.gone = cgutils.alloca_once_value(builder, word_64(0))  # type: ignore[no-untyped-call]

    def _store(self, gone: ir.Value, lines: int) -> None:
        builder = self.builder
        kind = ir.VectorType(word_32, REGISTER // 32).as_pointer()
        begin = builder.mul(gone, word_64(64))
        for offset in range(0, 64 * lines, REGISTER // 8):
            place = builder.add(begin, word_64(offset))
            load = builder.load(builder.inttoptr(builder.add(self.source, place), kind))
            load.align = 1
            store_past_cache(builder, load, builder.inttoptr(builder.add(self.target, place), kind))
        builder.store(builder.add(gone, word_64(lines)), self.gone)

    def _ask(self, gone: ir.Value, lines: int) -> None:
        builder, kind = self.builder, ir.IntType(8).as_pointer()
        signature = ir.FunctionType(ir.VoidType(), [kind, word_32, word_32, word_32])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [kind], signature)
        begin = builder.add(self.target, builder.mul(gone, word_64(64)))
        # Into the second level (prefetcht2): the first has room for two blocks and the words, and no more.
        to_read, second_level, data = word_32(0), word_32(1), word_32(1)
        for offset in range(0, 64 * lines, 64):
            place = builder.inttoptr(builder.add(begin, word_64(offset)), kind)
            builder.call(prefetch, [place, to_read, second_level, data])
        builder.store(builder.add(gone, word_64(lines)), self.gone)

    def carry(self, lines: int) -> None:
        """Carry so many lines, or ask for them, if there are as many."""
        builder = self.builder
        gone = builder.load(self.gone)
        with builder.if_then(builder.icmp_signed("<=", builder.add(gone, word_64(lines)), self.lines)):
            with builder.if_else(builder.icmp_signed("!=", self.source, word_64(0))) as (carried, asked):
                with carried:
                    self._store(gone, lines)
                with asked:
                    self._ask(gone, lines)

    def carry_rest(self) -> None:
        """Carry what is left; nobody asks for the rest."""
        builder = self.builder
        here, inside, after = (builder.append_basic_block(name) for name in ("left", "line", "carried"))
        builder.branch(here)
        builder.position_at_end(here)
        gone = builder.load(self.gone)
        left = builder.icmp_signed("<", gone, self.lines)
        builder.cbranch(builder.and_(left, builder.icmp_signed("!=", self.source, word_64(0))), inside, after)
        builder.position_at_end(inside)
        self._store(gone, 1)
        builder.branch(here)
        builder.position_at_end(after)


def places_of(way: int, lanes: int, by_ones: bool) -> list[int]:
    """Which counters the lanes of vector number `way` hold: two vectors take turns, by ones or by twos."""
    by_twos = [4 * (lane // 2) + lane % 2 + 2 * (way % 2) for lane in range(lanes)]
    places = [2 * lane + way % 2 for lane in range(lanes)] if by_ones else by_twos
    return [place + 2 * lanes * (way // 2) for place in places]


def first_products(builder: ir.IRBuilder, low: ir.Value, places: Sequence[Sequence[int]]) -> list[ir.Value]:
    """The products of the first multiplier and the first words of counters, `low` and so many more, in vectors.

    Those of neighbours are a sum: without a carry, for their low words have none.
    """
    lanes = len(places[0])
    product = builder.mul(builder.and_(low, word_64(0xFFFFFFFF)), word_64(MULTIPLIER_0))
    further = [ir.Constant(ir.VectorType(word_64, lanes), [MULTIPLIER_0 * place for place in row]) for row in places]
    return [builder.add(spread(builder, product, lanes), steps) for steps in further]


def draw(
    builder: ir.IRBuilder,
    before: ir.Block,
    generator: Callable[..., Sequence[Vectors]],
    products: Sequence[ir.Value],
    numbers: Sequence[ir.Value],
) -> list[list[ir.Value]]:
    """Each of the four words, of all counters, from their first products and what else the generator takes.

    There are registers of 512 bits for all vectors of a turn, if each does a round in one go. On others the order is
    left to LLVM, which keeps to that of the operations here.
    """
    lanes = products[0].type.count
    one_by_one = REGISTER == 512 and LETTER is not None
    start, turns = len(builder.block.instructions), []
    words: list[list[ir.Value]] = [[], [], [], []]
    for values in [[value] for value in products] if one_by_one else [products]:
        turn = Turn(builder, before, len(values), lanes, ordered=False, paced=one_by_one)
        made = generator(Vectors(turn, values), *(turn.spread(number) for number in numbers))
        for word, vectors in zip(words, made, strict=True):
            word += vectors.values
        turn.steps.append(len(builder.block.instructions))
        turns.append(turn)
    merge(builder.block.instructions, start, turns, 0)
    return words


def low_halves(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """A vector of 64-bit lanes as one of 32-bit lanes, the low halves first of two."""
    return builder.bitcast(value, ir.VectorType(word_32, 2 * value.type.count))


def packed(builder: ir.IRBuilder, one: ir.Value, two: ir.Value) -> ir.Value:
    """The low halves of two vectors whose lanes take turns by twos: one shuffle without crossings."""
    lanes = one.type.count
    places = [4 * (i // 4) + i % 2 * 2 + 2 * lanes * (i % 4 // 2) for i in range(2 * lanes)]
    order = ir.Constant(ir.VectorType(word_32, 2 * lanes), places)
    return builder.shuffle_vector(low_halves(builder, one), low_halves(builder, two), order)


def store_low_halves(builder: ir.IRBuilder, one: ir.Value, two: ir.Value, data: ir.Value, place: ir.Value) -> None:
    """Store the low halves of two vectors whose lanes take turns by ones: nothing is shuffled.

    The second goes over the high halves of the first. Its store begins four bytes behind and leaves out all else.
    """
    one, two = low_halves(builder, one), low_halves(builder, two)
    builder.store(one, builder.bitcast(builder.gep(data, [place]), one.type.as_pointer())).align = 4
    target = builder.bitcast(builder.gep(data, [builder.add(place, word_64(1))]), two.type.as_pointer())
    lows = ir.Constant(ir.VectorType(ir.IntType(1), two.type.count), [1, 0] * (two.type.count // 2))
    store_lanes(builder, two, target, lows, 4)


def loop_over_counters(
    generator: Callable[..., Sequence[Vectors]], law: Callable[[Vectors, Numbers], Vectors] | None = None
) -> Any:
    """An intrinsic (out, first, pitch, rows, groups, domain, stream, freight, reals): rows of whole groups.

    Row r begins with the group of element first + r pitch. `generator` makes the four words of counters, in the low
    halves of 64-bit lanes, from counters and key. Stored is what a law makes of a word, or the word.

    Besides, `freight` is carried past the cache: four lines a group, and the rest at the end.
    """
    by_ones = MASKED_STORES and law is None

    @intrinsic
    def run(typing_context, out, first, pitch, rows, groups, domain, stream, freight, reals):  # type: ignore[no-untyped-def]
        signature = types.void(out, first, pitch, rows, groups, domain, stream, freight, reals)

        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            own_code(builder)
            data, stream, reals = arguments[0], arguments[6], arguments[8]
            first, pitch, rows, groups, purpose = (
                context.cast(builder, arguments[i], signature.args[i], types.int64) for i in range(1, 6)
            )
            lanes = REGISTER // 64
            names = ("numbers", "row", "turns", "next", "next_row", "words")
            before, start, here, following, stop, after = (builder.append_basic_block(name) for name in names)
            builder.branch(before)
            builder.position_at_end(before)
            freight = Freight(builder, arguments[7])
            # Names, then keys.
            parts = [builder.zext(builder.load(builder.gep(stream, [word_64(i)])), word_64) for i in (2, 3, 0, 1)]
            length = builder.mul(groups, word_64(LANES))

            builder.position_at_end(start)
            row, element, begin = (builder.phi(word_64) for _ in range(3))
            counter = builder.mul(builder.lshr(element, word_64(GROUP.bit_length() - 1)), word_64(LANES))
            builder.branch(here)

            builder.position_at_end(here)
            index = builder.phi(word_64)
            low = builder.add(counter, index)
            high = builder.or_(builder.shl(purpose, word_64(24)), builder.lshr(low, word_64(32)))
            at = builder.add(begin, builder.mul(builder.lshr(index, word_64(4)), word_64(GROUP)))
            at = builder.add(at, builder.and_(index, word_64(LANES - 1)))

            def take(number: int) -> None:
                """Do so many vectors: a group or less, or several groups."""
                products = first_products(builder, low, [places_of(way, lanes, by_ones) for way in range(number)])
                words = draw(builder, before, generator, products, (high, *parts))
                pairs, places = [], []
                for first in range(0, number, 2):
                    group, lane = divmod(lanes * first, LANES)
                    for which, word in enumerate(words):
                        pairs.append(word[first : first + 2])
                        places.append(builder.add(at, word_64(GROUP * group + LANES * which + lane)))
                if by_ones:
                    for (one, two), place in zip(pairs, places, strict=True):
                        store_low_halves(builder, one, two, data, place)
                else:
                    turn = Turn(builder, before, len(pairs), 2 * lanes, ordered=False)
                    made = Vectors(turn, [packed(builder, one, two) for one, two in pairs])
                    made = made if law is None else law(made, Numbers(turn, reals))
                    for place, value in zip(places, made.values, strict=True):
                        target = builder.bitcast(builder.gep(data, [place]), value.type.as_pointer())
                        builder.store(value, target).align = 4
                freight.carry(4 * max(1, number * lanes // LANES))

            ends = []
            most = MOST_VECTORS
            least = min(most, LANES // lanes)
            if most > least:
                # Several groups at once, if there are as many, and their counters have the same high word.
                several, one = builder.append_basic_block("groups"), builder.append_basic_block("group")
                last = builder.add(low, word_64(most * lanes - 1))
                same = builder.icmp_unsigned("<", builder.xor(low, last), word_64(1 << 32))
                fits = builder.icmp_signed("<=", builder.add(index, word_64(most * lanes)), length)
                builder.cbranch(builder.and_(same, fits), several, one)
                builder.position_at_end(several)
                take(most)
                ends.append((most, builder.block))
                builder.branch(following)
                builder.position_at_end(one)
            take(least)
            ends.append((least, builder.block))
            builder.branch(following)

            builder.position_at_end(following)
            done = builder.phi(word_64)
            for number, block in ends:
                done.add_incoming(word_64(number * lanes), block)
            done = builder.add(index, done)
            index.add_incoming(word_64(0), start)
            index.add_incoming(done, following)
            builder.cbranch(builder.icmp_signed("<", done, length), here, stop)

            builder.position_at_end(stop)
            steps = (word_64(1), pitch, builder.mul(groups, word_64(GROUP)))
            for value, from_, step in zip((row, element, begin), (word_64(0), first, word_64(0)), steps, strict=True):
                value.add_incoming(from_, before)
                value.add_incoming(builder.add(value, step), stop)
            builder.cbranch(builder.icmp_signed("<", row.incomings[1][0], rows), start, after)
            with builder.goto_block(before):
                some = builder.and_(*(builder.icmp_signed("<", word_64(0), count) for count in (rows, groups)))
                builder.cbranch(some, start, after)
            builder.position_at_end(after)
            freight.carry_rest()
            return context.get_dummy_value()

        return signature, codegen

    return run
