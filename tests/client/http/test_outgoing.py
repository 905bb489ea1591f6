from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from orthros_client import LocalMisuse, MaybeExecuted, Misconfigured, PeerMisbehaved, TargetRefusal
from orthros_client.credentials.credentials import Credentials, Pause
from orthros_client.credentials.known_targets import PeerState
from orthros_client.http.client.attachment import Attachment
from orthros_client.http.client.covering import check_cover
from orthros_client.http.client.file_body import FileBody
from orthros_client.http.client.options import AuthOptions
from orthros_client.http.client.origins import Origin
from orthros_client.http.client.outgoing import (
    EMPTY,
    Attempt,
    Body,
    BodyProof,
    OutgoingRequest,
    Proven,
    Terms,
    exchange,
)
from orthros_client.http.client.targets import with_escapes
from orthros_protocol.errors import OrthrosError, Refused
from orthros_protocol.exchanges.acceptance import Accepted, build_ap_error, build_ap_reply
from orthros_protocol.exchanges.ap_exchange import parse_ap_request
from orthros_protocol.exchanges.http_profile import (
    HttpResponse,
    encode_base64url,
    format_challenge,
    format_content_digest,
    parse_authorization,
)
from orthros_protocol.exchanges.replay import Entry, ReplaySet
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.testing import InMemoryRealm
from orthros_protocol.tickets.presented import open_presented
from tests.support.http_target import Heard, HttpTarget, RealmSource, Said

ORIGIN = Origin("https", "orders.example", 443)
HOST = ("host", b"orders.example")


@pytest.fixture
def realm() -> InMemoryRealm:
    return new_realm()


@pytest.fixture
def target(realm: InMemoryRealm) -> HttpTarget:
    return HttpTarget(realm)


@pytest.fixture
def credentials(realm: InMemoryRealm) -> Credentials:
    return RealmSource(realm).credentials("orders")


def new_realm() -> InMemoryRealm:
    realm = InMemoryRealm()
    for name in ("web", "orders"):
        realm.add(name)
    return realm


def request(
    method: str = "GET", *headers: tuple[str, bytes], content: bytes = b"", once: bool = False
) -> OutgoingRequest:
    body = Body.of(content) if content else EMPTY
    return OutgoingRequest(
        method=method,
        origin=ORIGIN,
        target=b"/v1/orders?id=7",
        headers=(HOST, *headers),
        body=evolve(body, replayable=not once),
    )


def run(
    outgoing: OutgoingRequest,
    credentials: Credentials,
    target: HttpTarget,
    content: bytes = b"",
    *,
    swap: Callable[[Heard], Heard] = lambda heard: heard,
    accept_unproven_bodies: bool = False,
    cover: tuple[str, ...] = (),
    keyed: bool = False,
) -> tuple[Proven, Said]:
    """Delivers what the exchange wants; `swap` changes requests on their way."""
    terms = Terms(cover=cover, accept_unproven_bodies=accept_unproven_bodies, keyed=keyed)
    steps = exchange(outgoing, credentials, terms)
    step = next(steps)
    while True:
        if isinstance(step, Pause):
            step.block()
            step = steps.send(None)
            continue
        said = target.hear(swap(dressed(outgoing, step, content)))
        headers = tuple((name.lower(), value.encode("latin-1")) for name, value in said.headers)
        try:
            step = steps.send(HttpResponse(status=said.status, headers=headers))
        except StopIteration as done:
            return done.value, said


def dressed(outgoing: OutgoingRequest, attempt: Attempt, content: bytes) -> Heard:
    added = [("authorization", attempt.authorization.encode())]
    if attempt.content_digest is not None:
        added.append(("content-digest", attempt.content_digest))
    if attempt.probe:
        return Heard("OPTIONS", outgoing.target, (HOST, *added))
    return Heard(outgoing.method, outgoing.target, (*outgoing.headers, *added), content)


def met(credentials: Credentials) -> PeerState:
    """What is known of the target at the origin of the requests."""
    return credentials.peers.at(str(ORIGIN))


def restart(target: HttpTarget) -> None:
    target.processes = HttpTarget(target.realm).processes


