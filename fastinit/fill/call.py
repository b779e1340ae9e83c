"""fill(): check everything, cut the buffer into runs, hand them to an engine."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastinit import engines
from fastinit import threads as pool
from fastinit.address import STREAM, Shard, drawn_seed, index_strides, stream_words
from fastinit.dtypes import FORMATS, Format, array_dtype, format_of
from fastinit.fill import buffers
from fastinit.fill.runs import SMALLEST_CHUNK, BoundLaw, FillRequest, fill_memory, is_small
from fastinit.fill.shaped import fill_shaped
from fastinit.floating_point import default_mode, is_default
from fastinit.laws import Copy, Law
from fastinit.laws.law import IndependentLaw, ShapedLaw
from fastinit.progress import AnyProgress, following

Array = np.ndarray[Any, Any]


def fill(
    buf: Any,
    law: Law,
    *,
    seed: int | None = None,
    name: str | int = "",
    shard: Shard | None = None,
    dtype: object = None,
    threads: int | None = None,
    progress: AnyProgress = None,
    stream: str = STREAM,
) -> None:
    """Fill `buf` in place with draws of `law`.

    buf       a writable ndarray of any shape, order and non-overlapping strides, a memory map included, or anything
              NumPy wraps without a copy (buffer protocol, DLPack: a PyTorch CPU tensor). float64, float32, float16,
              bfloat16, float8_e4m3fn and float8_e5m2; complex64 and complex128 for laws that have a complex form;
              constants and patterns fill every numeric dtype.
    law       one of fastinit.laws: Normal(0.0, 0.02), ...
    seed      integer in [0, 2^64). None draws a fresh one, so two calls differ, and logs it (logger "fastinit", level
              INFO); refused with `shard`.
    name      the tensor's name, a str or an integer in [0, 2^64). Same seed and same name give the same values, so give
              every tensor its own. A law that is a `Copy` has another name.
    shard     says that `buf` is a block of a larger tensor; its values are then those of the slice.
    dtype     what raw uint16 or uint8 storage holds: "bfloat16", "float16", "float8_e4m3fn", "float8_e5m2".
    threads   how many threads; default set_num_threads, FASTINIT_NUM_THREADS, or the CPUs this process may use.
    progress  True for a bar (tqdm), or a function: called on the calling thread as progress(done_bytes, total_bytes).
    stream    version of the stream; "fastinit-1" is the only one so far.

    Raises TypeError or ValueError before the first store; OSError where the disk behind a memory map is full.
    Guarantee: an element depends only on (stream, seed, name, its row-major index in the whole tensor, law, dtype),
    never on threads, chunks, shards, strides, process or engine. Source: docs/stream.md; docs/guarantees.md, promises
    1 to 3.
    """
    if not is_default():
        with default_mode():
            fill(
                *(buf, law),
                seed=seed,
                name=name,
                shard=shard,
                dtype=dtype,
                threads=threads,
                progress=progress,
                stream=stream,
            )
        return
    array, format, law, name = checked(buf, law, name, dtype)
    report = following(progress) if progress is not None else None
    if seed is None:
        if shard is not None and law.draws:
            raise ValueError(
                "seed=None with shard= would give every rank its own weights; pass one seed to all of them"
            )
        seed = drawn_seed("fill", name) if law.draws else 0
    words = stream_words(seed, name, stream)
    first = 0
    contiguous = shard is None and array.flags.c_contiguous
    if contiguous:
        pitches: tuple[int, ...] = (1,)
    elif shard is None:
        pitches = index_strides(array.shape)
    elif isinstance(shard, Shard):
        shard.check(array.shape)
        pitches = index_strides(shard.shape)
        first = sum(offset * pitch for offset, pitch in zip(shard.offsets, pitches, strict=True))
    else:
        raise TypeError(f"shard is {shard!r}; pass fastinit.Shard(shape, offsets)")
    workers = pool.resolve(threads) if threads is not None or array.nbytes > SMALLEST_CHUNK else 1
    if array.size == 0:
        return
    storage = array.view(format.storage) if format is not None and format.code else array
    if contiguous and report is None and drawn_as_line(storage, law, words, format):
        return
    if isinstance(law, ShapedLaw):
        place = shard if shard is not None else Shard(array.shape, (0,) * array.ndim)
        fill_shaped(storage, law, FillRequest(place, place, words, array.dtype, format, workers, report))
        return
    bound = BoundLaw.of(law, words, array.dtype, format)
    if contiguous and storage.ndim != 1:
        storage = storage.reshape(-1)
    fill_memory(storage, bound, first, pitches, workers, report)


def drawn_as_line(storage: Array, law: Law, words: Array, format: Format | None) -> bool:
    """Fill small memory the shortest way; False, and nothing is done, where that is not open."""
    compiled = engines.loaded_compiled()
    if compiled is None or format is None or not (isinstance(law, IndependentLaw) and law.draws and is_small(storage)):
        return False
    line = storage if storage.ndim == 1 else storage.reshape(-1)
    compiled.fill_line(law.kept_arguments(format), line, words, format.code)
    return True


def checked(buf: Any, law: Law, name: str | int, dtype: object = None) -> tuple[Array, Format | None, Law, str | int]:
    """The memory of a buffer, its format, and law and name of what it is filled with, once they fit each other."""
    array = buf if type(buf) is np.ndarray else buffers.wrap(buf)
    format = format_of(array.dtype, dtype)
    if isinstance(law, Copy):
        name, law = law.name, law.values
    if not isinstance(law, Law):
        raise TypeError(f"law is {law!r}; pass fastinit.laws.Normal(0.0, 0.02) or another law")
    buffers.check(array, format, type(law).__name__, floats_only=law.floats_only)
    return array, format, law, name


def new(
    shape: int | tuple[int, ...],
    law: Law,
    *,
    dtype: str = "float32",
    seed: int | None = None,
    name: str | int = "",
    shard: Shard | None = None,
    threads: int | None = None,
    progress: AnyProgress = None,
    stream: str = STREAM,
) -> Array:
    """Allocate an array of `shape` on huge pages, fill it with `law`, and return it.

    bfloat16 and float8 arrays have the dtypes of ml_dtypes where it is installed, else they are raw uint16 or uint8.
    The other arguments, the errors and the guarantee are those of `fill`.
    """
    array = np.empty(shape, array_dtype(dtype) if dtype in FORMATS else np.dtype(dtype))
    fill(
        array,
        law,
        seed=seed,
        name=name,
        shard=shard,
        dtype=dtype,
        threads=threads,
        progress=progress,
        stream=stream,
    )
    return array
