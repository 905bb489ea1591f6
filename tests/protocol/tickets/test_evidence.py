"""On whose behalf: what the client shows, and what only somebody who opened the evidence can make."""

import pickle
from typing import Any

import pytest

from orthros_protocol.errors import LocalMisuse, Malformed, PeerMisbehaved, Refused
from orthros_protocol.keys.role_keys import KdcMacKey
from orthros_protocol.primitives.names import Principal
from orthros_protocol.tickets.attenuation import join_caveats
from orthros_protocol.tickets.caveats import ScopesCaveat
from orthros_protocol.tickets.evidence import (
    Behalf,
    UnverifiedBehalf,
    evidence_proof,
    mixed_with_evidence,
    open_evidence,
    peek_unverified_evidence,
)
from orthros_protocol.tickets.ticket import DELEGABLE, Subject
from tests.support.exchange_pair import ExchangePair, principal
from tests.support.naive import kd, sha256

READ = join_caveats([ScopesCaveat(("read",)).to_bytes()])
ALICE = principal("alice")


def shown(ticket: bytes | None, caveats: bytes = b"", subject: Subject | None = None) -> UnverifiedBehalf:
    return UnverifiedBehalf(evidence=ticket, caveats=caveats, subject=subject)


def test_the_proof_takes_the_session_key_of_the_very_ticket() -> None:
    """Section 11: KD(K_pop(tgt), "evmix", KD(k_evidence, "evid", H(evidence)))."""
    pair = ExchangePair()
    issued = pair.issue()
    proof = evidence_proof(issued.session_key, issued.ticket)
    assert proof == kd(issued.session_key, "evid", sha256(issued.ticket))
    assert mixed_with_evidence(bytes(32), proof) == kd(bytes(32), "evmix", proof)
    assert evidence_proof(issued.session_key, pair.issue().ticket) != proof
    assert pair.target.accept(pair.request(issued).message).proof == proof


def test_the_kdc_opens_its_own_ticket_with_the_askers_key() -> None:
    pair = ExchangePair()
    issued = pair.issue(flags=DELEGABLE)
    key, macs = pair.realm.root("payroll").ticket_key(), {1: pair.realm.mac_key}
    opened = open_evidence(shown(issued.ticket, READ), key, macs)
    assert (opened.ticket.client, opened.ticket.flags) == (principal("billing"), DELEGABLE)
    assert opened.caveats == (ScopesCaveat(("read",)).to_bytes(),)
    assert opened.proof == evidence_proof(issued.session_key, issued.ticket)
    header = peek_unverified_evidence(shown(issued.ticket))
    assert header is not None
    assert header.kid == key.kid
    assert peek_unverified_evidence(shown(None, subject=Subject(ALICE, 0, 2))) is None


EDITS: dict[int, Any] = {
    1: bytes(16), 2: "other.realm", 3: "root", 4: 99, 5: bytes(32), 6: 1, 7: 1_900_000_000, 8: 1, 9: bytes(8),
    10: DELEGABLE, 11: ["admin"], 12: b"", 13: [[None, "gateway", 1]], 14: [None, "alice", 0, 1],
    15: bytes(16), 17: [[1, b""]], 18: 2,
}  # fmt: skip


@pytest.mark.parametrize("field", EDITS)
def test_evidence_that_its_service_edited_is_not_the_kdcs(field: int) -> None:
    """CVE-2020-17049 (Bronze Bit), for every field: a service can re-seal what is sealed under its own key."""
    pair = ExchangePair()
    sealer = pair.sealer()
    ticket = pair.issue(caveats=[ScopesCaveat(("read",)).to_bytes()]).ticket
    body = sealer.open(ticket)
    assert body[field] != EDITS[field]
    body[field] = EDITS[field]
    edited = sealer.seal(body)
    with pytest.raises(Refused, match="ticket-altered"):
        open_evidence(shown(edited), pair.realm.root("payroll").ticket_key(), {1: pair.realm.mac_key})


