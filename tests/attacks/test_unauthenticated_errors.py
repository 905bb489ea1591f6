"""An error that nobody vouched for teaches nothing: no time, no key, no reason."""

import pytest

from orthros_protocol.errors import PeerMisbehaved
from orthros_protocol.exchanges.as_exchange import build_as_request, open_as_reply
from orthros_protocol.exchanges.tgs_exchange import open_tgs_reply
from orthros_protocol.primitives.messages import build_nak
from tests.support.exchange_pair import ExchangePair, ask_as, ask_tgs
from tests.support.naive import dec, enc

LEARNABLE = ("kdc_time", "target_time", "epoch", "retry_s")


@pytest.mark.parametrize(
    "data", [build_nak(b"evil-nak"), enc(1, 0, b"x" * 200), enc(1, 1, b"x" * 200), b"", b"\xff" * 50]
)
def test_rfc_4120_an_unauthenticated_error_changes_nothing(data: bytes) -> None:
    """Section 17: unauthenticated error moving the clock. KRB-ERROR is neither encrypted nor protected."""
    pair = ExchangePair()
    asked, granted = ask_as(pair), ask_tgs(pair)
    for receive in (
        lambda: open_as_reply(asked, pair.realm.keytab("billing").as_key(), data),
        lambda: open_tgs_reply(granted, data),
    ):
        with pytest.raises(PeerMisbehaved) as caught:
            receive()
        assert not any(hasattr(caught.value, name) for name in LEARNABLE)


def test_after_an_unauthenticated_error_the_true_reply_is_still_taken() -> None:
    """A NAK is a reason to fail over and back off, nothing else: the pending request stays as it was."""
    pair = ExchangePair()
    key, asked = pair.realm.keytab("billing").as_key(), ask_as(pair)
    true = pair.realm.handle(asked.message)
    with pytest.raises(PeerMisbehaved, match="unauthenticated-refusal"):
        open_as_reply(asked, key, build_nak(b"evil-nak"))
    assert open_as_reply(asked, key, true).kdc_time == pair.now


def test_every_unproven_request_gets_the_same_answer() -> None:
    """Unknown key, wrong MAC, malformed: one shape, so nobody can ask the KDC who exists."""
    pair = ExchangePair()
    proven = ask_as(pair).message
    stranger = ExchangePair()
    stranger.realm.add("nobody")
    unknown = build_as_request(
        stranger.realm.keytab("nobody").as_key(),
        service="kdc/tgt", ttl_s=0, instance=bytes(16), now=pair.now, nonce=bytes(16),
    ).message  # fmt: skip
    replies = [pair.realm.handle(data) for data in (proven[:-1] + b"\0", unknown, b"garbage", proven[:-1], b"")]
    assert {len(reply) for reply in replies} == {len(build_nak(bytes(8)))}
    assert all(dec(reply)[:2] == [1, 2] for reply in replies)
    assert len({dec(reply)[2] for reply in replies}) == len(replies)


def test_no_key_dependent_byte_is_given_to_somebody_who_proved_nothing() -> None:
    """AS-REP roasting, kerberoasting: the KDC hands out ciphertext only to whoever proved the key."""
    pair = ExchangePair()
    forged = ask_as(pair).message[:-1] + b"\0"
    reply = pair.realm.handle(forged)
    assert len(reply) < 16
    reference = dec(reply)[2]
    assert pair.realm.refusals[reference.hex()].startswith("wrong-mac")
