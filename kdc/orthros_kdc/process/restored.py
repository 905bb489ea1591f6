"""`orthros-kdc restored`: declares the database of a configuration to be the realm, and says what is undone.

Serves nothing; `orthros_kdc.admin.restoring` does the work.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime

from orthros_kdc.admin import Admin, login_name
from orthros_kdc.admin.restoring import Restored, restored
from orthros_kdc.audit import AdminAuditLog
from orthros_kdc.config import Config
from orthros_kdc.realm.master_key import load_master_key, load_next_master_key
from orthros_kdc.realm.vault import open_vault
from orthros_kdc.store.sqlite import SqliteStore
from orthros_runtime.clocks import wall_clock

__all__ = ["declare_restored"]


async def declare_restored(config: Config) -> str:
    """Declares it, and returns what is undone and what to do next, as text for a person.

    Raises Misconfigured as `restored`, and as the opening of a realm does; nothing is changed then.
    """
    master = load_master_key(config.store.master_key_file or None, environ=os.environ)
    next_master = load_next_master_key(config.store.next_master_key_file or None, environ=os.environ)
    store = SqliteStore.open(config.store.path)
    try:
        await store.check()
        vault = await open_vault(store, master, next_master)
        admin = Admin(store=store, vault=vault, audit=AdminAuditLog(), now_ms=wall_clock, actor=login_name(os.environ))
        return _told(vault.realm, await restored(admin, config.audit.directory))
    finally:
        await store.aclose()


def _told(realm: str, done: Restored) -> str:
    lines = [f"realm {realm} is the restored database from now on; it ends with change {done.last}"]
    lines += [f"undone: {one.writer} had change {one.seq} in force since {_instant(one.at)}" for one in done.undone]
    lines += [
        f"the next principal gets uid {done.first_uid}, which none had before",
        "no login from before counts at the KDC: daemons log in again by themselves",
        "next: repeat what was taken away since the backup: principals disabled or deleted, rules and keys removed,",
        "      tokens revoked; copies of the audit record (`audit export`) say what it was. Then start the KDCs.",
    ]
    return "\n".join(lines)


def _instant(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds // 1000, UTC):%Y-%m-%d %H:%M:%SZ}"
