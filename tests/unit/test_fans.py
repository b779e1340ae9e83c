"""Fans of every layout, against tables typed from the frameworks' own rules."""

from __future__ import annotations

import pytest

from fastinit import Fans, fans
from fastinit.fans import LAYOUTS

# shape, layout, groups, fan_in, fan_out
TABLE = [
    ((10, 20), "torch", 1, 20, 10),
    ((64, 3, 7, 7), "torch", 1, 3 * 49, 64 * 49),
    ((64, 3, 5), "torch", 1, 15, 320),
    ((8, 4, 3, 3, 3), "torch", 1, 108, 216),
    ((64, 8, 3, 3), "torch", 4, 72, 144),  # torch.nn.init says (72, 576)
    ((4, 1, 3, 3), "torch", 4, 9, 9),  # depthwise; torch.nn.init says (9, 36)
    ((16, 33, 3, 3), "torch_transposed", 1, 16 * 9, 33 * 9),
    ((16, 8, 3, 3), "torch_transposed", 4, 36, 72),
    ((10, 20), "keras", 1, 10, 20),
    ((3, 3, 16, 32), "keras", 1, 144, 288),
    ((3, 3, 16, 32), "jax", 1, 144, 288),
    ((5, 16, 32), "keras", 1, 80, 160),
    ((3, 3, 4, 32), "keras", 8, 36, 36),
    ((64, 8, 16), "jax_heads", 1, 64, 128),
    ((3, 3, 32, 16), "keras_transposed", 1, 144, 288),
    ((3, 3, 32, 2), "keras_depthwise", 1, 9, 18),
    ((32, 3, 3, 16), "mlx", 1, 144, 288),
    ((32, 3, 3, 4), "mlx", 4, 36, 72),
    ((20, 10), "mlx", 1, 10, 20),
    ((50_000, 768), "embedding", 1, 1, 768),
    ((8, 64, 512), "jax_heads_out", 1, 512, 512),
    ((64, 8, 3, 3), "torch_grouped", 4, 72, 144),
    ((64, 8, 5), "torch_grouped", 4, 40, 80),
    ((32, 1, 3, 3), "torch_depthwise", 32, 9, 9),
    ((64, 1, 3, 3), "torch_depthwise", 32, 9, 18),
    ((12288, 4096), "torch_fused", 3, 4096, 4096),
    ((4096, 12288), "keras_fused", 3, 4096, 4096),
    ((8, 128, 64), "experts_out_in", 1, 64, 128),
    ((8, 256, 64), "experts_out_in", 2, 64, 128),  # gate and up in one
    ((8, 64, 128), "experts_in_out", 1, 64, 128),
    ((8, 64, 256), "experts_in_out", 2, 64, 128),
    ((3, 3, 16, 32), "jax", 2, 144, 144),
    ((3, 3, 32, 16), "keras_transposed", 2, 72, 288),
    ((0, 4), "torch", 1, 4, 0),
]


@pytest.mark.parametrize(("shape", "layout", "groups", "fan_in", "fan_out"), TABLE)
def test_fans_follow_the_table(shape, layout, groups, fan_in, fan_out):
    assert fans(shape, layout, groups=groups) == Fans(fan_in, fan_out)


def test_every_layout_is_in_the_table():
    assert {row[1] for row in TABLE} == set(LAYOUTS)


def test_torch_is_the_default_layout():
    assert fans((10, 20)) == fans((10, 20), "torch") == (20, 10)


