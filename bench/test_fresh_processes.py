"""What a fresh process pays: the import, the first fill, memory beside the buffer."""

from __future__ import annotations

import itertools

import pytest

from bench import children
from bench.pairing import Contender

ROUNDS = 5


def test_import(compete, record):
    contest = compete(Contender("fastinit", children.child(children.IMPORT_FASTINIT), 1), rounds=ROUNDS)
    record("import", {"seconds": contest.typical("fastinit")}, call="import fastinit, after numpy")


# By default the first small fills of a process run on the NumPy engine, while Numba is not worth loading. A large one,
# and a user who names the compiled engine, waits for it.
ENGINES = {"": "", ", compiled engine": "numba"}


@pytest.mark.parametrize("which", ENGINES, ids=lambda which: which.strip(", ").replace(" ", "-") or "default")
def test_first_fill_with_a_cold_cache(which, compete, record, tmp_path):
    folders = (str(tmp_path / str(i)) for i in itertools.count())

    def run():
        return children.child(children.FIRST_FILL, NUMBA_CACHE_DIR=next(folders), FASTINIT_ENGINE=ENGINES[which])()

    contest = compete(Contender("fastinit", run, 1), rounds=ROUNDS)
    workload = f"first fill, cold cache{which}"
    record(workload, {"seconds": contest.typical("fastinit")}, call="fill_he_normal, 1 MiB")


@pytest.mark.parametrize("which", ENGINES, ids=lambda which: which.strip(", ").replace(" ", "-") or "default")
def test_first_fill_with_a_warm_cache(which, compete, record):
    """The user's own cache, which the uncounted first turn has warmed."""
    first_fill = children.child(children.FIRST_FILL, FASTINIT_ENGINE=ENGINES[which])
    numba = Contender("import numba", children.child(children.IMPORT_NUMBA), 1)
    contest = compete(Contender("fastinit", first_fill, 1), [numba], ROUNDS)
    seconds, base = contest.typical("fastinit"), contest.typical("import numba")
    record(
        f"first fill, warm cache{which}",
        {"seconds beyond import numba": seconds - base},
        call="fill_he_normal, 1 MiB",
        seconds=seconds,
        seconds_of_import_numba=base,
    )


def test_extra_memory(benchmark, record, sizes):
    # The compiled engine by name: the small fill that warms up would not load it.
    measure = children.child(children.EXTRA_MEMORY.format(bytes=sizes.whole), FASTINIT_ENGINE="numba")
    mib = benchmark.pedantic(measure, rounds=1)
    record("extra memory", {"MiB": mib}, call="fill_he_normal", bytes=sizes.whole)
