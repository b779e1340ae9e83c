"""ci/record: its comparison passes a law that is the code's own, and finds each way in which one may be wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[2] / "ci"))
from recorded.comparing import compare  # noqa: E402
from recorded.shrinking import shrunk  # noqa: E402


def build(std=1.0, row=1.0, constant=0.5, uniform=False):
    """A build whose numbers are those of the arguments when it is not recorded, and the defaults when it is."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            recorded = bool(torch.overrides._get_current_function_mode_stack())
            self.w, self.c = nn.Parameter(torch.empty(200, 300)), nn.Parameter(torch.empty(7))
            nn.init.normal_(self.w, std=0.02 if recorded else 0.02 * std)
            if not recorded:
                if uniform:
                    nn.init.uniform_(self.w, -0.02 * 3**0.5, 0.02 * 3**0.5)
                self.w.data[5] *= row
            nn.init.constant_(self.c, 0.5 if recorded else constant)

    return Model


def test_a_law_that_is_the_code_s_own_passes():
    found = compare(build(), 0)
    assert found.tensors == 2 and not found.missing and not found.wrong
    assert found.tests >= 4 and found.least > 1e-4


@pytest.mark.parametrize("wrong", [{"std": 1.03}, {"row": 1.8}, {"uniform": True}])
def test_a_law_that_is_not_is_found(wrong):
    assert compare(build(**wrong), 0).least < 1e-6


def test_the_outliers_of_a_float32_inverse_are_counted_and_left_out():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.empty(200, 300))
            nn.init.trunc_normal_(self.w, std=0.02)
            if not torch.overrides._get_current_function_mode_stack():
                self.w.data[3, 4] = 2.0

    found = compare(Model, 0)
    assert found.outliers == 1 and found.least > 1e-4


def test_another_constant_is_found():
    assert "Constant(value=0.5) where the code has" in compare(build(constant=0.25), 0).wrong[0]


def test_a_tensor_without_a_law_is_counted():
    assert set(compare(lambda: nn.ParameterList([nn.Parameter(torch.empty(3).exponential_())]), 0).missing) == {"0"}


def test_configurations_get_small():
    large = {"num_hidden_layers": 32, "hidden_size": 4096, "vocab_size": 32000, "num_attention_heads": 32, "rope": 3}
    small = shrunk(large, 8, words=True)
    assert small == {
        "num_hidden_layers": 2,
        "hidden_size": 512,
        "vocab_size": 1024,
        "num_attention_heads": 4,
        "rope": 3,
    }
