"""Messages sent back, sent to others, or swapped between exchanges."""

import pytest

from orthros_protocol.errors import PeerMisbehaved, Refused
from orthros_protocol.exchanges.acceptance import build_ap_reply
from orthros_protocol.exchanges.ap_exchange import (
    USE_CHANNEL,
    USE_HTTP,
    USE_KDC,
    USE_RAW,
    open_ap_reply,
    parse_ap_request,
)
from orthros_protocol.exchanges.as_exchange import open_as_reply
from orthros_protocol.exchanges.tgs_exchange import open_tgs_reply
from orthros_protocol.primitives.messages import KdcRefusal
from tests.support.exchange_pair import ExchangePair, ask_as, ask_tgs
from tests.support.naive import dec, enc, kd, mac, seal, sha256
from tests.support.specimens import collect_specimens


def test_an_answer_reflected_as_a_request() -> None:
    """Section 17: AP-REP reflected as AP-REQ."""
    pair = ExchangePair()
    pending = pair.request(pair.issue())
    answer = build_ap_reply(pair.target.accept(pending.message), now=pair.now)
    with pytest.raises(PeerMisbehaved):
        pair.target.accept(answer)
    body, received = dec(pending.message)
    bound = sha256(pending.message) + body
    assert received != mac(pending.pop_key, "ap-rep.0", bound)
    with pytest.raises(PeerMisbehaved):
        open_ap_reply(pending, pending.message)


@pytest.mark.parametrize("use", [USE_HTTP, USE_CHANNEL, USE_KDC])
def test_an_answer_of_another_use(use: int) -> None:
    """Section 17: AP-REP of another use."""
    pair = ExchangePair()
    pending = pair.request(pair.issue())
    body = dec(build_ap_reply(pair.target.accept(pending.message), now=pair.now))[0]
    swapped = enc(body, mac(pending.pop_key, f"ap-rep.{use}", sha256(pending.message) + body))
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        open_ap_reply(pending, swapped)


@pytest.mark.parametrize("use", [USE_HTTP, USE_CHANNEL, USE_KDC])
def test_a_request_of_another_use(use: int) -> None:
    """CVE-2022-2031: one key, many purposes. The use is under the MAC and in its label."""
    pair = ExchangePair()
    pending = pair.request(pair.issue(), use=use)
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        pair.target.accept(pending.message, use=USE_RAW)


def test_an_error_dressed_as_an_answer() -> None:
    """No result without a valid AP-REP: a refusal cannot be turned into one, nor an answer into a refusal."""
    pair = ExchangePair()
    pending = pair.request(pair.issue(), epoch=None)
    with pytest.raises(Refused) as refused:
        pair.target.accept(pending.message)
    body = dec(refused.value.reply or b"")[0]
    for label in ("ap-rep.0", "ap-req.0"):
        with pytest.raises(PeerMisbehaved):
            open_ap_reply(pending, enc(body, mac(pending.pop_key, label, sha256(pending.message) + body)))


def test_a_login_answer_for_another_request() -> None:
    """Section 17: AS-REP of another AS-REQ."""
    pair = ExchangePair()
    key = pair.realm.keytab("billing").as_key()
    one, two = ask_as(pair), ask_as(pair)
    answer = pair.realm.handle(one.message)
    open_as_reply(one, key, answer)
    with pytest.raises(PeerMisbehaved, match="reply-mismatch"):
        open_as_reply(two, key, answer)


def test_a_login_answer_for_another_client() -> None:
    """Section 17: AS-REP of another AS-REQ."""
    pair = ExchangePair()
    mine, theirs = ask_as(pair), ask_as(pair, "orders")
    with pytest.raises(PeerMisbehaved, match="reply-mismatch"):
        open_as_reply(mine, pair.realm.keytab("billing").as_key(), pair.realm.handle(theirs.message))


