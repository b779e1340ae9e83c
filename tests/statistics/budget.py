"""The false alarms that all statistical tests together may give on a right stream: 1e-4, shared out evenly.

Bonferroni: `CHECKS` says how many p-values each family of tests may look at, and every single one is held against
LEVEL = 1e-4 / (all of them). `accept` counts, so that a test added without a line here fails. Seeds are fixed: whether
there is a false alarm was decided once, when they were chosen (0, 1, 2, ...), and no run of the suite is unlucky.
"""

from __future__ import annotations

FALSE_ALARMS = 1e-4

# Family -> p-values it looks at.
CHECKS = {
    "fit": 88,  # 12 laws, float32 and float64, Kolmogorov-Smirnov and chi-square; room for as many again
    "moments": 96,  # 12 laws, float32 and float64, four moments
    "tails": 40,  # beyond 3, 4 and 5 standard deviations on either side
    "dependence": 200,  # lags, places of a group, neighbouring groups; values and squares
    "streams": 40,  # names and seeds; values and squares
    "bits": 40,  # each byte of a uniform, the low words of float64
    "p-values": 4,  # 1,000 seeds each
    "rounded": 60,  # laws by narrow dtypes
    "subsets": 20,  # which elements of a sparse line survive
    "haar": 40,  # entries, traces and determinants of orthogonal matrices
}
LEVEL = FALSE_ALARMS / sum(CHECKS.values())

_claims: dict[str, set[str]] = {family: set() for family in CHECKS}


def accept(family: str, what: str, p: float) -> None:
    """Assert that the p-value of a test on the stream is no rarer than the budget allows."""
    _claims[family].add(what)
    assert len(_claims[family]) <= CHECKS[family], f"give the family {family!r} more of the budget in budget.py"
    assert p > LEVEL, f"{what}: p-value {p:.3g} is below {LEVEL:.3g}"


def reject(what: str, p: float) -> None:
    """Assert that a test catches a fault planted on purpose."""
    assert p <= LEVEL, f"{what}: p-value {p:.3g} is not below {LEVEL:.3g}, the fault was missed"
