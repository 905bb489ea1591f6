"""What the authentication does under every HTTP library alike, told once, over real sockets.

What one library can do alone stands in test_httpx_auth.py and test_requests_auth.py; on whose authority a call runs, in
test_authority.py.
"""

from __future__ import annotations

import gzip
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from attrs import evolve

from orthros_client import (
    Client,
    LocalMisuse,
    MaybeExecuted,
    Misconfigured,
    OrthrosError,
    PeerMisbehaved,
    TargetRefusal,
)
from orthros_protocol.exchanges.http_profile import format_content_digest
from orthros_protocol.primitives.derivation import digest
from tests.support.http_libraries import LIBRARIES, Shop, auth_of, open_shop
from tests.support.http_target import Heard, RealmSource, Said, listening

# They ask before they follow a redirect; others have followed it by then, without authenticator.
REFUSES_FIRST = ("aiohttp", "urllib3")


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def shop(library: str) -> Iterator[Shop]:
    with open_shop(library) as shop:
        yield shop


@pytest.mark.parity("L6", "L11", "O12")
def test_a_call_is_authenticated_and_its_response_proven(shop: Shop) -> None:
    """Every kind of body in memory; scopes are asked for as given."""
    client = shop.client()
    bodies: list[dict[str, Any]] = [
        {}, {"body": b"x"}, {"json": {"a": 1}}, {"data": {"a": "1"}}, {"files": {"f": b"x"}},
    ]  # fmt: skip
    for arguments in bodies:
        body = arguments.pop("data", None) or arguments.pop("body", None)
        options = {"data": body} if isinstance(body, dict) and shop.library in ("httpx", "httpx2") else {"body": body}
        answer = client.post(shop.url, **options, **arguments)
        assert answer.status == 200
        assert answer.content.startswith(b"you sent ")
        assert answer.proven is not None
        assert (answer.proven.target.name, answer.proven.body_is_proven) == ("orders", True)
    assert shop.target.verdicts == ["epoch-required"] + ["accepted"] * 5
    assert shop.source.asked == [("ticket", "orders", None)] * 5
    shop.client(scopes=["read"]).get(shop.url)
    shop.client(scopes={"orders": ["write"], "billing": ["x"]}).get(shop.url)
    assert [asked[2] for asked in shop.source.asked[5:]] == [("read",), ("write",)]


@pytest.mark.parity("L29")
def test_other_origins_get_nothing(shop: Shop) -> None:
    """Nothing is sent, nothing is asked of the daemon; or, by choice, the request goes out as it is."""
    reached: list[Heard] = []

    def others(heard: Heard) -> Said:
        reached.append(heard)
        return Said(200)

    with listening(others) as port:
        host = shop.origin.removeprefix("http://")
        strangers = [
            f"http://127.0.0.1:{port}/", f"http://{host}@127.0.0.1:{port}/", f"http://localhost:{port}/",
            f"http://user:pw@127.0.0.1:{port}/", f"http://127.0.0.1:{port}/?{shop.origin}/",
        ]  # fmt: skip
        client = shop.client()
        elsewhere = [
            f"http://user@{host}/", f"https://{host}/", "http://127.0.0.1/", "https://orders.example./",
            f"http://x.{host}/",
        ]  # fmt: skip
        for url in [*strangers, *elsewhere]:
            # aiohttp makes an Authorization header of user information, before anybody sees the URL.
            named = shop.library == "aiohttp" and url == f"http://user@{host}/"
            with pytest.raises(LocalMisuse if named else Misconfigured, match=None if named else "origin-unknown"):
                client.get(url)
        assert (reached, shop.target.heard, shop.source.asked) == ([], [], [])
        passing = shop.client(pass_others=True)
        for url in strangers:
            assert passing.get(url).status == 200
    assert len(reached) == len(strangers)
    assert not any((heard.value("authorization") or b"").startswith(b"Orthros") for heard in reached)
    assert shop.source.asked == []


