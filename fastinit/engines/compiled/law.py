"""A law becomes a routine of the engine: straight-line code over a block of words, with its schedule beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastinit.engines.compiled.compiling import named_routine
from fastinit.engines.compiled.loops import loop
from fastinit.engines.compiled.operands import Operands
from fastinit.engines.processor import REGISTER, ZEN_4

# Every law has the arguments (count, words, low words, out, reals, integers, tail probabilities, counters), so that one
# placement serves all; `count` elements are whole groups, there is room for as many tail probabilities, and float32 has
# no low words: a far tail keeps places there. The laws in ONE_LOOP look at no words: they draw from the counters.


def law(**options: Any) -> Callable[[Callable[[Operands], None]], Any]:
    """Make a routine of a formula over a block of words; options as `loop` has them."""

    def bind(formula: Callable[[Operands], None]) -> Any:
        bodies = loop(formula, **options)

        def fill_block(count, words, low_words, out, reals, integers, tail_probability, counters):  # type: ignore[no-untyped-def]
            bodies(count, words, low_words, out, reals, integers, tail_probability)

        return named_routine(formula.__name__, fill_block)

    return bind


# In how many parts the eight vectors of a body follow each other, and how many steps behind: for the normal law of
# float32, for the other laws of float32, and for float64. Of 512 bits, ns an element with all in step, in two parts, in
# four and one by one: normal float32 0.321, 0.297, 0.269, 0.265; float64 1.32, 1.08, 0.97, 0.94. The law cut at two
# sides of 0 has as good a time in step. Zen 4, whose 512 bits are two halves, does best when they are closer together
# (docs/decisions.md, "Zen 4 is near the limit of its ports").
STAGGERS = {"Zen 4": ((8, 2), (8, 2), (8, 3)), 512: ((8, 3), (8, 2), (8, 5)), 256: ((2, 11), (1, 0), (2, 8))}
NORMAL, NEAR, FLOAT64 = STAGGERS["Zen 4" if ZEN_4 else max(REGISTER, 256)]