def test_evidence_is_a_service_ticket_under_the_askers_key() -> None:
    pair = ExchangePair()
    issued, macs = pair.issue(), {1: pair.realm.mac_key}
    with pytest.raises(PeerMisbehaved, match="unknown-key"):
        open_evidence(shown(issued.ticket), pair.realm.root("orders").ticket_key(), macs)
    with pytest.raises(PeerMisbehaved, match="wrong-ticket-type"):
        peek_unverified_evidence(shown(pair.login().ticket))
    with pytest.raises(PeerMisbehaved, match="wrong-ticket-type"):
        open_evidence(shown(pair.login().ticket), pair.realm.root("payroll").ticket_key(), macs)
    with pytest.raises(Refused, match="ticket-altered"):
        open_evidence(
            shown(issued.ticket), pair.realm.root("payroll").ticket_key(), {1: KdcMacKey(bytes(32), number=1)}
        )
    with pytest.raises(Malformed):
        open_evidence(shown(issued.ticket, b"x"), pair.realm.root("payroll").ticket_key(), macs)
    with pytest.raises(LocalMisuse, match="no evidence"):
        open_evidence(shown(None), pair.realm.root("payroll").ticket_key(), macs)


EVIDENCE = b"\1\1\2" + bytes(40)


@pytest.mark.parametrize(
    "given",
    [
        {}, {"evidence": EVIDENCE}, {"proof": bytes(32)}, {"caveats": READ, "subject": ALICE},
        {"evidence": EVIDENCE, "proof": bytes(32), "subject": ALICE}, {"subject": ALICE, "proof": bytes(32)},
        {"subject": ALICE, "evidence": EVIDENCE},
    ],
)  # fmt: skip
def test_a_client_shows_either_evidence_or_a_subject(given: dict[str, Any]) -> None:
    """Section 6: exactly one of evidence, subject."""
    with pytest.raises(LocalMisuse, match="either"):
        Behalf(**given)


@pytest.mark.parametrize(
    "items",
    [
        (None, b"", None), (EVIDENCE, b"", ["test.realm", "alice", 0, 2]), (None, READ, ["test.realm", "alice", 0, 2]),
        (None, b"", ["test.realm", "alice", 0, 1]), (None, b"", ["test.realm", "alice", 7, 2]),
    ],
)  # fmt: skip
def test_a_behalf_that_says_too_much_is_malformed(items: tuple[Any, ...]) -> None:
    """A client names no uid and never calls its own word proven."""
    UnverifiedBehalf.check(list(items))
    with pytest.raises(Malformed):
        UnverifiedBehalf.of_items(list(items)).require_sense()


def test_what_a_client_shows_is_what_the_kdc_reads() -> None:
    behalf = UnverifiedBehalf.of_items(Behalf(evidence=EVIDENCE, caveats=READ, proof=bytes(32)).shown().to_items())
    assert (behalf.evidence, behalf.caveats, behalf.subject) == (EVIDENCE, READ, None)
    asserted = UnverifiedBehalf.of_items(Behalf(subject=ALICE).shown().to_items())
    assert (asserted.evidence, asserted.caveats, asserted.subject) == (None, b"", Subject(ALICE, 0, 2))


def test_a_lineage_tells_every_two_behalfs_apart() -> None:
    """Section 6: the client's cache is keyed by it, so nobody is served from another's ticket."""
    proofs = (bytes(32), b"p" * 32)
    proven = [
        Behalf(evidence=evidence, caveats=caveats, proof=proof)
        for evidence in (EVIDENCE, EVIDENCE + b"\0") for caveats in (b"", READ) for proof in proofs
    ]  # fmt: skip
    asserted = [Behalf(subject=one) for one in (ALICE, principal("bob"), Principal("other.realm", "alice"))]
    lineages = [one.lineage for one in proven + asserted]
    assert len(set(lineages)) == len(lineages)
    assert {len(one) for one in lineages} == {32}
    assert Behalf(subject=ALICE).lineage == Behalf(subject=ALICE).lineage


def test_proof_and_keys_do_not_show_or_travel() -> None:
    pair = ExchangePair()
    issued = pair.issue()
    proof = evidence_proof(issued.session_key, issued.ticket)
    opened = open_evidence(shown(issued.ticket), pair.realm.root("payroll").ticket_key(), {1: pair.realm.mac_key})
    for holder in (Behalf(evidence=issued.ticket, proof=proof), opened):
        assert repr(proof)[2:20] not in repr(holder)
        assert repr(issued.session_key)[2:20] not in repr(holder)
        with pytest.raises(LocalMisuse, match="secret-not-exported"):
            pickle.dumps(holder)
