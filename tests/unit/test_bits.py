"""The words of `fastinit bits` are those of the scalar engine, for every kind of address; how its pipe ends."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import numpy as np
import pytest
from scalar_engine import word

from fastinit import raw_words
from fastinit.address import stream_words

COMMAND = [sys.executable, "-m", "fastinit", "bits"]
FIRSTS = [0, 5, 63, 2**34 - 3, 2**40, 2**58 - 70]  # inside a group, over the end of the counter's low word, at the end


def run(*options: str, engine: str = "numpy") -> subprocess.CompletedProcess[bytes]:
    """Run the command, on the engine that starts faster unless said."""
    environment = {**os.environ, "FASTINIT_ENGINE": engine}
    return subprocess.run([*COMMAND, *options], capture_output=True, timeout=120, check=False, env=environment)


def words(*options: str, engine: str = "numpy") -> list[int]:
    done = run(*options, engine=engine)
    assert done.returncode == 0, done.stderr
    return np.frombuffer(done.stdout, "<u4").tolist()


@pytest.mark.parametrize("domain", [0, 1])
@pytest.mark.parametrize("first", FIRSTS)
def test_consecutive_words_are_those_of_the_elements(engine, first, domain):
    got = raw_words.consecutive(stream_words(3, "w"), first, 70, domain)
    assert got.tolist() == [word(3, "w", first + i, domain) for i in range(70)]


@pytest.mark.parametrize("domain", [0, 1])
@pytest.mark.parametrize("each", [1, 17, 70])
@pytest.mark.parametrize("first", FIRSTS)
def test_words_across_streams_are_those_of_the_same_elements(first, each, domain):
    seeds, names = [0, 2**32 - 1, 2**64 - 1], ["layers.0", 5, "größe"]
    got = raw_words.across(raw_words.streams(seeds, names), first, each, domain)
    assert got.tolist() == [
        [word(seed, name, first + i, domain) for i in range(each)] for seed, name in zip(seeds, names, strict=True)
    ]


def test_streams_are_rows_of_stream_words():
    seeds, names = [0, 2**64 - 1], ["", 2**64 - 1]
    expected = [stream_words(seed, name).tolist() for seed, name in zip(seeds, names, strict=True)]
    assert raw_words.streams(seeds, names).tolist() == expected


def test_the_command_writes_consecutive_words():
    assert words("--seed", "1", "--name", "w", "--count", "100") == [word(1, "w", i) for i in range(100)]
    assert words("--seed", "1", "--first", "130", "--count", "3") == [word(1, "", i) for i in (130, 131, 132)]


def test_the_command_goes_on_where_a_block_ends(engine):
    got = words("--seed", "1", "--name", "w", "--count", str((1 << 18) + 2), engine=engine)
    assert got[-3:] == [word(1, "w", (1 << 18) + i) for i in (-1, 0, 1)]


def test_the_command_writes_words_across_names():
    assert words("--seed", "1", "--across", "names", "--count", "9") == [word(1, f"layers.{i}", 0) for i in range(9)]
    got = words(
        "--seed", "1", "--across", "names", "--name", "h.{}.bias", "--each", "3", "--first", "62", "--count", "8"
    )
    assert got == [word(1, f"h.{n}.bias", 62 + i) for n in range(3) for i in range(3)][:8]


def test_the_command_writes_words_across_seeds():
    assert words("--seed", "7", "--name", "w", "--across", "seeds", "--count", "9") == [
        word(7 + i, "w", 0) for i in range(9)
    ]
    many = words("--seed", "0", "--across", "seeds", "--each", "64", "--count", "16500")  # beyond the first 256 seeds
    assert many[-1] == word(257, "", 16499 - 257 * 64)


def test_the_command_ends_with_the_last_seed_and_the_last_element():
    assert words("--seed", str(2**64 - 2), "--across", "seeds") == [word(2**64 - 2, "", 0), word(2**64 - 1, "", 0)]
    assert words("--seed", str(2**64 - 2), "--across", "seeds", "--each", "2", "--count", "4") == [
        word(seed, "", i) for seed in (2**64 - 2, 2**64 - 1) for i in (0, 1)
    ]
    assert words("--seed", "0", "--first", str(2**58 - 2), "--count", "2") == [
        word(0, "", 2**58 - 2),
        word(0, "", 2**58 - 1),
    ]
    assert words("--seed", "0", "--first", str(2**58 - 2)) == [word(0, "", 2**58 - 2), word(0, "", 2**58 - 1)]


def test_bytes_may_end_inside_a_word():
    whole = run("--seed", "0", "--count", "3").stdout
    assert run("--seed", "0", "--bytes", "10").stdout == whole[:10]


def test_a_fresh_seed_is_told():
    done = run("--count", "2")
    seed = int(done.stderr.decode().removeprefix("seed "))
    assert np.frombuffer(done.stdout, "<u4").tolist() == [word(seed, "", i) for i in range(2)]


def test_a_closed_pipe_is_no_error():
    writer = subprocess.Popen([*COMMAND, "--seed", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stderr is not None
    assert len(writer.stdout.read(1 << 20)) == 1 << 20
    writer.stdout.close()
    assert writer.wait(timeout=60) == 0
    assert writer.stderr.read() == b""
    writer.stderr.close()


def test_a_terminal_is_refused():
    reader, terminal = pty.openpty()
    try:
        done = subprocess.run(
            [*COMMAND, "--seed", "0"], stdout=terminal, stderr=subprocess.PIPE, timeout=60, check=False
        )
    finally:
        os.close(terminal)
        os.close(reader)
    assert done.returncode == 2
    assert b"the words are binary" in done.stderr


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("--each 3", "--each is for --across"),
        ("--across seeds --each 0", "--each is 0"),
        ("--across names --name w", "needs {} in it"),
        ("--first -1", "--first is -1"),
        (f"--first {2**58}", "--first is"),
        ("--count -1", "--count is -1"),
        (f"--first {2**58 - 64} --count 100", "400 bytes are asked for, and up to the last element there are 256"),
        (f"--first {2**58 - 64} --bytes 257", "257 bytes are asked for, and up to the last element there are 256"),
        (
            f"--seed {2**64 - 1} --across seeds --count 100",
            "400 bytes are asked for, and up to the last seed there are 4",
        ),
        (f"--seed {2**64} --count 1", "must be in [0, 2**64)"),
        (f"--seed {2**64} --across seeds --count 1", "must be in [0, 2**64)"),
        ("--seed -1 --across seeds --count 1", "must be in [0, 2**64)"),
    ],
)
def test_what_makes_no_sense_is_refused(options, complaint):
    done = run(*options.split())
    assert (done.returncode, done.stdout) == (2, b"")
    assert complaint in done.stderr.decode()
