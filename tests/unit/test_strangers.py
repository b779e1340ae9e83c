"""Names of strangers cannot move the cursor or forge a line, in no output and no error; hostile headers cost little."""

from __future__ import annotations

import json
import os
import resource
import struct
import subprocess
import sys
import threading
import time
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import importing_first

import fastinit
from fastinit import formatting, laws
from fastinit.files.safetensors import MOST_TENSORS, SafetensorsError, read_header
from fastinit.laws.law_json import to_json
from fastinit.plan import Plan, Tensor
from fastinit.printable import printable
from fastinit.show import show
from fastinit.verify import verify
from fastinit.write import write

EVIL = "w\x1b[2J\x1b[H\rx: 1 of 1 tensors are as initialised\n\u202e\u2028\x85\x07"


def is_harmless(text: str) -> bool:
    return all(one in "\n\u200d" or unicodedata.category(one) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for one in text)


def command(folder: Path, *words: object) -> tuple[int, str]:
    """The exit code of a command and all that it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "fastinit", *map(str, words)],
        cwd=folder,
        capture_output=True,
        check=False,
        env={
            **os.environ,
            "PYTHONIOENCODING": "utf-8",
            "PYTHONPATH": importing_first(Path(fastinit.__file__).parents[1]),
        },
    )
    return done.returncode, (done.stdout + done.stderr).decode()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint, a plan, rules and indexes whose names are hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    tensors = [Tensor(EVIL, (4, 4), "float32", laws.Normal()), Tensor("b", (4,), "float32", laws.Normal())]
    write(Plan(tensors), folder / "whole", seed=0)
    write(Plan(tensors), folder / "moved", seed=0)
    file = folder / "moved" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-60] ^= 0xFF
    file.write_bytes(data)
    Plan(tensors).save(folder / "plan.json")
    write(Plan(tensors), folder / "index", seed=0, shard_size=64)
    index = json.loads((folder / "index" / "model.safetensors.index.json").read_text())
    for number, places in enumerate([{EVIL + "2": "model-00001-of-00002.safetensors"}, {EVIL: EVIL}, {EVIL: "x"}]):
        bad = folder / f"bad{number}"
        bad.mkdir()
        for one in (folder / "index").glob("*.safetensors"):
            (bad / one.name).write_bytes(one.read_bytes())
        index["weight_map"] = {**index["weight_map"], **places}
        (bad / "model.safetensors.index.json").write_text(json.dumps(index))
    evil_file = folder / "files"
    evil_file.mkdir()
    (evil_file / f"{EVIL}.safetensors").write_bytes(b"short")
    (folder / "shapes.json").write_text(json.dumps({EVIL: {"shape": [3, "x"], "dtype": "float32"}}))
    (folder / "good.json").write_text(json.dumps({EVIL: {"shape": [3, 3], "dtype": "float32"}}))
    (folder / "rules.toml").write_text(f"[[rule]]\nmatch = {json.dumps(EVIL)}\nscheme = 'normal'\n")
    for name, header in {
        "dtype": {EVIL: {"dtype": EVIL, "shape": [], "data_offsets": [0, 1]}},
        "entry": {EVIL: EVIL},
        "law": {"__metadata__": {"fastinit.laws": json.dumps({EVIL: {"law": EVIL}}), "fastinit.seed": EVIL}},
        "stream": {"__metadata__": {"fastinit.laws": "{}", "fastinit.seed": "0", "fastinit.stream": EVIL}},
    }.items():
        body = json.dumps(header).encode()
        (folder / f"{name}.safetensors").write_bytes(struct.pack("<Q", len(body)) + body)
    return folder


COMMANDS = {
    "verify, as initialised": ("verify", "whole"),
    "verify, differs": ("verify", "moved"),
    "show": ("show", "whole"),
    "plan": ("plan", "--plan", "plan.json"),
    "an index that lists what is not there": ("verify", "bad0"),
    "an index of a hostile file": ("verify", "bad1"),
    "an index of a missing file": ("verify", "bad2"),
    "a hostile file name": ("verify", "files"),
    "a hostile file name, shown": ("show", "files"),
    "hostile shapes": ("plan", "--shapes", "shapes.json", "--recipe", "mlp_he"),
    "rules without a match": ("plan", "--shapes", "good.json", "--recipe", "gpt2"),
    "hostile rules": ("plan", "--shapes", "good.json", "--rules", "rules.toml"),
    "a hostile dtype": ("show", "dtype.safetensors"),
    "a hostile entry": ("show", "entry.safetensors"),
    "a hostile law": ("verify", "law.safetensors"),
    "a hostile stream": ("verify", "stream.safetensors"),
    "a path of the user": ("fill", EVIL + ".npy", "--shape", "3", "--scheme", "normal", "--existing"),
    "an unknown dtype": ("fill", "x.npy", "--shape", "3", "--scheme", "normal", "--dtype", EVIL),
}


@pytest.mark.parametrize("what", COMMANDS)
def test_no_command_prints_what_moves_the_cursor(hostile, what):
    _, said = command(hostile, *COMMANDS[what])
    assert said
    assert is_harmless(said), repr(said)
    assert not any(line.startswith("x: 1 of 1") for line in said.splitlines())


@given(st.text(st.characters(), max_size=30))
def test_what_is_printable_is_harmless_and_ordinary_text_stays(text):
    assert is_harmless(printable(text))
    assert "\n" not in printable(text)
    assert printable("größe 漢字 é\u0301 👩\u200d🔬") == "größe 漢字 é\u0301 👩\u200d🔬"


def shortened_as_defined(text: str, width: int) -> str:
    """The definition: take away from the longer half, where they meet, until it fits."""
    if formatting.columns_of(text) <= width:
        return text
    head, tail = list(text[: len(text) // 2]), list(text[len(text) // 2 :])
    while formatting.columns_of("".join(head + tail)) > width - 1:
        head.pop() if len(head) >= len(tail) else tail.pop(0)
    return "".join(head) + "…" + "".join(tail)


@given(st.text(st.sampled_from("ab漢字é\u0301\u200d👩…"), max_size=60), st.integers(2, 40))
def test_a_text_is_shortened_as_it_is_defined(text, width):
    assert formatting.shortened(text, width) == shortened_as_defined(text, width)


def test_a_long_name_is_shortened_in_linear_time():
    begin = time.process_time()
    assert len(formatting.shortened("é" * 1_000_000, 80)) == 80
    assert time.process_time() - begin < 5  # 45 ms for 100,000 characters; the old way took 10 minutes


# --- files that shrink ------------------------------------------------------------------------------------------------

SHRINKING = {
    "orthogonal": laws.Orthogonal(),
    "delta-orthogonal": laws.DeltaOrthogonal(),
    "sparse, down the columns": laws.Sparse(laws.Normal(), 0.9, axis=0),
    "parts": laws.Blocks([(300, laws.Orthogonal()), (700, laws.Sparse(laws.Normal(), 0.9, axis=0))], axis=0),
}


@pytest.mark.parametrize("law", SHRINKING)
@pytest.mark.parametrize("reader", [verify, show])
def test_a_file_that_shrinks_while_it_is_read_is_an_error_that_names_it(tmp_path, monkeypatch, law, reader):
    shape = (40, 40, 3) if law.startswith("delta") else (1000, 1000)
    write(
        Plan([Tensor("first", (10,), "float32", laws.Normal()), Tensor("w", shape, "float32", SHRINKING[law])]),
        tmp_path,
        seed=0,
    )
    file = tmp_path / "model.safetensors"
    original = os.preadv

    def preadv(fd, buffers, offset):
        os.truncate(file, 2000)
        return original(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", preadv)
    with pytest.raises(SafetensorsError, match=r"model\.safetensors has become shorter since its header"):
        reader(tmp_path)


def test_verify_names_the_tensor_that_it_could_not_read(tmp_path):
    write(Plan([Tensor("w", (3000, 3000), "float32", laws.Orthogonal())]), tmp_path, seed=0)
    cut = threading.Timer(0.05, os.truncate, (tmp_path / "model.safetensors", 5000))
    cut.start()
    with pytest.raises(SafetensorsError, match=r"model\.safetensors .*tensor 'w'"):
        verify(tmp_path)
    cut.join()


# --- headers that cost much -------------------------------------------------------------------------------------------

MEASURED = """
import resource, sys, time, tracemalloc
import fastinit.files.safetensors as files
from fastinit.show import show
from fastinit.verify import verify
tracemalloc.start()
begin = time.process_time()
try:
    {"read": files.read_header, "verify": verify, "show": show}[sys.argv[1]](sys.argv[2])
    said = "read"
