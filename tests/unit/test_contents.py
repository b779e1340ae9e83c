"""The contents page: the names the documents promise, nothing heavy imported, a docstring for everything public."""

from __future__ import annotations

import ast
import inspect
import json
import pydoc
import re
import subprocess
import sys
import types
import typing
from pathlib import Path

import pytest

import fastinit
from fastinit.options import Options

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "fastinit" / "__init__.py"
SCHEMES = ["xavier", "glorot", "he", "kaiming", "lecun"]
NAMES = {
    "fill",
    "fill_many",
    "new",
    *(f"fill_{law}" for law in ("zeros", "ones", "constant", "uniform", "normal", "laplace", "truncated_normal")),
    *(f"fill_{scheme}_{shape}" for scheme in SCHEMES for shape in ("uniform", "normal")),
    "fill_variance_scaling",
    *(f"fill_{structure}" for structure in ("sparse", "orthogonal", "identity", "dirac", "delta_orthogonal", "blocks")),
    *(f"fill_{scheme}_normal" for scheme in ("residual", "small", "wang", "mup")),
    *("fill_siren_uniform", "fill_mamba_dt_bias", "fill_mamba2_a_log", "fill_lstm_bias", "fill_mamba_a_log"),
    "fans",
    "Fans",
    "gain",
    "scheme_for",
    "Shard",
    "new_seed",
    "info",
    "selftest",
    "set_num_threads",
    "STREAM",
    "laws",
    "__version__",
    *("plan", "Plan", "Rule", "write", "verify", "show", "edit", "compare"),
}
FRAMEWORKS = {"torch", "jax", "keras"}
LAWS = {
    *("Constant", "Uniform", "Normal", "Laplace", "TruncatedNormal", "StepBias", "LogOfUniform"),
    *("Blocks", "Padded", "Sparse", "Orthogonal", "DeltaOrthogonal", "Identity", "Dirac", "GateBias", "StateLogs"),
    *("Given", "Copy", "Replayed"),
}
HEAVY = ["numba", "llvmlite", "scipy", "torch", "jax", "keras", "matplotlib", "ml_dtypes", "tqdm"]

OPTIONS = ["seed=None", "name=''", "shard=None", "dtype=None", "threads=None", "progress=None", "stream='fastinit-1'"]

# name: positional parameters, then keyword-only ones with their defaults, before those that every fill_* function takes
SIGNATURES = {
    "fill_uniform": (["buf", "low=0.0", "high=1.0"], []),
    "fill_normal": (["buf", "mean=0.0", "std=1.0"], []),
    "fill_laplace": (["buf", "mean=0.0", "std=1.0"], []),
    "fill_truncated_normal": (["buf", "mean=0.0", "std=1.0"], ["sigmas", "bounds=None", "corrected=False"]),
    "fill_constant": (["buf", "value"], []),
    "fill_zeros": (["buf"], []),
    "fill_ones": (["buf"], []),
    "fill_xavier_uniform": (["buf", "fan_in", "fan_out"], ["gain=1.0"]),
    "fill_xavier_normal": (["buf", "fan_in", "fan_out"], ["gain=1.0", "truncated=False"]),
    "fill_he_uniform": (["buf", "fan_in"], ["negative_slope=0.0", "gain=1.0"]),
    "fill_he_normal": (["buf", "fan_in"], ["negative_slope=0.0", "gain=1.0", "truncated=False"]),
    "fill_lecun_uniform": (["buf", "fan_in"], ["gain=1.0"]),
    "fill_lecun_normal": (["buf", "fan_in"], ["gain=1.0", "truncated=False"]),
    "fill_variance_scaling": (["buf", "scale", "fan"], ["distribution='truncated_normal'"]),
    "fill_sparse": (["buf", "sparsity=None"], ["nonzeros=None", "std=None", "axis=0", "values=None", "batch_axis=()"]),
    "fill_orthogonal": (["buf", "gain=1.0"], ["flatten='torch'", "batch=0", "batch_axis=()"]),
    "fill_identity": (["buf", "gain=1.0"], ["batch_axis=()"]),
    "fill_dirac": (["buf", "groups=1"], ["batch_axis=()"]),
    "fill_delta_orthogonal": (["buf", "gain=1.0"], ["layout='torch'", "batch_axis=()"]),
    "fill_blocks": (["buf", "parts", "axis=0"], []),
    "fill_siren_uniform": (["buf", "fan_in"], ["first=False", "omega=30.0"]),
    "fill_residual_normal": (["buf", "layers"], ["std=0.02"]),
    "fill_small_normal": (["buf", "width"], []),
    "fill_wang_normal": (["buf", "width", "layers"], []),
    "fill_mup_normal": (["buf", "fan_in", "base_fan_in"], ["std=0.02"]),
    "fill_mamba_dt_bias": (["buf", "low=0.001", "high=0.1"], ["floor=0.0001"]),
    "fill_lstm_bias": (["buf", "forget=1.0"], []),
    "fill_mamba_a_log": (["buf"], []),
    "fill_mamba2_a_log": (["buf", "low=1.0", "high=16.0"], []),
}


