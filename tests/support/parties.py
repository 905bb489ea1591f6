"""The realm in which tickets are narrowed and handed on: `web` and `worker` call `orders`, `approvals` attests.

Everything goes through the client library, the in-memory KDC and real verifiers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field

from orthros_client import Attested, Credentials, Discharger, Question, VerifiedCaller, Verifier
from orthros_client.credentials.discharging import DischargeExchange, ask
from orthros_client.credentials.narrowing import Demanded
from orthros_protocol.errors import Refused
from orthros_protocol.exchanges.ap_exchange import USE_HTTP, ApRequest, PendingAp, TargetRefusal, sign_ap_request
from orthros_protocol.exchanges.as_exchange import build_as_request, open_as_reply
from orthros_protocol.exchanges.authenticators import bind_raw
from orthros_protocol.exchanges.tgs_exchange import build_tgs_request, open_tgs_reply
from orthros_protocol.exchanges.wants import Granted, Want
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.testing import ManualClock
from orthros_protocol.tickets.access import parse_address
from orthros_protocol.tickets.attenuation import pop_key_of, tail_of
from orthros_protocol.tickets.credential import Life
from orthros_protocol.tickets.discharges import Discharge
from orthros_protocol.tickets.evidence import Behalf
from tests.support.http_target import CallerRest
from tests.support.ruled_realm import RuledRealm

ENDPOINT = "orders/submit"
PREDICATE = "release 7 approved"
BIND = b"b" * 32
NAMES = ("web", "worker", "eve", "orders", "ledger", "approvals", "auditors")


@define
class HostClock:
    """A host whose wall clock is `wrong_ms` ahead of the realm's."""

    realm: ManualClock
    wrong_ms: int = 0

    def wall_ms(self) -> Timestamp:
        return Timestamp(self.realm.now() + self.wrong_ms)

    def elapsed_s(self) -> float:
        return self.realm.now() / 1000


@define(eq=False)
class Parties:
    """A realm; credentials come from its KDC, as clients get them."""

    realm: RuledRealm = field(factory=RuledRealm)

    def __attrs_post_init__(self) -> None:
        for name in NAMES:
            self.realm.add(name)
        for client in ("web", "worker", "eve"):
            for target in NAMES:
                self.realm.allow(client, target, "read", "write", delegable=True)

    @property
    def second(self) -> int:
        return self.realm.clock.now() // 1000

    def granted(self, client: str, target: str, *scopes: str, behalf: Behalf | None = None, **want: Any) -> Granted:
        """What the KDC issues to `client`; `want` are fields of the Want."""
        realm, now = self.realm, self.realm.clock.now()
        key = realm.keytab(client).as_key()
        login = build_as_request(
            key, service="kdc/tgt", ttl_s=0, instance=realm.entropy(16), now=now, nonce=realm.entropy(16)
        )
        tgt = open_as_reply(login, key, realm.handle(login.message))
        pending = build_tgs_request(
            tgt.ticket, pop_key_of(tail_of(tgt.session_key, tgt.ticket)),
            [Want(target=realm.principal(target), scopes=scopes or None, **want)],
            now=now, nonce=realm.entropy(16), behalf=behalf,
        )  # fmt: skip
        (result,) = open_tgs_reply(pending, realm.handle(pending.message)).results
        assert isinstance(result, Granted), result
        return result

    def credentials(self, client: str, target: str, *scopes: str, wrong_ms: int = 0, **want: Any) -> Credentials:
        """Credentials of `client`, on a host whose clock is `wrong_ms` ahead and knows it."""
        got = self.granted(client, target, *scopes, **want)
        assert got.session_key is not None
        return Credentials(
            target=got.target, client=self.realm.principal(client), scopes=got.scopes,
            flags=got.flags, kvno=got.kvno, target_uid=got.target_uid, subject=got.subject, demands=got.demands,
            realm_offset_ms=-wrong_ms, ticket=got.credential, tail=tail_of(got.session_key, got.credential),
            life=Life(got.ttl_s, self.realm.clock.now() / 1000 + got.ttl_s),
            clock=HostClock(self.realm.clock, wrong_ms), entropy=self.realm.entropy, rest=CallerRest(self.realm, []),
        )  # fmt: skip

    def verifier(self, service: str = "orders", **options: Any) -> Verifier:
        clock = self.realm.clock.now
        return Verifier(self.realm.keytab(service).verify_only(), clock=clock, monotonic_ms=clock, **options)

    def discharger(self, attest: Any = None, *, service: str = "approvals", **options: Any) -> Discharger:
        """One that attests `PREDICATE` for a minute, if nothing else is given."""
        return Discharger(self.verifier(service), attest or approve, entropy=self.realm.entropy, **options)

    def obtain(self, client: str, discharger: Discharger) -> Callable[[Demanded], Discharge]:
        """How `client` asks: with a ticket of its own to whoever is named."""
        held: dict[str, Credentials] = {}

        def one(demanded: Demanded) -> Discharge:
            assert demanded.discharger is not None
            name = demanded.discharger.name
            to = held.setdefault(name, self.credentials(client, name))
            return ask(to, demanded.cid, deliver(discharger))

        return one


