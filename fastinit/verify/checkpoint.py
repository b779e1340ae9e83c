"""Compare a checkpoint with what it was initialised to, bit by bit: an audit, or which weights training never moved.

A file that `write` made says in its metadata how it was drawn. Here it is drawn again, piece by piece, and compared
while both are in the cache; nothing is written.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fastinit import engines
from fastinit.address import stream_words
from fastinit.files.anyones import read_index
from fastinit.files.folder import INDEX, shard_names
from fastinit.files.safetensors import bits_of, read_header, refuse
from fastinit.floating_point import in_default_mode
from fastinit.laws.blocks import leaves
from fastinit.laws.law import real
from fastinit.plan import Plan, Tensor, some_of
from fastinit.printable import printable
from fastinit.progress import AnyProgress, Progress, following
from fastinit.provenance import File, file_as_planned, file_of, in_words, is_edited, refuse_costly
from fastinit.threads import resolve
from fastinit.verify.audit import Tally, audit, has_tolerance

SAME = "as initialised"
CLOSE = "as initialised to a tolerance"
DIFFERS = "differs"
UNKNOWN = "unknown law"
EDITED_SINCE = "edited"
MISSING = "missing"

Reader = Callable[[list[Path]], list[File]]

SHARD = re.compile(r"(.*)-\d{5}-of-(\d{5})\.safetensors")  # files of such names are one checkpoint


@dataclass(frozen=True)
class Verdict:
    """What became of one tensor.

    compared   how many of its elements were compared: all of them, or fewer with `sample`; 0 for an unknown law
    status     "as initialised", also where an edit drew it again; "as initialised to a tolerance" (an orthogonal law,
               whose last bits are those of a linear algebra library); "differs"; "unknown law": the file's metadata has
               none for this tensor; "edited": an edit made elements that cannot be drawn again, and those that can,
               `compared`, are as initialised; "missing": the plan has it and no file does
    differing  how many of the compared elements differ
    index      of the first that differs, in row-major order; None where none does
    found      its value in the file
    expected   what it was initialised to
    part       in which slice of a tensor made of parts that element lies, as NumPy writes it: "[4096:5120]"
    how        what `fastinit.edit` did to it, in words; None where nothing is recorded
    """

    name: str
    file: str
    dtype: str
    shape: tuple[int, ...]
    elements: int
    compared: int
    status: str
    differing: int
    index: tuple[int, ...] | None
    found: Any
    expected: Any
    part: str | None = None
    how: str | None = None


@dataclass(frozen=True, repr=False)
class Verified:
    """What `verify` found, tensor by tensor in the order of the files, and in all."""

    path: str
    files: tuple[str, ...]
    tensors: tuple[Verdict, ...]
    bytes_compared: int
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether every tensor is as initialised, as far as it was compared."""
        return all(one.status in (SAME, CLOSE) for one in self.tensors)

    @property
    def elements(self) -> int:
        """Elements of all tensors."""
        return sum(one.elements for one in self.tensors)

    @property
    def compared(self) -> int:
        """How many of them were compared."""
        return sum(one.compared for one in self.tensors)

    @property
    def differing(self) -> int:
        """How many of those differ."""
        return sum(one.differing for one in self.tensors)

    @property
    def gigabytes_per_second(self) -> float:
        """Speed, in 10^9 bytes compared a second."""
        return self.bytes_compared / self.seconds / 1e9 if self.seconds else 0.0

    @property
    def others(self) -> tuple[Verdict, ...]:
        """The tensors that are not as initialised."""
        return tuple(one for one in self.tensors if one.status not in (SAME, CLOSE))

    @property
    def summary(self) -> str:
        """One line: how many tensors are as initialised, and the first of the others by name."""
        same, others = len(self.tensors) - len(self.others), [printable(one.name) for one in self.others]
        said = f"{same:,} of {len(self.tensors):,} tensors are as initialised"
        return said + (f"; not so: {some_of(others, 3)}" if others else "")

    def __repr__(self) -> str:
        return f"<Verified {printable(self.path)}: {self.summary}>"

    def _repr_html_(self) -> str:
        from fastinit import formatting, notebook

        rows = [
            (
                *(notebook.safe(one.name), formatting.shape(one.shape), one.dtype, one.status),
                f"{one.differing:,} of {one.compared:,}",
                "" if one.index is None else notebook.safe(f"{list(one.index)}: {one.found}, not {one.expected}"),
            )
            for one in (*self.others, *(one for one in self.tensors if one not in self.others))
        ]
        heads = ("tensor", "shape", "dtype", "status", "differ", "first at")
        said = f"<b>{notebook.safe(self.path)}</b>: {notebook.safe(self.summary)}"
        return notebook.sheet(said, heads, rows, rest="report.tensors has them", alert=range(len(self.others)))


