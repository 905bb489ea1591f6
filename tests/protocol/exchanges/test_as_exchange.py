"""The initial exchange, both halves."""

from typing import Any

import pytest

from orthros_protocol.errors import LocalMisuse, Malformed, PeerMisbehaved, Refused
from orthros_protocol.exchanges.as_exchange import (
    InitialTicket,
    PendingAs,
    build_as_request,
    check_as_extensions,
    open_as_reply,
    parse_as_request,
    seal_as_error,
    seal_as_reply,
    verify_as_request,
)
from orthros_protocol.primitives.messages import KdcRefusal, parse_signed
from orthros_protocol.primitives.names import KDC_ADMIN, KDC_KEYS, KDC_TGT
from tests.support.exchange_pair import ExchangePair
from tests.support.naive import enc, kd, mac, seal, sha256


def ask(pair: ExchangePair, service: str = KDC_TGT, **changes: Any) -> PendingAs:
    key = pair.realm.keytab("billing").as_key()
    given: dict[str, Any] = {"ttl_s": 0, "instance": b"i" * 16, "now": pair.now, "nonce": b"n" * 16} | changes
    return build_as_request(key, service=service, **given)


def request(pair: ExchangePair, **changes: Any) -> bytes:
    """An AS-REQ of any content with a right MAC."""
    key = pair.realm.keytab("billing").as_key()
    body: dict[str, Any] = {
        "version": 1, "kind": 1, "realm": "test.realm", "kid": key.kid, "nonce": b"n" * 16, "ts": pair.now,
        "service": KDC_TGT, "ttl_s": 0, "flags": 0, "instance": b"i" * 16, "crit": [], "opt": [],
    } | changes  # fmt: skip
    encoded = enc(*body.values())
    return enc(encoded, mac(key.material, "as-req", encoded))


def reply(pair: ExchangePair, asked: PendingAs, **changes: Any) -> bytes:
    """An AS-REP of any content, sealed as only the KDC, or the client itself, can."""
    key = pair.realm.keytab("billing").as_key()
    login = pair.login()
    body: dict[str, Any] = {
        "nonce": b"n" * 16, "time": pair.now, "kdc_id": "kdc-test", "for": [1, "test.realm", KDC_TGT],
        "cname": "billing", "cuid": 16, "ticket": login.ticket, "key": b"k" * 32, "ttl_s": 60, "flags": 1, "kvno": 1,
        "opt": [],
    } | changes  # fmt: skip
    box = seal(kd(key.material, "as-rep"), "as-rep", sha256(asked.message), enc(*body.values()), bytes(24))
    return enc(1, 0, box)


def test_a_login_gives_a_tgt_and_its_key() -> None:
    pair = ExchangePair()
    login = pair.login(ttl_s=60)
    assert (login.ttl_s, login.service, login.kdc_id, login.newest_kvno) == (60, KDC_TGT, "kdc-test", 1)
    assert (login.client, login.client_uid) == (pair.realm.principal("billing"), 16)
    assert login.kdc_time == pair.now
    assert pair.realm.tgt_key.kid in login.ticket


def test_request_and_reply_do_not_print_secrets() -> None:
    pair = ExchangePair()
    login, asked = pair.login(), ask(pair)
    assert repr(login.session_key)[2:20] not in repr(login) + repr(asked)


def test_the_kdc_reads_what_was_asked() -> None:
    pair = ExchangePair()
    unverified = parse_as_request(ask(pair, KDC_KEYS, ttl_s=90).message)
    key = pair.realm.keytab("billing").as_key()
    verified = verify_as_request(unverified, key)
    check_as_extensions(unverified)
    assert (verified.service, verified.ttl_s, verified.instance, verified.ts) == (KDC_KEYS, 90, b"i" * 16, pair.now)
    assert verified.replay_tag == unverified.signed.mac[:16]
    assert verified.key is key


def test_a_parsed_envelope_serves_as_well_as_bytes() -> None:
    message = ask(ExchangePair()).message
    assert parse_as_request(parse_signed(message)).nonce == parse_as_request(message).nonce


@pytest.mark.parametrize("service", [KDC_KEYS, KDC_ADMIN])
def test_other_kdc_services_get_service_tickets(service: str) -> None:
    pair = ExchangePair()
    asked, key = ask(pair, service), pair.realm.keytab("billing").as_key()
    verified = verify_as_request(parse_as_request(asked.message), key)
    issued = InitialTicket(ticket=pair.issue().ticket, session_key=b"k" * 32, ttl_s=120, flags=1)
    sealed = seal_as_reply(verified, issued, newest_kvno=3, kdc_id="kdc-a", now=pair.now, entropy=bytes(24))
    opened = open_as_reply(asked, key, sealed)
    assert (opened.service, opened.ttl_s, opened.newest_kvno) == (service, 120, 3)