def public_objects():
    """Every public name with the functions, classes, methods and properties behind it."""
    for name in sorted(NAMES):
        thing = getattr(fastinit, name)
        if isinstance(thing, (types.FunctionType, type)):
            yield name, thing
        members = vars(thing).items() if isinstance(thing, type) else ()
        for member, value in members:
            if not member.startswith("_") and isinstance(value, (types.FunctionType, property)):
                yield f"{name}.{member}", value
    for name in sorted(LAWS):
        law = getattr(fastinit.laws, name)
        yield f"laws.{name}", law
        for member in ("mean", "std", "support", "cdf", "prepare"):
            if member in vars(law) and not isinstance(vars(law)[member], float):
                yield f"laws.{name}.{member}", vars(law)[member]


OBJECTS = dict(public_objects())


def test_all_and_dir_hold_the_promised_names_and_no_others():
    assert sorted(fastinit.__all__) == sorted(NAMES)
    assert dir(fastinit) == sorted(NAMES | FRAMEWORKS)


def test_the_contents_page_is_imports_and_the_list_of_them():
    docstring, *rest = ast.parse(PAGE.read_text()).body
    assert isinstance(docstring, ast.Expr)
    imports = [node for node in rest if isinstance(node, ast.ImportFrom)]
    checking, names, call = [node for node in rest if node not in imports]
    assert ast.unparse(checking.test) == "TYPE_CHECKING"
    assert all(isinstance(node, ast.ImportFrom) for node in checking.body)
    assert ast.unparse(names.targets[0]) == "__all__"
    assert ast.unparse(call) == "resolve_when_used(__name__)"


@pytest.mark.parametrize("first", ["fastinit", "fastinit.verify", "fastinit.show.files", "fastinit.compare.page"])
def test_a_name_is_the_function_whichever_import_comes_first(first):
    program = f"""
import {first}
import fastinit, types
for name in ("write", "verify", "show", "edit", "compare"):
    assert isinstance(getattr(fastinit, name), types.FunctionType), name
from fastinit.verify import Verified, verify
from fastinit.edit import Redraw
import fastinit.write
assert fastinit.verify is verify and isinstance(fastinit.write, types.FunctionType)
assert fastinit.Plan is fastinit.plan.Plan and fastinit.Rule is fastinit.plan.Rule
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_the_names_of_the_package_import_nothing_before_they_are_used():
    program = """