@pytest.mark.parity("L6", "L11")
def test_first_contact_costs_one_repeat_and_then_none(credentials: Credentials, target: HttpTarget) -> None:
    """The response is proven; the epoch is learnt from the refusal and kept."""
    proven, said = run(request("POST", content=b"pay"), credentials, target, b"pay")
    assert (said.status, proven.target.name, proven.covered) == (200, "orders", ("content-type",))
    assert proven.body_is_proven
    assert target.verdicts == ["epoch-required", "accepted"]
    run(request(), credentials, target)
    assert target.verdicts[2:] == ["accepted"]


@pytest.mark.parity("L6")
def test_what_is_bound_is_what_is_covered(credentials: Credentials, target: HttpTarget) -> None:
    """The floor as far as it is there, then what the caller lists, each once."""
    outgoing = request(
        "POST", ("x-tenant", b" acme\t"), ("content-type", b"text/plain"), ("accept", b"*/*"), content=b"x"
    )
    assert outgoing.covered(("x-tenant", "content-type", "x-absent")) == (
        ("content-type", b"text/plain"),
        ("x-tenant", b"acme"),
    )
    with pytest.raises(LocalMisuse, match="sent twice"):
        request("GET", ("x-tenant", b"a"), ("x-tenant", b"b")).covered(("x-tenant",))


CHANGES: dict[str, Callable[[Heard], Heard]] = {
    "method": lambda heard: evolve(heard, method="PUT"),
    "query": lambda heard: evolve(heard, target=b"/v1/orders?id=8"),
    "escape": lambda heard: evolve(heard, target=b"/v1/%6frders?id=7"),
    "covered header": lambda heard: changed(heard, "content-type", b"text/html"),
    "idempotency key": lambda heard: changed(heard, "idempotency-key", b"2"),
    "listed header": lambda heard: changed(heard, "x-tenant", b"evil"),
    "digest": lambda heard: changed(heard, "content-digest", format_content_digest(digest(b"other"))),
    "host": lambda heard: changed(heard, "host", b"other.example"),
}


def changed(heard: Heard, name: str, value: bytes) -> Heard:
    return evolve(heard, headers=tuple((known, value if known == name else old) for known, old in heard.headers))


@pytest.mark.parity("L6")
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_request_is_refused(change: str, credentials: Credentials, target: HttpTarget) -> None:
    """With everything that is bound, one at a time; nothing runs."""
    outgoing = request(
        "POST", ("content-type", b"text/plain"), ("idempotency-key", b"1"), ("x-tenant", b"acme"), content=b"x"
    )
    with pytest.raises((TargetRefusal, PeerMisbehaved)) as caught:
        run(outgoing, credentials, target, b"x", swap=CHANGES[change], cover=("x-tenant",))
    # A refusal of the binding is proven by the target; another host is not even looked at.
    assert caught.value.code == ("response-unproven" if change == "host" else "wrong-binding")
    if change != "host":
        assert caught.value.remedy
    assert target.executed == []


LIES: dict[str, Callable[[Said], Said]] = {
    "stripped reply": lambda said: said.with_header("orthros-reply", None),
    "another status": lambda said: evolve(said, status=201),
    "a changed covered header": lambda said: said.with_header("content-type", "text/html"),
    "a dropped covered header": lambda said: said.with_header("content-type", None),
    "a doubled covered header": lambda said: evolve(said, headers=(*said.headers, ("Content-Type", "text/plain"))),
    "an added location": lambda said: evolve(said, headers=(*said.headers, ("Location", "https://evil.example"))),
    "an added encoding": lambda said: evolve(said, headers=(*said.headers, ("Content-Encoding", "gzip"))),
    "two replies": lambda said: evolve(said, headers=(*said.headers, said.headers[-1])),
    "a truncated proof": lambda said: said.with_header("orthros-reply", dict(said.headers)["Orthros-Reply"][:-1]),
    "a flipped proof": lambda said: said.with_header("orthros-reply", flip(dict(said.headers)["Orthros-Reply"])),
    "an empty proof": lambda said: said.with_header("orthros-reply", ""),
    "garbage": lambda said: said.with_header("orthros-reply", "s=AAAA, m=AAAA"),
    "not ASCII": lambda said: said.with_header("orthros-reply", "s=\xff, m=\xfe"),
}


