"""A model's own init_weights on DTensors: drop-in functions and accelerate draw what they draw on plain tensors."""

from __future__ import annotations

import json
import textwrap
from itertools import product

import numpy as np
import pytest
from ranks import on_ranks

torch = pytest.importorskip("torch")
pytest.importorskip("torch.distributed.tensor")

import fastinit  # noqa: E402
import fastinit.torch  # noqa: E402
from fastinit.torch import shards, staging, tensors  # noqa: E402

# A model of uneven sizes, some with fewer rows than there are ranks, whose code initialises it as torchtitan's do.
PROGRAM = textwrap.dedent("""
    import hashlib, json
    from torch import nn
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import CPUOffloadPolicy, fully_shard
    from torch.distributed.tensor import DTensor, Replicate, Shard
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
    import torch.distributed.tensor
    import fastinit.torch

    class Layer(nn.Module):
        def __init__(self, *shape, dtype=torch.float32):
            super().__init__()
            self.weight = nn.Parameter(torch.empty(shape, dtype=dtype))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(37, 24)
            self.head, self.tail = nn.Linear(24, 50), nn.Linear(50, 24, dtype=torch.bfloat16)
            self.one, self.orthogonal, self.sparse = Layer(1, 3), Layer(7, 11), Layer(11, 7)
            self.stack, self.kernel = Layer(3, 9, 5), Layer(6, 6, 3)
            self.eye, self.scale, self.wide = Layer(9, 5), Layer(13), Layer(5, 3, dtype=torch.float64)
            self.large = Layer(1031, 1024)

        def init_weights(self, init):
            init.normal_(self.one.weight)  # one row: most ranks hold nothing, and must count it
            init.trunc_normal_(self.embedding.weight, std=0.02, a=-0.04, b=0.04)
            init.kaiming_uniform_(self.head.weight, a=5 ** 0.5)
            init.uniform_(self.head.bias, -0.1, 0.1)
            init.xavier_normal_(self.tail.weight)
            init.zeros_(self.tail.bias)
            init.orthogonal_(self.orthogonal.weight, gain=2.0)
            init.sparse_(self.sparse.weight, 0.5)
            init.kaiming_normal_(self.stack.weight, mode="fan_out")
            init.dirac_(self.kernel.weight)
            init.eye_(self.eye.weight)
            init.ones_(self.scale.weight)
            init.constant_(self.large.weight, 0.25)  # 4 MiB and more take an address
            init.xavier_uniform_(self.wide.weight)
            self.scale.weight.data.normal_(1.0, 0.1)
            with torch.no_grad():
                self.head.bias.uniform_(-0.5, 0.5)

    def on(device):
        with torch.device(device):
            return Model()

    def placed(placements, mesh):
        return distributed(on("cpu"), placements, mesh)

    def parallel(model, mesh):
        return parallelize_module(model, mesh, {"head": ColwiseParallel(), "tail": RowwiseParallel()})

    def sharded(model, **options):
        return fully_shard(model, **options).to_empty(device="cpu")

    def of_an_accelerator(model):
        # As with CPU offload: the mesh says an accelerator, and the memory is of the CPU.
        for parameter in model.parameters():
            parameter.device_mesh._device_type = "cuda"
        return model

    line = init_device_mesh("cpu", (world,), mesh_dim_names=("line",))
    other = init_device_mesh("cpu", (world,), mesh_dim_names=("other",))
    ways = {"plain": lambda: on("meta").to_empty(device="cpu")} if world == 1 else {}
    ways |= {
        "rows": lambda: placed([Shard(0)], line),
        "columns": lambda: placed([Shard(1)], line),
        "replicated": lambda: placed([Replicate()], line),
        "fully_shard": lambda: sharded(on("meta"), mesh=line),
        "offloaded": lambda: sharded(on("meta"), mesh=line, offload_policy=CPUOffloadPolicy(pin_memory=False)),
        "tensor parallel": lambda: parallel(on("meta"), line).to_empty(device="cpu"),
        "on an accelerator's mesh": lambda: of_an_accelerator(placed([Shard(0)], other)),
    }
    for shape in {4: [(2, 2)], 8: [(2, 4), (4, 2)]}.get(world, []):
        grid = init_device_mesh("cpu", shape, mesh_dim_names=("data", "model"))
        ways |= {
            f"rows and columns {shape}": lambda grid=grid: placed([Shard(0), Shard(1)], grid),
            f"columns and rows {shape}": lambda grid=grid: placed([Shard(1), Shard(0)], grid),
            f"rows twice {shape}": lambda grid=grid: placed([Shard(0), Shard(0)], grid),
            f"HSDP {shape}": lambda grid=grid: sharded(on("meta"), mesh=grid),
            f"both {shape}": lambda grid=grid: sharded(parallel(on("meta"), grid["model"]), mesh=grid["data"]),
        }

    def whole(tensor):
        if not isinstance(tensor, DTensor):
            return tensor
        tensor.device_mesh._device_type = "cpu"
        return tensor.full_tensor()

    def digest(tensor):
        content = whole(tensor).detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        return hashlib.blake2b(content, digest_size=8).hexdigest()

    def seeded(model):
        with fastinit.torch.accelerate(seed=5) as report:
            model.init_weights(nn.init)
        assert not report.fell_through, report
        assert report.accelerated.total() == 12, report

    def unseeded(model):
        torch.manual_seed(7)
        with fastinit.torch.accelerate():
            model.init_weights(nn.init)

    def dropped_in(model):
        torch.manual_seed(7)
        with fastinit.torch.accelerate():  # for Tensor.normal_ and uniform_
            model.init_weights(fastinit.torch)

    def by_torch(model):
        torch.manual_seed(7)
        model.init_weights(nn.init)

    found = {}
    for way, make in ways.items():
        for how in (seeded, unseeded, dropped_in):
            model = make()
            for parameter in model.parameters():
                (parameter.to_local() if isinstance(parameter, DTensor) else parameter).detach().fill_(float("nan"))
            versions = [parameter._version for parameter in model.parameters()]
            how(model)
            heard = [parameter._version > before for parameter, before in zip(model.parameters(), versions)]
            assert all(heard), "autograd must hear of a change in place"
            found[f"{way}, {how.__name__}"] = {name: digest(p) for name, p in model.named_parameters()}

    # PyTorch's own start of a weight, for what the page says of it.
    weight = nn.Parameter(torch.distributed.tensor.empty(64, 64, device_mesh=line, placements=[Shard(0)]))
    found["rank"] = int(torch.linalg.matrix_rank(nn.init.normal_(weight).full_tensor()))

    with fastinit.torch.accelerate(seed=5) as report:
        made = [
            torch.distributed.tensor.randn(13, 5, device_mesh=line, placements=[Shard(0)], requires_grad=True),
            torch.distributed.tensor.rand((3, 7), device_mesh=line, placements=[Shard(1)], dtype=torch.bfloat16),
        ]
    assert report.accelerated == {"randn": 1, "rand": 1} and not report.fell_through, report
    assert made[0].requires_grad and made[0].is_leaf
    found["made"] = [digest(tensor) for tensor in made]
    with fastinit.torch.accelerate(seed=5):
        found["made plain"] = [digest(torch.randn(13, 5)), digest(torch.rand(3, 7, dtype=torch.bfloat16))]
    if rank == 0:
        print(json.dumps(found))
""")
WAYS = {1: 8, 2: 7, 4: 12, 8: 17}


