"""The source that is written for every message: what checks, reads and writes it. Reviewed as cryptography is."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import orthros_client
import orthros_protocol
from orthros_protocol.primitives.schema import Message, Record, source_of

__all__ = ["make", "message_classes"]

_PACKAGES = (orthros_protocol, orthros_client)


def make(folder: Path) -> None:
    for package in _PACKAGES:
        for module in _modules(package):
            sources = [f"# {one.__name__}\n{source_of(one)}" for one in message_classes(module)]
            if sources:
                (folder / f"{module.__name__}.txt").write_text("\n\n".join(sources), encoding="utf-8")


def message_classes(module: ModuleType) -> list[type[Message | Record]]:
    """The messages and records that a module makes, in its order."""
    own = [one for one in vars(module).values() if isinstance(one, type) and one.__module__ == module.__name__]
    return [one for one in own if issubclass(one, (Message, Record)) and hasattr(one, "members")]


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not found.name.endswith("__main__"):
            yield import_module(found.name)
