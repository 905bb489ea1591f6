"""Tickets that were forged, edited, moved or shown to the wrong party."""

from typing import Any

import pytest

from orthros_protocol.errors import Malformed, PeerMisbehaved, Refused
from orthros_protocol.exchanges.ap_exchange import AssertedUser
from orthros_protocol.exchanges.tgs_exchange import open_tgt
from orthros_protocol.keys.role_keys import KdcMacKey, TicketKey
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import MAX_TICKET_LIFE_S
from orthros_protocol.primitives.names import Principal
from orthros_protocol.testing import IssuedTicket
from orthros_protocol.tickets.ticket import DELEGABLE, SERVICE_TICKET, TGT, open_ticket, require_kdc_mark
from tests.support.exchange_pair import ExchangePair, Instance, ask_as, ask_tgs, principal
from tests.support.naive import Sealer, ap_request, dec, kd, pop_key, raw_bind, sha256, unseal

FIELDS = [
    "version", "tid", "crealm", "cname", "cuid", "key", "iat", "exp", "auth_time", "ckid", "flags", "scopes", "caveats",
    "chain", "subject", "txn", "crit", "opt", "mac_no", "kmac",
]  # fmt: skip
EDITS: dict[str, Any] = {
    "tid": b"T" * 16, "crealm": "other.realm", "cname": "root", "cuid": 99, "key": b"K" * 32, "iat": 1, "exp": 2**40,
    "auth_time": 2**40, "ckid": b"C" * 8, "flags": DELEGABLE, "scopes": ["admin"], "chain": [[None, "a", 1]],
    "subject": [None, "ceo", 0, 1], "txn": b"X" * 16, "opt": [[1, b""]], "mac_no": 2, "kmac": bytes(16),
}  # fmt: skip


def as_issued(sealer: Sealer, body: list[Any], **changes: Any) -> IssuedTicket:
    """A ticket of any content under a stolen or own key."""
    edited = [changes.get(field, value) for field, value in zip(FIELDS, body, strict=True)]
    return IssuedTicket(
        ticket=sealer.seal(edited), session_key=edited[5], client=principal("billing"), target=principal("payroll"),
        scopes=(), exp=0,
    )  # fmt: skip


@pytest.mark.parametrize("field", EDITS)
def test_bronze_bit_cve_2020_17049_an_edited_evidence_ticket_is_not_the_kdcs(field: str) -> None:
    """Section 17: evidence edited by B in each field. B seals with its own key, but cannot make the KDC's mark."""
    pair = ExchangePair()
    sealer, key = pair.sealer(), pair.realm.root("payroll").ticket_key()
    macs = {1: pair.realm.mac_key, 2: KdcMacKey(bytes(range(32)), number=2)}
    body = sealer.open(pair.issue().ticket)
    require_kdc_mark(as_issued(sealer, body).ticket, key, macs)
    with pytest.raises(Refused, match="ticket-altered"):
        require_kdc_mark(as_issued(sealer, body, **{field: EDITS[field]}).ticket, key, macs)


def test_bronze_bit_a_mark_cannot_be_moved_to_another_service() -> None:
    """The mark covers header, realm, sname and suid, so a body marked for one service is void under another."""
    pair = ExchangePair()
    body = pair.sealer("payroll").open(pair.issue().ticket)
    moved = pair.sealer("orders").seal(body)
    with pytest.raises(Refused, match="ticket-altered"):
        require_kdc_mark(moved, pair.realm.root("orders").ticket_key(), {1: pair.realm.mac_key})


@pytest.mark.parity("H7")
def test_silver_ticket_a_stolen_service_key_forges_tickets_to_that_service_only() -> None:
    """Inherent to offline verification, hence written down: to itself a service can forge anything; to others not."""
    pair = ExchangePair()
    body = pair.sealer("payroll").open(pair.issue().ticket)
    forged = as_issued(pair.sealer("payroll"), body, cname="root", scopes=["admin"])
    assert pair.target.accept(pair.request(forged).message).ticket.client == principal("root")
    with pytest.raises(PeerMisbehaved, match="unknown-key"):
        Instance(pair.realm, "orders").accept(pair.request(forged).message)
    with pytest.raises(Refused, match="ticket-altered"):
        require_kdc_mark(forged.ticket, pair.realm.root("payroll").ticket_key(), {1: pair.realm.mac_key})


@pytest.mark.parametrize("stolen", ["payroll", "billing"])
def test_golden_ticket_a_tgt_minted_with_a_service_key_is_not_opened(stolen: str) -> None:
    """Section 17: a type-1 ticket minted with a service key shown to the KDC."""
    pair = ExchangePair()
    realm = pair.realm
    body = pair.tgt_sealer().open(pair.login().ticket)
    minted = pair.sealer(stolen, ticket_type=TGT).seal(body)
    posing = Sealer(realm.root(stolen).ticket_key().material, TGT, "test.realm", "kdc/tgt", 1, 1).seal(body)
    for tgt in (minted, posing, posing[:7] + realm.tgt_key.kid + posing[15:]):
        with pytest.raises(PeerMisbehaved, match=r"unknown-key|box-unopened"):
            open_tgt(tgt, b"", {realm.tgt_key.kid: realm.tgt_key}, {1: realm.mac_key})


