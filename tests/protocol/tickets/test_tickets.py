"""Tickets: sealed for one principal, dated, and marked so that the KDC knows its own work."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_protocol.errors import LocalMisuse, Malformed, PeerMisbehaved, Refused
from orthros_protocol.keys.role_keys import KdcMacKey, TicketKey
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import MAX_TICKET_BYTES
from orthros_protocol.tickets.caveats import ExpiresCaveat, ScopesCaveat
from orthros_protocol.tickets.ticket import (
    BY_EVIDENCE,
    DELEGABLE,
    INITIAL,
    Hop,
    Subject,
    check_flags,
    check_ticket_times,
    open_ticket,
    peek_unverified_header,
    require_kdc_mark,
)
from tests.support.exchange_pair import ExchangePair, principal
from tests.support.naive import enc
from tests.support.third_parties import ThirdParties

DAY = 86_400


def marked(pair: ExchangePair, **fields: Any) -> bytes:
    """A ticket for payroll as a KDC of a later version may write it, with a right mark."""
    second = pair.second
    body: dict[str, Any] = {
        "version": 1, "tid": b"t" * 16, "crealm": "test.realm", "cname": "billing", "cuid": 16, "key": b"k" * 32,
        "iat": second, "exp": second + 60, "auth_time": second, "ckid": b"c" * 8, "flags": 0, "scopes": ["read"],
        "caveats": b"", "chain": [], "subject": None, "txn": b"x" * 16, "crit": [], "opt": [], "mac_no": 1,
    } | fields  # fmt: skip
    sealer = pair.sealer()
    unmarked = list(body.values())
    return sealer.seal([*unmarked, sealer.mark(pair.realm.mac_key.material, unmarked)])


def test_what_the_kdc_sealed_the_service_opens() -> None:
    pair = ExchangePair()
    issued = pair.issue(flags=DELEGABLE, lifetime_s=60)
    ticket = open_ticket(issued.ticket, pair.realm.root("payroll").ticket_key())
    assert (ticket.client, ticket.server) == (principal("billing"), principal("payroll"))
    assert (ticket.client_uid, ticket.server_uid, ticket.kvno) == (16, 17, 1)
    assert (ticket.iat, ticket.exp, ticket.flags) == (pair.second, pair.second + 60, DELEGABLE)
    assert ticket.scopes == ("read", "write")
    assert ticket.session_key == issued.session_key
    assert ticket.ckid == pair.realm.root("billing").as_key().kid


def test_a_ticket_does_not_print_its_key() -> None:
    pair = ExchangePair()
    issued = pair.issue()
    ticket = open_ticket(issued.ticket, pair.realm.root("payroll").ticket_key())
    assert repr(issued.session_key)[2:30] not in repr(ticket) + repr(issued)


def test_chain_and_subject_written_by_the_kdc_are_read() -> None:
    pair = ExchangePair()
    ticket = open_ticket(
        marked(pair, chain=[[None, "gateway", 5]], subject=[None, "alice", 0, 2]),
        pair.realm.root("payroll").ticket_key(),
    )
    assert ticket.chain == (Hop(principal("gateway"), 5),)
    assert ticket.subject == Subject(principal("alice"), 0, 2)


def test_what_the_kdc_writes_about_a_call_on_behalf_comes_back() -> None:
    """Section 4: caveats, chain and subject, under the KDC's mark."""
    pair = ExchangePair()
    caveats = (ScopesCaveat(("read",)).to_bytes(), ExpiresCaveat(pair.second + 9).to_bytes())
    chain = (Hop(principal("gateway"), 5), Hop(principal("web", "other.realm"), 6))
    subject = Subject(principal("alice"), 77, BY_EVIDENCE)
    issued = pair.issue(caveats=caveats, chain=chain, subject=subject)
    ticket = require_kdc_mark(issued.ticket, pair.realm.root("payroll").ticket_key(), {1: pair.realm.mac_key})
    assert (ticket.caveats, ticket.chain, ticket.subject) == (caveats, chain, subject)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (12, b""), (12, enc(ScopesCaveat(("read", "write")).to_bytes())), (13, []), (13, [[None, "mail", 5]]),
        (13, [[None, "gateway", 6]]), (14, None), (14, [None, "bob", 77, 1]),
        (14, [None, "alice", 78, 1]), (14, [None, "alice", 77, 2]), (10, DELEGABLE),
    ],
)  # fmt: skip
def test_a_service_cannot_rewrite_whom_it_acts_for(field: int, value: Any) -> None:
    """CVE-2020-17049 (Bronze Bit): caveats, chain, subject and the delegable flag are under the KDC's mark."""
    pair = ExchangePair()
    sealer = pair.sealer()
    issued = pair.issue(
        caveats=[ScopesCaveat(("read",)).to_bytes()], chain=(Hop(principal("gateway"), 5),),
        subject=Subject(principal("alice"), 77, BY_EVIDENCE),
    )  # fmt: skip
    body = sealer.open(issued.ticket)
    body[field] = value
    edited = sealer.seal(body)
    open_ticket(edited, pair.realm.root("payroll").ticket_key())
    with pytest.raises(Refused, match="ticket-altered"):
        require_kdc_mark(edited, pair.realm.root("payroll").ticket_key(), {1: pair.realm.mac_key})


