"""Buffers of other libraries: the error says which function of which module takes each, and imports none of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import fastinit


def stranger(name, module, **attributes):
    """An object whose type comes from a library, as far as anybody can see."""
    attributes = {"__module__": module, "__len__": lambda self: 7, "__dlpack__": lambda self: None} | attributes
    return type(name, (), attributes)()


CUDA = SimpleNamespace(type="cuda", __str__=lambda self: "cuda:0")
CASES = {
    "a parameter": (
        stranger("Parameter", "torch.nn.parameter", requires_grad=True),
        ("a Parameter of PyTorch that records gradients", "fastinit.torch.kaiming_normal_", "buf.detach()"),
    ),
    "on a GPU": (
        stranger("Tensor", "torch", device=CUDA),
        ("a tensor of PyTorch on", "fastinit.torch.kaiming_normal_", "fastinit.torch.initialize_(module, seed=0)"),
    ),
    "without memory": (
        stranger("Tensor", "torch", is_meta=True),
        ("on the meta device", "fastinit.torch.materialize_(module, seed=0)"),
    ),
    "of JAX": (
        stranger("ArrayImpl", "jaxlib._jax"),
        ("an array of JAX (ArrayImpl)", "fastinit.jax.initializers.he_normal()(key, shape)", "fastinit.jax.initialize"),
    ),
    "traced": (stranger("DynamicJaxprTracer", "jax._src.interpreters"), ("an array of JAX (DynamicJaxprTracer)",)),
    "of Flax": (stranger("Param", "flax.nnx.variablelib"), ("fastinit.jax.initialize(tree, seed=0)",)),
    "of Keras": (
        stranger("Variable", "keras.src.backend.common.variables"),
        ("a variable of Keras", "buf.assign(fastinit.keras.HeNormal(seed=0)(buf.shape))"),
    ),
    "of TensorFlow": (stranger("EagerTensor", "tensorflow.python.framework.ops"), ("fastinit.keras.HeNormal",)),
    "of pandas": (
        stranger("Series", "pandas.core.series"),
        ("a Series of pandas", "fastinit.new(7, law, seed=0, name=...)", "frame[column] = array"),
    ),
    "of polars": (stranger("Series", "polars.series.series"), ("a Series of polars", "polars.Series(name, array)")),
    "a list": ([1.0, 2.0], ("buf is a list", "numpy.empty(2)")),
}


@pytest.mark.parametrize("case", CASES)
def test_a_buffer_of_another_library_is_told_what_takes_it(case):
    buf, words = CASES[case]
    with pytest.raises(TypeError) as refused:
        fastinit.fill_he_normal(buf, 4, seed=0)
    for word in words:
        assert word in str(refused.value), word


def test_the_functions_that_errors_name_are_there():
    """Asked of the sources, since the frameworks may not be installed."""
    root = Path(fastinit.__file__).parent
    for file, names in {
        "torch/__init__.py": ("kaiming_normal_", "initialize_", "materialize_"),
        "jax/__init__.py": ("initializers", "initialize"),
        "jax/initializers.py": ("def he_normal(",),
        "keras.py": ("class HeNormal(",),
    }.items():
        text = (root / file).read_text(encoding="utf-8")
        assert all(name in text for name in names), file


def test_a_series_that_is_installed_is_refused_so_too():
    for name in ("pandas", "polars"):
        library = pytest.importorskip(name)
        with pytest.raises(TypeError, match=f"a Series of {name}"):
            fastinit.fill_zeros(library.Series(np.zeros(3)))


def test_refusing_a_buffer_imports_no_library():
    program = """
import sys, fastinit
kind = type("Parameter", (), {"__module__": "torch.nn.parameter", "requires_grad": True, "__dlpack__": None})
try:
    fastinit.fill_zeros(kind())
except TypeError as error:
    assert "fastinit.torch" in str(error)
assert not {"torch", "jax", "keras", "pandas"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
