"""A short part of the attack by edits that are killed, that fail and that meet; and that it sees a fault."""

from __future__ import annotations

import json
import random

import pytest

pytest.importorskip("fsspec")
pytest.importorskip("ml_dtypes")
from attacks import disk, edits

from fastinit import engines
from fastinit.edit import edit


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return edits.Stage(tmp_path_factory.mktemp("stage"))


@pytest.mark.parametrize("kind", edits.KINDS)
def test_a_checkpoint_is_the_old_or_the_new_one_and_nothing_is_beside_it(stage, kind):
    for number in range(6):
        rng = random.Random(f"20261129 {kind} {number}")
        folder = stage.folder(f"{kind} {number}", ("one file", "shards")[number % 2])
        with engines.use("numpy"):
            edits.KINDS[kind](stage, rng, folder)


def test_whatever_rename_fails_a_checkpoint_is_the_old_or_the_new_one(stage):
    calls = [one for one in disk.CALLS if one[1] in ("rename", "replace", "rename_exclusive")]
    for sort in edits.SORTS:
        with engines.use("numpy"):
            assert sum(edits.exhaust(stage, sort, call, disk.EACH[0]) for call in calls) > 0


def test_the_attack_sees_a_mixture_a_file_too_many_and_a_config_that_did_not_follow(stage):
    def edited(name):
        folder = stage.folder(name, "shards")
        with engines.use("numpy"):
            edit(folder, edits.OPERATIONS, seed=0, durable=False)
        return folder

    mixture = stage.folder("mixture", "shards")
    with engines.use("numpy"):
        edit(mixture, edits.FIRST, seed=0, durable=False)
    with pytest.raises(AssertionError, match="a mixture of the old checkpoint and the new one"):
        stage.settle(mixture)
    beside = edited("beside")
    (beside / "more.safetensors").write_bytes(b"")
    with pytest.raises(AssertionError, match=r"there is .*more\.safetensors"):
        edits.only_what_counts(beside)
    behind = edited("behind")
    (behind / "config.json").write_text(json.dumps({"layers": 4}))
    with pytest.raises(AssertionError, match=r"4 layers in config\.json are not those of the weights"):
        stage.settle(behind)
