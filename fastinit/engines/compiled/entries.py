"""The table of kernels, law by placement, and how Python calls them: what the cache on disk holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from types import FunctionType
from typing import Any

import numpy as np

from fastinit.engines import cache, reference
from fastinit.engines.blocking import SHORTEST_RUN
from fastinit.engines.choosing import run_uninterrupted
from fastinit.engines.compiled.compiling import f64, kernel, u32
from fastinit.engines.compiled.constants import repeat as repeat_lines
from fastinit.engines.compiled.counting import tally_values
from fastinit.engines.compiled.rows import are_joined, fill_rows
from fastinit.engines.compiled.rows import fill_many as fill_many_rows
from fastinit.engines.compiled.scratch import of_thread
from fastinit.engines.compiled.sparse import thin_lines
from fastinit.engines.compiled.streaming import store_rows
from fastinit.engines.compiled.tiles import fill_tiles
from fastinit.engines.interface import StorePolicy, law_rooms, one_row
from fastinit.engines.processor import CPU, FEATURES

LAWS = [law for room in law_rooms(f"{__package__}") for law in room.LAWS]
PLACEMENTS = {"rows": fill_rows, "tiles": fill_tiles, "many": fill_many_rows}


def _fill(out, region, stream, domain, reals, integers, code, policy, scratch):
    """The code of every kernel, which finds `place` and `law` among its globals."""
    place(law, out, region, stream, domain, reals, integers, code, policy, scratch)  # noqa: F821


def _kernel(name, law, place):
    """A copy of `_fill` with globals and a name of its own: by its name the cache on disk knows it."""
    copy = FunctionType(_fill.__code__, {**globals(), "law": law, "place": place}, name)
    copy.__qualname__ = name
    return kernel(copy)


class Kernels(Mapping[tuple[str, str], Any]):
    """(law, placement) -> kernel, made when it is first asked for, and compiled when it is first called.

    To make all of them takes 15 ms of the first fill, which needs one.
    """

    def __init__(self) -> None:
        self.laws = {law.__name__: law for law in LAWS}
        self.made: dict[tuple[str, str], Any] = {}

    def __getitem__(self, key: tuple[str, str]) -> Any:
        """The kernel; KeyError for a law, or a placement, that has none."""
        found = self.made.get(key)
        if found is None:
            law, placement = key
            made = _kernel(f"{law}_{placement}", self.laws[law], PLACEMENTS[placement])
            found = self.made.setdefault(key, made)  # of two threads both get the first
        return found

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Every law in every placement."""
        return product(self.laws, PLACEMENTS)

    def __len__(self) -> int:
        """How many there can be."""
        return len(self.laws) * len(PLACEMENTS)


KERNELS = Kernels()


def fill(kernel, out, region, stream, domain, reals, integers, code, policy=StorePolicy.REGULAR):  # type: ignore[no-untyped-def]
    """Run a law's kernel on one thread; a law that has none is drawn by the reference engine, with the same bits."""
    by_rows = region.col_step == 1 and (region.rows == 1 or region.cols >= SHORTEST_RUN or are_joined(*region))
    key = kernel, "rows" if by_rows else "tiles"
    entry = KERNELS.made.get(key)
    if entry is None:
        if kernel not in KERNELS.laws:
            return reference.fill(kernel, out, region, stream, domain, reals, integers, code)
        entry = KERNELS[key]
    # Numba takes a plain tuple and a plain int four times as fast as a NamedTuple and an IntEnum.
    arguments = (region[:], stream, domain, reals, integers, code, +policy, of_thread.address)
    if (entry, out.dtype) not in _ready:
        _compile(entry, out, NOTHING, *arguments[1:])
    return entry(out, *arguments)


def fill_line(arguments, out, stream, code):  # type: ignore[no-untyped-def]
    """Fill a line of neighbours from index 0 on, on one thread: the short way for a small one.

    Of 64 elements the kernel takes 0.7 us, and `fill` 0.8 us more.
    """
    key = arguments.kernel, out.dtype
    numbers = (arguments.domain, arguments.reals, arguments.integers, code)
    if key in _lines:
        _lines[key][0](out, (0, 1, 0, out.size, 1, 0, 0), stream, *numbers, 0, of_thread.address)
        return
    fill(arguments.kernel, out, one_row(out.size), stream, *numbers)
    entry = KERNELS.made.get((arguments.kernel, "rows"))
    if entry is not None:
        origin = np.zeros(1, out.dtype)
        _lines[key] = entry, origin, origin.ctypes.data


