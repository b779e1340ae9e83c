"""Complex numbers: known answers, both engines, every layout and shard, and the law of modulus and phase."""

from __future__ import annotations

import cmath
import itertools
import math
import random

import numpy as np
import pytest
from known_answers import COMPLEX_CASES, COMPLEX_GOLDEN, COMPLEX_INDICES
from scalar_engine import complex_value, unitary
from scipy import stats

import fastinit
from fastinit import Shard, engines, laws, schemes

DTYPES = {"complex64": np.float32, "complex128": np.float64}
LONGEST = 2**57
LAWS = {
    "normal": laws.Normal(0.0, 1.0),
    "normal about another mean": laws.ComplexNormal(0.5 - 2.0j, 0.3),
    "normal about a real mean": laws.Normal(-1.0, 0.5),
    "disc": laws.ComplexUniform(0.25),
    "uniform": laws.Uniform(-0.5, 0.5),
    "cut at two": laws.ComplexTruncatedNormal(1.0, 2.0),
    "truncated at two": laws.TruncatedNormal(0.0, 0.1, -0.2, 0.2),
    "cut near its middle": laws.ComplexTruncatedNormal(1.0, 0.05),
    "cut nowhere": laws.ComplexTruncatedNormal(3.0, math.inf),
}
SAMPLE = 200_000


@pytest.fixture(params=["numba", "numpy"])
def engine(request):
    with engines.use(request.param):
        yield request.param


def filled(law, shape, dtype="complex64", order="C", **options):
    x = np.full(shape, np.nan, dtype, order=order)
    fastinit.fill(x, law, **{"seed": 0, **options})
    return x


def law_of(kind, params):
    if kind == "complex_normal":
        return laws.ComplexNormal(complex(*params[:2]), params[2])
    return {"complex_uniform": laws.ComplexUniform, "complex_truncated_normal": laws.ComplexTruncatedNormal}[kind](
        *params
    )


def block(case, dtype, start, count):
    """The bits of the parts of some elements of the longest tensor."""
    kind, params, seed, name = COMPLEX_CASES[case]
    x = filled(law_of(kind, params), count, dtype, seed=seed, name=name, shard=Shard((LONGEST,), (start,)))
    return [int(bits) for bits in x.view(f"u{x.itemsize // 2}")]


def same(a, b):
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    assert np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()


