"""The commands of checkpoints: plan, write, recipes, verify, show; words, exit codes, JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fastinit.cli import main
from fastinit.cli.options import size
from fastinit.plan import Plan, load_rules, shapes_of
from fastinit.recipes import RECIPES, rules_for
from fastinit.write import write

RULES = """
[[rule]]
match = '.*\\.bias'
scheme = "zeros"

[[rule]]
match = '.*'
scheme = "he_normal"
"""
SHAPES = {"a.weight": {"shape": [300, 200]}, "a.bias": {"shape": [300]}, "b.weight": {"shape": [100, 300]}}
GPT2 = {
    "wte.weight": {"shape": [100, 16]},
    "wpe.weight": {"shape": [10, 16]},
    "ln_f.weight": {"shape": [16]},
    "ln_f.bias": {"shape": [16]},
    **{f"h.{i}.attn.c_proj.weight": {"shape": [16, 16]} for i in range(3)},
}


@pytest.fixture
def source(tmp_path: Path) -> list[str]:
    """Shapes and rules, as options."""
    (tmp_path / "shapes.json").write_text(json.dumps(SHAPES))
    (tmp_path / "rules.toml").write_text(RULES)
    return ["--shapes", str(tmp_path / "shapes.json"), "--rules", str(tmp_path / "rules.toml")]


def run(*words: object) -> int:
    return main([str(word) for word in words])


def test_plan_prints_a_law_a_tensor_and_saves_the_plan(
    tmp_path: Path, source: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("plan", *source, "-o", tmp_path / "plan.json") == 0
    out = capsys.readouterr().out
    plan = Plan.from_rules(SHAPES, load_rules(source[3]))
    assert "a.weight  300x200  float32  Normal(mean=0.0, std=0.1)" in out
    assert f"3 tensors, {plan.bytes:,} bytes, plan {plan.digest}" in out
    assert Plan.load(tmp_path / "plan.json") == plan
    assert run("plan", *source, "--json") == 0
    assert Plan.from_json(json.loads(capsys.readouterr().out)) == plan


def test_write_verify_and_show_agree_from_end_to_end(
    tmp_path: Path, source: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("write", *source, "-o", out, "--seed", 3, "--shard-size", "200KB") == 0
    assert "3 tensors, 361,200 bytes in 2 files" in capsys.readouterr().out
    assert run("write", *source, "-o", out, "--seed", 3, "--shard-size", "200KB") == 0
    assert "in 2 files, 2 of them whole already" in capsys.readouterr().out
    assert run("verify", out) == 0
    assert "3 of 3 tensors are as initialised; 90,300 of 90,300 elements compared" in capsys.readouterr().out
    assert run("show", out, "--html", tmp_path / "page.html") == 0
    assert "Normal(0, 0.1)" in capsys.readouterr().out
    assert "<html" in (tmp_path / "page.html").read_text(encoding="utf-8")

    file = out / "model-00001-of-00002.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 0x40
    file.write_bytes(raw)
    assert run("verify", out) == 1
    said = capsys.readouterr().out
    assert "a.weight  differs: 1 of 60,000 elements differ (0.00167 %), first at [299, 199]: " in said
    assert "2 of 3 tensors are as initialised" in said


def test_files_whose_metadata_was_dropped_are_verified_with_a_plan_and_a_seed(
    tmp_path: Path, source: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("write", *source, "-o", out, "--seed", 3, "--quiet") == 0
    assert run("plan", *source, "-o", tmp_path / "plan.json") == 0
    arrays = load_file(out / "model.safetensors")
    trained = {**arrays, "b.weight": arrays["b.weight"] + np.float32(1), "new": arrays["a.bias"]}
    save_file({name: array for name, array in trained.items() if name != "a.bias"}, out / "model.safetensors")
    assert run("verify", out) == 1
    assert "`fastinit verify --plan FILE --seed N`" in capsys.readouterr().err
    for plan in (["--plan", str(tmp_path / "plan.json")], source):
        assert run("verify", out, *plan, "--seed", 3) == 1
        said = capsys.readouterr().out
        assert "b.weight  differs: all 30,000 elements differ (100 %), first at [0, 0]: " in said
        assert "new  unknown law\n" in said
        assert "a.bias  missing\n" in said
        assert "1 of 4 tensors are as initialised" in said


def test_json_is_one_object_for_machines(tmp_path: Path, source: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run("write", *source, "-o", out, "--seed", 3, "--json") == 0
    written = json.loads(capsys.readouterr().out)
    assert (written["files"], written["seed"], written["bytes"]) == (["model.safetensors"], 3, 361200)
    assert run("verify", out, "--json", "--sample", 0.5) == 0
    verified = json.loads(capsys.readouterr().out)
    assert verified["ok"] is True
    assert {one["status"] for one in verified["tensors"]} == {"as initialised"}
    assert run("show", out, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert {one["name"] for one in shown["tensors"]} == set(SHAPES)
    assert run("recipes", "--json") == 0
    assert set(json.loads(capsys.readouterr().out)) == set(RECIPES)


def test_quiet_prints_only_a_seed_that_was_drawn(
    tmp_path: Path, source: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("write", *source, "-o", tmp_path / "a", "--quiet") == 0
    seed = int(capsys.readouterr().out.removeprefix("seed "))
    assert run("write", *source, "-o", tmp_path / "b", "--quiet", "--seed", seed) == 0
    assert run("verify", tmp_path / "b", "--quiet") == 0
    assert run("show", tmp_path / "b", "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("words", [("plan", "-o"), ("show", "--html")], ids=["plan", "show"])
def test_a_plan_and_a_page_that_cannot_be_written_leave_the_old_file(
    tmp_path: Path, source: list[str], words: tuple[str, str]
) -> None:
    assert run("write", *source, "-o", tmp_path / "out", "--quiet") == 0
    (tmp_path / "old").write_text("good")
    command, option = words
    given = source if command == "plan" else [str(tmp_path / "out")]
    limited = f"""
