"""Integers in JSON: those that many readers would round are written as {"int": digits}.

Knows no operation: it walks through whatever an operation takes or gives.
"""

from __future__ import annotations

from typing import Any, Final

MOST_EXACT: Final = 2**53 - 1
"""The highest integer up to which a double, which is all that many readers have, tells every two apart."""


def written(value: Any) -> Any:
    """The same value, with every integer above 2^53 - 1 as {"int": digits}."""
    if isinstance(value, dict):
        return {name: written(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [written(one) for one in value]
    return {"int": str(value)} if isinstance(value, int) and value > MOST_EXACT else value


def read(value: Any) -> Any:
    """The same value, with every {"int": digits} as an integer."""
    if isinstance(value, dict):
        return int(value["int"]) if set(value) == {"int"} else {name: read(one) for name, one in value.items()}
    return [read(one) for one in value] if isinstance(value, list) else value
