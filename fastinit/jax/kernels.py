"""What the axes of a kernel of three or more dimensions are, of which a tree of shapes says nothing by itself.

(16, 256, 256) may be a convolution, sixteen layers stacked, or a projection into heads; He's std differs by a factor of
up to 16. The bias beside it tells them apart: (256,), (16, 256) or (256, 256), unless two readings fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fastinit.jax.layouts import in_jax_layout
from fastinit.laws import Law
from fastinit.plan import SKIP, Rule, Shapes, first_match
from fastinit.scheme_names import AXES, SCHEMES, law_of

# Numbers of a rule by which it says what the axes are.
SAID = {*AXES, "flatten", "batch", "axis"}


def explained(shapes: Shapes, rules: Iterable[Rule], names: Iterable[str] | None = None) -> list[Rule]:
    """The rules in JAX's layout; before them, one for each kernel that its bias explains.

    shapes  of all leaves, among which are the biases
    names   of the leaves that rules are for; all, if not given

    Raises ValueError, which names it, for a tensor of three or more dimensions whose law depends on what they are,
    where neither its rule nor a bias says it.
    """
    rules = list(rules)
    found = []
    for name in shapes if names is None else names:
        rule, shape = first_match(rules, name), tuple(shapes[name]["shape"])
        if rule is not None and len(shape) >= 3 and _asks(rule):
            numbers = _by_bias(name, shape, shapes, rule)
            found.append(Rule(re.escape(name), rule.scheme, {**rule.numbers, **numbers}, rule.dtype))
    return [in_jax_layout(rule) for rule in (*found, *rules)]


def _asks(rule: Rule) -> bool:
    """Whether the law of a rule depends on what the axes are, and the rule does not say it."""
    if rule.scheme == SKIP or rule.scheme not in SCHEMES:
        return False
    if rule.scheme == "blocks":
        parts = rule.numbers.get("parts", ())
        tables = [one for one in parts if isinstance(one, Mapping) and isinstance(one.get("scheme"), str)]
        return any(_asks(Rule(rule.match, one["scheme"], _numbers(one))) for one in tables)
    if SAID & set(rule.numbers):
        return False
    return rule.scheme == "orthogonal" or _needs_shape(rule)


def _numbers(table: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if name not in ("size", "scheme")}


def _needs_shape(rule: Rule) -> bool:
    """Whether a scheme derives a fan from the shape."""
    try:
        law_of(rule.scheme, rule.numbers, None)
    except ValueError as error:
        return "to derive it from" in str(error)
    except TypeError:
        pass
    return False


def _by_bias(name: str, shape: tuple[int, ...], shapes: Shapes, rule: Rule) -> dict[str, Any]:
    """The axes that the bias beside a kernel leaves, as numbers of its rule."""
    beside = f"{name.rpartition('.')[0]}.bias".lstrip(".")
    bias = tuple(shapes[beside]["shape"]) if beside in shapes and beside != name else None
    laws: dict[Law, dict[str, Any]] = {}
    if bias is not None and rule.scheme != "blocks":
        for numbers in _readings(shape, bias, rule.scheme):
            law = in_jax_layout(Rule(rule.match, rule.scheme, {**rule.numbers, **numbers})).law(name, shape)
            laws.setdefault(law, numbers)
    if len(laws) == 1:
        return next(iter(laws.values()))
    told = "no bias beside it says which"
    if bias is not None:
        told = f"the bias beside it, {bias}, {'fits more than one of them' if laws else 'fits none of them'}"
    raise ValueError(
        f"rule {rule.match!r}, tensor {name!r} of shape {shape}: {len(shape)} dimensions may be those of a convolution "
        f"(k..., in, out), of layers that are stacked, or of a projection with several axes of inputs or outputs; "
        f"{rule.scheme} depends on it, and {told}. Let fastinit.jax.record read the code that makes it, or give it a "
        f"rule that says {'flatten, or batch_axis' if rule.scheme == 'orthogonal' else 'what the axes are'}: "
        f"layout='jax' for a convolution, batch_axis=0 for stacked layers, in_axis and out_axis for a projection"
    )


def _readings(shape: tuple[int, ...], bias: tuple[int, ...], scheme: str) -> Iterator[dict[str, Any]]:
    """What the axes may be, as numbers of a rule."""
    for copies in range(min(len(bias), len(shape) - 1)):
        if shape[:copies] != bias[:copies]:
            return
        own, one = shape[copies:], bias[copies:]
        batch = {"batch_axis": tuple(range(copies))} if copies else {}
        inputs = tuple(range(copies, len(shape) - len(one)))
        if len(one) >= len(own) or own[-len(one) :] != one:
            continue
        outputs = tuple(range(len(shape) - len(one), len(shape)))
        if len(one) == 1:  # a convolution, or inputs on several axes
            yield {"layout": "jax", **batch} if scheme != "orthogonal" else batch or {"flatten": "jax"}
        if scheme != "orthogonal":
            yield {"in_axis": inputs, "out_axis": outputs, **batch}