import resource, sys
from fastinit.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
sys.exit(main({[command, *given, option, str(tmp_path / "old")]}))
"""
    done = subprocess.run([sys.executable, "-c", limited], capture_output=True, text=True, check=False)
    assert (tmp_path / "old").read_text() == "good"
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"{tmp_path}/old is too large" in done.stderr
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["old", "out", "rules.toml", "shapes.json"]


def test_a_plan_goes_into_a_pipe(tmp_path: Path, source: list[str]) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen([sys.executable, "-m", "fastinit", "plan", *source, "-o", pipe], stdout=subprocess.PIPE):
        assert Plan.from_json(json.loads(pipe.read_text())) == Plan.from_rules(SHAPES, load_rules(source[3]))
    assert pipe.is_fifo()


def test_a_recipe_takes_the_place_of_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "shapes.json").write_text(json.dumps(GPT2))
    source = ["--recipe", "gpt2", "--shapes", tmp_path / "shapes.json"]
    assert run("write", *source, "-o", tmp_path / "out", "--seed", 0) == 0
    write(Plan.from_rules(GPT2, rules_for("gpt2", GPT2)), tmp_path / "here", seed=0)
    there, here = (tmp_path / name / "model.safetensors" for name in ("out", "here"))
    assert there.read_bytes() == here.read_bytes()
    assert run("plan", *source, "--set", "layers=12", "--json") == 0
    laws = {one["name"]: one["law"] for one in json.loads(capsys.readouterr().out.splitlines()[-1])["tensors"]}
    assert laws["h.0.attn.c_proj.weight"]["std"] == pytest.approx(0.02 / 24**0.5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("plan", "pass --plan, or --shapes with either --rules or --recipe"),
        ("plan --shapes {s} --rules {r} --recipe gpt2", "pass --plan, or --shapes with either"),
        ("plan --plan {s}", "this is no plan"),
        ("plan --plan {s} --rules {r}", "leave out --shapes, --rules, --recipe and --dtype"),
        ("plan --shapes {s} --rules {r} --set layers=3", "--set and --tie belong to a --recipe"),
        ("plan --shapes {s} --recipe gpt2", "layers cannot be read"),
        ("write --shapes {s} --rules {r} -o {o} --shard-size many", "give a size such as 100MB"),
        (
            "write --shapes {s} --rules {r} -o {o} --shard-size 1" + "0" * 400,
            "no file has 2^63 bytes; give a size such as",
        ),
        ("write --shapes {s} --rules {r} -o {o} --shard-size 10000000TB", "no file has 2^63 bytes"),
        ("write --shapes {s} --rules {r} -o {o} --seed -1", "seed is -1"),
        ("plan --shapes {s} --recipe gpt2 --set layers", "give a name and a number"),
        ("verify {o} --sample 2", "sample is 2.0"),
        ("verify {o} --seed 2", "--seed go together; pass both"),
        ("verify {o} --shapes {s} --rules {r}", "--seed go together; pass both"),
        ("verify {o} --seed 2 --dtype bf16", "pass --plan, or --shapes with either --rules or --recipe"),
    ],
)
def test_a_command_line_that_makes_no_sense_exits_with_2(
    tmp_path: Path, source: list[str], capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    out = tmp_path / "out"
    assert run(*words.format(s=source[1], r=source[3], o=out).split()) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_a_missing_checkpoint_exits_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("verify", "show"):
        assert run(command, tmp_path / "none") == 1
        assert str(tmp_path / "none") in capsys.readouterr().err


def test_a_damaged_checkpoint_exits_with_1(
    tmp_path: Path, source: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"\xff" * 100)
    for words in (["verify"], ["show"], ["plan", *source[2:], "--shapes"]):
        assert run(*words, tmp_path / "a.safetensors") == 1
        err = capsys.readouterr().err
        assert err.startswith(f"fastinit: error: {tmp_path}/a.safetensors says its header has")
        assert err.count("\n") == 1


def test_a_folder_without_a_checkpoint_exits_with_1(
    tmp_path: Path, source: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    for words in (["verify"], ["show"], ["plan", *source[2:], "--shapes"]):
        assert run(*words, tmp_path / "empty") == 1
        assert f"{tmp_path}/empty holds no .safetensors file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [("100MB", 10**8), ("5GB", 5 * 10**9), ("1GiB", 2**30), ("1.5kB", 1500), ("77", 77), ("2TiB", 2**41)],
)
def test_sizes_are_read(text: str, nbytes: int) -> None:
    assert size(text) == nbytes


@pytest.mark.parametrize("command", ["recipes", "info", "--help"])
def test_a_reader_that_has_seen_enough_is_no_error(command: str) -> None:
    # Gone before the first word: what is short is written last of all, from Python's own buffer.
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-m", "fastinit", command]
    with subprocess.Popen(words, stdout=writer, stderr=subprocess.PIPE, env=buffered) as child:
        os.close(writer)
        assert child.stderr is not None
        assert child.stderr.read() == b""


def test_the_shapes_of_a_checkpoint_make_the_next_one(tmp_path: Path, source: list[str]) -> None:
    assert run("write", *source, "-o", tmp_path / "a", "--seed", 3, "--quiet") == 0
    again = ["--shapes", tmp_path / "a", *source[2:]]
    assert run("write", *again, "-o", tmp_path / "b", "--seed", 3, "--quiet") == 0
    assert {name: entry["shape"] for name, entry in shapes_of(tmp_path / "b").items()} == {
        name: entry["shape"] for name, entry in SHAPES.items()
    }
