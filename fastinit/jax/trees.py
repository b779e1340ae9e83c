"""Whole trees of weights: a name for each leaf from its path, a law for each name from rules, an array for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
from jax.tree_util import GetAttrKey, keystr, tree_flatten_with_path

from fastinit.address import stream_words
from fastinit.jax import arrays
from fastinit.named import SCHEMES, takes
from fastinit.plan import Plan, Rule

# What the layers of Flax (linen and nnx) draw where they are told nothing.
FLAX = (
    Rule(r"(.*\.)?(bias|mean)", "zeros"),
    Rule(r"(.*\.)?(scale|var)", "ones"),
    # Embeddings (rows, width): variance 1 / width.
    Rule(r"(.*\.)?embedding", "variance_scaling", {"scale": 1.0, "distribution": "normal", "mode": "fan_out"}),
    Rule(r"(.*\.)?(query|key|value)\.kernel", "lecun_normal", {"truncated": True, "layout": "jax_heads"}),
    # The recurrent kernels of the cells of RNNs.
    Rule(r"(.*\.)?(h[fgionrz]?|dense_h)\.kernel", "orthogonal"),
    Rule(r"(.*\.)?kernel", "lecun_normal", {"truncated": True}),
)


def initialize(tree_of_shapes: Any, seed: int, rules: Iterable[Rule] = FLAX, *, shardings: Any = None) -> Any:
    """The tree with an array in each place: of the leaf's shape and dtype, drawn by the rule that matches its name.

    tree_of_shapes  any pytree whose leaves have a shape and a dtype: `jax.eval_shape(model.init, key, x)`, the state of
                    an nnx module, arrays (whose values are not looked at)
    seed            integer in [0, 2^64), the same on every process
    rules           of fastinit.plan, in order; the first whose `match` matches the whole name counts. They mean JAX's
                    layout: kernels are (k..., in, out), and `orthogonal` flattens all axes but the last, unless the
                    rule has a `layout` or `flatten` of its own; stacked experts (experts, in, out) take `batch_axis`
                    0. The default draws what Flax's own layers draw
    shardings       a jax.sharding.Sharding for all leaves, or a tree of them (None: the default device) that fits the
                    tree or its top. Without it, a leaf that has a sharding keeps it

    The name of a leaf is its path, joined by dots: "params.Dense_0.kernel", "layers.3.bias" for an element of a list;
    the `value` of Flax's boxes (nnx.Param, nn.Partitioned) is left out. A leaf whose rule is "skip" is returned as it
    came. Raises ValueError for a leaf that no rule matches, for two leaves of one name, and what the laws refuse, all
    before the first array is made; TypeError for a leaf without shape and dtype.
    Guarantee: a leaf depends only on seed, name, shape, dtype and law: not on other leaves, devices or shardings. It
    has the bits of that name in a checkpoint that `fastinit.write.write(plan(tree, rules), ..., seed=seed)` writes.
    """
    stream_words(seed, "")  # a seed that is none is refused here
    leaves, structure = tree_flatten_with_path(tree_of_shapes)
    tensors = {tensor.name: tensor for tensor in plan(tree_of_shapes, rules).tensors}
    layouts = structure.flatten_up_to(_everywhere(shardings, tree_of_shapes))
    made = []
    for (path, leaf), layout in zip(leaves, layouts, strict=True):
        tensor = tensors.get(name_of(path))
        sharding = layout if layout is not None else _own_sharding(leaf)
        if tensor is None:
            made.append(leaf)
        elif sharding is None:
            dtype = arrays.canonical(tensor.dtype)
            made.append(arrays.new(tensor.shape, tensor.law, dtype, seed=seed, name=tensor.name))
        else:
            made.append(arrays.sharded(tensor.shape, tensor.dtype, tensor.law, sharding, seed=seed, name=tensor.name))
    return jax.tree.unflatten(structure, made)


def plan(tree_of_shapes: Any, rules: Iterable[Rule] = FLAX) -> Plan:
    """The plan of the tree that `initialize` makes, to write, verify or show as a checkpoint. Raises as it does."""
    if isinstance(rules, str):
        raise TypeError(f"rules is {rules!r}; recipes know the names of PyTorch's models, so pass a list of Rules here")
    shapes: dict[str, dict[str, Any]] = {}
    for path, leaf in tree_flatten_with_path(tree_of_shapes)[0]:
        name = name_of(path)
        if name in shapes:
            raise ValueError(f"the tree has two leaves called {name!r}; names are addresses, so they must differ")
        if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
            raise TypeError(
                f"leaf {name!r} is {leaf!r}, which has no shape and dtype; pass jax.ShapeDtypeStruct, or the tree that "
                "jax.eval_shape gives"
            )
        shapes[name] = {"shape": list(leaf.shape), "dtype": leaf.dtype.name}
    return Plan.from_rules(shapes, [in_jax_layout(rule) for rule in rules])


def name_of(path: tuple[Any, ...]) -> str:
    """The name of a leaf."""
    return str(keystr(tuple(key for key in path if key != GetAttrKey("value")), simple=True, separator="."))


def in_jax_layout(rule: Rule) -> Rule:
    """The rule with the layout of JAX where its scheme has a choice and its numbers make none."""
    if rule.scheme == "dirac":
        raise ValueError(
            f"rule {rule.match!r}: dirac is for PyTorch's kernels (out, in, k...); in JAX's layout use delta_orthogonal"
        )
    layout: dict[str, Any] = {}
    if rule.scheme == "orthogonal":
        layout = {"flatten": "jax"}
    elif rule.scheme == "delta_orthogonal":
        layout = {"layout": "keras"}
    elif rule.scheme in SCHEMES and "layout" in takes(rule.scheme):
        layout = {"layout": "jax"}
    elif rule.scheme == "blocks":
        return Rule(rule.match, rule.scheme, {**rule.numbers, **_parts_in_jax_layout(rule)}, rule.dtype)
    return Rule(rule.match, rule.scheme, {**layout, **rule.numbers}, rule.dtype)


def _parts_in_jax_layout(rule: Rule) -> dict[str, Any]:
    """The same for the rule of every part."""
    tables = rule.numbers.get("parts")
    if not isinstance(tables, Sequence) or not all(isinstance(one, Mapping) for one in tables):
        return {}  # the law of the rule refuses it
    found = []
    for table in tables:
        numbers = {name: value for name, value in table.items() if name not in ("size", "scheme")}
        scheme = table.get("scheme")
        if isinstance(scheme, str):
            numbers = dict(in_jax_layout(Rule(rule.match, scheme, numbers)).numbers)
        found.append(numbers | {name: table[name] for name in ("size", "scheme") if name in table})
    return {"parts": found}


def _everywhere(shardings: Any, tree: Any) -> Any:
    """A sharding, or None, for each leaf of the tree, from those of its top."""

    def below(one: Any, branch: Any) -> Any:
        return jax.tree.map(lambda _: one, branch)

    return jax.tree.map(below, shardings, tree, is_leaf=lambda one: one is None)


def _own_sharding(leaf: Any) -> Any:
    """The sharding of an abstract leaf, or of an array that was put where it is."""
    return getattr(leaf, "sharding", None) if getattr(leaf, "committed", True) else None
