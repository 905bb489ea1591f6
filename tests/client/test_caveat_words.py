"""What `orthros inspect` says of caveats."""

from __future__ import annotations

import ast
import inspect

from orthros_client.inspection import words
from orthros_protocol.tickets import caveats


def test_every_type_of_caveat_has_words() -> None:
    """Whoever adds a type and forgets its words learns it here, and not from a user."""
    tree = ast.parse(inspect.getsource(words._words))
    named = {
        node.cls.id for node in ast.walk(tree) if isinstance(node, ast.MatchClass) and isinstance(node.cls, ast.Name)
    }
    assert named == {kind.__name__ for kind in caveats._KINDS.values()}
