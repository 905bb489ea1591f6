"""The target's half of the AP exchange, and the order of its checks."""

from typing import Any

import pytest

from orthros_protocol import (
    SAFE,
    USE_CHANNEL,
    USE_HTTP,
    USE_KDC,
    USE_RAW,
    Access,
    Admission,
    ApRequest,
    AssertedUser,
    Caveat,
    ChannelCaveat,
    ExpiresCaveat,
    LocalMisuse,
    Malformed,
    MethodsCaveat,
    PathCaveat,
    PeerCaveat,
    PeerMisbehaved,
    Refused,
    ReplaySet,
    ScopesCaveat,
    TargetRefusal,
    Timestamp,
    bind_raw,
    build_ap_error,
    open_ap_reply,
    parse_address,
    parse_ap_request,
)
from orthros_protocol.testing import IssuedTicket
from tests.support import naive
from tests.support.exchange_pair import ENDPOINT, ExchangePair, principal
from tests.support.naive import enc


def forged(pair: ExchangePair, issued: IssuedTicket, **changes: Any) -> bytes:
    """An AP-REQ of any content that the ticket's holder could make, with a right MAC."""
    given: dict[str, Any] = {
        "ts": pair.now, "epoch": pair.target.epoch, "bind": bind_raw(ENDPOINT), "nonce": pair.realm.entropy(16)
    } | changes  # fmt: skip
    return naive.ap_request(issued.pop_key, issued.ticket, **given)


def test_a_channel_needs_no_bind_but_honours_one() -> None:
    pair = ExchangePair()
    issued = pair.issue()
    pair.call(pair.request(issued, use=USE_CHANNEL, bind=None), use=USE_CHANNEL, bind=None)
    for said, seen in ((bind_raw("a"), None), (None, bind_raw("a")), (bind_raw("a"), bind_raw("b"))):
        with pytest.raises(Refused, match="wrong-binding"):
            pair.call(pair.request(issued, use=USE_CHANNEL, bind=said), use=USE_CHANNEL, bind=seen)


def test_any_other_use_needs_one() -> None:
    pair = ExchangePair()
    issued = pair.issue()
    with pytest.raises(LocalMisuse, match="bind"):
        pair.request(issued, bind=None)
    for said, seen in ((None, bind_raw(ENDPOINT)), (bind_raw(ENDPOINT), None)):
        with pytest.raises(Refused, match="wrong-binding"):
            pair.target.accept(forged(pair, issued, bind=said), bind=seen)


@pytest.mark.parametrize(("endpoint", "payload"), [("payroll/stop", b""), (ENDPOINT, b"x"), ("payroll/rub", b"")])
def test_a_request_is_for_one_endpoint_and_payload(endpoint: str, payload: bytes) -> None:
    pair = ExchangePair()
    with pytest.raises(Refused, match="wrong-binding") as caught:
        pair.target.accept(pair.request(pair.issue()).message, endpoint=endpoint, payload=payload)
    assert caught.value.reply


def test_a_first_contact_learns_the_epoch_from_the_refusal() -> None:
    pair = ExchangePair()
    issued = pair.issue()
    first = pair.request(issued, epoch=None)
    with pytest.raises(Refused, match="epoch-required") as refused:
        pair.target.accept(first.message)
    with pytest.raises(TargetRefusal, match="epoch-required") as learnt:
        open_ap_reply(first, refused.value.reply or b"")
    assert learnt.value.target_time == pair.now
    pair.call(pair.request(issued, epoch=learnt.value.epoch))


def test_an_opt_out_decides_about_requests_without_epoch_only() -> None:
    pair = ExchangePair()
    issued = pair.issue()
    asked: list[ApRequest] = []

    def safe_ones(request: ApRequest, now: Timestamp) -> bool:
        asked.append(request)
        return bool(request.flags & SAFE) and now == pair.now

    pair.call(pair.request(issued, epoch=None, flags=SAFE), epochless=safe_ones)
    with pytest.raises(Refused, match="epoch-required"):
        pair.call(pair.request(issued, epoch=None), epochless=safe_ones)
    with pytest.raises(Refused, match="epoch-required"):
        pair.call(pair.request(issued, epoch=b"anothers", flags=SAFE), epochless=safe_ones)
    assert len(asked) == 2


def test_offline_caveats_narrow_the_scopes() -> None:
    pair = ExchangePair()
    caveats = (ScopesCaveat(("read", "admin")).to_bytes(), ExpiresCaveat(pair.second + 60).to_bytes())
    accepted, _reply = pair.call(pair.request(pair.issue(), caveats=caveats))
    assert accepted.scopes == ("read",)


def test_a_caveat_that_does_not_hold_refuses() -> None:
    pair = ExchangePair()
    with pytest.raises(Refused, match="caveat-refused"):
        pair.call(pair.request(pair.issue(), caveats=(ExpiresCaveat(pair.second).to_bytes(),)))