def flip(proof: str) -> str:
    return proof[:-2] + ("A" if proof[-2] != "A" else "B") + proof[-1]


@pytest.mark.parity("L11")
@pytest.mark.parametrize("lie", LIES)
def test_a_response_that_was_touched_is_no_result(lie: str, credentials: Credentials, target: HttpTarget) -> None:
    """A stripped reply, another status, a changed covered header and their kin."""
    run(request(), credentials, target)
    target.between = LIES[lie]
    with pytest.raises(PeerMisbehaved, match="response-unproven"):
        run(request(), credentials, target)


@pytest.mark.parity("L11")
def test_a_fake_server_is_detected(realm: InMemoryRealm, credentials: Credentials) -> None:
    """Whoever has not the target's key proves nothing, whatever it answers; and nothing is learnt from it."""
    fakes = [
        Said(200, (("Content-Type", "text/plain"),), b"welcome"),
        Said(401, (("WWW-Authenticate", 'Orthros realm="test.realm"'),)),
        Said(401, (("WWW-Authenticate", 'Orthros realm="test.realm", err="epoch-required"'),)),
        Said(401, (("WWW-Authenticate", 'Basic realm="x"'),)),
        Said(401, (("WWW-Authenticate", 'Orthros realm="test.realm", err="replayed", s="AAAAAA", m="AAAA"'),)),
        Said(401, (("WWW-Authenticate", "Orthros garbage"),)),
        Said(302, (("Location", "https://evil.example"),)),
        Said(503),
    ]
    for fake in fakes:
        steps = exchange(request(), credentials)
        next(steps)
        with pytest.raises(PeerMisbehaved, match="response-unproven"):
            steps.send(
                HttpResponse(status=fake.status, headers=tuple((n.lower(), v.encode()) for n, v in fake.headers))
            )
    assert met(credentials).read() == (None, 0)
    realm.add("evil")
    stranger = HttpTarget(realm)
    other = RealmSource(realm).credentials("evil")
    with pytest.raises(PeerMisbehaved, match="unknown-key"):
        run(request(), other, stranger)


@pytest.mark.parity("L11")
def test_a_refusal_of_another_request_proves_nothing(credentials: Credentials, target: HttpTarget) -> None:
    """Neither a recorded refusal nor a recorded reply, nor a refusal with a friendly status."""
    recorded: list[Said] = []

    def record(said: Said) -> Said:
        recorded.append(said)
        return said

    target.between = record
    run(request(), credentials, target)
    refusal, reply = recorded
    for said in (refusal, reply):
        target.between = lambda _said, said=said: said  # type: ignore[misc]
        with pytest.raises(PeerMisbehaved, match="response-unproven"):
            run(request(), credentials, target)
    target.between = lambda said: evolve(said, status=200)
    restart(target)
    with pytest.raises(PeerMisbehaved, match="response-unproven"):
        run(request(), credentials, target)


@pytest.mark.parity("L11")
def test_an_acceptance_is_no_challenge(realm: InMemoryRealm, credentials: Credentials) -> None:
    """An AP-REP, which HTTP does not have, proves no refusal."""

    class Confused(HttpTarget):
        def _answer(self, heard: Heard, process: Any) -> Said:
            if not self.heard[1:]:
                return super()._answer(heard, process)
            _message, accepted = self._accept(heard, (heard.value("authorization") or b"").decode(), process)
            return self._challenge("busy", build_ap_reply(accepted, now=self.now()))

    with pytest.raises(PeerMisbehaved, match="in the place of a refusal"):
        run(request(), credentials, Confused(realm))


@pytest.mark.parity("L6")
def test_an_empty_key_is_no_key(credentials: Credentials, target: HttpTarget) -> None:
    """It is covered, and does not make a repeat harmless, whatever the target does with keys."""
    run(request(), credentials, target)
    restart(target)
    with pytest.raises(MaybeExecuted):
        run(request("POST", ("idempotency-key", b"")), credentials, target, keyed=True)


