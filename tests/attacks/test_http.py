"""Section 17's row of HTTP, at the level of the protocol: what an attacker between client and target can change."""

from collections.abc import Iterator
from typing import Any

import pytest
from attrs import evolve

from orthros_protocol.errors import Malformed, PeerMisbehaved, Refused
from orthros_protocol.exchanges.acceptance import Accepted, build_ap_reply
from orthros_protocol.exchanges.ap_exchange import USE_HTTP, USE_RAW, PendingAp, TargetRefusal, open_ap_reply
from orthros_protocol.exchanges.http_profile import (
    HttpBinding,
    HttpResponse,
    decode_base64url,
    encode_base64url,
    format_authorization,
    format_challenge,
    format_content_digest,
    open_http_reply,
    parse_authorization,
    parse_challenge,
    seal_http_reply,
)
from orthros_protocol.tickets.caveats import ExpiresCaveat, MethodsCaveat, PathCaveat
from tests.support.exchange_pair import ExchangePair
from tests.support.naive import dec, enc, mac, sha256

BODY = b'{"amount": 7}'
REQUEST: dict[str, Any] = {
    "method": "POST", "scheme": "https", "authority": "payroll.example:443", "target": b"/runs/7?dry=1",
    "covered": (("content-type", b"application/json"), ("idempotency-key", b"k7")),
    "content_digest": format_content_digest(sha256(BODY)),
}  # fmt: skip
RESPONSE = HttpResponse(status=200, headers=(("content-type", b"application/json"), ("x-total", b"7")))


def ask(pair: ExchangePair, **changes: Any) -> PendingAp:
    """The client's half: an AP-REQ for REQUEST."""
    given: dict[str, Any] = {"use": USE_HTTP, "bind": HttpBinding(**REQUEST).bind()} | changes
    return pair.request(pair.issue(), **given)


def receive(pair: ExchangePair, header: str, **received: Any) -> Accepted:
    """The target's half: the header, and the request as it arrived."""
    authorization = parse_authorization(header)
    arrived = REQUEST | received
    fields = dict(arrived["covered"])
    # A target binds the covered fields that it received, in the order of `h`; one that is missing cannot be bound.
    if not all(name in fields for name in authorization.covered):
        raise Malformed("a covered field is missing")
    covered = tuple((name, fields[name]) for name in authorization.covered)
    bind = HttpBinding(**arrived | {"covered": covered}).bind()
    path = arrived["target"].partition(b"?")[0].decode("latin-1")
    return pair.target.accept(authorization.message, use=USE_HTTP, bind=bind, method=arrived["method"], path=path)


def header_of(pending: PendingAp, *covered: str) -> str:
    return format_authorization(pending.message, covered or [name for name, _value in REQUEST["covered"]])


def answer(pair: ExchangePair, accepted: Accepted, response: HttpResponse = RESPONSE) -> str:
    return seal_http_reply(
        accepted.pop_key, accepted.request.whole, response,
        covered=[name for name, _value in response.headers], body_digest=sha256(b"{}"), now=pair.now,
        epoch=accepted.epoch,
    )  # fmt: skip


def test_the_untouched_request_and_response_pass() -> None:
    """The tests below would pass for a target and a client that refuse everything."""
    pair = ExchangePair()
    pending = ask(pair)
    accepted = receive(pair, header_of(pending))
    assert open_http_reply(pending, answer(pair, accepted), RESPONSE).body_digest == sha256(b"{}")


