"""`fastinit bits`: the raw words of the stream, for batteries of tests of random numbers."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np

from fastinit import raw_words
from fastinit.address import LARGEST_TENSOR, new_seed, stream_words
from fastinit.cli.options import DONE, add_seed, command, size

EXAMPLES = """
  fastinit bits --seed 0 --name w | RNG_test stdin32                       # PractRand
  fastinit bits --seed 0 --name w | dieharder -a -g 200
  fastinit bits --seed 0 --across names | RNG_test stdin32                 # element 0 of layers.0, layers.1, ...
  fastinit bits --seed 0 --across names --name 'h.{}.bias' --each 768 | RNG_test stdin32
  fastinit bits --seed 0 --name w --across seeds --bytes 1GiB > words.bin

The words are those of docs/stream.md, section 4, as little-endian 32-bit integers: for consecutive elements at the
speed of the pipe; --across seeds a hundredth of it, and --across names hashes a name for every --each words, some
400,000 names a second. A reader that has seen enough may close the pipe: that is no error.
"""
BLOCK = 1 << 18  # words: 1 MiB fills a pipe many times, and one call of the engine is nothing beside it
LARGEST_EACH = 1 << 16
STREAMS = 1 << 14  # at once, with --across: 128 KiB for each array of NumPy's Philox
SEEDS = 2**64


def add_to(commands: Any) -> None:
    """Add the command."""
    parser = command(commands, "bits", "write the raw words of the stream to standard output, forever", EXAMPLES)
    parser.set_defaults(run=_run_bits)
    add_seed(parser)
    parser.add_argument("--name", metavar="NAME", help="of the tensor; --across names: {} in it is 0, 1, 2, ...")
    parser.add_argument("--across", choices=("names", "seeds"), help="one stream after the other; default: one stream")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="index of the first element; default 0")
    parser.add_argument("--each", type=int, metavar="N", help="elements of each stream, with --across; default 1")
    much = parser.add_mutually_exclusive_group()
    much.add_argument("--count", type=int, metavar="N", help="how many words; default: without end")
    much.add_argument("--bytes", type=size, metavar="SIZE", help="the same in bytes: 100MB, 1GiB")


def _run_bits(options: argparse.Namespace) -> int:
    if sys.__stdout__ is None:
        raise OSError(errno.EBADF, "bits: standard output is closed; pipe the words into a program, or into a file")
    if sys.stdout.isatty():
        raise ValueError("bits: the words are binary; pipe them into a program, or redirect them into a file")
    limit = options.bytes if options.count is None else 4 * options.count
    if limit is not None and limit < 0:
        raise ValueError(f"bits: --count is {options.count}; it must be zero or positive")
    if options.seed is None:
        options.seed = new_seed()
        print(f"seed {options.seed}", file=sys.stderr)
    stream_words(options.seed, "")  # refuse a bad seed before the first word
    blocks = _across(options, limit) if options.across else _consecutive(options, limit)
    try:
        _pour(blocks, limit)
    except BrokenPipeError:  # how most readers end
        pass
    return DONE


def _pour(blocks: Iterator[raw_words.Array], limit: int | None) -> None:
    """Write the blocks to standard output, `limit` bytes of them, past Python's own buffer."""
    for block in blocks:
        data = np.ascontiguousarray(block, "<u4").reshape(-1).data.cast("B")[:limit]
        limit = limit if limit is None else limit - len(data)
        while data:
            data = data[os.write(sys.stdout.fileno(), data) :]
        if limit == 0:
            return


def _consecutive(options: argparse.Namespace, limit: int | None) -> Iterator[raw_words.Array]:
    """The words of one stream, to the end of the longest tensor."""
    if options.each is not None:
        raise ValueError("bits: --each is for --across names or seeds")
    _check_first(options.first, 1)
    _check_limit(limit, LARGEST_TENSOR - options.first, "element")
    stream = stream_words(options.seed, options.name or "")
    for first in range(options.first, LARGEST_TENSOR, BLOCK):
        yield raw_words.consecutive(stream, first, min(BLOCK, LARGEST_TENSOR - first))


def _across(options: argparse.Namespace, limit: int | None) -> Iterator[raw_words.Array]:
    """The words of the same elements of one stream after the other."""
    each = 1 if options.each is None else options.each
    if not 1 <= each <= LARGEST_EACH:
        raise ValueError(f"bits: --each is {each}; it must be from 1 to {LARGEST_EACH}")
    _check_first(options.first, each)
    names = options.across == "names"
    name = options.name if options.name is not None else "layers.{}" if names else ""
    if names and "{}" not in name:
        raise ValueError(f"bits: --name is {name!r}; --across names needs {{}} in it, where the number goes")
    if not names:
        _check_limit(limit, (SEEDS - options.seed) * each, "seed")
    step = max(1, STREAMS // each)
    for start in count(0, step):
        if names:
            seeds, tensors = [options.seed] * step, [name.replace("{}", str(start + i)) for i in range(step)]
        else:
            seeds = list(range(options.seed + start, min(options.seed + start + step, SEEDS)))
            tensors = [name] * len(seeds)
        if not seeds:
            return
        yield raw_words.across(raw_words.streams(seeds, tensors), options.first, each)


def _check_first(first: int, each: int) -> None:
    """Refuse elements that no tensor has."""
    if not 0 <= first <= LARGEST_TENSOR - each:
        raise ValueError(f"bits: --first is {first}; a tensor has the elements 0 to 2^58 - 1")


def _check_limit(limit: int | None, left: int, last: str) -> None:
    """Refuse to begin what would end before `limit` bytes, with fewer words than asked and no error."""
    if limit is not None and limit > 4 * left:
        raise ValueError(f"bits: {limit:,} bytes are asked for, and up to the last {last} there are {4 * left:,}")
