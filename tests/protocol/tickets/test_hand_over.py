"""Handing narrowed credentials to another principal, and what the receiver can and cannot do with them."""

import pickle
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from orthros_protocol.errors import LocalMisuse, Malformed, PeerMisbehaved, Refused
from orthros_protocol.primitives.limits import MAX_FRAME_BYTES, MAX_TICKET_BYTES
from orthros_protocol.testing import IssuedTicket
from orthros_protocol.tickets.attenuation import pop_key_of, tail_after, tail_of
from orthros_protocol.tickets.caveats import ScopesCaveat
from orthros_protocol.tickets.credential import Credential, Life
from orthros_protocol.tickets.hand_over import HandedOver, open_hand_over, peek_unverified_hand_over, seal_hand_over
from orthros_protocol.tickets.ticket import BY_ASSERTION, Subject
from tests.support.exchange_pair import ExchangePair, principal
from tests.support.naive import dec, enc, kd, seal, sha256

READ = ScopesCaveat(("read",)).to_bytes()


class Handing(ExchangePair):
    """billing hands a narrowed ticket for payroll to orders."""

    def __init__(self) -> None:
        super().__init__()
        self.issued = self.issue()
        self.around = self.realm.issue("billing", "orders")
        self.handed = Credential(
            ticket=self.issued.ticket, caveats=(READ,),
            tail=tail_after(tail_of(self.issued.session_key, self.issued.ticket), [READ]), target=principal("payroll"),
            target_uid=17, client=principal("billing"), scopes=("read",), life=Life.until(self.second + 60, 3600),
        )  # fmt: skip

    def sealed(self, handed: Credential | None = None, **changes: Any) -> bytes:
        given: dict[str, Any] = {
            "ticket": self.around.ticket, "pop_key": self.around.pop_key, "sender": principal("billing"),
            "receiver": principal("orders"), "entropy": self.realm.entropy(24),
        } | changes  # fmt: skip
        return seal_hand_over(handed or self.handed, **given)

    def handed_tail(self) -> bytes:
        tail = self.received(self.sealed()).credential.tail
        assert tail is not None
        return tail

    def received(self, data: bytes, name: str = "orders") -> HandedOver:
        return open_hand_over(data, self.realm.keytab(name), now=self.now)


def fields_of(handed: Credential) -> dict[str, Any]:
    return {name: getattr(handed, name) for name in (
        "ticket", "caveats", "tail", "target", "target_uid", "client", "scopes", "life", "subject", "demands",
    )}  # fmt: skip


@pytest.mark.parity("L7")
def test_what_was_handed_over_is_what_is_received() -> None:
    """Rights are handed on without asking the KDC, and the receiver knows from whom."""
    pair = Handing()
    got = pair.received(pair.sealed())
    assert (fields_of(got.credential), got.sender) == (fields_of(pair.handed), principal("billing"))


@pytest.mark.parity("L7")
def test_the_receiver_calls_with_what_it_got_and_no_more() -> None:
    """Narrowed for good: the receiver holds a tail, not the session key."""
    pair = Handing()
    got = pair.received(pair.sealed())
    key, caveats = got.credential.pop_key, got.credential.caveats
    accepted = pair.target.accept(pair.request_under(key, pair.issued, caveats=caveats).message)
    assert (accepted.scopes, accepted.ticket.client) == (("read",), principal("billing"))
    for shown in ((), (ScopesCaveat(("read", "write")).to_bytes(),), (READ, READ)):
        with pytest.raises(PeerMisbehaved, match="wrong-mac"):
            pair.target.accept(pair.request_under(key, pair.issued, caveats=shown).message)


def test_what_a_hand_over_says_in_clear_is_its_outer_ticket() -> None:
    pair = Handing()
    data = pair.sealed()
    assert peek_unverified_hand_over(data) == (pair.around.ticket, len(dec(data)[3]))
    with pytest.raises(Malformed):
        peek_unverified_hand_over(data[:-1])