@pytest.mark.parity("L11")
def test_several_challenges(credentials: Credentials, target: HttpTarget) -> None:
    """Other schemes may stand beside ours; two of ours contradict each other."""
    target.between = lambda said: evolve(said, headers=(("WWW-Authenticate", 'Bearer realm="x"'), *said.headers))
    run(request(), credentials, target)
    restart(target)
    double = format_challenge("test.realm", "busy")
    target.between = lambda said: evolve(said, headers=(*said.headers, ("WWW-Authenticate", double)))
    with pytest.raises(PeerMisbehaved, match="response-unproven"):
        run(request(), credentials, target)


@pytest.mark.parity("L6")
@pytest.mark.parametrize("wrong_ms", [50_000, -200_000])
def test_a_target_with_a_wrong_clock_is_served(wrong_ms: int, realm: InMemoryRealm, credentials: Credentials) -> None:
    """Its time is learnt from its MACed refusal."""
    target = HttpTarget(realm, wrong_ms=wrong_ms)
    run(request("POST"), credentials, target)
    assert met(credentials).read()[1] == wrong_ms
    assert len(target.executed) == 1


REFUSALS = ["epoch-required", "clock-skew", "busy", "replayed", "ticket-expired"]
WHY = {"none": (False, False), "key": (True, False), "key and promise": (True, True)}


@pytest.mark.parity("L6")
@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("key", WHY)
@pytest.mark.parametrize("names_epoch", [False, True])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "POST", "PUT", "DELETE", "PATCH", "PURGE"])
def test_when_a_call_is_repeated(method: str, names_epoch: bool, key: str, code: str) -> None:
    """Method x epoch named x idempotency key x refusal, against a target that judges.

    A key alone makes nothing repeatable: the caller promises that the target honours it. What cannot be repeated and
    may have run is MaybeExecuted, never silence.
    """
    has_key, keyed = WHY[key]
    realm = new_realm()
    credentials = RealmSource(realm).credentials("orders")
    target = HttpTarget(realm)
    if names_epoch:
        run(request(), credentials, target)
    target.heard.clear()
    target.executed.clear()
    provoke(code, target, names_epoch)
    headers = [("idempotency-key", b"k1")] if has_key else []
    outcome = "done"
    try:
        run(request(method, *headers), credentials, target, swap=first_copy(code, target), keyed=keyed)
    except OrthrosError as error:
        outcome = error.code
    repeatable = method in ("GET", "HEAD", "OPTIONS", "TRACE") or keyed
    open_question = names_epoch and not repeatable
    expected = {
        "epoch-required": "maybe-executed" if open_question else "done",
        "clock-skew": "done",  # the named instance burnt it
        "busy": "maybe-executed" if open_question else "busy",
        # Each request is copied on its way; one that names no epoch does not run here, nor does its copy.
        "replayed": "maybe-executed" if not repeatable else "replayed",
        "ticket-expired": "ticket-expired",
    }[code]
    assert outcome == expected
    assert len(target.executed) == (outcome == "done" or code == "replayed")


def provoke(code: str, target: HttpTarget, carries_epoch: bool) -> None:
    """Brings the target into the state that refuses so."""
    if code == "epoch-required" and carries_epoch:
        restart(target)
    elif code == "clock-skew":
        target.wrong_ms = -50_000
    elif code == "busy":
        for process in target.processes:
            process.burnt = ReplaySet(capacity=1)
            process.burnt.admit(Entry(b"x" * 16, target.now(), "somebody"), target.now())
    elif code == "ticket-expired":
        target.realm.clock.advance(3700)


def first_copy(code: str, target: HttpTarget) -> Callable[[Heard], Heard]:
    """For `replayed`: a copy of the request arrives before it."""

    def deliver(heard: Heard) -> Heard:
        if code == "replayed":
            target.hear(heard)
        return heard

    return deliver


@pytest.mark.parity("L6")
def test_a_target_whose_instances_take_turns_is_noticed(credentials: Credentials, target: HttpTarget) -> None:
    """Then calls that must not run twice start without an epoch, so that they may be repeated."""
    run(request(), credentials, target)
    target.choose = lambda _number: 1
    with pytest.raises(MaybeExecuted):
        run(request("POST"), credentials, target)
    run(request("POST"), credentials, target)  # it may have been a restart
    assert target.verdicts[2:] == ["epoch-required", "accepted"]
    target.choose = lambda _number: 0
    run(request(), credentials, target)
    target.verdicts.clear()
    run(request("POST"), credentials, target)
    assert target.verdicts == ["epoch-required", "accepted"]
    run(request("POST", ("idempotency-key", b"1")), credentials, target, keyed=True)
    run(request("GET"), credentials, target)
    assert target.verdicts[2:] == ["accepted", "accepted"]


