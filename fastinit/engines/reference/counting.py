"""Values into bins, for histograms and for what is measured of a file."""

from __future__ import annotations

import numpy as np

from fastinit.engines.reference.arrays import Array
from fastinit.products import dot


def tally(
    values: Array, centre: float, inverse: float, counts: Array
) -> tuple[int, int, int, float, float, float, float]:
    """Count values (float32 or float64) into bins of width 1 / inverse, whose middle is `centre`.

    `counts` has a bin for what is below, and one for what is above, at its ends; both engines count the same. Returns
    how many are finite, zero, NaN, the sum and the sum of squares of t = (x - centre) inverse, in float64, which the
    engines add in different orders, and the smallest and largest finite value: (inf, -inf) where there is none.
    """
    kept = values[np.isfinite(values)]
    nans = int(np.count_nonzero(np.isnan(values)))
    if not kept.size:
        return 0, 0, nans, 0.0, 0.0, np.inf, -np.inf
    with np.errstate(over="ignore"):
        t = (kept.astype(np.float64) - centre) * inverse
        total, squares = float(t.sum()), dot(t, t)
    # 1 is the first edge, so that truncation is floor for all that is in range.
    place = np.clip(t + (len(counts) / 2), 0.0, len(counts) - 1.0).astype(np.intp)
    counts += np.bincount(place, minlength=len(counts))
    zeros = int(np.count_nonzero(kept == 0))
    return kept.size, zeros, nans, total, squares, float(kept.min()), float(kept.max())
