"""fastinit.torch's functions beside torch.nn.init's: signatures, laws, bits without chance, warnings, errors."""

from __future__ import annotations

import inspect
import math
import re
import warnings

import numpy as np
import pytest
from scipy import stats

torch = pytest.importorskip("torch")
init = torch.nn.init

import fastinit  # noqa: E402
import fastinit.torch as ours  # noqa: E402

# PyTorch 2.5 has no __all__ there.
FUNCTIONS = [name for name in dir(init) if re.fullmatch(r"[a-z]\w*_|calculate_gain", name)]
FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]

# Function, shape, arguments: every one that draws.
DRAWS = [
    ("uniform_", (300, 200), {}),
    ("uniform_", (300, 200), {"a": -0.3, "b": 0.1}),
    ("normal_", (300, 200), {}),
    ("normal_", (300, 200), {"mean": 1.0, "std": 0.02}),
    ("trunc_normal_", (300, 200), {}),
    ("trunc_normal_", (300, 200), {"std": 0.02}),
    ("trunc_normal_", (300, 200), {"mean": 0.5, "std": 0.3, "a": 0.4, "b": 2.0}),
    ("trunc_normal_", (300, 200), {"mean": 0.0, "std": 1.0, "a": 1.5, "b": 2.0}),
    ("xavier_uniform_", (300, 200), {}),
    ("xavier_uniform_", (64, 32, 5, 5), {"gain": 0.5}),
    ("xavier_normal_", (300, 200), {"gain": 2.0}),
    ("xavier_normal_", (64, 32, 25), {}),
    ("kaiming_uniform_", (300, 200), {}),
    ("kaiming_uniform_", (300, 200), {"a": math.sqrt(5), "mode": "fan_out"}),
    ("kaiming_uniform_", (64, 32, 5, 5), {"nonlinearity": "tanh"}),
    ("kaiming_normal_", (300, 200), {"mode": "fan_out", "nonlinearity": "relu"}),
    ("kaiming_normal_", (64, 32, 5, 5), {"a": 0.1}),
    ("kaiming_normal_", (300, 200), {"nonlinearity": "selu"}),
    ("orthogonal_", (300, 200), {}),
    ("orthogonal_", (20, 30, 100), {"gain": 1.5}),
    ("sparse_", (300, 200), {"sparsity": 0.3}),
    ("sparse_", (300, 200), {"sparsity": 0.9, "std": 2.0}),
]


def bits(tensor):
    """The memory of a tensor as bytes, row by row."""
    return tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


# --- the same face ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_signature_is_that_of_torch(name):
    theirs, own = (inspect.signature(getattr(place, name)) for place in (init, ours))
    assert [(p.name, p.kind, p.default) for p in own.parameters.values()] == [
        (p.name, p.kind, p.default) for p in theirs.parameters.values()
    ]


DEPRECATED = sorted(name for name in dir(init) if callable(getattr(init, f"{name}_", None)))


@pytest.mark.parametrize("name", DEPRECATED)
def test_a_name_without_underscore_warns_as_in_torch_and_draws_by_ours(name):
    arguments = {"constant": (0.5,), "sparse": (0.5,)}.get(name, ())
    drawn, messages = [], []
    for place, used in ((init, name), (ours, name), (ours, f"{name}_")):
        torch.manual_seed(3)
        tensor = torch.empty((6, 6, 3) if name == "dirac" else (6, 5))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            drawn.append(bits(getattr(place, used)(tensor, *arguments)))
        messages.append([(str(one.message), one.category, one.filename) for one in caught])
    assert messages[0] == messages[1] and len(messages[0]) == 1 and messages[0][0][2] == __file__
    assert messages[2] == []
    assert drawn[1] == drawn[2]
    assert (drawn[0] == drawn[1]) == (name in ("constant", "eye", "dirac"))


def test_everything_of_torch_nn_init_that_code_imports_is_there():
    assert len(DEPRECATED) == 11
    public = getattr(init, "__all__", [*FUNCTIONS, *DEPRECATED])
    missing = [name for name in [*public, "_calculate_fan_in_and_fan_out"] if not hasattr(ours, name)]
    assert not missing
    assert ours._calculate_fan_in_and_fan_out(torch.empty(3, 4, 5)) == (20, 15)
    assert ours._calculate_correct_fan(torch.empty(3, 4, 5), "fan_out") == 15