@pytest.mark.parity("L6")
def test_a_body_that_is_read_once_is_not_wasted_on_first_contact(credentials: Credentials, target: HttpTarget) -> None:
    """A probe without body and epoch learns the epoch; later none is needed."""
    outgoing = request("POST", ("idempotency-key", b"1"), content=b"once", once=True)
    run(outgoing, credentials, target, b"once", keyed=True)
    assert [heard.method for heard in target.heard] == ["OPTIONS", "POST"]
    assert target.verdicts == ["epoch-required", "accepted"]
    assert target.heard[0].body == b""
    run(outgoing, credentials, target, b"once")
    assert [heard.method for heard in target.heard[2:]] == ["POST"]
    restart(target)
    with pytest.raises(TargetRefusal, match="epoch-required"):  # a key, but no second body
        run(outgoing, credentials, target, b"once", keyed=True)
    target.choose = lambda number: number % 2  # the body meets another process than the probe
    with pytest.raises(MaybeExecuted):
        run(request("POST", content=b"once", once=True), newcomer(target), target, b"once")


def newcomer(target: HttpTarget) -> Credentials:
    """Credentials of somebody who has not met the target yet."""
    return RealmSource(target.realm).credentials("orders")


@pytest.mark.parity("L6")
def test_a_probe_that_is_refused_for_good_stops_the_call(credentials: Credentials, target: HttpTarget) -> None:
    """Also when nothing proves the refusal; the body is never sent."""
    target.realm.clock.advance(3700)
    with pytest.raises(TargetRefusal, match="ticket-expired"):
        run(request("POST", content=b"once", once=True), credentials, target, b"once")
    target.between = lambda _said: Said(200)
    with pytest.raises(PeerMisbehaved, match="response-unproven"):
        run(request("POST", content=b"once", once=True), newcomer(target), target, b"once")
    assert [heard.method for heard in target.heard] == ["OPTIONS", "OPTIONS"]


LARGE = b"x" * (64 * 1024 + 1)


def methods(target: HttpTarget) -> list[str]:
    return [heard.method for heard in target.heard]


@pytest.mark.parity("L6")
def test_a_large_body_waits_for_an_epoch(credentials: Credentials, target: HttpTarget) -> None:
    """At first contact and where instances take turns; 64 KiB are sent at once."""
    run(request("PUT", content=LARGE), credentials, target, LARGE)
    assert (methods(target), target.heard[0].body) == (["OPTIONS", "PUT"], b"")
    run(request("PUT", content=LARGE), credentials, target, LARGE)
    assert methods(target)[2:] == ["PUT"]
    target.heard.clear()
    run(request("PUT", content=LARGE[1:]), newcomer(target), target, LARGE[1:])
    assert methods(target) == ["PUT", "PUT"]
    for number in (1, 0):
        target.choose = lambda _number, number=number: number  # type: ignore[misc]
        run(request(), credentials, target)
    target.heard.clear()
    run(request("PUT", content=LARGE), credentials, target, LARGE)
    assert methods(target) == ["OPTIONS", "PUT"]
    target.choose = lambda number: number % 2  # the body meets another instance than the question
    target.heard.clear()
    with pytest.raises(MaybeExecuted):
        run(request("PUT", content=LARGE), credentials, target, LARGE)
    assert methods(target) == ["OPTIONS", "PUT"]


