"""What can be broken in a module, one thing at a time: comparisons, limits, and checks that are left out.

Works on syntax trees. Knows neither vectors nor what the code is for.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from attrs import evolve, frozen

_SWAPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_COUNT = re.compile(r"(?<=[{,])[0-9]+(?=[,}])")
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@frozen
class Site:
    """One fault. `function` is the innermost function or method around it, empty for what runs at import.

    `label` is the same after edits elsewhere in the file; `apply` changes the tree that the site was found in.
    """

    function: str
    label: str
    line: int
    apply: Callable[[], None]


def sites(tree: ast.Module) -> Iterator[Site]:
    """Every fault of what the source says, in its order."""
    for statement in tree.body:
        yield from _of_statement(statement, tree, (), "")


def positions(tree: ast.Module) -> Iterator[Site]:
    """Items of a list by the number of another, in functions of the module."""
    for function in tree.body:
        for node in ast.walk(function):
            if isinstance(function, ast.FunctionDef) and isinstance(node, ast.Subscript):
                number = number_of(node.slice)
                for value in () if number is None else (number + 1, number - 1):
                    yield _at_position(function, node, value)


def _at_position(function: ast.FunctionDef, node: ast.Subscript, value: int) -> Site:
    new = ast.Constant(value=value)
    changed = ast.Subscript(node.value, new, node.ctx)
    label = f"{function.name}: {ast.unparse(node)} -> {ast.unparse(changed)}"
    return Site(function.name, label, node.lineno, lambda: replace(node, node.slice, new))


def numbered(found: Iterable[Site]) -> list[Site]:
    """The same, with a number behind a label that has been there before."""
    seen: Counter[str] = Counter()
    told = []
    for site in found:
        seen[site.label] += 1
        again = f" ({seen[site.label]})" if seen[site.label] > 1 else ""
        told.append(evolve(site, label=site.label + again))
    return told


def _of_statement(node: ast.stmt, parent: ast.AST, path: tuple[str, ...], function: str) -> Iterator[Site]:
    if isinstance(node, _SCOPES):
        path = (*path, node.name)
        for one in _defaults(node):
            yield from _of_expression(one, node, path, function)
        inner = function if isinstance(node, ast.ClassDef) else ".".join(path)
        for statement in node.body:
            yield from _of_statement(statement, node, path, inner)
        return
    if isinstance(node, ast.Assign | ast.AnnAssign) and not function:
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        path = (*path, ast.unparse(target))
    yield from _left_out(node, parent, path, function)
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield from _of_statement(child, node, path, function)
        elif isinstance(child, ast.ExceptHandler | ast.match_case):
            for statement in child.body:
                yield from _of_statement(statement, child, path, function)
        elif not (isinstance(node, ast.AnnAssign) and child is node.annotation):
            yield from _of_expression(child, node, path, function)


def _defaults(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return [*node.args.defaults, *(one for one in node.args.kw_defaults if one is not None)]
    return []


def _left_out(node: ast.stmt, parent: ast.AST, path: tuple[str, ...], function: str) -> Iterator[Site]:
    """A guard that never applies, a check that is not called."""
    label = ".".join(path)
    if isinstance(node, ast.If) and _guards(node.body):
        test = ast.unparse(node.test)
        if test != "TYPE_CHECKING":
            yield Site(function, f"{label}: without `if {test}`", node.lineno, lambda: _never(node))
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and function:
        text = ast.unparse(node)
        yield Site(function, f"{label}: without `{text}`", node.lineno, lambda: replace(parent, node, ast.Pass()))


def _guards(body: list[ast.stmt]) -> bool:
    last = body[-1]
    returns = isinstance(last, ast.Return) and (last.value is None or isinstance(last.value, ast.Constant | ast.Tuple))
    return isinstance(last, ast.Raise) or returns


def _never(node: ast.If) -> None:
    node.test = ast.copy_location(ast.Constant(value=False), node.test)


def _of_expression(node: ast.AST, parent: ast.AST, path: tuple[str, ...], function: str) -> Iterator[Site]:
    label = ".".join(path)

    def swap(new: ast.expr) -> Site:
        return Site(
            function,
            f"{label}: {_short(node)} -> {_short(new)}",
            getattr(node, "lineno", 0),
            lambda: replace(parent, node, new),
        )

    if isinstance(node, ast.FormattedValue):
        return  # words for people
    number = number_of(node)
    if number is not None:
        if not isinstance(parent, ast.Subscript | ast.Compare):
            for value in (number + 1, number - 1):
                yield swap(ast.Constant(value=value))
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield from map(swap, _other_counts(node.value))
        return
    if isinstance(node, ast.Compare):
        for at, operator in enumerate(node.ops):
            changed = [*node.ops[:at], _SWAPPED[type(operator)](), *node.ops[at + 1 :]]
            yield swap(ast.Compare(left=node.left, ops=changed, comparators=node.comparators))
        yield from map(swap, _other_limits(node))
    if isinstance(node, ast.BoolOp):
        for at in range(len(node.values)):
            left = [*node.values[:at], *node.values[at + 1 :]]
            yield swap(left[0] if len(left) == 1 else ast.BoolOp(op=node.op, values=left))
    for child in ast.iter_child_nodes(node):
        yield from _of_expression(child, node, path, function)


def _other_limits(node: ast.Compare) -> Iterator[ast.Compare]:
    """The same comparison with another number."""
    sides: list[ast.expr] = [node.left, *node.comparators]
    for at, side in enumerate(sides):
        number = number_of(side)
        for value in () if number is None else (number + 1, number - 1):
            others = [*sides[:at], ast.Constant(value=value), *sides[at + 1 :]]
            yield ast.Compare(left=others[0], ops=node.ops, comparators=others[1:])


def number_of(node: ast.AST) -> int | None:
    """The value of an integer, or of what is computed of integers alone."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, int) and not isinstance(node.value, bool) else None
    if isinstance(node, ast.BinOp) and number_of(node.left) is not None and number_of(node.right) is not None:
        value: int = eval(ast.unparse(node), {"__builtins__": {}})  # digits and operators alone
        return value
    return None


def _other_counts(text: str) -> Iterator[ast.Constant]:
    """The same pattern with another number of repetitions."""
    for found in _COUNT.finditer(text):
        for value in (int(found[0]) + 1, int(found[0]) - 1):
            if value >= 0:
                yield ast.Constant(value=f"{text[: found.start()]}{value}{text[found.end() :]}")


def _short(node: ast.AST) -> str:
    return ast.unparse(node)[:160]


def replace(parent: ast.AST, old: ast.AST, new: ast.AST) -> None:
    """Puts `new` where `old` is. Raises LookupError where it is not."""
    new = ast.fix_missing_locations(ast.copy_location(new, old))
    for holder in (parent, *(one for one in ast.iter_child_nodes(parent) if isinstance(one, ast.arguments))):
        for name, value in ast.iter_fields(holder):
            if value is old:
                setattr(holder, name, new)
                return
            if isinstance(value, list) and any(one is old for one in value):
                value[:] = [new if one is old else one for one in value]
                return
    raise LookupError(f"{ast.unparse(old)} is not there, so nothing would change")
