"""A realm in which `approvals` discharges what others demand, and both ways to demand it.

Every message goes through both of its halves, as in `exchange_pair.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orthros_protocol.exchanges.ap_exchange import PendingAp
from orthros_protocol.testing import IssuedTicket
from orthros_protocol.tickets.attenuation import mix_discharges, pop_key_of, tail_after, tail_of
from orthros_protocol.tickets.caveats import Caveat
from orthros_protocol.tickets.discharges import (
    Demand,
    DemandSource,
    Discharge,
    NewDemand,
    demand_of_holder,
    demand_of_kdc,
    make_discharge,
    open_demand,
)
from tests.support.exchange_pair import ExchangePair, principal

APPROVALS = principal("approvals")
PREDICATE = "release 7 approved"


class ThirdParties(ExchangePair):
    """`billing` calls `payroll`, and somebody demands that `approvals` has a say in it."""

    def __init__(self) -> None:
        super().__init__()
        self.realm.add("approvals")
        self.realm.allow("billing", "approvals")
        self.keytab = self.realm.keytab("approvals")

    def source(self, **changes: Any) -> DemandSource:
        """billing's own ticket to approvals."""
        issued = self.realm.issue("billing", "approvals", **changes)
        return DemandSource(
            ticket=issued.ticket, pop_key=issued.pop_key, adder=principal("billing"), discharger=APPROVALS
        )

    def by_holder(self, tail: bytes, source: DemandSource | None = None, **changes: Any) -> NewDemand:
        """What whoever holds `tail` adds next; `changes` override arguments of `demand_of_holder`."""
        given: dict[str, Any] = {
            "about": principal("billing"), "predicate": PREDICATE, "expires": self.second + 300,
            "salt": self.realm.entropy(16), "entropy": self.realm.entropy(24),
        } | changes  # fmt: skip
        return demand_of_holder(tail, source or self.source(), **given)

    def by_kdc(self, **changes: Any) -> NewDemand:
        """What the KDC writes into a ticket; `changes` override arguments of `demand_of_kdc`."""
        given: dict[str, Any] = {
            "root": self.realm.entropy(32), "about": principal("billing"), "predicate": PREDICATE,
            "expires": self.second + 300, "entropy": self.realm.entropy(24),
        } | changes  # fmt: skip
        return demand_of_kdc(self.realm.root("approvals").ticket_key(), **given)

    def opened(self, cid: bytes) -> Demand:
        """What approvals reads in a demand."""
        return open_demand(cid, self.keytab, now=self.now)

    def discharge(self, cid: bytes, *caveats: Caveat, lifetime_s: int = 60) -> Discharge:
        """What approvals answers to a demand."""
        return make_discharge(self.opened(cid), cid, caveats, expires=self.second + lifetime_s)

    def present(
        self,
        issued: IssuedTicket,
        discharges: Sequence[Discharge],
        *,
        caveats: tuple[bytes, ...] = (),
        shown: Sequence[bytes] | None = None,
        **changes: Any,
    ) -> PendingAp:
        """An AP-REQ with discharges; `shown` are other caveats of theirs than those behind the mixed tails."""
        tail = tail_after(tail_of(issued.session_key, issued.ticket), caveats)
        key = mix_discharges(pop_key_of(tail), [one.tail for one in discharges])
        fields = [one.caveats for one in discharges] if shown is None else shown
        return self.request_under(key, issued, caveats=caveats, discharges=fields, **changes)