@pytest.mark.parity("L6")
def test_a_proxy_that_answers_options_itself_stops_no_body_that_can_be_sent_again(
    credentials: Credentials, target: HttpTarget
) -> None:
    """Then it meets the target without an epoch; a stream is not wasted on that."""
    honest, asked = target.between, []

    def between(said: Said) -> Said:
        asked.append(said)
        return Said(405) if target.heard[-1].method == "OPTIONS" else honest(said)

    target.between = between
    run(request("PUT", content=LARGE), credentials, target, LARGE)
    assert methods(target) == ["OPTIONS", "PUT", "PUT"]
    target.heard.clear()
    with pytest.raises(PeerMisbehaved, match=r"OPTIONS https://orders\.example: status 405"):
        run(request("PUT", content=b"once", once=True), newcomer(target), target, b"once")
    assert methods(target) == ["OPTIONS"]


@pytest.mark.parity("L6")
def test_behind_such_a_proxy_instances_that_take_turns_get_a_large_body_too(
    credentials: Credentials, target: HttpTarget
) -> None:
    """The epoch heard last may be the other instance's: named, it would leave open whether the call ran."""
    for number in (0, 1, 0):
        target.choose = lambda _number, number=number: number  # type: ignore[misc]
        run(request(), credentials, target)
    honest = target.between
    target.between = lambda said: Said(204) if target.heard[-1].method == "OPTIONS" else honest(said)
    target.choose = lambda _number: 1
    target.heard.clear()
    run(request("PUT", content=LARGE), credentials, target, LARGE)
    assert methods(target) == ["OPTIONS", "PUT", "PUT"]


@pytest.mark.parity("L6")
def test_a_busy_target_is_not_sent_a_large_body(credentials: Credentials, target: HttpTarget) -> None:
    """Nothing ran, and nothing was uploaded."""
    provoke("busy", target, False)
    with pytest.raises(TargetRefusal, match="busy"):
        run(request("PUT", content=LARGE), credentials, target, LARGE)
    assert methods(target) == ["OPTIONS"]


@pytest.mark.parity("L6")
def test_an_upgrade_is_no_read(credentials: Credentials, target: HttpTarget) -> None:
    """What follows it may do anything."""
    run(request(), credentials, target)
    restart(target)
    with pytest.raises(MaybeExecuted):
        run(request("GET", ("upgrade", b"websocket")), credentials, target)


@pytest.mark.parity("L6")
def test_what_is_learnt_at_one_origin_serves_it_alone(credentials: Credentials, target: HttpTarget) -> None:
    """The same target may be something else behind another door."""
    run(request(), credentials, target)
    elsewhere = evolve(request(), origin=Origin("https", "orders.internal", 443), headers=())
    attempt = next(exchange(elsewhere, credentials))
    assert isinstance(attempt, Attempt)
    assert parse_ap_request(parse_authorization(attempt.authorization).message).epoch is None
    assert met(credentials).read()[0] is not None


@pytest.mark.parity("L11")
def test_bodies_that_nobody_proved_are_refused(credentials: Credentials, target: HttpTarget) -> None:
    """Unless the caller says otherwise; what cannot have a body needs no proof of it."""
    target.sealed_bodies = False
    with pytest.raises(PeerMisbehaved, match="accept_unproven_bodies"):
        run(request(), credentials, target)
    proven, _said = run(request(), credentials, target, accept_unproven_bodies=True)
    assert (proven.body, proven.body_is_proven) == (None, False)
    assert run(request("HEAD"), credentials, target)[0].body_is_proven
    target.application = lambda _heard: Said(204)
    assert run(request("DELETE"), credentials, target)[0].body_is_proven
    target.application = lambda _heard: Said(304)
    assert run(request(), credentials, target)[0].body_is_proven


@pytest.mark.parity("L11")
@given(pieces=st.lists(st.binary(max_size=20), max_size=6), at=st.integers(0, 200))
def test_a_body_is_proven_whole_or_not_at_all(pieces: list[bytes], at: int) -> None:
    """Any cut into pieces; one byte changed, added or missing at the end."""
    whole = b"".join(pieces)
    check = BodyProof(digest(whole), "GET https://orders.example")
    for piece in pieces:
        check.feed(piece)
    check.finish()
    others = [whole + b"x", b"x" + whole]
    if whole:
        place = at % len(whole)
        others += [whole[:-1], whole[1:], whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]]
    for other in others:
        check = BodyProof(digest(whole), "GET https://orders.example")
        check.feed(other)
        with pytest.raises(PeerMisbehaved, match=r"response-unproven.*bytes came"):
            check.finish()


