"""A short, deterministic part of the attack by failing system calls; and that it sees a fault."""

from __future__ import annotations

import os
import random

import pytest

pytest.importorskip("fsspec")
from attacks import disk, jobs
from attacks.jobs import JOBS, Job, Trial, contents

BY_NAME = {job.name: job for job in JOBS}


@pytest.mark.parametrize("name", ["shards over an older checkpoint", "shards by file://"])
@pytest.mark.parametrize("call", ["fsync", "close", "pwrite", "rename_exclusive", "replace", "mv", "mmap", "unlink"])
def test_whatever_call_fails_files_are_whole_or_absent_and_a_rerun_gives_every_byte(tmp_path, name, call):
    trial = Trial(BY_NAME[name], tmp_path)
    one = next(known for known in disk.CALLS if known[1] == call)
    count = disk.exhaust(trial, one, disk.EACH[0])
    assert (count > 0) == (one in disk.called(trial))


def test_two_or_three_failures_at_once_on_file_systems_that_lack_something(tmp_path):
    for number in range(12):
        rng = random.Random(f"20261129 {number}")
        disk.at_random(Trial(rng.choice(JOBS), tmp_path), rng, 2)


def test_the_attack_sees_a_file_that_is_written_in_place(tmp_path):
    def careless(folder):
        fd = os.open(folder / "w.bin", os.O_WRONLY | os.O_CREAT)
        os.pwrite(fd, b"one", 0)
        os.pwrite(fd, b"two", 3)
        os.close(fd)

    with pytest.raises(AssertionError, match=r"w\.bin has 0 bytes that are neither the old nor the new ones"):
        disk.exhaust(Trial(Job("careless", careless), tmp_path), (os, "pwrite"), disk.EACH[0])


def test_the_attack_sees_a_descriptor_that_is_lost(tmp_path):
    def careless(folder):
        fd = os.open(folder, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)

    with pytest.raises(AssertionError, match="1 descriptors are lost"):
        disk.exhaust(Trial(Job("careless", careless), tmp_path), (os, "fsync"), disk.EACH[0])


def test_the_attack_sees_bytes_that_a_rerun_does_not_give(tmp_path):
    def careless(folder):
        if not (folder / "w.bin").exists():
            (folder / "w.bin").write_bytes(b"whole")
            os.unlink(folder / ".w.bin.partial")  # noqa: PTH108  the call that fails

    def prepare(folder):
        (folder / ".w.bin.partial").write_bytes(b"")

    with pytest.raises(AssertionError, match="after a rerun"):
        disk.exhaust(Trial(Job("careless", careless, prepare), tmp_path), (os, "unlink"), disk.EACH[0])


def test_every_job_gives_the_same_bytes_twice(tmp_path):
    for job in JOBS:
        trial = Trial(job, tmp_path)
        with trial.fresh() as folder:
            job.run(folder)
            assert contents(folder) == trial.expected
    assert jobs.NEW != jobs.OLD
