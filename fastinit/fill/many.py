"""fill_many(): one pass over thousands of small tensors, which would each cost a call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from ctypes import addressof, c_char
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from fastinit import engines
from fastinit import threads as pool
from fastinit.address import STREAM, Shard, digest_of, drawn_seed, stream_id, stream_words
from fastinit.dtypes import Format, format_of
from fastinit.engines.interface import one_row
from fastinit.fill.call import checked
from fastinit.fill.runs import BoundLaw, FillRequest, is_small
from fastinit.fill.shaped import prepared
from fastinit.floating_point import in_default_mode
from fastinit.laws import Law
from fastinit.laws.law import IndependentLaw, ShapedLaw
from fastinit.progress import AnyProgress, following

Array = np.ndarray[Any, Any]

first_byte: Any = c_char.from_buffer  # the fastest way to an address: `array.ctypes` makes three objects
PER_CALL = 1 << 20  # bytes of small tensors that a thread fills by one call


@in_default_mode
def fill_many(
    tensors: Iterable[tuple[Any, Law, str | int]],
    *,
    seed: int | None = None,
    threads: int | None = None,
    progress: AnyProgress = None,
    stream: str = STREAM,
) -> None:
    """Fill many buffers, each as `fill(buf, law, seed=seed, name=name)` would: the same bits, in one pass.

    tensors   (buf, law, name) of each: what `fill` takes, in any order; two of one name are refused
    seed      integer in [0, 2^64), of all; None draws a fresh one, and logs it (logger "fastinit", level INFO)
    threads   how many threads; default as for `fill`
    progress  True for a bar (tqdm), or a function: called on the calling thread as progress(done_bytes, total_bytes)
    stream    version of the stream

    Buffers of up to 256 KiB that lie in one piece are drawn together, law by law: a bias of 64 elements takes a
    third of the time of a call. What is larger, or of a law that looks at the whole shape, is filled one by one.

    Raises TypeError or ValueError, which names the tensor, before the first store. Guarantee: that of `fill`. Source:
    docs/stream.md.
    """
    report = following(progress)
    workers = pool.resolve(threads)
    if seed is None:
        seed = drawn_seed("fill_many", "")
    stream_words(seed, 0, stream)  # refuses what is no seed, and no stream
    batches: dict[tuple[int, Any], Batch] = {}
    others: list[tuple[int, Callable[[], None]]] = []
    names: list[str | int] = []
    last_law, last_dtype, batch = None, None, None
    for one in tensors:
        try:
            buf, law, name = one
        except (TypeError, ValueError):
            raise TypeError(f"fill_many takes triples (buf, law, name); one is {one!r}") from None
        names.append(name)
        try:
            dtype = getattr(buf, "dtype", None)
            if law is not last_law or dtype is not last_dtype:
                last_law, last_dtype = law, dtype
                batch = batches.get((id(law), dtype))
                if batch is None and (batch := Batch.of(buf, law)) is not None:
                    batches[id(law), dtype] = batch
            if batch is None or not batch.add(buf, name):
                others.append(_alone(buf, law, name, seed, workers, stream))
        except TypeError as error:
            raise TypeError(f"tensor {name!r}: {error}") from error
        except ValueError as error:
            raise ValueError(f"tensor {name!r}: {error}") from error
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise ValueError(f"two tensors are named {twice!r}, and would have the same values; give each its own name")
    together = [(batch.bytes, partial(batch.fill, seed, stream, workers)) for batch in batches.values() if batch.arrays]
    stores: list[tuple[int, Callable[[], None]]] = [*together, *others]
    total = sum(size for size, _ in stores)
    done = 0
    for size, store in stores:
        store()
        done += size
        if report is not None:
            report(done, total)


@dataclass
class Batch:
    """Small tensors of one law and one dtype."""

    law: IndependentLaw  # kept, so that its id is not another's
    arrays: list[Array]  # kept, so that their memory stays
    format: Format
    addresses: list[int] = field(default_factory=list)
    names: list[int] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """Bytes of all that was added."""
        return sum(array.nbytes for array in self.arrays)

    @classmethod
    def of(cls, buf: Any, law: Law) -> Batch | None:
        """A batch that such a buffer and law could be in; None where each is filled alone."""
        if type(buf) is not np.ndarray or not isinstance(law, IndependentLaw) or not law.draws:
            return None
        format = format_of(buf.dtype)
        if format is None or not buf.dtype.isnative or law.kept_arguments(format) is None:
            return None
        return cls(law, [], format)

    def add(self, buf: Any, name: str | int) -> bool:
        """Take a buffer in, unless it is large, or not in one piece."""
        if type(buf) is not np.ndarray or buf.size == 0 or not is_small(buf):
            return False
        try:
            self.names.append(digest_of(name))  # type: ignore[arg-type]
        except (AttributeError, UnicodeEncodeError):  # an integer, or no name
            self.names.append(stream_id(name))
        self.addresses.append(addressof(first_byte(buf.view(self.format.storage) if self.format.code else buf)))
        self.arrays.append(buf)
        return True

    def fill(self, seed: int, stream: str, workers: int) -> None:
        """Draw all of them."""
        storage = np.dtype(self.format.storage)
        bound = BoundLaw(stream_words(seed, 0, stream), self.law.kept_arguments(self.format), None, self.format)
        sizes = np.array([array.size for array in self.arrays], np.int64)
        engine = engines.chosen(int(sizes.sum()))
        words = np.empty((len(sizes), 4), np.uint32)
        words[:, :2] = bound.words[:2]
        words[:, 2:] = np.array(self.names, "<u8").view("<u4").reshape(-1, 2)
        ends = np.cumsum(sizes * storage.itemsize)
        cuts = [0, *np.searchsorted(ends, np.arange(PER_CALL, ends[-1], PER_CALL), "right").tolist(), len(sizes)]
        regions = np.stack([(np.array(self.addresses) - self.addresses[0]) // storage.itemsize, sizes], axis=1)
        line = self.arrays[0].reshape(-1).view(storage)

        def work(i: int) -> None:
            here = slice(cuts[i], cuts[i + 1])
            if engine is engines.loaded_compiled():
                engine.fill_many(bound.arguments, line, regions[here], words[here], self.format.code)
                return
            for array, own in zip(self.arrays[here], words[here], strict=True):
                bound._replace(words=own).run(engine, array.reshape(-1).view(storage), one_row(array.size))

        pool.for_each(work, len(cuts) - 1, min(workers, len(cuts) - 1))


def _alone(buf: Any, law: Law, name: str | int, seed: int, workers: int, stream: str) -> tuple[int, Callable[[], None]]:
    """Check a tensor that is filled by itself; its bytes, and what fills it."""
    array, format, law, name = checked(buf, law, name)
    words = stream_words(seed, name, stream)
    if array.size == 0:
        return 0, lambda: None
    storage = array.view(format.storage) if format is not None and format.code else array
    whole = Shard(array.shape, (0,) * array.ndim)
    if isinstance(law, ShapedLaw):
        law.check(array.shape)
    return array.nbytes, prepared(storage, law, FillRequest(whole, whole, words, array.dtype, format, workers, None))