def test_caveats_written_by_the_kdc_bind_without_touching_the_tail() -> None:
    """They sit in the sealed body and bind everyone; the tail hangs off the offline ones alone."""
    pair = ExchangePair()
    sealer = pair.sealer()
    body = sealer.open(pair.issue().ticket)
    body[12] = enc(ScopesCaveat(("read",)).to_bytes())
    ticket = sealer.seal(body)
    message = naive.ap_request(
        naive.pop_key(body[5], ticket), ticket, ts=pair.now, epoch=pair.target.epoch, bind=bind_raw(ENDPOINT)
    )
    assert pair.target.accept(message).scopes == ("read",)


def test_sealed_and_shown_caveats_together_are_at_most_sixteen() -> None:
    """Section 17: the seventeenth caveat, also when it is split over both lists."""
    pair = ExchangePair()
    sealer = pair.sealer()
    caveat = ScopesCaveat(("read",)).to_bytes()
    body = sealer.open(pair.issue().ticket)
    body[12] = enc(*[caveat] * 9)
    ticket = sealer.seal(body)

    def shown(count: int) -> bytes:
        held = (caveat,) * count
        return naive.ap_request(
            naive.pop_key(body[5], ticket, held), ticket, caveats=enc(*held), ts=pair.now, epoch=pair.target.epoch,
            bind=bind_raw(ENDPOINT),
        )  # fmt: skip

    assert pair.target.accept(shown(7)).scopes == ("read",)
    with pytest.raises(Malformed, match="more than 16 caveats"):
        pair.target.accept(shown(8))


def test_an_unknown_caveat_is_refused_under_mac_and_burnt() -> None:
    """Meaning only after the MAC: the holder learns why, a forger learns nothing."""
    pair = ExchangePair()
    pending = pair.request(pair.issue(), caveats=(enc(9, "x"), enc(77)))
    with pytest.raises(Refused, match=r"caveat-unsupported.*type 9\b") as refused:
        pair.target.accept(pending.message)
    with pytest.raises(TargetRefusal, match="caveat-unsupported"):
        open_ap_reply(pending, refused.value.reply or b"")
    with pytest.raises(Refused, match="replayed"):
        pair.target.accept(pending.message)
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        pair.target.accept(pending.message[:-1] + b"\0")


def test_a_user_passes_where_the_handler_and_the_scope_allow_it() -> None:
    pair = ExchangePair()
    alice = AssertedUser("alice", 2)
    gateway = pair.issue(scopes=("assert-user",))
    accepted, _reply = pair.call(pair.request(gateway, user=alice), accept_user=True)
    assert accepted.user == alice
    for issued, options in ((gateway, {}), (pair.issue(), {"accept_user": True})):
        with pytest.raises(Refused, match="user-not-accepted"):
            pair.call(pair.request(issued, user=alice), **options)
    narrowed = pair.request(gateway, user=alice, caveats=(ScopesCaveat(()).to_bytes(),))
    with pytest.raises(Refused, match="user-not-accepted"):
        pair.call(narrowed, accept_user=True)


def test_a_ticket_with_a_subject_needs_a_handler_that_serves_others() -> None:
    pair = ExchangePair()
    sealer = pair.sealer()
    body = sealer.open(pair.issue().ticket)
    body[14] = ["test.realm", "alice", 0, 1]
    ticket = sealer.seal(body)
    issued = IssuedTicket(
        ticket=ticket, session_key=body[5], client=principal("billing"), target=principal("payroll"), scopes=(), exp=0
    )
    with pytest.raises(Refused, match="user-not-accepted"):
        pair.target.accept(pair.request(issued).message)
    accepted, _reply = pair.call(pair.request(issued), accept_user=True)
    assert accepted.ticket.subject is not None


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"flags": 2}, "unsupported-critical"),
        ({"flags": 0x8001}, "unsupported-critical"),
        ({"crit": [[9, b""]]}, "unsupported-critical"),
        ({"dis": [b""]}, "discharge-mismatch"),
        ({"epoch": b"anothers"}, "epoch-required"),
    ],
)
def test_what_the_target_must_not_ignore_is_refused_under_mac(changes: dict[str, Any], code: str) -> None:
    pair = ExchangePair()
    with pytest.raises(Refused, match=code) as caught:
        pair.target.accept(forged(pair, pair.issue(), **changes))
    assert caught.value.reply


@pytest.mark.parametrize("changes", [{"flags": 0x10000}, {"opt": [[9, b"new"]]}])
def test_what_is_optional_is_ignored(changes: dict[str, Any]) -> None:
    pair = ExchangePair()
    assert pair.target.accept(forged(pair, pair.issue(), **changes)).scopes == ("read", "write")


def test_an_authenticator_dated_after_the_tickets_end_takes_no_room() -> None:
    pair = ExchangePair()
    issued = pair.issue(lifetime_s=2)
    replay = ReplaySet()
    with pytest.raises(Refused, match="ticket-expired"):
        pair.target.accept(pair.request(issued, now=Timestamp(pair.now + 4_000)).message, replay=replay)
    assert len(replay) == 0