def test_more_than_a_ticket_holds_is_not_sealed() -> None:
    """A ticket that its target could not open is a fault of this side, found where it is made."""
    pair = ExchangePair()
    hop = Hop(principal("n" * 128, "r" * 128), 2**40)
    many = tuple(f"{n:02}" + "x" * 62 for n in range(32))
    for changes in (
        {"caveats": [b"x"] * 17}, {"caveats": [b"x" * 513]}, {"caveats": [b""]}, {"chain": (hop,) * 9},
        {"subject": Subject(principal("alice"), 0, 3)}, {"subject": Subject(principal("alice"), -1, 1)},
        {"caveats": [b"x" * 512] * 16},
    ):  # fmt: skip
        with pytest.raises(LocalMisuse):
            pair.issue(**changes)
    sizes = []
    for size in range(1, 512):
        try:
            ticket = pair.issue(scopes=many, chain=(hop,) * 8, caveats=[b"x" * 512] * 7 + [b"y" * size]).ticket
        except LocalMisuse:
            break
        assert open_ticket(ticket, pair.realm.root("payroll").ticket_key()).chain == (hop,) * 8
        sizes.append(len(ticket))
    assert max(sizes) == MAX_TICKET_BYTES


def test_a_ticket_does_not_print_what_the_kdc_wrote_into_it() -> None:
    """A third-party caveat of the KDC holds the secret of its discharge."""
    pair = ThirdParties()
    made = pair.by_kdc()
    ticket = open_ticket(pair.issue(caveats=[made.caveat]).ticket, pair.realm.root("payroll").ticket_key())
    assert repr(pair.opened(made.cid).root)[2:20] not in repr(ticket)


def test_the_header_is_clear_and_bound() -> None:
    pair = ExchangePair()
    key = pair.realm.root("payroll").ticket_key()
    header = peek_unverified_header(pair.issue().ticket)
    assert (header.ticket_type, header.kvno, header.kid) == (2, 1, key.kid)


@pytest.mark.parametrize(
    "ticket", [b"", b"\1\1\2" + bytes(12), b"\2\1\2" + bytes(100), b"\1\2\2" + bytes(100), bytes(9000)]
)
def test_what_does_not_look_like_a_ticket_is_malformed(ticket: bytes) -> None:
    with pytest.raises(Malformed):
        peek_unverified_header(ticket)


@pytest.mark.parametrize("kind", [0, 4, 255])
def test_an_unknown_ticket_type_is_refused(kind: int) -> None:
    with pytest.raises(PeerMisbehaved, match="wrong-ticket-type"):
        peek_unverified_header(bytes([1, 1, kind]) + bytes(100))


