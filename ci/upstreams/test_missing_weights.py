"""transformers' own `test_can_init_all_missing_weights`, for a small configuration of every architecture of AutoModel.

The test is that of tests/test_modeling_common.py in the copy that ci/upstream runs; it skips itself for architectures
from before 2023, which transformers does not hold to it either.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import types
import unittest
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from recorded.models import Candidate, transformers


class _Absent(types.ModuleType):
    """A module of the tests that the source on PyPI lacks: every name in it is an empty class."""

    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class _StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one where there is nothing; the test that is run here uses none."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """Any module of the tests, asked for when nobody else has it."""
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.startswith("tests.") else None

    def create_module(self, spec: Any) -> types.ModuleType:
        """The stand-in."""
        return _Absent(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing is in it."""


sys.meta_path.append(_StandIns())
ModelTesterMixin: Any = importlib.import_module("tests.test_modeling_common").ModelTesterMixin

TEST = "test_can_init_all_missing_weights"
MOST = 10**8  # elements


class _OneConfig:
    """What the test asks for a configuration."""

    def __init__(self, config: Any) -> None:
        self.config = config

    def prepare_config_and_inputs_for_common(self) -> tuple[Any, dict[str, Any]]:
        """The configuration; the test looks at no inputs."""
        return self.config, {}


@pytest.mark.parametrize(("name", "find"), [pytest.param(*one, id=one[0]) for one in transformers()])
def test_can_init_all_missing_weights(name: str, find: Callable[[], Candidate]) -> None:
    """Run it for one architecture."""
    found = find()
    if found.build is None:
        pytest.skip(found.why_not)
    model_class, make = found.build.args  # type: ignore[attr-defined]
    with torch.device("meta"):
        elements = sum(one.numel() for one in model_class(make()).parameters())
    if elements > MOST:
        pytest.skip(f"its smallest configuration has {elements:,} elements, of which the test makes several copies")

    class Case(ModelTesterMixin, unittest.TestCase):
        all_model_classes = (model_class,)
        model_tester = _OneConfig(make())

    getattr(Case(TEST), TEST)()