@pytest.mark.parity("L29")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(status: int, shop: Shop) -> None:
    """A proven redirect is a result; one that the library follows is an error, and elsewhere nothing arrives."""
    reached: list[Heard] = []

    def others(heard: Heard) -> Said:
        reached.append(heard)
        return Said(200)

    with listening(others) as port:
        for where in (f"http://127.0.0.1:{port}/", "/v2"):
            shop.target.application = lambda _heard, where=where: Said(status, (("Location", where),))  # type: ignore[misc]
            client = shop.client()
            answer = client.get(shop.url)
            assert (answer.status, answer.headers["location"]) == (status, where)
            with pytest.raises(PeerMisbehaved, match="redirect was followed"):
                client.get(shop.url, follow=True)
    followed = [*reached, *(heard for heard in shop.target.heard if heard.target == b"/v2")]
    assert [heard.value("authorization") for heard in followed] == [None] * (0 if shop.library in REFUSES_FIRST else 2)


@pytest.mark.parity("L29")
def test_a_stranger_leads_no_authenticated_request_anywhere(shop: Shop) -> None:
    """A redirect of a site that gets nothing, to a target: the library may follow it, without authenticator."""
    with listening(lambda _heard: Said(302, (("Location", shop.url),))) as port:
        client = shop.client(pass_others=True)
        with suppress(PeerMisbehaved):
            client.get(f"http://127.0.0.1:{port}/", follow=True)
    assert not any((heard.value("authorization") or b"").startswith(b"Orthros") for heard in shop.target.heard)
    assert shop.target.executed == []


LIES: dict[str, Callable[[Said], Said]] = {
    "stripped": lambda said: said.with_header("orthros-reply", None),
    "status": lambda said: evolve(said, status=201),
    "header": lambda said: said.with_header("content-type", "text/html"),
    "doubled header": lambda said: evolve(said, headers=(*said.headers, ("Content-Type", "text/plain"))),
}


@pytest.mark.parity("L11")
@pytest.mark.parametrize("lie", LIES)
def test_a_fake_head_is_no_response(lie: str, shop: Shop) -> None:
    """Not even to whoever streams: the head is judged before the caller sees it."""
    client = shop.client()
    client.get(shop.url)
    shop.target.between = LIES[lie]
    for in_pieces in (False, True):
        with pytest.raises(PeerMisbehaved, match="response-unproven"):
            client.get(shop.url, in_pieces=in_pieces)


BODIES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda body: body[:-1],
    "empty": lambda _body: b"",
    "longer": lambda body: body + b"x",
    "changed": lambda body: b"Y" + body[1:],
}


@pytest.mark.parity("L11")
@pytest.mark.parametrize("change", BODIES)
def test_a_fake_body_is_noticed_at_its_end(change: str, shop: Shop) -> None:
    """Reading raises instead of returning; whoever streams is told before the end."""
    client = shop.client()
    client.get(shop.url)
    shop.target.between = lambda said: evolve(said, body=BODIES[change](said.body))
    for in_pieces in (False, True):
        with pytest.raises(PeerMisbehaved, match=r"response-unproven.*bytes came"):
            client.get(shop.url, in_pieces=in_pieces)


def read_as_many_bytes_as_the_head_says(client: Any, library: str, url: str, size: int) -> bytes:
    """What a reader gets who asks for so many bytes and no more; `client` is a caller of the shop."""
    if library == "urllib3":
        data: bytes = client.auth.request("GET", url, preload_content=False).read(size)
        return data
    if library == "requests":
        return next(client.session.get(url, stream=True).iter_content(size))  # type: ignore[no-any-return]
    with client.session.stream("GET", url) as response:
        return next(response.iter_bytes(size))  # type: ignore[no-any-return]


