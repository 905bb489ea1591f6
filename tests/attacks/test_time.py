"""Clocks: what they allow, what they teach, and who may move them."""

import pytest

from orthros_protocol.errors import Refused
from orthros_protocol.exchanges.acceptance import build_ap_reply
from orthros_protocol.exchanges.ap_exchange import TargetRefusal, open_ap_reply
from orthros_protocol.exchanges.authenticators import measure_offset
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import MAX_TARGET_OFFSET_MS
from tests.support.exchange_pair import ExchangePair
from tests.support.naive import enc, mac, sha256


@pytest.mark.parametrize(
    ("offset", "code"),
    [
        (6_000, "clock-skew"), (5_001, "clock-skew"), (365_000, "clock-skew"), (-60_001, "replayed"),
        (-61_000, "replayed"), (-86_400_000, "replayed"), (365_001, "too-far-ahead"), (3_000_000, "too-far-ahead"),
    ],
)  # fmt: skip
def test_a_timestamp_outside_the_window(offset: int, code: str) -> None:
    """Section 17: timestamp 6 s ahead, 61 s old. Section 18: one-sided timestamp checks (Kite)."""
    pair = ExchangePair()
    with pytest.raises(Refused, match=code):
        pair.target.accept(pair.request(pair.issue(), ts=Timestamp(pair.now + offset)).message)


@pytest.mark.parametrize("offset", [5_000, 0, -59_000])
def test_a_timestamp_inside_the_window(offset: int) -> None:
    """The edge is where it is said to be."""
    pair = ExchangePair()
    pair.target.accept(pair.request(pair.issue(), ts=Timestamp(pair.now + offset)).message)


def test_a_client_whose_clock_is_wrong_corrects_itself_from_the_sealed_time() -> None:
    """Section 7: offsets are learnt only from MACed replies to one's own request."""
    pair = ExchangePair()
    issued, wrong = pair.issue(), Timestamp(pair.now + 200_000)
    pending = pair.request(issued, ts=wrong)
    with pytest.raises(Refused, match="clock-skew") as refused:
        pair.target.accept(pending.message)
    with pytest.raises(TargetRefusal) as told:
        open_ap_reply(pending, refused.value.reply or b"")
    offset = measure_offset(told.value.target_time, sent=wrong, round_trip_ms=10, most_ms=MAX_TARGET_OFFSET_MS)
    assert offset is not None
    pair.target.accept(pair.request(issued, ts=Timestamp(wrong + offset)).message)


def test_a_sealed_time_with_a_slow_round_trip_teaches_nothing() -> None:
    """Section 17: sealed time with a 6 s round trip: an attacker can hold a true answer back."""
    pair = ExchangePair()
    _accepted, reply = pair.call(pair.request(pair.issue()))
    assert measure_offset(reply.target_time, sent=pair.now, round_trip_ms=6_000) is None
    assert measure_offset(reply.target_time, sent=pair.now, round_trip_ms=4_999) is not None


def test_a_lying_target_moves_its_clients_at_most_300_s() -> None:
    """A malicious target answers under a right MAC; its time serves itself only, and is capped."""
    pair = ExchangePair()
    pending = pair.request(pair.issue())
    accepted = pair.target.accept(pending.message)
    lie = open_ap_reply(pending, build_ap_reply(accepted, now=Timestamp(pair.now + 10_000_000)))
    assert measure_offset(lie.target_time, sent=pair.now, round_trip_ms=5, most_ms=MAX_TARGET_OFFSET_MS) is None


def test_an_expired_ticket_is_dead_to_the_second() -> None:
    """Section 17: expired. No grace after exp, and no request stamped before it helps."""
    pair = ExchangePair()
    issued = pair.issue(lifetime_s=30)
    pending = pair.request(issued)
    pair.realm.clock.advance(30)
    with pytest.raises(Refused, match="ticket-expired"):
        pair.target.accept(pending.message)


def test_a_time_as_large_as_it_gets_breaks_nothing() -> None:
    """Integers are bounded by the encoding; the largest is just far away."""
    pair = ExchangePair()
    issued = pair.issue()
    with pytest.raises(Refused, match="ticket-expired"):
        pair.target.accept(pair.request(issued, ts=Timestamp(2**63 - 1)).message)
    with pytest.raises(Refused, match="replayed"):
        pair.target.accept(pair.request(issued, ts=Timestamp(0)).message)


def test_the_answer_of_a_target_cannot_be_backdated_by_others() -> None:
    """An offset from an answer that is not MACed for this very request is never seen by the caller."""
    pair = ExchangePair()
    pending = pair.request(pair.issue())
    body = enc(1, pending.request.nonce, 0, bytes(8), 0, [])
    from orthros_protocol.errors import PeerMisbehaved

    for key in (bytes(32), pair.issue().pop_key):
        with pytest.raises(PeerMisbehaved, match="wrong-mac"):
            open_ap_reply(pending, enc(body, mac(key, "ap-rep.0", sha256(pending.message) + body)))
