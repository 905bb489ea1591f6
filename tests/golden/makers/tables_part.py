"""What can be written down at all: every audit event and its fields, every reason, every line of the logs."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import attrs

from orthros_kdc.admin.context import EVENTS as CHANGES
from orthros_kdc.audit.events import EVENTS
from orthros_tools.reasons import CATALOGUE

_ROOT = Path(__file__).parents[3]
_LEVELS = ("debug", "info", "warning", "error", "exception", "critical")
_PACKAGES = ("protocol", "kdc", "client")


def make(folder: Path) -> None:
    for name, lines in (
        ("audit_events", _audit_events()),
        ("admin_changes", iter(sorted(CHANGES))),
        ("reasons", _reasons()),
        ("log_events", iter(sorted(set(_log_events())))),
    ):
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _audit_events() -> Iterator[str]:
    for name, kind in sorted(EVENTS.items()):
        yield f"{name}{'   its answer waits for the line' if kind.gives else ''}"
        for part in (get_type_hints(kind)["about"], kind):
            yield from _fields_of(part)


def _fields_of(part: type[Any]) -> Iterator[str]:
    hints = {key: text for base in part.__mro__ for key, text in inspect.get_annotations(base).items()}
    for row in attrs.fields(part):
        default = "" if row.default is attrs.NOTHING else f" = {row.default!r}"
        if row.name != "about":
            yield f"  {row.name}: {hints[row.name]}{default}"


def _reasons() -> Iterator[str]:
    for row in sorted(CATALOGUE.values(), key=lambda one: one.name):
        yield f"{row.name}{f' {row.number}' if row.number else ''}{', retry' if row.retry else ''}"
        yield f"  cause: {row.cause}"
        yield f"  remedy: {row.remedy}"


def _log_events() -> Iterator[str]:
    """Every call of a logger in the product: level, event and the names of its values, sorted."""
    for package in _PACKAGES:
        for path in (_ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_logged(node):
                    names = sorted(word.arg or "**" for word in node.keywords)
                    where = path.relative_to(_ROOT / package).parts[0]
                    yield f"{where} {node.func.attr} {ast.unparse(node.args[0])} {' '.join(names)}".rstrip()


def _is_logged(node: ast.Call) -> bool:
    assert isinstance(node.func, ast.Attribute)
    receiver = ast.unparse(node.func.value).lower()
    return node.func.attr in _LEVELS and "log" in receiver and bool(node.args)