def test_a_service_ticket_shown_to_the_kdc_and_a_tgt_shown_to_a_service() -> None:
    """Section 17: ticket type swapped."""
    pair = ExchangePair()
    realm = pair.realm
    service, tgt = pair.issue(), pair.login()
    with pytest.raises(PeerMisbehaved, match="unknown-key"):
        open_tgt(service.ticket, b"", {realm.tgt_key.kid: realm.tgt_key}, {1: realm.mac_key})
    presented = IssuedTicket(
        ticket=tgt.ticket, session_key=tgt.session_key, client=principal("billing"), target=principal("payroll"),
        scopes=(), exp=0,
    )  # fmt: skip
    with pytest.raises(PeerMisbehaved, match="wrong-ticket-type"):
        pair.target.accept(pair.request(presented).message)


@pytest.mark.parametrize("kind", [0, 1, 3, 4])
def test_the_type_in_the_header_cannot_be_swapped(kind: int) -> None:
    """Section 17: ticket type swapped."""
    pair = ExchangePair()
    issued = pair.issue()
    swapped = issued.ticket[:2] + bytes([kind]) + issued.ticket[3:]
    message = ap_request(
        pop_key(issued.session_key, swapped),
        swapped,
        ts=pair.now,
        epoch=pair.target.epoch,
        bind=raw_bind("payroll/run"),
    )
    with pytest.raises(PeerMisbehaved, match="wrong-ticket-type"):
        pair.target.accept(message)


def test_the_kdcs_key_in_a_services_hands_would_still_be_of_another_type() -> None:
    """CVE-2022-2031, CVE-2022-32744: KDC and kpasswd shared keys and opened each other's tickets."""
    pair = ExchangePair()
    with pytest.raises(PeerMisbehaved, match="wrong-ticket-type"):
        require_kdc_mark(pair.issue().ticket, pair.realm.tgt_key, {1: pair.realm.mac_key})
    body = pair.sealer().open(pair.issue().ticket)
    same_key = Sealer(pair.realm.tgt_key.material, SERVICE_TICKET, "test.realm", "payroll", 17, 1)
    with pytest.raises(PeerMisbehaved):
        open_tgt(same_key.seal(body), b"", {pair.realm.tgt_key.kid: pair.realm.tgt_key}, {1: pair.realm.mac_key})


@pytest.mark.parametrize(
    "other",
    [
        {"name": "payroll2"}, {"name": "payrol"}, {"realm": "other.realm"}, {"realm": "test.realm2"}, {"uid": 18},
        {"uid": 0}, {"kvno": 2},
    ],
)  # fmt: skip
def test_a_ticket_for_another_name_realm_uid_or_kvno(other: dict[str, Any]) -> None:
    """Section 17: wrong sname, realm, suid, kvno. CVE-2014-9422: no prefix of a name is that name."""
    pair = ExchangePair()
    own = pair.sealer()
    named: dict[str, Any] = {"name": own.name, "realm": own.realm, "uid": own.uid, "kvno": own.kvno} | other
    sealer = Sealer(own.material, SERVICE_TICKET, **named)
    issued = as_issued(sealer, own.open(pair.issue().ticket))
    with pytest.raises(PeerMisbehaved, match=r"box-unopened|unknown-key"):
        pair.target.accept(pair.request(issued).message)


@pytest.mark.parametrize("field", ["kid", "kvno"])
def test_a_ticket_that_points_to_another_key(field: str) -> None:
    """Section 17: wrong kvno, kid. CVE-2022-2031: never try all keys; a kid selects exactly one."""
    pair = ExchangePair()
    issued = pair.issue()
    at, value = (7, bytes(8)) if field == "kid" else (3, bytes([0, 0, 0, 9]))
    moved = issued.ticket[:at] + value + issued.ticket[at + len(value) :]
    with pytest.raises(PeerMisbehaved, match="unknown-key"):
        open_ticket(moved, pair.realm.root("payroll").ticket_key())
    with pytest.raises(PeerMisbehaved, match="unknown-key"):
        pair.target.accept(
            ap_request(pop_key(issued.session_key, moved), moved, ts=pair.now, bind=raw_bind("payroll/run"))
        )


def test_a_recreated_principal_does_not_inherit_tickets() -> None:
    """RFC 4120 section 10: do not recycle names. The same name with a new uid is another principal."""
    pair = ExchangePair()
    old = pair.realm.root("payroll").ticket_key()
    recreated = TicketKey(old.material, principal=old.principal, uid=old.uid + 1, kvno=old.kvno)
    with pytest.raises(PeerMisbehaved, match="box-unopened"):
        open_ticket(pair.issue().ticket, recreated)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"iat": -3601, "exp": 0}, "ticket-expired"),
        ({"iat": -10, "exp": -1}, "ticket-expired"),
        ({"iat": 100, "exp": 50}, "ticket-times-invalid"),
        ({"iat": 0, "exp": MAX_TICKET_LIFE_S + 1}, "ticket-times-invalid"),
        ({"iat": 301, "exp": 400}, "ticket-times-invalid"),
    ],
)
def test_tickets_with_impossible_times(changes: dict[str, int], code: str) -> None:
    """Section 17: expired; exp < iat; life over maximum."""
    pair = ExchangePair()
    issued = pair.issue(**{field: pair.second + offset for field, offset in changes.items()})
    early = Timestamp(min(pair.now, (pair.second + changes["exp"]) * 1000))
    with pytest.raises(Refused, match=code) as caught:
        pair.target.accept(pair.request(issued, ts=early).message)
    assert caught.value.reply


