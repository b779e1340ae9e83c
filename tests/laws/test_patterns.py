"""Patterns: identity, Dirac, the bias of gates, the logarithms of states; whole, sharded, in every numeric dtype."""

from __future__ import annotations

import itertools
import math

import mpmath
import numpy as np
import pytest
from drawing import STORAGE, empty

import fastinit
from fastinit import Shard
from fastinit.laws import Dirac, GateBias, Identity, StateLogs

NUMERIC = ["bool", "int8", "uint16", "int64", "float16", "float32", "float64", "complex64"]
CASES = {
    "identity": (Identity(), [(5, 5), (3, 8), (8, 3), (1, 1)]),
    "dirac": (Dirac(), [(4, 4, 3), (6, 2, 4, 3), (2, 6, 3, 2, 5)]),
    "dirac in groups": (Dirac(3), [(6, 2, 3), (9, 1, 4, 4), (12, 7, 1), (3, 2, 3)]),
    "gates": (GateBias(), [(20,), (4,), (3, 8)]),
}


def expected(law, shape):
    """The tensor by the definition, element by element."""
    x = np.zeros(shape)
    for index in np.ndindex(*shape):
        if isinstance(law, Identity):
            x[index] = index[0] == index[1]
        elif isinstance(law, Dirac):
            own = index[0] % (shape[0] // law.groups)
            x[index] = own == index[1] and all(i == k // 2 for i, k in zip(index[2:], shape[2:], strict=True))
        else:
            x[index] = shape[-1] // 4 <= index[-1] < shape[-1] // 2
    return x


GRID = [(law, shape) for law, shapes in CASES.values() for shape in shapes]


@pytest.mark.parametrize("dtype", NUMERIC)
@pytest.mark.parametrize(("law", "shape"), GRID)
def test_the_pattern_is_that_of_its_definition(law, shape, dtype):
    x = np.full(shape, 1, dtype)
    fastinit.fill(x, law)
    assert (x == expected(law, shape)).all()


@pytest.mark.parametrize("dtype", STORAGE)
@pytest.mark.parametrize(("law", "shape"), GRID)
def test_narrow_floats_hold_the_pattern_too(law, shape, dtype):
    one = np.zeros(1, STORAGE[dtype])
    fastinit.fill_ones(one, dtype=dtype)
    x = empty(shape, dtype)
    fastinit.fill(x, law, dtype=dtype)
    assert (x == np.where(expected(law, shape), one, np.zeros_like(one))).all()


@pytest.mark.parametrize(("law", "shape"), [*GRID, (StateLogs(), (6, 16))])
def test_shards_equal_the_slices(law, shape):
    whole, tiled = np.empty(shape, np.float32), np.full(shape, np.nan, np.float32)
    fastinit.fill(whole, law)
    edges = [np.unique([0, size // 3, 2 * size // 3, size]) for size in shape]
    for corner in itertools.product(*(itertools.pairwise(edge) for edge in edges)):
        block, offsets = tuple(slice(a, b) for a, b in corner), [a for a, _ in corner]
        fastinit.fill(tiled[block], law, shard=Shard(shape, offsets))
    assert (tiled == whole).all()


@pytest.mark.parametrize("order", ["F", "strided", "unaligned"])
def test_any_memory_holds_the_pattern(order):
    x = {
        "F": np.ones((50, 70), np.float32, order="F"),
        "strided": np.ones((100, 70), np.float32)[::-2],
        "unaligned": np.ones(50 * 70 * 4 + 1, np.uint8)[1:].view(np.float32).reshape(50, 70),
    }[order]
    fastinit.fill_identity(x, 0.5)
    assert (x == 0.5 * np.eye(50, 70)).all()


def test_a_far_shard_of_an_identity_is_its_part():
    x = np.ones((3, 4), np.float32)
    fastinit.fill_identity(x, shard=Shard((2**29, 2**29), (2**28, 2**28 + 1)))
    assert (x == np.eye(3, 4, -1)).all()


@pytest.mark.parametrize("gain", [0.0, -1.0, 0.1])
def test_the_gain_of_an_identity_is_rounded_to_the_dtype(gain):
    x = np.empty((4, 4), np.float16)
    fastinit.fill_identity(x, gain)
    assert (x == np.float16(gain) * np.eye(4, dtype=np.float16)).all()


def test_state_logs_are_the_rounded_logarithms():
    x, single = np.empty((3, 256)), np.empty((3, 256), np.float32)
    fastinit.fill(x, StateLogs())
    fastinit.fill(single, StateLogs())
    exact = [float(mpmath.log(n)) for n in range(1, 257)]
    assert x[0, 0] == 0.0 and not np.signbit(x[0, 0])
    assert abs(x[0] - exact).max() <= 4 * math.ulp(4.0)
    assert (x == x[0]).all()
    assert (single == x.astype(np.float32)).all()


@pytest.mark.parametrize("law", [Identity(), Dirac(), GateBias()])
def test_a_pattern_needs_no_seed_and_draws_nothing(law):
    shape = {Identity: (4, 4), Dirac: (4, 4, 3), GateBias: (8,)}[type(law)]
    a, b = np.empty(shape, np.float32), np.empty(shape, np.float32)
    fastinit.fill(a, law, shard=Shard(shape, (0,) * len(shape)))
    fastinit.fill(b, law, seed=77, name="other")
    assert (a == b).all()


WITH_STATES = [
    *GRID,
    (StateLogs(), (3, 5)),
    (StateLogs(), (3, 1)),
    (StateLogs(), (2, 3, 4)),
    (Identity(-2.5), (3, 8)),
    (GateBias(-1.5), (8,)),
]


@pytest.mark.parametrize(("law", "shape"), WITH_STATES)
def test_the_marginal_is_the_law_of_an_element_taken_at_random(law, shape):
    values = np.zeros(shape)
    fastinit.fill(values, law)
    marginal = law.marginal(shape)
    assert marginal.mean == pytest.approx(values.mean(), rel=1e-12)
    assert marginal.std == pytest.approx(values.std(), rel=1e-12, abs=1e-12)
    assert marginal.support == (values.min(), values.max())
    points = np.unique(values)
    for x in (*points, *(points + 1e-9), *(points - 1e-9)):
        assert marginal.cdf(x) == pytest.approx((values <= x).mean(), abs=1e-12), x


@pytest.mark.parametrize(
    ("law", "shape"), [(Identity(), (0, 3)), (Identity(), (3, 0)), (Dirac(), (0, 2, 3)), (StateLogs(), (3, 0))]
)
def test_the_marginal_of_an_empty_tensor_is_zero(law, shape):
    assert (law.marginal(shape).mean, law.marginal(shape).std) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("law", "shape"),
    [
        (Identity(), (3,)),
        (Dirac(), (3, 3)),
        (Dirac(), (1, 1, 1, 1, 1, 1)),
        (Dirac(2), (3, 3, 3)),
        (GateBias(), (7,)),
        (GateBias(), ()),
        (StateLogs(), ()),
    ],
)
def test_a_shape_that_a_pattern_cannot_have_is_refused_by_its_marginal_and_by_a_fill(law, shape):
    with pytest.raises(ValueError, match=type(law).__name__):
        law.marginal(shape)
    x = np.full(shape, 7.0)
    with pytest.raises(ValueError, match=type(law).__name__):
        fastinit.fill(x, law)
    assert (x == 7.0).all()


def test_defaults_and_the_types_of_what_is_passed():
    assert (Identity().gain, Dirac().groups, GateBias().forget) == (1.0, 1, 1.0)
    assert type(Identity(np.float32(2)).gain) is type(GateBias(np.int8(2)).forget) is float
    assert type(Dirac(np.int64(2)).groups) is int
    for law in (Identity, Dirac):
        with pytest.raises(TypeError, match="positional"):
            law(1, (0,))
    with pytest.raises(ValueError, match="groups"):
        Dirac(0)


@pytest.mark.parametrize(("law", "shape"), [(Identity(1e6), (4, 4)), (GateBias(1e6), (8,))])
def test_a_value_that_the_dtype_cannot_hold_is_refused_untouched(law, shape):
    x = np.full(shape, 7, np.float16)
    with pytest.raises(ValueError, match="float16"):
        fastinit.fill(x, law)
    assert (x == 7).all()


def test_states_are_counted_along_the_last_axis_of_a_shard_too():
    whole = np.zeros((2, 3, 7))
    fastinit.fill(whole, StateLogs())
    assert np.allclose(whole, np.log(np.arange(1, 8)), rtol=1e-15, atol=0)
    block = np.zeros((1, 2, 3))
    fastinit.fill(block, StateLogs(), shard=Shard(whole.shape, (1, 1, 2)))
    assert (block == whole[1:, 1:, 2:5]).all()
    with pytest.raises(TypeError, match="int32"):
        fastinit.fill(np.zeros((2, 3), np.int32), StateLogs())
