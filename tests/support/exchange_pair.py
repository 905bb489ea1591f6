"""A client, its KDC and a target in one place: every message goes through both of its halves.

`Instance` is one process of a target, so that restarts, workers and clock steps are one line in a test.
"""

from __future__ import annotations

import os
from typing import Any

from attrs import fields

from orthros_client.verifier.stores.memory import MemoryStore
from orthros_protocol.exchanges.acceptance import AcceptanceRules, Accepted, Received, accept, build_ap_reply
from orthros_protocol.exchanges.ap_exchange import (
    USE_RAW,
    ApReply,
    ApRequest,
    PendingAp,
    open_ap_reply,
    parse_ap_request,
    sign_ap_request,
)
from orthros_protocol.exchanges.as_exchange import AsReply, PendingAs, build_as_request, open_as_reply
from orthros_protocol.exchanges.authenticators import bind_raw
from orthros_protocol.exchanges.replay import Entry
from orthros_protocol.exchanges.tgs_exchange import PendingTgs, TgsReply, build_tgs_request, open_tgs_reply
from orthros_protocol.exchanges.wants import Want
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import MAX_TICKET_LIFE_S
from orthros_protocol.primitives.names import Principal
from orthros_protocol.testing import IssuedTicket, ManualClock
from orthros_protocol.testing.fakes import ManualStore
from orthros_protocol.tickets.attenuation import join_caveats, pop_key_of, tail_after, tail_of
from orthros_protocol.tickets.presented import open_presented
from orthros_protocol.tickets.ticket import SERVICE_TICKET, TGT
from tests.support.naive import Sealer
from tests.support.ruled_realm import RuledRealm

ENDPOINT = "payroll/run"


class Instance:
    """One replay instance of a target. `clock` is its wall clock, `elapsed` the monotonic one."""

    def __init__(
        self, realm: RuledRealm, name: str, *, clock: ManualClock | None = None, elapsed: ManualClock | None = None
    ) -> None:
        self.keytab = realm.keytab(name)
        self.clock = clock or realm.clock
        self.elapsed = elapsed or self.clock
        self.store = MemoryStore(clocks=lambda: (self.clock.now(), self.elapsed.now()), entropy=realm.entropy)

    @property
    def epoch(self) -> bytes:
        """The epoch that this instance demands now."""
        return self.store.admit(Entry(os.urandom(16), self.clock.now(), "the test")).epoch

    def accept(
        self, message: bytes, *, endpoint: str = ENDPOINT, payload: bytes = b"", use: int = USE_RAW, **options: Any
    ) -> Accepted:
        """`orthros_protocol.accept` with everything that this process knows."""
        given: dict[str, Any] = {
            "now": self.clock.now(),
            "use": use,
            "bind": bind_raw(endpoint, payload),
            "replay": self.store,
            "max_life_s": MAX_TICKET_LIFE_S,
        } | options
        rules = {rule.name: given.pop(rule.name) for rule in fields(AcceptanceRules) if rule.name in given}
        return accept(
            parse_ap_request(message),
            lambda ticket, caveats: open_presented(ticket, caveats, self.keytab),
            now=given.pop("now"),
            replay=given.pop("replay"),
            received=Received(**given),
            rules=AcceptanceRules(**rules),
        )


