"""record(): the laws that the code of a model gives its arrays, read from the program that JAX traces of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from fastinit.formatting import some_of
from fastinit.jax.drawing import drawn_by
from fastinit.jax.naming import name_of
from fastinit.jax.record import moves as _moves  # noqa: F401  (each registers what it handles)
from fastinit.jax.record import operations as _operations  # noqa: F401
from fastinit.jax.record.answer import NoLawError, laws_of
from fastinit.jax.record.contents import Unknown
from fastinit.jax.record.program import follow, forget
from fastinit.laws import Law


@dataclass(frozen=True, repr=False)
class Recording:
    """What `record` has read, for `fastinit.jax.initialize` and `fastinit.jax.plan`.

    tree      what the code returns, with a jax.ShapeDtypeStruct for each array
    laws      name of an array -> the law that it follows; names are those of `initialize`
    kept      name -> values that are no weights of a checkpoint, such as the keys of dropout: `initialize` leaves them
    problems  name -> why an array follows none of our laws: a rule must say what it is to be
    """

    tree: Any
    laws: Mapping[str, Law]
    kept: Mapping[str, Any]
    problems: Mapping[str, str]

    def __repr__(self) -> str:
        arrays = len(self.laws)
        # A model has hundreds of them; `laws` and `problems` have them all.
        lacking = f", {len(self.problems):,} without one: {some_of(list(self.problems), 3)}" if self.problems else ""
        return f"<Recording of {arrays:,} array{'s' * (arrays != 1)} with a law{lacking}>"

    def law(self, name: str) -> Law:
        """The law of an array; raises ValueError, which says why, where there is none."""
        if name in self.laws:
            return self.laws[name]
        if name in self.problems:
            raise NoLawError(f"{name!r}: {self.problems[name]}")
        raise NoLawError(f"there is no array called {name!r} with a law; there are {', '.join(self.laws) or 'none'}")


def record(build: Callable[..., Any], *args: Any, **kwargs: Any) -> Recording:
    """The laws of the arrays that `build(*args, **kwargs)` makes, read from its program; no array is made.

        recorded = fastinit.jax.record(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 784), jnp.float32))
        params = fastinit.jax.initialize(recorded, seed=0)

    build   any function that returns a pytree of arrays: `model.init` of Flax Linen, what makes a module of Flax NNX or
            Equinox (`lambda: Model(nnx.Rngs(0))`), a function of your own
    args    what it is called with. A jax.ShapeDtypeStruct among them is an array without values

    Each array is followed back to the draws that made it, through jit, vmap and scan, which show what is stacked: by
    the operations of the program, not by the names of initialisers, so that any code is read which draws by
    jax.random. The laws are those of jax.random.uniform, normal, truncated_normal and orthogonal after arithmetic with
    numbers; parts and stacks of them; constants and what is computed without chance. What follows none of them is in
    `problems`, with the operation and the line of code. Two arrays that are drawn by one key are copies of each other.
    A model of any size takes the time of tracing it. Keys decide nothing here but what is a copy of what.
    """
    leaves, structure = jax.tree.flatten((args, kwargs))
    abstract = [isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves]
    made: dict[str, Any] = {}

    def traced(*given: Any) -> list[Any]:
        unused = iter(given)
        filled = [next(unused) if one else leaf for one, leaf in zip(abstract, leaves, strict=True)]
        args, kwargs = jax.tree.unflatten(structure, filled)
        found, made["structure"] = jax.tree_util.tree_flatten_with_path(build(*args, **kwargs))
        made["leaves"] = found
        return [leaf for _, leaf in found if _is_array(leaf)]

    inputs = [leaf for leaf, one in zip(leaves, abstract, strict=True) if one]
    with drawn_by("host"):  # by one primitive, which names the law
        program, shapes = jax.make_jaxpr(traced, return_shape=True)(*inputs)
        arguments = [Unknown("it depends on an argument that has no values", "record") for _ in inputs]
        try:
            contents = follow(program, arguments, [True] * len(shapes))
        finally:
            forget()
    arrays = [(name_of(path), leaf) for path, leaf in made["leaves"] if _is_array(leaf)]
    found = laws_of((name, shape, content) for (name, _), shape, content in zip(arrays, shapes, contents, strict=True))
    given = iter(shapes)
    tree = jax.tree.unflatten(
        made["structure"], [next(given) if _is_array(leaf) else leaf for _, leaf in made["leaves"]]
    )
    return Recording(tree, found.laws, found.kept, found.problems)


def _is_array(leaf: Any) -> bool:
    """Whether a leaf is an array, and not a number or a function that a module holds."""
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic))
