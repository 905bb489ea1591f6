"""Requests under three caveats, beside a macaroon with three: accepted at first sight, and narrowed offline.

In one process, no sockets; every request and every macaroon is verified for real. The macaroon is bearer: there is no
proof of possession, no replay check and no ticket to open.
"""

from __future__ import annotations

import os
import time

from pymacaroons import Macaroon  # type: ignore[import-untyped]
from pymacaroons import Verifier as MacaroonVerifier

from orthros_client.verifier import Verifier
from orthros_protocol.exchanges.ap_exchange import USE_RAW, ApRequest, sign_ap_request
from orthros_protocol.exchanges.authenticators import bind_raw
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.testing import InMemoryRealm, IssuedTicket, ManualClock
from orthros_protocol.tickets.access import parse_address
from orthros_protocol.tickets.attenuation import add_caveat, join_caveats, pop_key_of, tail_after, tail_of
from orthros_protocol.tickets.caveats import Caveat, ExpiresCaveat, PeerCaveat, ScopesCaveat
from workshop.bench.epochs import epoch_of
from workshop.bench.figures import Figure, best_of

__all__ = ["measure_attenuated"]

_ENDPOINT, _REPEAT, _BATCH = "orders/submit", 5, 1000
_WORDS = ("time < 2030-01-01T00:00", "scope = read", "peer = 10.0.0.0/8")


def _now() -> Timestamp:
    return Timestamp(time.time_ns() // 1_000_000)


def measure_attenuated() -> list[Figure]:
    """Accept under three caveats, and what adding one costs."""
    realm = InMemoryRealm("corp.example", clock=ManualClock(_now()))
    realm.add("billing")
    verifier = Verifier(realm.add("orders").verify_only())
    epoch = epoch_of(verifier)
    peer = parse_address("10.1.2.3")
    rows: tuple[Caveat, ...] = (
        ExpiresCaveat(_now() // 1000 + 600), ScopesCaveat(("read",)), PeerCaveat(("10.0.0.0/8",)),
    )  # fmt: skip
    caveats = [row.to_bytes() for row in rows]
    shown, bind = join_caveats(caveats), bind_raw(_ENDPOINT)

    def request_with(ticket: IssuedTicket) -> bytes:
        pop_key = pop_key_of(tail_after(tail_of(ticket.session_key, ticket.ticket), caveats))
        request = ApRequest(
            use=USE_RAW, ticket=ticket.ticket, bind=bind, ts=_now(), nonce=os.urandom(16), epoch=epoch, caveats=shown
        )
        return sign_ap_request(request, pop_key).message

    def accept_all(tickets: list[IssuedTicket]) -> float:
        prepared = [request_with(ticket) for ticket in tickets]
        started = time.perf_counter()
        for request in prepared:
            caller = verifier.accept(request, _ENDPOINT, peer=peer)
            if caller.scopes != {"read"}:
                raise RuntimeError("the scopes caveat did not narrow")
        return (time.perf_counter() - started) / len(prepared) * 1e6

    fresh = [
        [realm.issue("billing", "orders", scopes=("read", "write")) for _ in range(_BATCH)] for _ in range(_REPEAT)
    ]
    first = min(map(accept_all, fresh))
    again = min(accept_all([fresh[0][0]] * _BATCH) for _ in range(_REPEAT))
    tail = tail_of(fresh[0][0].session_key, fresh[0][0].ticket)
    adding = best_of(lambda: add_caveat(tail, caveats[0]), number=5000)
    macaroon, adding_peer = _macaroon()
    return [
        Figure(name="accept, 3 caveats, first sight", us=first, beside="pymacaroons, parse and verify 3",
               beside_us=macaroon, goal="<= 0.67"),
        Figure(name="accept, 3 caveats, ticket seen before", us=again, beside="pymacaroons, parse and verify 3",
               beside_us=macaroon),
        Figure(name="add a caveat", us=adding, beside="pymacaroons, add one", beside_us=adding_peer),
    ]  # fmt: skip


def _macaroon() -> tuple[float, float]:
    """Microseconds to parse and verify a macaroon with three caveats, and to add one."""
    key = os.urandom(32).hex()
    macaroon = Macaroon(location="orders", identifier="billing", key=key)
    for word in _WORDS:
        macaroon.add_first_party_caveat(word)
    serialized = macaroon.serialize()

    def verify() -> None:
        verifier = MacaroonVerifier()
        for word in _WORDS:
            verifier.satisfy_exact(word)
        if not verifier.verify(Macaroon.deserialize(serialized), key):
            raise RuntimeError("the peer refused its own macaroon")

    return best_of(verify, number=500), best_of(lambda: macaroon.add_first_party_caveat(_WORDS[0]), number=1000)
