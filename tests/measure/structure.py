"""How large the product is, and how much of it says the same thing again. Read from the source; nothing is run."""

from __future__ import annotations

import ast
import io
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import grimp
from attrs import field, frozen

__all__ = ["PACKAGES", "Structure", "read_structure"]

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = {
    "orthros_protocol": ROOT / "protocol",
    "orthros_runtime": ROOT / "protocol",
    "orthros_kdc": ROOT / "kdc",
    "orthros_client": ROOT / "client",
    "orthros_tools": ROOT / "tools",
}
"""The packages of the wheel, and the folder that each lies in."""
MANY_PARAMETERS: Final = 9
_NO_CODE: Final = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING,
    tokenize.ENDMARKER,
}  # fmt: skip


@frozen
class Structure:
    """`code_lines` leaves out comments, docstrings and blank lines, by package. `handed_on` counts keyword arguments
    that are a parameter of the function around them under the same name (`x=x`), `copied` those that are a field of
    such a parameter under the same name (`x=y.x`). `unformatted` counts `fmt: skip`, by file."""

    code_lines: dict[str, int] = field(factory=dict)
    files: int = 0
    handed_on: int = 0
    copied: int = 0
    doubled: dict[str, list[str]] = field(factory=dict)
    circles: list[list[str]] = field(factory=list)
    many_parameters: list[str] = field(factory=list)
    unformatted: dict[str, int] = field(factory=dict)

    @property
    def all_code_lines(self) -> int:
        """Of all packages."""
        return sum(self.code_lines.values())


def read_structure() -> Structure:
    """The source of this checkout."""
    lines: dict[str, int] = defaultdict(int)
    classes: dict[str, list[str]] = defaultdict(list)
    files, handed_on, copied = 0, 0, 0
    unformatted: dict[str, int] = {}
    parameters: list[str] = []
    for package, folder in PACKAGES.items():
        for path in sorted((folder / package).rglob("*.py")):
            text, place = path.read_text("utf-8"), str(path.relative_to(folder))
            tree = ast.parse(text)
            files += 1
            lines[package] += len(_code_lines(text, tree))
            if "# fmt: skip" in text:
                unformatted[place] = text.count("# fmt: skip")
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    classes[node.name].append(place)
                elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    many = len(_parameters(node) - {"self", "cls"})
                    if many >= MANY_PARAMETERS:
                        parameters.append(f"{place} {node.name}: {many}")
                    handed_on += sum(_hands_on(node))
                    copied += sum(_copies(node))
    return Structure(
        code_lines=dict(lines),
        files=files,
        handed_on=handed_on,
        copied=copied,
        doubled={name: places for name, places in sorted(classes.items()) if len(places) > 1},
        circles=sorted(_circles()),
        many_parameters=parameters,
        unformatted=unformatted,
    )


def _code_lines(text: str, tree: ast.Module) -> set[int]:
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            found.update(range(token.start[0], token.end[0] + 1))
    for first, last in _docstrings(tree):
        found.difference_update(range(first, last + 1))
    return found


def _docstrings(tree: ast.Module) -> Iterator[tuple[int, int]]:
    """The lines of every text that stands alone: docstrings, also those of constants and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.end_lineno or node.lineno


def _keywords(node: ast.AST) -> Iterator[ast.keyword]:
    """Of the calls in a function, those in functions inside it left out: these have parameters of their own."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from child.keywords if isinstance(child, ast.Call) else ()
            yield from _keywords(child)


def _hands_on(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[bool]:
    given = _parameters(node)
    for one in _keywords(node):
        yield isinstance(one.value, ast.Name) and one.value.id == one.arg and one.arg in given


def _copies(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[bool]:
    given = _parameters(node)
    for one in _keywords(node):
        value = one.value
        if isinstance(value, ast.Attribute) and isinstance(value.value, ast.Name):
            yield value.attr == one.arg and value.value.id in given


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    return {one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)}


def _circles() -> list[list[str]]:
    """Modules that import each other, in one step or several, inside a package; imports for types alone count."""
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=False, cache_dir=None)
    # Importing a module runs the package above it, but no line of the module says so.
    arrows = {one: graph.find_modules_directly_imported_by(one) for one in graph.modules}
    return [sorted(group) for group in _groups(arrows) if len(group) > 1]


def _groups(arrows: dict[str, set[str]]) -> list[set[str]]:
    """Strongly connected components (Tarjan 1972), without recursion."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []
    for root, steps in arrows.items():
        if root in order:
            continue
        work = [(root, iter(sorted(steps)))]
        order[root] = low[root] = len(order)
        stack.append(root)
        while work:
            node, ahead = work[-1]
            step = next(ahead, None)
            if step is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == order[node]:
                    cut = stack.index(node)
                    found.append(set(stack[cut:]))
                    del stack[cut:]
            elif step not in order:
                order[step] = low[step] = len(order)
                stack.append(step)
                work.append((step, iter(sorted(arrows.get(step, ())))))
            elif step in stack:
                low[node] = min(low[node], order[step])
    return found
