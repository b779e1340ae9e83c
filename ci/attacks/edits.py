"""Edits that are killed, that fail, and that meet: the old checkpoint or the new one, whole, and nothing beside it.

An edit writes shards under new names, so that trials look at what a reader of the index finds, not at names of files.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  bfloat16 for safetensors.numpy
import safetensors.numpy

from attacks.disk import CALLS, EACH, ERRORS, MOST_CALLS, Failure, counted_in_child, descriptors, failing
from attacks.outcome import Outcome, in_child, on_all_processors, within
from fastinit import engines
from fastinit.edit import Cast, Configure, Copy, Delete, Edit, Laws, Redraw, Rename, Resize, edit
from fastinit.laws import Normal, Orthogonal
from fastinit.plan import Plan, Rule, Tensor
from fastinit.verify import verify
from fastinit.write import write

PLAN = Plan(
    [
        *(Tensor(f"w{i}", (50, 20), "float32", Normal()) for i in range(4)),
        Tensor("embed", (60, 16), "bfloat16", Normal(0.0, 0.02)),
        Tensor("rec", (20, 20), "float32", Orthogonal()),
    ]
)
SHARD = 5000  # bytes: five files
SORTS = ("one file", "shards")  # of checkpoints
INDEX, CONFIG, WEIGHTS = "model.safetensors.index.json", "config.json", "model.safetensors"
HALF = Laws(rules=(Rule(".*", "normal", {"std": 0.5}),))
OPERATIONS = Edit(
    Redraw("w1", HALF),
    Resize("embed", 70, HALF),
    Copy("w2", "w4", noise=0.1),
    Rename("w3", "w5"),
    Cast("bfloat16", "rec"),
    Delete("w0"),
    Configure("layers", 5),
)
IN_PLACE = Edit(Redraw("w[12]", HALF))
DRAWN_IN_PLACE = {"w1", "w2"}
FIRST = Edit(Redraw("w1", HALF))
SECOND = Edit(Redraw("w2", HALF))


def values(folder: Path) -> dict[str, bytes]:
    """The bytes of every tensor, as a reader of the index, or of the one file, has them."""
    index = folder / INDEX
    files = set(json.loads(index.read_text())["weight_map"].values()) if index.exists() else {WEIGHTS}
    return {
        name: array.tobytes()
        for file in sorted(files)
        for name, array in safetensors.numpy.load_file(folder / file).items()
    }


def only_what_counts(folder: Path) -> None:
    """Assert that a folder holds the files that the index lists, config.json, and no others."""
    index = folder / INDEX
    files = {*json.loads(index.read_text())["weight_map"].values(), INDEX} if index.exists() else {WEIGHTS}
    there = {one.name for one in folder.iterdir()}
    assert there == {*files, CONFIG}, f"there is {sorted(there)}, and {sorted(files)} count"


class Stage:
    """Checkpoints of one file and of several, and what each holds before and after the edits."""

    def __init__(self, root: Path) -> None:
        self.root = root
        with engines.use("numpy"):
            for kind, size in zip(SORTS, (1 << 30, SHARD), strict=True):
                folder = root / kind
                write(PLAN, folder, seed=0, shard_size=size, durable=False)
                (folder / CONFIG).write_text(json.dumps({"layers": 4}))
        self.old = values(root / "shards")
        self.new = self._after((OPERATIONS, 0))
        self.second = self._after((SECOND, 1))
        self.both = self._after((FIRST, 0), (SECOND, 1))

    def _after(self, *edits: tuple[Edit, int]) -> dict[str, bytes]:
        folder = self.folder("after", "shards")
        with engines.use("numpy"):
            for one, seed in edits:
                edit(folder, one, seed=seed, durable=False)
        found = values(folder)
        shutil.rmtree(folder)
        return found

    def folder(self, name: str, kind: str) -> Path:
        """A copy of a checkpoint to edit."""
        return Path(shutil.copytree(self.root / kind, self.root / name))

    def settle(self, folder: Path) -> None:
        """Assert that a folder holds the old or the new checkpoint, and that the next edit leaves nothing beside it."""
        found = values(folder)
        assert found in (self.old, self.new), "a mixture of the old checkpoint and the new one"
        edit(folder, [], durable=False)
        assert values(folder) == found, "tidying up changed the weights"
        only_what_counts(folder)
        layers = json.loads((folder / CONFIG).read_text())["layers"]
        assert (layers == 5) == (found == self.new), f"{layers} layers in config.json are not those of the weights"


def fail(stage: Stage, folder: Path, failures: Iterable[Failure]) -> bool:
    """Edit while these calls fail, call number k of each; whether any did. AssertionError says what is not right."""
    before = descriptors()
    with failing(failures) as calls:
        try:
            edit(folder, OPERATIONS, seed=0, threads=1)
            done = True
        except (OSError, MemoryError, KeyboardInterrupt):
            done = False
    lost = descriptors() - before
    assert not lost, f"{lost} descriptors are lost"
    assert not done or values(folder) == stage.new, "it said that it was done"
    stage.settle(folder)
    return any(one.failed for one in calls)


def exhaust(stage: Stage, kind: str, call: tuple[Any, str], error: BaseException) -> int:
    """Let call 1, 2, 3 ... of a kind fail until none does; how many did."""
    for k in range(1, MOST_CALLS):
        folder = stage.folder(f"{call[1]} {type(error).__name__} {kind} {k}", kind)
        try:
            failed = fail(stage, folder, [(call, k, error)])
        except Exception as wrong:
            raise AssertionError(f"call {k} of {call[1]} failed with {error!r}, {kind}: {wrong}") from wrong
        shutil.rmtree(folder)
        if not failed:
            return k - 1
    raise AssertionError(f"{call[1]} is called {MOST_CALLS} times")


def several_failing(stage: Stage, rng: random.Random, folder: Path) -> None:
    """Two or three system calls of an edit fail."""
    calls = {rng.choice(CALLS) for _ in range(rng.choice((2, 2, 3)))}
    fail(stage, folder, [(call, int(2 ** rng.uniform(0, 6)), rng.choice(ERRORS)) for call in calls])


def _killed(work: Callable[[], object], rng: random.Random) -> None:
    """Work in a child that is killed at a random moment, if it is not done before."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    time.sleep(0.03 * rng.random())
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def killed(stage: Stage, rng: random.Random, folder: Path) -> None:
    """An edit is killed."""
    _killed(partial(edit, folder, OPERATIONS, seed=0, threads=1), rng)
    stage.settle(folder)


