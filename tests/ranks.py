"""Run one program on several processes that talk over gloo."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

# A thread of gloo may still let go of a tensor, and takes the GIL for that: in an interpreter that ends this aborts the
# process, now and then (github.com/pytorch/pytorch/pull/179291).
END = """
sys.stdout.flush()
dist.destroy_process_group()
os._exit(0)
"""
BEGIN = """
import os, sys
import torch
import torch.distributed as dist
world = int(os.environ["WORLD_SIZE"])
dist.init_process_group("gloo")
rank = dist.get_rank()

def distributed(model, placements, mesh):
    # Every parameter a DTensor; where it has no such axis, a replica.
    from torch.distributed.tensor import Replicate, distribute_tensor

    for layer in model.modules():
        for name, parameter in list(layer.named_parameters(recurse=False)):
            fits = [p if not p.is_shard() or p.dim < parameter.dim() else Replicate() for p in placements]
            layer._parameters[name] = torch.nn.Parameter(distribute_tensor(parameter.data, mesh, fits))
    return model
"""


def on_ranks(program: str, world: int) -> str:
    """What rank 0 of so many printed; the program finds `torch`, `dist`, `world`, `rank` and `distributed`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", BEGIN + program + END],
            env={**environment, "RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    outputs = [process.communicate(timeout=60 * max(world, 4)) for process in processes]
    assert all(process.returncode == 0 for process in processes), "\n".join(error[-2000:] for _, error in outputs)
    return outputs[0][0]