@pytest.mark.parametrize("nonlinearity", ["linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_the_table_of_gains_is_that_of_torch(nonlinearity):
    assert ours.calculate_gain(nonlinearity) == init.calculate_gain(nonlinearity)


@pytest.mark.parametrize(("name", "shape", "arguments"), DRAWS)
def test_the_tensor_comes_back_and_was_filled_without_gradients(name, shape, arguments):
    parameter = torch.nn.Parameter(torch.full(shape, math.nan))
    assert getattr(ours, name)(parameter, **arguments) is parameter
    assert parameter.grad_fn is None and parameter.requires_grad
    assert torch.isfinite(parameter).all()


# --- the same law -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "shape", "arguments"), DRAWS)
def test_the_law_is_that_of_torch(name, shape, arguments):
    torch.manual_seed(1)
    drawn = [getattr(place, name)(torch.empty(shape), **arguments).double().numpy().ravel() for place in (ours, init)]
    assert np.count_nonzero(drawn[0] == 0) == np.count_nonzero(drawn[1] == 0)
    own, theirs = (x[x != 0] for x in drawn)
    assert stats.ks_2samp(own, theirs).pvalue > 1e-4
    assert stats.ks_2samp(abs(own), abs(theirs)).pvalue > 1e-4


@pytest.mark.parametrize("sparsity", [0.0, 0.35, 0.9, 1.0])
def test_every_column_of_sparse_has_the_zeros_of_torch(sparsity):
    own, theirs = ((place.sparse_(torch.empty(70, 50), sparsity) == 0).sum(0) for place in (ours, init))
    assert torch.equal(own, theirs)


@pytest.mark.parametrize("dtype", FLOATS[2:])
@pytest.mark.parametrize("name", ["normal_", "trunc_normal_", "orthogonal_", "kaiming_normal_"])
def test_a_narrow_dtype_is_the_float32_rounded(name, dtype):
    drawn = []
    for kind in (torch.float32, dtype):
        torch.manual_seed(4)
        drawn.append(getattr(ours, name)(torch.empty(70, 50, dtype=kind)))
    assert bits(drawn[0].to(dtype)) == bits(drawn[1])


@pytest.mark.parametrize(("name", "arguments"), [("normal_", {}), ("trunc_normal_", {"std": 0.02}), ("uniform_", {})])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_small_and_large_calls_draw_the_same_stream(name, arguments, dtype):
    small, large = torch.empty(1000, dtype=dtype), torch.empty(40_000, dtype=dtype)
    for tensor in (small, large):
        torch.manual_seed(11)
        getattr(ours, name)(tensor, **arguments)
    assert bits(small) == bits(large[:1000])


def test_the_values_are_those_of_fill_with_the_seed_that_torch_draws():
    generator = torch.Generator().manual_seed(9)
    drawn = ours.kaiming_normal_(torch.empty(40, 30), generator=generator).numpy()
    seed = int(torch.empty((), dtype=torch.int64).random_(generator=generator.manual_seed(9)))
    expected = np.empty((40, 30), np.float32)
    fastinit.fill_he_normal(expected, 30, seed=seed, name=0)
    assert drawn.tobytes() == expected.tobytes()


def test_b_itself_never_comes_up_in_half_precision():
    assert (ours.uniform_(torch.empty(1 << 20, dtype=torch.bfloat16)) < 1).all()


# --- randomness from torch --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "shape", "arguments"), DRAWS)
def test_torch_governs_the_seed_and_its_state_advances(name, shape, arguments):
    def drawn(generator=None):
        return bits(getattr(ours, name)(torch.empty(shape), **arguments, generator=generator))

    torch.manual_seed(3)
    first, second = drawn(), drawn()
    torch.manual_seed(3)
    assert drawn() == first != second
    generator = torch.Generator().manual_seed(3)
    before = torch.get_rng_state()
    own = drawn(generator), drawn(generator)
    assert own == (first, second)
    assert (torch.get_rng_state() == before).all()  # sparse_ too, unlike PyTorch's own


# --- any CPU tensor ---------------------------------------------------------------------------------------------------


def every_other(shape, dtype):
    return torch.zeros(*(2 * n for n in shape), dtype=dtype)[tuple(slice(None, None, 2) for _ in shape)]


LAYOUTS = {
    "transposed": lambda shape, dtype: torch.zeros(*reversed(shape), dtype=dtype).permute(*reversed(range(len(shape)))),
    "every other": every_other,
    "at an offset": lambda shape, dtype: torch.zeros(math.prod(shape) + 3, dtype=dtype)[3:].view(shape),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("name", "shape", "arguments"), [DRAWS[2], DRAWS[4], DRAWS[20], ("dirac_", (8, 8, 3), {})])
def test_strided_tensors_hold_the_values_of_contiguous_ones(name, shape, arguments, layout, dtype):
    strided, plain = LAYOUTS[layout](shape, dtype), torch.empty(shape, dtype=dtype)
    for tensor in (strided, plain):
        torch.manual_seed(6)
        getattr(ours, name)(tensor, **arguments)
    assert bits(strided) == bits(plain)


@pytest.mark.parametrize("shape", [(), (1,), (0,), (0, 5), (5, 0, 2)])
def test_scalars_and_empty_tensors_are_filled(shape):
    for name in ("uniform_", "normal_", "trunc_normal_", "ones_", "zeros_"):
        assert getattr(ours, name)(torch.empty(shape)).shape == shape


@pytest.mark.parametrize("shape", [(5, 5), (3, 8), (1200, 1100)])
@pytest.mark.parametrize("dtype", FLOATS[:4])
def test_what_has_no_chance_is_equal_element_for_element(shape, dtype):
    for name, arguments in (("ones_", ()), ("zeros_", ()), ("constant_", (0.3,)), ("eye_", ())):
        own, theirs = (getattr(place, name)(torch.full(shape, 7.0, dtype=dtype), *arguments) for place in (ours, init))
        assert bits(own) == bits(theirs), name


@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("shape", [(6, 6, 3), (6, 2, 4, 3), (12, 3, 2, 2, 2)])
def test_dirac_is_equal_element_for_element(shape, groups):
    own, theirs = (place.dirac_(torch.full(shape, 7.0), groups) for place in (ours, init))
    assert bits(own) == bits(theirs)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_constants_fill_every_dtype_as_in_torch(dtype):
    for name in ("ones_", "zeros_"):
        own, theirs = (getattr(place, name)(torch.empty(5, dtype=dtype)) for place in (ours, init))
        assert torch.equal(own, theirs)


def test_a_meta_tensor_is_left_to_torch():
    for name, shape, arguments in DRAWS:
        tensor = torch.empty(shape, device="meta")
        assert getattr(ours, name)(tensor, **arguments) is tensor


def test_a_subclass_is_left_to_torch():
    class Tagged(torch.Tensor):
        pass

    tensor = torch.empty(30, 20).as_subclass(Tagged)
    torch.manual_seed(2)
    theirs = init.xavier_normal_(torch.empty(30, 20))
    torch.manual_seed(2)
    assert bits(ours.xavier_normal_(tensor)) == bits(theirs)


def test_autograd_hears_of_the_change():
    weight = torch.ones(3, requires_grad=True)
    product = (weight.detach().requires_grad_() * weight).sum()
    ours.normal_(weight)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()


def test_an_inference_tensor_is_filled_inside_inference_mode():
    with torch.inference_mode():
        assert torch.isfinite(ours.normal_(torch.full((300, 100), math.nan))).all()


# --- warnings and errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["kaiming_uniform_", "kaiming_normal_"])
def test_the_warning_for_empty_tensors_is_that_of_torch(name):
    for place in (ours, init):
        with pytest.warns(UserWarning, match="Initializing zero-element tensors is a no-op"):
            getattr(place, name)(torch.empty(0, 4))


def test_the_warning_for_a_far_mean_is_that_of_torch_and_names_the_caller():
    for place in (ours, init):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            place.trunc_normal_(torch.empty(10), mean=4.5, std=1.0)
        assert ["mean is more than 2 std from [a, b]" in str(one.message) for one in caught] == [True]
    with pytest.warns(UserWarning, match="more than 2 std") as caught:
        ours.trunc_normal_(torch.empty(10), mean=4.5, std=1.0)
    assert caught[0].filename == __file__


def test_a_far_interval_that_is_left_to_torch_warns_once():
    for place in (init, ours):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            place.trunc_normal_(torch.empty(10), 0.0, 1.0, 50.0, 60.0)
        assert len(caught) == 1 and "more than 2 std" in str(caught[0].message)


PARAMETRISED = {
    "weight_norm": torch.nn.utils.parametrizations.weight_norm,
    "spectral_norm": torch.nn.utils.parametrizations.spectral_norm,
    "transposed": lambda layer: torch.nn.utils.parametrize.register_parametrization(layer, "weight", Transposed()),
}


class Transposed(torch.nn.Module):
    def forward(self, x):
        return (2 * x).t()


@pytest.mark.parametrize("block", [False, True])
@pytest.mark.parametrize("how", PARAMETRISED)
def test_a_weight_that_is_computed_from_parameters_is_filled_with_a_warning(how, block):
    layer = PARAMETRISED[how](torch.nn.Linear(5, 5))
    with pytest.warns(UserWarning, match=r"parametrizations\.weight\.original") as caught:
        if block:
            with ours.accelerate(seed=0):
                init.uniform_(layer.weight)
        else:
            ours.uniform_(layer.weight)
    assert block or caught[0].filename == __file__
    ours.uniform_(next(layer.parametrizations.weight.parameters()))  # of which there is no warning


def test_a_view_of_a_parameter_is_filled_without_a_warning():
    weight = torch.nn.Parameter(torch.zeros(4, 6))
    for view in (weight[1:], weight.view(-1), weight.t()[2], weight.chunk(2)[0]):
        ours.normal_(view)
    assert (weight != 0).all()


def inference(*shape):
    with torch.inference_mode():
        return torch.empty(shape)


MISTAKES = {
    "integers": lambda place: place.normal_(torch.empty(5, dtype=torch.int64)),
    "integers, uniform": lambda place: place.uniform_(torch.empty(5, dtype=torch.int64)),
    "integers, truncated": lambda place: place.trunc_normal_(torch.empty(5, dtype=torch.int64)),
    "a list": lambda place: place.normal_([1.0]),
    "expanded": lambda place: place.normal_(torch.empty(3, 1).expand(3, 4)),
    "expanded, uniform": lambda place: place.kaiming_uniform_(torch.empty(3, 1).expand(3, 4)),
    "inference tensor": lambda place: place.normal_(inference(3, 4)),
    "inference tensor, uniform": lambda place: place.xavier_uniform_(inference(3, 4)),
    "negative std": lambda place: place.normal_(torch.empty(5), std=-1.0),
    "std is text": lambda place: place.normal_(torch.empty(5), std="a"),
    "low above high": lambda place: place.uniform_(torch.empty(5), 1.0, 0.0),
    "range too wide": lambda place: place.uniform_(torch.empty(5), -3e38, 3e38),
    "std zero, truncated": lambda place: place.trunc_normal_(torch.empty(5), std=0.0),
    "no fans": lambda place: place.xavier_normal_(torch.empty(5)),
    "no fans of a scalar": lambda place: place.kaiming_normal_(torch.empty(())),
    "xavier of nothing": lambda place: place.xavier_uniform_(torch.empty(0, 0)),
    "mode": lambda place: place.kaiming_normal_(torch.empty(3, 4), mode="fan_avg"),
    "nonlinearity": lambda place: place.kaiming_normal_(torch.empty(3, 4), nonlinearity="gelu"),
    "slope": lambda place: place.kaiming_uniform_(torch.empty(3, 4), a=True),
    "eye of rank 3": lambda place: place.eye_(torch.empty(2, 2, 2)),
    "dirac of rank 2": lambda place: place.dirac_(torch.empty(2, 2)),
    "dirac groups": lambda place: place.dirac_(torch.empty(4, 2, 3), 3),
    "orthogonal of rank 1": lambda place: place.orthogonal_(torch.empty(5)),
    "sparse of rank 3": lambda place: place.sparse_(torch.empty(2, 2, 2), 0.5),
    "no sparsity": lambda place: place.sparse_(torch.empty(2, 2)),
    "generator": lambda place: place.normal_(torch.empty(5), generator=7),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_raises_what_torch_raises(mistake):
    with pytest.raises(Exception) as theirs:
        MISTAKES[mistake](init)
    with pytest.raises(theirs.type):
        MISTAKES[mistake](ours)


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [torch.tensor, lambda value: torch.nn.Parameter(torch.tensor(value)), np.array])
@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad=True:UserWarning")
def test_a_number_that_changes_in_place_is_read_at_every_draw(number):
    std = number(0.0)
    with torch.no_grad():
        for value in (0.0, 1.0, 3.0):
            std[...] = value
            torch.manual_seed(5)
            drawn = ours.normal_(torch.empty(50), 0.0, std)
            torch.manual_seed(5)
            assert bits(drawn) == bits(ours.normal_(torch.empty(50), 0.0, value))


def test_a_constant_keeps_the_sign_of_its_zero():
    large = torch.empty(1 << 21)
    for zero in (0.0, -0.0, 0.0, 0):
        expected = init.constant_(torch.empty(1 << 21), zero)
        assert bits(ours.constant_(large, zero)) == bits(expected), zero


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_nested_tensors_are_left_to_torch():
    drawn = []
    for place in (init, ours):
        torch.manual_seed(5)
        nested = torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])
        drawn.append(torch.cat(place.normal_(nested).unbind()))
    assert torch.equal(*drawn) and drawn[0].std() > 0


def test_a_tensor_of_an_old_pytorch_is_a_buffer_though_its_dlpack_does_not_say_so(monkeypatch):
    def silent(tensor):
        array = tensor.numpy()
        array.flags.writeable = False
        return array

    monkeypatch.setattr(np, "from_dlpack", silent)
    tensor, array = torch.zeros(100), np.zeros(100, np.float32)
    fastinit.fill_normal(tensor, seed=0)
    fastinit.fill_normal(array, seed=0)
    assert tensor.numpy().tobytes() == array.tobytes()