def test_a_life_over_the_targets_own_maximum() -> None:
    """Section 17: life over maximum, where the operator's limit is shorter than the protocol's."""
    pair = ExchangePair()
    issued = pair.issue(lifetime_s=3600)
    with pytest.raises(Refused, match="ticket-times-invalid"):
        pair.target.accept(pair.request(issued).message, max_life_s=1800)


def test_cve_2021_20288_a_ticket_names_its_client_and_the_request_cannot() -> None:
    """Any authenticated cephx client could claim another's global_id: ids come from the sealed ticket alone."""
    pair = ExchangePair()
    accepted = pair.target.accept(pair.request(pair.issue()).message)
    assert (accepted.ticket.client, accepted.ticket.client_uid) == (principal("billing"), 16)
    fields = dec(dec(accepted.request.whole)[0])
    assert not any(value in ("billing", 16) for value in fields)


def test_cve_2017_11103_orpheus_lyre_no_sealed_field_travels_in_clear() -> None:
    """There is no plaintext copy of any name, time or key that a client could read instead of the sealed one."""
    pair = ExchangePair()
    issued = pair.issue()
    body = pair.sealer().open(issued.ticket)
    assert issued.ticket[:15] == pair.sealer().header
    for secret in (b"billing", b"payroll", b"test.realm", body[5], body[1], body[15]):
        assert secret not in issued.ticket
        assert secret not in pair.request(issued).message


def test_what_travels_in_clear_is_what_the_threat_model_names() -> None:
    """A listener learns what is asked for and what holders wrote, and not who asks."""
    pair = ExchangePair()
    issued = pair.issue()
    login, asked = ask_as(pair).message, ask_tgs(pair).message
    called = pair.request(issued, user=AssertedUser("alice", 2)).message
    assert b"payroll" in asked
    assert b"alice" in called
    for message in (login, asked, called):
        assert b"billing" not in message


def test_cve_2018_16860_the_mark_is_keyed_and_covers_everything() -> None:
    """Heimdal took an unkeyed checksum for the name. Here a recomputed digest without K_kdcmac is worth nothing."""
    pair = ExchangePair()
    sealer = pair.sealer()
    body = sealer.open(pair.issue().ticket)
    for guess in (sealer.material, bytes(32), body[5], sha256(sealer.material)):
        body[19] = sealer.mark(guess, body[:19])
        with pytest.raises(Refused, match="ticket-altered"):
            require_kdc_mark(sealer.seal(body), pair.realm.root("payroll").ticket_key(), {1: pair.realm.mac_key})


def test_cve_2026_39944_a_box_of_one_purpose_is_no_ticket() -> None:
    """A handler reused for a second token format: every format has its own label and key derivation."""
    pair = ExchangePair()
    key = pair.realm.root("payroll").ticket_key()
    box = pair.issue().ticket[15:]
    for label in ("as-rep", "tgs-rep", "rec", "ticket.2"):
        with pytest.raises(ValueError, match="commitment"):
            unseal(kd(key.material, "ticket.2"), label, key.context, box)
    with pytest.raises(ValueError, match="commitment"):
        unseal(kd(key.material, "ticket.1"), "ticket", key.context, box)


def test_a_ticket_body_cannot_be_long_deep_or_strange() -> None:
    """Section 17: non-canonical msgpack, map, ext, NaN, depth bomb, trailing bytes; sealed by a dishonest service."""
    pair = ExchangePair()
    sealer, key = pair.sealer(), pair.realm.root("payroll").ticket_key()
    plain = sealer.open_bytes(pair.issue().ticket)
    for body in (
        plain + b"\0", b"\x91" * 3000, plain[:-1], b"", b"\x80", b"\x94",
        plain.replace(b"\xdc\x00\x14", b"\xdd\x00\x00\x00\x14", 1),
        plain[:3] + b"\xcc\x01" + plain[4:], plain[:3] + b"\xc3" + plain[4:],
    ):  # fmt: skip
        with pytest.raises(Malformed):
            open_ticket(sealer.seal_bytes(body), key)


def test_names_in_a_ticket_must_be_canonical() -> None:
    """Section 17: names not canonical; checked where they are parsed, also under a valid seal."""
    pair = ExchangePair()
    sealer = pair.sealer()
    body = sealer.open(pair.issue().ticket)
    for name in ("Billing", "billing ", "bi..lling", "", "b" * 129, "billing\n", "../billing"):
        with pytest.raises(Malformed):
            pair.target.accept(pair.request(as_issued(sealer, body, cname=name)).message)
    assert Principal("test.realm", "billing") == principal("billing")