def test_only_the_receiver_opens_it() -> None:
    pair = Handing()
    data = pair.sealed()
    for name in ("billing", "payroll"):
        with pytest.raises(PeerMisbehaved, match="unknown-key"):
            pair.received(data, name)


def test_a_box_does_not_come_back_to_its_sender() -> None:
    """A symmetric key with an empty context would let the box be reflected to its sender.

    orders returns the box under a ticket of its own to billing; its context names who sealed it for whom.
    """
    pair = Handing()
    back = pair.realm.issue("orders", "billing", session_key=pair.around.session_key)
    _version, _ticket, named, box = dec(pair.sealed())
    with pytest.raises(PeerMisbehaved, match="box-unopened"):
        pair.received(enc(1, back.ticket, named, box), "billing")
    for sender, receiver in (("orders", "billing"), ("billing", "billing"), ("payroll", "orders")):
        reflected = pair.sealed(sender=principal(sender), receiver=principal(receiver))
        with pytest.raises(PeerMisbehaved, match="box-unopened"):
            pair.received(reflected)


def test_the_ticket_named_outside_is_the_one_inside() -> None:
    pair = Handing()
    other = evolve(pair.handed, ticket=pair.issue().ticket)
    _version, around, named, box = dec(pair.sealed())
    with pytest.raises(PeerMisbehaved, match="box-unopened"):
        pair.received(enc(1, around, sha256(other.ticket), box))
    # A sender who names another ticket in the context and outside than he seals.
    # That is found before anything is made of the content, such as caveats.
    context = enc("deleg", "test.realm", "billing", "orders", named)
    for caveats in (b"", b"x"):
        content = enc(other.ticket, caveats, pair.handed.tail, "test.realm", "payroll", 17, "test.realm", "billing", [],
                      1, 1, None, [])  # fmt: skip
        lying = seal(kd(pair.around.pop_key, "deleg"), "deleg", context, content, bytes(24))
        with pytest.raises(PeerMisbehaved, match=r"box-unopened.*another ticket"):
            pair.received(enc(1, around, named, lying))


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"exp": 1_800_000_000}, "ticket-expired"), ({"caveats": [READ]}, "caveat-refused"),
     ({"subject": Subject(principal("alice"), 0, BY_ASSERTION)}, "user-not-accepted")],
)  # fmt: skip
def test_the_ticket_around_the_box_says_who_hands_over(changes: dict[str, Any], code: str) -> None:
    pair = Handing()
    around = pair.realm.issue("billing", "orders", **changes)
    with pytest.raises(Refused, match=code):
        pair.received(pair.sealed(ticket=around.ticket, pop_key=around.pop_key))


def test_every_flipped_bit_of_a_hand_over_is_noticed() -> None:
    """Every single flipped bit of every message."""
    pair = Handing()
    data = pair.sealed()
    for at in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises(PeerMisbehaved):
            pair.received(bytes(flipped))
    for end in range(0, len(data), 7):
        with pytest.raises(Malformed):
            pair.received(data[:end])


