"""The command line for people: short errors with the nearest name, usual words for dtypes, colours, tables that fit."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastinit
from fastinit.cli import main
from fastinit.formatting import shortened_names
from fastinit.laws import Constant, Normal
from fastinit.plan import Plan, Tensor

COMMAND = [sys.executable, "-W", "error", "-m", "fastinit"]
ERRORS = [
    ("fil w.npy", "fastinit: error: command 'fil' is unknown; did you mean 'fill'?"),
    ("fill w.npy --shap 4,4 --scheme normal", "fastinit fill: error: --shap is no option; did you mean --shape?"),
    ("fill w.npy --shape 4 --sheme normal", "fastinit fill: error: --sheme is no option; did you mean --scheme?"),
    ("fill w.npy --shape 4 --scheme normal --fan_in 3", "--fan_in is no option; did you mean --fan-in?"),
    ("fill w.npy --shape 4,4 --scheme he_norml", "--scheme 'he_norml' is unknown; did you mean 'he_normal'?"),
    ("fill w.npy --shape 4,4 --scheme he_normal --mode fanin", "--mode 'fanin' is unknown; did you mean 'fan_in'?"),
    ("fill w.npy --shape 4,4 --scheme he_normal --layout tensorflow", "--layout 'tensorflow' is unknown; there are"),
    (
        "fill w.npy --shape 4,4 --scheme normal --dtype bfloat61",
        "dtype 'bfloat61' is unknown; did you mean 'bfloat16'?",
    ),
    ("write --recipe gpt --shapes s.json -o out", "--recipe 'gpt' is unknown; did you mean 'gpt2'?"),
    (
        "write --shapes s.json --rules r.toml -o out --dtype flaot16",
        "dtype 'flaot16' is unknown; did you mean 'float16'?",
    ),
    ("fill w.npy extra --shape 4 --scheme normal", "fastinit fill: error: 'extra' is left over"),
    ("verify", "fastinit verify: error: the following arguments are required: path"),
]


@pytest.mark.parametrize(("words", "message"), ERRORS, ids=[message[:40] for _, message in ERRORS])
def test_an_error_is_one_or_two_lines_with_the_nearest_name(words, message, capsys):
    assert main(words.split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err
    assert err.count("\n") <= 2 and "usage:" not in err
    if err.count("\n") == 2:
        assert re.fullmatch(r"fastinit( \w+)? --help says more", err.splitlines()[1])


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        *(("bf16", "bfloat16"), ("BF16", "bfloat16"), ("torch.bfloat16", "bfloat16"), ("fp16", "float16")),
        *(("half", "float16"), ("fp32", "float32"), ("F32", "float32"), ("fp64", "float64")),
        *(("fp8", "float8_e4m3fn"), ("F8_E4M3", "float8_e4m3fn"), ("float8_e4m3fn", "float8_e4m3fn")),
        *(("e5m2", "float8_e5m2"), ("fp8-e5m2", "float8_e5m2")),
    ],
)
def test_a_dtype_is_named_as_the_field_names_it(said, meant, tmp_path):
    names = {}
    for name in (said, meant):
        path = tmp_path / f"{len(names)}.bin"
        words = ["fill", path, "--shape", "64", "--scheme", "normal", "--seed", "0", "--dtype", name, "--quiet"]
        assert main([*map(str, words)]) == 0
        names[name] = path.read_bytes()
    assert names[said] == names[meant]


@pytest.mark.parametrize("shape", ["4x6", "4,6", "(4, 6)", "[4, 6]", "4 x 6", "4\u00d76", "4, 6", "(4,6,)"])
def test_a_shape_is_written_as_one_writes_shapes(shape, tmp_path):
    words = ["fill", str(tmp_path / "w.npy"), "--shape", shape, "--scheme", "zeros", "--quiet", "--no-fsync"]
    assert main(words) == 0
    assert np.load(tmp_path / "w.npy").shape == (4, 6)


def test_completion_prints_a_script_that_names_commands_and_schemes(capsys):
    pytest.importorskip("shtab")
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert "complete" in script and "--fan-in" in script and "xavier_uniform" in script
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_completion_without_shtab_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "zsh"]) == 1
    assert "pip install 'fastinit-kernels[completion]'" in capsys.readouterr().err


# --- tables and colours -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint with long names, whose last tensor follows another law than its file says."""
    folder = tmp_path_factory.mktemp("c")
    root = "language_model.model.decoder.layers"
    names = [f"{root}.{i}.self_attention.{part}_projection.weight" for i in range(6) for part in "qkv"]
    plan = Plan(tuple(Tensor(name, (32, 32), "float32", Normal(0.0, 0.02)) for name in names))
    fastinit.write(plan, folder, seed=0, durable=False)
    import safetensors.numpy

    path = folder / "model.safetensors"
    with safetensors.safe_open(path, "numpy") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in names}
    tensors[names[-1]] = tensors[names[-1]] + 1
    safetensors.numpy.save_file(tensors, path, metadata)
    return folder, names