@pytest.mark.parametrize(
    "received",
    [
        {"method": "PUT"}, {"method": "post"}, {"scheme": "http"}, {"authority": "payroll.example:8443"},
        {"authority": "orders.example:443"}, {"target": b"/runs/8?dry=1"}, {"target": b"/runs/7?dry=0"},
        {"target": b"/runs/7"}, {"target": b"/runs/7?"}, {"target": b"/runs/7?dry=1&dry=0"},
        {"target": b"/runs%2f7?dry=1"},
        {"target": b"/runs/./7?dry=1"}, {"covered": (("content-type", b"text/plain"), ("idempotency-key", b"k7"))},
        {"covered": (("content-type", b"application/json"), ("idempotency-key", b"k8"))},
        {"content_digest": None}, {"content_digest": format_content_digest(sha256(b'{"amount": 8}'))},
    ],
)  # fmt: skip
def test_a_changed_request_is_refused_under_mac(received: dict[str, Any]) -> None:
    """Section 17: HTTP: method, query, covered header, authority, digest changed or missing."""
    pair = ExchangePair()
    pending = ask(pair)
    with pytest.raises(Refused, match="wrong-binding") as refused:
        receive(pair, header_of(pending), **received)
    challenge = parse_challenge(format_challenge("test.realm", refused.value.code, refused.value.reply))
    with pytest.raises(TargetRefusal, match="wrong-binding"):
        open_ap_reply(pending, challenge.reply or b"")
    with pytest.raises(Refused, match="replayed"):
        receive(pair, header_of(pending))


@pytest.mark.parametrize(
    "covered", [["content-type"], ["idempotency-key", "content-type"], ["idempotency-key"], ["content-type", "x-other"]]
)
def test_the_list_of_covered_fields_cannot_be_edited(covered: list[str]) -> None:
    """`h` is not under the MAC itself; what it selects is in the binding, names and order included."""
    pair = ExchangePair()
    with pytest.raises((Malformed, Refused), match=r"wrong-binding|covered field is missing"):
        receive(pair, header_of(ask(pair), *covered))


def test_a_covered_field_that_was_taken_away_or_doubled() -> None:
    """Covered header missing, duplicate header."""
    pair = ExchangePair()
    header = header_of(ask(pair))
    with pytest.raises(Malformed, match="missing"):
        receive(pair, header, covered=REQUEST["covered"][:1])
    with pytest.raises(Malformed, match="twice"):
        HttpBinding(**REQUEST | {"covered": REQUEST["covered"] + REQUEST["covered"][:1]}).bind()
    with pytest.raises(Malformed, match="twice"):
        parse_authorization(header.replace('h="content-type', 'h="idempotency-key;content-type'))
    receive(pair, header)


def flips(text: str) -> Iterator[str]:
    """Each character of a header's proof replaced by another one of the alphabet."""
    for at, letter in enumerate(text):
        yield text[:at] + ("A" if letter != "A" else "B") + text[at + 1 :]


def test_every_character_of_the_header_counts() -> None:
    """Every single flipped bit, base64 with stray bits."""
    pair = ExchangePair()
    header = header_of(ask(pair))
    for changed in flips(header):
        with pytest.raises((PeerMisbehaved, Refused)):
            receive(pair, changed)
    for changed in (header + "=", header[:-1] + '="', header.replace('r="', 'r=" '), header + f", {header}"):
        with pytest.raises(Malformed):
            receive(pair, changed)
    receive(pair, header)


@pytest.mark.parametrize(("made", "shown"), [(USE_RAW, USE_HTTP), (USE_HTTP, USE_RAW)])
def test_a_request_of_another_use_is_none(made: int, shown: int) -> None:
    """CVE-2022-2031: one key, many purposes."""
    pair = ExchangePair()
    bind = HttpBinding(**REQUEST).bind()
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        pair.target.accept(ask(pair, use=made).message, use=shown, bind=bind)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": 201}, {"status": 500}, {"headers": (("content-type", b"text/html"), ("x-total", b"7"))},
        {"headers": (("content-type", b"application/json"), ("x-total", b"8"))}, {"headers": RESPONSE.headers[:1]},
        {"headers": ()}, {"headers": RESPONSE.headers + RESPONSE.headers[1:]},
        {"headers": (("content-type", b"application/json7"), ("x-total", b""))},
    ],
)  # fmt: skip
def test_a_changed_response_proves_nothing(changes: dict[str, Any]) -> None:
    """Response MAC with another status. A missing field is as bad as a changed one."""
    pair = ExchangePair()
    pending = ask(pair)
    value = answer(pair, receive(pair, header_of(pending)))
    arrived = evolve(RESPONSE, **changes)
    with pytest.raises(PeerMisbehaved, match=r"reply-mismatch|malformed"):
        open_http_reply(pending, value, arrived)


