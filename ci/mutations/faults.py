"""The faults that can be planted in a module: small changes of its syntax tree, each of which could be a slip.

Left out are what only a reader sees (texts, annotations, the arguments of errors and of the log), what only changes
speed (how much a cache holds, `copy=`), and `strict=` of zip, which guards against slips elsewhere.
"""

from __future__ import annotations

import ast
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
    ast.Break: ast.Continue,
    ast.Continue: ast.Break,
}
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "floor": "ceil", "ceil": "floor"}
REMOVED = (ast.Raise, ast.Expr)
# Arguments that guard against slips elsewhere, or change only speed.
KEYWORDS = ("strict", "copy")
# Calls of which the arguments are for readers, or for speed.
UNTOUCHED = ("lru_cache", "info", "warning", "debug", "warn", "TypeVar", "OSError", "MemoryError")


@dataclass(frozen=True)
class Fault:
    """One change of a module: where it is, and the changed part before and after."""

    path: str
    line: int
    where: str  # the function, or class, that it is in
    before: str
    after: str
    first: int  # line of the statement
    at_import: bool  # whether it runs when the module is imported
    index: int  # among the changes of the module
    number: int  # of the same change in the same place, from the top

    @property
    def key(self) -> str:
        """What it is known by on the next run, whatever line it is on then."""
        again = f" [{self.number}]" if self.number else ""
        return f"{self.path}::{self.where or '(module)'}: {self.before} -> {self.after}{again}"

    @property
    def code(self) -> CodeType:
        """The module with the fault, compiled."""
        tree = ast.parse((ROOT / self.path).read_text())
        _, _, change, _, _ = next(itertools.islice(_changes(tree), self.index, None))
        change()
        return compile(ast.fix_missing_locations(tree), str(ROOT / self.path), "exec")


def faults(path: str) -> list[Fault]:
    """Every fault that can be planted in a module of the project, from the top."""
    tree = ast.parse((ROOT / path).read_text())
    found: list[Fault] = []
    count: Counter[tuple[str, str, str]] = Counter()
    for index, (statement, node, change, where, at_import) in enumerate(list(_changes(tree))):
        before = _shown(statement, node)
        undo = change()
        after = "(removed)" if node is statement and isinstance(statement, REMOVED) else _shown(statement, node)
        undo()
        number = count[where, before, after]
        found.append(Fault(path, node.lineno, where, before, after, statement.lineno, at_import, index, number))
        count[where, before, after] += 1
    return found


def _shown(statement: ast.stmt, node: ast.AST) -> str:
    """The changed part of the source, in a line: the head of a statement that has a body."""
    shown = ast.unparse(statement).replace("not not ", "").split("\n")
    head = next((line for line in shown if not line.startswith("@")), "")
    text = head if len(shown) == 1 or hasattr(statement, "body") else " ".join(line.strip() for line in shown)
    return text if len(text) <= 160 or not isinstance(node, ast.expr) else ast.unparse(node)


def _changes(tree: ast.Module) -> Iterator[tuple[ast.stmt, Any, Any, str, bool]]:
    """(statement, node, what changes it and gives what undoes that, the place, whether at import) of every change."""

    def statements(body: list[ast.stmt], where: str, at_import: bool) -> Iterator[tuple[ast.stmt, Any, Any, str, bool]]:
        for i, statement in enumerate(body):
            if _for_readers(statement):
                continue
            named = isinstance(statement, (ast.FunctionDef, ast.ClassDef))
            inner = f"{where}.{statement.name}".lstrip(".") if named else where
            if _can_go(statement):
                gone = _setting(body, i, ast.copy_location(ast.Pass(), statement))
                yield statement, statement, gone, where, at_import
            for node, change in _expressions(statement):
                yield statement, node, change, inner, at_import
            within = at_import and not isinstance(statement, ast.FunctionDef)
            for field in ("body", "orelse", "finalbody"):
                yield from statements(getattr(statement, field, []) or [], inner, within)
            for handler in getattr(statement, "handlers", []):
                yield from statements(handler.body, inner, within)

    yield from statements(tree.body, "", True)


