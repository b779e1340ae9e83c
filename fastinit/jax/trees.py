"""Whole trees of weights: a name for each leaf from its path, a law for each name from rules, an array for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import jax
from jax.tree_util import tree_flatten_with_path

from fastinit.address import stream_words
from fastinit.jax import arrays
from fastinit.jax.kernels import explained
from fastinit.jax.naming import name_of
from fastinit.jax.record import Recording
from fastinit.plan import Plan, Rule, Tensor, first_match, some_of

# What the layers of Flax (linen and nnx) draw where they are told nothing. What the axes of a kernel are that has three
# or more, its bias says (fastinit/jax/kernels.py).
FLAX = (
    Rule(r"(.*\.)?(bias|mean)", "zeros"),
    Rule(r"(.*\.)?(scale|var)", "ones"),
    # Embeddings (rows, width): variance 1 / width.
    Rule(r"(.*\.)?embedding", "variance_scaling", {"scale": 1.0, "distribution": "normal", "mode": "fan_out"}),
    # The recurrent kernels of the cells of RNNs.
    Rule(r"(.*\.)?(h[fgionrz]?|dense_h)\.kernel", "orthogonal"),
    Rule(r"(.*\.)?kernel", "lecun_normal", {"truncated": True}),
)


def initialize(tree: Any, seed: int, rules: Iterable[Rule] | None = None, *, shardings: Any = None) -> Any:
    """The tree with an array in each place: of the leaf's shape and dtype, drawn by the law of its name.

    tree       what `fastinit.jax.record` has read of a model's code, whose laws are the model's own; or any pytree
               whose leaves have a shape and a dtype, of which rules must say the laws: `jax.eval_shape(model.init, key,
               x)`, the state of an nnx module, arrays (whose values are not looked at)
    seed       integer in [0, 2^64), the same on every process
    rules      of fastinit.plan, in order; the first whose `match` matches the whole name counts, before what was
               recorded. They mean JAX's layout: kernels are (k..., in, out), and `orthogonal` flattens all axes but the
               last, unless the rule says `layout`, `in_axis`, `out_axis`, `batch_axis` or `flatten`. None: nothing
               beside what was recorded, and FLAX, which Flax's own layers draw, for a tree of shapes
    shardings  a jax.sharding.Sharding for all leaves, or a tree of them (None: the default device) that fits the tree
               or its top. Without it, a leaf that has a sharding keeps it

    The name of a leaf is its path, joined by dots: "params.Dense_0.kernel", "layers.3.bias" for an element of a list;
    the `value` of Flax's boxes (nnx.Param, nn.Partitioned) is left out. A leaf whose rule is "skip" is returned as it
    came; so are, of a recording, keys and what is no array. Raises ValueError for a leaf without a law, for two leaves
    of one name, for a kernel of three or more dimensions of which neither its rule nor the shape of the bias beside it
    says what they are, and what the laws refuse, all before the first array is made; TypeError for a leaf without shape
    and dtype. Under jit the draws are part of the program, and no constants of it.
    Guarantee: a leaf depends only on seed, name, shape, dtype and law: not on other leaves, devices or shardings. It
    has the bits of that name in a checkpoint that `fastinit.write(plan(tree, rules), ..., seed=seed)` writes.
    """
    stream_words(seed, "")  # a seed that is none is refused here
    tensors = {tensor.name: tensor for tensor in plan(tree, rules).tensors}
    kept = tree.kept if isinstance(tree, Recording) else {}
    shapes = tree.tree if isinstance(tree, Recording) else tree
    leaves, structure = tree_flatten_with_path(shapes)
    layouts = structure.flatten_up_to(_everywhere(shardings, shapes))
    made = []
    for (path, leaf), layout in zip(leaves, layouts, strict=True):
        name = name_of(path)
        tensor = tensors.get(name)
        sharding = layout if layout is not None else _own_sharding(leaf)
        if tensor is None:
            made.append(kept.get(name, leaf))
        elif sharding is None:
            dtype = arrays.canonical(tensor.dtype)
            made.append(arrays.new(tensor.shape, tensor.law, dtype, seed=seed, name=tensor.address))
        else:
            made.append(
                arrays.sharded(tensor.shape, tensor.dtype, tensor.law, sharding, seed=seed, name=tensor.address)
            )
    return jax.tree.unflatten(structure, made)


def plan(tree: Any, rules: Iterable[Rule] | None = None) -> Plan:
    """The plan of the tree that `initialize` makes, to write, verify or show as a checkpoint. Raises as it does."""
    if isinstance(rules, str):
        raise TypeError(f"rules is {rules!r}; recipes know the names of PyTorch's models, so pass a list of Rules here")
    if isinstance(tree, Recording):
        return _recorded_plan(tree, list(rules or ()))
    shapes = _shapes(tree_flatten_with_path(tree)[0])
    return Plan.from_rules(shapes, explained(shapes, FLAX if rules is None else rules))


def _recorded_plan(recorded: Recording, rules: Sequence[Rule]) -> Plan:
    """The plan of what was recorded, and of rules that go before it."""
    leaves = [(path, leaf) for path, leaf in tree_flatten_with_path(recorded.tree)[0] if _is_shape(leaf)]
    shapes = _shapes([(path, leaf) for path, leaf in leaves if name_of(path) not in recorded.kept])
    chosen = {name: first_match(rules, name) for name in shapes}
    ruled = {name: entry for name, entry in shapes.items() if chosen[name] is not None}
    problems = [
        f"{name!r} {shapes[name]['shape']}: {why}" for name, why in recorded.problems.items() if name not in ruled
    ]
    if problems:
        raise ValueError(f"no law for {some_of(problems)}; give each a rule, which goes before what was recorded")
    by_rules = {tensor.name: tensor for tensor in Plan.from_rules(ruled, explained(shapes, rules, ruled)).tensors}
    tensors = []
    for name, entry in shapes.items():
        if name in by_rules:
            tensors.append(by_rules[name])
        elif name not in ruled:  # a rule that skips leaves it out
            tensors.append(Tensor(name, tuple(entry["shape"]), entry["dtype"], recorded.laws[name]))
    return Plan(tuple(tensors))


def _is_shape(leaf: Any) -> bool:
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype")


def _shapes(leaves: Iterable[tuple[Any, Any]]) -> dict[str, dict[str, Any]]:
    """Name -> shape and dtype of the leaves of a tree."""
    shapes: dict[str, dict[str, Any]] = {}
    for path, leaf in leaves:
        name = name_of(path)
        if name in shapes:
            raise ValueError(f"the tree has two leaves called {name!r}; names are addresses, so they must differ")
        if not _is_shape(leaf):
            raise TypeError(
                f"leaf {name!r} is {leaf!r}, which has no shape and dtype; pass jax.ShapeDtypeStruct, or the tree that "
                "jax.eval_shape gives, or what fastinit.jax.record reads of the code that makes it"
            )
        shapes[name] = {"shape": list(leaf.shape), "dtype": leaf.dtype.name}
    return shapes


def _everywhere(shardings: Any, tree: Any) -> Any:
    """A sharding, or None, for each leaf of the tree, from those of its top."""

    def below(one: Any, branch: Any) -> Any:
        return jax.tree.map(lambda _: one, branch)

    return jax.tree.map(below, shardings, tree, is_leaf=lambda one: one is None)


def _own_sharding(leaf: Any) -> Any:
    """The sharding of an abstract leaf, or of an array that was put where it is."""
    return getattr(leaf, "sharding", None) if getattr(leaf, "committed", True) else None
