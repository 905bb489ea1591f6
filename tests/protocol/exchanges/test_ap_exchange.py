"""The AP exchange: the shapes of its messages, and the client's half."""

from typing import Any

import pytest

from orthros_protocol.errors import Malformed, PeerMisbehaved, Refused
from orthros_protocol.exchanges.acceptance import build_ap_reply
from orthros_protocol.exchanges.ap_exchange import (
    SAFE,
    USE_CHANNEL,
    USE_HTTP,
    USE_KDC,
    USE_RAW,
    AssertedUser,
    TargetRefusal,
    open_ap_reply,
    parse_ap_request,
)
from orthros_protocol.exchanges.authenticators import bind_raw
from orthros_protocol.primitives.limits import MAX_AP_REQUEST_BYTES
from orthros_protocol.testing import IssuedTicket
from orthros_protocol.tickets.presented import open_presented
from tests.support import naive
from tests.support.exchange_pair import ENDPOINT, ExchangePair, principal
from tests.support.naive import enc


def forged(pair: ExchangePair, issued: IssuedTicket, **changes: Any) -> bytes:
    """An AP-REQ of any content that the ticket's holder could make, with a right MAC."""
    given: dict[str, Any] = {
        "ts": pair.now, "epoch": pair.target.epoch, "bind": bind_raw(ENDPOINT), "nonce": pair.realm.entropy(16)
    } | changes  # fmt: skip
    return naive.ap_request(issued.pop_key, issued.ticket, **given)


def test_a_call_is_accepted_and_both_sides_are_sure() -> None:
    pair = ExchangePair()
    accepted, reply = pair.call(pair.request(pair.issue()))
    assert accepted.ticket.client == principal("billing")
    assert accepted.scopes == ("read", "write")
    assert accepted.user is None
    assert (reply.epoch, reply.target_time) == (pair.target.epoch, pair.now)


def test_nothing_of_it_prints_a_secret() -> None:
    pair = ExchangePair()
    issued = pair.issue()
    pending = pair.request(issued)
    accepted, reply = pair.call(pending)
    presented = open_presented(issued.ticket, b"", pair.target.keytab)
    shown = "".join(map(repr, (pending, accepted, reply, presented, parse_ap_request(pending.message))))
    for secret in (issued.pop_key, issued.session_key):
        assert repr(secret)[2:20] not in shown
        assert secret.hex() not in shown


def test_what_was_sent_is_what_is_read() -> None:
    pair = ExchangePair()
    pending = pair.request(pair.issue(), flags=SAFE, user=AssertedUser("alice", 1), caveats=())
    request = parse_ap_request(pending.message)
    assert (request.use, request.ts, request.flags, request.epoch) == (USE_RAW, pair.now, SAFE, pair.target.epoch)
    assert request.user == AssertedUser("alice", 1)
    assert (request.nonce, request.discharges, request.crit) == (pending.request.nonce, (), ())


@pytest.mark.parametrize("use", [USE_RAW, USE_HTTP, USE_CHANNEL, USE_KDC])
def test_each_use_has_its_own_macs(use: int) -> None:
    pair = ExchangePair()
    pending = pair.request(pair.issue(), use=use)
    for other in {USE_RAW, USE_HTTP, USE_CHANNEL, USE_KDC} - {use}:
        with pytest.raises(PeerMisbehaved, match="wrong-mac"):
            pair.target.accept(pending.message, use=other)
    accepted, _reply = pair.call(pending, use=use)
    assert accepted.request.use == use


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": 1}, {"use": 4, "label": "ap-req.0"}, {"use": None, "label": "ap-req.0"}, {"caveats": None},
        {"dis": [b""] * 5}, {"dis": [None]}, {"ts": -1}, {"ts": True}, {"ts": 1.5}, {"nonce": b""}, {"nonce": "n" * 16},
        {"epoch": b""}, {"epoch": b"123456789"}, {"flags": -1}, {"flags": False}, {"bind": b""}, {"bind": bytes(33)},
        {"user": "alice"}, {"user": ["alice"]}, {"user": ["alice", 0]},
        {"user": ["Alice", 1]}, {"user": ["alice", True]},
        {"crit": [[1, b""], [1, b""]]}, {"crit": [[1]]}, {"opt": [["1", b""]]}, {"opt": [[1, b"x" * 1025]]},
    ],
)  # fmt: skip
def test_a_request_of_another_shape_is_malformed(changes: dict[str, Any]) -> None:
    pair = ExchangePair()
    with pytest.raises(Malformed):
        parse_ap_request(forged(pair, pair.issue(), **changes))


def test_a_request_over_its_limit_is_malformed() -> None:
    with pytest.raises(Malformed, match="larger"):
        parse_ap_request(bytes(MAX_AP_REQUEST_BYTES + 1))


def answer(pending: Any, body: bytes, kind: str = "ap-rep") -> bytes:
    """An answer of any content that the target could make, with a right MAC."""
    return enc(body, naive.mac(pending.pop_key, f"{kind}.0", naive.sha256(pending.message) + body))


def test_an_answer_naming_another_nonce_is_not_taken() -> None:
    pair = ExchangePair()
    pending = pair.request(pair.issue())
    with pytest.raises(PeerMisbehaved, match="reply-mismatch"):
        open_ap_reply(pending, answer(pending, enc(1, b"N" * 16, pair.now, bytes(8), 0, [])))


def test_an_answer_with_an_unknown_critical_flag_is_refused() -> None:
    pair = ExchangePair()
    pending = pair.request(pair.issue())
    with pytest.raises(Refused, match="unsupported-critical"):
        open_ap_reply(pending, answer(pending, enc(1, pending.request.nonce, pair.now, bytes(8), 1, [])))
    newer = answer(pending, enc(1, pending.request.nonce, pair.now, bytes(8), 0x10000, [[5, b"new"]]))
    assert open_ap_reply(pending, newer).target_time == pair.now


@pytest.mark.parametrize("kind", ["ap-rep", "ap-err"])
@pytest.mark.parametrize("body", [enc(1), enc(2, b"n" * 16, 1, bytes(8), 0, []), enc(1, 2, 3, bytes(7), None, [])])
def test_an_answer_of_another_shape_is_malformed(kind: str, body: bytes) -> None:
    pair = ExchangePair()
    pending = pair.request(pair.issue())
    with pytest.raises(Malformed):
        open_ap_reply(pending, answer(pending, body, kind))


def test_an_error_of_a_newer_target_is_still_a_refusal() -> None:
    pair = ExchangePair()
    pending = pair.request(pair.issue())
    with pytest.raises(TargetRefusal, match="code-999"):
        open_ap_reply(pending, answer(pending, enc(1, 999, pair.now, bytes(8), "new", []), "ap-err"))


def test_a_reply_is_made_from_what_was_accepted() -> None:
    pair = ExchangePair()
    pending = pair.request(pair.issue())
    accepted = pair.target.accept(pending.message)
    body = enc(1, pending.request.nonce, pair.now, pair.target.epoch, 0, [])
    assert build_ap_reply(accepted, now=pair.now) == answer(pending, body)
