"""What `Client` and `AsyncClient` share: which question to ask the daemon, and what to keep of its answer.

Sans-IO: each question is a generator that yields requests and is sent replies (or is thrown the error of
the front). Keeps answers for a short while, so that a loop does not ask the daemon each time.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Mapping
from typing import Final, TypeVar

from orthros_client.credentials.credentials import Credentials, KnownTargets
from orthros_client.credentials.narrowing import Limits, limits_field
from orthros_client.credentials.refusal_reports import NO_DAEMON, Reports
from orthros_client.errors import Failure, LocalMisuse, OrthrosError, TicketRefused, Unavailable
from orthros_client.local.answer_cache import MOST_KEPT, AnswerCache, Question, Token, is_own, question_of
from orthros_client.local.api.values import (
    MOST_LOGIN_TARGETS,
    AnyRequest,
    CacheEntry,
    CredentialGrant,
    ForgetRequest,
    Forgotten,
    Listing,
    ListRequest,
    LoginGrant,
    LoginRequest,
    LoginTarget,
    Op,
    Ping,
    Pong,
    ReceiveRequest,
    Renewed,
    RenewRequest,
    Reply,
    Reported,
    Status,
    StatusRequest,
    WantRequest,
)
from orthros_client.local.on_behalf import (
    AS_CONFIGURED,
    OnBehalfOf,
    Propagate,
    Spoken,
    check_propagate,
    choose,
    describe,
    resolve,
)
from orthros_protocol.errors import Malformed, Misconfigured
from orthros_protocol.exchanges.wants import WANT_DELEGABLE
from orthros_protocol.primitives.names import Principal, check_name, check_scopes, check_texts
from orthros_runtime.bounded import BoundedMap
from orthros_runtime.clocks import Clock, Entropy, HostClock

__all__ = ["TELLING_S", "Conversation", "Token", "socket_path"]

T = TypeVar("T")
Flow = Generator[AnyRequest, Reply, T]

DEFAULT_SOCKET: Final = "/run/orthros/daemon.sock"
# The daemon should notice first that the KDC is late: its answer says why.
_DAEMON_SHARE: Final = 0.9
# The daemon answers a report in 2 s at most.
TELLING_S: Final = 3.0
_MOST_TIMEOUT_S: Final = 86_400
_ASK_AGAIN_S: Final = 60.0
_ASK_SOONEST_S: Final = 1.0
# The daemon did not help: use what is in hand for a while before anybody waits for it again.
_ASK_AFTER_FAILURE_S: Final = 30.0
# It may have ended, or be dated wrongly, since one clock of this host was moved against the other.
_ASK_AFTER_STEP_S: Final = 2.0


def socket_path(socket: str | os.PathLike[str] | None, environ: Mapping[str, str] = os.environ) -> str:
    """Where the daemon listens: the argument, else ORTHROS_SOCKET, else /run/orthros/daemon.sock.

    Both may be a path or `unix:///path`. Raises Misconfigured `config-invalid`.
    """
    text = os.fsdecode(socket) if socket is not None else environ.get("ORTHROS_SOCKET") or DEFAULT_SOCKET
    path = text.removeprefix("unix://")
    if "://" in path or (not path.startswith("/") and text != path):
        raise Misconfigured("config-invalid", f"socket {text!r} is neither a path nor unix:///path")
    return path


def parse_target(text: str) -> tuple[str | None, str]:
    """`name` or `name@realm` as (realm or None, name). Raises Misconfigured `name-invalid`."""
    name, at, realm = text.partition("@")
    return (check_name(realm, "realm") if at else None), check_name(name, "target")


class Conversation:
    """The questions of one client and the answers it keeps. Thread-safe. `timeout_s` is for each question.

    `propagate` says that what does not say otherwise is asked on behalf of the caller that is being served.
    """

    def __init__(
        self,
        timeout_s: float,
        *,
        propagate: Propagate = False,
        clock: Clock | None = None,
        entropy: Entropy = os.urandom,
    ) -> None:
        if not 0 <= timeout_s <= _MOST_TIMEOUT_S:
            raise LocalMisuse("value-invalid", f"timeout: from 0 to {_MOST_TIMEOUT_S} seconds")
        self.timeout_s = timeout_s
        self.propagate = check_propagate(propagate)
        self._clock = clock or HostClock()
        self._entropy = entropy
        self._kept = AnswerCache(self._clock)
        self._client: Principal | None = None
        self._peers = BoundedMap[tuple[Principal, int], KnownTargets](MOST_KEPT)
        self.reports = Reports(self._clock, doubt=self._kept.doubt)

    def credentials(
        self,
        target: str,
        scopes: Iterable[str] | None,
        ttl_s: int,
        *,
        delegable: bool = False,
        behalf: OnBehalfOf = AS_CONFIGURED,
        limits: Limits | None = None,
    ) -> Flow[Credentials]:
        """Raises TicketRefused, TicketUnavailable, Unavailable, Misconfigured, PeerMisbehaved, and what `choose`,
        `resolve` and `limits_field` raise."""
        flags = WANT_DELEGABLE if delegable else 0
        spoken = choose(behalf, propagate=self.propagate)
        written = limits_field(limits)
        want = self._want(Op.TICKET, target, scopes, ttl_s=ttl_s, flags=flags, behalf=spoken, limits=written)
        answer = yield from self._obtain(want, spoken)
        if not isinstance(answer, Credentials):
            raise Malformed("a token came for a ticket")
        return answer

    def token(
        self, target: str, scopes: Iterable[str] | None, ttl_s: int = 0, *, behalf: OnBehalfOf = AS_CONFIGURED
    ) -> Flow[Token]:
        """Raises what `credentials` raises."""
        spoken = choose(behalf, propagate=self.propagate)
        want = self._want(Op.TOKEN, target, scopes, ttl_s=ttl_s, behalf=spoken)
        answer = yield from self._obtain(want, spoken)
        if not isinstance(answer, Token):
            raise Malformed("a ticket came for a token")
        return answer

    def receive(self, data: bytes) -> Flow[Credentials]:
        """What somebody handed over to the daemon's principal. Nothing of it is kept.

        Raises TicketRefused, PeerMisbehaved (`box-unopened`, `unknown-key`), Misconfigured or Unavailable.
        """
        # Whoever handed it over chose what it says, and can answer in its target's place: what such answers teach of
        # epochs and clocks stays with it.
        answer = self._answer_of(
            _expect(CredentialGrant, (yield ReceiveRequest(hand_over=data))), KnownTargets(), NO_DAEMON
        )
        if not isinstance(answer, Credentials):
            raise Malformed("a token came for a hand-over")
        return answer

    def login(self, targets: Iterable[str], scopes: Iterable[str] | None, lifetime_s: int) -> Flow[bytes]:
        """The content of a login file for a worker. Raises what `credentials` raises."""
        request = LoginRequest(
            targets=tuple([LoginTarget(*parse_target(target)) for target in _listed(targets)]),
            scopes=None if scopes is None else check_scopes(scopes),
            lifetime_s=lifetime_s,
            timeout_ms=self._timeout_ms,
        )
        return _expect(LoginGrant, (yield request)).content

    def entries(self) -> Flow[tuple[CacheEntry, ...]]:
        """Everything that the daemon holds and this caller may use."""
        found: list[CacheEntry] = []
        following: int | None = 0
        while following is not None:
            page = _expect(Listing, (yield ListRequest(first=following)))
            found += page.entries
            following = page.following
        return tuple(found)

    def status(self, *, probe: bool) -> Flow[Status]:
        """How the daemon does; `probe` makes it ask the KDC if it has not heard from it lately."""
        return _expect(Status, (yield StatusRequest(probe=int(probe))))

    def ping(self) -> Flow[None]:
        """Whether the daemon answers."""
        _expect(Pong, (yield Ping()))

    def tell(self) -> Flow[None]:
        """Tells the daemon what targets have refused. A daemon that cannot be told changes nothing."""
        is_there = True
        while (taken := self.reports.take()) is not None:
            report, answered = taken
            try:
                answered(_expect(Reported, (yield report)) if is_there else None)
            except OrthrosError:
                is_there = False  # it is waited for once, not once for each report
                answered(None)

    def renew(self, target: str) -> Flow[Renewed]:
        """Raises what `credentials` raises; TicketRefused `not-found` where nothing is held for `target`."""
        realm, name = parse_target(target)
        renewed = _expect(Renewed, (yield RenewRequest(realm=realm, target=name, timeout_ms=self._timeout_ms)))
        for one in renewed.renewals:
            self._kept.doubt(one.entry.target)
        return renewed

    def forget(self, target: str | None) -> Flow[Forgotten]:
        """Raises what `credentials` raises. What this process holds goes as well."""
        realm, name = (None, None) if target is None else parse_target(target)
        forgotten = _expect(Forgotten, (yield ForgetRequest(realm=realm, target=name)))
        self._kept.forget(name)
        return forgotten

    @property
    def _timeout_ms(self) -> int:
        return round(self.timeout_s * 1000 * _DAEMON_SHARE)

    def _want(
        self,
        op: Op,
        target: str,
        scopes: Iterable[str] | None,
        *,
        ttl_s: int,
        behalf: Spoken,
        flags: int = 0,
        limits: bytes = b"",
    ) -> WantRequest:
        realm, name = parse_target(target)
        evidence, subject = resolve(behalf)
        return WantRequest(
            op=op,
            realm=realm,
            target=name,
            scopes=None if scopes is None else check_scopes(scopes),
            ttl_s=ttl_s,
            flags=flags,
            timeout_ms=self._timeout_ms,
            behalf=evidence,
            subject=subject,
            limits=limits,
        )

    def _obtain(self, want: WantRequest, behalf: Spoken) -> Flow[Credentials | Token]:
        if self.reports.is_noted(want.realm, want.target):
            yield from self.tell()
        question = question_of(want)
        kept, is_fresh = self._kept.look_up(question, self.timeout_s)
        if kept is not None and is_fresh:
            return kept
        try:
            reply = yield want
            return self._keep(question, _expect(CredentialGrant, reply))
        except Unavailable:
            # The daemon is away or cannot renew; what is in hand stays good until its own end.
            if kept is None or kept.expires_in_s <= 0:
                raise
            has_stepped = isinstance(kept, Credentials) and kept.time.has_stepped(kept.realm_offset_ms)
            self._kept.rest(question, kept, _ASK_AFTER_STEP_S if has_stepped else _ASK_AFTER_FAILURE_S)
            return kept
        except OrthrosError as error:
            if isinstance(error, TicketRefused):
                error.asked = describe(behalf, want.target, self._client)
            if kept is not None:
                self._kept.rest(question, kept, 0)  # a refusal is not passed over by the next caller
            raise

    def _keep(self, question: Question, grant: CredentialGrant) -> Credentials | Token:
        credential = grant.credential
        # In the own name for others, or in another's for oneself: neither is what was asked for.
        if (credential.subject is None) != is_own(question):
            raise Malformed("an answer in another name than asked for")
        answer = self._answer_of(grant, self._peers_of(credential.target, credential.target_uid), self.reports)
        self._client = credential.client
        # Never longer than half of what is left, so that short tickets are renewed in time as well.
        fresh_s = min(max(grant.fresh_ms / 1000, _ASK_SOONEST_S), _ASK_AGAIN_S, credential.life.boot_end / 2)
        self._kept.keep(question, answer, fresh_s)
        return answer

    def _answer_of(self, grant: CredentialGrant, peers: KnownTargets, reports: Reports) -> Credentials | Token:
        credential = grant.credential
        if credential.tail is None:
            return Token(
                value=credential.ticket.decode("ascii"),
                target=credential.target,
                scopes=credential.scopes,
                subject=credential.subject,
                life=credential.life.since(self._clock.elapsed_s(), 0.0),
                clock=self._clock,
            )
        return Credentials.of(
            credential,
            realm_offset_ms=grant.offset_ms,
            peers=peers,
            reports=reports,
            clock=self._clock,
            entropy=self._entropy,
        )

    def _peers_of(self, target: Principal, uid: int) -> KnownTargets:
        with self._kept.lock():
            peers = self._peers.setdefault((target, uid), KnownTargets())
            self._peers.move_to_end((target, uid))
            return peers


def _listed(names: Iterable[str]) -> list[str]:
    listed = list(check_texts(names, "targets"))
    if not 1 <= len(listed) <= MOST_LOGIN_TARGETS:
        raise LocalMisuse("value-invalid", f"targets: expected a list of 1 to {MOST_LOGIN_TARGETS} names")
    return listed


def _expect(kind: type[T], reply: Reply) -> T:
    if isinstance(reply, Failure):
        raise reply.to_error()
    if not isinstance(reply, kind):
        raise Malformed(f"a {type(reply).__name__} came for a {kind.__name__}")
    return reply