import sys, fastinit
assert not {"fastinit.verify", "fastinit.plan", "fastinit.compare", "fastinit.torch"} & set(sys.modules)
fastinit.Plan, fastinit.verify, fastinit.show, fastinit.edit, fastinit.write
assert not {"numba", "scipy", "torch", "jax"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


@pytest.mark.parametrize("name", sorted(FRAMEWORKS))
def test_a_framework_that_is_not_installed_is_an_attribute_error_that_says_what_to_install(name):
    program = f"""
import sys
sys.modules["{name}"] = None  # as if it were not installed
import fastinit
assert not hasattr(fastinit, "{name}")
try:
    fastinit.{name}
except AttributeError as error:
    assert "pip install 'fastinit-kernels[{name}]'" in str(error), error
from fastinit import *
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'fastinit' has no attribute 'fill_he_norml'"):
        fastinit.fill_he_norml  # noqa: B018


def test_the_laws_have_their_names():
    public = {
        name
        for name, thing in vars(fastinit.laws).items()
        if isinstance(thing, type) and issubclass(thing, fastinit.laws.Law) and thing is not fastinit.laws.Law
    }
    assert public == LAWS


def test_the_readme_uses_no_name_that_is_not_there():
    used = set(re.findall(r"\bfastinit\.([A-Za-z_]\w*)", (ROOT / "README.md").read_text(encoding="utf-8")))
    modules = {path.stem for path in (ROOT / "fastinit").iterdir()} | {"svg", "png"}
    assert used - NAMES - modules == set()


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_fill_function_has_the_promised_signature(name):
    positional, keywords = [], []
    for parameter in inspect.signature(getattr(fastinit, name)).parameters.values():
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            positional.append(parameter.name + default)
        elif parameter.kind is parameter.KEYWORD_ONLY:
            keywords.append(parameter.name if parameter.name == "sigmas" else parameter.name + default)
    assert (positional, keywords) == (SIGNATURES[name][0], SIGNATURES[name][1] + OPTIONS)


@pytest.mark.parametrize("name", SIGNATURES)
def test_help_of_a_fill_function_explains_every_option_in_place(name):
    page = pydoc.plain(pydoc.render_doc(getattr(fastinit, name)))
    assert "**options" not in page and "as `fill`" not in page
    for option in OPTIONS:
        assert re.search(rf"^ +{option.partition('=')[0]} {{2,}}\S", page, flags=re.MULTILINE), option
    assert "Guarantee:" in page and "Raises TypeError or ValueError before the first store" in page


def test_a_fill_function_is_called_directly_and_not_through_a_wrapper():
    for name in SIGNATURES:
        assert not hasattr(getattr(fastinit, name), "__wrapped__"), name
        assert getattr(fastinit, name).__code__.co_name.startswith("fill_"), name


def test_type_checkers_know_the_options_of_fill():
    hints = typing.get_type_hints(Options)
    of_fill = typing.get_type_hints(fastinit.fill)
    assert hints == {name: of_fill[name] for name in (option.partition("=")[0] for option in OPTIONS)}


@pytest.mark.parametrize("name", ["fill", "new"])
def test_fill_and_new_take_everything_behind_the_law_by_keyword(name):
    parameters = list(inspect.signature(getattr(fastinit, name)).parameters.values())
    assert [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD] == [
        {"fill": "buf", "new": "shape"}[name],
        "law",
    ]
    assert {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} == {
        "seed", "name", "shard", "dtype", "threads", "progress", "stream",
    }  # fmt: skip


@pytest.mark.parametrize("name", OBJECTS)
def test_everything_public_has_a_docstring_whose_first_line_is_a_sentence(name):
    thing = OBJECTS[name]
    text = thing.fget.__doc__ if isinstance(thing, property) else thing.__doc__
    assert text, f"{name} has no docstring"
    first = text.strip().splitlines()[0]
    assert not first.startswith(f"{name.split('.')[-1]}("), f"{name} has only the docstring that dataclass generates"
    assert first.endswith((".", ":")) or len(text.strip().splitlines()) > 1
    assert len(first) > 4


def test_every_fill_function_says_what_it_draws_into_buf():
    for name in sorted(NAMES):
        if name.startswith("fill") and name != "fill_many":
            assert getattr(fastinit, name).__doc__.startswith("Fill `buf`"), name


def test_fill_explains_each_of_its_arguments():
    for name in inspect.signature(fastinit.fill).parameters:
        assert re.search(rf"^\s+{name}\s{{2,}}\S", fastinit.fill.__doc__, flags=re.MULTILINE), name


def test_importing_fastinit_imports_nothing_heavy_and_starts_nothing():
    program = (
        "import sys, json, threading, fastinit; "
        f"print(json.dumps([[name for name in {HEAVY!r} if name in sys.modules], threading.active_count()]))"
    )
    answer = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == [[], 1]


def test_constants_need_neither_numba_nor_scipy():
    program = (
        "import sys, numpy, fastinit; buf = numpy.empty((1000, 1000), 'f4'); fastinit.fill_zeros(buf); "
        "fastinit.fill_constant(buf, 0.5); assert (buf == 0.5).all(); "
        "assert not {'numba', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_a_random_fill_needs_no_scipy():
    program = (
        "import sys, fastinit; "
        "fastinit.fill_truncated_normal(fastinit.new(10, fastinit.laws.Constant(0)), 0, 1, corrected=True, seed=0); "
        "assert 'scipy.stats' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "fastinit" / "py.typed").is_file()
    for name in sorted(NAMES):
        thing = getattr(fastinit, name)
        if isinstance(thing, types.FunctionType):
            assert "return" in inspect.get_annotations(thing), name


def test_the_version_is_a_version():
    assert re.match(r"\d+\.\d+\.\d+", fastinit.__version__)
