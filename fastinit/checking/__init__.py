"""Check fastinit where it runs: known answers of every law on both engines, and what surrounds them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import NamedTuple

from fastinit import engines
from fastinit.address import STREAM
from fastinit.checking.answers import law_fault, orthogonal_fault, philox_fault, words_of
from fastinit.checking.known import ANSWERS, CASES
from fastinit.checking.machine import floating_point_note, folder_note

RIGHT, WRONG, NOT_RUN, NOTE = "right", "WRONG", "not run", "note"


class Check(NamedTuple):
    """One line of a self-test: its outcome (right, WRONG, not run, note), what was checked, and what is to be said."""

    outcome: str
    what: str
    said: str = ""

    def __str__(self) -> str:
        return f"{self.outcome:8} {self.what}" + (f": {self.said}" if self.said else "")


class SelfTest(tuple[Check, ...]):
    """The checks of a self-test, in order; its text is a line each and a verdict."""

    __slots__ = ()

    @property
    def wrong(self) -> bool:
        """Whether an answer is wrong here: the weights of this machine are not those of others."""
        return any(check.outcome == WRONG for check in self)

    @property
    def verdict(self) -> str:
        """One sentence on all of them."""
        count = {outcome: sum(check.outcome == outcome for check in self) for outcome in (RIGHT, WRONG, NOT_RUN)}
        if count[WRONG]:
            return (
                f"{count[WRONG]} of {count[WRONG] + count[RIGHT]} checks are wrong on this machine. Do not use its "
                "weights; report this with the output of `fastinit info`."
            )
        beside = f"; {count[NOT_RUN]} did not run, and nothing is known of them" if count[NOT_RUN] else ""
        return f"all {count[RIGHT]} checks of stream {STREAM} are right on this machine{beside}"

    def __str__(self) -> str:
        return "\n".join((*map(str, self), self.verdict))


def checks() -> Iterator[Check]:
    """Make every check, one after another; each is given when it is done."""
    yield _noted("floating-point mode", floating_point_note(), "to nearest, subnormals are kept")
    for engine in ("numba", "numpy"):
        yield from _of_engine(engine)


def _of_engine(engine: str) -> Iterator[Check]:
    """The checks of one engine. One that does not load gives no wrong answer: fills take the other."""
    if engine == "numba" and importlib.util.find_spec("numba") is None:
        yield Check(NOT_RUN, engine, "Numba is not installed; fills take the NumPy engine, with the same values")
        return
    try:
        words = words_of(engine)
        fault = philox_fault(words)
    except Exception as error:  # a Numba that is installed and does not load may raise anything
        yield Check(NOT_RUN, engine, f"the engine does not load ({error}); fills take the NumPy engine, if they can")
        return
    if engine == "numba":
        from fastinit.engines import compiled

        folder = compiled.target()["cache_folder"]
        yield _noted("folder of compiled code", folder_note(folder), f"{folder}: nobody else may write there")
    yield _check(f"{engine}: Philox4x32-10", [fault])
    for name, case in CASES.items():
        with engines.use(engine):
            faults = [_named(dtype, law_fault(case, dtype, ANSWERS[name, dtype])) for dtype in case.dtypes]
        yield _check(f"{engine}: {name}", faults)
    with engines.use(engine):
        faults = [_named(dtype, orthogonal_fault(dtype)) for dtype in ("float64", "float32")]
    yield _check(f"{engine}: orthogonal, to rounding", faults)


def _noted(what: str, note: str | None, right: str) -> Check:
    return Check(NOTE, what, note) if note else Check(RIGHT, what, right)


def _named(dtype: str, fault: str | None) -> str | None:
    return fault and f"{dtype}: {fault}"


def _check(what: str, faults: list[str | None]) -> Check:
    said = "; ".join(fault for fault in faults if fault)
    return Check(WRONG if said else RIGHT, what, said)


def selftest() -> SelfTest:
    """Make every check and return them all."""
    return SelfTest(checks())
