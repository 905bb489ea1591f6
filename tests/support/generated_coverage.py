"""A pytest plugin for `make coverage-messages`: gives the source that is written for messages a file.

coverage.py does not trace code whose file name begins with `<`. So each function is compiled again from the very text
that `source_of` shows, under the name of a file that holds this text; nothing else about it changes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import orthros_client.cli.__main__  # noqa: F401  # it loads all that has messages
from orthros_protocol.primitives.schema import Message, Record, source_of
from orthros_protocol.primitives.shape_words import messages_by_name


def _give_file(cls: type[Message | Record], folder: Path) -> None:
    path = folder / f"{cls.__module__}.{cls.__qualname__}.py"
    path.write_text(source_of(cls), "utf-8")
    names: dict[str, Any] = cast(Any, cls).check.__globals__
    functions: dict[str, Any] = {}
    exec(compile(source_of(cls), str(path), "exec"), names, functions)  # what the class was made of
    names.update(functions)
    for name, function in functions.items():
        setattr(cls, name, function if name in ("encode", "to_items") else staticmethod(function))


FOLDER = Path(os.environ["ORTHROS_TEST_MESSAGES"])
for classes in messages_by_name().values():
    for one in classes:
        _give_file(one, FOLDER)