def test_every_flipped_bit_of_a_ticket_is_noticed() -> None:
    """CVE-2025-30156: one flipped bit made an administrator."""
    pair = ExchangePair()
    ticket, key = pair.issue().ticket, pair.realm.root("payroll").ticket_key()
    for at in range(len(ticket) * 8):
        flipped = bytearray(ticket)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises(PeerMisbehaved):
            open_ticket(bytes(flipped), key)


@pytest.mark.parametrize("end", [-1, 15, 16, 86, 87])
def test_a_shortened_ticket_is_noticed(end: int) -> None:
    pair = ExchangePair()
    with pytest.raises(PeerMisbehaved):
        open_ticket(pair.issue().ticket[:end], pair.realm.root("payroll").ticket_key())
    with pytest.raises(PeerMisbehaved):
        open_ticket(pair.issue().ticket + b"\0", pair.realm.root("payroll").ticket_key())


@pytest.mark.parametrize("field", ["realm", "name", "uid", "kvno"])
def test_a_ticket_opens_only_with_the_name_uid_and_kvno_it_was_sealed_for(field: str) -> None:
    """Section 17: wrong sname, realm, suid, kvno. The same key bytes under any other name do not open it."""
    pair = ExchangePair()
    key = pair.realm.root("payroll").ticket_key()
    other = {
        "realm": TicketKey(key.material, principal=principal("payroll", "other.realm"), uid=key.uid, kvno=1),
        "name": TicketKey(key.material, principal=principal("payroll2"), uid=key.uid, kvno=1),
        "uid": TicketKey(key.material, principal=key.principal, uid=key.uid + 1, kvno=1),
        "kvno": TicketKey(key.material, principal=key.principal, uid=key.uid, kvno=2),
    }[field]
    with pytest.raises(PeerMisbehaved):
        open_ticket(pair.issue().ticket, other)


def test_a_header_moved_to_another_box_does_not_fit() -> None:
    """Section 17: every swapped header field; the header is part of the box's context."""
    pair = ExchangePair()
    one = pair.issue().ticket
    for at, size in ((0, 1), (1, 1), (2, 1), (3, 4), (7, 8)):
        swapped = one[:at] + bytes(b ^ 3 for b in one[at : at + size]) + one[at + size :]
        with pytest.raises(PeerMisbehaved):
            open_ticket(swapped, pair.realm.root("payroll").ticket_key())


@pytest.mark.parametrize(
    "fields",
    [
        {"version": 2}, {"tid": b"t" * 15}, {"crealm": "Test"}, {"cname": ""}, {"cuid": -1}, {"key": b"k" * 31},
        {"key": "k" * 32}, {"iat": True}, {"exp": 1.5}, {"auth_time": None}, {"ckid": b""}, {"flags": 2**32},
        {"scopes": None}, {"scopes": ["write", "read"]}, {"scopes": ["read", "read"]}, {"scopes": ["*"]},
        {"scopes": [f"a{n:02}" for n in range(33)]}, {"caveats": enc()}, {"caveats": enc(*[b"x"] * 17)},
        {"chain": [[None, "a", 1]] * 9}, {"chain": [[None, "a"]]},
        {"subject": [None, "a", 0, 3]},
        {"subject": []}, {"txn": b""}, {"crit": None}, {"opt": [[2, b""], [1, b""]]}, {"mac_no": 0}, {"extra": 1},
    ],
)  # fmt: skip
def test_a_body_of_another_shape_is_malformed(fields: dict[str, Any]) -> None:
    pair = ExchangePair()
    with pytest.raises(Malformed):
        open_ticket(marked(pair, **fields), pair.realm.root("payroll").ticket_key())


@pytest.mark.parametrize("fields", [{"crit": [[1, b""]]}, {"flags": 4}, {"flags": 0x8000}])
def test_a_critical_extension_or_low_flag_of_a_newer_kdc_refuses(fields: dict[str, Any]) -> None:
    pair = ExchangePair()
    with pytest.raises(Refused, match="unsupported-critical"):
        open_ticket(marked(pair, **fields), pair.realm.root("payroll").ticket_key())


