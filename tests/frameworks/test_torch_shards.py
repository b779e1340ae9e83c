"""DTensor parameters over gloo processes: each rank fills its own part, and the whole is that of one process."""

from __future__ import annotations

import json
import textwrap

import pytest
from ranks import on_ranks

torch = pytest.importorskip("torch")
pytest.importorskip("torch.distributed.tensor")

# A model of uneven sizes, and every way to spread it. Rank 0 prints the digest of each full tensor.
PROGRAM = textwrap.dedent("""
    import hashlib, json
    from torch import nn
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor, Replicate, Shard
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
    import fastinit.torch

    def build():
        return nn.Sequential(
            nn.Embedding(37, 24, padding_idx=5), nn.Linear(24, 50), nn.Conv1d(7, 5, 3), nn.LayerNorm(13),
            nn.MultiheadAttention(8, 2), nn.Linear(50, 24, dtype=torch.bfloat16), nn.Linear(3, 1),
        )

    def placed(placements, mesh):
        return distributed(build(), placements, mesh)

    def parallel(model, mesh):
        plan = {"1": ColwiseParallel(), "5": RowwiseParallel()}
        return parallelize_module(model, mesh, plan)

    line = init_device_mesh("cpu", (world,), mesh_dim_names=("line",))
    ways = {"plain": build} if world == 1 else {}
    ways |= {
        "rows": lambda: placed([Shard(0)], line),
        "columns": lambda: placed([Shard(1)], line),
        "replicated": lambda: placed([Replicate()], line),
        "fully_shard": lambda: fully_shard(build(), mesh=line),
        "tensor parallel": lambda: parallel(build(), line),
    }
    for shape in {4: [(2, 2)], 8: [(2, 4), (4, 2)]}.get(world, []):
        grid = init_device_mesh("cpu", shape, mesh_dim_names=("data", "model"))
        ways |= {
            f"rows and columns {shape}": lambda grid=grid: placed([Shard(0), Shard(1)], grid),
            f"columns and rows {shape}": lambda grid=grid: placed([Shard(1), Shard(0)], grid),
            f"rows twice {shape}": lambda grid=grid: placed([Shard(0), Shard(0)], grid),
            f"replicated rows {shape}": lambda grid=grid: placed([Replicate(), Shard(0)], grid),
            f"tensor parallel and fully_shard {shape}": lambda grid=grid: fully_shard(
                parallel(build(), grid["model"]), mesh=grid["data"]
            ),
        }
    found = {}
    for way, make in ways.items():
        with torch.device("meta") if way == "fully_shard" else torch.device("cpu"):
            model = make()
        if way == "fully_shard":
            model.to_empty(device="cpu")
        versions = [parameter._version for parameter in model.parameters()]
        fastinit.torch.initialize_(model, seed=5)
        heard = [parameter._version > before for parameter, before in zip(model.parameters(), versions)]
        assert all(heard), "autograd must hear of a change in place"
        found[way] = {}
        for name, parameter in model.named_parameters():
            full = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
            content = full.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
            found[way][name] = hashlib.blake2b(content, digest_size=8).hexdigest()
    if rank == 0:
        print(json.dumps(found))
""")


def digests(world: int) -> dict[str, dict[str, str]]:
    """What `world` processes make of the model, way by way."""
    found: dict[str, dict[str, str]] = json.loads(on_ranks(PROGRAM, world))
    return found


@pytest.fixture(scope="module")
def alone() -> dict[str, str]:
    """The digests of one process whose parameters are plain tensors."""
    return digests(1)["plain"]


@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_the_full_tensors_do_not_depend_on_the_ranks(world, alone):
    found = digests(world)
    assert len(found) == {1: 6, 2: 5, 4: 10, 8: 15}[world]
    for way, tensors in found.items():
        assert tensors == alone, way
