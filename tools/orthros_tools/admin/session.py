"""An administrator's desk: the configuration, and the realm opened for one command.

Knows no command and decides nothing; wrong files and keys are refused before anything is touched.
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Self

from attrs import frozen

from orthros_kdc.admin import Admin, login_name
from orthros_kdc.audit import AdminAuditLog
from orthros_kdc.config import KDC_SETTINGS, Config
from orthros_kdc.realm.master_key import load_master_key, load_next_master_key
from orthros_kdc.realm.vault import open_vault
from orthros_kdc.store.base import Store
from orthros_kdc.store.lock_limit import LockLimit
from orthros_kdc.store.sqlite import SqliteStore
from orthros_protocol.errors import Misconfigured
from orthros_runtime.clocks import wall_clock
from orthros_runtime.screen import Screen

__all__ = ["AdminSession"]

_USUAL_CONFIG: Final = Path(Config().store.path).with_name("kdc.toml")
"""Where `orthros-kdc init` leaves it when it founds the realm at the default place."""
_LOCK_LIMIT: Final = LockLimit()
_MOST_ACTOR_CHARS: Final = 128


@frozen(kw_only=True)
class AdminSession:
    """Who works here, with which configuration, and how they want to see answers. `words` are the command line."""

    config: Config
    actor: str
    environ: Mapping[str, str]
    screen: Screen
    words: tuple[str, ...] = ()

    @classmethod
    def of(cls, options: Namespace, environ: Mapping[str, str], screen: Screen, words: Sequence[str] = ()) -> Self:
        """From the options of every command. Raises Misconfigured `config-invalid` or `value-invalid`."""
        overrides = {
            "store.path": options.store,
            "store.master_key_file": options.master_key_file,
            "store.next_master_key_file": options.next_master_key_file,
        }
        usual = _USUAL_CONFIG if os.path.exists(_USUAL_CONFIG) else None
        file = options.config or environ.get(KDC_SETTINGS.file_variable) or usual
        return cls(
            config=KDC_SETTINGS.load(file, environ, overrides),
            actor=_check_actor(login_name(environ) if options.actor is None else options.actor),
            environ=environ,
            screen=screen,
            words=tuple(words),
        )

    @asynccontextmanager
    async def open_admin(self) -> AsyncIterator[Admin]:
        """The use cases' first argument, on the realm's own store."""
        # The keys first: without them there is no reason to touch the store.
        master = load_master_key(self.config.store.master_key_file or None, environ=self.environ)
        next_master = load_next_master_key(self.config.store.next_master_key_file or None, environ=self.environ)
        store = SqliteStore.open(self.config.store.path, lock_limit=_LOCK_LIMIT)
        try:
            vault = await open_vault(store, master, next_master)
            yield Admin(store=store, vault=vault, audit=AdminAuditLog(), now_ms=wall_clock, actor=self.actor)
        finally:
            await store.aclose()

    @asynccontextmanager
    async def open_store(self) -> AsyncIterator[Store]:
        """The realm's store, for who only looks at rows that no key seals."""
        store = SqliteStore.open(self.config.store.path)
        try:
            yield store
        finally:
            await store.aclose()


def _check_actor(name: str) -> str:
    if not (name.isascii() and name.isprintable() and 0 < len(name) <= _MOST_ACTOR_CHARS):
        raise Misconfigured("value-invalid", f"actor: 1 to {_MOST_ACTOR_CHARS} printable ASCII characters")
    return name
