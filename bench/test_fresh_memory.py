"""Memory that nobody has touched: the normal case of an initialisation. Allocation and release are timed too."""

from __future__ import annotations

import mmap

import numpy as np
import pytest

import fastinit
from bench.pairing import Contender
from bench.peers import has


def fresh(nbytes):
    """Float32 memory as its owner hands it out, without advice on pages: torch.empty, or an anonymous map."""
    if has("torch"):
        import torch

        return torch.empty(nbytes // 4).numpy()
    return np.frombuffer(mmap.mmap(-1, nbytes), np.float32)


def torch_fresh(nbytes):
    """Do the same in PyTorch."""
    import torch

    torch.empty(nbytes // 4).normal_()


@pytest.mark.parametrize("huge_pages", [True, False], ids=["huge-pages", "ordinary-pages"])
def test_fresh_memory(huge_pages, sizes, race, monkeypatch):
    monkeypatch.setenv("FASTINIT_HUGE_PAGES", "1" if huge_pages else "0")

    def run():
        fastinit.fill_he_normal(fresh(sizes.fresh), 8192, seed=1, name="w")

    def store():
        fresh(sizes.fresh).fill(1.0)

    rivals = [Contender("fresh ndarray.fill on one thread", store, sizes.fresh, "torch.empty, ndarray.fill")]
    if has("torch"):
        call = "torch.empty(n).normal_()"
        rivals.append(Contender("torch", lambda: torch_fresh(sizes.fresh), sizes.fresh, call))
    workload = "normal float32, fresh memory" + ("" if huge_pages else ", ordinary pages")
    race(
        workload,
        Contender("fastinit", run, sizes.fresh, "fill_he_normal(torch.empty(n).numpy(), fan_in)"),
        rivals,
        "float32",
        # After a turn of rivals the kernel has only small pages to give until it has compacted them: many rounds.
        rounds=15 if huge_pages else 5,
        huge_pages=huge_pages,
    )
