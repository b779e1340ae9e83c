"""Structured laws: what they refuse, and their moments, support and distribution function on a shape."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

import fastinit
from fastinit import Shard, laws, structures
from fastinit.laws import (
    Constant,
    DeltaOrthogonal,
    Dirac,
    GateBias,
    Identity,
    Normal,
    Orthogonal,
    Sparse,
    StateLogs,
    TruncatedNormal,
    Uniform,
)

INF, NAN = math.inf, math.nan


def buffer(*shape, dtype="float32"):
    """Memory whose every byte shows whether it was touched."""
    return np.full(math.prod(shape) * np.dtype(dtype).itemsize, 0x5A, np.uint8).view(dtype).reshape(shape)


SPARSE, ORTHO = fastinit.fill_sparse, fastinit.fill_orthogonal
DIRAC, DELTA, EYE = fastinit.fill_dirac, fastinit.fill_delta_orthogonal, fastinit.fill_identity

# what: (shape, call, error, patterns: what came, what is accepted, what to do)
REFUSED = {
    "sparsity above 1": ((4, 6), lambda b: SPARSE(b, 1.5), ValueError, "sparsity is 1.5", r"in \[0, 1\]"),
    "sparsity below 0": ((4, 6), lambda b: SPARSE(b, -0.1), ValueError, "sparsity is -0.1", r"in \[0, 1\]"),
    "sparsity NaN": ((4, 6), lambda b: SPARSE(b, NAN), ValueError, "sparsity is nan", r"in \[0, 1\]"),
    "sparsity text": ((4, 6), lambda b: SPARSE(b, "0.9"), TypeError, "sparsity is '0.9' of type str", "real number"),
    "neither": ((4, 6), lambda b: SPARSE(b), ValueError, "sparsity is None and nonzeros is None", "pass one of them"),
    "both": ((4, 6), lambda b: SPARSE(b, 0.9, nonzeros=2), ValueError, "0.9 and nonzeros is 2", "pass one of them"),
    "too many nonzeros": (
        (4, 6),
        lambda b: SPARSE(b, nonzeros=5),
        ValueError,
        r"nonzeros is 5, but a line along axis 0 of shape \(4, 6\) has only 4",
        "pass fewer, or the other axis",
    ),
    "nonzeros negative": ((4, 6), lambda b: SPARSE(b, nonzeros=-1), ValueError, "nonzeros is -1", "zero or positive"),
    "nonzeros a fraction": ((4, 6), lambda b: SPARSE(b, nonzeros=1.5), TypeError, "nonzeros is 1.5", "pass an integer"),
    "nonzeros true": ((4, 6), lambda b: SPARSE(b, nonzeros=True), TypeError, "nonzeros is True", "pass an integer"),
    "no such axis": (
        (4, 6),
        lambda b: SPARSE(b, 0.5, axis=2),
        ValueError,
        r"axis 2 does not exist.*\(4, 6\)",
        "axis 1",
    ),
    "axis a fraction": ((4, 6), lambda b: SPARSE(b, 0.5, axis=0.5), TypeError, "axis is 0.5", "pass an integer"),
    "sparse scalar": ((), lambda b: SPARSE(b, 0.5), ValueError, "axis 0 does not exist", r"shape \(\)"),
    "std and values": (
        (4,),
        lambda b: SPARSE(b, 0.5, std=1, values=Normal()),
        ValueError,
        "std.*or values",
        "not both",
    ),
    "values no law": ((4,), lambda b: SPARSE(b, 0.5, values=3.0), TypeError, "values is 3.0", "laws.Normal"),
    "values sparse": (
        (4,),
        lambda b: SPARSE(b, 0.5, values=Sparse(sparsity=0.1)),
        TypeError,
        "values is Sparse",
        "an independent law",
    ),
    "std negative": ((4,), lambda b: SPARSE(b, 0.5, std=-1), ValueError, "std is -1", "zero or positive"),
    "a line too long": (
        (1, 3),
        lambda b: SPARSE(b, 0.5, seed=0, shard=Shard((2**32, 3), (0, 0))),
        ValueError,
        "has 4294967296 elements",
        r"at most 2\^32 - 1",
    ),
    "no seed with a shard": (
        (4, 6),
        lambda b: fastinit.fill(b, Sparse(sparsity=0.5), shard=Shard((8, 6), (0, 0))),
        ValueError,
        "seed=None with shard=",
        "one seed",
    ),
    "orthogonal vector": ((6,), ORTHO, ValueError, r"shape \(6,\) is no matrix", "two dimensions or more"),
    "batch takes all": (
        (4, 6),
        lambda b: ORTHO(b, batch=1),
        ValueError,
        r"shape \(4, 6\) is no matrix",
        "beside the 1 of the batch",
    ),
    "flatten": ((4, 6), lambda b: ORTHO(b, flatten="tf"), ValueError, "flatten is 'tf'", "'torch'.*'jax'"),
    "batch negative": ((4, 6), lambda b: ORTHO(b, batch=-1), ValueError, "batch is -1", "zero or positive"),
    "gain negative": ((4, 6), lambda b: ORTHO(b, -1.0), ValueError, "gain is -1.0", "zero or positive"),
    "gain NaN": ((4, 6), lambda b: ORTHO(b, NAN), ValueError, "gain is nan", "finite"),
    "gain infinite": ((4, 6), lambda b: EYE(b, INF), ValueError, "gain is inf", "finite"),
    "identity of rank 3": ((2, 2, 2), EYE, ValueError, r"shape \(2, 2, 2\) is no matrix", "use Dirac"),
    "dirac of a matrix": ((4, 6), DIRAC, ValueError, "has 2 dimensions", "3 to 5", "use Identity"),
    "dirac of rank 6": ((1,) * 6, DIRAC, ValueError, "has 6 dimensions", "3 to 5"),
    "dirac groups": (
        (4, 2, 3),
        lambda b: DIRAC(b, 3),
        ValueError,
        r"4 output channels .* do not divide into 3 groups",
        "pass the groups",
    ),
    "dirac no groups": ((4, 2, 3), lambda b: DIRAC(b, 0), ValueError, "groups is 0", "positive"),
    "delta of a matrix": ((4, 6), DELTA, ValueError, "has 2 dimensions", "3 to 5", "use Orthogonal"),
    "delta narrows": (
        (4, 6, 3),
        DELTA,
        ValueError,
        "4 output and 6 input channels",
        "at least as many outputs as inputs",
    ),
    "delta narrows in keras": (
        (3, 6, 4),
        lambda b: DELTA(b, layout="keras"),
        ValueError,
        "layout 'keras' has 4 output and 6 input",
    ),
    "delta layout": ((6, 4, 3), lambda b: DELTA(b, layout="jax"), ValueError, "layout is 'jax'", "'torch'.*'keras'"),
    "gates": ((6,), lambda b: fastinit.fill(b, GateBias()), ValueError, r"shape \(6,\) does not divide", "4 x hidden"),
    "states of a scalar": ((), lambda b: fastinit.fill(b, StateLogs()), ValueError, "a scalar has no states"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_refused_before_the_first_store(what):
    shape, call, error, *patterns = REFUSED[what]
    buf = buffer(*shape)
    before = buf.tobytes()
    with pytest.raises(error) as refusal:
        call(buf)
    for pattern in patterns:
        assert re.search(pattern, str(refusal.value)), f"{pattern!r} is not in: {refusal.value}"
    assert buf.tobytes() == before


@pytest.mark.parametrize("law", [Sparse(sparsity=0.5), Orthogonal(), StateLogs()])
def test_integers_are_refused_where_floats_are_drawn(law):
    buf = buffer(4, 6, dtype="int32")
    with pytest.raises(TypeError, match=f"dtype int32, which {type(law).__name__} cannot fill"):
        fastinit.fill(buf, law, seed=0)
    assert buf.tobytes() == b"\x5a" * buf.nbytes


@pytest.mark.parametrize(
    ("law", "shape", "dtype"),
    [
        (Orthogonal(1e5), (4, 6), "float16"),
        (Identity(1e39), (4, 6), "float32"),
        (Identity(0.5), (4, 6), "int8"),
        (DeltaOrthogonal(1e5), (6, 4, 3), "float16"),
        (GateBias(1e5), (8,), "float16"),
        (Sparse(Normal(0.0, 1e5), 0.5), (4, 6), "float16"),
    ],
)
def test_a_scale_that_the_dtype_cannot_hold_is_refused_untouched(law, shape, dtype):
    buf = buffer(*shape, dtype=dtype)
    with pytest.raises(ValueError, match=r"beyond the largest|does not fit"):
        fastinit.fill(buf, law, seed=0)
    assert buf.tobytes() == b"\x5a" * buf.nbytes


@pytest.mark.parametrize("shape", [(0, 6), (4, 0), (0, 0), (4, 0, 3)])
@pytest.mark.parametrize(
    "fill", [lambda b: SPARSE(b, 0.5), ORTHO, EYE, DIRAC, DELTA, lambda b: fastinit.fill(b, GateBias())]
)
def test_a_zero_size_buffer_is_no_error(fill, shape):
    fill(np.empty(shape, np.float32))


@pytest.mark.parametrize("attribute", ["mean", "std", "support", "cdf"])
def test_the_moments_of_a_shaped_law_are_asked_of_a_shape(attribute):
    message = rf"Orthogonal\.{attribute} depends on the tensor; ask law.marginal\(shape\)"
    with pytest.raises(AttributeError, match=message):
        getattr(Orthogonal(), attribute)
    with pytest.raises(AttributeError, match=r"has no attribute 'variance'"):
        Orthogonal().variance  # noqa: B018


@pytest.mark.parametrize("law", [Normal(0.1, 2.0), Uniform(), TruncatedNormal(0, 1, -1, 2), Constant(3)])
def test_an_independent_law_is_the_law_of_its_elements(law):
    assert law.marginal((3, 4)) is law


ELEMENTS = {
    "sparse": (Sparse(Uniform(0.5, 1.0), 0.75), (40, 50)),
    "sparse, counted": (Sparse(Normal(1.0, 0.5), nonzeros=7, axis=1), (60, 30)),
    "nothing survives": (Sparse(Normal(1.0, 0.5), 1.0), (60, 30)),
    "identity": (Identity(0.5), (30, 20)),
    "dirac": (Dirac(2), (8, 3, 3, 3)),
    "gates": (GateBias(2.0), (400,)),
    "states": (StateLogs(), (3, 16)),
    "orthogonal": (Orthogonal(2.0), (40, 25)),
    "orthogonal, wide": (Orthogonal(0.5), (25, 8, 9)),
    "orthogonal, one column": (Orthogonal(2.0), (1, 1)),
    "delta-orthogonal": (DeltaOrthogonal(2.0), (30, 20, 3)),
}


@pytest.mark.parametrize("case", ELEMENTS)
def test_moments_support_and_distribution_are_those_of_what_is_drawn(case):
    law, shape = ELEMENTS[case]
    tensors = np.array([fastinit.new(shape, law, dtype="float64", seed=i) for i in range(300)])
    element = law.marginal(shape)
    error = element.std / math.sqrt(tensors.size) + 1e-12
    assert abs(tensors.mean() - element.mean) < 5 * error
    assert math.sqrt(np.mean((tensors - element.mean) ** 2)) == pytest.approx(element.std, rel=0.05, abs=1e-12)
    low, high = element.support
    assert low - 1e-9 <= tensors.min() and tensors.max() <= high + 1e-9
    for x in (low - 0.1, -1e-9, 0.0, 1e-9, (low + high) / 3 if math.isfinite(high - low) else 0.7, high + 0.1):
        share = np.mean(tensors <= x)
        assert element.cdf(x) == pytest.approx(share, abs=0.02)
    assert np.asarray(element.cdf(np.array([[-1.0, 0.0], [0.5, 1.0]]))).shape == (2, 2)


def test_a_function_takes_the_law_that_its_scheme_gives():
    assert structures.sparse(0.9) == Sparse(Normal(0.0, 0.01), 0.9)
    assert structures.sparse(nonzeros=15, std=1.0, axis=1) == Sparse(Normal(0.0, 1.0), nonzeros=15, axis=1)
    assert structures.sparse(0.5, values=Uniform()) == Sparse(Uniform(), 0.5)
    assert structures.orthogonal(2.0, flatten="jax", batch=1) == Orthogonal(2.0, "jax", 1)
    assert structures.identity(2.0) == Identity(2.0)
    assert structures.dirac(3) == Dirac(3)
    assert structures.delta_orthogonal(2.0, layout="keras") == DeltaOrthogonal(2.0, "keras")
    assert laws.Sparse(sparsity=0.5).values == Normal(0.0, 0.01)
