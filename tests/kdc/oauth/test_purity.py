"""What decides over HTTP neither waits nor logs nor touches the store: the same line as for `issuing` and `policy`."""

from __future__ import annotations

import ast
from pathlib import Path

import orthros_kdc.oauth

FORBIDDEN = {"trio", "structlog", "sqlite3", "os", "time", "random", "secrets", "socket", "logging"}
FOLDER = Path(orthros_kdc.oauth.__file__).parent


def test_the_decisions_are_pure() -> None:
    found: list[str] = []
    for path in sorted(FOLDER.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [f"{path.name}: {name}" for name in names if name.partition(".")[0] in FORBIDDEN]
            found += [f"{path.name}: async" for _ in [0] if isinstance(node, (ast.AsyncFunctionDef, ast.Await))]
    assert len(list(FOLDER.glob("*.py"))) > 10
    assert found == []
