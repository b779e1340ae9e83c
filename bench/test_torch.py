"""fastinit.torch beside torch.nn.init: warm tensors, a bias, and a whole model that is built on fresh memory."""

from __future__ import annotations

import contextlib

import pytest

from bench.pairing import Contender
from bench.peers import FAN_IN, has
from bench.test_calls import repeated

pytestmark = pytest.mark.skipif(not has("torch"), reason="PyTorch is not installed")

STD = 0.02
CASES = {
    "kaiming_normal_": ("kaiming_normal_(w)", lambda place, w: place.kaiming_normal_(w.view(-1, FAN_IN))),
    "trunc_normal_ at 2 sigma": (
        f"trunc_normal_(w, std={STD}, a={-2 * STD}, b={2 * STD})",
        lambda place, w: place.trunc_normal_(w, 0.0, STD, -2 * STD, 2 * STD),
    ),
    "trunc_normal_, idle bounds": (f"trunc_normal_(w, std={STD})", lambda place, w: place.trunc_normal_(w, std=STD)),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.replace(" ", "-"))
def test_initialisers(case, arena, sizes, race):
    import torch

    import fastinit.torch as ours

    call, run = CASES[case]
    tensor = torch.from_numpy(arena.view("float32"))
    part = tensor[: sizes.part] if case.endswith("sigma") else tensor  # torch redraws until all are inside
    rival = Contender("torch", lambda: run(torch.nn.init, part), part.nbytes, f"torch.nn.init.{call}")
    race(f"torch {case}", Contender("fastinit", lambda: run(ours, tensor), tensor.nbytes, call), [rival], "float32")


def test_a_bias(compete, record):
    """The call that a model makes hundreds of times."""
    import torch

    import fastinit.torch as ours

    bias = torch.nn.Parameter(torch.empty(64))
    rival = repeated("torch", lambda: torch.nn.init.uniform_(bias, -0.1, 0.1))
    contest = compete(repeated("fastinit", lambda: ours.uniform_(bias, -0.1, 0.1)), [rival], 31)
    microseconds = {one.name: 1e6 / contest.rate(one) for one in (contest.ours, rival)}
    record(
        "torch uniform_ of 64 elements",
        {"times the time of torch": microseconds["fastinit"] / microseconds["torch"]},
        call="uniform_(w, -0.1, 0.1)",
        dtype="float32",
        elements=64,
        microseconds=microseconds,
    )


def test_a_model_is_built(sizes, race):
    """The layers of a GPT-2 XL: 1.5 B weights, which each layer draws as it is made."""
    import torch
    from torch import nn

    from fastinit.torch import accelerate

    width, layers, words = (1600, 48, 50_257) if sizes.timed else (64, 1, 100)

    def build():
        return [nn.Embedding(words, width), nn.Embedding(1024, width)] + [
            nn.Linear(inputs, outputs)
            for _ in range(layers)
            for inputs, outputs in ((width, 3 * width), (width, width), (width, 4 * width), (4 * width, width))
        ]

    def built(around):
        with around:
            build()

    with torch.device("meta"):
        weights = sum(parameter.numel() for layer in build() for parameter in layer.parameters())
    call = "[nn.Embedding(...), nn.Linear(...), ...]"
    race(
        "torch model of GPT-2 XL's layers",
        Contender("fastinit", lambda: built(accelerate(seed=0)), 4 * weights, f"with accelerate(seed=0): {call}"),
        [Contender("torch", lambda: built(contextlib.nullcontext()), 4 * weights, call)],
        "float32",
        rounds=5,
        weights=weights,
    )