def test_every_character_of_the_reply_counts() -> None:
    pair = ExchangePair()
    pending = ask(pair)
    value = answer(pair, receive(pair, header_of(pending)))
    for changed in (*flips(value), value + "=", "", value.partition(", ")[0], value + ", " + value):
        with pytest.raises(PeerMisbehaved):
            open_http_reply(pending, changed, RESPONSE)
    open_http_reply(pending, value, RESPONSE)


def test_a_response_to_another_request_is_none_to_this() -> None:
    """Response MAC for another request: of the same client, the same ticket and the same bytes."""
    pair = ExchangePair()
    issued = pair.issue()
    one, other = (pair.request(issued, use=USE_HTTP, bind=HttpBinding(**REQUEST).bind()) for _ in range(2))
    values = [answer(pair, receive(pair, header_of(pending))) for pending in (one, other)]
    for pending, value in ((one, values[1]), (other, values[0])):
        with pytest.raises(PeerMisbehaved, match="wrong-mac"):
            open_http_reply(pending, value, RESPONSE)


def test_somebody_without_the_key_cannot_answer() -> None:
    """Mutual authentication: who did not open the ticket has no K_pop, whoever holds the name and the certificate."""
    pair = ExchangePair()
    pending = ask(pair)
    accepted = receive(pair, header_of(pending))
    for key in (bytes(32), sha256(pending.message), pair.issue().pop_key):
        forged = seal_http_reply(
            key, pending.message, RESPONSE, covered=[], body_digest=None, now=pair.now, epoch=accepted.epoch
        )
        with pytest.raises(PeerMisbehaved, match="wrong-mac"):
            open_http_reply(pending, forged, RESPONSE)


def test_an_ap_rep_is_not_a_response() -> None:
    """The label of the response is its own; AP-REP and AP-ERR in its place prove nothing."""
    pair = ExchangePair()
    pending = ask(pair)
    accepted = receive(pair, header_of(pending))
    error = ask(pair, epoch=None)
    with pytest.raises(Refused) as refused:
        receive(pair, header_of(error))
    for whole, asked in ((build_ap_reply(accepted, now=pair.now), pending), (refused.value.reply or b"", error)):
        body, proof = dec(whole)
        with pytest.raises(PeerMisbehaved, match="wrong-mac"):
            open_http_reply(asked, f"s={encode_base64url(body)}, m={encode_base64url(proof)}", RESPONSE)


def test_a_response_is_not_an_ap_rep_and_no_challenge() -> None:
    pair = ExchangePair()
    pending = ask(pair)
    value = answer(pair, receive(pair, header_of(pending)))
    body, proof = (decode_base64url(part.partition("=")[2]) for part in value.split(", "))
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        open_ap_reply(pending, enc(body, proof))
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        open_ap_reply(pending, parse_challenge(format_challenge("test.realm", "busy", enc(body, proof))).reply or b"")


def test_an_ap_err_of_the_raw_use_is_no_challenge() -> None:
    """Of another use. A refusal that a raw service made cannot be shown to a client of HTTP."""
    pair = ExchangePair()
    raw = pair.request(pair.issue(), epoch=None)
    with pytest.raises(Refused) as refused:
        pair.target.accept(raw.message)
    pending = ask(pair)
    body, _proof = dec(refused.value.reply or b"")
    moved = enc(body, mac(pending.pop_key, "ap-err.0", sha256(pending.message) + body))
    for reply in (refused.value.reply or b"", moved):
        challenge = parse_challenge(format_challenge("test.realm", "epoch-required", reply))
        with pytest.raises(PeerMisbehaved, match="wrong-mac"):
            open_ap_reply(pending, challenge.reply or b"")


