"""Fakes for tests of programs that use Orthros: a clock, predictable entropy, a whole realm in memory.

Not secure and not fast: its keys come from a counter. Every message is real and every check is the
library's own; only the policy is a plain table.
"""

from __future__ import annotations

from typing import Any

from attrs import define, evolve, field, frozen

from orthros_protocol.as_exchange import (
    AsRequest,
    check_as_extensions,
    parse_as_request,
    seal_as_error,
    seal_as_reply,
    verify_as_request,
)
from orthros_protocol.caveats import pop_key_of, tail_of
from orthros_protocol.derivation import checksum, digest
from orthros_protocol.errors import Malformed, PeerMisbehaved, Refused
from orthros_protocol.instants import Timestamp, seconds_of
from orthros_protocol.keys import KdcMacKey, RootKey, TgtKey, TicketSealingKey
from orthros_protocol.keytab import Keytab
from orthros_protocol.limits import DEFAULT_TGT_S, DEFAULT_TICKET_S, KDC_SKEW_MS
from orthros_protocol.messages import AS_REQ, TGS_REQ, build_nak, parse_signed
from orthros_protocol.names import KDC_TGT, Principal, check_scopes
from orthros_protocol.reasons import reason_for
from orthros_protocol.tgs_exchange import (
    WANT_JWT,
    Granted,
    NotGranted,
    TgsRequest,
    Want,
    check_tgs_extensions,
    open_tgt,
    parse_tgs_request,
    seal_tgs_error,
    seal_tgs_reply,
    verify_tgs_request,
)
from orthros_protocol.tickets import INITIAL, seal_ticket

__all__ = ["CountingEntropy", "InMemoryRealm", "IssuedTicket", "ManualClock"]

_START = Timestamp(1_800_000_000_000)


@define
class ManualClock:
    """A clock that moves only when told. `now()` is in milliseconds."""

    _now: int = _START

    def now(self) -> Timestamp:
        """The present moment, in milliseconds since the Unix epoch."""
        return Timestamp(self._now)

    def advance(self, seconds: float) -> None:
        """Moves it, also backwards."""
        self._now += round(seconds * 1000)


@define
class CountingEntropy:
    """Bytes that never repeat and are the same in every run. Never use it outside tests."""

    _seed: bytes = b"orthros testing"
    _count: int = 0

    def __call__(self, size: int) -> bytes:
        """`size` bytes."""
        out = b""
        while len(out) < size:
            self._count += 1
            out += digest(self._seed + self._count.to_bytes(8, "big"))
        return out[:size]


@frozen(eq=False, kw_only=True)
class IssuedTicket:
    """A service ticket and what its client knows."""

    ticket: bytes = field(repr=False)
    session_key: bytes = field(repr=False)
    client: Principal
    target: Principal
    scopes: tuple[str, ...]
    exp: int

    @property
    def pop_key(self) -> bytes:
        """K_pop of the ticket without caveats."""
        return pop_key_of(tail_of(self.session_key, self.ticket))


@frozen
class _Pair:
    scopes: tuple[str, ...]
    max_ttl_s: int
    jwt: bool


