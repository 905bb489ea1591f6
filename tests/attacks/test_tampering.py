"""Every single flipped bit of every message of every exchange, and every box too short or too long."""

from collections.abc import Callable, Iterator

import pytest

from orthros_protocol.errors import Malformed, PeerMisbehaved, Refused
from orthros_protocol.exchanges.acceptance import build_ap_reply
from orthros_protocol.exchanges.ap_exchange import open_ap_reply
from orthros_protocol.exchanges.as_exchange import build_as_request, open_as_reply
from orthros_protocol.exchanges.tgs_exchange import build_tgs_request, open_tgs_reply
from orthros_protocol.exchanges.wants import WANT_JWT
from orthros_protocol.primitives.messages import build_nak
from orthros_protocol.tickets.attenuation import pop_key_of, tail_of
from tests.support.exchange_pair import ExchangePair


def flips(message: bytes) -> Iterator[bytes]:
    """The message with each of its bits flipped in turn."""
    for at in range(len(message) * 8):
        flipped = bytearray(message)
        flipped[at // 8] ^= 1 << at % 8
        yield bytes(flipped)


def resized(message: bytes) -> Iterator[bytes]:
    """Every prefix, and some longer ones."""
    yield from (message[:end] for end in range(len(message)))
    yield from (message + b"\0", message + message, message + b"\xc0")


Story = Callable[[ExchangePair], tuple[bytes, Callable[[bytes], object]]]


def as_req(pair: ExchangePair) -> tuple[bytes, Callable[[bytes], object]]:
    asked = build_as_request(
        pair.realm.keytab("billing").as_key(),
        service="kdc/tgt", ttl_s=0, instance=b"i" * 16, now=pair.now, nonce=b"n" * 16,
    )  # fmt: skip
    return asked.message, lambda message: judged(pair.realm.handle(message))


def tgs_req(pair: ExchangePair) -> tuple[bytes, Callable[[bytes], object]]:
    login = pair.login()
    asked = build_tgs_request(
        login.ticket, pop_key_of(tail_of(login.session_key, login.ticket)), [pair.want()], now=pair.now, nonce=b"n" * 16
    )
    return asked.message, lambda message: judged(pair.realm.handle(message))


def judged(reply: bytes) -> None:
    """A KDC proves nothing to somebody who proved nothing: one NAK, always of the same shape."""
    if len(reply) == len(build_nak(bytes(8))) and reply[:3] == build_nak(bytes(8))[:3]:
        raise PeerMisbehaved("unauthenticated-refusal")


def as_rep(pair: ExchangePair) -> tuple[bytes, Callable[[bytes], object]]:
    key = pair.realm.keytab("billing").as_key()
    asked = build_as_request(key, service="kdc/tgt", ttl_s=0, instance=b"i" * 16, now=pair.now, nonce=b"n" * 16)
    return pair.realm.handle(asked.message), lambda reply: open_as_reply(asked, key, reply)


def as_err(pair: ExchangePair) -> tuple[bytes, Callable[[bytes], object]]:
    pair.realm.disable("billing")
    return as_rep(pair)


def tgs_rep(pair: ExchangePair) -> tuple[bytes, Callable[[bytes], object]]:
    pair.realm.allow("billing", "payroll", "read", jwt=True)
    login = pair.login()
    wants = [pair.want(), pair.want("orders"), pair.want(kind=WANT_JWT)]
    asked = build_tgs_request(
        login.ticket, pop_key_of(tail_of(login.session_key, login.ticket)), wants, now=pair.now, nonce=b"n" * 16
    )
    return pair.realm.handle(asked.message), lambda reply: open_tgs_reply(asked, reply)


def tgs_err(pair: ExchangePair) -> tuple[bytes, Callable[[bytes], object]]:
    login = pair.login()
    pair.realm.clock.advance(7200)
    asked = build_tgs_request(
        login.ticket, pop_key_of(tail_of(login.session_key, login.ticket)), [pair.want()], now=pair.now, nonce=b"n" * 16
    )
    return pair.realm.handle(asked.message), lambda reply: open_tgs_reply(asked, reply)


def ap_req(pair: ExchangePair) -> tuple[bytes, Callable[[bytes], object]]:
    return pair.request(pair.issue()).message, pair.target.accept


def ap_rep(pair: ExchangePair) -> tuple[bytes, Callable[[bytes], object]]:
    pending = pair.request(pair.issue())
    reply = build_ap_reply(pair.target.accept(pending.message), now=pair.now)
    return reply, lambda answer: open_ap_reply(pending, answer)


def ap_err(pair: ExchangePair) -> tuple[bytes, Callable[[bytes], object]]:
    pending = pair.request(pair.issue(), epoch=None)
    with pytest.raises(Refused) as refused:
        pair.target.accept(pending.message)
    return refused.value.reply or b"", lambda answer: open_ap_reply(pending, answer)


every_message = pytest.mark.parametrize(
    "story",
    [as_req, as_rep, as_err, tgs_req, tgs_rep, tgs_err, ap_req, ap_rep, ap_err],
    ids=lambda story: story.__name__,
)


@every_message
def test_cve_2025_30156_one_flipped_bit_never_passes(story: Story) -> None:
    """Section 17: every single flipped bit of every message."""
    message, receive = story(ExchangePair())
    for flipped in flips(message):
        with pytest.raises(PeerMisbehaved):
            receive(flipped)


@every_message
def test_cve_2024_37370_no_length_can_be_changed(story: Story) -> None:
    """Section 17: box too short or long. A GSS token's plaintext Extra Count could truncate the message."""
    message, receive = story(ExchangePair())
    for changed in resized(message):
        with pytest.raises(PeerMisbehaved):
            receive(changed)


@every_message
def test_the_untouched_message_is_understood(story: Story) -> None:
    """The tests above would pass for a receiver that refuses everything."""
    message, receive = story(ExchangePair())
    if story in (as_err, tgs_err, ap_err):
        with pytest.raises(Refused, match=r"principal-disabled|tgt-expired|epoch-required"):
            receive(message)
    else:
        receive(message)


@every_message
def test_cve_2026_25506_garbage_is_malformed_before_anything_is_read(story: Story) -> None:
    """MUNGE unpacked an attacker's message before checking its type; here shape comes first, and nothing crashes."""
    message, receive = story(ExchangePair())
    for garbage in (
        b"",
        b"\x90",
        b"\xc1" * 40,
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 60_000,
        bytes(70_000),
        message[::-1],
    ):
        with pytest.raises((Malformed, PeerMisbehaved)):
            receive(garbage)
