"""What can be broken where a message declares its fields, one thing at a time: ranges, what may be nil, the order.

Works on syntax trees. The numbers of a field are broken by `mutators.py`, as every number is; here is what else there
is to a field.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final

from tests.mutants.mutators import Site, number_of, replace

# The functions of `schema.py` that declare a field: those that can be nil, and the others.
_OF_ONE_ITEM: Final = frozenset({
    "adapted", "array", "binary", "either", "extensions", "instant", "integer", "record_of", "record_set", "secret",
    "text", "text_set",
})  # fmt: skip
_FIELDS: Final = _OF_ONE_ITEM | {"const", "offset", "optional", "principal", "several", "spread"}
_AROUND: Final = frozenset({"field", "wire"})  # of a class of attrs whose fields are items of several messages
_JUDGED: Final = frozenset({"text", "text_set"})  # their first argument judges the text


def declared(tree: ast.Module) -> Iterator[Site]:
    """Every fault of the fields of a message or record, and of its limit."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for call in node.decorator_list:
                if isinstance(call, ast.Call) and _called(call) == "message":
                    yield from _bounds(call, node.name)
            yield from _fields(node)


def _called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _is_wire(node: ast.AST | None) -> bool:
    """Whether this says what an item on the wire may be."""
    if not isinstance(node, ast.Call):
        return False
    return _called(node) in {*_FIELDS, "wire"} or any(
        _is_wire(one.value) for one in node.keywords if one.arg == "metadata"
    )


def _fields(made: ast.ClassDef) -> Iterator[Site]:
    fields = [one for one in made.body if isinstance(one, ast.AnnAssign) and _is_wire(one.value)]
    for one in fields:
        yield from _of_children(one, f"{made.name}.{ast.unparse(one.target)}")
    for before, after in pairwise(fields):
        label = f"{made.name}: {ast.unparse(after.target)} before {ast.unparse(before.target)}"
        yield Site("", label, after.lineno, _swapped(made, before, after))


def _swapped(made: ast.ClassDef, before: ast.stmt, after: ast.stmt) -> Callable[[], None]:
    def apply() -> None:
        at, then = made.body.index(before), made.body.index(after)
        made.body[at], made.body[then] = after, before

    return apply


def _of_children(parent: ast.AST, label: str) -> Iterator[Site]:
    """The faults of each declaration below `parent`."""
    for child in ast.iter_child_nodes(parent):
        name = _called(child) if isinstance(child, ast.Call) else ""
        if isinstance(child, ast.Call) and name in _FIELDS:
            yield from _bounds(child, label)
            for new in _others(child, within_optional=isinstance(parent, ast.Call) and _called(parent) == "optional"):
                yield _changed(label, parent, child, new)
        if name in _FIELDS | _AROUND or isinstance(child, ast.keyword):
            yield from _of_children(child, label)


def _changed(label: str, parent: ast.AST, old: ast.expr, new: ast.expr) -> Site:
    what = f"{label}: {ast.unparse(old)} -> {ast.unparse(new)}"
    return Site("", what, old.lineno, lambda: replace(parent, old, new))


def _bounds(call: ast.Call, label: str) -> Iterator[Site]:
    """A bound that has a name, one more and one less: by that name, other fields may have it as well."""
    named: list[tuple[ast.AST, ast.expr]] = [
        (one, one.value) for one in call.keywords if one.arg in {"high", "limit", "low"}
    ]
    for parent, bound in [*((call, one) for one in call.args[_called(call) in _JUDGED :]), *named]:
        if isinstance(bound, ast.Name | ast.BinOp) and number_of(bound) is None and ast.unparse(bound).isupper():
            for operator in (ast.Add(), ast.Sub()):
                yield _changed(label, parent, bound, ast.BinOp(bound, operator, ast.Constant(1)))


def _others(call: ast.Call, *, within_optional: bool) -> Iterator[ast.Call]:
    """What could stand there instead: a size that is not exact, a text that nothing judges, a list that is no set,
    nil allowed or not."""
    name = _called(call)
    if name == "secret" or (name == "binary" and len(call.args) == 1):
        yield _call("binary", [ast.Constant(0), *call.args], call.keywords)
    if name in _JUDGED:
        yield _call(name, [ast.Name("len", ast.Load()), *call.args[1:]], call.keywords)
    if name == "record_set":
        yield _call("array", [*call.args, ast.Constant(1)], call.keywords)
    if name == "optional" and isinstance(inner := call.args[0], ast.Call):
        yield _call(_called(inner), inner.args, [*inner.keywords, *call.keywords])
    if name in _OF_ONE_ITEM and not within_optional:
        yield _call("optional", [_call(name, call.args, [])], call.keywords)


def _call(name: str, arguments: list[ast.expr], keywords: list[ast.keyword]) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), arguments, keywords)