except files.SafetensorsError as error:
    said = str(error)
print(tracemalloc.get_traced_memory()[1], time.process_time() - begin, said)
"""


def header_of(tensors: int, laws_of: int, path: Path) -> None:
    table = {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(tensors)}
    known = {f"t{i}": to_json(laws.Normal(0.0, 0.02)) for i in range(laws_of)}
    metadata = {"fastinit.stream": fastinit.STREAM, "fastinit.seed": "0", "fastinit.laws": json.dumps(known)}
    body = json.dumps({"__metadata__": metadata, **table}, separators=(",", ":")).encode()
    path.write_bytes(struct.pack("<Q", len(body)) + body)


def measured(reader: str, path: Path) -> tuple[float, str]:
    """Peak of Python's memory over the size of the file, and what was said."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, reader, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "PYTHONPATH": importing_first(Path(fastinit.__file__).parents[1]),
            "FASTINIT_ENGINE": "numpy",
        },
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30)),
    )
    peak, _, said = done.stdout.split(maxsplit=2)
    return int(peak) / path.stat().st_size, said.strip()


@pytest.mark.parametrize("reader", ["read", "verify", "show"])
def test_laws_of_tensors_that_are_not_there_cost_little(tmp_path, reader):
    header_of(10, 60_000, tmp_path / "w.safetensors")
    times, said = measured(reader, tmp_path / "w.safetensors")
    assert times < 10
    assert ("whose law its metadata has" in said) == (reader == "verify")


