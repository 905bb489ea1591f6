"""What local users may do about tickets that the daemon holds: report a refusal, renew, forget.

The rights are those of the allow-list. On top of them, no user can take from others what they use: a ticket stays until
its successor is here, and only root and the daemon's own user may forget what others were given. Knows no encoding.
"""

from __future__ import annotations

from math import ceil
from typing import Final

import structlog
from attrs import define, evolve, field

from orthros_client.daemon.agent import Agent
from orthros_client.daemon.listeners.allow_list import Allowance, AllowList
from orthros_client.daemon.tickets.cache import HeldCredential
from orthros_client.daemon.tickets.given_out import GivenOut
from orthros_client.daemon.tickets.refreshing import Refreshing
from orthros_client.errors import Failure
from orthros_client.local.api.failures import FailureItems
from orthros_client.local.api.values import (
    RENEWALS_PAGE,
    CacheEntry,
    ForgetRequest,
    Forgotten,
    Renewal,
    Renewed,
    RenewRequest,
    Reply,
    Reported,
    ReportOutcome,
    ReportRequest,
)
from orthros_client.reasons import PEER_NOT_ALLOWED
from orthros_protocol.primitives.names import Principal, cached_principal
from orthros_runtime.serving.peers import Peer

__all__ = ["HeldTicketsApi", "entry_of"]

log = structlog.get_logger()

# A refusal that says what is missing. Every other one is about the ticket as a whole: any successor is better.
_LACKS: Final = "insufficient-scope"
# What fits a frame besides 64 entries.
_MOST_SCOPE_BYTES: Final = 16 * 1024
_MOST_DETAIL_CHARS: Final = 200


@define(eq=False)
class HeldTicketsApi:
    """One per daemon. `allowance` is how often each user may make the daemon ask the KDC, `reports` how often each may
    report."""

    agent: Agent
    allowance: Allowance
    reports: Allowance = field(factory=lambda: Allowance(per_s=2.0, burst=32.0))
    given: GivenOut = field(init=False)
    _refreshing: Refreshing = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.given = GivenOut(self.agent.cache.capacity + self.agent.on_behalf.capacity)
        self._refreshing = Refreshing(self.agent)

    async def report(self, peer: Peer, request: ReportRequest, allow: AllowList) -> Reply:
        """Believes the report only of a ticket that this user was given, and answers in 2 s at most."""
        if not allow.permits(peer, request.target):
            return Failure.refused(PEER_NOT_ALLOWED, f"{peer} for {request.target}")
        agent, now = self.agent, self.agent.clock.elapsed_s()
        if not self.reports.take(peer.uid, now):
            return Failure.unavailable("rate-limited", f"too many reports from {peer}", retry_s=1)
        key = self.given.key_of(request.ticket, peer.uid)
        held = None if key is None else agent.cache_for(key).peek(key)
        if key is None or held is None or key.target != request.target:
            return Reported(outcome=ReportOutcome.IGNORED)
        if held.name != request.ticket:
            return Reported(outcome=ReportOutcome.RENEWED)
        log.info("refusal reported", peer=str(peer), target=str(key.target), code=request.code, time=request.time)
        lacks = request.code == _LACKS
        if not lacks:
            agent.session.doubt_login()
        found = await self._refreshing.after_report(key, unless_worse=lacks)
        if isinstance(found, Failure):
            return Reported(outcome=ReportOutcome.FAILED, retry_s=found.retry_s)
        if isinstance(found, float):
            return Reported(outcome=ReportOutcome.LATER, retry_s=ceil(found))
        more = set(found.credential.scopes) - set(held.credential.scopes)
        is_better = bool(more) if lacks else found.name != held.name
        return Reported(outcome=ReportOutcome.RENEWED if is_better else ReportOutcome.UNCHANGED)

    async def renew(self, peer: Peer, request: RenewRequest, allow: AllowList, patience_s: float) -> Reply:
        """Asks the KDC for everything in the own name for one target."""
        agent, now = self.agent, self.agent.clock.elapsed_s()
        target = self._target(request.realm, request.target)
        if not allow.permits(peer, target):
            return Failure.refused(PEER_NOT_ALLOWED, f"{peer} for {target}")
        before = [held for held in agent.cache.entries(now) if held.key.target == target]
        agent.refusals.forget_target(target)
        if not before:
            return Failure.refused("not-found", f"the daemon holds no ticket for {target}")
        if not allow.trusts(peer) and not all(self.allowance.take(peer.uid, now) for _ in before):
            return Failure.unavailable("rate-limited", f"too many different questions from {peer}", retry_s=1)
        found = await self._refreshing.now([held.key for held in before], timeout_s=patience_s)
        log.info("renewed", peer=str(peer), target=str(target), tickets=len(before))
        return self._renewed(before, found)

    def forget(self, peer: Peer, request: ForgetRequest, allow: AllowList) -> Reply:
        """Drops what this user may drop, in the own name and on behalf of others."""
        now = self.agent.clock.elapsed_s()
        wanted = None if request.target is None else self._target(request.realm, request.target)
        if wanted is not None and not allow.permits(peer, wanted):
            return Failure.refused(PEER_NOT_ALLOWED, f"{peer} for {wanted}")
        held = [*self.agent.cache.entries(now), *self.agent.on_behalf.entries(now)]
        mine = [one for one in held if wanted in (None, one.key.target) and allow.permits(peer, one.key.target)]
        dropped = [one for one in mine if allow.trusts(peer) or self._is_only_for(one, peer.uid)]
        for one in dropped:
            self._refreshing.forget(one.key)
        if wanted is not None:
            self.agent.refusals.forget_target(wanted)
        if dropped:
            log.info("forgotten", peer=str(peer), target=str(wanted or "all"), tickets=len(dropped))
        return Forgotten(dropped=len(dropped), kept=len(mine) - len(dropped))

    def _is_only_for(self, held: HeldCredential, uid: int) -> bool:
        # Before a restart, the ticket or the one before it may have been given to anybody.
        return held.key not in self.agent.revived and self.given.is_only_for(held, uid)

    def _target(self, realm: str | None, name: str) -> Principal:
        return cached_principal(realm or self.agent.session.keytab.principal.realm, name)

    def _renewed(self, before: list[HeldCredential], found: list[HeldCredential | Failure]) -> Renewed:
        now = self.agent.clock.elapsed_s()
        rows: list[Renewal] = []
        size = 0
        for old, new in zip(before, found, strict=True):
            held = old if isinstance(new, Failure) else new
            failed = None
            if isinstance(new, Failure):
                failed = FailureItems.of(evolve(new, detail=new.detail[:_MOST_DETAIL_CHARS]))
            size += sum(map(len, (*held.credential.scopes, *(held.key.scopes or ()))))
            if len(rows) == RENEWALS_PAGE or (rows and size > _MOST_SCOPE_BYTES):
                break
            rows.append(Renewal(entry_of(held, now), failed))
        return Renewed(renewals=tuple(rows), others=len(before) - len(rows))


def entry_of(held: HeldCredential, now: float) -> CacheEntry:
    """What may be shown of a ticket or token."""
    credential = held.credential
    return CacheEntry(
        kind=held.key.kind,
        target=held.key.target,
        asked=held.key.scopes,
        scopes=credential.scopes,
        remaining_ms=int(credential.life.left_s(now) * 1000),
        ttl_s=credential.life.whole_s,
        flags=credential.flags,
        kvno=credential.kvno,
        renew_ms=max(0, int((held.renew_at - now) * 1000)),
    )