@pytest.mark.parametrize(
    ("code", "refused"), [("principal-disabled", "disable"), ("unknown-service", "service"), ("clock-skew", "clock")]
)
def test_a_refusal_is_sealed_and_says_why(code: str, refused: str) -> None:
    pair = ExchangePair()
    key = pair.realm.keytab("billing").as_key()
    asked = ask(pair, "payroll" if refused == "service" else KDC_TGT)
    if refused == "disable":
        pair.realm.disable("billing")
    if refused == "clock":
        pair.realm.clock.advance(301)
    with pytest.raises(KdcRefusal, match=code) as caught:
        open_as_reply(asked, key, pair.realm.handle(asked.message))
    assert caught.value.kdc_time == pair.now


def test_a_sealed_error_carries_its_wait() -> None:
    pair = ExchangePair()
    asked, key = ask(pair), pair.realm.keytab("billing").as_key()
    verified = verify_as_request(parse_as_request(asked.message), key)
    sealed = seal_as_error(verified, "rate-limited", now=pair.now, entropy=bytes(24), retry_s=9, detail="slow")
    with pytest.raises(KdcRefusal, match="slow") as caught:
        open_as_reply(asked, key, sealed)
    assert caught.value.retry_s == 9


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2}, {"kind": 2}, {"realm": None}, {"realm": "Test"}, {"kid": b"k" * 7}, {"nonce": b""}, {"ts": -1},
        {"ts": True}, {"service": "KDC/tgt"}, {"service": ""}, {"ttl_s": 2**32}, {"ttl_s": None}, {"flags": False},
        {"instance": b"i"}, {"crit": None}, {"opt": [[1, b""], [1, b""]]}, {"more": []},
    ],
)  # fmt: skip
def test_a_request_of_another_shape_is_malformed(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        parse_as_request(request(ExchangePair(), **changes))


@pytest.mark.parametrize("changes", [{"flags": 1}, {"crit": [[7, b""]]}])
def test_what_must_not_be_ignored_is_refused_under_seal(changes: dict[str, Any]) -> None:
    pair = ExchangePair()
    unverified = parse_as_request(request(pair, **changes))
    verify_as_request(unverified, pair.realm.keytab("billing").as_key())
    with pytest.raises(Refused, match="unsupported-critical"):
        check_as_extensions(unverified)


def test_an_optional_extension_is_ignored() -> None:
    pair = ExchangePair()
    check_as_extensions(parse_as_request(request(pair, opt=[[7, b"new"]], flags=0x10000)))


def test_a_key_verifies_its_own_kid_and_realm_only() -> None:
    pair = ExchangePair()
    unverified = parse_as_request(ask(pair).message)
    with pytest.raises(PeerMisbehaved, match="unknown-key"):
        verify_as_request(unverified, pair.realm.keytab("orders").as_key())
    with pytest.raises(PeerMisbehaved, match="unknown-key"):
        verify_as_request(parse_as_request(request(pair, realm="other.realm")), pair.realm.keytab("billing").as_key())


def test_a_wrong_mac_proves_nothing() -> None:
    pair = ExchangePair()
    forged = request(pair)[:-1] + b"\0"
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        verify_as_request(parse_as_request(forged), pair.realm.keytab("billing").as_key())


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": b"N" * 16}, {"for": [1, "other.realm", KDC_TGT]}, {"for": [1, "test.realm", KDC_KEYS]},
        {"for": [2, "test.realm", KDC_TGT]}, {"cname": "orders"}, {"cuid": 17},
    ],
)  # fmt: skip
def test_a_reply_to_another_question_is_not_taken(changes: dict[str, Any]) -> None:
    """CVE-2017-11103: every name that the client will rely on is inside the box and compared."""
    pair = ExchangePair()
    asked = ask(pair)
    with pytest.raises(PeerMisbehaved, match="reply-mismatch"):
        open_as_reply(asked, pair.realm.keytab("billing").as_key(), reply(pair, asked, **changes))


@pytest.mark.parametrize(
    "changes", [{"ticket": b"t" * 90}, {"key": b"k" * 31}, {"kvno": 0}, {"opt": None}, {"more": 1}]
)
def test_a_reply_of_another_shape_is_malformed(changes: dict[str, Any]) -> None:
    pair = ExchangePair()
    asked = ask(pair)
    with pytest.raises(Malformed):
        open_as_reply(asked, pair.realm.keytab("billing").as_key(), reply(pair, asked, **changes))


def test_a_ticket_of_another_type_than_promised_is_malformed() -> None:
    pair = ExchangePair()
    asked = ask(pair)
    with pytest.raises(Malformed, match="another type"):
        open_as_reply(asked, pair.realm.keytab("billing").as_key(), reply(pair, asked, ticket=pair.issue().ticket))


@pytest.mark.parametrize("changes", [{"nonce": b""}, {"instance": b""}, {"ttl_s": -1}, {"service": "No"}])
def test_a_request_that_does_not_fit_is_not_built(changes: dict[str, Any]) -> None:
    with pytest.raises(LocalMisuse):
        ask(ExchangePair(), **{"service": KDC_TGT} | changes)
