"""The generator: counters to words, in one loop; and the laws that are short enough to share it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

from fastinit.engines import blocking
from fastinit.engines import stream as k
from fastinit.engines.compiled.compiling import kernel, named_routine, routine
from fastinit.engines.compiled.intrinsics import pointer
from fastinit.engines.compiled.loops import merge, own_code
from fastinit.engines.compiled.operands import ScalarOperand, store_lanes
from fastinit.engines.compiled.streaming import NOTHING_PENDING, StreamingCopy
from fastinit.engines.compiled.vectors import (
    UNROLL,
    Body,
    Order,
    Vectors,
    high_half,
    pause,
    product,
    spread,
    word_32,
    word_64,
)
from fastinit.engines.processor import LETTER, MASKED_STORES, REGISTER
from fastinit.engines.stream import GROUP, LANES, MULTIPLIER_0

# Vectors of counters in a body: a group, or half of one where that is eight. Of 512 bits a group is two, and with three
# groups a core has more to do: 0.284 ns a word; with two 0.305, with four 0.297, with one 0.340.
MOST_VECTORS = 6 if REGISTER == 512 else UNROLL // 2


def philox(p0: Vectors, c1: Vectors, c2: Vectors, c3: Vectors, k0: Vectors, k1: Vectors) -> tuple[Vectors, ...]:
    """Philox4x32-10 (Salmon et al. 2011) on 64-bit lanes: random words in the low halves, the high halves dirty.

    Of the first word of the counters comes the product with its multiplier. A round is two widening products, their
    halves crossed and keyed. A product reads low halves only (vpmuludq), so that nothing is masked: six instructions
    for a vector of counters, or eight.
    """
    p1 = product(c2, k.MULTIPLIER_1)
    for round in range(1, k.ROUNDS):
        c0, c1, c2, c3 = (p1 >> 32) ^ (c1 ^ k0), p1, high_half(p0) ^ (c3 ^ k1), p0
        # All but one word of a counter are those of its neighbours, and for two rounds half of what is made of them.
        if round == 1:
            c2, c3 = pause((c2, c3))
        elif round == 2:
            c0, c1, c2 = pause((c0, c1, c2))
        else:
            c0, c1, c2, c3 = pause((c0, c1, c2, c3))
        p0, p1 = product(c0, k.MULTIPLIER_0), product(c2, k.MULTIPLIER_1)
        k0, k1 = k0 + k.WEYL_0, k1 + k.WEYL_1
    return (p1 >> 32) ^ (c1 ^ k0), p1, (p0 >> 32) ^ (c3 ^ k1), p0


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

    There are registers of 512 bits for all vectors of a body, if each does a round in one go. On others the order is
    left to LLVM, which keeps to that of the operations here.
    """
    lanes = products[0].type.count
    one_by_one = REGISTER == 512 and LETTER is not None
    start, bodies = len(builder.block.instructions), []
    words: list[list[ir.Value]] = [[], [], [], []]
    for values in [[value] for value in products] if one_by_one else [products]:
        body = Body(builder, before, len(values), lanes, order=Order.ROUNDS if one_by_one else Order.FREE)
        made = generator(Vectors(body, values), *(body.spread(number) for number in numbers))
        for word, vectors in zip(words, made, strict=True):
            word += vectors.values
        body.steps.append(len(builder.block.instructions))
        bodies.append(body)
    merge(builder.block.instructions, start, bodies, 0)
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
    generator: Callable[..., Sequence[Vectors]], law: Callable[[Vectors, ScalarOperand], Vectors] | None = None
) -> Any:
    """An intrinsic (out, first, pitch, rows, groups, domain, stream, pending, reals): rows of whole groups.

    Row r begins with the group of element first + r pitch. `generator` makes the four words of counters, in the low
    halves of 64-bit lanes, from counters and key. Stored is what a law makes of a word, or the word.

    Besides, the pending streaming copy advances: four lines a group, and the rest at the end.
    """
    by_ones = MASKED_STORES and law is None

    @intrinsic
    def run(typing_context, out, first, pitch, rows, groups, domain, stream, pending, reals):  # type: ignore[no-untyped-def]
        signature = types.void(out, first, pitch, rows, groups, domain, stream, pending, reals)

        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            own_code(builder)
            data, stream, reals = arguments[0], arguments[6], arguments[8]
            first, pitch, rows, groups, purpose = (
                context.cast(builder, arguments[i], signature.args[i], types.int64) for i in range(1, 6)
            )
            lanes = REGISTER // 64
            names = ("numbers", "row", "bodies", "next", "next_row", "words")
            before, start, inner, following, stop, after = (builder.append_basic_block(name) for name in names)
            builder.branch(before)
            builder.position_at_end(before)
            pending = StreamingCopy(builder, arguments[7])
            # Names, then keys.
            parts = [builder.zext(builder.load(builder.gep(stream, [word_64(i)])), word_64) for i in (2, 3, 0, 1)]
            length = builder.mul(groups, word_64(LANES))

            builder.position_at_end(start)
            row, element, begin = (builder.phi(word_64) for _ in range(3))
            counter = builder.mul(builder.lshr(element, word_64(GROUP.bit_length() - 1)), word_64(LANES))
            builder.branch(inner)

            builder.position_at_end(inner)
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
                    body = Body(builder, before, len(pairs), 2 * lanes, order=Order.FREE)
                    made = Vectors(body, [packed(builder, one, two) for one, two in pairs])
                    made = made if law is None else law(made, ScalarOperand(body, reals))
                    for place, value in zip(places, made.values, strict=True):
                        target = builder.bitcast(builder.gep(data, [place]), value.type.as_pointer())
                        builder.store(value, target).align = 4
                pending.advance(4 * max(1, number * lanes // LANES))

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
            builder.cbranch(builder.icmp_signed("<", done, length), inner, stop)

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
            pending.finish()
            return context.get_dummy_value()

        return signature, codegen

    return run


write_words = loop_over_counters(philox)


@routine
def draw_words(out, counters):
    """Write the words of whole groups in the order of the elements that take them, one row behind the other.

    counters = (first, pitch, rows, groups, domain, stream, pending); row r begins with the group of element
    first + r * pitch.
    """
    first, pitch, rows, groups, domain, stream, pending = counters
    write_words(out, first, pitch, rows, groups, domain, stream, pending, stream)  # words need no numbers


@kernel  # from Python: the raw words, for the self-test and the statistics
def words(out, group, groups, domain, stream):
    """Write the words of whole groups, in the order of the elements that take them."""
    draw_words(pointer(out), (group * 64, 0, 1, groups, domain, pointer(stream), NOTHING_PENDING))


ONE_LOOP: set[Any] = set()


def one_loop(formula: Callable[[Vectors, ScalarOperand], Vectors]) -> Any:
    """Make a routine of a formula, in one loop with the generator, if the registers that are left are enough for it.

    No words come and go, and the stores are spread over the loop: uniform float32 is drawn 1.2 times as fast.
    """
    bodies = loop_over_counters(philox, formula)

    def draw_and_fill(count, words, low_words, out, reals, integers, tail_probability, counters):
        first, pitch, rows, groups, domain, stream, pending = counters
        bodies(out, first, pitch, rows, groups, domain, stream, pending, reals)

    ONE_LOOP.add(function := named_routine(formula.__name__, draw_and_fill))
    return function


def draw_words_of(law, words, low_words, reals, counters):
    """The words that a law takes, and the low words that float64 adds; nothing for a law that draws its own."""
    raise TypeError("compiled code only")


@overload(draw_words_of, jit_options={"forceinline": True})
def _draw_words_of(law, words, low_words, reals, counters):
    if law.dispatcher in ONE_LOOP:
        return lambda law, words, low_words, reals, counters: None
    if reals.dtype == types.float32:
        return lambda law, words, low_words, reals, counters: draw_words(words, counters)

    def both(law, words, low_words, reals, counters):
        first, pitch, rows, groups, domain, stream, (source, target, lines) = counters
        half = lines // 2
        draw_words(words, (first, pitch, rows, groups, domain, stream, (source, target, half)))
        rest = (source + 64 * half if source != 0 else 0, target + 64 * half, lines - half)
        draw_words(low_words, (first, pitch, rows, groups, k.DOMAIN_LOW, stream, rest))

    return both


def next_buffer(law, half):
    """Where in the scratch the next block goes: a law that carries the last block while it writes has two places."""
    raise TypeError("compiled code only")


@overload(next_buffer, jit_options={"forceinline": True})
def _next_buffer(law, half):
    if law.dispatcher in ONE_LOOP:
        return lambda law, half: blocking.BLOCK + 3 * blocking.MARGIN - half
    return lambda law, half: half
