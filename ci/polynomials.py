"""Derive every polynomial of the stream, and print it as it stands in fastinit/engines and docs/stream.md.

    python ci/polynomials.py            # needs mpmath; about a minute

Each is the minimax fit (Remez) of the relative error. Coefficients are rounded to the working precision from the lowest
degree upwards, the higher ones being fitted again after each rounding (where the variable changes sign inside the
interval they are rounded all at once); the error printed is that of the rounded polynomial.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from mpmath import lu_solve, matrix, mp, mpf

mp.dps = 40
Function = Callable[[mpf], mpf]


def minimax(function: Function, low: mpf, high: mpf, degree: int, fixed: Sequence[mpf] = ()) -> list[mpf]:
    """Coefficients of the polynomial with least relative error; the lowest are given by `fixed`."""
    first, unknowns = len(fixed), degree + 1 - len(fixed)
    middle, half = (low + high) / 2, (high - low) / 2
    grid = [middle - half * mp.cos(mp.pi * j / 800) for j in range(801)]
    values = [function(x) for x in grid]
    rest = [v - sum(c * x**k for k, c in enumerate(fixed)) for x, v in zip(grid, values, strict=True)]
    points = [round(800 * (1 - mp.cos(mp.pi * j / unknowns)) / 2) for j in range(unknowns + 1)]
    coefficients: list[mpf] = []
    for _ in range(40):
        system, right = matrix(unknowns + 1, unknowns + 1), matrix(unknowns + 1, 1)
        for row, i in enumerate(points):
            for column in range(unknowns):
                system[row, column] = grid[i] ** (first + column)
            system[row, unknowns] = (-1) ** row * abs(values[i])
            right[row] = rest[i]
        solution = lu_solve(system, right)
        coefficients = [solution[column] for column in range(unknowns)]
        errors = [
            (r - sum(c * x ** (first + k) for k, c in enumerate(coefficients))) / abs(v)
            for x, r, v in zip(grid, rest, values, strict=True)
        ]
        extrema: list[int] = []
        for i, error in enumerate(errors):
            if not extrema or mp.sign(error) != mp.sign(errors[extrema[-1]]):
                extrema.append(i)
            elif abs(error) > abs(errors[extrema[-1]]):
                extrema[-1] = i
        while len(extrema) > unknowns + 1:
            extrema.pop(0 if abs(errors[extrema[0]]) < abs(errors[extrema[-1]]) else -1)
        if len(extrema) < unknowns + 1 or extrema == points:
            break
        points = extrema
    return [*fixed, *coefficients]


def rounded(name: str, function: Function, low: float, high: float, degree: int, dtype: type, exact: int = 0) -> None:
    """Print the fit of `function` on [low, high] with coefficients of `dtype`, and its largest relative error."""
    a, b = mpf(low), mpf(high)
    fixed = [mpf(exact)] if exact else []
    if a < 0 < b:  # x, x^2, ... all vanish inside the interval: no minimax fit with a fixed constant
        fit = minimax(function, a, b, degree)
        fixed = [mpf(float(dtype(mp.nstr(coefficient, 30)))) for coefficient in fit]
    while len(fixed) <= degree:
        coefficient = minimax(function, a, b, degree, fixed)[len(fixed)]
        fixed.append(mpf(float(dtype(mp.nstr(coefficient, 30)))))
    grid = [a + (b - a) * j / 3000 for j in range(1, 3000)]
    worst = max(abs(sum(c * x**k for k, c in enumerate(fixed)) / function(x) - 1) for x in grid)
    print(f"{name}: degree {degree}, largest relative error {mp.nstr(worst, 3)}")
    for k, coefficient in enumerate(fixed):
        print(f"    {k:2d}  {float(coefficient)!r:26s}  {float(coefficient).hex()}")


def upper_quantile(p: mpf) -> mpf:
    """The x with Q(x) = p, for p in (0, 1/2]."""
    if p > mpf("1e-8"):
        return mp.sqrt(2) * mp.erfinv(1 - 2 * p)
    return mp.findroot(lambda x: mp.log(mp.erfc(x / mp.sqrt(2)) / 2) - mp.log(p), mp.sqrt(-2 * mp.log(p)) - 0.5)


def magnitude_ratio(w: mpf) -> mpf:
    """X / (1 - 2 p) where w = -ln(4 p (1 - p)) and x is the magnitude of tail probability p."""
    if abs(w) < mpf("1e-14"):
        return mp.sqrt(2 * mp.pi) / 2
    small = mp.exp(-w)
    p = small / 4 * (1 + small / 4) if w > 60 else (1 - mp.sqrt(1 - small)) / 2
    return upper_quantile(p) / (1 - 2 * p)


def main() -> None:
    """Print them all."""
    quarter, tiny = mp.pi / 4, mpf(10) ** -12
    for name, dtype, degrees in (("float32", np.float32, (3, 3)), ("float64", np.float64, (6, 6))):
        rounded(
            f"SIN {name}: sin(pi t / 4) / t in t^2",
            lambda z: mp.sin(quarter * mp.sqrt(z)) / mp.sqrt(z),
            tiny,
            1,
            degrees[0],
            dtype,
        )
        rounded(
            f"COS {name}: cos(pi t / 4) in t^2",
            lambda z: mp.cos(quarter * mp.sqrt(z)),
            tiny,
            1,
            degrees[1],
            dtype,
            exact=1,
        )
    rounded(
        "LOG float32: -2 ln(1 + f) / f on [-1/2, 0)",
        lambda f: -2 * mp.log1p(f) / f,
        -0.5,
        -tiny,
        8,
        np.float32,
        exact=-2,
    )
    rounded(
        "LOG float64: (atanh(s) / s - 1) / s^2 in s^2, s on [-1/3, 0)",
        lambda z: (mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z,
        mpf(10) ** -9,
        mpf(1) / 9,
        9,
        np.float64,
    )
    centre = mpf(float(np.float32(2.65)))
    rounded(
        "MAGNITUDE float32: x / (1 - 2p) in w - 2.65, w on [0, 5.3]",
        lambda u: magnitude_ratio(u + centre),
        -centre,
        mpf("5.3") - centre,
        8,
        np.float32,
    )
    largest, middle = mp.sqrt(-mp.log(4 * mpf(2) ** -126)), mpf(0.25)
    rounded(
        "TAIL float32: x / ((1 - 2p) sqrt(w)) in 1 / sqrt(w) - 1/4, w on [5.3, 85.95]",
        lambda r: magnitude_ratio(1 / (r + middle) ** 2) * (r + middle),
        1 / largest - middle,
        1 / mp.sqrt(mpf("5.3")) - middle,
        9,
        np.float32,
    )


if __name__ == "__main__":
    main()