class ExchangePair:
    """The realm `test.realm` in which `billing` may call `payroll` with scopes read and write."""

    def __init__(self) -> None:
        self.realm = RuledRealm()
        for name in ("billing", "payroll", "orders"):
            self.realm.add(name)
        self.realm.allow("billing", "payroll", "read", "write")
        self.target = Instance(self.realm, "payroll")

    @property
    def now(self) -> Timestamp:
        return self.realm.clock.now()

    @property
    def second(self) -> int:
        return self.now // 1000

    def another_instance(self, **clocks: ManualClock) -> Instance:
        """A second process of the same target: another worker, another replica, or the same after a restart."""
        return Instance(self.realm, "payroll", **clocks)

    def store(self, **changes: Any) -> ManualStore:
        """A replay store with the target's present epoch, whose birth and memory are the test's."""
        given: dict[str, Any] = {"now": lambda: self.now, "epoch": self.target.epoch} | changes
        return ManualStore(**given)

    def login(self, client: str = "billing", *, ttl_s: int = 0) -> AsReply:
        """The initial exchange."""
        key = self.realm.keytab(client).as_key()
        pending = build_as_request(
            key,
            service="kdc/tgt",
            ttl_s=ttl_s,
            instance=self.realm.entropy(16),
            now=self.now,
            nonce=self.realm.entropy(16),
        )
        return open_as_reply(pending, key, self.realm.handle(pending.message))

    def obtain(self, login: AsReply, *wants: Want) -> TgsReply:
        """The ticket-granting exchange."""
        pending = build_tgs_request(
            login.ticket,
            pop_key_of(tail_of(login.session_key, login.ticket)),
            wants,
            now=self.now,
            nonce=self.realm.entropy(16),
        )
        return open_tgs_reply(pending, self.realm.handle(pending.message))

    def want(self, target: str = "payroll", **fields: Any) -> Want:
        return Want(target=self.realm.principal(target), **fields)

    def issue(self, **changes: Any) -> IssuedTicket:
        """A ticket from billing to payroll without asking the KDC; `changes` override fields of the ticket."""
        scopes = changes.pop("scopes", ("read", "write"))
        return self.realm.issue("billing", "payroll", scopes=scopes, **changes)

    def request(
        self,
        issued: IssuedTicket,
        *,
        endpoint: str = ENDPOINT,
        payload: bytes = b"",
        caveats: tuple[bytes, ...] = (),
        **changes: Any,
    ) -> PendingAp:
        """An AP-REQ for the target's present epoch; `changes` override fields of `ApRequest`."""
        tail = tail_after(tail_of(issued.session_key, issued.ticket), caveats)
        bind = bind_raw(endpoint, payload)
        return self.request_under(pop_key_of(tail), issued, **({"caveats": caveats, "bind": bind} | changes))

    def request_under(
        self, key: bytes, issued: IssuedTicket, *, caveats: tuple[bytes, ...] = (), **changes: Any
    ) -> PendingAp:
        """The same under a key of the test's own making, whatever it is derived from."""
        given: dict[str, Any] = {
            "use": USE_RAW,
            "ticket": issued.ticket,
            "bind": bind_raw(ENDPOINT),
            "ts": self.now,
            "nonce": self.realm.entropy(16),
            "epoch": self.target.epoch,
            "caveats": join_caveats(caveats),
        } | changes
        return sign_ap_request(ApRequest(**given), key)

    def call(self, pending: PendingAp, **options: Any) -> tuple[Accepted, ApReply]:
        """The AP exchange: accepted by the target, answered, and the answer believed by the client."""
        accepted = self.target.accept(pending.message, **options)
        return accepted, open_ap_reply(pending, build_ap_reply(accepted, now=self.now))

    def sealer(self, name: str = "payroll", *, ticket_type: int = SERVICE_TICKET) -> Sealer:
        """The ticket key of a principal in the hands of somebody who ignores the library's rules."""
        key = self.realm.root(name).ticket_key()
        return Sealer(key.material, ticket_type, key.principal.realm, name, key.uid, key.kvno)

    def tgt_sealer(self) -> Sealer:
        key = self.realm.tgt_key
        return Sealer(key.material, TGT, key.principal.realm, key.principal.name, key.uid, key.kvno)


def ask_as(pair: ExchangePair, client: str = "billing") -> PendingAs:
    """An AS-REQ for a TGT that nobody has answered yet."""
    return build_as_request(
        pair.realm.keytab(client).as_key(),
        service="kdc/tgt", ttl_s=0, instance=b"i" * 16, now=pair.now, nonce=pair.realm.entropy(16),
    )  # fmt: skip


def ask_tgs(pair: ExchangePair) -> PendingTgs:
    """A TGS-REQ for one ticket that nobody has answered yet."""
    login = pair.login()
    key = pop_key_of(tail_of(login.session_key, login.ticket))
    return build_tgs_request(login.ticket, key, [pair.want()], now=pair.now, nonce=pair.realm.entropy(16))


def refusal_code(error: BaseException) -> str:
    """The stable code of an error of ours; anything else is re-raised, because it is a bug."""
    code = getattr(error, "code", None)
    if not isinstance(code, str):
        raise error
    return code


def principal(name: str, realm: str = "test.realm") -> Principal:
    return Principal(realm, name)
