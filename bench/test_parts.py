"""Tensors made of parts, against the same elements as one matrix of one law."""

from __future__ import annotations

import math

import pytest

import fastinit
from bench.pairing import Contender
from fastinit import fans
from fastinit.laws import Blocks, Normal
from fastinit.schemes import he_normal

THREE = (Normal(0.0, 0.02), Normal(0.0, 0.01), Normal(0.0, 0.03))


def contender(name, buf, law, dtype, call):
    return Contender(name, lambda: fastinit.fill(buf, law, seed=1, name="w", dtype=dtype), buf.nbytes, call)


def experts(arena, sizes):
    """Eight experts of (out, in) in bfloat16: the size of Mixtral 8x7B's, https://arxiv.org/abs/2401.04088."""
    shape = (8, 14336, 4096) if sizes.timed else (8, 112, 64)
    return arena.view("uint16")[: math.prod(shape)].reshape(shape)


def test_stacked_experts(arena, sizes, race):
    stack = experts(arena, sizes)
    law = he_normal(fans(stack.shape, "experts_out_in").fan_in)
    matrix = contender("own matrix", stack.reshape(-1, stack.shape[-1]), law, "bfloat16", "fill(matrix, law)")
    ourselves = contender("fastinit", stack, law, "bfloat16", 'he_normal(fans(shape, "experts_out_in").fan_in)')
    race("stacked experts bfloat16", ourselves, [matrix], "bfloat16", shape=stack.shape)


def test_experts_of_their_own_laws(arena, sizes, race):
    stack = experts(arena, sizes)
    one = contender("own one law", stack, Normal(0.0, 0.02), "bfloat16", "fill(buf, Normal(0, 0.02))")
    law = Blocks(tuple((1, Normal(0.0, 0.01 * (i + 1))) for i in range(8)))
    ourselves = contender("fastinit", stack, law, "bfloat16", "fill(buf, Blocks(of eight laws))")
    race("eight experts of their own laws bfloat16", ourselves, [one], "bfloat16", shape=stack.shape)


@pytest.mark.parametrize(("axis", "words"), [(0, "first"), (1, "last")])
def test_three_laws(axis, words, arena, sizes, race):
    """q, k and v: a third each, in the layout of PyTorch and of JAX."""
    width = 4096 if sizes.timed else 48
    line = arena.view("float32")
    length = line.size // (3 * width)
    shape = (3 * length, width) if axis == 0 else (length, 3 * width)
    matrix = line[: math.prod(shape)].reshape(shape)
    size = shape[axis] // 3
    one = contender("own one law", matrix, THREE[0], None, "fill(buf, Normal(0, 0.02))")
    law = Blocks(tuple((size, part) for part in THREE), axis)
    ourselves = contender("fastinit", matrix, law, None, f"fill(buf, Blocks(of three laws, axis={axis}))")
    race(f"three laws along the {words} axis float32", ourselves, [one], "float32", shape=shape)
