"""Whether evidence that a local process shows is what it says: opened with the host's own key before the KDC is asked.

Whoever only saw the ticket is turned away here, and costs the realm nothing. The KDC judges all the rest: times,
revocations and rules.
"""

from __future__ import annotations

from orthros_protocol.errors import PeerMisbehaved, Refused
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.primitives.derivation import mac_matches
from orthros_protocol.tickets.attenuation import split_caveats
from orthros_protocol.tickets.carrying import carry
from orthros_protocol.tickets.evidence import Behalf, evidence_proof
from orthros_protocol.tickets.ticket import DELEGABLE, open_ticket, peek_unverified_header

__all__ = ["check_behalf"]


def check_behalf(behalf: Behalf, keytab: Keytab) -> None:
    """Raises Refused `evidence-refused`, or `caveat-not-carried` for caveats that would be lost; `subject-refused`
    where there is no key file, because a narrowed login acts for nobody else."""
    if not keytab.entries:
        raise Refused("subject-refused", "a worker's login acts for nobody else")
    if behalf.evidence is None or behalf.proof is None:
        return
    try:
        header = peek_unverified_header(behalf.evidence)
        key = keytab.ticket_key(header.kid)
        if key is None:
            detail = f"it is for another service, or for key version {header.kvno}, which the daemon does not hold"
            raise Refused("evidence-refused", detail)
        ticket = open_ticket(behalf.evidence, key)
        caveats = (*ticket.caveats, *split_caveats(behalf.caveats))
        if not mac_matches(evidence_proof(ticket.session_key, behalf.evidence), behalf.proof):
            raise Refused("evidence-refused", "nothing proves that this ticket was opened here")
        if not ticket.flags & DELEGABLE:
            raise Refused("evidence-refused", f"{ticket.client} did not ask for a delegable ticket, or may not")
        carry(caveats, of_tgt=False)
    except PeerMisbehaved as error:  # what is not well-formed, included
        raise Refused("evidence-refused", error.detail or error.code) from None
