"""The library alone: accept and build, beside their bare primitives and beside PyJWT.

In one process, no sockets. Every request is accepted for real.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from collections.abc import Callable, Iterator

import jwt
import msgpack
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from orthros_client.verifier import Verifier
from orthros_protocol.exchanges.ap_exchange import USE_RAW, ApRequest, PendingAp, open_ap_reply, sign_ap_request
from orthros_protocol.exchanges.authenticators import bind_raw
from orthros_protocol.exchanges.replay import Entry, ReplaySet
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.testing import InMemoryRealm, IssuedTicket, ManualClock
from workshop.bench.epochs import epoch_of
from workshop.bench.figures import Figure, best_of

__all__ = ["measure_library"]

_ENDPOINT, _PAYLOAD = "orders/submit", b"one book, please"
_REPEAT = 5


def _now() -> Timestamp:
    return Timestamp(time.time_ns() // 1_000_000)


def _primitives() -> tuple[float, float]:
    """The sums for accepting at first sight and again: what no implementation of this protocol can avoid."""
    key, message, ticket = os.urandom(32), os.urandom(130), os.urandom(230)
    box = AESGCM(key).encrypt(bytes(12), message, None)
    body = msgpack.packb([1, 3, 0, ticket, b"", [], 1_800_000_000_000, bytes(16), bytes(8), 0, key, None, [], []])
    outer = msgpack.packb([body, bytes(32)])
    sealed = msgpack.packb([1, bytes(16), "corp", "billing", 17, key, 1, 2, 3, bytes(8), 0, ["read"], b"", [], None])

    def prf() -> None:
        hmac.digest(key, ticket, "sha512")

    def codec(encoded: bytes) -> Callable[[], None]:
        def once() -> None:
            msgpack.packb(msgpack.unpackb(encoded))  # canonical means: decoded, and encoded again to compare

        return once

    one_prf = best_of(prf, number=5000)
    one_hash = best_of(lambda: hashlib.sha256(ticket).digest(), number=5000)
    opening = best_of(lambda: AESGCM(key).decrypt(bytes(12), box, None), number=5000)
    both = best_of(codec(outer), number=5000) + best_of(codec(body), number=5000)
    again = both + 3 * one_hash + one_prf  # H(ticket), H(payload), bind; MAC
    first = again + best_of(codec(sealed), number=5000) + opening + 3 * one_prf + one_hash  # box, T0, K_pop; H(ctx)
    return first, again


def _requests(realm: InMemoryRealm, tickets: list[IssuedTicket], epoch: bytes | None) -> Iterator[bytes]:
    bind = bind_raw(_ENDPOINT, _PAYLOAD)
    for ticket in tickets:
        request = ApRequest(use=USE_RAW, ticket=ticket.ticket, bind=bind, ts=_now(), nonce=os.urandom(16), epoch=epoch)
        yield sign_ap_request(request, ticket.pop_key).message


def measure_library() -> list[Figure]:
    """Accept, build and the replay set."""
    realm = InMemoryRealm("corp.example", clock=ManualClock(_now()))
    realm.add("billing")
    keytab = realm.add("orders").verify_only()
    verifier = Verifier(keytab, opened_capacity=10_000)
    ticket = realm.issue("billing", "orders", scopes=("read", "write"))
    epoch = epoch_of(verifier)

    def accept_all(tickets: list[IssuedTicket]) -> float:
        requests = _requests(realm, tickets, epoch)
        prepared = list(requests)
        started = time.perf_counter()
        for request in prepared:
            verifier.accept(request, _ENDPOINT, _PAYLOAD)
        return (time.perf_counter() - started) / len(prepared) * 1e6

    first = min(
        accept_all([realm.issue("billing", "orders", scopes=("read", "write")) for _ in range(1000)])
        for _ in range(_REPEAT)
    )
    again = min(accept_all([ticket] * 4000) for _ in range(_REPEAT))
    bind, pop_key, now = bind_raw(_ENDPOINT, _PAYLOAD), ticket.pop_key, _now()

    def build() -> PendingAp:
        request = ApRequest(use=USE_RAW, ticket=ticket.ticket, bind=bind, ts=now, nonce=os.urandom(16), epoch=epoch)
        return sign_ap_request(request, pop_key)

    pending = build()
    caller = verifier.accept(pending.message, _ENDPOINT, _PAYLOAD)
    open_ap_reply(pending, caller.reply)
    reply = best_of(lambda: caller.reply, number=5000)
    built = best_of(build, number=5000)
    key = os.urandom(32)
    claims = {"iss": "kdc", "sub": "a", "aud": "b", "iat": now // 1000, "exp": now // 1000 + 600, "scope": "read"}
    token = jwt.encode(claims, key, "HS256")
    decoding = best_of(lambda: jwt.decode(token, key, ["HS256"], audience="b", issuer="kdc"), number=2000)
    encoding = best_of(lambda: jwt.encode(claims, key, "HS256"), number=2000)
    floor_first, floor_again = _primitives()
    size = f"AP-REQ {len(pending.message)} bytes"
    return [
        Figure(name="accept, first sight", us=first, beside="bare primitives", beside_us=floor_first, goal="<= 1.6"),
        Figure(name="accept, first sight", us=first, beside="PyJWT decode", beside_us=decoding),
        Figure(name="accept, ticket seen before", us=again, beside="bare primitives", beside_us=floor_again),
        Figure(name="accept, ticket seen before", us=again, beside="PyJWT decode", beside_us=decoding, goal="<= 0.33"),
        Figure(name="AP-REP for an accepted request", us=reply),
        Figure(
            name="build an AP-REQ", us=built, beside="PyJWT encode", beside_us=encoding, goal="<= 8 us", remark=size
        ),
        _replay_figure(),
    ]


def _replay_figure() -> Figure:
    replay, now = ReplaySet(capacity=2_000_000, per_client=2_000_000), _now()
    tags = [os.urandom(16) for _ in range(200_000)]
    started = time.perf_counter()
    for tag in tags:
        replay.admit(Entry(tag, now, "billing"), now)
    return Figure(
        name="replay set, admit",
        us=(time.perf_counter() - started) / len(tags) * 1e6,
        goal="<= 1 us",
        remark="200,000 held",
    )