# --- bits -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", COMPLEX_CASES)
def test_fill_gives_the_golden_bits(engine, case, dtype):
    got = [part for index in COMPLEX_INDICES for part in block(case, dtype, index, 1)]
    assert got == list(COMPLEX_GOLDEN[case, dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", COMPLEX_CASES)
def test_the_golden_bits_are_those_of_the_scalar_engine(case, dtype):
    kind, params, seed, name = COMPLEX_CASES[case]
    parts = (complex_value(kind, params, dtype, seed, name, index) for index in COMPLEX_INDICES)
    assert COMPLEX_GOLDEN[case, dtype] == tuple(itertools.chain.from_iterable(parts))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", COMPLEX_CASES)
def test_fill_agrees_with_the_scalar_engine_wherever_it_starts(engine, case, dtype):
    kind, params, seed, name = COMPLEX_CASES[case]
    draw = random.Random(f"{case} {dtype}")
    for magnitude in (2**6, 2**33, 2**57 - 100):
        start = draw.randrange(magnitude)
        expected = [complex_value(kind, params, dtype, seed, name, start + i) for i in range(40)]
        assert block(case, dtype, start, 40) == list(itertools.chain.from_iterable(expected))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", LAWS)
def test_engines_agree(case, dtype):
    results = []
    for name in ("numba", "numpy"):
        with engines.use(name):
            results.append(filled(LAWS[case], 300_007, dtype, name=case, threads=2))
    same(*results)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_complex_normal_is_the_normal_of_the_floats_that_its_memory_is(dtype):
    z = filled(laws.Normal(0.0, 0.02), (33, 77), dtype, name="w")
    x = np.empty((33, 154), DTYPES[dtype])
    fastinit.fill(x, laws.Normal(0.0, 0.02 / math.sqrt(2.0)), seed=0, name="w")
    same(z.view(DTYPES[dtype]), x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", LAWS)
def test_layouts_and_shards_hold_the_elements_of_the_whole(engine, case, dtype):
    law, shape = LAWS[case], (90, 40, 7)
    whole = filled(law, shape, dtype, name=case)
    same(filled(law, shape, dtype, "F", name=case), whole)
    apart = np.zeros((180, 40, 14), dtype)
    fastinit.fill(apart[::2, ::-1, ::2], law, seed=0, name=case)
    same(apart[::2, ::-1, ::2], whole)
    assert not apart[1::2].any()
    raw = np.zeros(whole.nbytes + 1, np.uint8)[1:].view(dtype).reshape(shape)  # off its natural boundary
    fastinit.fill(raw, law, seed=0, name=case)
    same(raw, whole)
    part = filled(law, (50, 9, 7), dtype, name=case, shard=Shard(shape, (13, 31, 0)))
    same(part, whole[13:63, 31:])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [0, 1])
def test_a_sparse_tensor_keeps_values_at_their_address_and_zeroes_as_many(engine, dtype, axis):
    law, shape = laws.Sparse(laws.Normal(0.0, 1.0), 0.75, axis=axis), (96, 80)
    z, dense = filled(law, shape, dtype, name="w"), filled(law.values, shape, dtype, name="w")
    alive = z != 0
    same(z[alive], dense[alive])
    assert (alive.sum(axis=axis) == law.survivors(shape[axis])).all()
    x = np.empty(shape, np.float32)
    fastinit.fill(x, law, seed=0, name="w")
    assert ((x != 0) == alive).all()  # the same choices as of real numbers
    same(filled(law, (40, 30), dtype, name="w", shard=Shard(shape, (50, 44))), z[50:90, 44:74])


def test_parts_padding_and_copies_take_complex_laws():
    normal, disc = laws.Normal(0.0, 1.0), laws.ComplexUniform(1.0)
    both = filled(laws.Blocks([(30, normal), (20, disc), (10, laws.Constant(2j))]), (60, 8), name="w")
    same(both[:30], filled(normal, (60, 8), name="w")[:30])
    same(both[30:50], filled(disc, (60, 8), name="w")[30:50])
    assert (both[50:] == 2j).all()
    padded = filled(laws.Padded(normal, 3), (9, 8), name="w")
    assert not padded[3].any()
    same(padded[4:], filled(normal, (9, 8), name="w")[4:])
    same(filled(laws.Copy(disc, "w"), (60, 8), name="v"), filled(disc, (60, 8), name="w"))


# --- laws -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", LAWS)
def test_modulus_and_phase_follow_the_law(case, dtype):
    law = LAWS[case]
    z = filled(law, SAMPLE, dtype, name=case)
    form = law.complex_form()
    modulus = form.modulus
    assert stats.kstest(np.abs(z.astype(np.complex128)), modulus.cdf).pvalue > 1e-4
    about = z.astype(np.complex128) - form.mean
    assert stats.kstest(np.angle(about), stats.uniform(-math.pi, 2.0 * math.pi).cdf).pvalue > 1e-4
    parts = np.stack([about.real, about.imag])
    assert stats.spearmanr(np.abs(about), np.angle(about)).pvalue > 1e-4
    assert abs(np.corrcoef(parts)[0, 1]) < 5.0 / math.sqrt(SAMPLE)
    assert form.std == pytest.approx(law.std, rel=1e-12)  # a real law and its complex form have one variance
    assert math.sqrt((np.abs(about) ** 2).mean()) == pytest.approx(form.std, rel=0.01)
    assert abs(about.mean()) < 5.0 * form.std / math.sqrt(SAMPLE)
    assert np.abs(z).mean() == pytest.approx(modulus.mean, rel=0.01)
    assert np.abs(z).std() == pytest.approx(modulus.std, rel=0.02)
    low, high = modulus.support
    assert low <= np.abs(z).min()
    assert np.abs(z.astype(np.complex128)).max() <= high * (1.0 + 2.0**-22)


def test_the_moments_of_a_modulus_are_those_of_its_distribution_function():
    for law in (
        laws.ComplexUniform(2.0),
        *(laws.ComplexTruncatedNormal(1.5, 1.5 * c) for c in (0.005, 0.02, 1.0, 5.0)),
    ):
        top = law.radius
        r = np.linspace(0.0, top, 2_000_001)
        above = 1.0 - law.modulus.cdf(r)
        mean = np.trapezoid(above, r)
        square = np.trapezoid(2.0 * r * above, r)
        assert law.modulus.mean == pytest.approx(mean, rel=1e-4)
        assert law.std == pytest.approx(math.sqrt(square), rel=1e-6)
        assert law.modulus.std == pytest.approx(math.sqrt(square - mean**2), rel=1e-3)


@pytest.mark.parametrize(
    "law",
    [
        schemes.he_normal(256),
        schemes.he_uniform(256),
        schemes.lecun_normal(256, truncated=True),
        schemes.xavier_uniform(256, 256),
        schemes.variance_scaling(2.0, 256),
    ],
    ids=repr,
)
def test_a_scheme_gives_complex_weights_its_variance(law):
    z = filled(law, (256, 256))
    assert math.sqrt((np.abs(z) ** 2).mean()) == pytest.approx(law.std, rel=0.01)


@pytest.mark.parametrize("radius", [math.inf, 4e38])
def test_a_cut_law_whose_tail_a_float32_cannot_hold_is_refused(radius):
    law = laws.ComplexTruncatedNormal(1e38, radius)
    with pytest.raises(ValueError, match=r"beyond the largest float32 .*; use a smaller scale or a wider dtype"):
        filled(law, 3)
    assert np.isfinite(filled(law, 1000, "complex128")).all()
    assert np.isfinite(filled(laws.ComplexTruncatedNormal(1e38, 1e38), 1000)).all()


def test_what_has_no_complex_form_is_refused_by_name_and_leaves_the_buffer():
    for law, error, said in (
        (laws.Uniform(0.0, 1.0), ValueError, r"Uniform\(low=0.0, high=1.0\) is not symmetric about 0"),
        (laws.TruncatedNormal(0.0, 1.0, -1.0, 2.0), ValueError, "is not symmetric about 0"),
        (laws.Laplace(), TypeError, "Laplace has no form for complex numbers; fill the parts"),
        (laws.StateLogs(), TypeError, "StateLogs has no form for complex numbers"),
        (laws.Sparse(laws.StepBias(), 0.5), TypeError, "StepBias has no form for complex numbers"),
        (laws.Blocks([(4, laws.Normal()), (4, laws.Laplace())]), TypeError, "Laplace has no form"),
        (laws.ComplexUniform(1e39), ValueError, "beyond the largest float32"),
    ):
        z = np.full((8, 4), 7.0 + 7.0j, np.complex64)
        with pytest.raises(error, match=said):
            fastinit.fill(z, law, seed=0)
        assert (z == 7.0 + 7.0j).all()
    for law in (laws.ComplexNormal(), laws.ComplexUniform(), laws.ComplexTruncatedNormal(1.0, 2.0)):
        with pytest.raises(TypeError, match="draws complex numbers, and float32 has none; use complex64"):
            fastinit.fill(np.zeros(4, np.float32), law, seed=0)
        with pytest.raises(TypeError, match=r"have no order; ask law\.modulus\.cdf"):
            law.cdf(0.0)
        with pytest.raises(TypeError, match=r"have no order; ask law\.modulus\.support"):
            _ = law.support


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: laws.ComplexNormal(math.nan, 1.0), "mean is nan; it must be finite"),
        (lambda: laws.ComplexNormal(0.0, -1.0), "std is -1.0; it must be zero or positive"),
        (lambda: laws.ComplexUniform(0.0), "radius is 0.0; it must be positive"),
        (lambda: laws.ComplexTruncatedNormal(0.0, 1.0), "parent_std is 0.0; it must be positive"),
        (lambda: laws.ComplexTruncatedNormal(1.0, 1e-7), "under 2\\^-20 of parent_std 1.0; use a larger one"),
        (lambda: laws.ComplexTruncatedNormal(1.0, math.nan), "radius is nan"),
    ],
)
def test_numbers_that_are_no_law_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


