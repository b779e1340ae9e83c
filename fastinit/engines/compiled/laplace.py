"""The Laplace law: the logarithm of a word's distance from the nearer end, with the sign of its side."""

from __future__ import annotations

from fastinit.engines import stream as k
from fastinit.engines.compiled.conversions import negative_unless, whole_64
from fastinit.engines.compiled.law import FLOAT64, NEAR, law
from fastinit.engines.compiled.logarithm import minus_2_log_32, minus_2_log_64, split_32, split_64
from fastinit.engines.compiled.operands import Operands
from fastinit.engines.compiled.vectors import fused, minimum, real, signed, wide


@law(stagger=NEAR)
def laplace_32(x: Operands) -> None:
    """Mean + scale (-ln y), negative in the lower half. Reals: mean, scale."""
    w = signed(x.words[0])
    y = minimum(fused(real(w ^ (w >> 31)), 2.0**-31, 2.0**-32), k.BELOW_ONE_32)
    term, m = split_32(y, 0.5 * k.MINUS_2_LN_2)
    x.out[0] = x.reals[0] + x.reals[1] * negative_unless(minus_2_log_32(term, m - 1.0, half=0.5), x.words[0])


@law(stagger=FLOAT64)
def laplace_64(x: Operands) -> None:
    """As laplace_32, with the low words below the high ones."""
    w = x.words[0]
    upper = signed(w) >> 31
    y = minimum((whole_64(signed(w ^ upper), x.low_words[0] ^ upper) + 0.5) * 2.0**-63, k.BELOW_ONE_64)
    e, m = split_64(y, 1022.0)
    magnitude = 0.5 * minus_2_log_64(e, m - 1.0)
    x.out[0] = x.reals[0] + x.reals[1] * negative_unless(magnitude, wide(signed(w)))


LAWS = (laplace_32, laplace_64)