def _for_readers(statement: ast.stmt) -> bool:
    """Whether a statement is a docstring, an import, or a block for type checkers."""
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return True
    if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
        return True
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _can_go(statement: ast.stmt) -> bool:
    """Whether the module still compiles, and names still exist, without this statement."""
    if isinstance(statement, ast.Expr):
        return not isinstance(statement.value, (ast.Yield, ast.YieldFrom))
    return isinstance(statement, ast.Raise)


def _expressions(statement: ast.stmt) -> Iterator[tuple[Any, Any]]:
    """The nodes of a statement, its inner statements apart, and what changes each."""
    for field, value in ast.iter_fields(statement):
        if field in ("body", "orelse", "finalbody", "handlers", "annotation", "returns", "decorator_list"):
            continue
        if field == "exc":  # a raise: its arguments are for readers, but an error may be chosen by an expression
            continue
        for node in value if isinstance(value, list) else [value]:
            if isinstance(node, ast.AST):
                yield from _within(node, statement)
    if isinstance(statement, (ast.If, ast.While)) and isinstance(statement.test, (ast.Call, ast.Name, ast.Attribute)):
        yield statement.test, _setting(statement, "test", ast.UnaryOp(ast.Not(), statement.test))
    if isinstance(statement, (ast.Break, ast.Continue)):
        return
    if isinstance(statement, ast.AugAssign) and type(statement.op) in OPERATORS:
        yield statement, _setting(statement, "op", OPERATORS[type(statement.op)]())


def _within(node: ast.AST, parent: Any) -> Iterator[tuple[Any, Any]]:
    """The changes of an expression and what is inside it."""
    if isinstance(node, (ast.JoinedStr, ast.arg)) or (isinstance(node, ast.keyword) and node.arg in KEYWORDS):
        return
    if isinstance(node, ast.Call) and _name(node.func) in UNTOUCHED:
        return
    if isinstance(node, ast.Constant):
        yield from _of_constant(node)
    elif isinstance(node, (ast.BinOp, ast.BoolOp)) and type(node.op) in OPERATORS and not _of_texts(node):
        yield node, _setting(node, "op", OPERATORS[type(node.op)]())
    elif isinstance(node, ast.Compare):
        for i, operator in enumerate(node.ops):
            yield node, _setting(node.ops, i, OPERATORS[type(operator)]())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
        other = ast.UAdd() if isinstance(node.op, ast.USub) else None
        yield node, (_setting(node, "op", other) if other else _twice(node))
    elif isinstance(node, ast.IfExp) and isinstance(node.test, (ast.Call, ast.Name, ast.Attribute)):
        yield node.test, _setting(node, "test", ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.Call) and _name(node.func) in NAMES:
        field = "id" if isinstance(node.func, ast.Name) else "attr"
        yield node, _setting(node.func, field, NAMES[_name(node.func)])
    for child in ast.iter_child_nodes(node):
        yield from _within(child, node)


def _of_constant(node: ast.Constant) -> Iterator[tuple[Any, Any]]:
    """Another number or truth value; texts are left alone."""
    if isinstance(node.value, bool):
        yield node, _setting(node, "value", not node.value)
    elif isinstance(node.value, int):
        yield node, _setting(node, "value", node.value + 1)
    elif isinstance(node.value, float):
        yield node, _setting(node, "value", node.value * 1.5 if node.value else 1.0)


def _twice(node: ast.UnaryOp) -> Any:
    """`not x` becomes x: not not x, which is its truth."""
    return _setting(node, "operand", ast.UnaryOp(ast.Not(), node.operand))


def _of_texts(node: Any) -> bool:
    """Whether an operation puts texts together."""
    inner = (node.left, node.right) if isinstance(node, ast.BinOp) else ()
    return any(isinstance(one, ast.JoinedStr) or isinstance(getattr(one, "value", None), str) for one in inner)


def _name(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def _setting(owner: Any, key: Any, value: Any) -> Any:
    """What sets owner.key, or owner[key], and gives what sets it back."""

    def put(new: Any) -> Any:
        old = owner[key] if isinstance(owner, list) else getattr(owner, key)
        if isinstance(owner, list):
            owner[key] = new
        else:
            setattr(owner, key, new)
        return old

    def change() -> Any:
        old = put(value)
        return lambda: put(old)

    return change