def test_fans_have_names():
    both = fans((10, 20))
    assert (both.fan_in, both.fan_out) == (20, 10)


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [
        ((10, 20), {"in_axis": -2, "out_axis": -1}, (10, 20)),
        ((10, 20), {"in_axis": 1, "out_axis": 0}, (20, 10)),
        ((3, 3, 16, 32), {"in_axis": -2, "out_axis": -1}, (144, 288)),
        ((8, 64, 256), {"in_axis": 1, "out_axis": 2, "batch_axis": 0}, (64, 256)),  # experts
        ((8, 64, 256), {"batch_axis": 0}, (64, 256)),  # JAX's default axes -2 and -1
        ((8, 256, 64), {"in_axis": 2, "out_axis": 1, "batch_axis": (0,)}, (64, 256)),
        ((512, 8, 64), {"in_axis": 0, "out_axis": (1, 2)}, (512, 512)),  # heads and their width
        ((8, 64, 512), {"in_axis": (0, 1), "out_axis": -1}, (512, 512)),
        ((8, 64, 512), {"in_axis": [-3, -2], "out_axis": [-1]}, (512, 512)),
        ((2, 3, 5, 7), {"in_axis": 2, "out_axis": 3, "batch_axis": (0, 1)}, (5, 7)),
    ],
)
def test_axes_count_as_in_jax(shape, axes, expected):
    assert fans(shape, **axes) == expected


def test_experts_of_a_torch_layout_are_told_apart_from_a_convolution():
    assert fans((8, 256, 64)) == (256 * 64, 8 * 64)  # what torch.nn.init sees
    assert fans((8, 256, 64), in_axis=-1, out_axis=-2, batch_axis=0) == (64, 256)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (((8,),), ValueError, r"shape \(8,\) has no fan_in and fan_out; pass them"),
        (((),), ValueError, r"shape \(\) has no fan_in"),
        (((8, 2), "pytorch"), ValueError, "layout 'pytorch' is unknown; did you mean 'torch'"),
    ],
)
def test_fans_refuses_shapes_and_layouts_it_cannot_read(arguments, error, message):
    with pytest.raises(error, match=message):
        fans(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 0}, "groups is 0; it must be at least 1"),
        ({"groups": -2}, "groups is -2; it must be at least 1"),
        ({"groups": 3}, r"8 channels of shape \(8, 4\) do not divide into 3 groups"),
        ({"in_axis": 2}, r"in_axis 2 is not an axis of shape \(8, 4\)"),
        ({"out_axis": -3}, r"out_axis -3 is not an axis of shape \(8, 4\)"),
        ({"batch_axis": 5}, r"batch_axis 5 is not an axis of shape \(8, 4\)"),
        ({"in_axis": 0, "out_axis": 0}, r"axis 0 of shape \(8, 4\) is named twice"),
        ({"in_axis": 0, "out_axis": -2}, r"axis -2 of shape \(8, 4\) is named twice"),
        ({"batch_axis": 0}, r"axis 0 of shape \(8, 4\) is named twice"),
    ],
)
def test_fans_refuses_groups_and_axes_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        fans((8, 4), **options)


@pytest.mark.parametrize("shape", [(-1, 4), (3.7, 4), ("3", 4)])
def test_fans_refuses_a_shape_that_no_tensor_has(shape):
    with pytest.raises((TypeError, ValueError), match="shape"):
        fans(shape)


@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        ((8, 128, 64), {"layout": "torch", "batch_axis": 0}, (64, 128)),  # experts of PyTorch
        ((8, 64, 128), {"layout": "keras", "batch_axis": 0}, (64, 128)),
        ((8, 64, 128), {"layout": "jax", "batch_axis": 0}, (64, 128)),
        ((128, 8, 64), {"layout": "torch", "batch_axis": 1}, (64, 128)),
        ((128, 64, 8), {"layout": "torch", "batch_axis": -1}, (64, 128)),
        ((4, 8, 128, 64), {"layout": "torch", "batch_axis": (0, 1)}, (64, 128)),
        ((4, 8, 128, 64), {"layout": "experts_out_in", "batch_axis": 0}, (64, 128)),
        ((6, 64, 8, 3, 3), {"layout": "torch", "batch_axis": 0, "groups": 4}, (72, 144)),
        ((8, 64, 128), {"batch_axis": 0, "groups": 2}, (64, 64)),
        ((3, 3, 4, 32), {"in_axis": -2, "out_axis": -1, "groups": 8}, (36, 36)),
        ((64, 128), {"layout": "jax", "in_axis": 1, "out_axis": 0}, (128, 64)),
        ((32, 1, 3, 3), {"layout": "torch_depthwise"}, (9, 9)),  # as many groups as channels
    ],
)
def test_batch_axes_are_left_out_and_the_others_follow_the_layout(shape, options, expected):
    assert fans(shape, **options) == expected


