"""The command line: what it writes, prints and refuses, and its exit codes."""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import fastinit
from fastinit.checking import known
from fastinit.cli import main, progress
from fastinit.scheme_names import SCHEMES

COMMAND = [sys.executable, "-m", "fastinit"]


def run(*words: object) -> int:
    return main([str(word) for word in words])


# Scheme, options, and the call that must give the same elements.
Z, N = fastinit.laws.Constant(0), fastinit.laws.Normal(0.0, 2.0)
CASES: list[tuple[str, str, Callable[[np.ndarray], None]]] = [
    ("he_normal", "--fan-in 200", lambda x: fastinit.fill_he_normal(x, 200, seed=7)),
    ("he_normal", "", lambda x: fastinit.fill_he_normal(x, 200, seed=7)),
    ("he_normal", "--layout keras", lambda x: fastinit.fill_he_normal(x, 300, seed=7)),
    (
        "kaiming_normal",
        "--negative-slope 0.2 --gain 0.5 --truncated",
        lambda x: fastinit.fill_he_normal(x, 200, negative_slope=0.2, gain=0.5, truncated=True, seed=7),
    ),
    ("he_uniform", "--fan-in 50", lambda x: fastinit.fill_he_uniform(x, 50, seed=7)),
    ("kaiming_uniform", "", lambda x: fastinit.fill_kaiming_uniform(x, 200, seed=7)),
    ("xavier_uniform", "", lambda x: fastinit.fill_xavier_uniform(x, 200, 300, seed=7)),
    ("glorot_uniform", "--fan-out 9", lambda x: fastinit.fill_glorot_uniform(x, 200, 9, seed=7)),
    ("xavier_normal", "--gain 2", lambda x: fastinit.fill_xavier_normal(x, 200, 300, gain=2.0, seed=7)),
    ("glorot_normal", "--truncated", lambda x: fastinit.fill_glorot_normal(x, 200, 300, truncated=True, seed=7)),
    ("lecun_normal", "--truncated", lambda x: fastinit.fill_lecun_normal(x, 200, truncated=True, seed=7)),
    ("lecun_uniform", "--gain 3", lambda x: fastinit.fill_lecun_uniform(x, 200, gain=3.0, seed=7)),
    ("normal", "--mean -1e-3 --std 0.02", lambda x: fastinit.fill_normal(x, -1e-3, 0.02, seed=7)),
    ("uniform", "--low -.5 --high 0.25", lambda x: fastinit.fill_uniform(x, -0.5, 0.25, seed=7)),
    ("uniform", "", lambda x: fastinit.fill_uniform(x, seed=7)),
    ("truncated_normal", "--std 0.02", lambda x: fastinit.fill_truncated_normal(x, 0.0, 0.02, seed=7)),
    (
        "truncated_normal",
        "--sigmas -3,3 --corrected",
        lambda x: fastinit.fill_truncated_normal(x, sigmas=(-3.0, 3.0), corrected=True, seed=7),
    ),
    (
        "truncated_normal",
        "--bounds -inf,0.5",
        lambda x: fastinit.fill_truncated_normal(x, bounds=(-math.inf, 0.5), seed=7),
    ),
    ("variance_scaling", "--scale 2", lambda x: fastinit.fill_variance_scaling(x, 2.0, 200, seed=7)),
    (
        "variance_scaling",
        "--scale 1 --mode fan_avg --distribution uniform",
        lambda x: fastinit.fill_variance_scaling(x, 1.0, 250, distribution="uniform", seed=7),
    ),
    (
        "variance_scaling",
        "--scale 1 --mode fan_out --fan-out 10",
        lambda x: fastinit.fill_variance_scaling(x, 1.0, 10, seed=7),
    ),
    ("constant", "--value -0.5", lambda x: fastinit.fill_constant(x, -0.5)),
    ("zeros", "", lambda x: fastinit.fill_zeros(x)),
    ("ones", "", lambda x: fastinit.fill_ones(x)),
    ("sparse", "--sparsity 0.9 --std 2", lambda x: fastinit.fill_sparse(x, 0.9, std=2.0, seed=7)),
    ("sparse", "--nonzeros 15 --axis 1", lambda x: fastinit.fill_sparse(x, nonzeros=15, axis=1, seed=7)),
    ("orthogonal", "--gain 2", lambda x: fastinit.fill_orthogonal(x, 2.0, seed=7)),
    (
        "orthogonal",
        "--shape 3,20,4,5 --flatten jax --batch 1",
        lambda x: fastinit.fill_orthogonal(x, flatten="jax", batch=1, seed=7),
    ),
    ("identity", "--gain 0.5", lambda x: fastinit.fill_identity(x, 0.5)),
    ("dirac", "--shape 60,20,3 --groups 3", lambda x: fastinit.fill_dirac(x, 3)),
    ("delta_orthogonal", "--shape 60,20,3,4", lambda x: fastinit.fill_delta_orthogonal(x, seed=7)),
    (
        "delta_orthogonal",
        "--shape 3,20,60 --layout keras",
        lambda x: fastinit.fill_delta_orthogonal(x, layout="keras", seed=7),
    ),
    (
        "blocks",
        '--part size=100,scheme="xavier_normal" --part scheme="zeros" --part scheme="normal",std=2',
        lambda x: fastinit.fill_blocks(
            x, ((100, fastinit.laws.Normal(0.0, (2 / 300) ** 0.5)), (100, Z), (100, N)), seed=7
        ),
    ),
    ("blocks", "--axis 1 --part scheme='zeros'", lambda x: fastinit.fill_zeros(x)),
    ("he_normal", "--shape 8,12,6 --layout experts_out_in", lambda x: fastinit.fill_he_normal(x, 6, seed=7)),
    ("he_normal", "--shape 8,12,6 --layout torch --batch-axis 0", lambda x: fastinit.fill_he_normal(x, 6, seed=7)),
    ("he_normal", "--shape 8,12,6 --in-axis 0,2 --out-axis 1", lambda x: fastinit.fill_he_normal(x, 48, seed=7)),
    ("he_normal", "--shape 12,6 --mode fan_out --groups 3", lambda x: fastinit.fill_he_normal(x, 4, seed=7)),
    (
        "orthogonal",
        "--shape 20,3,10 --batch-axis 1",
        lambda x: fastinit.fill_orthogonal(x, batch_axis=1, seed=7),
    ),
    ("lstm_bias", "--forget 2", lambda x: fastinit.fill_lstm_bias(x, 2.0)),
    ("laplace", "--mean 0.5 --std 0.1", lambda x: fastinit.fill_laplace(x, 0.5, 0.1, seed=7)),
    ("siren_uniform", "--omega 20", lambda x: fastinit.fill_siren_uniform(x, 200, omega=20.0, seed=7)),
    ("siren_uniform", "--first --fan-in 3", lambda x: fastinit.fill_siren_uniform(x, 3, first=True, seed=7)),
    ("residual_normal", "--layers 12", lambda x: fastinit.fill_residual_normal(x, 12, seed=7)),
    ("small_normal", "--width 768", lambda x: fastinit.fill_small_normal(x, 768, seed=7)),
    ("wang_normal", "--width 768 --layers 12", lambda x: fastinit.fill_wang_normal(x, 768, 12, seed=7)),
    ("mup_normal", "--base-fan-in 64 --std 0.1", lambda x: fastinit.fill_mup_normal(x, 200, 64, std=0.1, seed=7)),
    ("mamba_a_log", "", lambda x: fastinit.fill_mamba_a_log(x)),
    ("mamba_dt_bias", "--floor 0.002", lambda x: fastinit.fill_mamba_dt_bias(x, floor=0.002, seed=7)),
    ("mamba2_a_log", "--low 2 --high 8", lambda x: fastinit.fill_mamba2_a_log(x, 2.0, 8.0, seed=7)),
]
TO_A_TOLERANCE = ("orthogonal", "delta_orthogonal")