def test_a_granting_answer_for_another_request() -> None:
    """The box's context is the hash of the whole request, so a reply cannot be substituted."""
    pair = ExchangePair()
    one, two = ask_tgs(pair), ask_tgs(pair)
    with pytest.raises(PeerMisbehaved, match="reply-mismatch"):
        open_tgs_reply(two, pair.realm.handle(one.message))


def test_a_sealed_refusal_for_another_request() -> None:
    """An old refusal cannot be replayed to keep a client out."""
    pair = ExchangePair()
    key = pair.realm.keytab("billing").as_key()
    one, two = ask_as(pair), ask_as(pair)
    pair.realm.disable("billing")
    refusal = pair.realm.handle(one.message)
    pair.realm.enable("billing")
    with pytest.raises(KdcRefusal, match="principal-disabled"):
        open_as_reply(one, key, refusal)
    with pytest.raises(PeerMisbehaved, match="reply-mismatch"):
        open_as_reply(two, key, refusal)


def test_every_message_in_the_place_of_every_other() -> None:
    """No message of any exchange is mistaken for one of another."""
    pair = ExchangePair()
    messages = collect_specimens().messages
    asked_as, asked_tgs, call = ask_as(pair), ask_tgs(pair), pair.request(pair.issue())
    key = pair.realm.keytab("billing").as_key()
    for name, message in messages.items():
        for receive in (
            pair.another_instance().accept,
            lambda data: open_as_reply(asked_as, key, data),
            lambda data: open_tgs_reply(asked_tgs, data),
            lambda data: open_ap_reply(call, data),
        ):
            with pytest.raises(PeerMisbehaved if name != "ap-req" else (PeerMisbehaved, Refused)):
                receive(message)


@pytest.mark.parametrize("name", ["as-rep", "as-err", "tgs-rep", "tgs-err", "ap-req", "ap-rep", "ap-err", "nak"])
def test_the_kdc_takes_requests_only(name: str) -> None:
    """A KDC answers an answer, or an AP-REQ, with a NAK."""
    reply = ExchangePair().realm.handle(collect_specimens().messages[name])
    assert dec(reply)[:2] == [1, 2]


def test_kdc_spoofing_needs_the_clients_own_key() -> None:
    """RFC 4120 section 10: whoever lacks K_as cannot make an AS-REP, whatever he saw before."""
    pair = ExchangePair()
    key, asked = pair.realm.keytab("billing").as_key(), ask_as(pair)
    plain = enc(
        asked.nonce,
        pair.now,
        "kdc-evil",
        [1, "test.realm", "kdc/tgt"],
        "billing",
        16,
        b"t" * 90,
        bytes(32),
        9,
        0,
        1,
        [],
    )
    for guess in (bytes(32), key.kid * 4, sha256(asked.message), pair.realm.keytab("orders").as_key().material):
        box = seal(kd(guess, "as-rep"), "as-rep", sha256(asked.message), plain, bytes(24))
        with pytest.raises(PeerMisbehaved, match="reply-mismatch"):
            open_as_reply(asked, key, enc(1, 0, box))


def test_cve_2022_2031_each_label_has_a_box_of_its_own() -> None:
    """The reply box does not open as an error box and the other way round, although one key family makes both."""
    pair = ExchangePair()
    key, asked = pair.realm.keytab("billing").as_key(), ask_as(pair)
    version, kind, box = dec(pair.realm.handle(asked.message))
    with pytest.raises(PeerMisbehaved, match="reply-mismatch"):
        open_as_reply(asked, key, enc(version, 1 - kind, box))


def test_an_ap_request_parses_without_touching_a_key() -> None:
    """CVE-2015-2694: nothing is "authenticated" before the MAC; parsing gives an object that says so."""
    pair = ExchangePair()
    request = parse_ap_request(pair.request(pair.issue()).message[:-1] + b"\0")
    assert not hasattr(request, "client")
    assert not hasattr(request, "scopes")
