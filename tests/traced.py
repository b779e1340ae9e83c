"""The formulas of the compiled engine on one number at a time, for tests that go through all of them."""

from __future__ import annotations

from numba.core import types
from numba.extending import intrinsic

from fastinit.engines.compiled.vectors import Body, Vectors


def scalar(function, result):
    """A function for compiled code: `function` of numbers, with a result of this Numba type, or a pair of it."""

    def values(builder, arguments, kinds):
        body = Body(builder, builder.block, unroll=1, lanes=0)
        signs = [isinstance(kind, types.Integer) and kind.signed for kind in kinds]
        return function(*(Vectors(body, [x], signed) for x, signed in zip(arguments, signs, strict=True)))

    def codegen(context, builder, signature, arguments):
        made = values(builder, arguments, signature.args)
        if isinstance(made, Vectors):
            return made.values[0]
        return context.make_tuple(builder, signature.return_type, [one.values[0] for one in made])

    @intrinsic
    def of_one(typing_context, x):
        return result(x), codegen

    @intrinsic
    def of_two(typing_context, x, y):
        return result(x, y), codegen

    return of_two if function.__code__.co_argcount == 2 else of_one
