"""Hostile files: what the format's own library takes is taken, the rest refused in words.

There must be no crash, no exception but the documented ones, no hang, and little memory.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import tempfile
import tracemalloc
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import safetensors
import scipy.stats  # noqa: F401  once, not in every child

from attacks import mutations
from attacks.corpus import FOLDER
from attacks.outcome import Outcome, in_child, on_all_processors, within
from fastinit import engines
from fastinit.files.npy import stored_shape
from fastinit.files.safetensors import DTYPES, UNDECODED, SafetensorsError, read_header
from fastinit.plan import Plan, load_rules, shapes_of
from fastinit.show import show
from fastinit.verify import verify

HANG = 2.0  # seconds
BATCH = 2000  # inputs of a child
ROOM = 1 << 30  # bytes of address space beyond what the process has, for files of a few KiB
MEASURED = 50  # of so many inputs one is measured
BASE = 64 << 20  # bytes that reading takes beside ten times the file: buffers of a thread, most of them never touched
REFUSALS = (ValueError, TypeError, ArithmeticError, RecursionError, OSError)  # what the command line words as errors
CODES = {name: code for name, (code, *_) in (DTYPES | UNDECODED).items()}


class Hang(BaseException):
    """An input took longer than it may."""


def oracle(path: Path, data: bytes) -> None:
    """Hold what is read against the safetensors library."""
    try:
        theirs = {name: (said["dtype"], said["shape"]) for name, said in safetensors.deserialize(data)}
    except safetensors.SafetensorError:
        theirs = None
    try:
        slots = read_header(path).slots
        ours = {name: (CODES[slot.dtype], list(slot.shape)) for name, slot in slots.items()}
    except SafetensorsError:
        ours = None
    assert ours == theirs, f"fastinit reads {ours}, safetensors {theirs}"


def refused(read: Callable[[Path], object]) -> Callable[[Path, bytes], None]:
    """A target that may refuse, in the classes that are documented."""

    def run(path: Path, data: bytes) -> None:
        try:
            read(path)
        except REFUSALS as error:
            assert str(error), f"{type(error).__name__} without words"

    return run


def index_beside(path: Path, data: bytes) -> None:
    """The files of the corpus under a mutated index."""
    folder = path.parent / "sharded"
    if not folder.exists():
        folder.mkdir()
        for one in (FOLDER / "sharded").glob("*.safetensors"):
            (folder / one.name).write_bytes(one.read_bytes())
    (folder / "model.safetensors.index.json").write_bytes(data)
    refused(lambda path: verify(path, threads=1))(folder, data)


# What is read: its name, the files of the corpus, how they are mutated, the name of the mutated file, what reads it.
TARGETS = {
    "header": ("*.safetensors", "safetensors", oracle),
    "verify": ("one/*.safetensors", "safetensors", refused(lambda path: verify(path, threads=1))),
    "show": ("*.safetensors", "safetensors", refused(lambda path: show(path, threads=1))),
    "index": ("*/*.index.json", "json", index_beside),
    "plan": ("plan.json", "json", refused(Plan.load)),
    "shapes": ("shapes.json", "json", refused(shapes_of)),
    "rules": ("rules.toml", "toml", refused(load_rules)),
    "npy": ("*.npy", "npy", refused(stored_shape)),
}
# Of twenty inputs so many go to each target; those of safetensors go to all three.
SHARES = ("header",) * 14 + ("index", "plan", "shapes", "rules", "npy", "npy")


def sources(target: str) -> list[bytes]:
    """The files of the corpus that a target begins with."""
    pattern = TARGETS[target][0]
    files = sorted(FOLDER.rglob(pattern) if "/" not in pattern else FOLDER.glob(pattern))
    assert files, f"tests/corpus has no {pattern}"
    return [one.read_bytes() for one in files]


def mutated(seed: int, number: int, cached: dict[str, list[bytes]]) -> tuple[str, bytes]:
    """Input number `number`: its target, and its bytes. A function of its arguments."""
    rng = random.Random(f"{seed} {number}")
    target = rng.choice(SHARES)
    data = cached.setdefault(target, sources(target))
    one = rng.choice(data)
    kind = TARGETS[target][1]
    if kind == "safetensors":
        return target, mutations.of_safetensors(rng, one, data)
    if kind in ("json", "toml") and rng.random() < 0.8:
        return target, mutations.of_text(rng, one.decode(errors="replace")).encode(errors="replace")
    return target, mutations.of_bytes(rng, one, data)


def try_one(folder: Path, target: str, data: bytes, *, measure: bool) -> None:
    """Read one input by everything that reads its kind."""
    path = folder / f"w.{TARGETS[target][1]}"
    path.write_bytes(data)
    names = ("header", "verify", "show") if target == "header" else (target,)
    for name in names:
        if measure:
            tracemalloc.start()
        TARGETS[name][2](path, data)
        if measure:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 10 * len(data) + BASE, f"{name}: {peak:,} bytes for a file of {len(data):,}"


def batch(seed: int, first: int, count: int, note: Path) -> None:
    """Try inputs in this process; `note` says which one is under way, should the process die."""

    def late(number: int, frame: object) -> None:
        raise Hang

    signal.signal(signal.SIGALRM, late)
    warnings.simplefilter("ignore")
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, size + ROOM))
    cached: dict[str, list[bytes]] = {}
    fd = os.open(note, os.O_RDWR | os.O_CREAT)
    with engines.use("numpy"), tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        for number in range(first, first + count):
            os.pwrite(fd, f"{number:20}".encode(), 0)
            target, data = mutated(seed, number, cached)
            signal.setitimer(signal.ITIMER_REAL, HANG)
            try:
                try_one(Path(folder), target, data, measure=number % MEASURED == 0)
            except Hang:
                raise AssertionError(f"{target}: it took over {HANG:g} s") from None
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)


def memory_folder() -> str | None:
    """Where small files cost no disk."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def attack(seed: int, seconds: float, folder: Path, inputs: int | None = None) -> Outcome:
    """Try so many inputs, or as many as the time allows, in children of some thousands."""
    del folder  # in memory instead
    outcome = Outcome()
    batches = within(outcome, seconds, None if inputs is None else -(-inputs // BATCH))

    def work(number: int) -> None:
        first, last = number * BATCH, (number + 1) * BATCH if inputs is None else min((number + 1) * BATCH, inputs)
        with tempfile.NamedTemporaryFile(dir=memory_folder()) as file:
            note = Path(file.name)
            while first < last:  # past an input that was a finding
                note.write_bytes(b"")
                fault = in_child(partial(batch, seed, first, last - first, note), 600)
                done = int(note.read_bytes() or first)
                found = fault and f"readers: --seed {seed}, input {done}: {fault}"
                outcome.note("mutated files", done - first + 1, found)
                first = done + 1

    on_all_processors(batches, work)
    return outcome
