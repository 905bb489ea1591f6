"""`orthros inspect --schema`: the fields of each message, and the source of the functions that judge them.

What it prints is made of the classes themselves. Reads no file and asks nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from attrs import asdict

from orthros_client.cli.output import OK
from orthros_client.errors import LocalMisuse
from orthros_protocol.primitives.schema import Message, source_of
from orthros_protocol.primitives.shape_words import messages_by_name, words_of_fields
from orthros_protocol.tickets import cache_file  # noqa: F401  # its messages are known by being loaded
from orthros_runtime.screen import Screen

__all__ = ["show_schema"]


def show_schema(name: str, screen: Screen) -> int:
    """Shows every message and record called `name`; for "", the names. Raises LocalMisuse `value-invalid`."""
    known = messages_by_name()
    if not name:
        if screen.json:
            screen.write_json([*known])
        else:
            screen.write_lines(known)
        return OK
    if name not in known:
        near = get_close_matches(name.lower(), [one.lower() for one in known], n=1)
        meant = [one for one in known if one.lower() in near]
        hint = f"did you mean {meant[0]!r}?" if meant else "`orthros inspect --schema` lists the names"
        raise LocalMisuse("value-invalid", f"no message is called {name[:60]!a}; {hint}")
    rows = [
        {
            "class": f"{one.__module__}.{one.__qualname__}",
            "most_bytes": one.most_bytes if issubclass(one, Message) else None,
            "fields": [asdict(field) for field in words_of_fields(one)],
            "source": source_of(one),
        }
        for one in known[name]
    ]
    if screen.json:
        screen.write_json(rows)
    else:
        screen.write_lines(line for row in rows for line in _lines(name, row))
    return OK


def _lines(name: str, row: Mapping[str, Any]) -> Iterator[str]:
    most = row["most_bytes"]
    yield f"{name}, {row['class']}, {'within messages' if most is None else f'at most {most} bytes'}"
    width = max((len(field["name"]) for field in row["fields"]), default=0)
    for field in row["fields"]:
        yield f"  {field['at']:2}  {field['name']:{width}}  {field['type']}"
    yield from ("", *row["source"].splitlines(), "")