# aiohttp is not among them: nothing can be read of its body before the end was judged.
@pytest.mark.parity("L11")
@pytest.mark.parametrize("library", [name for name in LIBRARIES if name != "aiohttp"], indirect=True)
def test_a_fake_body_is_noticed_by_who_reads_its_length_and_no_further(library: str, shop: Shop) -> None:
    shop.target.application = lambda _heard: Said(200, (), b"0123456789")
    client = shop.client()
    assert read_as_many_bytes_as_the_head_says(client, library, shop.url, 10) == b"0123456789"
    shop.target.between = lambda said: evolve(said, body=b"evil-9999!")
    with pytest.raises(Exception, match=r"response-unproven"):
        read_as_many_bytes_as_the_head_says(client, library, shop.url, 10)


@pytest.mark.parity("L11")
def test_compressed_bodies_are_checked_as_they_travel(shop: Shop) -> None:
    """Before decoding; the caller gets the decoded text."""
    packed = gzip.compress(b"hello " * 1000)
    shop.target.application = lambda _heard: Said(200, (("Content-Encoding", "gzip"),), packed)
    client = shop.client()
    for in_pieces in (False, True):
        assert client.get(shop.url, in_pieces=in_pieces).content == b"hello " * 1000
    shop.target.between = lambda said: evolve(said, body=gzip.compress(b"hullo " * 1000))
    for in_pieces in (False, True):
        with pytest.raises(PeerMisbehaved, match="response-unproven"):
            client.get(shop.url, in_pieces=in_pieces)


@pytest.mark.parity("L11")
def test_what_has_no_body_needs_no_proof_of_one(shop: Shop) -> None:
    """HEAD and 204; streams without proof only by choice, and their head is proven all the same."""
    client = shop.client()
    assert client.send("HEAD", shop.url).status == 200
    shop.target.application = lambda _heard: Said(204)
    assert client.send("DELETE", shop.url).content == b""
    shop.target.application = lambda _heard: Said(200, (), b"stream")
    shop.target.sealed_bodies = False
    with pytest.raises(PeerMisbehaved, match="response-unproven"):
        client.get(shop.url)
    accepting = shop.client(accept_unproven_bodies=True)
    answer = accepting.get(shop.url)
    assert answer.proven is not None
    assert (answer.content, answer.proven.body_is_proven) == (b"stream", False)
    shop.target.between = LIES["status"]
    with pytest.raises(PeerMisbehaved, match="response-unproven"):
        accepting.get(shop.url)


@pytest.mark.parity("L6")
def test_a_refusal_explains_itself(shop: Shop) -> None:
    """The reason that the target proved, as an exception with cause and remedy."""
    credentials = shop.source.credentials("orders")
    shop.target.realm.clock.advance(3700)

    class Stale(RealmSource):
        def credentials(self, target: str, scopes: Any = None) -> Any:
            return credentials

    with pytest.raises(TargetRefusal, match="ticket-expired") as caught:
        shop.client(source=Stale(shop.target.realm)).get(shop.url)
    assert caught.value.remedy.startswith("Obtain a new one")


@pytest.mark.parity("L6")
def test_an_unsafe_call_is_never_repeated_silently(shop: Shop) -> None:
    """After a restart of the target POST may have run, with a key or without; GET is repeated."""
    client = shop.client()
    client.post(shop.url)
    for headers in ({}, {"Idempotency-Key": "k"}):
        shop.restart()
        shop.target.executed.clear()
        with pytest.raises(MaybeExecuted):
            client.post(shop.url, headers=headers)
        assert shop.target.executed == []
        client.post(shop.url)
    shop.restart()
    assert client.get(shop.url).status == 200


@pytest.mark.parity("L6")
def test_the_caller_can_say_that_a_call_is_harmless(shop: Shop) -> None:
    """For single requests; then it is repeated as a read is."""
    client = shop.client()
    client.send("PUT", shop.url)
    shop.restart()
    assert client.send("PUT", shop.url, auth=client.auth.harmless()).status == 200
    shop.restart()
    with pytest.raises(MaybeExecuted):
        client.send("PUT", shop.url)


