"""A loop around a law: straight-line code over a block of words.

An intrinsic for Numba, whose memory arguments are pointers (intrinsics.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastinit.engines.compiled.operands import Operands, ScalarOperand, VectorOperand
from fastinit.engines.compiled.vectors import UNROLL, Body, word_64
from fastinit.engines.processor import REGISTER
from fastinit.engines.stream import GROUP


def own_code(builder: ir.IRBuilder) -> None:
    """Keep the function that is being built out of its callers, with a stack on which a vector lies in one line.

    Inlined, it would have the caller's stack: vectors across two cache lines, every other load of one twice as long
    (the truncated law: 2.5 ns an element in place of 1.5, by the luck of the address).
    """
    builder.function.attributes.add("noinline")
    builder.function.attributes.alignstack = 64


def merge(instructions: list[ir.Instruction], start: int, bodies: Sequence[Body], lag: int) -> None:
    """Put bodies that were traced one behind another, from `start` on, side by side: each `lag` steps after the last.

    They know nothing of each other, so that any order is right. Where one does a polynomial, which waits for
    itself, the other does something else: normal laws take 0.85 to 0.9 of the time of eight vectors in step.
    """
    steps, begin = [], start
    for which, body in enumerate(bodies):
        for number, end in enumerate(body.steps):
            steps.append((number + lag * which, which, instructions[begin:end]))
            begin = end
    del instructions[start:]
    for _, _, step in sorted(steps, key=lambda step: step[:2]):
        instructions.extend(step)


def loop(
    law: Callable[[Operands], None], pairs: bool = False, unroll: int = UNROLL, stagger: tuple[int, int] = (1, 0)
) -> Any:
    """An intrinsic that does a law for `count` elements.

    Its arguments: count, words, low words, out, reals, integers, tail probabilities.

    `law` takes the arguments after `count` as Operands. The elements are whole groups; with `pairs` each place of an
    operand stands for two elements, 16 apart. The vectors of a body go in some parts, each so many steps behind the one
    before: `stagger` is both numbers.
    """
    parts, lag = stagger

    @intrinsic
    def run(typing_context, count, words, low_words, out, reals, integers, tail_probability):  # type: ignore[no-untyped-def]
        kinds = (words, low_words, out, reals, integers, tail_probability)

        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            own_code(builder)
            data = arguments[1:]
            lanes = REGISTER // reals.dtype.bitwidth
            before = builder.append_basic_block("numbers")
            builder.branch(before)
            begin, source = word_64(0), before
            builder.position_at_end(builder.append_basic_block("bodies"))
            first = builder.block
            # As many vectors as a body takes, then what is left of the last group.
            for number in sorted({unroll, math.gcd(unroll, (GROUP // 2 if pairs else GROUP) // lanes)}, reverse=True):
                head = builder.block
                index = builder.phi(word_64)
                index.add_incoming(begin, source)
                end = builder.add(index, word_64(number * lanes * (2 if pairs else 1)))
                inside, after = builder.append_basic_block("body"), builder.append_basic_block("bodies")
                builder.cbranch(builder.icmp_signed("<=", end, arguments[0]), inside, after)
                builder.position_at_end(inside)
                of_part = number // (parts if number == unroll else 1)
                start = len(inside.instructions)
                bodies = [Body(builder, before, of_part, lanes, way) for way in range(0, number, of_part)]
                for body in bodies:
                    of_words, of_low, of_out, of_tail = (
                        VectorOperand(body, where, index, pairs) for where in (*data[:3], data[5])
                    )
                    of_reals, of_integers = (ScalarOperand(body, where) for where in data[3:5])
                    law(Operands(of_words, of_low, of_out, of_reals, of_integers, of_tail))
                    body.steps.append(len(inside.instructions))
                merge(inside.instructions, start, bodies, lag)
                builder.branch(head)
                index.add_incoming(end, builder.block)
                begin, source = index, head
                builder.position_at_end(after)
            with builder.goto_block(before):
                builder.branch(first)
            return context.get_dummy_value()

        return types.void(count, *kinds), codegen

    return run
