"""Rules of a plan in the layout of JAX: kernels are (k..., in, out)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastinit.plan import Rule
from fastinit.scheme_names import SCHEMES, takes


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
        if scheme in SCHEMES:  # the law refuses another
            numbers = dict(in_jax_layout(Rule(rule.match, scheme, numbers)).numbers)
        found.append(numbers | {name: table[name] for name in ("size", "scheme") if name in table})
    return {"parts": found}