def approve(question: Question) -> Attested | None:
    """The predicate of these tests holds for a minute; others are unknown."""
    return Attested(lifetime_s=60) if question.predicate == PREDICATE else None


def deliver(discharger: Discharger) -> Callable[[DischargeExchange], tuple[bytes, bytes]]:
    """A network that works."""
    return lambda exchange: discharger.serve(exchange.request, exchange.cid)


def call(credentials: Credentials, verifier: Verifier, **options: Any) -> VerifiedCaller:
    """One call with the repeat that first contact costs; raises what the target says under its MAC.

    `options` are those of `Verifier.accept`, or with a `method` those of `accept_http`.
    """
    seen: list[VerifiedCaller] = []

    def answer(request: bytes) -> bytes:
        try:
            seen.append(accept(verifier, request, **options))
        except Refused as refusal:
            return refusal.reply or b""
        return seen[-1].reply

    for _attempt in range(2):
        bind, use = (BIND, USE_HTTP) if "method" in options else (_raw(**options), 0)
        pending = credentials.present(bind, use=use, safe=True)
        try:
            pending.finish(answer(pending.request))
        except TargetRefusal as refusal:
            if refusal.code != "epoch-required":
                raise
        else:
            break
    return seen[-1]


def accept(verifier: Verifier, request: bytes, **options: Any) -> VerifiedCaller:
    """The verifier's half; `peer` may be text."""
    if isinstance(options.get("peer"), str):
        options["peer"] = parse_address(options["peer"])
    if "method" in options:
        return verifier.accept_http(request, BIND, **options)
    return verifier.accept(request, ENDPOINT, **options)


def _raw(channel_binding: bytes | None = None, **_options: Any) -> bytes:
    return bind_raw(ENDPOINT, b"", channel_binding=channel_binding)


def refused_as(credentials: Credentials, verifier: Verifier, **options: Any) -> str:
    """The code under which the target refuses, or `accepted`."""
    try:
        call(credentials, verifier, **options)
    except TargetRefusal as refusal:
        return refusal.code
    return "accepted"


def forge(parties: Parties, ticket: bytes, key: bytes, *, epoch: bytes, **fields: Any) -> PendingAp:
    """An AP-REQ to `orders` by hand, for what the library does not build: `key` is K_pop as its maker has it."""
    given: dict[str, Any] = {"use": 0, "bind": bind_raw(ENDPOINT), "nonce": parties.realm.entropy(16)} | fields
    return sign_ap_request(ApRequest(ticket=ticket, ts=parties.realm.clock.now(), epoch=epoch, **given), key)


def epoch_of(verifier: Verifier, credentials: Credentials) -> bytes:
    """What a first contact learns."""
    pending = credentials.present(bind_raw(ENDPOINT))
    try:
        verifier.accept(pending.request, ENDPOINT)
    except Refused as refusal:
        try:
            pending.finish(refusal.reply or b"")
        except TargetRefusal as told:
            return told.epoch
    epoch, _offset = credentials.peer.read()
    assert epoch is not None
    return epoch


__all__ = [
    "BIND", "ENDPOINT", "NAMES", "PREDICATE", "HostClock", "Parties", "accept", "approve", "call", "deliver",
    "epoch_of", "forge", "refused_as",
]  # fmt: skip
