"""Bronze Bit, CVE-2020-17049, on a whole KDC: a service edits the evidence that is sealed under its own key."""

from __future__ import annotations

from typing import Any

import pytest

from orthros_protocol.errors import PeerMisbehaved
from orthros_protocol.exchanges.wants import Granted
from orthros_protocol.tickets.attenuation import join_caveats
from orthros_protocol.tickets.caveats import ScopesCaveat
from orthros_protocol.tickets.evidence import Behalf, evidence_proof
from tests.support.behalf_bench import FIELDS, Journey, open_journey, resealed

EDITS: dict[str, Any] = {
    "version": 2, "tid": b"T" * 16, "crealm": "other.realm", "cname": "ledger", "cuid": 18, "key": b"K" * 32, "iat": 1,
    "exp": 2**40, "auth_time": 2**40, "ckid": b"C" * 8, "flags": 3, "scopes": ["admin"], "caveats": b"",
    "chain": [], "subject": ["corp.test", "ledger", 18, 1], "txn": b"X" * 16, "crit": [[1, b""]],
    "opt": [[1, b""]], "mac_no": 2, "kmac": bytes(16),
}  # fmt: skip


@pytest.fixture
async def journey() -> Journey:
    return await open_journey()


async def called(journey: Journey) -> Granted:
    """A call by orders on behalf of web that ledger may show, with a limit inside: every field says something."""
    first = await journey.obtain("web", "orders")
    limits = join_caveats([ScopesCaveat(("read",)).to_bytes()])
    return await journey.obtain("orders", "ledger", behalf=journey.evidence(first), limits=limits)


def test_every_field_of_the_body_is_tried() -> None:
    assert tuple(EDITS) == FIELDS


@pytest.mark.parity("K18")
async def test_bronze_bit_what_was_not_edited_is_evidence(journey: Journey) -> None:
    """The control of this experiment: resealed without a change, the same evidence is accepted."""
    granted = await called(journey)
    control = resealed(journey.sealer("ledger"), granted)
    assert isinstance(await journey.ask("ledger", "vault", behalf=control), Granted)


@pytest.mark.parity("K18")
@pytest.mark.parametrize("field", FIELDS)
async def test_bronze_bit_evidence_that_was_edited_is_nobodys(journey: Journey, field: str) -> None:
    """Evidence edited by B in each field. It has the key to seal and to prove, but not the mark."""
    granted = await called(journey)
    forged = resealed(journey.sealer("ledger"), granted, **{field: EDITS[field]})
    with pytest.raises(PeerMisbehaved, match="unauthenticated-refusal"):
        await journey.ask("ledger", "vault", behalf=forged)
    (event,) = journey.events("request-rejected")
    assert event["code"] in {"ticket-altered", "malformed", "unsupported-critical"}
    assert not [one for one in journey.events("tgs-issued") if one["target"] == "vault@corp.test"]


@pytest.mark.parity("K18")
async def test_bronze_bit_the_delegable_flag_itself(journey: Journey) -> None:
    """CVE-2020-17049 to the letter: a ticket that is not to be delegated is made so."""
    plain = await journey.obtain("web", "orders", flags=0)
    forged = resealed(journey.sealer("orders"), plain, flags=2)
    with pytest.raises(PeerMisbehaved, match="unauthenticated-refusal"):
        await journey.ask("orders", "ledger", behalf=forged)
    assert journey.events("request-rejected")[-1]["code"] == "ticket-altered"


@pytest.mark.parity("K18")
async def test_bronze_bit_a_mark_of_one_ticket_on_the_body_of_another(journey: Journey) -> None:
    """Each mark covers one body."""
    delegable, plain = await journey.obtain("web", "orders"), await journey.obtain("web", "orders", flags=0)
    sealer = journey.sealer("orders")
    mark = sealer.open(delegable.credential)[-1]
    with pytest.raises(PeerMisbehaved, match="unauthenticated-refusal"):
        await journey.ask("orders", "ledger", behalf=resealed(sealer, plain, flags=2, kmac=mark))


@pytest.mark.parity("K18")
async def test_silver_ticket_a_service_invents_its_caller(journey: Journey) -> None:
    """Orders makes a ticket out of nothing, as any service can for itself. The KDC knows none of it."""
    sealer = journey.sealer("orders")
    now = journey.kdc.clock.now() // 1000
    body = [
        1, b"T" * 16, "corp.test", "ledger", 18, b"K" * 32, now, now + 600, now, journey.kdc.as_key("ledger").kid, 2,
        ["read"], b"", [], None, b"X" * 16, [], [], 1,
    ]  # fmt: skip
    for key in (sealer.material, bytes(32)):
        ticket = sealer.seal([*body, sealer.mark(key, body)])
        forged = Behalf(evidence=ticket, proof=evidence_proof(b"K" * 32, ticket))
        with pytest.raises(PeerMisbehaved, match="unauthenticated-refusal"):
            await journey.ask("orders", "ledger", behalf=forged)
    assert {event["code"] for event in journey.events("request-rejected")} == {"ticket-altered"}
