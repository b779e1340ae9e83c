"""laws.Copy: the values of another tensor's address, in fills, files, audits and plans."""

from __future__ import annotations

import numpy as np
import pytest

import fastinit
from fastinit.laws import Blocks, Constant, Copy, Normal, Orthogonal, Padded
from fastinit.plan import Plan, Tensor
from fastinit.verify import verify
from fastinit.write import write


def filled(law, name, shape=(30, 20)):
    x = np.empty(shape, np.float32)
    fastinit.fill(x, law, seed=5, name=name)
    return x


@pytest.mark.parametrize("law", [Normal(0.0, 0.02), Orthogonal(), Padded(Normal(), 3), Constant(2.0)])
def test_a_copy_has_the_values_of_the_tensor_it_copies(law):
    assert (filled(Copy(law, "a"), "b") == filled(law, "a")).all()
    assert (filled(law, "a") != filled(law, "b")).any() == law.draws


def test_a_scaled_copy_is_the_tensor_scaled():
    assert np.allclose(filled(Copy(Normal(0.0, 0.5), "a"), "b"), 0.5 * filled(Normal(), "a"), rtol=1e-6)


def test_a_checkpoint_keeps_copies_and_audits_them(tmp_path):
    tensors = [
        Tensor("a", (300, 20), "float32", Normal()),
        Tensor("b", (300, 20), "bfloat16", Copy(Normal(), "a")),
        Tensor("c", (20, 20), "float32", Copy(Orthogonal(), "a")),
    ]
    plan = Plan(tuple(tensors))
    assert Plan.from_json(plan.to_json()) == plan
    assert plan != Plan((*tensors[:1], Tensor("b", (300, 20), "bfloat16", Normal()), tensors[2]))
    write(plan, tmp_path, seed=5)
    assert verify(tmp_path).ok
    safetensors = pytest.importorskip("safetensors.numpy")
    pytest.importorskip("ml_dtypes")
    held = safetensors.load_file(tmp_path / "model.safetensors")
    assert (held["a"].astype(held["b"].dtype) == held["b"]).all()


def test_what_is_no_copy_is_refused():
    for make, message in (
        (lambda: Copy(0.5, "a"), "values is 0.5"),
        (lambda: Copy(Copy(Normal(), "a"), "b"), "pass another law"),
        (lambda: Copy(Normal(), 3), "name is 3"),
    ):
        with pytest.raises(TypeError, match=message):
            make()
    with pytest.raises(ValueError, match="lone surrogate"):
        Copy(Normal(), "\ud800")
    with pytest.raises(TypeError, match=r"part 0 is Copy.*of a whole tensor"):
        Blocks([(1, Copy(Normal(), "a")), (1, Normal())])
