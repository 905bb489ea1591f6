"""Which replay store a service uses: the one that is named, else the widest that can be had without asking anybody.

Knows the names of stores and how they are opened, not what they do.
"""

from __future__ import annotations

import os
from typing import Final

import structlog

from orthros_client.verifier.stores.folder import find_folder
from orthros_client.verifier.stores.memory import MemoryStore
from orthros_client.verifier.stores.shares import Shares
from orthros_client.verifier.stores.workers import has_fellow_workers
from orthros_protocol.errors import LocalMisuse, Misconfigured
from orthros_protocol.exchanges.replay import ReplayStore
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.primitives.canonical import encode
from orthros_protocol.primitives.derivation import digest
from orthros_runtime.clocks import Clocks, Entropy
from orthros_runtime.extras import install_command

__all__ = ["STORE_VARIABLE", "file_name", "open_store"]

STORE_VARIABLE: Final = "ORTHROS_REPLAY_STORE"
MEMORY: Final = "memory"
_SERVERS: Final = ("redis://", "rediss://", "unix://")

_log = structlog.get_logger("orthros.verifier")


def open_store(
    replay: ReplayStore | str | None, keytab: Keytab, shares: Shares, *, clocks: Clocks, entropy: Entropy
) -> ReplayStore:
    """The store that `replay` is or names; see `Verifier`. Raises Misconfigured, LocalMisuse."""
    if replay is not None and not isinstance(replay, str):
        return replay
    named = os.environ.get(STORE_VARIABLE, "") if replay is None else replay
    if named.startswith(_SERVERS):
        return _open_server(named, keytab, shares, clocks)
    if named == MEMORY:
        return MemoryStore(shares, clocks=clocks, entropy=entropy)
    if named:
        # A URL may hold a password: what is unknown is not shown.
        words = f"a replay store is {MEMORY!r}, or a URL that begins with {', '.join(_SERVERS)}"
        raise Misconfigured("config-invalid", words) if replay is None else LocalMisuse("value-invalid", words)
    store = _open_host_store(keytab, shares, clocks, entropy)
    if store is not None:
        return store
    if has_fellow_workers():
        _log.warning(
            "replay-store-not-shared",
            why="several processes serve here, and each remembers for itself: a caller of one is refused by the others",
            remedy=f"Run `{install_command('wsgi')}` and set ORTHROS_STATE_DIR, or set ORTHROS_REPLAY_STORE.",
        )
    return MemoryStore(shares, clocks=clocks, entropy=entropy)


def store_name(keytab: Keytab) -> str:
    """What tells the stores of two services apart, whatever folder or server they share: 16 characters."""
    principal = keytab.principal
    return digest(encode(principal.realm, principal.name, keytab.uid))[:8].hex()


def file_name(name: str) -> str:
    """The file of a host store."""
    return f"replay-{name}.mdb"


def _open_host_store(keytab: Keytab, shares: Shares, clocks: Clocks, entropy: Entropy) -> ReplayStore | None:
    folder = find_folder()
    if folder is None:
        return None
    try:
        from lmdb import Error as LmdbError

        from orthros_client.verifier.stores.host import HostStore
    except ModuleNotFoundError as error:  # lmdb comes with the extras of the middlewares
        if error.name != "lmdb":
            raise
        return None
    path = os.path.join(folder, file_name(store_name(keytab)))
    try:
        return HostStore(path, shares, clocks=clocks, entropy=entropy)
    except (OSError, Misconfigured, LmdbError) as error:
        _log.warning("replay-store-not-shared", store=path, error=str(error), instead=MEMORY)
        return None


def _open_server(url: str, keytab: Keytab, shares: Shares, clocks: Clocks) -> ReplayStore:
    from orthros_client.verifier.stores.redis_server import RedisStore  # the extra `redis` is needed only here

    return RedisStore(url, store_name(keytab), shares, clocks=clocks)