@pytest.mark.parametrize(("scheme", "options", "call"), CASES, ids=[f"{case[0]} {case[1]}" for case in CASES])
def test_a_scheme_writes_what_its_fill_function_draws(
    tmp_path: Path, scheme: str, options: str, call: Callable[[np.ndarray], None]
) -> None:
    path = tmp_path / "w.npy"
    assert run("fill", path, "--shape", "300,200", "--scheme", scheme, "--seed", 7, "--quiet", *options.split()) == 0
    stored = np.load(path)
    expected = np.empty(stored.shape, "f4")
    call(expected)
    if scheme in TO_A_TOLERANCE:
        assert abs(stored - expected).max() < 1e-5
    else:
        assert stored.tobytes() == expected.tobytes()


def test_every_fill_function_has_a_scheme() -> None:
    functions = {
        name.removeprefix("fill_") for name in vars(fastinit) if name.startswith("fill_") and name != "fill_many"
    }
    assert set(SCHEMES) == functions
    assert {case[0] for case in CASES} == functions


def test_the_report_names_law_seed_speed_and_both_deviations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"fill {tmp_path}/w.npy --shape 512,8192 --scheme he_normal --fan-in 8192 --seed 0 --name layer --threads 2"
    assert run(*words.split()) == 0
    out, err = capsys.readouterr()
    assert err == ""  # no progress where nobody looks
    assert "law   Normal(mean=0.0, std=0.015625), seed 0, name 'layer', stream fastinit-1" in out
    assert re.search(r"time  \d+\.\d\d s, \d+\.\d\d GB/s on 2 threads; \d+\.\d\d s with the sync to disk", out)
    drawn = re.search(r"drawn in memory in (\d+\.\d\d) s of it, (\d+\.\d\d) GB/s; the rest is the disk's", out)
    assert drawn
    assert float(drawn[2]) > 0
    mean = re.search(r"mean  (\S+) measured, 0 expected", out)
    std = re.search(r"std   (\S+) measured, 0.015625 expected \(of all elements\)", out)
    assert mean and std
    values = np.load(tmp_path / "w.npy").astype("f8")
    assert float(mean[1]) == pytest.approx(values.mean(), rel=1e-5)
    assert float(std[1]) == pytest.approx(values.std(), rel=1e-5)
    assert abs(values.std() - math.sqrt(2 / 8192)) < 4 * math.sqrt(2 / 8192) / math.sqrt(2 * values.size)