def test_a_header_of_many_tensors_costs_ten_times_its_size_at_most(tmp_path):
    header_of(50_000, 0, tmp_path / "w.safetensors")
    times, said = measured("read", tmp_path / "w.safetensors")
    assert (times < 10, said) == (True, "read"), times


def test_more_tensors_than_a_file_may_have_are_refused_at_once_with_the_limit(tmp_path):
    header_of(MOST_TENSORS + 1, 0, tmp_path / "w.safetensors")
    for reader in (read_header, verify, show):
        begin = time.process_time()
        with pytest.raises(SafetensorsError, match=r"fastinit reads files of up to 262,144 tensors"):
            reader(tmp_path / "w.safetensors")
        assert time.process_time() - begin < 20


@pytest.mark.parametrize("bracket", ["[", '{"a":'])
def test_brackets_without_end_are_refused_before_they_are_read(tmp_path, bracket):
    body = (bracket * 2_000_000).encode()
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(body)) + body)
    with pytest.raises(SafetensorsError, match=r"more than 1,048,576 brackets; fastinit reads files of up to"):
        read_header(tmp_path / "w.safetensors")


# --- other files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("w.npz", b"PK\x03\x04" + bytes(100), "a zip archive, such as .npz of NumPy or .pt of PyTorch"),
        ("w.gguf", b"GGUF\x03\x00\x00\x00" + bytes(100), "a GGUF file"),
        ("w.h5", b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file"),
        ("plan.json", b'{"plan": 1, "tensors": []}', "a JSON file"),
        ("w.safetensors.gz", b"\x1f\x8b\x08\x00" + bytes([200]) * 100, "a gzip file"),
    ],
)
def test_a_file_of_another_kind_is_named_by_its_kind(tmp_path, name, content, kind):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SafetensorsError, match=kind):
        show(tmp_path / name)


def test_an_array_of_numpy_is_named_by_its_kind(tmp_path):
    np.save(tmp_path / "w.npy", np.zeros(9))
    for reader in (verify, show):
        with pytest.raises(SafetensorsError, match=r"w\.npy is a \.npy file of NumPy, not a safetensors file"):
            reader(tmp_path / "w.npy")