@pytest.mark.parametrize(("admission", "code"), [("full", "busy"), ("stale", "clock-skew"), ("seen", "replayed")])
def test_each_answer_of_a_replay_cache_has_its_refusal(admission: str, code: str) -> None:
    class Always:
        def admit(self, tag: bytes, ts: Timestamp, now: Timestamp, client: str) -> Admission:
            assert (len(tag), client) == (16, "billing@test.realm")
            return Admission(admission)

    pair = ExchangePair()
    with pytest.raises(Refused, match=code) as caught:
        pair.target.accept(pair.request(pair.issue()).message, replay=Always())
    assert caught.value.reply


def test_nothing_is_burnt_before_the_mac_is_right() -> None:
    """Section 18: replay insert before verification."""
    pair = ExchangePair()
    pending, replay = pair.request(pair.issue()), ReplaySet()
    for forgery in (pending.message[:-1] + b"\0", pending.message[:60] + b"\0" + pending.message[61:]):
        with pytest.raises(PeerMisbehaved):
            pair.target.accept(forgery, replay=replay)
    assert len(replay) == 0
    pair.target.accept(pending.message, replay=replay)


def test_every_refusal_after_the_mac_burns_and_answers() -> None:
    """Section 7: burn on sight, before any verdict that could change later."""
    pair = ExchangePair()
    issued, replay = pair.issue(), ReplaySet()
    late = Timestamp(pair.now + 6_000)
    for count, message in enumerate(
        (pair.request(issued, now=late).message, pair.request(issued, epoch=None).message), 1
    ):
        with pytest.raises(Refused) as caught:
            pair.target.accept(message, replay=replay)
        assert caught.value.reply
        assert len(replay) == count


def test_an_answer_of_a_reason_that_never_travels_says_fault() -> None:
    pair = ExchangePair()
    pending = pair.request(pair.issue())
    error = build_ap_error(
        parse_ap_request(pending.message), pending.pop_key, Refused("wrong-state"), now=pair.now, epoch=bytes(8)
    )
    with pytest.raises(TargetRefusal, match="kdc-fault"):
        open_ap_reply(pending, error)


ALL_KNOWN = Access(
    now=Timestamp(0), method="GET", path="/orders/7", peer=parse_address("10.1.2.3"), channel=b"c" * 32
)  # fmt: skip


@pytest.mark.parametrize(
    ("caveat", "uses"),
    [
        (MethodsCaveat(("GET",)), {USE_HTTP}),
        (PathCaveat("/orders"), {USE_HTTP}),
        (PeerCaveat(("10.0.0.0/8",)), {USE_RAW, USE_HTTP, USE_CHANNEL, USE_KDC}),
        (ChannelCaveat(b"c" * 32), {USE_RAW, USE_HTTP, USE_KDC}),
    ],
    ids=["methods", "path", "peer", "channel"],
)
def test_a_caveat_holds_only_in_the_uses_where_its_fact_exists(caveat: Caveat, uses: set[int]) -> None:
    """Section 9: method, path and channel caveats make use 2 fail, whatever the verifier says that it knows."""
    pair = ExchangePair()
    issued = pair.issue()
    for use in (USE_RAW, USE_HTTP, USE_CHANNEL, USE_KDC):
        pending = pair.request(issued, use=use, caveats=(caveat.to_bytes(),))
        if use in uses:
            assert pair.target.accept(pending.message, use=use, access=ALL_KNOWN).scopes == ("read", "write")
            continue
        with pytest.raises(Refused, match="caveat-refused"):
            pair.target.accept(pending.message, use=use, access=ALL_KNOWN)


def test_caveats_are_judged_by_the_clock_of_the_request() -> None:
    """One reading of the clock: an access of another time prolongs nothing."""
    pair = ExchangePair()
    pending = pair.request(pair.issue(), caveats=(ExpiresCaveat(pair.second).to_bytes(),))
    with pytest.raises(Refused, match="caveat-refused"):
        pair.target.accept(pending.message, access=ALL_KNOWN)


def test_a_refusal_by_caveat_travels_whatever_the_request_looked_like() -> None:
    """The detail goes under MAC as printable ASCII, also for a method that nobody should have let in."""
    pair = ExchangePair()
    pending = pair.request(pair.issue(), use=USE_HTTP, caveats=(MethodsCaveat(("GET",)).to_bytes(),))
    with pytest.raises(Refused, match="caveat-refused") as refused:
        pair.target.accept(
            pending.message, use=USE_HTTP, access=Access(now=pair.now, method="G\u00cbT\n" * 99)
        )  # fmt: skip
    with pytest.raises(TargetRefusal, match="caveat-refused"):
        open_ap_reply(pending, refused.value.reply or b"")