def test_what_is_measured_of_complex_numbers_is_said_to_be_magnitudes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"fill {tmp_path}/w.npy --shape 30,40 --dtype complex128 --scheme he_normal --seed 0"
    assert run(*words.split()) == 0
    magnitudes = np.abs(np.load(tmp_path / "w.npy"))
    out = capsys.readouterr().out
    assert f"mean  {magnitudes.mean():.6g} measured" in out
    assert re.search(r"std   \S+ measured, \S+ expected \(of the magnitudes of all elements\)", out)


def test_a_drawn_seed_is_printed_and_gives_the_file_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fill", tmp_path / "a.npy", "--shape", "100", "--scheme", "normal") == 0
    assert run("fill", tmp_path / "b.npy", "--shape", "100", "--scheme", "normal", "--quiet") == 0
    out = capsys.readouterr().out
    loud, quiet = re.findall(r"seed (\d+)", out)
    assert out.endswith(f"\nseed {quiet}\n")
    assert run("fill", tmp_path / "c.npy", "--shape", "100", "--scheme", "normal", "--quiet", "--seed", quiet) == 0
    assert capsys.readouterr().out == ""
    contents = [(tmp_path / name).read_bytes() for name in ("a.npy", "b.npy", "c.npy")]
    assert contents[1] == contents[2] != contents[0]
    assert loud != quiet


def test_json_holds_the_whole_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        f"fill {tmp_path}/w.bin --shape 100,50 --scheme normal --std 0.5 --dtype bfloat16 --seed 3 --json --no-fsync"
    )
    assert run(*words.split()) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["seed"] == 3
    assert report["shape"] == [100, 50]
    assert report["dtype"] == "bfloat16"
    assert report["bytes"] == 10_000 == (tmp_path / "w.bin").stat().st_size
    assert report["expected_std"] == 0.5
    assert report["measured_elements"] == 5000
    assert {"seconds", "write_seconds", "gigabytes_per_second", "mean", "std", "law"} <= set(report)


def test_json_has_null_for_what_is_not_a_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fill", tmp_path / "w.npy", "--shape", "0,5", "--scheme", "normal", "--json") == 0
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["mean"] is None


