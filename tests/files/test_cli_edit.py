"""`fastinit edit`: operations in the order of the command line, what is said of them, and exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from processes import importing_first

import fastinit
from fastinit.cli import main
from fastinit.edit import Edit
from fastinit.laws import Normal
from fastinit.plan import Plan, Tensor
from fastinit.verify import verify
from fastinit.write import write

LAW = ("--law", 'scheme = "normal", std = 0.5')


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tensors = [Tensor(f"w{i}", (60 if i == 1 else 50, 20), "float32", Normal()) for i in range(3)]
    write(Plan(tensors), tmp_path / "c", seed=0, durable=False)
    (tmp_path / "c" / "config.json").write_text('{"vocab_size": 60}')
    return tmp_path / "c"


def load(folder: Path) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(folder / "model.safetensors")


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main(["edit", *map(str, words)])
    return code, *capsys.readouterr()


def test_operations_are_applied_in_the_order_of_the_command_line(folder, capsys):
    before = load(folder)
    code, out, err = run(
        capsys, folder, "--rename", "w0", "x", "--copy", "x", "w0", "--delete", "x", "--rename", "w1", "x"
    )
    assert (code, err) == (0, "")
    after = load(folder)
    assert set(after) == {"w0", "x", "w2"}
    assert (after["x"] == before["w1"]).all()
    assert "4,800 bytes: rename (from w1)" in out


def test_what_is_said_of_an_operation_belongs_to_the_one_before(folder, capsys):
    words = (
        "--redraw",
        "w0",
        *LAW,
        "--redraw",
        "w1",
        "--law",
        'scheme = "ones"',
        "--copy",
        "w2",
        "w3",
        "--noise",
        "0.25",
    )
    assert run(capsys, folder, *words, "--seed", 4)[0] == 0
    after = load(folder)
    drawn = np.empty((50, 20), np.float32)
    fastinit.fill(drawn, Normal(0.0, 0.5), seed=4, name="w0")
    assert (after["w0"] == drawn).all()
    assert (after["w1"] == 1.0).all()
    assert 0.2 < (after["w3"] - after["w2"]).std() < 0.3


def test_rules_recipes_and_plans_give_laws(folder, tmp_path, capsys):
    (tmp_path / "rules.toml").write_text('[[rule]]\nmatch = "w.*"\nscheme = "constant"\nvalue = 2.0\n')
    assert run(capsys, folder, "--redraw", "w0", "--rules", tmp_path / "rules.toml")[0] == 0
    assert (load(folder)["w0"] == 2.0).all()
    Plan([Tensor("w1", (50, 20), "float32", Normal(5.0, 0.0))]).save(tmp_path / "plan.json")
    assert run(capsys, folder, "--redraw", "w1", "--plan", tmp_path / "plan.json")[0] == 0
    assert (load(folder)["w1"] == 5.0).all()
    words = ("--rename", "w2", "w.weight", "--redraw", "w.weight", "--recipe", "mlp_he", "--rename", "w.weight", "w2")
    assert run(capsys, folder, *words, "--seed", 1)[0] == 0
    assert 0.25 < load(folder)["w2"].std() < 0.4  # sqrt(2 / 20)
    assert run(capsys, folder, "--redraw", ".*", "--seed", 0)[0] == 0  # the laws that the file records by now
    assert (load(folder)["w0"] == 2.0).all()
    assert verify(folder).ok


def test_a_dry_run_prints_tensors_files_and_bytes_and_the_seed_that_would_give_them(folder, capsys):
    before = {one.name: one.read_bytes() for one in folder.iterdir()}
    code, out, err = run(
        capsys, folder, "--redraw", "w0", *LAW, "--resize", "w1", "+4", "--configure", "a=1", "--dry-run"
    )
    assert code == 0
    seed = err.split()[1]
    assert f"w0  50x20 float32, 4,000 bytes: redraw (seed {seed}, law Normal(mean=0.0, std=0.5))" in out
    again = f"the same without --dry-run, with --seed {seed}: nothing is changed yet"
    assert out.endswith(f"seed  {seed}\nnext  {again}\n")
    assert "w1  64x20 float32, 5,120 bytes: resize (rows 60 to 64, law mean of the old rows" in out
    assert "config.json: a = 1" in out
    assert "config.json: vocab_size = 64" in out
    assert "would be written" in out
    assert {one.name: one.read_bytes() for one in folder.iterdir()} == before


def test_a_seed_that_was_drawn_is_said_and_gives_the_same_again(folder, tmp_path, capsys):
    code, _, err = run(capsys, folder, "--redraw", "w0", *LAW, "-o", tmp_path / "a")
    assert code == 0
    seed = err.split("seed ")[1].split()[0]
    assert run(capsys, folder, "--redraw", "w0", *LAW, "-o", tmp_path / "b", "--seed", seed)[0] == 0
    assert (load(tmp_path / "a")["w0"] == load(tmp_path / "b")["w0"]).all()
    _, _, err = run(capsys, folder, "--delete", "w1", "-o", tmp_path / "d")
    assert "seed" not in err  # nothing was drawn


def test_operations_are_saved_and_read_again(folder, tmp_path, capsys):
    words = ("--redraw", "w0", *LAW, "--copy", "w1", "w4", "--noise", "0.5", "--dtype", "w2=float16", "--delete", "w1")
    assert run(capsys, folder, *words, "--seed", 1, "-o", tmp_path / "a", "--save", tmp_path / "edit.json")[0] == 0
    assert len(Edit.load(tmp_path / "edit.json").operations) == 4
    assert run(capsys, folder, "--edit", tmp_path / "edit.json", "--seed", 1, "-o", tmp_path / "b")[0] == 0
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in "ab")
    assert one == other


def test_json_has_the_seed_the_changes_and_the_bytes(folder, capsys):
    code, out, _ = run(capsys, folder, "--redraw", "w0", *LAW, "--seed", 3, "--json")
    report = json.loads(out)
    assert code == 0
    assert report["seed"] == 3
    assert [one["name"] for one in report["changes"]["tensors"]] == ["w0"]
    assert report["bytes_written"] == (folder / "model.safetensors").stat().st_size
    assert run(capsys, folder, "--redraw", "w0", *LAW, "--seed", 3, "--quiet") == (0, "", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--law", 'scheme = "ones"'), "--law says more of an operation; give it behind one"),
        (
            ("--delete", "w0", *LAW),
            "--law behind --delete has no meaning; it belongs to --redraw and",
        ),
        (("--redraw", "w0", "--noise", "1"), "--noise behind --redraw has no meaning; it belongs to --copy"),
        (("--redraw", "w0", *LAW, *LAW), "--law is said twice"),
        (("--redraw", "w0", *LAW, "--recipe", "gpt2"), "--law and --recipe are said of one operation"),
        (("--redraw", "w0", "--law", "scheme"), "is no table"),
        (("--redraw", "w0", "--law", "std = 1.0"), "scheme"),
        (("--redraw", "nothing", *LAW), "no tensor's whole name matches 'nothing'"),
        (("--redraw", "(", *LAW), "is no regular expression"),
        (("--redraw", "w0", "--set", "layers"), "give a name and a number"),
        (("--redraw", "w0", *LAW, "--set", "layers=3"), "--set belongs to a --recipe"),
        (("--add", "n", "3,4"), "its law is missing"),
        (("--add", "n", "3,x", *LAW), "give integers, none negative"),
        (("--configure", "a"), "give a key and a value"),
        (("--dtype", "w0=float17"), "dtype 'float17' is unknown"),
        (("--resize", "w0", "-3"), "rows is '-3'"),
        (("--resize", "w0", "+3", "--multiple-of", "0"), "multiple is 0"),
        (("--delete", "w0", "--in-place"), "'w0' would be gone"),
        (("--redraw", "w0", *LAW, "--in-place", "-o", "x"), "leave out output"),
        (("--edit", "missing.json"), "missing.json"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused_and_changes_nothing(folder, capsys, words, message):
    before = {one.name: one.read_bytes() for one in folder.iterdir()}
    code, out, err = run(capsys, folder, *words)
    assert code == (1 if "missing" in message and "json" in message else 2)
    assert out == ""
    assert message in err
    assert {one.name: one.read_bytes() for one in folder.iterdir()} == before


def test_failures_have_exit_code_one(folder, tmp_path, capsys):
    for path, message in ((tmp_path / "nowhere", "does not exist"), (tmp_path, "holds no .safetensors file")):
        code, _, err = run(capsys, path, "--delete", "w0")
        assert code == 1
        assert message in err
    (folder / "model.safetensors").write_bytes(b"x")
    code, _, err = run(capsys, folder, "--delete", "w0")
    assert code == 1
    assert "model.safetensors" in err


def test_names_of_strangers_cannot_forge_lines(tmp_path, capsys):
    evil = "w\x1b[2J\nx: 1 tensors changed"
    safetensors.numpy.save_file({evil: np.zeros((3, 2), np.float32)}, tmp_path / "model.safetensors")
    _, out, _ = run(capsys, tmp_path, "--redraw", "(?s).*", *LAW, "--seed", 0)
    assert "\x1b" not in out
    assert "\nx: 1" not in out
    run(capsys, tmp_path, "--copy", "(?s)(.*)", "{1}y", "--noise", "1", "--seed", 0)
    main(["verify", str(tmp_path)])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "edited" in out
    code, _, err = run(capsys, tmp_path, "--rename", "(?s)(.*)", "same")
    assert code == 2
    assert "\x1b" not in err


def test_ctrl_c_ends_it_with_one_line_and_nothing_beside(tmp_path):
    write(
        Plan([Tensor(f"w{i}", (4000, 2000), "float32", Normal()) for i in range(8)]),
        tmp_path / "c",
        seed=0,
        durable=False,
    )
    before = (tmp_path / "c" / "model.safetensors").stat().st_mtime_ns
    code = (
        "import os, signal, sys; from fastinit.cli import main; from fastinit.edit import task\n"
        "real = task.write_at\n"
        "def interrupt(fd, data, at):\n"
        "    if at > 10**8: os.kill(os.getpid(), signal.SIGINT)\n"
        "    return real(fd, data, at)\n"
        "task.write_at = interrupt; sys.exit(main(sys.argv[1:]))"
    )
    words = ["edit", str(tmp_path / "c"), "--redraw", ".*", *LAW, "--seed", "1"]
    environment = {**os.environ, "PYTHONPATH": importing_first(Path(fastinit.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, env=environment, check=False, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "fastinit: error: interrupted\n")
    assert os.listdir(tmp_path / "c") == ["model.safetensors"]  # noqa: PTH208
    assert (tmp_path / "c" / "model.safetensors").stat().st_mtime_ns == before
