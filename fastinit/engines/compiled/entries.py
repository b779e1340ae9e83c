"""One entry a law and walk: what the cache on disk holds, and how Python calls it."""

from __future__ import annotations

from typing import Any

from fastinit.engines import cache
from fastinit.engines import constants as k
from fastinit.engines.compiled.compiling import f64, kernel, u32
from fastinit.engines.compiled.counting import tally_values
from fastinit.engines.compiled.normal import centred_normal_32, normal_32, normal_64
from fastinit.engines.compiled.rows import are_joined, fill_run
from fastinit.engines.compiled.scratch import _scratch
from fastinit.engines.compiled.sparse import thin_lines
from fastinit.engines.compiled.streaming import carry_rows
from fastinit.engines.compiled.tiles import fill_tiles
from fastinit.engines.compiled.truncated import truncated_32, truncated_64, truncated_deep_32
from fastinit.engines.compiled.uniform import uniform_32, uniform_64, uniform_steps_32
from fastinit.engines.loading import undisturbed
from fastinit.engines.processor import CPU, FEATURES


@kernel
def uniform_32_run(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_run(uniform_32, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def uniform_32_tiles(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_tiles(uniform_32, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def uniform_steps_32_run(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_run(uniform_steps_32, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def uniform_steps_32_tiles(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_tiles(uniform_steps_32, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def uniform_64_run(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_run(uniform_64, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def uniform_64_tiles(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_tiles(uniform_64, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def normal_32_run(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_run(normal_32, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def normal_32_tiles(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_tiles(normal_32, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def centred_normal_32_run(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_run(centred_normal_32, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def centred_normal_32_tiles(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_tiles(centred_normal_32, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def normal_64_run(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_run(normal_64, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def normal_64_tiles(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_tiles(normal_64, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def truncated_32_run(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_run(truncated_32, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def truncated_32_tiles(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_tiles(truncated_32, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def truncated_deep_32_run(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_run(truncated_deep_32, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def truncated_deep_32_tiles(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_tiles(truncated_deep_32, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def truncated_64_run(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_run(truncated_64, out, plan, stream, domain, reals, integers, code, stores, room)


@kernel
def truncated_64_tiles(out, plan, stream, domain, reals, integers, code, stores, room):
    fill_tiles(truncated_64, out, plan, stream, domain, reals, integers, code, stores, room)


def fill(kernel, out, plan, stream, domain, reals, integers, code, stores=k.ORDINARY):  # type: ignore[no-untyped-def]
    """Run a kernel on one thread: `out` as one line of storage elements, `plan` as fill_run says."""
    is_run = plan[4] == 1 and (plan[1] == 1 or plan[3] >= k.SHORTEST_RUN or are_joined(*plan[1:4], *plan[5:]))
    entry = ENTRIES[kernel, is_run]
    arguments = (stream, domain, reals, integers, code, stores, _scratch.room)
    if (entry, out.dtype) not in _ready:
        _compile(entry, out, (0,) * 7, *arguments)
    entry(out, plan, *arguments)


def thin(out, plan, stream, need, left, down, keep):  # type: ignore[no-untyped-def]
    """Run thin_lines on one thread; the element's place on its line is told by `left`, how many are left there."""
    arguments = (stream, need, u32(left), down, keep, _scratch.room)
    if (thin_lines, out.dtype) not in _ready:
        _compile(thin_lines, out, (0,) * 7, *arguments)
    thin_lines(out, plan, *arguments)


def store(out, plan, values):  # type: ignore[no-untyped-def]
    """Run carry_rows on one thread: rows of neighbours, whose values lie one row behind the other."""
    offset, rows, row_step, cols = plan[:4]
    if (carry_rows, out.dtype) not in _ready:
        _compile(carry_rows, out, 0, 0, 0, 0, values)
    carry_rows(out, offset, rows, row_step, cols, values)


def tally(values, centre, inverse, counts):  # type: ignore[no-untyped-def]
    """Run tally_values on one thread."""
    if (tally_values, values.dtype) not in _ready:
        _compile(tally_values, values[:0], f64(centre), f64(inverse), counts)
    return tally_values(values, f64(centre), f64(inverse), counts)


def _compile(entry, memory, *rest):  # type: ignore[no-untyped-def]
    """A first call, which compiles, with nothing to do."""

    def first() -> None:
        entry(memory, *rest)
        _ready.add((entry, memory.dtype))

    undisturbed(first)
    cache.report()


ENTRIES = {
    (name.removesuffix("_run").removesuffix("_tiles"), name.endswith("_run")): entry
    for name, entry in list(globals().items())
    if name.endswith(("_run", "_tiles")) and not name.startswith("fill_")
}


_ready: set[Any] = set()  # what is compiled: no fork and no Ctrl-C may come into a first call


def target() -> dict[str, Any]:
    """The processor LLVM compiles for, and where compiled code is kept."""
    wide = [name for name in ("sse2", "avx2", "f16c", "avx512f", "avx512dq") if name in FEATURES]
    return {"cpu": CPU, "cpu_features": wide, "cache_folder": cache.folder_of(normal_32_run)}