def test_an_existing_file_is_filled_with_its_own_shape_and_dtype(tmp_path: Path) -> None:
    path = tmp_path / "w.npy"
    np.save(path, np.zeros((300, 200), "f8", order="F"))
    assert run("fill", path, "--existing", "--scheme", "he_normal", "--seed", 7, "--quiet") == 0
    expected = np.empty((300, 200), "f8")
    fastinit.fill_he_normal(expected, 200, seed=7)
    assert np.array_equal(np.load(path), expected)


def test_an_existing_target_is_refused_unless_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fill", tmp_path / "w.npy", "--shape", "10", "--scheme", "ones", "--quiet", "--seed", 0]
    (tmp_path / "w.npy").write_bytes(b"old")
    assert run(*words) == 1
    assert "already exists; replace it (overwrite=True, --overwrite)" in capsys.readouterr().err
    assert (tmp_path / "w.npy").read_bytes() == b"old"
    assert run(*words, "--overwrite") == 0
    assert np.array_equal(np.load(tmp_path / "w.npy"), np.ones(10, "f4"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("fill {}/w.npy --shape 10", "--scheme"),
        ("fill {}/w.npy --scheme normal", "a new file needs a shape"),
        ("fill {}/w.npy --scheme he_normal", "he_normal needs --fan-in, or --shape"),
        ("fill {}/w.npy --shape 10 --scheme he_normal", "has no fan_in and fan_out"),
        ("fill {}/w.npy --shape 10 --scheme cauchy", "--scheme 'cauchy' is unknown; there are constant, zeros"),
        ("fill {}/w.npy --shape 10,x --scheme normal", "give integers, none negative"),
        ("fill {}/w.npy --shape 10 --scheme normal --fan-in 3", "normal has no use for --fan-in"),
        ("fill {}/w.npy --shape 10 --scheme he_normal --fan-in 3 --std 1", "he_normal has no use for --std"),
        ("fill {}/w.npy --shape 10 --scheme uniform --truncated", "uniform has no use for --truncated"),
        ("fill {}/w.npy --shape 10 --scheme constant", "constant needs --value"),
        ("fill {}/w.npy --shape 10,10 --scheme variance_scaling", "variance_scaling needs --scale"),
        ("fill {}/w.npy --shape 10 --scheme he_normal --fan-in 0", "fan_in is 0.0; it must be positive"),
        ("fill {}/w.npy --shape 10 --scheme truncated_normal --sigmas 1", "give two numbers with a comma"),
        ("fill {}/w.npy --shape 10 --scheme uniform --low 1 --high 1", "is not below high"),
        ("fill {}/w.npy --shape 10 --scheme normal --dtype bfloat16", ".npy cannot record bfloat16"),
        ("fill {}/w.npy --shape 10 --scheme normal --seed -1", "seed is -1"),
        ("fill {}/w.txt --shape 10 --scheme normal", "must end in .npy"),
        ("fill {}/w.npy --shape 10 --scheme normal --threads 0", "threads is 0"),
        ("fill {}/w.npy --shape 10 --scheme normal --overwrite --existing", "choose one"),
        ("sell", "command 'sell' is unknown; there are fill, plan"),
        ("", "required: command"),
    ],
)
def test_a_command_line_that_makes_no_sense_exits_with_2_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    assert run(*words.format(tmp_path).split()) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert "Traceback" not in err
    assert out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("target", "message"),
    [("{}/folder.npy", "is a directory"), ("{}/nowhere/w.npy", "does not exist"), ("/sys/w.npy", "cannot be written")],
)
def test_what_the_disk_refuses_exits_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str, message: str
) -> None:
    (tmp_path / "folder.npy").mkdir()
    assert run("fill", target.format(tmp_path), "--shape", "10", "--scheme", "normal") == 1
    err = capsys.readouterr().err
    assert err.startswith("fastinit: error: ")
    assert message in err
    assert err.count("\n") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder.npy"]