@pytest.mark.parametrize("fields", [{"opt": [[1, b"new"]]}, {"flags": 0x10000}, {"flags": 0x80000000}])
def test_an_optional_extension_or_high_flag_is_ignored(fields: dict[str, Any]) -> None:
    pair = ExchangePair()
    assert open_ticket(marked(pair, **fields), pair.realm.root("payroll").ticket_key()).scopes == ("read",)


def test_flags_of_the_critical_half_must_be_known() -> None:
    check_flags(INITIAL | DELEGABLE | 0xFFFF0000, INITIAL | DELEGABLE)
    with pytest.raises(Refused, match="unsupported-critical"):
        check_flags(4, INITIAL | DELEGABLE)


def test_the_mark_of_the_kdc_is_recognised() -> None:
    pair = ExchangePair()
    key, macs = pair.realm.root("payroll").ticket_key(), {1: pair.realm.mac_key}
    assert require_kdc_mark(pair.issue().ticket, key, macs).client == principal("billing")
    assert require_kdc_mark(marked(pair), key, macs).scopes == ("read",)


def test_a_mark_with_another_key_or_number_is_refused() -> None:
    pair = ExchangePair()
    key = pair.realm.root("payroll").ticket_key()
    for macs in ({}, {2: pair.realm.mac_key}, {1: KdcMacKey(bytes(32), number=1)}):
        with pytest.raises(Refused, match="ticket-altered"):
            require_kdc_mark(pair.issue().ticket, key, macs)


def test_a_ticket_that_does_not_fit_is_not_sealed() -> None:
    pair = ExchangePair()
    for changes in ({"exp": -1}, {"tid": b""}, {"flags": 2**32}, {"entropy": b""}, {"session_key": b""}):
        with pytest.raises(LocalMisuse):
            pair.issue(**changes)


@given(st.integers(0, 2 * DAY), st.integers(-400, 400), st.integers(-1500, 1500))
def test_times_are_judged_as_the_four_rules_say(life: int, start: int, age: int) -> None:
    """exp > now, iat <= exp, exp - iat <= maximum, iat <= now + 300."""
    pair = ExchangePair()
    second = pair.second
    iat, now = second + start, Timestamp(pair.now + age * 1000)
    issued = pair.issue(iat=iat, exp=iat + life)
    ticket = open_ticket(issued.ticket, pair.realm.root("payroll").ticket_key())
    allowed = iat + life > second + age and life <= DAY and iat <= second + age + 300
    if allowed:
        check_ticket_times(ticket, now, max_life_s=DAY)
    else:
        with pytest.raises(Refused, match="ticket-"):
            check_ticket_times(ticket, now, max_life_s=DAY)


def test_there_is_no_grace_after_the_end() -> None:
    pair = ExchangePair()
    ticket = open_ticket(pair.issue(lifetime_s=60).ticket, pair.realm.root("payroll").ticket_key())
    end = ticket.exp * 1000
    check_ticket_times(ticket, Timestamp(end - 1), max_life_s=DAY)
    with pytest.raises(Refused, match="ticket-expired"):
        check_ticket_times(ticket, Timestamp(end), max_life_s=DAY)


def test_an_end_before_the_beginning_and_too_long_a_life_are_refused() -> None:
    """Section 17: exp < iat; life over maximum."""
    pair = ExchangePair()
    key = pair.realm.root("payroll").ticket_key()
    for changes in ({"iat": pair.second + 100, "exp": pair.second + 50}, {"exp": pair.second + DAY + 1}):
        ticket = open_ticket(pair.issue(**changes).ticket, key)
        with pytest.raises(Refused, match="ticket-times-invalid"):
            check_ticket_times(ticket, pair.now, max_life_s=DAY)


def test_the_largest_ticket_fits_its_limit() -> None:
    pair = ExchangePair()
    scopes = [f"{n:02}" + "x" * 62 for n in range(32)]
    ticket = marked(pair, scopes=scopes, chain=[["r" * 128, "n" * 128, 1]] * 8, opt=[[1, b"x" * 1000]])
    assert len(ticket) < MAX_TICKET_BYTES
    assert open_ticket(ticket, pair.realm.root("payroll").ticket_key()).scopes == tuple(scopes)
