"""Empty stores for tests that are not about files: SQLite where nothing waits for a disk, closed at each test's end."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from itertools import count
from pathlib import Path
from typing import TypeVar

from orthros_kdc.store.sqlite import SqliteStore
from orthros_runtime.clocks import wall_clock

__all__ = ["close_scratch_stores", "scratch_folder", "scratch_store", "scratch_store_of"]

S = TypeVar("S", bound=SqliteStore)

_MEMORY = Path("/dev/shm")
_numbers = count()
_open: list[SqliteStore] = []


@cache
def _kept() -> tempfile.TemporaryDirectory[str]:
    """One for each process that runs tests; it goes away with the process."""
    return tempfile.TemporaryDirectory(prefix="orthros-tests-", dir=_MEMORY if _MEMORY.is_dir() else None)


def scratch_folder() -> Path:
    """A new empty folder in memory where the system has such."""
    folder = Path(_kept().name) / str(next(_numbers))
    folder.mkdir(mode=0o700)
    return folder


@cache
def _template() -> Path:
    """An empty database: copying one costs a fifth of what making one costs."""
    path = scratch_folder() / "empty.db"
    SqliteStore.create(path, durable=False).close()
    return path


def scratch_store(*, now_ms: Callable[[], int] = wall_clock, at: Path | None = None) -> SqliteStore:
    """An empty store, which need not be closed; its file is `at` where a test has to know it."""
    return scratch_store_of(SqliteStore, now_ms=now_ms, at=at)


def scratch_store_of(kind: type[S], *, now_ms: Callable[[], int] = wall_clock, at: Path | None = None) -> S:
    """The same, of class `kind`."""
    path = at or scratch_folder() / "kdc.db"
    shutil.copy(_template(), path)
    store = kind.open(path, durable=False, now_ms=now_ms)
    _open.append(store)
    return store


def close_scratch_stores() -> None:
    """Closes what is still open."""
    while _open:
        _open.pop().close()
