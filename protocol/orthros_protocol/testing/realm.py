"""A realm with its KDC in one object. It opens and seals as a KDC does, and issues what it is told.

Knows no network and no store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import field, frozen

from orthros_protocol.errors import Malformed, PeerMisbehaved, Refused
from orthros_protocol.exchanges.as_exchange import (
    AsRequest,
    InitialTicket,
    check_as_extensions,
    parse_as_request,
    seal_as_error,
    seal_as_reply,
    verify_as_request,
)
from orthros_protocol.exchanges.tgs_exchange import (
    check_tgs_extensions,
    open_tgt,
    parse_tgs_request,
    seal_tgs_error,
    seal_tgs_reply,
    verify_tgs_request,
)
from orthros_protocol.exchanges.wants import WANT_DELEGABLE, WANT_JWT, Granted, NotGranted, Want, demands_as, read_wants
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.keys.role_keys import KdcMacKey, RootKey, TgtKey, TicketSealingKey
from orthros_protocol.primitives.derivation import checksum
from orthros_protocol.primitives.instants import seconds_of
from orthros_protocol.primitives.limits import DEFAULT_TGT_S, DEFAULT_TICKET_S, KDC_SKEW_MS, MAX_CAVEATS
from orthros_protocol.primitives.messages import AS_REQ, TGS_REQ, build_nak, parse_signed
from orthros_protocol.primitives.names import KDC_TGT, Principal, check_scopes
from orthros_protocol.reasons.reason import Reason
from orthros_protocol.reasons.table import Code, reason_for
from orthros_protocol.testing.fakes import CountingEntropy, ManualClock
from orthros_protocol.testing.terms import Decide, GrantTerms, Onward, onward_of
from orthros_protocol.tickets.attenuation import join_caveats, pop_key_of, split_caveats, tail_of
from orthros_protocol.tickets.carrying import check_limits
from orthros_protocol.tickets.caveats import ScopesCaveat
from orthros_protocol.tickets.discharges import demand_of_kdc
from orthros_protocol.tickets.evidence import open_evidence
from orthros_protocol.tickets.ticket import DELEGABLE, INITIAL, TicketContent, seal_ticket

__all__ = ["InMemoryRealm", "IssuedTicket"]


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


class InMemoryRealm:
    """A realm with its KDC in one object: add principals, issue tickets, answer messages.

    `handle` takes an AS-REQ or TGS-REQ and returns the reply as a KDC would send it. What it issues for a want,
    `decide` says; without it, nothing.
    """

    def __init__(
        self,
        name: str = "test.realm",
        clock: ManualClock | None = None,
        entropy: Callable[[int], bytes] | None = None,
        *,
        decide: Decide | None = None,
    ) -> None:
        self.name = name
        self.clock = clock or ManualClock()
        self.entropy = entropy or CountingEntropy()
        self.handled, self.policy_seq = 0, 1
        self.refusals: dict[str, str] = {}
        self.tgt_key = TgtKey(self.entropy(32), principal=Principal(name, KDC_TGT), uid=1, kvno=1)
        self.mac_key = KdcMacKey(self.entropy(32), number=1)
        self._roots: dict[str, RootKey] = {}
        self._told: Decide = decide or _nothing
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
        """A service ticket without asking any policy. `changes` override fields of TicketContent, to test refusals."""
        key, root = self._roots[target].ticket_key(), self._roots[client]
        ticket, session_key, exp = self._seal(key, root, check_scopes(scopes), lifetime_s, **changes)
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
                request, refusal.reason, now=self.clock.now(), entropy=self.entropy(24), detail=refusal.detail
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
            InitialTicket(ticket=ticket, session_key=session_key, ttl_s=life, flags=INITIAL),
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
        caller = self._roots[tgt.ticket.client.name]
        evidence = None
        if unverified.behalf is not None and unverified.behalf.evidence is not None:
            evidence = open_evidence(unverified.behalf, caller.ticket_key(), {self.mac_key.number: self.mac_key})
        request = verify_tgs_request(unverified, tgt, evidence)
        now = self.clock.now()
        try:
            check_tgs_extensions(unverified)
            if abs(request.ts - now) > KDC_SKEW_MS:
                raise Refused("clock-skew")
            if tgt.ticket.exp <= seconds_of(now):
                raise Refused("tgt-expired")
            if tgt.ticket.client.name in self._disabled:
                raise Refused("principal-disabled")
            onward = onward_of(request, caller, seconds_of(now))
            wants = read_wants(request.wants)
        except Refused as refusal:
            return seal_tgs_error(request, refusal.reason, now=now, entropy=self.entropy(24), detail=refusal.detail)
        results, seq, chance = [self._answer(onward, one) for one in wants], self.policy_seq, self.entropy(24)
        return seal_tgs_reply(request, results, kdc_id="kdc-test", policy_seq=seq, now=now, entropy=chance)

    def _answer(self, onward: Onward, want: Want) -> Granted | NotGranted:
        is_here = want.target.realm == self.name and want.target.name in self._roots
        told = self._told(onward, want) if is_here else "not-granted"
        if isinstance(told, GrantTerms):
            objection = self._objection(told, want)
            if objection is None:
                return self._grant(onward, want, told)
            told = objection
        return NotGranted(target=want.target, reason=reason_for(told), ref=self.entropy(8))

    def _objection(self, terms: GrantTerms, want: Want) -> Code | Reason | None:
        """Why what was decided cannot be sealed, or None."""
        if want.target.name in self._disabled:
            return "target-unavailable"
        if any(name not in self._roots for name, _predicate in terms.discharges):
            return "discharger-unavailable"
        limits = split_caveats(want.limits)
        try:
            check_limits(limits)
        except Refused as refusal:
            return refusal.reason
        fits = len(limits) + len(terms.caveats) + len(terms.discharges) <= MAX_CAVEATS
        return None if fits else "caveat-not-carried"

    def _grant(self, onward: Onward, want: Want, terms: GrantTerms) -> Granted:
        root, scopes = self._roots[want.target.name], terms.scopes
        life = min(terms.ttl_s, onward.exp - seconds_of(self.clock.now()))
        granted = Granted(
            target=want.target,
            target_uid=root.uid,
            credential=b"",
            session_key=None,
            ttl_s=life,
            kvno=root.kvno,
            scopes=scopes,
            subject=onward.subject,
            flags=DELEGABLE if terms.delegable and want.flags & WANT_DELEGABLE else 0,
        )
        if want.kind == WANT_JWT:
            # A stand-in: minting JWTs is the KDC's work and not part of this library.
            text = f"jwt-for.{want.target.name}.{checksum(self.entropy(16))}"
            return granted.altered(credential=text.encode("ascii"))
        demands = [
            demand_of_kdc(
                self._roots[name].ticket_key(),
                root=self.entropy(32),
                about=onward.client.principal,
                predicate=predicate,
                expires=seconds_of(self.clock.now()) + life,
                entropy=self.entropy(24),
            )
            for name, predicate in terms.discharges
        ]
        # Scopes that a caveat took away stay away at every further hop.
        kept = [ScopesCaveat(tuple(onward.scopes))] if granted.flags and onward.scopes is not None else []
        written = [one.to_bytes() for one in (*kept, *terms.caveats)] + [one.caveat for one in demands]
        ticket, session_key, _exp = self._seal(
            root.ticket_key(),
            onward.client,
            scopes,
            life,
            auth_time=onward.login.auth_time,
            txn=onward.txn,
            flags=granted.flags,
            caveats=(*written, *split_caveats(want.limits)),
            chain=onward.chain,
            subject=onward.subject,
        )
        return granted.altered(credential=ticket, session_key=session_key, ext=demands_as([one.cid for one in demands]))

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
            "scopes": scopes,
            "txn": self.entropy(16),
            "caveats_field": join_caveats(changes.pop("caveats", ())),
            "mac_number": self.mac_key.number,
        }
        entropy = changes.pop("entropy", self.entropy(24))
        content = TicketContent(**fields | changes)
        return seal_ticket(key, self.mac_key, content, entropy=entropy), content.session_key, content.exp


def _nothing(_onward: Onward, _want: Want) -> Code:
    """Who decides where nobody was named."""
    return "not-granted"