@pytest.mark.parity("L19")
def test_an_error_of_the_application_is_a_result(credentials: Credentials, target: HttpTarget) -> None:
    """A 403 or 401 that carries the proof is the target's own word."""
    for status in (401, 403, 404, 500, 302):
        target.application = lambda _heard, status=status: Said(status, (("Location", "/x"),))  # type: ignore[misc]
        proven, said = run(request(), credentials, target)
        assert (said.status, proven.covered) == (status, ("location",))


@pytest.mark.parity("L6")
@pytest.mark.parametrize(
    "make",
    [
        lambda: request("GET", ("host", b"evil.example")),
        lambda: request("GET", ("host", b"orders.example\xff")),
        lambda: request("GET", ("authorization", b"Bearer x")),
        lambda: request("G T"),
        lambda: evolve(request(), target=b"*"),
        lambda: evolve(request(), target=b"https://orders.example/"),
        lambda: evolve(request(), target=b""),
        lambda: evolve(request(), target=b"/a//b"),
        lambda: evolve(request(), target=b"/a/../b"),
        lambda: evolve(request(), target=b"/a%2Fb"),
        lambda: evolve(request(), target=b"/[raw]"),
        lambda: evolve(request(), target=b"/" + b"a" * 9000),
        lambda: request("POST", ("content-type", b"x" * 9000)),
    ],
)
def test_what_cannot_be_bound_is_not_sent(make: Callable[[], OutgoingRequest], credentials: Credentials) -> None:
    """A local error, before anything travels."""
    with pytest.raises(LocalMisuse, match="value-invalid"):
        next(exchange(make(), credentials))


@pytest.mark.parity("L6")
def test_bodies_of_requests() -> None:
    """A digest for every body but the empty one; a stated digest must be true and in the one form."""
    assert Body.of(b"").content_digest is None
    assert Body.of(b"x").content_digest == format_content_digest(digest(b"x"))
    stated = format_content_digest(digest(b"x"))
    assert Body.of(b"x", stated).content_digest == stated
    with pytest.raises(LocalMisuse, match="body-mismatch"):
        Body.of(b"y", stated)
    with pytest.raises(LocalMisuse, match="body-mismatch"):
        Body.of(b"", stated)
    assert Body.of_stream(stated, unbound=False) == Body(content_digest=stated, replayable=False, size=None)
    assert Body.of_stream(None, unbound=True) == Body(replayable=False, size=None)
    with pytest.raises(LocalMisuse, match="not-covered"):
        Body.of_stream(None, unbound=False)
    with pytest.raises(LocalMisuse, match="value-invalid"):
        Body.of_stream(b"sha-512=:AAAA:", unbound=True)


RAW = {
    b"/plain/path?a=[1]|": b"/plain/path?a=[1]|",
    b'/[a]|^"<>{}`': b"/%5Ba%5D%7C%5E%22%3C%3E%7B%7D%60",
    b"/%5b/%c3%a9": b"/%5b/%c3%a9",
    b"/\\": b"/%5C",
    b"/": b"/",
}


@pytest.mark.parity("L6")
def test_what_may_not_stand_raw_in_a_path_is_escaped() -> None:
    """RFC 3986, section 3.3; escapes stay as they are, and so does the query."""
    for raw, sent in RAW.items():
        assert with_escapes(raw) == with_escapes(with_escapes(raw)) == sent


@pytest.mark.parity("L6")
@pytest.mark.parametrize("name", ["Authorization", "host", "Content-Digest", "connection", "a b", "", "x:y", "naïve"])
def test_headers_that_cannot_be_covered(name: str) -> None:
    """Bound already, or rewritten on the way."""
    with pytest.raises(LocalMisuse, match="value-invalid"):
        check_cover([name])
    assert check_cover(["X-Tenant", "ETag"]) == ("x-tenant", "etag")
    with pytest.raises(LocalMisuse, match="more than 16"):
        check_cover([f"x-{number}" for number in range(14)])