@pytest.mark.parametrize(
    ("shape", "options", "error", "message"),
    [
        ((8, 4), {"groups": 2.0}, TypeError, "groups is 2.0 of type float; pass an integer"),
        ((8, 4), {"groups": True}, TypeError, "groups is True; pass an integer"),
        ((8, 4), {"groups": "2"}, TypeError, "groups is '2' of type str"),
        ((8, 4), {"layout": "embedding", "groups": 2.0}, TypeError, "groups is 2.0"),
        ((8, 4), {"layout": "embedding", "groups": 2}, ValueError, "'embedding' has no groups, and groups is 2"),
        ((8, 4, 4), {"layout": "jax_heads", "groups": 2}, ValueError, "'jax_heads' has no groups"),
        ((8, 4, 4), {"layout": "jax_heads_out", "groups": 2}, ValueError, "'jax_heads_out' has no groups"),
        ((3, 4, 2), {"layout": "keras_depthwise", "groups": 4}, ValueError, "'keras_depthwise' has no groups"),
        ((8, 4), {"layout": "torch_fused"}, ValueError, "'torch_fused' needs groups: Linear .groups . out, in."),
        ((8, 4), {"layout": "keras_fused"}, ValueError, "'keras_fused' needs groups"),
        ((8, 4, 3), {"layout": "torch_grouped"}, ValueError, "'torch_grouped' needs groups"),
        ((8, 4, 3), {"layout": "torch_depthwise"}, ValueError, "is not depthwise: its second dimension is 4"),
        ((8, 4), {"in_axis": 0, "out_axis": 1, "groups": 3}, ValueError, "4 channels .* do not divide into 3 groups"),
        ((8, 4), {"in_axis": 0.0}, TypeError, "in_axis is 0.0; pass an axis, such as 0, or several"),
        ((8, 4), {"out_axis": "1"}, TypeError, "out_axis is '1'; pass an axis"),
        ((8, 4, 2), {"batch_axis": (0, 1.0)}, TypeError, "an entry of fans: batch_axis is 1.0"),
        ((8, 4, 2), {"batch_axis": True}, TypeError, "batch_axis is True"),
        ((8, True), {}, TypeError, "shape is .8, True.; pass a tuple of integers"),
        (
            (8, 4),
            {"layout": "torch", "in_axis": 0},
            ValueError,
            "'torch' says which axes are which; pass it, or",
        ),
        ((8, 4), {"layout": "torch", "batch_axis": 0}, ValueError, r"\(8, 4\) and batch_axis 0 has no fan_in"),
        ((8, 4, 2), {"layout": "torch", "batch_axis": 3}, ValueError, "batch_axis 3 is not an axis of shape"),
        ((8, 4, 2), {"layout": "torch", "batch_axis": (0, -3)}, ValueError, "names axis -3 of shape .* twice"),
        (
            (8, 4),
            {"layout": "experts_out_in"},
            ValueError,
            r"is stacked experts \(experts, out, in\), and the",
        ),
        ((2, 8, 4, 2), {"layout": "experts_in_out"}, ValueError, "pass one of three dimensions, or name the others"),
    ],
)
def test_groups_and_axes_that_a_layout_has_no_use_for_are_refused(shape, options, error, message):
    with pytest.raises(error, match=message):
        fans(shape, **options)