def in_a_terminal(*words, columns=80, **environment):
    """What a command prints on a terminal of so many columns."""
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    clean = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    child = subprocess.Popen(
        [*COMMAND, *map(str, words)], stdout=theirs, stderr=theirs, env=clean | {"TERM": "xterm"} | environment
    )
    os.close(theirs)
    said = b""
    while True:
        try:
            chunk = os.read(ours, 1 << 16)
        except OSError:  # the child has ended
            break
        if not chunk:
            break
        said += chunk
    os.close(ours)
    child.wait()
    return said.decode()


def bare(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_a_table_fits_the_terminal_and_its_names_stay_apart(trained):
    folder, names = trained
    lines = bare(in_a_terminal("show", folder, columns=80)).splitlines()
    table = [line for line in lines if "\u2026" in line]
    assert len(table) == len(names)
    assert all(len(line) <= 80 for line in table)
    shown = [line.split()[0] for line in table]
    assert len(set(shown)) == len(names)


def test_marked_rows_come_first_in_colour_and_are_named_in_the_summary(trained):
    folder, names = trained
    said = in_a_terminal("show", folder, columns=200)
    rows = [line for line in said.splitlines() if "projection.weight" in line]
    assert names[-1] in rows[0] and rows[0].startswith("\x1b[31m")
    assert f"1 marked: {names[-1]}" in bare(said)


def test_what_is_piped_is_neither_cut_nor_coloured(trained):
    folder, names = trained
    done = subprocess.run([*COMMAND, "show", folder], capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in names)
    assert "\x1b" not in done.stdout and "\u2026" not in done.stdout


def test_no_color_and_force_color_are_obeyed(trained):
    folder, _ = trained
    assert "\x1b[3" not in in_a_terminal("verify", folder, NO_COLOR="1")
    assert "\x1b[31m" in in_a_terminal("verify", folder)
    done = subprocess.run(
        [*COMMAND, "verify", folder], capture_output=True, text=True, env=os.environ | {"FORCE_COLOR": "1"}
    )
    assert "\x1b[31mdiffers\x1b[0m" in done.stdout


def test_names_are_shortened_in_what_they_have_in_common():
    names = [f"model.layers.decoder.{i}.mlp.up_proj.weight" for i in range(12)]
    cut = shortened_names(names, 30)
    assert all(len(name) <= 30 for name in cut) and len(set(cut)) == len(names)
    assert cut[7].endswith(".7.mlp.up_proj.weight") and cut[7].startswith("mo")
    assert shortened_names(["aaaaaaaaaaaaaaaab", "aaaaaaaaaaaaaaaac"], 5) == ["aa\u2026ab", "aa\u2026ac"]
    assert shortened_names(["short", "names"], 30) == ["short", "names"]
    same = [f"a{'x' * 40}{i}{'y' * 40}" for i in range(3)]
    assert len(set(shortened_names(same, 5))) == 3


# --- write and edit ---------------------------------------------------------------------------------------------------


def test_write_and_edit_say_what_they_will_do_how_long_it_took_and_what_comes_next(tmp_path):
    plan, folder = tmp_path / "plan.json", tmp_path / "o ut"
    Plan((Tensor("a", (4, 4), "float32", Normal()), Tensor("b", (4,), "float32", Constant(0)))).save(plan)
    said = bare(in_a_terminal("write", "--plan", plan, "-o", folder, "--seed", 5, columns=300))
    assert f"fastinit: will write 2 tensors, 80 B, to {folder} in 1 file, seed 5" in said
    assert re.search(r"time  \d+\.\d\d s", said) and f"next  fastinit verify '{folder}'" in said
    said = bare(in_a_terminal("edit", folder, "--redraw", "a", "--seed", 6, "--dry-run", columns=300))
    assert "nothing is changed yet" in said and "fastinit: will" not in said
    said = bare(in_a_terminal("edit", folder, "--redraw", "a", "--seed", 6, columns=300))
    assert f"fastinit: will apply --redraw to {folder}, into {folder}, seed 6" in said
    assert re.search(r"time  \d+\.\d\d s", said) and f"next  fastinit verify '{folder}'" in said
    done = subprocess.run([*COMMAND, "verify", folder], capture_output=True, text=True)
    assert done.returncode == 0, done
    assert Path(folder).is_dir()