def fill_address(arguments, address, count, dtype, stream, code):  # type: ignore[no-untyped-def]
    """The same for memory whose address is known, since to make an array of it takes 1.4 us.

    False, and nothing is done, until `fill_line` has filled such elements by this law, or where they lie off their
    natural boundary.
    """
    found = _lines.get((arguments.kernel, dtype))
    if found is None:
        return False
    entry, origin, begin = found
    place, beside = divmod(address - begin, dtype.itemsize)
    if beside:
        return False
    numbers = (arguments.domain, arguments.reals, arguments.integers, code)
    entry(origin, (place, 1, 0, count, 1, 0, 0), stream, *numbers, 0, of_thread.address)
    return True


def fill_many(arguments, out, regions, streams, code):  # type: ignore[no-untyped-def]
    """Run a law's kernel over many stretches of memory on one thread; `regions` are their places and lengths."""
    entry = KERNELS[arguments.kernel, "many"]
    rest = (streams, arguments.domain, arguments.reals, arguments.integers, code, 0, of_thread.address)
    if (entry, out.dtype) not in _ready:
        _compile(entry, out, regions[:0], *rest)
    entry(out, regions, *rest)


def thin(out, region, stream, remaining_nonzeros, remaining, down, advance_only):  # type: ignore[no-untyped-def]
    """Run thin_lines on one thread; an element's place on its line is told by how many remain from it on."""
    arguments = (stream, remaining_nonzeros, u32(remaining), down, advance_only, of_thread.address)
    if (thin_lines, out.dtype) not in _ready:
        _compile(thin_lines, out, NOTHING, *arguments)
    thin_lines(out, region[:], *arguments)


def store(out, region, values):  # type: ignore[no-untyped-def]
    """Run store_rows on one thread: rows of neighbours, whose values lie one row behind the other."""
    if (store_rows, out.dtype) not in _ready:
        _compile(store_rows, out, 0, 0, 0, 0, values)
    store_rows(out, region.offset, region.rows, region.row_step, region.cols, values)


def repeat(target, size, pattern, past_cache):  # type: ignore[no-untyped-def]
    """Run repeat_lines on one thread: so many bytes from an address on, of the value that `pattern` holds."""
    if (repeat_lines, pattern.dtype) not in _ready:
        run_uninterrupted(lambda: repeat_lines(target, 0, pattern, past_cache))
        _ready.add((repeat_lines, pattern.dtype))
        cache.report()
    repeat_lines(target, size, pattern, past_cache)


def tally(values, centre, inverse, counts):  # type: ignore[no-untyped-def]
    """Run tally_values on one thread."""
    if (tally_values, values.dtype) not in _ready:
        _compile(tally_values, values[:0], f64(centre), f64(inverse), counts)
    return tally_values(values, f64(centre), f64(inverse), counts)


NOTHING = (0, 0, 0, 0, 0, 0, 0)
_ready: set[Any] = set()  # what is compiled: no fork and no Ctrl-C may come into a first call
# (law, dtype) -> what fills a line, once it is compiled; an array and its address, from which it counts to another.
_lines: dict[Any, Any] = {}


def _compile(entry, memory, *rest):  # type: ignore[no-untyped-def]
    """A first call, which compiles, with nothing to do."""

    def first() -> None:
        entry(memory, *rest)
        _ready.add((entry, memory.dtype))

    run_uninterrupted(first)
    cache.report()


def target() -> dict[str, Any]:
    """The processor LLVM compiles for, and where compiled code is kept."""
    wide = [name for name in ("sse2", "avx2", "f16c", "avx512f", "avx512dq") if name in FEATURES]
    return {"cpu": CPU, "cpu_features": wide, "cache_folder": cache.folder_of(KERNELS["normal_32", "rows"])}
