"""The ticket around a box that one principal seals to another."""

import pickle
from typing import Any

import pytest

from orthros_protocol.errors import LocalMisuse, Malformed, PeerMisbehaved, Refused
from orthros_protocol.tickets.caveats import ExpiresCaveat
from orthros_protocol.tickets.envelopes import open_envelope
from tests.support.exchange_pair import ExchangePair, principal
from tests.support.naive import enc


def test_the_ticket_says_who_seals_and_with_which_key() -> None:
    pair = ExchangePair()
    issued = pair.issue()
    envelope = open_envelope(issued.ticket, pair.realm.keytab("payroll"), now=pair.now)
    assert envelope.sender == principal("billing")
    assert envelope.pop_key == issued.pop_key


def test_only_its_target_opens_it() -> None:
    pair = ExchangePair()
    ticket = pair.issue().ticket
    with pytest.raises(PeerMisbehaved, match="unknown-key"):
        open_envelope(ticket, pair.realm.keytab("orders"), now=pair.now)
    with pytest.raises(PeerMisbehaved, match="wrong-ticket-type"):
        open_envelope(pair.login().ticket, pair.realm.keytab("payroll"), now=pair.now)
    with pytest.raises(PeerMisbehaved, match="box-unopened"):
        open_envelope(ticket[:-1] + b"\0", pair.realm.keytab("payroll"), now=pair.now)
    with pytest.raises(Malformed):
        open_envelope(b"", pair.realm.keytab("payroll"), now=pair.now)


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        (12, enc(ExpiresCaveat(2_000_000_000).to_bytes()), "caveat-refused"),
        (14, [None, "alice", 0, 2], "user-not-accepted"),
        (7, 1_800_000_000, "ticket-expired"),
        (6, 1_800_000_301, "ticket-times-invalid"),
        (16, [[1, b""]], "unsupported-critical"),
    ],
)
def test_a_ticket_that_says_less_than_who_seals_does_not_seal(field: int, value: Any, code: str) -> None:
    """A ticket with caveats or in another's name seals nothing for others; nor does one out of its time."""
    pair = ExchangePair()
    assert pair.second == 1_800_000_000
    sealer = pair.sealer()
    body = sealer.open(pair.issue(lifetime_s=600).ticket)
    body[field] = value
    with pytest.raises(Refused, match=code):
        open_envelope(sealer.seal(body), pair.realm.keytab("payroll"), now=pair.now)


def test_a_life_over_the_maximum_does_not_seal() -> None:
    pair = ExchangePair()
    issued = pair.issue(exp=pair.second + 86_401)
    with pytest.raises(Refused, match="ticket-times-invalid"):
        open_envelope(issued.ticket, pair.realm.keytab("payroll"), now=pair.now)


def test_an_envelope_keeps_its_key() -> None:
    pair = ExchangePair()
    envelope = open_envelope(pair.issue().ticket, pair.realm.keytab("payroll"), now=pair.now)
    assert repr(envelope.pop_key)[2:20] not in repr(envelope)
    with pytest.raises(LocalMisuse, match="secret-not-exported"):
        pickle.dumps(envelope)
