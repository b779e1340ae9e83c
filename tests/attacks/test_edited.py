"""What edits record, mutated: `verify`, `show` and `edit` read it, or refuse it in words; no file goes that counts."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from attacks import mutations

from fastinit import engines
from fastinit.edit import Cast, Copy, Delete, Edit, Laws, Redraw, Rename, Resize, edit
from fastinit.edit.journal import JOURNAL
from fastinit.files.safetensors import SafetensorsError
from fastinit.laws import Normal, Orthogonal, Sparse
from fastinit.plan import Plan, Rule, Tensor
from fastinit.show import show
from fastinit.verify import verify
from fastinit.write import write

HALF = Laws(rules=(Rule(".*", "normal", {"std": 0.5}),))
OPERATIONS = (
    Redraw("head", HALF),
    Rename("head", "out"),
    Resize("wte.weight", 30, HALF),
    Copy("wte.weight", "other", noise=0.1),
    Copy("rec", "rec2"),
    Cast("bfloat16", "norm"),
    Delete("gone"),
)


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that was edited, and overwritten in place since."""
    folder = tmp_path_factory.mktemp("edited")
    shapes = {"head": (9, 4), "wte.weight": (20, 6), "norm": (5,), "gone": (3,), "plain": (7,)}
    tensors = [Tensor(name, shape, "float32", Normal()) for name, shape in shapes.items()]
    tensors += [
        Tensor("rec", (6, 6), "float32", Orthogonal()),
        Tensor("thin", (6, 8), "float16", Sparse(axis=1, nonzeros=2)),
    ]
    write(Plan(tensors), folder, seed=0, durable=False)
    edit(folder, OPERATIONS, seed=1, durable=False)
    edit(folder, [Redraw("plain|thin", HALF)], seed=2, in_place=True, durable=False)
    assert verify(folder).tensors
    return folder


def readable(path: Path, data: bytes) -> bool:
    """Whether all that read a checkpoint read it; each may refuse it, in the words of its own error."""
    try:
        assert verify(path, threads=1).tensors is not None
        edit(path, [Redraw(".*", HALF)], seed=0, dry_run=True)
        edit(path, [Resize("wte.weight", 40)], seed=0, dry_run=True)
    except (SafetensorsError, OSError):
        return False
    except ValueError as error:
        assert "tensor" in str(error) or "rows" in str(error), error
    show(path, threads=1)
    return True


def test_mutated_records_are_read_or_refused_in_words(edited, tmp_path):
    file, beside = (edited / name for name in ("model.safetensors", "model.safetensors.edited.json"))
    data, text, counts = file.read_bytes(), beside.read_text(), {True: 0, False: 0}
    with engines.use("numpy"):
        for number in range(1500):
            rng = random.Random(f"edited {number}")
            path = tmp_path / "w.safetensors"
            if number % 2:
                mutated = mutations.of_safetensors(rng, data, [data])
                path.write_bytes(mutated)
                (tmp_path / "w.safetensors.edited.json").unlink(missing_ok=True)
            else:
                path.write_bytes(data)
                mutated = mutations.of_text(rng, text).encode(errors="replace")
                (tmp_path / "w.safetensors.edited.json").write_bytes(mutated)
            try:
                counts[readable(path, mutated)] += 1
            except Exception as error:
                pytest.fail(f"input {number}: {error!r}")
    assert min(counts.values()) > 20, counts


def test_mutated_edits_are_read_or_refused_in_words(tmp_path):
    text, counts = json.dumps(Edit(*OPERATIONS).to_json()), {True: 0, False: 0}
    for number in range(1000):
        (tmp_path / "edit.json").write_text(mutations.of_text(random.Random(f"edit {number}"), text), errors="replace")
        try:
            Edit.load(tmp_path / "edit.json")
            counts[True] += 1
        except (ValueError, TypeError) as error:
            assert "edit.json" in str(error)
            counts[False] += 1
        except Exception as error:
            pytest.fail(f"input {number}: {error!r}")
    assert min(counts.values()) > 10, counts


def test_mutated_journals_remove_no_file_that_counts(tmp_path):
    folder = tmp_path / "c"
    tensors = [Tensor(f"w{i}", (50, 20), "float32", Normal()) for i in range(3)]
    write(Plan(tensors), folder, seed=0, shard_size=4000, durable=False)
    (folder / "config.json").write_text("{}")
    index = (folder / "model.safetensors.index.json").read_bytes()
    content = {one.name: one.read_bytes() for one in folder.iterdir()}
    text = json.dumps(
        {
            "journal": "fastinit-edit-journal-1",
            "commit": "model.safetensors.index.json",
            "size": len(index),
            "digest": "0" * 64,
            "new": ["model-edit01234567-00001-of-00003.safetensors"],
            "old": [["model-00001-of-00003.safetensors", "1-2-3-4"]],
            "config": None,
        }
    )
    for number in range(500):
        (folder / JOURNAL).write_text(mutations.of_text(random.Random(f"journal {number}"), text), errors="replace")
        try:
            edit(folder, [], durable=False)
        except (SafetensorsError, OSError):
            (folder / JOURNAL).unlink(missing_ok=True)
        except Exception as error:
            pytest.fail(f"input {number}: {error!r}")
        assert {one.name: one.read_bytes() for one in folder.iterdir()} == content