def test_a_challenge_for_another_request_or_edited_is_none() -> None:
    """Unauthenticated error moving the clock. The epoch and the time in it are the target's or nobody's."""
    pair = ExchangePair()
    one, other = ask(pair, epoch=None), ask(pair, epoch=None)
    with pytest.raises(Refused) as refused:
        receive(pair, header_of(one))
    value = format_challenge("test.realm", refused.value.code, refused.value.reply)
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        open_ap_reply(other, parse_challenge(value).reply or b"")
    proven = value.index('s="')
    for changed in flips(value[proven:]):
        with pytest.raises((PeerMisbehaved, Malformed)):
            open_ap_reply(one, parse_challenge(value[:proven] + changed).reply or b"")
    with pytest.raises(TargetRefusal, match="epoch-required") as learnt:
        open_ap_reply(one, parse_challenge(value).reply or b"")
    assert learnt.value.epoch == pair.target.epoch


def test_a_challenge_without_a_mac_proves_nothing() -> None:
    """Acted on only if m verifies. Its code is text; there is nothing in it that could be believed."""
    pair = ExchangePair()
    pending = ask(pair)
    for value in ('Orthros realm="test.realm"', 'Orthros realm="test.realm", err="epoch-required"'):
        assert parse_challenge(value).reply is None
    receive(pair, header_of(pending))


def test_the_code_beside_the_mac_is_only_text() -> None:
    """The code that counts is the one under the MAC."""
    pair = ExchangePair()
    pending = ask(pair, epoch=None)
    with pytest.raises(Refused) as refused:
        receive(pair, header_of(pending))
    lying = parse_challenge(format_challenge("test.realm", "ticket-expired", refused.value.reply))
    assert lying.code == "ticket-expired"
    with pytest.raises(TargetRefusal, match="epoch-required"):
        open_ap_reply(pending, lying.reply or b"")


TRICKS = [
    b"/runs/../admin", b"/runs/%2e%2e/admin", b"/runs/%2E./admin", b"/runs/..%2fadmin", b"/runs/..%5cadmin",
    b"/runs/..;/admin", b"/runs/..;a=b/admin", b"/runs/.%00./admin", b"/runs//../admin", b"/runs/%252e%252e/admin",
    b"/runs/%c0%ae%c0%ae/admin", b"/runs/..%20/admin", b"/runs\\..\\admin", b"//admin", b"/runs/..", b"/runs/.%2e",
    b"/runs/%2e%2e%2fadmin", b"/runs/.%09./admin", b"/runs/..%3b/admin", b"/runs%2f..%2fadmin", b"/runs/..%0d%0a/admin",
    b"http://payroll.example/admin", b"/RUNS/7", b"/runs7", b"/%72uns/7", b"/run", b"/", b"*", b"/runs;x/7",
    b"/./runs/7",
]  # fmt: skip


@pytest.mark.parametrize("target", TRICKS)
def test_encoded_path_tricks_do_not_leave_the_prefix(target: bytes) -> None:
    """Encoded path tricks. The caller itself sends them, with a right MAC, under a caveat on its path."""
    pair = ExchangePair()
    caveats = (PathCaveat("/runs").to_bytes(), MethodsCaveat(("POST",)).to_bytes())
    pending = ask(pair, caveats=caveats, bind=HttpBinding(**REQUEST | {"target": target}).bind())
    with pytest.raises(Refused, match="caveat-refused"):
        receive(pair, header_of(pending), target=target)


@pytest.mark.parity("L7")
def test_a_caveat_on_method_and_path_holds_where_it_says() -> None:
    """The same delegate may do what it may do, and nothing else; taking the caveats off breaks the MAC."""
    pair = ExchangePair()
    caveats = (
        PathCaveat("/runs").to_bytes(), MethodsCaveat(("POST",)).to_bytes(), ExpiresCaveat(pair.second + 60).to_bytes()
    )  # fmt: skip
    assert receive(pair, header_of(ask(pair, caveats=caveats))).scopes == ("read", "write")
    for changes in ({"method": "DELETE"}, {"target": b"/payslips/7"}):
        pending = ask(pair, caveats=caveats, bind=HttpBinding(**REQUEST | changes).bind())
        with pytest.raises(Refused, match="caveat-refused"):
            receive(pair, header_of(pending), **changes)
