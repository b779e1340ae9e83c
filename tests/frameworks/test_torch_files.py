"""Tensors whose memory is a file's: what the disk cannot take is an OSError, and no signal that kills the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import fastinit  # noqa: E402
import fastinit.torch  # noqa: E402
from fastinit.fill import memory  # noqa: E402

WAYS = {
    "normal_": "fastinit.torch.normal_(tensor)",
    "orthogonal_": "fastinit.torch.orthogonal_(tensor.view(2896, -1))",
    "sparse_": "fastinit.torch.sparse_(tensor.view(2896, -1), 0.5)",
    "accelerate": "with fastinit.torch.accelerate(seed=0): tensor.uniform_()",
    "initialize_": "layer.weight = torch.nn.Parameter(tensor.view(2896, -1)); fastinit.torch.initialize_(layer, 0)",
    "small": "[fastinit.torch.normal_(piece) for piece in tensor.split(10_000)]",
}
TENSORS = {
    "from_file": "torch.from_file(path, shared=True, size=2896 * 2896)",
    "from_numpy": "torch.from_numpy(np.memmap(path, np.float32, 'w+', shape=(2896 * 2896,)))",
}
PROGRAM = """
import sys, errno
sys.path.insert(0, {root!r})
import numpy as np, torch, fastinit, fastinit.torch
path = sys.argv[1]
layer = torch.nn.Linear(2896, 2896, bias=False)
tensor = {tensor}
try:
    {way}
except OSError as error:
    print("OSError", errno.errorcode[error.errno], error)
"""


@pytest.mark.parametrize("tensor", TENSORS)
@pytest.mark.parametrize("way", WAYS)
def test_a_full_disk_behind_a_tensor_is_an_oserror(way, tensor, tmp_path):
    """A tmpfs of 9 MB that only the child sees, and a tensor of 33 MB."""
    code = PROGRAM.format(root=str(Path(fastinit.__file__).parents[1]), tensor=TENSORS[tensor], way=WAYS[way])
    script = f'mount -t tmpfs -o size=9m none {tmp_path} && exec "$0" -c "$1" {tmp_path}/weights'
    command = ["unshare", "-m", "sh", "-c", script, sys.executable, code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    if "mount:" in done.stderr or "unshare" in done.stderr:
        pytest.skip(f"this machine allows no mounts: {done.stderr.strip()}")
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert done.stdout.startswith("OSError ENOSPC") and "fill again" in done.stdout


def test_what_torch_allocates_is_not_taken_for_a_file_and_what_is_given_to_it_is(tmp_path):
    own = [
        torch.empty(5),
        torch.empty(5)[2:],
        torch.nn.Linear(2, 3).weight,
        torch.tensor([1.0]),
        torch.zeros(3).clone(),
    ]
    given = [
        torch.from_file(str(tmp_path / "file"), shared=True, size=5),
        torch.from_numpy(np.memmap(tmp_path / "map", np.float32, "w+", shape=5)),
        torch.empty(5).share_memory_(),
    ]
    tensors = fastinit.torch.tensors
    for _ in range(2):  # a fill does not change what is known
        assert not any(memory.file_behind(tensors.memory_of(one)) for one in own)
        assert all(memory.file_behind(tensors.memory_of(one)) for one in given)
        for one in own + given:
            fastinit.torch.normal_(one)


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_tensor_that_was_filled_can_be_resized_as_after_torchs_own(size):
    layer = torch.nn.Linear(size, 1)
    fastinit.torch.initialize_(layer, 0)
    for tensor in (fastinit.torch.normal_(torch.empty(size)), fastinit.torch.orthogonal_(torch.empty(size, 1))):
        tensor.resize_(2 * size)
    for parameter in layer.parameters():
        parameter.untyped_storage().resize_(0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e5m2, torch.float64])
@pytest.mark.parametrize("size", [1000, 300_000])
def test_a_tensor_on_a_file_holds_the_values_of_any_other(size, dtype, tmp_path):
    mapped = torch.from_file(str(tmp_path / "file"), shared=True, size=2 * size, dtype=dtype)
    for tensor in (mapped[:size], mapped[::2], mapped.view(2, size).t()):
        plain = torch.empty(tensor.shape, dtype=dtype)
        for one in (tensor, plain):
            torch.manual_seed(3)
            fastinit.torch.trunc_normal_(one)
        assert torch.equal(tensor.contiguous().view(torch.uint8), plain.view(torch.uint8))