GOOD: dict[str, Any] = {
    "ticket": b"\1\1\2" + bytes(30), "caveats": b"", "tail": bytes(32), "realm": "a.b", "name": "c", "uid": 1,
    "crealm": "a.b", "cname": "d", "scopes": [], "expires": 1, "ttl_s": 1, "subject": None, "demands": [],
}  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"ticket": b""}, {"ticket": b"\2\1\2" + bytes(30)}, {"ticket": bytes(9000)}, {"caveats": enc()},
        {"caveats": b"x"}, {"caveats": None}, {"tail": bytes(31)}, {"realm": "A"}, {"name": ""}, {"uid": -1},
        {"crealm": None}, {"cname": "D"}, {"scopes": ["b", "a"]}, {"scopes": None}, {"expires": None}, {"ttl_s": True},
        {"subject": []}, {"subject": ["a.b", "c", 0, 3]}, {"demands": [b"x"] * 5}, {"demands": [b""]},
        {"demands": [None]}, {"demands": [bytes(4097)]}, {"more": 1},
    ],
)  # fmt: skip
def test_content_of_another_shape_is_malformed(changes: dict[str, Any]) -> None:
    pair = Handing()
    body = GOOD | changes
    named = sha256(body["ticket"])
    context = enc("deleg", "test.realm", "billing", "orders", named)

    def handed(content: bytes) -> bytes:
        box = seal(kd(pair.around.pop_key, "deleg"), "deleg", context, content, bytes(24))
        return enc(1, pair.around.ticket, named, box)

    with pytest.raises(Malformed):
        pair.received(handed(enc(*body.values())))


def test_what_does_not_fit_is_not_sealed() -> None:
    pair = Handing()
    for changes in ({"tail": b""}, {"tail": None}, {"caveats": (bytes(512),) * 17}, {"demands": (b"",)},
                    {"demands": (b"x",) * 5}, {"scopes": ("b", "a")}, {"ticket": b""}):  # fmt: skip
        with pytest.raises(LocalMisuse):
            pair.sealed(evolve(pair.handed, **changes))


def test_the_largest_hand_over_fits_a_frame() -> None:
    """The largest ticket on both sides, sixteen caveats of 512 bytes, 32 scopes and four demands of 4 KiB."""
    pair = Handing()
    ticket = b"\1\1\2" + bytes(MAX_TICKET_BYTES - 3)
    largest = evolve(
        pair.handed, ticket=ticket, caveats=(b"x" * 512,) * 16, demands=(bytes(4096),) * 4,
        scopes=tuple(f"{n:02}" + "x" * 62 for n in range(32)), subject=Subject(principal("n" * 128), 2**63 - 1, 1),
    )  # fmt: skip
    data = pair.sealed(largest)
    assert len(data) + MAX_TICKET_BYTES - len(pair.around.ticket) < MAX_FRAME_BYTES
    assert fields_of(pair.received(data).credential) == fields_of(largest)


words = st.text("abc", min_size=1, max_size=5)


@settings(max_examples=40)
@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=4), st.sets(words, max_size=4), st.integers(0, 2**63 - 1),
    st.none() | st.builds(lambda name, how: Subject(principal(name), 0, how), words, st.sampled_from([1, 2])),
    st.lists(st.binary(min_size=1, max_size=40), max_size=4),
)  # fmt: skip
def test_any_hand_over_comes_back(
    caveats: list[bytes], scopes: set[str], expires: int, subject: Subject | None, demands: list[bytes]
) -> None:
    pair = Handing()
    handed = evolve(
        pair.handed, caveats=tuple(caveats), scopes=tuple(sorted(scopes, key=lambda one: (len(one), one))),
        life=Life.until(expires, 3600), subject=subject, demands=tuple(demands),
    )  # fmt: skip
    assert fields_of(pair.received(pair.sealed(handed)).credential) == fields_of(handed)


def test_a_delegator_can_compute_its_delegates_keys() -> None:
    """Whoever holds an ancestor tail can read the delegate's traffic. Inherent, and documented."""
    pair = Handing()
    issued: IssuedTicket = pair.issued
    further = ScopesCaveat(()).to_bytes()
    at_the_delegate = pop_key_of(tail_after(pair.handed_tail(), [further]))
    assert at_the_delegate == pop_key_of(tail_after(tail_of(issued.session_key, issued.ticket), [READ, further]))


def test_what_was_handed_over_does_not_show_or_travel() -> None:
    pair = Handing()
    got = pair.received(pair.sealed())
    assert repr(got.credential.tail)[2:20] not in repr(got)
    with pytest.raises(LocalMisuse, match="secret-not-exported"):
        pickle.dumps(got)
