"""A caller of HTTP services, written by hand from `orthros_protocol`: it knows nothing of `orthros_client`.

Every part of a request can be left out, doubled or changed after it was bound; every response is checked.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from attrs import define, evolve, field, frozen

from orthros_protocol.exchanges.ap_exchange import (
    SAFE,
    USE_HTTP,
    ApRequest,
    PendingAp,
    TargetRefusal,
    open_ap_reply,
    sign_ap_request,
)
from orthros_protocol.exchanges.http_profile import (
    HttpBinding,
    HttpReply,
    HttpResponse,
    format_authorization,
    format_content_digest,
    open_http_reply,
    parse_challenge,
)
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.testing import IssuedTicket
from orthros_protocol.tickets.attenuation import add_caveat, join_caveats, pop_key_of, tail_of

Headers = tuple[tuple[str, bytes], ...]
FLOOR = ("content-type", "content-encoding", "idempotency-key")


def wall_clock() -> Timestamp:
    return Timestamp(time.time_ns() // 1_000_000)


@frozen(kw_only=True)
class Call:
    """One request as it travels, and what is kept to check its answer. `evolve` changes it after it was bound."""

    method: str
    target: bytes
    headers: Headers
    body: bytes
    pending: PendingAp = field(repr=False)

    def without(self, name: str) -> Call:
        return evolve(self, headers=tuple(pair for pair in self.headers if pair[0] != name))

    def with_header(self, name: str, value: bytes) -> Call:
        """One more header, whether or not there is one of this name."""
        return evolve(self, headers=(*self.headers, (name, value)))

    def replaced(self, name: str, value: bytes) -> Call:
        return self.without(name).with_header(name, value)

    def header(self, name: str) -> bytes:
        return next(value for known, value in self.headers if known == name)


@frozen(kw_only=True)
class Received:
    """One response as it arrived."""

    status: int
    headers: Headers
    body: bytes

    def header(self, name: str) -> bytes | None:
        return next((value for known, value in self.headers if known == name), None)


@define(eq=False)
class HttpCaller:
    """Signs requests with one ticket and checks what comes back. `epoch` is what it learnt last."""

    ticket: bytes = field(repr=False)
    pop_key: bytes = field(repr=False)
    origin: tuple[str, str] = ("http", "orders.test:80")
    clock: Callable[[], Timestamp] = wall_clock
    entropy: Callable[[int], bytes] = os.urandom
    caveats: bytes = b""
    epoch: bytes | None = None

    @classmethod
    def of(cls, issued: IssuedTicket, *caveats: bytes, **options: Any) -> HttpCaller:
        """With these caveats added offline."""
        tail = tail_of(issued.session_key, issued.ticket)
        for caveat in caveats:
            tail = add_caveat(tail, caveat)
        return cls(issued.ticket, pop_key_of(tail), caveats=join_caveats(caveats), **options)

    def call(
        self,
        method: str = "GET",
        target: bytes = b"/",
        *,
        headers: Sequence[tuple[str, bytes]] = (),
        body: bytes = b"",
        cover: Sequence[str] | None = None,
        sha256: bytes | None = None,
        sized: bool = True,
        host: bytes | None = None,
        **changes: Any,
    ) -> Call:
        """A request. `sha256` None binds the digest of `body`; b"" sends no digest at all."""
        sent = [("host", host or self.origin[1].encode("ascii")), *headers]
        content_digest = None
        if body and sha256 != b"":
            content_digest = format_content_digest(sha256 or digest(body))
        names = [name for name, _ in headers]
        covered = [name for name in FLOOR if name in names] if cover is None else list(cover)
        values = tuple((name, next(value for known, value in headers if known == name)) for name in covered)
        bind = HttpBinding(
            method=method, scheme=self.origin[0], authority=self.origin[1], target=target, covered=values,
            content_digest=content_digest,
        ).bind()  # fmt: skip
        given: dict[str, Any] = {
            "use": USE_HTTP, "ticket": self.ticket, "bind": bind, "ts": self.clock(), "nonce": self.entropy(16),
            "epoch": self.epoch,
            "flags": SAFE if method in ("GET", "HEAD", "OPTIONS") else 0, "caveats": self.caveats,
        } | changes  # fmt: skip
        pending = sign_ap_request(ApRequest(**given), self.pop_key)
        if content_digest is not None:
            sent.append(("content-digest", content_digest))
        if body and sized:
            sent.append(("content-length", str(len(body)).encode("ascii")))
        elif body:
            sent.append(("transfer-encoding", b"chunked"))
        sent.append(("authorization", format_authorization(pending.message, covered).encode("ascii")))
        return Call(method=method, target=target, headers=tuple(sent), body=body, pending=pending)

    def open(self, call: Call, received: Received) -> HttpReply:
        """The proof of a response, body included. Raises whatever is wrong with it."""
        head = HttpResponse(status=received.status, headers=received.headers)
        value = received.header("orthros-reply")
        assert value is not None, received
        reply = open_http_reply(call.pending, value.decode("ascii"), head)
        self.epoch = reply.epoch
        if reply.body_digest is not None:
            assert reply.body_digest == digest(received.body)
        return reply

    def refusal(self, call: Call, received: Received) -> TargetRefusal:
        """The refusal in the challenge, which proves itself."""
        value = received.header("www-authenticate")
        assert value is not None, received
        challenge = parse_challenge(value.decode("ascii"))
        assert challenge.reply is not None, received
        with pytest.raises(TargetRefusal) as caught:
            open_ap_reply(call.pending, challenge.reply)
        assert caught.value.code == challenge.code
        self.epoch = caught.value.epoch
        return caught.value
