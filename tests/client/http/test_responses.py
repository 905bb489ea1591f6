"""One response on its way: what is held, what flows, and what the application may not do with it."""

from __future__ import annotations

from typing import Any

import pytest

from orthros_client.http.server.guard import Admitted, Guard
from orthros_client.http.server.incoming import IncomingRequest
from orthros_client.http.server.responses import ReplyWriter
from orthros_protocol.errors import LocalMisuse
from orthros_protocol.exchanges.http_profile import format_content_digest
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.testing.fakes import ManualStore
from tests.client.http.world import House
from tests.support.http_caller import Call, HttpCaller, Received

HTML = (("content-type", b"text/html"),)


def admitted(method: str = "GET") -> tuple[HttpCaller, Call, Any]:
    """A caller, its request and what the service knows of it."""
    house = House()
    guard = Guard(**house.settings(verifier=house.verifier(replay=ManualStore(house.realm.clock.now))))
    caller = house.caller()
    call = caller.call(method)
    verdict = guard.judge(IncomingRequest(method=method, target=b"/", headers=call.headers))
    assert isinstance(verdict, Admitted)
    return caller, call, verdict.caller


def writer(verified: Any, method: str = "GET", **options: Any) -> ReplyWriter:
    return ReplyWriter(verified, method=method, **({"hold_bytes": 10} | options))


def test_a_length_beyond_the_limit_is_not_waited_for() -> None:
    caller, call, verified = admitted()
    reply = writer(verified)
    reply.start(200, (*HTML, ("content-length", b"11")))
    leaving = reply.write(b"x", more=True)
    assert leaving is not None
    assert leaving.head is not None
    opened = caller.open(call, Received(status=200, headers=leaving.head.headers, body=b"x"))
    assert opened.body_digest is None


def test_a_large_response_in_one_piece_is_proven_whole() -> None:
    """Frameworks for WSGI hand over a large page at once, and say only afterwards that there is no more."""
    caller, call, verified = admitted()
    reply = writer(verified)
    reply.start(200, (*HTML, ("content-length", b"11")))
    leaving = reply.write(b"hello world", more=True)
    assert leaving is not None
    assert leaving.head is not None
    assert leaving.more
    opened = caller.open(call, Received(status=200, headers=leaving.head.headers, body=b"hello world"))
    assert opened.body_digest == digest(b"hello world")
    last = reply.write(b"", more=False)
    assert last is not None
    assert (last.head, last.data, last.more) == (None, b"", False)


def test_a_response_to_head_has_no_body_however_much_is_written() -> None:
    caller, call, verified = admitted("HEAD")
    reply = writer(verified, "HEAD")
    reply.start(200, HTML)
    pieces = [reply.write(b"x", more=True), reply.write(b"y", more=False)]
    assert [piece.data for piece in pieces if piece] == [b"", b""]
    assert pieces[0] is not None
    assert pieces[0].head is not None
    assert caller.open(call, Received(status=200, headers=pieces[0].head.headers, body=b"")).body_digest == digest(b"")


def test_a_proof_of_the_applications_own_is_taken_out_and_doubles_are_not_covered() -> None:
    caller, call, verified = admitted()
    reply = writer(verified, covers=("etag",))
    reply.start(200, (*HTML, *HTML, ("orthros-reply", b"s=AAAA, m=AAAA"), ("etag", b'"1"')))
    leaving = reply.write(b"x", more=False)
    assert leaving is not None
    assert leaving.head is not None
    assert len(leaving.head.values_of("orthros-reply")) == 1
    assert caller.open(call, Received(status=200, headers=leaving.head.headers, body=b"x")).covered == ("etag",)


@pytest.mark.parametrize("named", [b"sha-512=:AAAA:", b"nonsense", format_content_digest(digest(b"x"))])
def test_a_digest_that_is_not_just_sha_256_is_only_a_header(named: bytes) -> None:
    caller, call, verified = admitted()
    reply = writer(verified)
    reply.start(200, (*HTML, ("content-digest", named), *((("content-digest", named),) if named[3:4] == b"-" else ())))
    leaving = reply.write(b"x", more=False)
    assert leaving is not None
    assert leaving.head is not None
    opened = caller.open(call, Received(status=200, headers=leaving.head.headers, body=b"x"))
    assert opened.body_digest == digest(b"x")


def test_a_wrong_digest_of_a_held_response_never_leaves() -> None:
    _caller, _call, verified = admitted()
    reply = writer(verified)
    reply.start(200, (*HTML, ("content-digest", format_content_digest(digest(b"y")))))
    with pytest.raises(LocalMisuse, match="Content-Digest"):
        reply.write(b"x", more=False)
    assert not reply.has_left


def test_what_comes_in_the_wrong_order_is_a_bug() -> None:
    _caller, _call, verified = admitted()
    reply = writer(verified)
    with pytest.raises(LocalMisuse, match="before its head"):
        reply.write(b"x", more=False)
    reply.start(200, HTML)
    reply.write(b"x", more=False)
    with pytest.raises(LocalMisuse, match="has left"):
        reply.start(500, HTML)
