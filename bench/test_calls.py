"""The cost of a call that fills next to nothing."""

from __future__ import annotations

import numpy as np

import fastinit
from bench.pairing import Contender
from bench.peers import has

ELEMENTS, CALLS = 64, 1000


def repeated(name, call):
    """A contender that makes many calls in a run, so that the clock does not count."""

    def run():
        for _ in range(CALLS):
            call()

    return Contender(name, run, CALLS)


def test_64_elements(compete, record):
    buf = np.zeros(ELEMENTS, np.float32)
    rng = np.random.default_rng(0)
    rivals = [repeated("numpy", lambda: rng.standard_normal(out=buf, dtype=np.float32))]
    if has("torch"):
        import torch

        small = torch.empty(ELEMENTS)
        rivals.append(repeated("torch", lambda: small.normal_()))
    contest = compete(repeated("fastinit", lambda: fastinit.fill_he_normal(buf, 8192, seed=1, name="w")), rivals, 31)
    microseconds = {one.name: 1e6 / contest.rate(one) for one in (contest.ours, *rivals)}
    record(
        "64 elements",
        {"microseconds": microseconds["fastinit"]},
        call="fill_he_normal(buf, fan_in)",
        dtype="float32",
        elements=ELEMENTS,
        microseconds=microseconds,
    )
