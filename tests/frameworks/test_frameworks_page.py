"""docs/frameworks.md leaves out no initialiser, promises none that is not there; its code runs, and that of jax.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from processes import needs, run_python

import fastinit

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "frameworks.md").read_text(encoding="utf-8")
SECTIONS = {
    f"{page}: {text.splitlines()[0]}": text
    for page in ("frameworks.md", "jax.md")
    for text in (DOCS / page).read_text(encoding="utf-8").split("\n## ")[1:]
}


def table(framework):
    """The names in the first and in the second column of a table, row by row."""
    rows = re.search(rf"^\| {framework},.*\n\| ---.*\n((?:\|.*\n)+)", PAGE, flags=re.MULTILINE)[1].splitlines()
    cells = [[re.findall(r"`(\w+)", cell) for cell in row.split("|")[1:3]] for row in rows]
    return [name for theirs, _ in cells for name in theirs], [name for _, ours in cells for name in ours]


def test_the_table_of_torch_is_complete():
    init = pytest.importorskip("torch").nn.init
    theirs, ours = table("PyTorch")
    assert sorted(theirs) == sorted(name for name in dir(init) if re.fullmatch(r"[a-z]\w*_", name))
    assert all(hasattr(fastinit, name) for name in ours)


def test_the_table_of_jax_is_complete():
    jax = pytest.importorskip("jax")
    import fastinit.jax

    theirs, ours = table("JAX")
    assert theirs == ours
    assert set(theirs) == {name for name in dir(jax.nn.initializers) if not name.startswith("_")} - {"Initializer"}
    assert all(hasattr(fastinit.jax.initializers, name) for name in ours)


@needs("keras", "torch")
def test_the_table_of_keras_is_complete():
    result = run_python(
        """
        import inspect, keras, fastinit.keras
        classes = {one.__name__ for one in vars(keras.initializers).values() if inspect.isclass(one)}
        print(*sorted(classes), *sorted(name for name in vars(fastinit.keras) if name[0].isupper()), sep=",")
        """,
        KERAS_BACKEND="torch",
    )
    theirs, ours = table("Keras")
    known = set(result.stdout.strip().split(","))
    assert {"Initializer", *theirs} <= known, result.stderr
    assert set(ours) <= known


@needs("jax", "flax", "keras", "torch")
@pytest.mark.parametrize("section", [name for name, text in SECTIONS.items() if "```python" in text])
def test_the_code_of_a_section_runs(section):
    blocks = re.findall(r"```python\n(.*?)```", SECTIONS[section], flags=re.DOTALL)
    if "equinox" in SECTIONS[section]:
        pytest.importorskip("equinox")
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu", "KERAS_BACKEND": "jax"}
    done = run_python("\n".join(blocks), timeout=300, **flags)
    assert done.returncode == 0, done.stderr
