"""What ci/ and .github/workflows call is there, so that no job is a green one that ran nothing."""

from __future__ import annotations

import os
import re
from pathlib import Path

import covered
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SCRIPTS = sorted(path for path in (ROOT / "ci").iterdir() if path.is_file() and path.read_bytes().startswith(b"#!"))
# Those of `ci/upstream` and its like are in other people's repositories.
OF_THIS_REPOSITORY = [path for path in SCRIPTS if path.read_bytes().startswith(b"#!/usr/bin/env bash\n")]
# How a script is called: at the start of a command, alone or by an interpreter.
CALL = re.compile(r"(?:^|[;&|(]|\bpython3?\s)\s*((?:ci|bench)/[\w./]+)", re.MULTILINE)


def jobs(workflow):
    return yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]


def commands(job):
    return "\n".join(step["run"] for step in job["steps"] if "run" in step)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_every_script_of_a_workflow_can_be_run(workflow):
    for name, job in jobs(workflow).items():
        called = CALL.findall(commands(job))
        assert called, f"{name} calls nothing of ci/"
        for script in called:
            assert (ROOT / script).is_file(), f"{name} calls {script}, which is not there"
            assert script.endswith(".py") or os.access(ROOT / script, os.X_OK), f"{script} is no executable file"


def test_the_workflow_goes_through_every_system():
    found = jobs(ROOT / ".github" / "workflows" / "tests.yml")
    systems = {job: values["strategy"]["matrix"]["system"] for job, values in found.items() if "strategy" in values}
    assert systems == {
        "tests": ["ubuntu-latest", "ubuntu-24.04-arm"],
        "elsewhere": ["macos-latest", "windows-latest"],
    }
    called = {name: CALL.findall(commands(job)) for name, job in found.items()}
    assert {"ci/test", "ci/digests.py"} <= {*called["tests"]}
    assert {"ci/oldest", "ci/newest", "ci/release", "ci/lint"} <= {name for names in called.values() for name in names}
    assert called["elsewhere"] == ["ci/elsewhere"]


@pytest.mark.parametrize("script", OF_THIS_REPOSITORY, ids=lambda path: path.name)
def test_a_script_names_only_tests_that_are_there(script):
    code = re.sub(r"(?m)^\s*#.*$", "", script.read_text(encoding="utf-8"))
    for name in re.findall(r"(?<![\w/])tests/[\w./]+", code):
        assert (ROOT / name).exists(), f"ci/{script.name} names {name}, which is not there"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_executable(script):
    assert os.access(script, os.X_OK), f"chmod +x ci/{script.name}"


def test_coverage_counts_the_project_and_no_copy_of_it_and_no_machine_code():
    summary = {"num_statements": 10, "covered_lines": 9, "num_branches": 2, "covered_branches": 1}
    names = [
        *("fastinit/fans.py", "fastinit/torch/shards.py", "fastinit/engines/compiled/rows.py"),
        *("/tmp/pytest/fastinit/fans.py", "ci/covered.py"),
    ]
    report = {"files": {name: {"summary": summary} for name in names}}
    assert list(covered.modules(report, "core")) == ["fastinit/fans.py"]
    assert list(covered.modules(report, "all")) == ["fastinit/fans.py", "fastinit/torch/shards.py"]
