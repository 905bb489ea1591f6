"""The target's half of the AP exchange, and the order of its checks."""

import pickle
from typing import Any

import pytest

from orthros_protocol.errors import LocalMisuse, Malformed, PeerMisbehaved, Refused
from orthros_protocol.exchanges.acceptance import AcceptanceRules, Received, build_ap_error, judge, prove
from orthros_protocol.exchanges.ap_exchange import (
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
from orthros_protocol.exchanges.epochs import Repetition
from orthros_protocol.exchanges.replay import NO_EPOCH, Admission, Entry, Standing
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.testing import IssuedTicket
from orthros_protocol.tickets.access import Access, parse_address
from orthros_protocol.tickets.attenuation import add_caveat, join_caveats, mix_discharges, pop_key_of, tail_of
from orthros_protocol.tickets.call_chain import ChainRule
from orthros_protocol.tickets.caveats import (
    AppCaveat,
    Caveat,
    ChannelCaveat,
    ExpiresCaveat,
    MethodsCaveat,
    PathCaveat,
    PeerCaveat,
    ScopesCaveat,
    TargetsCaveat,
)
from orthros_protocol.tickets.discharges import narrow_discharge
from orthros_protocol.tickets.presented import open_presented
from orthros_protocol.tickets.ticket import Hop, Subject
from tests.support import naive
from tests.support.exchange_pair import ENDPOINT, ExchangePair, principal
from tests.support.naive import enc
from tests.support.third_parties import ThirdParties


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


@pytest.mark.parametrize("epoch", [None, b"anothers"])
def test_what_may_be_repeated_passes_at_an_instance_that_was_there_before_it(epoch: bytes | None) -> None:
    pair = ExchangePair()
    issued, store = pair.issue(), pair.store(born=Timestamp(pair.now - 5_001))
    pair.call(pair.request(issued, epoch=epoch), replay=store, repetition=Repetition.ALLOWED)
    for repetition, code in ((Repetition.UNSAFE, "epoch-required"), (Repetition.DECLINED, "not-repeatable")):
        with pytest.raises(Refused, match=code) as refused:
            pair.call(pair.request(issued, epoch=epoch), replay=store, repetition=repetition)
        assert refused.value.ready_in_ms == 0


def test_what_may_be_repeated_names_the_epoch_at_an_instance_that_is_newborn() -> None:
    """Had a copy been accepted before the memory began, nothing here would know: five seconds are the window ahead."""
    pair = ExchangePair()
    issued, store = pair.issue(), pair.store(born=Timestamp(pair.now - 4_000))
    request = pair.request(issued, epoch=None)
    with pytest.raises(Refused, match="epoch-required") as refused:
        pair.call(request, replay=store, repetition=Repetition.ALLOWED)
    with pytest.raises(TargetRefusal) as learnt:
        open_ap_reply(request, refused.value.reply or b"")
    assert (learnt.value.ready_in_ms, learnt.value.epoch) == (1_000, store.epoch)
    with pytest.raises(Refused, match="epoch-required"):
        pair.call(pair.request(issued, epoch=None, ts=Timestamp(store.born + 5_000)), replay=store,
                  repetition=Repetition.ALLOWED)  # fmt: skip
    pair.call(pair.request(issued, epoch=None, ts=Timestamp(store.born + 5_001)), replay=store,
              repetition=Repetition.ALLOWED)  # fmt: skip
    pair.call(pair.request(issued, epoch=store.epoch), replay=store)


def test_no_request_of_use_3_may_be_repeated_and_none_of_use_2_needs_an_epoch() -> None:
    pair = ExchangePair()
    issued, store = pair.issue(), pair.store(born=Timestamp(0))
    for_kdc = pair.request(issued, epoch=None, use=USE_KDC)
    with pytest.raises(Refused, match="epoch-required"):
        pair.target.accept(for_kdc.message, use=USE_KDC, replay=store, repetition=Repetition.ALLOWED)
    pair.target.accept(pair.request(issued, epoch=None, use=USE_CHANNEL).message, use=USE_CHANNEL, replay=store)


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
    """The seventeenth caveat, also when it is split over both lists."""
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
    pending = pair.request(pair.issue(), caveats=(enc(78, "x"), enc(77)))
    with pytest.raises(Refused, match=r"caveat-unsupported.*type 78\b") as refused:
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
    body[14] = [None, "alice", 0, 1]
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
    store = pair.store()
    message = pair.request(issued, ts=Timestamp(pair.now + 4_000)).message
    with pytest.raises(Refused, match="ticket-expired"):
        pair.target.accept(message, replay=store)
    assert len(store.burnt) == 0


@pytest.mark.parametrize(
    ("admission", "code"),
    [
        (Admission.FULL, "busy"), (Admission.STALE, "replayed"), (Admission.SEEN, "replayed"),
        (Admission.AHEAD, "too-far-ahead"), (Admission.QUOTA, "quota"),
    ],
)  # fmt: skip
def test_each_answer_of_a_replay_store_has_its_refusal(admission: Admission, code: str) -> None:
    class Always:
        def admit(self, entry: Entry) -> Standing:
            assert (len(entry.tag), entry.client, entry.ticket) == (16, "billing@test.realm", tid)
            return Standing(admission, b"the same", pair.now, pair.now)

    pair = ExchangePair()
    tid = b"the ticket's id."
    pending = pair.request(pair.issue(tid=tid))
    with pytest.raises(Refused, match=code) as caught:
        pair.target.accept(pending.message, replay=Always())
    with pytest.raises(TargetRefusal, match=code) as told:
        open_ap_reply(pending, caught.value.reply or b"")
    assert told.value.epoch == b"the same"


def test_a_store_that_could_not_be_asked_teaches_no_epoch() -> None:
    class Away:
        def admit(self, _entry: Entry) -> Standing:
            return Standing.unavailable(pair.now)

    pair = ExchangePair()
    for epoch in (None, NO_EPOCH):
        pending = pair.request(pair.issue(), epoch=epoch)
        with pytest.raises(Refused, match="busy") as caught:
            pair.target.accept(pending.message, replay=Away())
        with pytest.raises(TargetRefusal) as told:
            open_ap_reply(pending, caught.value.reply or b"")
        assert told.value.epoch == NO_EPOCH


def test_nothing_is_burnt_before_the_mac_is_right() -> None:
    """Replay insert before verification."""
    pair = ExchangePair()
    pending, replay = pair.request(pair.issue()), pair.store()
    for forgery in (pending.message[:-1] + b"\0", pending.message[:60] + b"\0" + pending.message[61:]):
        with pytest.raises(PeerMisbehaved):
            pair.target.accept(forgery, replay=replay)
    assert len(replay.burnt) == 0
    pair.target.accept(pending.message, replay=replay)


def test_every_refusal_after_the_mac_burns_and_answers() -> None:
    """Burn on sight, before any verdict that could change later."""
    pair = ExchangePair()
    issued, replay = pair.issue(), pair.store()
    late = Timestamp(pair.now + 6_000)
    for count, message in enumerate(
        (pair.request(issued, ts=late).message, pair.request(issued, epoch=None).message), 1
    ):
        with pytest.raises(Refused) as caught:
            pair.target.accept(message, replay=replay)
        assert caught.value.reply
        assert len(replay.burnt) == count


def test_an_answer_of_a_reason_that_never_travels_says_fault() -> None:
    pair = ExchangePair()
    pending = pair.request(pair.issue())
    error = build_ap_error(
        parse_ap_request(pending.message), pending.pop_key, Refused("wrong-state"), now=pair.now, epoch=bytes(8)
    )
    with pytest.raises(TargetRefusal, match="kdc-fault"):
        open_ap_reply(pending, error)


ALL_KNOWN: dict[str, Any] = {
    "method": "GET", "path": "/orders/7", "peer": parse_address("10.1.2.3"), "channel": b"c" * 32
}  # fmt: skip


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
    """Method, path and channel caveats make use 2 fail, whatever the verifier says that it knows."""
    pair = ExchangePair()
    issued = pair.issue()
    for use in (USE_RAW, USE_HTTP, USE_CHANNEL, USE_KDC):
        pending = pair.request(issued, use=use, caveats=(caveat.to_bytes(),))
        if use in uses:
            assert pair.target.accept(pending.message, use=use, **ALL_KNOWN).scopes == ("read", "write")
            continue
        with pytest.raises(Refused, match="caveat-refused"):
            pair.target.accept(pending.message, use=use, **ALL_KNOWN)


def test_caveats_are_judged_in_the_use_that_was_proven() -> None:
    """Not in another one that the verifier says afterwards."""
    pair = ExchangePair()
    target = pair.target
    pending = pair.request(pair.issue(), use=USE_CHANNEL, bind=None, caveats=(MethodsCaveat(("GET",)).to_bytes(),))
    opened = parse_ap_request(pending.message)
    proven = prove(
        opened,
        lambda ticket, caveats: open_presented(ticket, caveats, target.keytab),
        use=USE_CHANNEL,
        now=target.clock.now(),
    )
    said = Received(use=USE_HTTP, bind=None, **ALL_KNOWN)
    with pytest.raises(Refused, match="caveat-refused"):
        judge(proven, target.store.admit(proven.entry), said, AcceptanceRules(max_life_s=3600))


def test_caveats_are_judged_by_the_clock_of_the_request() -> None:
    """One reading of the clock, the store's: another that the caller has prolongs nothing."""
    pair = ExchangePair()
    pending = pair.request(pair.issue(), caveats=(ExpiresCaveat(pair.second).to_bytes(),))
    with pytest.raises(Refused, match="caveat-refused"):
        pair.target.accept(pending.message, now=Timestamp(pair.now - 1_000))


def test_a_refusal_by_caveat_travels_whatever_the_request_looked_like() -> None:
    """The detail goes under MAC as printable ASCII, also for a method that nobody should have let in."""
    pair = ExchangePair()
    pending = pair.request(pair.issue(), use=USE_HTTP, caveats=(MethodsCaveat(("GET",)).to_bytes(),))
    with pytest.raises(Refused, match="caveat-refused") as refused:
        pair.target.accept(pending.message, use=USE_HTTP, method="G\u00cbT\n" * 99)
    with pytest.raises(TargetRefusal, match="caveat-refused"):
        open_ap_reply(pending, refused.value.reply or b"")


def tail_behind(issued: IssuedTicket, *caveats: bytes) -> bytes:
    tail = tail_of(issued.session_key, issued.ticket)
    for caveat in caveats:
        tail = add_caveat(tail, caveat)
    return tail


READ = ScopesCaveat(("read",))


@pytest.mark.parity("L8")
def test_a_call_passes_with_the_discharge_that_a_holder_demanded() -> None:
    """Discharge by another party; its caveats bind the call like those of the ticket."""
    pair = ThirdParties()
    issued = pair.issue()
    made = pair.by_holder(tail_behind(issued))
    plain, narrow = pair.discharge(made.cid), pair.discharge(made.cid, READ)
    accepted, reply = pair.call(pair.present(issued, [plain], caveats=(made.caveat,)))
    assert (accepted.scopes, reply.epoch) == (("read", "write"), pair.target.epoch)
    assert pair.call(pair.present(issued, [narrow], caveats=(made.caveat,)))[0].scopes == ("read",)
    later = narrow_discharge(plain, READ)
    assert pair.call(pair.present(issued, [later], caveats=(made.caveat,)))[0].scopes == ("read",)


@pytest.mark.parity("L8")
def test_a_call_passes_with_the_discharge_that_the_kdc_demanded() -> None:
    """Written by the KDC into the sealed body."""
    pair = ThirdParties()
    made = pair.by_kdc()
    issued = pair.issue(caveats=[made.caveat])
    assert pair.call(pair.present(issued, [pair.discharge(made.cid, READ)]))[0].scopes == ("read",)


def test_the_tails_of_sealed_demands_are_mixed_first() -> None:
    """Those of KDC-written caveats before those of holder-added ones, each in order."""
    pair = ThirdParties()
    sealed = [pair.by_kdc(), pair.by_kdc()]
    issued = pair.issue(caveats=[sealed[0].caveat, READ.to_bytes(), sealed[1].caveat])
    first = pair.by_holder(tail_behind(issued))
    second = pair.by_holder(tail_behind(issued, first.caveat))
    caveats = (first.caveat, second.caveat)
    given = [pair.discharge(made.cid) for made in (*sealed, first, second)]
    assert pair.call(pair.present(issued, given, caveats=caveats))[0].scopes == ("read",)
    for order in ([1, 0, 2, 3], [0, 1, 3, 2], [2, 3, 0, 1]):
        shuffled = pair.present(issued, [given[at] for at in order], caveats=caveats)
        with pytest.raises(PeerMisbehaved, match="wrong-mac"):
            pair.target.accept(shuffled.message)


@pytest.mark.parametrize("count", [0, 1, 3, 4])
def test_as_many_discharges_as_are_demanded(count: int) -> None:
    """Discharge missing, extra. The holder learns it under MAC, and of whom one is demanded."""
    pair = ThirdParties()
    made = [pair.by_kdc(), pair.by_kdc()]
    issued = pair.issue(caveats=[one.caveat for one in made])
    given = [pair.discharge(one.cid) for one in made]
    key = mix_discharges(issued.pop_key, [one.tail for one in given[:count]])
    shown = [one.caveats for one in (given * 2)[:count]]
    pending = pair.request_under(key, issued, discharges=shown)
    with pytest.raises(Refused, match=r"discharge-mismatch.*approvals@test\.realm") as refused:
        pair.target.accept(pending.message)
    with pytest.raises(TargetRefusal, match="discharge-mismatch"):
        open_ap_reply(pending, refused.value.reply or b"")


def test_a_foreign_or_edited_discharge_is_a_wrong_mac() -> None:
    """Discharge foreign, self-made; caveats dropped from it, edited or reordered."""
    pair = ThirdParties()
    made, other = pair.by_kdc(), pair.by_kdc()
    issued = pair.issue(caveats=[made.caveat])
    given = pair.discharge(made.cid, READ)
    until = ExpiresCaveat(given.expires).to_bytes()
    for shown in (
        join_caveats([until]), join_caveats([READ.to_bytes(), until]),
        join_caveats([until, ScopesCaveat(("read", "write")).to_bytes()]),
        join_caveats([ExpiresCaveat(given.expires + 1).to_bytes(), READ.to_bytes()]), b"",
    ):  # fmt: skip
        with pytest.raises(PeerMisbehaved, match="wrong-mac"):
            pair.target.accept(pair.present(issued, [given], shown=[shown]).message)
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        pair.target.accept(pair.present(issued, [pair.discharge(other.cid)]).message)
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        pair.target.accept(pair.present(issued, [given.altered(tail=bytes(32))]).message)


def test_a_discharge_that_has_ended_refuses() -> None:
    """Discharge expired."""
    pair = ThirdParties()
    made = pair.by_kdc()
    issued = pair.issue(caveats=[made.caveat])
    given = pair.discharge(made.cid, lifetime_s=30)
    pair.realm.clock.advance(29)
    pair.target.accept(pair.present(issued, [given]).message)
    pair.realm.clock.advance(1)
    with pytest.raises(Refused, match=r"caveat-refused.*expires"):
        pair.target.accept(pair.present(issued, [given]).message)


@pytest.mark.parametrize(
    ("rows", "code"),
    [([READ.to_bytes()], "discharge-mismatch"), ([enc(1, 2_000_000_000), enc(1)], "discharge-mismatch"),
     ([enc(1, 2_000_000_000), enc(77)], "caveat-unsupported"), ([], "discharge-mismatch"),
     ([enc(1, 2_000_000_000), TargetsCaveat((principal("payroll"),)).to_bytes()], "caveat-refused"),
     ([enc(1, 2_000_000_000), AppCaveat("a/b", b"").to_bytes()], "caveat-refused")],
)  # fmt: skip
def test_a_discharge_of_a_careless_discharger_is_refused_under_mac(rows: list[bytes], code: str) -> None:
    """A discharge without an end, of another shape or of unknown caveats: the tail fits, so the answer is an AP-ERR."""
    pair = ThirdParties()
    made = pair.by_kdc()
    issued = pair.issue(caveats=[made.caveat])
    tail = naive.kd(pair.opened(made.cid).root, "dis", naive.sha256(made.cid))
    for row in rows:
        tail = add_caveat(tail, row)
    careless = pair.discharge(made.cid).altered(tail=tail, caveats=join_caveats(rows))
    pending = pair.present(issued, [careless])
    with pytest.raises(Refused, match=code) as refused:
        pair.target.accept(pending.message)
    with pytest.raises(TargetRefusal, match=code):
        open_ap_reply(pending, refused.value.reply or b"")


def test_a_field_of_discharge_caveats_that_is_none_is_malformed() -> None:
    pair = ThirdParties()
    made = pair.by_kdc()
    issued = pair.issue(caveats=[made.caveat])
    with pytest.raises(Malformed):
        pair.target.accept(pair.present(issued, [pair.discharge(made.cid)], shown=[b"x"]).message)


def test_a_third_party_caveat_stands_where_it_belongs() -> None:
    """A salt inside the sealed body, or a root outside, is nobody's construction: the holder would choose the key."""
    pair = ThirdParties()
    by_kdc = pair.by_kdc()
    by_holder = pair.by_holder(tail_behind(pair.issue()))
    with pytest.raises(Malformed, match="not its own"):
        pair.target.accept(pair.request(pair.issue(), caveats=(by_kdc.caveat,)).message)
    with pytest.raises(Malformed, match="not its own"):
        pair.target.accept(pair.request(pair.issue(caveats=[by_holder.caveat])).message)


def test_a_sealed_caveat_that_this_version_does_not_know_refuses_under_mac() -> None:
    """An unknown type refuses, also one that the KDC wrote."""
    pair = ExchangePair()
    pending = pair.request(pair.issue(caveats=[READ.to_bytes(), enc(77)]))
    with pytest.raises(Refused, match=r"caveat-unsupported.*type 77\b") as refused:
        pair.target.accept(pending.message)
    with pytest.raises(TargetRefusal, match="caveat-unsupported"):
        open_ap_reply(pending, refused.value.reply or b"")


def test_a_ticket_of_another_type_or_for_another_key_is_not_opened() -> None:
    """Ticket type swapped; wrong kid."""
    pair = ExchangePair()
    for ticket, code in ((pair.login().ticket, "wrong-ticket-type"),
                         (pair.realm.issue("billing", "orders").ticket, "unknown-key")):  # fmt: skip
        with pytest.raises(PeerMisbehaved, match=code):
            open_presented(ticket, b"", pair.realm.keytab("payroll"))


def test_a_holder_cannot_drop_the_demand_of_another() -> None:
    """Caveat dropped: the tail behind the demand does not lead back before it."""
    pair = ThirdParties()
    issued = pair.issue()
    made = pair.by_holder(tail_behind(issued))
    key = pop_key_of(add_caveat(tail_behind(issued), made.caveat))
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        pair.target.accept(pair.request_under(key, issued).message)
    sealed = pair.issue(caveats=[pair.by_kdc().caveat])
    with pytest.raises(Refused, match="discharge-mismatch"):
        pair.target.accept(pair.request(sealed).message)


def test_the_verifier_says_that_discharges_were_proven_not_the_caller() -> None:
    pair = ThirdParties()
    made = pair.by_kdc()
    issued = pair.issue(caveats=[made.caveat])
    with pytest.raises(Refused, match="discharge-mismatch"):
        pair.target.accept(pair.request(issued).message, **ALL_KNOWN)


def test_five_demands_can_never_be_met() -> None:
    """At most four discharges."""
    pair = ThirdParties()
    made = [pair.by_kdc() for _ in range(5)]
    issued = pair.issue(caveats=[one.caveat for one in made])
    given = [pair.discharge(one.cid) for one in made]
    with pytest.raises(LocalMisuse):
        pair.present(issued, given)
    with pytest.raises(Refused, match="discharge-mismatch"):
        pair.target.accept(pair.present(issued, given[:4]).message)


def test_a_service_judges_the_caveats_that_it_registered() -> None:
    """Section 9, type 9; an unregistered namespace refuses."""
    pair = ExchangePair()
    issued = pair.issue()
    seen: list[Access] = []

    def only_run_7(payload: bytes, access: Access) -> str | None:
        seen.append(access)
        return None if payload == b"7" else "another run"

    app = ALL_KNOWN | {"app_caveats": {"payroll/run": only_run_7}}
    cases: list[tuple[bytes, str, dict[str, Any], str | None]] = [
        (b"7", "payroll/run", app, None), (b"8", "payroll/run", app, "another run"),
        (b"7", "payroll/walk", app, "payroll/walk"), (b"7", "payroll/run", {}, "payroll/run"),
    ]  # fmt: skip
    for payload, name, options, detail in cases:
        pending = pair.request(issued, caveats=(AppCaveat(name, payload).to_bytes(),))
        if detail is None:
            assert pair.target.accept(pending.message, **options).scopes == ("read", "write")
        else:
            with pytest.raises(Refused, match=f"caveat-refused.*{detail}"):
                pair.target.accept(pending.message, **options)
    assert [one.now for one in seen] == [pair.now, pair.now]
    assert seen[0].method is None, "a raw request has none, whatever the verifier says that it knows"


def test_the_words_of_a_service_travel_whatever_they_are() -> None:
    pair = ExchangePair()
    pending = pair.request(pair.issue(), caveats=(AppCaveat("payroll/run", b"").to_bytes(),))
    rules: dict[str, Any] = {"payroll/run": lambda *_: "nur f\u00fcr Lauf 7\n" * 40}
    with pytest.raises(Refused, match="caveat-refused") as refused:
        pair.target.accept(pending.message, app_caveats=rules)
    with pytest.raises(TargetRefusal, match="caveat-refused"):
        open_ap_reply(pending, refused.value.reply or b"")


def on_behalf(pair: ExchangePair, *via: str, **changes: Any) -> IssuedTicket:
    """billing's ticket for payroll, on behalf of alice, who came through `via`."""
    chain = tuple(Hop(principal(name), pair.second) for name in via)
    return pair.issue(chain=chain, subject=Subject(principal("alice"), 0, 1), **changes)


def test_a_target_demands_or_forbids_paths() -> None:
    """Section 11: C applies its own chain rules: deny-via, require-via, depth, itself."""
    pair = ExchangePair()
    through = on_behalf(pair, "gateway", "orders")
    cases: list[tuple[IssuedTicket, ChainRule, bool]] = [
        (through, ChainRule(), True),
        (through, ChainRule(deny_via=("orders",)), False), (through, ChainRule(deny_via=("billing",)), False),
        (through, ChainRule(require_via=("gateway", "billing")), True),
        (through, ChainRule(require_via=("mail",)), False),
        (through, ChainRule(max_depth=2), True), (through, ChainRule(max_depth=1), False),
        (on_behalf(pair, "payroll"), ChainRule(), False), (on_behalf(pair, "billing"), ChainRule(), False),
        (on_behalf(pair, "payroll"), ChainRule(callbacks=True), True),
        (pair.issue(), ChainRule(deny_via=("billing",), max_depth=0), True),
        (pair.issue(), ChainRule(require_via=("gateway",)), False),
    ]  # fmt: skip
    for issued, rule, allowed in cases:
        pending = pair.request(issued)
        if allowed:
            assert pair.target.accept(pending.message, chain=rule, accept_user=True).scopes
            continue
        with pytest.raises(Refused, match="chain-refused") as refused:
            pair.target.accept(pending.message, chain=rule, accept_user=True)
        with pytest.raises(TargetRefusal, match="chain-refused"):
            open_ap_reply(pending, refused.value.reply or b"")


def test_without_a_rule_nobody_calls_in_a_circle() -> None:
    """Target in chain, self in chain: refused by default."""
    pair = ExchangePair()
    for via in (("payroll",), ("gateway", "billing")):
        with pytest.raises(Refused, match="chain-refused"):
            pair.target.accept(pair.request(on_behalf(pair, *via)).message, accept_user=True)
    with pytest.raises(Refused, match="user-not-accepted"):
        pair.target.accept(pair.request(on_behalf(pair, "gateway")).message)


@pytest.mark.parametrize("wrong", ["caveat", "discharge", "epoch", "chain"])
def test_the_first_thing_wrong_is_what_is_named(wrong: str) -> None:
    """docs/protocol/ap_exchange.md: epoch, bind, discharges, caveats, chain, user: in this order."""
    pair = ThirdParties()
    order = ["epoch", "discharge", "caveat", "chain"]
    also = order[order.index(wrong) :]
    chain = (Hop(principal("payroll"), 1),) if "chain" in also else ()
    made = pair.by_kdc()
    caveats = [made.caveat, *([ScopesCaveat(()).to_bytes(), enc(1, pair.second)] if "caveat" in also else [])]
    issued = pair.issue(chain=chain, subject=Subject(principal("alice"), 0, 1), caveats=caveats)
    given = [] if "discharge" in also else [pair.discharge(made.cid)]
    options: dict[str, Any] = {"epoch": None} if "epoch" in also else {}
    codes = {"epoch": "epoch-required", "discharge": "discharge-mismatch", "caveat": "caveat-refused",
             "chain": "chain-refused"}  # fmt: skip
    with pytest.raises(Refused, match=codes[wrong]):
        pair.target.accept(pair.present(issued, given, **options).message)


def test_what_was_opened_and_accepted_keeps_its_keys() -> None:
    """Not in any text form, and not in a pickle: also the secret of a demand in the sealed body."""
    pair = ThirdParties()
    made = pair.by_kdc()
    root = pair.opened(made.cid).root
    issued = pair.issue(caveats=[made.caveat])
    presented = open_presented(issued.ticket, b"", pair.realm.keytab("payroll"))
    accepted = pair.target.accept(pair.present(issued, [pair.discharge(made.cid)]).message)
    for holder in (presented, accepted, presented.ticket):
        for secret in (root, presented.roots[0], presented.pop_key, accepted.pop_key, accepted.proof,
                       issued.session_key):  # fmt: skip
            assert repr(secret)[2:20] not in repr(holder)
        with pytest.raises(LocalMisuse, match="secret-not-exported"):
            pickle.dumps(holder)
