"""Keeps the ticket cache over a restart: sealed under the host's root, written soon after each change.

Anything unreadable is discarded with a line in the log: the file is a convenience, never an authority. What it holds
serves after a restart, and is asked for again where policy has changed since it was issued.
Neither the TGT nor any key of the host is in it.
"""

from __future__ import annotations

import os
from typing import Final

import structlog
import trio
from attrs import define, evolve, field

from orthros_client.daemon.agent import Agent
from orthros_client.daemon.tickets.cache import CacheKey, HeldCredential, plan_renewal
from orthros_client.daemon.tickets.refreshing import Refreshing
from orthros_protocol.errors import Misconfigured, OrthrosError
from orthros_protocol.exchanges.wants import WANT_JWT, WANT_TICKET
from orthros_protocol.keys.role_keys import RootKey
from orthros_protocol.keys.secret_file import read_secret_file, write_secret_file
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.tickets.cache_file import (
    MAX_CACHE_BYTES,
    CachedTicket,
    CacheSnapshot,
    cache_kvno,
    open_cache,
    seal_cache,
)
from orthros_runtime.clocks import Clock, Entropy, fraction

__all__ = ["CacheStore"]

log = structlog.get_logger()

# Changes come in bursts; one write holds them all.
_SETTLE_S: Final = 0.2
_SAVE_EVERY_S: Final = 1.0
_ENTROPY_BYTES: Final = 24
# Room in the file for the largest record; what does not fit is the least recently used.
_FILE_SHARE: Final = MAX_CACHE_BYTES - 64 * 1024


@define(eq=False)
class CacheStore:
    """The file at `path` (empty: none)."""

    path: str
    agent: Agent
    clock: Clock
    entropy: Entropy = field(repr=False)

    def load(self) -> int:
        """Fills the cache from the file; returns how many entries were still good."""
        if not self.path or not os.path.lexists(self.path):
            return 0
        try:
            data = read_secret_file(self.path)
            snapshot = open_cache(data, self._root(cache_kvno(data)))
        except OrthrosError as error:
            log.warning("ticket cache discarded", path=self.path, code=error.code, detail=error.detail)
            return 0
        session = self.agent.session
        session.realm.hint_ms = snapshot.offset_ms
        now = self.clock.elapsed_s()
        realm_now = session.realm_now()
        # A clock that stands before the moment of writing cannot say how much life is left.
        entries = snapshot.entries if realm_now >= snapshot.saved_ms else ()
        held = [_held_of(entry, now, realm_now, fraction(self.entropy)) for entry in entries]
        Refreshing(self.agent).revive([one for one in held if one.is_servable(now)], snapshot.policy_seq)
        log.info("ticket cache loaded", path=self.path, entries=len(self.agent.cache))
        return len(self.agent.cache)

    async def save_after_changes(self) -> None:
        """Writes soon after each change, until cancelled."""
        while self.path:
            await self.agent.changed.wait()
            await trio.sleep(_SETTLE_S)
            self.agent.changed = trio.Event()
            await trio.to_thread.run_sync(self._write, self._snapshot())
            await trio.sleep(_SAVE_EVERY_S)

    def save(self) -> None:
        """Writes now. A file that cannot be written is logged; the daemon goes on."""
        if self.path:
            self._write(self._snapshot())

    def _snapshot(self) -> CacheSnapshot:
        now = self.clock.elapsed_s()
        realm_now = self.agent.session.realm_now()
        entries: list[CachedTicket] = []
        size = 0
        for held in reversed(list(self.agent.cache.entries(now))):
            # The file has no place for these. Without its demands a ticket is of no use; without its limits it would be
            # the answer to another question.
            if held.credential.demands or held.key.limits:
                continue
            size += len(held.credential.ticket) + 1024
            if size > _FILE_SHARE:
                break
            entries.append(_entry_of(held))
        return CacheSnapshot(
            entries=tuple(reversed(entries)),
            offset_ms=self.agent.session.offset_ms,
            saved_ms=realm_now,
            policy_seq=self.agent.renewals.policy_seq,
        )

    def _write(self, snapshot: CacheSnapshot) -> None:
        try:
            root = self.agent.session.keytab.root_key()
            data = seal_cache(snapshot, root, entropy=self.entropy(_ENTROPY_BYTES))
            write_secret_file(self.path, data, replace=True)
        except OrthrosError as error:
            log.warning("ticket cache not saved", path=self.path, code=error.code, detail=error.detail)

    def _root(self, kvno: int) -> RootKey:
        for entry in self.agent.session.keytab.entries:
            if isinstance(entry.key, RootKey) and entry.key.kvno == kvno:
                return entry.key
        raise Misconfigured("key-missing", f"sealed under kvno {kvno}, which the key file does not hold")


def _entry_of(held: HeldCredential) -> CachedTicket:
    return CachedTicket(
        credential=held.credential,
        asked_scopes=held.key.scopes,
        asked_ttl_s=held.key.ttl_s,
        asked_flags=held.key.flags,
        policy_seq=held.policy_seq,
    )


def _held_of(entry: CachedTicket, now: float, realm_now: Timestamp, chance: float) -> HeldCredential:
    credential = entry.credential
    told = credential.life.seen(realm_now / 1000 - now)
    life = told.no_later(boot_end=min(told.end, now + told.whole_s))
    return HeldCredential(
        key=CacheKey(
            kind=WANT_JWT if credential.tail is None else WANT_TICKET,
            target=credential.target,
            scopes=entry.asked_scopes,
            ttl_s=entry.asked_ttl_s,
            flags=entry.asked_flags,
        ),
        credential=evolve(credential, life=life),
        policy_seq=entry.policy_seq,
        renew_at=plan_renewal(life.end - life.whole_s, life.whole_s, chance=chance),
    )