class InMemoryRealm:
    """A realm with its KDC in one object: add principals, allow pairs, answer messages.

    `handle` takes an AS-REQ or TGS-REQ and returns the reply as a KDC would send it.
    """

    def __init__(
        self,
        name: str = "test.realm",
        clock: ManualClock | None = None,
        entropy: CountingEntropy | None = None,
    ) -> None:
        self.name = name
        self.clock = clock or ManualClock()
        self.entropy = entropy or CountingEntropy()
        self.handled = 0
        self.refusals: dict[str, str] = {}
        self.tgt_key = TgtKey(self.entropy(32), principal=Principal(name, KDC_TGT), uid=1, kvno=1)
        self.mac_key = KdcMacKey(self.entropy(32), number=1)
        self._roots: dict[str, RootKey] = {}
        self._pairs: dict[tuple[str, str], _Pair] = {}
        self._disabled: set[str] = set()

    def principal(self, name: str) -> Principal:
        """`name` in this realm."""
        return Principal(self.name, name)

    def add(self, name: str) -> Keytab:
        """A new principal; returns its full key file."""
        uid = 16 + len(self._roots)
        self._roots[name] = RootKey(self.entropy(32), principal=self.principal(name), uid=uid, kvno=1)
        return Keytab.of(self._roots[name])

    def root(self, name: str) -> RootKey:
        """The root of an added principal."""
        return self._roots[name]

    def keytab(self, name: str) -> Keytab:
        """The full key file of an added principal."""
        return Keytab.of(self._roots[name])

    def allow(
        self, client: str, target: str, *scopes: str, max_ttl_s: int = DEFAULT_TICKET_S, jwt: bool = False
    ) -> None:
        """Lets `client` call `target` with `scopes` for at most `max_ttl_s` seconds."""
        self._pairs[client, target] = _Pair(check_scopes(scopes), max_ttl_s, jwt)

    def deny(self, client: str, target: str) -> None:
        """Takes the permission back."""
        self._pairs.pop((client, target), None)

    def disable(self, name: str) -> None:
        """Refuses logins of `name` and tickets for it."""
        self._disabled.add(name)

    def enable(self, name: str) -> None:
        """Undoes `disable`."""
        self._disabled.discard(name)

    def issue(
        self,
        client: str,
        target: str,
        *,
        scopes: tuple[str, ...] = (),
        lifetime_s: int = DEFAULT_TICKET_S,
        **changes: Any,
    ) -> IssuedTicket:
        """A service ticket without asking any policy. `changes` override fields of `seal_ticket`, for tests
        of what a verifier must refuse."""
        ticket, session_key, exp = self._seal(
            self._roots[target].ticket_key(), self._roots[client], check_scopes(scopes), lifetime_s, **changes
        )
        return IssuedTicket(
            ticket=ticket,
            session_key=session_key,
            client=self.principal(client),
            target=self.principal(target),
            scopes=check_scopes(scopes),
            exp=exp,
        )

    def handle(self, message: bytes) -> bytes:
        """The reply to one request; a NAK for anything that proves nothing. The reasons of NAKs are kept
        in `refusals` by reference."""
        self.handled += 1
        try:
            signed = parse_signed(message)
            if signed.kind == AS_REQ:
                return self._handle_as(message)
            if signed.kind == TGS_REQ:
                return self._handle_tgs(message)
            raise Malformed(f"kind {signed.kind}")
        except (PeerMisbehaved, Refused) as error:
            ref = self.entropy(8)
            self.refusals[ref.hex()] = str(error)
            return build_nak(ref)

    def _handle_as(self, message: bytes) -> bytes:
        unverified = parse_as_request(message)
        root = next((root for root in self._roots.values() if root.as_key().kid == unverified.kid), None)
        if root is None:
            raise PeerMisbehaved("unknown-key", unverified.kid.hex())
        request = verify_as_request(unverified, root.as_key())
        try:
            check_as_extensions(unverified)
            return self._issue_tgt(request, root)
        except Refused as refusal:
            return seal_as_error(
                request, refusal.code, now=self.clock.now(), entropy=self.entropy(24), detail=refusal.detail
            )

    def _issue_tgt(self, request: AsRequest, root: RootKey) -> bytes:
        now = self.clock.now()
        if abs(request.ts - now) > KDC_SKEW_MS:
            raise Refused("clock-skew")
        if root.principal.name in self._disabled:
            raise Refused("principal-disabled")
        if request.service != KDC_TGT:
            raise Refused("unknown-service", request.service)
        life = min(request.ttl_s or DEFAULT_TGT_S, DEFAULT_TGT_S)
        ticket, session_key, _exp = self._seal(self.tgt_key, root, (), life, flags=INITIAL)
        return seal_as_reply(
            request,
            ticket=ticket,
            session_key=session_key,
            ttl_s=life,
            flags=INITIAL,
            newest_kvno=root.kvno,
            kdc_id="kdc-test",
            now=now,
            entropy=self.entropy(24),
        )

    def _handle_tgs(self, message: bytes) -> bytes:
        unverified = parse_tgs_request(message)
        tgt = open_tgt(
            unverified.tgt,
            unverified.tgt_caveats,
            {self.tgt_key.kid: self.tgt_key},
            {self.mac_key.number: self.mac_key},
        )
        request = verify_tgs_request(unverified, tgt)
        now = self.clock.now()
        try:
            check_tgs_extensions(unverified)
            if abs(request.ts - now) > KDC_SKEW_MS:
                raise Refused("clock-skew")
            if tgt.ticket.exp <= seconds_of(now):
                raise Refused("tgt-expired")
            if tgt.ticket.client.name in self._disabled:
                raise Refused("principal-disabled")
        except Refused as refusal:
            return seal_tgs_error(request, refusal.code, now=now, entropy=self.entropy(24), detail=refusal.detail)
        results = [self._decide(request, want) for want in request.wants]
        return seal_tgs_reply(request, results, kdc_id="kdc-test", policy_seq=1, now=now, entropy=self.entropy(24))

    def _decide(self, request: TgsRequest, want: Want) -> Granted | NotGranted:
        login = request.tgt.ticket
        pair = self._pairs.get((login.client.name, want.target.name)) if want.target.realm == self.name else None
        scopes = () if pair is None else _granted(pair, want)
        code = None
        if pair is None:
            code = "not-granted"
        elif want.target.name in self._disabled:
            code = "target-unavailable"
        elif want.scopes and not scopes:
            code = "no-scope-left"
        elif want.kind == WANT_JWT and not pair.jwt:
            code = "jwt-not-enabled"
        if pair is None or code is not None:
            return NotGranted(target=want.target, reason=reason_for(code or "not-granted"), ref=self.entropy(8))
        root = self._roots[want.target.name]
        life = min(want.ttl_s or pair.max_ttl_s, pair.max_ttl_s, login.exp - seconds_of(self.clock.now()))
        granted = Granted(
            target=want.target, target_uid=root.uid, credential=b"", session_key=None, ttl_s=life, kvno=root.kvno,
            scopes=scopes,
        )  # fmt: skip
        if want.kind == WANT_JWT:
            # A stand-in: minting JWTs is the KDC's work and not part of this library.
            text = f"jwt-for.{want.target.name}.{checksum(self.entropy(16))}"
            return evolve(granted, credential=text.encode("ascii"))
        ticket, session_key, _exp = self._seal(
            root.ticket_key(), self._roots[login.client.name], scopes, life, auth_time=login.auth_time, txn=login.txn
        )
        return evolve(granted, credential=ticket, session_key=session_key)

    def _seal(
        self, key: TicketSealingKey, client: RootKey, scopes: tuple[str, ...], life_s: int, **changes: Any
    ) -> tuple[bytes, bytes, int]:
        second = seconds_of(self.clock.now())
        fields: dict[str, Any] = {
            "tid": self.entropy(16),
            "client": client.principal,
            "client_uid": client.uid,
            "session_key": self.entropy(32),
            "iat": second,
            "exp": second + life_s,
            "auth_time": second,
            "ckid": client.as_key().kid,
            "flags": 0,
            "scopes": scopes,
            "txn": self.entropy(16),
            "entropy": self.entropy(24),
        } | changes
        return seal_ticket(key, self.mac_key, **fields), fields["session_key"], fields["exp"]


def _granted(pair: _Pair, want: Want) -> tuple[str, ...]:
    return pair.scopes if want.scopes is None else tuple(scope for scope in want.scopes if scope in pair.scopes)
