"""Values into bins, for histograms and for what is measured of a file."""

from __future__ import annotations

import numpy as np

from fastinit.engines.compiled.compiling import f64, i32, i64, inline, kernel, u32


@inline
def place_of(t, half, last):
    """The bin of a distance: 1 is the first edge, so that truncation is floor for all that is in range."""
    t += half
    t = t if t > 0.0 else 0.0
    return u32(i32(t if t < last else last))


@kernel
def tally_values(values, centre, inverse, counts):
    """Sixteen elements at a time, while all are finite: sums and extremes in lanes, then the bins.

    The bins are kept four times, since an addition to one waits for the last addition to it. 2 ns an element, of which
    the bins take half.
    """
    half, last, n = len(counts) / 2, f64(len(counts) - 1), len(values)
    bins, places = np.zeros((4, len(counts)), i64), np.zeros(16, u32)
    total, squares, zero = np.zeros(16), np.zeros(16), np.zeros(16)
    low, high = np.full(16, np.inf), np.full(16, -np.inf)
    finite = 0
    for i in range(n):
        finite += np.isfinite(values[i])
    nans, whole = 0, (n // 16 * 16 if finite == n else 0)
    for start in range(0, whole, 16):
        for j in range(16):
            x = f64(values[start + j])
            t = (x - centre) * inverse
            total[j] += t
            squares[j] += t * t
            low[j] = x if x < low[j] else low[j]
            high[j] = x if x > high[j] else high[j]
            zero[j] += 1.0 if x == 0.0 else 0.0
            places[j] = place_of(t, half, last)
        for j in range(16):
            bins[u32(j & 3), places[j]] += 1
    for i in range(whole, n):
        x = f64(values[i])
        if x - x == 0.0:
            t = (x - centre) * inverse
            total[0] += t
            squares[0] += t * t
            low[0], high[0] = min(low[0], x), max(high[0], x)
            zero[0] += x == 0.0
            bins[0, place_of(t, half, last)] += 1
        nans += x != x
    for way in range(4):
        for i in range(len(counts)):
            counts[i] += bins[way, i]
    return finite, i64(zero.sum()), nans, total.sum(), squares.sum(), low.min(), high.max()