@pytest.mark.parity("L6")
def test_files_are_measured_and_read_again(tmp_path: Path) -> None:
    """In pieces, as often as needed; a file that is not there is a local error."""
    path = tmp_path / "big"
    content = bytes(range(256)) * 2048
    path.write_bytes(content)
    file = FileBody(path)
    assert (file.measure().size, file.measure().sha256) == (len(content), digest(content))
    assert (b"".join(file), b"".join(file), len(file)) == (content, content, len(content))
    assert max(map(len, file)) <= 128 * 1024
    for use in (len, list, FileBody.measure):
        with pytest.raises(Misconfigured, match="file-unreadable"):
            use(FileBody(tmp_path / "none"))


@pytest.mark.parity("L6")
def test_nothing_secret_is_shown(credentials: Credentials) -> None:
    """Neither the authenticator nor headers in any repr."""
    outgoing = request("POST", ("cookie", b"session=hunter2"), content=b"x")
    steps = exchange(outgoing, credentials)
    attempt = next(steps)
    assert isinstance(attempt, Attempt)
    message = re.search(r'r="([^"]+)"', attempt.authorization)
    assert message is not None
    shown = repr(outgoing) + repr(attempt) + repr(steps)
    assert message[1] not in shown
    assert "hunter2" not in shown


def forwarded(credentials: Credentials, *answers: Callable[[bytes], tuple[str, ...]]) -> Proven:
    """One call through a proxy: each answer says which Orthros-Accepted headers the request gets."""
    steps = exchange(request(), credentials, Terms(forwarded=True))
    attempt = next(steps)
    for answer in answers:
        assert isinstance(attempt, Attempt)
        asked = parse_authorization(attempt.authorization).message
        headers = tuple(("orthros-accepted", value.encode()) for value in answer(asked))
        try:
            attempt = steps.send(HttpResponse(status=200, headers=headers))
        except StopIteration as done:
            proven: Proven = done.value
            return proven
    raise AssertionError("the exchange wants more")


@pytest.mark.parity("L11")
def test_behind_a_proxy_the_acceptance_is_proven_and_nothing_else(realm: InMemoryRealm) -> None:
    """Only the target's own AP-REP to this very request counts; an AP-ERR there is no acceptance."""
    source = RealmSource(realm)
    credentials = source.credentials("orders")
    said: list[str] = []

    def accepted(message: bytes) -> tuple[str, ...]:
        parsed = parse_ap_request(message)
        presented = open_presented(parsed.ticket, parsed.caveats, realm.keytab("orders"))
        body = Accepted(
            ticket=presented.ticket,
            scopes=(),
            user=None,
            request=parsed,
            pop_key=presented.pop_key,
            epoch=bytes(8),
            now=realm.clock.now(),
        )
        said.append(encode_base64url(build_ap_reply(body, now=realm.clock.now())))
        return (said[-1],)

    def refused(message: bytes) -> tuple[str, ...]:
        parsed = parse_ap_request(message)
        presented = open_presented(parsed.ticket, parsed.caveats, realm.keytab("orders"))
        error = build_ap_error(parsed, presented.pop_key, Refused("replayed"), now=realm.clock.now(), epoch=bytes(8))
        return (encode_base64url(error),)

    proven = forwarded(credentials, accepted)
    assert (proven.covered, proven.body_is_proven, proven.body) == ((), False, None)
    for lie in (
        refused,
        lambda _message: (),
        lambda _message: (said[0],),
        lambda message: accepted(message) * 2,
        lambda _message: ("forged",),
        lambda _message: ("",),
    ):
        with pytest.raises(PeerMisbehaved, match="response-unproven"):
            forwarded(credentials, lie)


@pytest.mark.parametrize(
    ("targets", "options"),
    [
        ({"http://10.0.0.1": "orders"}, {"forwarded": ["http://10.0.0.1"]}),
        ({"https://orders.example": "orders"}, {"forwarded": ["https://other.example"]}),
        ({"https://o.example": "orders"}, {"forwarded": ["https://o.example"], "bearer": ["https://o.example"]}),
    ],
    ids=["in the clear", "no target", "both"],
)
def test_what_only_tls_proves_needs_tls_and_a_target(targets: dict[str, str], options: AuthOptions) -> None:
    with pytest.raises(Misconfigured, match="config-invalid"):
        Attachment(targets, **options)
