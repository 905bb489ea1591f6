"""HTTP: the proof on the response, and the challenge. One form each, and no other."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_protocol.errors import LocalMisuse, Malformed, PeerMisbehaved, Refused
from orthros_protocol.exchanges.ap_exchange import USE_HTTP, open_ap_reply
from orthros_protocol.exchanges.http_profile import (
    HttpBinding,
    HttpChallenge,
    HttpResponse,
    encode_base64url,
    format_challenge,
    open_http_reply,
    parse_challenge,
    seal_http_reply,
)
from orthros_protocol.primitives.instants import Timestamp
from tests.support import naive
from tests.support.exchange_pair import ExchangePair
from tests.support.naive import enc, sha256

BIND = HttpBinding(method="GET", scheme="https", authority="orders.example:443", target=b"/v1/orders").bind()

realms = st.from_regex(r"[a-z0-9]{1,9}([._/-][a-z0-9]{1,9}){0,3}", fullmatch=True)
codes = st.from_regex(r"[a-z0-9-]{1,64}", fullmatch=True)
ap_errors = st.builds(enc, st.binary(min_size=4, max_size=60), st.binary(min_size=32, max_size=32))


@given(realms, codes, ap_errors)
def test_a_challenge_comes_back(realm: str, code: str, reply: bytes) -> None:
    for parts in ((realm, None, None), (realm, code, None), (realm, code, reply)):
        value = format_challenge(*parts)
        assert parse_challenge(value) == HttpChallenge(*parts)
        assert value.isascii()
        assert value.isprintable()


@given(st.text(alphabet='a.-"=,sm AB\r\n', max_size=12))
def test_only_the_one_form_of_a_challenge_is_read(text: str) -> None:
    proof = encode_base64url(bytes(32))
    for value in (text, f'Orthros realm="{text}"', f'Orthros realm="a", err="{text}"',
                  f'Orthros realm="a", err="b", s="{text}", m="{proof}"'):  # fmt: skip
        try:
            found = parse_challenge(value)
        except Malformed:
            continue
        assert format_challenge(found.realm, found.code, found.reply) == value


@pytest.mark.parametrize(
    "value",
    [
        "Orthros", 'Orthros realm=""', "Orthros realm=a", 'Orthros realm="A"', 'Orthros realm="a..b"',
        'Bearer realm="a"',
        'Orthros realm="a",err="b"', 'Orthros realm="a", err=""', 'Orthros realm="a", err="b", s="AAAAAA"',
        'Orthros realm="a", err="b", m="AAAA"', 'Orthros realm="a", err="b", s="AAAAAA", m="AAAA"',
        'Orthros realm="a", s="AAAAAA", m="' + "A" * 43 + '"',
        'Orthros realm="a", err="b", s="AAAA", m="' + "A" * 43 + '"',
        'Orthros realm="a", err="b", s="AAAAAA", m="' + "A" * 42 + 'B"', 'Orthros realm="a", Bearer realm="b"',
        'Orthros realm="a", err="b", s="' + "A" * 5464 + '", m="' + "A" * 43 + '"', 'Orthros realm="' + "a" * 129 + '"',
        'Orthros realm="a", err="b", s="' + "A" * 33_000 + '", m="' + "A" * 43 + '"', 'Orthros realm="a"\n',
    ],
)  # fmt: skip
def test_any_other_challenge_is_malformed(value: str) -> None:
    with pytest.raises(Malformed):
        parse_challenge(value)


@pytest.mark.parametrize(
    "parts",
    [
        ('a", err="b',), ("a\r\nx: y",), ("A",), ("",), ("a", 'b"'), ("a", "b\r\nx: y"), ("a", ""), ("a", "b" * 65),
        ("a", None, enc(bytes(8), bytes(32))), ("a", "b", enc(bytes(4097), bytes(32))),
    ],
)  # fmt: skip
def test_nothing_is_smuggled_through_a_challenge(parts: tuple[Any, ...]) -> None:
    with pytest.raises(LocalMisuse):
        format_challenge(*parts)


HEADERS = (("content-type", b"text/plain"), ("x-a", b"1"), ("set-cookie", b"a"), ("set-cookie", b"b"), ("empty", b""))
RESPONSE = HttpResponse(status=200, headers=HEADERS)


def answered(**changes: Any) -> tuple[ExchangePair, Any, str]:
    """A request that was accepted, and the proof on its response."""
    pair = ExchangePair()
    pending = pair.request(pair.issue(), use=USE_HTTP, bind=BIND)
    accepted = pair.target.accept(pending.message, use=USE_HTTP, bind=BIND)
    given: dict[str, Any] = {
        "covered": ["content-type", "empty"], "body_digest": sha256(b"hello"), "now": pair.now, "epoch": accepted.epoch
    } | changes  # fmt: skip
    return pair, pending, seal_http_reply(accepted.pop_key, accepted.request.whole, RESPONSE, **given)


def test_a_response_proves_the_target_and_itself() -> None:
    pair, pending, value = answered()
    reply = open_http_reply(pending, value, RESPONSE)
    assert (reply.target_time, reply.epoch, reply.body_digest) == (pair.now, pair.target.epoch, sha256(b"hello"))
    assert reply.covered == ("content-type", "empty")
    values = sha256(enc(b"text/plain", b""))
    body = enc(1, pair.now, pair.target.epoch, 200, ["content-type", "empty"], values, sha256(b"hello"))
    proof = naive.mac(pending.pop_key, "http-rep", sha256(pending.message) + body)
    assert value == f"s={encode_base64url(body)}, m={encode_base64url(proof)}"


def test_a_response_without_covered_headers_or_digest_is_still_one() -> None:
    _pair, pending, value = answered(covered=[], body_digest=None)
    reply = open_http_reply(pending, value, HttpResponse(status=200, headers=()))
    assert (reply.covered, reply.body_digest) == ((), None)


@pytest.mark.parametrize(
    "covered", [["set-cookie"], ["absent"], ["x-a", "x-a"], ["X-A"], [f"a{one}" for one in range(17)]]
)
def test_a_header_that_is_not_there_once_cannot_be_covered(covered: list[str]) -> None:
    with pytest.raises(LocalMisuse):
        answered(covered=covered)


@pytest.mark.parametrize("changes", [{"body_digest": bytes(31)}, {"epoch": bytes(7)}])
def test_a_proof_of_another_shape_is_not_written(changes: dict[str, Any]) -> None:
    with pytest.raises(LocalMisuse):
        answered(**changes)


@pytest.mark.parametrize(
    ("old", "new"), [("s=", "S="), (", m=", ",m="), (", m=", "; m="), ("s=", ' s='), ("s=", 's="'), (", m=", ", m= ")]
)  # fmt: skip
def test_any_other_form_of_a_reply_is_malformed(old: str, new: str) -> None:
    _pair, pending, value = answered()
    for bad in (value.replace(old, new, 1), value + "=", value + " ", value + ", x=y", value[:-1], "A" * 9000, ""):
        with pytest.raises(Malformed):
            open_http_reply(pending, bad, RESPONSE)


@pytest.mark.parametrize(
    "body",
    [
        (2, 1, bytes(8), 200, [], sha256(enc()), None), (1, 1, bytes(7), 200, [], sha256(enc()), None),
        (1, 1, bytes(8), 99, [], sha256(enc()), None), (1, 1, bytes(8), 1000, [], sha256(enc()), None),
        (1, 1, bytes(8), "200", [], sha256(enc()), None), (1, 1, bytes(8), 200, ["X-A"], sha256(enc(b"1")), None),
        (1, 1, bytes(8), 200, ["x-a", "x-a"], sha256(enc(b"1", b"1")), None), (1, 1, bytes(8), 200, [], bytes(31),
        None),
        (1, 1, bytes(8), 200, [], sha256(enc()), b""), (1, 1, bytes(8), 200, [], sha256(enc())),
    ],
)  # fmt: skip
def test_a_proof_of_another_shape_is_malformed(body: tuple[Any, ...]) -> None:
    """A right MAC does not make a wrong shape right."""
    _pair, pending, _value = answered()
    whole = enc(*body)
    proof = naive.mac(pending.pop_key, "http-rep", sha256(pending.message) + whole)
    with pytest.raises(Malformed):
        open_http_reply(pending, f"s={encode_base64url(whole)}, m={encode_base64url(proof)}", RESPONSE)


def test_a_request_for_something_else_than_http_has_no_such_reply() -> None:
    pair, _pending, value = answered()
    with pytest.raises(LocalMisuse, match="HTTP"):
        open_http_reply(pair.request(pair.issue()), value, RESPONSE)


def test_a_refusal_travels_in_a_challenge() -> None:
    pair = ExchangePair()
    pending = pair.request(pair.issue(), use=USE_HTTP, bind=BIND, epoch=None)
    with pytest.raises(Refused, match="epoch-required") as refused:
        pair.target.accept(pending.message, use=USE_HTTP, bind=BIND)
    value = format_challenge("test.realm", refused.value.code, refused.value.reply)
    challenge = parse_challenge(value)
    assert challenge.reply == refused.value.reply
    with pytest.raises(Refused, match="epoch-required"):
        open_ap_reply(pending, challenge.reply or b"")


def test_nothing_of_it_prints_what_it_carries() -> None:
    assert "text/plain" not in repr(RESPONSE)
    assert b"m" * 9 not in repr(HttpChallenge("a", "b", b"m" * 40)).encode()


def test_a_proof_of_another_time_is_not_judged_here() -> None:
    """The reply is bound to its request by H(AP-REQ); its time only teaches an offset."""
    _pair, pending, value = answered(now=Timestamp(5))
    assert open_http_reply(pending, value, RESPONSE).target_time == 5
    flipped = value[:9] + ("A" if value[9] != "A" else "B") + value[10:]
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        open_http_reply(pending, flipped, RESPONSE)