@pytest.mark.parity("L6")
def test_a_key_is_added_and_promised(shop: Shop) -> None:
    """To unsafe requests that have none, random and covered; with it they are repeated as reads are."""
    client = shop.client(idempotency="header")
    for _ in range(2):
        client.post(shop.url)
        shop.restart()
    assert client.post(shop.url, headers={"Idempotency-Key": "mine"}).status == 200
    client.get(shop.url)
    keys = [heard.value("idempotency-key") for heard in shop.target.executed]
    assert (keys[2], keys[3]) == (b"mine", None)
    assert all(re.fullmatch(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", key or b"") for key in keys[:2])
    assert keys[0] != keys[1]
    assert all(b'idempotency-key"' in (heard.value("authorization") or b"") for heard in shop.target.executed[:3])
    repeats = [heard.value("idempotency-key") for heard in shop.target.heard[1:4]]
    assert repeats == [keys[0], keys[1], keys[1]]  # the same key each time the call is sent
    with pytest.raises(LocalMisuse, match="idempotency"):
        shop.client(idempotency="body")


@pytest.mark.parity("L11")
def test_compression_is_not_asked_for_unless_the_caller_does(shop: Shop) -> None:
    """What a proxy compresses is not what the target proved; the error says so."""
    client = shop.client()
    client.get(shop.url)
    for chosen in ("gzip", "gzip;q=0.5, identity"):
        client.get(shop.url, headers={"Accept-Encoding": chosen})
    said = [heard.value("accept-encoding") for heard in shop.target.executed]
    assert said == [b"identity", b"gzip", b"gzip;q=0.5, identity"]
    shop.target.between = lambda said: evolve(
        said, headers=(*said.headers, ("Content-Encoding", "gzip")), body=gzip.compress(said.body)
    )
    with pytest.raises(PeerMisbehaved, match="a proxy on the way compressed it"):
        client.get(shop.url)


def pieces(*parts: bytes) -> Iterator[bytes]:
    yield from parts


@pytest.mark.parity("L6")
def test_a_generator_needs_a_digest_or_a_choice(shop: Shop) -> None:
    """Without either nothing is sent; with a digest a probe meets the target first, and the body is read once."""
    client = shop.client()
    with pytest.raises(LocalMisuse, match="not-covered"):
        client.post(shop.url, pieces(b"a", b"b"))
    assert shop.target.heard == []
    stated = {"Content-Digest": format_content_digest(digest(b"ab")).decode(), "Content-Type": "text/plain"}
    assert client.post(shop.url, pieces(b"a", b"b"), headers=stated).content == b"you sent ab"
    assert [(heard.method, heard.body) for heard in shop.target.heard] == [("OPTIONS", b""), ("POST", b"ab")]
    probe = shop.target.heard[0]
    for name in ("content-digest", "transfer-encoding", "content-type"):
        assert probe.value(name) is None
    unbound = shop.client(allow_unbound_bodies=True)
    assert unbound.post(shop.url, pieces(b"c")).content == b"you sent c"
    assert shop.target.heard[-1].value("content-digest") is None
    with pytest.raises(LocalMisuse, match="value-invalid"):
        client.post(shop.url, pieces(b"a"), headers={"Content-Digest": "md5=:AAAA:"})
    shop.restart()
    with pytest.raises(MaybeExecuted):
        client.post(shop.url, pieces(b"a", b"b"), headers=stated)


@pytest.mark.parity("L6")
def test_headers_are_covered_as_they_are_sent(shop: Shop) -> None:
    """The floor, what is listed, and nothing else; cookies and proxies' credentials stay as they are."""
    client = shop.client(cover=["X-Tenant"])
    client.session.cookies.set("session", "c1")
    client.post(shop.url, json={}, headers={"X-Tenant": "acme", "Proxy-Authorization": "Basic eA==", "X-Other": "o"})
    sent = shop.target.executed[0]
    assert b'h="content-type;x-tenant"' in (sent.value("authorization") or b"")
    assert (sent.value("cookie"), sent.value("proxy-authorization")) == (b"session=c1", b"Basic eA==")


@pytest.mark.parity("L29")
def test_a_request_cannot_serve_two_masters(shop: Shop) -> None:
    """Another Authorization, another Host: refused before anything is sent."""
    client = shop.client()
    with pytest.raises(LocalMisuse, match="Authorization"):
        client.get(shop.url, headers={"Authorization": "Bearer x"})
    with pytest.raises(LocalMisuse, match="Host"):
        client.get(shop.url, headers={"Host": "other.example"})
    assert shop.target.heard == []


@pytest.mark.parity("P14", "L29")
def test_tokens_go_to_their_origins_alone(shop: Shop) -> None:
    """One auth object, tickets inside and JWTs at the edge; no fall-back from one to the other, nor past a redirect."""
    reached: list[Heard] = []

    def ledger(heard: Heard) -> Said:
        reached.append(heard)
        return Said(302, (("Location", "/elsewhere"),)) if heard.target == b"/go" else Said(401)

    with listening(ledger) as port:
        origin = f"http://127.0.0.1:{port}"
        targets = {shop.origin: "orders", origin: "ledger"}
        client = shop.client(targets=targets, bearer=[origin], scopes={"ledger": ["book"]})
        answer = client.get(f"{origin}/x")
        assert (answer.status, answer.proven) == (401, None)
        assert client.get(shop.url).status == 200
        with pytest.raises(PeerMisbehaved, match="redirect"):
            client.get(f"{origin}/go", follow=True)
        with pytest.raises(LocalMisuse, match="Authorization"):
            client.get(f"{origin}/x", headers={"Authorization": "Basic x"})
        shop.target.between = lambda _said: Said(401, (("WWW-Authenticate", "Bearer"),))
        with pytest.raises(PeerMisbehaved, match="response-unproven"):
            client.get(shop.url)
    token = b"Bearer jwt-for.ledger.0123456789abcdef"
    assert [heard.value("authorization") for heard in reached if heard.target != b"/elsewhere"] == [token, token]
    assert [heard.value("authorization") for heard in reached if heard.target == b"/elsewhere"] in ([None], [])
    assert shop.source.asked[:2] == [("token", "ledger", ("book",)), ("ticket", "orders", None)]
    assert all((heard.value("authorization") or b"").startswith(b"Orthros ") for heard in shop.target.heard)


@pytest.mark.parity("L29")
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"bearer": ["https://other.example"]}, Misconfigured),
        ({"targets": {"http://o.example": "orders"}, "bearer": ["http://o.example"]}, Misconfigured),
        ({"targets": {"https://o.example/x": "orders"}}, Misconfigured),
        ({"targets": {"https://o.example": "Orders"}}, Misconfigured),
        ({"cover": ["authorization"]}, LocalMisuse),
        ({"scopes": "read"}, LocalMisuse),
    ],
)
def test_wrong_options_are_refused_at_once(library: str, options: dict[str, Any], error: type[OrthrosError]) -> None:
    """Not at the first request."""
    with pytest.raises(error):
        auth_of(library, **{"targets": {"https://orders.example": "orders"}, "client": Client(), **options})


@pytest.mark.parity("L6")
def test_threads_may_share_one_client(shop: Shop) -> None:
    """Each call has its own authenticator; the target executes each once."""
    client, failures = shop.client(), list[BaseException]()
    client.get(shop.url)

    def work(number: int) -> None:
        try:
            for at in range(10):
                body = b"%d.%d" % (number, at)
                assert client.post(shop.url, body).content == b"you sent " + body
        except BaseException as error:  # noqa: BLE001  # handed to the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len({heard.body for heard in shop.target.executed}) == len(shop.target.executed) == 61