@in_default_mode
def verify(
    path: str | os.PathLike[str],
    *,
    plan: Plan | None = None,
    seed: int | None = None,
    sample: float = 1.0,
    threads: int | None = None,
    progress: AnyProgress = None,
) -> Verified:
    """Draw again what a checkpoint was initialised to, compare, and say what differs.

    path      a safetensors file that fastinit wrote, or a folder of them; with model.safetensors.index.json, the files
              it lists, which must hold the tensors it says
    plan, seed
              what the tensors were drawn from, for files whose metadata does not say it: those that another program
              saved after training, as transformers' save_pretrained does. Given together, and then they count.
    sample    share of the elements to compare, in (0, 1]: a fixed subset of pieces of about a MiB, spread evenly, and
              at least one of every tensor. The tensors' `compared` say what was seen.
    threads   default set_num_threads, FASTINIT_NUM_THREADS, or the CPUs this process may use
    progress  True for a bar (tqdm), or a function: called on the calling thread as progress(done_bytes, total_bytes);
              what `sample` passes over counts as done

    All headers are read and checked before the first element. Raises SafetensorsError (a ValueError) for a file that is
    no safetensors file, whose metadata is damaged, whose stream this version does not compute, or whose tensors are not
    those that the index lists; without a plan, for one that fastinit did not write; with a plan, for a tensor of
    another shape or dtype; ValueError for a plan without a seed, and the other way round; FileNotFoundError for a file
    that is missing.
    Memory: two or three MiB a thread; for a sparse law along other than the last dimension 50 MiB more; for an
    orthogonal law, a matrix.
    """
    if (plan is None) != (seed is None):
        raise ValueError(
            f"plan is {'None' if plan is None else 'given'} and seed is {seed}: pass both, the plan that was written "
            "and the seed it was written with, or neither where the files' metadata says them"
        )
    share = real(sample, "sample")
    if not 0 < share <= 1:
        raise ValueError(f"sample is {share}; it is the share of the elements to compare, in (0, 1]")
    workers = resolve(threads)
    report = following(progress)
    begin = time.perf_counter()
    read: Reader = _read
    if plan is not None and seed is not None:
        stream_words(seed, "")
        read = partial(_read_as_planned, plan, seed)
    checkpoint = _open(Path(path), read)
    refuse_costly(checkpoint)
    total = sum(file.bytes for file in checkpoint)
    engine = engines.engine_for(sum(file.elements for file in checkpoint))
    verdicts: list[Verdict] = []
    done = nbytes = 0
    for file in checkpoint:
        tallies = audit(file, engine, share, workers, report and partial(_report, report, done, total))
        compared = [_verdict(file, name, tally) for name, tally in tallies.items()]
        verdicts += compared
        nbytes += sum(one.compared * bits_of(one.dtype) // 8 for one in compared)
        done += file.bytes
        if report is not None:
            report(done, total)
    if plan is not None:
        held = {one.name for one in verdicts}
        verdicts += [_missing(tensor) for tensor in plan.tensors if tensor.name not in held]
    names = tuple(file.path.name for file in checkpoint)
    return Verified(os.fspath(path), names, tuple(verdicts), nbytes, time.perf_counter() - begin)


def _report(progress: Progress, before: int, total: int, done: int) -> None:
    progress(before + done, total)


def _verdict(file: File, name: str, tally: Tally) -> Verdict:
    slot, spans, edited = file.header.slots[name], file.spans_of(name), file.edited.get(name)
    tensor = file.known.get(name) if edited is None else None
    if tally.differing:
        status = DIFFERS
    elif edited is not None and sum(span.count for span in spans) < max(slot.elements, len(spans) == 0):
        status = EDITED_SINCE
    elif not spans:
        status = UNKNOWN
    else:
        status = CLOSE if any(has_tolerance(span.drawn) for span in spans) else SAME
    index = None if tally.first is None else _unravel(tally.first, slot.shape)
    part = None if tensor is None or index is None else _part(tensor, index)
    return Verdict(
        *(name, file.path.name, slot.dtype, slot.shape, slot.elements, tally.compared, status, tally.differing),
        *(index, tally.found, tally.expected, part, None if edited is None else in_words(edited.how)),
    )


def _missing(tensor: Tensor) -> Verdict:
    shape, elements = tensor.shape, tensor.elements
    return Verdict(tensor.name, "", tensor.dtype, shape, elements, 0, MISSING, 0, None, None, None)


def _part(tensor: Tensor, index: tuple[int, ...]) -> str | None:
    """The slice that an element is of, where the tensor is made of parts."""
    for leaf in leaves(tensor.law, tensor.shape):
        if all(at <= i < at + size for i, at, size in zip(index, leaf.offsets, leaf.shape, strict=True)):
            return leaf.where(tensor.shape) or None
    return None


def _unravel(index: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The place of an element; NumPy's own knows 64 dimensions and 2^63 elements."""
    place = []
    for size in reversed(shape):
        index, i = divmod(index, size)
        place.append(i)
    return tuple(reversed(place))


# --- what the files say of themselves ---------------------------------------------------------------------------------


def _open(path: Path, read: Reader) -> list[File]:
    """The files of a checkpoint, in order, with their headers."""
    if not path.is_dir():
        return read([path])
    if (path / INDEX).exists():
        return _listed(path / INDEX, read)
    files = {file.path.name: file for file in read(sorted(path.glob("*.safetensors")))}
    if not files:
        raise FileNotFoundError(errno.ENOENT, f"{path} holds no .safetensors file; name a file or a folder of them")
    for prefix, count in sorted({shard.groups() for shard in map(SHARD.fullmatch, files) if shard}):
        names = shard_names(prefix, int(count))
        for name in names:
            if name not in files:
                raise FileNotFoundError(errno.ENOENT, f"{path / name} is missing; others are called ...-of-{count}")
        _refuse_a_mixture([files[name] for name in names])
    return list(files.values())


def _listed(index: Path, read: Reader) -> list[File]:
    """The files that an index lists, which hold exactly the tensors it says and come from one seed and plan."""
    _, places = read_index(index)
    files = read([index.parent / name for name in sorted(set(places.values()))])
    holders: dict[str, list[str]] = {}
    for file in files:
        for tensor in file.header.slots:
            holders.setdefault(tensor, []).append(file.path.name)
    for tensor, place in places.items():
        held = holders.get(tensor, ["none of those listed"])
        if place not in held:
            refuse(index, f"says that {tensor!r} is in {place}; it is in {', '.join(held)}")
    for tensor, held in holders.items():
        for name in held:
            if places.get(tensor) != name:
                refuse(index, f"says that {tensor!r} is in {places.get(tensor, 'no file')}; {name} holds it too")
    _refuse_a_mixture(files)
    return files


def _refuse_a_mixture(files: list[File]) -> None:
    """Refuse files of which some were drawn from another seed or plan than the first."""
    for key in ("fastinit.seed", "fastinit.plan"):
        first = files[0].header.metadata.get(key)
        for file in files[1:]:
            other = file.header.metadata.get(key)
            if other != first:
                what = key.removeprefix("fastinit.")
                refuse(file.path, f"has {what} {other}, and {files[0].path.name} {first}: two checkpoints mixed up")


def _read(paths: list[Path]) -> list[File]:
    """What the files say; where one of them was edited, others may be of another program's making."""
    headers = [read_header(path) for path in paths]
    foreign = any(map(is_edited, paths, headers))
    return [file_of(path, header, foreign=foreign) for path, header in zip(paths, headers, strict=True)]


def _read_as_planned(plan: Plan, seed: int, paths: list[Path]) -> list[File]:
    """The files, of which a plan says what is in them."""
    return [file_as_planned(path, read_header(path), plan, seed) for path in paths]