def test_a_file_size_limit_exits_with_1_and_leaves_nothing(tmp_path: Path) -> None:
    code = """
import resource, sys
from fastinit.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
sys.exit(main(sys.argv[1:]))
"""
    words = ["fill", str(tmp_path / "w.npy"), "--shape", "1024,1024", "--scheme", "normal"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{tmp_path}/w.npy is too large: it needs 4,194,432 bytes" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (MemoryError(), 1, "out of memory"),
        (MemoryError("Unable to allocate 4 GiB"), 1, "Unable to allocate 4 GiB"),
        (OverflowError("int too large to convert to float"), 2, "int too large to convert to float"),
        (RecursionError("maximum recursion depth exceeded"), 2, "maximum recursion depth exceeded"),
    ],
)
def test_an_error_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, message: str
) -> None:
    def failing(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("fastinit.cli.fill.fill_file", failing)
    assert run("fill", "w.npy", "--shape", "10", "--scheme", "normal") == code
    assert capsys.readouterr() == ("", f"fastinit: error: {message}\n")


def test_a_full_disk_says_how_much_is_needed_and_how_much_is_free(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert run("fill", tmp_path / "w.npy", "--shape", "1024,1024", "--scheme", "normal") == 1
    assert re.search(
        r"no space for .*w\.npy: it needs 4,194,432 bytes, and .* has [\d,]+ bytes free", capsys.readouterr().err
    )
    assert list(tmp_path.iterdir()) == []


def test_what_a_terminal_cannot_show_is_a_question_mark(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"fc.weight": {"shape": [8, 8], "dtype": "float32"}}')
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "1"}
    written = ("write", "--shapes", "s.json", "--recipe", "mlp_he", "--seed", "0", "-o", "é")
    for words, shown in ((written, "?"), (("verify", "é"), "?"), (("show", "é"), "fc.weight")):
        done = subprocess.run(
            [*COMMAND, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert shown in done.stdout


@pytest.mark.parametrize(
    ("package", "words", "message"),
    [
        ("matplotlib", "compare --activation relu --no-training --png relu.png", "pip install matplotlib"),
        ("fsspec", "write --shapes s.json --recipe mlp_he -o s3://bucket/model", "pip install fsspec"),
        ("numba", "fill w.npy --shape 10 --scheme normal", "numba"),
    ],
)
def test_what_is_not_installed_exits_with_1_at_once(tmp_path: Path, package: str, words: str, message: str) -> None:
    (tmp_path / "s.json").write_text('{"fc.weight": {"shape": [8, 8], "dtype": "float32"}}')
    code = f"import sys; sys.modules[{package!r}] = None; from fastinit.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, *words.split()],
        cwd=tmp_path,
        env={**os.environ, "FASTINIT_ENGINE": "numba"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("fastinit: error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["s.json"]


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_error(tmp_path: Path, closed: str) -> None:
    shell = f'"$@" {closed}'
    words = ["fill", "w.npy", "--shape", "10", "--scheme", "zeros"]
    done = subprocess.run(["sh", "-c", shell, "sh", *COMMAND, *words], cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert np.load(tmp_path / "w.npy").tolist() == [0.0] * 10
    again = subprocess.run(["sh", "-c", shell, "sh", *COMMAND, *words], cwd=tmp_path, capture_output=True, check=False)
    assert again.returncode == 1
    assert (b"already exists" in again.stderr) == ("2>&-" not in closed)


def test_bits_need_an_open_stdout() -> None:
    words = ["sh", "-c", '"$@" >&-', "sh", *COMMAND, "bits", "--seed", "0", "--count", "1"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "fastinit: error: bits: standard output is closed; pipe the words into a program" in done.stderr


def on_a_terminal(*words: object) -> tuple[subprocess.Popen[str], int]:
    """A child whose stderr is a terminal, and the terminal's other end."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    child = subprocess.Popen([*COMMAND, *map(str, words)], stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    return child, ours


def read_all(fd: int) -> str:
    """What the child wrote to its terminal; the end is an error there."""
    parts: list[bytes] = []
    try:
        while part := os.read(fd, 4096):
            parts.append(part)
    except OSError:
        pass
    finally:
        os.close(fd)
    return b"".join(parts).decode()


def test_a_terminal_sees_a_progress_bar_unless_quiet(tmp_path: Path) -> None:
    for quiet in ((), ("--quiet",)):
        words = ("fill", tmp_path / "w.npy", "--shape", "4096,1024", "--scheme", "normal", "--seed", 0, "--overwrite")
        child, terminal = on_a_terminal(*words, *quiet)
        shown = read_all(terminal)
        out, _ = child.communicate(timeout=60)
        assert child.returncode == 0
        assert ("100%" in shown) == (not quiet)
        assert ("GB/s" in out) == (not quiet)


def test_without_tqdm_a_line_a_second_is_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress, "_bar", lambda total, unit: False)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.Progress(hidden=False) as bar:
        for tick in range(1, 31):
            now[0] = tick / 10
            bar.show(tick * 10**8, 3 * 10**9)
    with progress.Progress(hidden=False, unit="starts") as bar:
        now[0] += 1.5
        bar.show(2, 8)
    assert capsys.readouterr().err.splitlines() == [
        "fastinit:  33% of 3.00 GB, 1.00 GB/s",
        "fastinit:  67% of 3.00 GB, 1.00 GB/s",
        "fastinit: 100% of 3.00 GB, 1.00 GB/s",
        "fastinit:  25% of 8 starts",
    ]


def test_a_terminal_sees_how_many_starts_are_compared() -> None:
    words = ("--activation", "relu", "--depth", 3, "--width", 8, "--batch", 4, "--no-training")
    child, terminal = on_a_terminal("compare", *words)
    shown = read_all(terminal)
    out, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    assert "100%" in shown and "starts" in shown
    assert "Verdict" in out


def test_ctrl_c_exits_with_1_and_leaves_nothing(tmp_path: Path) -> None:
    child, terminal = on_a_terminal(
        "fill", tmp_path / "w.npy", "--shape", "32768,16384", "--scheme", "normal", "--no-fsync"
    )
    os.read(terminal, 10)  # the bar: the fill has begun
    child.send_signal(signal.SIGINT)
    shown = read_all(terminal)
    out, _ = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "interrupted" in shown
    assert "Traceback" not in shown
    assert out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("start", ["module", "command"])
def test_ctrl_c_during_the_imports_exits_with_1(start: str) -> None:
    scripts = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["scripts"]
    module, function = scripts["fastinit"].split(":")
    calls = {
        "module": "import runpy; runpy.run_module('fastinit', run_name='__main__')",
        "command": f"from {module} import {function} as entry; sys.exit(entry())",
    }
    code = f"""
import sys
class Interrupted:
    def find_spec(self, name, path, target=None):
        if name == "fastinit.cli.command":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
{calls[start]}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "fastinit: error: interrupted\n")


def test_help_and_version_exit_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    assert "examples:\n  fastinit fill weights.npy --shape 32768,8192" in capsys.readouterr().out
    assert run("fill", "--help") == 0
    assert "examples:" in capsys.readouterr().out
    assert run("--version") == 0
    assert capsys.readouterr().out == f"fastinit {fastinit.__version__}, stream fastinit-1\n"


def test_the_module_runs_as_a_command() -> None:
    done = subprocess.run([*COMMAND, "info", "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["stream"] == "fastinit-1"


def test_info_prints_a_line_for_everything_it_knows(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(fastinit.info())
    assert all(len(line.split(maxsplit=1)) == 2 for line in lines)


def test_the_command_line_starts_without_numba_and_scipy() -> None:
    code = "import sys, fastinit.cli; print([m for m in ('numba', 'scipy', 'tqdm', 'ml_dtypes') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_selftest_is_right_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("selftest") == 0
    out = capsys.readouterr().out
    assert out.count("right    numba: ") == out.count("right    numpy: ") == len(known.CASES) + 2
    assert out.endswith(" checks of stream fastinit-1 are right on this machine\n")
    assert run("selftest", "--quiet") == 0
    assert [line for line in capsys.readouterr().out.splitlines() if not line.startswith("note ")] == []


def test_selftest_fails_if_one_answer_differs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(known.ANSWERS, ("normal", "float16"), "0" * 16)
    assert run("selftest", "--quiet") == 1
    out, err = capsys.readouterr()
    assert len(re.findall(r"WRONG    (?:numba|numpy): normal: float16: expected digest 0{16}, got", out)) == 2
    assert re.search(r"2 of \d+ checks are wrong on this machine. Do not use its weights", err)