# --- unitary ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (1, 1), (300, 280)])
def test_a_matrix_is_unitary(engine, dtype, shape):
    q = filled(laws.Orthogonal(2.0), shape, dtype).astype(np.complex128) / 2.0
    q = q if shape[0] >= shape[1] else q.T
    gram = q.conj().T @ q
    assert np.abs(gram - np.eye(len(gram))).max() < 32.0 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_matrix_has_the_elements_of_the_scalar_engine(dtype):
    tolerance = 32.0 * np.finfo(dtype).eps
    expected = np.array([unitary(5, 3, number, 5, "w") for number in range(2)])
    assert np.abs(filled(laws.Orthogonal(batch=1), (2, 5, 3), dtype, seed=5, name="w") - expected).max() < tolerance
    across = filled(laws.Orthogonal(batch=1), (2, 3, 5), dtype, seed=5, name="w")
    assert np.abs(across - expected.swapaxes(1, 2)).max() < tolerance
    kernel = filled(laws.DeltaOrthogonal(), (5, 3, 3), dtype, seed=5, name="w")
    assert np.abs(kernel[:, :, 1] - expected[0]).max() < tolerance
    assert not kernel[:, :, [0, 2]].any()
    part = filled(laws.Orthogonal(batch=1), (1, 4, 2), dtype, seed=5, name="w", shard=Shard((2, 5, 3), (1, 1, 1)))
    assert np.abs(part - expected[1:, 1:, 1:]).max() < tolerance