@pytest.fixture(scope="module")
def of_worlds():
    """What 1, 2, 4 and 8 processes make of the model, each asked once."""
    known = {}

    def ask(world):
        if world not in known:
            known[world] = json.loads(on_ranks(PROGRAM, world))
        return known[world]

    return ask


@pytest.mark.parametrize("how", ["seeded", "unseeded", "dropped_in"])
@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_the_models_own_code_gives_the_tensors_of_one_process(world, how, of_worlds):
    alone = of_worlds(1)[f"plain, {how}"]
    found = {way: tensors for way, tensors in of_worlds(world).items() if way.endswith(f", {how}")}
    assert len(found) == WAYS[world]
    for way, digests in found.items():
        assert digests == alone, way
    assert len(set(alone.values())) == len(alone)


@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_a_dtensor_that_is_made_of_draws_is_that_of_one_process(world, of_worlds):
    found = of_worlds(world)
    assert found["made"] == found["made plain"] == of_worlds(1)["made"]


def test_what_the_page_says_of_pytorchs_own_shards(of_worlds):
    assert {world: of_worlds(world)["rank"] for world in (1, 2, 4, 8)} == {1: 64, 2: 32, 4: 16, 8: 8}


# --- which block a rank holds -----------------------------------------------------------------------------------------


def placements_of_torch():
    from torch.distributed.tensor import Replicate, Shard
    from torch.distributed.tensor.placement_types import _StridedShard

    return Replicate(), Shard(0), Shard(1), _StridedShard(0, split_factor=2), _StridedShard(0, split_factor=3)


@pytest.mark.parametrize("mesh", [(1, 2), (2, 2), (3, 2), (2, 4), (5, 3)])
@pytest.mark.parametrize("rows", [0, 1, 5, 7, 12, 31])
def test_a_rank_holds_what_the_placements_cut_one_after_the_other(rows, mesh):
    whole = torch.arange(rows * 4).view(rows, 4)
    for placements in product(placements_of_torch(), repeat=2):
        for coordinate in np.ndindex(mesh):
            part = whole
            for pieces, index, placement in zip(mesh, coordinate, placements, strict=True):
                if not placement.is_replicate():
                    part = placement._split_tensor(part, pieces, with_padding=False)[0][index]
            held = shards.ranges_of((rows, 4), mesh, coordinate, placements)
            own, columns = ([i for begin, end in ranges for i in range(begin, end)] for ranges in held)
            assert whole[own][:, columns].tolist() == part.tolist(), (placements, coordinate)


