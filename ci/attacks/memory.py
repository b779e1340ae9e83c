"""Memory that runs out, odd names, a clock that jumps: what a process has around it, none of which may harm a file."""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from functools import partial
from pathlib import Path
from unittest import mock

import ml_dtypes  # noqa: F401  a library that is loaded while memory is short fails, as any does
import numpy as np
import safetensors

import fastinit
from attacks.jobs import JOBS, Trial, contents
from attacks.outcome import Outcome, in_child, within
from fastinit import engines, laws
from fastinit.cli import main
from fastinit.files.npy import fill_file
from fastinit.plan import Plan, Tensor
from fastinit.verify import verify
from fastinit.write import write

FILLS: tuple[Callable[[], object], ...] = (
    lambda: fastinit.new((1 << 21,), laws.Normal(), seed=0),
    lambda: fastinit.new((700, 700), laws.Orthogonal(), seed=0),
    lambda: fastinit.new((3000, 300), laws.Sparse(laws.Normal(), 0.9, axis=0), seed=0),
    lambda: fastinit.new((1 << 20,), laws.TruncatedNormal(0.0, 1.0, -2.0, 2.0), seed=0, dtype="bfloat16"),
)
LETTERS = "aZ09 ._-'\"\\ßéЖ中🙂\u202e\u0301\n\t\x1b\x7f%{}$*?[]~\ud800"


@contextmanager
def address_space(room: int) -> Iterator[None]:
    """So many bytes of address space beyond what the process has."""
    unlimited = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + room, unlimited[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, unlimited)


def short_of_memory(rng: random.Random, root: Path) -> None:
    """One fill or one job with little address space left: a MemoryError or an OSError, and nothing lost."""
    room = int(2 ** rng.uniform(12, 28))
    # OpenBLAS takes its buffers at the first product of a process, and ends or hangs the process if it gets none.
    FILLS[1]()
    if rng.random() < 0.4:
        fill = rng.choice(FILLS)
        with engines.use("numpy"):
            with address_space(room), suppress(MemoryError, OSError):
                fill()
            fill()
    else:
        Trial(rng.choice(JOBS), root).survives(address_space(room), MemoryError, OSError)


def failing_allocation(rng: random.Random, root: Path) -> None:
    """Allocation k of a job fails."""
    trial = Trial(rng.choice(JOBS), root)
    name, left = rng.choice(("empty", "zeros", "frombuffer", "ones")), int(2 ** rng.uniform(0, 6))
    real = getattr(np, name)

    def allocate(*arguments: object, **options: object) -> object:
        nonlocal left
        left -= 1
        if left == 0:
            raise MemoryError
        return real(*arguments, **options)

    trial.survives(mock.patch.object(np, name, allocate), MemoryError)


def odd_names(rng: random.Random, root: Path) -> None:
    """Files and tensors of any name: written and read as they are called, and printed so that nothing is forged."""
    name = "".join(rng.choices(LETTERS, k=rng.choice((1, 3, 20, 60, 200))))
    with Trial(JOBS[-1], root).fresh() as folder:
        file = name.replace("/", "_").encode(errors="ignore")[:250].decode(errors="ignore") + ".npy"
        fill_file(folder / file, (5,), laws.Normal(), seed=1)
        assert list(contents(folder)) == [file]
        assert np.array_equal(np.load(folder / file), fastinit.new(5, laws.Normal(), seed=1))
    tensor = name.replace("\ud800", "")
    if not tensor or tensor == "__metadata__":
        return
    with Trial(JOBS[-1], root).fresh() as folder:
        write(Plan((Tensor(tensor, (5,), "float32", laws.Normal()),)), folder, seed=1)
        with safetensors.safe_open(folder / "model.safetensors", "np") as there:
            assert list(there.keys()) == [tensor]
        assert verify(folder).ok
        with Path(folder.parent, "said").open("w+") as said, redirect_stdout(said):
            main(["verify", str(folder)])
            main(["show", str(folder)])
            said.seek(0)
            text = said.read()
        forged = {one for one in text if not one.isprintable() and one != "\n"}
        assert not forged, f"the name {tensor!r} prints {forged}"
        assert text.count("\n") < 60, "the name breaks lines"


def jumping_clock(rng: random.Random, root: Path) -> None:
    """A clock that jumps back and forth: progress and reports go on, and the bytes are the same."""
    trial = Trial(rng.choice(JOBS), root)
    with trial.fresh() as folder:
        real = time.time

        def clock() -> float:
            return real() + rng.choice((0.0, 0.0, 1e9, -1e9, -1e-3))

        with mock.patch.multiple(time, time=clock, monotonic=clock, perf_counter=clock):
            trial.job.run(folder)
        assert contents(folder) == trial.expected


KINDS = {
    "runs short of memory": short_of_memory,
    "failing allocations": failing_allocation,
    "odd names": odd_names,
    "runs under a jumping clock": jumping_clock,
}


def one(seed: int, number: int, folder: Path) -> str:
    """Trial `number` in this process; what kind it was."""
    rng = random.Random(f"{seed} memory {number}")
    kind = list(KINDS)[number % len(KINDS)]
    KINDS[kind](rng, folder)
    return kind


def attack(seed: int, seconds: float, folder: Path, count: int | None = None) -> Outcome:
    """Make so many trials, or as many as the time allows, each in a child of its own."""
    outcome = Outcome()
    for number in within(outcome, seconds, count):
        fault = in_child(partial(one, seed, number, folder), 60)
        found = fault and f"memory: --seed {seed}, trial {number}: {fault}"
        outcome.note(list(KINDS)[number % len(KINDS)], 1, found)
    return outcome