def killed_elsewhere(stage: Stage, rng: random.Random, folder: Path) -> None:
    """An edit to another folder is killed; run again, it ends, and the source is as it was."""
    output = folder.with_name(folder.name + " output")
    again = partial(edit, folder, OPERATIONS, output=output, seed=0, threads=1)
    _killed(again, rng)
    if not (output / CONFIG).exists() or len(list(output.glob(".*"))):
        again()
    assert values(output) == stage.new, "the other folder does not hold the new checkpoint"
    only_what_counts(output)
    assert values(folder) == stage.old, "the source has changed"
    only_what_counts(folder)
    shutil.rmtree(output)


def killed_in_place(stage: Stage, rng: random.Random, folder: Path) -> None:
    """An edit in place is killed; no other tensor changes, and the same edit, run again, ends it."""
    again = partial(edit, folder, IN_PLACE, in_place=True, seed=0, threads=1)
    _killed(again, rng)
    for name, content in values(folder).items():
        assert name in DRAWN_IN_PLACE or content == stage.old[name], f"{name} has changed"
    again()
    assert verify(folder, threads=1).ok, "what was drawn in place is not what its record says"
    assert not list(folder.glob(".*")), "something is left"


def at_once(stage: Stage, rng: random.Random, folder: Path) -> None:
    """Two edit the same checkpoint at once, and one may be killed: each change is there or not, one after the other."""
    other = threading.Thread(target=_killed, args=(partial(edit, folder, FIRST, seed=0, threads=1), rng))
    other.start()
    edit(folder, SECOND, seed=1, threads=1)
    other.join()
    edit(folder, [], durable=False)
    assert values(folder) in (stage.second, stage.both), "an edit that said that it was done is not there"
    only_what_counts(folder)


KINDS: dict[str, Callable[[Stage, random.Random, Path], None]] = {
    "edits with two or three failing calls": several_failing,
    "edits that are killed": killed,
    "edits to another folder that are killed": killed_elsewhere,
    "edits in place that are killed": killed_in_place,
    "pairs of edits at once": at_once,
}


def attack(seed: int, seconds: float, folder: Path, count: int | None = None) -> Outcome:
    """Every call of an edit in turn, and then trials until the time is over, or so many; each in a child of its own."""
    stage, outcome = Stage(folder), Outcome()

    def try_call(item: tuple[str, tuple[Any, str], BaseException]) -> None:
        count, fault = counted_in_child(lambda: exhaust(stage, *item), folder)
        outcome.note("edits with a failing system call", count, fault and f"edits: {fault}")

    def try_one(number: int) -> None:
        rng = random.Random(f"{seed} edits {number}")
        kind = list(KINDS)[number % len(KINDS)]
        place = stage.folder(f"trial {number}", rng.choice(SORTS))

        def trial() -> None:
            with engines.use("numpy"):
                KINDS[kind](stage, rng, place)

        fault = in_child(trial, 120)
        outcome.note(kind, 1, fault and f"edits: --seed {seed}, trial {number}, {kind}: {fault}")
        shutil.rmtree(place, ignore_errors=True)

    begin = time.monotonic()
    if count is None:
        on_all_processors(iter(list(itertools.product(SORTS, CALLS, EACH))), try_call)
    on_all_processors(within(outcome, seconds - (time.monotonic() - begin), count), try_one)
    return outcome