@pytest.fixture
def alone():
    """A process group of this process alone, and its mesh."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield init_device_mesh("cpu", (1,))
    finally:
        dist.destroy_process_group()


def test_a_block_whose_place_is_not_known_is_refused(alone, monkeypatch):
    from torch.distributed.tensor import DTensor, Partial, Replicate, Shard

    def of(placement, shape=(4, 4)):
        return DTensor.from_local(torch.zeros(4, 4), alone, [placement], run_check=False, shape=shape, stride=(4, 1))

    with pytest.raises(ValueError, match="local part of shape"):
        fastinit.torch.normal_(of(Shard(0), (5, 4)))
    with fastinit.torch.accelerate(seed=0) as report, pytest.raises(RuntimeError, match="placement"):
        of(Partial()).normal_()
    assert report.fell_through == {("normal_", "a partial sum"): 1}
    monkeypatch.setattr(Replicate, "is_replicate", lambda self: False)
    with pytest.raises(ValueError, match="unknown to fastinit"):
        fastinit.torch.normal_(of(Replicate()))
    monkeypatch.setattr(shards, "ranges_of", lambda *_: [[(0, 2), (4, 6)], [(0, 4)]])
    with pytest.raises(ValueError, match="no single block"):
        fastinit.torch.normal_(of(Shard(0)))


def test_a_rank_outside_the_mesh_holds_nothing_and_counts(alone, monkeypatch):
    from torch.distributed.tensor import Shard, distribute_tensor

    tensor = distribute_tensor(torch.zeros(4, 4), alone, [Shard(0)])
    monkeypatch.setattr(type(alone), "get_coordinate", lambda self: None)
    with fastinit.torch.accelerate(seed=3):
        tensor.normal_()
        second = torch.randn(5)
    monkeypatch.undo()
    assert not tensor.full_tensor().any()
    assert second.numpy().tobytes() == fastinit.new(5, fastinit.laws.Normal(), seed=3, name=1).tobytes()


# --- on accelerators --------------------------------------------------------------------------------------------------

CUDA = torch.cuda.is_available()


@pytest.mark.parametrize("in_pieces", [True, False])
@pytest.mark.parametrize("layout", ["contiguous", "transposed", "scalar"])
def test_memory_that_is_filled_by_copies_holds_what_a_fill_stores(layout, in_pieces, monkeypatch):
    """The copies that reach an accelerator, here to memory of the CPU."""
    monkeypatch.setattr(staging, "PIECE_BYTES", 1000)
    part = {"contiguous": torch.zeros(37, 5, 11), "transposed": torch.zeros(11, 5, 37).mT.mT.permute(2, 1, 0)}.get(
        layout, torch.zeros(())
    )
    where = None if layout == "scalar" else fastinit.Shard((50, 9, 11), (13, 4, 0))
    sizes = []

    def into(memory, block):
        sizes.append(memory.nbytes)
        fastinit.fill(tensors.memory_of(memory), fastinit.laws.Normal(), seed=1, name=2, shard=block)

    staging.fill_staged(part, where, into, in_pieces=in_pieces)
    expected = np.empty(tuple(part.shape), np.float32)
    fastinit.fill(expected, fastinit.laws.Normal(), seed=1, name=2, shard=where)
    assert part.contiguous().numpy().tobytes() == expected.tobytes()
    assert sum(sizes) == part.nbytes
    assert (max(sizes) <= 1000) == (in_pieces or layout == "scalar")


def test_a_block_says_whether_it_draws_on_accelerators():
    with pytest.raises(ValueError, match='"cpu"'), fastinit.torch.accelerate(devices="cuda"):
        pytest.fail("the block ran")
    with fastinit.torch.accelerate(seed=0, devices="all") as report:
        torch.empty(5, device="meta").normal_()
        ours = torch.empty(5).normal_()
    assert report.fell_through == {("normal_", "on meta"): 1}
    with fastinit.torch.accelerate(seed=0):
        assert torch.equal(torch.empty(5).normal_(), ours)


@pytest.mark.skipif(not CUDA, reason="no CUDA device")
@pytest.mark.parametrize("name", ["normal_", "trunc_normal_", "orthogonal_", "sparse_", "kaiming_uniform_"])
def test_a_cuda_tensor_is_drawn_with_the_bits_of_the_cpu(name):
    arguments = (0.5,) if name == "sparse_" else ()
    drawn = {}
    for device in ("cpu", "cuda"):
        with fastinit.torch.accelerate(seed=3, devices="all") as report:
            weight = getattr(torch.nn.init, name)(torch.empty(3001, 1100, device=device), *arguments)
            noise = torch.randn(70, device=device)
        drawn[device] = weight.cpu(), noise.cpu()
        assert report.accelerated == {name: 1, "randn": 1}
    assert all(torch.equal(a, b) for a, b in zip(drawn["cpu"], drawn["cuda"], strict=True))
    with fastinit.torch.accelerate(seed=3) as report:
        torch.nn.init.normal_(torch.empty(5, device="cuda"))
    assert report.fell_through == {("normal_", "on cuda"): 1}
