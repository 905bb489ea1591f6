"""The desk: answers local questions for one peer, whichever door it came through.

Applies the allow-list, asks the agent, and words the answers. Knows no sockets and no encoding; hands out tickets with
their tails and tokens, never the root, and a TGT only narrowed, to whom the configuration lists as a worker.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

import structlog
from attrs import define, evolve, field

from orthros_client.credentials.narrowing import require_writable
from orthros_client.daemon.agent import Agent
from orthros_client.daemon.evidence_check import check_behalf
from orthros_client.daemon.listeners.allow_list import Allowance, AllowList
from orthros_client.daemon.listeners.held_tickets_api import HeldTicketsApi, entry_of
from orthros_client.daemon.tickets.cache import CacheKey, HeldCredential
from orthros_client.daemon.worker_terms import WorkerTerms, give_login
from orthros_client.errors import Failure, Misconfigured, OrthrosError, PeerMisbehaved
from orthros_client.local.api.values import (
    LIST_PAGE,
    AnyRequest,
    CacheEntry,
    CredentialGrant,
    ForgetRequest,
    KdcLine,
    Listing,
    ListRequest,
    LoginGrant,
    LoginRequest,
    Op,
    Pong,
    ReceiveRequest,
    RenewRequest,
    Reply,
    ReportRequest,
    Status,
    StatusRequest,
    WantRequest,
)
from orthros_client.reasons import PEER_NOT_ALLOWED
from orthros_protocol.errors import Refused
from orthros_protocol.exchanges.wants import WANT_JWT, WANT_TICKET
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.primitives.limits import MAX_TICKET_LIFE_S
from orthros_protocol.primitives.names import cached_principal
from orthros_protocol.tickets.credential import Life
from orthros_protocol.tickets.evidence import Behalf
from orthros_protocol.tickets.hand_over import open_hand_over
from orthros_protocol.tickets.ticket import SERVICE_TICKET, peek_unverified_header
from orthros_runtime.clocks import Clock
from orthros_runtime.serving.peers import Peer

__all__ = ["LocalApi"]

log = structlog.get_logger()

_PROBE_S: Final = 5.0
# A page with this much in scopes, and a line per KDC of this length, stay below the frame's 64 KiB.
_MOST_SCOPE_BYTES: Final = 24 * 1024
_MOST_FAILURE_CHARS: Final = 200
_VERSION: Final = version("orthros")


@define(eq=False)
class LocalApi:
    """One per daemon. `allow` and `workers` may be exchanged while it runs."""

    agent: Agent
    clock: Clock
    allow: AllowList
    request_timeout_s: float = 10.0
    workers: WorkerTerms = field(factory=WorkerTerms)
    allowance: Allowance = field(factory=Allowance)
    evidence_allowance: Allowance = field(factory=lambda: Allowance(per_s=5.0, burst=64.0))
    held: HeldTicketsApi = field(init=False)
    _started_s: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.held = HeldTicketsApi(self.agent, self.allowance)
        self._started_s = self.clock.elapsed_s()

    async def answer(self, peer: Peer, request: AnyRequest) -> Reply:
        """The reply; failures are replies as well."""
        if not self.allow.knows(peer):
            return Failure.refused(PEER_NOT_ALLOWED, str(peer))
        try:
            if isinstance(request, WantRequest):
                return await self._grant(peer, request)
            if isinstance(request, LoginRequest):
                return await self._login(peer, request)
            if isinstance(request, ReceiveRequest):
                return self._receive(peer, request.hand_over)
            if isinstance(request, ReportRequest):
                return await self.held.report(peer, request, self.allow)
            if isinstance(request, RenewRequest):
                patience_s = self._patience_s(request.timeout_ms)
                return await self.held.renew(peer, request, self.allow, patience_s)
            if isinstance(request, ForgetRequest):
                return self.held.forget(peer, request, self.allow)
        except OrthrosError as error:
            return Failure.of(error)
        if isinstance(request, ListRequest):
            return self._list(peer, request.first)
        if isinstance(request, StatusRequest):
            return await self.status(probe=request.probe == 1)
        return Pong()

    async def status(self, *, probe: bool) -> Status:
        """How the daemon does; with `probe` it may ask the KDC first."""
        if probe:
            failure = await self.agent.not_ready_because(timeout_s=_PROBE_S)
        else:
            failure = self.agent.watch.trouble(self.agent.last_failure)
        now = self.clock.elapsed_s()
        session = self.agent.session
        login = session.login
        held = session.kvno
        return Status(
            client=session.keytab.principal,
            uid=session.keytab.uid,
            kvno=held,
            newest_kvno=held if login is None else login.newest_kvno,
            code=None if failure is None else failure.reason.name,
            detail=None if failure is None else failure.detail,
            tgt_remaining_s=0 if login is None else int(login.credential.life.left_s(now)),
            cached=len(self.agent.cache) + len(self.agent.on_behalf),
            offset_ms=session.offset_ms,
            kdcs=tuple(self._kdc_lines(now)),
            uptime_s=int(now - self._started_s),
            version=_VERSION,
            login_file=session.login_file,
        )

    async def _grant(self, peer: Peer, request: WantRequest) -> Reply:
        client = self.agent.session.keytab.principal
        target = cached_principal(request.realm or client.realm, request.target)
        if not self.allow.permits(peer, target):
            return Failure.refused(PEER_NOT_ALLOWED, f"{peer} for {target}")
        require_writable(request.limits)
        behalf = request.behalf
        if request.subject is not None:
            behalf = Behalf(subject=cached_principal(client.realm, request.subject))
        key = CacheKey(
            kind=WANT_JWT if request.op is Op.TOKEN else WANT_TICKET,
            target=target,
            scopes=request.scopes,
            ttl_s=request.ttl_s,
            flags=request.flags,
            behalf=b"" if behalf is None else behalf.lineage,
            limits=request.limits,
        )
        if behalf is not None and not self.agent.knows_answer_to(key):
            check_behalf(behalf, self.agent.session.keytab)
            shown = behalf.evidence
            if shown is not None and not self.evidence_allowance.take(digest(shown), self.clock.elapsed_s()):
                return Failure.unavailable("rate-limited", "too many different questions for one caller", retry_s=1)
        if not self._may_make_us_ask(peer, key):
            return Failure.unavailable("rate-limited", f"too many different questions from {peer}", retry_s=1)
        held = await self.agent.obtain(key, behalf=behalf, timeout_s=self._patience_s(request.timeout_ms))
        if held.credential.tail is not None:  # of what a token does at its target, nothing is proven
            self.held.given.note(held, peer.uid)
        return self._grant_of(held)

    async def _login(self, peer: Peer, request: LoginRequest) -> Reply:
        session, terms = self.agent.session, self.workers
        realm = session.keytab.principal.realm
        targets = [cached_principal(one.realm or realm, one.name) for one in request.targets]
        for target in targets:
            if not (terms.permits(peer, target) and self.allow.permits(peer, target)):
                return Failure.refused(PEER_NOT_ALLOWED, f"a worker's login for {target}, {peer}")
        wanted_s = min(request.lifetime_s or terms.lifetime_s, terms.lifetime_s)
        own = await self.agent.login(timeout_s=self._patience_s(request.timeout_ms))
        login = give_login(session, own, targets=targets, scopes=request.scopes, lifetime_s=wanted_s)
        ends = login.credential.life.second
        log.info("worker's login given", peer=str(peer), targets=list(map(str, targets)), expires=ends)
        return LoginGrant(content=login.to_bytes())

    def _receive(self, peer: Peer, data: bytes) -> Reply:
        session = self.agent.session
        if not session.keytab.entries:
            raise Misconfigured("key-missing", "a worker's daemon has no key to open a hand-over with")
        now = session.realm_now()
        handed = open_hand_over(data, session.keytab, now=now)
        credential = handed.credential
        if peek_unverified_header(credential.ticket).ticket_type != SERVICE_TICKET:
            raise PeerMisbehaved("wrong-ticket-type", "a hand-over of something else than a service ticket")
        if not self.allow.permits(peer, credential.target):
            return Failure.refused(PEER_NOT_ALLOWED, f"{peer} for {credential.target}")
        whole_s, second = credential.life.whole_s, credential.life.second
        remaining_ms = min(second, now // 1000 + MAX_TICKET_LIFE_S) * 1000 - now
        if remaining_ms <= 0:
            raise Refused("ticket-expired", "what was handed over has ended")
        log.info("hand-over opened", peer=str(peer), sender=str(handed.sender), target=str(credential.target))
        return CredentialGrant(
            credential=evolve(credential, life=Life.left(remaining_ms, min(whole_s, MAX_TICKET_LIFE_S))),
            fresh_ms=remaining_ms,
            offset_ms=session.offset_ms,
            sender=handed.sender,
        )

    def _patience_s(self, timeout_ms: int) -> float:
        return min(timeout_ms / 1000, self.request_timeout_s)

    def _may_make_us_ask(self, peer: Peer, key: CacheKey) -> bool:
        if self.allow.trusts(peer) or self.agent.knows_answer_to(key):
            return True
        return self.allowance.take(peer.uid, self.clock.elapsed_s())

    def _grant_of(self, held: HeldCredential) -> CredentialGrant:
        now = self.clock.elapsed_s()
        planned = self.agent.early_moment_of(held.key)
        renewed_at = held.renew_at if planned is None else min(held.renew_at, planned)
        life = held.credential.life
        return CredentialGrant(
            credential=evolve(held.credential, life=Life.left(int(life.left_s(now) * 1000), life.whole_s)),
            fresh_ms=max(0, int((renewed_at - now) * 1000)),
            offset_ms=self.agent.session.offset_ms,
        )

    def _list(self, peer: Peer, first: int) -> Reply:
        now = self.clock.elapsed_s()
        permitted = [held for held in self.agent.cache.entries(now) if self.allow.permits(peer, held.key.target)]
        page: list[CacheEntry] = []
        size = 0
        for held in permitted[first : first + LIST_PAGE]:
            size += sum(map(len, (*held.credential.scopes, *(held.key.scopes or ()))))
            if page and size > _MOST_SCOPE_BYTES:
                break
            page.append(entry_of(held, now))
        following = first + len(page)
        return Listing(entries=tuple(page), following=following if following < len(permitted) else None)

    def _kdc_lines(self, now: float) -> list[KdcLine]:
        pool = self.agent.session.pool
        lines = []
        for address in pool.addresses:
            health = pool.health.get(address)
            good = None if health is None or health.last_good is None else max(0, int(now - health.last_good))
            lines.append(
                KdcLine(
                    str(address), good, None if health is None else health.last_failure[:_MOST_FAILURE_CHARS] or None
                )
            )
        return lines
