"""What a fresh process pays: the import, the first fill, memory beside the buffer."""

from __future__ import annotations

import itertools

from bench import children
from bench.pairing import Contender

ROUNDS = 5


def test_import(compete, record):
    contest = compete(Contender("fastinit", children.child(children.IMPORT_FASTINIT), 1), rounds=ROUNDS)
    record("import", {"seconds": contest.typical("fastinit")}, call="import fastinit, after numpy")


def test_first_fill_with_a_cold_cache(compete, record, tmp_path):
    folders = (tmp_path / str(i) for i in itertools.count())
    first_fill = Contender(
        "fastinit", lambda: children.child(children.FIRST_FILL, NUMBA_CACHE_DIR=str(next(folders)))(), 1
    )
    contest = compete(first_fill, rounds=ROUNDS)
    record("first fill, cold cache", {"seconds": contest.typical("fastinit")}, call="fill_he_normal, 1 MiB")


def test_first_fill_with_a_warm_cache(compete, record):
    """The user's own cache, which the uncounted first turn has warmed."""
    first_fill = children.child(children.FIRST_FILL)
    numba = Contender("import numba", children.child(children.IMPORT_NUMBA), 1)
    contest = compete(Contender("fastinit", first_fill, 1), [numba], ROUNDS)
    seconds, base = contest.typical("fastinit"), contest.typical("import numba")
    record(
        "first fill, warm cache",
        {"seconds beyond import numba": seconds - base},
        call="fill_he_normal, 1 MiB",
        seconds=seconds,
        seconds_of_import_numba=base,
    )


def test_extra_memory(benchmark, record, sizes):
    measure = children.child(children.EXTRA_MEMORY.format(bytes=sizes.whole))
    mib = benchmark.pedantic(measure, rounds=1)
    record("extra memory", {"MiB": mib}, call="fill_he_normal", bytes=sizes.whole)