def test_show_lists_what_it_cannot_decode_and_measures_the_rest(tmp_path):
    header = {
        "scale": {"dtype": "F8_E8M0", "shape": [8], "data_offsets": [0, 8]},
        "packed": {"dtype": "F4", "shape": [16], "data_offsets": [8, 16]},
        "w": {"dtype": "F32", "shape": [2], "data_offsets": [16, 24]},
    }
    body = json.dumps(header).encode()
    data = bytes(16) + np.array([1.0, 3.0], "<f4").tobytes()
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(body)) + body + data)
    shown = show(tmp_path / "w.safetensors")
    by_name = {one.name: one for one in shown.tensors}
    assert [(by_name[name].dtype, by_name[name].bytes, by_name[name].mean) for name in header] == [
        ("float8_e8m0fnu", 8, None),
        ("float4_e2m1fn", 8, None),
        ("float32", 8, 2.0),
    ]
    assert "2 of dtypes that fastinit cannot decode" in shown.summary
    code, said = command(tmp_path, "show", "w.safetensors", "--html", "page.html")
    assert code == 0
    assert said.count("not decoded") == 2
    assert "not decoded" in (tmp_path / "page.html").read_text()


def test_a_negative_shape_is_refused_in_the_words_of_who_gave_it(tmp_path):
    code, said = command(tmp_path, "fill", "x.npy", "--shape", "-4,4", "--scheme", "normal")
    assert code == 2
    assert "argument --shape: '-4,4'; give integers, none negative, such as" in said
    from fastinit.files.npy import fill_file

    with pytest.raises(ValueError, match=r"^shape \(-4, 4\) has a negative entry"):
        fill_file(tmp_path / "x.npy", (-4, 4), laws.Normal(), seed=0)


def sum_of_draws(count: int) -> dict[str, object]:
    """A law of one element, which takes count x count draws."""
    drawn = {"draw": to_json(laws.Normal()), "name": "v", "shape": [count, count]}
    expression = json.dumps({"op": "sum", "axes": [0, 1], "of": [drawn]})
    return to_json(laws.Replayed((1, 1), expression))


def file_of_sums(path: Path, count: int, tensors: int, beside: int = 0) -> Path:
    """A file of so many such tensors, and a tensor of so many zeros beside them."""
    names = [f"w{i}" for i in range(tensors)]
    header: dict[str, object] = {
        name: {"dtype": "F32", "shape": [1, 1], "data_offsets": [4 * i, 4 * i + 4]} for i, name in enumerate(names)
    }
    size = 4 * (tensors + beside)
    header["zeros"] = {"dtype": "F32", "shape": [beside], "data_offsets": [4 * tensors, size]}
    recorded = {**dict.fromkeys(names, sum_of_draws(count)), "zeros": to_json(laws.Constant(0.0))}
    header["__metadata__"] = {
        "fastinit.stream": fastinit.STREAM,
        "fastinit.seed": "1",
        "fastinit.laws": json.dumps(recorded),
    }
    body = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(body)) + body + bytes(size))
    return path


@pytest.mark.parametrize(("count", "tensors"), [(8192, 1), (1000, 20)])
def test_a_small_file_that_asks_for_much_arithmetic_is_refused_and_shown_without_the_law(tmp_path, count, tensors):
    path = file_of_sums(tmp_path / "w.safetensors", count, tensors)
    begin = time.process_time()
    with pytest.raises(
        SafetensorsError, match=r"has laws that compute more than 4,194,304 elements up to the tensor 'w"
    ):
        verify(path)
    shown = {one.name: one for one in show(path).tensors}
    assert time.process_time() - begin < 2.0
    assert shown["w0"].elements == 1
    assert any(shown[f"w{i}"].law is None for i in range(tensors))


def test_what_a_checkpoint_of_its_size_may_ask_for_is_computed(tmp_path):
    verified = verify(file_of_sums(tmp_path / "w.safetensors", 1000, 3, beside=200_000))
    assert [one.status for one in verified.tensors if one.name == "zeros"] == ["as initialised"]
    assert [one.differing for one in verified.tensors if one.name != "zeros"] == [1, 1, 1]


def test_an_expression_whose_results_outgrow_its_draws_is_refused():
    line = {"draw": to_json(laws.Normal()), "name": "v", "shape": [4000, 1]}
    table = {"op": "add", "of": [line, {"op": "permute", "axes": [1, 0], "of": [line]}]}
    law = laws.Replayed((1, 1), json.dumps({"op": "sum", "axes": [0, 1], "of": [table]}))
    with pytest.raises(ValueError, match="more elements than its draws and its tensor account for"):
        fastinit.new((1, 1), law, seed=0)