def test_matrices_are_haar():
    """Moments of traces (Diaconis and Shahshahani 1994): E|tr Q^k|^2 = k for k <= n, and E tr Q = 0; phases uniform."""
    count, n = 20_000, 3
    q = filled(laws.Orthogonal(batch=1), (count, n, n)).astype(np.complex128)
    power = q
    for k in (1, 2, 3):
        traces = np.trace(power, axis1=1, axis2=2)
        assert abs(traces.mean()) < 5.0 * math.sqrt(k / count)
        assert (np.abs(traces) ** 2).mean() == pytest.approx(k, abs=6.0 * k / math.sqrt(count))
        power = power @ q
    assert stats.kstest(np.abs(q[:, 0, 0]) ** 2, stats.beta(1, n - 1).cdf).pvalue > 1e-4
    phases = np.angle(np.linalg.det(q))
    assert stats.kstest(phases, stats.uniform(-math.pi, 2.0 * math.pi).cdf).pvalue > 1e-4
    assert cmath.isclose(np.linalg.det(q[0]), cmath.exp(1j * phases[0]), abs_tol=1e-5)


def test_defaults_of_complex_laws():
    assert (laws.ComplexNormal().mean, laws.ComplexNormal().std, laws.ComplexUniform().radius) == (0.0, 1.0, 1.0)


# A part reaches 6.77 of its std, which is std / sqrt(2), as complex64, and 9.5 as complex128.
@pytest.mark.parametrize(
    ("law", "dtype", "fits"),
    [
        (laws.ComplexNormal(0.0, 6e37), "complex64", True),
        (laws.ComplexNormal(0.0, 8e37), "complex64", False),
        (laws.ComplexNormal(3.3e38j, 1e36), "complex64", True),
        (laws.ComplexNormal(3.3e38j, 1e37), "complex64", False),
        (laws.ComplexNormal(3.3e38, 1e37), "complex64", False),
        (laws.ComplexNormal(0.0, 2.5e307), "complex128", True),
        (laws.ComplexNormal(0.0, 3e307), "complex128", False),
        (laws.ComplexTruncatedNormal(4e37, math.inf), "complex64", True),
        (laws.ComplexTruncatedNormal(7e37, math.inf), "complex64", False),
    ],
)
def test_a_complex_law_whose_draws_might_overflow_is_refused_untouched(law, dtype, fits):
    x = np.full(8, 7, dtype)
    if fits:
        fastinit.fill(x, law, seed=1)
        assert np.isfinite(x).all()
        return
    with pytest.raises(ValueError, match="float32" if dtype == "complex64" else "float64"):
        fastinit.fill(x, law, seed=1)
    assert (x == 7).all()


@pytest.mark.parametrize(
    ("law", "lost"),
    [
        (laws.ComplexNormal(0.0, 1e-45), True),
        (laws.ComplexNormal(1e-45j, 1e-45), True),
        (laws.ComplexNormal(1.0, 1e-45), False),
        (laws.ComplexNormal(1j, 1e-45), False),
        (laws.ComplexNormal(0.0, 1e-12), False),
        (laws.ComplexUniform(1e-12), False),
        (laws.ComplexUniform(1e-46), True),
        (laws.ComplexTruncatedNormal(1e-12, 2.0), False),
        (laws.ComplexTruncatedNormal(1e-46, 2.0), True),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_spread_that_the_dtype_does_not_show_is_warned_of(law, lost):
    if lost:
        with pytest.warns(UserWarning, match="std"):
            fastinit.fill(np.zeros(8, np.complex64), law, seed=1)
    else:
        fastinit.fill(np.zeros(8, np.complex64), law, seed=1)


def test_the_modulus_of_a_point_and_beyond_a_disc():
    point = laws.ComplexNormal(3.0 - 4.0j, 0.0).modulus
    assert (point.mean, point.std, point.support) == (5.0, 0.0, (5.0, 5.0))
    assert list(point.cdf(np.array([4.999, 5.0, 6.0]))) == [0.0, 1.0, 1.0]
    disc = laws.ComplexUniform(2.0).modulus
    assert list(disc.cdf(np.array([-1.0, 1.0, 2.0, 3.0]))) == [0.0, 0.25, 1.0, 1.0]
